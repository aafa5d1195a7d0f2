//! The command line as scripts see it: the real binary, its streams and its exit codes.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Command, Output, Stdio};

/// The binary, in a folder of its own and without any setting of whoever runs the tests.
fn pollwheel(folder: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pollwheel"));
    command.current_dir(folder).stdin(Stdio::null());
    for (name, _) in
        std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("POLLWHEEL_"))
    {
        command.env_remove(name);
    }
    command
}

struct Ran {
    code: i32,
    out: String,
    err: String,
}

fn ran(output: Output) -> Ran {
    Ran {
        code: output.status.code().expect("it was not killed"),
        out: String::from_utf8(output.stdout).unwrap(),
        err: String::from_utf8(output.stderr).unwrap(),
    }
}

fn run(words: &[&str]) -> Ran {
    let folder = tempfile::tempdir().unwrap();
    ran(pollwheel(folder.path()).args(words).output().unwrap())
}

#[test]
fn help_and_version_go_to_stdout() {
    for words in [
        &["--help"][..],
        &["help"],
        &["run", "--help"],
        &["check", "-h"],
        &["--version"],
    ] {
        let Ran { code, out, err } = run(words);
        assert_eq!((code, err.as_str()), (0, ""), "{words:?}");
        assert!(!out.is_empty());
    }
    let help = run(&["run", "--help"]).out;
    for needed in [
        "Examples:",
        "Exit codes:",
        "POLLWHEEL_API_TOKEN",
        "--max-in-flight",
        "[default: 200]",
    ] {
        assert!(help.contains(needed), "{needed}");
    }
}

#[test]
fn the_account_token_is_in_no_help_and_no_error() {
    let folder = tempfile::tempdir().unwrap();
    for words in [
        &["--help"][..],
        &["run", "--help"],
        &["run", "--from", "missing.csv", "--to", "out.csv"],
        &["check", "missing.csv"],
        &["run", "--api-token", "hunter2-secret"],
        &["run", "--api-token=hunter2-secret"],
    ] {
        let output = pollwheel(folder.path())
            .args(words)
            .env("POLLWHEEL_API_TOKEN", "hunter2-secret")
            .env("POLLWHEEL_LOG_LEVEL", "trace")
            .output()
            .unwrap();
        let Ran { out, err, .. } = ran(output);
        assert!(
            !out.contains("hunter2") && !err.contains("hunter2"),
            "{words:?}\n{out}\n{err}"
        );
    }
}

#[test]
fn a_wrong_command_line_is_2_and_says_why_on_stderr() {
    for (words, why) in [
        (&[][..], "Usage: pollwheel"),
        (&["run"], "--from"),
        (
            &["run", "--from", "a.csv", "--to", "b.csv", "--colour"],
            "--colour",
        ),
        (
            &["work", "--from", "a.csv", "--to", "b.csv"],
            "must be a list of Redis",
        ),
        (
            &["run", "--from", "a.csv", "--to", "redis://host"],
            "--redis-url",
        ),
        (&["status", "redis:jobs"], "status --from redis:LIST"),
        (&["requeue", "--from", "redis:jobs"], "--all"),
        (
            &["simulate", "--fail-rate", "2"],
            "--fail-rate: must lie between 0 and 1",
        ),
        (&["simulate", "--solve-time", "soon"], "--solve-time: "),
        (&["simulate", "--listen", "0.0.0.0:0"], "--allow-remote"),
    ] {
        let Ran { code, out, err } = run(words);
        assert_eq!((code, out.as_str()), (2, ""), "{words:?}: {err}");
        assert!(err.contains(why), "{words:?}: {err}");
    }
}

/// A simulator in a process of its own, killed when the test ends.
struct Simulator(std::process::Child, String);

impl Simulator {
    fn start(words: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut child = pollwheel(folder.path())
            .args(["simulate", "--listen", "127.0.0.1:0"])
            .args(words)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.as_mut().unwrap())
            .read_line(&mut line)
            .unwrap();
        Self(child, line.trim_end().to_owned())
    }
}

impl Drop for Simulator {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn simulate_prints_where_it_listens_and_ends_on_a_signal() {
    for signal in ["-INT", "-TERM"] {
        let mut simulator = Simulator::start(&[]);
        let address = simulator
            .1
            .strip_prefix("http://127.0.0.1:")
            .expect("one URL, at once")
            .to_owned();
        let mut stream = TcpStream::connect(format!("127.0.0.1:{address}")).unwrap();
        write!(
            stream,
            "GET /health HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
        )
        .unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        assert!(
            Command::new("kill")
                .args([signal, &simulator.0.id().to_string()])
                .status()
                .unwrap()
                .success()
        );
        assert_eq!(simulator.0.wait().unwrap().code(), Some(0), "{signal}");
    }
}

#[test]
fn an_address_that_is_taken_is_74() {
    let simulator = Simulator::start(&[]);
    let address = simulator.1.strip_prefix("http://").unwrap();
    let Ran { code, err, .. } = run(&["simulate", "--listen", address]);
    assert_eq!(code, 74);
    assert!(
        err.starts_with("error: cannot listen on 127.0.0.1:") && err.contains("because: "),
        "{err}"
    );
}

/// A folder with this `requests.csv`.
fn folder_with(rows: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let header = "id,job,website_url,website_key\n";
    std::fs::write(
        folder.path().join("requests.csv"),
        format!("{header}{rows}"),
    )
    .unwrap();
    folder
}

const GOOD: &str = "1,hcaptcha,https://a.example.com/,k\n2,recaptcha-v2,https://b.example.com/,k\n";

#[test]
fn check_says_what_holds_and_why() {
    let folder = folder_with(GOOD);
    std::fs::write(
        folder.path().join("config.toml"),
        "# mine\nmax_in_flight = 7\n",
    )
    .unwrap();
    let output = pollwheel(folder.path())
        .args([
            "check",
            "requests.csv",
            "--authorized-site",
            "*.example.com",
            "--attempts",
            "3",
        ])
        .env("POLLWHEEL_SUBMIT_RATE", "5/s")
        .output()
        .unwrap();
    let Ran { code, out, err } = ran(output);
    assert_eq!((code, err.as_str()), (0, ""));
    for (value, origin) in [
        ("max_in_flight = 7 ", "(config.toml:2)"),
        ("submit_rate = 5/s ", "(POLLWHEEL_SUBMIT_RATE)"),
        ("attempts = 3 ", "(--attempts)"),
        ("max_connections = 32 ", "(default)"),
        ("authorized_site = *.example.com ", "(--authorized-site)"),
    ] {
        let line = out
            .lines()
            .map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "))
            .find(|line| line.starts_with(value))
            .unwrap_or_else(|| panic!("{value} in\n{out}"));
        assert!(line.ends_with(origin), "{line}");
    }
    assert!(out.contains("cost: $0.00155, at most $0.00465"), "{out}");
}

#[test]
fn check_tells_bad_input_from_sites_that_are_not_listed() {
    let check = |rows: &str, words: &[&str]| {
        let folder = folder_with(rows);
        ran(pollwheel(folder.path())
            .args(["check", "requests.csv"])
            .args(words)
            .output()
            .unwrap())
    };
    let unlisted = check(GOOD, &[]);
    assert_eq!(unlisted.code, 77, "{}", unlisted.err);
    assert!(
        unlisted
            .err
            .contains("requests.csv:2: website_url: site a.example.com is not authorised"),
        "{}",
        unlisted.err
    );
    let missing_key = "3,hcaptcha,https://c.example.com/,\n";
    let bad = check(
        &format!("{GOOD}{missing_key}"),
        &["--authorized-site", "*.example.com"],
    );
    assert_eq!(bad.code, 65, "{}", bad.err);
    assert!(
        bad.err.contains("requests.csv:4: website_key: is empty"),
        "{}",
        bad.err
    );
    // A bad row beside an unlisted site is bad input.
    assert_eq!(check(&format!("{GOOD}{missing_key}"), &[]).code, 65);
    assert_eq!(
        check(
            missing_key,
            &["--authorized-site", "*.example.com", "--skip-bad-rows"]
        )
        .code,
        0
    );
    assert_eq!(run(&["check", "missing.csv"]).code, 65);
}

#[test]
fn a_wrong_configuration_is_78_and_names_its_place() {
    let check = |file: &str, variable: (&str, &str), words: &[&str]| {
        let folder = folder_with(GOOD);
        std::fs::write(folder.path().join("config.toml"), file).unwrap();
        let mut command = pollwheel(folder.path());
        ran(command
            .args(["check", "requests.csv"])
            .args(words)
            .env(variable.0, variable.1)
            .output()
            .unwrap())
    };
    let none = ("POLLWHEEL_JOB", "");
    for (file, variable, words, code, why) in [
        (
            "limit = 0",
            none,
            &[][..],
            78,
            "error: config.toml:1:9: limit: ",
        ),
        (
            "",
            ("POLLWHEEL_LIMIT", "0"),
            &[],
            78,
            "error: POLLWHEEL_LIMIT: ",
        ),
        ("", none, &["--limit", "0"], 2, "error: --limit: "),
        (
            "",
            none,
            &["--poll-interval", "1s"],
            78,
            "error: --poll-interval: ",
        ),
        (
            "",
            none,
            &["--config", "none.toml"],
            78,
            "error: cannot read none.toml",
        ),
        (
            "",
            ("POLLWHEEL_API_TOKEN", "two words"),
            &[],
            78,
            "error: POLLWHEEL_API_TOKEN holds no account token",
        ),
        (
            "api_token_file = \"none\"",
            none,
            &[],
            78,
            "error: cannot read none",
        ),
    ] {
        let Ran {
            code: got,
            out,
            err,
        } = check(file, variable, words);
        assert_eq!((got, out.as_str()), (code, ""), "{why}: {err}");
        assert!(err.starts_with(why), "{err}");
    }
}

#[test]
fn a_run_without_an_account_token_is_78_and_leaves_nothing_behind() {
    let folder = folder_with(GOOD);
    let words = [
        "run",
        "--from",
        "requests.csv",
        "--to",
        "out.csv",
        "--authorized-site",
        "*.example.com",
    ];
    let Ran { code, out, err } = ran(pollwheel(folder.path()).args(words).output().unwrap());
    assert_eq!((code, out.as_str()), (78, ""));
    assert!(err.contains("set POLLWHEEL_API_TOKEN"), "{err}");
    assert!(!folder.path().join("out.csv").exists());
}

#[test]
fn status_of_a_run_that_never_was_is_65() {
    let Ran { code, out, err } = run(&["status", "results.csv"]);
    assert_eq!((code, out.as_str()), (65, ""));
    assert!(err.contains("results.csv.journal"), "{err}");
}

#[test]
fn a_reader_that_goes_away_is_no_fault() {
    let folder = folder_with(GOOD);
    let mut child = pollwheel(folder.path())
        .args([
            "check",
            "requests.csv",
            "--authorized-site",
            "*.example.com",
        ])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let mut err = String::new();
    child
        .stderr
        .take()
        .unwrap()
        .read_to_string(&mut err)
        .unwrap();
    assert_eq!((child.wait().unwrap().code(), err.as_str()), (Some(0), ""));
}
