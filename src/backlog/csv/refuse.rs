//! What a run refuses before anything is written.

use std::fs::{File, Metadata};
use std::io;
use std::path::Path;

use super::OpenError;
use super::identity::Keys;
use super::input::Input;
use super::journal::Journal;
use super::judge::Judge;
use super::known::Known;
use super::sink::Place;
use super::storage::open_error;
use crate::sink::file::identity;

/// Refuses to read and write one file.
pub(super) fn refuse_same_file(
    input: &Input,
    output: Option<&File>,
    journal: Option<&Path>,
    place: &Place,
) -> Result<(), OpenError> {
    let is_input = |meta: io::Result<Metadata>| {
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

/// Refuses a journal whose results this run's may not stand beside.
pub(super) fn refuse_mixing(
    journal: &Journal,
    path: &Path,
    is_simulated: bool,
    now: &str,
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
    if sink != now {
        let shown = |sink: &str| match sink {
            "file" | "stream" => format!("a {sink}"),
            other => other.to_owned(),
        };
        return Err(OpenError::Usage(format!(
            "{}: the journal belongs to an output that is {}, this run's is {}; name another journal with --journal",
            path.display(),
            shown(&sink),
            shown(now)
        )));
    }
    Ok(())
}

/// Sees to it that ids mean the same as in the journal: else every row would be begun, and paid, anew.
pub(super) fn compare_ids(
    journal: &Journal,
    path: &Path,
    keys: &Keys,
    known: &mut Known,
    is_file: bool,
) -> Result<Option<String>, OpenError> {
    let ids: String = journal
        .meta("ids")
        .map_err(|e| open_error(path, &e))?
        .unwrap_or_default();
    if ids == ids_word(keys) || known.is_empty() {
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

/// How rows are known, as the journal says it.
pub(super) fn ids_word(keys: &Keys) -> &'static str {
    if keys.own_ids { "own" } else { "generated" }
}

/// Jobs whose kind is not known can't be polled; to reject them would throw paid answers away.
pub(super) fn refuse_unknown_kinds(
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
