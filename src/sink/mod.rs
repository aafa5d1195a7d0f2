//! Where outcomes go: how one is written, not when.
//!
//! What must stay true: an encoder ([`csv`], [`json`]) does no I/O and knows no journal; a backlog decides when its
//! bytes are durable. What takes bytes elsewhere ([`redis`], [`csv_file`])
//! knows neither. A solved token is written
//! here and nowhere else.

pub mod csv;
pub mod csv_file;
pub(crate) mod file;
pub mod json;
mod outbox;
pub mod redis;

use std::fmt::{self, Display};
use std::time::Duration;

use jiff::Timestamp;

pub use outbox::{Outbox, SinkError};

/// A time as it stands in files and messages: RFC 3339, UTC, milliseconds.
#[must_use]
pub fn rfc3339(time: Timestamp) -> impl Display {
    fmt::from_fn(move |out| write!(out, "{time:.3}"))
}

/// A time span as it stands there: seconds with three decimals.
#[must_use]
pub fn seconds(span: Duration) -> impl Display {
    fmt::from_fn(move |out| write!(out, "{}.{:03}", span.as_secs(), span.subsec_millis()))
}
