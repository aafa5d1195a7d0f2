//! The table at the end of a run.

use std::fmt::Write;
use std::time::Duration;

use super::Distributions;
use super::display::span;
use crate::engine::{StopReason, Tally};

/// What a run did, as plain data.
#[derive(Clone, Copy, Debug)]
pub struct RunView<'a> {
    /// Its counts.
    pub tally: &'a Tally,
    /// Its distributions.
    pub distributions: &'a Distributions,
    /// How long it took.
    pub elapsed: Duration,
    /// Rows that have no outcome yet, where that is known.
    pub pending: Option<u64>,
    /// Why it ended.
    pub stop: &'a StopReason,
}

/// The table, for stderr. A line whose count is zero is left out where it would say nothing.
#[must_use]
pub fn table(run: &RunView<'_>) -> String {
    let RunView {
        tally,
        distributions,
        elapsed,
        pending,
        stop,
    } = *run;
    let settled = tally.solved + tally.failed + tally.rejected;
    let nothing = settled + tally.creates + tally.polls == 0;
    if nothing && matches!(stop, StopReason::Done) {
        return "done: nothing to do\n".to_owned();
    }
    let end = match stop {
        StopReason::Done => "done".to_owned(),
        stop => format!("stopped ({})", stop.word().replace('_', " ")),
    };
    let mut text = String::new();
    let rows = if settled == 1 { "row" } else { "rows" };
    let _ = writeln!(text, "{end}: {settled} {rows} settled in {}", span(elapsed));
    let mut line = |name: &str, value: &str| {
        let _ = writeln!(text, "  {name:<11} {value}");
    };
    line("solved", &tally.solved.to_string());
    if tally.failed + tally.rejected > 0 {
        let classes: Vec<_> = tally
            .errors
            .iter()
            .map(|(class, n)| format!("{class} {n}"))
            .collect();
        line("failed", &tally.failed.to_string());
        line("rejected", &tally.rejected.to_string());
        line("errors", &classes.join(", "));
    }
    if let Some(pending) = pending.filter(|n| *n > 0) {
        line("pending", &pending.to_string());
    }
    if let (Some(p50), Some(p95)) = (
        distributions.solve_time(0.5),
        distributions.solve_time(0.95),
    ) {
        line(
            "solve time",
            &format!("{} median, {} for 95 %", span(p50), span(p95)),
        );
    }
    let mut creates = tally.creates.to_string();
    if tally.retries > 0 {
        creates += &format!(", {} because a solve failed", tally.retries);
    }
    if tally.unknown_creates > 0 {
        creates += &format!(", {} of unknown fate (perhaps paid)", tally.unknown_creates);
    }
    line("creates", &creates);
    let mut polls = tally.polls.to_string();
    if let Some((mean, most)) = distributions.polls() {
        polls += &format!(", {mean:.1} for a solved row, {most} at most");
    }
    line("polls", &polls);
    line("spend", &format!("${}", tally.spend));
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::{Event, Observer};
    use crate::job::{ErrorClass, Micros, Outcome, Status};

    fn solved(seconds: u64, polls: u32) -> Outcome {
        Outcome {
            status: Status::Solved,
            elapsed: Some(Duration::from_secs(seconds)),
            polls,
            ..Outcome::rejected(
                ErrorClass::Timeout,
                String::new(),
                jiff::Timestamp::UNIX_EPOCH,
            )
        }
    }

    #[test]
    fn a_run_with_everything() {
        let mut distributions = Distributions::default();
        for n in 1..=100 {
            distributions.on(&Event::Settled {
                id: None,
                outcome: &solved(n, 3),
            });
        }
        distributions.on(&Event::Settled {
            id: None,
            outcome: &solved(20, 40),
        });
        let tally = Tally {
            solved: 101,
            failed: 2,
            rejected: 1,
            creates: 107,
            unknown_creates: 1,
            retries: 3,
            polls: 343,
            spend: Micros(104_550),
            errors: [(ErrorClass::Timeout, 2), (ErrorClass::SiteNotAuthorized, 1)].into(),
        };
        let view = RunView {
            tally: &tally,
            distributions: &distributions,
            elapsed: Duration::from_secs(185),
            pending: Some(12),
            stop: &StopReason::MaxSpend,
        };
        insta::assert_snapshot!(table(&view), @r"
        stopped (max spend): 104 rows settled in 3m 05s
          solved      101
          failed      2
          rejected    1
          errors      timeout 2, site_not_authorized 1
          pending     12
          solve time  50s median, 1m 35s for 95 %
          creates     107, 3 because a solve failed, 1 of unknown fate (perhaps paid)
          polls       343, 3.4 for a solved row, 40 at most
          spend       $0.10455
        ");
    }

    #[test]
    fn a_run_with_nothing_to_do() {
        let view = RunView {
            tally: &Tally::default(),
            distributions: &Distributions::default(),
            elapsed: Duration::from_millis(20),
            pending: Some(0),
            stop: &StopReason::Done,
        };
        assert_eq!(table(&view), "done: nothing to do\n");
    }
}
