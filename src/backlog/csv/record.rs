//! Recording: a batch is one commit. Its outcomes are in the output when it returns, or, where lines went
//! there a moment ago, with those of the batches that follow: each way there takes an fsync of its own.
//!
//! What must stay true: nothing in memory changes before the commit, so that a batch that fails leaves
//! nothing behind; what was committed is delivered by this call or by a later one, to a file within
//! `deliver_every` ([`Backlog::wake`](crate::backlog::Backlog::wake) sees to it), and a batch that is passed
//! again is known by the last record of each of its requests.

use foldhash::{HashMap, HashMapExt};
use jiff::Timestamp;
use tokio::time::Instant;

use crate::backlog::{BacklogError, Record, Ticket};
use crate::job::{Outcome, State};

use super::batch::Batch;
use super::claim::Reject;
use super::crash::Crash;
use super::journal::{NewJob, RunCounts};
use super::layout::Form;
use super::order::order;
use super::progress::{Delta, Progress, fingerprint};
use super::rewrite;
use super::sink::{Sink, write_stream};
use super::{CsvBacklog, InHand};

/// So many bytes of output lines go into a row of the journal, and the line that comes to more.
const LINES_TOGETHER: usize = 64 * 1024;

/// Documents that an outbox is given at once: a failure has no more of them delivered twice.
const DOCUMENTS_AT_ONCE: usize = 128;

/// A request as the batch leaves it.
struct Moved {
    seq: Option<u32>,
    progress: Progress,
    last: u64,
    departs: bool,
}

/// What a batch changes beside the requests: taken over when it has committed.
pub(super) struct Tally {
    pub(super) counts: RunCounts,
    next_seq: u32,
    /// Lines for the output file that no row of the journal holds yet.
    lines: Vec<u8>,
    out_seq: i64,
    /// The last line that is durable in the output, and the last whose copy in the journal is gone.
    durable: i64,
    trimmed: i64,
    pending: Vec<(i64, Vec<u8>)>,
    replacements: u64,
}

impl CsvBacklog {
    pub(super) fn record_batch(
        &mut self,
        batch: &[(Ticket, Record)],
        polls: u64,
    ) -> Result<(), BacklogError> {
        let mut moved: HashMap<Ticket, Moved> = HashMap::with_capacity(batch.len());
        let mut tally = self.tally();
        tally.counts.polls = polls;
        let mut has_begun = false;
        let failed = |e| self.journal.error(e);
        let mut tx = self.journal.batch().map_err(failed)?;
        if self.durable > self.checkpointed {
            self.sink
                .checkpoint(&mut tx, self.durable)
                .map_err(failed)?;
        }
        for (ticket, record) in batch {
            let print = fingerprint(record);
            let Some(job) = self.jobs.get(ticket) else {
                if self.departed.get(ticket) == Some(&print) {
                    continue;
                }
                return Err(BacklogError::Fatal {
                    what: format!("a bug: ticket {} is not in hand", ticket.0),
                });
            };
            let (seq, progress, last) = match moved.get(ticket) {
                Some(m) => (m.seq, &m.progress, Some(m.last)),
                None => (job.seq, &job.progress, job.last),
            };
            if last == Some(print) {
                continue;
            }
            let (next, delta) = progress
                .after(record)
                .map_err(|illegal| BacklogError::Fatal {
                    what: format!(
                        "a bug: {:?} of id {:?}, which is {}",
                        illegal.transition,
                        job.job.id.as_str(),
                        illegal.from.as_str()
                    ),
                })?;
            count(&mut tally.counts, delta);
            has_begun |= matches!(record, Record::Begin { .. });
            if let (Record::Finish { .. }, Sink::Stream(stream)) = (record, &mut self.sink) {
                // A stream is told first: what it did not get must not count as delivered.
                if !self.streamed.contains(&(*ticket, print)) {
                    write_stream(stream.as_mut(), &line(job, record, self.layout.form))?;
                    self.streamed.insert((*ticket, print));
                }
            }
            let seq = write(
                &mut tx,
                &mut tally,
                job,
                seq,
                &next,
                record,
                self.api,
                self.layout.form,
                &self.sink,
            )
            .map_err(failed)?;
            let departs = matches!(record, Record::Finish { .. } | Record::Release { .. });
            moved.insert(
                *ticket,
                Moved {
                    seq,
                    progress: next,
                    last: print,
                    departs,
                },
            );
        }
        tally.counts.elapsed_ms =
            elapsed_ms(self.started, (self.wall_clock)()).max(tally.counts.elapsed_ms);
        let is_commit_due =
            !moved.is_empty() || self.durable > self.checkpointed || self.counts.polls != polls;
        if is_commit_due {
            commit(tx, self.run, &mut tally, &mut self.crash, failed)?;
            self.streamed.clear();
        } else {
            drop(tx);
        }
        self.take_over(tally);
        if !moved.is_empty() {
            self.departed.clear();
        }
        for (ticket, m) in moved {
            if m.departs {
                self.jobs.remove(&ticket);
                self.departed.insert(ticket, m.last);
            } else if let Some(job) = self.jobs.get_mut(&ticket) {
                job.seq = m.seq;
                job.progress = m.progress;
                job.last = Some(m.last);
            }
        }
        if has_begun {
            self.crash.at("after-begin-commit")?;
        }
        self.deliver_if_due()?;
        self.fold_if_due()
    }

    pub(super) fn tally(&self) -> Tally {
        Tally {
            counts: self.counts,
            next_seq: self.next_seq,
            lines: Vec::new(),
            out_seq: self.out_seq,
            durable: self.durable,
            trimmed: self.trimmed,
            pending: Vec::new(),
            replacements: self.replacements,
        }
    }

    pub(super) fn take_over(&mut self, tally: Tally) {
        self.counts = tally.counts;
        self.next_seq = tally.next_seq;
        self.out_seq = tally.out_seq;
        self.trimmed = tally.trimmed;
        self.pending.extend(tally.pending);
        self.replacements = tally.replacements;
        // It rode in this transaction.
        self.checkpointed = self.durable;
    }

    /// [Delivers](Self::deliver), unless that was done a moment ago.
    pub(super) fn deliver_if_due(&mut self) -> Result<(), BacklogError> {
        let is_early = self.delivered.elapsed() < self.deliver_every;
        if is_early && matches!(self.sink, Sink::File(_)) {
            return Ok(());
        }
        self.deliver()
    }

    /// Appends what is committed and not in the output yet. After a failure, the next call goes on.
    pub(super) fn deliver(&mut self) -> Result<(), BacklogError> {
        let Some(&(last, _)) = self.pending.back() else {
            return Ok(());
        };
        match &mut self.sink {
            Sink::Stream(_) => return Ok(()),
            Sink::File(output) => {
                let bytes = self
                    .pending
                    .iter()
                    .fold(Vec::new(), |mut bytes, (_, line)| {
                        bytes.extend_from_slice(line);
                        bytes
                    });
                output.append(&bytes, &mut self.crash)?;
                self.pending.clear();
                self.delivered = Instant::now();
                self.durable = last;
            }
            Sink::Outbox(outbox) => {
                while !self.pending.is_empty() {
                    let many = self.pending.len().min(DOCUMENTS_AT_ONCE);
                    let documents: Vec<&[u8]> =
                        self.pending.range(..many).map(|(_, d)| &d[..]).collect();
                    outbox.deliver(&documents)?;
                    self.crash.at("after-append")?;
                    for (out_seq, _) in self.pending.drain(..many) {
                        self.durable = out_seq;
                    }
                }
            }
        }
        Ok(())
    }

    /// Settles bad rows that claims have met.
    pub(super) fn settle_rejects(&mut self) -> Result<(), BacklogError> {
        if self.rejects.is_empty() {
            return Ok(());
        }
        let form = self.layout.form;
        if let Sink::Stream(stream) = &mut self.sink {
            for reject in self.rejects.iter_mut().filter(|r| !r.is_streamed) {
                write_stream(
                    stream.as_mut(),
                    &form.outcome(&reject.job, &reject.row, &reject.outcome),
                )?;
                reject.is_streamed = true;
            }
        }
        let failed = |e| self.journal.error(e);
        let mut tally = self.tally();
        let mut tx = self.journal.batch().map_err(failed)?;
        if self.durable > self.checkpointed {
            self.sink
                .checkpoint(&mut tx, self.durable)
                .map_err(failed)?;
        }
        for reject in &self.rejects {
            settle(&mut tx, &mut tally, reject, form, &self.sink).map_err(failed)?;
        }
        tally.counts.elapsed_ms =
            elapsed_ms(self.started, (self.wall_clock)()).max(tally.counts.elapsed_ms);
        commit(tx, self.run, &mut tally, &mut self.crash, failed)?;
        self.take_over(tally);
        self.told.extend(self.rejects.drain(..).map(|r| r.outcome));
        self.deliver()?;
        self.fold_if_due()
    }

    /// Folds replacements in where that is due.
    fn fold_if_due(&mut self) -> Result<(), BacklogError> {
        if self.replacements > 0 && self.pace.is_due() {
            self.fold()
        } else {
            Ok(())
        }
    }

    /// Puts the lines that replace older ones in their places.
    pub(super) fn fold(&mut self) -> Result<(), BacklogError> {
        self.deliver()?;
        let Sink::File(output) = &mut self.sink else {
            return Ok(());
        };
        let began = Instant::now();
        let place = (self.layout.id_column(), self.layout.delimiter);
        rewrite::fold(&self.journal, output, self.durable, place, &mut self.crash)?;
        self.replacements = 0;
        self.checkpointed = self.durable;
        self.trimmed = self.durable;
        self.pace.note(began);
        Ok(())
    }

    /// Puts everything in its final place and ends the run.
    pub(super) fn close_run(&mut self, why: &str) -> Result<(), BacklogError> {
        self.settle_rejects()?;
        self.deliver()?;
        if self.replacements > 0 {
            self.fold()?;
        }
        if self.places.is_some() {
            self.place_the_rest()?;
        }
        if let (Some(places), Sink::File(output)) = (&mut self.places, &mut self.sink) {
            let place = (self.layout.id_column(), self.layout.delimiter);
            order(
                &self.journal,
                output,
                places,
                self.durable,
                place,
                &mut self.crash,
            )?;
        }
        let failed = |e| self.journal.error(e);
        let now = (self.wall_clock)();
        let mut tally = self.tally();
        tally.counts.elapsed_ms = elapsed_ms(self.started, now).max(tally.counts.elapsed_ms);
        let mut tx = self.journal.batch().map_err(failed)?;
        self.sink
            .checkpoint(&mut tx, self.durable)
            .map_err(failed)?;
        tx.trim_outbox(self.durable).map_err(failed)?;
        tally.trimmed = self.durable;
        let ended = rusqlite::params![self.run, now.as_millisecond(), why];
        tx.execute("UPDATE run SET ended = ?2, stop = ?3 WHERE run = ?1", ended)
            .map_err(failed)?;
        commit(tx, self.run, &mut tally, &mut self.crash, failed)?;
        self.take_over(tally);
        self.crash.at("after-checkpoint")?;
        // Only tidiness: a reader may hold the WAL.
        let _ = self.journal.truncate_wal();
        Ok(())
    }
}

impl Tally {
    /// Puts lines for the output file into the journal, in one row. A row whose lines are durable in the
    /// output makes room for it: its pages are used again in the same transaction, where pages that are only
    /// freed would be written, and written again when they are used.
    fn flush(&mut self, tx: &mut Batch<'_>) -> rusqlite::Result<()> {
        if self.lines.is_empty() {
            return Ok(());
        }
        if self.trimmed < self.durable {
            self.trimmed += 1;
            tx.trim_outbox(self.trimmed)?;
        }
        self.out_seq += 1;
        tx.outbox(self.out_seq, &self.lines)?;
        let lines = std::mem::take(&mut self.lines);
        self.pending.push((self.out_seq, lines));
        Ok(())
    }
}

pub(super) fn commit(
    mut tx: Batch<'_>,
    run: i64,
    tally: &mut Tally,
    crash: &mut Crash,
    failed: impl Fn(rusqlite::Error) -> BacklogError,
) -> Result<(), BacklogError> {
    tally.flush(&mut tx).map_err(&failed)?;
    tx.run(run, &tally.counts).map_err(&failed)?;
    crash.at("before-commit")?;
    tx.commit().map_err(&failed)?;
    crash.at("after-commit")
}

fn count(counts: &mut RunCounts, delta: Delta) {
    counts.creates += delta.creates;
    counts.unknown_creates += delta.unknown_creates;
    counts.retries += delta.retries;
    counts.spend = counts.spend.saturating_add(delta.spend);
}

fn line(job: &InHand, record: &Record, form: Form) -> Vec<u8> {
    match record {
        Record::Finish { outcome, .. } => form.outcome(&job.job, &job.row, outcome),
        _ => Vec::new(),
    }
}

/// Writes what a record changes, and gives back the job's number in the journal.
#[expect(
    clippy::too_many_arguments,
    reason = "borrows of disjoint fields, while the transaction borrows the journal"
)]
fn write(
    tx: &mut Batch<'_>,
    tally: &mut Tally,
    job: &InHand,
    seq: Option<u32>,
    next: &Progress,
    record: &Record,
    api: i64,
    form: Form,
    sink: &Sink,
) -> rusqlite::Result<Option<u32>> {
    let outcome = match record {
        Record::Finish { outcome, .. } => Some(&**outcome),
        _ => None,
    };
    let seq = match (seq, record) {
        // A row that nothing was ever done for leaves no trace.
        (None, Record::Release { .. }) => return Ok(None),
        (Some(seq), Record::Release { polls: 0, .. }) => return Ok(Some(seq)),
        (None, Record::Begin { at, .. }) => {
            let seq = new_seq(tally);
            tx.insert(seq, &job.job, next, Some((&job.row, api, *at)), None)?;
            seq
        }
        (None, _) => {
            let seq = new_seq(tally);
            tx.insert(seq, &job.job, next, None, outcome)?;
            seq
        }
        (Some(seq), Record::Begin { at, .. }) => {
            tx.begin_again(seq, &job.job, &job.row, api, *at, job.replaces)?;
            tx.step(seq, next, None)?;
            seq
        }
        (Some(seq), _) => {
            tx.step(seq, next, outcome)?;
            seq
        }
    };
    if let Some(outcome) = outcome {
        let output = (form, sink);
        send(
            tx,
            tally,
            &job.job,
            (&job.row, outcome),
            job.replaces,
            output,
        )?;
    }
    Ok(Some(seq))
}

/// Settles a row that never was in hand.
pub(super) fn settle(
    tx: &mut Batch<'_>,
    tally: &mut Tally,
    reject: &Reject,
    form: Form,
    sink: &Sink,
) -> rusqlite::Result<()> {
    let progress = Progress {
        state: State::Settled,
        waiting: None,
        ..reject.progress.clone()
    };
    match reject.seq {
        Some(seq) => {
            tx.step(seq, &progress, Some(&reject.outcome))?;
        }
        None => tx.insert(
            new_seq(tally),
            &reject.job,
            &progress,
            None,
            Some(&reject.outcome),
        )?,
    }
    let end = (&reject.row[..], &reject.outcome);
    send(tx, tally, &reject.job, end, reject.replaces, (form, sink))
}

/// Counts an outcome, and commits its line to the output.
fn send(
    tx: &mut Batch<'_>,
    tally: &mut Tally,
    job: &NewJob,
    (row, outcome): (&[u8], &Outcome),
    replaces: bool,
    (form, sink): (Form, &Sink),
) -> rusqlite::Result<()> {
    tally.counts.settle(outcome.status);
    match sink {
        // It was told already.
        Sink::Stream(_) => Ok(()),
        Sink::File(_) if replaces => {
            tally.replacements += 1;
            tx.replace(&job.id, &form.outcome(job, row, outcome))
        }
        Sink::File(_) => {
            form.push_outcome(&mut tally.lines, job, row, outcome);
            match tally.lines.len() < LINES_TOGETHER {
                true => Ok(()),
                false => tally.flush(tx),
            }
        }
        Sink::Outbox(_) => {
            let document = form.outcome(job, row, outcome);
            tally.out_seq += 1;
            tx.outbox(tally.out_seq, &document)?;
            tally.pending.push((tally.out_seq, document));
            Ok(())
        }
    }
}

fn new_seq(tally: &mut Tally) -> u32 {
    let seq = tally.next_seq;
    tally.next_seq += 1;
    seq
}

fn elapsed_ms(from: Timestamp, to: Timestamp) -> u64 {
    u64::try_from(to.as_millisecond() - from.as_millisecond()).unwrap_or_default()
}
