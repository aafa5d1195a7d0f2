//! Several engines on one backlog, on the paused clock: kills, pauses beyond the lease, hand-overs and
//! a store that is away, at any virtual instant.

use std::cell::{Cell, RefCell};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::mpsc;
use tokio::task::{JoinHandle, LocalSet};
use tokio::time::Instant;

use super::tests::{exact, requests};
use super::*;
use crate::api::{AccountToken, Identity, Protocol};
use crate::backlog::LeaseClock;
use crate::backlog::memory_fleet::{Fleet, FleetBacklog, LEASE};
use crate::job::{State, Status};
use crate::simulator::{Endpoint, SharedBrain, SimulatedTransport, SimulatorSettings};

struct Deaf;

impl Observer for Deaf {
    fn on(&mut self, _: &Event<'_>) {}
}

thread_local! {
    static START: Cell<Option<Instant>> = const { Cell::new(None) };
}

/// Time since the test began, by tokio's clock.
fn since_start() -> Duration {
    let start = START.get().unwrap_or_else(Instant::now);
    START.set(Some(start));
    start.elapsed() + Duration::from_secs(1_000)
}

fn wall_clock() -> Timestamp {
    Timestamp::UNIX_EPOCH + since_start()
}

/// A future that stands still while it is paused, as a process does after SIGSTOP.
struct Pausable<F> {
    future: Pin<Box<F>>,
    pause: Rc<Pause>,
}

#[derive(Default)]
struct Pause {
    is_on: Cell<bool>,
    waker: RefCell<Option<Waker>>,
}

impl Pause {
    fn end(&self) {
        self.is_on.set(false);
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }
}

impl<F: Future> Future for Pausable<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        if self.pause.is_on.get() {
            self.pause.waker.replace(Some(cx.waker().clone()));
            return Poll::Pending;
        }
        self.future.as_mut().poll(cx)
    }
}

struct Worker {
    task: JoinHandle<Report>,
    pause: Rc<Pause>,
    signals: mpsc::Sender<Signal>,
}

struct World {
    fleet: Rc<RefCell<Fleet>>,
    brain: SharedBrain,
    settings: Settings,
    /// How often the workers said what they did in vain.
    reports: Vec<Report>,
}

impl World {
    fn new(rows: usize, per_second: f64, simulator: SimulatorSettings) -> Self {
        START.set(None);
        since_start();
        Self {
            fleet: Fleet::new(requests(rows, |_| ()), per_second),
            brain: SharedBrain::new(simulator),
            settings: Settings {
                max_in_flight: 50,
                max_connections: 32,
                submit_rate: Rate {
                    per_second,
                    burst: std::num::NonZeroU32::MIN,
                },
                poll_rate: None,
                poll_floor: Duration::from_secs(2),
                on_unknown_create: UnknownCreatePolicy::Retry,
                max_runtime: None,
                max_failures: None,
                max_spend: None,
                spent_before: Micros::ZERO,
                pacing: Pacing::Shared,
                patience: Duration::from_secs(300),
                lease: None,
                drain_timeout: Duration::ZERO,
                forgets_beyond: 0,
                wall_clock,
            },
            reports: Vec::new(),
        }
    }

    /// Starts a worker on the present [`LocalSet`].
    fn start(&self) -> Worker {
        let clock = LeaseClock::with(since_start);
        let backlog = FleetBacklog::join(&self.fleet, clock.clone(), wall_clock);
        let identity = Identity {
            base_url: Identity::SIMULATED.to_owned(),
            protocol: Protocol::V1,
            account: AccountToken::try_new("account").unwrap(),
        };
        let client = Client::new(SimulatedTransport::new(self.brain.clone()), identity);
        let (recorder, end) = Recorder::channel(most_jobs(self.settings.max_in_flight));
        let (sender, signals) = mpsc::channel(1);
        let settings = Settings {
            lease: Some(clock),
            ..self.settings.clone()
        };
        let work = async move {
            let mut deaf = Deaf;
            let engine = Engine::new(client, settings, recorder, &mut deaf, signals);
            tokio::join!(engine.run(), end.serve(backlog)).0
        };
        let pause = Rc::new(Pause::default());
        let task = tokio::task::spawn_local(Pausable {
            future: Box::pin(work),
            pause: Rc::clone(&pause),
        });
        Worker {
            task,
            pause,
            signals: sender,
        }
    }

    async fn end_all(&mut self, workers: Vec<Worker>) {
        for worker in workers {
            worker.pause.end();
            self.reports.push(worker.task.await.unwrap());
        }
    }

    fn assert_each_ended_once(&self) {
        let fleet = self.fleet.borrow();
        let mut unknown = 0;
        for (n, entry) in fleet.entries.iter().enumerate() {
            assert_eq!(entry.outcomes.len(), 1, "row {n}: {:?}", entry.outcomes);
            assert_eq!(entry.state, State::Settled, "row {n}");
            unknown += u64::from(entry.history.unknown_creates);
        }
        self.brain.with(|brain| {
            let totals = brain.ledger().totals();
            let known = fleet.entries.len() as u64 + totals.failed;
            assert_eq!(totals.creates_of_polled, 0, "a known job was created again");
            assert!(
                totals.jobs <= known + unknown,
                "{totals:?}, {unknown} unknown"
            );
        });
    }

    fn busiest(&self, window: Duration) -> usize {
        self.brain
            .with(|b| b.ledger().busiest(Endpoint::Create, window))
    }

    fn jobs(&self) -> u64 {
        self.brain.with(|b| b.ledger().totals().jobs)
    }
}

fn faulty(seed: u64) -> SimulatorSettings {
    let mut simulator = exact(6);
    simulator.seed = seed;
    simulator.fail_rate = 0.1;
    simulator.latency = "20ms..200ms".parse().unwrap();
    for rates in [
        "create:reset_before=0.02,reset_after=0.03,503=0.02,429 retry-after=1=0.01,empty=0.01",
        "poll:reset_before=0.03,500=0.03,html=0.02,cut=0.02",
    ] {
        simulator.rates.add(rates.parse().unwrap()).unwrap();
    }
    simulator
}

#[tokio::test(start_paused = true)]
async fn a_fleet_shares_one_rate_and_uses_it() {
    LocalSet::new()
        .run_until(async {
            let mut world = World::new(1000, 50.0, exact(1));
            let start = Instant::now();
            let workers = (0..4).map(|_| world.start()).collect();
            world.end_all(workers).await;
            let took = start.elapsed();
            world.assert_each_ended_once();
            assert_eq!(world.jobs(), 1000);
            assert!(world.busiest(Duration::from_secs(1)) <= 51);
            assert!(
                took < Duration::from_secs(1000 / 50 * 100 / 95 + 6),
                "{took:?}"
            );
            let solved: u64 = world.reports.iter().map(|r| r.tally.solved).sum();
            assert_eq!(solved, 1000);
            assert!(world.reports.iter().all(|r| r.tally.solved > 100));
        })
        .await;
}

#[tokio::test(start_paused = true)]
async fn kills_pauses_and_outages_at_any_instant_lose_nothing() {
    for seed in 0..25 {
        LocalSet::new()
            .run_until(async {
                let mut rng = fastrand::Rng::with_seed(seed);
                let mut simulator = faulty(seed);
                // A poll that is on the wire when its process is stopped arrives whenever it goes on, and
                // whoever wakes up while the store is away can't be told that it lost its jobs. Where
                // neither can be, the floor holds.
                let keeps_floor = seed % 2 == 0;
                if keeps_floor {
                    simulator.latency = "0ms".parse().unwrap();
                }
                let mut world = World::new(80, 20.0, simulator);
                let mut workers: Vec<Worker> = (0..3).map(|_| world.start()).collect();
                for _ in 0..30 {
                    tokio::time::sleep(Duration::from_millis(rng.u64(1..4000))).await;
                    let n = rng.usize(..workers.len());
                    match rng.u32(..6) {
                        0 => workers[n].pause.is_on.set(true),
                        1 => workers[n].pause.end(),
                        2 if !keeps_floor => {
                            let away = world.fleet.borrow().away;
                            world.fleet.borrow_mut().away = !away;
                        }
                        3 => {
                            // Handed over: nothing of it may be in doubt.
                            if !workers[n].pause.is_on.get() && !world.fleet.borrow().away {
                                let worker = workers.swap_remove(n);
                                let _ = worker.signals.send(Signal::Terminate).await;
                                let _ = tokio::time::timeout(LEASE, worker.task).await;
                                workers.push(world.start());
                            }
                        }
                        _ => {
                            workers.swap_remove(n).task.abort();
                            workers.push(world.start());
                        }
                    }
                }
                world.fleet.borrow_mut().away = false;
                world.end_all(workers).await;
                world.assert_each_ended_once();
                let gap = world.brain.with(|b| b.ledger().totals().min_poll_gap_ms);
                assert!(!keeps_floor || gap >= Some(2_000), "seed {seed}: {gap:?}");
                assert!(world.busiest(Duration::from_secs(1)) <= 22, "seed {seed}");
            })
            .await;
    }
}

#[tokio::test(start_paused = true)]
async fn hand_overs_create_nothing_again() {
    LocalSet::new()
        .run_until(async {
            let mut rng = fastrand::Rng::with_seed(3);
            let mut simulator = exact(5);
            simulator.latency = "20ms..200ms".parse().unwrap();
            let mut world = World::new(200, 20.0, simulator);
            let mut workers: Vec<Worker> = (0..3).map(|_| world.start()).collect();
            for _ in 0..40 {
                tokio::time::sleep(Duration::from_millis(rng.u64(1..1000))).await;
                let worker = workers.remove(0);
                // A worker that found nothing to do any more has ended by itself.
                let _ = worker.signals.send(Signal::Terminate).await;
                let report = worker.task.await.unwrap();
                assert!(matches!(
                    report.stop,
                    StopReason::Terminated | StopReason::Done
                ));
                workers.push(world.start());
            }
            world.end_all(workers).await;
            world.assert_each_ended_once();
            assert_eq!(world.jobs(), 200);
            assert_eq!(world.fleet.borrow().found_in_doubt, 0);
        })
        .await;
}

#[tokio::test(start_paused = true)]
async fn a_pause_that_the_service_asks_one_worker_for_holds_all() {
    LocalSet::new()
        .run_until(async {
            let simulator = SimulatorSettings {
                script: "create #40: 429 retry-after=20".parse().unwrap(),
                ..exact(1)
            };
            let mut world = World::new(100, 20.0, simulator);
            let workers = (0..3).map(|_| world.start()).collect();
            let start = Instant::now();
            world.end_all(workers).await;
            world.assert_each_ended_once();
            assert!(start.elapsed() >= Duration::from_secs(24));
            // What had left before the answer came, and the pause.
            let late = world.brain.with(|b| b.ledger().totals().creates);
            assert!(late <= 103, "{late}");
        })
        .await;
}

#[tokio::test(start_paused = true)]
async fn a_fleet_spends_no_more_than_it_may() {
    LocalSet::new()
        .run_until(async {
            let mut world = World::new(300, 50.0, exact(1));
            world.fleet.borrow_mut().max_spend = Some(Micros(250_000));
            let workers = (0..4).map(|_| world.start()).collect();
            world.end_all(workers).await;
            assert_eq!(world.jobs(), 250);
            assert!(
                world
                    .reports
                    .iter()
                    .all(|r| matches!(r.stop, StopReason::MaxSpend))
            );
            world.fleet.borrow_mut().max_spend = None;
            let workers = vec![world.start()];
            world.end_all(workers).await;
            world.assert_each_ended_once();
            assert_eq!(world.jobs(), 300);
        })
        .await;
}

#[tokio::test(start_paused = true)]
async fn the_poll_rate_is_the_fleets() {
    LocalSet::new()
        .run_until(async {
            let mut world = World::new(100, 20.0, exact(5));
            world.fleet.borrow_mut().poll_period = Duration::from_millis(102);
            world.settings.poll_rate = Some(Rate {
                per_second: 10.0,
                burst: std::num::NonZeroU32::MIN,
            });
            let workers = (0..3).map(|_| world.start()).collect();
            world.end_all(workers).await;
            world.assert_each_ended_once();
            let busiest = world
                .brain
                .with(|b| b.ledger().busiest(Endpoint::Poll, Duration::from_secs(1)));
            assert!(busiest <= 11, "{busiest}");
        })
        .await;
}

#[tokio::test(start_paused = true)]
async fn a_store_that_stays_away_ends_the_worker() {
    LocalSet::new()
        .run_until(async {
            let world = World::new(20, 20.0, exact(60));
            let worker = world.start();
            tokio::time::sleep(Duration::from_secs(5)).await;
            world.fleet.borrow_mut().away = true;
            let report = worker.task.await.unwrap();
            assert!(
                matches!(report.stop, StopReason::BacklogAway(_)),
                "{:?}",
                report.stop
            );
            world.fleet.borrow_mut().away = false;
            let mut world = world;
            let workers = vec![world.start()];
            world.end_all(workers).await;
            world.assert_each_ended_once();
            assert_eq!(world.jobs(), 20);
            let solved = |w: &World| {
                let fleet = w.fleet.borrow();
                let outcomes = fleet.entries.iter().flat_map(|e| &e.outcomes);
                outcomes.filter(|o| o.status == Status::Solved).count()
            };
            assert_eq!(solved(&world), 20);
        })
        .await;
}
