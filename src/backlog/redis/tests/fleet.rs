//! Random workers that pause, die, lose answers and have calls arrive late, held against a model.

use std::collections::BTreeMap;

use super::calls::{Op, Said};
use super::dump::Dump;
use super::model::Model;
use super::*;

const IDS: [&str; 3] = ["a", "b", "c"];
const WORKERS: usize = 3;

/// Where a worker stands with a job.
#[derive(Clone, Debug, PartialEq)]
enum Stage {
    Claimed,
    Submitting,
    /// The service answered, and the answer is not recorded.
    Answered(String),
    Waiting(String),
}

#[derive(Clone, Debug)]
struct Job {
    own: Own,
    stage: Stage,
}

pub(super) struct World {
    pub(super) f: Fixture,
    pub(super) rng: fastrand::Rng,
    pub(super) model: Model,
    pub(super) meetings: Meetings,
    workers: Vec<Vec<Job>>,
    pub(super) raws: Vec<Vec<Raw>>,
    /// What a dead connection may still deliver.
    pub(super) wire: Vec<Op>,
    pub(super) remote_ids: u32,
    pub(super) dump: Dump,
    pub(super) log: Vec<String>,
}

/// What met what: a call, the job's state, and whether its owner called.
pub(super) type Meetings = BTreeMap<(&'static str, String, bool), u32>;

fn parts(text: &[u8]) -> (String, String) {
    let text = std::str::from_utf8(text).unwrap();
    let mut words = text.split(' ');
    let mut word = || words.next().unwrap().to_owned();
    (word(), word())
}

impl World {
    async fn step(&mut self) {
        let worker = self.rng.usize(..WORKERS);
        match self.rng.u8(..100) {
            0..10 => {
                let id = IDS[self.rng.usize(..IDS.len())];
                let hash = if self.rng.u8(..10) == 0 { "h2" } else { "h1" };
                self.f.push(&[&format!("{id} {hash}")]).await;
                self.model.messages += 1;
            }
            10..17 => self.claim(worker).await,
            17..22 => {
                let adopted = self.f.adopt().await;
                self.take(worker, &adopted);
            }
            22..28 => self.read(worker).await,
            28..35 => {
                let leased: Vec<String> =
                    self.dump.leased().iter().map(|&id| id.to_owned()).collect();
                if let Some(id) = self.rng.choice(&leased) {
                    self.log.push(format!("expire {id:?}"));
                    self.f.expire(id).await;
                }
            }
            35..37 => {
                let delayed = self
                    .f
                    .cmd::<Vec<String>>("ZRANGE", "delayed", &["0", "-1"])
                    .await;
                for id in delayed {
                    self.f.cmd::<()>("ZADD", "delayed", &["1", &id]).await;
                }
            }
            37..47 => {
                for id in IDS {
                    let id = self.rng.choice([id, ""]).unwrap();
                    if self.dump.job(id).is_some_and(|job| job["s"] == "done") {
                        self.log.push(format!("age {id}"));
                        self.f.age_tombstone(id).await;
                    }
                }
            }
            47..48 => {
                self.log.push(format!("worker {worker} dies"));
                self.workers[worker].clear();
                self.raws[worker].clear();
            }
            48..49 => self.requeue().await,
            49..54 if !self.wire.is_empty() => {
                let op = self.wire.swap_remove(self.rng.usize(..self.wire.len()));
                self.log.push("late:".to_owned());
                self.run(&op).await;
            }
            54 if self.rng.u8(..3) == 0 => self.f.queue.pause(&mut self.f.con).await.unwrap(),
            54..57 => self.f.queue.resume(&mut self.f.con).await.unwrap(),
            _ => self.work(worker).await,
        }
        self.compare().await;
    }

    async fn claim(&mut self, worker: usize) {
        let n = self.rng.usize(1..4);
        let claimed = self.f.queue.claim(&mut self.f.con, n, None).await.unwrap();
        let answer_is_lost = self.rng.u8(..10) == 0;
        self.take(worker, &claimed.held);
        if answer_is_lost {
            let kept = self.workers[worker].len() - claimed.held.len();
            self.workers[worker].truncate(kept);
        } else {
            self.raws[worker].extend(claimed.raw);
        }
    }

    fn take(&mut self, worker: usize, held: &[Held]) {
        for held in held {
            self.log.push(format!("worker {worker} takes {held:?}"));
            self.model.hand_out(held);
            let stage = match &held.remote_id {
                Some(remote) => Stage::Waiting(remote.clone()),
                None => Stage::Claimed,
            };
            let own = Own::of(held);
            self.workers[worker].push(Job { own, stage });
        }
    }

    /// Reads a message.
    async fn read(&mut self, worker: usize) {
        let Some(raw) = self.raws[worker].pop() else {
            return;
        };
        let (id, hash) = parts(&raw.text);
        let own = |id: &str, epoch| Own {
            id: id.to_owned(),
            epoch,
            step: 0,
        };
        if self.rng.u8(..20) == 0 {
            self.call(Op::Release(own(&raw.key, raw.epoch), false))
                .await;
            return;
        }
        let op = Op::Admit {
            raw: raw.clone(),
            id: id.clone(),
            hash,
        };
        match self.call(op).await {
            Said::Admitted(epoch) => self.workers[worker].push(Job {
                own: own(&id, epoch),
                stage: Stage::Claimed,
            }),
            Said::Conflict => {
                let op = Op::Finish(own(&raw.key, raw.epoch), Status::Rejected, None, false);
                self.call(op).await;
            }
            _ => {}
        }
    }

    async fn requeue(&mut self) {
        let dead: Vec<String> = self
            .dump
            .texts("dead")
            .iter()
            .map(|&id| id.to_owned())
            .collect();
        let requeued = self.f.queue.requeue(&mut self.f.con, None).await.unwrap();
        self.log.push(format!("requeue {dead:?} {requeued:?}"));
        assert_eq!(requeued.requeued, dead.len() as u64);
        let dump = Dump::of(&mut self.f.con).await;
        for id in dead {
            assert!(self.model.of(&id).is_dead);
            self.model
                .start(&id, dump.job(&id).unwrap()["g"].as_u64().unwrap());
        }
    }

    /// One thing that a worker does with one of its jobs.
    async fn work(&mut self, worker: usize) {
        let busy = |worker: &usize| !self.workers[*worker].is_empty();
        let Some(worker) = (worker..WORKERS).chain(0..worker).find(busy) else {
            self.claim(worker).await;
            self.read(worker).await;
            return;
        };
        let place = self.rng.usize(..self.workers[worker].len());
        let mut job = self.workers[worker].swap_remove(place);
        let own = job.own.clone();
        let chance = self.rng.u8(..100);
        let op = match &job.stage {
            Stage::Claimed => match chance {
                0..60 => Op::Begin(own),
                60..85 => Op::Release(own, chance.is_multiple_of(2)),
                85..95 => Op::Finish(own, Status::Failed, None, chance.is_multiple_of(2)),
                _ => Op::Beat(own, None),
            },
            Stage::Submitting => match chance {
                0..70 => {
                    self.remote_ids += 1;
                    job.stage = Stage::Answered(self.remote_ids.to_string());
                    self.workers[worker].push(job);
                    return;
                }
                70..80 => Op::Withdraw(own),
                80..90 => Op::Unknown(own),
                90..95 => Op::Release(own, false),
                _ => Op::Beat(own, None),
            },
            Stage::Answered(remote) => Op::Created(own, remote.clone()),
            Stage::Waiting(remote) => match chance {
                0..35 => Op::Finish(own, Status::Solved, Some(remote.clone()), false),
                35..50 => Op::Finish(
                    own,
                    Status::Failed,
                    Some(remote.clone()),
                    chance.is_multiple_of(2),
                ),
                50..70 => Op::Retry(own, remote.clone(), i64::from(chance % 2) * PRICE),
                70..85 => Op::Release(own, false),
                _ => Op::Beat(own, Some(remote.clone())),
            },
        };
        let said = self.call(op.clone()).await;
        match said {
            Said::Learn(held) => {
                // An answer of the service that is not recorded yet is recorded whatever a beat says.
                if !matches!((&op, &job.stage), (Op::Beat(..), Stage::Submitting)) {
                    job.own.step = held.step;
                    job.stage = Stage::Waiting(held.remote_id.unwrap());
                }
                self.workers[worker].push(job);
            }
            Said::Lost => {
                // One that does not give up: what it says late is heard, or not.
                if self.rng.u8(..3) > 0 && !matches!(op, Op::Finish(..) | Op::Release(..)) {
                    if let Op::Created(_, remote) = op {
                        job.stage = Stage::Waiting(remote);
                    }
                    self.workers[worker].push(job);
                }
            }
            Said::Slot => {
                job.own.step += 1;
                job.stage = Stage::Submitting;
                self.workers[worker].push(job);
            }
            Said::Done => {
                job.own.step += 1;
                job.stage = match op {
                    Op::Created(_, remote) => Stage::Waiting(remote),
                    Op::Finish(..) => return,
                    _ => Stage::Claimed,
                };
                self.workers[worker].push(job);
            }
            _ => self.workers[worker].push(job),
        }
    }

    /// One last worker ends everything.
    async fn drain(&mut self) {
        self.f.queue.resume(&mut self.f.con).await.unwrap();
        self.workers.iter_mut().for_each(Vec::clear);
        self.raws.iter_mut().for_each(Vec::clear);
        for _ in 0..10_000 {
            let leased: Vec<String> = self.dump.leased().iter().map(|&id| id.to_owned()).collect();
            for id in leased {
                self.f.expire(&id).await;
            }
            let delayed = self
                .f
                .cmd::<Vec<String>>("ZRANGE", "delayed", &["0", "-1"])
                .await;
            for id in delayed {
                self.f.cmd::<()>("ZADD", "delayed", &["1", &id]).await;
            }
            let adopted = self.f.adopt().await;
            self.take(0, &adopted);
            let claimed = self.f.queue.claim(&mut self.f.con, 4, None).await.unwrap();
            self.take(0, &claimed.held);
            self.raws[0].extend(claimed.raw);
            while !self.raws[0].is_empty() {
                self.read(0).await;
            }
            while let Some(job) = self.workers[0].pop() {
                let (status, remote) = match job.stage {
                    Stage::Waiting(remote) => (Status::Solved, Some(remote)),
                    _ => (Status::Failed, None),
                };
                self.run(&Op::Finish(job.own, status, remote, false)).await;
            }
            self.compare().await;
            if claimed.empty {
                break;
            }
        }
        assert!(self.dump.unfinished().is_empty() && self.dump.leased().is_empty());
        let requests = self.model.requests.values();
        let generations: usize = requests.map(|request| request.generations).sum();
        let bound = generations as i64 + self.model.retries + self.model.unknown_creates;
        assert!(
            self.model.creates <= bound,
            "{} <= {bound}",
            self.model.creates
        );
    }

    async fn compare(&mut self) {
        let dump = Dump::of(&mut self.f.con).await;
        dump.check();
        self.model.compare(&dump);
        self.dump = dump;
    }
}

/// What has to happen in a run, and more than once in a while.
const MEETINGS: [(&str, &str, bool); 20] = [
    ("created", "claimed", false),
    ("created", "queued", false),
    ("created", "submitting", false),
    ("created", "waiting", false),
    ("created", "waiting", true),
    ("created", "done", false),
    ("created", "none", false),
    ("begin", "waiting", true),
    ("begin", "claimed", false),
    ("begin", "submitting", false),
    ("begin", "done", true),
    ("withdraw", "submitting", true),
    ("unknown", "submitting", true),
    ("retry", "waiting", false),
    ("retry", "claimed", true),
    ("solved", "waiting", false),
    ("solved", "done", false),
    ("failed", "submitting", false),
    ("release", "submitting", true),
    ("beat", "waiting", false),
];

/// Prints what was done where a check fails.
struct Tell<'a>(&'a mut World, u64);

impl Drop for Tell<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            println!("seed {}\n{}", self.1, self.0.log.join("\n"));
        }
    }
}

#[tokio::test]
async fn whatever_happens_nothing_is_lost_and_nothing_is_paid_for_twice() {
    let seeds = std::env::var("POLLWHEEL_SEEDS")
        .ok()
        .and_then(|n| n.parse().ok())
        .unwrap_or(60);
    let only: Option<u64> = std::env::var("POLLWHEEL_SEED")
        .ok()
        .and_then(|n| n.parse().ok());
    let mut meetings = Meetings::new();
    let mut fixture = Some(Fixture::new().await);
    for seed in only.map_or(0..seeds, |seed| seed..seed + 1) {
        let mut f = fixture.take().unwrap();
        ::redis::cmd("FLUSHALL")
            .query_async::<()>(&mut f.con)
            .await
            .unwrap();
        let dump = Dump::of(&mut f.con).await;
        let mut world = World {
            f,
            rng: fastrand::Rng::with_seed(seed),
            model: Model::default(),
            meetings: std::mem::take(&mut meetings),
            workers: vec![Vec::new(); WORKERS],
            raws: vec![Vec::new(); WORKERS],
            wire: Vec::new(),
            remote_ids: 0,
            dump,
            log: Vec::new(),
        };
        let tell = Tell(&mut world, seed);
        for _ in 0..300 {
            tell.0.step().await;
        }
        tell.0.drain().await;
        drop(tell);
        fixture = Some(world.f);
        meetings = world.meetings;
    }
    // Else it shows little.
    if only.is_none() {
        for (name, state, is_owner) in MEETINGS {
            let meeting = (name, state.to_owned(), is_owner);
            assert!(
                meetings.contains_key(&meeting),
                "{meeting:?} never happened"
            );
        }
    }
}
