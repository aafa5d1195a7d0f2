//! How work comes to a worker: jobs of the dead are adopted, the rest is claimed, messages are admitted.

use ::redis::RedisResult;

use super::flight::{Asked, Flight, Replies};
use super::held::{Epoch, Held, Raw};
use super::queue::{BATCH, MOST, Queue, ms};
use super::reply::Reply;
use super::script;

/// An answer to [`Queue::add_adopt`].
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Adopted {
    /// Jobs with remote ids, of the caller's API.
    pub(crate) held: Vec<Held>,
    /// Ownerless jobs of other APIs that were seen; they stay for workers of theirs.
    pub(crate) elsewhere: u32,
    /// Nothing is handed out for so long, while owners assert what they hold.
    pub(crate) quiet_ms: u64,
}

/// An answer to [`Queue::add_claim`].
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Claimed {
    /// Requests without a remote id.
    pub(crate) held: Vec<Held>,
    /// Messages to be read, for [`Queue::add_admit`] or [`Queue::add_finish`].
    pub(crate) raw: Vec<Raw>,
    /// Nothing waits and nothing is in flight, here or at any worker.
    pub(crate) empty: bool,
    /// Until the next lease ends or the next retry is due, whosever; without those that are over or due
    /// already, which nobody may take for now (a pause, the cap, another API).
    pub(crate) next_ms: Option<u64>,
    /// Nothing is handed out until the queue is resumed.
    pub(crate) paused: bool,
    /// See [`Adopted::quiet_ms`].
    pub(crate) quiet_ms: u64,
    /// Jobs with a remote id have no owner: [`Queue::add_adopt`] may bring them.
    pub(crate) has_ownerless: bool,
}

/// A message that was read as a request.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Admit<'a> {
    /// [`Raw::key`].
    pub(crate) key: &'a str,
    /// [`Raw::epoch`].
    pub(crate) epoch: Epoch,
    /// The request's id.
    pub(crate) id: &'a str,
    /// Of its fields: tells a duplicate from a conflict.
    pub(crate) hash: &'a str,
    /// What claims hand out from now on.
    pub(crate) payload: &'a str,
    /// From now until it may not be sent any more.
    pub(crate) not_after_in_ms: Option<u64>,
}

/// What became of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Admission {
    /// It is a job now, held under this epoch, at step 0.
    Admitted(Epoch),
    /// The same request is unfinished, or finished lately: the message is gone.
    Duplicate,
    /// The id belongs to a request with other fields. The message is still held, to be rejected.
    Conflict,
    /// The message is not the caller's any more; also the answer to a repeated call about a duplicate.
    Lost,
}

impl Queue {
    /// Hands out up to `n` (at most 128) jobs that have a remote id at this `api` and no owner. It goes
    /// past pauses and caps: what is paid is polled. Where the answer is lost, they come back when their
    /// leases end.
    pub(super) fn add_adopt(&self, flight: &mut Flight, n: usize, api: &str) {
        let mut call = self.call_as_worker(&script::ADOPT);
        call.arg(n.min(BATCH)).arg(api);
        flight.add(call);
    }

    /// Hands out up to `n` (at most 128) requests and messages without a remote id: first what dead
    /// workers left, then due retries, `ready`, messages. `cap` bounds what the whole fleet has in flight.
    /// Where the answer is lost, they come back when their leases end.
    pub(super) fn add_claim(&self, flight: &mut Flight, n: usize, cap: Option<u64>) {
        let mut call = self.call_as_worker(&script::CLAIM);
        call.arg(n.min(BATCH)).arg(cap.unwrap_or(0));
        flight.add(call);
    }

    /// Turns messages into jobs, or finds that they are none.
    pub(super) fn add_admit(&self, flight: &mut Flight, items: &[Admit<'_>]) -> Asked {
        flight.add_all(items, |some| {
            let mut call = self.call_as_worker(&script::ADMIT);
            call.arg(ms(self.settings.window));
            for item in some {
                call.arg(item.key)
                    .arg(item.epoch.0)
                    .arg(item.id)
                    .arg(item.hash)
                    .arg(item.payload)
                    .arg_or_none(item.not_after_in_ms.map(|within| within.min(MOST)));
            }
            call
        })
    }
}

impl Adopted {
    /// # Errors
    ///
    /// Redis'.
    pub(super) fn read(replies: &mut Replies) -> RedisResult<Self> {
        let mut reply = replies.next()?;
        let mut adopted = Self {
            quiet_ms: reply.int()?,
            elsewhere: reply.int()?,
            held: Vec::new(),
        };
        while !reply.is_done() {
            adopted.held.push(Held::read(&mut reply)?);
        }
        Ok(adopted)
    }
}

impl Claimed {
    /// # Errors
    ///
    /// Redis', such as `OOM`.
    pub(super) fn read(replies: &mut Replies) -> RedisResult<Self> {
        let mut reply = replies.next()?;
        let mut claimed = Self {
            paused: reply.flag()?,
            quiet_ms: reply.int()?,
            empty: reply.flag()?,
            next_ms: reply.int_or_none()?,
            has_ownerless: reply.flag()?,
            ..Self::default()
        };
        for _ in 0..reply.int::<usize>()? {
            claimed.held.push(Held::read(&mut reply)?);
        }
        while !reply.is_done() {
            claimed.raw.push(Raw {
                key: reply.text()?,
                epoch: Epoch(reply.int()?),
                takes: reply.int()?,
                text: reply.bytes()?,
            });
        }
        Ok(claimed)
    }
}

impl Admission {
    fn read(reply: &mut Reply) -> RedisResult<Self> {
        match reply.text()?.as_str() {
            "admitted" => Ok(Self::Admitted(Epoch(reply.int()?))),
            "duplicate" => Ok(Self::Duplicate),
            "conflict" => Ok(Self::Conflict),
            "lost" => Ok(Self::Lost),
            _ => Err(reply.unknown_word()),
        }
    }
}

impl Asked {
    /// # Errors
    ///
    /// Redis', such as `OOM`; to be repeated as it is.
    pub(super) fn admissions(self, replies: &mut Replies) -> RedisResult<Vec<Admission>> {
        self.read(replies, Admission::read)
    }
}
