//! The simulator's books: what was asked of it, what it made, and what it told whom.
//!
//! What must stay true:
//!
//! * Times are those of arrival. A gap is the time between the arrivals of two polls of one job.
//! * A request is its URL and its site key: whoever wants to tell rows apart gives them URLs that
//!   differ, for instance in the query or the fragment ([`RequestKey::tag`]).
//! * An answer counts as delivered when it was handed to the connection whole. The client may know
//!   it then; it certainly does once it polls.
//! * With [`LedgerDetail::Counters`] memory does not grow with the jobs that ended.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use hdrhistogram::Histogram;
use serde::Serialize;
use tokio::time::Instant;

use crate::job::Micros;

use super::fault::Endpoint;
use super::record::{JobEnd, JobRecord, News, Receipt, RequestKey, RequestRecord, Told, Totals};
use super::settings::LedgerDetail;

/// How long [`LedgerDetail::Counters`] remembers a job after its end was told.
const MEMORY_OF_ENDED: Duration = Duration::from_secs(60);

/// Longest time that a histogram tells apart, in milliseconds: a day.
const LONGEST_MS: u64 = 24 * 3600 * 1000;

/// Arrivals within the last second.
#[derive(Clone, Debug, Default)]
struct Window {
    recent: VecDeque<Instant>,
    /// All of them since the start, where they are kept.
    all: Vec<Instant>,
}

impl Window {
    /// Notes an arrival. Gives the number of those within the second that ends with it, the instant
    /// one second ago excluded.
    fn note(&mut self, now: Instant, keep: bool) -> u64 {
        while self
            .recent
            .front()
            .is_some_and(|then| now.duration_since(*then) >= Duration::from_secs(1))
        {
            self.recent.pop_front();
        }
        self.recent.push_back(now);
        if keep {
            self.all.push(now);
        }
        self.recent.len() as u64
    }
}

/// A look at a histogram, in its unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Percentiles {
    /// Values.
    pub count: u64,
    /// Half of them are at most so large.
    pub p50: u64,
    /// 99 of 100 are at most so large.
    pub p99: u64,
    /// The largest.
    pub max: u64,
}

/// The books.
#[derive(Clone, Debug)]
pub struct Ledger {
    detail: LedgerDetail,
    totals: Totals,
    jobs: HashMap<u64, JobRecord>,
    requests: HashMap<Arc<RequestKey>, RequestRecord>,
    creates: Window,
    polls: Window,
    gaps_ms: Histogram<u64>,
    polls_of_a_job: Histogram<u64>,
    fetch_delay_ms: Histogram<u64>,
    /// When jobs ended for the client, in order; with `Counters` alone.
    ended: VecDeque<(Instant, u64)>,
}

impl Ledger {
    pub(super) fn new(detail: LedgerDetail) -> Self {
        Self {
            detail,
            totals: Totals::default(),
            jobs: HashMap::new(),
            requests: HashMap::new(),
            creates: Window::default(),
            polls: Window::default(),
            gaps_ms: histogram(),
            polls_of_a_job: histogram(),
            fetch_delay_ms: histogram(),
            ended: VecDeque::new(),
        }
    }

    /// The sums.
    #[must_use]
    pub fn totals(&self) -> &Totals {
        &self.totals
    }

    /// The jobs remembered, in the order of their creation.
    #[must_use]
    pub fn jobs(&self) -> Vec<&JobRecord> {
        let mut jobs: Vec<_> = self.jobs.values().collect();
        jobs.sort_unstable_by_key(|job| job.ordinal);
        jobs
    }

    /// A job remembered.
    #[must_use]
    pub fn job(&self, id: u64) -> Option<&JobRecord> {
        self.jobs.get(&id)
    }

    /// The requests remembered, ordered by URL and key.
    #[must_use]
    pub fn requests(&self) -> Vec<(&RequestKey, &RequestRecord)> {
        let mut requests: Vec<_> = self.requests.iter().map(|(k, r)| (&**k, r)).collect();
        requests.sort_unstable_by_key(|(key, _)| *key);
        requests
    }

    /// When calls arrived, in order. Only creates and polls are kept, and only with [`LedgerDetail::Full`].
    #[must_use]
    pub fn arrivals(&self, endpoint: Endpoint) -> &[Instant] {
        match endpoint {
            Endpoint::Create => &self.creates.all,
            Endpoint::Poll => &self.polls.all,
            Endpoint::Balance | Endpoint::Service => &[],
        }
    }

    /// Most calls that arrived within any half-open window of that length. Only creates and polls
    /// are kept, and only with [`LedgerDetail::Full`].
    #[must_use]
    pub fn busiest(&self, endpoint: Endpoint, window: Duration) -> usize {
        let all = self.arrivals(endpoint);
        let mut first = 0;
        let mut most = 0;
        for (n, now) in all.iter().enumerate() {
            while now.duration_since(all[first]) >= window && first < n {
                first += 1;
            }
            most = most.max(n + 1 - first);
        }
        most
    }

    /// Times between polls of one job, in milliseconds.
    #[must_use]
    pub fn poll_gaps_ms(&self) -> Percentiles {
        percentiles(&self.gaps_ms)
    }

    /// Polls that jobs took until their end was delivered.
    #[must_use]
    pub fn polls_of_a_job(&self) -> Percentiles {
        percentiles(&self.polls_of_a_job)
    }

    /// From the end of a job to the delivery of that news, in milliseconds.
    #[must_use]
    pub fn fetch_delay_ms(&self) -> Percentiles {
        percentiles(&self.fetch_delay_ms)
    }

    /// A call arrived, right or wrong. `None` for one to nowhere.
    pub(super) fn arrived(&mut self, now: Instant, endpoint: Option<Endpoint>) {
        self.forget(now);
        let keep = self.detail == LedgerDetail::Full;
        match endpoint {
            Some(Endpoint::Create) => {
                self.totals.creates += 1;
                let window = self.creates.note(now, keep);
                raise(&mut self.totals.most_creates_per_second, window);
            }
            Some(Endpoint::Poll) => {
                self.totals.polls += 1;
                let window = self.polls.note(now, keep);
                raise(&mut self.totals.most_polls_per_second, window);
            }
            Some(Endpoint::Balance | Endpoint::Service) | None => self.totals.others += 1,
        }
    }

    /// A well-made create for a request arrived. Gives its place among those of the request, from 1.
    pub(super) fn create_of(&mut self, request: &Arc<RequestKey>) -> u64 {
        let record = self.requests.entry(Arc::clone(request)).or_default();
        record.creates += 1;
        raise(&mut self.totals.most_creates_of_a_request, record.creates);
        record.creates
    }

    /// A job was made or adopted. Its ordinal is set here.
    pub(super) fn made(&mut self, mut job: JobRecord) {
        let record = self.requests.entry(Arc::clone(&job.request)).or_default();
        if job.adopted {
            self.totals.adopted += 1;
        } else {
            record.jobs += 1;
            self.totals.jobs += 1;
            self.totals.creates_of_known += u64::from(record.known > 0);
            self.totals.creates_of_polled += u64::from(record.polled > 0);
        }
        record.remembered += 1;
        job.ordinal = self.totals.jobs + self.totals.adopted;
        self.totals.billed_micros += job.billed.0;
        self.totals.in_flight += 1;
        raise(&mut self.totals.most_in_flight, self.totals.in_flight);
        self.jobs.insert(job.id, job);
    }

    /// A poll of a known job arrived.
    pub(super) fn polled(&mut self, now: Instant, id: u64) -> Option<&JobRecord> {
        let job = self.jobs.get_mut(&id)?;
        job.polls += 1;
        if let Some(last) = job.last_poll.replace(now) {
            let gap = now.duration_since(last);
            job.min_gap = Some(job.min_gap.map_or(gap, |least| least.min(gap)));
            let gap_ms = whole_ms(gap);
            self.gaps_ms.saturating_record(gap_ms);
            let least = self
                .totals
                .min_poll_gap_ms
                .map_or(gap_ms, |least| least.min(gap_ms));
            self.totals.min_poll_gap_ms = Some(least);
        }
        if matches!(job.told, Told::Solved | Told::Failed) {
            job.polls_after_end += 1;
            self.totals.polls_after_end += 1;
        }
        if job.polls == 1
            && let Some(record) = self.requests.get_mut(&job.request)
        {
            record.polled += 1;
        }
        Some(job)
    }

    /// What a job cost is given back.
    pub(super) fn refund(&mut self, id: u64) -> Micros {
        let Some(job) = self.jobs.get_mut(&id) else {
            return Micros::ZERO;
        };
        let refund = std::mem::take(&mut job.billed);
        self.totals.billed_micros -= refund.0;
        refund
    }

    /// An answer was handed to its connection whole.
    pub(super) fn delivered(&mut self, now: Instant, receipt: Receipt) {
        let Some(job) = self.jobs.get_mut(&receipt.job) else {
            return;
        };
        let record = self.requests.get_mut(&job.request);
        let told = match receipt.news {
            News::Created => {
                if !job.answer_delivered {
                    job.answer_delivered = true;
                    if let Some(record) = record {
                        record.known += 1;
                    }
                }
                return;
            }
            News::Ended(told) => told,
        };
        if matches!(job.told, Told::Solved | Told::Failed) {
            return;
        }
        let was = std::mem::replace(&mut job.told, told);
        // The client may try again from now on.
        if matches!(told, Told::Failed | Told::Lost)
            && was == Told::Nothing
            && let Some(record) = record
        {
            record.known -= u64::from(job.answer_delivered);
            record.polled -= u64::from(job.polls > 0);
        }
        match told {
            Told::Solved => self.totals.solved += 1,
            Told::Failed => self.totals.failed += 1,
            Told::Nothing | Told::Lost => return,
        }
        self.totals.in_flight -= 1;
        self.polls_of_a_job.saturating_record(job.polls);
        if let JobEnd::Solved(end) | JobEnd::Failed(end) = job.end {
            self.fetch_delay_ms
                .saturating_record(whole_ms(now.duration_since(end)));
        }
        if self.detail == LedgerDetail::Counters {
            self.ended.push_back((now, receipt.job));
        }
    }

    pub(super) fn refused(&mut self) {
        self.totals.refused += 1;
    }

    pub(super) fn unknown_job(&mut self) {
        self.totals.unknown_jobs += 1;
    }

    pub(super) fn injected(&mut self, endpoint: Endpoint, fault: &str) {
        *self
            .totals
            .faults
            .entry(format!("{endpoint}:{fault}"))
            .or_default() += 1;
    }

    /// Drops what ended long ago, where only counts are kept.
    fn forget(&mut self, now: Instant) {
        while let Some((ended, id)) = self.ended.front().copied() {
            if now.duration_since(ended) < MEMORY_OF_ENDED {
                return;
            }
            self.ended.pop_front();
            let Some(job) = self.jobs.remove(&id) else {
                continue;
            };
            let Some(record) = self.requests.get_mut(&job.request) else {
                continue;
            };
            record.remembered -= 1;
            if record.remembered == 0 {
                self.requests.remove(&job.request);
            } else if job.told == Told::Solved {
                record.known = record.known.saturating_sub(u64::from(job.answer_delivered));
                record.polled = record.polled.saturating_sub(u64::from(job.polls > 0));
            }
        }
    }
}

fn raise(most: &mut u64, value: u64) {
    *most = value.max(*most);
}

fn whole_ms(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

fn histogram() -> Histogram<u64> {
    match Histogram::new_with_bounds(1, LONGEST_MS, 2) {
        Ok(histogram) => histogram,
        Err(_) => unreachable!("the bounds are constants within the crate's limits"),
    }
}

fn percentiles(histogram: &Histogram<u64>) -> Percentiles {
    Percentiles {
        count: histogram.len(),
        p50: histogram.value_at_quantile(0.5),
        p99: histogram.value_at_quantile(0.99),
        max: histogram.max(),
    }
}

#[cfg(test)]
mod tests;
