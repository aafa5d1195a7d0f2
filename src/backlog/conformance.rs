//! One suite over every backlog: what [`Backlog`] promises, whatever is behind it.
//!
//! A [`Shop`] is a store that outlives its backlogs. A kill is a backlog that is dropped without being
//! closed, after which everything that it held is up to the next one.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;

use super::{Answer, Backlog, Claim, History, Record, Resume, Supply, Ticket, Waiting};
use crate::job::{ErrorClass, Micros, Outcome, RemoteId, Status};

const PRICE: Micros = Micros(1000);

/// A store with `count` requests named `r0`, `r1`, … of a kind that costs [`PRICE`].
pub(super) trait Shop {
    type Backlog: Backlog;

    /// A new life.
    async fn open(&mut self) -> Self::Backlog;

    /// The outcomes that were delivered: the ids and statuses.
    async fn outcomes(&mut self) -> Vec<(String, String)>;
}

/// Claims until nothing more comes; gives the claims by id, and how many creates were found in doubt.
async fn claim_all<B: Backlog>(backlog: &mut B) -> (BTreeMap<String, Claim>, u64) {
    let (mut claims, mut in_doubt) = (BTreeMap::new(), 0);
    loop {
        let claimed = backlog.claim(3).await.unwrap();
        in_doubt += claimed.in_doubt;
        for claim in claimed.jobs {
            let id = claim.request.id().as_str().to_owned();
            let twice = claims.insert(id, claim);
            assert!(twice.is_none(), "handed out twice: {twice:?}");
        }
        if claimed.supply != Supply::More {
            return (claims, in_doubt);
        }
    }
}

async fn record<B: Backlog>(backlog: &mut B, ticket: Ticket, record: Record) -> Answer {
    let batch = [(ticket, record)];
    let mut answers = backlog.record(&batch, 0).await.unwrap();
    assert_eq!(answers.len(), 1);
    answers.remove(0)
}

fn now() -> Timestamp {
    Timestamp::now()
}

fn begin() -> Record {
    Record::Begin {
        reserve: PRICE,
        at: now(),
    }
}

fn job(n: u64) -> Waiting {
    Waiting {
        remote_id: RemoteId::number(&n.to_string()).unwrap(),
        submitted_at: Timestamp::from_millisecond(now().as_millisecond()).unwrap(),
        deadline: now() + std::time::Duration::from_secs(180),
    }
}

fn finish(status: Status, job: Option<&Waiting>) -> Record {
    let outcome = Outcome {
        status,
        token: (status == Status::Solved).then(|| "P1_solved".to_owned().into()),
        error: (status != Status::Solved).then_some(ErrorClass::SolveFailed),
        remote_id: job.map(|job| job.remote_id.clone()),
        ..Outcome::rejected(ErrorClass::SolveFailed, String::new(), now())
    };
    Record::Finish {
        outcome: Arc::new(outcome),
        refund: Micros::ZERO,
        unknown_create: false,
    }
}

fn is_begun(answer: &Answer) -> bool {
    matches!(answer, Answer::Done | Answer::Slot(_))
}

/// Done; where it can be created again, perhaps with the request in its whole.
fn is_done(answer: &Answer) -> bool {
    matches!(answer, Answer::Done | Answer::Recalled(_))
}

/// Each request is handed out once, and again in the next life.
pub(super) async fn claims_hand_out_everything_once<S: Shop>(shop: &mut S, count: usize) {
    for _ in 0..2 {
        let mut backlog = shop.open().await;
        let (claims, in_doubt) = claim_all(&mut backlog).await;
        let ids: Vec<String> = (0..count).map(|n| format!("r{n}")).collect();
        assert_eq!(claims.keys().cloned().collect::<Vec<_>>(), ids);
        assert!(claims.values().all(|c| matches!(c.resume, Resume::Queued)));
        assert!(claims.values().all(|c| c.history == History::default()));
        assert_eq!(in_doubt, 0);
    }
    assert_eq!(shop.outcomes().await, []);
}

/// A life for each step: what one left, the next finds.
pub(super) async fn each_step_outlives_a_kill<S: Shop>(shop: &mut S) {
    // Begun, and no answer recorded.
    let mut backlog = shop.open().await;
    let (claims, _) = claim_all(&mut backlog).await;
    let ticket = claims["r0"].ticket;
    assert!(is_begun(&record(&mut backlog, ticket, begin()).await));
    drop(backlog);

    let mut backlog = shop.open().await;
    let (claims, _) = claim_all(&mut backlog).await;
    let claim = &claims["r0"];
    assert!(matches!(claim.resume, Resume::Queued));
    let doubted = History {
        creates: 1,
        unknown_creates: 1,
        spent: PRICE,
        ..History::default()
    };
    assert_eq!(claim.history, doubted);
    // Begun and taken back: as before.
    let ticket = claim.ticket;
    assert!(is_begun(&record(&mut backlog, ticket, begin()).await));
    assert_eq!(
        record(&mut backlog, ticket, Record::Withdraw).await,
        Answer::Done
    );
    drop(backlog);

    let mut backlog = shop.open().await;
    let (claims, _) = claim_all(&mut backlog).await;
    assert_eq!(claims["r0"].history, doubted);
    // Begun and known to be unknown.
    let ticket = claims["r0"].ticket;
    assert!(is_begun(&record(&mut backlog, ticket, begin()).await));
    assert_eq!(
        record(&mut backlog, ticket, Record::Unknown).await,
        Answer::Done
    );
    drop(backlog);

    let mut backlog = shop.open().await;
    let (claims, _) = claim_all(&mut backlog).await;
    let doubted = History {
        creates: 2,
        unknown_creates: 2,
        spent: PRICE + PRICE,
        ..History::default()
    };
    assert_eq!(claims["r0"].history, doubted);
    // Created.
    let ticket = claims["r0"].ticket;
    let first = job(71);
    assert!(is_begun(&record(&mut backlog, ticket, begin()).await));
    let created = Record::Created(first.clone());
    assert_eq!(record(&mut backlog, ticket, created).await, Answer::Done);
    drop(backlog);

    let mut backlog = shop.open().await;
    let (claims, in_doubt) = claim_all(&mut backlog).await;
    assert_eq!(in_doubt, 0, "an id was recorded");
    let Resume::Waiting(found) = &claims["r0"].resume else {
        panic!("a known job was handed out as new");
    };
    assert_eq!(found.remote_id, first.remote_id);
    assert_eq!(found.submitted_at, first.submitted_at);
    // Failed, and to be tried again: half was given back.
    let ticket = claims["r0"].ticket;
    let retry = Record::Retry {
        refund: Micros(500),
        polls: 4,
    };
    let answer = record(&mut backlog, ticket, retry).await;
    assert!(is_done(&answer), "{answer:?}");
    drop(backlog);

    let mut backlog = shop.open().await;
    let (claims, _) = claim_all(&mut backlog).await;
    assert!(matches!(claims["r0"].resume, Resume::Queued));
    let history = claims["r0"].history;
    let retried = History {
        creates: 3,
        failed_attempts: 1,
        unknown_creates: 2,
        polls: 4,
        spent: Micros(2500),
    };
    assert_eq!(history, retried);
    // Solved, and said twice because the answer was lost.
    let (ticket, second) = (claims["r0"].ticket, job(72));
    assert!(is_begun(&record(&mut backlog, ticket, begin()).await));
    record(&mut backlog, ticket, Record::Created(second.clone())).await;
    let last = finish(Status::Solved, Some(&second));
    assert_eq!(record(&mut backlog, ticket, last).await, Answer::Done);
    assert_eq!(
        shop.outcomes().await,
        [("r0".to_owned(), "solved".to_owned())]
    );
    drop(backlog);

    let mut backlog = shop.open().await;
    let (claims, _) = claim_all(&mut backlog).await;
    assert!(!claims.contains_key("r0"), "a settled request came back");
    assert_eq!(shop.outcomes().await.len(), 1);
}

/// What is handed back goes on elsewhere.
pub(super) async fn what_is_released_goes_on<S: Shop>(shop: &mut S) {
    let mut backlog = shop.open().await;
    let (claims, _) = claim_all(&mut backlog).await;
    let (waiting, queued) = (claims["r0"].ticket, claims["r1"].ticket);
    assert!(is_begun(&record(&mut backlog, waiting, begin()).await));
    record(&mut backlog, waiting, Record::Created(job(5))).await;
    let release = |polls| Record::Release {
        polls,
        delay: std::time::Duration::ZERO,
    };
    let batch = [(waiting, release(3)), (queued, release(0))];
    let answers = backlog.record(&batch, 3).await.unwrap();
    assert_eq!(answers, [Answer::Done, Answer::Done]);
    backlog.close("terminated").await.unwrap();
    drop(backlog);

    let mut backlog = shop.open().await;
    let (claims, in_doubt) = claim_all(&mut backlog).await;
    assert_eq!(in_doubt, 0);
    assert!(matches!(claims["r0"].resume, Resume::Waiting(_)));
    assert_eq!(claims["r0"].history.polls, 3);
    assert!(matches!(claims["r1"].resume, Resume::Queued));
}

/// Lives of random length, with random steps: in the end each request has one outcome, and nothing was
/// created while a job was known.
pub(super) async fn random_lives_settle_everything_once<S: Shop>(
    shop: &mut S,
    count: usize,
    seed: u64,
) {
    let mut rng = fastrand::Rng::with_seed(seed);
    let mut jobs_made = 100;
    let mut known: BTreeMap<String, Waiting> = BTreeMap::new();
    let mut settled = 0;
    for life in 0.. {
        assert!(life < 1000, "no end in sight");
        let mut backlog = shop.open().await;
        let (claims, _) = claim_all(&mut backlog).await;
        assert_eq!(
            claims.len(),
            count - settled,
            "lost, or handed out after its end"
        );
        if claims.is_empty() {
            break;
        }
        for (id, claim) in &claims {
            let ticket = claim.ticket;
            match (&claim.resume, known.get(id)) {
                (Resume::Waiting(found), Some(job)) => assert_eq!(found.remote_id, job.remote_id),
                (Resume::Queued, None) => {}
                other => panic!("{id}: {other:?}"),
            }
            for _ in 0..rng.usize(..4) {
                let answer = match known.get(id).cloned() {
                    None => {
                        assert!(is_begun(&record(&mut backlog, ticket, begin()).await));
                        match rng.u32(..5) {
                            // A kill finds it so; in this life nothing else may follow.
                            0 => break,
                            1 => record(&mut backlog, ticket, Record::Withdraw).await,
                            2 => record(&mut backlog, ticket, Record::Unknown).await,
                            _ => {
                                jobs_made += 1;
                                let job = job(jobs_made);
                                known.insert(id.clone(), job.clone());
                                record(&mut backlog, ticket, Record::Created(job)).await
                            }
                        }
                    }
                    Some(job) if rng.bool() => {
                        let status = [Status::Solved, Status::Failed][rng.usize(..2)];
                        let answer = record(&mut backlog, ticket, finish(status, Some(&job))).await;
                        settled += 1;
                        assert_eq!(answer, Answer::Done);
                        break;
                    }
                    Some(_) => {
                        known.remove(id);
                        let retry = Record::Retry {
                            refund: PRICE,
                            polls: 1,
                        };
                        record(&mut backlog, ticket, retry).await
                    }
                };
                assert!(is_done(&answer), "{answer:?}");
            }
        }
    }
    let mut ids: Vec<String> = shop
        .outcomes()
        .await
        .into_iter()
        .map(|(id, _)| id)
        .collect();
    ids.sort();
    let mut all: Vec<String> = (0..count).map(|n| format!("r{n}")).collect();
    all.sort();
    assert_eq!(ids, all);
}

/// The suite for a kind of shop, as tests.
macro_rules! conforms {
    ($open:expr) => {
        #[tokio::test]
        async fn claims_hand_out_everything_once() {
            let mut shop = $open(9).await;
            crate::backlog::conformance::claims_hand_out_everything_once(&mut shop, 9).await;
        }

        #[tokio::test]
        async fn each_step_outlives_a_kill() {
            crate::backlog::conformance::each_step_outlives_a_kill(&mut $open(2).await).await;
        }

        #[tokio::test]
        async fn what_is_released_goes_on() {
            crate::backlog::conformance::what_is_released_goes_on(&mut $open(2).await).await;
        }

        #[tokio::test]
        async fn random_lives_settle_everything_once() {
            for seed in 0..8 {
                let mut shop = $open(12).await;
                crate::backlog::conformance::random_lives_settle_everything_once(
                    &mut shop, 12, seed,
                )
                .await;
            }
        }
    };
}
pub(super) use conforms;
