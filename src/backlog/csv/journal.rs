//! The journal: what a killed run leaves behind to go on from.
//!
//! What must stay true: a [`Batch`] is one transaction and one fsync; it is all there or not at all.
//! WAL with `synchronous=FULL`: what was committed survives a power cut, as far as the disk keeps its
//! word. The journal is made 0600 before SQLite opens it; its `-wal` and `-shm` take over that mode.
//! Two runs never have it open at once (see [`super::lock`]); readers may.

use std::fs::{OpenOptions, Permissions};
use std::hash::BuildHasher;
use std::io;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::Timestamp;
use rusqlite::{Connection, OpenFlags, OptionalExtension, params};

use crate::api::Identity;
use crate::backlog::{BacklogError, History, Waiting};
use crate::job::{FieldsHash, Micros, RemoteId, RequestId, State, Status};

use super::OpenError;
use super::batch::Batch;
use super::progress::Progress;
use super::schema;
use super::storage::{backlog_error, open_error};

/// How long a reader who holds the journal (a shell with an open transaction) is waited for.
pub(super) const BUSY: Duration = Duration::from_secs(5);

/// An open journal.
pub(super) struct Journal {
    pub(super) db: Connection,
    name: String,
}

/// What of a file is known to be durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Checkpoint {
    pub(super) length: u64,
    /// Device and inode.
    pub(super) file: (u64, u64),
    /// BLAKE3 of the last 64 KiB.
    pub(super) tail: [u8; 32],
    pub(super) out_seq: i64,
}

/// A job as the journal has it.
#[derive(Debug)]
pub(super) struct Stored {
    pub(super) id: RequestId,
    pub(super) fields: Option<FieldsHash>,
    pub(super) kind: String,
    /// Its values, as JSON.
    pub(super) request: String,
    /// Its cells for the output.
    pub(super) row: Vec<u8>,
    pub(super) replaces: bool,
    pub(super) progress: Progress,
}

/// What is written of a job when it first comes into the journal.
#[derive(Clone, Debug)]
pub(super) struct NewJob {
    pub(super) id: RequestId,
    pub(super) fields: Option<FieldsHash>,
    pub(super) kind: Option<String>,
    pub(super) request: Option<String>,
}

/// The counts of a run, as its row has them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct RunCounts {
    pub(super) rows: Option<u64>,
    pub(super) solved: u64,
    pub(super) failed: u64,
    pub(super) rejected: u64,
    pub(super) creates: i64,
    pub(super) unknown_creates: i64,
    pub(super) retries: i64,
    pub(super) polls: u64,
    pub(super) spend: i64,
    pub(super) elapsed_ms: u64,
}

impl RunCounts {
    /// Counts an outcome.
    pub(super) fn settle(&mut self, status: Status) {
        match status {
            Status::Solved => self.solved += 1,
            Status::Failed => self.failed += 1,
            Status::Rejected => self.rejected += 1,
        }
    }
}

/// A number of SQLite's, which has no unsigned ones. Counts of ours never reach the sign.
pub(super) fn int(n: u64) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}

fn count(n: i64) -> u32 {
    u32::try_from(n.max(0)).unwrap_or(u32::MAX)
}

impl Journal {
    /// Makes a journal, in a new file or in an empty one that a killed process left. Without a path: a private
    /// one that vanishes with the process.
    pub(super) fn create(path: Option<&Path>) -> Result<Self, OpenError> {
        let shown = path.unwrap_or(Path::new("temporary journal"));
        if let Some(path) = path {
            let made = OpenOptions::new()
                .write(true)
                .create(true)
                .truncate(false)
                .mode(0o600)
                .open(path);
            let made = made.and_then(|file| file.set_permissions(Permissions::from_mode(0o600)));
            made.map_err(|e| OpenError::not_writable(path, e))?;
        }
        let failed = |e| open_error(shown, &e);
        let db = Connection::open(path.unwrap_or(Path::new(""))).map_err(failed)?;
        let journal = Self {
            db,
            name: shown.display().to_string(),
        };
        journal.configure().map_err(failed)?;
        let make = format!(
            "BEGIN IMMEDIATE; {} PRAGMA application_id = {}; PRAGMA user_version = {}; COMMIT;",
            schema::CREATE,
            schema::APPLICATION_ID,
            schema::VERSION
        );
        journal.db.execute_batch(&make).map_err(failed)?;
        Ok(journal)
    }

    /// Opens the journal at `path`; `None` where there is none, or only the empty database that a process
    /// killed at its very start left.
    pub(super) fn open(path: &Path) -> Result<Option<Self>, OpenError> {
        match std::fs::metadata(path) {
            Ok(_) => {}
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(OpenError::not_writable(path, e)),
        }
        let failed = |e| open_error(path, &e);
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let db = Connection::open_with_flags(path, flags).map_err(failed)?;
        let tables: i64 = db
            .query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))
            .map_err(failed)?;
        if tables == 0 {
            return Ok(None);
        }
        check_version(&db, path)?;
        let journal = Self {
            db,
            name: path.display().to_string(),
        };
        journal.configure().map_err(failed)?;
        Ok(Some(journal))
    }

    fn configure(&self) -> rusqlite::Result<()> {
        self.db.busy_timeout(BUSY)?;
        // A temporary database stays in its own mode: it has no durability to keep.
        let _mode: String = self
            .db
            .query_row("PRAGMA journal_mode = WAL", [], |row| row.get(0))?;
        self.db.execute_batch(
            "PRAGMA synchronous = FULL; PRAGMA secure_delete = ON; PRAGMA temp_store = FILE; PRAGMA trusted_schema = OFF;",
        )
    }

    /// Its name for messages.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// An error of SQLite's as one of the backlog's.
    pub(super) fn error(&self, e: rusqlite::Error) -> BacklogError {
        backlog_error(&self.name, e)
    }

    pub(super) fn meta<T: rusqlite::types::FromSql>(
        &self,
        key: &str,
    ) -> rusqlite::Result<Option<T>> {
        self.db
            .query_row("SELECT value FROM meta WHERE key = ?1", [key], |row| {
                row.get(0)
            })
            .optional()
    }

    pub(super) fn set_meta(&self, key: &str, value: impl rusqlite::ToSql) -> rusqlite::Result<()> {
        self.db
            .execute(
                "INSERT OR REPLACE INTO meta (key, value) VALUES (?1, ?2)",
                params![key, value],
            )
            .map(|_| ())
    }

    /// The number of this run's API in the journal, added where it is new. With its fingerprints' salt.
    pub(super) fn api(&self, identity: &Identity) -> rusqlite::Result<i64> {
        let salt: [u8; 32] = match self.meta("salt")? {
            Some(salt) => salt,
            None => {
                // It only has to differ between journals: whoever reads the journal reads it too.
                let seed = format!(
                    "{:?}{:?}",
                    Timestamp::now(),
                    std::hash::RandomState::new().hash_one(&self.name)
                );
                let salt = *blake3::hash(seed.as_bytes()).as_bytes();
                self.set_meta("salt", salt)?;
                salt
            }
        };
        if let Some(api) = self.find_api(identity)? {
            return Ok(api);
        }
        let key = params![
            identity.base_url,
            identity.protocol.as_str(),
            identity.account.fingerprint(&salt)
        ];
        self.db.execute(
            "INSERT INTO api (base_url, protocol, fingerprint) VALUES (?1, ?2, ?3)",
            key,
        )?;
        Ok(self.db.last_insert_rowid())
    }

    /// The number of this run's API in the journal, if it is there.
    pub(super) fn find_api(&self, identity: &Identity) -> rusqlite::Result<Option<i64>> {
        let Some(salt) = self.meta("salt")? else {
            return Ok(None);
        };
        let key = params![
            identity.base_url,
            identity.protocol.as_str(),
            identity.account.fingerprint(&salt)
        ];
        let select =
            "SELECT api FROM api WHERE base_url = ?1 AND protocol = ?2 AND fingerprint = ?3";
        self.db.query_row(select, key, |row| row.get(0)).optional()
    }

    /// One job.
    pub(super) fn job(&self, seq: u32) -> rusqlite::Result<Stored> {
        let mut select = self.db.prepare_cached(schema::SELECT_JOB)?;
        select.query_row([seq], |row| {
            let bad = |n: usize| {
                rusqlite::Error::InvalidColumnType(n, "job".to_owned(), rusqlite::types::Type::Text)
            };
            let state = match row.get_ref(7)?.as_str()? {
                "queued" => State::Queued,
                "submitting" => State::Submitting,
                "waiting" => State::Waiting,
                "settled" => State::Settled,
                _ => return Err(bad(7)),
            };
            let mut progress = Progress::queued(History {
                creates: count(row.get(8)?),
                failed_attempts: count(row.get(9)?),
                unknown_creates: count(row.get(10)?),
                polls: count(row.get(12)?),
                spent: Micros(row.get(13)?),
            });
            progress.state = state;
            progress.crashes = count(row.get(11)?);
            progress.remote_id = row
                .get::<_, Option<String>>(14)?
                .and_then(|json| RemoteId::from_json(&json));
            if state == State::Waiting {
                let time = |n: usize| Timestamp::from_millisecond(row.get(n)?).map_err(|_| bad(n));
                let remote_id = progress.remote_id.clone().ok_or_else(|| bad(14))?;
                progress.waiting = Some(Waiting {
                    remote_id,
                    submitted_at: time(15)?,
                    deadline: time(16)?,
                });
            }
            Ok(Stored {
                id: RequestId::try_new(row.get_ref(0)?.as_str()?).ok_or_else(|| bad(0))?,
                fields: row.get::<_, Option<[u8; 16]>>(1)?.map(FieldsHash),
                kind: row.get::<_, Option<String>>(2)?.unwrap_or_default(),
                request: row.get::<_, Option<String>>(3)?.unwrap_or_default(),
                row: row.get::<_, Option<Vec<u8>>>(4)?.unwrap_or_default(),
                replaces: row.get(6)?,
                progress,
            })
        })
    }

    /// What is known of the output, or of the file about to take its place.
    pub(super) fn checkpoint(&self, table: &'static str) -> rusqlite::Result<Option<Checkpoint>> {
        let select = format!("SELECT length, dev, inode, tail, out_seq FROM {table}");
        self.db
            .query_row(&select, [], |row| {
                let unsigned = |n| row.get::<_, i64>(n).map(i64::cast_unsigned);
                Ok(Checkpoint {
                    length: unsigned(0)?,
                    file: (unsigned(1)?, unsigned(2)?),
                    tail: row.get(3)?,
                    out_seq: row.get(4)?,
                })
            })
            .optional()
    }

    /// Rows of lines that are not known to be durable, in order.
    pub(super) fn outbox(&self) -> rusqlite::Result<Vec<(i64, Vec<u8>)>> {
        let mut select = self.db.prepare(schema::SELECT_OUTBOX)?;
        let lines = select.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
        lines.collect()
    }

    /// Begins a transaction.
    pub(super) fn batch(&self) -> rusqlite::Result<Batch<'_>> {
        self.db.execute_batch("BEGIN IMMEDIATE")?;
        Ok(Batch::of(&self.db))
    }

    /// Makes the journal one file again.
    pub(super) fn truncate_wal(&self) -> rusqlite::Result<()> {
        self.db
            .query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))
    }
}

/// Refuses what is no journal, or one of a later version.
pub(super) fn check_version(db: &Connection, path: &Path) -> Result<(), OpenError> {
    let failed = |e| open_error(path, &e);
    let pragma =
        |name: &str| db.query_row(&format!("PRAGMA {name}"), [], |row| row.get::<_, i32>(0));
    let (application, version) = (
        pragma("application_id").map_err(failed)?,
        pragma("user_version").map_err(failed)?,
    );
    let foreign = |why: String| {
        Err(OpenError::ForeignJournal {
            journal: path.to_owned(),
            why,
        })
    };
    if application != schema::APPLICATION_ID {
        return foreign(
            "it is a database, but no journal of pollwheel's; name another with --journal"
                .to_owned(),
        );
    }
    if !(schema::OLDEST_VERSION..=schema::VERSION).contains(&version) {
        return foreign(format!(
            "the journal is of version {version}, this program knows those up to {}; use the program that wrote it",
            schema::VERSION
        ));
    }
    Ok(())
}

/// Where the journal of an output or an input is, unless the user says otherwise.
pub(super) fn beside(file: &Path, ending: &str) -> PathBuf {
    let mut name = file.as_os_str().to_owned();
    name.push(ending);
    name.into()
}
