//! What is to be done about a request: the brain's answer to whoever carries it out.

use std::time::Duration;

use bytes::Bytes;

use super::record::Receipt;

/// What is to be done about a request.
#[derive(Debug)]
pub struct Reaction {
    /// To be waited for before anything is done.
    pub delay: Duration,
    /// What then.
    pub effect: Effect,
    /// To be passed to [`Brain::delivered`](super::Brain::delivered) once the answer was handed over whole.
    pub receipt: Option<Receipt>,
}

/// What becomes of an exchange.
#[derive(Debug)]
pub enum Effect {
    /// It is answered.
    Answer(Reply),
    /// The connection is refused, as far as that is still possible.
    RefuseConnection,
    /// The connection is reset. The ledger tells whether anything was done before.
    Reset,
    /// The answer announces its length and ends after `keep` bytes of its body.
    CutShort {
        /// The answer.
        reply: Reply,
        /// Less than its body has.
        keep: usize,
    },
    /// The answer's body arrives bit by bit.
    Slow {
        /// The answer.
        reply: Reply,
        /// For so long.
        over: Duration,
    },
    /// There is no answer. The connection is reset after so long, where the client still waits.
    Hang(Duration),
}

/// An HTTP answer.
#[derive(Clone, PartialEq, Eq)]
pub struct Reply {
    /// The status.
    pub status: u16,
    /// The `Content-Type`.
    pub content_type: &'static str,
    /// The `Retry-After` header.
    pub retry_after: Option<String>,
    /// The body.
    pub body: Bytes,
}

/// Without the body, which may hold a token.
impl std::fmt::Debug for Reply {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reply")
            .field("status", &self.status)
            .field("content_type", &self.content_type)
            .field("body_len", &self.body.len())
            .finish_non_exhaustive()
    }
}

impl Reply {
    pub(super) fn new(status: u16, content_type: &'static str, body: impl Into<Bytes>) -> Self {
        Self {
            status,
            content_type,
            retry_after: None,
            body: body.into(),
        }
    }

    pub(super) fn json(body: impl Into<Bytes>) -> Self {
        Self::new(200, "application/json", body)
    }
}
