//! A queue in Redis as a backlog: the second implementation of [`Backlog`].
//!
//! What must stay true:
//!
//! * What a worker holds, it holds by a lease; whatever it does is fenced by the epoch that it got with
//!   it. Nothing here is needed to go on after a kill: the lease runs out, and Redis knows the rest.
//! * A call that failed as away is repeated as it was: every operation of [`Queue`] is idempotent, what a
//!   claim brought stays in hand for the next one, and what is answered of a batch is not asked again.
//! * After Redis came back as another run, everything that is held is asserted before anything is claimed.

use std::collections::{HashSet, VecDeque};
use std::ops::RangeInclusive;
use std::time::Duration;

use foldhash::HashMap;
use jiff::Timestamp;
use tokio::time::Instant;
use tracing::warn;

use super::claims::{KEEP_UNASKED, Looks, Reading};
use super::deliver::{Delivery, Ending};
use super::fresh::FreshIds;
use super::in_hand::InHand;
use super::message::Intake;
use super::{Held, Pace, Queue, Raw};
use crate::backlog::{
    Answer, Backlog, BacklogError, Claim, Claimed, LeaseClock, News, PollSlots, Record, Ticket,
    UnknownCreatePolicy, Wake,
};
use crate::job::{Micros, Outcome};
use crate::redis::{Bell, Connection, Link, LinkError};

/// Exchanges with a Redis that is near begin this far from each other: so that each brings more, and not so far
/// that a kill would leave many creates in doubt. A worker has few at a time where it must wait the longest.
const BATCH_EVERY: RangeInclusive<Duration> = Duration::from_millis(4)..=Duration::from_millis(40);
/// Slots for polls are given this far ahead.
pub(super) const POLL_HORIZON: Duration = Duration::from_secs(1);
/// What somebody else has is forgotten after this time: no create of ours is still on the wire.
const FORGET_LOST: Duration = Duration::from_secs(5 * 60);

/// A worker's view of a queue. See the module's head.
pub struct RedisBacklog {
    pub(super) link: Link,
    pub(super) queue: Queue,
    pub(super) bell: Option<Bell>,
    pub(super) workers_key: String,
    pub(super) delivery: Delivery,
    pub(super) intake: Intake,
    pub(super) ids: FreshIds,
    pub(super) api: String,
    pub(super) submit_pace: Pace,
    /// How long an exchange takes lately. Slots are asked for so much further ahead.
    pub(super) lag: Duration,
    pub(super) poll_pace: Option<Pace>,
    pub(super) max_spend: Option<Micros>,
    pub(super) max_in_flight: Option<u64>,
    pub(super) on_unknown_create: UnknownCreatePolicy,
    pub(super) wall_clock: fn() -> Timestamp,

    /// What was handed out and not settled or released. Boxed, since a map of very many has as much room again.
    pub(super) held: HashMap<Ticket, Box<InHand>>,
    pub(super) next_ticket: u64,
    /// Taken, and not judged yet.
    pub(super) found: VecDeque<Held>,
    /// Taken, and not read yet.
    pub(super) raws: VecDeque<Raw>,
    /// Read, and not admitted yet.
    pub(super) read: Vec<Reading>,
    /// When those two were asked for last.
    pub(super) unasked_since: Option<Instant>,
    pub(super) looks: Looks,
    /// To be handed out.
    pub(super) ready: Vec<Claim>,
    /// To be ended by us.
    pub(super) endings: Vec<Ending>,
    /// Ended by us, and not told yet.
    pub(super) told: Vec<Outcome>,
    pub(super) in_doubt: u64,
    /// Answers to the records of a batch that failed half-way, by their places.
    pub(super) answered: Vec<Option<Answer>>,
    /// Whose outcomes are with the sinks that are told first.
    pub(super) delivered: HashSet<String>,
    /// What an assertion found.
    pub(super) news: News,

    pub(super) drain: bool,
    /// Requests that may still be taken up.
    pub(super) left: Option<u64>,
    /// A settled request may have been the last.
    pub(super) may_be_done: bool,
    pub(super) is_full_told: bool,

    pub(super) clock: LeaseClock,
    pub(super) lease: Duration,
    pub(super) beat_at: Instant,
    /// The connection whose server was looked at.
    pub(super) generation: u64,
    pub(super) run_id: Option<String>,
}

impl RedisBacklog {
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

    /// Until when messages are kept that nobody asks for.
    fn unasked_until(&self) -> Option<Instant> {
        Some(self.unasked_since? + KEEP_UNASKED)
    }

    fn tend_at(&self) -> Instant {
        let until = self.unasked_until();
        until.map_or(self.beat_at, |until| until.min(self.beat_at))
    }

    pub(super) fn is_limit_reached(&self) -> bool {
        self.left == Some(0)
    }
}

impl Backlog for RedisBacklog {
    async fn claim(&mut self, max: usize) -> Result<Claimed, BacklogError> {
        self.may_be_done = false;
        let mut fetched = self.exchange(&[], Some(max)).await?.fetched?;
        // Messages have to be admitted, and what looks for ownerless jobs looks for nothing else.
        if !self.has_something() && (fetched.is_more || self.has_more_in_hand(Instant::now())) {
            fetched = self.exchange(&[], Some(max)).await?.fetched?;
        }
        Ok(self.hand_over(&fetched))
    }

    async fn record(
        &mut self,
        batch: &[(Ticket, Record)],
        _polls: u64,
    ) -> Result<Vec<Answer>, BacklogError> {
        Ok(self.exchange(batch, None).await?.answers)
    }

    async fn record_and_claim(
        &mut self,
        batch: &[(Ticket, Record)],
        _polls: u64,
        max: usize,
    ) -> Result<(Vec<Answer>, Option<Claimed>), BacklogError> {
        self.may_be_done = false;
        let exchanged = self.exchange(batch, Some(max)).await?;
        // What the look failed with is met again when it is asked for by itself.
        let claimed = exchanged
            .fetched
            .ok()
            .map(|fetched| self.hand_over(&fetched));
        Ok((exchanged.answers, claimed))
    }

    fn batch_every(&self) -> RangeInclusive<Duration> {
        BATCH_EVERY
    }

    async fn close(&mut self, _why: &str) -> Result<(), BacklogError> {
        self.release_messages().await?;
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
        let beat = tokio::time::sleep_until(self.tend_at());
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
        let now = Instant::now();
        if self.unasked_until().is_some_and(|until| until <= now) {
            self.settle_in().await?;
            self.release_messages().await?;
        }
        if self.beat_at <= now {
            self.beat().await?;
        }
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
