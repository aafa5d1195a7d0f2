//! Claims: jobs in flight whose owners are gone, requests that were handed back, and new messages.
//!
//! What must stay true: what Redis handed out stays in hand until it is a claim, an outcome, or handed back, so
//! that a claim that fails half-way goes on with the next; jobs in flight come first.
//!
//! A look at the queue and what the one before it brought go out together: messages are admitted, and those that
//! are none answered, in the same exchange that asks for more.

use std::time::Duration;

use jiff::Timestamp;
use tokio::time::Instant;
use tracing::{debug, warn};

use super::deliver::Ending;
use super::flight::{Asked, Flight, Replies};
use super::in_hand::{InHand, Kept, hash_text, in_ms, waiting};
use super::intake::{Adopted, Claimed};
use super::message::{Deadline, Message};
use super::queue::BATCH;
use super::worker::RedisBacklog;
use super::{Admission, Admit, Held, Hold, Raw, Release};
use crate::backlog::{Claim, Resume, Supply, Ticket, UnknownCreatePolicy};
use crate::job::{ErrorClass, FieldsHash, Outcome, Request, RequestId, Status};
use crate::redis::LinkError;

/// Crashes in a row between begin and created that end a request.
const CRASHES: u32 = 20;
/// Workers that died in a row while they had a message: it is not given to another.
const TAKES: u32 = 20;

/// An idle worker looks by itself after this time: for leases that ran out, and retries that are due.
const LOOK_AGAIN: Duration = Duration::from_secs(2);
/// Nothing is looked for sooner than after this time, however soon a lease ends.
const SHORTEST_WAIT: Duration = Duration::from_millis(20);
/// Where requests trickle in, what came in the time of so many slots is taken up together.
const GATHERED_SLOTS: u32 = 4;
/// The shortest and the longest such time.
const GATHER: (Duration, Duration) = (Duration::from_millis(20), Duration::from_millis(100));
/// Each of several workers looks so much less often, up to so many of them.
const SHARERS: u32 = 4;
/// They trickle in where two looks that brought something are no further apart than so many of these times.
const TRICKLE: u32 = 3;
/// After a look for ownerless jobs that brought none (they are for workers of another API, or somebody was
/// faster) there is none before this time has passed.
const ADOPT_AGAIN: Duration = Duration::from_millis(500);
/// Messages that nobody has asked for, for so long, are handed back.
pub(super) const KEEP_UNASKED: Duration = Duration::from_secs(1);

/// A message that was read as a request and is to be admitted.
pub(super) struct Reading {
    raw: Raw,
    message: Message,
    hash: FieldsHash,
}

/// When looks brought something, and when which look is worth the while.
pub(super) struct Looks {
    latest: Option<Instant>,
    before: Option<Instant>,
    /// There are jobs without an owner.
    may_adopt: bool,
    adopt_at: Instant,
    /// What came to all workers in this time is taken up together.
    gather: Duration,
    /// Workers that share the queue.
    pub(super) workers: u32,
}

impl Looks {
    /// For a fleet whose slots are so far from each other.
    pub(super) fn new(period: Duration, now: Instant) -> Self {
        Self {
            gather: (period * GATHERED_SLOTS).clamp(GATHER.0, GATHER.1),
            workers: 1,
            latest: None,
            before: None,
            may_adopt: true,
            adopt_at: now,
        }
    }

    fn brought_something(&mut self, now: Instant) {
        self.before = self.latest.replace(now);
    }

    /// When this worker looks again where requests trickle in: all together look once in `gather`.
    fn pause(&self) -> Duration {
        self.gather * self.workers.clamp(1, SHARERS)
    }

    /// Whether requests trickle in, so that it is better to look again in a short while than to be called
    /// for each.
    fn is_trickle(&self, now: Instant) -> bool {
        let (Some(latest), Some(before)) = (self.latest, self.before) else {
            return false;
        };
        let pause = self.pause();
        now < latest + pause && latest < before + pause * TRICKLE
    }

    fn wants_adoption(&self, now: Instant) -> bool {
        self.may_adopt && self.adopt_at <= now
    }
}

/// What a look asks for.
pub(super) struct Look {
    admits: Option<(Asked, Vec<Option<Duration>>)>,
    kind: LookKind,
}

enum LookKind {
    Adopt,
    Claim(usize),
    Nothing,
}

/// What a look at the queue said beside what it brought.
#[derive(Debug, Default)]
pub(super) struct Fetched {
    /// More may be there.
    pub(super) is_more: bool,
    /// Nothing is left anywhere, not even in flight.
    is_empty: bool,
    /// What arrives would be handed out.
    is_open: bool,
    /// When a lease runs out or a retry is due.
    next: Option<Duration>,
}

impl RedisBacklog {
    /// Adds a look for up to `max` requests.
    pub(super) fn add_look(&self, flight: &mut Flight, max: usize) -> Look {
        let admits = (!self.read.is_empty()).then(|| self.add_admits(flight));
        let room = max.saturating_sub(self.read.len());
        let kind = if self.looks.wants_adoption(Instant::now()) || self.is_limit_reached() {
            self.queue.add_adopt(flight, max, &self.api);
            LookKind::Adopt
        } else {
            let left = self.left.and_then(|left| usize::try_from(left).ok());
            let room = left.map_or(room, |left| room.min(left));
            if room == 0 {
                LookKind::Nothing
            } else {
                self.queue.add_claim(flight, room, self.max_in_flight);
                LookKind::Claim(room)
            }
        };
        Look { admits, kind }
    }

    /// Takes in what it brought.
    pub(super) fn looked(
        &mut self,
        look: Look,
        replies: &mut Replies,
    ) -> Result<Fetched, LinkError> {
        let admitted = match look.admits {
            Some((asked, within)) => self.admitted(asked, within, replies),
            None => Ok(()),
        };
        let now = Instant::now();
        let fetched = match look.kind {
            LookKind::Nothing => Ok(Fetched {
                is_more: true,
                ..Fetched::default()
            }),
            LookKind::Adopt => match Adopted::read(replies) {
                Ok(adopted) => {
                    let is_more = !adopted.held.is_empty();
                    self.looks.may_adopt = is_more;
                    if !is_more {
                        self.looks.adopt_at = now + ADOPT_AGAIN;
                    }
                    self.found.extend(adopted.held);
                    Ok(Fetched {
                        is_more: is_more || !self.is_limit_reached(),
                        ..Fetched::default()
                    })
                }
                Err(e) => Err(self.link.failed(&e)),
            },
            LookKind::Claim(room) => match Claimed::read(replies) {
                Ok(claimed) => Ok(self.claimed(claimed, room, now)),
                Err(e) => match self.link.failed(&e) {
                    LinkError::Full(why) => {
                        self.tell_full(&why);
                        self.looks.may_adopt = true;
                        Ok(Fetched::default())
                    }
                    e => Err(e),
                },
            },
        };
        admitted.and(fetched)
    }

    fn claimed(&mut self, claimed: Claimed, room: usize, now: Instant) -> Fetched {
        self.is_full_told = false;
        let taken = claimed.held.len() + claimed.raw.len();
        if taken > 0 {
            self.looks.brought_something(now);
        }
        self.looks.may_adopt |= claimed.has_ownerless;
        self.left = self.left.map(|left| left.saturating_sub(taken as u64));
        self.found.extend(claimed.held);
        self.raws.extend(claimed.raw);
        Fetched {
            is_more: taken >= room.min(BATCH),
            is_empty: claimed.empty,
            is_open: !claimed.paused && claimed.quiet_ms == 0,
            next: claimed.next_ms.map(Duration::from_millis),
        }
    }

    /// Hands over what there is, and says when to ask again.
    pub(super) fn hand_over(&mut self, fetched: &Fetched) -> crate::backlog::Claimed {
        let now = Instant::now();
        let jobs = std::mem::take(&mut self.ready);
        let settled = std::mem::take(&mut self.told);
        let is_over = (self.drain && fetched.is_empty) || self.is_limit_reached();
        let supply = if fetched.is_more || self.has_more_in_hand(now) {
            Supply::More
        } else if is_over && self.held.is_empty() {
            Supply::Exhausted
        } else {
            self.wait_for_more(fetched, now)
        };
        crate::backlog::Claimed {
            jobs,
            settled,
            in_doubt: std::mem::take(&mut self.in_doubt),
            supply,
        }
    }

    fn wait_for_more(&self, fetched: &Fetched, now: Instant) -> Supply {
        let may_ring = fetched.is_open && self.max_in_flight.is_none() && !self.is_limit_reached();
        if may_ring && self.looks.is_trickle(now) {
            return Supply::NotYet(self.looks.pause());
        }
        if let Some(bell) = self.bell.as_ref().filter(|_| may_ring) {
            bell.arm();
        }
        // What is due is no reason to look again where it is not handed out all the same.
        let next = fetched.next.filter(|_| may_ring).unwrap_or(LOOK_AGAIN);
        Supply::NotYet(next.clamp(SHORTEST_WAIT, LOOK_AGAIN))
    }

    /// Whether another look goes on with something at once.
    pub(super) fn has_more_in_hand(&self, now: Instant) -> bool {
        let is_refused = self.is_full_told;
        let has_messages = !self.raws.is_empty() || !self.read.is_empty();
        (has_messages && !is_refused)
            || !self.endings.is_empty()
            || (self.looks.wants_adoption(now) && !is_refused)
    }

    /// Whether there is something to hand over.
    pub(super) fn has_something(&self) -> bool {
        !self.ready.is_empty() || !self.told.is_empty()
    }

    /// Since when there are messages that are neither requests yet nor answered.
    pub(super) fn note_messages(&mut self) {
        if self.raws.is_empty() && self.read.is_empty() {
            self.unasked_since = None;
        } else {
            self.unasked_since = Some(Instant::now());
        }
    }

    /// Hands back the messages in hand.
    pub(super) async fn release_messages(&mut self) -> Result<(), LinkError> {
        self.unasked_since = None;
        // The oldest is handed back last, and so taken first.
        let read = self.read.iter().map(|reading| &reading.raw);
        let items: Vec<Release<'_>> = read.chain(&self.raws).rev().map(back).collect();
        if items.is_empty() {
            return Ok(());
        }
        let connection = self.link.connection().await?;
        let released = self.queue.release(connection, &items).await;
        let count = items.len() as u64;
        released.map_err(|e| self.link.failed(&e))?;
        self.left = self.left.map(|left| left.saturating_add(count));
        self.raws.clear();
        self.read.clear();
        Ok(())
    }

    pub(super) fn tell_full(&mut self, why: &str) {
        if !self.is_full_told {
            warn!("{why}; nothing new is taken up or begun until there is room");
            self.is_full_told = true;
        }
    }

    /// Judges requests that somebody had before.
    pub(super) fn take_up_found(&mut self) {
        while let Some(held) = self.found.pop_front() {
            self.in_doubt += u64::from(held.found_submitting);
            let Some(id) = RequestId::try_new(&held.id) else {
                warn!("a request under an id that is none is left alone");
                continue;
            };
            let now = (self.wall_clock)();
            match self.intake.restore(&held.payload, &id) {
                Ok(message) => self.take_up(&held, message, now),
                Err(rejected) => {
                    let outcome = with_history(rejected.outcome(now), &held, now);
                    self.endings.push(Ending::of_rejected(
                        (held.id, held.epoch),
                        *rejected,
                        outcome,
                        held.remote_id,
                    ));
                }
            }
        }
    }

    fn take_up(&mut self, held: &Held, message: Message, now: Timestamp) {
        let hash = message.request.fields_hash();
        let (kept, request) = Kept::of(message, hash);
        let crash = match self.on_unknown_create {
            _ if !held.found_submitting => None,
            _ if held.crashes >= CRASHES => Some((
                ErrorClass::CrashLimit,
                format!(
                    "{} workers in a row were killed while they created it",
                    held.crashes
                ),
            )),
            UnknownCreatePolicy::Retry => None,
            UnknownCreatePolicy::Fail => Some((
                ErrorClass::UnknownCreate,
                "its worker was killed while creating it; a job may exist".to_owned(),
            )),
        };
        if let Some((class, why)) = crash {
            let outcome = Outcome {
                status: Status::Failed,
                ..with_history(Outcome::rejected(class, why, now), held, now)
            };
            let ending = Ending::of_request(held.epoch, kept, outcome, held.remote_id.clone());
            self.endings.push(ending);
            return;
        }
        let mut job = InHand::new(held.epoch, held.step, kept);
        job.history = held.history;
        job.crashes = held.crashes;
        job.waiting = waiting(held, now);
        job.not_after = held.not_after_left_ms.map(|left| in_ms(now, left));
        self.hand_out(job, request);
    }

    /// Reads messages.
    pub(super) fn read_messages(&mut self) {
        let now = (self.wall_clock)();
        for raw in std::mem::take(&mut self.raws) {
            if raw.takes > TAKES {
                let why = format!(
                    "{} workers in a row were killed while they had this message",
                    raw.takes - 1
                );
                self.endings
                    .push(Ending::of_unread(raw, ErrorClass::CrashLimit, &why, now));
                continue;
            }
            let ids = &mut self.ids;
            match self.intake.read(&raw.text, || ids.give()) {
                Ok(message) => self.read.push(Reading {
                    hash: message.request.fields_hash(),
                    raw,
                    message,
                }),
                Err(rejected) => {
                    let outcome = rejected.outcome(now);
                    let whose = (raw.key, raw.epoch);
                    self.endings
                        .push(Ending::of_rejected(whose, *rejected, outcome, None));
                }
            }
        }
    }

    fn add_admits(&self, flight: &mut Flight) -> (Asked, Vec<Option<Duration>>) {
        let now = (self.wall_clock)();
        let within = |message: &Message| {
            Some(match message.deadline? {
                Deadline::In(span) => span,
                Deadline::At(at) => Duration::try_from(at.duration_since(now)).unwrap_or_default(),
            })
        };
        let within: Vec<_> = self.read.iter().map(|r| within(&r.message)).collect();
        let hashes: Vec<_> = self.read.iter().map(|r| hash_text(r.hash)).collect();
        let items: Vec<Admit<'_>> = self
            .read
            .iter()
            .zip(&hashes)
            .zip(&within)
            .map(|((Reading { raw, message, .. }, hash), within)| Admit {
                key: &raw.key,
                epoch: raw.epoch,
                id: message.request.id().as_str(),
                hash,
                payload: &message.payload,
                not_after_in_ms: within.map(|d| u64::try_from(d.as_millis()).unwrap_or(u64::MAX)),
            })
            .collect();
        (self.queue.add_admit(flight, &items), within)
    }

    /// Takes in what became of messages. Where nobody knows they are still ours: the next look admits
    /// them, under the same ids.
    fn admitted(
        &mut self,
        asked: Asked,
        within: Vec<Option<Duration>>,
        replies: &mut Replies,
    ) -> Result<(), LinkError> {
        let admissions = match asked.admissions(replies) {
            Ok(admissions) => admissions,
            Err(e) => match self.link.failed(&e) {
                LinkError::Full(why) => {
                    self.tell_full(&why);
                    return Ok(());
                }
                e => return Err(e),
            },
        };
        let now = (self.wall_clock)();
        let read = std::mem::take(&mut self.read);
        for ((reading, within), admission) in read.into_iter().zip(within).zip(admissions) {
            let Reading { raw, message, hash } = reading;
            match admission {
                Admission::Admitted(epoch) => {
                    let (kept, request) = Kept::of(message, hash);
                    let mut job = InHand::new(epoch, 0, kept);
                    job.not_after =
                        within.map(|within| now.saturating_add(within).unwrap_or(Timestamp::MAX));
                    self.hand_out(job, request);
                }
                Admission::Duplicate => {
                    let id = message.request.id().as_str();
                    debug!(id = %id.escape_debug(), "a repeated request is dropped");
                }
                Admission::Conflict => {
                    let rejected = message.conflict(&raw.text);
                    let outcome = rejected.outcome((self.wall_clock)());
                    let whose = (raw.key, raw.epoch);
                    self.endings
                        .push(Ending::of_rejected(whose, rejected, outcome, None));
                }
                Admission::Lost => {}
            }
        }
        Ok(())
    }

    fn hand_out(&mut self, job: InHand, request: Request) {
        let ticket = Ticket(self.next_ticket);
        self.next_ticket += 1;
        self.ready.push(Claim {
            ticket,
            request,
            history: job.history,
            resume: job.waiting.clone().map_or(Resume::Queued, Resume::Waiting),
            not_after: job.not_after,
        });
        self.held.insert(ticket, Box::new(job));
    }
}

fn back(raw: &Raw) -> Release<'_> {
    Release {
        hold: Hold {
            id: &raw.key,
            epoch: raw.epoch,
            step: 0,
        },
        polls: 0,
        delay: Duration::ZERO,
    }
}

/// An outcome with what was done for the request before.
fn with_history(outcome: Outcome, held: &Held, now: Timestamp) -> Outcome {
    let job = waiting(held, now);
    Outcome {
        submitted_at: job.as_ref().map(|w| w.submitted_at),
        remote_id: job.map(|w| w.remote_id),
        attempts: held.history.creates,
        polls: held.history.polls,
        cost: held.history.spent,
        ..outcome
    }
}
