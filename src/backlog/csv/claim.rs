//! Claims: which row comes next, and what it is known by.
//!
//! What must stay true: jobs in flight are handed out before any row; a row that has its outcome, or whose
//! job is in flight, is never handed out from the input; a row is handed out once in a process. A claim that
//! fails loses nothing: what was read stays for the next one.

use std::time::Duration;

use jiff::Timestamp;
use tokio::time::Instant;

use crate::backlog::{BacklogError, Claim, Claimed, Resume, Supply, Ticket, Waiting};
use crate::job::{ErrorClass, Outcome, Problem, RemoteId, Request, State};

use super::check::too_long;
use super::header::Fault;
use super::input::Next;
use super::journal::{Journal, NewJob};
use super::judge::stored_values;
use super::known::Standing;
use super::progress::Progress;
use super::reader::ReadFault;
use super::report::RowProblem;
use super::resolve::Resolved;
use super::row::Row;
use super::{CsvBacklog, InHand};

/// A claim that goes past rows that are done lets go after this time: records wait for it.
const LONGEST_CLAIM: Duration = Duration::from_millis(20);
/// A stream that has nothing for now is asked again after this time.
const CLAIM_AGAIN: Duration = Duration::from_millis(50);
/// Rows between two looks at the clock.
const ROWS_BETWEEN_LOOKS: u32 = 256;

/// A row, or a stored request, that is to be settled as rejected.
#[derive(Debug)]
pub(super) struct Reject {
    pub(super) job: NewJob,
    /// Its number in the journal, if it is there.
    pub(super) seq: Option<u32>,
    pub(super) row: Vec<u8>,
    pub(super) replaces: bool,
    pub(super) progress: Progress,
    pub(super) outcome: Outcome,
    /// Its line went to the stream already.
    pub(super) is_streamed: bool,
}

impl CsvBacklog {
    pub(super) fn claim_rows(&mut self, max: usize) -> Result<Claimed, BacklogError> {
        self.deliver_if_due()?;
        self.adopt(max)?;
        let began = Instant::now();
        let mut row = Row::default();
        let mut rows_read = 0_u32;
        let mut supply = Supply::More;
        while self.ready.len() + self.rejects.len() + self.told.len() < max
            && self.to_adopt.is_empty()
            && !self.exhausted
        {
            match self.read(&mut row)? {
                Next::Row => self.take(&row)?,
                Next::NotYet => {
                    supply = Supply::NotYet(CLAIM_AGAIN);
                    break;
                }
                Next::End => self.exhausted = true,
            }
            if self.left == Some(0) {
                self.exhausted = true;
            }
            rows_read += 1;
            if rows_read.is_multiple_of(ROWS_BETWEEN_LOOKS) && began.elapsed() > LONGEST_CLAIM {
                break;
            }
        }
        self.settle_rejects()?;
        let many = self.ready.len().min(max);
        let jobs: Vec<Claim> = self.ready.drain(..many).collect();
        if self.exhausted && self.ready.is_empty() && self.to_adopt.is_empty() {
            supply = Supply::Exhausted;
        }
        Ok(Claimed {
            jobs,
            settled: std::mem::take(&mut self.told),
            in_doubt: 0,
            supply,
        })
    }

    fn read(&mut self, row: &mut Row) -> Result<Next, BacklogError> {
        let name = self.input.name.clone();
        // What is in hand already is not held up by what may come.
        let patient = self.ready.is_empty() && self.rejects.is_empty() && self.told.is_empty();
        let next = self.input.next(row, patient).map_err(|fault| match fault {
            ReadFault::Io(e) => BacklogError::BadInput(format!("{name}: cannot be read on: {e}")),
            ReadFault::TooLong { line } => BacklogError::BadInput(place(&name, line, too_long())),
        })?;
        match next {
            Next::Row if self.input.is_file() => self.unread = self.unread.saturating_sub(1),
            Next::Row => self.counts.rows = Some(self.counts.rows.unwrap_or_default() + 1),
            Next::End if self.unread > 0 => {
                let why = format!(
                    "{name}: it became shorter by {} rows while it was read",
                    self.unread
                );
                self.unread = 0;
                return Err(BacklogError::BadInput(why));
            }
            Next::End | Next::NotYet => {}
        }
        Ok(next)
    }

    /// Hands out jobs in flight, first of all.
    fn adopt(&mut self, max: usize) -> Result<(), BacklogError> {
        while self.ready.len() + self.rejects.len() < max {
            let Some(&seq) = self.to_adopt.front() else {
                return Ok(());
            };
            let stored = self
                .journal
                .job(seq)
                .map_err(|e| unreadable(&self.journal, &e))?;
            self.to_adopt.pop_front();
            let judged = self
                .judge
                .judge_stored(stored.id.clone(), &stored.kind, &stored.request);
            let mut in_hand = InHand::stored(stored, seq);
            match (judged, in_hand.progress.waiting.clone()) {
                (Ok(request), Some(waiting)) => {
                    let waiting = self.on_this_clock(waiting);
                    in_hand.progress.waiting = Some(waiting.clone());
                    self.hand_out(request, Resume::Waiting(waiting), in_hand);
                }
                (Err(problem), _) => {
                    let outcome = self.rejection(&problem, &in_hand.progress);
                    self.rejects.push(Reject {
                        job: in_hand.job,
                        seq: Some(seq),
                        row: in_hand.row,
                        replaces: in_hand.replaces,
                        progress: in_hand.progress,
                        outcome,
                        is_streamed: false,
                    });
                }
                // It is waiting, so it has a job.
                (Ok(_), None) => {}
            }
        }
        Ok(())
    }

    /// A deadline of another run's. A clock that was set back since does not stretch it.
    fn on_this_clock(&self, waiting: Waiting) -> Waiting {
        let budget = waiting.submitted_at.duration_until(waiting.deadline);
        let latest = self
            .now()
            .saturating_add(budget)
            .unwrap_or(waiting.deadline);
        Waiting {
            deadline: waiting.deadline.min(latest),
            ..waiting
        }
    }

    /// The outcome of a request that is not sent, or not sent any more.
    fn rejection(&self, problem: &Problem, progress: &Progress) -> Outcome {
        Outcome {
            remote_id: progress.remote_id.clone(),
            attempts: progress.history.creates,
            polls: progress.history.polls,
            submitted_at: progress.waiting.as_ref().map(|w| w.submitted_at),
            cost: progress.history.spent,
            ..Outcome::rejected(problem.class(), problem.to_string(), self.now())
        }
    }

    fn hand_out(&mut self, request: Request, resume: Resume, in_hand: InHand) {
        let ticket = Ticket(self.next_ticket);
        self.next_ticket += 1;
        let history = in_hand.progress.history;
        if let Resume::Waiting(_) = resume {
            self.hold_waiting(ticket, in_hand);
        } else {
            self.jobs.insert(ticket, in_hand);
        }
        self.ready.push_back(Claim {
            ticket,
            request,
            history,
            resume,
            not_after: None,
        });
    }

    /// Takes a row of the input.
    fn take(&mut self, row: &Row) -> Result<(), BacklogError> {
        let resolved = self.resolve(row)?;
        if let Some(places) = &mut self.places {
            let id = resolved.id();
            places
                .push(&self.journal.db, id.as_str())
                .map_err(|e| unreadable(&self.journal, &e))?;
        }
        match resolved {
            Resolved::Skip { .. } => return Ok(()),
            Resolved::Go { id, known } => {
                let request = self.judge.judge(row).request.map_err(|fault| {
                    BacklogError::BadInput(place(&self.input.name, row.line, fault))
                })?;
                let request = request.with_id(id);
                let (progress, replaces) = match known {
                    None => (Progress::default(), false),
                    Some((seq, standing)) => self.earlier(seq, standing)?,
                };
                let (fields, kind) = (request.fields_hash(), request.kind().name.clone());
                let job = NewJob {
                    id: request.id().clone(),
                    fields: Some(fields),
                    kind: Some(kind),
                    request: Some(stored_values(&request)),
                };
                let cells = self.layout.row(row, request.id(), Some(&request));
                self.hand_out(
                    request,
                    Resume::Queued,
                    InHand {
                        job,
                        seq: known.map(|(seq, _)| seq),
                        row: cells,
                        replaces,
                        progress,
                        last: None,
                    },
                );
            }
            Resolved::Reject { id, fault, known } => {
                if !self.skip_bad_rows {
                    let what = place(&self.input.name, row.line, fault);
                    return Err(BacklogError::BadInput(format!(
                        "{what}; the file was changed while it was read"
                    )));
                }
                let (progress, replaces) = match known {
                    None => (Progress::default(), false),
                    Some(seq) => self.earlier(seq, Standing::Open)?,
                };
                let cells = self.layout.row(row, &id, None);
                let mut outcome = self.rejection(&fault.problem, &progress);
                if let Some(column) = &fault.column
                    && fault.problem.column().is_none()
                {
                    outcome.message = format!("{}: {}", column.escape_debug(), outcome.message);
                }
                let job = NewJob {
                    id,
                    fields: None,
                    kind: None,
                    request: None,
                };
                self.rejects.push(Reject {
                    job,
                    seq: known,
                    row: cells,
                    replaces,
                    progress,
                    outcome,
                    is_streamed: false,
                });
            }
        }
        self.left = self.left.map(|left| left.saturating_sub(1));
        Ok(())
    }

    /// What was done for a row before, and whether a line of it stands in the output.
    fn earlier(&self, seq: u32, standing: Standing) -> Result<(Progress, bool), BacklogError> {
        let stored = self
            .journal
            .job(seq)
            .map_err(|e| unreadable(&self.journal, &e))?;
        if standing != Standing::Failed {
            return Ok((stored.progress, stored.replaces));
        }
        let mut history = stored.progress.history;
        history.failed_attempts = 0;
        Ok((
            Progress {
                remote_id: stored.progress.remote_id,
                ..Progress::queued(history)
            },
            true,
        ))
    }

    /// Reads the rows that were not claimed, for the order of the output.
    pub(super) fn place_the_rest(&mut self) -> Result<(), BacklogError> {
        let mut row = Row::default();
        // A stream would have to be waited for.
        while self.input.is_file() && self.read(&mut row)? == Next::Row {
            let resolved = self.resolve(&row)?;
            if let Some(places) = &mut self.places {
                places
                    .push(&self.journal.db, resolved.id().as_str())
                    .map_err(|e| unreadable(&self.journal, &e))?;
            }
        }
        Ok(())
    }
}

/// The outcome of a request that crashes have left without an answer.
pub(super) fn crash_outcome(progress: &Progress, error: ErrorClass, now: Timestamp) -> Outcome {
    debug_assert_eq!(progress.state, State::Submitting);
    let message = match error {
        ErrorClass::CrashLimit => format!(
            "the run was killed {} times in a row while creating it",
            progress.crashes
        ),
        _ => "the run was killed while creating it; a job may exist".to_owned(),
    };
    let remote_id: Option<RemoteId> = progress.remote_id.clone();
    Outcome {
        status: crate::job::Status::Failed,
        remote_id,
        attempts: progress.history.creates,
        polls: progress.history.polls,
        cost: progress.history.spent,
        ..Outcome::rejected(error, message, now)
    }
}

/// The row at hand was read and is not handed out: the run must not go on as if it were.
pub(super) fn unreadable(journal: &Journal, e: &rusqlite::Error) -> BacklogError {
    BacklogError::Fatal {
        what: format!("{}: cannot be read: {e}", journal.name()),
    }
}

pub(super) fn place(file: &str, line: u64, fault: Fault) -> String {
    let Fault {
        column, problem, ..
    } = fault;
    RowProblem {
        file: file.to_owned(),
        line,
        column,
        problem,
    }
    .to_string()
}
