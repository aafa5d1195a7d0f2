//! Files that outcomes are appended to, and the locks that keep two writers apart.
//!
//! What must stay true, of an [`AppendFile`]: before a byte is written, the path still leads to our inode and
//! the file is as long as we left it; so nothing of another hand is overwritten, no line goes to a file
//! that nobody sees any more, and no hole is made. What a failed write left is cut off again before the next one.

use std::fs::{File, Metadata, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::SinkError;

/// From one try to lock to the next.
const PAUSE: Duration = Duration::from_millis(50);
/// Tries even where nobody wants to wait: `status` holds a lock for an instant to see whether a run has it.
const TRIES: u32 = 3;
/// Symlinks that a path may lead through.
const LINKS: u32 = 16;

/// Locks a file for this process alone, waiting for `wait` at most; `false` where another holds it.
pub(crate) fn acquire(file: &File, wait: Duration) -> io::Result<bool> {
    let tries = u32::try_from(wait.as_millis() / PAUSE.as_millis())
        .unwrap_or(u32::MAX)
        .max(TRIES);
    for n in 0..=tries {
        match file.try_lock() {
            Ok(()) => return Ok(true),
            Err(TryLockError::WouldBlock) if n < tries => std::thread::sleep(PAUSE),
            Err(TryLockError::WouldBlock) => {}
            Err(TryLockError::Error(e)) => return Err(e),
        }
    }
    Ok(false)
}

/// Makes a new file, for the owner alone.
pub(crate) fn create_new(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .read(true)
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
}

/// Makes what was done in a file's folder durable.
pub(crate) fn sync_folder(file: &Path) -> io::Result<()> {
    let folder = match file.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    File::open(folder)?.sync_all()
}

/// Device and inode.
pub(crate) fn identity(meta: &Metadata) -> (u64, u64) {
    (meta.dev(), meta.ino())
}

/// Whether a path is no place for a file of ours. The names for descriptors are streams even where they lead
/// to a regular file: the shell opened that, and may append to it.
pub(crate) fn is_stream(path: &Path) -> bool {
    let descriptors = ["/dev/stdout", "/dev/stderr", "/dev/fd", "/proc"];
    let is_descriptor = descriptors.iter().any(|d| path.starts_with(d));
    is_descriptor || std::fs::metadata(path).is_ok_and(|m| !m.is_file() && !m.is_dir())
}

/// Where a path leads, even where nothing is there yet.
pub(crate) fn real_path(path: &Path) -> io::Result<PathBuf> {
    follow(path, LINKS)
}

fn follow(path: &Path, links: u32) -> io::Result<PathBuf> {
    match path.canonicalize() {
        Err(e) if e.kind() == io::ErrorKind::NotFound && links > 0 => {}
        result => return result,
    }
    let folder = path
        .parent()
        .filter(|p| !p.as_os_str().is_empty())
        .unwrap_or(Path::new("."));
    match std::fs::read_link(path) {
        Ok(target) => follow(&folder.join(target), links - 1),
        Err(_) => {
            let name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?;
            Ok(folder.canonicalize()?.join(name))
        }
    }
}

/// A file that is ours.
#[derive(Debug)]
pub(crate) struct AppendFile {
    pub(crate) handle: File,
    /// Where it really is: no symlink.
    pub(crate) path: PathBuf,
    /// Device and inode.
    pub(crate) identity: (u64, u64),
    /// How long we left it.
    pub(crate) length: u64,
    /// A write failed, and what it left could not be cut off.
    torn: bool,
}

impl AppendFile {
    /// A file of which the first `length` bytes are known to be ours, and nothing lies beyond.
    pub(crate) fn new(handle: File, path: PathBuf, identity: (u64, u64), length: u64) -> Self {
        Self {
            handle,
            path,
            identity,
            length,
            torn: false,
        }
    }

    /// Writes after its end. Nothing is changed where that fails. It counts once it is [synced](Self::sync).
    pub(crate) fn write(&mut self, bytes: &[u8]) -> Result<(), SinkError> {
        if let Err(source) = self.handle.write_all_at(bytes, self.length) {
            self.torn = self.handle.set_len(self.length).is_err();
            return Err(SinkError::Full {
                what: format!("{}: cannot be written", self.path.display()),
                source,
            });
        }
        Ok(())
    }

    /// Makes the bytes durable that were written.
    pub(crate) fn sync(&mut self, written: u64) -> Result<(), SinkError> {
        if let Err(e) = self.handle.sync_data() {
            let what = format!(
                "{}: fsync failed: {e}; what of it is on the disk cannot be told",
                self.path.display()
            );
            return Err(SinkError::Fatal { what });
        }
        self.length += written;
        Ok(())
    }

    /// Makes sure that the file at our path is ours, and as we left it.
    pub(crate) fn check_untouched(&mut self) -> Result<(), SinkError> {
        let fatal = |found: &str| {
            Err(SinkError::Fatal {
                what: format!("{}: changed by another hand: {found}", self.path.display()),
            })
        };
        match std::fs::metadata(&self.path) {
            Ok(meta) if identity(&meta) == self.identity => {}
            Ok(_) => return fatal("another file stands in its place"),
            Err(e) => return fatal(&e.to_string()),
        }
        let failed = |source| SinkError::Full {
            what: format!("{}: cannot be read", self.path.display()),
            source,
        };
        let length = self.handle.metadata().map_err(failed)?.len();
        if self.torn && length > self.length {
            self.handle.set_len(self.length).map_err(failed)?;
        } else if length != self.length {
            return fatal(&format!("it has {length} bytes, and had {}", self.length));
        }
        self.torn = false;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_followed_to_where_the_file_will_be() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().canonicalize().unwrap();
        let found = |name: &str| real_path(&root.join(name)).ok();
        let link = |to: &str, name: &str| std::os::unix::fs::symlink(to, root.join(name)).unwrap();
        assert_eq!(found("new.csv"), Some(root.join("new.csv")));
        link("target.csv", "link.csv");
        assert_eq!(found("link.csv"), Some(root.join("target.csv")));
        std::fs::write(root.join("target.csv"), "").unwrap();
        assert_eq!(found("link.csv"), Some(root.join("target.csv")));
        link("loop", "loop");
        assert_eq!(found("loop"), None);
        assert_eq!(found("none/x.csv"), None);
    }

    #[test]
    fn what_a_failed_write_left_is_cut_off() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("o");
        let handle = create_new(&path).unwrap();
        let inode = identity(&handle.metadata().unwrap());
        let mut file = AppendFile::new(handle, path.clone(), inode, 0);
        file.write(b"id\n").unwrap();
        file.sync(3).unwrap();
        file.handle.write_all_at(b"half a li", 3).unwrap();
        file.torn = true;
        file.check_untouched().unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"id\n");
    }
}
