//! How a run went: the table, the summary, and how to go on.

use tracing::{error, info};

use super::explain::explain;
use super::{Failure, again, print};
use crate::config::{LogFormat, Settings};
use crate::engine::{Report, StopReason};
use crate::telemetry::{Distributions, RunView, Summary, Totals, table};

/// What is known beside the report of the run itself.
pub(super) struct Standing {
    /// Requests without an outcome.
    pub(super) pending: Option<u64>,
    /// What has every step, and lets the same command go on.
    pub(super) place: Option<String>,
    /// Over all runs; `None` where this one is all.
    pub(super) all_runs: Option<Totals>,
    /// It was to go on until it was told to stop.
    pub(super) is_worker: bool,
}

/// Says how it went.
pub(super) fn conclude(
    settings: &Settings,
    report: &Report,
    distributions: &Distributions,
    standing: &Standing,
) -> Result<(), Failure> {
    let pending = standing.pending;
    let again = again::command(std::env::args_os());
    let why = explain(&report.stop);
    let is_done = match report.stop {
        StopReason::Done => true,
        StopReason::Interrupted | StopReason::Terminated => standing.is_worker,
        _ => false,
    };
    if settings.log_format == LogFormat::Json {
        // Whoever reads JSON lines gets nothing else.
        let tally = &report.tally;
        info!(
            stop = report.stop.word(),
            solved = tally.solved,
            failed = tally.failed,
            rejected = tally.rejected,
            pending,
            creates = tally.creates,
            unknown_creates = tally.unknown_creates,
            polls = tally.polls,
            spend = %tally.spend,
            elapsed_s = report.elapsed.as_secs_f64(),
            "the run ended"
        );
        if !is_done {
            error!(again, "{why}");
        }
    } else {
        if !settings.is_quiet() {
            print::note(&table(&RunView {
                tally: &report.tally,
                distributions,
                elapsed: report.elapsed,
                pending,
                stop: &report.stop,
            }));
        }
        if !is_done {
            let kept = standing
                .place
                .as_ref()
                .map_or_else(String::new, |place| kept(place, &report.stop));
            print::note(&format!("{why}\n{kept}  {again}\n"));
        }
    }
    if let Some(path) = &settings.summary {
        let this_run = Totals::of_run(&report.tally, pending, report.elapsed);
        Summary {
            all_runs: standing
                .all_runs
                .clone()
                .unwrap_or_else(|| this_run.clone()),
            this_run,
            polls_late_ms: distributions.lateness(),
            stop: report.stop.word(),
        }
        .write(path)?;
    }
    Ok(())
}

/// What `place` still has, where a run ended before its time.
fn kept(place: &str, stop: &StopReason) -> String {
    match stop {
        StopReason::CannotRecord(_) | StopReason::BacklogAway(_) | StopReason::Backlog(_) => {
            format!(
                "{place} has every step that could be recorded; what exists beyond that is named above; to go on:\n"
            )
        }
        _ => format!("nothing is lost: {place} has every step; to go on:\n"),
    }
}
