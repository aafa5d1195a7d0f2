//! Exit codes: a contract with scripts and cron, written down here and nowhere else.

use crate::engine::{StopReason, Tally};

/// Why the process ends, as a number. Those from 65 on are sysexits' and the shell's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum ExitCode {
    /// Every row that settled was solved; also: nothing to do.
    Success = 0,
    /// Finished; some rows that settled failed or were rejected.
    SomeFailed = 1,
    /// The command line is wrong.
    Usage = 2,
    /// Stopped early by a limit; the same command goes on.
    Limit = 3,
    /// Bad input; nothing was sent.
    BadInput = 65,
    /// The service or Redis is unreachable.
    Unavailable = 69,
    /// Input/output: not writable, changed by another hand, disk full, damaged journal.
    Io = 74,
    /// Another run holds the lock.
    Locked = 75,
    /// Not authorised: sites that are not listed, or the account.
    NotAuthorized = 77,
    /// Configuration, or no account token.
    Config = 78,
    /// SIGINT.
    Interrupted = 130,
    /// SIGTERM.
    Terminated = 143,
}

impl ExitCode {
    /// All of them, with the words that help shows.
    pub const ALL: &[(Self, &str)] = &[
        (
            Self::Success,
            "every row that settled was solved, or there was nothing to do",
        ),
        (
            Self::SomeFailed,
            "finished; some rows failed or were rejected",
        ),
        (Self::Usage, "usage"),
        (
            Self::Limit,
            "stopped early by a limit (spend, run time, failures, empty balance)",
        ),
        (Self::BadInput, "bad input, nothing was sent"),
        (Self::Unavailable, "service or Redis unreachable"),
        (
            Self::Io,
            "input/output: not writable, changed by another hand, disk full, damaged journal",
        ),
        (Self::Locked, "another run holds the lock"),
        (
            Self::NotAuthorized,
            "not authorised: a site that is not listed, or the account",
        ),
        (Self::Config, "configuration, no account token"),
        (Self::Interrupted, "stopped by SIGINT, resumable"),
        (Self::Terminated, "stopped by SIGTERM, resumable"),
    ];

    /// The code of a run that ended for `stop`, with these counts.
    #[must_use]
    pub fn of_run(stop: &StopReason, tally: &Tally) -> Self {
        use crate::backlog::BacklogError;
        match stop {
            StopReason::Done if tally.failed + tally.rejected > 0 => Self::SomeFailed,
            StopReason::Done => Self::Success,
            StopReason::MaxSpend
            | StopReason::MaxRuntime
            | StopReason::MaxFailures
            | StopReason::NoBalance(_) => Self::Limit,
            // Five refusals in a row that nothing explains are taken for a fault of the account, too.
            StopReason::BadToken(_) | StopReason::Blocked(_) | StopReason::Refusals(_) => {
                Self::NotAuthorized
            }
            StopReason::Unreachable(_)
            | StopReason::LongPause(_)
            | StopReason::BacklogAway(_)
            | StopReason::Backlog(BacklogError::Away { .. }) => Self::Unavailable,
            StopReason::Interrupted => Self::Interrupted,
            StopReason::Terminated => Self::Terminated,
            StopReason::CannotRecord(_)
            | StopReason::Backlog(BacklogError::Retryable { .. } | BacklogError::Fatal { .. }) => {
                Self::Io
            }
            StopReason::Backlog(BacklogError::BadInput(_)) => Self::BadInput,
        }
    }
}

impl From<ExitCode> for std::process::ExitCode {
    fn from(code: ExitCode) -> Self {
        (code as u8).into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_numbers_of_the_contract() {
        let numbers: Vec<_> = ExitCode::ALL.iter().map(|(code, _)| *code as u8).collect();
        assert_eq!(numbers, [0, 1, 2, 3, 65, 69, 74, 75, 77, 78, 130, 143]);
    }

    #[test]
    fn a_run_that_finished_tells_whether_all_was_solved() {
        let tally = |failed, rejected| Tally {
            solved: 5,
            failed,
            rejected,
            ..Tally::default()
        };
        assert_eq!(
            ExitCode::of_run(&StopReason::Done, &tally(0, 0)),
            ExitCode::Success
        );
        assert_eq!(
            ExitCode::of_run(&StopReason::Done, &tally(1, 0)),
            ExitCode::SomeFailed
        );
        assert_eq!(
            ExitCode::of_run(&StopReason::Done, &tally(0, 1)),
            ExitCode::SomeFailed
        );
        // A limit outweighs failures: the run is not over.
        assert_eq!(
            ExitCode::of_run(&StopReason::MaxSpend, &tally(1, 0)),
            ExitCode::Limit
        );
    }
}
