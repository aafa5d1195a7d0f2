//! What an operator asks of a queue: how it stands, to pause, to take the dead up again, to add to it.

use std::collections::BTreeMap;

use ::redis::aio::ConnectionLike;
use ::redis::{RedisResult, cmd};

use super::held::JobState;
use super::queue::{BATCH, Queue};
use super::script;

/// Jobs whose ages are looked at, at most, and in one call.
const SAMPLE: u64 = 10_000;
const SAMPLE_AT_ONCE: u64 = 1_000;
/// Upper bounds of ages, in ms; what is older comes last.
const AGES_MS: [u64; 3] = [10_000, 60_000, 300_000];
/// Messages in one push.
const PUSH_BATCH: usize = 500;

/// How a queue stands.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct QueueStatus {
    /// Messages in the producers' list and the inbox.
    pub(crate) waiting: u64,
    /// Requests to be claimed.
    pub(crate) ready: u64,
    /// Requests to be claimed at a time.
    pub(crate) delayed: u64,
    /// Held, all of them.
    pub(crate) held: u64,
    /// Of those, by state: since they entered it, less than 10 s, 60 s, 5 min, and longer.
    pub(crate) in_flight: InFlight,
    /// Given up, and kept.
    pub(crate) dead: u64,
    /// Notes of orphans that are kept.
    pub(crate) orphans: u64,
    /// Workers that beat.
    pub(crate) workers: u64,
    /// Nothing is claimed.
    pub(crate) paused: bool,
    /// Nothing is claimed for so long, after a failover.
    pub(crate) quiet_ms: u64,
    /// No create is begun for so long.
    pub(crate) hold_ms: u64,
    /// Creates that were begun in the last 60 s.
    pub(crate) creates_in_last_minute: u64,
    /// Over the queue's life, by name; `spent` in micro-dollars.
    pub(crate) counters: BTreeMap<String, i64>,
}

/// Jobs in flight by state and age.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct InFlight {
    /// Younger than 10 s, 60 s, 5 min, and older.
    pub(crate) by_state: BTreeMap<JobState, [u64; 4]>,
    /// Only the first 10,000 were looked at.
    pub(crate) is_cut: bool,
}

/// A request that was given up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Dead {
    /// Its id.
    pub(crate) id: String,
    /// When, by the server's clock, ms.
    pub(crate) at_ms: i64,
    /// The request.
    pub(crate) payload: String,
}

/// An answer to [`Queue::requeue`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Requeued {
    /// New generations.
    pub(crate) requeued: u64,
    /// Ids that are not among the dead.
    pub(crate) unknown: u64,
    /// Ids that are in work again already.
    pub(crate) unfinished: u64,
}

/// An answer to [`Queue::push`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Pushed {
    /// How many of the messages, from the first on.
    pub(crate) pushed: usize,
    /// How many wait now.
    pub(crate) waiting: u64,
}

impl Queue {
    /// How the queue stands. Its parts are of slightly different moments.
    ///
    /// # Errors
    ///
    /// Redis'.
    pub(crate) async fn status<C: ConnectionLike>(
        &self,
        connection: &mut C,
    ) -> RedisResult<QueueStatus> {
        let mut reply = self.call(&script::STATUS).run(connection).await?;
        let mut status = QueueStatus {
            waiting: reply.int::<u64>()? + reply.int::<u64>()?,
            ready: reply.int()?,
            delayed: reply.int()?,
            held: reply.int()?,
            dead: reply.int()?,
            orphans: reply.int()?,
            workers: reply.int()?,
            paused: reply.flag()?,
            quiet_ms: reply.int()?,
            hold_ms: reply.int()?,
            creates_in_last_minute: reply.int()?,
            ..QueueStatus::default()
        };
        while !reply.is_done() {
            let name = reply.text()?;
            status.counters.insert(name, reply.int()?);
        }
        status.in_flight = self.ages(connection, status.held).await?;
        Ok(status)
    }

    async fn ages<C: ConnectionLike>(
        &self,
        connection: &mut C,
        held: u64,
    ) -> RedisResult<InFlight> {
        let mut found = InFlight {
            is_cut: held > SAMPLE,
            ..InFlight::default()
        };
        let mut first = 0;
        while first < held.min(SAMPLE) {
            let mut call = self.call(&script::AGES);
            call.arg(first).arg(SAMPLE_AT_ONCE);
            let mut reply = call.run(connection).await?;
            if reply.int::<u64>()? == 0 {
                break;
            }
            while !reply.is_done() {
                let state = JobState::read(&mut reply)?;
                let age: u64 = reply.int()?;
                let bucket = AGES_MS.iter().take_while(|&&bound| age >= bound).count();
                found.by_state.entry(state).or_default()[bucket] += 1;
            }
            first += SAMPLE_AT_ONCE;
        }
        Ok(found)
    }

    /// The latest `limit` (at most 10,000) requests that were given up.
    ///
    /// # Errors
    ///
    /// Redis'.
    pub(crate) async fn dead_list<C: ConnectionLike>(
        &self,
        connection: &mut C,
        limit: u64,
    ) -> RedisResult<Vec<Dead>> {
        let mut call = self.call(&script::DEAD_LIST);
        call.arg(limit.min(SAMPLE));
        let mut dead = Vec::new();
        if limit > 0 {
            let mut reply = call.run(connection).await?;
            while !reply.is_done() {
                dead.push(Dead {
                    id: reply.text()?,
                    at_ms: reply.int()?,
                    payload: String::from_utf8_lossy(&reply.bytes()?).into_owned(),
                });
            }
        }
        Ok(dead)
    }

    /// The latest `limit` notes of orphans: JSON objects with `id`, `remote_id`, `api`, and `at` in ms.
    ///
    /// # Errors
    ///
    /// Redis'.
    pub(crate) async fn orphan_list<C: ConnectionLike>(
        &self,
        connection: &mut C,
        limit: u64,
    ) -> RedisResult<Vec<String>> {
        if limit == 0 {
            return Ok(Vec::new());
        }
        let [.., orphan, _workers] = &self.keys;
        cmd("LRANGE")
            .arg(orphan)
            .arg(0)
            .arg(limit - 1)
            .query_async(connection)
            .await
    }

    /// Starts new generations of these ids, or, with `None`, of everything that is dead now.
    ///
    /// # Errors
    ///
    /// Redis'; to be repeated as it is, which does the rest.
    pub(crate) async fn requeue<C: ConnectionLike>(
        &self,
        connection: &mut C,
        ids: Option<&[&str]>,
    ) -> RedisResult<Requeued> {
        let mut all = Requeued::default();
        let Some(ids) = ids else {
            let mut until: Option<i64> = None;
            loop {
                let (reached, some) = self.requeue_some(connection, until, &[]).await?;
                all += some;
                until = Some(reached);
                if some == Requeued::default() {
                    return Ok(all);
                }
            }
        };
        for some in ids.chunks(BATCH) {
            all += self.requeue_some(connection, None, some).await?.1;
        }
        Ok(all)
    }

    async fn requeue_some<C: ConnectionLike>(
        &self,
        connection: &mut C,
        until: Option<i64>,
        ids: &[&str],
    ) -> RedisResult<(i64, Requeued)> {
        let mut call = self.call(&script::REQUEUE);
        call.arg(BATCH).arg_or_none(until);
        for id in ids {
            call.arg(*id);
        }
        let mut reply = call.run(connection).await?;
        let until = reply.int()?;
        let some = Requeued {
            requeued: reply.int()?,
            unknown: reply.int()?,
            unfinished: reply.int()?,
        };
        reply.end()?;
        Ok((until, some))
    }

    /// Stops claims and creates of the whole fleet; what is in flight is polled on.
    ///
    /// # Errors
    ///
    /// Redis'; to be repeated.
    pub(crate) async fn pause<C: ConnectionLike>(&self, connection: &mut C) -> RedisResult<()> {
        cmd("HSET")
            .arg(self.meta())
            .arg("paused")
            .arg(1)
            .query_async(connection)
            .await
    }

    /// Undoes [`pause`](Self::pause).
    ///
    /// # Errors
    ///
    /// Redis'; to be repeated.
    pub(crate) async fn resume<C: ConnectionLike>(&self, connection: &mut C) -> RedisResult<()> {
        cmd("HDEL")
            .arg(self.meta())
            .arg("paused")
            .query_async(connection)
            .await
    }

    fn meta(&self) -> &str {
        let [.., meta, _done, _dead, _orphan, _workers] = &self.keys;
        meta
    }

    /// Adds messages, in order, as long as fewer than `most` wait.
    ///
    /// # Errors
    ///
    /// Redis', such as `OOM`. A part may have been added; ids keep what is pushed again from being done again.
    pub(crate) async fn push<C: ConnectionLike>(
        &self,
        connection: &mut C,
        messages: &[&str],
        most: Option<u64>,
    ) -> RedisResult<Pushed> {
        let mut all = Pushed::default();
        for some in messages.chunks(PUSH_BATCH) {
            let mut call = self.call(&script::PUSH);
            call.arg(most.unwrap_or(0));
            for message in some {
                call.arg(*message);
            }
            let mut reply = call.run(connection).await?;
            let pushed: usize = reply.int()?;
            all.pushed += pushed;
            all.waiting = reply.int()?;
            reply.end()?;
            if pushed < some.len() {
                break;
            }
        }
        Ok(all)
    }
}

impl std::ops::AddAssign for Requeued {
    fn add_assign(&mut self, other: Self) {
        self.requeued += other.requeued;
        self.unknown += other.unknown;
        self.unfinished += other.unfinished;
    }
}
