//! Calls that a worker makes, repeats, or leaves on a dead connection, each told to the model.

use super::fleet::World;
use super::model::Model;
use super::*;

/// A call about one hold, which can be made again, or late.
#[derive(Clone, Debug)]
pub(super) enum Op {
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
pub(super) enum Said {
    Admitted(Epoch),
    Done,
    Slot,
    Nothing,
    Lost,
    Learn(Box<Held>),
    Conflict,
    Duplicate,
}

impl Op {
    fn name_and_hold(&self) -> (&'static str, Option<&Own>) {
        match self {
            Self::Admit { .. } => ("admit", None),
            Self::Begin(own) => ("begin", Some(own)),
            Self::Created(own, _) => ("created", Some(own)),
            Self::Withdraw(own) => ("withdraw", Some(own)),
            Self::Unknown(own) => ("unknown", Some(own)),
            Self::Retry(own, ..) => ("retry", Some(own)),
            Self::Finish(own, Status::Solved, ..) => ("solved", Some(own)),
            Self::Finish(own, ..) => ("failed", Some(own)),
            Self::Release(own, _) => ("release", Some(own)),
            Self::Beat(own, _) => ("beat", Some(own)),
        }
    }
}

impl World {
    fn note(&mut self, op: &Op) {
        if let (name, Some(own)) = op.name_and_hold() {
            let job = self.dump.job(&own.id);
            let state = job.map_or("none", |job| job["s"].as_str().unwrap());
            let is_owner = job.is_some_and(|job| job["e"] == own.epoch.0);
            let meeting = (name, state.to_owned(), is_owner);
            *self.meetings.entry(meeting).or_default() += 1;
        }
    }

    async fn outcomes(&mut self) -> usize {
        self.f.outcomes(RESULTS).await.len()
    }

    /// Makes a call and tells the model what it did.
    pub(super) async fn run(&mut self, op: &Op) -> Said {
        self.log.push(format!("{op:?}"));
        self.note(op);
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
                    let in_doubt = self.model.of(&own.id).pending.take().is_some();
                    self.model.unknown_creates += i64::from(in_doubt);
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
            request.is_dead = dead;
            let is_in_doubt = request.remote.is_some() && request.pending.is_some();
            request.pending = None;
            let recorded = request.remote.take();
            request.ended_with = remote.map(str::to_owned).or_else(|| recorded.clone());
            self.model.unknown_creates += i64::from(is_in_doubt);
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
    pub(super) async fn call(&mut self, op: Op) -> Said {
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
}

fn told(answer: Answer) -> Said {
    match answer {
        Answer::Done => Said::Done,
        Answer::Lost => Said::Lost,
        Answer::Learn(held) => Said::Learn(held),
    }
}
