//! The engine on the paused clock: a simulator without sockets, a backlog in memory, and kills at
//! any instant. No test here waits for real time.

mod outage;

use std::cell::RefCell;
use std::num::NonZeroU32;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use secrecy::ExposeSecret;
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::*;
use crate::api::{AccountToken, Identity, Protocol};
use crate::backlog::memory::{MemoryBacklog, Store};
use crate::job::{Allowlist, ErrorClass, Kind, Kinds, Request, RequestId, SiteRule, State, Status};
use crate::simulator::{Endpoint, SharedBrain, SimulatedTransport, SimulatorSettings};

/// Everything that outlives an engine.
struct World {
    store: Rc<RefCell<Store>>,
    brain: SharedBrain,
    settings: Settings,
    protocol: Protocol,
    heard: Heard,
}

/// What observers were told.
#[derive(Default)]
struct Heard(Vec<String>);

impl Observer for Heard {
    fn on(&mut self, event: &Event<'_>) {
        if !matches!(event, Event::Gauges(_) | Event::PollSent { .. }) {
            self.0.push(format!("{event:?}"));
        }
    }
}

thread_local! {
    static WALL: RefCell<Option<(Instant, Timestamp)>> = const { RefCell::new(None) };
}

/// A wall clock that follows tokio's.
fn wall_clock() -> Timestamp {
    WALL.with_borrow_mut(|wall| {
        let (start, time) = *wall.get_or_insert_with(|| (Instant::now(), Timestamp::UNIX_EPOCH));
        time + (Instant::now() - start)
    })
}

pub(super) fn requests(count: usize, change: impl FnOnce(&mut Kind)) -> Vec<Request> {
    let mut kind = Kind::clone(Kinds::built_in().get("hcaptcha").unwrap());
    kind.first_after = Duration::from_secs(2);
    change(&mut kind);
    let kind = Arc::new(kind);
    let sites = Allowlist::new(vec![SiteRule::try_new("*.example.com", vec![]).unwrap()]);
    let request = |n: usize| {
        let url = format!("https://a.example.com/?row={n}");
        let field = |column: usize| [Some(url.as_str()), Some("key"), None][column];
        let id = RequestId::try_new(&format!("r{n}")).unwrap();
        Request::validate(id, &kind, field, &sites).unwrap()
    };
    (0..count).map(request).collect()
}

impl World {
    fn new(rows: usize, simulator: SimulatorSettings) -> Self {
        Self::with_kind(rows, simulator, |_| ())
    }

    fn with_kind(
        rows: usize,
        simulator: SimulatorSettings,
        change: impl FnOnce(&mut Kind),
    ) -> Self {
        WALL.set(None);
        Self {
            store: Store::new(requests(rows, change)),
            brain: SharedBrain::new(simulator),
            settings: Settings {
                max_in_flight: 200,
                max_connections: 32,
                submit_rate: Rate {
                    per_second: 100.0,
                    burst: NonZeroU32::MIN,
                },
                poll_rate: None,
                poll_floor: Duration::from_secs(2),
                on_unknown_create: UnknownCreatePolicy::Retry,
                max_runtime: None,
                max_failures: None,
                max_spend: None,
                spent_before: Micros::ZERO,
                pacing: Pacing::Own,
                patience: Duration::from_secs(300),
                lease: None,
                drain_timeout: Duration::from_secs(30),
                forgets_beyond: 0,
                wall_clock,
            },
            protocol: Protocol::V1,
            heard: Heard::default(),
        }
    }

    /// Rows of the kind that both protocols speak.
    fn speaking(protocol: Protocol, rows: usize, simulator: SimulatorSettings) -> Self {
        let mut world = Self::with_kind(rows, simulator, |kind| {
            let recaptcha = Kind::clone(Kinds::built_in().get("recaptcha-v2").unwrap());
            *kind = Kind {
                first_after: kind.first_after,
                ..recaptcha
            };
        });
        world.protocol = protocol;
        world
    }

    async fn run(&mut self) -> Report {
        self.run_until(std::future::pending(), |_| ())
            .await
            .expect("nothing killed it")
    }

    /// Runs until the end or until `kill` is ready, which drops engine and backlog where they stand.
    async fn run_until(
        &mut self,
        kill: impl Future<Output = ()>,
        change: impl FnOnce(&mut MemoryBacklog),
    ) -> Option<Report> {
        let (_no_signal, signals) = mpsc::channel(1);
        self.run_with(kill, change, signals).await
    }

    async fn run_with(
        &mut self,
        kill: impl Future<Output = ()>,
        change: impl FnOnce(&mut MemoryBacklog),
        signals: mpsc::Receiver<Signal>,
    ) -> Option<Report> {
        let mut backlog = MemoryBacklog::open(&self.store);
        change(&mut backlog);
        let identity = Identity {
            base_url: Identity::SIMULATED.to_owned(),
            protocol: self.protocol,
            account: AccountToken::try_new("account").unwrap(),
        };
        let client = Client::new(SimulatedTransport::new(self.brain.clone()), identity);
        let (recorder, end) = Recorder::channel(most_jobs(self.settings.max_in_flight));
        self.settings.spent_before = self.store.borrow().spent();
        let engine = Engine::new(
            client,
            self.settings.clone(),
            recorder,
            &mut self.heard,
            signals,
        );
        tokio::select! {
            biased;
            () = kill => None,
            (report, ()) = async { tokio::join!(engine.run(), end.serve(backlog)) } => Some(report),
        }
    }

    fn creates(&self) -> u64 {
        self.brain.with(|b| b.ledger().totals().creates)
    }

    fn heard(&self, what: &str) -> usize {
        self.heard.0.iter().filter(|e| e.contains(what)).count()
    }

    /// What must hold whatever happened, once everything is settled.
    fn assert_each_ended_once(&self) {
        let store = self.store.borrow();
        for (n, entry) in store.entries.iter().enumerate() {
            assert_eq!(entry.outcomes.len(), 1, "row {n}: {:?}", entry.outcomes);
            assert_eq!(entry.state, State::Settled, "row {n}");
        }
        self.brain.with(|brain| {
            let totals = brain.ledger().totals();
            assert_eq!(totals.creates_of_polled, 0, "a known job was created again");
            let known = store.entries.len() as u64 + totals.failed;
            let unknown = u64::from(store.sum(|h| h.unknown_creates));
            assert!(
                totals.jobs <= known + unknown,
                "{totals:?}, {unknown} unknown"
            );
            assert!(
                totals.jobs <= u64::from(store.sum(|h| h.creates)),
                "{totals:?}"
            );
        });
    }
}

pub(super) fn exact(seconds: u64) -> SimulatorSettings {
    SimulatorSettings::exact(Duration::from_secs(seconds))
}

fn scripted(seconds: u64, script: &str) -> SimulatorSettings {
    SimulatorSettings {
        script: script.parse().unwrap(),
        ..exact(seconds)
    }
}

#[tokio::test(start_paused = true)]
async fn every_request_is_solved_once_and_politely() {
    let mut world = World::new(300, exact(7));
    let report = world.run().await;
    assert!(matches!(report.stop, StopReason::Done), "{:?}", report.stop);
    assert_eq!(report.tally.solved, 300);
    assert_eq!(report.tally.spend, Micros(300_000));
    world.assert_each_ended_once();
    world.brain.with(|brain| {
        let totals = brain.ledger().totals();
        assert_eq!(totals.creates, 300);
        assert!(totals.min_poll_gap_ms >= Some(2000), "{totals:?}");
        assert!(totals.most_in_flight <= 200, "{totals:?}");
        assert_eq!(totals.polls, report.tally.polls);
        for job in brain.ledger().jobs() {
            let entry = &world.store.borrow().entries[usize::try_from(job.ordinal).unwrap() - 1];
            assert_eq!(
                entry.outcomes[0].remote_id.as_ref().unwrap().to_string(),
                job.id.to_string()
            );
        }
    });
}

#[tokio::test(start_paused = true)]
async fn creates_keep_the_rate_in_every_window_and_use_it() {
    let mut world = World::new(1000, exact(1));
    world.settings.max_in_flight = 1000;
    let start = Instant::now();
    world.run().await;
    let took = start.elapsed();
    world.brain.with(|brain| {
        for millis in [10, 100, 1000, 5000] {
            let busiest = brain
                .ledger()
                .busiest(Endpoint::Create, Duration::from_millis(millis));
            let permitted = millis / 10 + 1;
            assert!(busiest as u64 <= permitted, "{busiest} in {millis} ms");
        }
    });
    // 1,000 creates at 100/s, and the last one's solve.
    assert!(
        took < Duration::from_millis(10_000 * 100 / 95 + 4_500),
        "{took:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn the_poll_rate_holds_over_all_jobs() {
    let mut world = World::new(200, exact(5));
    world.settings.poll_rate = Some(Rate {
        per_second: 20.0,
        burst: NonZeroU32::MIN,
    });
    world.run().await;
    world.assert_each_ended_once();
    world.brain.with(|brain| {
        let busiest = brain
            .ledger()
            .busiest(Endpoint::Poll, Duration::from_secs(1));
        assert!(busiest <= 21, "{busiest}");
    });
}

#[tokio::test(start_paused = true)]
async fn kills_at_any_instant_lose_nothing_and_pay_no_known_job_twice() {
    let mut rng = fastrand::Rng::with_seed(11);
    for round in 0..40 {
        let mut simulator = exact(6);
        simulator.seed = round;
        simulator.fail_rate = 0.1;
        simulator.latency = "20ms..200ms".parse().unwrap();
        for rates in [
            "create:reset_before=0.02,reset_after=0.03,503=0.02,429 retry-after=1=0.01,empty=0.01",
            "poll:reset_before=0.03,500=0.03,html=0.02,cut=0.02",
        ] {
            simulator.rates.add(rates.parse().unwrap()).unwrap();
        }
        let mut world = World::new(60, simulator);
        let mut kills = 0;
        loop {
            let life = Duration::from_millis(rng.u64(1..4000));
            let killed = tokio::time::sleep(life);
            match world.run_until(killed, |_| ()).await {
                None => kills += 1,
                Some(report) => {
                    assert!(matches!(report.stop, StopReason::Done), "{:?}", report.stop);
                    break;
                }
            }
            assert!(kills < 1000, "no end in sight");
        }
        world.assert_each_ended_once();
        let gap = world.brain.with(|b| b.ledger().totals().min_poll_gap_ms);
        assert!(gap >= Some(2000), "{gap:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_kill_after_each_single_record_loses_nothing() {
    let mut total = usize::MAX;
    let mut at = 0;
    while at < total {
        let simulator = scripted(3, "create url~=row=1 #1: reset_after\npoll job 1 #1: 500");
        let mut world = World::new(3, simulator);
        let breaks = |backlog: &mut MemoryBacklog| backlog.breaks_after = Some(at);
        let report = world
            .run_until(std::future::pending(), breaks)
            .await
            .unwrap();
        if at > 0 && matches!(report.stop, StopReason::Done) {
            total = at;
        } else {
            assert!(
                matches!(report.stop, StopReason::Backlog(_)),
                "{:?}",
                report.stop
            );
            world.run().await;
        }
        world.assert_each_ended_once();
        assert_eq!(
            world.store.borrow().count(Status::Solved),
            3,
            "broken after {at} records"
        );
        at += 1;
    }
    assert!(
        at > 9,
        "three requests take more than nine records, not {at}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_failed_solve_is_tried_again_up_to_its_attempts() {
    let simulator = SimulatorSettings {
        fail_rate: 1.0,
        ..exact(3)
    };
    let mut world = World::with_kind(10, simulator, |kind| kind.attempts = 3);
    let report = world.run().await;
    assert_eq!(report.tally.failed, 10);
    assert_eq!(report.tally.retries, 20);
    assert_eq!(
        report.tally.spend,
        Micros::ZERO,
        "failed solves are not billed"
    );
    assert_eq!(world.creates(), 30);
    let store = world.store.borrow();
    assert!(store.errors().iter().all(|e| *e == ErrorClass::SolveFailed));
    assert!(store.entries.iter().all(|e| e.outcomes[0].attempts == 3));
}

#[tokio::test(start_paused = true)]
async fn a_job_that_never_ends_is_timed_out_by_a_poll_after_its_deadline() {
    let simulator = SimulatorSettings {
        never_rate: 1.0,
        ..exact(3)
    };
    let mut world = World::with_kind(1, simulator, |kind| kind.timeout = Duration::from_secs(61));
    let start = Instant::now();
    let report = world.run().await;
    let took = start.elapsed();
    assert_eq!(world.store.borrow().errors(), [ErrorClass::Timeout]);
    assert!(
        took >= Duration::from_secs(61) && took < Duration::from_secs(66),
        "{took:?}"
    );
    assert_eq!(
        report.tally.spend,
        Micros(1000),
        "a job that timed out was paid"
    );
    assert_eq!(world.creates(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_deadline_goes_on_over_restarts() {
    let simulator = SimulatorSettings {
        never_rate: 1.0,
        ..exact(3)
    };
    let mut world = World::with_kind(1, simulator, |kind| kind.timeout = Duration::from_secs(60));
    let start = Instant::now();
    for _ in 0..10 {
        let kill = tokio::time::sleep(Duration::from_secs(5));
        assert!(world.run_until(kill, |_| ()).await.is_none());
    }
    world.run().await;
    assert_eq!(world.store.borrow().errors(), [ErrorClass::Timeout]);
    assert!(
        start.elapsed() < Duration::from_secs(70),
        "{:?}",
        start.elapsed()
    );
}

#[tokio::test(start_paused = true)]
async fn an_unknown_create_is_counted_and_retried_or_failed_as_the_policy_says() {
    let script =
        "create url~=row=1 #1: reset_after\ncreate url~=row=2 #1: 503\ncreate url~=row=3 #1: no_id";
    let mut world = World::new(5, scripted(3, script));
    let report = world.run().await;
    assert_eq!((report.tally.solved, report.tally.unknown_creates), (5, 3));
    assert_eq!(report.tally.creates, 8);
    assert_eq!(
        report.tally.spend,
        Micros(8000),
        "an unknown create counts as spent"
    );
    world.assert_each_ended_once();

    let mut world = World::new(5, scripted(3, script));
    world.settings.on_unknown_create = UnknownCreatePolicy::Fail;
    let report = world.run().await;
    assert_eq!((report.tally.solved, report.tally.unknown_creates), (2, 3));
    assert_eq!(
        world.store.borrow().errors(),
        [ErrorClass::UnknownCreate; 3]
    );
    assert_eq!(world.creates(), 5);
    world.assert_each_ended_once();
}

#[tokio::test(start_paused = true)]
async fn what_never_left_is_neither_paid_nor_counted() {
    let mut world = World::new(3, scripted(3, "create #1..#4: refuse_connection"));
    let report = world.run().await;
    assert_eq!((report.tally.solved, report.tally.creates), (3, 3));
    assert_eq!(report.tally.unknown_creates, 0);
    assert_eq!(report.tally.spend, Micros(3000));
    assert!(
        world
            .store
            .borrow()
            .entries
            .iter()
            .all(|e| e.outcomes[0].attempts == 1)
    );
}

#[tokio::test(start_paused = true)]
async fn an_account_fault_stops_creates_and_leaves_rows_unsettled() {
    for (fault, reason) in [
        ("bad_token", "BadToken"),
        ("no_balance", "NoBalance"),
        ("blocked", "Blocked"),
    ] {
        let mut world = World::new(100, scripted(5, &format!("create #21..: {fault}")));
        let report = world.run().await;
        assert!(
            format!("{:?}", report.stop).starts_with(reason),
            "{:?}",
            report.stop
        );
        assert_eq!(report.tally.solved, 20, "what was in flight is polled on");
        assert_eq!(report.tally.failed, 0, "no row is burnt");
        assert!(world.creates() < 25, "{} creates", world.creates());
        assert_eq!(report.tally.creates, 20);
    }
}

#[tokio::test(start_paused = true)]
async fn a_token_refused_while_polling_leaves_jobs_waiting() {
    let mut world = World::new(
        50,
        scripted(20, "poll from 5s: bad_token\ncreate from 5s: bad_token"),
    );
    let report = world.run().await;
    assert!(
        matches!(report.stop, StopReason::BadToken(_)),
        "{:?}",
        report.stop
    );
    assert_eq!(report.tally.solved + report.tally.failed, 0);
    let store = world.store.borrow();
    assert!(store.entries.iter().all(|e| e.state == State::Waiting));
}

#[tokio::test(start_paused = true)]
async fn five_refusals_that_nothing_explains_stop_the_run_and_settle_no_row() {
    let mut world = World::new(50, scripted(5, "create: refuse \"MESSAGE_ERROR\""));
    let report = world.run().await;
    assert!(
        matches!(&report.stop, StopReason::Refusals(m) if m == "MESSAGE_ERROR"),
        "{:?}",
        report.stop
    );
    assert_eq!(report.tally.failed, 0);
    assert!(world.creates() < 10, "{} creates", world.creates());
}

#[tokio::test(start_paused = true)]
async fn a_refusal_of_one_request_among_good_ones_is_believed() {
    let mut world = World::new(
        40,
        scripted(5, "create url~=row=7: refuse \"Sitekey is odd\""),
    );
    let report = world.run().await;
    assert_eq!((report.tally.solved, report.tally.failed), (39, 1));
    let store = world.store.borrow();
    assert_eq!(store.errors(), [ErrorClass::Refused]);
    assert_eq!(store.entries[7].outcomes[0].message, "Sitekey is odd");
    assert_eq!(
        store.entries[7].outcomes[0].attempts, 0,
        "no job was ever made"
    );
    assert_eq!(report.tally.spend, Micros(39_000));
}

#[tokio::test(start_paused = true)]
async fn a_request_that_is_called_bad_ends_at_once_and_twenty_in_a_row_stop_the_run() {
    for protocol in [Protocol::V1, Protocol::V2] {
        let words = match protocol {
            Protocol::V1 => "Thiếu tham số website_key",
            Protocol::V2 => "ERROR_RECAPTCHA_INVALID_SITEKEY odd",
        };
        // Nine bad rows at the head of the file, more than the unexplained refusals that stop a run.
        let script = format!("create #1..#9: refuse \"{words}\"");
        let mut world = World::speaking(protocol, 40, scripted(3, &script));
        let report = world.run().await;
        assert!(matches!(report.stop, StopReason::Done), "{:?}", report.stop);
        assert_eq!((report.tally.solved, report.tally.failed), (31, 9));
        assert_eq!(world.creates(), 40, "none is tried again");
        assert_eq!(world.store.borrow().errors(), [ErrorClass::Refused; 9]);
        assert_eq!(report.tally.spend, Micros(31 * 550));

        let script = format!("create: refuse \"{words}\"");
        let mut world = World::speaking(protocol, 100, scripted(3, &script));
        let report = world.run().await;
        assert!(
            matches!(report.stop, StopReason::Refusals(_)),
            "{:?}",
            report.stop
        );
        assert!(
            (20..30).contains(&report.tally.failed),
            "{:?}",
            report.tally
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_success_without_a_token_is_not_paid_a_second_time_while_it_may_come() {
    let mut world = World::new(10, scripted(3, "poll each #1..#2: empty_result"));
    let report = world.run().await;
    assert_eq!((report.tally.solved, report.tally.creates), (10, 10));
    // One that never comes is a failed solve, and paid for by whatever the service says.
    let mut world = World::with_kind(2, scripted(3, "poll: empty_result"), |kind| {
        kind.attempts = 2;
    });
    let report = world.run().await;
    assert_eq!(world.store.borrow().errors(), [ErrorClass::SolveFailed; 2]);
    assert_eq!((report.tally.creates, report.tally.retries), (4, 2));
    assert_eq!(report.tally.spend, Micros(4_000));
    let billed = world.brain.with(|b| b.ledger().totals().billed_micros);
    assert_eq!(billed, 4_000);
}

#[tokio::test(start_paused = true)]
async fn a_throttled_service_is_left_alone_for_as_long_as_it_asks() {
    let mut world = World::new(200, scripted(5, "create #50: 429 retry-after=20"));
    let start = Instant::now();
    world.run().await;
    assert!(start.elapsed() > Duration::from_secs(20));
    world.assert_each_ended_once();
    assert_eq!(world.heard("Throttled"), 1);
    // Between the 429 and its end nothing is sent but what was on the wire.
    let creates = world.brain.with(|b| {
        b.ledger()
            .busiest(Endpoint::Create, Duration::from_secs(20))
    });
    assert!(creates <= 151, "{creates}");
}

#[tokio::test(start_paused = true)]
async fn a_503_that_says_when_to_come_back_is_a_pause_for_all_and_an_unknown_create() {
    let mut world = World::new(200, scripted(5, "create #50: 503 retry-after=20"));
    let start = Instant::now();
    let report = world.run().await;
    assert!(start.elapsed() > Duration::from_secs(20));
    assert_eq!(
        (report.tally.solved, report.tally.unknown_creates),
        (200, 1)
    );
    assert_eq!(world.heard("Throttled"), 1);
    world.assert_each_ended_once();
}

#[tokio::test(start_paused = true)]
async fn a_pause_of_nothing_is_a_pause_all_the_same() {
    let mut world = World::new(5, scripted(5, "create to 30s: 429 retry-after=0"));
    let report = world.run().await;
    assert!(matches!(report.stop, StopReason::Done), "{:?}", report.stop);
    assert!(
        world.creates() <= 40,
        "{} creates in 30 s of throttling",
        world.creates()
    );
    world.assert_each_ended_once();
}

#[tokio::test(start_paused = true)]
async fn a_pause_of_a_year_ends_the_run_and_panics_nowhere() {
    let mut world = World::new(10, scripted(5, "create #3: 429 retry-after=31536000"));
    let report = world.run().await;
    assert!(
        matches!(report.stop, StopReason::LongPause(_)),
        "{:?}",
        report.stop
    );
}

#[tokio::test(start_paused = true)]
async fn an_outage_of_two_minutes_costs_probes_only_and_ends_at_full_rate() {
    let mut world = World::new(3000, scripted(5, "any from 10s to 130s: 503"));
    world.settings.max_in_flight = 3000;
    world.settings.submit_rate.per_second = 20.0;
    let start = Instant::now();
    let report = world.run().await;
    assert!(matches!(report.stop, StopReason::Done), "{:?}", report.stop);
    assert_eq!(report.tally.solved, 3000);
    world.assert_each_ended_once();
    assert!(
        report.tally.unknown_creates <= 240,
        "{}",
        report.tally.unknown_creates
    );
    // 3,000 creates at 20/s take 150 s, and the outage 120.
    assert!(
        start.elapsed() < Duration::from_secs(290),
        "{:?}",
        start.elapsed()
    );
    let busiest = world
        .brain
        .with(|b| b.ledger().busiest(Endpoint::Create, Duration::from_secs(1)));
    assert!(busiest <= 21, "{busiest}");
}

#[tokio::test(start_paused = true)]
async fn a_service_that_never_answers_is_given_up() {
    let mut world = World::new(50, scripted(5, "any: refuse_connection"));
    let start = Instant::now();
    let report = world.run().await;
    assert!(
        matches!(&report.stop, StopReason::Unreachable(why) if why.contains("refused")),
        "{:?}",
        report.stop
    );
    assert!(
        start.elapsed() < Duration::from_secs(30),
        "{:?}",
        start.elapsed()
    );
    assert_eq!(report.tally.creates, 0);
    assert_eq!(report.tally.failed, 0);
}

#[tokio::test(start_paused = true)]
async fn a_first_signal_drains_and_a_second_ends_at_once() {
    let mut world = World::new(500, exact(40));
    world.settings.drain_timeout = Duration::from_secs(20);
    let (send, signals) = mpsc::channel(2);
    let start = Instant::now();
    let signalled = async {
        tokio::time::sleep(Duration::from_secs(2)).await;
        send.send(Signal::Interrupt).await.unwrap();
    };
    let (report, ()) = tokio::join!(
        world.run_with(std::future::pending(), |_| (), signals),
        signalled
    );
    let report = report.unwrap();
    assert!(matches!(report.stop, StopReason::Interrupted));
    assert!(!report.abrupt);
    assert!(
        (22..24).contains(&start.elapsed().as_secs()),
        "{:?}",
        start.elapsed()
    );
    assert!(
        world
            .store
            .borrow()
            .entries
            .iter()
            .all(|e| e.state != State::Submitting)
    );
    let creates = world.creates();

    let (send, signals) = mpsc::channel(2);
    send.send(Signal::Terminate).await.unwrap();
    send.send(Signal::Terminate).await.unwrap();
    let report = world
        .run_with(std::future::pending(), |_| (), signals)
        .await
        .unwrap();
    assert!(report.abrupt);
    assert!(matches!(report.stop, StopReason::Terminated));
    assert_eq!(world.creates(), creates);

    world.run().await;
    world.assert_each_ended_once();
    assert_eq!(world.creates(), 500, "nothing was created twice");
}

#[tokio::test(start_paused = true)]
async fn spending_never_passes_its_bound_and_uses_it() {
    let simulator = SimulatorSettings {
        fail_rate: 0.3,
        ..exact(10)
    };
    let mut world = World::new(1000, simulator);
    world.settings.max_in_flight = 500;
    world.settings.submit_rate.per_second = 1000.0;
    world.settings.max_spend = Some(Micros(250_000));
    let report = world.run().await;
    assert!(
        matches!(report.stop, StopReason::MaxSpend),
        "{:?}",
        report.stop
    );
    assert_eq!(report.tally.solved, 250);
    assert_eq!(report.tally.spend, Micros(250_000));
    let billed = world.brain.with(|b| b.ledger().totals().billed_micros);
    assert_eq!(billed, 250_000);
    world.settings.max_spend = Some(Micros(2_000_000));
    world.run().await;
    world.assert_each_ended_once();
}

#[tokio::test(start_paused = true)]
async fn failures_in_a_row_end_the_run() {
    let simulator = SimulatorSettings {
        fail_rate: 1.0,
        ..exact(3)
    };
    let mut world = World::new(100, simulator);
    world.settings.max_failures = Some(7);
    world.settings.max_in_flight = 1;
    let report = world.run().await;
    assert!(
        matches!(report.stop, StopReason::MaxFailures),
        "{:?}",
        report.stop
    );
    assert_eq!(report.tally.failed + report.tally.retries, 7);
}

#[tokio::test(start_paused = true)]
async fn a_run_time_ends_the_run() {
    let mut world = World::new(1000, exact(3));
    world.settings.max_runtime = Some(Duration::from_secs(5));
    let start = Instant::now();
    let report = world.run().await;
    assert!(
        matches!(report.stop, StopReason::MaxRuntime),
        "{:?}",
        report.stop
    );
    assert!(
        start.elapsed() < Duration::from_secs(10),
        "{:?}",
        start.elapsed()
    );
    assert_eq!(
        report.tally.solved, report.tally.creates,
        "what was begun is finished"
    );
}

#[tokio::test(start_paused = true)]
async fn a_full_disk_stops_creates_and_loses_nothing_when_there_is_room_again() {
    let mut world = World::new(500, exact(5));
    let full = |backlog: &mut MemoryBacklog| backlog.full_for = 5;
    let report = world.run_until(std::future::pending(), full).await.unwrap();
    assert!(
        matches!(report.stop, StopReason::CannotRecord(_)),
        "{:?}",
        report.stop
    );
    assert_eq!(world.heard("RecordingStalled"), 1);
    assert!(world.creates() < 100, "{}", world.creates());
    world.run().await;
    world.assert_each_ended_once();
}

#[tokio::test(start_paused = true)]
async fn ids_that_cannot_be_recorded_are_told() {
    let mut world = World::new(3, exact(5));
    let breaks = |backlog: &mut MemoryBacklog| backlog.breaks_after = Some(3);
    world.settings.submit_rate.per_second = 1000.0;
    let report = world
        .run_until(std::future::pending(), breaks)
        .await
        .unwrap();
    assert!(
        matches!(report.stop, StopReason::Backlog(_)),
        "{:?}",
        report.stop
    );
    assert_eq!(world.heard("Unrecorded") as u64, world.creates());
}

#[tokio::test(start_paused = true)]
async fn an_undocumented_status_is_told_once_and_polled_slowly() {
    let mut world = World::new(20, scripted(30, "poll to 12s: unknown_status"));
    world.run().await;
    world.assert_each_ended_once();
    assert_eq!(world.heard("UnknownStatus"), 1);
    assert_eq!(world.store.borrow().count(Status::Solved), 20);
}

/// The same rows through both protocols, with solves that fail and answers of every shape.
#[tokio::test(start_paused = true)]
async fn both_protocols_give_the_same_results() {
    let mut results = Vec::new();
    for protocol in [Protocol::V1, Protocol::V2] {
        let simulator = SimulatorSettings {
            fail_rate: 0.2,
            shapes: crate::simulator::Shapes::All,
            script: "create every 17: 500\npoll every 13: html\ncreate #40: reset_after"
                .parse()
                .unwrap(),
            ..exact(5)
        };
        // What is drawn (jitter, backoffs) is the same in both runs.
        fastrand::seed(7);
        let mut world = World::speaking(protocol, 1000, simulator);
        let report = world.run().await;
        assert!(matches!(report.stop, StopReason::Done), "{:?}", report.stop);
        world.assert_each_ended_once();
        let outcomes: Vec<_> = world
            .store
            .borrow()
            .entries
            .iter()
            .map(|entry| {
                let outcome = &entry.outcomes[0];
                let token = outcome.token.as_ref().map(|t| t.expose_secret().to_owned());
                (outcome.status, outcome.error, outcome.attempts, token)
            })
            .collect();
        let tally = report.tally;
        results.push((outcomes, tally.creates, tally.unknown_creates, tally.spend));
    }
    assert_eq!(results[0].0.len(), 1000);
    let failed = results[0].0.iter().filter(|o| o.0 == Status::Failed);
    assert!((10..90).contains(&failed.count()));
    let [v1, v2] = [&results[0], &results[1]];
    assert_eq!((v1.1, v1.2, v1.3), (v2.1, v2.2, v2.3));
    assert!(v1.0 == v2.0, "the outcomes differ");
}

#[tokio::test(start_paused = true)]
async fn a_busy_service_is_probed_until_it_has_room() {
    for protocol in [Protocol::V1, Protocol::V2] {
        let script = "create to 60s: refuse \"ERROR_NO_SLOT_AVAILABLE No idle workers\"\npoll #1..4: refuse \"ERROR_REDIS_UNAVAILABLE\"";
        let mut world = World::speaking(protocol, 20, scripted(3, script));
        let report = world.run().await;
        assert!(matches!(report.stop, StopReason::Done), "{:?}", report.stop);
        assert_eq!(report.tally.solved, 20);
        assert_eq!(
            (report.tally.creates, report.tally.unknown_creates),
            (20, 0)
        );
        assert_eq!(report.tally.spend, Micros(20 * 550));
        world.assert_each_ended_once();
        assert_eq!(world.heard("CircuitOpened"), 1);
        // Five at once, then one a second.
        let refused = world.creates() - 20;
        assert!((20..=80).contains(&refused), "{refused} creates in vain");
    }
}

#[tokio::test(start_paused = true)]
async fn a_code_of_the_account_stops_the_run() {
    for (code, word) in [
        ("ERROR_KEY_DOES_NOT_EXIST", "bad_token"),
        ("ERROR_ZERO_BALANCE", "no_balance"),
        ("ERROR_ACCOUNT_SUSPENDED", "blocked"),
    ] {
        let script = format!("create #11..: refuse \"{code} as you know\"");
        let mut world = World::speaking(Protocol::V2, 50, scripted(3, &script));
        let report = world.run().await;
        assert_eq!(report.stop.word(), word);
        assert_eq!(report.tally.solved, 10, "what was created is polled on");
        let store = world.store.borrow();
        let settled = store.entries.iter().filter(|e| !e.outcomes.is_empty());
        assert_eq!(settled.count(), 10, "no row is burnt");
    }
}
