//! The input: a file that is read twice, or a stream that is read once.
//!
//! What must stay true: a file is claimed from the very bytes that were checked, up to the length it had
//! then, through one descriptor (a file that was replaced meanwhile does not matter, rows appended
//! meanwhile are for the next run). A stream is read by a thread of its own, so that a pipe with nothing
//! in it holds up nothing else; the thread ends with the stream.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Take};
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::time::Duration;

use super::OpenError;
use super::reader::{ReadFault, Reader, SniffFault, Sniffed, sniff};
use super::row::Row;

/// Where requests come from.
pub enum CsvInput {
    /// A file. What is no regular file (a FIFO) is read as a stream.
    File(PathBuf),
    /// A stream, such as stdin.
    Stream {
        /// Its name for messages, such as `stdin`.
        name: String,
        /// The stream.
        source: Box<dyn Read + Send>,
    },
}

impl std::fmt::Debug for CsvInput {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::File(path) => write!(f, "File({})", path.display()),
            Self::Stream { name, .. } => write!(f, "Stream({name})"),
        }
    }
}

/// Rows read ahead of a stream. Few, since each may be large.
const READ_AHEAD: usize = 16;
/// How long a claim that has nothing yet waits for a stream's next row.
const PATIENCE: Duration = Duration::from_millis(20);

type FileReader = Reader<Sniffed<Take<File>>>;

enum Rows {
    File {
        file: File,
        len: u64,
        reader: FileReader,
    },
    Stream(Receiver<Result<Option<Row>, ReadFault>>),
}

/// What [`Input::next`] brought.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// A row.
    Row,
    /// Nothing, for now.
    NotYet,
    /// The end.
    End,
}

/// An input whose header was read.
pub(super) struct Input {
    pub(super) name: String,
    pub(super) delimiter: u8,
    /// The header, as a row.
    pub(super) header: Row,
    rows: Rows,
    ended: bool,
}

impl Input {
    /// Opens an input and reads its header. Blocks until a stream has brought one.
    pub(super) fn open(input: CsvInput, delimiter: Option<u8>) -> Result<Self, OpenError> {
        match input {
            CsvInput::Stream { name, source } => Self::open_stream(name, source, delimiter),
            CsvInput::File(path) => {
                let name = path.display().to_string();
                let cannot = |e| OpenError::InputUnreadable {
                    file: name.clone(),
                    why: "cannot be read".to_owned(),
                    source: Some(e),
                };
                let file = File::open(&path).map_err(cannot)?;
                let meta = file.metadata().map_err(cannot)?;
                if meta.is_dir() {
                    return Err(OpenError::unreadable(&name, "is a folder"));
                }
                if !meta.is_file() {
                    return Self::open_stream(name, Box::new(file), delimiter);
                }
                let len = meta.len();
                let (reader, header) =
                    begin(&name, limited(&file, len).map_err(cannot)?, delimiter)?;
                let delimiter = reader.delimiter();
                Ok(Self {
                    name,
                    delimiter,
                    header,
                    rows: Rows::File { file, len, reader },
                    ended: false,
                })
            }
        }
    }

    fn open_stream(
        name: String,
        source: Box<dyn Read + Send>,
        delimiter: Option<u8>,
    ) -> Result<Self, OpenError> {
        let (mut reader, header) = begin(&name, source, delimiter)?;
        let delimiter = reader.delimiter();
        let (sender, receiver) = sync_channel(READ_AHEAD);
        std::thread::spawn(move || {
            loop {
                let mut row = Row::default();
                let read = reader.read(&mut row);
                let is_last = !matches!(read, Ok(true));
                // Nobody listens any more where the run ended before its input did.
                if sender
                    .send(read.map(|is_row| is_row.then_some(row)))
                    .is_err()
                    || is_last
                {
                    return;
                }
            }
        });
        Ok(Self {
            name,
            delimiter,
            header,
            rows: Rows::Stream(receiver),
            ended: false,
        })
    }

    /// Whether it is read twice.
    pub(super) fn is_file(&self) -> bool {
        matches!(self.rows, Rows::File { .. })
    }

    /// Reads the next row. Where a stream has none, it waits an instant only if `patient`.
    pub(super) fn next(&mut self, row: &mut Row, patient: bool) -> Result<Next, ReadFault> {
        if self.ended {
            return Ok(Next::End);
        }
        let got = match &mut self.rows {
            Rows::File { reader, .. } => reader.read(row)?,
            Rows::Stream(rows) => {
                match rows.recv_timeout(if patient { PATIENCE } else { Duration::ZERO }) {
                    Ok(Ok(Some(next))) => {
                        *row = next;
                        true
                    }
                    Ok(Ok(None)) => false,
                    Ok(Err(fault)) => return Err(fault),
                    Err(RecvTimeoutError::Timeout) => return Ok(Next::NotYet),
                    Err(RecvTimeoutError::Disconnected) => {
                        return Err(ReadFault::Io(std::io::Error::other(
                            "its reader ended early",
                        )));
                    }
                }
            }
        };
        self.ended = !got;
        Ok(if got { Next::Row } else { Next::End })
    }

    /// Goes back to the first row of a file.
    pub(super) fn rewind(&mut self) -> Result<(), OpenError> {
        if let Rows::File { file, len, reader } = &mut self.rows {
            let source = limited(file, *len).map_err(|e| OpenError::InputUnreadable {
                file: self.name.clone(),
                why: "cannot be read again".to_owned(),
                source: Some(e),
            })?;
            *reader = begin(&self.name, source, Some(self.delimiter))?.0;
            self.ended = false;
        }
        Ok(())
    }

    /// The file's identity, to tell it from the output: device and inode.
    pub(super) fn identity(&self) -> Option<(u64, u64)> {
        match &self.rows {
            Rows::File { file, .. } => file.metadata().ok().map(|m| (m.dev(), m.ino())),
            Rows::Stream(_) => None,
        }
    }
}

fn limited(file: &File, len: u64) -> std::io::Result<Take<File>> {
    let mut again = file.try_clone()?;
    again.seek(SeekFrom::Start(0))?;
    Ok(again.take(len))
}

/// Reads the header.
fn begin<R: Read>(
    name: &str,
    source: R,
    delimiter: Option<u8>,
) -> Result<(Reader<Sniffed<R>>, Row), OpenError> {
    let mut reader = sniff(source, delimiter).map_err(|fault| match fault {
        SniffFault::Io(e) => OpenError::InputUnreadable {
            file: name.to_owned(),
            why: "cannot be read".to_owned(),
            source: Some(e),
        },
        SniffFault::Empty => {
            OpenError::unreadable(name, "is empty; its first line must name the columns")
        }
        SniffFault::Utf16 => OpenError::unreadable(name, "is UTF-16; save it as UTF-8"),
        SniffFault::TooLong => {
            OpenError::unreadable(name, "the first line is longer than 1 MiB, and no header")
        }
    })?;
    let mut header = Row::default();
    match reader.read(&mut header) {
        Ok(true) => Ok((reader, header)),
        Ok(false) => Err(OpenError::unreadable(
            name,
            "is empty; its first line must name the columns",
        )),
        Err(ReadFault::TooLong { .. }) => Err(OpenError::unreadable(
            name,
            "the first line is longer than 1 MiB, and no header",
        )),
        Err(ReadFault::Io(e)) => Err(OpenError::InputUnreadable {
            file: name.to_owned(),
            why: "cannot be read".to_owned(),
            source: Some(e),
        }),
    }
}
