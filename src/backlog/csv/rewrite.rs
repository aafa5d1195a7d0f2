//! A new file in the output's place, without a moment at which there is none.
//!
//! What must stay true: at every instant the path leads to a whole output, the old one or the new one, and
//! the journal knows which of both it may be:
//!
//! 1. `OUTPUT.rewrite` is written and synced;
//! 2. the journal takes down what is about to be renamed (`rewrite`: inode, length, hash);
//! 3. rename, and the folder is synced;
//! 4. the checkpoint becomes that file's, and what was folded in is dropped.
//!
//! After a kill: the output is the inode of step 2, then step 4 follows; the rewrite file is, then steps 3 and
//! 4; neither, then the intent is void. A file `OUTPUT.rewrite` is always ours.

use std::fs::{File, OpenOptions, Permissions};
use std::io::{self, BufWriter, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::OptionalExtension;
use tokio::time::Instant;

use crate::backlog::BacklogError;

use super::OpenError;
use super::crash::Crash;
use super::header::text;
use super::journal::{Checkpoint, Journal, beside, int};
use super::lock;
use super::output::{OutputFile, Tail};
use super::reader::{ReadFault, Reader};
use super::recover::inspect;
use super::row::Row;
use crate::sink::file::{create_new, identity, sync_folder};

/// The file that is about to become the output.
pub(super) fn rewrite_path(output: &Path) -> PathBuf {
    beside(output, ".rewrite")
}

/// How often an output is rewritten while a run goes on: for a twentieth of the time at most.
#[derive(Debug)]
pub(super) struct Pace {
    not_before: Option<Instant>,
}

/// Least time between two rewrites.
const LEAST_PAUSE: Duration = Duration::from_millis(50);

impl Pace {
    pub(super) fn new() -> Self {
        Self { not_before: None }
    }

    /// Whether a rewrite may begin now. A pause that is as good as over is waited for, so that an outcome is
    /// seen soon also where nothing follows it.
    pub(super) fn is_due(&self) -> bool {
        let Some(not_before) = self.not_before else {
            return true;
        };
        let left = not_before.saturating_duration_since(Instant::now());
        if left > LEAST_PAUSE {
            return false;
        }
        std::thread::sleep(left);
        true
    }

    /// Takes note of a rewrite that began then and has ended now.
    pub(super) fn note(&mut self, began: Instant) {
        let now = Instant::now();
        self.not_before = Some(now + ((now - began) * 20).max(LEAST_PAUSE));
    }
}

/// Writes a new output, which `fill` gets the old one for, and puts it in the old one's place.
/// `folds`: the last of the replacements that are in it.
pub(super) fn replace(
    journal: &Journal,
    output: &mut OutputFile,
    out_seq: i64,
    folds: i64,
    crash: &mut Crash,
    fill: impl FnOnce(&File, u64, &mut Copy) -> Result<(), BacklogError>,
) -> Result<(), BacklogError> {
    output.file.check_untouched()?;
    let path = rewrite_path(&output.file.path);
    let failed = |source| BacklogError::Retryable {
        what: format!("{}: cannot be written", path.display()),
        source,
    };
    remove_stray(&path).map_err(failed)?;
    let file = create_new(&path).map_err(failed)?;
    let written = write(file, output, fill, failed);
    let (file, copied) = match written {
        Ok(written) => written,
        Err(e) => {
            let _ = std::fs::remove_file(&path);
            return Err(e);
        }
    };
    crash.at("after-rewrite-file")?;
    let identity = identity(&file.metadata().map_err(failed)?);
    let intent = Checkpoint {
        length: copied.length,
        file: identity,
        tail: copied.tail.hash(),
        out_seq,
    };
    set_intent(journal, &intent, folds).map_err(|e| journal.error(e))?;
    crash.at("after-intent")?;
    if let Err(e) =
        std::fs::rename(&path, &output.file.path).and_then(|()| sync_folder(&output.file.path))
    {
        // Which of both the folder holds is for the next start to find out.
        return Err(BacklogError::Fatal {
            what: format!("{}: cannot be replaced: {e}", output.file.path.display()),
        });
    }
    crash.at("after-rename")?;
    let path = std::mem::take(&mut output.file.path);
    *output = OutputFile::adopt(file, path, identity, copied.length, copied.tail);
    finish(journal, &intent, folds).map_err(|e| match journal.error(e) {
        // The checkpoint is the old file's still: only a new start may go on.
        BacklogError::Retryable { what, source } => BacklogError::Fatal {
            what: format!("{what}: {source}"),
        },
        other => other,
    })
}

fn write(
    file: File,
    output: &OutputFile,
    fill: impl FnOnce(&File, u64, &mut Copy) -> Result<(), BacklogError>,
    failed: impl Fn(io::Error) -> BacklogError,
) -> Result<(File, Written), BacklogError> {
    // Whom the user let in stays let in as far as the owner goes; tokens are for nobody else.
    let mode = output.file.handle.metadata().map_err(&failed)?.mode() & 0o700 | 0o600;
    file.set_permissions(Permissions::from_mode(mode))
        .map_err(&failed)?;
    let mut copy = Copy {
        to: BufWriter::with_capacity(1 << 16, file),
        written: Written::default(),
    };
    fill(&output.file.handle, output.file.length, &mut copy)?;
    let Copy { to, written } = copy;
    let file = to.into_inner().map_err(|e| failed(e.into_error()))?;
    file.sync_all().map_err(&failed)?;
    if !lock::acquire(&file, Duration::ZERO).map_err(&failed)? {
        return Err(failed(io::Error::from(io::ErrorKind::WouldBlock)));
    }
    Ok((file, written))
}

/// What was written of a new file.
#[derive(Default)]
struct Written {
    length: u64,
    tail: Tail,
}

/// A new output that is being written.
pub(super) struct Copy {
    to: BufWriter<File>,
    written: Written,
}

impl Copy {
    /// Writes bytes.
    pub(super) fn push(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.to.write_all(bytes)?;
        self.written.length += bytes.len() as u64;
        self.written.tail.push(bytes);
        Ok(())
    }

    /// Writes bytes of the old output.
    pub(super) fn copy(&mut self, old: &File, mut start: u64, end: u64) -> io::Result<()> {
        use std::os::unix::fs::FileExt;
        let mut buffer = [0; 1 << 14];
        while start < end {
            let want = usize::try_from(end - start)
                .unwrap_or(usize::MAX)
                .min(buffer.len());
            old.read_exact_at(&mut buffer[..want], start)?;
            self.push(&buffer[..want])?;
            start += want as u64;
        }
        Ok(())
    }
}

/// Reads an output's own lines.
pub(super) fn lines(old: &File, length: u64, delimiter: u8) -> io::Result<Reader<io::Take<File>>> {
    // The descriptor's position is shared; whoever writes names the place.
    let mut again = old.try_clone()?;
    again.seek(SeekFrom::Start(0))?;
    Ok(Reader::new(again.take(length), delimiter))
}

/// A fault in reading our own output back.
pub(super) fn unreadable(output: &Path, fault: ReadFault) -> BacklogError {
    match fault {
        ReadFault::Io(source) => BacklogError::Retryable {
            what: format!("{}: cannot be read", output.display()),
            source,
        },
        ReadFault::TooLong { line } => BacklogError::Fatal {
            what: format!("{}:{line}: a line of more than 1 MiB", output.display()),
        },
    }
}

/// Puts the lines of `replacement` in the places of their ids' older ones.
pub(super) fn fold(
    journal: &Journal,
    output: &mut OutputFile,
    out_seq: i64,
    (id_column, delimiter): (usize, u8),
    crash: &mut Crash,
) -> Result<(), BacklogError> {
    let failed = |e| journal.error(e);
    let folds: Option<i64> = journal
        .db
        .query_row("SELECT max(n) FROM replacement", [], |row| row.get(0))
        .map_err(failed)?;
    let Some(folds) = folds else { return Ok(()) };
    let path = output.file.path.clone();
    replace(
        journal,
        output,
        out_seq,
        folds,
        crash,
        |old, length, copy| {
            let io_failed = |source| BacklogError::Retryable {
                what: format!("{}: cannot be rewritten", path.display()),
                source,
            };
            let mut select = journal
                .db
                .prepare("SELECT n, line FROM replacement WHERE id = ?1")
                .map_err(failed)?;
            let mut reader = lines(old, length, delimiter).map_err(io_failed)?;
            let mut row = Row::default();
            let mut folded = std::collections::HashSet::new();
            let mut copied = 0;
            let mut is_header = true;
            while reader
                .read(&mut row)
                .map_err(|fault| unreadable(&path, fault))?
            {
                if std::mem::take(&mut is_header) {
                    continue;
                }
                let Some(id) = row.get(id_column).and_then(text) else {
                    continue;
                };
                let found: Option<(i64, Vec<u8>)> = select
                    .query_row([id], |row| Ok((row.get(0)?, row.get(1)?)))
                    .optional()
                    .map_err(failed)?;
                if let Some((n, line)) = found {
                    copy.copy(old, copied, row.span.0).map_err(io_failed)?;
                    // Of two lines of one id, which only another hand can have made, one becomes the new one.
                    if folded.insert(n) {
                        copy.push(&line).map_err(io_failed)?;
                    }
                    copied = row.span.1;
                }
            }
            copy.copy(old, copied, length).map_err(io_failed)?;
            // An older line that another hand has taken out does not take the outcome with it.
            let mut all = journal
                .db
                .prepare("SELECT n, line FROM replacement ORDER BY n")
                .map_err(failed)?;
            let mut rows = all.query([]).map_err(failed)?;
            while let Some(row) = rows.next().map_err(failed)? {
                let n: i64 = row.get(0).map_err(failed)?;
                if !folded.contains(&n) {
                    let line: Vec<u8> = row.get(1).map_err(failed)?;
                    copy.push(&line).map_err(io_failed)?;
                }
            }
            Ok(())
        },
    )
}

fn set_intent(journal: &Journal, intent: &Checkpoint, folds: i64) -> rusqlite::Result<()> {
    let mut batch = journal.batch()?;
    batch.execute(
        "INSERT OR REPLACE INTO rewrite (one, length, dev, inode, tail, out_seq, folds) VALUES (1, ?1, ?2, ?3, ?4, ?5, ?6)",
        rusqlite::params![
            int(intent.length),
            intent.file.0.cast_signed(),
            intent.file.1.cast_signed(),
            intent.tail,
            intent.out_seq,
            folds
        ],
    )?;
    batch.commit()
}

/// Step 4.
fn finish(journal: &Journal, intent: &Checkpoint, folds: i64) -> rusqlite::Result<()> {
    let mut batch = journal.batch()?;
    batch.checkpoint(intent)?;
    batch.trim_outbox(intent.out_seq)?;
    batch.execute("DELETE FROM replacement WHERE n <= ?1", [folds])?;
    batch.execute("DELETE FROM rewrite", [])?;
    batch.commit()
}

fn remove_stray(path: &Path) -> io::Result<()> {
    match std::fs::remove_file(path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e),
        _ => Ok(()),
    }
}

/// Ends a rewrite that a kill has cut off. `file` is the output, open and locked; where another takes its
/// place, that one is given back, open and locked.
pub(super) fn recover(
    journal: &Journal,
    output: &Path,
    file: Option<File>,
) -> Result<Option<File>, OpenError> {
    let failed = |e| OpenError::Recovery(journal.error(e));
    let io_failed = |e| OpenError::not_writable(output, e);
    let path = rewrite_path(output);
    let Some(intent) = journal.checkpoint("rewrite").map_err(failed)? else {
        remove_stray(&path).map_err(io_failed)?;
        return Ok(file);
    };
    let folds: i64 = journal
        .db
        .query_row("SELECT folds FROM rewrite", [], |row| row.get(0))
        .map_err(failed)?;
    if let Some(file) = &file
        && identity(&file.metadata().map_err(io_failed)?) == intent.file
    {
        sync_folder(output).map_err(io_failed)?;
        finish(journal, &intent, folds).map_err(failed)?;
    } else if let Ok(new) = OpenOptions::new().read(true).write(true).open(&path)
        && identity(&new.metadata().map_err(io_failed)?) == intent.file
        && let Some(at) = journal.checkpoint("checkpoint").map_err(failed)?
    {
        // Only a file that is ours is replaced.
        let pending: Vec<u8> = journal
            .outbox()
            .map_err(failed)?
            .into_iter()
            .flat_map(|(_, line)| line)
            .collect();
        inspect(output, file.as_ref(), &at, &pending)?;
        let is_whole = new.metadata().map_err(io_failed)?.len() == intent.length
            && Tail::read(&new, intent.length).map_err(io_failed)?.hash() == intent.tail;
        // It was synced before the intent was: else another hand was there.
        if is_whole && lock::acquire(&new, Duration::ZERO).map_err(io_failed)? {
            std::fs::rename(&path, output)
                .and_then(|()| sync_folder(output))
                .map_err(io_failed)?;
            finish(journal, &intent, folds).map_err(failed)?;
            return Ok(Some(new));
        }
    }
    journal
        .db
        .execute("DELETE FROM rewrite", [])
        .map_err(failed)?;
    remove_stray(&path).map_err(io_failed)?;
    Ok(file)
}
