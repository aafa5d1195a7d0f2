//! How a request ended.

use std::fmt;
use std::time::Duration;

use jiff::Timestamp;
use secrecy::SecretString;

use super::{Micros, RemoteId};

/// The columns that a result adds to a row, in order. The same names serve as JSON keys.
pub const RESULT_COLUMNS: [&str; 12] = [
    "status",
    "token",
    "error",
    "message",
    "remote_id",
    "attempts",
    "polls",
    "submitted_at",
    "finished_at",
    "expires_at",
    "elapsed_s",
    "cost",
];

/// The three ways a request can end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Status {
    /// There is a token.
    Solved,
    /// It was tried, and there is none.
    Failed,
    /// It was never sent: the request itself is not acceptable.
    Rejected,
}

impl Status {
    /// Every status.
    pub const ALL: [Self; 3] = [Self::Solved, Self::Failed, Self::Rejected];

    /// The word that stands in files.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Solved => "solved",
            Self::Failed => "failed",
            Self::Rejected => "rejected",
        }
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Why a request was not solved.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ErrorClass {
    /// The service tried and gave up, in every attempt.
    SolveFailed,
    /// The service does not take this request.
    Refused,
    /// Still pending when polled after the job's time was over.
    Timeout,
    /// The request's own deadline passed before it could be sent, or before its job was done.
    Deadline,
    /// A create whose fate is unknown, under the policy `fail`.
    UnknownCreate,
    /// Twenty crashes in a row while it was being created.
    CrashLimit,
    /// The request is malformed.
    InvalidRequest,
    /// Its site is not on the operator's list.
    SiteNotAuthorized,
}

impl ErrorClass {
    /// Every class.
    pub const ALL: [Self; 8] = [
        Self::SolveFailed,
        Self::Refused,
        Self::Timeout,
        Self::Deadline,
        Self::UnknownCreate,
        Self::CrashLimit,
        Self::InvalidRequest,
        Self::SiteNotAuthorized,
    ];

    /// The word that stands in files.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::SolveFailed => "solve_failed",
            Self::Refused => "refused",
            Self::Timeout => "timeout",
            Self::Deadline => "deadline",
            Self::UnknownCreate => "unknown_create",
            Self::CrashLimit => "crash_limit",
            Self::InvalidRequest => "invalid_request",
            Self::SiteNotAuthorized => "site_not_authorized",
        }
    }
}

impl fmt::Display for ErrorClass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The end of a request: everything that its result row says.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// How it ended.
    pub status: Status,
    /// The token, where solved. Secret: it is written to sinks and nowhere else.
    pub token: Option<SecretString>,
    /// Why not, where not solved.
    pub error: Option<ErrorClass>,
    /// The reason in words, already cleaned. Empty where solved.
    pub message: String,
    /// The service's id of the last job made for it.
    pub remote_id: Option<RemoteId>,
    /// Jobs created for it, those whose fate is unknown included.
    pub attempts: u32,
    /// Polls made for it, over all attempts that this journal saw to their end.
    pub polls: u32,
    /// When the last job was created.
    pub submitted_at: Option<Timestamp>,
    /// When the outcome was known.
    pub finished_at: Timestamp,
    /// When the token goes stale.
    pub expires_at: Option<Timestamp>,
    /// From `submitted_at` to `finished_at`.
    pub elapsed: Option<Duration>,
    /// What it cost.
    pub cost: Micros,
}

impl Outcome {
    /// The outcome of a request that was never sent.
    #[must_use]
    pub fn rejected(error: ErrorClass, message: String, finished_at: Timestamp) -> Self {
        Self {
            status: Status::Rejected,
            token: None,
            error: Some(error),
            message,
            remote_id: None,
            attempts: 0,
            polls: 0,
            submitted_at: None,
            finished_at,
            expires_at: None,
            elapsed: None,
            cost: Micros::ZERO,
        }
    }
}
