//! What the end-to-end tests share: the real binary, a real simulator over real sockets, real files.
#![allow(
    dead_code,
    unreachable_pub,
    missing_docs,
    reason = "a part of each test binary, which uses a part of it"
)]

pub mod access;
pub mod cluster;
pub mod fleet;
pub mod redis;
pub mod sentinel;

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use serde_json::Value;

/// The account token of all tests. Nothing that we emit may hold it.
pub const ACCOUNT: &str = "acc0unt-t0ken-of-the-tests";

/// Every way in which the service's network can misbehave, at rates that a bad day has.
pub const BAD_DAY: [&str; 10] = [
    "--latency",
    "20ms..200ms",
    "--solve-time",
    "100ms..900ms",
    "--fail-rate",
    "0.05",
    "--fault",
    "create:reset_before=0.02,reset_after=0.02,503=0.02,html=0.01,cut=0.01,429 retry-after=1=0.002",
    "--fault",
    "poll:reset_before=0.02,500=0.02,html=0.01,empty=0.01,cut=0.01",
];

/// A simulator in a process of its own.
pub struct Api {
    child: Child,
    pub url: String,
}

impl Api {
    /// Starts `pollwheel simulate` with these further arguments.
    pub fn start(args: &[&str]) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_pollwheel"))
            .args(["simulate", "--listen", "127.0.0.1:0"])
            .args(args)
            .stdout(Stdio::piped())
            .stdin(Stdio::null())
            .spawn()
            .expect("the simulator starts");
        let mut line = String::new();
        let stdout = child.stdout.take().expect("it was piped");
        BufReader::new(stdout)
            .read_line(&mut line)
            .expect("the simulator says where it listens");
        let url = line.trim().to_owned();
        assert!(url.starts_with("http://127.0.0.1:"), "no URL but {url:?}");
        Self { child, url }
    }

    /// The ledger's totals.
    pub fn ledger(&self) -> Value {
        let ledger: Value = serde_json::from_str(&self.get("/ledger")).expect("the ledger is JSON");
        ledger["totals"].clone()
    }

    /// Creates in each second since the simulator's start.
    pub fn creates_per_second(&self) -> Vec<u64> {
        let seconds: Value =
            serde_json::from_str(&self.get("/ledger/seconds")).expect("the seconds are JSON");
        let creates = seconds["creates"].as_array().expect("a list");
        creates
            .iter()
            .map(|n| n.as_u64().expect("a count"))
            .collect()
    }

    /// The ledger's jobs.
    pub fn jobs(&self) -> Vec<Value> {
        let lines = self.get("/ledger/jobs");
        lines
            .lines()
            .map(|line| serde_json::from_str(line).expect("a job is JSON"))
            .collect()
    }

    fn get(&self, path: &str) -> String {
        let address = self.url.strip_prefix("http://").expect("it is http");
        let mut stream = TcpStream::connect(address).expect("the simulator is there");
        write!(
            stream,
            "GET {path} HTTP/1.0\r\nHost: {address}\r\nConnection: close\r\n\r\n"
        )
        .expect("it listens");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("it answers");
        let (head, body) = answer.split_once("\r\n\r\n").expect("it speaks HTTP");
        assert!(head.contains("200"), "{head}");
        body.to_owned()
    }
}

impl Drop for Api {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A folder with an input and what becomes of it.
pub struct Case {
    pub folder: tempfile::TempDir,
}

impl Case {
    pub fn new() -> Self {
        Self {
            folder: tempfile::tempdir().expect("there is room for a folder"),
        }
    }

    /// A case whose input has `rows` good rows of both kinds, each with a URL of its own.
    pub fn with_rows(rows: usize) -> Self {
        let case = Self::new();
        case.write("in.csv", &rows_csv(0..rows));
        case
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn write(&self, name: &str, text: &str) {
        std::fs::write(self.path(name), text).expect("the folder can be written");
    }

    pub fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.path(name)).unwrap_or_else(|e| panic!("{name}: {e}"))
    }

    /// `pollwheel VERB` in this folder, with the tests' account and site.
    pub fn pollwheel(&self, verb: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_pollwheel"));
        for (name, _) in
            std::env::vars_os().filter(|(n, _)| n.to_string_lossy().starts_with("POLLWHEEL_"))
        {
            command.env_remove(name);
        }
        command
            .current_dir(self.folder.path())
            .arg(verb)
            .env("POLLWHEEL_API_TOKEN", ACCOUNT)
            .stdin(Stdio::null());
        command
    }

    /// `pollwheel run` from `in.csv` to `out.csv` against `api`.
    pub fn run(&self, api: &str, args: &[&str]) -> Command {
        let mut command = self.pollwheel("run");
        command
            .args(["--from", "in.csv", "--to", "out.csv", "--base-url", api])
            .args(["--authorized-site", "*.example.com"])
            .args(args);
        command
    }

    /// The output's rows.
    pub fn rows(&self) -> Vec<HashMap<String, String>> {
        rows(&self.path("out.csv"))
    }

    pub fn summary(&self) -> Value {
        serde_json::from_str(&self.read("summary.json")).expect("the summary is JSON")
    }
}

/// The rows of a CSV file by column.
pub fn rows(path: &Path) -> Vec<HashMap<String, String>> {
    let mut reader = csv::Reader::from_path(path).expect("there is an output");
    reader
        .deserialize()
        .map(|row| row.expect("the output is well-formed CSV"))
        .collect()
}

/// An input of good rows.
pub fn rows_csv(numbers: std::ops::Range<usize>) -> String {
    let mut text = "id,job,website_url,website_key,note\n".to_owned();
    for n in numbers {
        let job = if n % 3 == 0 {
            "recaptcha-v2"
        } else {
            "hcaptcha"
        };
        text.push_str(&format!(
            "r{n},{job},https://h{n}.example.com/login?row={n},key-{n},\"note, {n}\"\n"
        ));
    }
    text
}

/// Runs it to its end and gives code, stdout and stderr.
pub fn finish(command: &mut Command) -> (i32, String, String) {
    let Output {
        status,
        stdout,
        stderr,
    } = command.output().expect("the binary starts");
    let text = |bytes| String::from_utf8(bytes).expect("output is UTF-8");
    let (stdout, stderr) = (text(stdout), text(stderr));
    assert!(!stderr.contains("panicked"), "{stderr}");
    (status.code().unwrap_or(-1), stdout, stderr)
}

/// Sends a signal by its name, such as `-INT`, with the shell's own `kill`.
pub fn signal(child: &Child, signal: &str) {
    let status = Command::new("sh")
        .args(["-c", &format!("kill {signal} {}", child.id())])
        .status()
        .expect("there is a shell");
    assert!(status.success());
}

/// Waits until a process that was only just started would be ended by `SIGTERM` in its own way.
pub fn wait_until_it_listens(child: &Child) {
    let path = format!("/proc/{}/status", child.id());
    for _ in 0..12_000 {
        let status = std::fs::read_to_string(&path).expect("it was not waited for yet");
        let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:"));
        let caught = u64::from_str_radix(caught.expect("a mask").trim(), 16).expect("a number");
        if caught & (1 << 14) != 0 {
            return;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    panic!("process {} does not listen to signals", child.id());
}

/// Holds the guarantees against the ledger: each row once, its token the one that the API made for
/// it, no known job created again, creates within what was reported.
pub fn hold_against_ledger(case: &Case, api: &Api, rows: usize) {
    let summary = case.summary();
    let output = case.rows();
    // A row's remote id is the one of v1 or the one of v2.
    let jobs: HashMap<String, Value> = api
        .jobs()
        .into_iter()
        .flat_map(|job| {
            let ids = [text_of(&job["job_id"]), text_of(&job["task_id"])];
            ids.map(|id| (id, job.clone()))
        })
        .collect();
    let mut seen = std::collections::HashSet::new();
    for row in &output {
        assert!(seen.insert(row["id"].clone()), "{} stands twice", row["id"]);
        if row["status"] == "solved" {
            let job = jobs
                .get(&row["remote_id"])
                .unwrap_or_else(|| panic!("{row:?} has no job"));
            assert_eq!(row["token"], text_of(&job["token"]), "{}", row["id"]);
            assert_eq!(row["website_url"], text_of(&job["url"]), "{}", row["id"]);
        }
    }
    assert_eq!(output.len(), rows, "rows in the output");
    let ledger = api.ledger();
    // A create whose answer was delivered to a process that died before it could record the id is
    // one of unknown fate; one that was polled was recorded.
    assert_eq!(number(&ledger, "creates_of_polled"), 0, "{ledger}");
    let jobs = number(&ledger, "jobs");
    let (creates, unknown) = (
        number(&summary, "creates"),
        number(&summary, "unknown_creates"),
    );
    // A row that was refused at its create has no job, one of unknown creates alone need have none.
    let never_created =
        |row: &&HashMap<String, String>| row["attempts"] == "0" || row["error"] == "unknown_create";
    let never_created = output.iter().filter(never_created).count();
    assert!((rows - never_created) as u64 <= jobs, "{ledger}");
    assert!(
        jobs <= rows as u64 + number(&ledger, "failed") + unknown,
        "{ledger} {summary}"
    );
    assert!(jobs <= creates, "{ledger} {summary}");
    assert_eq!(number(&summary, "pending"), 0, "{summary}");
}

pub fn number(value: &Value, key: &str) -> u64 {
    value[key]
        .as_u64()
        .unwrap_or_else(|| panic!("no {key} in {value}"))
}

fn text_of(value: &Value) -> String {
    value
        .as_str()
        .map_or_else(|| value.to_string(), str::to_owned)
}
