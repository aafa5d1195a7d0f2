//! How holds are kept, handed back, and put back after a failover.

use std::time::Duration;

use ::redis::RedisResult;
use ::redis::aio::ConnectionLike;

use crate::backlog::History;

use super::flight::{Asked, Flight, Replies};
use super::held::{Answer, Held, Hold, JobState};
use super::queue::{BATCH, MOST, Queue, ms};
use super::script;

/// A hold that is to live on.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Known<'a> {
    /// Whose. A message's is kept as well.
    pub(crate) hold: Hold<'a>,
    /// The remote id that the caller knows of, JSON text.
    pub(crate) remote_id: Option<&'a str>,
}

/// An answer to [`Queue::beat`].
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Beat {
    /// Places of items whose hold is over.
    pub(crate) lost: Vec<usize>,
    /// Places of items that have a job which the caller did not name. An answer that crossed with another
    /// call about the same hold may be older than that one's: the higher step is right.
    pub(crate) learned: Vec<(usize, Held)>,
    /// Until creates may go on.
    pub(crate) hold_ms: u64,
    /// Whether the queue is paused.
    pub(crate) paused: bool,
    /// Workers that are alive, the caller among them.
    pub(crate) workers: u32,
}

/// A hold that is handed back.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Release<'a> {
    /// Whose. It is over afterwards.
    pub(crate) hold: Hold<'a>,
    /// Polls that are not recorded yet.
    pub(crate) polls: u32,
    /// A request that is not waiting for a job is claimed no sooner.
    pub(crate) delay: Duration,
}

/// Everything that an owner knows of a job of its own.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Assert<'a> {
    /// Whose.
    pub(crate) hold: Hold<'a>,
    /// `Claimed`, `Submitting` or `Waiting`.
    pub(crate) state: JobState,
    /// See [`Held`] for this and the following ones.
    pub(crate) payload: &'a str,
    /// Of its fields.
    pub(crate) hash: &'a str,
    /// With what the create under way may cost.
    pub(crate) history: History,
    /// In a row.
    pub(crate) crashes: u32,
    /// Of the create under way; `None` where there is none.
    pub(crate) reserve: Option<crate::job::Micros>,
    /// JSON text.
    pub(crate) remote_id: Option<&'a str>,
    /// ms.
    pub(crate) submitted_at_ms: Option<i64>,
    /// ms.
    pub(crate) deadline_left_ms: Option<i64>,
    /// ms.
    pub(crate) not_after_left_ms: Option<i64>,
    /// Where its job lives.
    pub(crate) api: Option<&'a str>,
}

/// An answer to [`Queue::assert`].
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Asserted {
    /// For each, in order.
    pub(crate) answers: Vec<Answer>,
    /// Jobs of which Redis had lost something.
    pub(crate) put_back: u32,
}

/// An answer to [`Queue::settle_in`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Settled {
    /// The queue met another Redis before, and this call is the first to say so. A worker also compares
    /// with the run id that it saw last itself: either way it asserts what it holds.
    pub(crate) differs: bool,
    /// Nothing is handed out for so long.
    pub(crate) quiet_ms: u64,
}

impl Queue {
    /// Keeps holds alive, to be called three times a lease, also with nothing to keep: it is what makes
    /// the worker count as alive.
    ///
    /// # Errors
    ///
    /// Redis'; to be repeated.
    pub(crate) async fn beat<C: ConnectionLike>(
        &self,
        connection: &mut C,
        items: &[Known<'_>],
    ) -> RedisResult<Beat> {
        let mut flight = Flight::default();
        let call = |some: &[Known<'_>]| {
            let mut call = self.call_as_worker(&script::BEAT);
            for Known { hold, remote_id } in some {
                call.arg(hold.id).arg(hold.epoch.0).arg_or_none(*remote_id);
            }
            call
        };
        flight.add_all(items, call);
        if flight.is_empty() {
            flight.add(call(&[]));
        }
        let mut replies = flight.send(connection).await?;
        let mut beat = Beat::default();
        let mut place = 0;
        loop {
            let mut reply = replies.next()?;
            beat.hold_ms = reply.int()?;
            beat.paused = reply.flag()?;
            beat.workers = reply.int()?;
            for _ in 0..reply.int::<usize>()? {
                beat.lost.push(place + reply.int::<usize>()?);
            }
            while !reply.is_done() {
                let at = place + reply.int::<usize>()?;
                beat.learned.push((at, Held::read(&mut reply)?));
            }
            place += BATCH;
            if place >= items.len() {
                return Ok(beat);
            }
        }
    }

    /// Hands holds back; what the caller does not hold any more is left alone. Messages go back to where
    /// the next claim takes from.
    pub(super) fn add_release(&self, flight: &mut Flight, items: &[Release<'_>]) -> Asked {
        flight.add_all(items, |some| {
            let mut call = self.call(&script::RELEASE);
            for item in some {
                let delay = u64::try_from(item.delay.as_millis()).unwrap_or(MOST);
                call.arg(item.hold.id)
                    .arg(item.hold.epoch.0)
                    .arg(item.polls)
                    .arg(delay.min(MOST));
            }
            call
        })
    }

    /// Hands holds back, by themselves.
    ///
    /// # Errors
    ///
    /// Redis'; to be repeated as it is.
    pub(crate) async fn release<C: ConnectionLike>(
        &self,
        connection: &mut C,
        items: &[Release<'_>],
    ) -> RedisResult<()> {
        let mut flight = Flight::default();
        let asked = self.add_release(&mut flight, items);
        asked.released(&mut flight.send(connection).await?)
    }

    /// Puts back what Redis has lost of the caller's jobs; a job that it has at a later epoch is lost.
    ///
    /// # Errors
    ///
    /// Redis'; to be repeated as it is.
    pub(crate) async fn assert<C: ConnectionLike>(
        &self,
        connection: &mut C,
        items: &[Assert<'_>],
    ) -> RedisResult<Asserted> {
        let mut flight = Flight::default();
        flight.add_all(items, |some| {
            let mut call = self.call_as_worker(&script::ASSERT);
            for item in some {
                call.arg(item.hold.id)
                    .arg(item.hold.epoch.0)
                    .arg(item.hold.step)
                    .arg(item.state.as_str())
                    .arg(item.payload)
                    .arg(item.hash)
                    .arg(item.history.creates)
                    .arg(item.history.failed_attempts)
                    .arg(item.history.unknown_creates)
                    .arg(item.history.polls)
                    .arg(item.history.spent.0)
                    .arg(item.crashes)
                    .arg_or_none(item.reserve.map(|reserve| reserve.0))
                    .arg_or_none(item.remote_id)
                    .arg_or_none(item.submitted_at_ms)
                    .arg_or_none(item.deadline_left_ms)
                    .arg_or_none(item.not_after_left_ms)
                    .arg_or_none(item.api);
            }
            call
        });
        let mut asserted = Asserted::default();
        if items.is_empty() {
            return Ok(asserted);
        }
        let mut replies = flight.send(connection).await?;
        for some in items.chunks(BATCH) {
            let mut reply = replies.next()?;
            asserted.put_back += reply.int::<u32>()?;
            for _ in some {
                asserted.answers.push(Answer::read(&mut reply)?);
            }
            reply.end()?;
        }
        Ok(asserted)
    }

    /// To be called on every new connection, before anything else, with Redis' own run id.
    ///
    /// # Errors
    ///
    /// Redis'; to be repeated.
    pub(crate) async fn settle_in<C: ConnectionLike>(
        &self,
        connection: &mut C,
        run_id: &str,
    ) -> RedisResult<Settled> {
        let mut call = self.call(&script::SETTLE_IN);
        call.arg(ms(self.settings.lease)).arg(run_id);
        let mut reply = call.run(connection).await?;
        let settled = Settled {
            differs: reply.flag()?,
            quiet_ms: reply.int()?,
        };
        reply.end()?;
        Ok(settled)
    }
}

impl Asked {
    /// # Errors
    ///
    /// Redis'; to be repeated as it is.
    pub(super) fn released(self, replies: &mut Replies) -> RedisResult<()> {
        self.read(replies, |reply| reply.text().map(drop)).map(drop)
    }
}
