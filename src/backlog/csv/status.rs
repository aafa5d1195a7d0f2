//! What a journal says: of a run that goes on, that was killed, or that is over.
//!
//! What must stay true: it only reads, takes no lock that a run would have to wait for longer than an
//! instant, and sees one consistent state.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::Timestamp;
use rusqlite::{Connection, OpenFlags, OptionalExtension};

use crate::job::Micros;

use super::OpenError;
use super::census::JobCounts;
use super::journal::{beside, check_version};
use super::lock;
use super::storage::open_error;

/// What a journal says, over all runs that worked on it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct JournalStatus {
    /// Where the journal is; empty for one that lives only in its process.
    pub journal: PathBuf,
    /// The input of the last run, as it was named.
    pub input: String,
    /// The output; `-` for a stream.
    pub output: String,
    /// Whether its results are make-believe.
    pub simulated: bool,
    /// Whether a run works on it now.
    pub running: bool,
    /// All requests: the rows of the input when it was last checked (of a stream: that were read by the
    /// last run), and those of the journal that have left it.
    pub total: Option<u64>,
    /// Requests by outcome.
    pub solved: u64,
    /// Those that failed.
    pub failed: u64,
    /// Those that were not acceptable.
    pub rejected: u64,
    /// Requests without an outcome.
    pub pending: Pending,
    /// Jobs created, or perhaps created.
    pub creates: u64,
    /// Creates whose fate is unknown.
    pub unknown_creates: u64,
    /// Polls.
    pub polls: u64,
    /// Attempts repeated because a solve failed.
    pub retries: u64,
    /// Spent: billed or perhaps billed.
    pub spend: Micros,
    /// Time that runs have taken.
    pub elapsed: Duration,
    /// Outcomes that are not solved, by class.
    pub errors: BTreeMap<String, u64>,
    /// Jobs in flight by the base URL that they live at.
    pub waiting_at: Vec<(String, u64)>,
    /// The last run.
    pub last_run: Option<LastRun>,
}

/// Requests without an outcome.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pending {
    /// Not begun, or to be created again.
    pub queued: u64,
    /// Begun, without an answer yet.
    pub submitting: u64,
    /// With a job at the service.
    pub waiting: u64,
}

impl Pending {
    /// All of them.
    #[must_use]
    pub fn all(&self) -> u64 {
        self.queued + self.submitting + self.waiting
    }
}

/// The last run on a journal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LastRun {
    /// When it began.
    pub started: Timestamp,
    /// When it ended; `None` where it goes on or was killed.
    pub ended: Option<Timestamp>,
    /// Why it ended.
    pub stop: Option<String>,
    /// Outcomes: solved.
    pub solved: u64,
    /// Outcomes: failed.
    pub failed: u64,
    /// Outcomes: rejected.
    pub rejected: u64,
    /// Jobs created, or perhaps created.
    pub creates: u64,
    /// Creates whose fate is unknown, those found at its start included.
    pub unknown_creates: u64,
    /// Polls.
    pub polls: u64,
    /// Attempts repeated because a solve failed.
    pub retries: u64,
    /// Spent; less than nothing where more was given back than reserved.
    pub spend: Micros,
    /// How long it took.
    pub elapsed: Duration,
}

impl JournalStatus {
    /// Reads the journal at `path`, or the one beside an output or an input at `path`. Also while a run works
    /// on it.
    ///
    /// # Errors
    ///
    /// [`OpenError::InputUnreadable`] where there is none; [`OpenError::ForeignJournal`] and
    /// [`OpenError::DamagedJournal`] for what is none.
    pub fn read(path: &Path) -> Result<Self, OpenError> {
        Self::read_again(path, None)
    }

    /// As [`read`](Self::read), where the journal's jobs may be counted already.
    ///
    /// # Errors
    ///
    /// As [`read`](Self::read).
    pub fn read_again(path: &Path, jobs: Option<&JobCounts>) -> Result<Self, OpenError> {
        let journal = find(path);
        let failed = |e| open_error(&journal, &e);
        if let Err(e) = std::fs::metadata(&journal) {
            return Err(OpenError::InputUnreadable {
                file: journal.display().to_string(),
                why: "there is no journal that could be read".to_owned(),
                source: Some(e),
            });
        }
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let db = Connection::open_with_flags(&journal, flags).map_err(failed)?;
        db.busy_timeout(Duration::from_secs(5)).map_err(failed)?;
        check_version(&db, &journal)?;
        let status = of(&db, lock::is_held(&journal), jobs).map_err(failed)?;
        Ok(Self { journal, ..status })
    }
}

/// The journal that a path names.
fn find(path: &Path) -> PathBuf {
    use std::io::Read;
    let mut head = [0; 16];
    let is_database = std::fs::File::open(path)
        .and_then(|mut file| file.read_exact(&mut head))
        .is_ok()
        && head.starts_with(b"SQLite format 3");
    if is_database {
        path.to_owned()
    } else {
        beside(path, ".journal")
    }
}

/// What an open journal says. Its jobs are counted, where that is not done yet.
pub(super) fn of(
    db: &Connection,
    running: bool,
    jobs: Option<&JobCounts>,
) -> rusqlite::Result<JournalStatus> {
    // One transaction, so that the counts belong together.
    db.execute_batch("BEGIN")?;
    let jobs = jobs.map_or_else(|| JobCounts::of(db), |jobs| Ok(jobs.clone()));
    let status = jobs.and_then(|jobs| read(db, running, jobs));
    db.execute_batch("ROLLBACK")?;
    status
}

fn read(db: &Connection, running: bool, jobs: JobCounts) -> rusqlite::Result<JournalStatus> {
    let mut status = JournalStatus {
        running,
        solved: jobs.solved,
        failed: jobs.failed,
        rejected: jobs.rejected,
        pending: jobs.pending,
        errors: jobs.errors,
        ..JournalStatus::default()
    };
    let text = |key: &str| {
        let select = "SELECT value FROM meta WHERE key = ?1";
        db.query_row(select, [key], |row| row.get::<_, Option<String>>(0))
            .optional()
            .map(|v| v.flatten().unwrap_or_default())
    };
    status.input = text("input")?;
    status.output = text("output")?;
    let select = "SELECT value FROM meta WHERE key = 'simulated'";
    status.simulated = db
        .query_row(select, [], |row| row.get(0))
        .optional()?
        .unwrap_or_default();

    let mut waiting_at = BTreeMap::<String, u64>::new();
    for (api, count) in jobs.waiting {
        let select = "SELECT base_url FROM api WHERE api = ?1";
        let url = db.query_row(select, [api], |row| row.get(0)).optional()?;
        *waiting_at.entry(url.unwrap_or_default()).or_default() += count;
    }
    status.waiting_at = waiting_at.into_iter().collect();

    let sums = "SELECT coalesce(sum(creates), 0), coalesce(sum(unknown_creates), 0), coalesce(sum(polls), 0), \
                coalesce(sum(retries), 0), coalesce(sum(spend), 0), coalesce(sum(elapsed_ms), 0) FROM run";
    db.query_row(sums, [], |row| {
        status.creates = natural(row.get(0)?);
        status.unknown_creates = natural(row.get(1)?);
        status.polls = natural(row.get(2)?);
        status.retries = natural(row.get(3)?);
        status.spend = Micros(row.get(4)?);
        status.elapsed = Duration::from_millis(natural(row.get(5)?));
        Ok(())
    })?;
    let last = "SELECT started, ended, stop, solved, failed, rejected, creates, unknown_creates, polls, retries, spend, \
                elapsed_ms, rows FROM run ORDER BY run DESC LIMIT 1";
    let last = db.query_row(last, [], |row| {
        let time = |ms: i64| Timestamp::from_millisecond(ms).unwrap_or_default();
        let last = LastRun {
            started: time(row.get(0)?),
            ended: row.get::<_, Option<i64>>(1)?.map(time),
            stop: row.get(2)?,
            solved: natural(row.get(3)?),
            failed: natural(row.get(4)?),
            rejected: natural(row.get(5)?),
            creates: natural(row.get(6)?),
            unknown_creates: natural(row.get(7)?),
            polls: natural(row.get(8)?),
            retries: natural(row.get(9)?),
            spend: Micros(row.get(10)?),
            elapsed: Duration::from_millis(natural(row.get(11)?)),
        };
        Ok((last, row.get::<_, Option<i64>>(12)?))
    });
    if let Some((last, rows)) = last.optional()? {
        status.last_run = Some(last);
        // A stream of which less was read than an earlier run has settled is no smaller for it.
        status.total = rows.map(natural).map(|rows| rows.max(jobs.all));
    }
    if let Some(total) = status.total {
        status.pending.queued += total - jobs.all;
    }
    Ok(status)
}

/// A count that SQLite keeps with a sign.
fn natural(n: i64) -> u64 {
    u64::try_from(n).unwrap_or_default()
}
