//! The backlog in Redis: batches of its Lua scripts, at a server of our own with `appendfsync always`.
//!
//! A sample is the round trip as the worker waits for it; the server's share of the CPU is in it.

use std::cell::RefCell;
use std::time::Duration;

use divan::Bencher;
use divan::counter::ItemsCount;
use jiff::Timestamp;
use pollwheel::backlog::redis::message::Intake;
use pollwheel::backlog::redis::reply_to::{NamesInUse, ReplyPolicy};
use pollwheel::backlog::redis::{Delivery, RedisBacklog, RedisSettings};
use pollwheel::backlog::{Answer, Backlog, Claim, Record, Ticket, UnknownCreatePolicy};
use pollwheel::redis::{Access, Keys, Settings};

use crate::redis_server::RedisServer;
use crate::rows::{self, Step};

const LIST: &str = "bench:requests";
const RESULTS: &str = "bench:results";
const PREFIX: &str = "pollwheel:";
const BATCHES: [usize; 3] = [1, 16, 128];
const SAMPLES: u32 = 50;

/// A worker at a queue.
struct Queue {
    runtime: tokio::runtime::Runtime,
    backlog: RedisBacklog,
    // Last: it is killed when the worker has gone.
    _server: RedisServer,
}

impl Queue {
    /// With so many requests in it.
    fn of(count: usize) -> Self {
        let server = RedisServer::start();
        let client = ::redis::Client::open(server.url()).unwrap();
        let mut connection = client.get_connection().unwrap();
        let messages: Vec<String> = (0..count).map(rows::message).collect();
        ::redis::cmd("LPUSH")
            .arg(LIST)
            .arg(messages)
            .exec(&mut connection)
            .unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        let (backlog, _) = runtime
            .block_on(RedisBacklog::open(settings(&server)))
            .unwrap();
        Self {
            runtime,
            backlog,
            _server: server,
        }
    }

    fn claim(&mut self, count: usize) -> Vec<Claim> {
        let (mut jobs, mut in_vain) = (Vec::new(), 0);
        while jobs.len() < count {
            let claimed = self
                .runtime
                .block_on(self.backlog.claim(count - jobs.len()))
                .unwrap();
            // What one exchange took, the next admits.
            in_vain = if claimed.jobs.is_empty() {
                in_vain + 1
            } else {
                0
            };
            assert!(in_vain < 100, "the queue is empty");
            jobs.extend(claimed.jobs);
        }
        jobs
    }

    fn record(&mut self, batch: &[(Ticket, Record)]) {
        let answers = self
            .runtime
            .block_on(self.backlog.record(batch, 0))
            .unwrap();
        let is_recorded = |answer: &Answer| matches!(answer, Answer::Done | Answer::Slot(_));
        assert!(answers.iter().all(is_recorded));
    }
}

fn settings(server: &RedisServer) -> RedisSettings {
    let names = NamesInUse {
        list: LIST,
        results: Some(RESULTS),
        key_prefix: PREFIX,
    };
    RedisSettings {
        link: Settings::try_new(&server.url(), Access::default()).unwrap(),
        keys: Keys::new(PREFIX, LIST).unwrap(),
        delivery: Delivery {
            results: Some(RESULTS.to_owned()),
            replies: ReplyPolicy::try_new("reply:", None, names).unwrap(),
            keys: None,
            foreign: None,
        },
        intake: Intake {
            kinds: rows::kinds(),
            sites: rows::sites(),
            default_kind: None,
        },
        identity: rows::identity(),
        lease: Duration::from_secs(3600),
        repeat_window: Duration::from_secs(600),
        submit_pace: (Duration::from_micros(1), 1000),
        poll_pace: None,
        max_spend: None,
        max_in_flight: None,
        on_unknown_create: UnknownCreatePolicy::Retry,
        drain: true,
        limit: None,
        allow_unsafe: false,
        wall_clock: Timestamp::now,
    }
}

/// Adopting, claiming and admitting: what one claim of the engine's asks of Redis.
#[divan::bench(args = BATCHES, sample_count = SAMPLES, sample_size = 1)]
fn redis_claim(bencher: Bencher<'_, '_>, size: usize) {
    let mut queue = Queue::of(size * (SAMPLES as usize + 1));
    bencher
        .counter(ItemsCount::new(size))
        .bench_local(|| queue.claim(size));
}

fn record_batches(bencher: Bencher<'_, '_>, size: usize, before: &[Step], measured: Step) {
    let queue = RefCell::new(Queue::of(size * (SAMPLES as usize + 1)));
    bencher
        .counter(ItemsCount::new(size))
        .with_inputs(|| {
            let queue = &mut queue.borrow_mut();
            let claims = queue.claim(size);
            for step in before {
                queue.record(&step(&claims));
            }
            measured(&claims)
        })
        .bench_local_refs(|batch| queue.borrow_mut().record(batch));
}

#[divan::bench(args = BATCHES, sample_count = SAMPLES, sample_size = 1)]
fn redis_begin(bencher: Bencher<'_, '_>, size: usize) {
    record_batches(bencher, size, &[], rows::begun);
}

#[divan::bench(args = BATCHES, sample_count = SAMPLES, sample_size = 1)]
fn redis_created(bencher: Bencher<'_, '_>, size: usize) {
    record_batches(bencher, size, &[rows::begun], rows::created);
}

#[divan::bench(args = BATCHES, sample_count = SAMPLES, sample_size = 1)]
fn redis_finish(bencher: Bencher<'_, '_>, size: usize) {
    record_batches(bencher, size, &[rows::begun, rows::created], rows::finished);
}
