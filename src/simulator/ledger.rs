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

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use hdrhistogram::Histogram;
use serde::Serialize;
use tokio::time::Instant;

use crate::job::Micros;

use super::fault::Endpoint;
use super::settings::LedgerDetail;

/// How long [`LedgerDetail::Counters`] remembers a job after its end was told.
const MEMORY_OF_ENDED: Duration = Duration::from_secs(60);

/// Longest time that a histogram tells apart, in milliseconds: a day.
const LONGEST_MS: u64 = 24 * 3600 * 1000;

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
    remembered: u64,
    /// Jobs whose create was answered and that were not told to have failed.
    known: u64,
    /// Jobs that were polled and not told to have failed.
    polled: u64,
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

    /// Most calls that arrived within any half-open window of that length. Only creates and polls
    /// are kept, and only with [`LedgerDetail::Full`].
    #[must_use]
    pub fn busiest(&self, endpoint: Endpoint, window: Duration) -> usize {
        let all = match endpoint {
            Endpoint::Create => &self.creates.all,
            Endpoint::Poll => &self.polls.all,
            Endpoint::Balance | Endpoint::Service => return 0,
        };
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
mod tests {
    use super::*;

    fn key(url: &str) -> Arc<RequestKey> {
        Arc::new(RequestKey {
            url: url.to_owned(),
            key: "k".to_owned(),
        })
    }

    fn job(id: u64, request: &Arc<RequestKey>, now: Instant) -> JobRecord {
        JobRecord::new(
            id,
            0,
            Arc::clone(request),
            now,
            JobEnd::Solved(now),
            Micros(5),
        )
    }

    fn receipt(job: u64, news: News) -> Receipt {
        Receipt { job, news }
    }

    fn ms(n: u64) -> Duration {
        Duration::from_millis(n)
    }

    #[test]
    fn windows_are_half_open() {
        let mut ledger = Ledger::new(LedgerDetail::Full);
        let start = Instant::now();
        for at in [0, 400, 999, 1000, 1400, 5000] {
            ledger.arrived(start + ms(at), Some(Endpoint::Create));
        }
        ledger.arrived(start + ms(5001), Some(Endpoint::Poll));
        assert_eq!(ledger.totals().most_creates_per_second, 3);
        assert_eq!(ledger.totals().most_polls_per_second, 1);
        assert_eq!(ledger.busiest(Endpoint::Create, ms(1000)), 3);
        assert_eq!(ledger.busiest(Endpoint::Create, ms(1001)), 4);
        assert_eq!(ledger.busiest(Endpoint::Create, ms(1)), 1);
        assert_eq!(ledger.busiest(Endpoint::Create, ms(60_000)), 6);
    }

    #[test]
    fn gaps_are_those_of_one_job() {
        let mut ledger = Ledger::new(LedgerDetail::Full);
        let start = Instant::now();
        let request = key("u");
        ledger.made(job(1, &request, start));
        ledger.made(job(2, &request, start));
        for (at, id) in [(2000, 1), (2100, 2), (4000, 1), (4200, 2), (5999, 1)] {
            ledger.polled(start + ms(at), id);
        }
        assert_eq!(ledger.job(1).unwrap().min_gap, Some(ms(1999)));
        assert_eq!(ledger.job(2).unwrap().min_gap, Some(ms(2100)));
        assert_eq!(ledger.totals().min_poll_gap_ms, Some(1999));
        assert_eq!(ledger.poll_gaps_ms().count, 3);
        assert!(ledger.polled(start, 3).is_none());
    }

    #[test]
    fn a_create_of_a_known_job_is_noticed() {
        let mut ledger = Ledger::new(LedgerDetail::Full);
        let now = Instant::now();
        let (one, other) = (key("u"), key("v"));
        ledger.made(job(1, &one, now));
        // The answer of job 1 was never delivered: nobody knows it.
        ledger.made(job(2, &one, now));
        assert_eq!(ledger.totals().creates_of_known, 0);
        ledger.delivered(now, receipt(2, News::Created));
        ledger.made(job(3, &other, now));
        assert_eq!(ledger.totals().creates_of_known, 0);
        ledger.made(job(4, &one, now));
        assert_eq!(
            (
                ledger.totals().creates_of_known,
                ledger.totals().creates_of_polled
            ),
            (1, 0)
        );
        ledger.polled(now, 2);
        ledger.made(job(5, &one, now));
        assert_eq!(
            (
                ledger.totals().creates_of_known,
                ledger.totals().creates_of_polled
            ),
            (2, 1)
        );
        assert_eq!(ledger.requests()[0].1.jobs, 4);
    }

    #[test]
    fn after_a_failure_was_told_another_create_is_right() {
        let mut ledger = Ledger::new(LedgerDetail::Full);
        let now = Instant::now();
        let request = key("u");
        ledger.made(job(1, &request, now));
        ledger.delivered(now, receipt(1, News::Created));
        ledger.polled(now, 1);
        ledger.delivered(now, receipt(1, News::Ended(Told::Failed)));
        ledger.delivered(now, receipt(1, News::Ended(Told::Failed)));
        ledger.made(job(2, &request, now));
        assert_eq!(ledger.totals().creates_of_known, 0);
        assert_eq!(ledger.totals().failed, 1);
        // A solved one stays known for good.
        ledger.delivered(now, receipt(2, News::Created));
        ledger.delivered(now, receipt(2, News::Ended(Told::Solved)));
        ledger.made(job(3, &request, now));
        assert_eq!(ledger.totals().creates_of_known, 1);
        assert_eq!(ledger.totals().in_flight, 1);
    }

    #[test]
    fn polls_after_the_end_are_counted() {
        let mut ledger = Ledger::new(LedgerDetail::Full);
        let now = Instant::now();
        ledger.made(job(1, &key("u"), now));
        ledger.polled(now, 1);
        ledger.delivered(now + ms(30), receipt(1, News::Ended(Told::Solved)));
        assert_eq!(ledger.totals().polls_after_end, 0);
        ledger.polled(now, 1);
        assert_eq!(ledger.totals().polls_after_end, 1);
        assert_eq!(ledger.fetch_delay_ms().max, 30);
        assert_eq!(ledger.polls_of_a_job().max, 1);
    }

    #[test]
    fn what_is_given_back_is_no_longer_billed() {
        let mut ledger = Ledger::new(LedgerDetail::Full);
        ledger.made(job(1, &key("u"), Instant::now()));
        assert_eq!(ledger.totals().billed_micros, 5);
        assert_eq!(ledger.refund(1), Micros(5));
        assert_eq!(ledger.refund(1), Micros::ZERO);
        assert_eq!(ledger.totals().billed_micros, 0);
    }

    #[test]
    fn counters_forget_what_ended_and_nothing_else() {
        let mut ledger = Ledger::new(LedgerDetail::Counters);
        let now = Instant::now();
        for id in 1..=3 {
            let request = key(&format!("u{id}"));
            ledger.create_of(&request);
            ledger.made(job(id, &request, now));
            ledger.arrived(now, Some(Endpoint::Create));
        }
        ledger.delivered(now, receipt(1, News::Ended(Told::Solved)));
        ledger.delivered(now, receipt(2, News::Ended(Told::Failed)));
        ledger.arrived(now + MEMORY_OF_ENDED - ms(1), Some(Endpoint::Poll));
        assert_eq!(ledger.jobs().len(), 3);
        ledger.arrived(now + MEMORY_OF_ENDED, Some(Endpoint::Poll));
        assert_eq!(ledger.jobs().iter().map(|j| j.id).collect::<Vec<_>>(), [3]);
        assert_eq!(ledger.requests().len(), 1);
        assert!(ledger.creates.all.is_empty());
        assert_eq!(ledger.totals().jobs, 3);
    }

    #[test]
    fn a_tag_is_the_query_or_the_fragment() {
        assert_eq!(key("https://a/b?row=1#x").tag(), "row=1#x");
        assert_eq!(key("https://a/b#row-7").tag(), "row-7");
        assert_eq!(key("https://a/b").tag(), "");
    }
}
