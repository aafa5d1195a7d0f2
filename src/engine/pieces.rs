//! The wheel and the limiter by themselves, for `benches/` alone.

use tokio::time::Instant;

use super::wheel::{Timer, TimerKey};
use super::{Rate, limiter, wheel};

/// The wheel, with polls on it.
pub struct Wheel(wheel::Wheel);

/// A poll that can be taken off the wheel.
pub struct Set(TimerKey);

impl Wheel {
    /// An empty one.
    #[must_use]
    #[expect(
        clippy::new_without_default,
        reason = "as the one inside, which needs none"
    )]
    pub fn new() -> Self {
        Self(wheel::Wheel::new())
    }

    /// Sets the timer of a job's poll.
    pub fn set(&mut self, at: Instant, job: usize) -> Set {
        Set(self.0.set(at, Timer::Poll(job)))
    }

    /// Cancels it.
    pub fn cancel(&mut self, set: &Set) {
        self.0.cancel(&set.0);
    }

    /// Waits for the next poll that is due.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe.
    pub async fn next(&mut self) -> usize {
        loop {
            if let Timer::Poll(job) = self.0.next().await {
                return job;
            }
        }
    }
}

/// The limiter.
pub struct Limiter(limiter::Limiter);

impl Limiter {
    /// One for `rate`, whose first slot is `now`.
    #[must_use]
    pub fn new(rate: Rate, now: Instant) -> Self {
        Self(limiter::Limiter::new(rate, now))
    }

    /// Takes the next slot if it is due before `horizon`.
    ///
    /// # Errors
    ///
    /// The instant of the next slot, which was not taken.
    pub fn reserve(&mut self, now: Instant, horizon: Instant) -> Result<Instant, Instant> {
        self.0.reserve(now, horizon)
    }
}
