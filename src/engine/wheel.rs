//! The timer wheel: all waiting of a run stands on this one.
//!
//! What must stay true: at most one timer per job; a key is used at most once, for `DelayQueue`
//! reuses keys after they fired.

use std::future::poll_fn;
use std::task::Poll;
use std::time::Duration;

use tokio::time::Instant;
use tokio_util::time::DelayQueue;
use tokio_util::time::delay_queue::Key;

/// Longest delay. `DelayQueue` panics past about two years, and a hostile `Retry-After` can ask for more.
const LONGEST_DELAY: Duration = Duration::from_secs(30 * 24 * 60 * 60);

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
pub(super) struct TimerKey(Key);

/// The wheel.
pub(super) struct Wheel(DelayQueue<Timer>);

impl Wheel {
    pub(super) fn new() -> Self {
        Self(DelayQueue::new())
    }

    /// Sets a timer. A time that has passed is due at once.
    pub(super) fn set(&mut self, at: Instant, timer: Timer) -> TimerKey {
        TimerKey(
            self.0
                .insert_at(timer, at.min(Instant::now() + LONGEST_DELAY)),
        )
    }

    /// Cancels a timer that has not fired.
    pub(super) fn cancel(&mut self, key: &TimerKey) {
        let _ = self.0.try_remove(&key.0);
    }

    /// The next timer that is due; waits for ever where none is set.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: a timer is taken only when it is returned.
    pub(super) async fn next(&mut self) -> Timer {
        poll_fn(|cx| match self.0.poll_expired(cx) {
            Poll::Ready(Some(expired)) => Poll::Ready(expired.into_inner()),
            // An empty queue says `None` at once; it becomes interesting when a timer is set,
            // which only the caller can do.
            Poll::Ready(None) | Poll::Pending => Poll::Pending,
        })
        .await
    }
}
