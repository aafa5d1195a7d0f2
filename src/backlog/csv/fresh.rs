//! `--fresh`: journal and output are moved to `.bak`, and a run begins as if they had never been.
//!
//! What must stay true: nothing is deleted but an older `.bak`; jobs that are paid and not ended are not
//! forgotten unless the user says so.

use std::io;
use std::path::Path;

use super::OpenError;
use super::journal::{Journal, beside};
use super::rewrite::rewrite_path;
use crate::sink::file::sync_folder;

/// Moves what is there out of the way. Journal and output are locked.
pub(super) fn move_away(
    journal: Option<&Path>,
    output: Option<&Path>,
    abandon_paid: bool,
) -> Result<(), OpenError> {
    if let Some(path) = journal {
        match in_flight(path) {
            Ok(0) => {}
            Ok(count) if !abandon_paid => {
                return Err(OpenError::PaidJobsInFlight {
                    journal: path.to_owned(),
                    count,
                });
            }
            // What is in a damaged journal nobody can tell.
            Err(e) if !abandon_paid => return Err(e),
            Ok(_) | Err(_) => {}
        }
        for ending in ["-wal", "-shm"] {
            let (file, bak) = (beside(path, ending), beside(&beside(path, ".bak"), ending));
            remove(&bak)?;
            shift(&file, &bak)?;
        }
        shift(path, &beside(path, ".bak"))?;
    }
    if let Some(path) = output {
        remove(&rewrite_path(path))?;
        shift(path, &beside(path, ".bak"))?;
    }
    for path in [journal, output].into_iter().flatten() {
        sync_folder(path).map_err(|e| OpenError::not_writable(path, e))?;
    }
    Ok(())
}

/// How many jobs a journal knows of that exist and have no outcome. Makes it one file.
fn in_flight(path: &Path) -> Result<u64, OpenError> {
    let Some(journal) = Journal::open(path)? else {
        return Ok(0);
    };
    let failed = |e| super::storage::open_error(path, &e);
    let select = "SELECT count(*) FROM job WHERE state = 'waiting'";
    let count: i64 = journal
        .db
        .query_row(select, [], |row| row.get(0))
        .map_err(failed)?;
    if count == 0 {
        journal.truncate_wal().map_err(failed)?;
    }
    Ok(count.unsigned_abs())
}

fn shift(from: &Path, to: &Path) -> Result<(), OpenError> {
    ignore_missing(std::fs::rename(from, to)).map_err(|e| OpenError::not_writable(to, e))
}

fn remove(path: &Path) -> Result<(), OpenError> {
    ignore_missing(std::fs::remove_file(path)).map_err(|e| OpenError::not_writable(path, e))
}

fn ignore_missing(done: io::Result<()>) -> io::Result<()> {
    match done {
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
        done => done,
    }
}
