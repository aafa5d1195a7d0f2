//! What a fleet keeps together: one rate, the pauses that the service asks for, one cap on spending.

mod support;

use support::fleet::{Fleet, quick, size};
use support::redis::RedisServer;
use support::{Api, Case, finish, number};

/// Creates per second, over all workers.
const RATE: f64 = 50.0;
/// What any second may have: the rate, and its burst.
const MOST_PER_SECOND: u64 = 55;

/// When jobs were made, in ms since the service's start, in order.
fn creates_ms(api: &Api) -> Vec<f64> {
    let time = |job: serde_json::Value| job["created_ms"].as_f64().expect("a number");
    let mut times: Vec<f64> = api.jobs().into_iter().map(time).collect();
    times.sort_by(f64::total_cmp);
    times
}

#[test]
fn four_workers_keep_one_rate_whoever_leaves_or_joins() {
    let rows = size("FLEET_RATE_ROWS", 600);
    let api = Api::start(&["--latency", "5ms..30ms", "--solve-time", "100ms..500ms"]);
    let redis = RedisServer::start();
    let mut fleet = Fleet::new(&api, &redis.url(), &quick("2s", "50/s"));
    (0..4).for_each(|_| fleet.start());
    fleet.wait_for_workers(4);
    fleet.push(0..rows);
    fleet.wait_for(rows / 3);
    fleet.end(0, "-KILL");
    fleet.wait_for(rows * 2 / 3);
    fleet.start();
    fleet.wait_for(rows);

    let surplus = fleet.hold_against_ledger(rows);
    assert!(surplus <= 8, "{surplus} of one kill");
    let times = creates_ms(&api);
    let busy_s = (times[times.len() - 1] - times[0]) / 1000.0;
    let rate = (times.len() - 1) as f64 / busy_s;
    let most = number(&api.ledger(), "most_creates_per_second");
    eprintln!(
        "{} creates in {busy_s:.1} s: {rate:.1}/s of {RATE}/s, at most {most} in a second",
        times.len()
    );
    assert!(most <= MOST_PER_SECOND, "{most}");
    // A machine at rest reaches 98 %; one that runs other tests beside has to come close.
    assert!(rate >= 0.8 * RATE, "{rate}");
    fleet.stop();
}

#[test]
fn a_pause_that_one_is_asked_for_holds_all() {
    const REFUSED: usize = 60;
    const PAUSE_MS: f64 = 3000.0;
    /// From the refused create until nobody sends any more: its answer (30 ms at most), the news to Redis,
    /// and the 100 ms that others have reserved ahead.
    const UNTIL_HELD_MS: f64 = 500.0;
    let case = Case::new();
    case.write("script", &format!("create #{REFUSED}: 429 retry-after=3\n"));
    let script = case.path("script");
    let api = Api::start(&[
        "--latency",
        "5ms..30ms",
        "--solve-time",
        "100ms..500ms",
        "--script",
        script.to_str().expect("UTF-8"),
    ]);
    let redis = RedisServer::start();
    let mut fleet = Fleet::new(&api, &redis.url(), &quick("2s", "50/s"));
    (0..4).for_each(|_| fleet.start());
    fleet.wait_for_workers(4);
    fleet.push(0..200);
    fleet.wait_for(200);
    assert_eq!(fleet.hold_against_ledger(200), 0);

    let times = creates_ms(&api);
    // Creates count by arrival, and each but the refused one made a job.
    let refused_after = times[REFUSED - 2];
    let in_pause: Vec<f64> = times[REFUSED - 1..]
        .iter()
        .map(|at| at - refused_after)
        .take_while(|after| *after < PAUSE_MS)
        .collect();
    eprintln!("creates that came after the refused one, in ms: {in_pause:.0?}");
    assert!(in_pause.len() <= 10, "{in_pause:?}");
    assert!(
        in_pause.iter().all(|after| *after < UNTIL_HELD_MS),
        "{in_pause:?}"
    );
    let most = number(&api.ledger(), "most_creates_per_second");
    assert!(most <= MOST_PER_SECOND, "{most}");
    fleet.stop();
}

#[test]
fn a_cap_on_spending_holds_for_all_and_the_next_run_does_the_rest() {
    let api = Api::start(&[
        "--price",
        "0.001",
        "--latency",
        "5ms..30ms",
        "--solve-time",
        "50ms..200ms",
        "--fail-rate",
        "0.05",
    ]);
    let redis = RedisServer::start();
    let mut args = quick("2s", "400/s").to_vec();
    args.extend(["--attempts", "5", "--max-spend", "0.25"]);
    let mut fleet = Fleet::new(&api, &redis.url(), &args);
    fleet.push(0..1000);
    (0..4).for_each(|_| fleet.start());
    for mut worker in fleet.workers.drain(..) {
        let status = worker.wait().expect("it can be waited for");
        assert_eq!(status.code(), Some(3), "a worker that meets the cap");
    }
    let (ledger, settled) = (api.ledger(), fleet.settled());
    let billed = number(&ledger, "billed_micros");
    eprintln!("{settled} settled, {billed} millionths billed: {ledger}");
    assert!(billed <= 250_000, "{ledger}");
    assert!(settled >= 240, "{settled} settled: {ledger}");

    fleet.args.truncate(fleet.args.len() - 1);
    fleet.args.push("5".to_owned());
    let (code, _, err) = finish(&mut fleet.run());
    assert!(code <= 1, "{code} {err}");
    assert_eq!(fleet.hold_against_ledger(1000), 0);
}
