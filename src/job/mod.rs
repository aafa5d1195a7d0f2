//! The domain, without I/O and without a runtime.
//!
//! What must stay true: nothing in here opens a file or a socket, sleeps, or reads a clock.
//! Values are checked where they enter ([`Request::validate`], [`SiteRule::try_new`],
//! [`Kind::from_toml`]) and cannot be wrong after. A [`Request`] can only be made by
//! validation against an [`Allowlist`], so code that holds one holds an authorised one.

mod fields;
mod foreign;
mod gate;
mod id;
mod kind;
mod kind_file;
mod kinds;
mod located;
mod money;
mod nearest;
mod outcome;
mod request;
mod site;
mod state;

pub use fields::{Checked, FieldsHash, FieldsHasher, check_fields};
pub use foreign::{ForeignText, for_spreadsheet, quoted};
pub use gate::Gate;
pub use id::{RemoteId, RequestId};
pub use kind::{Column, FieldType, Kind, Place, ProtocolKind, Role};
pub use kinds::Kinds;
pub use located::{TomlFault, parse_toml};
pub use money::{Micros, ParseMoneyError};
pub use nearest::closest;
pub use outcome::{ErrorClass, Outcome, RESULT_COLUMNS, Status};
pub use request::{Problem, Request, Value};
pub use site::{Allowlist, SiteError, SiteRule};
pub use state::{State, Transition};

/// Whether a text holds a control character, C1 included.
fn has_control(text: &str) -> bool {
    // Most text is plain, which is seen without decoding it.
    let is_plain = text
        .bytes()
        .fold(true, |plain, byte| plain & (0x20..0x7f).contains(&byte));
    !is_plain && text.chars().any(char::is_control)
}
