//! A destination that takes bytes durably, whatever it is.
//!
//! What must stay true: when [`Outbox::deliver`] returns, what it was given is as durable there as the
//! destination makes it; what it refused may or may not be there, and is delivered again. So an outcome is there at
//! least once, always under the same id.

use std::io;

/// Takes outcomes to a place that is no file of a run's own.
pub trait Outbox: Send {
    /// What it is, for messages and for the journal, which belongs to one destination: `redis:solve:results`.
    fn name(&self) -> &str;

    /// Delivers documents in this order. Blocks, as long as one try takes.
    ///
    /// # Errors
    ///
    /// See [`SinkError`]. Some of the documents may have been delivered.
    fn deliver(&mut self, documents: &[&[u8]]) -> Result<(), SinkError>;
}

/// Why a destination did not take what it was given.
#[derive(Debug, thiserror::Error)]
pub enum SinkError {
    /// It cannot be reached; the same call may succeed later.
    #[error("{what}")]
    Away {
        /// What cannot be reached, and why.
        what: String,
    },
    /// It is full; the same call may succeed later.
    #[error("{what}")]
    Full {
        /// What is full.
        what: String,
        /// What it says.
        #[source]
        source: io::Error,
    },
    /// It will not take it, or what it has taken cannot be told.
    #[error("{what}")]
    Fatal {
        /// What happened.
        what: String,
    },
}
