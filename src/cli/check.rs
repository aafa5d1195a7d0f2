//! `check FILE.csv`: what a run would be told, would cost, and would take. Sends nothing.

use std::fmt::Write;
use std::sync::Arc;
use std::time::Duration;

use crate::config::{Config, FoundToken, Settings, show};
use crate::job::{Kind, Micros};
use crate::telemetry::span;

/// How long a solve is taken to last; services of this kind advertise about this much.
const TYPICAL_SOLVE: Duration = Duration::from_secs(15);

/// What there is to say of a good file.
#[derive(Clone, Debug)]
pub(super) struct CheckView<'a> {
    pub(super) config: &'a Config,
    /// The account token, where there is one.
    pub(super) token: Option<&'a FoundToken>,
    /// The file, as it was named.
    pub(super) file: &'a str,
    /// Good rows of each kind.
    pub(super) rows: Vec<(Arc<Kind>, u64)>,
    /// Rows that are passed over under `--skip-bad-rows`.
    pub(super) bad: u64,
}

impl CheckView<'_> {
    /// The text for stdout.
    pub(super) fn render(&self) -> String {
        let settings = &self.config.settings;
        let mut text = String::from("settings\n");
        for line in show(&self.config.provenance).lines() {
            let _ = writeln!(text, "  {}", line.trim_end());
        }
        let token = match self.token {
            _ if settings.simulate => "not needed (--simulate)".to_owned(),
            Some(found) => format!("[secret] ({})", found.origin),
            None => "none; a run needs POLLWHEEL_API_TOKEN or api_token_file".to_owned(),
        };
        let _ = writeln!(text, "  account token: {token}\n");

        let total: u64 = self.rows.iter().map(|(_, n)| n).sum();
        let _ = writeln!(text, "{}: {total} good rows", self.file);
        let width = self
            .rows
            .iter()
            .map(|(kind, _)| kind.name.len())
            .max()
            .unwrap_or(0);
        for (kind, n) in &self.rows {
            let _ = writeln!(
                text,
                "  {:width$}  {n:>8}   ${} each",
                kind.name, kind.price
            );
        }
        if self.bad > 0 {
            let _ = writeln!(
                text,
                "  {} bad rows would be rejected (--skip-bad-rows)",
                self.bad
            );
        }
        let _ = writeln!(text, "\n{}", Estimate::new(&self.rows, settings));
        text
    }
}

/// What a run over these rows costs and takes.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Estimate {
    /// Every row is solved at the first attempt.
    cost: Micros,
    /// Every row takes all its attempts, and all are billed.
    worst: Micros,
    time: Duration,
    /// Rows begun per second.
    per_second: f64,
}

impl Estimate {
    fn new(rows: &[(Arc<Kind>, u64)], settings: &Settings) -> Self {
        let cost = rows.iter().map(|(kind, n)| kind.price.times(*n)).sum();
        let worst = rows
            .iter()
            .map(|(kind, n)| kind.price.times(n.saturating_mul(kind.attempts.into())))
            .sum();
        // A row holds its slot for a solve, so that the slots bound the rate as well.
        let by_slots = settings.max_in_flight as f64 / TYPICAL_SOLVE.as_secs_f64();
        let per_second = settings.submit_rate.per_second.min(by_slots);
        let total: u64 = rows.iter().map(|(_, n)| n).sum();
        let begun = Duration::try_from_secs_f64(total as f64 / per_second).unwrap_or(Duration::MAX);
        let time = if total == 0 {
            Duration::ZERO
        } else {
            begun.saturating_add(TYPICAL_SOLVE)
        };
        Self {
            cost,
            worst,
            time,
            per_second,
        }
    }
}

impl std::fmt::Display for Estimate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        writeln!(
            f,
            "cost: ${}, at most ${} if every row takes all its attempts",
            self.cost, self.worst
        )?;
        write!(
            f,
            "time: about {} at {:.3} rows/s, if a solve takes {}",
            span(self.time),
            self.per_second,
            span(TYPICAL_SOLVE)
        )
    }
}
