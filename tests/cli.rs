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
            &["run", "--from", "redis:jobs", "--to", "b.csv"],
            "not in this version",
        ),
        (
            &["run", "--from", "a.csv", "--to", "redis://host"],
            "--redis-url",
        ),
        (&["status", "redis:jobs"], "not in this version"),
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
