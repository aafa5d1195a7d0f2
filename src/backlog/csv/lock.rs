//! Locks that keep two runs apart.
//!
//! What must stay true: whoever works on a journal holds `JOURNAL.lock` exclusively, from before the
//! journal is looked at until after it is closed; whoever writes an output holds its inode. Lock
//! files are never unlinked: between an unlink and a new file two runs would each hold "the" lock. The
//! journal itself is not locked by a file descriptor of ours: closing one would drop SQLite's own
//! locks.

use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

pub(super) use crate::sink::file::acquire;

/// The lock file of a journal.
pub(super) fn lock_path(journal: &Path) -> PathBuf {
    let mut name = journal.as_os_str().to_owned();
    name.push(".lock");
    name.into()
}

/// Opens a journal's lock file, creating it where there is none.
pub(super) fn open_lock(journal: &Path) -> io::Result<File> {
    OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(lock_path(journal))
}

/// Whether a run holds a journal's lock at this instant.
pub(super) fn is_held(journal: &Path) -> bool {
    let journal = journal
        .canonicalize()
        .unwrap_or_else(|_| journal.to_owned());
    let Ok(file) = File::open(lock_path(&journal)) else {
        return false;
    };
    matches!(file.try_lock_shared(), Err(TryLockError::WouldBlock))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn one_at_a_time() {
        let dir = tempfile::tempdir().unwrap();
        let journal = dir.path().join("j");
        assert!(!is_held(&journal));
        let first = open_lock(&journal).unwrap();
        assert!(acquire(&first, Duration::ZERO).unwrap());
        assert!(is_held(&journal));
        let second = open_lock(&journal).unwrap();
        assert!(!acquire(&second, Duration::ZERO).unwrap());
        drop(first);
        assert!(acquire(&second, Duration::ZERO).unwrap());
    }

    #[test]
    fn a_run_that_waits_gets_it() {
        let dir = tempfile::tempdir().unwrap();
        let journal = dir.path().join("j");
        let first = open_lock(&journal).unwrap();
        assert!(acquire(&first, Duration::ZERO).unwrap());
        let second = open_lock(&journal).unwrap();
        let waiting =
            std::thread::spawn(move || acquire(&second, Duration::from_secs(60)).unwrap());
        drop(first);
        assert!(waiting.join().unwrap());
    }
}
