//! A Cluster of three primaries on loopback, and replicas where asked for.
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

use std::time::{Duration, Instant};

use super::redis::{RedisServer, ask, free_port};

/// The slots of the three primaries.
const RANGES: [(u16, u16); 3] = [(0, 5460), (5461, 10_922), (10_923, 16_383)];
/// How long anything here may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// Nodes, each in a process of its own; killed when it is dropped.
pub struct Cluster {
    /// The primaries, in the order of their slots, then their replicas in the same order.
    pub nodes: Vec<RedisServer>,
}

impl Cluster {
    /// Three primaries that hold all slots.
    pub fn start() -> Self {
        Self::launch(3)
    }

    /// Three primaries, each with a replica that takes over when it is gone.
    pub fn with_replicas() -> Self {
        Self::launch(6)
    }

    fn launch(count: usize) -> Self {
        let mut nodes = Vec::new();
        let mut bus_ports = Vec::new();
        for _ in 0..count {
            let bus = free_port().to_string();
            nodes.push(RedisServer::with(&[
                "--appendonly",
                "yes",
                "--cluster-enabled",
                "yes",
                "--cluster-node-timeout",
                "1000",
                "--cluster-port",
                &bus,
                "--repl-diskless-sync-delay",
                "0",
            ]));
            bus_ports.push(bus);
        }
        let cluster = Self { nodes };
        for (n, _) in cluster.nodes.iter().enumerate() {
            cluster.ask(n, &["CLUSTER", "SET-CONFIG-EPOCH", &(n + 1).to_string()]);
            if let Some((first, last)) = RANGES.get(n) {
                let (first, last) = (first.to_string(), last.to_string());
                cluster.ask(n, &["CLUSTER", "ADDSLOTSRANGE", &first, &last]);
            }
            let (port, bus) = (cluster.nodes[n].port.to_string(), &bus_ports[n]);
            cluster.ask(0, &["CLUSTER", "MEET", "127.0.0.1", &port, bus]);
        }
        cluster.wait_until("every node knows every other", || {
            (0..count).all(|n| {
                let info = cluster.text(n, &["CLUSTER", "INFO"]);
                info.contains("cluster_state:ok")
                    && info.contains("cluster_slots_ok:16384")
                    && info.contains(&format!("cluster_known_nodes:{count}"))
            })
        });
        for replica in 3..count {
            let primary = cluster.text(replica - 3, &["CLUSTER", "MYID"]);
            cluster.ask(replica, &["CLUSTER", "REPLICATE", &primary]);
        }
        cluster.wait_until("the replicas have caught up", || {
            (3..count).all(|n| {
                cluster
                    .text(n, &["INFO", "replication"])
                    .contains("master_link_status:up")
            }) && (0..count).all(|n| {
                let nodes = cluster.text(n, &["CLUSTER", "NODES"]);
                nodes.matches("slave").count() == count - 3
            })
        });
        cluster
    }

    /// Its nodes, as a URL.
    pub fn url(&self) -> String {
        let hosts: Vec<String> = self
            .nodes
            .iter()
            .map(|node| format!("127.0.0.1:{}", node.port))
            .collect();
        format!("redis+cluster://{}", hosts.join(","))
    }

    /// Which of `nodes` is the primary for `key` at the start.
    pub fn owner_of(&self, key: &str) -> usize {
        let slot = self.slot_of(key);
        RANGES
            .iter()
            .position(|(first, last)| (*first..=*last).contains(&slot))
            .expect("every slot is in a range")
    }

    /// A key's slot, as Redis says.
    pub fn slot_of(&self, key: &str) -> u16 {
        ::redis::from_redis_value(self.ask(0, &["CLUSTER", "KEYSLOT", key]))
            .expect("a slot is a number")
    }

    /// Begins to move a slot from node `from` to node `to`: keys that are not at `from` are asked for at `to`.
    pub fn begin_move(&self, slot: u16, from: usize, to: usize) {
        let slot = slot.to_string();
        let (source, target) = (self.id(from), self.id(to));
        self.ask(to, &["CLUSTER", "SETSLOT", &slot, "IMPORTING", &source]);
        self.ask(from, &["CLUSTER", "SETSLOT", &slot, "MIGRATING", &target]);
    }

    /// Moves the keys of a slot, and ends the move.
    pub fn end_move(&self, slot: u16, from: usize, to: usize) {
        let slot = slot.to_string();
        let keys: Vec<String> =
            ::redis::from_redis_value(self.ask(from, &["CLUSTER", "GETKEYSINSLOT", &slot, "1000"]))
                .expect("keys are text");
        let port = self.nodes[to].port.to_string();
        for key in keys {
            self.ask(from, &["MIGRATE", "127.0.0.1", &port, &key, "0", "5000"]);
        }
        let target = self.id(to);
        for node in [to, from] {
            self.ask(node, &["CLUSTER", "SETSLOT", &slot, "NODE", &target]);
        }
    }

    /// Waits until the replica of the primary `n` has taken over.
    pub fn wait_for_replica_of(&self, n: usize) {
        self.wait_until("the replica has taken over", || {
            self.text(n + 3, &["INFO", "replication"])
                .contains("role:master")
                && self
                    .text(n + 3, &["CLUSTER", "INFO"])
                    .contains("cluster_state:ok")
        });
    }

    /// What a node answers.
    pub fn ask(&self, node: usize, words: &[&str]) -> ::redis::Value {
        ask(self.nodes[node].port, None, words).unwrap_or_else(|e| panic!("{words:?}: {e}"))
    }

    fn id(&self, node: usize) -> String {
        self.text(node, &["CLUSTER", "MYID"])
    }

    fn text(&self, node: usize, words: &[&str]) -> String {
        ask(self.nodes[node].port, None, words)
            .and_then(|answer| Ok(::redis::from_redis_value(answer)?))
            .unwrap_or_default()
    }

    fn wait_until(&self, what: &str, is_so: impl Fn() -> bool) {
        let start = Instant::now();
        while !is_so() {
            assert!(start.elapsed() < PATIENCE, "still not: {what}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}
