//! The output file: only ever appended to, and always as long as we know it to be.
//!
//! What must stay true: what an [`AppendFile`] holds to; [`OutputFile::append`] returns after fdatasync; the
//! journal's checkpoint is of what was synced.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

use crate::backlog::BacklogError;
use crate::sink::file::{AppendFile, identity};

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

/// An output file that is ours, and what is remembered of it.
pub(super) struct OutputFile {
    pub(super) file: AppendFile,
    pub(super) tail: Tail,
}

impl OutputFile {
    /// A file of which the first `length` bytes are known to be ours, and nothing lies beyond.
    pub(super) fn new(file: File, path: PathBuf, length: u64) -> io::Result<Self> {
        let identity = identity(&file.metadata()?);
        let tail = Tail::read(&file, length)?;
        Ok(Self::adopt(file, path, identity, length, tail))
    }

    /// A file that was just written, and of which everything is known.
    pub(super) fn adopt(
        file: File,
        path: PathBuf,
        identity: (u64, u64),
        length: u64,
        tail: Tail,
    ) -> Self {
        let file = AppendFile::new(file, path, identity, length);
        Self { file, tail }
    }

    /// What is to be remembered of it, once it is durable up to `out_seq`.
    pub(super) fn checkpoint(&self, out_seq: i64) -> Checkpoint {
        Checkpoint {
            length: self.file.length,
            file: self.file.identity,
            tail: self.tail.hash(),
            out_seq,
        }
    }

    /// Appends and makes durable. Nothing is changed where it fails with `Retryable`.
    pub(super) fn append(&mut self, bytes: &[u8], crash: &mut Crash) -> Result<(), BacklogError> {
        self.file.check_untouched()?;
        if crash.is_due("mid-append") {
            // Whatever becomes of this write, the process dies here.
            let half = &bytes[..bytes.len() / 2];
            let _ = self.file.handle.write_all_at(half, self.file.length);
            crash.die()?;
        }
        self.file.write(bytes)?;
        crash.at("after-append")?;
        self.file.sync(bytes.len() as u64)?;
        crash.at("after-fsync")?;
        self.tail.push(bytes);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::sink::file::create_new;

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
                Tail::read(&output.file.handle, output.file.length)
                    .unwrap()
                    .hash()
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
                "truncate" => output.file.handle.set_len(0).unwrap(),
                "append" => std::fs::write(&output.file.path, b"id,token\nmine\n").unwrap(),
                "replace" => {
                    std::fs::write(dir.path().join("new"), b"id,token\n").unwrap();
                    std::fs::rename(dir.path().join("new"), &output.file.path).unwrap();
                }
                _ => std::fs::remove_file(&output.file.path).unwrap(),
            }
            let before = std::fs::read(&output.file.path).ok();
            let error = output.append(b"r1,x\n", &mut Crash::default()).unwrap_err();
            assert!(
                matches!(&error, BacklogError::Fatal { what } if what.contains("another hand")),
                "{deed}: {error}"
            );
            assert_eq!(std::fs::read(&output.file.path).ok(), before, "{deed}");
        }
    }
}
