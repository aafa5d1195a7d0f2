//! The solver service, as its clients see it.
//!
//! What must stay true: a protocol's file holds the encoder and the decoder of each of its messages
//! and does no I/O; the [`Transport`] moves bytes and knows no message; whatever an exchange ends
//! in is one of the few classes of [`CreateReply`] and [`PollReply`], which the engine matches
//! exhaustively. No solved token and no account token is in any of their `Debug` outputs.

mod account;
mod client;
mod http;
mod loose;
mod reply;
mod transport;
mod v1;

pub use account::{AccountToken, Identity};
pub use client::Client;
pub use http::{HttpSettings, HttpTransport, TransportSetupError};
pub use reply::{CreateReply, PollReply, Refusal, RefusalCause, RetryAfter};
pub use transport::{Answer, Fault, Protocol, Transport};
