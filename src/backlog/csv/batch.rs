//! A transaction on the journal: what changes in it, and how.
//!
//! What must stay true: it is all there or not at all; a statement is prepared once by a
//! connection, which keeps it for the batches that follow.

use jiff::Timestamp;
use rusqlite::{CachedStatement, Connection, params};

use crate::job::{Outcome, RemoteId, RequestId};

use super::journal::{Checkpoint, NewJob, RunCounts, int};
use super::progress::Progress;
use super::schema;

const SQL: [&str; 9] = [
    schema::INSERT_JOB,
    schema::BEGIN_AGAIN,
    schema::STEP,
    schema::SETTLE,
    schema::INSERT_OUTBOX,
    schema::TRIM_OUTBOX,
    schema::REPLACE,
    schema::CHECKPOINT,
    schema::UPDATE_RUN,
];

/// A transaction. Dropped without a commit, it leaves nothing behind.
pub(super) struct Batch<'a> {
    db: &'a Connection,
    statements: [Option<CachedStatement<'a>>; SQL.len()],
    is_open: bool,
}

impl<'a> Batch<'a> {
    /// The transaction that was begun.
    pub(super) fn of(db: &'a Connection) -> Self {
        Self {
            db,
            statements: [const { None }; SQL.len()],
            is_open: true,
        }
    }

    /// A statement, looked up once per batch.
    fn statement(&mut self, sql: &'static str) -> rusqlite::Result<&mut CachedStatement<'a>> {
        let n = SQL.iter().position(|s| *s == sql).unwrap_or_default();
        let slot = &mut self.statements[n];
        match slot {
            Some(statement) => Ok(statement),
            None => Ok(slot.insert(self.db.prepare_cached(sql)?)),
        }
    }

    /// A job comes into the journal: begun, or settled at once.
    pub(super) fn insert(
        &mut self,
        seq: u32,
        job: &NewJob,
        progress: &Progress,
        begun: Option<(&[u8], i64, Timestamp)>,
        outcome: Option<&Outcome>,
    ) -> rusqlite::Result<()> {
        let (row, api, begun_at) = match begun {
            Some((row, api, at)) => (Some(row), Some(api), Some(at.as_millisecond())),
            None => (None, None, None),
        };
        let Columns {
            state,
            creates,
            failed,
            unknown,
            crashes,
            polls,
            spent,
            remote_id,
            submitted_at,
            deadline,
        } = Columns::of(progress);
        self.statement(schema::INSERT_JOB)?.execute(params![
            seq,
            job.id.as_str(),
            job.fields.map(|f| f.0),
            job.kind,
            job.request,
            row,
            api,
            begun_at,
            false,
            outcome.map(|o| o.status.as_str()),
            outcome.and_then(|o| o.error).map(|e| e.as_str()),
            outcome.map(|o| o.finished_at.as_millisecond()),
            state,
            creates,
            failed,
            unknown,
            crashes,
            polls,
            spent,
            remote_id,
            submitted_at,
            deadline
        ])?;
        Ok(())
    }

    /// A job of the journal's is begun again, from this row and at this API.
    pub(super) fn begin_again(
        &mut self,
        seq: u32,
        job: &NewJob,
        row: &[u8],
        api: i64,
        at: Timestamp,
        replaces: bool,
    ) -> rusqlite::Result<()> {
        let (fields, at) = (job.fields.map(|f| f.0), at.as_millisecond());
        let values = params![seq, row, api, at, replaces, fields, job.kind, job.request];
        self.statement(schema::BEGIN_AGAIN)?
            .execute(values)
            .map(|_| ())
    }

    /// A job moves on; with an outcome, to its end.
    pub(super) fn step(
        &mut self,
        seq: u32,
        progress: &Progress,
        outcome: Option<&Outcome>,
    ) -> rusqlite::Result<()> {
        let sql = match outcome {
            None => schema::STEP,
            Some(_) => schema::SETTLE,
        };
        let Columns {
            state,
            creates,
            failed,
            unknown,
            crashes,
            polls,
            spent,
            remote_id,
            submitted_at,
            deadline,
        } = Columns::of(progress);
        let step = params![
            seq,
            state,
            creates,
            failed,
            unknown,
            crashes,
            polls,
            spent,
            remote_id,
            submitted_at,
            deadline
        ];
        let statement = self.statement(sql)?;
        let Some(outcome) = outcome else {
            return statement.execute(step).map(|_| ());
        };
        let end = params![
            outcome.status.as_str(),
            outcome.error.map(|e| e.as_str()),
            outcome.finished_at.as_millisecond()
        ];
        let values = step.iter().chain(end);
        statement
            .execute(rusqlite::params_from_iter(values))
            .map(|_| ())
    }

    /// Lines are to be appended to the output, or a document is to be delivered.
    pub(super) fn outbox(&mut self, out_seq: i64, lines: &[u8]) -> rusqlite::Result<()> {
        self.statement(schema::INSERT_OUTBOX)?
            .execute(params![out_seq, lines])
            .map(|_| ())
    }

    /// A line is to take the place of the one that the output has of this id.
    pub(super) fn replace(&mut self, id: &RequestId, line: &[u8]) -> rusqlite::Result<()> {
        self.statement(schema::REPLACE)?
            .execute(params![id.as_str(), line])
            .map(|_| ())
    }

    /// Lines up to the checkpoint are durable in the output. Their copies may go from now on.
    pub(super) fn checkpoint(&mut self, at: &Checkpoint) -> rusqlite::Result<()> {
        let (dev, inode) = (at.file.0.cast_signed(), at.file.1.cast_signed());
        let values = params![int(at.length), dev, inode, at.tail, at.out_seq];
        self.statement(schema::CHECKPOINT)?
            .execute(values)
            .map(|_| ())
    }

    /// Rows up to this one are where they belong; their copies go.
    pub(super) fn trim_outbox(&mut self, out_seq: i64) -> rusqlite::Result<()> {
        self.statement(schema::TRIM_OUTBOX)?
            .execute([out_seq])
            .map(|_| ())
    }

    /// The run's counts.
    pub(super) fn run(&mut self, run: i64, c: &RunCounts) -> rusqlite::Result<()> {
        let values = params![
            run,
            c.rows.map(int),
            int(c.solved),
            int(c.failed),
            int(c.rejected),
            c.creates,
            c.unknown_creates,
            c.retries,
            int(c.polls),
            c.spend,
            int(c.elapsed_ms)
        ];
        self.statement(schema::UPDATE_RUN)?
            .execute(values)
            .map(|_| ())
    }

    /// Something that is done once in a run.
    pub(super) fn execute(
        &mut self,
        sql: &str,
        values: impl rusqlite::Params,
    ) -> rusqlite::Result<()> {
        self.db.execute(sql, values).map(|_| ())
    }

    /// Makes it durable.
    pub(super) fn commit(mut self) -> rusqlite::Result<()> {
        self.statements = [const { None }; SQL.len()];
        self.db.execute_batch("COMMIT")?;
        self.is_open = false;
        Ok(())
    }
}

impl Drop for Batch<'_> {
    fn drop(&mut self) {
        self.statements = [const { None }; SQL.len()];
        // SQLite has rolled back by itself after some errors.
        if self.is_open && !self.db.is_autocommit() {
            let _ = self.db.execute_batch("ROLLBACK");
        }
    }
}

struct Columns {
    state: &'static str,
    creates: u32,
    failed: u32,
    unknown: u32,
    crashes: u32,
    polls: u32,
    spent: i64,
    remote_id: Option<String>,
    submitted_at: Option<i64>,
    deadline: Option<i64>,
}

impl Columns {
    fn of(progress: &Progress) -> Self {
        let waiting = progress.waiting.as_ref();
        Self {
            state: progress.state.as_str(),
            creates: progress.history.creates,
            failed: progress.history.failed_attempts,
            unknown: progress.history.unknown_creates,
            crashes: progress.crashes,
            polls: progress.history.polls,
            spent: progress.history.spent.0,
            remote_id: progress.remote_id.as_ref().map(RemoteId::to_json),
            submitted_at: waiting.map(|w| w.submitted_at.as_millisecond()),
            deadline: waiting.map(|w| w.deadline.as_millisecond()),
        }
    }
}
