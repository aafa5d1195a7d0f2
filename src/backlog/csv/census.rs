//! The jobs of a journal, read once from end to end.
//!
//! What must stay true: a journal is as large as its file was long, so that a start reads its jobs once and no
//! more: what a row is found by, what is to be done for it, and how many there are of each sort.

use std::collections::BTreeMap;

use rusqlite::Connection;

use crate::job::FieldsHash;

use super::identity::{Key, Keys};
use super::journal::Journal;
use super::known::{Known, Standing};
use super::status::Pending;

/// Least bytes of the journal that a job takes: what its number says of the memory to be set aside is not
/// trusted beyond that.
const LEAST_JOB: u64 = 32;

/// What the rows of a journal are, taken in at start.
#[derive(Debug, Default)]
pub(super) struct Census {
    pub(super) known: Known,
    pub(super) last_seq: u32,
    /// Jobs that were begun when the last run was killed.
    pub(super) submitting: Vec<u32>,
    /// Jobs that exist, with the API that they live at.
    pub(super) waiting: Vec<(u32, i64)>,
    pub(super) counts: JobCounts,
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

impl Journal {
    /// Takes in all jobs.
    pub(super) fn census(&self, keys: &Keys) -> rusqlite::Result<Census> {
        let mut census = Census {
            known: Known::with_capacity(self.most_jobs()?),
            ..Census::default()
        };
        let mut select = self
            .db
            .prepare("SELECT seq, id, fields, state, status, error, api FROM job ORDER BY seq")?;
        let mut rows = select.query([])?;
        while let Some(row) = rows.next()? {
            let seq: u32 = row.get(0)?;
            let key = keys.key(row.get_ref(1)?.as_str()?);
            let fields: Option<[u8; 16]> = row.get(2)?;
            let state = row.get_ref(3)?.as_str()?;
            let status = row.get_ref(4)?.as_str_or_null()?;
            let error = row.get_ref(5)?.as_str_or_null()?;
            census.counts.add(state, status, error, || row.get(6))?;
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
                    let api: Option<i64> = row.get(6)?;
                    census.waiting.push((seq, api.unwrap_or_default()));
                    Standing::InFlight
                }
                _ => Standing::Open,
            };
            census
                .known
                .push(key, fields.map(FieldsHash), seq, standing);
            census.last_seq = seq;
        }
        Ok(census)
    }

    /// How many jobs there are at most. They are numbered from 1, and none ever goes.
    fn most_jobs(&self) -> rusqlite::Result<usize> {
        let number = |select: &str| {
            self.db
                .query_row(select, [], |row| row.get::<_, Option<i64>>(0))
                .map(|n| n.unwrap_or_default().unsigned_abs())
        };
        let bytes = number("PRAGMA page_count")?.saturating_mul(number("PRAGMA page_size")?);
        let most = number("SELECT max(seq) FROM job")?.min(bytes / LEAST_JOB);
        Ok(usize::try_from(most).unwrap_or_default())
    }
}
