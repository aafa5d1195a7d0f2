//! Sharing a backlog with other workers: begins whose slots the backlog chooses, requests that turn
//! out to be another's, and a backlog that is out of reach for a while.

use std::collections::VecDeque;
use std::time::Duration;

use foldhash::HashMap;
use tokio::time::Instant;

use crate::api::Transport;
use crate::backlog::{Answer, News, PollSlots, RecorderGone, Ticket, Waiting};

use super::in_flight::{After, Step};
use super::limiter::LATEST;
use super::wheel::Timer;
use super::{Engine, Event, StopReason};

/// How far ahead the shared limiter gives slots away.
const HORIZON: Duration = Duration::from_millis(100);
/// Slots are asked for this long before the first that is free, when part of the horizon is, so that a question
/// brings more than one; and long enough for a machine that is busy.
const AHEAD: Duration = Duration::from_millis(70);
/// Workers that wait for the same slot ask for it spread over this time.
const SPREAD: Duration = Duration::from_millis(20);
/// A worker whose question brought no slot, because others were faster, asks again spread over this time: by
/// then there are several.
const WIDE_SPREAD: Duration = Duration::from_millis(60);
/// However long an answer takes, no more slots are asked for ahead because of it.
const LONGEST_LAG: Duration = Duration::from_millis(400);
/// A queue that is more than half full is filled up after this time.
const FILL_UP_EVERY: Duration = Duration::from_secs(1);
/// A spend that is used up is asked for again after this time: failed solves of others give some back.
const SPEND_AGAIN: Duration = Duration::from_secs(1);
/// Most slots for polls that are asked for at once.
const MOST_POLL_SLOTS: usize = 128;

/// Where the engine stands with the limits that all workers share.
pub(super) struct SharedPace {
    /// Begins that are asked for and not answered.
    pub(super) asking: usize,
    /// The last question brought a slot.
    got_slot: bool,
    /// How long answers take lately.
    pub(super) lag: Duration,
    /// A queue that is more than half full is filled up at this instant.
    fill_up_at: Instant,
    /// Nothing is begun before this instant.
    not_before: Instant,
    /// Slots for polls, in order.
    poll_slots: VecDeque<Instant>,
    /// Polls that are due and have no slot.
    pub(super) parked_polls: VecDeque<usize>,
    /// Slots for polls are asked for, or to be asked for when the timer fires.
    pub(super) asked_for_polls: bool,
}

impl SharedPace {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            asking: 0,
            got_slot: false,
            lag: Duration::ZERO,
            fill_up_at: now,
            not_before: now,
            poll_slots: VecDeque::new(),
            parked_polls: VecDeque::new(),
            asked_for_polls: false,
        }
    }

    pub(super) fn hold_until(&mut self, until: Instant) {
        self.not_before = self.not_before.max(until);
    }

    /// A begin was answered, so long after it was asked for.
    pub(super) fn answered(&mut self, took: Duration, is_slot: bool) {
        self.asking -= 1;
        self.got_slot |= is_slot;
        // The longest of late: a slot whose answer comes too late is lost to all.
        let took = took.min(LONGEST_LAG);
        self.lag = took.max((self.lag * 7 + took) / 8);
    }

    /// Whether a slot was given before a hold that covers it.
    pub(super) fn is_void(&self, slot: Instant) -> bool {
        slot < self.not_before
    }

    /// The next slot that is not over.
    pub(super) fn take_poll_slot(&mut self, now: Instant) -> Option<Instant> {
        std::iter::from_fn(|| self.poll_slots.pop_front()).find(|slot| now <= *slot + LATEST)
    }
}

impl<T: Transport + 'static> Engine<'_, T> {
    /// Asks the backlog for slots for as many requests as the rate can bear in the near future. One
    /// question at a time: what was asked for twice would be granted twice.
    pub(super) fn begin_shared(&mut self, now: Instant) {
        if self.shared.asking > 0 || self.gate.is_some() {
            return;
        }
        let not_before = self.held_until.max(self.shared.not_before);
        if now < not_before {
            self.open_gate_at(not_before);
            return;
        }
        let rate = self.settings.submit_rate;
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "it is positive, and a rate beyond any integer is cut"
        )]
        let in_horizon =
            (rate.per_second * (HORIZON + self.shared.lag).as_secs_f64()).ceil() as usize;
        let many = in_horizon.saturating_add(rate.burst.get() as usize);
        self.shared.got_slot = false;
        while self.shared.asking < many && self.may_begin() {
            let Some(key) = self.next_queued(now) else {
                return;
            };
            self.queued.pop_front();
            self.shared.asking += 1;
            let price = self.jobs[key].kind().reserve();
            self.begin_one(key, now, price, now);
        }
    }

    /// Whether a claim would bring a few where it could bring many. Jobs to adopt do not wait for long.
    pub(super) fn is_early_to_claim(&mut self) -> bool {
        let now = Instant::now();
        let has_enough = self.queued.len() * 2 > self.queue_length();
        if has_enough && now < self.shared.fill_up_at {
            return true;
        }
        self.shared.fill_up_at = now + FILL_UP_EVERY;
        false
    }

    /// A record that was not made: the request is as it was, or not ours.
    pub(super) fn not_recorded(&mut self, key: usize, after: &After, answer: Answer) {
        if matches!(after, After::Begun(_)) {
            self.begun -= 1;
            self.give_back_begun(key);
        }
        match answer {
            Answer::NotYet(slot) => {
                self.back_to_queue(key);
                // One question, one draw.
                if self.gate.is_none() {
                    let spread = if self.shared.got_slot {
                        SPREAD
                    } else {
                        WIDE_SPREAD
                    };
                    let lead = AHEAD + self.shared.lag;
                    let early = slot.checked_sub(lead).unwrap_or(slot);
                    let late = spread.mul_f64(self.rng.f64());
                    self.open_gate_at(early + late);
                }
            }
            Answer::OverSpend => {
                self.back_to_queue(key);
                // What is in flight may give something back; only then is it really over.
                if self.jobs.len() == self.queued.len() {
                    self.stop(StopReason::MaxSpend);
                } else {
                    self.open_gate_at(Instant::now() + SPEND_AGAIN);
                }
            }
            Answer::Learn(waiting) => self.take_over(key, &waiting),
            Answer::Lost | Answer::Done | Answer::Recalled(_) | Answer::Slot(_) => {
                self.drop_lost(key);
            }
        }
    }

    fn back_to_queue(&mut self, key: usize) {
        if self.is_stopping() {
            self.release(key, Duration::ZERO);
        } else {
            self.jobs[key].step = Step::Queued;
            self.queued.push_front(key);
        }
    }

    /// A request has a job that an earlier owner made.
    fn take_over(&mut self, key: usize, waiting: &Waiting) {
        self.jobs[key].job_polls = 0;
        self.adopt(key, waiting, Instant::now());
        if self.is_drained() {
            self.cancel_timer(key);
            self.release(key, Duration::ZERO);
        }
    }

    /// Forgets a request that is another's.
    fn drop_lost(&mut self, key: usize) {
        let job = self.jobs.remove(key);
        self.observer.on(&Event::Lost { id: job.id() });
    }

    /// Takes in what happened to the requests that are held.
    pub(super) fn heard(&mut self, news: News) {
        if let Some(pause) = news.pause {
            self.held_until = self.held_until.max(pause);
        }
        if news.lost.is_empty() && news.learned.is_empty() {
            return;
        }
        let jobs = self.jobs.iter();
        let mut keys: HashMap<Ticket, usize> = jobs.map(|(key, job)| (job.ticket, key)).collect();
        for ticket in news.lost {
            let Some(&key) = keys.get(&ticket) else {
                continue;
            };
            // What is on the wire or being recorded is told by the answer to its record.
            if self.set_aside(key) {
                self.drop_lost(key);
                keys.remove(&ticket);
            }
        }
        for (ticket, waiting) in news.learned {
            let Some(&key) = keys.get(&ticket) else {
                continue;
            };
            if matches!(self.jobs[key].step, Step::Begun) {
                // It must not leave. What is learned again by the answer is polled then.
                self.cancel_timer(key);
                self.sends.retain(|&k| k != key);
                self.withdraw_unsent(key);
            } else if self.jobs[key].job().is_none() && self.set_aside(key) {
                self.take_over(key, &waiting);
            }
        }
    }

    /// Takes a request out of every queue and off the wheel, where nothing of it is under way.
    fn set_aside(&mut self, key: usize) -> bool {
        match self.jobs[key].step {
            Step::Recording(_) | Step::Creating | Step::Polling => return false,
            Step::Begun => self.begun -= 1,
            Step::Queued | Step::Delayed | Step::Waiting => {}
        }
        self.cancel_timer(key);
        for queue in [
            &mut self.queued,
            &mut self.sends,
            &mut self.due_polls,
            &mut self.shared.parked_polls,
        ] {
            queue.retain(|&k| k != key);
        }
        true
    }

    /// Claims at once, where a claim waits for its time.
    pub(super) fn claim_now(&mut self) {
        if let Some(timer) = self.claim_timer.take() {
            self.wheel.cancel(&timer);
            self.claiming = false;
        }
    }

    /// Asks for slots where polls wait for some.
    pub(super) fn ask_for_poll_slots(&mut self) -> Result<(), RecorderGone> {
        let waiting = self.shared.parked_polls.len();
        if waiting == 0 || self.shared.asked_for_polls {
            return Ok(());
        }
        self.shared.asked_for_polls = true;
        self.recorder.poll_slots(waiting.min(MOST_POLL_SLOTS))
    }

    pub(super) fn got_poll_slots(&mut self, slots: PollSlots) {
        let now = Instant::now();
        self.shared.poll_slots.extend(slots.slots);
        while let Some(key) = self.shared.parked_polls.pop_front() {
            let Some(slot) = self.shared.take_poll_slot(now) else {
                self.shared.parked_polls.push_front(key);
                break;
            };
            self.jobs[key].slotted = true;
            self.poll_at(key, slot);
        }
        match slots.again {
            Some(at) if at > now => {
                self.wheel.set(at, Timer::PollSlots);
            }
            _ => self.shared.asked_for_polls = false,
        }
    }

    /// The backlog is out of reach: jobs are polled on, and nothing is begun.
    pub(super) fn be_patient(&mut self, why: String) {
        if self.away.is_none() {
            let end = Instant::now() + self.settings.patience;
            self.away = Some((why, self.wheel.set(end, Timer::PatienceEnd)));
        }
    }

    pub(super) fn backlog_is_back(&mut self) {
        self.stalled = false;
        if let Some((_, timer)) = self.away.take() {
            self.wheel.cancel(&timer);
        }
        self.observer.on(&Event::RecordingGoesOn);
    }

    pub(super) fn patience_is_over(&mut self) {
        if let Some((why, _)) = self.away.take() {
            self.stop(StopReason::BacklogAway(why));
        }
    }
}
