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

use std::io;
use std::time::Duration;

use jiff::Timestamp;

pub use outbox::{Outbox, SinkError};

use crate::job::Outcome;
use json::About;

/// A sink that is not of the backlog's own kind: it is told first, and what it has is ended then.
pub trait OutcomeSink {
    /// Takes outcomes, in order; when it returns, they are durable. May block.
    ///
    /// # Errors
    ///
    /// Where none of them counts as taken; the same call may be made again.
    fn deliver(&mut self, outcomes: &[(About<'_>, &Outcome)]) -> io::Result<()>;

    /// What it is called in messages.
    fn name(&self) -> String;
}

/// A time as it stands in files and messages: RFC 3339, UTC, milliseconds.
#[must_use]
pub fn rfc3339(time: Timestamp) -> String {
    format!("{time:.3}")
}

/// A time span as it stands there: seconds with three decimals.
#[must_use]
pub fn seconds(span: Duration) -> String {
    format!("{}.{:03}", span.as_secs(), span.subsec_millis())
}
