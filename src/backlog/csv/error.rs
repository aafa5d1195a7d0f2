//! Why a run on a CSV file cannot begin.

use std::io;
use std::path::{Path, PathBuf};

use crate::backlog::BacklogError;

use super::report::InputReport;

/// Why a CSV backlog cannot be opened. Every message names the file and says what to do; no create was
/// sent. The exit code of each is given with it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// 65, or 77 where `only_authorization`: rows or the header are not acceptable.
    #[error("{0}")]
    BadInput(Box<InputReport>),
    /// 65: the input cannot be read as a CSV file at all.
    #[error("{file}: {why}")]
    InputUnreadable {
        /// The file as the user named it.
        file: String,
        /// What is the matter.
        why: String,
        /// The cause, where it is one of the system's.
        #[source]
        source: Option<io::Error>,
    },
    /// 75: another run works on this journal or this output.
    #[error("{}: another run holds its lock; wait for it to end, or give --lock-wait 1m", what.display())]
    Locked {
        /// The journal or the output.
        what: PathBuf,
    },
    /// 74: an output that no journal tells of is never written to.
    #[error(
        "{}: it exists, and its journal {} does not; nothing is overwritten: name another output, give the journal with \
         --journal, or move the file away with --fresh",
        output.display(), journal.display()
    )]
    OutputWithoutJournal {
        /// The output.
        output: PathBuf,
        /// Where its journal would be.
        journal: PathBuf,
    },
    /// 74: the output is not what the journal says.
    #[error(
        "{}: changed by another hand since the last run: {found}; nothing was changed: put it back as it was, or begin \
         anew with --fresh (which moves it to .bak)",
        output.display()
    )]
    OutputChanged {
        /// The output.
        output: PathBuf,
        /// What was found.
        found: String,
    },
    /// 74: a file of ours cannot be made or written.
    #[error("{}: cannot be written", what.display())]
    NotWritable {
        /// The file.
        what: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// 74: the journal cannot be read.
    #[error("{}: the journal is damaged or cannot be used: {why}; restore it from a copy, or begin anew with --fresh", journal.display())]
    DamagedJournal {
        /// The journal.
        journal: PathBuf,
        /// What SQLite said.
        why: String,
    },
    /// 74: the file at the journal's place is no journal that this version can use.
    #[error("{}: {why}", journal.display())]
    ForeignJournal {
        /// The file.
        journal: PathBuf,
        /// What it is, and what to do.
        why: String,
    },
    /// 74: `--fresh` would forget jobs that are paid.
    #[error(
        "{}: {count} jobs are in flight and paid; run again without --fresh to get their results, or give up on them \
         with --abandon-paid",
        journal.display()
    )]
    PaidJobsInFlight {
        /// The journal.
        journal: PathBuf,
        /// How many.
        count: u64,
    },
    /// 78: simulated and real results never mix.
    #[error(
        "{}: its results are {}, this run's would not be; name another output, or begin anew with --fresh",
        journal.display(), if *journal_is_simulated { "simulated" } else { "real" }
    )]
    SimulatedMismatch {
        /// The journal.
        journal: PathBuf,
        /// Whether the journal's results are.
        journal_is_simulated: bool,
    },
    /// 78: jobs in flight are of a kind that is not known now.
    #[error("{}: jobs in flight are of kind `{kind}`, which is not known; give its folder with --jobs", journal.display())]
    UnknownKind {
        /// The journal.
        journal: PathBuf,
        /// The kind.
        kind: String,
    },
    /// 2: settings that do not go together.
    #[error("{0}")]
    Usage(String),
    /// 74: something failed while the last run's traces were put in order.
    #[error(transparent)]
    Recovery(#[from] BacklogError),
}

impl OpenError {
    pub(super) fn not_writable(what: &Path, source: io::Error) -> Self {
        Self::NotWritable {
            what: what.to_owned(),
            source,
        }
    }

    pub(super) fn unreadable(file: &str, why: impl Into<String>) -> Self {
        Self::InputUnreadable {
            file: file.to_owned(),
            why: why.into(),
            source: None,
        }
    }
}
