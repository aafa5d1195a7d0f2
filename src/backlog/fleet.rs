//! What a backlog that several workers share has to say beyond "it is recorded".
//!
//! A worker holds its requests by leases. What it does not extend in time is another's: then its
//! records are refused with [`Answer::Lost`], and nothing that it still does can be done twice.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::Instant;

use super::{Ticket, Waiting};
use crate::job::Request;

/// What became of a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// It is durable.
    Done,
    /// It is durable. So that the request can be created again, here it is: whoever waits for very many jobs
    /// keeps of each only what polling takes.
    Recalled(Box<Request>),
    /// A begin is durable, and the limiter that all workers share lets the create leave at this instant.
    Slot(Instant),
    /// Nothing was begun: the next slot of that limiter is at this instant.
    NotYet(Instant),
    /// Nothing was begun: all workers together could spend more than they may.
    OverSpend,
    /// Not recorded: another worker has the request now, or it has its outcome.
    Lost,
    /// Not recorded: the request has a job that the caller did not know of. An earlier owner's create
    /// was answered after all. The job is the caller's to poll.
    Learn(Waiting),
}

/// What happened to requests that are held, without their worker's doing.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct News {
    /// Another worker has them now, or they have their outcome.
    pub lost: Vec<Ticket>,
    /// They have a job that was not known of.
    pub learned: Vec<(Ticket, Waiting)>,
    /// The service asked another worker for a pause until this instant.
    pub pause: Option<Instant>,
}

impl News {
    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// Why a backlog wants attention.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wake {
    /// A claim may bring something now.
    Arrived,
    /// It is time for [`tend`](super::Backlog::tend).
    Tend,
}

/// An answer to [`poll_slots`](super::Backlog::poll_slots).
#[derive(Debug, Default, PartialEq, Eq)]
pub struct PollSlots {
    /// Instants at which one poll each may leave, in order.
    pub slots: Vec<Instant>,
    /// When it is worth asking for more.
    pub again: Option<Instant>,
}

/// Until when a worker may be sure of its leases. Shared between the backlog, which extends it, and the
/// engine, which polls more slowly while it is not sure: somebody else may be polling the same jobs.
#[derive(Clone, Debug)]
pub struct LeaseClock {
    until: Arc<AtomicU64>,
    now: fn() -> Duration,
}

impl Default for LeaseClock {
    /// By the time since the machine was started, that in suspension included, which tokio's clock
    /// leaves out.
    fn default() -> Self {
        Self::with(|| {
            let now = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
            Duration::try_from(now).unwrap_or_default()
        })
    }
}

impl LeaseClock {
    /// By a clock of the caller's, which counts from some instant in the past.
    #[must_use]
    pub fn with(now: fn() -> Duration) -> Self {
        Self {
            until: Arc::default(),
            now,
        }
    }

    /// The time by this clock.
    #[must_use]
    pub fn now(&self) -> Duration {
        (self.now)()
    }

    /// Leases are sure for this time from `asked`, a reading of [`now`](Self::now) from before they were
    /// asked for.
    pub fn extend(&self, asked: Duration, lease: Duration) {
        let until = u64::try_from((asked + lease).as_millis()).unwrap_or(u64::MAX);
        self.until.store(until, Ordering::Relaxed);
    }

    /// Whether the leases have not run out.
    #[must_use]
    pub fn is_sure(&self) -> bool {
        self.now().as_millis() < u128::from(self.until.load(Ordering::Relaxed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn leases_are_sure_until_they_run_out() {
        let clock = LeaseClock::default();
        assert!(!clock.is_sure(), "nothing was ever extended");
        clock.extend(clock.now(), Duration::from_secs(30));
        assert!(clock.is_sure());
        clock.extend(clock.now(), Duration::ZERO);
        assert!(!clock.is_sure());
    }
}
