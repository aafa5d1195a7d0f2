//! One server: real, gone, back, silent, and played by a thread that says what no real one would on demand.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use ::redis::{Script, cmd, pipe};
use tokio::time::Instant;

use super::{Access, Link, LinkError, Settings, Unsafe, check_safe};
use crate::support::redis::{RedisServer, ask, free_port};

pub(super) fn settings(url: &str) -> Settings {
    Settings::try_new(url, Access::default()).unwrap()
}

/// Settings whose time-outs are short.
pub(super) fn hasty(url: &str, timeout: Duration) -> Settings {
    let access = Access {
        connect_timeout: Some(timeout),
        response_timeout: Some(timeout),
        ..Access::default()
    };
    Settings::try_new(url, access).unwrap()
}

/// A command by its words.
pub(super) fn command(words: &str) -> ::redis::Cmd {
    let mut command = ::redis::Cmd::new();
    for word in words.split(' ') {
        command.arg(word);
    }
    command
}

/// Runs it, again and again while Redis is away, as a worker would.
pub(super) async fn persist<T: ::redis::FromRedisValue>(link: &mut Link, words: &str) -> T {
    let start = Instant::now();
    loop {
        match link.run(&command(words)).await {
            Ok(value) => return value,
            Err(LinkError::Away(text)) => {
                assert!(start.elapsed() < Duration::from_secs(30), "{text}");
            }
            Err(e) => panic!("{e}"),
        }
    }
}

async fn refused(settings: &Settings) -> LinkError {
    Link::open(settings, "l").await.unwrap_err()
}

#[tokio::test]
async fn a_server_is_reached_and_says_what_it_is() {
    let server = RedisServer::start();
    let mut link = Link::open(&settings(&server.url()), "l").await.unwrap();
    let () = link.run(&command("SET a 1")).await.unwrap();
    let facts = link.facts().unwrap().clone();
    assert_eq!(facts.generation, 1);
    assert_eq!(facts.run_id.len(), 40);
    assert!(facts.version.starts_with("7."), "{}", facts.version);
    assert_eq!(facts.address, format!("127.0.0.1:{}", server.port));
    assert_eq!(facts.appendfsync.as_deref(), Some("always"));
    assert_eq!((facts.has_aof, facts.has_snapshots), (true, Some(false)));
    assert_eq!(check_safe(&facts), Ok(()));
    // Another database is another.
    let url = format!("{}3", server.url());
    let mut other = Link::open(&settings(&url), "l").await.unwrap();
    assert_eq!(other.run(&command("GET a")).await, Ok(None::<u8>));
    assert_eq!(link.run(&command("GET a")).await, Ok(Some(1)));
    let url = format!("{}99", server.url());
    assert!(
        matches!(refused(&settings(&url)).await, LinkError::Server(t) if t.contains("out of range"))
    );
}

#[tokio::test]
async fn a_server_that_loses_what_it_is_given_is_not_safe() {
    let server = RedisServer::with(&["--maxmemory", "100mb", "--maxmemory-policy", "allkeys-lru"]);
    let link = Link::open(&settings(&server.url()), "l").await.unwrap();
    let found = check_safe(link.facts().unwrap());
    assert!(matches!(found, Err(Unsafe::Evicts { policy, .. }) if policy == "allkeys-lru"));
    let server = RedisServer::with(&[]);
    let link = Link::open(&settings(&server.url()), "l").await.unwrap();
    let found = check_safe(link.facts().unwrap());
    assert!(matches!(found, Err(Unsafe::KeepsNothing { .. })));
    let server = RedisServer::with(&["--save", "3600 1"]);
    let link = Link::open(&settings(&server.url()), "l").await.unwrap();
    assert_eq!(check_safe(link.facts().unwrap()), Ok(()));
}

#[tokio::test]
async fn errors_come_in_their_classes() {
    let server = RedisServer::start();
    let mut link = Link::open(&settings(&server.url()), "l").await.unwrap();
    let () = link.run(&command("SET s 1")).await.unwrap();
    let wrong = link.run::<()>(&command("LPUSH s 1")).await;
    assert!(matches!(wrong, Err(LinkError::WrongType(_))), "{wrong:?}");
    let script = Script::new("return redis.call('LPUSH', KEYS[1], 1)");
    let wrong = link.script::<()>(&script.key("s")).await;
    assert!(matches!(wrong, Err(LinkError::WrongType(_))), "{wrong:?}");
    let mut both = pipe();
    both.cmd("GET").arg("s").cmd("LPUSH").arg("s").arg(1);
    let wrong = link.run_all::<(u8, u8)>(&both).await;
    assert!(matches!(wrong, Err(LinkError::WrongType(_))), "{wrong:?}");
    let unknown = link.run::<()>(&command("NOSUCH")).await;
    assert!(matches!(unknown, Err(LinkError::Server(_))), "{unknown:?}");
    let fault = link
        .script::<()>(&Script::new("return nosuch.x").key("s"))
        .await;
    assert!(matches!(fault, Err(LinkError::Server(_))), "{fault:?}");
    let () = link
        .run(&command("CONFIG SET maxmemory 1mb"))
        .await
        .unwrap();
    let full = link.run::<()>(&command("SET t 1")).await;
    assert!(matches!(full, Err(LinkError::Full(_))), "{full:?}");
    let full = link
        .script::<()>(&Script::new("#!lua\nreturn redis.call('SET', KEYS[1], 1)").key("t"))
        .await;
    assert!(matches!(full, Err(LinkError::Full(_))), "{full:?}");
    // None of these is a reason for another connection.
    assert_eq!(link.facts().unwrap().generation, 1);
    assert_eq!(link.run(&command("GET s")).await, Ok(1));
    assert_eq!(link.facts().unwrap().generation, 1);
}

#[tokio::test]
async fn a_script_is_loaded_where_it_is_not_known() {
    let server = RedisServer::start();
    let mut link = Link::open(&settings(&server.url()), "l").await.unwrap();
    let script = Script::new("return redis.call('INCR', KEYS[1])");
    assert_eq!(link.script(&script.key("n")).await, Ok(1));
    let () = link.run(&command("SCRIPT FLUSH")).await.unwrap();
    assert_eq!(link.script(&script.key("n")).await, Ok(2));
}

#[tokio::test]
async fn what_cannot_be_reached_is_told_at_once() {
    let start = Instant::now();
    let closed = refused(&settings(&format!("redis://127.0.0.1:{}", free_port()))).await;
    assert!(
        matches!(&closed, LinkError::Away(t) if t.contains("refused") && t.starts_with("127.0.0.1:"))
    );
    // Too long for any name server, so that none is asked.
    let name = "x".repeat(64);
    let unknown = refused(&settings(&format!("redis://{name}.test"))).await;
    assert!(
        matches!(&unknown, LinkError::Away(t) if t.contains("lookup")),
        "{unknown}"
    );
    let none = refused(&settings("unix:///no/such.sock")).await;
    assert!(
        matches!(&none, LinkError::Away(t) if t.contains("/no/such.sock")),
        "{none}"
    );
    assert!(start.elapsed() < Duration::from_secs(2));
}

#[tokio::test]
async fn a_link_goes_on_when_its_server_is_back() {
    let mut server = RedisServer::start();
    let mut link = Link::open(&settings(&server.url()), "l").await.unwrap();
    let () = link.run(&command("SET a 1")).await.unwrap();
    let before = link.facts().unwrap().clone();
    server.kill();
    for _ in 0..3 {
        let lost = link.run::<u8>(&command("GET a")).await.unwrap_err();
        assert!(
            matches!(&lost, LinkError::Away(t) if t.starts_with("127.0.0.1:")),
            "{lost}"
        );
        assert!(!link.is_connected());
    }
    server.start_again();
    let a: u8 = persist(&mut link, "GET a").await;
    let after = link.facts().unwrap();
    assert_eq!((a, after.generation), (1, 2));
    assert_ne!(after.run_id, before.run_id);
    // What belongs to the old connection says nothing about this one.
    let old = ::redis::RedisError::from(std::io::Error::from(std::io::ErrorKind::BrokenPipe));
    assert!(link.failed_on(1, &old).is_away() && link.is_connected());
    assert!(link.failed_on(2, &old).is_away() && !link.is_connected());
    // Another connection to the same run.
    let run_id = after_run_id(&mut link).await;
    assert_eq!(link.facts().unwrap().generation, 3);
    assert_eq!(link.facts().unwrap().run_id, run_id);
}

async fn after_run_id(link: &mut Link) -> String {
    let before = link.facts().unwrap().run_id.clone();
    let _: u8 = persist(link, "GET a").await;
    before
}

#[tokio::test]
async fn a_server_that_does_not_answer_is_noticed() {
    let silent = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = silent.local_addr().unwrap().port();
    let short = Duration::from_millis(100);
    let start = Instant::now();
    let error = refused(&hasty(&format!("redis://127.0.0.1:{port}"), short)).await;
    assert_eq!(
        error,
        LinkError::Away(format!("127.0.0.1:{port}: no answer in time"))
    );
    let error = refused(&hasty(&format!("redis://:pw@127.0.0.1:{port}"), short)).await;
    assert_eq!(
        error,
        LinkError::Away(format!("127.0.0.1:{port}: no answer in time"))
    );
    // The first answer of TLS is part of connecting.
    let error = refused(&hasty(&format!("rediss://127.0.0.1:{port}"), short)).await;
    let text = format!("127.0.0.1:{port}: no connection within 100ms");
    assert_eq!(error, LinkError::Away(text));
    assert!(start.elapsed() < Duration::from_secs(2));
}

#[tokio::test]
async fn a_server_that_freezes_is_noticed_and_used_again() {
    let server = RedisServer::start();
    let settings = hasty(&server.url(), Duration::from_millis(300));
    let mut link = Link::open(&settings, "l").await.unwrap();
    let signal = |name: &str| {
        let pid = server.pid().to_string();
        let done = std::process::Command::new("kill")
            .args([name, &pid])
            .status();
        assert!(done.unwrap().success());
    };
    signal("-STOP");
    let error = link.run::<u8>(&command("INCR a")).await.unwrap_err();
    assert!(error.is_away() && !link.is_connected(), "{error}");
    signal("-CONT");
    let a: u8 = persist(&mut link, "INCR a").await;
    // The first was carried out after all: nobody but the caller can know what that means.
    assert!(a >= 2, "{a}");
    assert!(link.facts().unwrap().generation >= 2);
}

#[tokio::test]
async fn a_replica_is_not_taken_for_the_primary() {
    let primary = RedisServer::start();
    let port = primary.port.to_string();
    let replica = RedisServer::with(&["--replicaof", "127.0.0.1", &port]);
    let error = refused(&settings(&replica.url())).await;
    assert!(
        matches!(&error, LinkError::Away(t) if t.contains(&format!("replica of 127.0.0.1:{port}")))
    );
    // One that becomes a replica while we are connected.
    let server = RedisServer::start();
    let mut link = Link::open(&settings(&server.url()), "l").await.unwrap();
    ask(server.port, None, &["REPLICAOF", "127.0.0.1", &port]).unwrap();
    let error = link.run::<()>(&command("SET a 1")).await.unwrap_err();
    assert!(error.is_away() && !link.is_connected(), "{error}");
    ask(server.port, None, &["REPLICAOF", "NO", "ONE"]).unwrap();
    let () = persist(&mut link, "SET a 1").await;
}

#[tokio::test]
async fn too_many_clients_is_no_wrong_password() {
    let server = RedisServer::with(&["--maxclients", "1", "--requirepass", "pw"]);
    let url = format!("redis://:pw@127.0.0.1:{}", server.port);
    let link = Link::open(&settings(&url), "l").await.unwrap();
    let error = refused(&settings(&url)).await;
    assert!(
        matches!(&error, LinkError::Away(t) if t.contains("max number of clients")),
        "{error}"
    );
    drop(link);
}

/// A thread that plays a server: it answers each command by what `answer` gives for its words, and closes the
/// connection where that is `None`.
fn actor(answer: impl Fn(&str) -> Option<String> + Send + 'static) -> String {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut buffer = [0; 4096];
            while let Ok(length @ 1..) = stream.read(&mut buffer) {
                let text = String::from_utf8_lossy(&buffer[..length]);
                let words: Vec<&str> = text
                    .split("\r\n")
                    .filter(|word| !word.starts_with(['*', '$']))
                    .collect();
                match answer(words.join(" ").trim()) {
                    Some(answer) => stream.write_all(answer.as_bytes()).unwrap(),
                    None => break,
                }
            }
        }
    });
    format!("redis://127.0.0.1:{port}")
}

fn bulk(text: &str) -> String {
    format!("${}\r\n{text}\r\n", text.len())
}

#[tokio::test]
async fn servers_that_will_not_do_are_refused_by_name() {
    for (info, part) in [
        (
            "redis_version:6.2.14\r\nrole:master\r\nrun_id:x",
            "version 6.2.14; 7.0 or later",
        ),
        (
            "redis_version:7.0.1\r\nloading:1\r\nloading_eta_seconds:42",
            "loading its data, 42 s",
        ),
        ("redis_version:7.0.1\r\nrole:master\r\nrun_id:", "no run_id"),
    ] {
        let url = actor(move |_| Some(bulk(info)));
        let error = refused(&settings(&url)).await.to_string();
        assert!(error.contains(part), "{error}");
    }
    let url = actor(|_| Some("HTTP/1.1 400 Bad Request\r\n\r\n".into()));
    let error = refused(&settings(&url)).await.to_string();
    assert!(error.contains("does not speak Redis' protocol"), "{error}");
    let url = actor(|_| Some("-DENIED Redis is running in protected mode\r\n".into()));
    assert!(matches!(
        refused(&settings(&url)).await,
        LinkError::Denied(_)
    ));
}

#[tokio::test]
async fn no_command_is_sent_twice() {
    let seen = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&seen);
    let url = actor(move |words| match words {
        "INFO" => Some(bulk("redis_version:7.0.1\r\nrole:master\r\nrun_id:x")),
        "INCR a" => {
            count.fetch_add(1, Ordering::SeqCst);
            None
        }
        _ => Some("-ERR unknown command\r\n".into()),
    });
    let mut link = Link::open(&settings(&url), "l").await.unwrap();
    assert_eq!(link.facts().unwrap().has_snapshots, None);
    for n in 1..=3 {
        let error = link.run::<u8>(&command("INCR a")).await.unwrap_err();
        assert!(error.is_away(), "{error}");
        assert_eq!(seen.load(Ordering::SeqCst), n);
    }
    assert_eq!(link.facts().unwrap().generation, 3);
}

#[tokio::test]
async fn calls_on_clones_overlap() {
    let server = RedisServer::start();
    let mut link = Link::open(&settings(&server.url()), "l").await.unwrap();
    let connection = link.connection().await.unwrap().clone();
    assert_eq!(connection.generation(), 1);
    let calls = (0..8).map(|n| {
        let mut connection = connection.clone();
        async move {
            let command = cmd("INCRBY").arg("n").arg(n).to_owned();
            command.query_async::<u32>(&mut connection).await
        }
    });
    let results = futures_util::future::join_all(calls).await;
    assert!(results.iter().all(Result::is_ok));
    assert_eq!(link.run(&command("GET n")).await, Ok(28));
}
