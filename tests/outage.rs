//! A service that is down for a part of a run, in real time over real sockets. What the engine's own test
//! shows on the paused clock for five minutes is shown here for half a minute; `LONG=1` makes it five.

mod support;

use std::fmt::Write;

use support::{Api, Case, finish, hold_against_ledger, number};

const RATE: usize = 20;

#[test]
fn an_outage_loses_nothing_and_ends_at_the_full_rate_within_five_seconds() {
    let (down, end) = match std::env::var_os("LONG") {
        Some(_) => (90..210, 300),
        None => (8..20, 30),
    };
    let rows = RATE * (end - down.len());
    let case = Case::new();
    let mut text = "id,job,website_url,website_key\n".to_owned();
    for n in 0..rows {
        let _ = writeln!(text, "r{n},hcaptcha,https://h.example.com/?row={n},key");
    }
    case.write("in.csv", &text);
    let script = format!("any from {}s to {}s: 503\n", down.start, down.end);
    case.write("script", &script);
    let script = case.path("script");
    let api = Api::start(&[
        "--solve-time",
        "2s..5s",
        "--script",
        script.to_str().expect("UTF-8"),
    ]);
    let args = [
        "--submit-rate",
        "20/s",
        "--poll-interval",
        "1s",
        "--summary",
        "summary.json",
    ];
    let (code, _, stderr) = finish(&mut case.run(&api.url, &args));
    assert_eq!(code, 0, "{stderr}");
    assert!(stderr.contains("one a second is tried"), "{stderr}");
    hold_against_ledger(&case, &api, rows);
    assert!(case.rows().iter().all(|row| row["status"] == "solved"));
    let seconds: Vec<usize> = api
        .creates_per_second()
        .into_iter()
        .map(|n| usize::try_from(n).expect("a small count"))
        .collect();
    let busiest = number(&api.ledger(), "most_creates_per_second");
    assert!(busiest <= 21, "{busiest}: {seconds:?}");
    // Five failures, and what was on the wire by then; from then on a probe a second.
    assert!(seconds[down.start] <= 10, "{seconds:?}");
    let probes = &seconds[down.start + 1..down.end];
    assert!(probes.iter().all(|n| *n <= 2), "{seconds:?}");
    // Four seconds at the full rate, from the fifth after its return. A machine that is busy may be late
    // by one create or two in a single second.
    let back = &seconds[down.end + 5..down.end + 9];
    assert!(back.iter().sum::<usize>() >= 4 * RATE - 6, "{seconds:?}");
    print(&seconds);
}

/// On stdout, for whoever runs it with `--nocapture`.
#[expect(clippy::print_stdout, reason = "the figures are there to be read")]
fn print(seconds: &[usize]) {
    println!("creates in each second: {seconds:?}");
}
