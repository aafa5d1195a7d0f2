//! Claiming, beginning and creating.

use std::rc::Rc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::time::Instant;

use crate::api::{CreateReply, Refusal, RefusalCause, RetryAfter, Transport};
use crate::backlog::{Claimed, Record, RecorderGone, Resume, Supply, Waiting};
use crate::job::{ErrorClass, Micros, Outcome, Status};

use super::health::PROBE_EVERY;
use super::in_flight::{After, InFlight, Step};
use super::limiter::LATEST;
use super::policy::{self, AfterWithdraw, CreateVerdict};
use super::wheel::Timer;
use super::{CLAIMED_AHEAD, Engine, Event, Pacing, StopReason};

/// The pause where a throttling service names none, doubled with every further one.
const FIRST_PAUSE: Duration = Duration::from_secs(2);
/// The shortest pause, however little is asked for.
const SHORTEST_PAUSE: Duration = Duration::from_secs(1);
/// The longest pause that we choose ourselves.
const LONGEST_OWN_PAUSE: Duration = Duration::from_secs(60);
/// A service that asks for a longer pause is not waited for.
const LONGEST_PAUSE: Duration = Duration::from_secs(10 * 60);

/// How far ahead of its slot a create is begun: about twice the time that recording takes lately,
/// so that it is durable at its slot and a kill leaves few in doubt.
pub(super) struct Lead {
    recording: Duration,
}

/// Most creates that are begun and did not leave, for each connection: while one batch of them becomes
/// durable, those of the batch before are to keep the connections busy.
const BEGUN_PER_CONNECTION: usize = 4;

impl Lead {
    const SHORTEST: Duration = Duration::from_millis(50);
    const LONGEST: Duration = Duration::from_millis(100);

    pub(super) fn horizon(&self) -> Duration {
        (self.recording * 2).clamp(Self::SHORTEST, Self::LONGEST)
    }

    pub(super) fn observe(&mut self, took: Duration) {
        self.recording = (self.recording * 7 + took.min(Self::LONGEST)) / 8;
    }
}

impl Default for Lead {
    fn default() -> Self {
        Self {
            recording: Duration::from_millis(5),
        }
    }
}

impl<T: Transport + 'static> Engine<'_, T> {
    /// Asks for more requests where there is room.
    pub(super) fn claim(&mut self) -> Result<(), RecorderGone> {
        if self.claiming || self.exhausted || self.is_stopping() {
            return Ok(());
        }
        let in_flight = self.jobs.len() - self.queued.len();
        let ahead = self.queue_length().saturating_sub(self.queued.len());
        let room = self
            .settings
            .max_in_flight
            .saturating_sub(in_flight)
            .min(ahead);
        if room == 0 || self.queued.len() > ahead {
            return Ok(());
        }
        if self.settings.pacing == Pacing::Shared && self.is_early_to_claim() {
            return Ok(());
        }
        self.claiming = true;
        self.recorder.claim(room)
    }

    /// How many requests wait for their slot: a quarter of a second's worth, more where Redis is far.
    pub(super) fn queue_length(&self) -> usize {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "clamped right after"
        )]
        let wanted = (self.settings.submit_rate.per_second
            * (0.25 + 4.0 * self.shared.lag.as_secs_f64())) as usize;
        wanted.clamp(16, CLAIMED_AHEAD)
    }

    /// Takes in what was claimed.
    pub(super) fn claimed(&mut self, claimed: Claimed) {
        match claimed.supply {
            Supply::More => self.claiming = false,
            Supply::NotYet(_) if self.is_stopping() => self.claiming = false,
            Supply::NotYet(wait) => {
                self.claim_timer = Some(self.wheel.set(Instant::now() + wait, Timer::Claim));
            }
            Supply::Exhausted => {
                self.claiming = false;
                self.exhausted = true;
            }
        }
        for outcome in claimed.settled {
            self.count(&outcome);
            self.observer.on(&Event::Settled {
                id: None,
                outcome: &outcome,
            });
        }
        if claimed.in_doubt > 0 {
            self.tally.unknown_creates += claimed.in_doubt;
            self.observer.on(&Event::FoundInDoubt {
                count: claimed.in_doubt,
            });
        }
        let now = Instant::now();
        for mut claim in claimed.jobs {
            let resume = std::mem::replace(&mut claim.resume, Resume::Queued);
            let not_after = claim
                .not_after
                .map(|at| Box::new(now + self.time_until(at)));
            let key = self.jobs.insert(InFlight::new(claim, now));
            self.jobs[key].not_after = not_after;
            match resume {
                _ if self.is_stopping() => self.release(key, Duration::ZERO),
                Resume::Queued => self.queued.push_back(key),
                Resume::Waiting(waiting) => self.adopt(key, &waiting, now),
            }
        }
    }

    /// A job of an earlier process goes on, for the time it has left. Nobody knows when it was polled
    /// last, so the first poll waits a whole interval.
    pub(super) fn adopt(&mut self, key: usize, waiting: &Waiting, now: Instant) {
        let left = self.time_until(waiting.deadline);
        let job = &mut self.jobs[key];
        let left = left.min(job.kind().timeout);
        self.observer.on(&Event::Adopted {
            id: job.id(),
            remote_id: &waiting.remote_id,
        });
        let spread = job.kind().interval.mul_f64(self.rng.f64());
        job.deadline = job.bounded(now + left);
        job.due = now + job.kind().interval.max(self.settings.poll_floor) + spread;
        self.jobs.set_job(key, Some(waiting));
        self.forget_if_crowded(key);
        let job = &mut self.jobs[key];
        job.step = Step::Waiting;
        job.timer = Some(self.wheel.set(job.due, Timer::Poll(key)));
    }

    /// From now until a time on the wall clock.
    fn time_until(&self, at: Timestamp) -> Duration {
        let left = at.duration_since((self.settings.wall_clock)());
        Duration::try_from(left).unwrap_or(Duration::ZERO)
    }

    /// The next request to be begun. Those that their owners have no more use for end here.
    pub(super) fn next_queued(&mut self, now: Instant) -> Option<usize> {
        while let Some(&key) = self.queued.front() {
            if self.jobs[key]
                .not_after
                .as_ref()
                .is_none_or(|end| now < **end)
            {
                return Some(key);
            }
            self.queued.pop_front();
            self.finish(
                key,
                Status::Failed,
                None,
                Some(ErrorClass::Deadline),
                "its deadline passed before it could be sent",
                Micros::ZERO,
                false,
            );
        }
        None
    }

    /// Begins as many creates as have slots that are near.
    pub(super) fn begin(&mut self, now: Instant) {
        if self.settings.pacing == Pacing::Shared {
            self.begin_shared(now);
            return;
        }
        while self.may_begin() {
            let Some(key) = self.next_queued(now) else {
                return;
            };
            let price = self.jobs[key].kind().reserve();
            if self
                .settings
                .max_spend
                .is_some_and(|max| self.spent + price > max)
            {
                // What is in flight may give something back; only then is it really over.
                if self.jobs.len() == self.queued.len() {
                    self.stop(StopReason::MaxSpend);
                }
                return;
            }
            let horizon = self.lead.horizon();
            match self.submit_limiter.reserve(now, now + horizon) {
                Ok(slot) => {
                    self.queued.pop_front();
                    self.begin_one(key, slot, price, now);
                }
                Err(next) => {
                    self.open_gate_at(next - horizon);
                    return;
                }
            }
        }
    }

    /// Nothing can be begun before this instant; then the loop looks again.
    pub(super) fn open_gate_at(&mut self, at: Instant) {
        if self.gate.is_none_or(|gate| at < gate) {
            self.gate = Some(at);
            self.wheel.set(at, Timer::Gate);
        }
    }

    pub(super) fn may_begin(&self) -> bool {
        if self.is_stopping() || self.stalled {
            return false;
        }
        let under_way = self.begun + self.creates.len();
        if self.health.is_open() {
            return under_way == 0;
        }
        // Polls that are due go first, and what is begun should find a connection.
        let free = self
            .settings
            .max_connections
            .saturating_sub(self.exchanges() + self.due_polls.len());
        let in_flight = self.jobs.len() - self.queued.len();
        free > 0
            && self.begun < BEGUN_PER_CONNECTION * self.settings.max_connections
            && in_flight < self.settings.max_in_flight
    }

    pub(super) fn begin_one(&mut self, key: usize, slot: Instant, price: Micros, now: Instant) {
        let at = (self.settings.wall_clock)();
        let job = &mut self.jobs[key];
        job.due = slot;
        job.reserved = price;
        job.history.creates += 1;
        job.history.spent += price;
        self.begun += 1;
        self.spent += price;
        self.tally.spend += price;
        self.tally.creates += 1;
        self.record(key, Record::Begin { reserve: price, at }, After::Begun(now));
    }

    /// A create that was begun is durable: it leaves at its slot.
    pub(super) fn begun(&mut self, key: usize, asked: Instant) {
        let now = Instant::now();
        self.lead.observe(now - asked);
        self.jobs[key].step = Step::Begun;
        if self.is_stopping() {
            self.withdraw_begun(key);
        } else if self.jobs[key].due <= now {
            self.sends.push_back(key);
        } else {
            let timer = self.wheel.set(self.jobs[key].due, Timer::Send(key));
            self.jobs[key].timer = Some(timer);
        }
    }

    /// Sends what is begun and due. A create that is too late for its slot takes another.
    pub(super) fn send_creates(&mut self, now: Instant) {
        while self.exchanges() < self.settings.max_connections {
            let Some(key) = self.sends.pop_front() else {
                return;
            };
            if self.is_void(self.jobs[key].due) {
                // The service asked for a pause since, or most calls failed: what is begun does not
                // leave, nor does it stay in doubt for as long.
                self.withdraw_unsent(key);
                continue;
            }
            let is_late = now > self.jobs[key].due + LATEST;
            if is_late && self.settings.pacing == Pacing::Shared {
                // Another slot can only be had by beginning again.
                self.withdraw_unsent(key);
                continue;
            }
            let job = &mut self.jobs[key];
            if is_late {
                job.due = self.submit_limiter.reserve_next(now);
                if job.due > now {
                    job.timer = Some(self.wheel.set(job.due, Timer::Send(key)));
                    continue;
                }
            }
            job.step = Step::Creating;
            self.begun -= 1;
            self.health.contact(now);
            self.observer.on(&Event::CreateSent { id: job.id() });
            let Some(request) = job.request().map(Rc::clone) else {
                unreachable!("what was forgotten is recalled or released before it is begun again")
            };
            let client = Rc::clone(&self.client);
            self.creates.push(Box::pin(
                async move { (key, client.create(&request).await) },
            ));
        }
    }

    /// Whether a slot was given before creates were held beyond it.
    fn is_void(&self, slot: Instant) -> bool {
        match self.settings.pacing {
            Pacing::Own => self.submit_limiter.is_void(slot),
            Pacing::Shared => slot < self.held_until || self.shared.is_void(slot),
        }
    }

    /// A create was answered.
    pub(super) fn create_answered(&mut self, key: usize, reply: CreateReply) {
        let now = Instant::now();
        let was_open = self.health.is_open();
        match &reply {
            CreateReply::Created(_) => {
                self.health.create_succeeded();
                self.throttles_in_row = 0;
            }
            CreateReply::Refused(refusal) if refusal.cause == RefusalCause::Passing => {
                self.health.create_put_off();
            }
            CreateReply::Refused(_) | CreateReply::Throttled(_) => self.health.answered(),
            CreateReply::NotSent(why) | CreateReply::Unknown { why, .. } => {
                self.health.create_failed(now);
                self.last_fault = why.to_string();
            }
        }
        self.tell_of_circuit(was_open);
        if let CreateReply::Unknown { pause, .. } = &reply
            && pause.is_some()
        {
            self.throttle(*pause);
        }
        let doubts = match &reply {
            CreateReply::Created(_) => {
                self.jobs[key].trust();
                policy::Doubts::default()
            }
            CreateReply::Refused(Refusal { cause, .. }) => {
                let cause = *cause;
                self.jobs[key].doubt(now, &self.health, Some(cause))
            }
            _ => self.jobs[key].doubt(now, &self.health, None),
        };
        match policy::after_create(reply, doubts, self.settings.on_unknown_create) {
            CreateVerdict::Wait(remote_id) => {
                let submitted_at = (self.settings.wall_clock)();
                let job = &mut self.jobs[key];
                let timeout = job.kind().timeout;
                let first = job.kind().first_after.max(self.settings.poll_floor);
                let deadline = submitted_at.saturating_add(timeout).unwrap_or(submitted_at);
                let waiting = Waiting {
                    remote_id,
                    submitted_at,
                    deadline,
                };
                job.deadline = job.bounded(now + timeout);
                job.due = now + policy::jittered(first, &mut self.rng);
                self.jobs.set_job(key, Some(&waiting));
                self.record(key, Record::Created(waiting), After::Created);
            }
            CreateVerdict::Withdraw(after) => self.withdraw(key, after, doubts.count),
            CreateVerdict::CountAndRetry(why) => {
                self.tally.unknown_creates += 1;
                self.jobs[key].history.unknown_creates += 1;
                self.observer.on(&Event::CreateUnknown {
                    id: self.jobs[key].id(),
                    why: &why,
                });
                let delay = policy::backoff(doubts.count, &mut self.rng);
                self.record(key, Record::Unknown, After::Requeue(delay));
                self.failed_once();
            }
            CreateVerdict::CountAndFail(why) => {
                self.tally.unknown_creates += 1;
                self.observer.on(&Event::CreateUnknown {
                    id: self.jobs[key].id(),
                    why: &why,
                });
                self.fail_unknown_create(key, &why);
            }
        }
        if self.health.is_open() {
            self.submit_limiter.hold_until(now + PROBE_EVERY);
            self.shared.hold_until(now + PROBE_EVERY);
        }
        self.stop_if_unreachable(now);
    }

    /// A create is known not to exist: count and money are given back, then the request goes on.
    fn withdraw(&mut self, key: usize, after: AfterWithdraw, doubts: u32) {
        let next = match after {
            AfterWithdraw::Unsent(why) | AfterWithdraw::Busy(why) => {
                self.observer.on(&Event::CreateWithdrawn {
                    id: self.jobs[key].id(),
                    why: &why,
                });
                After::Requeue(policy::backoff(doubts, &mut self.rng))
            }
            AfterWithdraw::Throttled(pause) => {
                self.throttle(pause);
                After::Requeue(Duration::ZERO)
            }
            AfterWithdraw::Doubted(why) => {
                self.observer.on(&Event::CreateWithdrawn {
                    id: self.jobs[key].id(),
                    why: &why,
                });
                if self.health.refused() {
                    self.stop(StopReason::Refusals(why.to_string()));
                }
                After::Requeue(Duration::from_millis(500) + policy::backoff(doubts, &mut self.rng))
            }
            AfterWithdraw::BadRequest(why) => {
                if self.health.bad_request() {
                    self.stop(StopReason::Refusals(why.to_string()));
                }
                After::Finish(Box::new((ErrorClass::Refused, why)))
            }
            AfterWithdraw::Refused(why) => After::Finish(Box::new((ErrorClass::Refused, why))),
            AfterWithdraw::AccountFault(refusal) => {
                self.stop(StopReason::of_account(&refusal));
                After::Release(Duration::ZERO)
            }
        };
        self.give_back_begun(key);
        self.record(key, Record::Withdraw, next);
    }

    /// What was begun and did not leave is not in doubt any more, and begun again later.
    pub(super) fn withdraw_unsent(&mut self, key: usize) {
        self.begun -= 1;
        self.give_back_begun(key);
        self.record(key, Record::Withdraw, After::Requeue(Duration::ZERO));
    }

    /// Takes back what `begin_one` counted.
    pub(super) fn give_back_begun(&mut self, key: usize) {
        let job = &mut self.jobs[key];
        let price = job.reserved;
        job.history.creates -= 1;
        job.history.spent = job.history.spent - price;
        self.spent = self.spent - price;
        self.tally.spend = self.tally.spend - price;
        self.tally.creates -= 1;
    }

    /// The service wants a pause: nobody creates or polls before it is over.
    pub(super) fn throttle(&mut self, asked: Option<RetryAfter>) {
        let own = FIRST_PAUSE
            .saturating_mul(1 << self.throttles_in_row.min(8))
            .min(LONGEST_OWN_PAUSE);
        self.throttles_in_row += 1;
        // A service that asks for no pause at all gets a short one: nothing loops without a wait.
        let pause = asked.map_or(own, |RetryAfter(pause)| pause.max(SHORTEST_PAUSE));
        if pause > LONGEST_PAUSE {
            self.stop(StopReason::LongPause(pause));
            return;
        }
        let until = Instant::now() + pause;
        if until > self.held_until {
            self.held_until = until;
            self.observer.on(&Event::Throttled { pause });
        }
        if self.settings.pacing == Pacing::Shared {
            self.recorder.penalise(pause);
        }
        self.submit_limiter.hold_until(until);
        if let Some(limiter) = &mut self.poll_limiter {
            limiter.hold_until(until);
        }
    }

    pub(super) fn tell_of_circuit(&mut self, was_open: bool) {
        match (was_open, self.health.is_open()) {
            (false, true) => self.observer.on(&Event::CircuitOpened),
            (true, false) => {
                self.observer.on(&Event::CircuitClosed);
                self.bring_polls_forward();
            }
            _ => {}
        }
    }

    pub(super) fn count(&mut self, outcome: &Outcome) {
        match outcome.status {
            Status::Solved => self.tally.solved += 1,
            Status::Failed => self.tally.failed += 1,
            Status::Rejected => self.tally.rejected += 1,
        }
        if let Some(error) = outcome.error {
            *self.tally.errors.entry(error).or_default() += 1;
        }
    }
}
