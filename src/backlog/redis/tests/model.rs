//! Random workers that pause, die, lose answers and have calls arrive late, held against a model.
//!
//! The model knows what each answer means and nothing of how scripts work. After each step it is
//! compared with everything that Redis holds.

use std::collections::{BTreeMap, BTreeSet};

use super::dump::Dump;
use super::*;

const IDS: [&str; 3] = ["a", "b", "c"];
const WORKERS: usize = 3;
/// As in common.lua.
const MOST_RETIRED: usize = 8;

/// A call about one hold, which can be made again, or late.
#[derive(Clone, Debug)]
enum Op {
    Admit { raw: Raw, id: String, hash: String },
    Begin(Own),
    Created(Own, String),
    Withdraw(Own),
    Unknown(Own),
    Retry(Own, String, i64),
    Finish(Own, Status, Option<String>, bool),
    Release(Own, bool),
    Beat(Own, Option<String>),
}

/// What an answer tells its caller.
#[derive(Clone, Debug, PartialEq)]
enum Said {
    Admitted(Epoch),
    Done,
    Slot,
    Nothing,
    Lost,
    Learn(Box<Held>),
    Conflict,
    Duplicate,
}

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

/// What is true of the requests of one id.
#[derive(Debug, Default)]
struct Request {
    is_live: bool,
    generations: usize,
    outcomes: usize,
    hash: String,
    /// The first epoch of this generation.
    start: u64,
    /// The highest one that was handed out.
    epoch: u64,
    /// Recorded, and without a verdict.
    remote: Option<String>,
    /// With a verdict: of this generation's jobs, and the last generation's end.
    retired: Vec<String>,
    ended_with: Option<String>,
    /// The hold whose create is in doubt.
    pending: Option<Epoch>,
    spent: i64,
    creates: u32,
    is_dead: bool,
}

#[derive(Debug, Default)]
struct Model {
    requests: BTreeMap<String, Request>,
    messages: usize,
    rejected: usize,
    duplicates: usize,
    admitted: BTreeSet<String>,
    /// Steps that were taken.
    steps: BTreeSet<(String, Epoch, u32)>,
    spent: i64,
    creates: i64,
    unknown_creates: i64,
    retries: i64,
    orphans: BTreeSet<(String, String)>,
}

impl Model {
    fn of(&mut self, id: &str) -> &mut Request {
        self.requests.entry(id.to_owned()).or_default()
    }

    fn is_first(&mut self, own: &Own) -> bool {
        self.steps.insert((own.id.clone(), own.epoch, own.step))
    }

    fn retire(&mut self, id: &str, remote: Option<String>) {
        let retired = &mut self.of(id).retired;
        if let Some(remote) = remote.filter(|one| !retired.contains(one)) {
            retired.push(remote);
            if retired.len() > MOST_RETIRED {
                retired.remove(0);
            }
        }
    }

    fn start(&mut self, id: &str, epoch: u64) {
        let ended_with = self.of(id).ended_with.take();
        self.retire(id, ended_with);
        let request = self.of(id);
        assert!(!request.is_live, "{id} has one generation at a time");
        request.is_live = true;
        request.is_dead = false;
        request.generations += 1;
        (request.start, request.epoch) = (epoch, request.epoch.max(epoch));
        (
            request.spent,
            request.creates,
            request.pending,
            request.remote,
        ) = (0, 0, None, None);
    }

    /// A job was handed out.
    fn hand_out(&mut self, held: &Held) {
        let request = self.requests.get_mut(&held.id).unwrap();
        assert!(request.is_live, "{} is over", held.id);
        assert_eq!(held.remote_id, request.remote, "{}", held.id);
        assert!(held.epoch.0 > request.epoch);
        request.epoch = held.epoch.0;
        assert_eq!(held.history.spent, Micros(request.spent));
        assert_eq!(held.history.creates, request.creates);
        let in_doubt = request.pending.take().is_some();
        assert_eq!(held.found_submitting, in_doubt && request.remote.is_none());
        self.unknown_creates += i64::from(in_doubt);
    }

    fn refund(&mut self, id: &str, amount: i64) {
        let request = self.of(id);
        let amount = amount.min(request.spent);
        request.spent -= amount;
        self.spent -= amount;
    }

    /// An id came in from a create.
    fn brought(&mut self, own: &Own, remote: &str, is_gone: bool) {
        let request = self.of(&own.id);
        let has_verdict = request.retired.iter().any(|one| one == remote)
            || request.ended_with.as_deref() == Some(remote);
        if is_gone {
            self.orphans.insert((own.id.clone(), remote.to_owned()));
        } else if has_verdict || request.remote.as_deref() == Some(remote) {
            // It is known.
        } else if request.is_live && request.remote.is_none() && own.epoch.0 >= request.start {
            request.remote = Some(remote.to_owned());
        } else {
            self.orphans.insert((own.id.clone(), remote.to_owned()));
        }
    }
}

struct World {
    f: Fixture,
    rng: fastrand::Rng,
    model: Model,
    workers: Vec<Vec<Job>>,
    raws: Vec<Vec<Raw>>,
    /// What a dead connection may still deliver.
    wire: Vec<Op>,
    remote_ids: u32,
    dump: Dump,
    log: Vec<String>,
}

fn parts(text: &[u8]) -> (String, String) {
    let text = std::str::from_utf8(text).unwrap();
    let mut words = text.split(' ');
    let mut word = || words.next().unwrap().to_owned();
    (word(), word())
}

impl World {
    async fn outcomes(&mut self) -> usize {
        self.f.outcomes(RESULTS).await.len()
    }

    /// Makes a call and tells the model what it did.
    async fn run(&mut self, op: &Op) -> Said {
        self.log.push(format!("{op:?}"));
        let said = match op {
            Op::Admit { raw, id, hash } => self.admit(raw, id, hash).await,
            Op::Begin(own) => {
                let begun = self.f.try_begin(own, None).await;
                match begun {
                    Begun::Slot(_) => {
                        if self.model.is_first(own) {
                            let request = self.model.of(&own.id);
                            assert!(request.is_live);
                            assert_eq!(request.remote, None, "{} has a job", own.id);
                            assert_eq!(request.epoch, own.epoch.0, "{} has another owner", own.id);
                            request.pending = Some(own.epoch);
                            request.spent += PRICE;
                            request.creates += 1;
                            self.model.spent += PRICE;
                            self.model.creates += 1;
                        }
                        Said::Slot
                    }
                    Begun::NotYet(_) => Said::Nothing,
                    Begun::OverSpend => panic!("there is no cap"),
                    Begun::Learn(held) => Said::Learn(held),
                    Begun::Lost => Said::Lost,
                }
            }
            Op::Created(own, remote) => {
                let is_gone = self.dump.job(&own.id).is_none();
                let answer = self.f.try_created(own, remote).await;
                self.model.brought(own, remote, is_gone);
                self.settle(own, &answer, |_| {});
                told(answer)
            }
            Op::Withdraw(own) => {
                let answer = self.f.try_back(own, BackBy::Withdraw).await;
                self.settle(own, &answer, |model| {
                    model.refund(&own.id, PRICE);
                    model.of(&own.id).creates -= 1;
                    model.creates -= 1;
                });
                told(answer)
            }
            Op::Unknown(own) => {
                let answer = self.f.try_back(own, BackBy::Unknown).await;
                self.settle(own, &answer, |model| model.unknown_creates += 1);
                told(answer)
            }
            Op::Retry(own, remote, refund) => {
                let by = BackBy::Retry {
                    remote_id: remote,
                    refund: Micros(*refund),
                    polls: 1,
                };
                let answer = self.f.try_back(own, by).await;
                if answer == Answer::Done && self.model.is_first(own) {
                    assert_eq!(self.model.of(&own.id).remote.take().as_ref(), Some(remote));
                    self.model.retire(&own.id, Some(remote.clone()));
                    self.model.refund(&own.id, *refund);
                    self.model.retries += 1;
                }
                told(answer)
            }
            Op::Finish(own, status, remote, dead) => {
                self.finish(own, *status, remote.as_deref(), *dead).await
            }
            Op::Release(own, is_delayed) => {
                let delay = Duration::from_secs(u64::from(*is_delayed) * 1000);
                self.f.release(own, delay).await;
                Said::Lost
            }
            Op::Beat(own, remote) => {
                let known = Known {
                    hold: own.hold(),
                    remote_id: remote.as_deref(),
                };
                let mut beat = self.f.queue.beat(&mut self.f.con, &[known]).await.unwrap();
                match (beat.lost.is_empty(), beat.learned.pop()) {
                    (false, _) => Said::Lost,
                    (true, Some((0, held))) => Said::Learn(Box::new(held)),
                    (true, _) => Said::Nothing,
                }
            }
        };
        if let Said::Learn(held) = &said {
            assert_eq!(
                held.remote_id,
                self.model.of(&held.id).remote,
                "what is learnt is true"
            );
        }
        self.log.push(format!("  {said:?}"));
        said
    }

    /// The end of a create within a hold, once.
    fn settle(&mut self, own: &Own, answer: &Answer, settle: impl FnOnce(&mut Model)) {
        if *answer != Answer::Lost && self.model.is_first(own) {
            let request = self.model.of(&own.id);
            if request.pending == Some(own.epoch) {
                request.pending = None;
                settle(&mut self.model);
            }
        }
    }

    async fn admit(&mut self, raw: &Raw, id: &str, hash: &str) -> Said {
        let text = format!("{id} {hash}");
        let item = Admit {
            key: &raw.key,
            epoch: raw.epoch,
            id,
            hash,
            payload: &text,
            not_after_in_ms: None,
        };
        let admission = self.f.queue.admit(&mut self.f.con, &[item]).await.unwrap()[0];
        match admission {
            Admission::Admitted(epoch) => {
                if self.model.admitted.insert(raw.key.clone()) {
                    assert!(epoch.0 > self.model.of(id).epoch, "a past could be met");
                    self.model.start(id, epoch.0);
                    self.model.of(id).hash = hash.to_owned();
                }
                Said::Admitted(epoch)
            }
            Admission::Duplicate => {
                self.model.duplicates += 1;
                assert_eq!(self.model.of(id).hash, hash);
                Said::Duplicate
            }
            Admission::Conflict => {
                assert_ne!(self.model.of(id).hash, hash);
                Said::Conflict
            }
            Admission::Lost => Said::Lost,
        }
    }

    async fn finish(
        &mut self,
        own: &Own,
        status: Status,
        remote: Option<&str>,
        dead: bool,
    ) -> Said {
        let before = self.outcomes().await;
        let refund = if status == Status::Failed { PRICE } else { 0 };
        let finish = Finish {
            dead,
            refund: Micros(refund),
            ..own.finish(status, remote)
        };
        let finished = self.f.finish(finish).await;
        let pushed = self.outcomes().await - before;
        if own.id.starts_with('\0') {
            self.model.rejected += pushed;
        } else {
            let request = self.model.of(&own.id);
            let is_known = remote.is_some() && request.remote.as_deref() == remote;
            let is_owner = request.epoch == own.epoch.0;
            let may = match status {
                Status::Solved => is_owner || is_known,
                _ => is_owner && (is_known || request.remote.is_none()),
            };
            // One outcome each, and none that is due is withheld.
            assert_eq!(pushed, usize::from(request.is_live && may), "{request:?}");
        }
        if pushed == 1 && !own.id.starts_with('\0') {
            assert_eq!(finished, Finished::Done);
            self.model.refund(&own.id, refund);
            let request = self.model.of(&own.id);
            request.is_live = false;
            request.outcomes += 1;
            request.pending = None;
            request.is_dead = dead;
            let recorded = request.remote.take();
            request.ended_with = remote.map(str::to_owned).or_else(|| recorded.clone());
            if let Some(other) = recorded.filter(|one| remote.is_some_and(|remote| remote != one)) {
                self.model.orphans.insert((own.id.clone(), other));
            }
        }
        match finished {
            Finished::Done => Said::Done,
            Finished::Lost => Said::Lost,
            Finished::Learn(held) => Said::Learn(held),
            Finished::BadTarget(_) => panic!("targets are lists"),
        }
    }

    /// Makes a call as a worker does: its answer may be lost, and a copy of it may arrive late.
    async fn call(&mut self, op: Op) -> Said {
        if self.rng.u8(..) < 40 {
            self.wire.push(op.clone());
        }
        let said = self.run(&op).await;
        if self.rng.u8(..) < 50 {
            self.run(&op).await
        } else {
            said
        }
    }

    async fn step(&mut self) {
        let worker = self.rng.usize(..WORKERS);
        match self.rng.u8(..100) {
            0..8 => {
                let id = IDS[self.rng.usize(..IDS.len())];
                let hash = if self.rng.u8(..10) == 0 { "h2" } else { "h1" };
                self.f.push(&[&format!("{id} {hash}")]).await;
                self.model.messages += 1;
            }
            8..18 => self.claim(worker).await,
            18..24 => {
                let adopted = self.f.adopt().await;
                self.take(worker, &adopted);
            }
            24..32 => self.read(worker).await,
            32..42 => {
                let leased: Vec<String> =
                    self.dump.leased().iter().map(|&id| id.to_owned()).collect();
                if let Some(id) = self.rng.choice(&leased) {
                    self.log.push(format!("expire {id:?}"));
                    self.f.expire(id).await;
                }
            }
            42..44 => {
                let delayed = self
                    .f
                    .cmd::<Vec<String>>("ZRANGE", "delayed", &["0", "-1"])
                    .await;
                for id in delayed {
                    self.f.cmd::<()>("ZADD", "delayed", &["1", &id]).await;
                }
            }
            44..47 => {
                let id = IDS[self.rng.usize(..IDS.len())];
                if self.dump.job(id).is_some_and(|job| job["s"] == "done") {
                    self.log.push(format!("age {id}"));
                    self.f.age_tombstone(id).await;
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
            54..55 => self.f.queue.pause(&mut self.f.con).await.unwrap(),
            55..57 => self.f.queue.resume(&mut self.f.con).await.unwrap(),
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
        if self.workers[worker].is_empty() {
            return;
        }
        let place = self.rng.usize(..self.workers[worker].len());
        let mut job = self.workers[worker].swap_remove(place);
        let own = job.own.clone();
        let chance = self.rng.u8(..100);
        let op = match &job.stage {
            Stage::Claimed => match chance {
                0..75 => Op::Begin(own),
                75..85 => Op::Release(own, chance.is_multiple_of(2)),
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

    async fn compare(&mut self) {
        let dump = Dump::of(&mut self.f.con).await;
        dump.check();
        let model = &mut self.model;
        for (id, request) in &mut model.requests {
            let job = dump.job(id);
            let is_live = job.is_some_and(|job| job["s"] != "done");
            assert_eq!(is_live, request.is_live, "{id}");
            if job.is_none() {
                request.retired.clear();
                request.ended_with = None;
            }
            if let Some(job) = job.filter(|_| is_live) {
                assert_eq!(
                    job.get("r").and_then(|r| r.as_str()),
                    request.remote.as_deref(),
                    "{id}"
                );
                assert_eq!(job["m"].as_i64().unwrap_or(0), request.spent, "{id}");
                // A release ends an epoch, too.
                let epoch = job["e"].as_u64().unwrap();
                assert!(epoch >= request.epoch);
                request.epoch = epoch;
            }
            assert_eq!(
                request.outcomes + usize::from(is_live),
                request.generations,
                "{id}"
            );
            let pushed = dump
                .texts("results")
                .iter()
                .filter(|&one| one == id)
                .count();
            assert_eq!(pushed, request.outcomes, "{id}");
        }
        assert_eq!(dump.meta("spent"), model.spent);
        assert_eq!(dump.meta("creates"), model.creates);
        assert_eq!(dump.meta("unknown_creates"), model.unknown_creates);
        assert_eq!(dump.meta("retries"), model.retries);
        let orphans: BTreeSet<(String, String)> = dump
            .texts("orphan")
            .iter()
            .map(|note| {
                let note: serde_json::Value = serde_json::from_str(note).unwrap();
                (
                    note["id"].as_str().unwrap().to_owned(),
                    note["remote_id"].to_string(),
                )
            })
            .collect();
        assert_eq!(orphans, model.orphans);
        assert_eq!(dump.texts("orphan").len(), orphans.len(), "each once");
        let raw = dump
            .unfinished()
            .iter()
            .filter(|id| id.starts_with('\0'))
            .count();
        let waiting = dump.texts("list").len() + dump.texts("inbox").len();
        let ended = model.admitted.len() + model.duplicates + model.rejected;
        assert_eq!(raw + waiting + ended, model.messages, "no message is lost");
        self.dump = dump;
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
}

fn told(answer: Answer) -> Said {
    match answer {
        Answer::Done => Said::Done,
        Answer::Lost => Said::Lost,
        Answer::Learn(held) => Said::Learn(held),
    }
}

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
    }
}
