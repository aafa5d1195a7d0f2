use super::*;
use crate::simulator::{JobIds, LedgerDetail, Shapes};

const CREATE: &str = "/api/createJob";
const POLL: &str = "/api/getJobResult";

/// A brain with a clock in the test's hand.
struct Bench {
    brain: Brain,
    now: Instant,
}

impl Bench {
    fn new(change: impl FnOnce(&mut SimulatorSettings)) -> Self {
        let mut settings = SimulatorSettings::exact(Duration::from_secs(5));
        change(&mut settings);
        let now = Instant::now();
        let wall = "2026-11-22T10:00:00Z".parse().unwrap();
        Self {
            brain: Brain::new(settings, now, wall),
            now,
        }
    }

    fn scripted(script: &str) -> Self {
        Self::new(|s| s.script = script.parse().unwrap())
    }

    fn pass(&mut self, seconds: f64) {
        self.now += Duration::from_secs_f64(seconds);
    }

    fn post(&mut self, path: &str, body: &str) -> Reaction {
        self.brain
            .handle(self.now, &HttpRequest::post_json(path, body.as_bytes()))
    }

    /// Exchanges, delivers, and gives status and body.
    fn told(&mut self, path: &str, body: &str) -> (u16, String) {
        let reaction = self.post(path, body);
        if let Some(receipt) = reaction.receipt {
            self.brain.delivered(self.now, receipt);
        }
        match reaction.effect {
            Effect::Answer(reply) => (
                reply.status,
                String::from_utf8(reply.body.to_vec()).unwrap(),
            ),
            other => (0, format!("{other:?}")),
        }
    }

    fn create(&mut self, row: u32) -> String {
        self.told(CREATE, &create_body(row)).1
    }

    fn poll(&mut self, id: u64) -> String {
        self.told(POLL, &format!(r#"{{"api_token":"t","job_id":{id}}}"#))
            .1
    }

    fn balance(&mut self) -> String {
        self.told("/api/getBalance", r#"{"api_token":"t"}"#).1
    }
}

fn create_body(row: u32) -> String {
    format!(
        r#"{{"api_token":"t","data":{{"type_job_id":"1","websiteURL":"https://a.example.com/#{row}","websiteKey":"k"}}}}"#
    )
}

#[test]
fn a_job_is_pending_until_its_time_and_then_stays_solved() {
    let mut bench = Bench::new(|_| {});
    assert!(bench.create(1).contains("\"job_id\": 1,"));
    bench.pass(4.999);
    assert!(bench.poll(1).contains("running"));
    bench.pass(0.001);
    let solved = bench.poll(1);
    assert!(solved.contains(&bench.brain.token_of(1)), "{solved}");
    bench.pass(1000.0);
    assert_eq!(bench.poll(1), solved);
    assert_eq!(bench.brain.ledger().totals().polls_after_end, 1);
}

#[test]
fn a_failure_is_refunded_once() {
    let mut bench = Bench::new(|s| {
        s.fail_rate = 1.0;
        s.balance = Some(Micros(600));
    });
    bench.create(1);
    assert!(bench.balance().contains("\"0.00005\""));
    assert!(bench.create(2).contains("not enough"));
    bench.pass(5.0);
    assert!(bench.poll(1).contains("\"fail\""));
    assert!(bench.poll(1).contains("\"fail\""));
    assert!(bench.balance().contains("\"0.00060\""));
    assert!(bench.create(2).contains("\"job_id\": 2,"));
    let totals = bench.brain.ledger().totals();
    assert_eq!(
        (totals.jobs, totals.refused, totals.billed_micros),
        (2, 1, 550)
    );
}

#[test]
fn a_never_ending_job_stays_pending() {
    let mut bench = Bench::new(|s| s.never_rate = 1.0);
    bench.create(1);
    bench.pass(1e6);
    assert!(bench.poll(1).contains("running"));
}

#[test]
fn an_unknown_job_is_refused_or_adopted() {
    let mut bench = Bench::new(|_| {});
    assert!(bench.poll(77).contains("Job not found."));
    assert_eq!(bench.brain.ledger().totals().unknown_jobs, 1);

    let mut bench = Bench::new(|s| {
        s.adopt_unknown = true;
        s.first_job_id = Some(77);
    });
    assert!(bench.poll(77).contains("running"));
    bench.pass(5.0);
    assert!(bench.poll(77).contains("success"));
    let job = bench.brain.ledger().job(77).unwrap();
    assert!(job.adopted);
    assert_eq!(job.billed, Micros::ZERO);
    // What is made later does not take its id.
    assert!(bench.create(1).contains("\"job_id\": 78,"));
}

#[test]
fn ids_from_the_clock_differ_from_process_to_process() {
    let mut bench = Bench::new(|s| s.first_job_id = None);
    assert!(bench.create(1).contains("\"job_id\": 1795341600000000,"));
}

#[test]
fn ids_as_strings_go_the_whole_way() {
    let mut bench = Bench::new(|s| s.job_ids = JobIds::Strings);
    assert!(bench.create(1).contains("\"job_id\": \"job-1\","));
    assert!(bench.poll(1).contains("must be a string"));
    bench.pass(5.0);
    let (_, body) = bench.told(POLL, r#"{"api_token":"t","job_id":"job-1"}"#);
    assert!(body.contains("success"));
}

#[test]
fn wrong_paths_and_methods() {
    let mut bench = Bench::new(|_| {});
    for path in [
        "/createJob",
        "/api/createjob",
        "/api/createJob/",
        "/v2/createJob",
        "/v2/getService",
        "/",
    ] {
        let (status, body) = bench.told(path, &create_body(1));
        assert_eq!(status, 404, "{path}");
        assert!(body.starts_with("<!DOCTYPE html>"));
    }
    let get = HttpRequest {
        method: "GET",
        ..HttpRequest::post_json(CREATE, b"")
    };
    let reaction = bench.brain.handle(bench.now, &get);
    assert!(matches!(
        reaction.effect,
        Effect::Answer(Reply { status: 405, .. })
    ));
    assert_eq!(bench.brain.ledger().totals().jobs, 0);
}

#[test]
fn a_refused_request_makes_no_job_and_costs_nothing() {
    let mut bench = Bench::new(|s| s.balance = Some(Micros(5_000)));
    let misspelt = create_body(1).replace("websiteURL", "website_url");
    assert!(
        bench
            .told(CREATE, &misspelt)
            .1
            .contains("websiteURL field is required")
    );
    assert_eq!(bench.brain.ledger().totals().refused, 1);
    assert_eq!(bench.brain.ledger().totals().jobs, 0);
    assert_eq!(bench.brain.balance(), Some(Micros(5_000)));
}

#[test]
fn each_fault_acts_or_does_not_and_is_counted() {
    for (fault, jobs, delivered, looks) in [
        ("refuse_connection", 0, false, "RefuseConnection"),
        ("reset_before", 0, false, "Reset"),
        ("reset_after", 1, false, "Reset"),
        ("429", 0, false, "Too Many"),
        ("503", 0, false, "<!DOCTYPE html>"),
        ("503_after body=json", 1, false, "Server Error"),
        ("520 body=empty", 0, false, ""),
        ("html", 0, false, "<!DOCTYPE html>"),
        ("html_after", 1, false, "<!DOCTYPE html>"),
        ("empty_after", 1, false, ""),
        ("cut", 1, false, "CutShort"),
        ("slow", 1, true, "Slow"),
        ("delay", 1, true, "job_id"),
        ("hang", 0, false, "Hang"),
        ("hang_after", 1, false, "Hang"),
        ("wrong_type", 1, true, "job_id"),
        ("huge", 1, false, "job_id"),
        ("no_id", 1, false, "Create job success."),
        ("no_balance", 0, false, "balance is not enough"),
        ("bad_token", 0, false, "Invalid api token."),
        ("blocked", 0, false, "blocked"),
        ("refuse \"So sorry.\"", 0, false, "So sorry."),
    ] {
        let mut bench = Bench::scripted(&format!("create: {fault}"));
        let (_, body) = bench.told(CREATE, &create_body(1));
        assert!(body.contains(looks), "{fault}: {body}");
        let ledger = bench.brain.ledger();
        assert_eq!(ledger.totals().jobs, jobs, "{fault}");
        let known = ledger.job(1).is_some_and(|job| job.answer_delivered);
        assert_eq!(known, delivered, "{fault}");
        let name = fault.split(' ').next().unwrap();
        assert_eq!(ledger.totals().faults[&format!("create:{name}")], 1);
    }
}

#[test]
fn faults_of_polls() {
    let mut bench = Bench::scripted(
        "poll #1: unknown_status\npoll #2: empty_result\npoll #3: unknown_job\npoll #4: cut",
    );
    bench.create(1);
    bench.pass(5.0);
    assert!(bench.poll(1).contains("queued_for_review"));
    assert_eq!(bench.brain.ledger().job(1).unwrap().told, Told::Nothing);
    assert!(bench.poll(1).contains("\"result\": \"\""));
    assert_eq!(bench.brain.ledger().job(1).unwrap().told, Told::Failed);
    assert!(bench.poll(1).contains("Job not found."));
    assert!(bench.poll(1).contains("CutShort"));
    assert!(bench.poll(1).contains("success"));
}

#[test]
fn a_job_said_to_be_lost_may_be_created_again() {
    let mut bench = Bench::scripted("poll #1: unknown_job");
    bench.create(1);
    bench.poll(1);
    bench.create(1);
    assert_eq!(bench.brain.ledger().totals().creates_of_known, 0);
    bench.create(1);
    assert_eq!(bench.brain.ledger().totals().creates_of_known, 1);
    assert_eq!(bench.brain.ledger().totals().most_creates_of_a_request, 3);
}

#[test]
fn a_script_finds_rows_jobs_and_times() {
    let mut bench = Bench::scripted(
        "create url~=#2 #1: reset_after\npoll job 3 #1..#2: 500\ncreate from 10s to 20s: 503\n\
         poll each #3: 502",
    );
    assert!(bench.create(1).contains("job_id"));
    assert_eq!(bench.create(2), "Reset");
    assert!(bench.create(2).contains("\"job_id\": 3,"));
    assert!(bench.poll(1).contains("running"));
    assert!(bench.poll(3).contains("<h1>"));
    assert!(bench.poll(3).contains("<h1>"));
    assert!(bench.poll(3).contains("502 Bad Gateway"));
    assert!(bench.poll(3).contains("running"));
    bench.pass(10.0);
    assert!(bench.create(9).contains("503"));
    bench.pass(10.0);
    assert!(bench.create(9).contains("job_id"));
}

#[test]
fn retry_after_as_a_date_is_from_the_wall_clock() {
    let mut bench = Bench::scripted("create: 429 retry-after=date+90s");
    bench.pass(30.0);
    let reaction = bench.post(CREATE, &create_body(1));
    let Effect::Answer(reply) = reaction.effect else {
        panic!("no answer");
    };
    assert_eq!(
        reply.retry_after.as_deref(),
        Some("Sun, 22 Nov 2026 10:02:00 GMT")
    );
}

/// All that a brain answers to a fixed sequence of requests.
fn transcript(seed: u64) -> Vec<String> {
    let mut bench = Bench::new(|s| {
        s.seed = seed;
        s.solve_time = "lognormal:8s,0.5".parse().unwrap();
        s.latency = "10ms..50ms".parse().unwrap();
        s.shapes = Shapes::All;
        s.fail_rate = 0.2;
        s.never_rate = 0.1;
        s.rates = "any:503=0.1,html=0.1,cut=0.1".parse().unwrap();
    });
    let mut lines = Vec::new();
    for round in 0..40 {
        let create = bench.post(CREATE, &create_body(round));
        let poll = format!(r#"{{"api_token":"t","job_id":{}}}"#, round / 2 + 1);
        let polled = bench.post(POLL, &poll);
        for reaction in [create, polled] {
            let body = match &reaction.effect {
                Effect::Answer(reply) => String::from_utf8_lossy(&reply.body).into_owned(),
                _ => String::new(),
            };
            lines.push(format!("{reaction:?} {body}"));
        }
        bench.pass(1.5);
    }
    lines
}

#[test]
fn the_seed_decides_everything() {
    let one = transcript(7);
    assert_eq!(one, transcript(7));
    assert_ne!(one, transcript(8));
    for word in ["success", "fail", "CutShort", "503", "Just a moment"] {
        assert!(one.iter().any(|line| line.contains(word)), "{word}");
    }
}

#[test]
fn a_jobs_fate_does_not_depend_on_the_polls() {
    let fates = |polls: u64| {
        let mut bench = Bench::new(|s| {
            s.solve_time = "1s..9s".parse().unwrap();
            s.fail_rate = 0.5;
        });
        for row in 0..20 {
            bench.create(row);
            for _ in 0..polls {
                bench.poll(1);
            }
        }
        let jobs = bench.brain.ledger().jobs();
        let start = bench.brain.started_at;
        let fate = |job: &&JobRecord| match job.end {
            JobEnd::Solved(at) => (true, at - start),
            JobEnd::Failed(at) => (false, at - start),
            JobEnd::Never => unreachable!(),
        };
        jobs.iter().map(fate).collect::<Vec<_>>()
    };
    assert_eq!(fates(0), fates(3));
}

#[test]
fn rates_of_failing_and_never_ending_jobs() {
    let mut bench = Bench::new(|s| {
        s.fail_rate = 0.3;
        s.never_rate = 0.1;
    });
    for row in 0..4000 {
        bench.create(row);
    }
    let jobs = bench.brain.ledger().jobs();
    let failing = jobs
        .iter()
        .filter(|j| matches!(j.end, JobEnd::Failed(_)))
        .count();
    let endless = jobs.iter().filter(|j| j.end == JobEnd::Never).count();
    assert!((1080..1320).contains(&failing), "{failing}");
    assert!((320..480).contains(&endless), "{endless}");
}

#[test]
fn no_account_token_is_told_by_anything() {
    let secret = "s3cret-account-token";
    let mut bench = Bench::new(|s| {
        s.accepted_tokens = vec![crate::api::AccountToken::try_new(secret).unwrap()];
    });
    let mut said = vec![bench.create(1)];
    said.push(
        bench
            .told(
                CREATE,
                &create_body(2).replace("\"t\"", &format!("\"{secret}\"")),
            )
            .1,
    );
    said.push(
        bench
            .told(
                CREATE,
                &format!("{{\"{secret}\":1,\"api_token\":\"{secret}\"}}"),
            )
            .1,
    );
    said.push(format!("{:?}", bench.brain));
    said.push(bench.brain.totals_json());
    said.push(bench.brain.jobs_json_lines(bench.now));
    assert!(said[1].contains("\"job_id\": 1,"));
    for text in said {
        assert!(!text.contains(secret), "{text}");
    }
}

#[test]
fn the_books_are_json() {
    let mut bench = Bench::new(|s| s.ledger = LedgerDetail::Full);
    bench.create(1);
    bench.pass(2.5);
    bench.poll(1);
    bench.pass(2.5);
    bench.poll(1);
    let totals: serde_json::Value = serde_json::from_str(&bench.brain.totals_json()).unwrap();
    assert_eq!(totals["totals"]["jobs"], 1);
    assert_eq!(totals["totals"]["min_poll_gap_ms"], 2500);
    assert_eq!(totals["polls_of_a_job"]["max"], 2);
    let lines = bench.brain.jobs_json_lines(bench.now);
    let job: serde_json::Value = serde_json::from_str(lines.trim()).unwrap();
    assert_eq!(job["job_id"], 1);
    assert_eq!(job["tag"], "1");
    assert_eq!(job["state"], "solved");
    assert_eq!(job["told"], "solved");
    assert_eq!(job["min_gap_ms"], 2500.0);
    assert_eq!(job["token"], bench.brain.token_of(1));
    let lines = bench.brain.requests_json_lines();
    let request: serde_json::Value = serde_json::from_str(lines.trim()).unwrap();
    assert_eq!(request["creates"], 1);
}

#[test]
fn v2_has_the_same_jobs_balance_and_faults() {
    const ID: &str = "00000000-0000-4000-8000-000000000001";
    let create = r#"{"clientKey":"t","task":{"type":"RecaptchaV2TokenTask","websiteURL":"https://a.example.com/#1","websiteKey":"k"}}"#;
    let poll = format!(r#"{{"clientKey":"t","taskId":"{ID}"}}"#);
    let mut bench = Bench::new(|s| {
        s.balance = Some(Micros(600));
        s.script = "create #3: bad_token\npoll #2: empty_result"
            .parse()
            .unwrap();
    });
    let (status, body) = bench.told("/v2/createTask", create);
    assert_eq!(
        (status, body),
        (200, format!(r#"{{"errorId": 0, "taskId": "{ID}"}}"#))
    );
    let (_, body) = bench.told("/v2/createTask", create);
    assert!(body.contains("ERROR_ZERO_BALANCE"), "{body}");
    let (_, body) = bench.told("/v2/createTask", create);
    assert!(body.contains("ERROR_KEY_DOES_NOT_EXIST"), "{body}");
    let (_, body) = bench.told("/v2/getBalance", r#"{"clientKey":"t"}"#);
    assert!(body.contains(r#""balance": 0.00005,"#), "{body}");
    assert!(bench.balance().contains("0.00005"), "v1 knows the same");
    let (_, body) = bench.told("/getTaskResult", &poll);
    assert!(body.contains("processing"), "{body}");
    assert!(
        bench
            .told("/getTaskResult", &poll)
            .1
            .contains(r#""solution": {}"#)
    );
    bench.pass(5.0);
    let (_, body) = bench.told("/v2/getTaskResult", &poll);
    assert!(body.contains(&bench.brain.token_of(1)), "{body}");
    assert!(
        bench.poll(1).contains(&bench.brain.token_of(1)),
        "v1 knows it too"
    );
    let (_, body) = bench.told("/v2/getTaskResult", &poll.replace(ID, "x"));
    assert!(body.contains("ERROR_NO_SUCH_CAPCHA_ID"), "{body}");
    assert_eq!(bench.told("/v2/getService", "{}").0, 404);
    let jobs = bench.brain.jobs_json_lines(bench.now);
    assert!(jobs.contains(&format!(r#""task_id":"{ID}""#)), "{jobs}");
}
