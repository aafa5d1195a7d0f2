//! `status FILE.csv`: what a journal says, also while a run is under way or after it was killed.

use std::fmt::Write;

use jiff::Timestamp;
use serde::Serialize;

use super::{CsvFile, ExitCode, Failure, StatusArgs, print, queue_status};
use crate::backlog::{self, JournalStatus};
use crate::telemetry::{Totals, safe, span};

/// Prints what the journal says.
pub(super) fn status(args: &StatusArgs) -> Result<ExitCode, Failure> {
    let file = match (&args.file, &args.from) {
        (Some(CsvFile(file)), _) => file,
        (None, Some(list)) => return queue_status::status(args, list),
        (None, None) => unreachable!("the command line has one of them"),
    };
    let path = args.journal.as_ref().unwrap_or(file);
    let view = StatusView::from(&JournalStatus::read(path)?);
    let text = if args.json {
        view.json()?
    } else {
        view.render(&file.display().to_string())
    };
    print::out(&text)?;
    Ok(ExitCode::Success)
}

/// A journal's totals over all runs, in the summary's keys.
pub(super) fn totals(status: &JournalStatus) -> Totals {
    Totals {
        total: status.total,
        solved: status.solved,
        failed: status.failed,
        rejected: status.rejected,
        pending: Some(status.pending.all()),
        creates: status.creates,
        unknown_creates: status.unknown_creates,
        polls: status.polls,
        spend: status.spend,
        elapsed: status.elapsed,
        errors: status.errors.clone(),
    }
}

/// What a journal says, as it is shown; its JSON is what `--json` prints.
#[derive(Clone, Debug, Serialize)]
struct StatusView {
    /// Over all runs, in the summary's keys.
    #[serde(flatten)]
    totals: Totals,
    /// Of `pending`: not begun, or to be created again.
    queued: u64,
    /// Of `pending`: a create was sent, or was about to be, and its answer is not recorded.
    submitting: u64,
    /// Of `pending`: jobs that exist at the service.
    waiting: u64,
    /// Where those live.
    waiting_at: Vec<Place>,
    /// Whether a run holds the lock now.
    running: bool,
    /// Whether the results are make-believe.
    simulated: bool,
    last_run: Option<LastRun>,
}

/// Jobs at one API.
#[derive(Clone, Debug, Serialize)]
struct Place {
    base_url: String,
    jobs: u64,
}

/// The last run of a journal.
#[derive(Clone, Debug, Serialize)]
struct LastRun {
    #[serde(serialize_with = "rfc3339")]
    started: Timestamp,
    /// `None` while it goes on, and where it was killed.
    #[serde(serialize_with = "crate::sink::json::time_or_null")]
    ended: Option<Timestamp>,
    /// Why it ended, in one word.
    stop: Option<String>,
}

fn rfc3339<S: serde::Serializer>(time: &Timestamp, out: S) -> Result<S::Ok, S::Error> {
    out.collect_str(&crate::sink::rfc3339(*time))
}

impl From<&JournalStatus> for StatusView {
    fn from(status: &JournalStatus) -> Self {
        let backlog::Pending {
            queued,
            submitting,
            waiting,
        } = status.pending;
        let place = |(base_url, jobs): &(String, u64)| Place {
            base_url: base_url.clone(),
            jobs: *jobs,
        };
        let last_run = |run: &backlog::LastRun| LastRun {
            started: run.started,
            ended: run.ended,
            stop: run.stop.clone(),
        };
        Self {
            totals: totals(status),
            queued,
            submitting,
            waiting,
            waiting_at: status.waiting_at.iter().map(place).collect(),
            running: status.running,
            simulated: status.simulated,
            last_run: status.last_run.as_ref().map(last_run),
        }
    }
}

impl StatusView {
    /// One line of JSON.
    fn json(&self) -> Result<String, Failure> {
        let json = serde_json::to_string(self).map_err(|e| Failure::new(ExitCode::Io, e))?;
        Ok(json + "\n")
    }

    /// The text for people; `file` as it was named.
    fn render(&self, file: &str) -> String {
        let totals = &self.totals;
        let settled = totals.solved + totals.failed + totals.rejected;
        let simulated = if self.simulated { " (simulated)" } else { "" };
        let mut text = format!("{}{simulated}: {}\n", safe(file), self.state());
        let mut line = |name: &str, value: &str| {
            let _ = writeln!(text, "  {name:<9} {value}");
        };
        match totals.total {
            Some(total) => line("settled", &format!("{settled} of {total} rows")),
            None => line("settled", &format!("{settled} rows")),
        }
        line("solved", &totals.solved.to_string());
        let errors: Vec<_> = totals
            .errors
            .iter()
            .map(|(class, n)| format!("{class} {n}"))
            .collect();
        if !errors.is_empty() {
            line("failed", &totals.failed.to_string());
            line("rejected", &totals.rejected.to_string());
            line("errors", &safe(&errors.join(", ")));
        }
        if let Some(pending) = self.pending() {
            line("pending", &pending);
        }
        let mut creates = totals.creates.to_string();
        if totals.unknown_creates > 0 {
            creates += &format!(
                ", {} of unknown fate (perhaps paid)",
                totals.unknown_creates
            );
        }
        line("creates", &creates);
        line("polls", &totals.polls.to_string());
        line("spend", &format!("${}", totals.spend));
        line("run time", &span(totals.elapsed));
        for Place { base_url, jobs } in &self.waiting_at {
            line("waiting", &format!("{jobs} at {}", safe(base_url)));
        }
        text
    }

    /// Whether it goes on, has ended, or was killed.
    fn state(&self) -> String {
        match &self.last_run {
            _ if self.running => "a run is under way".to_owned(),
            None => "no run yet".to_owned(),
            Some(LastRun {
                ended: Some(ended),
                stop: Some(stop),
                ..
            }) => {
                format!(
                    "the last run ended {ended:.0} ({})",
                    safe(&stop.replace('_', " "))
                )
            }
            Some(LastRun {
                ended: Some(ended), ..
            }) => format!("the last run ended {ended:.0}"),
            Some(LastRun { started, .. }) => {
                format!("the last run, begun {started:.0}, was killed; the same command goes on")
            }
        }
    }

    /// What the pending rows wait for; `None` where there is none.
    fn pending(&self) -> Option<String> {
        let creating = if self.running {
            "being created"
        } else {
            "in doubt (killed while being created)"
        };
        let parts = [
            (self.waiting, "under way at the service"),
            (self.submitting, creating),
            (self.queued, "to be created"),
        ];
        let parts: Vec<_> = parts
            .iter()
            .filter(|(n, _)| *n > 0)
            .map(|(n, what)| format!("{n} {what}"))
            .collect();
        (!parts.is_empty()).then(|| parts.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::job::Micros;

    fn killed() -> JournalStatus {
        JournalStatus {
            total: Some(1000),
            solved: 240,
            failed: 6,
            rejected: 2,
            pending: backlog::Pending {
                queued: 711,
                submitting: 1,
                waiting: 40,
            },
            creates: 289,
            unknown_creates: 1,
            polls: 900,
            spend: Micros(289_000),
            elapsed: Duration::from_secs(72),
            errors: [
                ("solve_failed".to_owned(), 6),
                ("site_not_authorized".to_owned(), 2),
            ]
            .into(),
            waiting_at: vec![
                ("https://new.example.com".to_owned(), 35),
                ("https://old.example.com".to_owned(), 5),
            ],
            last_run: Some(run(None, None)),
            ..JournalStatus::default()
        }
    }

    fn run(ended: Option<&str>, stop: Option<&str>) -> backlog::LastRun {
        backlog::LastRun {
            started: "2026-11-22T16:00:00.5Z".parse().unwrap(),
            ended: ended.map(|time| time.parse().unwrap()),
            stop: stop.map(str::to_owned),
            solved: 0,
            failed: 0,
            rejected: 0,
            creates: 0,
            unknown_creates: 0,
            polls: 0,
            retries: 0,
            spend: Micros::ZERO,
            elapsed: Duration::ZERO,
        }
    }

    #[test]
    fn a_killed_run() {
        insta::assert_snapshot!(StatusView::from(&killed()).render("results.csv"), @r"
        results.csv: the last run, begun 2026-11-22T16:00:00Z, was killed; the same command goes on
          settled   248 of 1000 rows
          solved    240
          failed    6
          rejected  2
          errors    site_not_authorized 2, solve_failed 6
          pending   40 under way at the service, 1 in doubt (killed while being created), 711 to be created
          creates   289, 1 of unknown fate (perhaps paid)
          polls     900
          spend     $0.289
          run time  1m 12s
          waiting   35 at https://new.example.com
          waiting   5 at https://old.example.com
        ");
    }

    #[test]
    fn a_finished_run() {
        let finished = JournalStatus {
            total: Some(2),
            solved: 2,
            creates: 2,
            simulated: true,
            last_run: Some(run(Some("2026-11-22T16:01:12.34Z"), Some("done"))),
            ..JournalStatus::default()
        };
        insta::assert_snapshot!(StatusView::from(&finished).render("results.csv"), @r"
        results.csv (simulated): the last run ended 2026-11-22T16:01:12Z (done)
          settled   2 of 2 rows
          solved    2
          creates   2
          polls     0
          spend     $0
          run time  0.0s
        ");
    }

    #[test]
    fn json_has_the_keys_of_the_summary_and_its_own() {
        insta::assert_snapshot!(StatusView::from(&killed()).json().unwrap(), @r#"{"total":1000,"solved":240,"failed":6,"rejected":2,"pending":752,"creates":289,"unknown_creates":1,"polls":900,"spend":0.289,"elapsed_s":72.0,"errors":{"site_not_authorized":2,"solve_failed":6},"queued":711,"submitting":1,"waiting":40,"waiting_at":[{"base_url":"https://new.example.com","jobs":35},{"base_url":"https://old.example.com","jobs":5}],"running":false,"simulated":false,"last_run":{"started":"2026-11-22T16:00:00.500Z","ended":null,"stop":null}}"#);
    }
}
