//! How far a request is, and how a record moves it on: the pure core of the journal.
//!
//! What must stay true: [`Progress::after`] is the only place where a state or a count changes, and
//! refuses what [`State::after`] refuses.

use crate::backlog::{History, Record, Waiting};
use crate::job::{Micros, Outcome, RemoteId, State, Transition};

/// What the journal knows of a request that moves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Progress {
    pub(super) state: State,
    pub(super) history: History,
    /// Crashes in a row between `begin` and an answer.
    pub(super) crashes: u32,
    /// The job that exists, while waiting.
    pub(super) waiting: Option<Waiting>,
    /// The last job made for it.
    pub(super) remote_id: Option<RemoteId>,
    /// Reserved by the create that was begun. Not recorded: what a crash leaves counts as spent.
    pub(super) reserved: Micros,
}

/// What a record changed beside the request: the run's counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Delta {
    pub(super) creates: i64,
    pub(super) unknown_creates: i64,
    pub(super) retries: i64,
    pub(super) spend: i64,
}

/// A record that cannot follow: a bug of ours.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Illegal {
    pub(super) from: State,
    pub(super) transition: Transition,
}

impl Default for Progress {
    fn default() -> Self {
        Self::queued(History::default())
    }
}

impl Progress {
    /// A request to be created, with what was done for it before.
    pub(super) fn queued(history: History) -> Self {
        Self {
            state: State::Queued,
            history,
            crashes: 0,
            waiting: None,
            remote_id: None,
            reserved: Micros::ZERO,
        }
    }

    /// The progress after a record, and what it adds to the run's counts.
    pub(super) fn after(&self, record: &Record) -> Result<(Self, Delta), Illegal> {
        let mut next = self.clone();
        let history = &mut next.history;
        if let Some(transition) = transition(record) {
            next.state = self.state.after(transition).ok_or(Illegal {
                from: self.state,
                transition,
            })?;
        }
        let mut retries = 0;
        match record {
            Record::Begin { reserve, .. } => {
                history.creates = history.creates.saturating_add(1);
                history.spent += *reserve;
                next.reserved = *reserve;
            }
            Record::Withdraw => {
                history.creates = history.creates.saturating_sub(1);
                history.spent = history.spent - next.reserved;
                next.crashes = 0;
            }
            Record::Unknown => {
                history.unknown_creates = history.unknown_creates.saturating_add(1);
                next.crashes = 0;
            }
            Record::Created(waiting) => {
                next.remote_id = Some(waiting.remote_id.clone());
                next.waiting = Some(waiting.clone());
                next.crashes = 0;
            }
            Record::Retry { refund, polls } => {
                retries = 1;
                history.failed_attempts = history.failed_attempts.saturating_add(1);
                history.spent = history.spent - *refund;
                history.polls = history.polls.saturating_add(*polls);
            }
            Record::Finish {
                outcome,
                refund,
                unknown_create,
            } => {
                history.spent = history.spent - *refund;
                history.unknown_creates = history
                    .unknown_creates
                    .saturating_add(u32::from(*unknown_create));
                history.polls = outcome.polls;
            }
            Record::Release { polls, .. } => history.polls = history.polls.saturating_add(*polls),
        }
        if next.state != State::Waiting {
            next.waiting = None;
        }
        let delta = Delta {
            creates: i64::from(next.history.creates) - i64::from(self.history.creates),
            unknown_creates: i64::from(next.history.unknown_creates)
                - i64::from(self.history.unknown_creates),
            retries,
            spend: next.history.spent.0.saturating_sub(self.history.spent.0),
        };
        Ok((next, delta))
    }
}

/// The transition that a record is; a release is none.
fn transition(record: &Record) -> Option<Transition> {
    Some(match record {
        Record::Begin { .. } => Transition::Begin,
        Record::Withdraw => Transition::Withdraw,
        Record::Unknown => Transition::Unknown,
        Record::Created(_) => Transition::Created,
        Record::Retry { .. } => Transition::Retry,
        Record::Finish { .. } => Transition::Finish,
        Record::Release { .. } => return None,
    })
}

/// What tells a record from another one of the same request. A record that equals the last one of its
/// request is a repeat: no transition is legal twice in a row, so it can be nothing else.
pub(super) fn fingerprint(record: &Record) -> u64 {
    use std::hash::{BuildHasher, Hash, Hasher};

    use foldhash::quality::FixedState;
    use secrecy::ExposeSecret;

    let mut hasher = FixedState::default().build_hasher();
    std::mem::discriminant(record).hash(&mut hasher);
    match record {
        Record::Begin { reserve, at } => (reserve, at).hash(&mut hasher),
        Record::Withdraw | Record::Unknown => {}
        Record::Created(Waiting {
            remote_id,
            submitted_at,
            deadline,
        }) => {
            (remote_id, submitted_at, deadline).hash(&mut hasher);
        }
        Record::Retry { refund, polls } => (refund, polls).hash(&mut hasher),
        Record::Finish {
            outcome,
            refund,
            unknown_create,
        } => {
            let Outcome {
                status,
                token,
                error,
                message,
                attempts,
                polls,
                finished_at,
                cost,
                ..
            } = &**outcome;
            token.as_ref().map(|t| t.expose_secret()).hash(&mut hasher);
            (status, error, message, attempts, polls).hash(&mut hasher);
            (finished_at, cost, refund, unknown_create).hash(&mut hasher);
        }
        Record::Release { polls, .. } => polls.hash(&mut hasher),
    }
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use std::time::Duration;

    use super::*;

    fn begin() -> Record {
        Record::Begin {
            reserve: Micros(1000),
            at: Timestamp::UNIX_EPOCH,
        }
    }

    fn created() -> Record {
        let at = Timestamp::UNIX_EPOCH;
        Record::Created(Waiting {
            remote_id: RemoteId::number("7").unwrap(),
            submitted_at: at,
            deadline: at,
        })
    }

    fn run(records: &[Record]) -> (Progress, Delta) {
        let mut sum = Delta::default();
        let mut progress = Progress::default();
        for record in records {
            let (next, delta) = progress.after(record).unwrap();
            sum.creates += delta.creates;
            sum.unknown_creates += delta.unknown_creates;
            sum.retries += delta.retries;
            sum.spend += delta.spend;
            progress = next;
        }
        (progress, sum)
    }

    #[test]
    fn a_withdrawn_create_never_was() {
        let (progress, delta) = run(&[begin(), Record::Withdraw]);
        assert_eq!(progress.history, History::default());
        assert_eq!(delta, Delta::default());
    }

    #[test]
    fn an_unknown_create_stays_counted_and_paid() {
        let (progress, delta) = run(&[begin(), Record::Unknown, begin()]);
        assert_eq!(
            (delta.creates, delta.unknown_creates, delta.spend),
            (2, 1, 2000)
        );
        assert_eq!(progress.state, State::Submitting);
    }

    #[test]
    fn a_failed_solve_is_paid_back_and_tried_again() {
        let retry = Record::Retry {
            refund: Micros(1000),
            polls: 4,
        };
        let (progress, delta) = run(&[begin(), created(), retry, begin(), created()]);
        assert_eq!(progress.history.failed_attempts, 1);
        assert_eq!(progress.history.polls, 4);
        assert_eq!((delta.creates, delta.retries, delta.spend), (2, 1, 1000));
        assert!(progress.waiting.is_some());
    }

    #[test]
    fn only_crashes_in_a_row_count() {
        for end in [Record::Withdraw, Record::Unknown, created()] {
            let crashed = Progress {
                crashes: 19,
                ..run(&[begin()]).0
            };
            assert_eq!(crashed.after(&end).unwrap().0.crashes, 0);
        }
    }

    #[test]
    fn what_the_state_machine_refuses_is_refused() {
        let illegal = run(&[begin()]).0.after(&begin()).unwrap_err();
        assert_eq!(
            illegal,
            Illegal {
                from: State::Submitting,
                transition: Transition::Begin
            }
        );
    }

    #[test]
    fn a_fingerprint_tells_records_apart() {
        let all = [
            begin(),
            Record::Withdraw,
            Record::Unknown,
            created(),
            Record::Release {
                polls: 1,
                delay: Duration::ZERO,
            },
            Record::Release {
                polls: 2,
                delay: Duration::ZERO,
            },
        ];
        let prints: std::collections::HashSet<u64> = all.iter().map(fingerprint).collect();
        assert_eq!(prints.len(), all.len());
        assert_eq!(fingerprint(&created()), fingerprint(&created()));
    }
}
