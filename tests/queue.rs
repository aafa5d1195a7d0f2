//! `push`, `status --from`, `requeue`, `pause` and `resume`: the real binary at a real redis-server.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod support;

use std::collections::HashSet;
use std::process::{Child, Command, Stdio};

use redis::{Commands, Connection, Value as Reply};
use serde_json::Value;
use support::redis::RedisServer;
use support::{Case, finish, rows_csv};

const LIST: &str = "redis:solve:requests";

fn connect(server: &RedisServer) -> Connection {
    let client = redis::Client::open(server.url()).unwrap();
    client.get_connection().unwrap()
}

/// A verb that looks at the queue.
fn at_queue(case: &Case, server: &RedisServer, words: &[&str]) -> Command {
    let mut command = case.pollwheel(words[0]);
    command
        .args(&words[1..])
        .args(["--redis-url", &server.url()]);
    command
}

fn push(case: &Case, server: &RedisServer, words: &[&str]) -> Command {
    let mut command = at_queue(case, server, &["push", "in.csv", "--to", LIST]);
    command
        .args(["--authorized-site", "*.example.com"])
        .args(words);
    command
}

fn status(case: &Case, server: &RedisServer) -> Value {
    let mut command = at_queue(case, server, &["status", "--from", LIST, "--json"]);
    let (code, out, err) = finish(&mut command);
    assert_eq!((code, err.as_str()), (0, ""));
    serde_json::from_str(&out).unwrap()
}

/// The list's messages, in the order that they are taken in.
fn messages(server: &RedisServer) -> Vec<Value> {
    let mut texts: Vec<String> = connect(server).lrange("solve:requests", 0, -1).unwrap();
    texts.reverse();
    let parse = |text: &String| serde_json::from_str(text).unwrap();
    texts.iter().map(parse).collect()
}

fn ids(messages: &[Value]) -> Vec<&str> {
    messages.iter().map(|m| m["id"].as_str().unwrap()).collect()
}

#[test]
fn rows_are_pushed_in_order_with_their_other_columns() {
    let (server, case) = (RedisServer::start(), Case::with_rows(1201));
    let (code, out, err) = finish(&mut push(&case, &server, &[]));
    assert_eq!((code, err.as_str()), (0, ""));
    assert_eq!(out, "1201 requests pushed to redis:solve:requests\n");
    let pushed = messages(&server);
    let expected: Vec<_> = (0..1201).map(|n| format!("r{n}")).collect();
    assert_eq!(ids(&pushed), expected);
    assert_eq!(
        pushed[1],
        serde_json::json!({
            "id": "r1", "job": "hcaptcha", "website_url": "https://h1.example.com/login?row=1",
            "website_key": "key-1", "meta": {"note": "note, 1"},
        })
    );
    assert_eq!(status(&case, &server)["waiting"], 1201);
}

#[test]
fn rows_without_ids_have_the_same_ones_each_time() {
    let (server, case) = (RedisServer::start(), Case::new());
    let row = "hcaptcha,https://a.example.com,k\n";
    case.write("in.csv", &format!("job,url,sitekey\n{row}{row}"));
    for _ in 0..2 {
        assert_eq!(finish(&mut push(&case, &server, &[])).0, 0);
    }
    let pushed = messages(&server);
    let ids = ids(&pushed);
    assert_eq!(ids[..2], ids[2..]);
    assert_ne!(ids[0], ids[1]);
}

#[test]
fn nothing_is_pushed_where_a_row_is_bad() {
    let (server, case) = (RedisServer::start(), Case::new());
    let with = |rows: &str| case.write("in.csv", &format!("{}{rows}", rows_csv(0..2)));

    with("r2,hcaptcha,https://a.example.com,,\n");
    let (code, out, err) = finish(&mut push(&case, &server, &[]));
    assert_eq!((code, out.as_str()), (65, ""), "{err}");
    assert!(err.contains("in.csv:4: website_key: is empty"), "{err}");

    with("r2,hcaptcha,https://elsewhere.org,k,\n");
    let (code, _, err) = finish(&mut push(&case, &server, &[]));
    assert_eq!(code, 77, "{err}");

    with("r1,hcaptcha,https://a.example.com,k,\n");
    let (code, _, err) = finish(&mut push(&case, &server, &[]));
    assert_eq!(code, 65);
    assert!(err.contains("id `r1` stands already in line 3"), "{err}");

    // What no worker would take is found out before anything is pushed, too.
    let note = "x".repeat(20_000);
    with(&format!("r2,hcaptcha,https://a.example.com,k,{note}\n"));
    let (code, _, err) = finish(&mut push(&case, &server, &[]));
    assert_eq!(code, 65);
    assert!(
        err.contains("in.csv:4: has other columns that are longer than 16 KiB"),
        "{err}"
    );
    assert!(messages(&server).is_empty());

    let (code, out, err) = finish(&mut push(&case, &server, &["--skip-bad-rows"]));
    assert_eq!(code, 0, "{err}");
    assert_eq!(
        out,
        "2 requests pushed to redis:solve:requests, 1 bad one was left out\n"
    );
    assert!(err.contains("in.csv:4: "), "{err}");
    assert_eq!(ids(&messages(&server)), ["r0", "r1"]);
}

#[test]
fn a_limit_is_kept() {
    let (server, case) = (RedisServer::start(), Case::with_rows(30));
    let (code, out, _) = finish(&mut push(&case, &server, &["--limit", "7"]));
    assert_eq!(
        (code, out.as_str()),
        (0, "7 requests pushed to redis:solve:requests\n")
    );
    assert_eq!(messages(&server).len(), 7);
}

#[test]
fn a_full_server_ends_a_push_which_says_how_to_go_on() {
    let server = RedisServer::with(&["--maxmemory", "6mb", "--maxmemory-policy", "noeviction"]);
    let case = Case::with_rows(40_000);
    let (code, out, err) = finish(&mut push(&case, &server, &["-q"]));
    assert_eq!((code, out.as_str()), (74, ""), "{err}");
    let many: u64 = err
        .strip_prefix("error: ")
        .and_then(|text| text.split_once(" requests were pushed, and then: Redis is full"))
        .and_then(|(many, _)| many.parse().ok())
        .unwrap_or_else(|| panic!("{err}"));
    assert!(many > 0 && many < 40_000, "{err}");
    assert!(
        err.contains("push in.csv --to redis:solve:requests"),
        "{err}"
    );
    assert_eq!(messages(&server).len() as u64, many);
}

/// Ends a child where a test fails before it does.
struct Ended(Child);

impl Drop for Ended {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_push_goes_on_where_connections_break() {
    let (server, case) = (RedisServer::start(), Case::with_rows(30_000));
    let mut command = push(&case, &server, &["--redis-patience", "1m"]);
    let mut child = Ended(command.stdout(Stdio::piped()).spawn().unwrap());
    let mut connection = connect(&server);
    // Each time that so many have arrived. Not at first: whoever cannot connect at all is told at once.
    let mut breaks = (1..5).map(|n| n * 5000).peekable();
    let code = loop {
        if let Some(status) = child.0.try_wait().unwrap() {
            break status.code();
        }
        let arrived = connection.llen::<_, u64>("solve:requests").unwrap();
        if breaks.next_if(|at| arrived >= *at).is_some() {
            let mut kill = redis::cmd("CLIENT");
            kill.arg(&["KILL", "TYPE", "normal", "SKIPME", "yes"]);
            kill.exec(&mut connection).unwrap();
        }
    };
    assert_eq!(code, Some(0));
    assert!(breaks.next().is_none(), "connections were not broken");
    let pushed = messages(&server);
    let distinct: HashSet<_> = ids(&pushed).into_iter().collect();
    assert_eq!(distinct.len(), 30_000);
}

#[test]
fn a_killed_push_can_be_repeated() {
    let (server, case) = (RedisServer::start(), Case::with_rows(30_000));
    let mut child = Ended(
        push(&case, &server, &[])
            .stdout(Stdio::null())
            .spawn()
            .unwrap(),
    );
    let mut connection = connect(&server);
    while connection.llen::<_, u64>("solve:requests").unwrap() == 0 {
        assert!(child.0.try_wait().unwrap().is_none_or(|s| s.success()));
    }
    child.0.kill().unwrap();
    child.0.wait().unwrap();
    assert_eq!(finish(&mut push(&case, &server, &[])).0, 0);
    let pushed = messages(&server);
    let distinct: HashSet<_> = ids(&pushed).into_iter().collect();
    assert_eq!(distinct.len(), 30_000);
}

#[test]
fn what_is_wrong_with_redis_is_told_before_anything_is_pushed() {
    let (server, case) = (RedisServer::start(), Case::with_rows(1));
    let fails = |command: &mut Command, code: i32, why: &str| {
        let (ended, out, err) = finish(command);
        assert_eq!((ended, out.as_str()), (code, ""), "{err}");
        assert!(err.contains(why), "{err}");
        assert!(!err.contains("hunter2"), "{err}");
    };
    let at = |url: &str, words: &[&str]| {
        let mut command = case.pollwheel(words[0]);
        command.args(&words[1..]).args(["--redis-url", url]);
        command
    };
    let mut without_url = case.pollwheel("status");
    fails(without_url.args(["--from", LIST]), 78, "--redis-url URL");
    let nobody = format!("redis://:hunter2@127.0.0.1:{}", support::redis::free_port());
    let pushes = [
        "push",
        "in.csv",
        "--to",
        LIST,
        "--authorized-site",
        "*.example.com",
    ];
    for words in [
        &pushes[..],
        &["status", "--from", LIST],
        &["requeue", "--all", "--from", LIST],
        &["pause", "--from", LIST],
        &["resume", "--from", LIST],
    ] {
        fails(&mut at(&nobody, words), 69, "Redis is away");
    }
    fails(
        &mut at("127.0.0.1:6379", &["pause", "--from", LIST]),
        2,
        "--redis-url: the Redis URL has no scheme",
    );
    let own = "redis:pollwheel:{x}:x:job";
    fails(
        &mut at(&server.url(), &["pause", "--from", own]),
        2,
        "own keys",
    );
    let _: Reply = connect(&server).set("solve:requests", 1).unwrap();
    fails(&mut push(&case, &server, &[]), 74, "another type");
}

#[test]
fn a_password_comes_from_a_file_or_a_variable_and_is_told_nowhere() {
    let server = RedisServer::with(&["--appendonly", "yes", "--requirepass", "hunter2"]);
    let case = Case::with_rows(1);
    case.write("password", "hunter2\n");
    let config = format!(
        "redis_url = {:?}\nredis_password_file = \"password\"\nlog_level = \"trace\"\n",
        server.url()
    );
    case.write("config.toml", &config);
    let words = ["--from", LIST];
    let (code, out, err) = finish(case.pollwheel("status").args(words));
    assert_eq!(code, 0, "{err}");
    assert!(err.contains("chmod 600 password"), "{err}");
    assert!(
        out.contains(&format!("redis://127.0.0.1:{}", server.port)),
        "{out}"
    );
    // The variable goes before the file, and is wrong.
    let mut command = case.pollwheel("status");
    let (code, out, err) = finish(
        command
            .args(words)
            .env("POLLWHEEL_REDIS_PASSWORD", "hunter3"),
    );
    assert_eq!((code, out.as_str()), (78, ""), "{err}");
    assert!(
        err.contains("Redis refuses us") && err.contains("POLLWHEEL_REDIS_PASSWORD"),
        "{err}"
    );
    assert!(!err.contains("hunter"), "{err}");
    // On the command line it works, with a warning.
    let url = format!("redis://:hunter2@127.0.0.1:{}", server.port);
    let (code, out, err) = finish(
        case.pollwheel("status")
            .args(words)
            .args(["--redis-url", &url]),
    );
    assert_eq!(code, 0, "{err}");
    assert!(
        err.contains("warning: --redis-url holds a password"),
        "{err}"
    );
    assert!(
        !out.contains("hunter") && !err.contains("hunter"),
        "{out}{err}"
    );
}

#[test]
fn a_queue_is_paused_and_resumed() {
    let (server, case) = (RedisServer::start(), Case::new());
    assert_eq!(status(&case, &server)["paused"], false);
    for (verb, paused) in [
        ("pause", true),
        ("pause", true),
        ("resume", false),
        ("resume", false),
    ] {
        let (code, out, err) = finish(&mut at_queue(&case, &server, &[verb, "--from", LIST]));
        assert_eq!((code, err.as_str()), (0, ""));
        assert!(out.starts_with("redis:solve:requests "), "{out}");
        assert_eq!(status(&case, &server)["paused"], paused, "{verb}");
    }
    let keys: Vec<String> = connect(&server).keys("*").unwrap();
    assert!(
        keys.iter()
            .all(|key| key.starts_with("pollwheel:{solve:requests}:")),
        "{keys:?}"
    );
}

#[test]
fn everything_that_is_counted_is_shown() {
    let (server, case) = (RedisServer::start(), Case::new());
    let key = |part: &str| format!("pollwheel:{{solve:requests}}:solve:requests:{part}");
    let counters = [
        "admitted",
        "solved",
        "failed",
        "rejected",
        "duplicates",
        "creates",
        "unknown_creates",
        "polls",
        "retries",
    ];
    let mut connection = connect(&server);
    for (counter, n) in counters.iter().zip(11..) {
        let _: Reply = connection.hset(key("meta"), *counter, n).unwrap();
    }
    let _: Reply = connection.hset(key("meta"), "spent", 289_000).unwrap();
    // Jobs as workers hold them: id, state, and for how many seconds it is in it.
    let script = redis::Script::new(
        "local now = tonumber(redis.call('TIME')[1]) * 1000\n\
         redis.call('ZADD', KEYS[1], now + 30000, ARGV[1])\n\
         redis.call('HSET', KEYS[2], ARGV[1], cmsgpack.pack({ s = ARGV[2], e = 1, t = now - ARGV[3] * 1000 }))",
    );
    for (id, state, age_s) in [
        ("a", "waiting", 1),
        ("b", "waiting", 30),
        ("c", "submitting", 100),
        ("d", "claimed", 1000),
        ("\0e", "raw", 1),
    ] {
        let mut call = script.key(key("lease"));
        call.key(key("job")).arg(id).arg(state).arg(age_s);
        call.invoke::<()>(&mut connection).unwrap();
    }
    let found = status(&case, &server);
    for (counter, n) in counters.iter().zip(11..) {
        assert_eq!(found[counter], n, "{counter}");
    }
    assert_eq!(found["spend"], 0.289);
    let in_flight = serde_json::json!({
        "total": 5, "raw": 1, "claimed": 1, "submitting": 1, "waiting": 2,
        "under_10s": 2, "under_1m": 1, "under_5m": 1, "older": 1, "cut": false,
    });
    assert_eq!(found["in_flight"], in_flight);
}

/// Puts requests among the dead, as `finish` does.
fn bury(server: &RedisServer, ids: &[String]) {
    let script = redis::Script::new(
        "for i, id in ipairs(ARGV) do\n\
           redis.call('HSET', KEYS[1], 'dead\\0' .. id, cmsgpack.pack({ p = '{\"id\":\"' .. id .. '\"}', h = 'h' }))\n\
           redis.call('ZADD', KEYS[2], 1700000000000 + i, id)\n\
         end",
    );
    let mut call = script.key("pollwheel:{solve:requests}:solve:requests:payload");
    call.key("pollwheel:{solve:requests}:solve:requests:dead");
    for id in ids {
        call.arg(id);
    }
    call.invoke::<()>(&mut connect(server)).unwrap();
}

#[test]
fn the_dead_are_listed_and_taken_up_again() {
    let (server, case) = (RedisServer::start(), Case::new());
    let ids: Vec<String> = (0..150).map(|n| format!("order-{n}")).collect();
    bury(&server, &ids);
    let note = r#"{"id":"order-7","remote_id":99999999999999999999999,"api":"https://x","at":1700000000000}"#;
    let _: Reply = connect(&server)
        .lpush("pollwheel:{solve:requests}:solve:requests:orphan", note)
        .unwrap();

    let (code, out, err) = finish(&mut at_queue(&case, &server, &["status", "--from", LIST]));
    assert_eq!((code, err.as_str()), (0, ""));
    assert!(out.contains("150 given up; `pollwheel requeue"), "{out}");
    assert!(
        out.contains("  2023-11-14T22:13:20Z  order-149\n"),
        "the latest first: {out}"
    );
    assert!(
        !out.contains("order-49\n") && out.contains("  and 50 more\n"),
        "{out}"
    );
    assert!(
        out.contains("order-7  job 99999999999999999999999 at https://x"),
        "{out}"
    );
    let found = status(&case, &server);
    assert_eq!(
        (&found["dead"], found["dead_list"].as_array().unwrap().len()),
        (&150.into(), 150)
    );

    let requeue = |words: &[&str]| {
        let words = [&["requeue", "--from", LIST], words].concat();
        let (code, out, err) = finish(&mut at_queue(&case, &server, &words));
        assert_eq!(err, "");
        (code, out)
    };
    assert_eq!(
        requeue(&["order-3", "order-4", "nobody"]),
        (
            1,
            "2 requests are taken up again; 1 id is not among the dead\n".to_owned()
        )
    );
    assert_eq!(
        requeue(&["--all"]),
        (0, "148 requests are taken up again\n".to_owned())
    );
    assert_eq!(
        requeue(&["--all"]),
        (0, "0 requests are taken up again\n".to_owned())
    );
    let found = status(&case, &server);
    assert_eq!((&found["dead"], &found["ready"]), (&0.into(), &150.into()));
}
