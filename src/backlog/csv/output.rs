//! The output file: only ever appended to, and always as long as we know it to be.
//!
//! What must stay true: before a byte is written, the path still leads to our inode and the file is as
//! long as we left it; so nothing of another hand is overwritten, no line goes to a file that nobody
//! sees any more, and no hole is made. [`OutputFile::append`] returns after fdatasync. What a failed write
//! left is cut off again before the next one.

use std::fs::{File, Metadata, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use crate::backlog::BacklogError;

use super::crash::Crash;
use super::journal::Checkpoint;

/// How much of the end of a file is hashed.
pub(super) const TAIL: usize = 64 << 10;

/// The last bytes of a file. No `Debug`: there are tokens in it.
#[derive(Clone, Default)]
pub(super) struct Tail(Vec<u8>);

impl Tail {
    /// Takes in what was appended.
    pub(super) fn push(&mut self, bytes: &[u8]) {
        let bytes = &bytes[bytes.len().saturating_sub(TAIL)..];
        self.0.extend_from_slice(bytes);
        // Moved seldom, so that a byte is moved about once.
        if self.0.len() > 2 * TAIL {
            self.0.drain(..self.0.len() - TAIL);
        }
    }

    /// Its hash.
    pub(super) fn hash(&self) -> [u8; 32] {
        *blake3::hash(&self.0[self.0.len().saturating_sub(TAIL)..]).as_bytes()
    }

    /// Reads it from a file of which `length` bytes count.
    pub(super) fn read(file: &File, length: u64) -> io::Result<Self> {
        let start = length.saturating_sub(TAIL as u64);
        let mut bytes = vec![0; usize::try_from(length - start).unwrap_or(TAIL)];
        file.read_exact_at(&mut bytes, start)?;
        Ok(Self(bytes))
    }
}

/// An output file that is ours.
pub(super) struct OutputFile {
    pub(super) file: File,
    /// Where it really is: no symlink.
    pub(super) path: PathBuf,
    /// Device and inode.
    pub(super) identity: (u64, u64),
    /// How long we left it.
    pub(super) length: u64,
    pub(super) tail: Tail,
    /// A write failed, and what it left could not be cut off.
    torn: bool,
}

/// Device and inode.
pub(super) fn identity(meta: &Metadata) -> (u64, u64) {
    (meta.dev(), meta.ino())
}

/// Makes a new file, for the owner alone.
pub(super) fn create_new(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .read(true)
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
}

/// Makes what was done in a file's folder durable.
pub(super) fn sync_folder(file: &Path) -> io::Result<()> {
    let folder = match file.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    File::open(folder)?.sync_all()
}

impl OutputFile {
    /// A file of which the first `length` bytes are known to be ours, and nothing lies beyond.
    pub(super) fn new(file: File, path: PathBuf, length: u64) -> io::Result<Self> {
        let identity = identity(&file.metadata()?);
        let tail = Tail::read(&file, length)?;
        Ok(Self {
            file,
            path,
            identity,
            length,
            tail,
            torn: false,
        })
    }

    /// A file that was just written, and of which everything is known.
    pub(super) fn adopt(
        file: File,
        path: PathBuf,
        identity: (u64, u64),
        length: u64,
        tail: Tail,
    ) -> Self {
        Self {
            file,
            path,
            identity,
            length,
            tail,
            torn: false,
        }
    }

    /// What is to be remembered of it, once it is durable up to `out_seq`.
    pub(super) fn checkpoint(&self, out_seq: i64) -> Checkpoint {
        Checkpoint {
            length: self.length,
            file: self.identity,
            tail: self.tail.hash(),
            out_seq,
        }
    }

    /// Appends and makes durable. Nothing is changed where it fails with `Retryable`.
    pub(super) fn append(&mut self, bytes: &[u8], crash: &mut Crash) -> Result<(), BacklogError> {
        self.check_untouched()?;
        if crash.is_due("mid-append") {
            // Whatever becomes of this write, the process dies here.
            let _ = self
                .file
                .write_all_at(&bytes[..bytes.len() / 2], self.length);
            crash.die()?;
        }
        if let Err(source) = self.file.write_all_at(bytes, self.length) {
            self.torn = self.file.set_len(self.length).is_err();
            return Err(BacklogError::Retryable {
                what: format!("{}: cannot be written", self.path.display()),
                source,
            });
        }
        crash.at("after-append")?;
        if let Err(e) = self.file.sync_data() {
            let what = format!(
                "{}: fsync failed: {e}; what of it is on the disk cannot be told",
                self.path.display()
            );
            return Err(BacklogError::Fatal { what });
        }
        crash.at("after-fsync")?;
        self.length += bytes.len() as u64;
        self.tail.push(bytes);
        Ok(())
    }

    /// Makes sure that the file at our path is ours, and as we left it.
    pub(super) fn check_untouched(&mut self) -> Result<(), BacklogError> {
        let fatal = |found: &str| {
            Err(BacklogError::Fatal {
                what: format!("{}: changed by another hand: {found}", self.path.display()),
            })
        };
        match std::fs::metadata(&self.path) {
            Ok(meta) if identity(&meta) == self.identity => {}
            Ok(_) => return fatal("another file stands in its place"),
            Err(e) => return fatal(&e.to_string()),
        }
        let failed = |source| BacklogError::Retryable {
            what: format!("{}: cannot be read", self.path.display()),
            source,
        };
        let length = self.file.metadata().map_err(failed)?.len();
        if self.torn && length > self.length {
            self.file.set_len(self.length).map_err(failed)?;
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

    fn output(dir: &Path) -> OutputFile {
        let path = dir.join("out.csv");
        OutputFile::new(create_new(&path).unwrap(), path, 0).unwrap()
    }

    #[test]
    fn the_tail_is_that_of_the_file() {
        let dir = tempfile::tempdir().unwrap();
        let mut output = output(dir.path());
        for n in 0..40_u8 {
            output
                .append(&vec![n; 9000], &mut Crash::default())
                .unwrap();
            assert_eq!(
                output.tail.hash(),
                Tail::read(&output.file, output.length).unwrap().hash()
            );
        }
    }

    #[test]
    fn what_another_hand_did_ends_the_run() {
        for deed in ["truncate", "append", "replace", "delete"] {
            let dir = tempfile::tempdir().unwrap();
            let mut output = output(dir.path());
            output.append(b"id,token\n", &mut Crash::default()).unwrap();
            match deed {
                "truncate" => output.file.set_len(0).unwrap(),
                "append" => std::fs::write(&output.path, b"id,token\nmine\n").unwrap(),
                "replace" => {
                    std::fs::write(dir.path().join("new"), b"id,token\n").unwrap();
                    std::fs::rename(dir.path().join("new"), &output.path).unwrap();
                }
                _ => std::fs::remove_file(&output.path).unwrap(),
            }
            let before = std::fs::read(&output.path).ok();
            let error = output.append(b"r1,x\n", &mut Crash::default()).unwrap_err();
            assert!(
                matches!(&error, BacklogError::Fatal { what } if what.contains("another hand")),
                "{deed}: {error}"
            );
            assert_eq!(std::fs::read(&output.path).ok(), before, "{deed}");
        }
    }

    #[test]
    fn what_a_failed_write_left_is_cut_off() {
        let dir = tempfile::tempdir().unwrap();
        let mut output = output(dir.path());
        output.append(b"id\n", &mut Crash::default()).unwrap();
        output.file.write_all_at(b"half a li", 3).unwrap();
        output.torn = true;
        output.append(b"r1\n", &mut Crash::default()).unwrap();
        assert_eq!(std::fs::read(&output.path).unwrap(), b"id\nr1\n");
    }
}
