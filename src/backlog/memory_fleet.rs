//! A backlog in memory that several workers share, for tests: the simplest thing that keeps the
//! promises of [`fleet`](super::fleet). Its time is tokio's, so that leases run out on a paused clock.

use std::cell::RefCell;
use std::collections::{HashMap, VecDeque};
use std::rc::Rc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::time::Instant;

use crate::job::{ErrorClass, Micros, Outcome, RemoteId, Request, State, Status};

use super::{
    Answer, Backlog, BacklogError, Claim, Claimed, History, LeaseClock, News, PollSlots, Record,
    Resume, Supply, Ticket, Waiting, Wake,
};

/// A worker that does not extend its leases loses them after this time.
pub(crate) const LEASE: Duration = Duration::from_secs(30);
const BEAT: Duration = Duration::from_secs(10);
const HORIZON: Duration = Duration::from_millis(100);
const CRASHES: u32 = 20;

/// What the workers share.
pub(crate) struct Fleet {
    pub(crate) entries: Vec<Shared>,
    pub(crate) period: Duration,
    pub(crate) poll_period: Duration,
    pub(crate) max_spend: Option<Micros>,
    pub(crate) spent: Micros,
    /// Second ids of jobs that have one.
    pub(crate) orphans: usize,
    pub(crate) found_in_doubt: u64,
    next: Instant,
    next_poll: Instant,
    held_until: Instant,
    epochs: u64,
    /// Calls fail as if the store could not be reached.
    pub(crate) away: bool,
}

/// A request and what became of it.
pub(crate) struct Shared {
    pub(crate) request: Request,
    pub(crate) state: State,
    pub(crate) history: History,
    pub(crate) waiting: Option<Waiting>,
    pub(crate) outcomes: Vec<Outcome>,
    epoch: u64,
    /// `None` where nobody has it.
    lease: Option<Instant>,
    crashes: u32,
}

/// A worker's view.
pub(crate) struct FleetBacklog {
    fleet: Rc<RefCell<Fleet>>,
    held: HashMap<Ticket, (usize, u64)>,
    tickets: u64,
    beat_at: Instant,
    clock: LeaseClock,
    wall_clock: fn() -> Timestamp,
}

impl Fleet {
    pub(crate) fn new(requests: Vec<Request>, per_second: f64) -> Rc<RefCell<Self>> {
        let entry = |request| Shared {
            request,
            state: State::Queued,
            history: History::default(),
            waiting: None,
            outcomes: Vec::new(),
            epoch: 0,
            lease: None,
            crashes: 0,
        };
        let now = Instant::now();
        Rc::new(RefCell::new(Self {
            entries: requests.into_iter().map(entry).collect(),
            period: Duration::from_secs_f64(1.02 / per_second),
            poll_period: Duration::ZERO,
            max_spend: None,
            spent: Micros::ZERO,
            orphans: 0,
            found_in_doubt: 0,
            next: now,
            next_poll: now,
            held_until: now,
            epochs: 0,
            away: false,
        }))
    }

    fn begin(&mut self, n: usize, reserve: Micros, now: Instant) -> Answer {
        if self.max_spend.is_some_and(|max| self.spent + reserve > max) {
            return Answer::OverSpend;
        }
        let slot = self.next.max(self.held_until).max(now);
        if slot > now + HORIZON {
            return Answer::NotYet(slot);
        }
        self.next = slot + self.period;
        self.spent += reserve;
        let entry = &mut self.entries[n];
        entry.state = State::Submitting;
        entry.history.creates += 1;
        entry.history.spent += reserve;
        entry.lease = Some(now + LEASE);
        Answer::Slot(slot)
    }

    /// The late answer of a create whose owner is an owner no more.
    fn late_created(&mut self, n: usize, waiting: &Waiting) {
        let entry = &mut self.entries[n];
        match (&entry.waiting, entry.state) {
            (Some(known), _) if known.remote_id == waiting.remote_id => {}
            (Some(_), _) | (_, State::Settled) => self.orphans += 1,
            (None, _) => {
                entry.waiting = Some(waiting.clone());
                if entry.state == State::Queued {
                    entry.state = State::Waiting;
                    entry.lease.get_or_insert_with(Instant::now);
                }
            }
        }
    }

    fn record(&mut self, n: usize, epoch: u64, record: &Record, now: Instant) -> Answer {
        let entry = &mut self.entries[n];
        let is_mine = entry.epoch == epoch && entry.state != State::Settled;
        match record {
            Record::Created(waiting) if is_mine => match &entry.waiting {
                Some(known) if known.remote_id != waiting.remote_id => {
                    self.orphans += 1;
                    entry.state = State::Waiting;
                    return Answer::Learn(known.clone());
                }
                _ => {
                    entry.waiting = Some(waiting.clone());
                    entry.state = State::Waiting;
                    entry.crashes = 0;
                }
            },
            Record::Created(waiting) => {
                self.late_created(n, waiting);
                return Answer::Lost;
            }
            Record::Finish { outcome, .. } if !is_mine => {
                let same = |id: &RemoteId| {
                    entry
                        .waiting
                        .as_ref()
                        .is_some_and(|w| w.remote_id == *id && entry.state != State::Settled)
                };
                if outcome.status != Status::Solved || !outcome.remote_id.as_ref().is_some_and(same)
                {
                    return Answer::Lost;
                }
                self.settle(n, outcome, Micros::ZERO);
            }
            _ if !is_mine => return Answer::Lost,
            Record::Begin { reserve, .. } => {
                if let Some(waiting) = self.learned(n) {
                    return Answer::Learn(waiting);
                }
                return self.begin(n, *reserve, now);
            }
            Record::Withdraw | Record::Unknown => {
                let is_known = matches!(record, Record::Withdraw);
                if is_known {
                    entry.history.creates -= 1;
                    let price = entry.request.kind().reserve();
                    entry.history.spent = entry.history.spent - price;
                    self.spent = self.spent - price;
                } else {
                    entry.history.unknown_creates += 1;
                }
                self.entries[n].state = State::Queued;
                if let Some(waiting) = self.learned(n) {
                    return Answer::Learn(waiting);
                }
            }
            Record::Retry { refund, polls } => {
                entry.history.spent = entry.history.spent - *refund;
                entry.history.polls += polls;
                entry.history.failed_attempts += 1;
                entry.waiting = None;
                entry.state = State::Queued;
                let request = entry.request.clone();
                self.spent = self.spent - *refund;
                return Answer::Recalled(Box::new(request));
            }
            Record::Finish {
                outcome,
                refund,
                unknown_create,
            } => {
                entry.history.unknown_creates += u32::from(*unknown_create);
                let knew = outcome.remote_id.as_ref();
                if outcome.status != Status::Solved
                    && entry.waiting.as_ref().map(|w| &w.remote_id) != knew
                    && let Some(waiting) = self.learned(n)
                {
                    return Answer::Learn(waiting);
                }
                self.settle(n, outcome, *refund);
            }
            Record::Release { polls, .. } => {
                entry.history.polls += polls;
                entry.lease = (entry.state == State::Waiting).then_some(now);
                entry.epoch += 1;
            }
        }
        Answer::Done
    }

    fn learned(&mut self, n: usize) -> Option<Waiting> {
        let entry = &mut self.entries[n];
        let waiting = entry.waiting.clone()?;
        entry.state = State::Waiting;
        Some(waiting)
    }

    fn settle(&mut self, n: usize, outcome: &Outcome, refund: Micros) {
        let entry = &mut self.entries[n];
        entry.state = State::Settled;
        entry.lease = None;
        entry.history.spent = entry.history.spent - refund;
        entry.outcomes.push(outcome.clone());
        self.spent = self.spent - refund;
    }

    fn is_empty(&self) -> bool {
        self.entries.iter().all(|e| e.state == State::Settled)
    }
}

impl FleetBacklog {
    pub(crate) fn join(
        fleet: &Rc<RefCell<Fleet>>,
        clock: LeaseClock,
        wall_clock: fn() -> Timestamp,
    ) -> Self {
        Self {
            fleet: Rc::clone(fleet),
            held: HashMap::new(),
            tickets: 0,
            beat_at: Instant::now(),
            clock,
            wall_clock,
        }
    }

    fn reach(&self) -> Result<(), BacklogError> {
        match self.fleet.borrow().away {
            true => Err(BacklogError::Away {
                what: "the store is away".to_owned(),
            }),
            false => Ok(()),
        }
    }
}

impl Backlog for FleetBacklog {
    async fn claim(&mut self, max: usize) -> Result<Claimed, BacklogError> {
        self.reach()?;
        let now = Instant::now();
        let mut fleet = self.fleet.borrow_mut();
        let mut claimed = Claimed::default();
        let mut order: VecDeque<usize> = VecDeque::new();
        for (n, entry) in fleet.entries.iter().enumerate() {
            match (entry.state, entry.lease) {
                (State::Settled, _) => {}
                (State::Waiting, Some(end)) if end <= now => order.push_front(n),
                (_, None) => order.push_back(n),
                (_, Some(end)) if end <= now => order.push_back(n),
                _ => {}
            }
        }
        while claimed.jobs.len() < max
            && let Some(n) = order.pop_front()
        {
            fleet.epochs += 1;
            let epoch = fleet.epochs + 1_000_000;
            let mut in_doubt = 0;
            let entry = &mut fleet.entries[n];
            entry.epoch = epoch;
            entry.lease = Some(now + LEASE);
            if entry.state == State::Submitting {
                entry.state = State::Queued;
                entry.history.unknown_creates += 1;
                entry.crashes += 1;
                in_doubt = 1;
            }
            if entry.crashes >= CRASHES {
                let outcome =
                    Outcome::rejected(ErrorClass::CrashLimit, String::new(), (self.wall_clock)());
                fleet.settle(n, &outcome, Micros::ZERO);
                continue;
            }
            let waiting = entry.waiting.clone();
            if waiting.is_some() {
                entry.state = State::Waiting;
            }
            let ticket = Ticket(self.tickets);
            self.tickets += 1;
            self.held.insert(ticket, (n, epoch));
            claimed.jobs.push(Claim {
                ticket,
                request: entry.request.clone(),
                history: entry.history,
                resume: waiting.map_or(Resume::Queued, Resume::Waiting),
                not_after: None,
            });
            claimed.in_doubt += in_doubt;
            fleet.found_in_doubt += in_doubt;
        }
        claimed.supply = if fleet.is_empty() {
            Supply::Exhausted
        } else if claimed.jobs.is_empty() {
            Supply::NotYet(Duration::from_secs(2))
        } else {
            Supply::More
        };
        Ok(claimed)
    }

    async fn record(
        &mut self,
        batch: &[(Ticket, Record)],
        _polls: u64,
    ) -> Result<Vec<Answer>, BacklogError> {
        self.reach()?;
        let now = Instant::now();
        let mut answers = Vec::new();
        for (ticket, record) in batch {
            let &(n, epoch) = self.held.get(ticket).expect("a ticket of ours");
            let answer = self.fleet.borrow_mut().record(n, epoch, record, now);
            if matches!(record, Record::Finish { .. } | Record::Release { .. })
                && !matches!(answer, Answer::Learn(_))
                || answer == Answer::Lost
            {
                self.held.remove(ticket);
            }
            answers.push(answer);
        }
        Ok(answers)
    }

    async fn close(&mut self, _why: &str) -> Result<(), BacklogError> {
        Ok(())
    }

    async fn wake(&mut self) -> Wake {
        tokio::time::sleep_until(self.beat_at).await;
        Wake::Tend
    }

    async fn tend(&mut self) -> Result<News, BacklogError> {
        let now = Instant::now();
        self.beat_at = now + BEAT;
        self.reach()?;
        let mut fleet = self.fleet.borrow_mut();
        let mut news = News::default();
        for (&ticket, &(n, epoch)) in &self.held {
            let entry = &mut fleet.entries[n];
            if entry.epoch != epoch || entry.state == State::Settled {
                news.lost.push(ticket);
                continue;
            }
            entry.lease = Some(now + LEASE);
            if entry.state == State::Waiting || entry.waiting.is_some() {
                news.learned
                    .extend(entry.waiting.clone().map(|w| (ticket, w)));
            }
        }
        news.lost.sort();
        news.learned.sort_by_key(|(ticket, _)| *ticket);
        if fleet.held_until > now {
            news.pause = Some(fleet.held_until);
        }
        self.clock.extend(self.clock.now(), LEASE);
        Ok(news)
    }

    async fn penalise(&mut self, pause: Duration) -> Result<(), BacklogError> {
        self.reach()?;
        let mut fleet = self.fleet.borrow_mut();
        fleet.held_until = fleet.held_until.max(Instant::now() + pause);
        Ok(())
    }

    async fn poll_slots(&mut self, many: usize) -> Result<PollSlots, BacklogError> {
        self.reach()?;
        let now = Instant::now();
        let mut fleet = self.fleet.borrow_mut();
        let mut slots = Vec::new();
        fleet.next_poll = fleet.next_poll.max(now);
        while slots.len() < many && fleet.next_poll <= now + Duration::from_secs(1) {
            slots.push(fleet.next_poll);
            fleet.next_poll = fleet.next_poll + fleet.poll_period;
        }
        let again = fleet.next_poll - Duration::from_secs(1);
        Ok(PollSlots {
            slots,
            again: (again > now).then_some(again),
        })
    }
}
