//! Where requests come from and where everything that money or an answer depends on is recorded.
//!
//! What must stay true, of every implementation:
//!
//! * When [`Backlog::record`] returns, what it was given is durable: a process killed at any later
//!   instruction finds it again.
//! * [`Record::Begin`] is durable before the create leaves, [`Record::Created`] as soon as its answer
//!   was read, [`Record::Finish`] delivers the outcome exactly once where source and sink are of one kind.
//! * A request whose remote id was recorded is handed out as [`Resume::Waiting`] and never as new.
//! * Illegal transitions ([`crate::job::State::after`]) are refused as a fault of ours.

#[cfg(test)]
mod conformance;
mod csv;
mod fleet;
#[cfg(test)]
pub(crate) mod memory;
#[cfg(test)]
pub(crate) mod memory_fleet;
mod recorder;
pub mod redis;

use std::future::Future;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use crate::job::{Micros, Outcome, RemoteId, Request};
use crate::sink::SinkError;

pub use csv::{
    CrashPoint, CsvBacklog, CsvInput, CsvSettings, CsvSink, GoodRow, GoodRows, InputReport,
    JobCounts, JournalStatus, LastRun, OpenError, Opened, Pending, RowProblem, check,
    default_journal,
};
pub use fleet::{Answer, LeaseClock, News, PollSlots, Wake};
pub use recorder::{Completion, Recorder, RecorderGone, RecordingEnd};

/// The handle of a request within its backlog, for the life of a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Ticket(pub u64);

/// A request handed out to be worked on.
#[derive(Debug)]
pub struct Claim {
    /// Its handle.
    pub ticket: Ticket,
    /// The request, validated against the present allowlist.
    pub request: Request,
    /// What was done for it before.
    pub history: History,
    /// Where it stands.
    pub resume: Resume,
    /// When its owner has no more use for it, by the wall clock.
    pub not_after: Option<Timestamp>,
}

/// What was done for a request, over all runs so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct History {
    /// Jobs created, or perhaps created. The `attempts` of its outcome.
    pub creates: u32,
    /// Solves that failed, and so consumed an attempt.
    pub failed_attempts: u32,
    /// Creates whose fate is unknown.
    pub unknown_creates: u32,
    /// Polls.
    pub polls: u32,
    /// Spent on it: billed or perhaps billed.
    pub spent: Micros,
}

/// Where a claimed request goes on.
#[derive(Debug)]
pub enum Resume {
    /// It is to be created.
    Queued,
    /// It has a job: it is adopted and polled to its end.
    Waiting(Waiting),
}

/// A job that exists at the service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Waiting {
    /// The service's id.
    pub remote_id: RemoteId,
    /// When its create was answered.
    pub submitted_at: Timestamp,
    /// When it is given up, by the wall clock.
    pub deadline: Timestamp,
}

/// An answer to [`Backlog::claim`].
#[derive(Debug, Default)]
pub struct Claimed {
    /// The requests: those with jobs in flight come first, over all claims.
    pub jobs: Vec<Claim>,
    /// Requests that were found unacceptable and already settled as rejected (a stream's bad rows, or
    /// `--skip-bad-rows`), or settled at the start (`crash_limit`, `unknown_create` under `fail`).
    pub settled: Vec<Outcome>,
    /// Creates that were found without an answer, because their worker had ended: unknown ones.
    pub in_doubt: u64,
    /// Whether there is more.
    pub supply: Supply,
}

/// What further claims will bring.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Supply {
    /// More at once. A claim that brought nothing may say so, too: it went past many rows that are
    /// done, and let go so that records do not wait for it.
    #[default]
    More,
    /// Nothing for now, and perhaps more later (a slow pipe, an empty list): worth asking again after
    /// this time, or at a [`Wake::Arrived`].
    NotYet(Duration),
    /// Nothing any more.
    Exhausted,
}

/// What is to be recorded of one request.
#[derive(Clone, Debug)]
pub enum Record {
    /// A create is about to be sent; `reserve` counts as spent from now on.
    Begin {
        /// What the create may cost.
        reserve: Micros,
        /// When.
        at: Timestamp,
    },
    /// The create that was begun is known not to exist: reservation and count are given back.
    Withdraw,
    /// The fate of the create that was begun is unknown; it counts as spent, and the request may be
    /// created again.
    Unknown,
    /// The create was answered with a remote id.
    Created(Waiting),
    /// The job failed and the request is to be tried again; `refund` was not billed.
    Retry {
        /// Given back of the spend.
        refund: Micros,
        /// Polls of that job.
        polls: u32,
    },
    /// The end. Where it comes from `Submitting`, `unknown_create` says that the create's fate is unknown.
    Finish {
        /// The outcome.
        outcome: Arc<Outcome>,
        /// Given back of the spend.
        refund: Micros,
        /// Counts one more create of unknown fate.
        unknown_create: bool,
    },
    /// Handed back at shutdown: a waiting job stays recorded, with its polls.
    Release {
        /// Polls of the job that are not recorded yet.
        polls: u32,
        /// The request should not be begun before this time has passed.
        delay: Duration,
    },
}

/// Why something could not be recorded or claimed.
#[derive(Debug, thiserror::Error)]
pub enum BacklogError {
    /// Nothing of the batch is recorded, and the same call may succeed later (disk full).
    #[error("{what}")]
    Retryable {
        /// What could not be done, naming the file.
        what: String,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The store cannot be reached. It may have recorded the batch or not; the same call, which changes
    /// nothing where it did, may succeed later.
    #[error("{what}")]
    Away {
        /// What cannot be reached, and why.
        what: String,
    },
    /// It cannot be told what is durable (a failed fsync), or the store is damaged or was changed by
    /// another hand. The run must end.
    #[error("{what}")]
    Fatal {
        /// What happened, naming the file.
        what: String,
    },
    /// The source cannot be read on: a bad row where none is tolerated.
    #[error("{0}")]
    BadInput(String),
}

impl From<SinkError> for BacklogError {
    fn from(error: SinkError) -> Self {
        match error {
            SinkError::Away { what } => Self::Away { what },
            SinkError::Full { what, source } => Self::Retryable { what, source },
            SinkError::Fatal { what } => Self::Fatal { what },
        }
    }
}

/// What becomes of a request whose create has an unknown fate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum UnknownCreatePolicy {
    /// It is created again: it may be paid twice, and no row is lost.
    #[default]
    Retry,
    /// It ends as failed, with `unknown_create`.
    Fail,
}

/// A source of requests and the record of what became of them.
///
/// Called by one caller, one call at a time. Blocking is allowed: production runs it on a thread of
/// its own (see [`Recorder`]). The calls with a body here are for a backlog that several workers share
/// (`fleet.rs`).
pub trait Backlog {
    /// Hands out up to `max` requests. A claim records nothing that has to be undone.
    ///
    /// # Errors
    ///
    /// See [`BacklogError`]; nothing was claimed then.
    fn claim(&mut self, max: usize) -> impl Future<Output = Result<Claimed, BacklogError>>;

    /// Records a batch, in order and durably, and answers each record in its place; one with an answer
    /// other than [`Answer::Done`] and [`Answer::Slot`] is not recorded. Repeating a batch that was recorded
    /// changes nothing. `polls` is the run's number of polls so far, for the journal's totals.
    ///
    /// # Errors
    ///
    /// See [`BacklogError`]; where it is `Retryable` or `Away`, the same batch may be passed again.
    fn record(
        &mut self,
        batch: &[(Ticket, Record)],
        polls: u64,
    ) -> impl Future<Output = Result<Vec<Answer>, BacklogError>>;

    /// Records a batch and claims, in one go where the backlog can. Without a [`Claimed`] only the batch
    /// was seen to, and the claim is to be made by itself.
    ///
    /// # Errors
    ///
    /// As of [`record`](Self::record).
    fn record_and_claim(
        &mut self,
        batch: &[(Ticket, Record)],
        polls: u64,
        _max: usize,
    ) -> impl Future<Output = Result<(Vec<Answer>, Option<Claimed>), BacklogError>> {
        async move { Ok((self.record(batch, polls).await?, None)) }
    }

    /// How far the beginnings of two batches are apart, so that more comes together in each: the least where
    /// much is to be recorded, the most where little is. What is urgent waits for neither.
    fn batch_every(&self) -> RangeInclusive<Duration> {
        Duration::ZERO..=Duration::ZERO
    }

    /// Puts everything in its final place at the end of a run (ordering, checkpoint), notes `why` it
    /// ended, and lets go.
    ///
    /// # Errors
    ///
    /// See [`BacklogError`].
    fn close(&mut self, why: &str) -> impl Future<Output = Result<(), BacklogError>>;

    /// Waits until there is something to do that nobody asked for.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: what it would have told is told by the next call.
    fn wake(&mut self) -> impl Future<Output = Wake> {
        std::future::pending()
    }

    /// Looks after what is held: extends leases, hears what others did to it.
    ///
    /// # Errors
    ///
    /// See [`BacklogError`].
    fn tend(&mut self) -> impl Future<Output = Result<News, BacklogError>> {
        std::future::ready(Ok(News::default()))
    }

    /// Nobody who shares the backlog begins anything for this time: the service asked for a pause.
    ///
    /// # Errors
    ///
    /// See [`BacklogError`].
    fn penalise(&mut self, _pause: Duration) -> impl Future<Output = Result<(), BacklogError>> {
        std::future::ready(Ok(()))
    }

    /// Up to `many` instants at which a poll may leave, of the limit that all workers share.
    ///
    /// # Errors
    ///
    /// See [`BacklogError`].
    fn poll_slots(
        &mut self,
        _many: usize,
    ) -> impl Future<Output = Result<PollSlots, BacklogError>> {
        std::future::ready(Ok(PollSlots::default()))
    }
}
