//! stdout and stderr of verbs that are no run. A reader that went away (`| head`) is no fault.

use std::io::{self, Write};

use super::{ExitCode, Failure};

/// Writes what was asked for to stdout.
///
/// # Errors
///
/// Where stdout cannot be written, other than for want of a reader.
pub(super) fn out(text: &str) -> Result<(), Failure> {
    let mut stdout = io::stdout().lock();
    match stdout
        .write_all(text.as_bytes())
        .and_then(|()| stdout.flush())
    {
        Err(e) if e.kind() != io::ErrorKind::BrokenPipe => {
            Err(Failure::new(ExitCode::Io, e).hint("stdout cannot be written"))
        }
        _ => Ok(()),
    }
}

/// Tells people something, on stderr.
pub(super) fn note(text: &str) {
    let _ = io::stderr().lock().write_all(text.as_bytes());
}
