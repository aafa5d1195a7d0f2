//! The names of a queue's keys, all in the hash slot of the producers' list.
//!
//! What must stay true: for a list `L` and a prefix `P` a key is `P{tag}:L:part`, where `tag` is
//! what Redis itself hashes of `L`. So on a Cluster one script may touch the list and all keys of
//! its queue, two lists that share a tag do not mix, and one ACL pattern (`P*`) covers them all.
//! Source of the rule: Redis, "Cluster specification", "Hash tags" and "Keys distribution model".

/// The names of all keys of one queue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Keys {
    /// The producers' list, as they name it.
    pub list: String,
    /// List: where a blocking move puts an element between the producers' list and a claim.
    pub inbox: String,
    /// List: requests to be claimed now.
    pub ready: String,
    /// Sorted set: requests to be claimed at a time.
    pub delayed: String,
    /// Sorted set: id → lease end.
    pub lease: String,
    /// Hash: id → state.
    pub job: String,
    /// Hash: id → request.
    pub payload: String,
    /// Hash: the fleet's rate limits.
    pub limit: String,
    /// Hash: epoch counter, pause flag, spend, counters, the server's run id.
    pub meta: String,
    /// Sorted set: ids that finished lately.
    pub done: String,
    /// Sorted set: requests that were given up.
    pub dead: String,
    /// List: second remote ids of jobs that have one.
    pub orphan: String,
    /// Sorted set: worker id → until when it counts as alive.
    pub workers: String,
}

/// Why a queue can't have keys of such names.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
pub enum KeyError {
    /// The list has no name.
    #[error("the list has no name")]
    EmptyList,
    /// The list is one of our own keys, or looks like one.
    #[error("the list {list:?} would be one of pollwheel's own keys (they begin with {start:?})")]
    OwnKey {
        /// The list.
        list: String,
        /// What our keys begin with.
        start: String,
    },
    /// No key of ours can be in the list's slot.
    #[error(
        "no keys for the list {list:?} can be in its hash slot, because of its braces; rename it, \
         or put a hash tag like {{name}} first"
    )]
    NoTag {
        /// The list.
        list: String,
    },
    /// The prefix of our keys would hide their hash tag, or is missing.
    #[error("the key prefix {prefix:?} must have at least one character and no brace")]
    BadPrefix {
        /// The prefix.
        prefix: String,
    },
}

impl Keys {
    /// The keys of the queue that takes its requests from `list`, under `prefix`.
    ///
    /// # Errors
    ///
    /// A name for which no keys exist in the list's slot, or that would meet our own keys.
    pub fn new(prefix: &str, list: &str) -> Result<Self, KeyError> {
        if prefix.is_empty() || prefix.contains(['{', '}']) {
            return Err(KeyError::BadPrefix {
                prefix: prefix.to_owned(),
            });
        }
        if list.is_empty() {
            return Err(KeyError::EmptyList);
        }
        let start = format!("{prefix}{{");
        if list.starts_with(&start) {
            return Err(KeyError::OwnKey {
                list: list.to_owned(),
                start,
            });
        }
        let tag = tag(list);
        let part = |part: &str| format!("{prefix}{{{tag}}}:{list}:{part}");
        let keys = Self {
            list: list.to_owned(),
            inbox: part("inbox"),
            ready: part("ready"),
            delayed: part("delayed"),
            lease: part("lease"),
            job: part("job"),
            payload: part("payload"),
            limit: part("limit"),
            meta: part("meta"),
            done: part("done"),
            dead: part("dead"),
            orphan: part("orphan"),
            workers: part("workers"),
        };
        let home = slot(list.as_bytes());
        if keys.all().iter().any(|key| slot(key.as_bytes()) != home) {
            return Err(KeyError::NoTag {
                list: list.to_owned(),
            });
        }
        Ok(keys)
    }

    /// All 13, in the order in which every script gets them.
    #[must_use]
    pub fn all(&self) -> [&str; 13] {
        [
            &self.list,
            &self.inbox,
            &self.ready,
            &self.delayed,
            &self.lease,
            &self.job,
            &self.payload,
            &self.limit,
            &self.meta,
            &self.done,
            &self.dead,
            &self.orphan,
            &self.workers,
        ]
    }
}

/// Hash slots of a Cluster.
const SLOTS: u16 = 16_384;

/// The slot of a Cluster that `key` lives in.
#[must_use]
pub fn slot(key: &[u8]) -> u16 {
    crc16(&key[tag_range(key)]) % SLOTS
}

/// The part of `key` that Redis hashes.
fn tag(key: &str) -> &str {
    // Braces are one byte each, so the range is on character boundaries.
    &key[tag_range(key.as_bytes())]
}

/// What lies between the first `{` and the next `}`, if it is not empty; else all of it.
fn tag_range(key: &[u8]) -> std::ops::Range<usize> {
    let all = 0..key.len();
    let Some(open) = key.iter().position(|&b| b == b'{') else {
        return all;
    };
    let start = open + 1;
    match key[start..].iter().position(|&b| b == b'}') {
        None | Some(0) => all,
        Some(length) => start..start + length,
    }
}

/// CRC-16/XMODEM, which is Redis'. Bit by bit: it runs a few times at start.
fn crc16(bytes: &[u8]) -> u16 {
    bytes.iter().fold(0, |crc, &byte| {
        (0..8).fold(crc ^ (u16::from(byte) << 8), |crc, _| {
            if crc & 0x8000 == 0 {
                crc << 1
            } else {
                (crc << 1) ^ 0x1021
            }
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    use proptest::prelude::*;

    const PREFIX: &str = "pollwheel:";
    const OWN: &str = "pw{";

    #[test]
    fn slots_are_those_of_the_specification() {
        // "Cluster specification": the check value of its CRC16, and its examples of hash tags.
        assert_eq!(crc16(b"123456789"), 0x31c3);
        assert_eq!(slot(b"123456789"), 12_739);
        assert_eq!(tag("{user1000}.following"), "user1000");
        assert_eq!(tag("foo{}{bar}"), "foo{}{bar}");
        assert_eq!(tag("foo{{bar}}zap"), "{bar");
        assert_eq!(tag("foo{bar}{zap}"), "bar");
        assert_eq!(tag("foo{bar"), "foo{bar");
        assert_eq!(tag("foo}bar{"), "foo}bar{");
    }

    #[test]
    fn keys_are_named_after_list_and_part() {
        let keys = Keys::new(PREFIX, "solve:requests").unwrap();
        assert_eq!(keys.list, "solve:requests");
        assert_eq!(
            keys.lease,
            "pollwheel:{solve:requests}:solve:requests:lease"
        );
        let keys = Keys::new("pw-", "{shop}:requests").unwrap();
        assert_eq!(keys.meta, "pw-{shop}:{shop}:requests:meta");
    }

    #[test]
    fn two_lists_with_one_tag_do_not_mix() {
        let a = Keys::new(PREFIX, "{shop}a").unwrap();
        let b = Keys::new(PREFIX, "{shop}b").unwrap();
        assert!(a.all().iter().all(|key| !b.all().contains(key)));
    }

    #[test]
    fn all_names_each_part_once_in_the_agreed_order() {
        let keys = Keys::new(PREFIX, "l").unwrap();
        let parts: Vec<&str> = keys.all()[1..]
            .iter()
            .map(|key| key.rsplit(':').next().unwrap())
            .collect();
        assert_eq!(
            parts.join(" "),
            "inbox ready delayed lease job payload limit meta done dead orphan workers"
        );
        assert_eq!(keys.all()[0], "l");
    }

    #[test]
    fn names_without_keys_are_refused() {
        let no_tag = |list: &str| matches!(Keys::new(PREFIX, list), Err(KeyError::NoTag { list: named }) if named == list);
        // Their whole name is hashed, and can't stand between braces.
        for list in ["a}b", "}", "}{", "{}a", "a{}{b}", "a}b{"] {
            assert!(no_tag(list), "{list}");
        }
        // These look odd, and are fine.
        for list in ["a{b", "{", "a{b{c}d}", "{a}}", "x{{y}}"] {
            assert!(Keys::new(PREFIX, list).is_ok(), "{list}");
        }
        assert_eq!(Keys::new(PREFIX, ""), Err(KeyError::EmptyList));
        assert!(matches!(
            Keys::new(PREFIX, "pollwheel:{x}:x:ready"),
            Err(KeyError::OwnKey { .. })
        ));
        assert!(Keys::new(PREFIX, "pollwheel:requests").is_ok());
        for prefix in ["", "{a}", "a}", "a{"] {
            assert!(
                matches!(Keys::new(prefix, "l"), Err(KeyError::BadPrefix { .. })),
                "{prefix}"
            );
        }
    }

    proptest! {
        #[test]
        fn every_key_is_in_the_lists_slot_and_none_is_named_twice(
            prefix in "[a-z:]{1,8}", list in "[ab{}:é]{0,10}",
        ) {
            if let Ok(keys) = Keys::new(&prefix, &list) {
                let all = keys.all();
                let home = slot(list.as_bytes());
                prop_assert!(all.iter().all(|key| slot(key.as_bytes()) == home));
                let distinct: std::collections::HashSet<_> = all.iter().collect();
                prop_assert_eq!(distinct.len(), all.len());
            }
        }

        #[test]
        fn a_name_without_braces_always_has_keys(list in "[^{}]{1,40}") {
            prop_assert!(Keys::new("pollwheel:", &list).is_ok());
        }

        #[test]
        fn a_name_with_a_tag_always_has_keys(
            before in "[^{}]{0,8}", tag in "[^}]{1,8}", after in ".{0,8}",
        ) {
            let list = format!("{before}{{{tag}}}{after}");
            prop_assert!(list.starts_with(OWN) || Keys::new("pw", &list).is_ok());
        }
    }
}
