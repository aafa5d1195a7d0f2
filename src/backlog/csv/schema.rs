//! The journal's tables. `sqlite3 results.csv.journal` shows them.
//!
//! What must stay true: one journal belongs to one output. Only rows that were begun (or settled, or
//! rejected) are in it; rows of the input that were not touched are not. All times are milliseconds since
//! 1970 (UTC), all money is in millionths of a US dollar. Tokens stand in `outbox` and `replacement` only,
//! until their line is durable in the output and another comes, or the run ends; `secure_delete` overwrites
//! them then.
//!
//! | table | holds |
//! | --- | --- |
//! | `meta` | `created`, `input` and `output` (paths of the last run), `sink` (`file`, `stream`, or what takes the outcomes, such as `redis:LIST`), `delimiter`, `columns` (JSON; the output's before the result columns), `ids` (`own`, `generated`), `simulated` (0, 1), `absent` (rows here that left the input), `salt` (of the account fingerprints) |
//! | `api` | where jobs live: base URL, protocol, keyed fingerprint of the account token |
//! | `job` | one row for each request that was begun: see below |
//! | `outbox` | output lines, those of one batch in a row (for a sink such as `redis:LIST` a JSON document in each), that are committed. Rows beyond the checkpoint are not known to be durable in the output yet; those up to it wait for a row that takes their place. `out_seq` 0 is the header |
//! | `replacement` | lines that take the place of an older one of the same id (`--retry-failed`), not folded in yet |
//! | `checkpoint` | one row: what of the output is known to be durable: its length, device and inode, hash (BLAKE3) of its last 64 KiB, last `out_seq` |
//! | `rewrite` | at most one row: the finished file that is about to be renamed over the output, described like a checkpoint; `folds`: replacements up to this one are in it |
//! | `run` | one row for each run: when, why it ended (`stop`; `ended` is NULL where it was killed), its counts |
//!
//! `job`: `state` is `queued`, `submitting`, `waiting` or `settled` (see [`crate::job::State`]); `status` and
//! `error` are the outcome's; `fields` is the hash of what is sent (NULL for rows that never were a
//! request), `request` the values themselves (JSON by column); `api` says where its last job lives;
//! `remote_id` is the service's id of its last job, as JSON; `row` the input's cells for the output, or those passed through as a JSON object (NULL
//! once settled); `crashes` counts kills in a row between `begin` and an answer; `replaces` is 1 where the
//! output holds an older line of it.

/// `polw`: what `file` and `PRAGMA application_id` say of a journal.
pub(super) const APPLICATION_ID: i32 = 0x706f_6c77;

/// The version of the tables below.
pub(super) const VERSION: i32 = 2;

/// The oldest version that is read. In version 1 a row of `outbox` held one line, and went together with
/// the checkpoint that knew it to be durable.
pub(super) const OLDEST_VERSION: i32 = 1;

/// Makes the tables.
pub(super) const CREATE: &str = "
CREATE TABLE meta (key TEXT PRIMARY KEY, value ANY) STRICT, WITHOUT ROWID;
CREATE TABLE api (
    api INTEGER PRIMARY KEY,
    base_url TEXT NOT NULL,
    protocol TEXT NOT NULL,
    fingerprint BLOB NOT NULL
) STRICT;
CREATE TABLE job (
    seq INTEGER PRIMARY KEY,
    id TEXT NOT NULL,
    fields BLOB,
    state TEXT NOT NULL,
    status TEXT,
    error TEXT,
    api INTEGER,
    kind TEXT,
    replaces INTEGER NOT NULL,
    creates INTEGER NOT NULL,
    failed_attempts INTEGER NOT NULL,
    unknown_creates INTEGER NOT NULL,
    crashes INTEGER NOT NULL,
    polls INTEGER NOT NULL,
    spent INTEGER NOT NULL,
    begun_at INTEGER,
    submitted_at INTEGER,
    deadline INTEGER,
    finished_at INTEGER,
    remote_id TEXT,
    request TEXT,
    row BLOB
) STRICT;
CREATE TABLE outbox (out_seq INTEGER PRIMARY KEY, line BLOB NOT NULL) STRICT;
CREATE TABLE replacement (
    n INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    line BLOB NOT NULL
) STRICT;
CREATE TABLE checkpoint (
    one INTEGER PRIMARY KEY CHECK (one = 1),
    length INTEGER NOT NULL,
    dev INTEGER NOT NULL,
    inode INTEGER NOT NULL,
    tail BLOB NOT NULL,
    out_seq INTEGER NOT NULL
) STRICT;
CREATE TABLE rewrite (
    one INTEGER PRIMARY KEY CHECK (one = 1),
    length INTEGER NOT NULL,
    dev INTEGER NOT NULL,
    inode INTEGER NOT NULL,
    tail BLOB NOT NULL,
    out_seq INTEGER NOT NULL,
    folds INTEGER NOT NULL
) STRICT;
CREATE TABLE run (
    run INTEGER PRIMARY KEY,
    started INTEGER NOT NULL,
    ended INTEGER,
    stop TEXT,
    rows INTEGER,
    solved INTEGER NOT NULL,
    failed INTEGER NOT NULL,
    rejected INTEGER NOT NULL,
    creates INTEGER NOT NULL,
    unknown_creates INTEGER NOT NULL,
    retries INTEGER NOT NULL,
    polls INTEGER NOT NULL,
    spend INTEGER NOT NULL,
    elapsed_ms INTEGER NOT NULL
) STRICT;
";

pub(super) const INSERT_JOB: &str = "
INSERT INTO job (seq, id, fields, kind, request, row, api, begun_at, replaces, status, error, finished_at,
    state, creates, failed_attempts, unknown_creates, crashes, polls, spent, remote_id, submitted_at, deadline)
VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19, ?20, ?21, ?22)";

/// A job that was in the journal is begun again: it may live elsewhere now, and its row may read otherwise
/// (where it was rejected, even in what is sent).
pub(super) const BEGIN_AGAIN: &str = "
UPDATE job SET row = ?2, api = ?3, begun_at = ?4, replaces = ?5, fields = coalesce(?6, fields),
    kind = coalesce(?7, kind), request = coalesce(?8, request),
    status = NULL, error = NULL, finished_at = NULL
WHERE seq = ?1";

pub(super) const STEP: &str = "
UPDATE job SET state = ?2, creates = ?3, failed_attempts = ?4, unknown_creates = ?5, crashes = ?6, polls = ?7,
    spent = ?8, remote_id = ?9, submitted_at = ?10, deadline = ?11
WHERE seq = ?1";

/// The last step: a job has its outcome.
pub(super) const SETTLE: &str = "
UPDATE job SET state = ?2, creates = ?3, failed_attempts = ?4, unknown_creates = ?5, crashes = ?6, polls = ?7,
    spent = ?8, remote_id = ?9, submitted_at = ?10, deadline = ?11, status = ?12, error = ?13, finished_at = ?14,
    row = NULL
WHERE seq = ?1";

pub(super) const INSERT_OUTBOX: &str = "INSERT INTO outbox (out_seq, line) VALUES (?1, ?2)";

/// What is to be written, or written again: see [`super::recover`].
pub(super) const SELECT_OUTBOX: &str = "
SELECT out_seq, line FROM outbox
WHERE out_seq > coalesce((SELECT out_seq FROM checkpoint), -1) ORDER BY out_seq";

pub(super) const TRIM_OUTBOX: &str = "DELETE FROM outbox WHERE out_seq <= ?1";

pub(super) const REPLACE: &str = "INSERT OR REPLACE INTO replacement (id, line) VALUES (?1, ?2)";

pub(super) const CHECKPOINT: &str = "
INSERT OR REPLACE INTO checkpoint (one, length, dev, inode, tail, out_seq) VALUES (1, ?1, ?2, ?3, ?4, ?5)";

pub(super) const UPDATE_RUN: &str = "
UPDATE run SET rows = ?2, solved = ?3, failed = ?4, rejected = ?5, creates = ?6, unknown_creates = ?7, retries = ?8,
    polls = ?9, spend = ?10, elapsed_ms = ?11
WHERE run = ?1";

pub(super) const SELECT_JOB: &str = "
SELECT id, fields, kind, request, row, api, replaces, state, creates, failed_attempts, unknown_creates, crashes,
    polls, spent, remote_id, submitted_at, deadline
FROM job WHERE seq = ?1";
