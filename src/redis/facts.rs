//! What a server says about itself, and whether a queue is safe there.

use std::collections::HashMap;

/// What the server behind a connection said about itself when the connection was made.
///
/// It was the primary then, and had loaded its data: otherwise there would be no connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerFacts {
    /// Counts the connections of one link, from 1: another number is another connection.
    pub generation: u64,
    /// Names this run of this server: another one was restarted, or is another server. On a Cluster it is
    /// the node that holds the queue.
    pub run_id: String,
    /// `redis_version`. Compatible servers give the version that they are compatible with.
    pub version: String,
    /// Where it is, for messages.
    pub address: String,
    /// Whether it is a node of a Cluster.
    pub is_cluster: bool,
    /// Bytes that it may use; 0 is no limit.
    pub max_memory: u64,
    /// What it does when they are used.
    pub eviction: String,
    /// Whether it keeps an append-only file.
    pub has_aof: bool,
    /// When that file is synced; `None` where we may not see it.
    pub appendfsync: Option<String>,
    /// Whether it saves snapshots by itself; `None` where we may not see it.
    pub has_snapshots: Option<bool>,
}

/// Why a queue is not safe at a server.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
pub enum Unsafe {
    /// It may throw requests and outcomes away.
    #[error(
        "Redis at {address} may throw away requests and outcomes when its memory is used up (maxmemory-policy \
         {policy}); set it to noeviction"
    )]
    Evicts {
        /// Where it is.
        address: String,
        /// The policy.
        policy: String,
    },
    /// A restart loses everything.
    #[error(
        "Redis at {address} keeps nothing on disk: a restart loses the queue and the ids of paid jobs; switch \
         on its append-only file (appendonly yes)"
    )]
    KeepsNothing {
        /// Where it is.
        address: String,
    },
    /// Whether a restart loses everything can't be seen.
    #[error(
        "Redis at {address} has no append-only file, and whether it saves snapshots cannot be seen (CONFIG GET \
         is not allowed); a restart may lose the queue and the ids of paid jobs"
    )]
    MayKeepNothing {
        /// Where it is.
        address: String,
    },
}

/// Whether requests and outcomes stay where they are put.
///
/// A policy other than `noeviction` is refused where there is a memory limit. Even `volatile-*`, which only
/// throws keys with an expiry away: outcomes under keys of their own have one. Without a limit no policy acts.
///
/// # Errors
///
/// Why they may not.
pub fn check_safe(facts: &ServerFacts) -> Result<(), Unsafe> {
    let address = facts.address.clone();
    if facts.max_memory > 0 && facts.eviction != "noeviction" {
        return Err(Unsafe::Evicts {
            address,
            policy: facts.eviction.clone(),
        });
    }
    match facts.has_snapshots {
        _ if facts.has_aof => Ok(()),
        Some(true) => Ok(()),
        Some(false) => Err(Unsafe::KeepsNothing { address }),
        None => Err(Unsafe::MayKeepNothing { address }),
    }
}

/// An answer to `INFO`.
pub(super) struct Info<'a>(HashMap<&'a str, &'a str>);

impl<'a> Info<'a> {
    pub(super) fn read(text: &'a str) -> Self {
        Self(
            text.lines()
                .filter_map(|line| line.split_once(':'))
                .collect(),
        )
    }

    /// A field's text; empty where there is none.
    pub(super) fn get(&self, field: &str) -> &'a str {
        self.0.get(field).copied().unwrap_or_default()
    }

    /// Whether the version is one that has what we need.
    pub(super) fn is_recent(&self) -> bool {
        let major = self.get("redis_version").split('.').next();
        major
            .and_then(|major| major.parse::<u32>().ok())
            .is_some_and(|major| major >= 7)
    }

    /// What there is to know; `config` is what `CONFIG GET` gave, where it is allowed.
    pub(super) fn facts(
        &self,
        address: String,
        generation: u64,
        config: Option<&HashMap<String, String>>,
    ) -> ServerFacts {
        ServerFacts {
            generation,
            run_id: self.get("run_id").to_owned(),
            version: self.get("redis_version").to_owned(),
            address,
            is_cluster: self.get("redis_mode") == "cluster",
            max_memory: self.get("maxmemory").parse().unwrap_or_default(),
            eviction: self.get("maxmemory_policy").to_owned(),
            has_aof: self.get("aof_enabled") == "1",
            appendfsync: config.and_then(|c| c.get("appendfsync")).cloned(),
            has_snapshots: config.and_then(|c| c.get("save")).map(|s| !s.is_empty()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts(max_memory: u64, eviction: &str, aof: bool, snapshots: Option<bool>) -> ServerFacts {
        let info = format!(
            "# Server\r\nredis_version:7.0.15\r\nrun_id:abc\r\n# Memory\r\nmaxmemory:{max_memory}\r\n\
             maxmemory_policy:{eviction}\r\naof_enabled:{}\r\n",
            u8::from(aof)
        );
        let save = |s: bool| if s { "3600 1" } else { "" };
        let config = snapshots.map(|s| HashMap::from([("save".to_owned(), save(s).to_owned())]));
        Info::read(&info).facts("h:1".into(), 3, config.as_ref())
    }

    #[test]
    fn a_server_is_safe_that_evicts_nothing_and_keeps_something() {
        for (max_memory, eviction, aof, snapshots, part) in [
            (0, "noeviction", true, Some(false), None),
            (0, "noeviction", false, Some(true), None),
            (0, "allkeys-lru", true, None, None),
            (1, "noeviction", true, None, None),
            (
                1,
                "allkeys-lru",
                true,
                Some(true),
                Some("maxmemory-policy allkeys-lru"),
            ),
            (
                1,
                "volatile-ttl",
                true,
                Some(true),
                Some("maxmemory-policy volatile-ttl"),
            ),
            (
                0,
                "noeviction",
                false,
                Some(false),
                Some("keeps nothing on disk"),
            ),
            (0, "noeviction", false, None, Some("cannot be seen")),
        ] {
            let result = check_safe(&facts(max_memory, eviction, aof, snapshots));
            match part {
                None => assert_eq!(result, Ok(())),
                Some(part) => {
                    let text = result.unwrap_err().to_string();
                    assert!(text.contains(part) && text.contains("h:1"), "{text}");
                }
            }
        }
    }

    #[test]
    fn versions_from_7_on_will_do() {
        let is_recent = |version: &str| Info::read(&format!("redis_version:{version}")).is_recent();
        assert!(
            is_recent("7.0.0")
                && is_recent("7.2.4")
                && is_recent("10.1")
                && is_recent("255.255.255")
        );
        assert!(!is_recent("6.2.14") && !is_recent("") && !is_recent("x7"));
    }
}
