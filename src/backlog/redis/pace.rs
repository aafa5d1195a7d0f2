//! The fleet's rate limits: a token bucket (GCRA) each for creates and polls, which gives out times.

use std::time::Duration;

use ::redis::RedisResult;
use ::redis::aio::ConnectionLike;

use super::queue::{BATCH, Call, MOST, Queue, ms};
use super::script;

/// A rate that a fleet shares. In any window W no more than W / period + burst slots are given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Pace {
    /// From one slot to the next, in microseconds, above zero.
    pub(crate) period_us: u64,
    /// How many may go at once, above zero.
    pub(crate) burst: u32,
    /// A slot is given if it is due within this.
    pub(crate) horizon: Duration,
}

impl Pace {
    pub(super) fn write(self, call: &mut Call) {
        call.arg(self.period_us.clamp(1, MOST))
            .arg(self.burst.max(1))
            .arg(
                u64::try_from(self.horizon.as_micros())
                    .unwrap_or(MOST)
                    .min(MOST),
            );
    }
}

/// An answer to [`Queue::poll_slots`].
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct PollSlots {
    /// From now to each slot that was given.
    pub(crate) given: Vec<Duration>,
    /// From now to the first one that was not.
    pub(crate) next: Duration,
}

impl Queue {
    /// Nobody in the fleet gets a create's slot before this has gone by.
    ///
    /// # Errors
    ///
    /// Redis'.
    pub(crate) async fn penalise<C: ConnectionLike>(
        &self,
        connection: &mut C,
        pause: Duration,
    ) -> RedisResult<()> {
        let mut call = self.call(&script::PENALISE);
        call.arg(ms(pause));
        call.run(connection).await?.end()
    }

    /// Reserves up to `n` (at most 128) slots for polls. Slots of a lost answer are lost.
    ///
    /// # Errors
    ///
    /// Redis'.
    pub(crate) async fn poll_slots<C: ConnectionLike>(
        &self,
        connection: &mut C,
        n: usize,
        pace: Pace,
    ) -> RedisResult<PollSlots> {
        let mut call = self.call(&script::POLL_SLOTS);
        call.arg(n.min(BATCH));
        pace.write(&mut call);
        let mut reply = call.run(connection).await?;
        let next = Duration::from_micros(reply.int()?);
        let mut given = Vec::new();
        while !reply.is_done() {
            given.push(Duration::from_micros(reply.int()?));
        }
        Ok(PollSlots { given, next })
    }
}
