//! A queue in Redis as a backlog: the second implementation of [`Backlog`].
//!
//! What must stay true:
//!
//! * What a worker holds, it holds by a lease; whatever it does is fenced by the epoch that it got with
//!   it. Nothing here is needed to go on after a kill: the lease runs out, and Redis knows the rest.
//! * A call that failed as away is repeated as it was: every operation of [`Queue`] is idempotent, what a
//!   claim brought stays in hand for the next one, and what is answered of a batch is not asked again.
//! * After Redis came back as another run, everything that is held is asserted before anything is claimed.

use std::collections::{HashMap, HashSet, VecDeque};
use std::time::Duration;

use jiff::Timestamp;
use tokio::time::Instant;
use tracing::warn;

use super::deliver::{Delivery, Ending};
use super::finish::WRONG_TARGET;
use super::fresh::FreshIds;
use super::message::{Intake, Message};
use super::{Answer as QueueAnswer, Assert, Epoch, Held, Hold, JobState, Known, Queue};
use super::{Pace, Places, QueueSettings, Raw, Release};
use crate::api::Identity;
use crate::backlog::{
    Answer, Backlog, BacklogError, Claim, Claimed, History, LeaseClock, News, PollSlots, Record,
    Supply, Ticket, UnknownCreatePolicy, Waiting, Wake,
};
use crate::job::{Micros, Outcome, RemoteId};
use crate::redis::{Bell, Connection, Link, LinkError, check_safe};

/// An idle worker looks by itself after this time: for leases that ran out, and retries that are due.
const LOOK_AGAIN: Duration = Duration::from_secs(2);
/// Nothing is looked for sooner than after this time, however soon a lease ends.
const SHORTEST_WAIT: Duration = Duration::from_millis(20);
/// Slots for creates are given this far ahead.
const HORIZON: Duration = Duration::from_millis(100);
/// Slots for polls are given this far ahead.
const POLL_HORIZON: Duration = Duration::from_secs(1);
/// What somebody else has is forgotten after this time: no create of ours is still on the wire.
const FORGET_LOST: Duration = Duration::from_secs(5 * 60);

/// How a worker works on a queue.
#[derive(Debug)]
pub struct RedisSettings {
    /// How Redis is reached.
    pub link: crate::redis::Settings,
    /// The queue's keys.
    pub keys: crate::redis::Keys,
    /// Where outcomes go.
    pub delivery: Delivery,
    /// What a request may be.
    pub intake: Intake,
    /// The API that this worker's jobs live at.
    pub identity: Identity,
    /// How long a worker that is silent keeps its requests.
    pub lease: Duration,
    /// How long a finished id is remembered.
    pub repeat_window: Duration,
    /// Time between two creates of all workers, and how many may leave at once.
    pub submit_pace: (Duration, u32),
    /// Time between two polls of all workers, and how many may leave at once; `None` for no limit.
    pub poll_pace: Option<(Duration, u32)>,
    /// Most that all workers spend together.
    pub max_spend: Option<Micros>,
    /// Most requests that all workers hold together.
    pub max_in_flight: Option<u64>,
    /// What becomes of creates that ended workers have left without an answer.
    pub on_unknown_create: UnknownCreatePolicy,
    /// End when the queue is empty.
    pub drain: bool,
    /// Most requests that this worker takes up; adopted jobs are not counted.
    pub limit: Option<u64>,
    /// Work although Redis may lose what it acknowledged.
    pub allow_unsafe: bool,
    /// The wall clock.
    pub wall_clock: fn() -> Timestamp,
}

/// Why a queue cannot be worked on.
#[derive(Debug, thiserror::Error)]
pub enum OpenQueueError {
    /// Redis cannot be reached, or refuses us.
    #[error(transparent)]
    Link(#[from] LinkError),
    /// Redis may lose what it acknowledged.
    #[error("{0}")]
    Unsafe(String),
}

/// A worker's view of a queue. See the module's head.
pub struct RedisBacklog {
    pub(super) link: Link,
    pub(super) queue: Queue,
    bell: Option<Bell>,
    workers_key: String,
    pub(super) delivery: Delivery,
    pub(super) intake: Intake,
    pub(super) ids: FreshIds,
    pub(super) api: String,
    pub(super) submit_pace: Pace,
    poll_pace: Option<Pace>,
    pub(super) max_spend: Option<Micros>,
    pub(super) max_in_flight: Option<u64>,
    pub(super) on_unknown_create: UnknownCreatePolicy,
    pub(super) wall_clock: fn() -> Timestamp,

    /// What was handed out and not settled or released.
    pub(super) held: HashMap<Ticket, InHand>,
    next_ticket: u64,
    /// Taken, and not judged yet.
    pub(super) found: VecDeque<Held>,
    /// Taken, and not read yet.
    pub(super) raws: VecDeque<Raw>,
    /// To be handed out.
    pub(super) ready: Vec<Claim>,
    /// To be ended by us.
    pub(super) endings: Vec<Ending>,
    /// Ended by us, and not told yet.
    pub(super) told: Vec<Outcome>,
    pub(super) in_doubt: u64,
    /// Answers to records of a batch that failed half-way.
    pub(super) answered: HashMap<Ticket, Answer>,
    /// Whose outcomes are with the sinks that are told first.
    pub(super) delivered: HashSet<String>,
    /// What an assertion found.
    news: News,

    drain: bool,
    /// Requests that may still be taken up.
    pub(super) left: Option<u64>,
    /// A settled request may have been the last.
    pub(super) may_be_done: bool,
    pub(super) is_full_told: bool,

    clock: LeaseClock,
    lease: Duration,
    beat_at: Instant,
    /// The connection whose server was looked at.
    generation: u64,
    run_id: Option<String>,
}

/// A request that was handed out.
pub(super) struct InHand {
    pub(super) epoch: Epoch,
    pub(super) step: u32,
    pub(super) message: Message,
    pub(super) history: History,
    pub(super) crashes: u32,
    pub(super) waiting: Option<Waiting>,
    pub(super) not_after: Option<Timestamp>,
    /// Of a create that was begun and whose fate is not recorded.
    pub(super) reserve: Option<Micros>,
    /// Somebody else has it since.
    lost_at: Option<Instant>,
}

impl InHand {
    pub(super) fn new(epoch: Epoch, step: u32, message: Message) -> Self {
        Self {
            epoch,
            step,
            message,
            history: History::default(),
            crashes: 0,
            waiting: None,
            not_after: None,
            reserve: None,
            lost_at: None,
        }
    }

    pub(super) fn hold(&self) -> Hold<'_> {
        Hold {
            id: self.message.request.id().as_str(),
            epoch: self.epoch,
            step: self.step,
        }
    }

    /// Takes over what Redis knows better.
    pub(super) fn learn(&mut self, held: &Held, now: Timestamp) -> Option<Waiting> {
        self.step = self.step.max(held.step);
        self.history = held.history;
        self.reserve = None;
        self.waiting = waiting(held, now);
        self.waiting.clone()
    }
}

/// The job that Redis tells of.
pub(super) fn waiting(held: &Held, now: Timestamp) -> Option<Waiting> {
    let remote_id = RemoteId::from_json(held.remote_id.as_deref()?)?;
    let submitted_at = held
        .submitted_at_ms
        .and_then(|ms| Timestamp::from_millisecond(ms).ok());
    Some(Waiting {
        remote_id,
        submitted_at: submitted_at.unwrap_or(now),
        deadline: in_ms(now, held.deadline_left_ms.unwrap_or(0)),
    })
}

/// A time so many milliseconds from now, or now where that has passed.
pub(super) fn in_ms(now: Timestamp, ms: i64) -> Timestamp {
    let left = Duration::from_millis(u64::try_from(ms).unwrap_or(0));
    now.saturating_add(left).unwrap_or(now)
}

fn ms_until(now: Timestamp, at: Timestamp) -> i64 {
    i64::try_from(at.duration_since(now).as_millis()).unwrap_or(0)
}

impl From<LinkError> for BacklogError {
    /// Whatever Redis says to a worker may pass: a server that comes back, a right that is given back, a key
    /// of another type that is removed. So the call is made again until patience ends, and ids that are on
    /// the wire meanwhile are kept. A worker that could never work is refused when it starts.
    fn from(error: LinkError) -> Self {
        let what = match &error {
            LinkError::Server(what) if what.contains(WRONG_TARGET) => {
                "the list that outcomes go to is a key of another type in Redis; remove that key"
                    .to_owned()
            }
            _ => error.to_string(),
        };
        Self::Away { what }
    }
}

/// The API that jobs live at, as Redis keeps it: nobody else's token gives the same text, and none can be
/// had from it.
fn api_text(identity: &Identity, queue: &str) -> String {
    let key = blake3::derive_key(
        "pollwheel 2026 the account of a queue's jobs",
        queue.as_bytes(),
    );
    let print = identity.account.fingerprint(&key);
    let print: String = print.iter().map(|byte| format!("{byte:02x}")).collect();
    format!(
        "{} {} {print}",
        identity.protocol.as_str(),
        identity.base_url
    )
}

/// A list that is none is seen before anything is taken up.
async fn must_be_list(link: &mut Link, key: &str) -> Result<(), LinkError> {
    let kind: String = link.run(::redis::cmd("TYPE").arg(key)).await?;
    if kind == "list" || kind == "none" {
        return Ok(());
    }
    let what = format!("{key} is a {kind}, and a list is needed");
    Err(LinkError::WrongType(what))
}

impl RedisBacklog {
    /// Connects and takes up work on a queue. Returns also what the operator should know.
    ///
    /// # Errors
    ///
    /// Where Redis cannot be reached, refuses us, or is not safe for a queue.
    pub async fn open(settings: RedisSettings) -> Result<(Self, Vec<String>), OpenQueueError> {
        let list = settings.keys.list.clone();
        let mut link = Link::open(&settings.link, &list).await?;
        let lists = settings.delivery.results.iter().chain([&list]);
        for key in lists.cloned().collect::<Vec<_>>() {
            must_be_list(&mut link, &key).await?;
        }
        let mut warnings = Vec::new();
        if let Some(facts) = link.facts() {
            if let Err(reason) = check_safe(facts) {
                if !settings.allow_unsafe {
                    return Err(OpenQueueError::Unsafe(reason.to_string()));
                }
                warnings.push(reason.to_string());
            }
            warnings.extend(settings.delivery.warning(&list, facts.is_cluster));
        }
        let pace = |(period, burst): (Duration, u32), horizon| Pace {
            period_us: u64::try_from(period.as_micros()).unwrap_or(u64::MAX),
            burst,
            horizon,
        };
        let mut ids = FreshIds::new();
        let worker = ids.give().as_str().to_owned();
        let mut backlog = Self {
            bell: Some(Bell::start(&settings.link, &list, &settings.keys.inbox)),
            queue: Queue::new(
                settings.keys.all(),
                QueueSettings {
                    lease: settings.lease,
                    window: settings.repeat_window,
                    worker,
                },
            ),
            link,
            workers_key: settings.keys.workers.clone(),
            delivery: settings.delivery,
            intake: settings.intake,
            ids,
            api: api_text(&settings.identity, &list),
            submit_pace: pace(settings.submit_pace, HORIZON),
            poll_pace: settings.poll_pace.map(|p| pace(p, POLL_HORIZON)),
            max_spend: settings.max_spend,
            max_in_flight: settings.max_in_flight,
            on_unknown_create: settings.on_unknown_create,
            wall_clock: settings.wall_clock,
            held: HashMap::new(),
            next_ticket: 0,
            found: VecDeque::new(),
            raws: VecDeque::new(),
            ready: Vec::new(),
            endings: Vec::new(),
            told: Vec::new(),
            in_doubt: 0,
            answered: HashMap::new(),
            delivered: HashSet::new(),
            news: News::default(),
            drain: settings.drain,
            left: settings.limit,
            may_be_done: false,
            is_full_told: false,
            clock: LeaseClock::default(),
            lease: settings.lease,
            beat_at: Instant::now(),
            generation: 0,
            run_id: None,
        };
        backlog.must_be_allowed(&mut warnings).await?;
        backlog.settle_in().await?;
        backlog.beat().await?;
        Ok((backlog, warnings))
    }

    /// Sees that nothing that a script does can be denied half-way.
    async fn must_be_allowed(&mut self, warnings: &mut Vec<String>) -> Result<(), LinkError> {
        let results = self.delivery.results.clone();
        let result_key = self
            .delivery
            .keys
            .as_ref()
            .map(|(prefix, _)| format!("{prefix}id"));
        let reply = format!("{}id", self.delivery.replies.prefix());
        let places = Places {
            results: results.as_deref(),
            result_key: result_key.as_deref(),
            reply: &reply,
        };
        let rights = self.call(async |q, c| q.probe(c, places).await).await?;
        if !rights.denied.is_empty() {
            let what = format!("this user may not {}", rights.denied.join(", "));
            return Err(LinkError::Denied(what));
        }
        if !rights.may_reply {
            warnings.push(format!(
                "this user of Redis may not push to lists that begin with {}; outcomes of requests with a reply_to go to the results, with a reply_error",
                self.delivery.replies.prefix()
            ));
            self.delivery.replies.deny();
        }
        Ok(())
    }

    /// Until when this worker is sure of its leases.
    #[must_use]
    pub fn lease_clock(&self) -> LeaseClock {
        self.clock.clone()
    }

    /// Runs one operation.
    pub(super) async fn call<T>(
        &mut self,
        what: impl AsyncFnOnce(&Queue, &mut Connection) -> ::redis::RedisResult<T>,
    ) -> Result<T, LinkError> {
        let connection = self.link.connection().await?;
        match what(&self.queue, connection).await {
            Ok(answer) => Ok(answer),
            Err(e) => Err(self.link.failed(&e)),
        }
    }

    /// Sees to a connection that is new: is it the same Redis, does it know what we hold?
    async fn settle_in(&mut self) -> Result<(), LinkError> {
        self.link.connection().await?;
        let Some(facts) = self.link.facts() else {
            return Ok(());
        };
        let (generation, run_id) = (facts.generation, facts.run_id.clone());
        if generation == self.generation {
            return Ok(());
        }
        let settled = self
            .call(async |q, c| q.settle_in(c, &run_id).await)
            .await?;
        let is_other = self.run_id.as_ref().is_some_and(|known| *known != run_id);
        if is_other {
            let put_back = self.assert_all().await?;
            warn!(
                put_back,
                "Redis was restarted or failed over; what this worker holds is asserted, and nobody takes up anything for {} s",
                settled.quiet_ms.div_ceil(1000)
            );
        } else if settled.quiet_ms > 0 && self.run_id.is_none() {
            warn!(
                "Redis was restarted or failed over; nobody takes up anything for {} s, in which workers put back what it lost",
                settled.quiet_ms.div_ceil(1000)
            );
        }
        self.run_id = Some(run_id);
        self.generation = generation;
        Ok(())
    }

    /// Puts back what Redis may have lost of what is held.
    async fn assert_all(&mut self) -> Result<u32, LinkError> {
        let now = (self.wall_clock)();
        let tickets = self.tickets();
        let remote_ids: Vec<Option<String>> = self.remote_ids(&tickets);
        let hashes: Vec<String> = tickets
            .iter()
            .map(|t| hash_text(&self.held[t].message))
            .collect();
        let api = self.api.clone();
        let items: Vec<Assert<'_>> = tickets
            .iter()
            .zip(&remote_ids)
            .zip(&hashes)
            .map(|((ticket, remote_id), hash)| {
                let job = &self.held[ticket];
                let state = match (&job.waiting, job.reserve) {
                    (Some(_), _) => JobState::Waiting,
                    (None, Some(_)) => JobState::Submitting,
                    (None, None) => JobState::Claimed,
                };
                Assert {
                    hold: job.hold(),
                    state,
                    payload: &job.message.payload,
                    hash,
                    history: job.history,
                    crashes: job.crashes,
                    reserve: job.reserve,
                    remote_id: remote_id.as_deref(),
                    submitted_at_ms: job
                        .waiting
                        .as_ref()
                        .map(|w| w.submitted_at.as_millisecond()),
                    deadline_left_ms: job.waiting.as_ref().map(|w| ms_until(now, w.deadline)),
                    not_after_left_ms: job.not_after.map(|at| ms_until(now, at)),
                    api: (state != JobState::Claimed).then_some(api.as_str()),
                }
            })
            .collect();
        let connection = self.link.connection().await?;
        let asserted = match self.queue.assert(connection, &items).await {
            Ok(asserted) => asserted,
            Err(e) => return Err(self.link.failed(&e)),
        };
        drop(items);
        for (ticket, answer) in tickets.into_iter().zip(asserted.answers) {
            match answer {
                QueueAnswer::Done => {}
                QueueAnswer::Lost => self.lost(ticket),
                QueueAnswer::Learn(held) => self.learned(ticket, &held, now),
            }
        }
        Ok(asserted.put_back)
    }

    /// Extends all leases and hears what became of them.
    async fn beat(&mut self) -> Result<(), LinkError> {
        self.settle_in().await?;
        let asked = self.clock.now();
        let tickets = self.tickets();
        let remote_ids = self.remote_ids(&tickets);
        let items: Vec<Known<'_>> = tickets
            .iter()
            .zip(&remote_ids)
            .map(|(ticket, remote_id)| Known {
                hold: self.held[ticket].hold(),
                remote_id: remote_id.as_deref(),
            })
            .collect();
        let connection = self.link.connection().await?;
        let beat = match self.queue.beat(connection, &items).await {
            Ok(beat) => beat,
            Err(e) => return Err(self.link.failed(&e)),
        };
        drop(items);
        self.clock.extend(asked, self.lease);
        self.beat_at = Instant::now() + self.lease / 3;
        let now = (self.wall_clock)();
        for place in beat.lost {
            self.lost(tickets[place]);
        }
        for (place, held) in beat.learned {
            self.learned(tickets[place], &held, now);
        }
        if beat.hold_ms > 0 {
            self.news.pause = Some(Instant::now() + Duration::from_millis(beat.hold_ms));
        }
        Ok(())
    }

    /// What is held, oldest first.
    fn tickets(&self) -> Vec<Ticket> {
        let mut tickets: Vec<_> = self
            .held
            .iter()
            .filter(|(_, job)| job.lost_at.is_none())
            .map(|(ticket, _)| *ticket)
            .collect();
        tickets.sort_unstable();
        tickets
    }

    fn remote_ids(&self, tickets: &[Ticket]) -> Vec<Option<String>> {
        let remote_id = |t| self.held[t].waiting.as_ref().map(|w| w.remote_id.to_json());
        tickets.iter().map(remote_id).collect()
    }

    /// Somebody else has it. A create of ours may still be on the wire, and its id must be heard.
    fn lost(&mut self, ticket: Ticket) {
        if let Some(job) = self.held.get_mut(&ticket) {
            job.lost_at = Some(Instant::now());
            self.news.lost.push(ticket);
        }
    }

    fn learned(&mut self, ticket: Ticket, held: &Held, now: Timestamp) {
        if let Some(job) = self.held.get_mut(&ticket)
            && let Some(waiting) = job.learn(held, now)
        {
            self.news.learned.push((ticket, waiting));
        }
    }

    pub(super) fn hold_ticket(&mut self, job: InHand) -> Ticket {
        let ticket = Ticket(self.next_ticket);
        self.next_ticket += 1;
        self.held.insert(ticket, job);
        ticket
    }

    fn is_limit_reached(&self) -> bool {
        self.left == Some(0)
    }
}

/// The hash of a message's fields, as Redis keeps it.
pub(super) fn hash_text(message: &Message) -> String {
    let hash = message.request.fields_hash();
    hash.0.iter().map(|byte| format!("{byte:02x}")).collect()
}

impl Backlog for RedisBacklog {
    async fn claim(&mut self, max: usize) -> Result<Claimed, BacklogError> {
        self.settle_in().await?;
        self.may_be_done = false;
        let mut fetched = super::claims::Fetched::default();
        if self.found.is_empty() && self.raws.is_empty() && self.endings.is_empty() {
            fetched = self.fetch(max).await?;
        }
        self.take_up_found();
        self.take_up_messages().await?;
        self.end_endings().await?;
        let jobs = std::mem::take(&mut self.ready);
        let settled = std::mem::take(&mut self.told);
        let is_over = (self.drain && fetched.is_empty) || self.is_limit_reached();
        let supply = if !jobs.is_empty() || !settled.is_empty() || fetched.is_more {
            Supply::More
        } else if is_over && self.held.is_empty() {
            Supply::Exhausted
        } else {
            let may_ring =
                fetched.is_open && self.max_in_flight.is_none() && !self.is_limit_reached();
            if let Some(bell) = self.bell.as_ref().filter(|_| may_ring) {
                bell.arm();
            }
            // What is due is no reason to look again where it is not handed out all the same.
            let next = fetched.next.filter(|_| may_ring).unwrap_or(LOOK_AGAIN);
            Supply::NotYet(next.clamp(SHORTEST_WAIT, LOOK_AGAIN))
        };
        Ok(Claimed {
            jobs,
            settled,
            in_doubt: std::mem::take(&mut self.in_doubt),
            supply,
        })
    }

    async fn record(
        &mut self,
        batch: &[(Ticket, Record)],
        _polls: u64,
    ) -> Result<Vec<Answer>, BacklogError> {
        self.settle_in().await?;
        self.record_batch(batch).await
    }

    async fn close(&mut self, _why: &str) -> Result<(), BacklogError> {
        let raws = std::mem::take(&mut self.raws);
        let items: Vec<Release<'_>> = raws
            .iter()
            .map(|raw| Release {
                hold: Hold {
                    id: &raw.key,
                    epoch: raw.epoch,
                    step: 0,
                },
                polls: 0,
                delay: Duration::ZERO,
            })
            .collect();
        if !items.is_empty() {
            self.call(async |q, c| q.release(c, &items).await).await?;
        }
        let gone = ::redis::Cmd::zrem(&self.workers_key, &self.queue.settings.worker);
        self.link.run::<()>(&gone).await?;
        if let Some(bell) = self.bell.take() {
            bell.close().await;
        }
        Ok(())
    }

    async fn wake(&mut self) -> Wake {
        if self.drain && self.may_be_done && self.held.is_empty() {
            self.may_be_done = false;
            return Wake::Arrived;
        }
        let beat = tokio::time::sleep_until(self.beat_at);
        let Some(bell) = &mut self.bell else {
            beat.await;
            return Wake::Tend;
        };
        tokio::select! {
            biased;
            () = beat => Wake::Tend,
            rung = bell.rung() => {
                if let Err(e) = rung {
                    // The next call of the engine's meets it, too, and ends the worker.
                    warn!("waiting for requests: {e}");
                }
                Wake::Arrived
            }
        }
    }

    async fn tend(&mut self) -> Result<News, BacklogError> {
        self.beat().await?;
        let now = Instant::now();
        self.held
            .retain(|_, job| job.lost_at.is_none_or(|at| now < at + FORGET_LOST));
        Ok(std::mem::take(&mut self.news))
    }

    async fn penalise(&mut self, pause: Duration) -> Result<(), BacklogError> {
        self.call(async |q, c| q.penalise(c, pause).await).await?;
        Ok(())
    }

    async fn poll_slots(&mut self, many: usize) -> Result<PollSlots, BacklogError> {
        let Some(pace) = self.poll_pace else {
            return Ok(PollSlots::default());
        };
        let given = self
            .call(async |q, c| q.poll_slots(c, many, pace).await)
            .await?;
        let now = Instant::now();
        let again = now + given.next.saturating_sub(POLL_HORIZON);
        Ok(PollSlots {
            slots: given.given.into_iter().map(|wait| now + wait).collect(),
            again: (again > now).then_some(again),
        })
    }
}
