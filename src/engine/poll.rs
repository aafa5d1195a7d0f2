//! Polling.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::api::{PollReply, Transport};
use crate::backlog::Record;
use crate::job::{ErrorClass, Micros, Status};

use super::in_flight::{After, InFlight, Step};
use super::policy::{self, PollVerdict};
use super::wheel::Timer;
use super::{Engine, Event, Pacing, StopReason};

/// How much slower a job of unknown status is polled.
const SLOWLY: u32 = 5;

/// Most records that are waited for while polls are sent.
const MOST_UNRECORDED: usize = 4096;

/// Different unknown statuses that are told of. Bounds what a server can make us remember.
const STATUSES_TOLD: usize = 32;

/// Whether a poll has to wait although it is due.
enum Wait {
    No,
    Until(Instant),
    /// For a slot of the limit that all workers share.
    ForSlot,
}

impl<T: Transport + 'static> Engine<'_, T> {
    /// Sends the polls that are due, as far as connections, pauses and the poll limiter let them.
    pub(super) fn send_polls(&mut self, now: Instant) {
        while self.exchanges() < self.settings.max_connections && !self.recorder_is_behind() {
            let Some(key) = self.due_polls.pop_front() else {
                return;
            };
            match self.poll_must_wait(key, now) {
                Wait::No => {}
                Wait::Until(later) => {
                    self.poll_at(key, later);
                    continue;
                }
                Wait::ForSlot => {
                    self.shared.parked_polls.push_back(key);
                    continue;
                }
            }
            let job = &mut self.jobs[key];
            let Some(remote_id) = job.job().map(|w| w.remote_id.clone()) else {
                continue;
            };
            let late = now.saturating_duration_since(job.due);
            job.step = Step::Polling;
            job.overdue = now >= job.deadline;
            job.hesitated = false;
            job.job_polls += 1;
            self.tally.polls += 1;
            self.health.contact(now);
            self.observer.on(&Event::PollSent { id: job.id(), late });
            let (client, kind) = (Rc::clone(&self.client), Arc::clone(job.kind()));
            self.polls.push(Box::pin(async move {
                (key, client.poll(&remote_id, &kind).await)
            }));
        }
    }

    /// Whether so many outcomes wait to be recorded that more of them should wait at the service. Where a
    /// backlog may be away for a while, all that can be learned meanwhile is worth its memory.
    fn recorder_is_behind(&self) -> bool {
        self.settings.pacing == Pacing::Own && self.recorder.waiting() >= MOST_UNRECORDED
    }

    /// Whether a due poll has to wait after all.
    fn poll_must_wait(&mut self, key: usize, now: Instant) -> Wait {
        if now < self.held_until {
            let spread = self.jobs[key].kind().interval.mul_f64(self.rng.f64());
            return Wait::Until(self.held_until + spread);
        }
        let floor = self.settings.poll_floor;
        let job = &mut self.jobs[key];
        if !job.hesitated && self.settings.lease.as_ref().is_some_and(|l| !l.is_sure()) {
            // Somebody else may be polling it by now: both together should not be faster than one.
            job.hesitated = true;
            return Wait::Until(now + job.kind().interval.max(floor));
        }
        if self.poll_limiter.is_none() {
            return Wait::No;
        }
        // A poll that comes back at the slot it was given finds `due` equal to it and leaves.
        if job.slotted {
            job.slotted = false;
            return Wait::No;
        }
        let slot = match (self.settings.pacing, &mut self.poll_limiter) {
            (Pacing::Own, Some(limiter)) => limiter.reserve_next(now),
            _ => match self.shared.take_poll_slot(now) {
                Some(slot) => slot,
                None => return Wait::ForSlot,
            },
        };
        job.slotted = slot > now;
        if job.slotted {
            Wait::Until(slot)
        } else {
            Wait::No
        }
    }

    /// Puts a job on the wheel until its next poll.
    pub(super) fn poll_at(&mut self, key: usize, at: Instant) {
        let job = &mut self.jobs[key];
        job.due = at;
        job.step = Step::Waiting;
        job.timer = Some(self.wheel.set(at, Timer::Poll(key)));
    }

    /// The service is back. Polls that were put off for its sake come in an interval or two: their jobs
    /// hold places that creates could have, and their tokens grow old.
    pub(super) fn bring_polls_forward(&mut self) {
        let now = Instant::now().max(self.held_until);
        let put_off = |(_, job): &(usize, &InFlight)| {
            matches!(job.step, Step::Waiting) && job.is_doubted() && !job.slotted
        };
        let keys: Vec<usize> = self
            .jobs
            .iter()
            .filter(put_off)
            .map(|(key, _)| key)
            .collect();
        for key in keys {
            let job = &mut self.jobs[key];
            let interval = job.kind().interval.max(self.settings.poll_floor);
            // The last answer may have come just now: the floor counts from here.
            let at = now + interval + interval.mul_f64(self.rng.f64());
            if at < job.due
                && let Some(timer) = job.timer.take()
            {
                self.wheel.cancel(&timer);
                self.poll_at(key, at);
            }
        }
    }

    /// A poll was answered.
    pub(super) fn poll_answered(&mut self, key: usize, reply: PollReply) {
        let now = Instant::now();
        let was_open = self.health.is_open();
        match &reply {
            PollReply::Transient(why) => {
                self.health.poll_failed(now);
                self.last_fault = why.to_string();
            }
            PollReply::Throttled(_) => self.health.answered(),
            PollReply::Solved(_)
            | PollReply::Pending
            | PollReply::UnknownStatus(_)
            | PollReply::Failed(_)
            | PollReply::NoToken
            | PollReply::Refused(_) => {
                self.health.poll_succeeded();
                self.throttles_in_row = 0;
            }
        }
        self.tell_of_circuit(was_open);
        let job = &mut self.jobs[key];
        let doubts = match &reply {
            PollReply::Transient(_) | PollReply::NoToken => job.doubt(now, &self.health, None),
            PollReply::Refused(refusal) => job.doubt(now, &self.health, Some(refusal.cause)),
            _ => {
                job.trust();
                policy::Doubts::default()
            }
        };
        let overdue = job.overdue;
        let interval = job.kind().interval.max(self.settings.poll_floor);
        match policy::after_poll(reply, overdue, job.attempts_left(), doubts) {
            PollVerdict::Solved(token) => {
                self.finish(
                    key,
                    Status::Solved,
                    Some(token),
                    None,
                    "",
                    Micros::ZERO,
                    false,
                );
            }
            PollVerdict::Again => {
                let wait = policy::jittered(interval, &mut self.rng);
                self.poll_after(key, now, wait);
            }
            PollVerdict::AgainSlowly(status) => {
                if self.statuses_told.len() < STATUSES_TOLD
                    && self.statuses_told.insert(status.to_string())
                {
                    self.observer.on(&Event::UnknownStatus { status: &status });
                }
                let wait = policy::jittered(interval * SLOWLY, &mut self.rng);
                self.poll_after(key, now, wait);
            }
            PollVerdict::AgainLater(why) => {
                self.observer.on(&Event::PollInconclusive {
                    id: self.jobs[key].id(),
                    why: &why,
                });
                let wait = interval + policy::backoff(doubts.count, &mut self.rng);
                self.poll_after(key, now, wait);
            }
            PollVerdict::Throttled(pause) => {
                self.throttle(pause);
                let wait = policy::jittered(interval, &mut self.rng);
                self.poll_after(key, now, wait);
            }
            PollVerdict::NewAttempt { why, is_billed } => {
                self.observer.on(&Event::Retrying {
                    id: self.jobs[key].id(),
                    why: &why,
                });
                self.new_attempt(key, is_billed);
                self.failed_once();
            }
            PollVerdict::Fail {
                class,
                why,
                is_billed,
            } => {
                let class = match class {
                    ErrorClass::Timeout if self.jobs[key].ends_by_owner() => ErrorClass::Deadline,
                    class => class,
                };
                let refund = self.refund(key, is_billed);
                self.finish(
                    key,
                    Status::Failed,
                    None,
                    Some(class),
                    why.as_str(),
                    refund,
                    false,
                );
                self.failed_once();
            }
            PollVerdict::Doubted(why) => {
                self.observer.on(&Event::PollInconclusive {
                    id: self.jobs[key].id(),
                    why: &why,
                });
                let wait = interval + policy::backoff(doubts.count, &mut self.rng);
                self.poll_after(key, now, wait);
                if self.health.refused() {
                    self.stop(StopReason::Refusals(why.to_string()));
                }
            }
            PollVerdict::AccountFault(refusal) => {
                self.stop(StopReason::of_account(&refusal));
                self.release(key, Duration::ZERO);
            }
        }
        self.stop_if_unreachable(now);
    }

    /// Polls again after `wait`, or right at the deadline where that comes first, but never under
    /// the floor.
    fn poll_after(&mut self, key: usize, now: Instant, wait: Duration) {
        let last = self.jobs[key].deadline.max(now + self.settings.poll_floor);
        let at = if now < self.jobs[key].deadline {
            (now + wait).min(last)
        } else {
            now + wait
        };
        if self.is_drained() {
            self.release(key, Duration::ZERO);
        } else {
            self.poll_at(key, at);
        }
    }

    /// What is given back of a job that brought no token.
    fn refund(&self, key: usize, is_billed: bool) -> Micros {
        if is_billed {
            Micros::ZERO
        } else {
            self.jobs[key].reserved
        }
    }

    fn new_attempt(&mut self, key: usize, is_billed: bool) {
        let refund = self.refund(key, is_billed);
        let job = &mut self.jobs[key];
        let polls = std::mem::take(&mut job.job_polls);
        job.history.polls += polls;
        job.history.failed_attempts += 1;
        job.history.spent = job.history.spent - refund;
        self.jobs.set_job(key, None);
        self.spent = self.spent - refund;
        self.tally.spend = self.tally.spend - refund;
        self.tally.retries += 1;
        self.record(
            key,
            Record::Retry { refund, polls },
            After::Requeue(Duration::ZERO),
        );
    }
}
