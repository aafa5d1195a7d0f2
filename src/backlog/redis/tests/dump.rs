//! Everything that Redis holds of a queue, and what must be true of it at any time.

use std::collections::BTreeMap;

use ::redis::aio::MultiplexedConnection;
use serde_json::Value;

use super::{CREATING, PARTS, RESULTS, key};

const SCRIPT: &str = r"
local function pairs_of(flat)
  local map = {}
  for i = 1, #flat, 2 do map[flat[i]] = flat[i + 1] end
  return map
end
local jobs = {}
for id, packed in pairs(pairs_of(redis.call('HGETALL', KEYS[6]))) do
  jobs[id] = cmsgpack.unpack(packed)
  jobs[id].sl = nil
end
return cjson.encode({
  list = redis.call('LRANGE', KEYS[1], 0, -1), inbox = redis.call('LRANGE', KEYS[2], 0, -1),
  ready = redis.call('LRANGE', KEYS[3], 0, -1), delayed = pairs_of(redis.call('ZRANGE', KEYS[4], 0, -1, 'WITHSCORES')),
  lease = pairs_of(redis.call('ZRANGE', KEYS[5], 0, -1, 'WITHSCORES')), jobs = jobs,
  payload = redis.call('HKEYS', KEYS[7]), meta = pairs_of(redis.call('HGETALL', KEYS[9])),
  done = redis.call('ZRANGE', KEYS[10], 0, -1), dead = redis.call('ZRANGE', KEYS[11], 0, -1),
  orphan = redis.call('LRANGE', KEYS[12], 0, -1), results = redis.call('LRANGE', KEYS[14], 0, -1),
})";

/// What stands in Redis.
pub(super) struct Dump(Value);

impl Dump {
    pub(super) async fn of(con: &mut MultiplexedConnection) -> Self {
        let mut eval = ::redis::cmd("EVAL");
        eval.arg(SCRIPT).arg(14);
        for part in PARTS {
            eval.arg(key(part));
        }
        let json: String = eval.arg(RESULTS).query_async(con).await.unwrap();
        Self(serde_json::from_str(&json).unwrap())
    }

    /// The members of a list or set.
    pub(super) fn texts(&self, part: &str) -> Vec<&str> {
        let all = self.0[part].as_array();
        all.into_iter()
            .flatten()
            .map(|one| one.as_str().unwrap())
            .collect()
    }

    fn map(&self, part: &str) -> BTreeMap<&str, &Value> {
        let all = self.0[part].as_object();
        all.into_iter()
            .flatten()
            .map(|(k, v)| (k.as_str(), v))
            .collect()
    }

    pub(super) fn job(&self, id: &str) -> Option<&Value> {
        self.0["jobs"].get(id)
    }

    /// Ids that are not finished, messages included.
    pub(super) fn unfinished(&self) -> Vec<&str> {
        let jobs = self.map("jobs").into_iter();
        jobs.filter(|(_, job)| job["s"] != "done")
            .map(|(id, _)| id)
            .collect()
    }

    pub(super) fn leased(&self) -> Vec<&str> {
        self.map("lease").into_keys().collect()
    }

    pub(super) fn meta(&self, name: &str) -> i64 {
        let value = self.0["meta"].get(name);
        value.map_or(0, |v| v.as_str().unwrap().parse().unwrap())
    }

    /// What is spent on unfinished requests.
    pub(super) fn spent_on_unfinished(&self) -> i64 {
        let jobs = self.map("jobs").into_values();
        jobs.filter_map(|job| job["m"].as_i64()).sum()
    }

    /// Panics where a rule is broken that holds between any two scripts.
    pub(super) fn check(&self) {
        let jobs = self.map("jobs");
        let leases = self.map("lease");
        let delayed = self.map("delayed");
        let ready = self.texts("ready");
        for (id, job) in &jobs {
            let state = job["s"].as_str().unwrap();
            let place = (leases.contains_key(id), delayed.contains_key(id));
            match state {
                "raw" | "claimed" | "submitting" | "waiting" => {
                    assert_eq!(place, (true, false), "{id} is {state}");
                    let score: f64 = leases[id].as_str().unwrap().parse().unwrap();
                    assert_eq!(score < CREATING, job.get("r").is_some(), "{id}: {score}");
                }
                "queued" => {
                    let is_delayed = job.get("dly").is_some();
                    assert_eq!(place, (false, is_delayed), "{id}");
                    assert!(is_delayed || ready.contains(id), "{id} is in ready");
                }
                "done" => {
                    assert_eq!(place, (false, false), "{id}");
                    assert!(self.texts("done").contains(id));
                }
                other => panic!("{id} is {other}"),
            }
            assert_eq!(
                job.get("r").is_some(),
                state == "waiting" || state == "done" && job.get("r").is_some()
            );
            assert_eq!(
                state != "done",
                self.texts("payload").contains(id),
                "{id} and its payload"
            );
            assert!(job["m"].as_i64().unwrap_or(0) >= 0);
            assert!(job["e"].as_i64().unwrap() <= self.meta("epoch"));
        }
        for id in leases.keys().chain(delayed.keys()) {
            assert!(jobs.contains_key(id), "{id} has no job");
        }
        for id in self.texts("payload") {
            let is_kept = match id.strip_prefix("dead\0") {
                Some(dead) => self.texts("dead").contains(&dead),
                None => jobs.contains_key(id),
            };
            assert!(is_kept, "the payload of {id} is left behind");
        }
        assert_eq!(self.texts("orphan").len() as i64, self.meta("orphans"));
        assert!(self.meta("spent") >= self.spent_on_unfinished());
    }
}
