//! The check of a whole file before anything else: every row is judged, every id is held against the
//! others and against the journal.
//!
//! What must stay true: it sends nothing and writes nothing. What it leaves in [`Seen`] is what the claims
//! of the same file are held against later.

use std::path::Path;

use crate::job::{Allowlist, FieldsHash, Kinds, Problem, Request};

use super::OpenError;
use super::header::{Fault, Header};
use super::identity::{Keys, RowHash};
use super::input::{CsvInput, Input, Next};
use super::journal::Journal;
use super::judge::{Good, Judge, Look, stored_values};
use super::known::Known;
use super::reader::ReadFault;
use super::report::InputReport;
use super::row::Row;
use super::rows::GoodRows;
use super::seen::Seen;
use super::storage::open_error;

/// Checks a file as a run would, without a journal and without a lock.
///
/// # Errors
///
/// [`OpenError::InputUnreadable`] where it is no CSV file at all. Bad rows are no error: they are in the
/// report.
pub fn check(
    file: &Path,
    delimiter: Option<u8>,
    default_kind: Option<String>,
    kinds: Kinds,
    sites: Allowlist,
) -> Result<InputReport, OpenError> {
    let (report, _rows) = GoodRows::checked(file, delimiter, default_kind, kinds, sites, None)?;
    Ok(report)
}

/// Opens a file that can be checked ahead.
pub(super) fn open_file(file: &Path, delimiter: Option<u8>) -> Result<Input, OpenError> {
    let input = Input::open(CsvInput::File(file.to_owned()), delimiter)?;
    if input.is_file() {
        return Ok(input);
    }
    Err(OpenError::unreadable(
        &input.name,
        "is no regular file; only those can be checked ahead",
    ))
}

/// Judges the header. Without a judge, no row can be judged.
pub(super) fn judge(
    input: &Input,
    default_kind: Option<String>,
    kinds: Kinds,
    sites: Allowlist,
) -> (InputReport, Option<Judge>) {
    let mut report = InputReport {
        file: input.name.clone(),
        delimiter: input.delimiter,
        ..InputReport::default()
    };
    let line = input.header.line;
    match Header::parse(&input.header) {
        Ok(header) => {
            report.header.clone_from(&header.names);
            report.has_ids = header.has_ids();
            let mut judge = Judge::new(header, kinds, sites, default_kind);
            report.add_header_faults(line, std::mem::take(&mut judge.header_faults));
            (report, Some(judge))
        }
        Err(faults) => {
            report.add_header_faults(line, faults);
            (report, None)
        }
    }
}

/// Reads a file's rows, adds their problems to `report` and themselves to `seen`, and goes back to the
/// first row.
pub(super) fn check_rows(
    input: &mut Input,
    judge: &mut Judge,
    keys: &Keys,
    journal: Option<&Journal>,
    seen: &mut Seen,
    report: &mut InputReport,
) -> Result<(), OpenError> {
    let mut row = Row::default();
    // Good rows by kind, as the judge numbers them.
    let mut kinds: Vec<u64> = Vec::new();
    // The hash of its fields tells whether a row is the one that was begun, or is all that it is known by.
    let hashes = !keys.own_ids || !seen.known.is_empty();
    let failed = |e| open_error(Path::new(journal.map_or("journal", Journal::name)), &e);
    while next(input, &mut row, report)? {
        report.rows += 1;
        let Look { own_id, verdict } = judge.look(&row, hashes);
        if !judge.header_faults.is_empty() {
            report.add_header_faults(input.header.line, std::mem::take(&mut judge.header_faults));
        }
        let fields = verdict.as_ref().ok().and_then(|good| good.fields);
        match (own_id, fields) {
            (Some(id), _) => {
                let hash = keys.hash(id);
                match find(&mut seen.known, keys, journal, (id, hash), fields).map_err(failed)? {
                    Found::New => seen.note_new(hash),
                    Found::Known(n) => {
                        seen.note_known(n, hash);
                        if verdict.is_err() {
                            // Not acceptable, so there is nothing to be taken up again.
                            seen.known.end_failed(n);
                        }
                    }
                    Found::Changed { n, began } => {
                        seen.note_changed(n, hash);
                        if let Ok(request) = judge.judge(&row).request {
                            report.add(row.line, changed(id, &began, &request));
                        }
                    }
                }
            }
            (None, Some(fields)) if !keys.own_ids => {
                seen.note_generated(RowHash::of_fields(fields).short());
            }
            (None, _) => seen.note_bad(RowHash::of_cells(&row).short()),
        }
        match verdict {
            Ok(Good { plan, .. }) => {
                if plan >= kinds.len() {
                    kinds.resize(plan + 1, 0);
                }
                kinds[plan] += 1;
            }
            Err(fault) if fault.is_of_header => {}
            Err(fault) => report.add(row.line, fault),
        }
    }
    for (plan, rows) in kinds.into_iter().enumerate().filter(|(_, rows)| *rows > 0) {
        let name = judge.kind_name(plan).to_owned();
        *report.kinds.entry(name).or_default() += rows;
    }
    seen.end_first_pass(keys.own_ids);
    if !seen.repeats.is_empty() {
        input.rewind()?;
        while next(input, &mut row, report)? {
            let Some(id) = judge.id_of(&row) else {
                continue;
            };
            let (hash, check) = (keys.hash(id), keys.check_hash(id));
            if let Some(first_line) = seen.repeats.note(hash, check, row.line) {
                let problem = Problem::DuplicateId {
                    id: id.escape_debug().to_string(),
                    first_line,
                };
                report.add(row.line, Fault::new(Some("id"), problem));
                seen.note_bad(RowHash::of_cells(&row).short());
            }
        }
    }
    seen.end_check();
    input.rewind()
}

/// Reads a row of a file that is being checked.
fn next(input: &mut Input, row: &mut Row, report: &mut InputReport) -> Result<bool, OpenError> {
    match input.next(row, true) {
        Ok(next) => Ok(next == Next::Row),
        Err(ReadFault::Io(e)) => Err(OpenError::InputUnreadable {
            file: input.name.clone(),
            why: "cannot be read to its end".to_owned(),
            source: Some(e),
        }),
        Err(ReadFault::TooLong { line }) => {
            report.add_header_faults(line, [too_long()]);
            Ok(false)
        }
    }
}

/// The fault of a record beyond which nothing can be read.
pub(super) fn too_long() -> Fault {
    Fault::malformed(
        None,
        "a record begins here that is longer than 1 MiB; is a quote left open?",
    )
}

/// Where an id stands in the journal.
pub(super) enum Found {
    New,
    Known(usize),
    /// It was begun with other values: these.
    Changed {
        n: usize,
        began: String,
    },
}

/// Looks an id of the user's up, of which the hash is given.
pub(super) fn find(
    known: &mut Known,
    keys: &Keys,
    journal: Option<&Journal>,
    (id, hash): (&str, u64),
    fields: Option<FieldsHash>,
) -> rusqlite::Result<Found> {
    if let Some((hash, occurrence)) = keys.generated(id) {
        return Ok(known
            .generated(hash, occurrence)
            .map_or(Found::New, Found::Known));
    }
    if known.is_empty() {
        return Ok(Found::New);
    }
    if let Some(n) = known.expected(hash)
        && let Some(found) = is_it(known, n, journal, id, fields)?
    {
        return Ok(found);
    }
    for n in known.of_hash(hash) {
        if let Some(found) = is_it(known, n, journal, id, fields)? {
            return Ok(found);
        }
    }
    Ok(Found::New)
}

/// Whether an entry of an id's hash is of that id; `None` where it is another's.
fn is_it(
    known: &Known,
    n: usize,
    journal: Option<&Journal>,
    id: &str,
    fields: Option<FieldsHash>,
) -> rusqlite::Result<Option<Found>> {
    if fields.and_then(|f| known.has_fields(n, f)) == Some(true) {
        return Ok(Some(Found::Known(n)));
    }
    // Another id of the same hash, another request of the same id, or one that was never good.
    let Some(journal) = journal else {
        return Ok(None);
    };
    let stored = journal.job(known.seq(n))?;
    if stored.id.as_str() != id {
        return Ok(None);
    }
    Ok(Some(match (fields, stored.fields) {
        (Some(now), Some(then)) if now != then => Found::Changed {
            n,
            began: format!("{} {}", stored.kind, stored.request),
        },
        _ => Found::Known(n),
    }))
}

/// The fault of a row whose id was begun with other values.
pub(super) fn changed(id: &str, began: &str, now: &Request) -> Fault {
    let now = format!("{} {}", now.kind().name, stored_values(now));
    let why = format!(
        "id `{}` was begun as {began}, and is now {now}; give what changed a new id",
        id.escape_debug()
    );
    Fault::malformed(Some("id"), why)
}
