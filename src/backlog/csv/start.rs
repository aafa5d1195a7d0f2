//! The first transaction of a run: it is written down, and what a killed one has left in doubt is settled.

use std::collections::BTreeMap;

use crate::api::Identity;
use crate::backlog::UnknownCreatePolicy;
use crate::job::{ErrorClass, Micros, State};

use super::census::Census;
use super::claim::{Reject, crash_outcome};
use super::journal::{NewJob, Stored, int};
use super::known::Standing;
use super::record::{commit, settle};
use super::sink::{Sink, write_stream};
use super::{CsvBacklog, OpenError, Opened, schema};

/// Crashes in a row between `begin` and an answer that end a request.
const CRASH_LIMIT: u32 = 20;

impl CsvBacklog {
    /// Writes the run down, and settles the creates that a killed run has left without an answer.
    pub(super) fn begin_run(
        &mut self,
        identity: &Identity,
        policy: UnknownCreatePolicy,
        census: &Census,
        opened: &mut Opened,
    ) -> Result<(), OpenError> {
        let failed = |e| OpenError::Recovery(self.journal.error(e));
        let now = self.started;
        let is_file = self.input.is_file();
        opened.left_input = if is_file {
            self.seen.known.absent() as u64
        } else {
            0
        };
        self.counts.rows = Some(opened.report.rows + opened.left_input);
        let mut crashed = Vec::new();
        for seq in &census.submitting {
            let Stored {
                id,
                fields,
                kind,
                row,
                replaces,
                mut progress,
                ..
            } = self.journal.job(*seq).map_err(failed)?;
            progress.crashes += 1;
            progress.history.unknown_creates += 1;
            let error = match policy {
                _ if progress.crashes >= CRASH_LIMIT => Some(ErrorClass::CrashLimit),
                UnknownCreatePolicy::Fail => Some(ErrorClass::UnknownCreate),
                UnknownCreatePolicy::Retry => None,
            };
            let outcome = error.map(|error| crash_outcome(&progress, error, now));
            progress.state = State::Queued;
            let job = NewJob {
                id,
                fields,
                kind: Some(kind),
                request: None,
            };
            crashed.push((*seq, job, row, replaces, progress, outcome));
        }
        opened.unknown_creates = crashed.len() as u64;
        if let Sink::Stream(stream) = &mut self.sink {
            for (_, job, row, _, _, outcome) in &crashed {
                if let Some(outcome) = outcome {
                    write_stream(
                        stream.as_mut(),
                        &self.layout.form.outcome(job, row, outcome),
                    )?;
                }
            }
        }
        let mut tally = self.tally();
        tally.counts.unknown_creates += i64::try_from(crashed.len()).unwrap_or(i64::MAX);
        let mut tx = self.journal.batch().map_err(failed)?;
        self.api = self.journal.api(identity).map_err(failed)?;
        let select = "SELECT coalesce(sum(spend), 0) FROM run";
        opened.spent_before = Micros(
            self.journal
                .db
                .query_row(select, [], |row| row.get(0))
                .map_err(failed)?,
        );
        tx.execute(
            "INSERT INTO run (started, solved, failed, rejected, creates, unknown_creates, retries, polls, spend, elapsed_ms)
             VALUES (?1, 0, 0, 0, 0, 0, 0, 0, 0, 0)",
            [now.as_millisecond()],
        )
        .map_err(failed)?;
        self.run = self.journal.db.last_insert_rowid();
        if self
            .journal
            .meta::<i64>("created")
            .map_err(failed)?
            .is_none()
        {
            self.journal
                .set_meta("created", now.as_millisecond())
                .map_err(failed)?;
        }
        self.journal
            .set_meta("input", &self.input.name)
            .map_err(failed)?;
        let output = match &self.sink {
            Sink::File(output) => output.file.path.display().to_string(),
            Sink::Stream(_) => "-".to_owned(),
            Sink::Outbox(outbox) => outbox.name().to_owned(),
        };
        self.journal.set_meta("output", output).map_err(failed)?;
        // From here on an older program would misread it.
        self.journal
            .db
            .pragma_update(None, "user_version", schema::VERSION)
            .map_err(failed)?;
        self.journal
            .set_meta("absent", int(opened.left_input))
            .map_err(failed)?;
        for (seq, job, row, replaces, progress, outcome) in crashed {
            match outcome {
                None => tx.step(seq, &progress, None).map_err(failed)?,
                Some(outcome) => {
                    let reject = Reject {
                        job,
                        seq: Some(seq),
                        row,
                        replaces,
                        progress,
                        outcome,
                        is_streamed: true,
                    };
                    settle(&mut tx, &mut tally, &reject, self.layout.form, &self.sink)
                        .map_err(failed)?;
                    self.told.push(reject.outcome);
                    self.seen.known.set_failed(seq);
                }
            }
        }
        let failed = |e| self.journal.error(e);
        commit(tx, self.run, &mut tally, &mut self.crash, failed)?;
        opened.crash_settled = self.told.len() as u64;
        self.take_over(tally);
        self.deliver()?;
        if self.replacements > 0 {
            self.fold()?;
        }
        self.sort_waiting(census, opened)
            .map_err(|e| OpenError::Recovery(self.journal.error(e)))?;
        let mut counts = BTreeMap::new();
        for (_, standing) in self.seen.known.present() {
            *counts.entry(standing as u32).or_default() += 1_u64;
        }
        let of = |standing: Standing| counts.get(&(standing as u32)).copied().unwrap_or_default();
        let failed = of(Standing::Failed);
        opened.done = of(Standing::Settled) + if self.retry_failed { 0 } else { failed };
        if is_file {
            let present: u64 = counts.values().sum();
            let again = of(Standing::Open) + if self.retry_failed { failed } else { 0 };
            let to_go = opened.report.rows.saturating_sub(present) + again;
            opened.to_go = Some(to_go);
            // A run with nothing to do need not find that out row by row. Its order is found from the rows.
            let is_done = to_go == 0 && self.seen.changed == 0;
            self.exhausted |= is_done && self.places.is_none();
            if is_done && opened.adopted == 0 && opened.unknown_creates == 0 {
                opened.unchanged = Some(census.counts.clone());
            }
        } else {
            // What of the journal a stream will bring is not known yet.
            let select = "SELECT count(*) FROM job WHERE state = 'settled'";
            let settled: i64 = self
                .journal
                .db
                .query_row(select, [], |row| row.get(0))
                .map_err(|e| OpenError::Recovery(self.journal.error(e)))?;
            opened.done = settled.unsigned_abs();
        }
        Ok(())
    }

    /// Parts the jobs in flight: those that this run adopts, and those that live elsewhere.
    fn sort_waiting(&mut self, census: &Census, opened: &mut Opened) -> rusqlite::Result<()> {
        let mut elsewhere = BTreeMap::<i64, u64>::new();
        for (seq, api) in &census.waiting {
            if *api == self.api {
                self.to_adopt.push_back(*seq);
            } else {
                *elsewhere.entry(*api).or_default() += 1;
            }
        }
        opened.adopted = self.to_adopt.len() as u64;
        for (api, count) in elsewhere {
            let select = "SELECT base_url FROM api WHERE api = ?1";
            let url: String = self.journal.db.query_row(select, [api], |row| row.get(0))?;
            opened.elsewhere.push((url, count));
        }
        Ok(())
    }
}
