//! The end of requests.

use std::time::Duration;

use ::redis::RedisResult;

use crate::job::{Micros, Status};

use super::flight::{Asked, Flight, Replies};
use super::held::{Held, Hold};
use super::queue::{Queue, ms};
use super::script;

/// Where an outcome is pushed to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Target<'a> {
    /// Nowhere: another sink has it already.
    Nowhere,
    /// The results list of the call.
    Results,
    /// The list that the request names; where that is no list, the results list.
    Reply(&'a str),
}

/// A request, or a message that is none, and its outcome. No `Debug`: the outcome may hold a token.
#[derive(Clone, Copy)]
pub(crate) struct Finish<'a> {
    /// Whose.
    pub(crate) hold: Hold<'a>,
    /// How it ended. `Solved` counts also where the hold is over, by the remote id.
    pub(crate) status: Status,
    /// The job that the verdict is about, JSON text; `None` where the caller knows of none.
    pub(crate) remote_id: Option<&'a str>,
    /// Given back of the spend.
    pub(crate) refund: Micros,
    /// Polls that are not recorded yet.
    pub(crate) polls: u32,
    /// Counts one more create of unknown fate.
    pub(crate) unknown_create: bool,
    /// Given up: kept for [`Queue::requeue`].
    pub(crate) dead: bool,
    /// Where the outcome goes.
    pub(crate) target: Target<'a>,
    /// JSON.
    pub(crate) outcome: &'a str,
    /// The outcome that says that `reply_to` was no list.
    pub(crate) with_reply_error: Option<&'a str>,
    /// A key of its own for the outcome, and how long it lives.
    pub(crate) result_key: Option<(&'a str, Duration)>,
}

/// What became of a finish.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Finished {
    /// It is delivered and over, by this call or the one that it repeats.
    Done,
    /// Nothing changed: it is over already, or another one's. So ends also a repeated call about a message.
    Lost,
    /// Nothing changed: there is a job that this verdict is not about.
    Learn(Box<Held>),
    /// Nothing changed: this key is one of the queue's own, or of a type that takes no outcome, and there
    /// is no other place.
    BadTarget(String),
}

/// The code of the error that says that the results list is no list.
pub(crate) const WRONG_TARGET: &str = "WRONGTARGET";

impl Queue {
    /// Delivers outcomes and ends their requests, at once. Targets must lie in the queue's slot. After a
    /// failover the requests are to be asserted first: Redis may have lost them, and an outcome of what it
    /// does not know is dropped.
    pub(super) fn add_finish(
        &self,
        flight: &mut Flight,
        results: Option<&str>,
        items: &[Finish<'_>],
    ) -> Asked {
        flight.add_all(items, |some| {
            let mut targets = Targets::default();
            let results = results.map_or(0, |key| targets.place(key));
            let places: Vec<(usize, usize, u64)> = some
                .iter()
                .map(|item| {
                    let target = match item.target {
                        Target::Nowhere => 0,
                        Target::Results => results,
                        Target::Reply(key) => targets.place(key),
                    };
                    let key = item.result_key;
                    let (key, ttl) = key.map_or((0, 1), |(key, ttl)| (targets.place(key), ms(ttl)));
                    (target, key, ttl)
                })
                .collect();
            let mut call = self.call_with(&script::FINISH, &targets.0);
            call.arg(ms(self.settings.window)).arg(results);
            for (item, (target, result_key, ttl)) in some.iter().zip(places) {
                call.arg(item.hold.id)
                    .arg(item.hold.epoch.0)
                    .flag(item.status == Status::Solved)
                    .arg_or_none(item.remote_id)
                    .arg(item.refund.0)
                    .arg(item.polls)
                    .flag(item.unknown_create)
                    .flag(item.dead)
                    .arg(item.status.as_str())
                    .arg(target)
                    .flag(matches!(item.target, Target::Reply(_)))
                    .arg(item.outcome)
                    .arg_or_none(item.with_reply_error)
                    .arg(result_key)
                    .arg(ttl);
            }
            call
        })
    }
}

/// The keys that outcomes of a call go to, each once.
#[derive(Default)]
struct Targets<'a>(Vec<&'a str>);

impl<'a> Targets<'a> {
    /// Its place, counted from one.
    fn place(&mut self, key: &'a str) -> usize {
        let known = self.0.iter().position(|&one| one == key);
        known.map_or_else(
            || {
                self.0.push(key);
                self.0.len()
            },
            |at| at + 1,
        )
    }
}

impl Asked {
    /// # Errors
    ///
    /// Redis', to be repeated as it is; with the code `WRONGTARGET`, nothing of a batch of 128 was done.
    pub(super) fn finished(self, replies: &mut Replies) -> RedisResult<Vec<Finished>> {
        self.read(replies, |reply| {
            Ok(match reply.text()?.as_str() {
                "done" => Finished::Done,
                "lost" => Finished::Lost,
                "learn" => Finished::Learn(Box::new(Held::read(reply)?)),
                "bad_target" => Finished::BadTarget(reply.text()?),
                _ => return Err(reply.unknown_word()),
            })
        })
    }
}
