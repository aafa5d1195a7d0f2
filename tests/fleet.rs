//! Workers that share a queue in Redis: kills, pauses, hand-overs, and Redis itself going away.

mod support;

use std::time::Duration;

use support::fleet::{Fleet, quick, size};
use support::redis::RedisServer;
use support::{Api, BAD_DAY, number};

#[test]
fn kills_lose_nothing_and_pay_no_known_job_twice() {
    let (rows, kills) = (size("FLEET_ROWS", 1500), size("FLEET_KILLS", 40));
    let (api, redis) = (Api::start(&BAD_DAY), RedisServer::start());
    let mut fleet = Fleet::new(&api, &redis.url(), &quick("2s", "150/s"));
    fleet.push(0..rows);
    (0..4).for_each(|_| fleet.start());
    for n in 0..kills {
        // All over the run, at no instant of its own.
        fleet.wait_for(n * rows / (kills + 2));
        std::thread::sleep(Duration::from_millis(fastrand::u64(0..100)));
        assert!(fleet.settled() < rows, "it ended before the last kill");
        fleet.replace(fastrand::usize(..4), "-KILL");
    }
    fleet.wait_for(rows);
    let surplus = fleet.hold_against_ledger(rows);
    let injected: u64 = api.ledger()["faults"]
        .as_object()
        .into_iter()
        .flatten()
        .filter(|(fault, _)| fault.starts_with("create"))
        .filter_map(|(_, times)| times.as_u64())
        .sum();
    eprintln!("{kills} kills, {injected} faults of creates: {surplus} surplus jobs");
    assert!(surplus <= 8 * kills as u64 + injected, "{surplus}");
    fleet.stop();
}

#[test]
fn a_worker_that_is_told_to_stop_hands_over_and_nothing_is_created_again() {
    let (rows, stops) = (size("FLEET_ROWS", 800), size("FLEET_KILLS", 30));
    let api = Api::start(&["--latency", "20ms..200ms", "--solve-time", "300ms..2s"]);
    let redis = RedisServer::start();
    let mut fleet = Fleet::new(&api, &redis.url(), &quick("2s", "150/s"));
    fleet.push(0..rows);
    (0..4).for_each(|_| fleet.start());
    for n in 0..stops {
        fleet.wait_for(n * rows / (stops + 2));
        std::thread::sleep(Duration::from_millis(fastrand::u64(0..100)));
        assert!(fleet.settled() < rows, "it ended before the last signal");
        let code = fleet.replace(fastrand::usize(..4), "-TERM");
        assert_eq!(code, Some(0));
    }
    fleet.wait_for(rows);
    assert_eq!(fleet.hold_against_ledger(rows), 0);
    let ledger = api.ledger();
    assert_eq!(number(&ledger, "creates"), rows as u64, "{ledger}");
    fleet.stop();
}

#[test]
fn a_worker_that_slept_beyond_its_lease_doubles_nothing() {
    let (rows, sleeps) = (size("FLEET_ROWS", 1200), size("FLEET_SLEEPS", 20));
    let (api, redis) = (Api::start(&BAD_DAY), RedisServer::start());
    let mut fleet = Fleet::new(&api, &redis.url(), &quick("1s", "40/s"));
    fleet.push(0..rows);
    (0..4).for_each(|_| fleet.start());
    for n in 0..sleeps {
        std::thread::sleep(Duration::from_millis(fastrand::u64(20..300)));
        support::signal(&fleet.workers[n % 4], "-STOP");
        std::thread::sleep(Duration::from_millis(1_300));
        support::signal(&fleet.workers[n % 4], "-CONT");
    }
    fleet.wait_for(rows);
    fleet.hold_against_ledger(rows);
    fleet.stop();
}

#[test]
fn redis_may_be_killed_and_started_again() {
    let (rows, restarts) = (size("FLEET_ROWS", 600), size("FLEET_RESTARTS", 4));
    let (api, mut redis) = (Api::start(&BAD_DAY), RedisServer::start());
    let mut fleet = Fleet::new(&api, &redis.url(), &quick("2s", "150/s"));
    fleet.push(0..rows);
    (0..4).for_each(|_| fleet.start());
    for _ in 0..restarts {
        std::thread::sleep(Duration::from_millis(fastrand::u64(200..1500)));
        redis.kill();
        std::thread::sleep(Duration::from_millis(fastrand::u64(0..1000)));
        redis.start_again();
    }
    fleet.wait_for(rows);
    fleet.hold_against_ledger(rows);
    fleet.stop();
}
