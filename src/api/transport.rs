//! The seam between messages and bytes.

use std::fmt;
use std::future::Future;

use bytes::Bytes;

use super::RetryAfter;

/// A protocol that the service speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Protocol {
    /// createJob / getJobResult.
    V1,
    /// createTask / getTaskResult.
    V2,
}

impl Protocol {
    /// Its name in settings, kinds and journals.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::V1 => "v1",
            Self::V2 => "v2",
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

/// An HTTP answer, read to its end. Its `Debug` tells the body's size only: it may hold a token.
#[derive(Clone)]
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

impl fmt::Debug for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Answer")
            .field("status", &self.status)
            .field("retry_after", &self.retry_after)
            .field("content_type", &self.content_type)
            .field("body", &format_args!("{} bytes", self.body.len()))
            .finish()
    }
}

/// Why there is no answer. The text may quote the other side: it is cleaned before it is kept.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Fault {
    /// It failed before any byte of the request was written.
    #[error("{0}")]
    NotSent(String),
    /// It failed later: reset, time-out, an answer cut short or too large.
    #[error("{0}")]
    AfterSend(String),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_does_not_show_its_body() {
        let body = Bytes::from_static(b"{\"result\": \"P1_x\"}");
        let answer = Answer {
            status: 200,
            retry_after: None,
            content_type: String::new(),
            body,
        };
        let shown = format!("{answer:?}");
        assert!(
            shown.contains("18 bytes") && !shown.contains("P1_x"),
            "{shown}"
        );
    }
}
