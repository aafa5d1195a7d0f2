//! What an exchange with the service ended in: the error classes of the whole program.

use std::time::Duration;

use secrecy::SecretString;

use crate::job::{ForeignText, RemoteId};

/// How a create ended.
#[derive(Debug)]
pub enum CreateReply {
    /// A job exists, and this is its id.
    Created(RemoteId),
    /// The service decoded the request and said no: no job exists.
    Refused(Refusal),
    /// 429: no job exists, and everybody is to slow down.
    Throttled(Option<RetryAfter>),
    /// The request did not leave: no job exists. Says why, and naming the fault apart (DNS, connect, TLS).
    NotSent(ForeignText),
    /// Anything else: a job may exist, and may have been paid.
    Unknown {
        /// What came instead of an answer.
        why: ForeignText,
        /// A 503 may ask to be left alone for so long: everybody is to slow down, too.
        pause: Option<RetryAfter>,
    },
}

/// How a poll ended.
#[derive(Debug)]
pub enum PollReply {
    /// The token.
    Solved(SecretString),
    /// Ask again later.
    Pending,
    /// A status that no document names. Asked again, slowly.
    UnknownStatus(ForeignText),
    /// The service gave up on the job. The reason, where it gave one.
    Failed(ForeignText),
    /// Success, and no token in it.
    NoToken,
    /// The service does not answer for this job or this account.
    Refused(Refusal),
    /// 429: everybody is to slow down.
    Throttled(Option<RetryAfter>),
    /// No verdict on the job: a transport fault, an HTTP error, an answer that cannot be decoded.
    Transient(ForeignText),
}

/// A refusal in the service's words, and what they mean.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// What it means.
    pub cause: RefusalCause,
    /// The service's own words, cleaned.
    pub message: ForeignText,
}

/// What a refusal means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RefusalCause {
    /// The account token is not accepted. Every further call would be refused.
    BadToken,
    /// The balance is used up. Every further create would be refused.
    NoBalance,
    /// The account is suspended, or its address blocked.
    Blocked,
    /// The service does not know the job that was polled.
    UnknownJob,
    /// The service cannot take it now and says so: maintenance, no free worker. It passes.
    Passing,
    /// Something in this request is wrong, and a repetition would be refused as well.
    BadRequest,
    /// A code or free text that nothing explains: no verdict on the row by itself.
    Unrecognised,
}

impl RefusalCause {
    /// Whether the fault is the account's: a create after it would be wasted.
    #[must_use]
    pub fn is_account_fault(self) -> bool {
        matches!(self, Self::BadToken | Self::NoBalance | Self::Blocked)
    }
}

/// When a throttling service wants to be asked again, from now. Already resolved from either form of the header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RetryAfter(pub Duration);
