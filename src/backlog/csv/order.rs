//! `--ordered`: the output in the input's order, at the end of a run.
//!
//! What must stay true: memory is bounded by SQLite's page cache; what is per row is in temporary tables on
//! disk. Lines whose rows are not in the input stay behind the others, in their order. An output that is in
//! order already is left alone.

use std::hash::{BuildHasher, RandomState};

use rusqlite::{Connection, params};

use crate::backlog::BacklogError;

use super::crash::Crash;
use super::header::text;
use super::journal::{Journal, int};
use super::output::OutputFile;
use super::rewrite::{lines, replace, unreadable};
use super::row::Row;

/// Ids kept in memory before they are written to the table.
const BATCH: usize = 4096;

/// Where each id stands in the input.
pub(super) struct Places {
    seed: RandomState,
    recent: Vec<(i64, u64)>,
    next: u64,
}

impl Places {
    /// Begins with no id.
    pub(super) fn new(db: &Connection) -> rusqlite::Result<Self> {
        db.execute_batch(
            "CREATE TEMP TABLE place (hash INTEGER NOT NULL, position INTEGER NOT NULL);
             CREATE TEMP TABLE line (position INTEGER, start INTEGER NOT NULL, end INTEGER NOT NULL);",
        )?;
        Ok(Self {
            seed: RandomState::new(),
            recent: Vec::new(),
            next: 0,
        })
    }

    fn hash(&self, id: &str) -> i64 {
        self.seed.hash_one(id).cast_signed()
    }

    /// The next id of the input.
    pub(super) fn push(&mut self, db: &Connection, id: &str) -> rusqlite::Result<()> {
        self.recent.push((self.hash(id), self.next));
        self.next += 1;
        if self.recent.len() >= BATCH {
            self.flush(db)
        } else {
            Ok(())
        }
    }

    fn flush(&mut self, db: &Connection) -> rusqlite::Result<()> {
        let rows = std::mem::take(&mut self.recent);
        in_one_go(db, |db| {
            let mut insert =
                db.prepare("INSERT INTO temp.place (hash, position) VALUES (?1, ?2)")?;
            rows.iter().try_for_each(|(hash, position)| {
                insert.execute(params![hash, int(*position)]).map(|_| ())
            })
        })
    }
}

/// Runs something in a transaction of temporary tables, which costs no fsync.
fn in_one_go<T>(
    db: &Connection,
    run: impl FnOnce(&Connection) -> rusqlite::Result<T>,
) -> rusqlite::Result<T> {
    db.execute_batch("BEGIN")?;
    let done = run(db);
    db.execute_batch(if done.is_ok() { "COMMIT" } else { "ROLLBACK" })?;
    done
}

/// Puts the output's lines in the order of `places`.
pub(super) fn order(
    journal: &Journal,
    output: &mut OutputFile,
    places: &mut Places,
    out_seq: i64,
    (id_column, delimiter): (usize, u8),
    crash: &mut Crash,
) -> Result<(), BacklogError> {
    let failed = |e| journal.error(e);
    let db = &journal.db;
    places.flush(db).map_err(failed)?;
    db.execute_batch("CREATE INDEX IF NOT EXISTS temp.place_hash ON place (hash, position); DELETE FROM temp.line;")
        .map_err(failed)?;
    let path = output.file.path.clone();
    let io_failed = |source| BacklogError::Retryable {
        what: format!("{}: cannot be read", path.display()),
        source,
    };
    let mut reader =
        lines(&output.file.handle, output.file.length, delimiter).map_err(io_failed)?;
    let mut row = Row::default();
    let mut header_end = None;
    let mut in_order = true;
    let mut last = None;
    let mut fault = None;
    in_one_go(db, |db| {
        let mut find = db.prepare("SELECT min(position) FROM temp.place WHERE hash = ?1")?;
        let mut insert =
            db.prepare("INSERT INTO temp.line (position, start, end) VALUES (?1, ?2, ?3)")?;
        loop {
            match reader.read(&mut row) {
                Ok(true) => {}
                Ok(false) => return Ok(()),
                Err(e) => {
                    fault = Some(e);
                    return Ok(());
                }
            }
            if header_end.is_none() {
                header_end = Some(row.span.1);
                continue;
            }
            let hash = row.get(id_column).and_then(text).map(|id| places.hash(id));
            // What left the input sorts behind everything.
            let position: i64 = find
                .query_row([hash], |row| row.get::<_, Option<i64>>(0))?
                .unwrap_or(i64::MAX);
            in_order &= last <= Some(position);
            last = Some(position);
            insert.execute(params![position, int(row.span.0), int(row.span.1)])?;
        }
    })
    .map_err(failed)?;
    if let Some(fault) = fault {
        return Err(unreadable(&path, fault));
    }
    let Some(header_end) = header_end.filter(|_| !in_order) else {
        return Ok(());
    };
    replace(journal, output, out_seq, 0, crash, |old, _length, copy| {
        let io_failed = |source| BacklogError::Retryable {
            what: format!("{}: cannot be rewritten", path.display()),
            source,
        };
        copy.copy(old, 0, header_end).map_err(io_failed)?;
        let mut select = db
            .prepare("SELECT start, end FROM temp.line ORDER BY position, start")
            .map_err(failed)?;
        let mut rows = select.query([]).map_err(failed)?;
        while let Some(row) = rows.next().map_err(failed)? {
            let span = |n| row.get::<_, i64>(n).map(i64::cast_unsigned).map_err(failed);
            copy.copy(old, span(0)?, span(1)?).map_err(io_failed)?;
        }
        Ok(())
    })
}
