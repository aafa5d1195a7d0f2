//! Workers on one queue: real processes, a real Redis, a real simulator.

use std::collections::HashMap;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use redis::Commands;
use serde_json::Value;

use super::{Api, Case, finish, number};

/// The list that producers push to, and the one that outcomes come to.
pub const QUEUE: &str = "solve:requests";
pub const RESULTS: &str = "solve:results";

/// Time between two looks, and how many there are: nothing takes as long unless it hangs.
const LOOK_EVERY: Duration = Duration::from_millis(20);
const LOOKS: u32 = 12_000;

/// A queue with its service and its workers.
pub struct Fleet<'a> {
    pub case: Case,
    pub api: &'a Api,
    /// What workers and verbs are told of Redis.
    pub url: String,
    /// Where a key is, for the test's own connections: a URL without TLS or password.
    pub place_of: Box<dyn Fn(&str) -> String + 'a>,
    /// The list that outcomes come to.
    pub results: String,
    /// Variables of every process.
    pub env: Vec<(&'static str, String)>,
    /// Arguments of every process.
    pub redis_args: Vec<String>,
    /// Arguments of every worker.
    pub args: Vec<String>,
    pub workers: Vec<Child>,
}

impl<'a> Fleet<'a> {
    pub fn new(api: &'a Api, redis_url: &str, args: &[&str]) -> Self {
        Self {
            case: Case::new(),
            api,
            url: redis_url.to_owned(),
            place_of: {
                let url = redis_url.to_owned();
                Box::new(move |_| url.clone())
            },
            results: RESULTS.to_owned(),
            env: Vec::new(),
            redis_args: Vec::new(),
            args: args.iter().map(|&a| a.to_owned()).collect(),
            workers: Vec::new(),
        }
    }

    /// A connection of the test's own, to where the queue is.
    pub fn redis(&self) -> redis::Connection {
        self.redis_of(QUEUE)
    }

    /// A connection of the test's own, to where this key is.
    fn redis_of(&self, key: &str) -> redis::Connection {
        redis::Client::open((self.place_of)(key).as_str())
            .and_then(|client| client.get_connection())
            .expect("Redis is there")
    }

    /// `pollwheel VERB --from redis:QUEUE` with what every worker is told.
    pub fn verb(&self, verb: &str) -> Command {
        let mut command = self.case.pollwheel(verb);
        command
            .args(["--from", &format!("redis:{QUEUE}")])
            .args(["--redis-url", &self.url])
            .args(&self.redis_args)
            .envs(self.env.clone());
        command
    }

    pub fn worker(&self) -> Command {
        self.at_work("work")
    }

    /// `run`, which ends when the queue is empty.
    pub fn run(&self) -> Command {
        self.at_work("run")
    }

    fn at_work(&self, verb: &str) -> Command {
        let mut command = self.verb(verb);
        command
            .args(["--to", &format!("redis:{}", self.results)])
            .args(["--base-url", &self.api.url])
            .args(["--authorized-site", "*.example.com"])
            .args(&self.args);
        command
    }

    /// Starts a worker more.
    pub fn start(&mut self) {
        let child = self
            .worker()
            .stderr(Stdio::inherit())
            .spawn()
            .expect("the binary starts");
        self.workers.push(child);
    }

    /// Ends worker `n` by a signal, and starts another.
    pub fn replace(&mut self, n: usize, with: &str) -> Option<i32> {
        let code = self.end(n, with);
        self.start();
        code
    }

    /// Ends worker `n` by a signal; the first is the oldest. One that is told to stop, and not killed,
    /// is given the time that it needs to listen.
    pub fn end(&mut self, n: usize, with: &str) -> Option<i32> {
        let mut child = self.workers.remove(n);
        if with == "-TERM" {
            super::wait_until_it_listens(&child);
        }
        super::signal(&child, with);
        child.wait().expect("it can be waited for").code()
    }

    /// Waits until so many workers are at work.
    pub fn wait_for_workers(&self, count: u64) {
        self.wait_until("workers", |fleet| {
            number(&fleet.status(), "workers") == count
        });
    }

    /// Waits until something is so.
    pub fn wait_until(&self, what: &str, is_so: impl Fn(&Self) -> bool) {
        for _ in 0..LOOKS {
            if is_so(self) {
                return;
            }
            std::thread::sleep(LOOK_EVERY);
        }
        panic!("still no {what}: {}", self.status());
    }

    /// Pushes messages as they are, the first of them to be taken first.
    pub fn push_raw<T: AsRef<[u8]>>(&self, messages: &[T]) {
        let mut redis = self.redis();
        for message in messages {
            let _: usize = redis
                .lpush(QUEUE, message.as_ref())
                .expect("it can be pushed");
        }
    }

    /// Pushes good requests with these numbers.
    pub fn push(&self, numbers: std::ops::Range<usize>) {
        let requests: Vec<String> = numbers.map(request).collect();
        let mut redis = self.redis();
        for chunk in requests.chunks(1000) {
            let _: usize = redis.lpush(QUEUE, chunk).expect("it can be pushed");
        }
    }

    /// `status --json`.
    pub fn status(&self) -> Value {
        let (code, out, err) = finish(self.verb("status").arg("--json"));
        assert_eq!(code, 0, "{err}");
        serde_json::from_str(&out).expect("the status is JSON")
    }

    /// How many outcomes there are.
    pub fn settled(&self) -> usize {
        self.redis_of(&self.results)
            .llen(&self.results)
            .expect("it is a list")
    }

    /// Waits until there are so many outcomes.
    pub fn wait_for(&self, outcomes: usize) {
        let mut redis = self.redis_of(&self.results);
        let mut settled = 0;
        for _ in 0..LOOKS {
            settled = redis.llen(&self.results).expect("it is a list");
            if settled >= outcomes {
                return;
            }
            std::thread::sleep(LOOK_EVERY);
        }
        panic!("{settled} of {outcomes} outcomes: {}", self.status());
    }

    /// All outcomes, oldest first.
    pub fn outcomes(&self) -> Vec<Value> {
        let texts: Vec<String> = self
            .redis_of(&self.results)
            .lrange(&self.results, 0, -1)
            .expect("it is a list");
        texts
            .iter()
            .rev()
            .map(|text| serde_json::from_str(text).expect("an outcome is JSON"))
            .collect()
    }

    /// Tells every worker to stop, and expects each to end well.
    pub fn stop(&mut self) {
        for child in &self.workers {
            super::wait_until_it_listens(child);
            super::signal(child, "-TERM");
        }
        for mut child in self.workers.drain(..) {
            let status = child.wait().expect("it can be waited for");
            assert_eq!(status.code(), Some(0), "a worker that is told to stop");
        }
    }

    /// Holds the outcomes of the requests `0..count` against the ledger. Returns the jobs that were
    /// made beyond what was needed.
    pub fn hold_against_ledger(&self, count: usize) -> u64 {
        let jobs: HashMap<String, Value> = self
            .api
            .jobs()
            .into_iter()
            .map(|job| (super::text_of(&job["job_id"]), job))
            .collect();
        let mut by_id: HashMap<String, Value> = HashMap::new();
        for outcome in self.outcomes() {
            let id = outcome["id"].as_str().expect("it has an id").to_owned();
            if outcome["status"] == "solved" {
                let job = jobs
                    .get(&super::text_of(&outcome["remote_id"]))
                    .unwrap_or_else(|| panic!("{id} has no job"));
                assert_eq!(outcome["token"], job["token"], "{id}");
                let url = format!("https://h.example.com/login?row={}", &id[1..]);
                assert_eq!(super::text_of(&job["url"]), url, "{id}");
            }
            assert_eq!(
                outcome["meta"]["big"].to_string(),
                "12345678901234567890",
                "{id}"
            );
            let twice = by_id.insert(id, outcome);
            assert!(twice.is_none(), "two outcomes: {twice:?}");
        }
        for n in 0..count {
            assert!(by_id.contains_key(&format!("r{n}")), "r{n} has no outcome");
        }
        assert_eq!(by_id.len(), count);
        let ledger = self.api.ledger();
        assert_eq!(number(&ledger, "creates_of_polled"), 0, "{ledger}");
        let status = self.status();
        let unknown = number(&status, "unknown_creates");
        let surplus = number(&ledger, "jobs") - count as u64 - number(&ledger, "failed");
        assert!(surplus <= unknown, "{ledger} {status}");
        surplus
    }
}

impl Drop for Fleet<'_> {
    fn drop(&mut self) {
        for child in &mut self.workers {
            // A stopped process takes a kill as well.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// What lets a test see within seconds what takes minutes otherwise.
pub fn quick(lease: &'static str, rate: &'static str) -> [&'static str; 9] {
    [
        "-q",
        "--poll-interval",
        "200ms",
        "--max-in-flight",
        "200",
        "--redis-lease",
        lease,
        "--submit-rate",
        rate,
    ]
}

/// The size of a test: what CI runs, or what the variable says.
pub fn size(variable: &str, usual: usize) -> usize {
    std::env::var(variable).map_or(usual, |text| text.parse().expect("a number"))
}

/// A good request.
pub fn request(n: usize) -> String {
    let job = if n.is_multiple_of(3) {
        "recaptcha-v2"
    } else {
        "hcaptcha"
    };
    format!(
        r#"{{"id":"r{n}","job":"{job}","website_url":"https://h.example.com/login?row={n}","website_key":"key-{n}","meta":{{"n":{n},"big":12345678901234567890}}}}"#
    )
}
