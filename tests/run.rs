//! What a run does with files, streams and rates, from outside.

mod support;

use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::PermissionsExt;
use std::process::Stdio;

use support::{ACCOUNT, Api, Case, finish, hold_against_ledger, number, rows, rows_csv};

const QUICK: [&str; 6] = [
    "--poll-interval",
    "20ms",
    "--submit-rate",
    "500/s",
    "--summary",
    "summary.json",
];

fn quick_api() -> Api {
    Api::start(&["--solve-time", "20ms..60ms", "--latency", "0ms"])
}

#[test]
fn the_readme_s_first_command_solves_every_row() {
    let case = Case::new();
    let sample = concat!(env!("CARGO_MANIFEST_DIR"), "/jobs/sample.csv");
    let config = concat!(env!("CARGO_MANIFEST_DIR"), "/config.toml");
    let mut command = case.pollwheel("run");
    command.env_remove("POLLWHEEL_API_TOKEN");
    command.args([
        "--from",
        sample,
        "--to",
        "results.csv",
        "--simulate",
        "--config",
        config,
    ]);
    let (code, stdout, stderr) = finish(&mut command);
    assert_eq!((code, stdout.as_str()), (0, ""), "{stderr}");
    let results = rows(&case.path("results.csv"));
    assert_eq!(results.len(), rows(sample.as_ref()).len());
    assert!(
        results
            .iter()
            .all(|row| row["status"] == "solved" && row["token"].len() > 20)
    );
    let (code, _, stderr) = finish(&mut command);
    assert_eq!(code, 0, "{stderr}");
    assert!(stderr.contains("nothing to do"), "{stderr}");
}

#[test]
fn a_plain_run_says_what_it_did() {
    let (api, case) = (quick_api(), Case::with_rows(40));
    let (code, stdout, stderr) = finish(&mut case.run(&api.url, &QUICK));
    assert_eq!((code, stdout.as_str()), (0, ""), "{stderr}");
    hold_against_ledger(&case, &api, 40);
    let summary = case.summary();
    for (key, value) in [
        ("total", 40),
        ("solved", 40),
        ("failed", 0),
        ("creates", 40),
        ("unknown_creates", 0),
    ] {
        assert_eq!(number(&summary, key), value, "{key} in {summary}");
        assert_eq!(
            number(&summary["this_run"], key),
            value,
            "{key} in {summary}"
        );
    }
    assert_eq!(summary["stop"], "done");
    let row = &case.rows()[0];
    for column in [
        "remote_id",
        "submitted_at",
        "finished_at",
        "expires_at",
        "elapsed_s",
        "cost",
        "token",
    ] {
        assert!(!row[column].is_empty(), "{column}: {row:?}");
    }
    assert!(row["note"].starts_with("note, "), "{row:?}");
    for name in ["out.csv", "out.csv.journal", "out.csv.journal.lock"] {
        let mode = std::fs::metadata(case.path(name))
            .expect(name)
            .permissions()
            .mode()
            & 0o777;
        assert_eq!(mode, 0o600, "{name}");
    }
}

#[test]
fn modes_are_tight_under_a_loose_umask() {
    let (api, case) = (quick_api(), Case::with_rows(3));
    let mut child = std::process::Command::new("sh");
    let run = format!(
        "umask 000; exec '{}' run --from in.csv --to out.csv --base-url {} --authorized-site '*.example.com' \
         --poll-interval 20ms --ordered",
        env!("CARGO_BIN_EXE_pollwheel"),
        api.url
    );
    child
        .args(["-c", &run])
        .current_dir(case.folder.path())
        .env("POLLWHEEL_API_TOKEN", ACCOUNT);
    let (code, _, stderr) = finish(&mut child);
    assert_eq!(code, 0, "{stderr}");
    for file in std::fs::read_dir(case.folder.path()).expect("a folder") {
        let file = file.expect("a file");
        if file.file_name() != "in.csv" {
            let mode = file.metadata().expect("it is there").permissions().mode() & 0o777;
            assert_eq!(mode, 0o600, "{:?}", file.file_name());
        }
    }
}

#[test]
fn no_secret_is_in_any_log_at_any_level() {
    let script = "create key=key-1: refuse \"token acc0unt-t0ken-of-the-tests is odd\"\npoll #3: html\ncreate #5: 503";
    let (case, script_case) = (Case::with_rows(20), Case::new());
    script_case.write("script", script);
    let path = script_case.path("script");
    let api = Api::start(&[
        "--solve-time",
        "20ms",
        "--script",
        path.to_str().expect("UTF-8"),
    ]);
    for format in ["text", "json"] {
        let mut command = case.run(&api.url, &QUICK);
        command.args(["--fresh", "--log-level", "trace", "--log-format", format]);
        let (_, stdout, stderr) = finish(command.env("RUST_LOG", "trace"));
        assert!(stderr.contains("poll sent"), "{stderr}");
        let output = case.rows();
        assert!(output.len() >= 19);
        for row in output {
            assert!(
                row["token"].is_empty() || !stderr.contains(&row["token"]),
                "a token in the log"
            );
            assert!(!row["message"].contains(ACCOUNT), "{row:?}");
        }
        let journal = std::fs::read(case.path("out.csv.journal")).expect("a journal");
        let holds = |secret: &str| {
            journal
                .windows(secret.len())
                .any(|w| w == secret.as_bytes())
        };
        assert!(!holds(ACCOUNT));
        assert!(
            case.rows()
                .iter()
                .all(|row| row["token"].is_empty() || !holds(&row["token"])),
            "a token in the journal"
        );
        assert!(!stderr.contains(ACCOUNT) && !stdout.contains(ACCOUNT));
        assert!(!case.read("summary.json").contains(ACCOUNT));
    }
    for verb in ["run", "check", "status", "simulate"] {
        let (_, help, _) = finish(case.pollwheel(verb).arg("--help"));
        assert!(!help.contains(ACCOUNT) && help.contains("Usage"), "{help}");
    }
}

#[test]
fn the_submit_rate_holds_and_is_used() {
    let (api, case) = (
        Api::start(&["--solve-time", "100ms", "--latency", "1ms..5ms"]),
        Case::with_rows(300),
    );
    let args = [
        "--poll-interval",
        "100ms",
        "--submit-rate",
        "100/s",
        "--summary",
        "summary.json",
        "-q",
    ];
    let (code, _, stderr) = finish(&mut case.run(&api.url, &args));
    assert_eq!(code, 0, "{stderr}");
    let busiest = number(&api.ledger(), "most_creates_per_second");
    assert!(busiest <= 110, "{busiest} creates in a second");
    hold_against_ledger(&case, &api, 300);
}

#[test]
fn stdin_to_stdout() {
    let (api, case) = (quick_api(), Case::new());
    case.write("in.csv", &format!("{}r9,hcaptcha,https://elsewhere.org/,k,bad\nr0,hcaptcha,https://h.example.com/,k,twice\n", rows_csv(0..5)));
    let mut command = case.pollwheel("run");
    command.args([
        "--from",
        "-",
        "--to",
        "-",
        "--base-url",
        &api.url,
        "--authorized-site",
        "*.example.com",
    ]);
    command
        .args(QUICK)
        .stdin(std::fs::File::open(case.path("in.csv")).expect("it is there"));
    let (code, stdout, stderr) = finish(&mut command);
    assert_eq!(code, 1, "{stderr}");
    assert!(stderr.contains("no journal"), "{stderr}");
    case.write("stdout.csv", &stdout);
    let output = rows(&case.path("stdout.csv"));
    assert_eq!(
        output
            .iter()
            .filter(|row| row["status"] == "solved")
            .count(),
        5,
        "{stdout}"
    );
    let rejected: Vec<_> = output
        .iter()
        .filter(|row| row["status"] == "rejected")
        .collect();
    assert_eq!(rejected.len(), 2, "{stdout}");
    assert!(
        rejected
            .iter()
            .any(|row| row["error"] == "site_not_authorized"),
        "{stdout}"
    );
    assert!(
        rejected.iter().any(|row| row["error"] == "invalid_request"),
        "{stdout}"
    );
}

/// A pipe that brings a row now and then: each is answered before the next one comes.
#[test]
fn a_slow_pipe_holds_nothing_up() {
    let (api, case) = (quick_api(), Case::new());
    let mut command = case.pollwheel("run");
    command.args([
        "--from",
        "-",
        "--to",
        "-",
        "--base-url",
        &api.url,
        "--authorized-site",
        "*.example.com",
    ]);
    command
        .args(QUICK)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null());
    let mut child = command.spawn().expect("it starts");
    let mut stdin = child.stdin.take().expect("it was piped");
    let mut lines = BufReader::new(child.stdout.take().expect("it was piped")).lines();
    let input = rows_csv(0..4);
    let mut input = input.lines();
    writeln!(stdin, "{}", input.next().expect("a header")).expect("it reads");
    for (n, row) in input.enumerate() {
        writeln!(stdin, "{row}").expect("it reads");
        if n == 0 {
            let header = lines.next().expect("a header").expect("UTF-8");
            assert!(
                header.starts_with("id,job,website_url,website_key,note,status,token"),
                "{header}"
            );
        }
        let line = lines.next().expect("an outcome").expect("UTF-8");
        assert!(
            line.starts_with(&format!("r{n},")) && line.contains("solved"),
            "{line}"
        );
    }
    drop(stdin);
    assert_eq!(child.wait().expect("it ends").code(), Some(0));
}

#[test]
fn dialects_of_csv_are_read_and_kept() {
    let api = quick_api();
    for (text, delimiter) in [
        (
            "\u{feff}id;job;website_url;website_key;note\r\na;hcaptcha;https://a.example.com/;k;\"x;\r\ny\"\"\"\r\n",
            ';',
        ),
        (
            "id\tjob\twebsiteURL\tsitekey\na\thcaptcha\thttps://a.example.com/\tk\n",
            '\t',
        ),
        (
            "job,url,website_key,note\nhcaptcha,https://a.example.com/,k,=1+1\n",
            ',',
        ),
    ] {
        let case = Case::new();
        case.write("in.csv", text);
        let (code, _, stderr) = finish(&mut case.run(&api.url, &QUICK));
        assert_eq!(code, 0, "{text}: {stderr}");
        let output = case.read("out.csv");
        assert!(output.starts_with(&format!("id{delimiter}")), "{output}");
        assert!(output.contains("solved"), "{output}");
        if delimiter == ';' {
            assert!(output.contains("\"x;\r\ny\"\"\""), "{output}");
        }
        let (code, _, stderr) = finish(&mut case.run(&api.url, &QUICK));
        assert_eq!(code, 0, "{text}: {stderr}");
        assert_eq!(case.read("out.csv"), output);
    }
}

#[test]
fn rows_can_be_added_moved_and_annotated_between_runs() {
    let (api, case) = (quick_api(), Case::with_rows(5));
    assert_eq!(finish(&mut case.run(&api.url, &QUICK)).0, 0);
    let mut lines: Vec<String> = rows_csv(0..8)
        .lines()
        .map(|l| format!("{l},more"))
        .collect();
    lines[0] = lines[0].replace(",more", ",extra");
    lines[1..].reverse();
    case.write("in.csv", &(lines.join("\n") + "\n"));
    let (code, _, stderr) = finish(&mut case.run(&api.url, &QUICK));
    assert_eq!(code, 0, "{stderr}");
    assert!(
        stderr.contains("resuming: 5 done, 0 adopted, 3 to go"),
        "{stderr}"
    );
    hold_against_ledger(&case, &api, 8);
    assert_eq!(number(&api.ledger(), "creates"), 8);
}

#[test]
fn skipped_bad_rows_become_rejected_outcomes_once() {
    let (api, case) = (quick_api(), Case::new());
    let bad = "r8,hcaptcha,not a url,k,x\nr9,hcaptcha,https://elsewhere.org/,k,y\nr10,hcaptcha\n";
    case.write("in.csv", &(rows_csv(0..4) + bad));
    let (code, _, stderr) = finish(&mut case.run(&api.url, &QUICK));
    assert_eq!(code, 65, "{stderr}");
    assert_eq!(number(&api.ledger(), "creates"), 0);
    for expected in [1, 0] {
        let (code, _, stderr) = finish(case.run(&api.url, &QUICK).arg("--skip-bad-rows"));
        assert_eq!(code, expected, "{stderr}");
        let output = case.rows();
        assert_eq!(output.len(), 7, "{output:?}");
        assert_eq!(
            output
                .iter()
                .filter(|row| row["status"] == "rejected")
                .count(),
            3
        );
    }
}

#[test]
fn only_unlisted_sites_are_a_matter_of_authorisation() {
    let (api, case) = (quick_api(), Case::with_rows(3));
    let mut command = case.pollwheel("run");
    command.args([
        "--from",
        "in.csv",
        "--to",
        "out.csv",
        "--base-url",
        &api.url,
        "--authorized-site",
        "other.org",
    ]);
    let (code, _, stderr) = finish(&mut command);
    assert_eq!(code, 77, "{stderr}");
    assert!(
        stderr.contains("in.csv:2: ") && stderr.contains("--authorized-site h0.example.com"),
        "{stderr}"
    );
    // On resume as well: the site was taken off the list while rows were to go.
    assert_eq!(
        finish(case.run(&api.url, &QUICK).args(["--limit", "1"])).0,
        0
    );
    let (code, _, stderr) = finish(&mut command);
    assert_eq!(code, 77, "{stderr}");
    assert_eq!(number(&api.ledger(), "creates"), 1);
}

#[test]
fn failed_rows_are_taken_up_again_and_replaced() {
    let case = Case::with_rows(20);
    let script_case = Case::new();
    // The first create of each request makes a job that fails when polled.
    script_case.write(
        "script",
        "poll to 1h url~=row=1: refuse \"Job not found.\"\n",
    );
    let path = script_case.path("script");
    let failing = Api::start(&[
        "--solve-time",
        "20ms",
        "--script",
        path.to_str().expect("UTF-8"),
    ]);
    let (code, _, stderr) = finish(&mut case.run(&failing.url, &QUICK));
    assert_eq!(code, 1, "{stderr}");
    let failed = case
        .rows()
        .iter()
        .filter(|row| row["status"] == "failed")
        .count();
    assert_eq!(failed, 11, "rows 1 and 10 to 19");
    let api = quick_api();
    let (code, _, stderr) = finish(&mut case.run(&api.url, &QUICK));
    assert_eq!(code, 0, "failed rows are done: {stderr}");
    let (code, _, stderr) = finish(case.run(&api.url, &QUICK).arg("--retry-failed"));
    assert_eq!(code, 0, "{stderr}");
    let output = case.rows();
    assert_eq!(output.len(), 20);
    assert!(
        output.iter().all(|row| row["status"] == "solved"),
        "{output:?}"
    );
    let ids: std::collections::HashSet<_> = output.iter().map(|row| row["id"].clone()).collect();
    assert_eq!(ids.len(), 20);
}

#[test]
fn jobs_of_another_api_are_listed_and_not_touched() {
    let (first, case) = (Api::start(&["--solve-time", "1h"]), Case::with_rows(10));
    let (code, ..) =
        finish(
            case.run(&first.url, &QUICK)
                .args(["--max-runtime", "1s", "--drain-timeout", "0s"]),
        );
    assert_eq!(code, 3);
    let second = quick_api();
    let (_, _, stderr) = finish(&mut case.run(&second.url, &QUICK));
    assert!(stderr.contains("another API"), "{stderr}");
    assert_eq!(
        number(&second.ledger(), "creates"),
        0,
        "they live elsewhere, and are paid"
    );
    assert_eq!(number(&second.ledger(), "polls"), 0);
}

#[test]
fn simulated_and_real_results_do_not_mix() {
    let (api, case) = (quick_api(), Case::with_rows(2));
    let mut command = case.pollwheel("run");
    command.args([
        "--from",
        "in.csv",
        "--to",
        "out.csv",
        "--simulate",
        "--authorized-site",
        "*.example.com",
    ]);
    assert_eq!(finish(&mut command).0, 0);
    let (code, _, stderr) = finish(&mut case.run(&api.url, &QUICK));
    assert_eq!(code, 78, "{stderr}");
    assert_eq!(number(&api.ledger(), "creates"), 0);
}

#[test]
fn status_tells_of_a_run_that_goes_on_and_of_one_that_ended() {
    let (api, case) = (Api::start(&["--solve-time", "1h"]), Case::with_rows(10));
    let mut child = case
        .run(&api.url, &QUICK)
        .stderr(Stdio::null())
        .spawn()
        .expect("it starts");
    while number(&api.ledger(), "creates") < 10 {
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    let status = |json: bool| {
        let mut command = case.pollwheel("status");
        command.arg("out.csv");
        if json {
            command.arg("--json");
        }
        finish(&mut command)
    };
    let (code, stdout, stderr) = status(true);
    assert_eq!(code, 0, "{stderr}");
    let json: serde_json::Value = serde_json::from_str(&stdout).expect("JSON");
    assert_eq!(
        (number(&json, "total"), number(&json, "pending")),
        (10, 10),
        "{json}"
    );
    assert_eq!(json["running"], true, "{json}");
    child.kill().expect("it is there");
    child.wait().expect("it ends");
    let (code, stdout, stderr) = status(false);
    assert_eq!(code, 0, "{stderr}");
    assert!(stdout.contains("10"), "{stdout}");
    let (_, stdout, _) = status(true);
    let json: serde_json::Value = serde_json::from_str(&stdout).expect("JSON");
    assert_eq!(json["running"], false, "{json}");
}

#[test]
fn check_says_what_a_run_would_do_and_sends_nothing() {
    let (api, case) = (quick_api(), Case::with_rows(9));
    let mut command = case.pollwheel("check");
    command.args([
        "in.csv",
        "--base-url",
        &api.url,
        "--authorized-site",
        "*.example.com",
        "--submit-rate",
        "3/s",
    ]);
    let (code, stdout, stderr) = finish(&mut command);
    assert_eq!(code, 0, "{stderr}");
    for part in [
        "hcaptcha",
        "recaptcha-v2",
        "--submit-rate",
        "default",
        "--authorized-site",
        "$0.00",
    ] {
        assert!(stdout.contains(part), "no {part} in {stdout}");
    }
    assert!(!stdout.contains(ACCOUNT) && !stderr.contains(ACCOUNT));
    assert_eq!(number(&api.ledger(), "creates"), 0);
    case.write(
        "in.csv",
        "id,job,website_url,website_key\nr1,hcaptcha,nonsense,k\n",
    );
    let (code, _, stderr) = finish(&mut command);
    assert_eq!(code, 65, "{stderr}");
    assert!(stderr.contains("in.csv:2: website_url"), "{stderr}");
}

#[test]
fn a_summary_takes_no_other_files_place() {
    let (api, case) = (quick_api(), Case::with_rows(3));
    assert_eq!(finish(&mut case.run(&api.url, &QUICK)).0, 0);
    let (input, output) = (case.read("in.csv"), case.read("out.csv"));
    for place in ["in.csv", "out.csv", "./out.csv", "out.csv.journal"] {
        let (code, _, stderr) = finish(&mut case.run(&api.url, &["--summary", place]));
        assert_eq!(code, 2, "{place}: {stderr}");
    }
    let (code, _, stderr) = finish(&mut case.run(&api.url, &["--summary", "no/such/folder.json"]));
    assert_eq!(code, 74, "{stderr}");
    assert_eq!((case.read("in.csv"), case.read("out.csv")), (input, output));
    assert_eq!(number(&api.ledger(), "creates"), 3);
}

#[test]
fn a_json_log_is_json_to_the_last_line() {
    let (api, case) = (quick_api(), Case::with_rows(3));
    let (code, _, stderr) = finish(
        case.run(&api.url, &QUICK)
            .args(["--log-format", "json", "-v"]),
    );
    assert_eq!(code, 0, "{stderr}");
    let json = |line: &str| serde_json::from_str::<serde_json::Value>(line).expect(line);
    let lines: Vec<_> = stderr.lines().map(json).collect();
    let last = &lines[lines.len() - 1];
    assert_eq!((&last["stop"], number(last, "solved")), (&"done".into(), 3));
}

#[test]
fn a_rejected_row_that_was_mended_is_taken_up_again() {
    let (api, case) = (quick_api(), Case::new());
    let bad = "r8,hcaptcha,nonsense,k,x\nr9,hcaptcha,,k,y\n";
    case.write("in.csv", &(rows_csv(0..2) + bad));
    let skip = ["--skip-bad-rows", "--retry-failed"];
    assert_eq!(finish(case.run(&api.url, &QUICK).args(skip)).0, 1);
    let mended = bad.replace("nonsense", "https://h8.example.com/login");
    case.write("in.csv", &(rows_csv(0..2) + &mended));
    let (code, _, stderr) = finish(case.run(&api.url, &QUICK).args(["--skip-bad-rows"]));
    assert_eq!(code, 0, "rejected is an outcome: {stderr}");
    // Stopped with its job in flight, it is adopted like any other.
    let stopped = [
        "--poll-interval",
        "1m",
        "--max-runtime",
        "300ms",
        "--drain-timeout",
        "0s",
    ];
    let (code, _, stderr) = finish(case.run(&api.url, &stopped).args(skip));
    assert_eq!(code, 3, "{stderr}");
    let (code, _, stderr) = finish(case.run(&api.url, &QUICK).args(skip));
    assert_eq!(code, 0, "{stderr}");
    assert!(stderr.contains("1 adopted"), "{stderr}");
    let statuses: Vec<_> = case
        .rows()
        .into_iter()
        .map(|r| format!("{} {}", r["id"], r["status"]))
        .collect();
    assert_eq!(statuses.len(), 4, "{statuses:?}");
    assert!(statuses.contains(&"r8 solved".to_owned()), "{statuses:?}");
    assert!(statuses.contains(&"r9 rejected".to_owned()), "{statuses:?}");
    assert_eq!(number(&api.ledger(), "creates"), 3);
}
