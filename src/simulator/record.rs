//! What the ledger keeps of a job and of a request, and its sums.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use tokio::time::Instant;

use crate::job::Micros;

/// What makes two creates creates of one request.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RequestKey {
    /// The URL, as sent. Empty for an adopted job.
    pub url: String,
    /// The site key, as sent.
    pub key: String,
}

impl RequestKey {
    /// What follows the first `?` or `#` of the URL; empty where there is neither.
    #[must_use]
    pub fn tag(&self) -> &str {
        self.url.split_once(['?', '#']).map_or("", |(_, tag)| tag)
    }
}

/// What a request met.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RequestRecord {
    /// Creates that arrived, whatever became of them.
    pub creates: u64,
    /// Jobs made.
    pub jobs: u64,
    /// Jobs still remembered.
    pub(super) remembered: u64,
    /// Jobs whose create was answered and that were not told to have failed.
    pub(super) known: u64,
    /// Jobs that were polled and not told to have failed.
    pub(super) polled: u64,
}

/// How a job ends, and when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JobEnd {
    /// With a token.
    Solved(Instant),
    /// Without one.
    Failed(Instant),
    /// Never.
    Never,
}

/// What the client was told about the end of a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Told {
    /// Nothing yet.
    Nothing,
    /// That there is no such job, by an injected fault.
    Lost,
    /// Its token.
    Solved,
    /// That it failed.
    Failed,
}

/// A job.
#[derive(Clone, Debug)]
pub struct JobRecord {
    /// Its id.
    pub id: u64,
    /// Its place in the order of creation, from 1.
    pub ordinal: u64,
    /// Its type: the place in the settings.
    pub job_type: usize,
    /// The request that it was made for.
    pub request: Arc<RequestKey>,
    /// When its create arrived; of an adopted one, its first poll.
    pub created_at: Instant,
    /// How it ends.
    pub end: JobEnd,
    /// Whether it was adopted instead of created.
    pub adopted: bool,
    /// Whether the create's answer, with its id, was delivered.
    pub answer_delivered: bool,
    /// Polls that arrived.
    pub polls: u64,
    /// When the last of them did.
    pub last_poll: Option<Instant>,
    /// Least time between two of them.
    pub min_gap: Option<Duration>,
    /// What was told about its end.
    pub told: Told,
    /// Polls that arrived after its end was told.
    pub polls_after_end: u64,
    /// What it cost and was not given back.
    pub billed: Micros,
}

impl JobRecord {
    pub(super) fn new(
        id: u64,
        job_type: usize,
        request: Arc<RequestKey>,
        created_at: Instant,
        end: JobEnd,
        billed: Micros,
    ) -> Self {
        Self {
            id,
            ordinal: 0,
            job_type,
            request,
            created_at,
            end,
            adopted: false,
            answer_delivered: false,
            polls: 0,
            last_poll: None,
            min_gap: None,
            told: Told::Nothing,
            polls_after_end: 0,
            billed,
        }
    }
}

/// Something that an answer tells about a job, to be noted when it is delivered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Receipt {
    pub(super) job: u64,
    pub(super) news: News,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum News {
    Created,
    Ended(Told),
}

/// Sums over everything.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Totals {
    /// Creates that arrived.
    pub creates: u64,
    /// Polls that arrived.
    pub polls: u64,
    /// Other calls that arrived, also such to paths or by methods that there are none of.
    pub others: u64,
    /// Jobs made.
    pub jobs: u64,
    /// Jobs adopted.
    pub adopted: u64,
    /// Calls refused for what they said, their account or its balance; not by an injected fault.
    pub refused: u64,
    /// Polls of jobs that are not known.
    pub unknown_jobs: u64,
    /// Jobs whose token was delivered.
    pub solved: u64,
    /// Jobs whose failure was delivered.
    pub failed: u64,
    /// Creates that made a job for a request of which an earlier create was answered, the answer
    /// delivered, and the job not told to have failed. The answer may have been lost with its reader.
    pub creates_of_known: u64,
    /// Of those, creates for requests with such a job that had even been polled: its reader knew it.
    pub creates_of_polled: u64,
    /// Most creates that arrived for one request.
    pub most_creates_of_a_request: u64,
    /// Most creates that arrived within a second.
    pub most_creates_per_second: u64,
    /// Most polls that arrived within a second.
    pub most_polls_per_second: u64,
    /// Polls of a job after its end was delivered.
    pub polls_after_end: u64,
    /// Least time between two polls of one job, in milliseconds, rounded down.
    pub min_poll_gap_ms: Option<u64>,
    /// Jobs made whose end was not delivered.
    pub in_flight: u64,
    /// The most of them at a time.
    pub most_in_flight: u64,
    /// What jobs cost and was not given back, in millionths of a dollar.
    pub billed_micros: i64,
    /// Faults injected, by `endpoint:fault`.
    pub faults: BTreeMap<String, u64>,
}
