//! The timer wheel: all waiting of a run stands on this one.
//!
//! What must stay true: at most one timer per job; a key is used at most once, for places are used again
//! after their timers fired; no timer fires early.
//!
//! Polls need not be punctual to the millisecond, and waking the process for each of them is what
//! costs most about one. So where few are due, a wake is put off until some more have come, and takes them
//! all ([`Slack`]); and polls that are due ride along with any other wake. (The kernel does so with timers of
//! user space: `PR_SET_TIMERSLACK`.)

mod ring;

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::{Instant, Sleep, sleep_until};

use ring::{Place, Ring};

/// Longest delay, as a hostile `Retry-After` can ask for more than an [`Instant`] holds.
const LONGEST_DELAY: Duration = Duration::from_secs(30 * 24 * 60 * 60);

/// How much later than its time a poll may leave for company's sake, in ticks. It has waited for seconds.
const LONGEST_SLACK: u64 = 10;

/// So many polls are company enough.
const COMPANY: u64 = 8;

/// How often the rate of polls is looked at, in ticks.
const LOOK_EVERY: u64 = 100;

/// What the rings count.
const TICK: Duration = Duration::from_millis(1);

/// Something that is due at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Timer {
    /// The job's create may leave.
    Send(usize),
    /// The job may be begun again.
    Requeue(usize),
    /// The job is to be polled.
    Poll(usize),
    /// The submit limiter has its next slot.
    Gate,
    /// The backlog had nothing to claim and may have now.
    Claim,
    /// More slots for polls can be had.
    PollSlots,
    /// The backlog was out of reach for too long.
    PatienceEnd,
    /// The time for draining is over.
    DrainEnd,
    /// The time for beginning anything new is over.
    RuntimeEnd,
}

/// A timer that can still be cancelled.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct TimerKey {
    is_poll: bool,
    place: Place,
}

/// The wheel.
pub(super) struct Wheel {
    start: Instant,
    punctual: Ring<Timer>,
    /// The keys of jobs to be polled.
    polls: Ring<u32>,
    slack: Slack,
    alarm: Pin<Box<Sleep>>,
}

impl Wheel {
    pub(super) fn new() -> Self {
        let start = Instant::now();
        Self {
            start,
            punctual: Ring::new(),
            polls: Ring::new(),
            slack: Slack::default(),
            alarm: Box::pin(sleep_until(start)),
        }
    }

    /// Sets a timer. A time that has passed is due at once.
    pub(super) fn set(&mut self, at: Instant, timer: Timer) -> TimerKey {
        let at = at.min(Instant::now() + LONGEST_DELAY);
        let tick = ticks(at.saturating_duration_since(self.start) + TICK - Duration::from_nanos(1));
        match timer {
            Timer::Poll(key) => TimerKey {
                is_poll: true,
                place: self.polls.set(tick, small(key)),
            },
            timer => TimerKey {
                is_poll: false,
                place: self.punctual.set(tick, timer),
            },
        }
    }

    /// Cancels a timer that has not fired.
    pub(super) fn cancel(&mut self, key: &TimerKey) {
        if key.is_poll {
            self.polls.cancel(key.place);
        } else {
            self.punctual.cancel(key.place);
        }
    }

    /// A timer that is due at `now`.
    pub(super) fn take_due(&mut self, now: Instant) -> Option<Timer> {
        let present = ticks(now.saturating_duration_since(self.start));
        if let Some(timer) = self.punctual.take_due(present) {
            return Some(timer);
        }
        let poll = self.polls.take_due(present)?;
        self.slack.count(present);
        Some(Timer::Poll(poll as usize))
    }

    /// The next timer that is due; waits for ever where none is set.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: a timer is taken only when it is returned.
    pub(super) async fn next(&mut self) -> Timer {
        poll_fn(|cx| self.poll_next(cx)).await
    }

    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Timer> {
        loop {
            if let Some(timer) = self.take_due(Instant::now()) {
                return Poll::Ready(timer);
            }
            let with_slack = self.polls.next().map(|tick| tick + self.slack.ticks);
            let wake = match (self.punctual.next(), with_slack) {
                (Some(punctual), Some(poll)) => punctual.min(poll),
                (Some(tick), None) | (None, Some(tick)) => tick,
                // It becomes interesting when a timer is set, which only the caller can do.
                (None, None) => return Poll::Pending,
            };
            let wake = self.start + Duration::from_millis(wake);
            if self.alarm.deadline() != wake {
                self.alarm.as_mut().reset(wake);
            }
            if self.alarm.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
        }
    }
}

/// How long polls wait for each other: as long as it takes until some are due, by their rate of late.
struct Slack {
    ticks: u64,
    since: u64,
    polls: u64,
}

impl Default for Slack {
    fn default() -> Self {
        Self {
            ticks: LONGEST_SLACK,
            since: 0,
            polls: 0,
        }
    }
}

impl Slack {
    /// Counts a poll.
    fn count(&mut self, present: u64) {
        self.polls += 1;
        let time = present - self.since;
        if time >= LOOK_EVERY {
            self.ticks = (COMPANY * time / self.polls).min(LONGEST_SLACK);
            (self.since, self.polls) = (present, 0);
        }
    }
}

/// A job's key in four bytes.
fn small(key: usize) -> u32 {
    u32::try_from(key).expect("a process has no room for so many jobs")
}

fn ticks(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(n: u64) -> Duration {
        Duration::from_millis(n)
    }

    #[tokio::test(start_paused = true)]
    async fn polls_that_are_due_soon_after_each_other_come_in_one_wake() {
        let start = Instant::now();
        let mut wheel = Wheel::new();
        for n in 0..LONGEST_SLACK + 2 {
            wheel.set(start + ms(100 + n), Timer::Poll(0));
        }
        assert_eq!(wheel.next().await, Timer::Poll(0));
        assert_eq!(start.elapsed(), ms(100 + LONGEST_SLACK));
        let mut taken = 1;
        while wheel.take_due(Instant::now()).is_some() {
            taken += 1;
        }
        assert_eq!(taken, LONGEST_SLACK + 1);
        assert_eq!(wheel.next().await, Timer::Poll(0));
        assert_eq!(start.elapsed(), ms(100 + LONGEST_SLACK + 1 + LONGEST_SLACK));
    }

    #[tokio::test(start_paused = true)]
    async fn where_many_are_due_none_waits_for_another() {
        let start = Instant::now();
        let mut wheel = Wheel::new();
        for n in 0..4 * LOOK_EVERY {
            for _ in 0..2 * COMPANY {
                wheel.set(start + ms(n), Timer::Poll(0));
            }
        }
        let mut latest = ms(0);
        for n in 0..4 * LOOK_EVERY * 2 * COMPANY {
            let due = start + ms(n / (2 * COMPANY));
            assert_eq!(wheel.next().await, Timer::Poll(0));
            if n > 3 * LOOK_EVERY * 2 * COMPANY {
                latest = latest.max(due.elapsed());
            }
        }
        assert_eq!(latest, ms(0));
    }

    #[tokio::test(start_paused = true)]
    async fn other_timers_are_punctual_and_take_polls_along() {
        let start = Instant::now();
        let mut wheel = Wheel::new();
        wheel.set(start + ms(100), Timer::Poll(7));
        wheel.set(start + ms(103), Timer::Gate);
        assert_eq!(wheel.next().await, Timer::Gate);
        assert_eq!(start.elapsed(), ms(103));
        assert_eq!(wheel.take_due(Instant::now()), Some(Timer::Poll(7)));
        assert_eq!(wheel.take_due(Instant::now()), None);
    }

    #[tokio::test(start_paused = true)]
    async fn nothing_fires_early_or_after_it_was_cancelled() {
        let start = Instant::now();
        let mut wheel = Wheel::new();
        wheel.set(start + Duration::from_micros(1500), Timer::Send(1));
        let poll = wheel.set(start + ms(5), Timer::Poll(2));
        tokio::time::advance(ms(1)).await;
        assert_eq!(wheel.take_due(Instant::now()), None);
        wheel.cancel(&poll);
        tokio::time::advance(ms(1)).await;
        assert_eq!(wheel.take_due(Instant::now()), Some(Timer::Send(1)));
        let again = wheel.set(start + ms(50), Timer::Send(3));
        tokio::time::advance(ms(40)).await;
        wheel.cancel(&again);
        wheel.set(start + Duration::from_secs(1 << 40), Timer::Claim);
        assert_eq!(wheel.next().await, Timer::Claim);
        assert_eq!(start.elapsed().as_secs(), LONGEST_DELAY.as_secs());
    }
}
