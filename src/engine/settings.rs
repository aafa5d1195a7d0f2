//! What a run may do: limits, rates and policies, already checked.

use std::time::Duration;

use jiff::Timestamp;

use crate::backlog::{BacklogError, LeaseClock, UnknownCreatePolicy};
use crate::job::{ErrorClass, Micros};

/// The engine's settings. Kinds carry their own polling times and attempts.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Most requests claimed and not settled at a time.
    pub max_in_flight: usize,
    /// Beyond so many requests at a time, of one that waits only what polling takes is kept: its fields are
    /// the backlog's, which has to give them back where it is to be created again
    /// ([`Answer::Recalled`](crate::backlog::Answer::Recalled)).
    pub forgets_beyond: usize,
    /// Most HTTP exchanges at a time.
    pub max_connections: usize,
    /// Creates per second.
    pub submit_rate: Rate,
    /// Polls per second; `None` for as many as come due.
    pub poll_rate: Option<Rate>,
    /// Least time from one poll's answer to the next poll of that job, whatever its kind says.
    pub poll_floor: Duration,
    /// What becomes of a request whose create has an unknown fate.
    pub on_unknown_create: UnknownCreatePolicy,
    /// Time after which nothing new is begun.
    pub max_runtime: Option<Duration>,
    /// This many failures in a row end the run.
    pub max_failures: Option<u64>,
    /// Most that all runs on this backlog may spend together.
    pub max_spend: Option<Micros>,
    /// Spent in earlier runs.
    pub spent_before: Micros,
    /// Who chooses when a create may leave, and keeps to `max_spend`.
    pub pacing: Pacing,
    /// How long the backlog may be out of reach before the run ends.
    pub patience: Duration,
    /// Until when this process is sure of its leases, where its jobs are held by leases.
    pub lease: Option<LeaseClock>,
    /// How long jobs in flight are polled on after a signal.
    pub drain_timeout: Duration,
    /// The wall clock.
    pub wall_clock: fn() -> Timestamp,
}

/// Who keeps the rates and the spend.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Pacing {
    /// This run, which is alone with its backlog.
    #[default]
    Own,
    /// The backlog, for all workers that share it.
    Shared,
}

/// A rate of requests.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rate {
    /// Per second, above zero.
    pub per_second: f64,
    /// How many may go at once.
    pub burst: std::num::NonZeroU32,
}

/// How much wider than asked slots are spaced: see [`limiter`](super::limiter).
const SPACING: f64 = 1.02;

/// Longest time between two slots; slower rates are no rates.
const LONGEST_PERIOD: Duration = Duration::from_secs(24 * 60 * 60);

impl Rate {
    /// Time from one slot to the next.
    #[must_use]
    pub fn period(self) -> Duration {
        Duration::try_from_secs_f64(SPACING / self.per_second)
            .unwrap_or(LONGEST_PERIOD)
            .clamp(Duration::from_nanos(1), LONGEST_PERIOD)
    }
}

/// Why a run ended. A normal end is one, too.
#[derive(Debug)]
pub enum StopReason {
    /// Every request has its outcome.
    Done,
    /// The next create could exceed `--max-spend`.
    MaxSpend,
    /// `--max-runtime` is over.
    MaxRuntime,
    /// `--max-failures` in a row.
    MaxFailures,
    /// The service says that the balance is used up.
    NoBalance(String),
    /// The service does not accept the account token.
    BadToken(String),
    /// The service says that the account is suspended or blocked.
    Blocked(String),
    /// Five refusals in a row that nothing explains, or twenty for a bad request; the service's words.
    Refusals(String),
    /// The service could not be reached for too long; the last fault.
    Unreachable(String),
    /// The service asks for a longer pause than we wait: this long.
    LongPause(Duration),
    /// SIGINT.
    Interrupted,
    /// SIGTERM.
    Terminated,
    /// Nothing could be recorded any more, although it was tried again until the drain time-out.
    CannotRecord(String),
    /// The backlog was out of reach for longer than we have patience.
    BacklogAway(String),
    /// The backlog failed for good.
    Backlog(BacklogError),
}

impl StopReason {
    /// The reason in one word, for machines.
    #[must_use]
    pub fn word(&self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::MaxSpend => "max_spend",
            Self::MaxRuntime => "max_runtime",
            Self::MaxFailures => "max_failures",
            Self::NoBalance(_) => "no_balance",
            Self::BadToken(_) => "bad_token",
            Self::Blocked(_) => "blocked",
            Self::Refusals(_) => "refusals",
            Self::Unreachable(_) => "unreachable",
            Self::LongPause(_) => "long_pause",
            Self::Interrupted => "interrupted",
            Self::Terminated => "terminated",
            Self::CannotRecord(_) => "cannot_record",
            Self::BacklogAway(_) => "backlog_away",
            Self::Backlog(_) => "backlog",
        }
    }
}

/// Counts of one run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Outcomes: solved.
    pub solved: u64,
    /// Outcomes: failed.
    pub failed: u64,
    /// Outcomes: rejected.
    pub rejected: u64,
    /// Creates sent or perhaps sent.
    pub creates: u64,
    /// Of those, creates whose fate is unknown.
    pub unknown_creates: u64,
    /// Attempts repeated because a solve failed.
    pub retries: u64,
    /// Polls.
    pub polls: u64,
    /// Spent, billed or perhaps billed.
    pub spend: Micros,
    /// Outcomes that are not solved, by class.
    pub errors: std::collections::BTreeMap<ErrorClass, u64>,
}
