//! CSV in, CSV out, and a journal between: the backlog of `run --from FILE.csv --to FILE.csv`.
//!
//! What must stay true, across any number of kills at any instruction:
//!
//! * Every row of the input ends as exactly one line of the output file, as long as the disk keeps what it
//!   acknowledged. To a stream, or to an [`crate::sink::Outbox`], a line goes at least once.
//! * An outcome goes: (1) committed to the journal with its exact bytes and its place; (2) appended to the
//!   output; (3) fdatasync; (4) checkpoint, upon which the journal drops the bytes. Step 4 rides in the next
//!   batch's transaction, so that a batch costs one fsync of the journal and one of the output. `record`
//!   returns after step 3.
//! * The output and the journal are changed only under `JOURNAL.lock` and the output's own lock, and only
//!   where they are what the last checkpoint says ([`recover`]).
//! * Claims write nothing; only rows that were begun, settled or rejected are in the journal ([`schema`]).
//! * Memory is a constant, at most 16 bytes a row ([`seen`]), and what is claimed and not settled.
//!
//! Ids that are taken are taken: a second row of one id, or a row whose id was begun with other values, is
//! a bad row, and where bad rows are skipped it is rejected under an id of ours ([`identity`]), so that the
//! output never has two lines of one id.
//!
//! Files: `OUTPUT` and `JOURNAL` (with SQLite's `-wal` and `-shm`), `JOURNAL.lock`; `OUTPUT.rewrite` while
//! `--ordered` or `--retry-failed` rewrite it; `.bak` of both after `--fresh`. All are 0600.

mod batch;
mod census;
mod check;
mod claim;
mod crash;
mod error;
mod fresh;
mod header;
mod hold;
mod identity;
mod index;
mod input;
mod journal;
mod judge;
mod known;
mod layout;
mod levels;
mod lock;
mod open;
mod order;
mod output;
mod progress;
mod reader;
mod record;
mod recover;
mod refuse;
mod report;
mod resolve;
mod rewrite;
mod row;
mod rows;
mod schema;
mod seen;
mod sink;
mod start;
mod status;
mod storage;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, VecDeque};
use std::fs::File;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use foldhash::{HashMap, HashSet};
use jiff::Timestamp;
use tokio::time::{Instant, sleep_until};

use super::{
    Answer, Backlog, BacklogError, Claim, Claimed, News, Record, Ticket, UnknownCreatePolicy, Wake,
};
use crate::api::Identity;
use crate::job::{Allowlist, Kinds, Micros, Outcome};

pub use census::JobCounts;
pub use check::check;
pub use crash::CrashPoint;
pub use error::OpenError;
pub use input::CsvInput;
pub use open::Opened;
pub use report::{InputReport, RowProblem};
pub use rows::{GoodRow, GoodRows};
pub use sink::{CsvSink, default_journal};
pub use status::{JournalStatus, LastRun, Pending};

use claim::Reject;
use crash::Crash;
use identity::Keys;
use input::Input;
use journal::{Journal, NewJob, RunCounts};
use judge::Judge;
use layout::Layout;
use order::Places;
use progress::Progress;
use rewrite::Pace;
use seen::Seen;
use sink::Sink;

/// Least time between two commits: one costs as much as some ten records. Small beside an exchange with the
/// service, since a job that was created and is not recorded yet may be paid again after a crash.
const BATCH_EVERY: Duration = Duration::from_millis(10);

/// What a run on a CSV file is to do.
#[derive(Debug)]
pub struct CsvSettings {
    /// Where requests come from.
    pub input: CsvInput,
    /// Where outcomes go.
    pub sink: CsvSink,
    /// The journal's path; `None` for [`default_journal`]. Where that is none either (a stream to a
    /// stream), nothing outlives the process.
    pub journal: Option<PathBuf>,
    /// The input's delimiter; `None` to find it in the header.
    pub delimiter: Option<u8>,
    /// The kind of rows that name none.
    pub default_kind: Option<String>,
    /// All kinds.
    pub kinds: Kinds,
    /// The sites that may be submitted.
    pub sites: Allowlist,
    /// The API that this run's jobs live at.
    pub identity: Identity,
    /// Reject bad rows instead of refusing the run. Always so for streams.
    pub skip_bad_rows: bool,
    /// Put the output in the input's order at the end.
    pub ordered: bool,
    /// Move output and journal away and begin anew.
    pub fresh: bool,
    /// With `fresh`: even where jobs are in flight, which are paid.
    pub abandon_paid: bool,
    /// Take rows that failed, and rejected ones that are good now, up again, and replace their lines when they
    /// end. To a stream, a second line is written.
    pub retry_failed: bool,
    /// Most rows that are handed out or rejected in this run; adopted jobs are not counted.
    pub limit: Option<u64>,
    /// What becomes of creates that a killed run has left without an answer.
    pub on_unknown_create: UnknownCreatePolicy,
    /// How long another run's lock is waited for.
    pub lock_wait: Duration,
    /// The wall clock.
    pub wall_clock: fn() -> Timestamp,
    /// A testing aid: where to die.
    #[doc(hidden)]
    pub crash_point: Option<CrashPoint>,
    /// Beyond so many requests in hand, those whose jobs wait are kept in the journal alone.
    pub forgets_beyond: usize,
    /// How long lines that are committed may be collected before they go into the output file together.
    pub deliver_every: Duration,
}

/// A CSV file as a backlog. See the module's head.
pub struct CsvBacklog {
    // Dropped in this order: nobody else may come in before the journal is closed.
    journal: Journal,
    sink: Sink,
    _lock: Option<File>,

    input: Input,
    judge: Judge,
    layout: Layout,
    keys: Keys,
    seen: Seen,
    places: Option<Places>,

    skip_bad_rows: bool,
    retry_failed: bool,
    /// Rows that may still be handed out or rejected.
    left: Option<u64>,
    exhausted: bool,
    /// Rows of a file that were checked and not read for claims yet.
    unread: u64,
    /// Adopted jobs that are still to be handed out, by their numbers.
    to_adopt: VecDeque<u32>,
    /// Claimed, and not handed out because the claim failed.
    ready: VecDeque<Claim>,
    /// Bad rows that are not recorded yet.
    rejects: Vec<Reject>,
    /// Outcomes of ours that no claim has told yet.
    told: Vec<Outcome>,

    /// What was handed out and not settled.
    jobs: HashMap<Ticket, InHand>,
    /// The same, of requests whose jobs wait, and that stand in the journal alone: their numbers there.
    in_journal: BTreeMap<Ticket, u32>,
    /// Those that the last batch made wait.
    created: HashSet<Ticket>,
    /// Beyond so many in memory, those that wait are let go of.
    forgets_beyond: usize,
    /// The last record of each request that the last batch settled or released: its repeat changes nothing.
    departed: HashMap<Ticket, u64>,
    /// Lines of a batch that went to a stream and whose commit failed.
    streamed: HashSet<(Ticket, u64)>,
    next_ticket: u64,
    next_seq: u32,

    /// Rows of the journal's outbox that are committed and not in the output yet.
    pending: VecDeque<(i64, Vec<u8>)>,
    deliver_every: Duration,
    /// When lines went to the file last.
    delivered: Instant,
    /// The last place in the output that was given.
    out_seq: i64,
    /// The last that is durable in the file, and the last that the journal knows to be.
    durable: i64,
    checkpointed: i64,
    /// The last whose copy in the journal is gone.
    trimmed: i64,
    /// Lines that wait to take the place of older ones.
    replacements: u64,
    pace: Pace,

    api: i64,
    run: i64,
    counts: RunCounts,
    started: Timestamp,
    wall_clock: fn() -> Timestamp,
    crash: Crash,
}

/// A request that was handed out.
#[derive(Debug)]
struct InHand {
    job: NewJob,
    /// Its number in the journal, if it is there.
    seq: Option<u32>,
    /// Its cells for the output.
    row: Vec<u8>,
    /// The output has an older line of it.
    replaces: bool,
    progress: Progress,
    /// Fingerprint of its last record.
    last: Option<u64>,
}

impl CsvBacklog {
    /// Opens input, journal and output, checks the input, and puts in order what a killed run has left.
    /// Blocks; from a stream, until its header is there.
    ///
    /// # Errors
    ///
    /// See [`OpenError`]: nothing was sent.
    pub fn open(settings: CsvSettings) -> Result<(Self, Opened), OpenError> {
        open::open(settings)
    }

    /// What the journal says now.
    ///
    /// # Errors
    ///
    /// Where the journal cannot be read.
    pub fn status(&self) -> Result<JournalStatus, BacklogError> {
        status::of(&self.journal.db, true, None).map_err(|e| self.journal.error(e))
    }

    /// Sets prices, by kind, for what is claimed from now on. Adopted jobs keep what was set aside for them.
    pub fn set_prices(&mut self, prices: &BTreeMap<String, Micros>) {
        self.judge.set_prices(prices);
    }

    fn now(&self) -> Timestamp {
        (self.wall_clock)()
    }
}

impl Backlog for CsvBacklog {
    async fn claim(&mut self, max: usize) -> Result<Claimed, BacklogError> {
        self.claim_rows(max)
    }

    async fn record(
        &mut self,
        batch: &[(Ticket, Record)],
        polls: u64,
    ) -> Result<Vec<Answer>, BacklogError> {
        let answers = self.recall(batch)?;
        self.record_batch(batch, polls)?;
        self.let_go(batch);
        Ok(answers)
    }

    fn batch_every(&self) -> RangeInclusive<Duration> {
        BATCH_EVERY..=BATCH_EVERY
    }

    async fn wake(&mut self) -> Wake {
        if self.pending.is_empty() {
            return std::future::pending().await;
        }
        sleep_until(self.delivered + self.deliver_every).await;
        Wake::Tend
    }

    async fn tend(&mut self) -> Result<News, BacklogError> {
        self.deliver()?;
        Ok(News::default())
    }

    async fn close(&mut self, why: &str) -> Result<(), BacklogError> {
        self.close_run(why)
    }
}
