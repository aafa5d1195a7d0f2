//! The start of a run: locks, journal, the check of the input, what a killed run has left.
//!
//! What must stay true, in this order: nothing is looked at before it is locked; nothing is written before
//! the input was found good (but the lock file); nothing is repaired that is not certainly ours.

use std::collections::{BTreeMap, VecDeque};
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use foldhash::{HashMap, HashSet};
use tokio::time::Instant;

use crate::job::{Allowlist, Kinds, Micros};
use crate::sink::file::{real_path, sync_folder};

use super::census::{self, Census, JobCounts};
use super::check::{check_rows, judge};
use super::crash::Crash;
use super::identity::Keys;
use super::input::Input;
use super::journal::{Journal, RunCounts};
use super::judge::Judge;
use super::layout::Layout;
use super::order::Places;
use super::recover::continue_output;
use super::refuse::{compare_ids, ids_word, refuse_mixing, refuse_same_file, refuse_unknown_kinds};
use super::rewrite::{self, Pace};
use super::seen::Seen;
use super::sink::{Place, Sink, default_journal, write_stream};
use super::storage::open_error;
use super::{CsvBacklog, CsvSettings, InputReport, OpenError, fresh, lock};

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
    /// Where this run has nothing to do: what the journal's jobs are, and stay.
    pub unchanged: Option<JobCounts>,
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
    let place = Place::find(settings.sink)?;
    let mut output_file = match &place {
        Place::File(path) => open_output(path, wait)?,
        Place::Stream(_) | Place::Outbox(_) => None,
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
            Place::Stream(_) | Place::Outbox(_) => None,
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
        refuse_mixing(journal, &shown, is_simulated, place.word())?;
    }
    let under_way = match (&journal, &journal_path) {
        (Some(_), Some(path)) => Some(census::begin(path, &keys).map_err(failed)?),
        _ => None,
    };
    let (known, under_way) = under_way.unzip();
    let mut seen = Seen::new(known.unwrap_or_default());
    let checked = match input.is_file() {
        true => check_rows(
            &mut input,
            &mut judge,
            &keys,
            journal.as_ref(),
            &mut seen,
            &mut report,
        ),
        false => Ok(()),
    };
    seen.known.complete();
    let census = under_way.map_or_else(|| Ok(Census::default()), census::UnderWay::end);
    let census = census.map_err(failed)?;
    checked?;
    let skip_bad_rows = settings.skip_bad_rows || !input.is_file();
    if report.header_problems > 0 || (report.problem_count > 0 && !skip_bad_rows) {
        return Err(OpenError::BadInput(Box::new(report)));
    }
    let mut warnings = judge.header.warnings();
    let (layout, unfit) = match place {
        Place::Outbox(_) => (Layout::json(&judge.header, input.delimiter), Vec::new()),
        _ => layout(&judge, &input, journal.as_ref()).map_err(failed)?,
    };
    warnings.extend(unfit);
    if let Some(journal) = &journal {
        warnings.extend(compare_ids(
            journal,
            &shown,
            &keys,
            &mut seen.known,
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
    let mut pending = VecDeque::new();
    let sink = match place {
        Place::Stream(mut stream) => {
            write_stream(stream.as_mut(), &layout.header_line())?;
            Sink::Stream(stream)
        }
        Place::Outbox(outbox) => {
            // Perhaps delivered, perhaps not: again, before anything else.
            pending.extend(journal.outbox().map_err(failed)?);
            Sink::Outbox(outbox)
        }
        Place::File(path) => {
            let path = &path;
            if !is_new {
                output_file = rewrite::recover(&journal, path, output_file)?;
            }
            let (output, last) = continue_output(&journal, path, output_file, wait, &mut crash)?;
            durable = last;
            let rewrites = settings.ordered || settings.retry_failed;
            if rewrites && output.file.handle.metadata().is_ok_and(|m| m.nlink() > 1) {
                let name = output.file.path.display();
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
        unread: report.rows,
        to_adopt: VecDeque::new(),
        ready: VecDeque::new(),
        rejects: Vec::new(),
        told: Vec::new(),
        jobs: HashMap::default(),
        in_journal: BTreeMap::new(),
        created: HashSet::default(),
        forgets_beyond: settings.forgets_beyond,
        departed: HashMap::default(),
        streamed: HashSet::default(),
        next_ticket: 1,
        next_seq: census.last_seq + 1,
        out_seq: pending.back().map_or(durable, |(last, _)| *last),
        pending,
        deliver_every: settings.deliver_every,
        delivered: Instant::now(),
        durable,
        checkpointed: durable,
        trimmed: durable,
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

/// Locks a journal by its real path, so that a symlink to it fools nobody.
fn take_lock(journal: &Path, wait: Duration) -> Result<File, OpenError> {
    let journal = &real_path(journal).map_err(|e| OpenError::not_writable(journal, e))?;
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

/// Checks a file without its journal.
fn check_alone(
    input: &mut Input,
    kinds: &Kinds,
    sites: &Allowlist,
    default_kind: Option<String>,
    skip_bad_rows: bool,
) -> Result<(), OpenError> {
    let (mut report, judge) = judge(input, default_kind, kinds.clone(), sites.clone());
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
        journal.set_meta("sink", place.word())?;
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
