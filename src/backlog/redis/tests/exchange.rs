//! Exchanges: what goes out together, what fails alone, and answers that never come.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use ::redis::AsyncCommands;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};

use super::super::flight::Flight;
use super::conformance::{Queue as Store, queue as store};
use super::dump::Dump;
use super::*;
use crate::backlog::conformance::Shop;
use crate::backlog::{
    Answer as Recorded, Backlog, BacklogError, Claim, Claimed, Record, Resume, Supply, Ticket,
    Waiting, Wake,
};
use crate::job::{ErrorClass, Outcome, RemoteId};

const RESERVE: Micros = Micros(1000);

fn begin() -> Record {
    let at = jiff::Timestamp::now();
    Record::Begin {
        reserve: RESERVE,
        at,
    }
}

fn job(n: u64) -> Waiting {
    Waiting {
        remote_id: RemoteId::number(&n.to_string()).unwrap(),
        submitted_at: jiff::Timestamp::now(),
        deadline: jiff::Timestamp::now() + Duration::from_secs(180),
    }
}

fn finish(status: Status, job: Option<&Waiting>) -> Record {
    let outcome = Outcome {
        status,
        error: (status != Status::Solved).then_some(ErrorClass::SolveFailed),
        remote_id: job.map(|job| job.remote_id.clone()),
        ..Outcome::rejected(
            ErrorClass::SolveFailed,
            String::new(),
            jiff::Timestamp::now(),
        )
    };
    Record::Finish {
        outcome: Arc::new(outcome),
        refund: Micros::ZERO,
        unknown_create: false,
    }
}

/// Everything there is to claim.
async fn claim_all<B: Backlog>(backlog: &mut B) -> Vec<Claim> {
    let mut claims = Vec::new();
    loop {
        let claimed = backlog.claim(100).await.unwrap();
        claims.extend(claimed.jobs);
        if claimed.supply != Supply::More {
            return claims;
        }
    }
}

async fn push(shop: &mut Store, ids: std::ops::Range<u32>) {
    for n in ids {
        let message = format!(
            r#"{{"id":"p{n}","job":"hcaptcha","website_url":"https://a.example.com/{n}","website_key":"k"}}"#
        );
        let _: usize = shop.redis.lpush(LIST, message).await.unwrap();
    }
}

/// Reads that the server made of its clients, but for the one that this call is.
async fn reads(shop: &mut Store) -> u64 {
    let info: String = ::redis::cmd("INFO")
        .arg("stats")
        .query_async(&mut shop.redis)
        .await
        .unwrap();
    let line = info
        .lines()
        .find_map(|line| line.strip_prefix("total_reads_processed:"));
    line.unwrap().trim().parse().unwrap()
}

#[tokio::test]
async fn a_batch_of_all_kinds_and_a_claim_are_one_round_trip() {
    let mut shop = store(5).await;
    let mut backlog = shop.open().await;
    let claims = claim_all(&mut backlog).await;
    let tickets: Vec<Ticket> = claims.iter().map(|claim| claim.ticket).collect();
    let begins: Vec<_> = tickets[..4].iter().map(|t| (*t, begin())).collect();
    backlog.record(&begins, 0).await.unwrap();
    let batch = [(tickets[1], Record::Created(job(1)))];
    backlog.record(&batch, 0).await.unwrap();
    push(&mut shop, 0..3).await;

    // Scripts that are called for the first time would be loaded.
    let release = || Record::Release {
        polls: 0,
        delay: Duration::ZERO,
    };
    let warm = [(tickets[4], release())];
    backlog.record(&warm, 0).await.unwrap();
    let ticket = claim_all(&mut backlog).await;
    let batch = [
        (ticket[0].ticket, finish(Status::Failed, None)),
        (ticket[1].ticket, begin()),
    ];
    backlog.record(&batch, 0).await.unwrap();
    let batch = [(ticket[1].ticket, Record::Withdraw)];
    backlog.record(&batch, 0).await.unwrap();

    push(&mut shop, 10..12).await;
    let before = reads(&mut shop).await;
    let batch = [
        (tickets[0], Record::Created(job(2))),
        (tickets[1], finish(Status::Solved, Some(&job(1)))),
        (tickets[2], Record::Withdraw),
        (tickets[3], Record::Unknown),
        (ticket[2].ticket, release()),
        (ticket[1].ticket, begin()),
    ];
    let (answers, claimed) = backlog.record_and_claim(&batch, 0, 100).await.unwrap();
    // One of them is INFO.
    assert_eq!(reads(&mut shop).await - before - 1, 1);
    assert_eq!(answers[..5], vec![Recorded::Done; 5]);
    assert!(matches!(answers[5], Recorded::Slot(_)));
    let claimed = claimed.unwrap();
    // What was handed back, and behind it two messages that the next look admits.
    assert_eq!((claimed.jobs.len(), claimed.supply), (1, Supply::More));
    assert_eq!(backlog.claim(100).await.unwrap().jobs.len(), 2);
    Dump::of(&mut shop.redis).await.check();
}

#[tokio::test]
async fn what_the_server_does_not_know_is_loaded_and_each_call_made_once() {
    let mut f = Fixture::new().await;
    let (mut a, b) = (f.take("a").await, f.take("b").await);
    f.begin(&mut a).await;
    let _: () = ::redis::cmd("SCRIPT")
        .arg("FLUSH")
        .query_async(&mut f.con)
        .await
        .unwrap();
    // One of the two is known.
    f.counter("creates").await;
    let mut flight = Flight::default();
    let item = Created {
        hold: a.hold(),
        remote_id: "7",
        submitted_at_ms: 1,
        budget: Duration::from_secs(1),
    };
    let created = f.queue.add_created(&mut flight, API, &[item]);
    let spending = Spending {
        api: API,
        pace: FAST,
        cap: None,
    };
    let item = Begin {
        hold: b.hold(),
        reserve: Micros(PRICE),
    };
    let begun = f.queue.add_begin(&mut flight, spending, &[item]);
    f.queue.add_claim(&mut flight, 10, None);
    let mut replies = flight.send(&mut f.con).await.unwrap();
    assert_eq!(created.answers(&mut replies).unwrap(), [Answer::Done]);
    assert!(matches!(
        begun.begun(&mut replies).unwrap()[..],
        [Begun::Slot(_)]
    ));
    assert!(super::super::intake::Claimed::read(&mut replies).is_ok());
    assert_eq!(f.counter("creates").await, 2);
    Dump::of(&mut f.con).await.check();
}

#[tokio::test]
async fn what_one_call_fails_with_leaves_the_others_done_and_is_repeated_alone() {
    let mut shop = store(3).await;
    let mut backlog = shop.open().await;
    let claims = claim_all(&mut backlog).await;
    let ticket = |n: usize| claims[n].ticket;
    let begins = [(ticket(0), begin()), (ticket(1), begin())];
    backlog.record(&begins, 0).await.unwrap();
    let created = [(ticket(0), Record::Created(job(1)))];
    backlog.record(&created, 0).await.unwrap();
    let _: () = shop.redis.set(RESULTS, "no list").await.unwrap();

    let batch = [
        (ticket(0), finish(Status::Solved, Some(&job(1)))),
        (ticket(1), Record::Created(job(2))),
        (ticket(2), begin()),
    ];
    for _ in 0..2 {
        let failed = backlog.record_and_claim(&batch, 0, 10).await;
        assert!(matches!(failed, Err(BacklogError::Away { .. })));
        let _: () = shop.redis.rename(RESULTS, "aside").await.unwrap();
        let dump = Dump::of(&mut shop.redis).await;
        let _: () = shop.redis.rename("aside", RESULTS).await.unwrap();
        assert_eq!(dump.job("r0").unwrap()["s"], "waiting");
        assert_eq!(dump.job("r1").unwrap()["s"], "waiting");
        assert_eq!(dump.job("r2").unwrap()["s"], "submitting");
        assert_eq!(dump.meta("creates"), 3);
    }
    let _: usize = shop.redis.del(RESULTS).await.unwrap();
    let answers = backlog.record(&batch, 0).await.unwrap();
    assert_eq!(answers[..2], [Recorded::Done, Recorded::Done]);
    assert!(matches!(answers[2], Recorded::Slot(_)));
    assert_eq!(Dump::of(&mut shop.redis).await.meta("creates"), 3);
    assert_eq!(shop.outcomes().await.len(), 1);
}

#[tokio::test]
async fn messages_that_nobody_asks_for_are_handed_back() {
    let mut shop = store(1).await;
    let mut backlog = shop.open().await;
    let claims = claim_all(&mut backlog).await;
    push(&mut shop, 0..3).await;
    let batch = [(claims[0].ticket, begin())];
    let (_, claimed) = backlog.record_and_claim(&batch, 0, 10).await.unwrap();
    let claimed = claimed.unwrap();
    assert_eq!((claimed.jobs.len(), claimed.supply), (0, Supply::More));
    let inbox = key("inbox");
    assert_eq!(shop.redis.llen::<_, usize>(&inbox).await.unwrap(), 0);
    // The bell may ring first, for a message that came before.
    while backlog.wake().await != Wake::Tend {}
    assert!(backlog.tend().await.unwrap().is_empty());
    let order: Vec<String> = shop.redis.lrange(&inbox, 0, -1).await.unwrap();
    assert_eq!(order.len(), 3);
    let left = claim_all(&mut backlog).await;
    let ids: Vec<&str> = left.iter().map(|c| c.request.id().as_str()).collect();
    assert_eq!(ids, ["p0", "p1", "p2"], "in their order");
}

/// What a [`Cutter`] does to the next thing that is sent through it.
const PASS: u8 = 0;
const CUT_BEFORE: u8 = 1;
const CUT_AFTER: u8 = 2;

/// Passes a connection on, and cuts it when told: before something reaches the server, or after that and
/// before its answer comes back.
struct Cutter {
    port: u16,
    next: Arc<AtomicU8>,
}

impl Cutter {
    async fn new(to: u16) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let next = Arc::new(AtomicU8::new(PASS));
        let told = Arc::clone(&next);
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let server = TcpStream::connect(("127.0.0.1", to)).await.unwrap();
                tokio::spawn(pass(client, server, Arc::clone(&told)));
            }
        });
        Self { port, next }
    }
}

async fn pass(client: TcpStream, server: TcpStream, told: Arc<AtomicU8>) {
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    let is_cut = Arc::new(AtomicU8::new(PASS));
    tokio::select! {
        () = there(from_client, to_server, &told, &is_cut) => {}
        () = back(from_server, to_client, &is_cut) => {}
    }
}

async fn there(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    told: &AtomicU8,
    is_cut: &AtomicU8,
) {
    let mut buffer = vec![0; 1 << 16];
    while let Ok(length @ 1..) = from.read(&mut buffer).await {
        match told.swap(PASS, Ordering::SeqCst) {
            CUT_BEFORE => return,
            cut => is_cut.store(cut, Ordering::SeqCst),
        }
        if to.write_all(&buffer[..length]).await.is_err() {
            return;
        }
    }
}

async fn back(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, is_cut: &AtomicU8) {
    let mut buffer = vec![0; 1 << 16];
    while let Ok(length @ 1..) = from.read(&mut buffer).await {
        if is_cut.load(Ordering::SeqCst) == CUT_AFTER
            || to.write_all(&buffer[..length]).await.is_err()
        {
            return;
        }
    }
}

/// What a request's owner knows of it.
struct Owned {
    id: String,
    stage: Option<Waiting>,
    is_begun: bool,
}

/// What became of all requests, by what their owner was told.
#[derive(Default)]
struct Told {
    creates: i64,
    unknown: i64,
    spent: i64,
    ended: BTreeMap<String, usize>,
}

/// Records that may follow.
fn next(rng: &mut fastrand::Rng, owned: &Owned, jobs: &mut u64) -> Record {
    match (&owned.stage, owned.is_begun, rng.u8(..10)) {
        (Some(_), _, 0..3) => Record::Retry {
            refund: RESERVE,
            polls: 1,
        },
        (Some(waiting), _, _) => finish(Status::Solved, Some(waiting)),
        (None, true, 0..2) => Record::Withdraw,
        (None, true, 2..4) => Record::Unknown,
        (None, true, _) => {
            *jobs += 1;
            Record::Created(job(*jobs))
        }
        (None, false, 0) => finish(Status::Failed, None),
        (None, false, _) => begin(),
    }
}

impl Told {
    fn take_in(&mut self, owned: &mut Owned, record: &Record, answer: &Recorded) -> bool {
        match (record, answer) {
            (Record::Begin { .. }, Recorded::Slot(_)) => {
                self.creates += 1;
                self.spent += RESERVE.0;
                owned.is_begun = true;
            }
            (Record::Begin { .. }, Recorded::NotYet(_)) => {}
            (Record::Retry { .. }, Recorded::Recalled(request)) => {
                assert_eq!(request.id().as_str(), owned.id);
                self.spent -= RESERVE.0;
                owned.stage = None;
            }
            (_, Recorded::Done) => match record {
                Record::Withdraw => {
                    self.creates -= 1;
                    self.spent -= RESERVE.0;
                    owned.is_begun = false;
                }
                Record::Unknown => {
                    self.unknown += 1;
                    owned.is_begun = false;
                }
                Record::Created(waiting) => {
                    owned.is_begun = false;
                    owned.stage = Some(waiting.clone());
                }
                Record::Finish { .. } => {
                    *self.ended.entry(owned.id.clone()).or_default() += 1;
                    return false;
                }
                other => panic!("{other:?}"),
            },
            other => panic!("{}: {other:?}", owned.id),
        }
        true
    }
}

fn take_up(held: &mut BTreeMap<Ticket, Owned>, claimed: Claimed) {
    assert!(claimed.settled.is_empty() && claimed.in_doubt == 0);
    for claim in claimed.jobs {
        assert!(matches!(claim.resume, Resume::Queued));
        let owned = Owned {
            id: claim.request.id().as_str().to_owned(),
            stage: None,
            is_begun: false,
        };
        held.insert(claim.ticket, owned);
    }
}

/// A worker whose connection is cut again and again, before or after what it said was heard. It repeats
/// itself until it is answered; in the end everything was done once.
#[tokio::test]
async fn answers_that_never_come_change_nothing() {
    let seeds = std::env::var("POLLWHEEL_SEEDS").map_or(3, |text| text.parse().unwrap());
    for seed in 0..seeds {
        lose_answers(seed).await;
    }
}

async fn lose_answers(seed: u64) {
    const REQUESTS: usize = 12;
    const MOST_CUTS: u32 = 4;
    let mut cuts = 0;
    let mut rng = fastrand::Rng::with_seed(seed);
    let mut shop = store(REQUESTS).await;
    let cutter = Cutter::new(shop.server.port).await;
    let mut backlog = shop
        .open_at(&format!("redis://127.0.0.1:{}/", cutter.port))
        .await;
    let mut held: BTreeMap<Ticket, Owned> = BTreeMap::new();
    let mut told = Told::default();
    let mut jobs = 0;
    for round in 0.. {
        assert!(round < 1000, "no end in sight");
        let batch: Vec<(Ticket, Record)> = held
            .iter()
            .filter(|_| rng.u8(..3) > 0)
            .collect::<Vec<_>>()
            .into_iter()
            .map(|(ticket, owned)| (*ticket, next(&mut rng, owned, &mut jobs)))
            .collect();
        let max = rng.usize(1..8);
        let way = rng.u8(..4);
        // Each makes the next connection wait for longer.
        let mut cut = PASS;
        if cuts < MOST_CUTS && rng.u8(..3) == 0 {
            cut = *rng.choice(&[CUT_BEFORE, CUT_AFTER]).unwrap();
            cuts += 1;
        }
        let answers = loop {
            cutter.next.store(cut, Ordering::SeqCst);
            cut = PASS;
            let done = match way {
                0 => backlog
                    .record(&batch, 0)
                    .await
                    .map(|answers| (answers, None)),
                1 if batch.is_empty() => backlog.claim(max).await.map(|c| (vec![], Some(c))),
                _ => backlog.record_and_claim(&batch, 0, max).await,
            };
            match done {
                Ok((answers, claimed)) => {
                    claimed.into_iter().for_each(|c| take_up(&mut held, c));
                    break answers;
                }
                Err(BacklogError::Away { .. }) => {}
                Err(e) => panic!("{e}"),
            }
        };
        assert_eq!(answers.len(), batch.len());
        for ((ticket, record), answer) in batch.iter().zip(&answers) {
            let owned = held.get_mut(ticket).unwrap();
            if !told.take_in(owned, record, answer) {
                held.remove(ticket);
            }
        }
        if told.ended.len() == REQUESTS {
            break;
        }
        // What a claim handed out whose answer was lost comes back when its lease runs out.
        if held.is_empty() {
            shop.expire(|id| id.starts_with('\0')).await;
        }
    }
    cutter.next.store(PASS, Ordering::SeqCst);
    assert!(told.ended.values().all(|&times| times == 1), "seed {seed}");
    assert_eq!(shop.outcomes().await.len(), REQUESTS, "seed {seed}");
    let dump = Dump::of(&mut shop.redis).await;
    assert_eq!(dump.meta("creates"), told.creates, "seed {seed}");
    assert_eq!(dump.meta("unknown_creates"), told.unknown, "seed {seed}");
    assert_eq!(dump.meta("spent"), told.spent, "seed {seed}");
    assert_eq!(dump.meta("orphans"), 0);
    dump.check();
}
