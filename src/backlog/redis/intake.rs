//! How work comes to a worker: jobs of the dead are adopted, the rest is claimed, messages are admitted.

use ::redis::RedisResult;
use ::redis::aio::ConnectionLike;

use super::held::{Epoch, Held, Raw};
use super::queue::{BATCH, MOST, Queue, ms};
use super::script;

/// An answer to [`Queue::adopt`].
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Adopted {
    /// Jobs with remote ids, of the caller's API.
    pub(crate) held: Vec<Held>,
    /// Ownerless jobs of other APIs that were seen.
    pub(crate) elsewhere: u32,
    /// Nothing is handed out for so long, while owners assert what they hold.
    pub(crate) quiet_ms: u64,
}

/// An answer to [`Queue::claim`].
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Claimed {
    /// Requests without a remote id.
    pub(crate) held: Vec<Held>,
    /// Messages to be read, for [`Queue::admit`] or [`Queue::finish`].
    pub(crate) raw: Vec<Raw>,
    /// Nothing waits and nothing is in flight, here or at any worker.
    pub(crate) empty: bool,
    /// Until a lease ends or a retry is due, whosever.
    pub(crate) next_ms: Option<u64>,
    /// Nothing is handed out until the queue is resumed.
    pub(crate) paused: bool,
    /// See [`Adopted::quiet_ms`].
    pub(crate) quiet_ms: u64,
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
    /// past pauses and caps: what is paid is polled.
    ///
    /// # Errors
    ///
    /// Redis'. Where the answer is lost, the jobs come back when their leases end.
    pub(crate) async fn adopt<C: ConnectionLike>(
        &self,
        connection: &mut C,
        n: usize,
        api: &str,
    ) -> RedisResult<Adopted> {
        let mut call = self.call_as_worker(&script::ADOPT);
        call.arg(n.min(BATCH)).arg(api);
        let mut reply = call.run(connection).await?;
        let mut adopted = Adopted {
            quiet_ms: reply.int()?,
            elsewhere: reply.int()?,
            held: Vec::new(),
        };
        while !reply.is_done() {
            adopted.held.push(Held::read(&mut reply)?);
        }
        Ok(adopted)
    }

    /// Hands out up to `n` (at most 128) requests and messages without a remote id: first what dead
    /// workers left, then due retries, `ready`, messages. `cap` bounds what the whole fleet has in flight.
    ///
    /// # Errors
    ///
    /// Redis', such as `OOM`. Where the answer is lost, they come back when their leases end.
    pub(crate) async fn claim<C: ConnectionLike>(
        &self,
        connection: &mut C,
        n: usize,
        cap: Option<u64>,
    ) -> RedisResult<Claimed> {
        let mut call = self.call_as_worker(&script::CLAIM);
        call.arg(n.min(BATCH)).arg(cap.unwrap_or(0));
        let mut reply = call.run(connection).await?;
        let mut claimed = Claimed {
            paused: reply.flag()?,
            quiet_ms: reply.int()?,
            empty: reply.flag()?,
            next_ms: reply.int_or_none()?,
            ..Claimed::default()
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

    /// Turns messages into jobs, or finds that they are none; an answer for each, in order.
    ///
    /// # Errors
    ///
    /// Redis', such as `OOM`; to be repeated as it is.
    pub(crate) async fn admit<C: ConnectionLike>(
        &self,
        connection: &mut C,
        items: &[Admit<'_>],
    ) -> RedisResult<Vec<Admission>> {
        let mut answers = Vec::with_capacity(items.len());
        for some in items.chunks(BATCH) {
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
            let mut reply = call.run(connection).await?;
            for _ in some {
                answers.push(match reply.text()?.as_str() {
                    "admitted" => Admission::Admitted(Epoch(reply.int()?)),
                    "duplicate" => Admission::Duplicate,
                    "conflict" => Admission::Conflict,
                    "lost" => Admission::Lost,
                    _ => return Err(reply.unknown_word()),
                });
            }
            reply.end()?;
        }
        Ok(answers)
    }
}
