//! The jobs of a journal, read once from end to end.
//!
//! What must stay true: a journal may be large, so that a start reads its jobs once and no more: what a row is
//! found by, what is to be done for it, and how many there are of each sort. It is read by a thread of its own, while
//! the input is checked. That thread has a connection of its own, which only reads; nobody writes meanwhile.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread::JoinHandle;

use rusqlite::{Connection, OpenFlags};

use crate::job::FieldsHash;

use super::identity::{Key, Keys};
use super::journal::BUSY;
use super::known::{Entry, Known, Standing};
use super::status::Pending;

/// Least bytes of the journal that a job takes: what its number says of the memory to be set aside is not
/// trusted beyond that.
const LEAST_JOB: u64 = 32;

/// Rows that are handed over at once, and how often before they are taken.
const ROWS_AT_ONCE: usize = 4096;
const HANDED_OVER: usize = 16;

/// What the rows of a journal are, beside those of [`Known`].
#[derive(Debug, Default)]
pub(super) struct Census {
    pub(super) last_seq: u32,
    /// Jobs that were begun when the last run was killed.
    pub(super) submitting: Vec<u32>,
    /// Jobs that exist, with the API that they live at.
    pub(super) waiting: Vec<(u32, i64)>,
    pub(super) counts: JobCounts,
}

/// A census that is being taken.
#[derive(Debug)]
pub(super) struct UnderWay(JoinHandle<rusqlite::Result<Census>>);

impl UnderWay {
    /// Waits for its end. The rows must have been taken.
    pub(super) fn end(self) -> rusqlite::Result<Census> {
        match self.0.join() {
            Ok(census) => census,
            Err(panic) => std::panic::resume_unwind(panic),
        }
    }
}

/// Begins to take in all jobs of the journal at `path`.
pub(super) fn begin(path: &Path, keys: &Keys) -> rusqlite::Result<(Known, UnderWay)> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let db = Connection::open_with_flags(path, flags)?;
    db.busy_timeout(BUSY)?;
    let (send, rows) = sync_channel(HANDED_OVER);
    let known = Known::arriving(most_jobs(&db)?, rows);
    let keys = keys.clone();
    let thread = std::thread::spawn(move || take(&db, &keys, &send));
    Ok((known, UnderWay(thread)))
}

/// How many jobs of a journal stand how.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct JobCounts {
    /// All of them.
    pub(super) all: u64,
    pub(super) solved: u64,
    pub(super) failed: u64,
    pub(super) rejected: u64,
    pub(super) pending: Pending,
    /// Outcomes that are not solved, by class.
    pub(super) errors: BTreeMap<String, u64>,
    /// Jobs in flight, by the API that they live at.
    pub(super) waiting: BTreeMap<Option<i64>, u64>,
}

impl JobCounts {
    /// Counts all jobs of a journal.
    pub(super) fn of(db: &Connection) -> rusqlite::Result<Self> {
        let mut counts = Self::default();
        let mut select = db.prepare("SELECT state, status, error, api FROM job")?;
        let mut rows = select.query([])?;
        while let Some(row) = rows.next()? {
            counts.add(
                row.get_ref(0)?.as_str()?,
                row.get_ref(1)?.as_str_or_null()?,
                row.get_ref(2)?.as_str_or_null()?,
                || row.get(3),
            )?;
        }
        Ok(counts)
    }

    fn add(
        &mut self,
        state: &str,
        status: Option<&str>,
        error: Option<&str>,
        api: impl FnOnce() -> rusqlite::Result<Option<i64>>,
    ) -> rusqlite::Result<()> {
        self.all += 1;
        match (state, status) {
            ("settled", Some("solved")) => self.solved += 1,
            ("settled", Some("rejected")) => self.rejected += 1,
            ("settled", _) => self.failed += 1,
            ("submitting", _) => self.pending.submitting += 1,
            ("waiting", _) => {
                self.pending.waiting += 1;
                *self.waiting.entry(api()?).or_default() += 1;
            }
            _ => self.pending.queued += 1,
        }
        if let ("settled", Some(error)) = (state, error) {
            match self.errors.get_mut(error) {
                Some(count) => *count += 1,
                None => {
                    self.errors.insert(error.to_owned(), 1);
                }
            }
        }
        Ok(())
    }
}

fn take(db: &Connection, keys: &Keys, send: &SyncSender<Vec<Entry>>) -> rusqlite::Result<Census> {
    let mut census = Census::default();
    let mut entries = Vec::with_capacity(ROWS_AT_ONCE);
    // Most jobs are solved: of them no more is read than is needed.
    let mut select = db.prepare("SELECT seq, id, fields, state, status FROM job ORDER BY seq")?;
    let mut select_more = db.prepare("SELECT error, api FROM job WHERE seq = ?1")?;
    let mut rows = select.query([])?;
    while let Some(row) = rows.next()? {
        let seq: u32 = row.get(0)?;
        let key = keys.key(row.get_ref(1)?.as_str()?);
        let fields: Option<[u8; 16]> = row.get(2)?;
        let state = row.get_ref(3)?.as_str()?;
        let status = row.get_ref(4)?.as_str_or_null()?;
        let (error, api): (Option<String>, Option<i64>) = match (state, status) {
            ("settled", Some("solved")) => (None, None),
            _ => select_more.query_row([seq], |row| Ok((row.get(0)?, row.get(1)?)))?,
        };
        let counts = &mut census.counts;
        counts.add(state, status, error.as_deref(), || Ok(api))?;
        let standing = match (state, status) {
            ("settled", Some("failed")) => Standing::Failed,
            // A row that had no id of its own is another row once it is mended.
            ("settled", Some("rejected")) if matches!(key, Key::Own(_)) => Standing::Failed,
            ("settled", _) => Standing::Settled,
            ("submitting", _) => {
                census.submitting.push(seq);
                Standing::Open
            }
            ("waiting", _) => {
                census.waiting.push((seq, api.unwrap_or_default()));
                Standing::InFlight
            }
            _ => Standing::Open,
        };
        entries.push(Entry::new(key, fields.map(FieldsHash), seq, standing));
        census.last_seq = seq;
        if entries.len() == ROWS_AT_ONCE {
            let full = std::mem::replace(&mut entries, Vec::with_capacity(ROWS_AT_ONCE));
            // Where nobody takes them, the start has failed already.
            let _ = send.send(full);
        }
    }
    let _ = send.send(entries);
    Ok(census)
}

/// How many jobs there are at most. They are numbered from 1, and none ever goes.
fn most_jobs(db: &Connection) -> rusqlite::Result<usize> {
    let number = |select: &str| {
        db.query_row(select, [], |row| row.get::<_, Option<i64>>(0))
            .map(|n| n.unwrap_or_default().unsigned_abs())
    };
    let bytes = number("PRAGMA page_count")?.saturating_mul(number("PRAGMA page_size")?);
    let most = number("SELECT max(seq) FROM job")?.min(bytes / LEAST_JOB);
    Ok(usize::try_from(most).unwrap_or_default())
}
