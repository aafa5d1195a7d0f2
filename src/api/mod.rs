//! The solver service, as its clients see it.
//!
//! What must stay true: a protocol's folder holds a file for each of its messages, with the encoder
//! and the decoder, and does no I/O; both protocols are judged by the same rules (`verdict`,
//! `refusal`); the [`Transport`] moves bytes and knows no message; whatever an exchange ends
//! in is one of the few classes of [`CreateReply`] and [`PollReply`], which the engine matches
//! exhaustively. No solved token and no account token is in any of their `Debug` outputs.

mod account;
mod client;
mod envelope;
mod http;
mod look_up;
mod loose;
#[doc(hidden)]
pub mod pieces;
mod refusal;
mod reply;
#[cfg(test)]
mod testing;
mod transport;
mod v1;
mod v2;
mod verdict;

pub use account::{AccountToken, Identity};
pub use client::Client;
pub use http::{HttpClient, HttpSettings, HttpTransport, TransportSetupError};
pub use look_up::{Balance, LookUpError, Service};
pub use refusal::{Meaning, RefusalRule, RefusalRules, RuleError};
pub use reply::{CreateReply, PollReply, Refusal, RefusalCause, RetryAfter};
pub use transport::{Answer, Fault, Protocol, Transport};

use refusal::Reader;
