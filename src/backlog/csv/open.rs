//! The start of a run: locks, journal, the check of the input, what a killed run has left.
//!
//! What must stay true, in this order: nothing is looked at before it is locked; nothing is written before
//! the input was found good (but the lock file); nothing is repaired that is not certainly ours.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::backlog::UnknownCreatePolicy;
use crate::job::{ErrorClass, Micros, State};
use crate::sink::csv::outcome_line;

use super::check::{check_rows, judge};
use super::claim::{Reject, crash_outcome};
use super::crash::Crash;
use super::header::Judge;
use super::identity::Keys;
use super::input::Input;
use super::journal::{Census, Checkpoint, Journal, NewJob, RunCounts, Stored, open_error};
use super::layout::Layout;
use super::order::Places;
use super::output::{OutputFile, create_new, identity, sync_folder};
use super::record::{commit, settle};
use super::rewrite::{self, Pace};
use super::seen::{Known, Seen, Standing};
use super::sink::{Place, Sink, default_journal, write_stream};
use super::{CsvBacklog, CsvSettings, InputReport, OpenError, check, fresh, lock, recover};

/// Crashes in a row between `begin` and an answer that end a request.
const CRASH_LIMIT: u32 = 20;

/// What a run found when it began.
#[derive(Debug, Default)]
pub struct Opened {
    /// The journal's path; `None` where nothing outlives the process.
    pub journal: Option<PathBuf>,
    /// Rows that have their outcome and are not taken up again.
    pub done: u64,
    /// Jobs in flight that this run polls to their end.
    pub adopted: u64,
    /// Jobs in flight that live at another API (or at another account): its base URL, and how many. Run with that
    /// one to end them.
    pub elsewhere: Vec<(String, u64)>,
    /// Rows that are still to be handed out; `None` for a stream.
    pub to_go: Option<u64>,
    /// Creates that the last run left without an answer.
    pub unknown_creates: u64,
    /// Of those, how many were settled as failed, by `crash_limit` or the policy.
    pub crash_settled: u64,
    /// Rows of the journal that are not in the input any more. Those with jobs in flight are adopted all the same.
    pub left_input: u64,
    /// Spent by earlier runs.
    pub spent_before: Micros,
    /// What the user should know.
    pub warnings: Vec<String>,
    /// The check of the input.
    pub report: InputReport,
}

pub(super) fn open(settings: CsvSettings) -> Result<(CsvBacklog, Opened), OpenError> {
    let wait = settings.lock_wait;
    let journal_path = settings
        .journal
        .clone()
        .or_else(|| default_journal(&settings.input, &settings.sink));
    let journal_lock = journal_path
        .as_deref()
        .map(|path| take_lock(path, wait))
        .transpose()?;
    let mut place = Place::find(settings.sink)?;
    let mut output_file = match &place {
        Place::File(path) => open_output(path, wait)?,
        Place::Stream(_) => None,
    };
    let mut input = Input::open(settings.input, settings.delimiter)?;
    refuse_same_file(
        &input,
        output_file.as_ref(),
        journal_path.as_deref(),
        &place,
    )?;
    if settings.fresh {
        let output = match &place {
            Place::File(path) => Some(path.as_path()),
            Place::Stream(_) => None,
        };
        // Looked at before anything is moved: a bad input leaves everything in its place.
        check_alone(
            &mut input,
            &settings.kinds,
            &settings.sites,
            settings.default_kind.clone(),
            settings.skip_bad_rows,
        )?;
        fresh::move_away(journal_path.as_deref(), output, settings.abandon_paid)?;
        output_file = None;
    }
    let journal = journal_path
        .as_deref()
        .map(Journal::open)
        .transpose()?
        .flatten();
    if let (Place::File(output), None, Some(_), Some(path)) =
        (&place, &journal, &output_file, &journal_path)
    {
        return Err(OpenError::OutputWithoutJournal {
            output: output.clone(),
            journal: path.clone(),
        });
    }

    // The input, held against the journal.
    let (mut report, judge) = judge(
        &input,
        settings.default_kind,
        settings.kinds,
        settings.sites,
    );
    let Some(mut judge) = judge else {
        return Err(OpenError::BadInput(Box::new(report)));
    };
    let keys = Keys::new(judge.header.has_ids());
    let shown = journal_path.clone().unwrap_or_default();
    let failed = |e: rusqlite::Error| open_error(&shown, &e);
    let is_simulated = settings.identity.is_simulated();
    if let Some(journal) = &journal {
        refuse_mixing(
            journal,
            &shown,
            is_simulated,
            matches!(place, Place::File(_)),
        )?;
    }
    let mut census = match &journal {
        Some(journal) => journal.census(&keys).map_err(failed)?,
        None => Census::default(),
    };
    let mut seen = Seen::new(std::mem::take(&mut census.known));
    if input.is_file() {
        check_rows(
            &mut input,
            &mut judge,
            &keys,
            journal.as_ref(),
            &mut seen,
            &mut report,
        )?;
    }
    let skip_bad_rows = settings.skip_bad_rows || !input.is_file();
    if report.header_problems > 0 || (report.problem_count > 0 && !skip_bad_rows) {
        return Err(OpenError::BadInput(Box::new(report)));
    }
    let mut warnings = judge.header.warnings();
    let (layout, unfit) = layout(&judge, &input, journal.as_ref()).map_err(failed)?;
    warnings.extend(unfit);
    if let Some(journal) = &journal {
        warnings.extend(compare_ids(
            journal,
            &shown,
            &keys,
            &seen.known,
            input.is_file(),
        )?);
        let mine = journal.find_api(&settings.identity).map_err(failed)?;
        let adopted = census.waiting.iter().filter(|(_, api)| Some(*api) == mine);
        refuse_unknown_kinds(journal, &shown, adopted.map(|(seq, _)| *seq), &judge)?;
    }

    // From here on things are written.
    let is_new = journal.is_none();
    let journal = match journal {
        Some(journal) => journal,
        None => begin_journal(
            journal_path.as_deref(),
            &layout,
            &keys,
            is_simulated,
            &place,
        )?,
    };
    let mut crash = Crash(settings.crash_point);
    let mut durable = 0;
    let sink = match &mut place {
        Place::Stream(stream) => {
            let mut stream = std::mem::replace(stream, Box::new(io::empty()));
            write_stream(stream.as_mut(), &layout.header_line())?;
            Sink::Stream(stream)
        }
        Place::File(path) => {
            if !is_new {
                output_file = rewrite::recover(&journal, path, output_file)?;
            }
            let (output, last) = continue_output(&journal, path, output_file, wait, &mut crash)?;
            durable = last;
            let rewrites = settings.ordered || settings.retry_failed;
            if rewrites && output.file.metadata().is_ok_and(|m| m.nlink() > 1) {
                let name = output.path.display();
                warnings.push(format!("{name} has other names (hard links), which keep the old lines when it is rewritten"));
            }
            Sink::File(Box::new(output))
        }
    };
    let replacements: i64 = journal
        .db
        .query_row("SELECT count(*) FROM replacement", [], |row| row.get(0))
        .map_err(failed)?;
    let places = settings
        .ordered
        .then(|| Places::new(&journal.db))
        .transpose()
        .map_err(failed)?;
    let now = (settings.wall_clock)();
    let mut backlog = CsvBacklog {
        journal,
        sink,
        _lock: journal_lock,
        input,
        judge,
        layout,
        keys,
        seen,
        places,
        skip_bad_rows,
        retry_failed: settings.retry_failed,
        left: settings.limit,
        exhausted: settings.limit == Some(0),
        to_adopt: VecDeque::new(),
        ready: VecDeque::new(),
        rejects: Vec::new(),
        told: Vec::new(),
        jobs: HashMap::new(),
        departed: HashMap::new(),
        streamed: HashSet::new(),
        next_ticket: 1,
        next_seq: census.last_seq + 1,
        pending: VecDeque::new(),
        out_seq: durable,
        durable,
        checkpointed: durable,
        replacements: replacements.unsigned_abs(),
        pace: Pace::new(),
        api: 0,
        run: 0,
        counts: RunCounts::default(),
        started: now,
        wall_clock: settings.wall_clock,
        crash,
    };
    let mut opened = Opened {
        journal: journal_path,
        warnings,
        report,
        ..Opened::default()
    };
    backlog.begin_run(
        &settings.identity,
        settings.on_unknown_create,
        &census,
        &mut opened,
    )?;
    Ok((backlog, opened))
}

fn take_lock(journal: &Path, wait: Duration) -> Result<File, OpenError> {
    let file = lock::open_lock(journal)
        .map_err(|e| OpenError::not_writable(&lock::lock_path(journal), e))?;
    match lock::acquire(&file, wait) {
        Ok(true) => Ok(file),
        Ok(false) => Err(OpenError::Locked {
            what: journal.to_owned(),
        }),
        Err(e) => Err(OpenError::not_writable(&lock::lock_path(journal), e)),
    }
}

/// Opens and locks the output, if it is there.
fn open_output(path: &Path, wait: Duration) -> Result<Option<File>, OpenError> {
    let failed = |e| OpenError::not_writable(path, e);
    match OpenOptions::new().read(true).write(true).open(path) {
        Ok(file) => match lock::acquire(&file, wait).map_err(failed)? {
            true => Ok(Some(file)),
            false => Err(OpenError::Locked {
                what: path.to_owned(),
            }),
        },
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(failed(e)),
    }
}

fn refuse_same_file(
    input: &Input,
    output: Option<&File>,
    journal: Option<&Path>,
    place: &Place,
) -> Result<(), OpenError> {
    let is_input = |meta: io::Result<std::fs::Metadata>| {
        meta.is_ok_and(|meta| input.identity().is_some_and(|file| file == identity(&meta)))
    };
    if output.is_some_and(|file| is_input(file.metadata())) {
        return Err(OpenError::Usage(format!(
            "{}: input and output are the same file",
            input.name
        )));
    }
    if journal.is_some_and(|path| is_input(std::fs::metadata(path))) {
        return Err(OpenError::Usage(format!(
            "{}: input and journal are the same file",
            input.name
        )));
    }
    if let (Place::File(output), Some(journal)) = (place, journal)
        && journal
            .canonicalize()
            .is_ok_and(|journal| journal == *output)
    {
        return Err(OpenError::Usage(format!(
            "{}: output and journal are the same file",
            output.display()
        )));
    }
    Ok(())
}

/// Checks a file without its journal.
fn check_alone(
    input: &mut Input,
    kinds: &crate::job::Kinds,
    sites: &crate::job::Allowlist,
    default_kind: Option<String>,
    skip_bad_rows: bool,
) -> Result<(), OpenError> {
    let (mut report, judge) = check::judge(input, default_kind, kinds.clone(), sites.clone());
    if let Some(mut judge) = judge
        && input.is_file()
    {
        let keys = Keys::new(judge.header.has_ids());
        check_rows(
            input,
            &mut judge,
            &keys,
            None,
            &mut Seen::default(),
            &mut report,
        )?;
    }
    if report.header_problems > 0 || (report.problem_count > 0 && !skip_bad_rows && input.is_file())
    {
        return Err(OpenError::BadInput(Box::new(report)));
    }
    Ok(())
}

/// Refuses a journal whose results this run's may not stand beside.
fn refuse_mixing(
    journal: &Journal,
    path: &Path,
    is_simulated: bool,
    is_file: bool,
) -> Result<(), OpenError> {
    let failed = |e| open_error(path, &e);
    let journal_is_simulated: bool = journal
        .meta("simulated")
        .map_err(failed)?
        .unwrap_or_default();
    if journal_is_simulated != is_simulated {
        return Err(OpenError::SimulatedMismatch {
            journal: path.to_owned(),
            journal_is_simulated,
        });
    }
    let sink: String = journal.meta("sink").map_err(failed)?.unwrap_or_default();
    let now = if is_file { "file" } else { "stream" };
    if sink != now {
        return Err(OpenError::Usage(format!(
            "{}: the journal belongs to an output that is a {sink}, this run's is a {now}; name another journal with --journal",
            path.display()
        )));
    }
    Ok(())
}

/// Sees to it that ids mean the same as in the journal: else every row would be begun, and paid, anew.
fn compare_ids(
    journal: &Journal,
    path: &Path,
    keys: &Keys,
    known: &Known,
    is_file: bool,
) -> Result<Option<String>, OpenError> {
    let ids: String = journal
        .meta("ids")
        .map_err(|e| open_error(path, &e))?
        .unwrap_or_default();
    if ids == ids_word(keys) || known.len() == 0 {
        return Ok(None);
    }
    let what = if keys.own_ids {
        "rows were known by their content so far, and have an `id` column now"
    } else {
        "rows were known by their `id` column so far, which the input does not have now"
    };
    if is_file && known.present().next().is_none() {
        return Err(OpenError::Usage(format!(
            "{}: {what}, so that every row would be done anew; put that back, or begin anew with --fresh",
            path.display()
        )));
    }
    Ok(Some(format!(
        "{what}; rows that cannot be recognised are done anew"
    )))
}

fn ids_word(keys: &Keys) -> &'static str {
    if keys.own_ids { "own" } else { "generated" }
}

/// Jobs whose kind is not known can't be polled; to reject them would throw paid answers away.
fn refuse_unknown_kinds(
    journal: &Journal,
    path: &Path,
    jobs: impl Iterator<Item = u32>,
    judge: &Judge,
) -> Result<(), OpenError> {
    let failed = |e| open_error(path, &e);
    let mut select = journal
        .db
        .prepare("SELECT kind FROM job WHERE seq = ?1")
        .map_err(failed)?;
    for seq in jobs {
        let kind: Option<String> = select.query_row([seq], |row| row.get(0)).map_err(failed)?;
        if let Some(kind) = kind.filter(|kind| !judge.knows(kind)) {
            return Err(OpenError::UnknownKind {
                journal: path.to_owned(),
                kind,
            });
        }
    }
    Ok(())
}

fn layout(
    judge: &Judge,
    input: &Input,
    journal: Option<&Journal>,
) -> rusqlite::Result<(Layout, Vec<String>)> {
    let (mut columns, mut delimiter) = (None, None);
    if let Some(journal) = journal {
        columns = journal
            .meta::<String>("columns")?
            .and_then(|json| serde_json::from_str(&json).ok());
        delimiter = journal
            .meta::<String>("delimiter")?
            .and_then(|d| d.bytes().next());
    }
    let columns: Vec<String> = columns.unwrap_or_else(|| Layout::columns_for(&judge.header));
    Ok(Layout::new(
        &judge.header,
        columns,
        delimiter.unwrap_or(input.delimiter),
    ))
}

/// Makes a journal that knows its output's header.
fn begin_journal(
    path: Option<&Path>,
    layout: &Layout,
    keys: &Keys,
    is_simulated: bool,
    place: &Place,
) -> Result<Journal, OpenError> {
    let journal = Journal::create(path)?;
    let shown = path.unwrap_or(Path::new("temporary journal"));
    let begin = || {
        let mut batch = journal.batch()?;
        journal.set_meta("columns", serde_json::json!(layout.columns).to_string())?;
        journal.set_meta("delimiter", char::from(layout.delimiter).to_string())?;
        journal.set_meta("ids", ids_word(keys))?;
        journal.set_meta("simulated", is_simulated)?;
        journal.set_meta(
            "sink",
            if matches!(place, Place::File(_)) {
                "file"
            } else {
                "stream"
            },
        )?;
        if let Place::File(_) = place {
            batch.outbox(0, &layout.header_line())?;
        }
        batch.commit()
    };
    begin().map_err(|e| open_error(shown, &e))?;
    if let Some(path) = path {
        sync_folder(path).map_err(|e| OpenError::not_writable(path, e))?;
    }
    Ok(journal)
}

/// Goes on with the output where the journal says, or makes it. Gives back the file and the last line in it.
fn continue_output(
    journal: &Journal,
    path: &Path,
    file: Option<File>,
    wait: Duration,
    crash: &mut Crash,
) -> Result<(OutputFile, i64), OpenError> {
    let failed = |e| OpenError::Recovery(journal.error(e));
    let io_failed = |e| OpenError::not_writable(path, e);
    let at = journal.checkpoint("checkpoint").map_err(failed)?;
    let outbox = journal.outbox().map_err(failed)?;
    let last = outbox
        .last()
        .map(|(out_seq, _)| *out_seq)
        .or(at.map(|at| at.out_seq))
        .unwrap_or_default();
    let pending: Vec<u8> = outbox.into_iter().flat_map(|(_, line)| line).collect();
    // Nothing was written before the first checkpoint, which knows of an empty file.
    let nothing = at.is_none_or(|at| at.length == 0);
    let (file, at) = match (file, at) {
        (Some(file), Some(at)) => (file, at),
        (None, Some(_)) if !nothing => {
            return Err(OpenError::OutputChanged {
                output: path.to_owned(),
                found: "it is gone".to_owned(),
            });
        }
        (file, _) => {
            let file = match file {
                Some(file) if file.metadata().map_err(io_failed)?.len() == 0 => file,
                Some(_) => {
                    let found = "it holds something, and nothing was written to it yet".to_owned();
                    return Err(OpenError::OutputChanged {
                        output: path.to_owned(),
                        found,
                    });
                }
                None => create_new(path).map_err(io_failed)?,
            };
            if !lock::acquire(&file, wait).map_err(io_failed)? {
                return Err(OpenError::Locked {
                    what: path.to_owned(),
                });
            }
            sync_folder(path).map_err(io_failed)?;
            let file_identity = identity(&file.metadata().map_err(io_failed)?);
            let tail = *blake3::hash(b"").as_bytes();
            let at = Checkpoint {
                length: 0,
                file: file_identity,
                tail,
                out_seq: -1,
            };
            let mut batch = journal.batch().map_err(failed)?;
            batch.checkpoint(&at).map_err(failed)?;
            batch.commit().map_err(failed)?;
            (file, at)
        }
    };
    let ours = recover::inspect(path, Some(&file), &at, &pending)?;
    if file.metadata().map_err(io_failed)?.len() > ours {
        file.set_len(ours).map_err(io_failed)?;
    }
    // What stands there already may never have reached the disk.
    file.sync_all().map_err(io_failed)?;
    let mut output = OutputFile::new(file, path.to_owned(), ours).map_err(io_failed)?;
    let there = usize::try_from(ours - at.length).unwrap_or(pending.len());
    if there < pending.len() {
        output.append(&pending[there..], crash)?;
    }
    let mut batch = journal.batch().map_err(failed)?;
    batch.checkpoint(&output.checkpoint(last)).map_err(failed)?;
    batch.commit().map_err(failed)?;
    Ok((output, last))
}

impl CsvBacklog {
    /// Writes the run down, and settles the creates that a killed run has left without an answer.
    fn begin_run(
        &mut self,
        identity: &crate::api::Identity,
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
            for (_, _, row, _, _, outcome) in &crashed {
                if let Some(outcome) = outcome {
                    write_stream(
                        stream.as_mut(),
                        &outcome_line(row, outcome, self.layout.delimiter),
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
            Sink::File(output) => output.path.display().to_string(),
            Sink::Stream(_) => "-".to_owned(),
        };
        self.journal.set_meta("output", output).map_err(failed)?;
        self.journal
            .set_meta("absent", super::journal::int(opened.left_input))
            .map_err(failed)?;
        for (seq, job, row, replaces, progress, outcome) in crashed {
            match outcome {
                None => tx.step(seq, &progress).map_err(failed)?,
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
                    settle(
                        &mut tx,
                        &mut tally,
                        &reject,
                        self.layout.delimiter,
                        &self.sink,
                    )
                    .map_err(failed)?;
                    self.told.push(reject.outcome);
                    self.seen.known.set_failed(seq);
                }
            }
        }
        let failed = |e| self.journal.error(e);
        commit(tx, self.run, &tally.counts, &mut self.crash, failed)?;
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
            opened.to_go = Some(opened.report.rows.saturating_sub(present) + again);
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
