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

use super::OpenError;
use super::journal::Checkpoint;
use super::output::{Tail, identity};

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

#[cfg(test)]
mod tests {
    use super::super::output::create_new;
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
