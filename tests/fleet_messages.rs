//! What producers push: bad messages, ids that come again, deadlines, and where outcomes go.

mod support;

use std::collections::HashMap;
use std::time::Duration;

use redis::Commands;
use serde_json::{Value, json};

use support::fleet::{Fleet, QUEUE, RESULTS, quick, size};
use support::redis::RedisServer;
use support::{Api, finish, number};

/// A service that solves whatever it is given, at once.
fn quick_api() -> Api {
    Api::start(&["--latency", "0ms..5ms", "--solve-time", "50ms..200ms"])
}

/// A good request with members more.
fn with(id: &str, more: &str) -> String {
    format!(
        r#"{{"id":"{id}","job":"hcaptcha","website_url":"https://h.example.com/?{id}","website_key":"k"{more}}}"#
    )
}

/// The only outcome under this id.
fn of<'a>(outcomes: &'a [Value], id: &str) -> &'a Value {
    let all: Vec<&Value> = outcomes.iter().filter(|o| o["id"] == id).collect();
    assert_eq!(all.len(), 1, "{id}: {all:?}");
    all[0]
}

/// Drains the queue.
fn drain(fleet: &Fleet<'_>) -> i32 {
    let (code, _, err) = finish(&mut fleet.run());
    assert!(code <= 1, "{code}: {err}");
    code
}

#[test]
fn a_bad_message_is_rejected_with_its_reason() {
    let nested = |deep: usize| format!("{}{}", "[".repeat(deep), "]".repeat(deep));
    let big = "x".repeat(100_000);
    let huge = "x".repeat(5_000_000);
    // Id and class of the outcome, a part of its reason.
    let bad: Vec<(Vec<u8>, Option<&str>, &str, &str)> = vec![
        ("".into(), None, "invalid_request", "is not JSON"),
        ("nonsense".into(), None, "invalid_request", "is not JSON"),
        (
            "[]".into(),
            None,
            "invalid_request",
            "must be a JSON object",
        ),
        (
            "null".into(),
            None,
            "invalid_request",
            "must be a JSON object",
        ),
        (vec![0; 40], None, "invalid_request", "is not JSON"),
        (vec![0xff; 41], None, "invalid_request", "is not UTF-8"),
        (
            [with("utf8", "").as_bytes(), b"\xff"].concat(),
            Some("utf8"),
            "invalid_request",
            "is not UTF-8",
        ),
        (
            with("nul", ",\"meta\":\0").into(),
            Some("nul"),
            "invalid_request",
            "is not JSON",
        ),
        (
            with("cut", "").replace("\"}", "").into(),
            Some("cut"),
            "invalid_request",
            "is not JSON",
        ),
        (
            with("big", &format!(r#","meta":"{big}""#)).into(),
            Some("big"),
            "invalid_request",
            "longer than 64 KiB",
        ),
        (
            with("huge", &format!(r#","meta":"{huge}""#)).into(),
            Some("huge"),
            "invalid_request",
            "longer than 64 KiB",
        ),
        (
            huge.clone().into(),
            None,
            "invalid_request",
            "longer than 64 KiB",
        ),
        (
            with("deep", &format!(r#","meta":{}"#, nested(5_000))).into(),
            Some("deep"),
            "invalid_request",
            "nested deeper than",
        ),
        (
            nested(30_000).into(),
            None,
            "invalid_request",
            "must be a JSON object",
        ),
        (
            "[".repeat(60_000).into(),
            None,
            "invalid_request",
            "must be a JSON object",
        ),
        (
            with("twice", r#","job":"hcaptcha""#).into(),
            Some("twice"),
            "invalid_request",
            "`job` stands twice",
        ),
        (
            with("ids", r#","id":"ids""#).into(),
            None,
            "invalid_request",
            "`id` stands twice",
        ),
        (
            with("kind", "").replace("hcaptcha", "nope").into(),
            Some("kind"),
            "invalid_request",
            "unknown job kind",
        ),
        (
            with("site", "")
                .replace("example.com", "example.org")
                .into(),
            Some("site"),
            "site_not_authorized",
            "not authorised",
        ),
        (
            with("type", "").replace(r#""k""#, "7").into(),
            Some("type"),
            "invalid_request",
            "`website_key` must be a string",
        ),
        (
            with("list", "")
                .replace(r#""hcaptcha""#, r#"["hcaptcha"]"#)
                .into(),
            Some("list"),
            "invalid_request",
            "`job` must be the name of a kind",
        ),
        (
            with("7", "").replace(r#""7""#, "7").into(),
            None,
            "invalid_request",
            "`id` must be a string",
        ),
        (
            with("member", r#","frobnicate":1"#).into(),
            Some("member"),
            "invalid_request",
            "unknown member `frobnicate`",
        ),
        (
            with("reply", r#","reply_to":{"a":1}"#).into(),
            Some("reply"),
            "invalid_request",
            "`reply_to` must be a string",
        ),
        (
            with("late", r#","deadline":-1"#).into(),
            Some("late"),
            "invalid_request",
            "`deadline` must be",
        ),
    ];
    let (api, redis) = (quick_api(), RedisServer::start());
    let fleet = Fleet::new(&api, &redis.url(), &quick("2s", "200/s"));
    // They count against nothing: twenty refusals in a row would stop a worker.
    let texts: Vec<&Vec<u8>> = bad.iter().map(|(text, ..)| text).collect();
    fleet.push_raw(&texts);
    fleet.push_raw(&[with("good", "")]);
    assert_eq!(drain(&fleet), 1);

    let outcomes = fleet.outcomes();
    assert_eq!(outcomes.len(), bad.len() + 1);
    assert_eq!(of(&outcomes, "good")["status"], "solved");
    for (text, id, class, why) in &bad {
        let start: String = String::from_utf8_lossy(&text[..text.len().min(5000)])
            .chars()
            .take(1000)
            .collect();
        let outcome = match id {
            Some(id) => of(&outcomes, id),
            None => outcomes
                .iter()
                .find(|o| o["id"].is_null() && o["request"] == start.as_str())
                .unwrap_or_else(|| panic!("no outcome for {start:.80}")),
        };
        assert_eq!(outcome["status"], "rejected", "{outcome}");
        assert_eq!(outcome["error"], *class, "{outcome}");
        let message = outcome["message"].as_str().expect("a reason");
        assert!(message.contains(why), "{message} is not {why}");
        if *class == "invalid_request" {
            assert_eq!(outcome["request"], start.as_str());
        }
        assert!(outcome.to_string().len() < 20_000);
    }
    assert_eq!(number(&api.ledger(), "creates"), 1);
    let status = fleet.status();
    assert_eq!(number(&status, "rejected"), bad.len() as u64, "{status}");
}

#[test]
fn an_outcome_that_may_not_go_where_it_should_goes_to_the_results() {
    let (api, redis) = (quick_api(), RedisServer::start());
    let mut args = quick("2s", "200/s").to_vec();
    args.extend(["--result-key-prefix", "result:", "--result-ttl", "1h"]);
    let fleet = Fleet::new(&api, &redis.url(), &args);
    let mut redis = fleet.redis();
    let own = format!("pollwheel:{{{QUEUE}}}:{QUEUE}:job");
    let _: () = redis.set("reply:text", "mine").expect("it can be set");
    let _: usize = redis.hset("result:taken", "a", "b").expect("it can be set");
    let cases = [
        ("outside", "other:1", "must begin with reply:"),
        ("own", own.as_str(), "must begin with reply:"),
        ("queue", QUEUE, "must begin with reply:"),
        ("results", RESULTS, "must begin with reply:"),
        ("text", "reply:text", "another type"),
        ("control", "reply:\\u0000", "control character"),
    ];
    let messages: Vec<String> = cases
        .iter()
        .map(|(id, list, _)| with(id, &format!(r#","reply_to":"{list}""#)))
        .chain([
            with("taken", ""),
            with(
                "good",
                r#","reply_to":"reply:good","meta":{"z":1.0e2, "a":[1,  2]}"#,
            ),
            // Rejected ones are answered where they want it, too.
            with("bad", r#","reply_to":"reply:good","frobnicate":1"#),
            with("worse", r#","reply_to":"reply:text","frobnicate":1"#),
        ])
        .collect();
    fleet.push_raw(&messages);
    assert_eq!(drain(&fleet), 1);

    let outcomes = fleet.outcomes();
    assert_eq!(outcomes.len(), cases.len() + 2);
    for (id, _, why) in cases {
        let outcome = of(&outcomes, id);
        assert_eq!(outcome["status"], "solved", "{outcome}");
        let error = outcome["reply_error"].as_str().expect("a reason");
        assert!(error.contains(why), "{error} is not {why}");
    }
    let taken = of(&outcomes, "taken");
    assert_eq!(taken["status"], "solved");
    assert_eq!(
        taken["reply_error"],
        "result:taken is a key of another type"
    );
    let worse = of(&outcomes, "worse");
    assert_eq!(worse["status"], "rejected");
    assert!(worse["reply_error"].is_string(), "{worse}");

    let replies: Vec<String> = redis.lrange("reply:good", 0, -1).expect("it is a list");
    assert_eq!(replies.len(), 2);
    let good = replies.iter().find(|r| r.contains(r#""id":"good""#));
    let good = good.expect("the good one came");
    assert!(
        good.contains(r#""meta":{"z":1.0e2, "a":[1,  2]}"#),
        "{good}"
    );
    let bad = replies.iter().find(|r| r.contains(r#""id":"bad""#));
    assert!(bad.expect("the bad one came").contains("frobnicate"));
    let key: String = redis.get("result:good").expect("it is there");
    assert_eq!(key, *good);
    // An hour was asked for; the token lives for two minutes.
    let left: i64 = redis.pttl("result:good").expect("it has a life");
    assert!((1..=120_000).contains(&left), "{left} ms");
    let left: i64 = redis.pttl("result:bad").expect("it has a life");
    assert!((3_500_000..=3_600_000).contains(&left), "{left} ms");

    let mine: String = redis.get("reply:text").expect("it is there");
    assert_eq!(mine, "mine");
    let a: String = redis.hget("result:taken", "a").expect("it is there");
    assert_eq!(a, "b");
    let exists: usize = redis.exists(&["other:1", "reply:"]).expect("it answers");
    assert_eq!(exists, 0);

    // Other fields under the same id: rejected, and not in the place of the first one's outcome.
    let other = with("good", "").replace("/?good", "/?other");
    fleet.push_raw(&[other]);
    assert_eq!(drain(&fleet), 1);
    let kept: String = redis.get("result:good").expect("it is there");
    assert_eq!(kept, *good);
}

/// Something that is most likely no request.
fn noise(n: usize) -> Vec<u8> {
    let good = with(
        &format!("noise-{n}"),
        r#","reply_to":"reply:n","deadline":60,"meta":{"a":1}"#,
    );
    match fastrand::u8(..6) {
        0 => (0..fastrand::usize(..300))
            .map(|_| fastrand::u8(..))
            .collect(),
        1 => good.as_bytes()[..fastrand::usize(..good.len())].to_vec(),
        2 | 3 => {
            let mut bytes = good.into_bytes();
            for _ in 0..fastrand::usize(1..4) {
                // The id stays its own: two messages under one id would be no two requests.
                let place = fastrand::usize(20..bytes.len());
                bytes[place] = fastrand::u8(..);
            }
            bytes
        }
        4 => {
            let mut object: Value = serde_json::from_str(&good).expect("it is JSON");
            let names = [
                "id",
                "job",
                "website_url",
                "website_key",
                "deadline",
                "reply_to",
            ];
            let values = [
                json!(null),
                json!(-1e300),
                json!([[]]),
                json!({"a": {}}),
                json!("\u{0}\u{202e}"),
                json!("x".repeat(70_000)),
                json!(true),
            ];
            let name = names[fastrand::usize(..names.len())];
            object[name] = values[fastrand::usize(..values.len())].clone();
            object.to_string().into_bytes()
        }
        _ => {
            let deep = fastrand::usize(1..2000);
            format!(
                "{}{}",
                "{\"a\":".repeat(deep),
                "}".repeat(fastrand::usize(..=deep))
            )
            .into_bytes()
        }
    }
}

#[test]
fn noise_stops_no_worker_and_hides_no_request() {
    let count = size("FLEET_NOISE", 1500);
    let good = count / 10;
    let (api, redis) = (quick_api(), RedisServer::start());
    let mut fleet = Fleet::new(&api, &redis.url(), &quick("2s", "400/s"));
    (0..4).for_each(|_| fleet.start());
    let mut messages: Vec<Vec<u8>> = (0..count).map(noise).collect();
    for n in 0..good {
        let place = fastrand::usize(..=messages.len());
        messages.insert(place, with(&format!("good-{n}"), "").into_bytes());
    }
    fleet.push_raw(&messages);
    fleet.wait_until("end", |fleet| {
        let status = fleet.status();
        ["waiting", "ready", "delayed"]
            .iter()
            .all(|what| number(&status, what) == 0)
            && number(&status["in_flight"], "total") == 0
    });
    for worker in &mut fleet.workers {
        assert!(worker.try_wait().expect("it answers").is_none());
    }
    let mut redis = fleet.redis();
    let mut outcomes = fleet.outcomes().len();
    let replies: Vec<String> = redis.keys("reply:*").expect("it answers");
    for list in replies {
        outcomes += redis.llen::<_, usize>(list).expect("it is a list");
    }
    let duplicates = number(&fleet.status(), "duplicates");
    assert_eq!(
        outcomes as u64 + duplicates,
        messages.len() as u64,
        "{}",
        fleet.status()
    );
    let mut solved = HashMap::new();
    for outcome in fleet.outcomes() {
        if outcome["status"] == "solved" {
            let id = outcome["id"].as_str().expect("an id").to_owned();
            *solved.entry(id).or_insert(0) += 1;
        }
    }
    for n in 0..good {
        assert_eq!(solved.get(&format!("good-{n}")), Some(&1), "good-{n}");
    }
    fleet.stop();
}

#[test]
fn an_id_that_comes_again() {
    let (api, redis) = (
        Api::start(&["--latency", "0ms", "--solve-time", "1s"]),
        RedisServer::start(),
    );
    let mut args = quick("2s", "200/s").to_vec();
    args.extend(["--repeat-window", "2s"]);
    let mut fleet = Fleet::new(&api, &redis.url(), &args);
    (0..2).for_each(|_| fleet.start());
    let other = with("a", "").replace(r#""k""#, r#""another key""#);
    let counts = |fleet: &Fleet<'_>, key: &str| number(&fleet.status(), key);

    // While it is unfinished: dropped where it is the same, rejected where it is not.
    fleet.push_raw(&[
        with("a", r#","meta":1"#),
        with("a", r#","meta":2"#),
        other.clone(),
    ]);
    fleet.wait_for(2);
    let outcomes = fleet.outcomes();
    assert_eq!(outcomes[0]["status"], "rejected", "{outcomes:?}");
    assert!(outcomes[0]["message"].to_string().contains("`id`"));
    assert_eq!(outcomes[1]["status"], "solved", "{outcomes:?}");
    assert_eq!(outcomes[1]["meta"], 1);
    assert_eq!(counts(&fleet, "duplicates"), 1);

    // After it has finished, within the window: the same.
    fleet.push_raw(&[with("a", ""), other.clone()]);
    fleet.wait_for(3);
    fleet.wait_until("second duplicate", |fleet| counts(fleet, "duplicates") == 2);
    assert_eq!(fleet.outcomes()[2]["status"], "rejected");
    assert_eq!(number(&api.ledger(), "creates"), 1);

    // After the window: a new request, whatever its fields.
    std::thread::sleep(Duration::from_secs(2));
    fleet.push_raw(&[other]);
    fleet.wait_for(4);
    assert_eq!(fleet.outcomes()[3]["status"], "solved");
    assert_eq!(number(&api.ledger(), "creates"), 2);

    // Without ids, two are two.
    let nameless = with("n", "").replace(r#""id":"n","#, "");
    fleet.push_raw(&[nameless.clone(), nameless]);
    fleet.wait_for(6);
    let outcomes = fleet.outcomes();
    assert!(outcomes[4..].iter().all(|o| o["status"] == "solved"));
    assert!(outcomes[4]["id"].is_string());
    assert_ne!(outcomes[4]["id"], outcomes[5]["id"]);
    assert_eq!(number(&api.ledger(), "creates"), 4);
    fleet.stop();
}

#[test]
fn what_is_too_late_is_not_sent() {
    let (api, redis) = (quick_api(), RedisServer::start());
    let fleet = Fleet::new(&api, &redis.url(), &quick("2s", "1/s"));
    let mut messages = vec![with("past", r#","deadline":"2020-01-01T00:00:00Z""#)];
    // One a second, from a burst of one: the last ones can't have a slot in time.
    messages.extend((0..8).map(|n| with(&format!("w{n}"), r#","deadline":2.5"#)));
    messages.push(with("time", r#","deadline":600"#));
    fleet.push_raw(&messages);
    assert_eq!(drain(&fleet), 1);

    let outcomes = fleet.outcomes();
    assert_eq!(outcomes.len(), 10);
    let is_late = |o: &Value| o["status"] == "failed" && o["error"] == "deadline";
    assert!(is_late(of(&outcomes, "past")), "{outcomes:?}");
    assert!(is_late(of(&outcomes, "w7")), "{outcomes:?}");
    assert_eq!(of(&outcomes, "time")["status"], "solved");
    let late = outcomes.iter().filter(|o| is_late(o)).count();
    let unsent = outcomes.iter().filter(|o| o["attempts"] == 0).count();
    assert!((5..=9).contains(&late), "{late} too late: {outcomes:?}");
    // Whoever had no slot cost nothing.
    assert_eq!(number(&api.ledger(), "creates"), 10 - unsent as u64);
    // What came too late is of no more use: it does not stand with the dead.
    assert_eq!(number(&fleet.status(), "dead"), 0);
}
