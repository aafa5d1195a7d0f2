//! Redis as people run it, and as it fails: away for a while, failed over, on a Cluster, behind TLS; what a
//! worker costs it; and `run`, which ends with the queue.

#![allow(
    clippy::print_stderr,
    reason = "figures for whoever runs it at full size"
)]

mod support;

use std::process::{Child, Stdio};
use std::time::Duration;

use redis::Commands;
use tokio::time::Instant;

use support::access::{self, TlsServer};
use support::cluster::Cluster;
use support::fleet::{Fleet, QUEUE, quick, size};
use support::redis::{RedisServer, ask};
use support::sentinel::Sentinels;
use support::{Api, number};

/// A service whose jobs take long enough to be in flight when something happens.
fn slow_api() -> Api {
    Api::start(&["--latency", "5ms..50ms", "--solve-time", "300ms..2s"])
}

/// How long Redis is away.
fn outage() -> Duration {
    Duration::from_secs(size("FLEET_OUTAGE_S", 4) as u64)
}

/// The exit code of a process that is to end within `most`.
fn code_within(child: &mut Child, most: Duration) -> Option<i32> {
    let start = Instant::now();
    while start.elapsed() < most {
        if let Some(status) = child.try_wait().expect("it answers") {
            return status.code();
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    panic!("it goes on after {most:?}");
}

/// Stops and continues a server.
fn signal(server: &RedisServer, name: &str) {
    let status = std::process::Command::new("kill")
        .args([name, &server.pid().to_string()])
        .status();
    assert!(status.expect("there is a kill").success());
}

/// `run`, started.
fn start_run(fleet: &Fleet<'_>, args: &[&str]) -> Child {
    let mut command = fleet.run();
    command.args(args).stderr(Stdio::inherit());
    command.spawn().expect("the binary starts")
}

#[test]
fn redis_may_hang_and_be_gone_for_a_while() {
    let (api, mut redis) = (slow_api(), RedisServer::start());
    let rows = size("FLEET_ROWS", 400);
    let mut fleet = Fleet::new(&api, &redis.url(), &quick("2s", "100/s"));
    fleet.push(0..rows);
    (0..4).for_each(|_| fleet.start());
    fleet.wait_for(rows / 8);
    signal(&redis, "-STOP");
    std::thread::sleep(outage());
    signal(&redis, "-CONT");
    fleet.wait_for(rows / 3);
    redis.kill();
    std::thread::sleep(outage());
    redis.start_again();
    assert!(fleet.settled() < rows, "it ended before the last outage");
    fleet.wait_for(rows);
    // Outcomes that were known meanwhile were kept, ids as well: nothing was created again.
    let surplus = fleet.hold_against_ledger(rows);
    eprintln!("{surplus} surplus jobs over two outages");
    fleet.stop();
}

/// Has a worker meet a Redis that hangs or is gone, with a patience of a second, and another take over.
/// Returns how long it took to end, and the jobs that were made beyond what was needed.
fn out_of_patience(hangs: bool, most: Duration) -> (Duration, u64) {
    let (api, mut redis) = (slow_api(), RedisServer::start());
    let mut args = quick("2s", "100/s").to_vec();
    args.extend(["--redis-patience", "1s"]);
    let mut fleet = Fleet::new(&api, &redis.url(), &args);
    fleet.push(0..200);
    fleet.start();
    fleet.wait_for(30);
    if hangs {
        signal(&redis, "-STOP");
    } else {
        redis.kill();
    }
    let (mut worker, since) = (fleet.workers.remove(0), Instant::now());
    assert_eq!(code_within(&mut worker, most), Some(69));
    let ended_after = since.elapsed();
    if hangs {
        signal(&redis, "-CONT");
    } else {
        redis.start_again();
    }
    fleet.start();
    fleet.wait_for(200);
    // What could not be recorded was printed, and is of unknown fate.
    let surplus = fleet.hold_against_ledger(200);
    fleet.stop();
    (ended_after, surplus)
}

#[test]
fn a_worker_ends_when_redis_is_gone_for_longer_than_its_patience() {
    let (after, surplus) = out_of_patience(false, Duration::from_secs(6));
    eprintln!("gone: ended after {after:.1?}, {surplus} surplus jobs");
}

#[test]
fn a_worker_ends_when_redis_hangs_for_longer_than_its_patience() {
    // Ten seconds pass until an answer is given up, and as many at the end, when it would hand over.
    let (after, surplus) = out_of_patience(true, Duration::from_secs(30));
    eprintln!("hangs: ended after {after:.1?}, {surplus} surplus jobs");
}

#[test]
fn run_ends_with_the_queue() {
    let (api, redis) = (slow_api(), RedisServer::start());
    let fleet = Fleet::new(&api, &redis.url(), &quick("2s", "100/s"));
    fleet.push(0..20);
    // No more than it is told to.
    let code = code_within(
        &mut start_run(&fleet, &["--limit", "5"]),
        Duration::from_secs(20),
    );
    assert_eq!((code, fleet.settled()), (Some(0), 5));
    assert_eq!(number(&fleet.status(), "waiting"), 15);
    // Told to stop, it hands over what it holds.
    let mut run = start_run(&fleet, &[]);
    fleet.wait_until("creates", |fleet| {
        number(&fleet.api.ledger(), "creates") == 20
    });
    support::signal(&run, "-TERM");
    assert_eq!(code_within(&mut run, Duration::from_secs(20)), Some(143));
    let code = code_within(&mut start_run(&fleet, &[]), Duration::from_secs(20));
    assert_eq!(code, Some(0));
    assert_eq!(fleet.hold_against_ledger(20), 0);
    // Nothing is there.
    let code = code_within(&mut start_run(&fleet, &[]), Duration::from_secs(20));
    assert_eq!((code, fleet.settled()), (Some(0), 20));
    // A bad one is one that was not solved.
    fleet.push_raw(&["nonsense"]);
    let code = code_within(&mut start_run(&fleet, &[]), Duration::from_secs(20));
    assert_eq!((code, fleet.settled()), (Some(1), 21));
}

#[test]
fn run_waits_for_what_others_hold() {
    let api = Api::start(&["--latency", "5ms..50ms", "--solve-time", "3s"]);
    let redis = RedisServer::start();
    let mut fleet = Fleet::new(&api, &redis.url(), &quick("2s", "100/s"));
    fleet.push(0..20);
    fleet.start();
    fleet.wait_until("creates", |fleet| number(&fleet.api.ledger(), "jobs") == 20);
    let mut run = start_run(&fleet, &[]);
    // It takes over from one that dies, too.
    std::thread::sleep(Duration::from_millis(500));
    assert_eq!(fleet.settled(), 0);
    assert!(run.try_wait().expect("it answers").is_none());
    fleet.end(0, "-KILL");
    assert_eq!(code_within(&mut run, Duration::from_secs(20)), Some(0));
    assert_eq!(fleet.hold_against_ledger(20), 0);
}

/// Has two workers do some requests, one of them told to stop on the way.
fn a_short_day(mut fleet: Fleet<'_>) {
    fleet.push(0..100);
    (0..2).for_each(|_| fleet.start());
    fleet.wait_for(20);
    assert_eq!(fleet.replace(0, "-TERM"), Some(0));
    fleet.wait_for(100);
    assert_eq!(fleet.hold_against_ledger(100), 0);
    fleet.stop();
}

#[test]
fn over_a_socket() {
    let api = slow_api();
    let (redis, path) = access::with_socket();
    let mut fleet = Fleet::new(&api, &redis.url(), &quick("2s", "100/s"));
    fleet.url = format!("unix://{}", path.display());
    a_short_day(fleet);
}

#[test]
fn over_tls_as_a_user_with_few_rights() {
    let (api, redis) = (slow_api(), TlsServer::start());
    let mut words = vec!["ACL", "SETUSER", "solver", "on", ">s3cret-of-the-user"];
    words.extend(access::RIGHTS);
    ask(redis.server.port, None, &words).expect("the user is made");
    let mut fleet = Fleet::new(&api, &redis.server.url(), &quick("2s", "100/s"));
    fleet.url = redis.url();
    fleet.env = vec![("POLLWHEEL_REDIS_PASSWORD", "s3cret-of-the-user".to_owned())];
    let ca = redis.file("ca.pem").display().to_string();
    fleet.redis_args = ["--redis-username", "solver", "--redis-ca-file", &ca]
        .map(str::to_owned)
        .to_vec();
    a_short_day(fleet);
}

#[test]
fn on_a_cluster_with_results_in_the_same_slot_and_in_another() {
    let cluster = Cluster::start();
    let tagged = format!("{{{QUEUE}}}:results");
    assert_eq!(cluster.slot_of(&tagged), cluster.slot_of(QUEUE));
    assert_ne!(cluster.owner_of("solve:results:3"), cluster.owner_of(QUEUE));
    for (results, prefix) in [(tagged.as_str(), "near:"), ("solve:results:3", "far:")] {
        let api = slow_api();
        let mut fleet = Fleet::new(&api, &cluster.url(), &quick("2s", "100/s"));
        fleet.place_of = Box::new(|key| cluster.nodes[cluster.owner_of(key)].url());
        fleet.results = results.to_owned();
        // The queue remembers the ids of the first round.
        fleet.redis_args = ["--redis-prefix", prefix].map(str::to_owned).to_vec();
        a_short_day(fleet);
    }
}

/// A fleet at the primary that the Sentinels know.
fn at_sentinels<'a>(api: &'a Api, sentinels: &Sentinels) -> Fleet<'a> {
    let mut fleet = Fleet::new(api, &sentinels.url(), &quick("2s", "60/s"));
    let ports: Vec<u16> = sentinels.servers.iter().map(|server| server.port).collect();
    fleet.place_of = Box::new(move |_| {
        let primary = ports
            .iter()
            .find(|port| replication(**port).contains("role:master"));
        format!(
            "redis://127.0.0.1:{}/",
            primary.expect("there is a primary")
        )
    });
    fleet
}

fn replication(port: u16) -> String {
    ask(port, None, &["INFO", "replication"])
        .and_then(|answer| Ok(redis::from_redis_value(answer)?))
        .unwrap_or_default()
}

#[test]
fn a_failover_loses_nothing_that_redis_kept() {
    let (api, mut sentinels) = (slow_api(), Sentinels::start());
    sentinels.wait_to_be_told();
    let mut fleet = at_sentinels(&api, &sentinels);
    fleet.push(0..400);
    (0..4).for_each(|_| fleet.start());
    fleet.wait_for(80);
    // Nothing is written any more, and the replicas have caught up.
    let before = sentinels.primary().port;
    ask(before, None, &["CLIENT", "PAUSE", "20000", "WRITE"]).expect("it pauses");
    fleet.wait_until("replicas that have caught up", |_| {
        let info = replication(before);
        let offset = |name: &str| {
            let line = info.lines().find_map(|line| line.strip_prefix(name));
            line.map(str::to_owned)
        };
        let own = offset("master_repl_offset:").unwrap_or_default();
        info.matches(&format!("offset={own},")).count() == 2
    });
    assert!(fleet.settled() < 400, "it ended before the failover");
    sentinels.fail_over();
    fleet.wait_for(400);
    let surplus = fleet.hold_against_ledger(400);
    eprintln!("{surplus} surplus jobs: {}", api.ledger());
    fleet.stop();
}

/// A number of `INFO`.
fn info(redis: &mut redis::Connection, section: &str, name: &str) -> u64 {
    let text: String = redis::cmd("INFO")
        .arg(section)
        .query(redis)
        .expect("it answers");
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    let value = line.unwrap_or_else(|| panic!("no {name} in {text}"));
    value.trim().parse().expect("a number")
}

#[test]
fn an_idle_worker_costs_next_to_nothing() {
    let (api, redis) = (slow_api(), RedisServer::start());
    let mut fleet = Fleet::new(&api, &redis.url(), &["-q"]);
    fleet.start();
    fleet.wait_for_workers(1);
    std::thread::sleep(Duration::from_secs(1));
    let mut redis = fleet.redis();
    let of = |redis: &mut _| info(redis, "stats", "total_commands_processed:");
    let before = of(&mut redis);
    std::thread::sleep(Duration::from_secs(10));
    let commands = of(&mut redis) - before;
    eprintln!("an idle worker: {} commands in 10 s", commands);
    assert!(commands < 100, "{commands} in 10 s");
    fleet.stop();
}

#[test]
fn a_long_list_costs_no_memory_and_no_time() {
    let rows = size("FLEET_WAITING", 100_000);
    let api = Api::start(&["--latency", "0ms..5ms", "--solve-time", "100ms"]);
    let redis = RedisServer::with(&["--appendonly", "yes", "--appendfsync", "everysec"]);
    let mut fleet = Fleet::new(&api, &redis.url(), &quick("2s", "300/s"));
    fleet.push(0..rows);
    let mut connection = fleet.redis();
    let mut claim_cost = |fleet: &Fleet<'_>| {
        let settled = fleet.settled();
        redis::cmd("CONFIG")
            .arg("RESETSTAT")
            .exec(&mut connection)
            .expect("it answers");
        fleet.wait_for(settled + 600);
        let text: String = redis::cmd("INFO")
            .arg("commandstats")
            .query(&mut connection)
            .expect("it answers");
        let line = text
            .lines()
            .find(|line| line.starts_with("cmdstat_evalsha:"));
        line.unwrap_or_else(|| panic!("no calls in {text}"))
            .to_owned()
    };
    fleet.start();
    fleet.wait_for(100);
    let long = claim_cost(&fleet);
    // All but the newest are taken away: those at the right are the oldest.
    let _: () = fleet.redis().ltrim(QUEUE, 0, 1499).expect("it is a list");
    fleet.wait_for(fleet.settled() + 200);
    let short = claim_cost(&fleet);
    eprintln!("with {rows} waiting: {long}\nwith some hundreds: {short}");

    let path = format!("/proc/{}/status", fleet.workers[0].id());
    let text = std::fs::read_to_string(path).expect("there is a /proc");
    let line = text.lines().find(|line| line.starts_with("VmHWM"));
    let kib: u64 = line
        .and_then(|line| line.split_whitespace().nth(1))
        .and_then(|number| number.parse().ok())
        .expect("the kernel tells it");
    eprintln!("the worker's memory at its highest: {} MiB", kib / 1024);
    assert!(kib < 64 * 1024, "{kib} KiB");
    fleet.stop();
}
