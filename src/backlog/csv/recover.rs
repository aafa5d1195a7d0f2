//! The output's end, held against the journal at start.
//!
//! What must stay true: a byte is cut off or written only where it is certain that nobody but a killed run
//! of ours wrote there. Everything else is told to the user, and nothing is changed.
//!
//! Beyond the checkpoint may stand, of the lines that were committed and not yet known to be durable:
//!
//! | found | done |
//! | --- | --- |
//! | a beginning of them (nothing, some, all) | it stays, the rest is written |
//! | a beginning, then NUL bytes, together no longer than they are | the NULs are cut, the rest is written: a power cut left the length without the data |
//! | anything else | [`OpenError::OutputChanged`] |

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::Duration;

use super::crash::Crash;
use super::journal::{Checkpoint, Journal};
use super::output::{OutputFile, Tail};
use super::{OpenError, lock};
use crate::sink::file::{create_new, identity, sync_folder};

/// What the bytes beyond the checkpoint are.
#[derive(Debug, PartialEq, Eq)]
enum Beyond {
    /// So many bytes of the pending lines stand there; anything after them is to be cut.
    Ours(usize),
    /// The pending lines, and so many bytes that are not ours.
    Extended(usize),
    /// Bytes that are not ours.
    Edited,
}

/// Judges what stands beyond the checkpoint.
fn judge(beyond: &[u8], pending: &[u8]) -> Beyond {
    let same = beyond
        .iter()
        .zip(pending)
        .take_while(|(a, b)| a == b)
        .count();
    if same == beyond.len() {
        return Beyond::Ours(same);
    }
    if same == pending.len() {
        return Beyond::Extended(beyond.len() - same);
    }
    if beyond.len() <= pending.len() && beyond[same..].iter().all(|b| *b == 0) {
        return Beyond::Ours(same);
    }
    Beyond::Edited
}

/// Finds how many bytes of the output (`None`: it is gone) are ours: the checkpoint's, and those of `pending`
/// that stand after them. Changes nothing.
///
/// # Errors
///
/// [`OpenError::OutputChanged`] where the file is not what we left.
pub(super) fn inspect(
    path: &Path,
    file: Option<&File>,
    at: &Checkpoint,
    pending: &[u8],
) -> Result<u64, OpenError> {
    let changed = |found: String| OpenError::OutputChanged {
        output: path.to_owned(),
        found,
    };
    let failed = |e: io::Error| OpenError::not_writable(path, e);
    let file = file.ok_or_else(|| changed("it is gone".to_owned()))?;
    let meta = file.metadata().map_err(failed)?;
    if identity(&meta) != at.file {
        return Err(changed(
            "another file stands in its place (copied back, or saved anew by an editor)".to_owned(),
        ));
    }
    if meta.len() < at.length {
        return Err(changed(format!(
            "it is shorter by {} bytes",
            at.length - meta.len()
        )));
    }
    if Tail::read(file, at.length).map_err(failed)?.hash() != at.tail {
        return Err(changed("it was edited near its end".to_owned()));
    }
    // Enough to tell: what is longer than the pending lines is not ours anyway.
    let extra = (meta.len() - at.length).min(pending.len() as u64 + 1);
    let mut beyond = vec![0; usize::try_from(extra).unwrap_or_default()];
    file.read_exact_at(&mut beyond, at.length).map_err(failed)?;
    match judge(&beyond, pending) {
        Beyond::Ours(same) => Ok(at.length + same as u64),
        Beyond::Extended(_) => {
            let more = meta.len() - at.length - pending.len() as u64;
            Err(changed(format!("it was extended by {more} bytes")))
        }
        Beyond::Edited => Err(changed(format!(
            "{} bytes stand at its end that are not ours",
            meta.len() - at.length
        ))),
    }
}

/// Goes on with the output where the journal says, or makes it. Gives back the file and the last line in it.
pub(super) fn continue_output(
    journal: &Journal,
    path: &Path,
    file: Option<File>,
    wait: Duration,
    crash: &mut Crash,
) -> Result<(OutputFile, i64), OpenError> {
    let failed = |e| OpenError::Recovery(journal.error(e));
    let io_failed = |e| OpenError::not_writable(path, e);
    let at = journal.checkpoint("checkpoint").map_err(failed)?;
    let outbox = journal.outbox().map_err(failed)?;
    let last = outbox
        .last()
        .map(|(out_seq, _)| *out_seq)
        .or(at.map(|at| at.out_seq))
        .unwrap_or_default();
    let pending: Vec<u8> = outbox.into_iter().flat_map(|(_, line)| line).collect();
    // Nothing was written before the first checkpoint, which knows of an empty file.
    let nothing = at.is_none_or(|at| at.length == 0);
    let (file, at) = match (file, at) {
        (Some(file), Some(at)) => (file, at),
        (None, Some(_)) if !nothing => {
            return Err(OpenError::OutputChanged {
                output: path.to_owned(),
                found: "it is gone".to_owned(),
            });
        }
        (file, _) => {
            let file = match file {
                Some(file) if file.metadata().map_err(io_failed)?.len() == 0 => file,
                Some(_) => {
                    let found = "it holds something, and nothing was written to it yet".to_owned();
                    return Err(OpenError::OutputChanged {
                        output: path.to_owned(),
                        found,
                    });
                }
                None => create_new(path).map_err(io_failed)?,
            };
            if !lock::acquire(&file, wait).map_err(io_failed)? {
                return Err(OpenError::Locked {
                    what: path.to_owned(),
                });
            }
            sync_folder(path).map_err(io_failed)?;
            let file_identity = identity(&file.metadata().map_err(io_failed)?);
            let tail = *blake3::hash(b"").as_bytes();
            let at = Checkpoint {
                length: 0,
                file: file_identity,
                tail,
                out_seq: -1,
            };
            let mut batch = journal.batch().map_err(failed)?;
            batch.checkpoint(&at).map_err(failed)?;
            batch.commit().map_err(failed)?;
            (file, at)
        }
    };
    let ours = inspect(path, Some(&file), &at, &pending)?;
    if file.metadata().map_err(io_failed)?.len() > ours {
        file.set_len(ours).map_err(io_failed)?;
    }
    // What stands there already may never have reached the disk.
    file.sync_all().map_err(io_failed)?;
    let mut output = OutputFile::new(file, path.to_owned(), ours).map_err(io_failed)?;
    let there = usize::try_from(ours - at.length).unwrap_or(pending.len());
    if there < pending.len() {
        output.append(&pending[there..], crash)?;
    }
    let mut batch = journal.batch().map_err(failed)?;
    batch.checkpoint(&output.checkpoint(last)).map_err(failed)?;
    batch.trim_outbox(last).map_err(failed)?;
    batch.commit().map_err(failed)?;
    Ok((output, last))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_end_that_a_file_may_have() {
        let pending = b"r1,x\nr2,y\n";
        for (beyond, verdict) in [
            (&b""[..], Beyond::Ours(0)),
            (b"r1,", Beyond::Ours(3)),
            (b"r1,x\nr2,y\n", Beyond::Ours(10)),
            (b"r1,x\n\0\0\0", Beyond::Ours(5)),
            (b"\0\0\0\0\0\0\0\0\0\0", Beyond::Ours(0)),
            (b"r1,x\n\0\0\0\0\0\0", Beyond::Edited),
            (b"r1,x\n\0\0z", Beyond::Edited),
            (b"r1,z\n", Beyond::Edited),
            (b"r1,x\nr2,y\n\0", Beyond::Extended(1)),
            (b"r1,x\nr2,y\nr3,z\n", Beyond::Extended(5)),
        ] {
            assert_eq!(
                judge(beyond, pending),
                verdict,
                "{:?}",
                String::from_utf8_lossy(beyond)
            );
        }
        assert_eq!(judge(b"x", b""), Beyond::Extended(1));
    }

    #[test]
    fn what_was_found_is_told() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("o");
        let file = create_new(&path).unwrap();
        file.write_all_at(b"0123456789", 0).unwrap();
        let meta = file.metadata().unwrap();
        let at = Checkpoint {
            length: 10,
            file: identity(&meta),
            tail: Tail::read(&file, 10).unwrap().hash(),
            out_seq: 3,
        };
        let found =
            |at: &Checkpoint| match inspect(&path, File::open(&path).ok().as_ref(), at, b"ab") {
                Ok(length) => length.to_string(),
                Err(OpenError::OutputChanged { found, .. }) => found,
                Err(e) => panic!("{e}"),
            };
        assert_eq!(found(&at), "10");
        file.write_all_at(b"a", 10).unwrap();
        assert_eq!(found(&at), "11");
        file.write_all_at(b"abcd", 10).unwrap();
        assert_eq!(found(&at), "it was extended by 2 bytes");
        file.set_len(7).unwrap();
        assert_eq!(found(&at), "it is shorter by 3 bytes");
        file.write_all_at(b"xyz", 7).unwrap();
        assert_eq!(found(&at), "it was edited near its end");
        assert!(found(&Checkpoint { file: (0, 0), ..at }).contains("another file"));
        std::fs::remove_file(&path).unwrap();
        assert_eq!(found(&at), "it is gone");
    }
}
