//! What SQLite's errors mean: try again, give up, or never trust it again.

use std::io;
use std::path::Path;

use crate::backlog::BacklogError;

use super::OpenError;

/// An error of SQLite's while a journal is opened.
pub(super) fn open_error(path: &Path, e: &rusqlite::Error) -> OpenError {
    match storage_fault(e) {
        Some(Fault::Full(kind)) => {
            OpenError::not_writable(path, io::Error::new(kind, e.to_string()))
        }
        _ => OpenError::DamagedJournal {
            journal: path.to_owned(),
            why: e.to_string(),
        },
    }
}

enum Fault {
    /// It may go well later.
    Full(io::ErrorKind),
    /// It is not a journal any more.
    Damaged,
}

fn storage_fault(e: &rusqlite::Error) -> Option<Fault> {
    use rusqlite::ffi;
    let rusqlite::Error::SqliteFailure(e, _) = e else {
        return None;
    };
    match e.extended_code {
        // What of a failed fsync is on the disk cannot be told.
        ffi::SQLITE_IOERR_FSYNC | ffi::SQLITE_IOERR_DIR_FSYNC | ffi::SQLITE_IOERR_CLOSE => {
            return None;
        }
        _ => {}
    }
    match e.extended_code & 0xff {
        ffi::SQLITE_FULL => Some(Fault::Full(io::ErrorKind::StorageFull)),
        ffi::SQLITE_IOERR => Some(Fault::Full(io::ErrorKind::Other)),
        ffi::SQLITE_BUSY | ffi::SQLITE_LOCKED => Some(Fault::Full(io::ErrorKind::ResourceBusy)),
        ffi::SQLITE_READONLY | ffi::SQLITE_CANTOPEN | ffi::SQLITE_PERM => {
            Some(Fault::Full(io::ErrorKind::PermissionDenied))
        }
        ffi::SQLITE_CORRUPT | ffi::SQLITE_NOTADB => Some(Fault::Damaged),
        _ => None,
    }
}

/// An error of SQLite's in a run.
pub(super) fn backlog_error(name: &str, e: rusqlite::Error) -> BacklogError {
    match storage_fault(&e) {
        Some(Fault::Full(kind)) => BacklogError::Retryable {
            what: format!("{name}: cannot be written"),
            source: io::Error::new(kind, e),
        },
        Some(Fault::Damaged) => BacklogError::Fatal {
            what: format!("{name}: the journal is damaged: {e}"),
        },
        None => BacklogError::Fatal {
            what: format!("{name}: {e}"),
        },
    }
}
