//! The fault matrix: every way in which the service, the network or the clock can misbehave, at a create
//! and at a poll, in both protocols, over the real binary and real sockets. What becomes of the row, of
//! the run, and how often the row was created (by the simulator's ledger) is asserted cell by cell and
//! printed as the tables of `docs/faults.md`, which have to be the same (`UPDATE=1` writes them there).
//!
//! Three rows a cell; the fault meets the first one, or all of them where it is the network's or the
//! clock's. A run that ends early is started again by the same command.

mod rows;
#[path = "../support/mod.rs"]
mod support;

use std::collections::VecDeque;
use std::fmt::Write;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::time::Duration;

use rows::{ALWAYS, End, ONCE, Row, Way};
use support::{ACCOUNT, Api, Case, hold_against_ledger, number};
use tokio::time::Instant;

/// Longest time of a process: an exchange may take 30 s, a service that never answers is given up
/// after some 15 s.
const LONGEST: Duration = Duration::from_secs(75);
/// Cells at a time. Most of them wait most of the time.
const AT_ONCE: usize = 48;

/// A cell of a table.
#[derive(Clone)]
struct Cell {
    table: usize,
    row: usize,
    column: usize,
    endpoint: &'static str,
    protocol: &'static str,
    way: Way,
    end: End,
}

#[test]
fn every_fault_ends_as_it_should() {
    let tables = [("once", ONCE), ("always", ALWAYS)];
    let jump = clock_jump();
    let mut cells = Vec::new();
    for (table, (_, rows)) in tables.iter().enumerate() {
        for (row, Row { create, poll, .. }) in rows.iter().enumerate() {
            for (column, (endpoint, protocol, what)) in [
                ("create", "v1", create),
                ("create", "v2", create),
                ("poll", "v1", poll),
                ("poll", "v2", poll),
            ]
            .into_iter()
            .enumerate()
            {
                if let Some((way, end)) = *what {
                    cells.push(Cell {
                        table,
                        row,
                        column,
                        endpoint,
                        protocol,
                        way,
                        end,
                    });
                }
            }
        }
    }
    // The longest first, so that none is left to the end.
    cells.sort_by_key(|cell| match cell.way {
        Way::Once(fault) | Way::Always(fault) => !fault.contains("hang") && !fault.contains("40s"),
        Way::Elsewhere(..) | Way::ClockJumps(_) => false,
    });
    let work: Mutex<VecDeque<Cell>> = Mutex::new(cells.into());
    let done: Mutex<Vec<(Cell, String)>> = Mutex::default();
    std::thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                loop {
                    let Some(cell) = work.lock().expect("no cell panicked").pop_front() else {
                        return;
                    };
                    // What is wrong in one cell hides no other.
                    let said = catch_unwind(AssertUnwindSafe(|| cell.run(&jump)));
                    let said = said.unwrap_or_else(|_| "a panic, told above".to_owned());
                    done.lock().expect("no cell panicked").push((cell, said));
                }
            });
        }
    });
    let done = done.into_inner().expect("no cell panicked");
    let mut wrong = String::new();
    for (cell, said) in &done {
        let expected = cell.expected();
        if *said != expected {
            let fault = tables[cell.table].1[cell.row].fault;
            let (endpoint, protocol) = (cell.endpoint, cell.protocol);
            let _ = writeln!(
                wrong,
                "{fault}, at a {endpoint}, {protocol}:\n  expected {expected}\n  saw      {said}"
            );
        }
    }
    assert!(wrong.is_empty(), "\n{wrong}");
    for (table, (name, rows)) in tables.iter().enumerate() {
        let mut text = "| fault | create, v1 | create, v2 | poll, v1 | poll, v2 |\n| --- | --- | --- | --- | --- |\n".to_owned();
        for (row, Row { fault, .. }) in rows.iter().enumerate() {
            let _ = write!(text, "| {fault} |");
            for column in 0..4 {
                let is_it = |(cell, _): &&(Cell, String)| {
                    (cell.table, cell.row, cell.column) == (table, row, column)
                };
                let said = done.iter().find(is_it).map_or("", |(_, said)| said);
                let _ = write!(text, " {said} |");
            }
            text.push('\n');
        }
        print(&text);
        hold_against_the_docs(name, &text);
    }
}

/// On stdout, for whoever runs it with `--nocapture`.
#[expect(clippy::print_stdout, reason = "the table is there to be read")]
fn print(table: &str) {
    println!("{table}");
}

/// The table stands in the docs between two comments, letter for letter.
fn hold_against_the_docs(name: &str, table: &str) {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/faults.md");
    let text = std::fs::read_to_string(path).expect("there is docs/faults.md");
    let begin = format!("<!-- begin {name} -->\n");
    let end = format!("<!-- end {name} -->\n");
    let at = text.find(&begin).expect("the table has its place") + begin.len();
    let to = text.find(&end).expect("the table's place has an end");
    if std::env::var_os("UPDATE").is_some() {
        let text = format!("{}{table}{}", &text[..at], &text[to..]);
        std::fs::write(path, text).expect("the docs can be written");
    } else {
        assert_eq!(&text[at..to], table, "docs/faults.md: run with UPDATE=1");
    }
}

impl Cell {
    /// What the table has to say.
    fn expected(&self) -> String {
        let left = match self.endpoint {
            "create" => "to go",
            _ => "waits",
        };
        match self.end {
            End::Solved => said("solved", 0, 1, 0),
            End::Doubted(jobs) => said("solved", 0, jobs, 1),
            End::Stops(code) => {
                format!("{left}, exit {code}; next run: {}", said("solved", 0, 1, 0))
            }
            End::Fails(error, jobs) => said(&format!("failed, `{error}`"), 1, jobs, 0),
            End::FailsInDoubt => IN_DOUBT.to_owned(),
            End::Left(code, unknown) => format!("{left}, exit {code}{}", doubts(unknown)),
        }
    }

    /// Runs until all rows are settled, and says what became of the first one.
    fn run(&self, jump: &Path) -> String {
        let case = Case::new();
        let mut rows = "id,job,website_url,website_key\n".to_owned();
        for n in 0..3 {
            let _ = writeln!(rows, "r{n},recaptcha-v2,https://h.example.com/?row={n},key");
        }
        case.write("in.csv", &rows);
        let endpoint = self.endpoint;
        let script = match self.way {
            Way::Once(fault) => format!("{endpoint} url~=row=0 #1: {fault}\n"),
            Way::Always(fault) => format!("{endpoint} url~=row=0: {fault}\n"),
            Way::ClockJumps(_) => format!("{endpoint} url~=row=0 #1: delay for=3s\n"),
            Way::Elsewhere(..) => String::new(),
        };
        case.write("script", &script);
        let script = case.path("script");
        let api = Api::start(&[
            "--solve-time",
            "10ms",
            "--latency",
            "0ms",
            "--script",
            script.to_str().expect("UTF-8"),
        ]);
        let good = match self.protocol {
            "v2" => format!("{}/v2", api.url),
            _ => api.url.clone(),
        };
        let start = Instant::now();
        let (code, stderr) = match self.way {
            Way::Elsewhere(url, words) => self.elsewhere(&case, &api, &good, url, words),
            Way::ClockJumps(days) => {
                let mut command = self.command(&case, &good, &[]);
                command
                    .env("LD_PRELOAD", jump)
                    .env("CLOCK_JUMP_S", (days * 86_400).to_string())
                    .env("CLOCK_JUMP_AFTER_MS", "1500");
                let ended = end(&mut command);
                let rows = case.rows();
                let row = rows.iter().find(|row| row["id"] == "r0");
                let finished = &row.expect("its row")["finished_at"];
                let year = &finished[..4];
                let now = &jiff::Timestamp::now().to_string()[..4];
                assert_ne!(year, now, "the clock did not jump: {finished}");
                let took = start.elapsed();
                assert!(took < Duration::from_secs(20), "{took:?}");
                ended
            }
            Way::Once(_) | Way::Always(_) => end(&mut self.command(&case, &good, &[])),
        };
        let mut text = String::new();
        let is_always = matches!(self.way, Way::Always(_));
        let code = if code > 1 && is_always {
            assert!(stderr.contains("to go on"), "{stderr}");
            assert_polite(&api, is_always);
            let left = state(&case.path("out.csv.journal"));
            let unknown = number(&case.summary(), "unknown_creates");
            return format!("{left}, exit {code}{}", doubts(unknown));
        } else if code > 1 {
            let left = state(&case.path("out.csv.journal"));
            let _ = write!(text, "{left}, exit {code}; next run: ");
            assert!(stderr.contains("to go on"), "{stderr}");
            end(&mut self.command(&case, &good, &[])).0
        } else {
            code
        };
        hold_against_ledger(&case, &api, 3);
        assert_polite(&api, is_always);
        let all = case.rows();
        let row = all.iter().find(|row| row["id"] == "r0").expect("its row");
        let others = all.iter().filter(|row| row["status"] == "solved").count();
        assert!(others >= 2, "{all:?}");
        let how = match row["error"].as_str() {
            "" => row["status"].clone(),
            error => format!("{}, `{error}`", row["status"]),
        };
        let is_of_row = |job: &&serde_json::Value| {
            job["url"]
                .as_str()
                .is_some_and(|url| url.ends_with("row=0"))
        };
        let jobs = api.jobs().iter().filter(is_of_row).count() as u64;
        let unknown = number(&case.summary(), "unknown_creates");
        if how == "failed, `unknown_create`" && code == 1 && unknown >= 3 && jobs <= unknown {
            return IN_DOUBT.to_owned();
        }
        text + &said(&how, code, jobs, unknown)
    }

    /// A run that does not reach the service: to create, or to poll what an earlier run created.
    fn elsewhere(
        &self,
        case: &Case,
        api: &Api,
        good: &str,
        url: &str,
        words: &[&str],
    ) -> (i32, String) {
        let port = api.url.rsplit(':').next().expect("a port");
        let bad = format!(
            "{}{}",
            url.replace("PORT", port),
            good.strip_prefix(&api.url).expect("it begins so")
        );
        if self.endpoint == "poll" {
            // Nothing is polled in this run. Then the jobs' API moves to where it cannot be reached.
            let args = [
                "--poll-interval",
                "1m",
                "--max-runtime",
                "2s",
                "--drain-timeout",
                "0s",
            ];
            let (code, stderr) = end(&mut self.command(case, good, &args));
            assert_eq!(code, 3, "{stderr}");
            assert_eq!(number(&api.ledger(), "jobs"), 3);
            move_api(&case.path("out.csv.journal"), &bad);
        }
        // Further away than this machine the floor is 2 s.
        let slow = ["--poll-interval", "2s"];
        let args = if url.contains("127.0.0.1") {
            &[][..]
        } else {
            &slow
        };
        let (code, stderr) = end(&mut self.command(case, &bad, args));
        assert!(words.iter().any(|word| stderr.contains(word)), "{stderr}");
        if self.endpoint == "poll" {
            assert_eq!(number(&case.summary(), "pending"), 3, "{stderr}");
            move_api(&case.path("out.csv.journal"), good);
        }
        (code, stderr)
    }

    fn command(&self, case: &Case, url: &str, args: &[&str]) -> Command {
        let mut command = case.run(url, &["--protocol", self.protocol]);
        command.args(["--summary", "summary.json"]);
        if !args.contains(&"--poll-interval") {
            command.args(["--poll-interval", "50ms"]);
        }
        if let Way::Always(_) = self.way {
            // The other rows come later, so that they have success after the first fault.
            command.args(["--submit-rate", "2/s", "--timeout", "2s"]);
            command.args(["--max-runtime", "20s", "--drain-timeout", "0s"]);
        } else {
            command.args(["--submit-rate", "50/s"]);
        }
        // No test depends on the authorities of the machine, nor waits long for its resolver.
        let authority = concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/tests/fault_matrix/authority.pem"
        );
        command.env("SSL_CERT_FILE", authority);
        command.env("RES_OPTIONS", "timeout:1 attempts:1");
        command.args(args);
        command
    }
}

/// A cell's text.
fn said(how: &str, code: i32, jobs: u64, unknown: u64) -> String {
    let jobs = match jobs {
        0 => "not created".to_owned(),
        1 => "created once".to_owned(),
        2 => "created twice".to_owned(),
        n => format!("created {n} times"),
    };
    format!("{how}, exit {code}, {jobs}{}", doubts(unknown))
}

fn doubts(unknown: u64) -> String {
    match unknown {
        0 => String::new(),
        n => format!(", {n} unknown"),
    }
}

/// The text where how often depends on chance: backoffs are drawn.
const IN_DOUBT: &str = "failed, `unknown_create`, exit 1, created as often as unknown at most";

/// Nothing loops without a wait.
fn assert_polite(api: &Api, is_always: bool) {
    let creates = if is_always { 40 } else { 3 };
    let ledger = api.ledger();
    let most = number(&ledger, "most_creates_of_a_request");
    assert!(most <= creates, "{ledger}");
    assert!(number(&ledger, "polls") <= 60, "{ledger}");
    // A last poll comes right at the deadline, which may be sooner than the interval says.
    let gap = ledger["min_poll_gap_ms"].as_u64().unwrap_or(u64::MAX);
    assert!(gap >= 50 || is_always, "{ledger}");
}

/// Runs a command to its end, which must come. Gives its code and stderr.
fn end(command: &mut Command) -> (i32, String) {
    let log = tempfile::NamedTempFile::new().expect("there is room for a log");
    let file = log.reopen().expect("it can be opened");
    let mut child = command
        .stdout(Stdio::null())
        .stderr(file)
        .spawn()
        .expect("the binary starts");
    let start = Instant::now();
    let status = loop {
        if let Some(status) = child.try_wait().expect("it can be asked") {
            break status;
        }
        if start.elapsed() > LONGEST {
            let _ = child.kill();
            let _ = child.wait();
            let said = std::fs::read_to_string(log.path()).unwrap_or_default();
            panic!("it does not end: {command:?}\n{said}");
        }
        std::thread::sleep(Duration::from_millis(20));
    };
    let stderr = std::fs::read_to_string(log.path()).expect("it is UTF-8");
    assert!(!stderr.contains("panicked"), "{stderr}");
    assert!(!stderr.contains(ACCOUNT), "{stderr}");
    (status.code().unwrap_or(-1), stderr)
}

/// What the journal says of the first row while it has no outcome.
fn state(journal: &Path) -> &'static str {
    let db = rusqlite::Connection::open(journal).expect("there is a journal");
    let select = "SELECT state FROM job WHERE id = 'r0'";
    match db.query_row(select, [], |row| row.get::<_, String>(0)) {
        Ok(state) if state == "waiting" => "waits",
        Ok(state) if state == "queued" => "to go",
        Ok(state) => panic!("r0 is {state}"),
        Err(rusqlite::Error::QueryReturnedNoRows) => "to go",
        Err(error) => panic!("{error}"),
    }
}

/// Makes the jobs of a journal jobs of another place. Only a test may: it is a lie.
fn move_api(journal: &Path, url: &str) {
    let db = rusqlite::Connection::open(journal).expect("there is a journal");
    let moved = db.execute("UPDATE api SET base_url = ?1", [url]);
    assert_eq!(moved.expect("it can be written"), 1);
}

/// Compiles the library that makes a process's clock jump.
fn clock_jump() -> PathBuf {
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR"));
    let library = folder.join("clock_jump.so");
    let source = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/tests/fault_matrix/clock_jump.c"
    );
    let built = Command::new("cc")
        .args(["-shared", "-fPIC", "-O1", "-o"])
        .arg(&library)
        .arg(source)
        .status()
        .expect("there is a C compiler, which the crates need as well");
    assert!(built.success(), "{source} does not compile");
    library
}
