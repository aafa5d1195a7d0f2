//! `status FILE.csv`: what a journal says, also while a run is under way or after it was killed.

use std::fmt::Write;

use jiff::Timestamp;
use serde::Serialize;

use crate::telemetry::{Totals, safe, span};

/// What a journal says, as plain data; its JSON is what `--json` prints.
#[derive(Clone, Debug, Serialize)]
pub(super) struct StatusView {
    /// Over all runs, in the summary's keys.
    #[serde(flatten)]
    pub(super) totals: Totals,
    /// Of `pending`: begun before, to be created again.
    pub(super) queued: u64,
    /// Of `pending`: a create was sent, or was about to be, and its answer is not recorded.
    pub(super) submitting: u64,
    /// Of `pending`: jobs that exist at the service.
    pub(super) waiting: u64,
    /// Whether a run holds the lock now.
    pub(super) running: bool,
    /// The last run.
    pub(super) last_run: Option<LastRun>,
    /// Jobs that live at another API than the last run's.
    pub(super) elsewhere: Vec<Elsewhere>,
}

/// The last run of a journal.
#[derive(Clone, Debug, Serialize)]
pub(super) struct LastRun {
    #[serde(serialize_with = "rfc3339")]
    pub(super) started: Timestamp,
    /// `None` while it goes on, and where it was killed.
    #[serde(serialize_with = "rfc3339_opt")]
    pub(super) ended: Option<Timestamp>,
    /// Why it ended, in one word.
    pub(super) stop: Option<String>,
}

/// Jobs at one other API.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Elsewhere {
    pub(super) base_url: String,
    pub(super) jobs: u64,
}

fn rfc3339<S: serde::Serializer>(time: &Timestamp, out: S) -> Result<S::Ok, S::Error> {
    out.collect_str(&format_args!("{time:.3}"))
}

fn rfc3339_opt<S: serde::Serializer>(time: &Option<Timestamp>, out: S) -> Result<S::Ok, S::Error> {
    match time {
        Some(time) => rfc3339(time, out),
        None => out.serialize_none(),
    }
}

impl StatusView {
    /// One line of JSON.
    pub(super) fn json(&self) -> serde_json::Result<String> {
        Ok(serde_json::to_string(self)? + "\n")
    }

    /// The text for people; `file` as it was named.
    pub(super) fn render(&self, file: &str) -> String {
        let totals = &self.totals;
        let settled = totals.solved + totals.failed + totals.rejected;
        let mut text = format!("{}: {}\n", safe(file), self.state());
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
            line("errors", &errors.join(", "));
        }
        if let Some(pending) = totals.pending.filter(|n| *n > 0) {
            line("pending", &format!("{pending}: {}", self.pending(pending)));
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
        for Elsewhere { base_url, jobs } in &self.elsewhere {
            let _ = writeln!(
                text,
                "  {jobs} jobs live at another API, {}: run with that one to end them",
                safe(base_url)
            );
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
                stop,
                ..
            }) => {
                let stop = stop.as_deref().unwrap_or("done").replace('_', " ");
                format!("the last run ended {ended:.0} ({})", safe(&stop))
            }
            Some(LastRun { started, .. }) => {
                format!("the last run, begun {started:.0}, was killed; the same command goes on")
            }
        }
    }

    /// What the pending rows wait for.
    fn pending(&self, pending: u64) -> String {
        let begun = self.queued + self.submitting + self.waiting;
        let parts = [
            (self.waiting, "under way at the service"),
            (self.submitting, "being created"),
            (self.queued, "to be created again"),
            (pending.saturating_sub(begun), "not begun"),
        ];
        let parts: Vec<_> = parts
            .iter()
            .filter(|(n, _)| *n > 0)
            .map(|(n, what)| format!("{n} {what}"))
            .collect();
        parts.join(", ")
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::job::{ErrorClass, Micros};

    fn view() -> StatusView {
        StatusView {
            totals: Totals {
                total: Some(1000),
                solved: 240,
                failed: 6,
                rejected: 2,
                pending: Some(752),
                creates: 289,
                unknown_creates: 1,
                polls: 900,
                spend: Micros(289_000),
                elapsed: Duration::from_secs(72),
                errors: [
                    (ErrorClass::SolveFailed, 6),
                    (ErrorClass::SiteNotAuthorized, 2),
                ]
                .into(),
            },
            queued: 3,
            submitting: 1,
            waiting: 40,
            running: false,
            last_run: Some(LastRun {
                started: "2026-11-22T16:00:00.5Z".parse().unwrap(),
                ended: None,
                stop: None,
            }),
            elsewhere: vec![Elsewhere {
                base_url: "https://old.example.com".to_owned(),
                jobs: 5,
            }],
        }
    }

    #[test]
    fn a_killed_run() {
        insta::assert_snapshot!(view().render("results.csv"), @r"
        results.csv: the last run, begun 2026-11-22T16:00:00Z, was killed; the same command goes on
          settled   248 of 1000 rows
          solved    240
          failed    6
          rejected  2
          errors    solve_failed 6, site_not_authorized 2
          pending   752: 40 under way at the service, 1 being created, 3 to be created again, 708 not begun
          creates   289, 1 of unknown fate (perhaps paid)
          polls     900
          spend     $0.289
          run time  1m 12s
          5 jobs live at another API, https://old.example.com: run with that one to end them
        ");
    }

    #[test]
    fn a_finished_run() {
        let mut view = view();
        view.totals = Totals {
            total: Some(2),
            solved: 2,
            pending: Some(0),
            creates: 2,
            ..Totals::default()
        };
        view.elsewhere.clear();
        view.last_run = Some(LastRun {
            started: "2026-11-22T16:00:00Z".parse().unwrap(),
            ended: Some("2026-11-22T16:01:12.34Z".parse().unwrap()),
            stop: Some("done".to_owned()),
        });
        insta::assert_snapshot!(view.render("results.csv"), @r"
        results.csv: the last run ended 2026-11-22T16:01:12Z (done)
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
        insta::assert_snapshot!(view().json().unwrap(), @r#"{"total":1000,"solved":240,"failed":6,"rejected":2,"pending":752,"creates":289,"unknown_creates":1,"polls":900,"spend":0.289,"elapsed_s":72.0,"errors":{"solve_failed":6,"site_not_authorized":2},"queued":3,"submitting":1,"waiting":40,"running":false,"last_run":{"started":"2026-11-22T16:00:00.500Z","ended":null,"stop":null},"elsewhere":[{"base_url":"https://old.example.com","jobs":5}]}"#);
    }
}
