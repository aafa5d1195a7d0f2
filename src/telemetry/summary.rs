//! `--summary`: the totals as JSON, in the keys that the command line's contract names.
//!
//! ```json
//! {"total":24,"solved":23,"failed":1,"rejected":0,"pending":0,"creates":26,"unknown_creates":0,
//!  "polls":71,"spend":0.019,"elapsed_s":12.401,"errors":{"solve_failed":1},
//!  "this_run":{…the same keys…},"polls_late_ms":{"p50":0.4,"p99":1.9,"max":2.8},"stop":"done"}
//! ```
//!
//! `pending` is what has no outcome: not begun, or under way. `total` is the sum of the four before
//! `creates`, or null where the input's end was not seen. `spend` is in US dollars.
//! `polls_late_ms` says how long after they were due this run's polls left, or is null where none did.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Serialize;

use super::Lateness;
use crate::engine::Tally;
use crate::job::Micros;

/// The document.
#[derive(Clone, Debug, Serialize)]
pub struct Summary {
    /// Over all runs that worked on the journal.
    #[serde(flatten)]
    pub all_runs: Totals,
    /// This run alone.
    pub this_run: Totals,
    /// How late this run's polls left.
    pub polls_late_ms: Option<Lateness>,
    /// Why it ended: see [`StopReason::word`](crate::engine::StopReason::word).
    pub stop: &'static str,
}

/// Counts.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Totals {
    /// Rows, where that is known.
    pub total: Option<u64>,
    /// Rows that have a token.
    pub solved: u64,
    /// Rows that were tried and have none.
    pub failed: u64,
    /// Rows that were never sent.
    pub rejected: u64,
    /// Rows without an outcome, where that is known.
    pub pending: Option<u64>,
    /// Creates sent or perhaps sent.
    pub creates: u64,
    /// Of those, creates whose fate is unknown.
    pub unknown_creates: u64,
    /// Polls.
    pub polls: u64,
    /// Spent or perhaps spent.
    #[serde(serialize_with = "dollars")]
    pub spend: Micros,
    /// Time spent running.
    #[serde(rename = "elapsed_s", serialize_with = "seconds")]
    pub elapsed: Duration,
    /// Outcomes that are not solved, by the word of their class.
    pub errors: BTreeMap<String, u64>,
}

impl Totals {
    /// Those of one run.
    #[must_use]
    pub fn of_run(tally: &Tally, pending: Option<u64>, elapsed: Duration) -> Self {
        Self {
            total: pending.map(|pending| pending + tally.solved + tally.failed + tally.rejected),
            solved: tally.solved,
            failed: tally.failed,
            rejected: tally.rejected,
            pending,
            creates: tally.creates,
            unknown_creates: tally.unknown_creates,
            polls: tally.polls,
            spend: tally.spend,
            elapsed,
            errors: tally
                .errors
                .iter()
                .map(|(class, n)| (class.to_string(), *n))
                .collect(),
        }
    }
}

/// A number that reads as the exact amount: micro-dollars below 2^53 survive the trip through a
/// double, whose shortest decimal form is what was meant.
pub(crate) fn dollars<S: serde::Serializer>(amount: &Micros, out: S) -> Result<S::Ok, S::Error> {
    out.serialize_f64(amount.0 as f64 / 1e6)
}

/// Seconds, to the millisecond.
fn seconds<S: serde::Serializer>(span: &Duration, out: S) -> Result<S::Ok, S::Error> {
    out.serialize_f64(span.as_millis() as f64 / 1e3)
}

/// Why a summary could not be written.
#[derive(Debug, thiserror::Error)]
#[error("cannot write the summary to {}", path.display())]
pub struct WriteSummaryError {
    path: PathBuf,
    #[source]
    source: io::Error,
}

impl Summary {
    /// Writes the document to `path`: a reader sees the old file or the whole new one.
    ///
    /// # Errors
    ///
    /// Where the file beside it cannot be written or put in its place.
    pub fn write(&self, path: &Path) -> Result<(), WriteSummaryError> {
        self.write_beside(path).map_err(|source| WriteSummaryError {
            path: path.to_owned(),
            source,
        })
    }

    /// Whether a summary can be written to `path`: to be asked before anything is paid for.
    ///
    /// # Errors
    ///
    /// Where no file can be made beside it.
    pub fn check(path: &Path) -> Result<(), WriteSummaryError> {
        let attempt = || {
            if std::fs::metadata(path).is_ok_and(|m| !m.is_file() && !m.is_dir()) {
                return Ok(());
            }
            if path.is_dir() {
                return Err(io::ErrorKind::IsADirectory.into());
            }
            let temporary = temporary(path)?;
            File::create(&temporary)?;
            std::fs::remove_file(&temporary)
        };
        attempt().map_err(|source| WriteSummaryError {
            path: path.to_owned(),
            source,
        })
    }

    fn write_beside(&self, path: &Path) -> io::Result<()> {
        let mut json = serde_json::to_vec_pretty(self)?;
        json.push(b'\n');
        // A pipe or a device is written to, not replaced.
        if std::fs::metadata(path).is_ok_and(|m| !m.is_file()) {
            return File::options().write(true).open(path)?.write_all(&json);
        }
        let temporary = temporary(path)?;
        let written = File::create(&temporary)
            .and_then(|mut file| file.write_all(&json).and_then(|()| file.sync_all()))
            .and_then(|()| std::fs::rename(&temporary, path));
        if written.is_err() {
            let _ = std::fs::remove_file(&temporary);
        }
        written
    }
}

/// The file that is written first, and then renamed to `path`.
fn temporary(path: &Path) -> io::Result<PathBuf> {
    let name = path.file_name().ok_or(io::ErrorKind::IsADirectory)?;
    let mut temporary = name.to_owned();
    temporary.push(format!(".{}.tmp", std::process::id()));
    Ok(path.with_file_name(temporary))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::job::ErrorClass;

    fn summary() -> Summary {
        let tally = Tally {
            solved: 23,
            failed: 1,
            creates: 26,
            polls: 71,
            spend: Micros(18_550),
            errors: [(ErrorClass::SolveFailed, 1)].into(),
            ..Tally::default()
        };
        let this_run = Totals::of_run(&tally, Some(0), Duration::from_micros(12_401_499));
        Summary {
            all_runs: Totals {
                total: Some(27),
                pending: Some(3),
                ..this_run.clone()
            },
            this_run,
            polls_late_ms: Some(Lateness {
                p50: 0.4,
                p99: 1.9,
                max: 2.8,
            }),
            stop: "done",
        }
    }

    #[test]
    fn the_keys_are_those_of_the_contract() {
        insta::assert_snapshot!(serde_json::to_string_pretty(&summary()).unwrap(), @r#"
        {
          "total": 27,
          "solved": 23,
          "failed": 1,
          "rejected": 0,
          "pending": 3,
          "creates": 26,
          "unknown_creates": 0,
          "polls": 71,
          "spend": 0.01855,
          "elapsed_s": 12.401,
          "errors": {
            "solve_failed": 1
          },
          "this_run": {
            "total": 24,
            "solved": 23,
            "failed": 1,
            "rejected": 0,
            "pending": 0,
            "creates": 26,
            "unknown_creates": 0,
            "polls": 71,
            "spend": 0.01855,
            "elapsed_s": 12.401,
            "errors": {
              "solve_failed": 1
            }
          },
          "polls_late_ms": {
            "p50": 0.4,
            "p99": 1.9,
            "max": 2.8
          },
          "stop": "done"
        }
        "#);
    }

    #[test]
    fn amounts_read_as_they_are() {
        for micros in [0, 1, 550, 1_000_000, 9_999_999, 123_456_789_123_456] {
            let totals = Totals {
                spend: Micros(micros),
                ..Totals::default()
            };
            let dollars = serde_json::to_value(&totals).unwrap()["spend"]
                .as_f64()
                .unwrap();
            assert_eq!(
                format!("{dollars:.6}").replace('.', "").parse(),
                Ok(micros),
                "{dollars}"
            );
        }
    }

    #[test]
    fn the_file_is_replaced_as_a_whole_and_nothing_is_left_beside_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("summary.json");
        std::fs::write(&path, "old").unwrap();
        summary().write(&path).unwrap();
        let read: serde_json::Value =
            serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
        assert_eq!(read["this_run"]["total"], 24);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
        let error = summary()
            .write(&folder.path().join("no/such/folder.json"))
            .unwrap_err();
        assert!(
            error
                .to_string()
                .starts_with("cannot write the summary to ")
        );
    }
}
