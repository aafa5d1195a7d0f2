//! Kills and signals: whatever happens to the process, the same command goes on.

mod support;

use std::process::Stdio;
use std::time::Duration;

use support::{
    Api, BAD_DAY, Case, finish, hold_against_ledger, number, signal, wait_until_it_listens,
};

const QUICK: [&str; 10] = [
    "--poll-interval",
    "200ms",
    "--max-in-flight",
    "400",
    "--summary",
    "summary.json",
    "--max-connections",
    "64",
    "--drain-timeout",
    "300ms",
];

fn bad_day() -> Api {
    Api::start(&BAD_DAY)
}

/// Runs until `life` is over, then sends `with`. Says whether the run had ended before.
fn run_and(case: &Case, api: &Api, rate: &str, life: Duration, with: &[&str]) -> bool {
    let mut child = case
        .run(&api.url, &QUICK)
        .args(["--submit-rate", rate, "-q"])
        .stderr(Stdio::null())
        .spawn()
        .expect("the binary starts");
    std::thread::sleep(life);
    for (n, with) in with.iter().enumerate() {
        if n > 0 {
            std::thread::sleep(Duration::from_millis(fastrand::u64(1..50)));
        }
        // The first signal may have been enough, or the run may have ended by itself: its code tells.
        if child.try_wait().expect("it can be asked").is_some() {
            break;
        }
        signal(&child, with);
    }
    child
        .wait()
        .expect("it can be waited for")
        .code()
        .is_some_and(|code| code < 2)
}

#[test]
fn a_hundred_kills_lose_nothing_and_pay_no_known_job_twice() {
    let (api, case) = (bad_day(), Case::with_rows(2000));
    let mut kills = 0;
    while kills < 100 {
        let life = Duration::from_millis(fastrand::u64(20..450));
        assert!(
            !run_and(&case, &api, "60/s", life, &["-KILL"]),
            "it ended after {kills} kills"
        );
        kills += 1;
    }
    let (code, _, stderr) = finish(case.run(&api.url, &QUICK).args(["--submit-rate", "400/s"]));
    assert!(code == 0 || code == 1, "{code}: {stderr}");
    assert!(stderr.contains("resuming: "), "{stderr}");
    hold_against_ledger(&case, &api, 2000);
}

#[test]
fn ctrl_c_once_and_twice_at_any_moment_is_resumable() {
    let (api, case) = (bad_day(), Case::with_rows(700));
    for round in 0..50 {
        let life = Duration::from_millis(fastrand::u64(60..350));
        let signals: &[&str] = if round % 2 == 0 {
            &["-INT"]
        } else {
            &["-INT", "-INT"]
        };
        assert!(
            !run_and(&case, &api, "30/s", life, signals),
            "it ended in round {round}"
        );
    }
    let (code, _, stderr) = finish(case.run(&api.url, &QUICK).args(["--submit-rate", "400/s"]));
    assert!(code == 0 || code == 1, "{code}: {stderr}");
    hold_against_ledger(&case, &api, 700);
}

#[test]
fn a_signal_ends_with_its_code_and_says_how_to_go_on() {
    let (api, case) = (Api::start(&["--solve-time", "60s"]), Case::with_rows(50));
    for (name, code) in [("-INT", 130), ("-TERM", 143)] {
        let mut command = case.run(&api.url, &QUICK);
        let child = command
            .args(["--submit-rate", "100/s"])
            .stderr(Stdio::piped())
            .spawn()
            .expect("it starts");
        let before = number(&api.ledger(), "polls");
        while number(&api.ledger(), "polls") < before + 10 {
            std::thread::sleep(Duration::from_millis(10));
        }
        signal(&child, name);
        let output = child.wait_with_output().expect("it ends");
        let stderr = String::from_utf8(output.stderr).expect("UTF-8");
        assert_eq!(output.status.code(), Some(code), "{stderr}");
        assert!(
            stderr.contains("run --from in.csv --to out.csv"),
            "{stderr}"
        );
    }
}

/// The run dies at each durable step in turn, and at the first, second and third time that it comes
/// to it; the next run goes on.
#[test]
fn a_kill_at_each_durable_step_is_survived() {
    // At 200/s they are begun in more batches than deaths are asked for.
    const ROWS: usize = 48;
    for step in [
        "before-commit",
        "after-begin-commit",
        "after-commit",
        "mid-append",
        "after-append",
        "after-fsync",
        "after-checkpoint",
    ] {
        let (api, case) = (
            Api::start(&["--solve-time", "50ms", "--latency", "0ms"]),
            Case::with_rows(ROWS),
        );
        let mut deaths = 0;
        for time in 1..=4 {
            let (code, _, stderr) = finish(
                case.run(
                    &api.url,
                    &["--poll-interval", "50ms", "--submit-rate", "200/s"],
                )
                .env("POLLWHEEL_CRASH_AT", format!("{step}:{time}")),
            );
            deaths += usize::from(code == -1);
            assert!(code == -1 || code == 0, "{step}:{time}: {code}: {stderr}");
        }
        // Only the end of a run comes to the checkpoint that has a commit of its own.
        let least = if step == "after-checkpoint" { 1 } else { 2 };
        assert!(deaths >= least, "{step} was met {deaths} times only");
        let (code, _, stderr) = finish(&mut case.run(
            &api.url,
            &["--poll-interval", "50ms", "--summary", "summary.json"],
        ));
        assert_eq!(code, 0, "{step}: {stderr}");
        hold_against_ledger(&case, &api, ROWS);
    }
}

#[test]
fn a_kill_in_the_middle_of_a_rewrite_is_survived() {
    for step in ["after-rewrite-file", "after-intent", "after-rename"] {
        let (api, case) = (
            Api::start(&["--solve-time", "0ms..300ms", "--latency", "0ms"]),
            Case::with_rows(30),
        );
        let args = [
            "--poll-interval",
            "50ms",
            "--submit-rate",
            "500/s",
            "--ordered",
            "--summary",
            "summary.json",
        ];
        let (code, _, stderr) = finish(
            case.run(&api.url, &args)
                .env("POLLWHEEL_CRASH_AT", format!("{step}:1")),
        );
        assert_eq!(code, -1, "{step}: {stderr}");
        let (code, _, stderr) = finish(&mut case.run(&api.url, &args));
        assert_eq!(code, 0, "{step}: {stderr}");
        let ids: Vec<_> = case
            .rows()
            .into_iter()
            .map(|row| row["id"].clone())
            .collect();
        assert_eq!(
            ids,
            (0..30).map(|n| format!("r{n}")).collect::<Vec<_>>(),
            "{step}"
        );
        hold_against_ledger(&case, &api, 30);
    }
}

#[test]
fn a_growing_file_is_done_row_by_row_as_cron_would() {
    let (api, case) = (Api::start(&["--solve-time", "20ms"]), Case::new());
    let args = [
        "--poll-interval",
        "20ms",
        "--submit-rate",
        "500/s",
        "--summary",
        "summary.json",
        "-q",
    ];
    for rows in [0, 3, 3, 10, 50] {
        case.write("in.csv", &support::rows_csv(0..rows));
        let (code, _, stderr) = finish(&mut case.run(&api.url, &args));
        assert_eq!((code, stderr.as_str()), (0, ""), "{rows} rows");
        assert_eq!(case.rows().len(), rows);
    }
    hold_against_ledger(&case, &api, 50);
    assert_eq!(number(&api.ledger(), "creates"), 50);
}

#[test]
fn of_two_runs_at_once_one_is_told_to_wait() {
    let (api, case) = (Api::start(&["--solve-time", "30s"]), Case::with_rows(5));
    let mut first = case
        .run(&api.url, &["-q"])
        .stderr(Stdio::null())
        .spawn()
        .expect("it starts");
    while number(&api.ledger(), "creates") == 0 {
        std::thread::sleep(Duration::from_millis(10));
    }
    let (code, _, stderr) = finish(&mut case.run(&api.url, &[]));
    assert_eq!(code, 75, "{stderr}");
    assert!(stderr.contains("another run"), "{stderr}");
    // The output under another name, with a journal of its own, is the same output.
    std::os::unix::fs::symlink(case.path("out.csv"), case.path("alias.csv")).expect("a link");
    let mut alias = case.pollwheel("run");
    alias.args([
        "--from",
        "in.csv",
        "--to",
        "alias.csv",
        "--journal",
        "other.journal",
        "--authorized-site",
        "*.example.com",
    ]);
    let (code, _, stderr) = finish(alias.args(["--base-url", &api.url]));
    assert!(code == 75 || code == 74, "{code}: {stderr}");
    // A run that waits for the lock is ended by a signal, with its code.
    let mut waiting = case.run(&api.url, &["--lock-wait", "10m"]);
    let waiting = waiting.stderr(Stdio::piped()).spawn().expect("it starts");
    wait_until_it_listens(&waiting);
    signal(&waiting, "-TERM");
    let output = waiting.wait_with_output().expect("it ends");
    let stderr = String::from_utf8(output.stderr).expect("UTF-8");
    assert_eq!(output.status.code(), Some(143), "{stderr}");
    assert!(stderr.contains("--lock-wait 10m"), "{stderr}");
    first.kill().expect("it is there");
    first.wait().expect("it ends");
}
