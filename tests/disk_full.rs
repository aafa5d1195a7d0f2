//! A disk that fills up in the middle: nothing is lost, and there is a way on.

mod support;

use std::process::{Command, Stdio};

use support::{ACCOUNT, Api, Case, finish, hold_against_ledger, number};

/// A shell in a mount namespace of its own, in which `full` is a small tmpfs: needs no privileges
/// where the kernel lets users make namespaces, as it does by default.
fn on_small_disk(case: &Case, api: &Api, script: &str) -> (i32, String, String) {
    let mut command = Command::new("unshare");
    command
        .args(["--map-root-user", "--mount", "sh", "-euc", script])
        .current_dir(case.folder.path())
        .env("POLLWHEEL_API_TOKEN", ACCOUNT)
        .env("POLLWHEEL", env!("CARGO_BIN_EXE_pollwheel"))
        .env("API", &api.url)
        .stdin(Stdio::null());
    finish(&mut command)
}

#[test]
fn a_disk_that_fills_up_stops_the_run_and_loses_nothing() {
    let (api, case) = (
        Api::start(&["--solve-time", "20ms..60ms", "--latency", "0ms"]),
        Case::with_rows(1000),
    );
    // The first run meets the end of a 600 KiB disk, where 1,000 rows and their journal do not fit.
    // Then what it wrote is moved to where there is room, as the same files, and it is run again.
    let script = r#"
        mkdir full kept
        mount -t tmpfs -o size=600k none full
        cp in.csv kept/
        run() {
            "$POLLWHEEL" run --from ../kept/in.csv --to out.csv --base-url "$API" --authorized-site '*.example.com' \
                --submit-rate 2000/s --poll-interval 20ms --drain-timeout 2s --summary ../kept/summary.json "$@"
        }
        cd full
        code=0; run || code=$?
        echo "first $code" >&2
        mount -o remount,size=50m .
        code=0; run || code=$?
        echo "second $code" >&2
        cp out.csv ../out.csv
        cp ../kept/summary.json ../summary.json
    "#;
    let (code, _, stderr) = on_small_disk(&case, &api, script);
    assert_eq!(
        code, 0,
        "unshare and mount (util-linux) are needed, and a kernel that grants them: {stderr}"
    );
    assert!(stderr.contains("first 74"), "{stderr}");
    assert!(
        stderr.contains("has every step that could be recorded")
            && !stderr.contains("nothing is lost"),
        "{stderr}"
    );
    assert!(stderr.contains("second 0"), "{stderr}");
    hold_against_ledger(&case, &api, 1000);
    assert!(
        number(&api.ledger(), "jobs") <= 1000 + number(&case.summary(), "unknown_creates"),
        "{stderr}"
    );
}

#[test]
fn a_full_stream_ends_the_run() {
    let (api, case) = (Api::start(&["--solve-time", "20ms"]), Case::with_rows(20));
    let mut command = case.pollwheel("run");
    command.args([
        "--from",
        "in.csv",
        "--to",
        "/dev/full",
        "--base-url",
        &api.url,
        "--authorized-site",
        "*.example.com",
    ]);
    let (code, _, stderr) =
        finish(command.args(["--poll-interval", "20ms", "--drain-timeout", "1s"]));
    assert_eq!(code, 74, "{stderr}");
    // The journal stands beside the input; once the outcomes can be delivered, they are.
    let mut command = case.pollwheel("run");
    command.args([
        "--from",
        "in.csv",
        "--to",
        "-",
        "--base-url",
        &api.url,
        "--authorized-site",
        "*.example.com",
    ]);
    let (code, stdout, stderr) =
        finish(command.args(["--poll-interval", "20ms", "--submit-rate", "500/s"]));
    assert_eq!(code, 0, "{stderr}");
    assert_eq!(stdout.lines().count(), 21);
    assert_eq!(number(&api.ledger(), "jobs"), 20);
}
