//! What is in hand: in memory, or, where it waits among very many, in the journal alone.
//!
//! What must stay true: only what the journal has in full is let go of, and it is read back before anything
//! is recorded of it; a batch that is passed again finds in memory what it found there at first.

use crate::backlog::{Answer, BacklogError, Record, Ticket};
use crate::job::State;

use super::claim::unreadable;
use super::journal::{NewJob, Stored};
use super::{CsvBacklog, InHand};

impl InHand {
    /// A job of the journal's.
    pub(super) fn stored(stored: Stored, seq: u32) -> Self {
        Self {
            job: NewJob {
                id: stored.id,
                fields: stored.fields,
                kind: Some(stored.kind),
                request: None,
            },
            seq: Some(seq),
            row: stored.row,
            replaces: stored.replaces,
            progress: stored.progress,
            last: None,
        }
    }
}

impl CsvBacklog {
    /// Takes a request in hand that the journal has as waiting for its job.
    pub(super) fn hold_waiting(&mut self, ticket: Ticket, in_hand: InHand) {
        match in_hand.seq {
            Some(seq) if self.jobs.len() >= self.forgets_beyond => {
                self.in_journal.insert(ticket, seq);
            }
            _ => {
                self.jobs.insert(ticket, in_hand);
            }
        }
    }

    /// Reads back what a batch is about, and what of it is to be created again.
    pub(super) fn recall(
        &mut self,
        batch: &[(Ticket, Record)],
    ) -> Result<Vec<Answer>, BacklogError> {
        let mut answers = Vec::with_capacity(batch.len());
        for (ticket, record) in batch {
            if let Some(&seq) = self.in_journal.get(ticket) {
                let stored = self.read_back(seq)?;
                self.in_journal.remove(ticket);
                self.jobs.insert(*ticket, InHand::stored(stored, seq));
            }
            let seq = self.jobs.get(ticket).and_then(|job| job.seq);
            answers.push(match (record, seq) {
                (Record::Retry { .. }, Some(seq)) => {
                    let Stored {
                        id, kind, request, ..
                    } = self.read_back(seq)?;
                    match self.judge.judge_stored(id, &kind, &request) {
                        Ok(request) => Answer::Recalled(Box::new(request)),
                        // It was good before, and what it is judged by does not change in a run.
                        Err(_) => Answer::Done,
                    }
                }
                _ => Answer::Done,
            });
        }
        Ok(answers)
    }

    fn read_back(&self, seq: u32) -> Result<Stored, BacklogError> {
        self.journal
            .job(seq)
            .map_err(|e| unreadable(&self.journal, &e))
    }

    /// Lets go of what the batch before this one made wait. What this one did stays: it may be passed again.
    pub(super) fn let_go(&mut self, batch: &[(Ticket, Record)]) {
        let created = batch
            .iter()
            .filter(|(_, record)| matches!(record, Record::Created(_)))
            .map(|(ticket, _)| *ticket)
            .collect();
        let before = std::mem::replace(&mut self.created, created);
        for ticket in before {
            if self.jobs.len() <= self.forgets_beyond {
                return;
            }
            let is_waiting = |job: &InHand| job.progress.state == State::Waiting;
            if !self.created.contains(&ticket)
                && let Some(job) = self.jobs.get(&ticket)
                && let (true, Some(seq)) = (is_waiting(job), job.seq)
            {
                self.jobs.remove(&ticket);
                self.in_journal.insert(ticket, seq);
            }
        }
    }
}
