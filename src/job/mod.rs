//! The domain, without I/O and without a runtime.
//!
//! What must stay true: nothing in here opens a file or a socket, sleeps, or reads a clock.
//! Values are checked where they enter ([`Request::validate`], [`SiteRule::try_new`],
//! [`Kind::from_toml`]) and cannot be wrong after. A [`Request`] can only be made by
//! validation against an [`Allowlist`], so code that holds one holds an authorised one.

mod foreign;
mod id;
mod kind;
mod located;
mod money;
mod nearest;
mod outcome;
mod request;
mod site;
mod state;

pub use foreign::{ForeignText, for_spreadsheet, quoted};
pub use id::{RemoteId, RequestId};
pub use kind::{Column, FieldType, Kind, Kinds, Place, ProtocolKind, Role};
pub use located::{TomlFault, parse_toml};
pub use money::{Micros, ParseMoneyError};
pub use nearest::closest;
pub use outcome::{ErrorClass, Outcome, RESULT_COLUMNS, Status};
pub use request::{FieldsHash, Problem, Request, Value};
pub use site::{Allowlist, SiteError, SiteRule};
pub use state::{State, Transition};
