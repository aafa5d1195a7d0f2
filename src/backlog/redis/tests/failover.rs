//! Redis comes back as it was a while ago, and the owners assert what they hold.

use ::redis::Value;

use super::dump::Dump;
use super::*;
use crate::backlog::History;

const IDS: [&str; 4] = ["a", "b", "c", "d"];

/// What an owner knows of its job.
#[derive(Clone, Debug)]
struct View {
    own: Own,
    state: JobState,
    history: History,
    crashes: u32,
    remote: Option<String>,
}

impl View {
    fn of(held: &Held) -> Self {
        Self {
            own: Own::of(held),
            state: held.state,
            history: held.history,
            crashes: held.crashes,
            remote: held.remote_id.clone(),
        }
    }

    fn assert(&self) -> Assert<'_> {
        Assert {
            hold: self.own.hold(),
            state: self.state,
            payload: &self.own.id,
            hash: &self.own.id,
            history: self.history,
            crashes: self.crashes,
            reserve: (self.state == JobState::Submitting).then_some(Micros(PRICE)),
            remote_id: self.remote.as_deref(),
            submitted_at_ms: self.remote.as_ref().map(|_| 1_700_000_000_123),
            deadline_left_ms: self.remote.as_ref().map(|_| 100_000),
            not_after_left_ms: None,
            api: Some(API),
        }
    }
}

/// All keys and what they hold.
async fn snapshot(f: &mut Fixture) -> Vec<(String, Vec<u8>)> {
    let mut cmd = ::redis::cmd("KEYS");
    let keys: Vec<String> = cmd.arg("*").query_async(&mut f.con).await.unwrap();
    let mut all = Vec::new();
    for key in keys {
        let mut cmd = ::redis::cmd("DUMP");
        let Value::BulkString(bytes) = cmd.arg(&key).query_async(&mut f.con).await.unwrap() else {
            panic!("{key} is gone");
        };
        all.push((key, bytes));
    }
    all
}

async fn go_back(f: &mut Fixture, snapshot: &[(String, Vec<u8>)]) {
    ::redis::cmd("FLUSHALL")
        .query_async::<()>(&mut f.con)
        .await
        .unwrap();
    for (key, bytes) in snapshot {
        let mut cmd = ::redis::cmd("RESTORE");
        cmd.arg(key)
            .arg(0)
            .arg(bytes)
            .query_async::<()>(&mut f.con)
            .await
            .unwrap();
    }
}

/// The present owner's next step with a job.
async fn work(f: &mut Fixture, rng: &mut fastrand::Rng, view: &mut View, remote_ids: &mut u32) {
    match view.state {
        JobState::Claimed => {
            assert!(matches!(f.begin(&mut view.own).await, Begun::Slot(_)));
            view.state = JobState::Submitting;
            view.history.creates += 1;
            view.history.spent += Micros(PRICE);
        }
        JobState::Submitting => match rng.u8(..4) {
            0 => {
                assert_eq!(f.back(&mut view.own, BackBy::Withdraw).await, Answer::Done);
                (view.state, view.crashes) = (JobState::Claimed, 0);
                view.history.creates -= 1;
                view.history.spent = view.history.spent - Micros(PRICE);
            }
            1 => {
                assert_eq!(f.back(&mut view.own, BackBy::Unknown).await, Answer::Done);
                (view.state, view.crashes) = (JobState::Claimed, 0);
                view.history.unknown_creates += 1;
            }
            _ => {
                *remote_ids += 1;
                let remote = remote_ids.to_string();
                assert_eq!(f.created(&mut view.own, &remote).await, Answer::Done);
                (view.state, view.crashes) = (JobState::Waiting, 0);
                view.remote = Some(remote);
            }
        },
        _ => {
            let remote_id = view.remote.take().unwrap();
            let by = BackBy::Retry {
                remote_id: &remote_id,
                refund: Micros(PRICE),
                polls: 2,
            };
            assert_eq!(f.back(&mut view.own, by).await, Answer::Done);
            view.state = JobState::Claimed;
            view.history.failed_attempts += 1;
            view.history.polls += 2;
            view.history.spent = view.history.spent - Micros(PRICE);
        }
    }
}

/// Somebody else takes the job, because its lease ran out or it was released.
async fn take(f: &mut Fixture, id: &str) -> View {
    let adopted = f.adopt().await;
    let claimed = f.claim().await.held;
    let held = adopted.iter().chain(&claimed).find(|held| held.id == id);
    View::of(held.unwrap())
}

#[tokio::test]
async fn what_owners_assert_is_put_back_and_the_money_adds_up() {
    let mut f = Fixture::new().await;
    let mut put_back = 0;
    for seed in 0..60 {
        ::redis::cmd("FLUSHALL")
            .query_async::<()>(&mut f.con)
            .await
            .unwrap();
        let mut rng = fastrand::Rng::with_seed(seed);
        let mut views = Vec::new();
        for id in IDS {
            let own = f.take(id).await;
            views.push(View {
                own,
                state: JobState::Claimed,
                history: History::default(),
                crashes: 0,
                remote: None,
            });
        }
        f.queue.settle_in(&mut f.con, "one").await.unwrap();
        let (mut stale, mut remote_ids) = (Vec::new(), 0);
        let mut past = snapshot(&mut f).await;
        for _ in 0..rng.u8(5..60) {
            let view = &mut views[rng.usize(..IDS.len())];
            let id = view.own.id.clone();
            match rng.u8(..20) {
                0 => past = snapshot(&mut f).await,
                1 => {
                    f.expire(&id).await;
                    stale.push(std::mem::replace(view, take(&mut f, &id).await));
                }
                2 => {
                    f.release(&view.own, Duration::ZERO).await;
                    if view.state == JobState::Submitting {
                        f.expire(&id).await;
                    }
                    *view = take(&mut f, &id).await;
                }
                _ => work(&mut f, &mut rng, view, &mut remote_ids).await,
            }
        }
        Dump::of(&mut f.con).await.check();
        go_back(&mut f, &past).await;
        assert!(f.queue.settle_in(&mut f.con, "two").await.unwrap().differs);

        // Owners of the past speak as well.
        let mut all: Vec<&View> = views.iter().chain(&stale).collect();
        rng.shuffle(&mut all);
        let mut answers = Vec::new();
        for view in &all {
            for _ in 0..1 + rng.u8(..2) {
                let asserted = f.queue.assert(&mut f.con, &[view.assert()]).await.unwrap();
                put_back += asserted.put_back;
                answers.push((view, asserted.answers[0].clone()));
                Dump::of(&mut f.con).await.check();
            }
        }
        let dump = Dump::of(&mut f.con).await;
        assert_eq!(
            dump.meta("spent"),
            dump.spent_on_unfinished(),
            "seed {seed}"
        );
        for (view, answer) in answers {
            let View { own, remote, .. } = view;
            let job = dump.job(&own.id).unwrap();
            let recorded = job.get("r").and_then(|r| r.as_str());
            let is_present = views.iter().any(|one| one.own.epoch == own.epoch);
            assert_eq!(
                job["e"].as_u64() == Some(own.epoch.0),
                is_present,
                "seed {seed}"
            );
            match answer {
                Answer::Done => {}
                Answer::Lost => assert!(!is_present, "seed {seed}"),
                Answer::Learn(held) => {
                    assert!(
                        held.remote_id.is_some() && held.remote_id != *remote,
                        "seed {seed}"
                    );
                }
            }
            if is_present {
                assert_eq!(
                    job["m"].as_i64().unwrap_or(0),
                    view.history.spent.0,
                    "seed {seed}"
                );
                assert_eq!(
                    job["n"].as_u64().unwrap_or(0),
                    u64::from(view.history.creates)
                );
                if recorded.is_none() {
                    assert_eq!(job["s"], view.state.as_str());
                }
            }
            // A known id is recorded, noted, or had its verdict.
            if let Some(remote) = remote {
                let noted = format!("\"remote_id\":{remote},");
                let is_noted = dump
                    .texts("orphan")
                    .iter()
                    .any(|note| note.contains(&noted));
                let retired = job
                    .get("x")
                    .and_then(|x| x.as_array())
                    .into_iter()
                    .flatten();
                let had_verdict = retired.into_iter().any(|one| one == remote.as_str());
                assert!(
                    recorded == Some(remote) || is_noted || had_verdict,
                    "seed {seed}: {remote}"
                );
            }
        }
        // Nobody gets an epoch that was used.
        let highest = all.iter().map(|view| view.own.epoch).max().unwrap();
        assert!(dump.meta("epoch") >= i64::try_from(highest.0).unwrap());
    }
    assert!(put_back > 60, "else this shows little: {put_back}");
}
