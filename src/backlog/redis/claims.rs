//! Claims: jobs in flight whose owners are gone, requests that were handed back, and new messages.
//!
//! What must stay true: what Redis handed out stays in hand until it is a claim or an outcome, so that a
//! claim that fails half-way goes on with the next; jobs in flight come first.

use std::time::Duration;

use jiff::Timestamp;
use tracing::{debug, warn};

use super::deliver::Ending;
use super::message::{Deadline, Message};
use super::worker::{InHand, RedisBacklog, hash_text, in_ms, waiting};
use super::{Admission, Admit, Held, Raw};
use crate::backlog::{BacklogError, Claim, Resume, UnknownCreatePolicy};
use crate::job::{ErrorClass, Outcome, RequestId, Status};
use crate::redis::LinkError;

/// Crashes in a row between begin and created that end a request.
const CRASHES: u32 = 20;
/// Workers that died in a row while they had a message: it is not given to another.
const TAKES: u32 = 20;

/// What a look at the queue said beside what it brought.
#[derive(Debug, Default)]
pub(super) struct Fetched {
    /// Something was brought, even if nothing came of it.
    pub(super) is_more: bool,
    /// Nothing is left anywhere, not even in flight.
    pub(super) is_empty: bool,
    /// What arrives would be handed out.
    pub(super) is_open: bool,
    /// When a lease runs out or a retry is due.
    pub(super) next: Option<Duration>,
}

impl RedisBacklog {
    /// Fetches up to `max` requests from Redis.
    pub(super) async fn fetch(&mut self, max: usize) -> Result<Fetched, BacklogError> {
        let api = self.api.clone();
        let adopted = self.call(async |q, c| q.adopt(c, max, &api).await).await?;
        let mut room = max.saturating_sub(adopted.held.len());
        let is_more = !adopted.held.is_empty();
        self.found.extend(adopted.held);
        if let Some(left) = self.left {
            room = room.min(usize::try_from(left).unwrap_or(usize::MAX));
        }
        if room == 0 {
            return Ok(Fetched {
                is_more,
                ..Fetched::default()
            });
        }
        let cap = self.max_in_flight;
        let claimed = match self.call(async |q, c| q.claim(c, room, cap).await).await {
            Ok(claimed) => claimed,
            Err(LinkError::Full(why)) => {
                self.tell_full(&why);
                return Ok(Fetched {
                    is_more,
                    ..Fetched::default()
                });
            }
            Err(e) => return Err(e.into()),
        };
        self.is_full_told = false;
        let taken = claimed.held.len() + claimed.raw.len();
        self.left = self.left.map(|left| left.saturating_sub(taken as u64));
        self.found.extend(claimed.held);
        self.raws.extend(claimed.raw);
        Ok(Fetched {
            is_more: is_more || taken > 0,
            is_empty: claimed.empty,
            is_open: !claimed.paused && claimed.quiet_ms == 0,
            next: claimed.next_ms.map(Duration::from_millis),
        })
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
            let ending = Ending::of_request(held.epoch, message, outcome, held.remote_id.clone());
            self.endings.push(ending);
            return;
        }
        let mut job = InHand::new(held.epoch, held.step, message);
        job.history = held.history;
        job.crashes = held.crashes;
        job.waiting = waiting(held, now);
        job.not_after = held.not_after_left_ms.map(|left| in_ms(now, left));
        self.hand_out(job);
    }

    /// Turns messages into requests.
    pub(super) async fn take_up_messages(&mut self) -> Result<(), BacklogError> {
        let now = (self.wall_clock)();
        let mut read: Vec<(Raw, Message)> = Vec::new();
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
                Ok(message) => read.push((raw, message)),
                Err(rejected) => {
                    let outcome = rejected.outcome(now);
                    let whose = (raw.key, raw.epoch);
                    self.endings
                        .push(Ending::of_rejected(whose, *rejected, outcome, None));
                }
            }
        }
        if read.is_empty() {
            return Ok(());
        }
        let hashes: Vec<String> = read.iter().map(|(_, m)| hash_text(m)).collect();
        let not_after: Vec<Option<Duration>> = read
            .iter()
            .map(|(_, message)| {
                Some(match message.deadline? {
                    Deadline::In(span) => span,
                    Deadline::At(at) => {
                        Duration::try_from(at.duration_since(now)).unwrap_or_default()
                    }
                })
            })
            .collect();
        let items: Vec<Admit<'_>> = read
            .iter()
            .zip(&hashes)
            .zip(&not_after)
            .map(|(((raw, message), hash), within)| Admit {
                key: &raw.key,
                epoch: raw.epoch,
                id: message.request.id().as_str(),
                hash,
                payload: &message.payload,
                not_after_in_ms: within.map(|d| u64::try_from(d.as_millis()).unwrap_or(u64::MAX)),
            })
            .collect();
        let admitted = self.call(async |q, c| q.admit(c, &items).await).await;
        drop(items);
        let admissions = match admitted {
            Ok(admissions) => admissions,
            Err(e) => {
                // They are still ours: the next claim begins with them, under the same ids.
                for (mut raw, message) in read {
                    raw.text = message.payload.into_bytes();
                    self.raws.push_back(raw);
                }
                if let LinkError::Full(why) = &e {
                    self.tell_full(why);
                    return Ok(());
                }
                return Err(e.into());
            }
        };
        for (((raw, message), within), admission) in read.into_iter().zip(not_after).zip(admissions)
        {
            match admission {
                Admission::Admitted(epoch) => {
                    let mut job = InHand::new(epoch, 0, message);
                    job.not_after =
                        within.map(|within| now.saturating_add(within).unwrap_or(Timestamp::MAX));
                    self.hand_out(job);
                }
                Admission::Duplicate => {
                    let id = message.request.id().as_str();
                    debug!(id = %id.escape_debug(), "a repeated request is dropped");
                }
                Admission::Conflict => {
                    let rejected = message.conflict(&raw.text);
                    let outcome = rejected.outcome(now);
                    let whose = (raw.key, raw.epoch);
                    self.endings
                        .push(Ending::of_rejected(whose, rejected, outcome, None));
                }
                Admission::Lost => {}
            }
        }
        Ok(())
    }

    fn hand_out(&mut self, job: InHand) {
        let claim = Claim {
            ticket: crate::backlog::Ticket(0),
            request: job.message.request.clone(),
            history: job.history,
            resume: job.waiting.clone().map_or(Resume::Queued, Resume::Waiting),
            not_after: job.not_after,
        };
        let ticket = self.hold_ticket(job);
        self.ready.push(Claim { ticket, ..claim });
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
