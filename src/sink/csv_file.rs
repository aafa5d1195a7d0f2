//! A CSV file, or a stream, for outcomes of requests that came from Redis: it is only ever appended to.
//!
//! The header is `id,job,meta` and the [`RESULT_COLUMNS`]; `meta` is the producer's, as JSON.
//!
//! What must stay true: one process writes to it (the inode is locked, so that a symlink fools nobody), and what
//! [`CsvFile::deliver`] was given is on the disk when it returns. What a killed process has left of a line was not
//! acknowledged, is cut off at the next start, and comes again. So an outcome stands there at least
//! once, always under the same id. A file that does not begin with our header is never written to.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::file::{AppendFile, acquire, identity, is_stream, real_path, sync_folder};
use super::json::About;
use super::{SinkError, csv};
use crate::job::Outcome;
#[cfg(doc)]
use crate::job::RESULT_COLUMNS;

/// What stands before the result columns.
const COLUMNS: [&str; 3] = ["id", "job", "meta"];
/// Between cells.
const DELIMITER: u8 = b',';
/// How much of a file is looked at at once.
const BLOCK: usize = 256 << 10;

/// Where outcomes are appended.
pub struct CsvFile(To);

enum To {
    File(AppendFile),
    Stream {
        stream: Box<dyn Write + Send>,
        name: String,
    },
}

impl std::fmt::Debug for CsvFile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "CsvFile({})", self.name())
    }
}

/// Why a file cannot be appended to. Nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum CsvFileError {
    /// Another process writes to it.
    #[error("{}: another run holds its lock; wait for it to end, or give --lock-wait 1m", path.display())]
    Locked {
        /// The file.
        path: PathBuf,
    },
    /// It is not one of ours.
    #[error(
        "{}: it does not begin with the header {}; nothing was changed: name another file",
        path.display(), header().trim_end()
    )]
    OtherHeader {
        /// The file.
        path: PathBuf,
    },
    /// It cannot be opened, made, or written.
    #[error("{}: cannot be written", path.display())]
    NotWritable {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// The header's line.
fn header() -> String {
    String::from_utf8_lossy(&csv::header_line(COLUMNS, DELIMITER)).into_owned()
}

/// An outcome's line.
#[must_use]
pub fn line(about: About<'_>, outcome: &Outcome) -> Vec<u8> {
    // A line break in JSON stands between its tokens only, where a blank means the same.
    let meta = about.meta.map_or("", |meta| meta.get());
    let meta = meta.replace(['\n', '\r'], " ");
    let cells = [
        about.id.unwrap_or_default(),
        about.job.unwrap_or_default(),
        &meta,
    ];
    csv::outcome_line(&csv::row(cells, DELIMITER), outcome, DELIMITER)
}

impl CsvFile {
    /// Opens a file, or makes it (0600), and locks it, waiting for `wait` at most for another process. Blocks. What
    /// exists and is no regular file (a FIFO, `/dev/stdout`) is written as a stream.
    ///
    /// # Errors
    ///
    /// See [`CsvFileError`].
    pub fn open(path: &Path, wait: Duration) -> Result<Self, CsvFileError> {
        let failed = |source| CsvFileError::NotWritable {
            path: path.to_owned(),
            source,
        };
        if is_stream(path) {
            let stream = OpenOptions::new().write(true).open(path).map_err(failed)?;
            return Self::stream(Box::new(stream), &path.display().to_string());
        }
        let real = real_path(path).map_err(failed)?;
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&real)
            .map_err(failed)?;
        if !acquire(&file, wait).map_err(failed)? {
            return Err(CsvFileError::Locked {
                path: path.to_owned(),
            });
        }
        let inode = identity(&file.metadata().map_err(failed)?);
        // Another run may have put another file there while this one waited.
        let there = std::fs::metadata(&real).map_err(failed)?;
        if identity(&there) != inode {
            return Err(CsvFileError::Locked {
                path: path.to_owned(),
            });
        }
        let header = header().into_bytes();
        let whole = whole_lines(&file, &header).map_err(failed)?;
        let whole = whole.ok_or_else(|| CsvFileError::OtherHeader {
            path: path.to_owned(),
        })?;
        file.set_len(whole).map_err(failed)?;
        let mut file = AppendFile::new(file, real, inode, whole);
        let mut begin = || {
            if whole == 0 {
                file.write(&header)?;
                file.sync(header.len() as u64)
            } else {
                // What stands there already may never have reached the disk.
                file.sync(0)
            }
        };
        begin().map_err(|e| failed(io::Error::other(e)))?;
        sync_folder(&file.path).map_err(failed)?;
        Ok(Self(To::File(file)))
    }

    /// A stream, such as stdout. It gets the header first.
    ///
    /// # Errors
    ///
    /// [`CsvFileError::NotWritable`].
    pub fn stream(mut stream: Box<dyn Write + Send>, name: &str) -> Result<Self, CsvFileError> {
        let written = stream
            .write_all(header().as_bytes())
            .and_then(|()| stream.flush());
        written.map_err(|source| CsvFileError::NotWritable {
            path: name.into(),
            source,
        })?;
        let name = name.to_owned();
        Ok(Self(To::Stream { stream, name }))
    }

    /// Its name for messages.
    #[must_use]
    pub fn name(&self) -> String {
        match &self.0 {
            To::File(file) => file.path.display().to_string(),
            To::Stream { name, .. } => name.clone(),
        }
    }

    /// Appends whole lines, each made by [`line()`]. Blocks until they are on the disk; a stream is flushed.
    ///
    /// # Errors
    ///
    /// [`SinkError::Full`] where the disk is: nothing was appended, and the same lines may be given again. A stream
    /// that failed stays failed: what of the lines went out is not known.
    pub fn deliver(&mut self, lines: &[u8]) -> Result<(), SinkError> {
        match &mut self.0 {
            To::File(file) => {
                file.check_untouched()?;
                file.write(lines)?;
                file.sync(lines.len() as u64)
            }
            To::Stream { stream, name } => {
                let written = stream.write_all(lines).and_then(|()| stream.flush());
                written.map_err(|e| SinkError::Fatal {
                    what: format!("{name}: the output stream cannot be written: {e}"),
                })
            }
        }
    }
}

/// How many bytes of a file are whole lines under our header, line breaks in quotes counted as text; `None` where
/// it begins otherwise. A header that was cut short counts as nothing.
fn whole_lines(mut file: &File, header: &[u8]) -> io::Result<Option<u64>> {
    let mut block = vec![0; BLOCK];
    file.seek(SeekFrom::Start(0))?;
    let mut place: u64 = 0;
    let mut whole = 0;
    let mut in_quotes = false;
    loop {
        let many = match file.read(&mut block) {
            Ok(0) => break,
            Ok(many) => many,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
            Err(e) => return Err(e),
        };
        for &byte in &block[..many] {
            let expected = usize::try_from(place).ok().and_then(|n| header.get(n));
            if expected.is_some_and(|expected| *expected != byte) {
                return Ok(None);
            }
            place += 1;
            match byte {
                b'"' => in_quotes = !in_quotes,
                b'\n' if !in_quotes => whole = place,
                _ => {}
            }
        }
    }
    Ok(Some(whole))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use jiff::Timestamp;
    use serde_json::value::RawValue;

    use super::*;
    use crate::job::{ErrorClass, RESULT_COLUMNS};

    fn open(path: &Path) -> Result<CsvFile, CsvFileError> {
        CsvFile::open(path, Duration::ZERO)
    }

    fn rejected() -> Outcome {
        let now = Timestamp::from_millisecond(1_700_000_000_000).unwrap();
        Outcome::rejected(ErrorClass::InvalidRequest, "no, \"really\"".into(), now)
    }

    fn about<'a>(id: &'a str, meta: Option<&'a RawValue>) -> About<'a> {
        About {
            id: Some(id),
            job: Some("hcaptcha"),
            meta,
            ..About::default()
        }
    }

    #[test]
    fn a_line_reads_back_as_what_it_was() {
        let meta: Box<RawValue> =
            serde_json::from_str("{\"a\": \"x\\n\",\r\n \"n\":12345678901234567890}").unwrap();
        let mut text = header().into_bytes();
        text.extend(line(about("r,1", Some(&meta)), &rejected()));
        text.extend(line(About::default(), &rejected()));
        let mut reader = ::csv::Reader::from_reader(&text[..]);
        let names: Vec<String> = reader
            .headers()
            .unwrap()
            .iter()
            .map(str::to_owned)
            .collect();
        assert_eq!(names[..3], COLUMNS);
        assert_eq!(names[3..], RESULT_COLUMNS);
        let rows: Vec<_> = reader.records().map(Result::unwrap).collect();
        let shown = "{\"a\": \"x\\n\",   \"n\":12345678901234567890}";
        assert_eq!(
            (&rows[0][0], &rows[0][1], &rows[0][2], &rows[0][3]),
            ("r,1", "hcaptcha", shown, "rejected")
        );
        assert_eq!((&rows[1][0], &rows[1][1], &rows[1][2]), ("", "", ""));
        assert_eq!(text.iter().filter(|b| **b == b'\n').count(), 3);
    }

    #[test]
    fn a_file_is_made_for_its_owner_and_gone_on_with() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("out.csv");
        let mut file = open(&path).unwrap();
        assert_eq!(
            std::fs::metadata(&path).unwrap().permissions().mode() & 0o777,
            0o600
        );
        file.deliver(b"r1,x\n").unwrap();
        // One writer at a time, by whatever name.
        std::os::unix::fs::symlink(&path, dir.path().join("link.csv")).unwrap();
        for name in ["out.csv", "link.csv"] {
            let error = open(&dir.path().join(name)).unwrap_err();
            assert!(matches!(error, CsvFileError::Locked { .. }), "{error}");
        }
        drop(file);
        let mut file = open(&dir.path().join("link.csv")).unwrap();
        file.deliver(b"r2,y\n").unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        assert_eq!(text, header() + "r1,x\nr2,y\n");
    }

    #[test]
    fn what_a_killed_process_left_of_a_line_is_cut_off() {
        let header = header();
        for (left, kept) in [
            ("", ""),
            ("r1,\"a", ""),
            ("r1,x", ""),
            ("r1,x\n", "r1,x\n"),
            ("r1,x\nr2", "r1,x\n"),
            // A line break in quotes ends no line.
            ("r1,x\nr2,\"a\n", "r1,x\n"),
            ("r1,x\nr2,\"a\n\"", "r1,x\n"),
            ("r1,\"a\n\"\"b\"\nr2", "r1,\"a\n\"\"b\"\n"),
            // A power cut left the length without the data.
            ("r1,x\n\0\0\0\0", "r1,x\n"),
        ] {
            let dir = tempfile::tempdir().unwrap();
            let path = dir.path().join("out.csv");
            std::fs::write(&path, header.clone() + left).unwrap();
            open(&path).unwrap().deliver(b"new\n").unwrap();
            let text = std::fs::read_to_string(&path).unwrap();
            assert_eq!(text, format!("{header}{kept}new\n"), "{left:?}");
        }
        // Killed before the header was whole.
        for many in [0, 1, header.len() - 1] {
            let dir = tempfile::tempdir().unwrap();
            let path = dir.path().join("out.csv");
            std::fs::write(&path, &header[..many]).unwrap();
            open(&path).unwrap().deliver(b"new\n").unwrap();
            let text = std::fs::read_to_string(&path).unwrap();
            assert_eq!(text, format!("{header}new\n"), "{many}");
        }
    }

    #[test]
    fn a_long_file_is_looked_through() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("out.csv");
        let lines = format!("r,\"{}\n\"\n", "x".repeat(1000)).repeat(2000);
        std::fs::write(&path, header() + &lines + "torn").unwrap();
        drop(open(&path).unwrap());
        let length = std::fs::metadata(&path).unwrap().len();
        assert_eq!(length, (header().len() + lines.len()) as u64);
    }

    #[test]
    fn a_file_of_anything_else_is_not_touched() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("out.csv");
        for text in ["x", "id,job,meta,note\n", "\n", &header()[1..]] {
            std::fs::write(&path, text).unwrap();
            let error = open(&path).unwrap_err();
            assert!(matches!(error, CsvFileError::OtherHeader { .. }), "{error}");
            assert!(
                error.to_string().contains("id,job,meta,status,token"),
                "{error}"
            );
            assert_eq!(std::fs::read_to_string(&path).unwrap(), text);
        }
        let error = open(&dir.path().join("none/out.csv")).unwrap_err();
        assert!(matches!(error, CsvFileError::NotWritable { .. }), "{error}");
        let error = open(dir.path()).unwrap_err();
        assert!(matches!(error, CsvFileError::NotWritable { .. }), "{error}");
    }

    #[test]
    fn what_another_hand_did_is_not_written_over() {
        for deed in ["append", "replace", "delete"] {
            let dir = tempfile::tempdir().unwrap();
            let path = dir.path().join("out.csv");
            let mut file = open(&path).unwrap();
            match deed {
                "append" => std::fs::write(&path, header() + "mine\n").unwrap(),
                "replace" => {
                    std::fs::write(dir.path().join("new"), header()).unwrap();
                    std::fs::rename(dir.path().join("new"), &path).unwrap();
                }
                _ => std::fs::remove_file(&path).unwrap(),
            }
            let before = std::fs::read(&path).ok();
            let error = file.deliver(b"r1\n").unwrap_err();
            assert!(matches!(error, SinkError::Fatal { .. }), "{deed}: {error}");
            assert_eq!(std::fs::read(&path).ok(), before, "{deed}");
        }
    }

    #[test]
    fn a_stream_gets_the_header_and_every_line_at_once() {
        let (mut reader, writer) = io::pipe().unwrap();
        let mut file = CsvFile::stream(Box::new(writer), "stdout").unwrap();
        file.deliver(b"r1\n").unwrap();
        let mut text = vec![0; header().len() + 3];
        reader.read_exact(&mut text).unwrap();
        assert_eq!(text, (header() + "r1\n").as_bytes());
        drop(reader);
        let error = file.deliver(b"r2\n").unwrap_err();
        assert!(matches!(error, SinkError::Fatal { .. }), "{error}");
    }

    /// `/dev/full` is a disk without room.
    #[test]
    fn a_full_disk_may_be_tried_again() {
        let full = File::options()
            .read(true)
            .write(true)
            .open("/dev/full")
            .unwrap();
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("out.csv");
        let mut file = open(&path).unwrap();
        let To::File(inner) = &mut file.0 else {
            panic!("it is a file")
        };
        let ours = std::mem::replace(&mut inner.handle, full);
        let before = std::fs::read(&path).unwrap();
        let write = inner.write(b"r1\n").unwrap_err();
        assert!(matches!(write, SinkError::Full { .. }), "{write}");
        inner.handle = ours;
        file.deliver(b"r1\n").unwrap();
        assert_eq!(
            std::fs::read(&path).unwrap(),
            [&before[..], b"r1\n"].concat()
        );
    }
}
