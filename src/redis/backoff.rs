//! When to try again after a failure.

use std::time::Duration;

use tokio::time::Instant;

/// Shortest wait.
const SHORTEST: Duration = Duration::from_millis(100);
/// Longest wait.
const LONGEST: Duration = Duration::from_secs(5);
/// Time without a failure after which the next one is the first again.
const FORGOTTEN: Duration = Duration::from_secs(10);

/// Waits that double from 100 ms to 5 s, each up to twice as long by chance, so that a fleet does not come
/// back all at once.
#[derive(Clone, Debug, Default)]
pub(super) struct Backoff {
    failures: u32,
    last: Option<Instant>,
    due: Option<Instant>,
}

impl Backoff {
    /// Notes a failure.
    pub(super) fn failed(&mut self) {
        let now = Instant::now();
        // A failure that follows at once upon a success counts on: what comes and goes is not hammered.
        let is_first = self
            .last
            .is_none_or(|last| now.saturating_duration_since(last) > FORGOTTEN + LONGEST);
        self.failures = if is_first { 0 } else { self.failures + 1 };
        let shortest = SHORTEST
            .saturating_mul(1 << self.failures.min(16))
            .min(LONGEST / 2);
        let wait = shortest.mul_f64(1.0 + fastrand::f64());
        self.last = Some(now);
        self.due = Some(now + wait);
    }

    /// Waits until the next try is due.
    ///
    /// # Cancel safety
    ///
    /// Nothing changes.
    pub(super) async fn wait(&self) {
        if let Some(due) = self.due {
            tokio::time::sleep_until(due).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn waited(backoff: &Backoff) -> Duration {
        let start = Instant::now();
        backoff.wait().await;
        start.elapsed()
    }

    #[tokio::test(start_paused = true)]
    async fn waits_grow_to_a_bound_and_begin_anew_after_a_good_time() {
        let mut backoff = Backoff::default();
        assert_eq!(waited(&backoff).await, Duration::ZERO);
        for n in 0..40u32 {
            backoff.failed();
            let least = (SHORTEST * 2u32.pow(n.min(10))).min(LONGEST / 2);
            let found = waited(&backoff).await;
            // The timer is of milliseconds.
            let most = least * 2 + Duration::from_millis(1);
            assert!(found >= least && found <= most, "{n}: {found:?}");
            assert_eq!(waited(&backoff).await, Duration::ZERO);
        }
        tokio::time::sleep(FORGOTTEN + LONGEST).await;
        tokio::time::sleep(Duration::from_millis(1)).await;
        backoff.failed();
        assert!(waited(&backoff).await <= SHORTEST * 2 + Duration::from_millis(1));
    }
}
