//! A primary with two replicas, and three Sentinels that watch them, on loopback.
//!
//! Part of the end-to-end tests and, by its path, of the unit tests: beside `redis.rs`, as modules of one parent.
#![allow(
    dead_code,
    unreachable_pub,
    missing_docs,
    clippy::expect_used,
    clippy::disallowed_types,
    reason = "a part of each test binary, which uses a part of it"
)]

use std::collections::HashMap;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::redis::{RedisServer, ask, free_port};

/// What the Sentinels call the primary.
pub const MASTER: &str = "queue";
/// How many Sentinels there are.
const SENTINELS: usize = 3;
/// How long anything here may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// Servers and Sentinels, each in a process of its own; killed when it is dropped.
pub struct Sentinels {
    pub servers: Vec<RedisServer>,
    sentinels: Vec<Sentinel>,
    /// The servers' password, and the Sentinels'.
    passwords: Option<(String, String)>,
}

struct Sentinel {
    child: Child,
    port: u16,
    _folder: tempfile::TempDir,
}

impl Drop for Sentinel {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Sentinels {
    /// Without passwords, ready to fail over.
    pub fn start() -> Self {
        Self::launch(None)
    }

    /// With a password at the servers and another one at the Sentinels.
    pub fn with_passwords(servers: &str, sentinels: &str) -> Self {
        Self::launch(Some((servers.to_owned(), sentinels.to_owned())))
    }

    fn launch(passwords: Option<(String, String)>) -> Self {
        let mut arguments = vec!["--appendonly", "yes", "--repl-diskless-sync-delay", "0"];
        if let Some((servers, _)) = &passwords {
            arguments.extend(["--requirepass", servers, "--masterauth", servers]);
        }
        let primary = RedisServer::with(&arguments);
        let port = primary.port.to_string();
        let mut servers = vec![primary];
        arguments.extend(["--replicaof", "127.0.0.1", &port]);
        servers.extend((0..2).map(|_| RedisServer::with(&arguments)));
        let sentinels = (0..SENTINELS)
            .map(|_| Sentinel::start(&port, passwords.as_ref()))
            .collect();
        let started = Self {
            servers,
            sentinels,
            passwords,
        };
        // Otherwise they look at a server every 10 s only. (Do not shorten PING-PERIOD: what they know of a
        // replica counts for five of it.)
        for sentinel in &started.sentinels {
            started.wait_until("a Sentinel answers", || {
                let hurry = ["INFO-PERIOD", "500", "PUBLISH-PERIOD", "500"];
                let words = [&["SENTINEL", "DEBUG"][..], &hurry].concat();
                started.ask_sentinel(sentinel.port, &words) != ::redis::Value::Nil
            });
        }
        started.wait_until("the Sentinels know each other and the replicas", || {
            started.sentinels.iter().all(|sentinel| {
                let of = |what: &str| -> Vec<HashMap<String, String>> {
                    let answer = started.ask_sentinel(sentinel.port, &["SENTINEL", what, MASTER]);
                    ::redis::from_redis_value(answer).unwrap_or_default()
                };
                let replicas = of("REPLICAS");
                // One that it last saw without its primary would not be promoted.
                let is_good =
                    |r: &HashMap<_, _>| r.get("master-link-status").is_some_and(|s| s == "ok");
                replicas.len() == 2
                    && replicas.iter().all(is_good)
                    && of("SENTINELS").len() == SENTINELS - 1
            })
        });
        // A replica that has not caught up is not promoted.
        started.wait_until("the replicas have caught up", || {
            started.servers[1..]
                .iter()
                .all(|replica| started.info(replica.port).contains("master_link_status:up"))
        });
        started
    }

    /// Where the Sentinels are, as a URL of theirs.
    pub fn url(&self) -> String {
        let hosts: Vec<String> = self
            .sentinels
            .iter()
            .map(|sentinel| format!("127.0.0.1:{}", sentinel.port))
            .collect();
        format!("redis+sentinel://{}/{MASTER}", hosts.join(","))
    }

    /// The primary, as most of the Sentinels see it.
    pub fn primary(&mut self) -> &mut RedisServer {
        let port = self.primary_port();
        self.servers
            .iter_mut()
            .find(|server| server.port == port)
            .expect("the primary is one of the servers")
    }

    fn primary_port(&self) -> u16 {
        let mut ports: Vec<u16> = self
            .sentinels
            .iter()
            .filter_map(|sentinel| {
                let answer = self.ask_sentinel(
                    sentinel.port,
                    &["SENTINEL", "GET-MASTER-ADDR-BY-NAME", MASTER],
                );
                let (_, port): (String, u16) = ::redis::from_redis_value(answer).ok()?;
                Some(port)
            })
            .collect();
        ports.sort_unstable();
        ports[ports.len() / 2]
    }

    /// Has the Sentinels make another server the primary, and waits until it is and the old one knows.
    pub fn fail_over(&self) {
        let before = self.primary_port();
        let port = self.sentinels[0].port;
        self.ask_sentinel(port, &["SENTINEL", "FAILOVER", MASTER]);
        self.wait_for_another(before);
        self.wait_until("the old primary is a replica", || {
            self.info(before).contains("role:slave")
        });
    }

    /// Waits until another server than that at `before` is the primary.
    pub fn wait_for_another(&self, before: u16) {
        self.wait_until("another primary", || {
            let now = self.primary_port();
            now != before && self.info(now).contains("role:master")
        });
    }

    /// Has them fail over only where they are told to: on a busy machine a server may seem down for a while.
    pub fn wait_to_be_told(&self) {
        for sentinel in &self.sentinels {
            let words = [
                "SENTINEL",
                "SET",
                MASTER,
                "down-after-milliseconds",
                "60000",
            ];
            self.ask_sentinel(sentinel.port, &words);
        }
    }

    /// Ends a Sentinel.
    pub fn kill_sentinel(&mut self) {
        let _ = self.sentinels.remove(0);
    }

    fn info(&self, port: u16) -> String {
        let password = self.passwords.as_ref().map(|(servers, _)| servers.as_str());
        ask(port, password, &["INFO", "replication"])
            .and_then(|answer| Ok(::redis::from_redis_value(answer)?))
            .unwrap_or_default()
    }

    fn ask_sentinel(&self, port: u16, words: &[&str]) -> ::redis::Value {
        let password = self.passwords.as_ref().map(|(_, own)| own.as_str());
        ask(port, password, words).unwrap_or(::redis::Value::Nil)
    }

    fn wait_until(&self, what: &str, is_so: impl Fn() -> bool) {
        let start = Instant::now();
        while !is_so() {
            assert!(start.elapsed() < PATIENCE, "still not: {what}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Sentinel {
    fn start(primary: &str, passwords: Option<&(String, String)>) -> Self {
        let folder = tempfile::tempdir().expect("a folder for the Sentinel");
        let port = free_port();
        let mut config = format!(
            "port {port}\nbind 127.0.0.1\ndir {}\nsentinel monitor {MASTER} 127.0.0.1 {primary} 2\n\
             sentinel down-after-milliseconds {MASTER} 500\nsentinel failover-timeout {MASTER} 1000\n\
             sentinel parallel-syncs {MASTER} 2\n",
            folder.path().display()
        );
        if let Some((servers, own)) = passwords {
            config += &format!(
                "sentinel auth-pass {MASTER} {servers}\nrequirepass {own}\nsentinel sentinel-pass {own}\n"
            );
        }
        let path = folder.path().join("sentinel.conf");
        std::fs::write(&path, config).expect("the folder can be written");
        let child = Command::new("redis-server")
            .arg(&path)
            .arg("--sentinel")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .expect("redis-server is installed; scripts/test installs it");
        Self {
            child,
            port,
            _folder: folder,
        }
    }
}
