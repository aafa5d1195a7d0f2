//! Progress: a bar on a terminal, else a log line every 10 s.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant;
use tracing::info;

use super::Screen;
use super::display::span;
use crate::engine::{Event, Gauges, Observer};
use crate::job::{Micros, Status};

/// How often a line is written where there is no bar.
const LINE_EVERY: Duration = Duration::from_secs(10);
/// Over how long the rate is measured.
const WINDOW: Duration = Duration::from_secs(30);

/// Counts what settles in this run and shows it.
#[derive(Debug)]
pub struct Progress {
    screen: Screen,
    counts: Counts,
    last_line: Instant,
    /// When so many rows had settled; spans [`WINDOW`] and holds one entry a gauge.
    samples: VecDeque<(Instant, u64)>,
}

/// What progress shows.
#[derive(Clone, Debug, Default)]
struct Counts {
    /// Rows that this run has to settle, where that is known.
    total: Option<u64>,
    solved: u64,
    failed: u64,
    rejected: u64,
    /// Cost of what settled.
    spend: Micros,
    in_flight: usize,
    per_second: Option<f64>,
}

impl Progress {
    /// Starts; `total` is the number of rows that this run has to settle, `None` for a stream.
    #[must_use]
    pub fn start(screen: Screen, total: Option<u64>) -> Self {
        screen.start_bar(total);
        let now = Instant::now();
        Self {
            screen,
            counts: Counts {
                total,
                ..Counts::default()
            },
            last_line: now,
            samples: VecDeque::from([(now, 0)]),
        }
    }

    /// Takes the bar away.
    pub fn stop(&mut self) {
        self.screen.stop_bar();
    }

    fn look(&mut self, gauges: &Gauges) {
        self.counts.in_flight = gauges.in_flight;
        let now = Instant::now();
        let done = self.counts.done();
        self.samples.push_back((now, done));
        while self.samples.len() > 2
            && self
                .samples
                .get(1)
                .is_some_and(|(at, _)| now.duration_since(*at) >= WINDOW)
        {
            self.samples.pop_front();
        }
        self.counts.per_second = self.samples.front().and_then(|(at, before)| {
            let seconds = now.duration_since(*at).as_secs_f64();
            // The first seconds say nothing: no job can have ended yet.
            (seconds >= 1.0 && done > *before).then(|| (done - before) as f64 / seconds)
        });
        self.screen.update_bar(done, self.counts.message());
        if !self.screen.can_draw() && now.duration_since(self.last_line) >= LINE_EVERY {
            self.last_line = now;
            let counts = &self.counts;
            info!(
                done,
                total = counts.total,
                solved = counts.solved,
                failed = counts.failed,
                rejected = counts.rejected,
                in_flight = counts.in_flight,
                per_second = counts.per_second.map(|rate| (rate * 10.0).round() / 10.0),
                left = counts.left().map(span),
                spend = %counts.spend,
                "progress"
            );
        }
    }
}

impl Counts {
    fn done(&self) -> u64 {
        self.solved + self.failed + self.rejected
    }

    /// How long the rest takes at the present rate.
    fn left(&self) -> Option<Duration> {
        let rest = self.total?.saturating_sub(self.done());
        Duration::try_from_secs_f64(rest as f64 / self.per_second?).ok()
    }

    fn message(&self) -> String {
        let mut text = format!("{} solved", self.solved);
        for (n, word) in [(self.failed, "failed"), (self.rejected, "rejected")] {
            if n > 0 {
                text += &format!("  {n} {word}");
            }
        }
        text += &format!("  {} under way", self.in_flight);
        if let Some(rate) = self.per_second {
            text += &format!("  {rate:.1}/s");
        }
        if let Some(left) = self.left() {
            text += &format!("  {} left", span(left));
        }
        text + &format!("  ${}", self.spend)
    }
}

impl Observer for Progress {
    fn on(&mut self, event: &Event<'_>) {
        match event {
            Event::Settled { outcome, .. } => {
                match outcome.status {
                    Status::Solved => self.counts.solved += 1,
                    Status::Failed => self.counts.failed += 1,
                    Status::Rejected => self.counts.rejected += 1,
                }
                self.counts.spend += outcome.cost;
            }
            Event::Gauges(gauges) => self.look(gauges),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::job::{ErrorClass, Outcome};
    use crate::telemetry::LogStyle;
    use crate::telemetry::log::capture::Lines;

    fn outcome(status: Status) -> Outcome {
        let class = ErrorClass::SolveFailed;
        Outcome {
            status,
            cost: Micros(1000),
            ..Outcome::rejected(class, String::new(), jiff::Timestamp::UNIX_EPOCH)
        }
    }

    #[tokio::test(start_paused = true)]
    async fn rate_and_time_left_are_measured_over_the_last_half_minute() {
        let mut progress = Progress::start(Screen::plain(), Some(1000));
        let gauges = Gauges {
            in_flight: 40,
            ..Gauges::default()
        };
        progress.on(&Event::Gauges(gauges));
        assert_eq!(progress.counts.message(), "0 solved  40 under way  $0");
        for second in 0..60 {
            tokio::time::advance(Duration::from_secs(1)).await;
            // One a second at first, then five.
            for _ in 0..(if second < 30 { 1 } else { 5 }) {
                progress.on(&Event::Settled {
                    id: None,
                    outcome: &outcome(Status::Solved),
                });
            }
            progress.on(&Event::Gauges(gauges));
        }
        progress.on(&Event::Settled {
            id: None,
            outcome: &outcome(Status::Failed),
        });
        assert_eq!(
            progress.counts.message(),
            "180 solved  1 failed  40 under way  5.0/s  2m 43s left  $0.181"
        );
        assert!(progress.samples.len() <= 32, "{}", progress.samples.len());
    }

    #[tokio::test(start_paused = true)]
    async fn without_a_terminal_there_is_a_line_every_ten_seconds() {
        let lines = Lines::default();
        let guard = lines.capture(tracing::Level::INFO, LogStyle::Json);
        let mut progress = Progress::start(Screen::plain(), None);
        for _ in 0..35 {
            tokio::time::advance(Duration::from_secs(1)).await;
            progress.on(&Event::Settled {
                id: None,
                outcome: &outcome(Status::Solved),
            });
            progress.on(&Event::Gauges(Gauges::default()));
        }
        drop(guard);
        let text = lines.text();
        assert_eq!(text.lines().count(), 3, "{text}");
        let line: serde_json::Value = serde_json::from_str(text.lines().last().unwrap()).unwrap();
        assert_eq!(
            (&line["done"], &line["per_second"], &line["spend"]),
            (&30.into(), &1.0.into(), &"0.03".into())
        );
    }
}
