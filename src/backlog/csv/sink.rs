//! Where lines go: a file that is ours, or a stream.

use std::fs::OpenOptions;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use crate::backlog::BacklogError;

use super::batch::Batch;
use super::journal::beside;
use super::output::OutputFile;
use super::{CsvInput, OpenError};
use crate::sink::Outbox;

/// Where outcomes go.
pub enum CsvSink {
    /// A file. What exists and is no regular file (a FIFO, `/dev/stdout`) is written as a stream.
    File(PathBuf),
    /// A stream, such as stdout: every line is flushed before its outcome counts as delivered.
    Stream(Box<dyn Write + Send>),
    /// Elsewhere, as JSON documents: each at least once.
    Outbox(Box<dyn Outbox>),
}

impl std::fmt::Debug for CsvSink {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::File(path) => write!(f, "File({})", path.display()),
            Self::Stream(_) => f.write_str("Stream"),
            Self::Outbox(outbox) => write!(f, "Outbox({})", outbox.name()),
        }
    }
}

/// Where the journal of a run is unless the user names one: beside the output file, else beside the input
/// file, else nowhere.
#[must_use]
pub fn default_journal(input: &CsvInput, sink: &CsvSink) -> Option<PathBuf> {
    match (sink, input) {
        (CsvSink::File(output), _) if !is_stream(output) => Some(beside(output, ".journal")),
        (_, CsvInput::File(input)) => Some(beside(input, ".journal")),
        _ => None,
    }
}

/// Whether a path is no place for a file of ours. The names for descriptors are streams even where they lead
/// to a regular file: the shell opened that, and may append to it.
pub(super) fn is_stream(path: &Path) -> bool {
    let descriptors = ["/dev/stdout", "/dev/stderr", "/dev/fd", "/proc"];
    let is_descriptor = descriptors.iter().any(|d| path.starts_with(d));
    is_descriptor || std::fs::metadata(path).is_ok_and(|m| !m.is_file() && !m.is_dir())
}

/// A place for output, before anything is opened.
pub(super) enum Place {
    /// A regular file, existing or not, by its real path.
    File(PathBuf),
    Stream(Box<dyn Write + Send>),
    Outbox(Box<dyn Outbox>),
}

impl Place {
    /// What the journal calls it: a journal belongs to one.
    pub(super) fn word(&self) -> &str {
        match self {
            Self::File(_) => "file",
            Self::Stream(_) => "stream",
            Self::Outbox(outbox) => outbox.name(),
        }
    }

    pub(super) fn find(sink: CsvSink) -> Result<Self, OpenError> {
        match sink {
            CsvSink::Stream(stream) => Ok(Self::Stream(stream)),
            CsvSink::Outbox(outbox) => Ok(Self::Outbox(outbox)),
            CsvSink::File(path) if is_stream(&path) => {
                let opened = OpenOptions::new().write(true).open(&path);
                Ok(Self::Stream(Box::new(
                    opened.map_err(|e| OpenError::not_writable(&path, e))?,
                )))
            }
            CsvSink::File(path) => match real_path(&path, 16) {
                Ok(real) if real.is_dir() => Err(OpenError::not_writable(
                    &path,
                    io::Error::from(io::ErrorKind::IsADirectory),
                )),
                Ok(real) => Ok(Self::File(real)),
                Err(e) => Err(OpenError::not_writable(&path, e)),
            },
        }
    }
}

/// Where a path leads, even where nothing is there yet.
pub(super) fn real_path(path: &Path, links: u32) -> io::Result<PathBuf> {
    match path.canonicalize() {
        Err(e) if e.kind() == io::ErrorKind::NotFound && links > 0 => {}
        result => return result,
    }
    let folder = path
        .parent()
        .filter(|p| !p.as_os_str().is_empty())
        .unwrap_or(Path::new("."));
    match std::fs::read_link(path) {
        Ok(target) => real_path(&folder.join(target), links - 1),
        Err(_) => {
            let name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?;
            Ok(folder.canonicalize()?.join(name))
        }
    }
}

/// Where lines go, open.
pub(super) enum Sink {
    File(Box<OutputFile>),
    Stream(Box<dyn Write + Send>),
    Outbox(Box<dyn Outbox>),
}

impl Sink {
    /// Notes in a transaction that everything up to `durable` is where it belongs. Of a stream nothing waits.
    pub(super) fn checkpoint(&self, tx: &mut Batch<'_>, durable: i64) -> rusqlite::Result<()> {
        match self {
            Self::File(output) => tx.checkpoint(&output.checkpoint(durable)),
            Self::Outbox(_) => tx.trim_outbox(durable),
            Self::Stream(_) => Ok(()),
        }
    }
}

/// Writes to a stream and flushes. A stream that failed stays failed: what of the line went out is not
/// known, and a rest would only be garbage in it.
pub(super) fn write_stream(
    stream: &mut (dyn Write + Send),
    bytes: &[u8],
) -> Result<(), BacklogError> {
    stream
        .write_all(bytes)
        .and_then(|()| stream.flush())
        .map_err(|e| BacklogError::Fatal {
            what: format!("the output stream cannot be written: {e}"),
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_followed_to_where_the_file_will_be() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().canonicalize().unwrap();
        assert_eq!(
            real_path(&root.join("new.csv"), 4).unwrap(),
            root.join("new.csv")
        );
        std::os::unix::fs::symlink("target.csv", root.join("link.csv")).unwrap();
        assert_eq!(
            real_path(&root.join("link.csv"), 4).unwrap(),
            root.join("target.csv")
        );
        std::fs::write(root.join("target.csv"), "").unwrap();
        assert_eq!(
            real_path(&root.join("link.csv"), 4).unwrap(),
            root.join("target.csv")
        );
        std::os::unix::fs::symlink("loop", root.join("loop")).unwrap();
        assert!(real_path(&root.join("loop"), 4).is_err());
        assert!(real_path(&root.join("none/x.csv"), 4).is_err());
    }

    #[test]
    fn the_journal_stands_beside_the_output_or_the_input() {
        let file = || CsvInput::File("in.csv".into());
        let stream = || CsvInput::Stream {
            name: "stdin".into(),
            source: Box::new(io::empty()),
        };
        let out = CsvSink::File("out.csv".into());
        let stdout = || CsvSink::Stream(Box::new(io::sink()));
        assert_eq!(
            default_journal(&stream(), &out),
            Some("out.csv.journal".into())
        );
        assert_eq!(
            default_journal(&file(), &stdout()),
            Some("in.csv.journal".into())
        );
        assert_eq!(
            default_journal(&file(), &CsvSink::File("/dev/stdout".into())),
            Some("in.csv.journal".into())
        );
        assert_eq!(default_journal(&stream(), &stdout()), None);
    }
}
