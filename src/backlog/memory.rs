//! A backlog in memory, for tests: the simplest thing that keeps the promises of [`Backlog`], so it
//! serves as the model that others are held against, and lets the engine run without files.
//!
//! Its [`Store`] outlives a killed engine as a disk would.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;

use jiff::Timestamp;

use crate::job::{ErrorClass, Micros, Outcome, Request, State, Status, Transition};

use super::{
    Answer, Backlog, BacklogError, Claim, Claimed, History, Record, Resume, Supply, Ticket, Waiting,
};

/// What survives.
#[derive(Debug, Default)]
pub(crate) struct Store {
    pub(crate) entries: Vec<Entry>,
    /// Records that were applied, over all lives.
    pub(crate) applied: usize,
}

/// A request and what became of it.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) request: Request,
    pub(crate) state: State,
    pub(crate) history: History,
    pub(crate) waiting: Option<Waiting>,
    pub(crate) outcomes: Vec<Outcome>,
    pub(crate) not_after: Option<Timestamp>,
}

/// One life of the backlog.
pub(crate) struct MemoryBacklog {
    store: Rc<RefCell<Store>>,
    unclaimed: VecDeque<usize>,
    /// The disk is full for so many more calls of `record`.
    pub(crate) full_for: usize,
    /// Records that can still be applied before the disk breaks; the one after them is lost.
    pub(crate) breaks_after: Option<usize>,
}

impl Store {
    pub(crate) fn new(requests: Vec<Request>) -> Rc<RefCell<Self>> {
        let entry = |request| Entry {
            request,
            state: State::Queued,
            history: History::default(),
            waiting: None,
            outcomes: Vec::new(),
            not_after: None,
        };
        let entries = requests.into_iter().map(entry).collect();
        Rc::new(RefCell::new(Self {
            entries,
            applied: 0,
        }))
    }

    pub(crate) fn count(&self, status: Status) -> usize {
        self.entries
            .iter()
            .flat_map(|e| &e.outcomes)
            .filter(|o| o.status == status)
            .count()
    }

    pub(crate) fn errors(&self) -> Vec<ErrorClass> {
        self.entries
            .iter()
            .flat_map(|e| &e.outcomes)
            .filter_map(|o| o.error)
            .collect()
    }

    pub(crate) fn sum(&self, what: impl Fn(&History) -> u32) -> u32 {
        self.entries.iter().map(|e| what(&e.history)).sum()
    }

    pub(crate) fn spent(&self) -> Micros {
        self.entries.iter().map(|e| e.history.spent).sum()
    }
}

impl MemoryBacklog {
    /// A new life: what was being submitted is in doubt and goes back to the queue.
    pub(crate) fn open(store: &Rc<RefCell<Store>>) -> Self {
        let mut unclaimed = VecDeque::new();
        for (n, entry) in store.borrow_mut().entries.iter_mut().enumerate() {
            match entry.state {
                State::Submitting => {
                    entry.history.unknown_creates += 1;
                    entry.state = State::Queued;
                    unclaimed.push_back(n);
                }
                State::Queued => unclaimed.push_back(n),
                State::Waiting => unclaimed.push_front(n),
                State::Settled => {}
            }
        }
        Self {
            store: Rc::clone(store),
            unclaimed,
            full_for: 0,
            breaks_after: None,
        }
    }

    fn recalled(&self, ticket: Ticket) -> Answer {
        let n = usize::try_from(ticket.0).expect("a ticket is an index");
        let request = self.store.borrow().entries[n].request.clone();
        Answer::Recalled(Box::new(request))
    }

    fn apply(&mut self, ticket: Ticket, record: &Record) -> Result<(), BacklogError> {
        let mut store = self.store.borrow_mut();
        store.applied += 1;
        let n = usize::try_from(ticket.0).expect("a ticket is an index");
        let entry = &mut store.entries[n];
        let transition = match record {
            Record::Begin { .. } => Transition::Begin,
            Record::Withdraw => Transition::Withdraw,
            Record::Unknown => Transition::Unknown,
            Record::Created(_) => Transition::Created,
            Record::Retry { .. } => Transition::Retry,
            Record::Finish { .. } => Transition::Finish,
            Record::Release { polls, .. } => {
                entry.history.polls += polls;
                return Ok(());
            }
        };
        let Some(state) = entry.state.after(transition) else {
            return Err(BacklogError::Fatal {
                what: format!("{transition:?} in {:?}", entry.state),
            });
        };
        entry.state = state;
        let history = &mut entry.history;
        match record {
            Record::Begin { reserve, .. } => {
                history.creates += 1;
                history.spent += *reserve;
            }
            Record::Withdraw => {
                history.creates -= 1;
                history.spent = history.spent - entry.request.kind().reserve();
            }
            Record::Unknown => history.unknown_creates += 1,
            Record::Created(waiting) => entry.waiting = Some(waiting.clone()),
            Record::Retry { refund, polls } => {
                history.spent = history.spent - *refund;
                history.polls += polls;
                history.failed_attempts += 1;
                entry.waiting = None;
            }
            Record::Finish {
                outcome,
                refund,
                unknown_create,
            } => {
                history.spent = history.spent - *refund;
                history.unknown_creates += u32::from(*unknown_create);
                entry.outcomes.push(Outcome::clone(outcome));
            }
            Record::Release { .. } => {}
        }
        Ok(())
    }
}

impl Backlog for MemoryBacklog {
    async fn claim(&mut self, max: usize) -> Result<Claimed, BacklogError> {
        let store = self.store.borrow();
        let mut jobs = Vec::new();
        while jobs.len() < max {
            let Some(n) = self.unclaimed.pop_front() else {
                break;
            };
            let entry = &store.entries[n];
            jobs.push(Claim {
                ticket: Ticket(n as u64),
                request: entry.request.clone(),
                history: entry.history,
                resume: match (&entry.state, &entry.waiting) {
                    (State::Waiting, Some(waiting)) => Resume::Waiting(waiting.clone()),
                    _ => Resume::Queued,
                },
                not_after: entry.not_after,
            });
        }
        Ok(Claimed {
            jobs,
            settled: Vec::new(),
            in_doubt: 0,
            supply: if self.unclaimed.is_empty() {
                Supply::Exhausted
            } else {
                Supply::More
            },
        })
    }

    async fn record(
        &mut self,
        batch: &[(Ticket, Record)],
        _polls: u64,
    ) -> Result<Vec<Answer>, BacklogError> {
        if self.full_for > 0 {
            self.full_for -= 1;
            let source = std::io::Error::from(std::io::ErrorKind::StorageFull);
            return Err(BacklogError::Retryable {
                what: "the memory".to_owned(),
                source,
            });
        }
        let mut answers = Vec::with_capacity(batch.len());
        for (ticket, record) in batch {
            if let Some(left) = &mut self.breaks_after {
                if *left == 0 {
                    return Err(BacklogError::Fatal {
                        what: "broken".to_owned(),
                    });
                }
                *left -= 1;
            }
            self.apply(*ticket, record)?;
            answers.push(match record {
                Record::Retry { .. } => self.recalled(*ticket),
                _ => Answer::Done,
            });
        }
        Ok(answers)
    }

    async fn close(&mut self, _why: &str) -> Result<(), BacklogError> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::backlog::conformance::{Shop, conforms};
    use crate::job::{Allowlist, Kinds, RequestId, SiteRule};

    impl Shop for Rc<RefCell<Store>> {
        type Backlog = MemoryBacklog;

        async fn open(&mut self) -> MemoryBacklog {
            MemoryBacklog::open(self)
        }

        async fn outcomes(&mut self) -> Vec<(String, String)> {
            let store = self.borrow();
            let outcomes = store.entries.iter().flat_map(|entry| {
                let id = entry.request.id().as_str();
                let told = |o: &Outcome| (id.to_owned(), o.status.as_str().to_owned());
                entry.outcomes.iter().map(told)
            });
            outcomes.collect()
        }
    }

    async fn store(count: usize) -> Rc<RefCell<Store>> {
        let kind = Arc::clone(Kinds::built_in().get("hcaptcha").unwrap());
        let sites = Allowlist::new(vec![SiteRule::try_new("*.example.com", vec![]).unwrap()]);
        let request = |n: usize| {
            let id = RequestId::try_new(&format!("r{n}")).unwrap();
            let field = |column: usize| ["https://a.example.com/", "key"].get(column).copied();
            Request::validate(id, &kind, field, &sites).unwrap()
        };
        Store::new((0..count).map(request).collect())
    }

    conforms!(store);
}
