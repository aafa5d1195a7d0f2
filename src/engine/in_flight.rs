//! A request that the engine has claimed, and where it stands.

use std::ops::{Index, IndexMut};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use slab::Slab;
use tokio::time::Instant;

use crate::api::RefusalCause;
use crate::backlog::{Claim, History, Ticket, Waiting};
use crate::job::{ErrorClass, ForeignText, Kind, Micros, Outcome, RemoteId, Request, RequestId};

use super::health::Health;
use super::policy::Doubts;
use super::wheel::TimerKey;

/// A claimed request.
pub(super) struct InFlight {
    pub(super) ticket: Ticket,
    request: Held,
    pub(super) history: History,
    pub(super) step: Step,
    /// Its one timer, while it stands on the wheel.
    pub(super) timer: Option<TimerKey>,
    /// What is set aside for its present job, or for the create under way.
    pub(super) reserved: Micros,
    /// Its job at the service.
    job: Option<RemoteJob>,
    /// When that job is given up.
    pub(super) deadline: Instant,
    /// When its create may leave, or its next poll is due.
    pub(super) due: Instant,
    /// `due` is a slot of the poll limiter.
    pub(super) slotted: bool,
    /// When its owner has no more use for it.
    pub(super) not_after: Option<Box<Instant>>,
    /// Its poll was put off once because its lease was in doubt.
    pub(super) hesitated: bool,
    /// Its last poll was sent at its deadline or after it.
    pub(super) overdue: bool,
    /// Polls of the present job, not in `history` yet.
    pub(super) job_polls: u32,
    /// There are none for nearly all.
    doubts: Option<Box<DoubtLog>>,
}

/// What is kept of a request.
enum Held {
    /// All.
    All(Rc<Request>),
    /// What polling takes; the fields are the backlog's to give back.
    Part(RequestId, Arc<Kind>),
}

/// A job at the service.
pub(super) struct RemoteJob {
    pub(super) remote_id: RemoteId,
    pub(super) submitted_at: Timestamp,
}

/// Where a claimed request stands. What is recorded is always a step behind.
pub(super) enum Step {
    /// In the queue of those to be begun.
    Queued,
    /// On the wheel until it may be begun again.
    Delayed,
    /// Being recorded, to go on so.
    Recording(After),
    /// Begun; on the wheel until its slot, or in the queue of those to be sent.
    Begun,
    /// Its create is on the wire.
    Creating,
    /// Its job is on the wheel until the next poll, or in the queue of those to be polled.
    Waiting,
    /// Its poll is on the wire.
    Polling,
}

/// How a request goes on once its record is durable.
pub(super) enum After {
    /// Its create may leave. When that was asked for.
    Begun(Instant),
    /// Its job is to be polled.
    Created,
    /// It may be begun again after this time.
    Requeue(Duration),
    /// It ends so (its create was withdrawn first).
    Finish(Box<(ErrorClass, ForeignText)>),
    /// It has ended so.
    Settled(Arc<Outcome>),
    /// It is handed back, not to be begun before this time has passed.
    Release(Duration),
    /// It was handed back.
    Released,
}

/// Answers in a row that were no verdict.
#[derive(Default)]
struct DoubtLog {
    count: u32,
    refusals: u32,
    /// Time and success count at the first of them.
    first: Option<(Instant, u64)>,
}

/// What an earlier process set aside for a request's job. Prices change between runs; what a history
/// holds is the sum over its creates, less the solves that failed, which were given back.
fn share(history: &History) -> Micros {
    let billed = history.creates.saturating_sub(history.failed_attempts);
    Micros(history.spent.0 / i64::from(billed.max(1)))
}

impl InFlight {
    pub(super) fn new(claim: Claim, now: Instant) -> Self {
        Self {
            ticket: claim.ticket,
            request: Held::All(Rc::new(claim.request)),
            history: claim.history,
            step: Step::Queued,
            timer: None,
            reserved: share(&claim.history),
            job: None,
            deadline: now,
            due: now,
            slotted: false,
            not_after: None,
            hesitated: false,
            overdue: false,
            job_polls: 0,
            doubts: None,
        }
    }

    /// Its job at the service.
    pub(super) fn job(&self) -> Option<&RemoteJob> {
        self.job.as_ref()
    }

    pub(super) fn id(&self) -> &RequestId {
        match &self.request {
            Held::All(request) => request.id(),
            Held::Part(id, _) => id,
        }
    }

    /// The request; `None` where its fields were [forgotten](Self::forget).
    pub(super) fn request(&self) -> Option<&Rc<Request>> {
        match &self.request {
            Held::All(request) => Some(request),
            Held::Part(..) => None,
        }
    }

    /// Keeps what polling takes.
    pub(super) fn forget(&mut self) {
        if let Held::All(request) = &self.request {
            self.request = Held::Part(request.id().clone(), Arc::clone(request.kind()));
        }
    }

    /// Has the request again.
    pub(super) fn recall(&mut self, request: Request) {
        self.request = Held::All(Rc::new(request));
    }

    /// The end of a job that may take until `end`: its owner may want it sooner.
    pub(super) fn bounded(&self, end: Instant) -> Instant {
        self.not_after
            .as_ref()
            .map_or(end, |not_after| end.min(**not_after))
    }

    /// Whether its owner's own deadline is what ends it.
    pub(super) fn ends_by_owner(&self) -> bool {
        self.not_after
            .as_ref()
            .is_some_and(|not_after| **not_after <= self.deadline)
    }

    pub(super) fn kind(&self) -> &Arc<Kind> {
        match &self.request {
            Held::All(request) => request.kind(),
            Held::Part(_, kind) => kind,
        }
    }

    /// Counts an answer that was no verdict; `refusal` is what it refused for, where it did.
    pub(super) fn doubt(
        &mut self,
        now: Instant,
        health: &Health,
        refusal: Option<RefusalCause>,
    ) -> Doubts {
        let lasts = self.kind().timeout;
        let doubts = self.doubts.get_or_insert_default();
        doubts.count = doubts.count.saturating_add(1);
        let about_request = matches!(
            refusal,
            Some(RefusalCause::UnknownJob | RefusalCause::BadRequest | RefusalCause::Unrecognised)
        );
        doubts.refusals += u32::from(about_request);
        let (since, successes) = *doubts.first.get_or_insert((now, health.successes()));
        Doubts {
            count: doubts.count,
            refusals: doubts.refusals,
            others_succeeded: health.successes() > successes,
            lasting: now.saturating_duration_since(since) >= lasts,
        }
    }

    /// Whether the last answer was no verdict.
    pub(super) fn is_doubted(&self) -> bool {
        self.doubts.is_some()
    }

    /// An answer that was a verdict ends the doubts.
    pub(super) fn trust(&mut self) {
        self.doubts = None;
    }

    /// Jobs that may still be created because solves failed, should this one fail.
    pub(super) fn attempts_left(&self) -> u32 {
        self.kind()
            .attempts
            .saturating_sub(self.history.failed_attempts.saturating_add(1))
    }
}

/// All claimed requests, each with its key. How many of them wait for a job is known at any time.
#[derive(Default)]
pub(super) struct Jobs {
    slab: Slab<InFlight>,
    waiting: usize,
}

impl Jobs {
    pub(super) fn insert(&mut self, job: InFlight) -> usize {
        self.waiting += usize::from(job.job.is_some());
        self.slab.insert(job)
    }

    pub(super) fn remove(&mut self, key: usize) -> InFlight {
        let job = self.slab.remove(key);
        self.waiting -= usize::from(job.job.is_some());
        job
    }

    /// A request has a job from now on, or has none any more.
    pub(super) fn set_job(&mut self, key: usize, waiting: Option<&Waiting>) {
        self.waiting += usize::from(waiting.is_some());
        let job = waiting.map(|w| RemoteJob {
            remote_id: w.remote_id.clone(),
            submitted_at: w.submitted_at,
        });
        let before = std::mem::replace(&mut self.slab[key].job, job);
        self.waiting -= usize::from(before.is_some());
    }

    /// How many have a job.
    pub(super) fn waiting(&self) -> usize {
        self.waiting
    }

    pub(super) fn len(&self) -> usize {
        self.slab.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.slab.is_empty()
    }

    pub(super) fn iter(&self) -> slab::Iter<'_, InFlight> {
        self.slab.iter()
    }
}

impl Index<usize> for Jobs {
    type Output = InFlight;

    fn index(&self, key: usize) -> &InFlight {
        &self.slab[key]
    }
}

impl IndexMut<usize> for Jobs {
    fn index_mut(&mut self, key: usize) -> &mut InFlight {
        &mut self.slab[key]
    }
}
#[cfg(test)]
mod tests {
    use super::*;

    /// There may be a million of them.
    #[test]
    fn a_request_in_flight_is_small() {
        assert!(size_of::<InFlight>() <= 200, "{}", size_of::<InFlight>());
    }
}
