//! How long solves took, how many polls they needed, and how late polls left.

use std::time::Duration;

use hdrhistogram::Histogram;
use serde::Serialize;

use crate::engine::{Event, Observer};
use crate::job::Status;

/// Solve times and polls of the rows that were solved in this run, and how long after it was due each
/// poll left. About 200 KiB, whatever the number of rows; values are exact to three digits.
#[derive(Clone, Debug)]
pub struct Distributions {
    /// Milliseconds.
    solve_time: Histogram<u64>,
    polls: Histogram<u64>,
    /// Microseconds.
    late: Histogram<u64>,
}

/// How late polls left, in milliseconds: it shows whether connections, or this machine, kept up.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Lateness {
    /// Half of them were at most so late.
    pub p50: f64,
    /// 99 of 100 were at most so late.
    pub p99: f64,
    /// The latest.
    pub max: f64,
}

/// Solve times beyond a day are counted as one.
const LONGEST_MS: u64 = 24 * 60 * 60 * 1000;
/// A day of polls at the floor.
const MOST_POLLS: u64 = 43_200;
/// Polls that are later than an hour are counted as that late.
const LATEST_US: u64 = 60 * 60 * 1_000_000;

impl Default for Distributions {
    fn default() -> Self {
        // The bounds are constants that fit; the fallback grows by itself.
        let histogram =
            |high| Histogram::new_with_bounds(1, high, 3).or_else(|_| Histogram::new(3));
        match (
            histogram(LONGEST_MS),
            histogram(MOST_POLLS),
            histogram(LATEST_US),
        ) {
            (Ok(solve_time), Ok(polls), Ok(late)) => Self {
                solve_time,
                polls,
                late,
            },
            _ => unreachable!("three digits are within what a histogram takes"),
        }
    }
}

impl Distributions {
    /// Rows that were counted.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.solve_time.len()
    }

    /// The solve time that a fraction of all solves did not exceed; `None` before the first.
    #[must_use]
    pub fn solve_time(&self, quantile: f64) -> Option<Duration> {
        let millis = || Duration::from_millis(self.solve_time.value_at_quantile(quantile));
        (!self.solve_time.is_empty()).then(millis)
    }

    /// Polls of a solved row: on average, and the most.
    #[must_use]
    pub fn polls(&self) -> Option<(f64, u64)> {
        (!self.polls.is_empty()).then(|| (self.polls.mean(), self.polls.max()))
    }

    /// How late polls left; `None` before the first.
    #[must_use]
    pub fn lateness(&self) -> Option<Lateness> {
        let ms = |micros: u64| micros as f64 / 1e3;
        (!self.late.is_empty()).then(|| Lateness {
            p50: ms(self.late.value_at_quantile(0.5)),
            p99: ms(self.late.value_at_quantile(0.99)),
            max: ms(self.late.max()),
        })
    }
}

impl Observer for Distributions {
    fn on(&mut self, event: &Event<'_>) {
        let outcome = match event {
            Event::Settled { outcome, .. } => outcome,
            Event::PollSent { late, .. } => {
                let late = u64::try_from(late.as_micros()).unwrap_or(LATEST_US);
                self.late.saturating_record(late);
                return;
            }
            _ => return,
        };
        if outcome.status != Status::Solved {
            return;
        }
        if let Some(elapsed) = outcome.elapsed {
            self.solve_time
                .saturating_record(u64::try_from(elapsed.as_millis()).unwrap_or(LONGEST_MS));
        }
        self.polls.saturating_record(outcome.polls.into());
    }
}
