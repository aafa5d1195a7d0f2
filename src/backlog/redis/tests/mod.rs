//! Against a real redis-server.

mod admit;
mod alone;
mod calls;
mod conformance;
mod dump;
mod exchange;
mod failover;
mod fleet;
mod keep;
mod late;
mod life;
mod load;
mod many;
mod model;
mod pace;
mod rights;
mod targets;

use std::time::Duration;

use ::redis::aio::MultiplexedConnection;

use super::intake::Claimed;
use super::keep::Settled;
use super::*;
use crate::job::{Micros, Status};
use crate::support::redis::RedisServer;

const LIST: &str = "solve:requests";
const RESULTS: &str = "solve:results";
const API: &str = "api-1";
const PARTS: [&str; 13] = [
    "list", "inbox", "ready", "delayed", "lease", "job", "payload", "limit", "meta", "done",
    "dead", "orphan", "workers",
];
/// What every create costs in these tests, in micro-dollars.
const PRICE: i64 = 550;
/// As in common.lua.
const CREATING: f64 = 1_125_899_906_842_624.0;

/// A server, a connection to it, and a queue on it.
struct Fixture {
    server: RedisServer,
    con: MultiplexedConnection,
    queue: Queue,
}

fn key(part: &str) -> String {
    if part == "list" {
        return LIST.to_owned();
    }
    format!("pollwheel:{{{LIST}}}:{LIST}:{part}")
}

fn queue(worker: &str, lease: Duration) -> Queue {
    let keys = PARTS.map(key);
    let settings = QueueSettings {
        lease,
        window: Duration::from_secs(600),
        worker: worker.to_owned(),
    };
    Queue::new(keys.each_ref().map(String::as_str), settings)
}

impl Fixture {
    async fn new() -> Self {
        Self::with(&[]).await
    }

    async fn with(arguments: &[&str]) -> Self {
        let server = RedisServer::with(arguments);
        let client = ::redis::Client::open(server.url()).unwrap();
        // A busy machine is no reason to fail.
        let config = ::redis::AsyncConnectionConfig::new().set_response_timeout(None);
        let con = client
            .get_multiplexed_async_connection_with_config(&config)
            .await
            .unwrap();
        Self {
            server,
            con,
            queue: queue("w1", Duration::from_secs(30)),
        }
    }

    /// A plain command, its key given by its part.
    async fn cmd<T: ::redis::FromRedisValue>(
        &mut self,
        name: &str,
        part: &str,
        args: &[&str],
    ) -> T {
        let mut cmd = ::redis::cmd(name);
        cmd.arg(key(part));
        for arg in args {
            cmd.arg(*arg);
        }
        cmd.query_async(&mut self.con).await.unwrap()
    }

    async fn push(&mut self, messages: &[&str]) {
        self.queue
            .push(&mut self.con, messages, None)
            .await
            .unwrap();
    }

    async fn adopt(&mut self) -> Vec<Held> {
        self.queue
            .adopt(&mut self.con, 128, API)
            .await
            .unwrap()
            .held
    }

    async fn claim(&mut self) -> Claimed {
        self.queue.claim(&mut self.con, 128, None).await.unwrap()
    }

    /// Admits a message under an id, with its own text as hash and payload.
    async fn admit(&mut self, raw: &Raw, id: &str) -> Admission {
        let text = String::from_utf8(raw.text.clone()).unwrap();
        let item = Admit {
            key: &raw.key,
            epoch: raw.epoch,
            id,
            hash: &text,
            payload: &text,
            not_after_in_ms: None,
        };
        self.queue.admit(&mut self.con, &[item]).await.unwrap()[0]
    }

    /// The job that a message becomes.
    async fn admitted(&mut self, raw: &Raw, id: &str) -> Own {
        match self.admit(raw, id).await {
            Admission::Admitted(epoch) => Own {
                id: id.to_owned(),
                epoch,
                step: 0,
            },
            other => panic!("{other:?}"),
        }
    }

    /// A message that was claimed.
    async fn raw(&mut self, text: &str) -> Raw {
        self.push(&[text]).await;
        self.claim().await.raw.remove(0)
    }

    /// A claimed job of this id.
    async fn take(&mut self, id: &str) -> Own {
        let raw = self.raw(id).await;
        self.admitted(&raw, id).await
    }

    async fn begin(&mut self, own: &mut Own) -> Begun {
        let begun = self.try_begin(own, None).await;
        if matches!(begun, Begun::Slot(_)) {
            own.step += 1;
        }
        begun
    }

    async fn try_begin(&mut self, own: &Own, cap: Option<i64>) -> Begun {
        let spending = Spending {
            api: API,
            pace: FAST,
            cap: cap.map(Micros),
        };
        let item = Begin {
            hold: own.hold(),
            reserve: Micros(PRICE),
        };
        let begun = self.queue.begin(&mut self.con, spending, &[item]).await;
        begun.unwrap().remove(0)
    }

    async fn created(&mut self, own: &mut Own, remote_id: &str) -> Answer {
        let answer = self.try_created(own, remote_id).await;
        own.follow(&answer);
        answer
    }

    async fn try_created(&mut self, own: &Own, remote_id: &str) -> Answer {
        let item = Created {
            hold: own.hold(),
            remote_id,
            submitted_at_ms: 1_700_000_000_123,
            budget: Duration::from_secs(180),
        };
        let answers = self.queue.created(&mut self.con, &[item]).await;
        answers.unwrap().remove(0)
    }

    async fn back(&mut self, own: &mut Own, by: BackBy<'_>) -> Answer {
        let answer = self.try_back(own, by).await;
        own.follow(&answer);
        answer
    }

    async fn try_back(&mut self, own: &Own, by: BackBy<'_>) -> Answer {
        let item = Back {
            hold: own.hold(),
            by,
        };
        let answers = self.queue.back(&mut self.con, &[item]).await;
        answers.unwrap().remove(0)
    }

    async fn finish(&mut self, finish: Finish<'_>) -> Finished {
        let answers = self
            .queue
            .finish(&mut self.con, Some(RESULTS), &[finish])
            .await;
        answers.unwrap().remove(0)
    }

    async fn release(&mut self, own: &Own, delay: Duration) {
        let item = Release {
            hold: own.hold(),
            polls: 0,
            delay,
        };
        self.queue.release(&mut self.con, &[item]).await.unwrap();
    }

    /// The job that another worker claims after the lease of the present one ran out.
    async fn take_over(&mut self, id: &str) -> Own {
        self.expire(id).await;
        let held = self.claim().await.held.remove(0);
        assert_eq!(held.id, id);
        Own::of(&held)
    }

    /// A job with this remote id.
    async fn waiting(&mut self, id: &str, remote_id: &str) -> Own {
        let mut own = self.take(id).await;
        self.begin(&mut own).await;
        assert_eq!(self.created(&mut own, remote_id).await, Answer::Done);
        own
    }

    /// The lease of a job runs out.
    async fn expire(&mut self, id: &str) {
        let score: f64 = self.cmd("ZSCORE", "lease", &[id]).await;
        let expired = 1.0 + if score >= CREATING { CREATING } else { 0.0 };
        self.cmd::<()>("ZADD", "lease", &[&expired.to_string(), id])
            .await;
    }

    /// The window of a finished request is over.
    async fn age_tombstone(&mut self, id: &str) {
        const SCRIPT: &str = r"
local job = cmsgpack.unpack(redis.call('HGET', KEYS[1], ARGV[1]))
job.t = 1
redis.call('HSET', KEYS[1], ARGV[1], cmsgpack.pack(job))
redis.call('ZADD', KEYS[2], 1, ARGV[1])";
        let mut eval = ::redis::cmd("EVAL");
        eval.arg(SCRIPT).arg(2).arg(key("job")).arg(key("done"));
        eval.arg(id).query_async::<()>(&mut self.con).await.unwrap();
    }

    async fn outcomes(&mut self, list: &str) -> Vec<String> {
        let mut cmd = ::redis::cmd("LRANGE");
        cmd.arg(list).arg(0).arg(-1);
        cmd.query_async(&mut self.con).await.unwrap()
    }

    async fn orphans(&mut self) -> Vec<String> {
        self.queue.orphan_list(&mut self.con, 100).await.unwrap()
    }

    async fn counter(&mut self, name: &str) -> i64 {
        let value: Option<i64> = self.cmd("HGET", "meta", &[name]).await;
        value.unwrap_or(0)
    }
}

/// No limit to speak of.
const FAST: Pace = Pace {
    period_us: 1,
    burst: 1000,
    horizon: Duration::from_millis(100),
};

/// What an owner keeps of a hold.
#[derive(Clone, Debug)]
struct Own {
    id: String,
    epoch: Epoch,
    step: u32,
}

impl Own {
    fn of(held: &Held) -> Self {
        Self {
            id: held.id.clone(),
            epoch: held.epoch,
            step: held.step,
        }
    }

    fn hold(&self) -> Hold<'_> {
        Hold {
            id: &self.id,
            epoch: self.epoch,
            step: self.step,
        }
    }

    fn follow(&mut self, answer: &Answer) {
        match answer {
            Answer::Done => self.step += 1,
            Answer::Learn(held) => self.step = held.step,
            Answer::Lost => {}
        }
    }

    fn finish<'a>(&'a self, status: Status, remote_id: Option<&'a str>) -> Finish<'a> {
        Finish {
            hold: self.hold(),
            status,
            remote_id,
            refund: Micros::ZERO,
            polls: 2,
            unknown_create: false,
            dead: false,
            target: Target::Results,
            outcome: &self.id,
            with_reply_error: None,
            result_key: None,
        }
    }
}
