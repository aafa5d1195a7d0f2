//! What must be true of a queue, as far as one can tell from the answers that its callers got.
//!
//! The model knows what each answer means and nothing of how scripts work.

use std::collections::{BTreeMap, BTreeSet};

use super::dump::Dump;
use super::*;

/// As in common.lua.
const MOST_RETIRED: usize = 8;

/// What is true of the requests of one id.
#[derive(Debug, Default)]
pub(super) struct Request {
    pub(super) is_live: bool,
    pub(super) generations: usize,
    pub(super) outcomes: usize,
    pub(super) hash: String,
    /// The first epoch of this generation.
    pub(super) start: u64,
    /// The highest one that was handed out.
    pub(super) epoch: u64,
    /// Recorded, and without a verdict.
    pub(super) remote: Option<String>,
    /// With a verdict: of this generation's jobs, and the last generation's end.
    pub(super) retired: Vec<String>,
    pub(super) ended_with: Option<String>,
    /// The hold whose create is in doubt.
    pub(super) pending: Option<Epoch>,
    pub(super) spent: i64,
    pub(super) creates: u32,
    pub(super) is_dead: bool,
}

#[derive(Debug, Default)]
pub(super) struct Model {
    pub(super) requests: BTreeMap<String, Request>,
    pub(super) messages: usize,
    pub(super) rejected: usize,
    pub(super) duplicates: usize,
    pub(super) admitted: BTreeSet<String>,
    /// Steps that were taken.
    pub(super) steps: BTreeSet<(String, Epoch, u32)>,
    pub(super) spent: i64,
    pub(super) creates: i64,
    pub(super) unknown_creates: i64,
    pub(super) retries: i64,
    pub(super) orphans: BTreeSet<(String, String)>,
}

impl Model {
    pub(super) fn of(&mut self, id: &str) -> &mut Request {
        self.requests.entry(id.to_owned()).or_default()
    }

    pub(super) fn is_first(&mut self, own: &Own) -> bool {
        self.steps.insert((own.id.clone(), own.epoch, own.step))
    }

    pub(super) fn retire(&mut self, id: &str, remote: Option<String>) {
        let retired = &mut self.of(id).retired;
        if let Some(remote) = remote.filter(|one| !retired.contains(one)) {
            retired.push(remote);
            if retired.len() > MOST_RETIRED {
                retired.remove(0);
            }
        }
    }

    pub(super) fn start(&mut self, id: &str, epoch: u64) {
        let ended_with = self.of(id).ended_with.take();
        self.retire(id, ended_with);
        let request = self.of(id);
        assert!(!request.is_live, "{id} has one generation at a time");
        request.is_live = true;
        request.is_dead = false;
        request.generations += 1;
        (request.start, request.epoch) = (epoch, request.epoch.max(epoch));
        (
            request.spent,
            request.creates,
            request.pending,
            request.remote,
        ) = (0, 0, None, None);
    }

    /// A job was handed out.
    pub(super) fn hand_out(&mut self, held: &Held) {
        let request = self.requests.get_mut(&held.id).unwrap();
        assert!(request.is_live, "{} is over", held.id);
        assert_eq!(held.remote_id, request.remote, "{}", held.id);
        assert!(held.epoch.0 > request.epoch);
        request.epoch = held.epoch.0;
        assert_eq!(held.history.spent, Micros(request.spent));
        assert_eq!(held.history.creates, request.creates);
        let in_doubt = request.pending.take().is_some();
        assert_eq!(held.found_submitting, in_doubt && request.remote.is_none());
        self.unknown_creates += i64::from(in_doubt);
    }

    pub(super) fn refund(&mut self, id: &str, amount: i64) {
        let request = self.of(id);
        let amount = amount.min(request.spent);
        request.spent -= amount;
        self.spent -= amount;
    }

    /// An id came in from a create.
    pub(super) fn brought(&mut self, own: &Own, remote: &str, is_gone: bool) {
        let request = self.of(&own.id);
        let has_verdict = request.retired.iter().any(|one| one == remote)
            || request.ended_with.as_deref() == Some(remote);
        if is_gone {
            self.orphans.insert((own.id.clone(), remote.to_owned()));
        } else if has_verdict || request.remote.as_deref() == Some(remote) {
            // It is known.
        } else if request.is_live && request.remote.is_none() && own.epoch.0 >= request.start {
            request.remote = Some(remote.to_owned());
        } else {
            self.orphans.insert((own.id.clone(), remote.to_owned()));
        }
    }

    /// Compares itself with everything that Redis holds.
    pub(super) fn compare(&mut self, dump: &Dump) {
        for (id, request) in &mut self.requests {
            let job = dump.job(id);
            let is_live = job.is_some_and(|job| job["s"] != "done");
            assert_eq!(is_live, request.is_live, "{id}");
            if job.is_none() {
                request.retired.clear();
                request.ended_with = None;
            }
            if let Some(job) = job.filter(|_| is_live) {
                assert_eq!(
                    job.get("r").and_then(|r| r.as_str()),
                    request.remote.as_deref(),
                    "{id}"
                );
                assert_eq!(job["m"].as_i64().unwrap_or(0), request.spent, "{id}");
                // A release ends an epoch, too.
                let epoch = job["e"].as_u64().unwrap();
                assert!(epoch >= request.epoch);
                request.epoch = epoch;
            }
            assert_eq!(
                request.outcomes + usize::from(is_live),
                request.generations,
                "{id}"
            );
            let pushed = dump
                .texts("results")
                .iter()
                .filter(|&one| one == id)
                .count();
            assert_eq!(pushed, request.outcomes, "{id}");
        }
        assert_eq!(dump.meta("spent"), self.spent);
        assert_eq!(dump.meta("creates"), self.creates);
        assert_eq!(dump.meta("unknown_creates"), self.unknown_creates);
        assert_eq!(dump.meta("retries"), self.retries);
        let orphans: BTreeSet<(String, String)> = dump
            .texts("orphan")
            .iter()
            .map(|note| {
                let note: serde_json::Value = serde_json::from_str(note).unwrap();
                (
                    note["id"].as_str().unwrap().to_owned(),
                    note["remote_id"].to_string(),
                )
            })
            .collect();
        assert_eq!(orphans, self.orphans);
        assert_eq!(dump.texts("orphan").len(), orphans.len(), "each once");
        let raw = dump
            .unfinished()
            .iter()
            .filter(|id| id.starts_with('\0'))
            .count();
        let waiting = dump.texts("list").len() + dump.texts("inbox").len();
        let ended = self.admitted.len() + self.duplicates + self.rejected;
        assert_eq!(raw + waiting + ended, self.messages, "no message is lost");
    }
}
