//! Why a run on a file cannot begin, as an exit code and a word on what to do.

use super::{ExitCode, Failure};
use crate::backlog::{InputReport, OpenError};
use crate::job::Problem;

impl From<OpenError> for Failure {
    fn from(error: OpenError) -> Self {
        let code = match &error {
            OpenError::BadInput(report) => return bad_input(report),
            OpenError::InputUnreadable { .. } => ExitCode::BadInput,
            OpenError::Locked { .. } => ExitCode::Locked,
            OpenError::SimulatedMismatch { .. } | OpenError::UnknownKind { .. } => ExitCode::Config,
            OpenError::Usage(_) => ExitCode::Usage,
            _ => ExitCode::Io,
        };
        Self::new(code, error)
    }
}

/// The failure for an input that is not good: its problems, one a line, and how many there are.
pub(super) fn bad_input(report: &InputReport) -> Failure {
    let not_spoken = report
        .problems
        .iter()
        .any(|row| matches!(row.problem, Problem::NotSpoken { .. }));
    let (code, hint) = if not_spoken {
        let hint = "choose another --protocol, or give the kind a [protocol.…] section and each of its columns a `wire` name, as jobs/recaptcha-v2.toml in the source has them, in a file of --jobs DIR";
        (ExitCode::Config, hint)
    } else if report.only_authorization {
        let hint = "list the sites with --authorized-site or in [authorization] sites, if you may test them";
        (ExitCode::NotAuthorized, hint)
    } else if report.header_problems > 0 {
        (
            ExitCode::BadInput,
            "the header names the columns; jobs/sample.csv in the source is an example",
        )
    } else {
        (
            ExitCode::BadInput,
            "mend the rows, or run the others with --skip-bad-rows",
        )
    };
    let problems = match report.problem_count {
        1 => "1 problem".to_owned(),
        n => format!("{n} problems"),
    };
    Failure::new(
        code,
        format!("{problems} in {}; nothing was sent", report.file),
    )
    .findings(report)
    .hint(hint)
}
