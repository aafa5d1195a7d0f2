//! The life of a create: begun, settled one way or another, or brought in late.

use std::time::Duration;

use ::redis::RedisResult;

use crate::job::Micros;

use super::flight::{Asked, Flight, Replies};
use super::held::{Answer, Held, Hold};
use super::pace::Pace;
use super::queue::{MOST, Queue, ms};
use super::script;

/// A create that is about to be sent.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Begin<'a> {
    /// Whose.
    pub(crate) hold: Hold<'a>,
    /// What it may cost.
    pub(crate) reserve: Micros,
}

/// What creates are subject to.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Spending<'a> {
    /// Where they go.
    pub(crate) api: &'a str,
    /// The fleet's rate.
    pub(crate) pace: Pace,
    /// Most that the queue may spend over its life.
    pub(crate) cap: Option<Micros>,
}

/// What became of a begin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Begun {
    /// It is recorded as about to be sent, so many microseconds from now. A repetition gives the slot of
    /// the first call, which may lie in the past: a sender who is late withdraws and begins again.
    Slot(i64),
    /// Nothing changed: no slot is due within the horizon, the next one is in so long. Also where the
    /// queue is paused.
    NotYet(Duration),
    /// Nothing changed: it could exceed the cap.
    OverSpend,
    /// As in [`Answer`].
    Learn(Box<Held>),
    /// As in [`Answer`].
    Lost,
}

/// A remote id that a create brought.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Created<'a> {
    /// Of the one who sent the create, also where it is over by now.
    pub(crate) hold: Hold<'a>,
    /// JSON text.
    pub(crate) remote_id: &'a str,
    /// The sender's wall clock, ms.
    pub(crate) submitted_at_ms: i64,
    /// From now until the job is given up.
    pub(crate) budget: Duration,
}

/// A way back to claimed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Back<'a> {
    /// Whose.
    pub(crate) hold: Hold<'a>,
    /// Why.
    pub(crate) by: BackBy<'a>,
}

/// Why a request is to be created again.
#[derive(Clone, Copy, Debug)]
pub(crate) enum BackBy<'a> {
    /// The create is known not to exist: count and reservation are given back.
    Withdraw,
    /// Its fate is unknown: it counts as spent.
    Unknown,
    /// The job failed.
    Retry {
        /// Which one: JSON text. Another one that was recorded meanwhile is not given up but learnt of.
        remote_id: &'a str,
        /// Given back of the spend.
        refund: Micros,
        /// Polls of that job.
        polls: u32,
    },
}

impl Queue {
    /// Reserves slots and money and marks the creates as about to be sent. After the first `NotYet` no
    /// further one gets a slot.
    pub(super) fn add_begin(
        &self,
        flight: &mut Flight,
        spending: Spending<'_>,
        items: &[Begin<'_>],
    ) -> Asked {
        flight.add_all(items, |some| {
            let mut call = self.call_as_worker(&script::BEGIN);
            call.arg(spending.api);
            spending.pace.write(&mut call);
            call.arg_or_none(spending.cap.map(|cap| cap.0));
            for Begin { hold, reserve } in some {
                call.arg(hold.id)
                    .arg(hold.epoch.0)
                    .arg(hold.step)
                    .arg(u64::try_from(reserve.0).unwrap_or(0).min(MOST));
            }
            call
        })
    }

    /// Records remote ids of jobs that live at `api`. An id is recorded or noted as an orphan, whatever the answer says about the
    /// hold.
    pub(super) fn add_created(
        &self,
        flight: &mut Flight,
        api: &str,
        items: &[Created<'_>],
    ) -> Asked {
        flight.add_all(items, |some| {
            let mut call = self.call_as_worker(&script::CREATED);
            call.arg(api);
            for item in some {
                call.arg(item.hold.id)
                    .arg(item.hold.epoch.0)
                    .arg(item.hold.step)
                    .arg(item.remote_id)
                    .arg(item.submitted_at_ms)
                    .arg(ms(item.budget));
            }
            call
        })
    }

    /// Back to claimed, in the caller's hold. After a `Learn` a create that was withdrawn or in doubt is
    /// accounted for, too.
    pub(super) fn add_back(&self, flight: &mut Flight, items: &[Back<'_>]) -> Asked {
        flight.add_all(items, |some| {
            let mut call = self.call_as_worker(&script::BACK);
            for Back { hold, by } in some {
                let (word, remote_id, refund, polls) = match *by {
                    BackBy::Withdraw => ("withdraw", None, Micros::ZERO, 0),
                    BackBy::Unknown => ("unknown", None, Micros::ZERO, 0),
                    BackBy::Retry {
                        remote_id,
                        refund,
                        polls,
                    } => ("retry", Some(remote_id), refund, polls),
                };
                call.arg(hold.id)
                    .arg(hold.epoch.0)
                    .arg(hold.step)
                    .arg(word)
                    .arg_or_none(remote_id)
                    .arg(refund.0)
                    .arg(polls);
            }
            call
        })
    }
}

impl Asked {
    /// # Errors
    ///
    /// Redis', such as `OOM`; to be repeated as it is.
    pub(super) fn begun(self, replies: &mut Replies) -> RedisResult<Vec<Begun>> {
        self.read(replies, |reply| {
            Ok(match reply.text()?.as_str() {
                "slot" => Begun::Slot(reply.int()?),
                "not_yet" => Begun::NotYet(Duration::from_micros(reply.int()?)),
                "over_spend" => Begun::OverSpend,
                "learn" => Begun::Learn(Box::new(Held::read(reply)?)),
                "lost" => Begun::Lost,
                _ => return Err(reply.unknown_word()),
            })
        })
    }

    /// # Errors
    ///
    /// Redis'; to be repeated as it is.
    pub(super) fn answers(self, replies: &mut Replies) -> RedisResult<Vec<Answer>> {
        self.read(replies, Answer::read)
    }
}
