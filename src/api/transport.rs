//! The seam between messages and bytes.

use std::future::Future;

use bytes::Bytes;

use super::RetryAfter;

/// A protocol that the service speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Protocol {
    /// createJob / getJobResult.
    V1,
}

impl Protocol {
    /// Its name in settings, kinds and journals.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::V1 => "v1",
        }
    }
}

/// Moves one request to the service and its answer back. It knows no message.
pub trait Transport {
    /// Sends `body` (JSON) by POST to `path`, appended to the base URL, and reads the whole answer.
    ///
    /// # Errors
    ///
    /// A [`Fault`] that tells whether the request may have reached the service.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future closes the exchange; whether the service acted is then unknown.
    fn post(
        &self,
        path: &'static str,
        body: Vec<u8>,
    ) -> impl Future<Output = Result<Answer, Fault>>;
}

/// An HTTP answer, read to its end.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The HTTP status.
    pub status: u16,
    /// The `Retry-After` header, in either form, as a time from now.
    pub retry_after: Option<RetryAfter>,
    /// The `Content-Type` header, for messages; empty where there is none.
    pub content_type: String,
    /// The body, at most 1 MiB.
    pub body: Bytes,
}

/// Why there is no answer.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Fault {
    /// It failed before any byte of the request was written.
    #[error("{0}")]
    NotSent(String),
    /// It failed later: reset, time-out, an answer cut short or too large.
    #[error("{0}")]
    AfterSend(String),
}
