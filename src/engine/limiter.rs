//! The rate limiter: governor's GCRA, asked for slots ahead of time.
//!
//! A slot is an instant at which one request may leave. Slots are handed out by the clock of the
//! schedule and not by the clock of the caller, so a timer that fires a millisecond late costs
//! nothing of the rate. What must stay true: a request leaves at its slot or at most
//! [`LATEST`] after it, else it takes a new one. Slots are spaced 2 % wider than the rate asks,
//! which makes up for that lateness in every window of a second and more: sends in a window W
//! stay within rate × W + burst.
//!
//! governor's own `until_ready` sleeps on a timer of its own, which ignores tokio's paused clock;
//! here it only computes, on a clock that we set.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use governor::clock::{Clock, Reference};
use governor::middleware::NoOpMiddleware;
use governor::nanos::Nanos;
use governor::state::{InMemoryState, NotKeyed};
use governor::{Quota, RateLimiter};
use tokio::time::Instant;

use super::Rate;

/// A request that would leave later than this after its slot takes a new slot.
pub(super) const LATEST: Duration = Duration::from_millis(20);

/// The clock that governor reads: whatever time we are asking about.
#[derive(Clone, Debug, Default)]
struct AskedTime(Rc<Cell<u64>>);

impl Clock for AskedTime {
    type Instant = Nanos;

    fn now(&self) -> Nanos {
        Nanos::new(self.0.get())
    }
}

/// Hands out slots.
pub(super) struct Limiter {
    limiter: RateLimiter<NotKeyed, InMemoryState, AskedTime, NoOpMiddleware<Nanos>>,
    asked: AskedTime,
    start: Instant,
    not_before: Instant,
}

impl Limiter {
    /// A limiter for `rate`, whose first slot is `now`.
    pub(super) fn new(rate: Rate, now: Instant) -> Self {
        let period = rate.period();
        // The period is never zero, the one case in which there is no quota.
        let quota = Quota::with_period(period)
            .unwrap_or_else(|| Quota::per_second(std::num::NonZeroU32::MIN));
        let asked = AskedTime::default();
        let limiter = RateLimiter::direct_with_clock(quota.allow_burst(rate.burst), asked.clone());
        Self {
            limiter,
            asked,
            start: now,
            not_before: now,
        }
    }

    /// Takes the next slot if it is due before `horizon`.
    ///
    /// # Errors
    ///
    /// The instant of the next slot, which was not taken.
    pub(super) fn reserve(&mut self, now: Instant, horizon: Instant) -> Result<Instant, Instant> {
        let from = now.max(self.not_before);
        if from > horizon {
            return Err(from);
        }
        let Err(busy) = self.check_at(from) else {
            return Ok(from);
        };
        if busy > horizon {
            return Err(busy);
        }
        // Exactly at the time that it named, the limiter says yes.
        self.check_at(busy).map(|()| busy)
    }

    /// Takes the next slot, however far away.
    pub(super) fn reserve_next(&mut self, now: Instant) -> Instant {
        let from = now.max(self.not_before);
        match self.check_at(from) {
            Ok(()) => from,
            Err(busy) => {
                let _taken = self.check_at(busy);
                busy
            }
        }
    }

    /// Whether a slot was given out before a hold that covers it.
    pub(super) fn is_void(&self, slot: Instant) -> bool {
        slot < self.not_before
    }

    /// Gives out no slot before `until`.
    pub(super) fn hold_until(&mut self, until: Instant) {
        self.not_before = self.not_before.max(until);
    }

    fn check_at(&self, at: Instant) -> Result<(), Instant> {
        let since_start = at.saturating_duration_since(self.start);
        self.asked
            .0
            .set(u64::try_from(since_start.as_nanos()).unwrap_or(u64::MAX));
        self.limiter.check().map_err(|not_until| {
            let earliest = not_until.earliest_possible().duration_since(Nanos::new(0));
            self.start + Duration::from_nanos(earliest.as_u64())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::num::NonZeroU32;

    fn limiter(per_second: f64, burst: u32, now: Instant) -> Limiter {
        Limiter::new(
            Rate {
                per_second,
                burst: NonZeroU32::new(burst).unwrap(),
            },
            now,
        )
    }

    #[tokio::test(start_paused = true)]
    async fn slots_keep_the_rate_however_late_they_are_asked_for() {
        let start = Instant::now();
        let mut limiter = limiter(100.0, 1, start);
        let mut slots = vec![];
        let mut now = start;
        while now < start + Duration::from_secs(3) {
            while let Ok(slot) = limiter.reserve(now, now + Duration::from_millis(30)) {
                slots.push(slot);
            }
            now += Duration::from_micros(7_300);
        }
        assert!(slots.len() >= 294, "{}", slots.len());
        for (n, from) in slots.iter().enumerate() {
            let in_window = slots[n..]
                .iter()
                .take_while(|s| **s < *from + Duration::from_secs(1))
                .count();
            assert!(in_window <= 100, "{in_window}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn an_idle_limiter_saves_up_no_more_than_its_burst() {
        let start = Instant::now();
        let mut limiter = limiter(10.0, 3, start);
        let later = start + Duration::from_secs(60);
        let at_once = std::iter::from_fn(|| limiter.reserve(later, later).ok()).count();
        assert_eq!(at_once, 3);
    }

    #[tokio::test(start_paused = true)]
    async fn a_held_limiter_gives_nothing_before() {
        let now = Instant::now();
        let mut limiter = limiter(1000.0, 1, now);
        let until = now + Duration::from_secs(7);
        limiter.hold_until(until);
        assert_eq!(
            limiter.reserve(now, now + Duration::from_millis(100)),
            Err(until)
        );
        assert_eq!(limiter.reserve_next(now), until);
        assert!(limiter.reserve_next(now) > until);
        assert!(limiter.is_void(now) && !limiter.is_void(until));
    }
}
