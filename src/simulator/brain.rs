//! The simulator without sockets and without sleeping: a request and the present instant in, what
//! is to be done about it out.
//!
//! What must stay true:
//!
//! * It acts when a request arrives; latency comes between that and the answer. A client that gave
//!   up in between has a job all the same.
//! * Whoever carries an answer out calls [`Brain::delivered`] when it was handed over whole.
//! * A job's fate (how long, and whether it fails) depends on the seed and its ordinal alone, its
//!   token on the seed and its id; faults and latencies are drawn in the order of the calls to an
//!   endpoint. Requests of one endpoint do not change what another draws.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use fastrand::Rng;
use jiff::Timestamp;
use tokio::time::Instant;

use crate::api::Protocol;
use crate::job::Micros;

use super::body::{self, BodyWriter};
use super::fault::{Endpoint, InjectedFault, Page, RetryHint};
use super::ledger::Ledger;
use super::reaction::{Effect, Reaction, Reply};
use super::record::{JobEnd, JobRecord, News, Receipt, RequestKey, Told};
use super::refusal::Refusal;
use super::request::{Demand, HttpRequest, decode, endpoint_at};
use super::script::{Call, Verdict};
use super::settings::SimulatorSettings;
use super::token::{TokenStyle, token_for};

/// What a balance is said to be that is never used up.
const PLENTY: Micros = Micros(1_000_000_000);
/// Size of an answer that is too large.
const HUGE: usize = 2 << 20;

const JSON: &str = "application/json";
const HTML: &str = "text/html; charset=UTF-8";

/// The simulator.
#[derive(Debug)]
pub struct Brain {
    settings: SimulatorSettings,
    pub(super) started_at: Instant,
    /// The wall clock's time at `started_at`.
    started_wall: Timestamp,
    /// One per endpoint, in the order of [`Endpoint::ALL`].
    rngs: [Rng; 4],
    writer: BodyWriter,
    ledger: Ledger,
    balance: Option<Micros>,
    next_job_id: u64,
}

impl Brain {
    /// A simulator that starts at `now`, when the wall clock says `wall`.
    #[must_use]
    pub fn new(settings: SimulatorSettings, now: Instant, wall: Timestamp) -> Self {
        let from_clock = || u64::try_from(wall.as_microsecond()).unwrap_or(1);
        let rng = |endpoint: u64| Rng::with_seed(mix(settings.seed, endpoint, 0));
        Self {
            started_at: now,
            started_wall: wall,
            rngs: [rng(1), rng(2), rng(3), rng(4)],
            writer: BodyWriter::new(settings.shapes, settings.job_ids),
            ledger: Ledger::new(settings.ledger),
            balance: settings.balance,
            next_job_id: settings.first_job_id.unwrap_or_else(from_clock),
            settings,
        }
    }

    /// The books.
    #[must_use]
    pub fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    /// The settings.
    #[must_use]
    pub fn settings(&self) -> &SimulatorSettings {
        &self.settings
    }

    /// What is left of the balance; `None` where it is never used up.
    #[must_use]
    pub fn balance(&self) -> Option<Micros> {
        self.balance
    }

    /// The token that a job is or would be solved with. A job that is not remembered is taken for
    /// one of the first type.
    #[must_use]
    pub fn token_of(&self, job_id: u64) -> String {
        let job_type = self.ledger.job(job_id).map_or(0, |job| job.job_type);
        token_for(self.settings.seed, job_id, self.style(job_type))
    }

    /// The id of a job as v2 sends it, without quotes.
    pub(super) fn task_id(&self, job_id: u64) -> String {
        match self.writer.ids().to_json(Protocol::V2, job_id) {
            serde_json::Value::String(text) => text,
            number => number.to_string(),
        }
    }

    /// Takes a request that arrives at `now` and says what is to be done about it. Acts at once.
    pub fn handle(&mut self, now: Instant, request: &HttpRequest<'_>) -> Reaction {
        let place = endpoint_at(request.path);
        self.ledger
            .arrived(now, place.map(|(_, endpoint)| endpoint));
        let nowhere = |status, title| {
            let reply = Reply::new(status, HTML, body::html_page(title));
            Reaction {
                delay: Duration::ZERO,
                effect: Effect::Answer(reply),
                receipt: None,
            }
        };
        let Some((protocol, endpoint)) = place else {
            return nowhere(404, "404 Not Found");
        };
        if request.method != "POST" {
            self.ledger.refused();
            return nowhere(405, "405 Method Not Allowed");
        }
        let demand = decode(&self.settings, protocol, endpoint, request);
        let fault = self.choose_fault(now, endpoint, &demand);
        if let Some(fault) = &fault {
            self.ledger.injected(endpoint, &fault.name());
        }
        let delay = self
            .settings
            .latency
            .draw(&mut self.rngs[endpoint as usize]);
        match fault {
            None => self.right(now, protocol, demand, delay),
            Some(fault) => self.wrong(now, protocol, demand, delay, fault),
        }
    }

    /// Notes that an answer was handed over whole.
    pub fn delivered(&mut self, now: Instant, receipt: Receipt) {
        self.ledger.delivered(now, receipt);
    }

    fn style(&self, job_type: usize) -> TokenStyle {
        let job_type = self.settings.job_types.get(job_type);
        job_type.map_or(TokenStyle::Recaptcha, |t| t.style)
    }

    /// Counts the call where it belongs and asks the script, then the rates.
    fn choose_fault(
        &mut self,
        now: Instant,
        endpoint: Endpoint,
        demand: &Result<Demand, Refusal>,
    ) -> Option<InjectedFault> {
        let mut request = Arc::default();
        let mut job = None;
        let mut nth_of_its_own = 1;
        match demand {
            Ok(Demand::Create { request: of, .. }) => {
                nth_of_its_own = self.ledger.create_of(of);
                request = Arc::clone(of);
            }
            Ok(Demand::Poll(Some(id))) => {
                if self.settings.adopt_unknown && self.ledger.job(*id).is_none() {
                    self.adopt(now, *id);
                }
                if let Some(polled) = self.ledger.polled(now, *id) {
                    job = Some(polled.ordinal);
                    nth_of_its_own = polled.polls;
                    request = Arc::clone(&polled.request);
                }
            }
            _ => {}
        }
        let call = Call {
            endpoint,
            since_start: now.duration_since(self.started_at),
            job,
            url: &request.url,
            key: &request.key,
            nth_of_its_own,
        };
        // Drawn also where the script decides: what comes later does not depend on the script.
        let by_rate = self
            .settings
            .rates
            .draw(endpoint, &mut self.rngs[endpoint as usize]);
        match self.settings.script.decide(&call) {
            Verdict::Silent => by_rate.cloned(),
            Verdict::Right => None,
            Verdict::Fault(fault) => Some(fault.clone()),
        }
    }

    /// The right behaviour.
    fn right(
        &mut self,
        now: Instant,
        protocol: Protocol,
        demand: Result<Demand, Refusal>,
        delay: Duration,
    ) -> Reaction {
        let (reply, receipt) = match demand {
            Err(refusal) => (self.refuse(protocol, &refusal), None),
            Ok(Demand::Create { job_type, request }) => {
                self.create(now, protocol, job_type, request)
            }
            Ok(Demand::Poll(id)) => self.poll(now, protocol, id),
            Ok(Demand::Balance) => {
                let balance = self.balance.unwrap_or(PLENTY);
                (Reply::json(body::balance(protocol, balance)), None)
            }
            Ok(Demand::Service) => {
                let list = body::services(&self.settings.job_types, self.settings.price);
                (Reply::json(list), None)
            }
        };
        Reaction {
            delay,
            effect: Effect::Answer(reply),
            receipt,
        }
    }

    /// The behaviour under a fault.
    fn wrong(
        &mut self,
        now: Instant,
        protocol: Protocol,
        demand: Result<Demand, Refusal>,
        mut delay: Duration,
        fault: InjectedFault,
    ) -> Reaction {
        let polled = match &demand {
            Ok(Demand::Poll(id)) => *id,
            _ => None,
        };
        let ends = |told| {
            polled.map(|job| Receipt {
                job,
                news: News::Ended(told),
            })
        };
        // A poll has nothing to act on, and its end is not told by an answer that does not say it.
        let mut right = None;
        if fault.acts() {
            let reaction = self.right(now, protocol, demand, delay);
            if let Effect::Answer(reply) = reaction.effect {
                right = Some((reply, reaction.receipt));
            }
        }
        let (reply, receipt) = right.unwrap_or_else(|| (Reply::json(""), None));
        let mut told = None;
        let answer = Effect::Answer;
        let effect = match fault {
            InjectedFault::RefuseConnection => Effect::RefuseConnection,
            InjectedFault::Reset { .. } => Effect::Reset,
            InjectedFault::Hang { hold, .. } => Effect::Hang(hold),
            InjectedFault::Status {
                status,
                page,
                retry_after,
                ..
            } => {
                let mut reply = error_page(status, page);
                reply.retry_after = retry_after.map(|hint| self.retry_after(now, hint));
                answer(reply)
            }
            InjectedFault::Html { .. } => {
                answer(Reply::new(200, HTML, body::html_page("Just a moment...")))
            }
            InjectedFault::Empty { .. } => answer(Reply::json("")),
            InjectedFault::Cut => {
                let keep = reply.body.len() / 2;
                Effect::CutShort { reply, keep }
            }
            InjectedFault::Slow(over) => {
                told = receipt;
                Effect::Slow { reply, over }
            }
            InjectedFault::Delay(by) => {
                told = receipt;
                delay = delay.saturating_add(by);
                answer(reply)
            }
            InjectedFault::WrongType => {
                told = receipt;
                answer(Reply {
                    content_type: HTML,
                    ..reply
                })
            }
            InjectedFault::Huge => {
                // White space, so that it stays the right answer to a client without a limit.
                let mut body = reply.body.to_vec();
                body.resize(HUGE, b' ');
                answer(Reply {
                    body: body.into(),
                    ..reply
                })
            }
            InjectedFault::NoId if receipt.is_some() => {
                answer(Reply::json(body::created_without_id(protocol)))
            }
            InjectedFault::NoId => answer(reply),
            InjectedFault::UnknownStatus => answer(Reply::json(body::unknown_status(protocol))),
            InjectedFault::EmptyResult => {
                told = ends(Told::Failed);
                answer(Reply::json(body::empty_result(protocol)))
            }
            InjectedFault::UnknownJob => {
                told = ends(Told::Lost);
                answer(self.refused(protocol, &Refusal::UnknownJob))
            }
            InjectedFault::BadToken => answer(self.refused(protocol, &Refusal::BadToken)),
            InjectedFault::Blocked => answer(self.refused(protocol, &Refusal::Blocked)),
            InjectedFault::NoBalance => answer(self.refused(protocol, &Refusal::NoBalance)),
            InjectedFault::Refuse(text) => answer(self.refused(protocol, &Refusal::Scripted(text))),
        };
        Reaction {
            delay,
            effect,
            receipt: told,
        }
    }

    /// Refuses, and counts it: the request is at fault.
    fn refuse(&mut self, protocol: Protocol, refusal: &Refusal) -> Reply {
        self.ledger.refused();
        self.refused(protocol, refusal)
    }

    fn refused(&mut self, protocol: Protocol, refusal: &Refusal) -> Reply {
        Reply::json(self.writer.refused(protocol, refusal))
    }

    fn create(
        &mut self,
        now: Instant,
        protocol: Protocol,
        job_type: usize,
        request: Arc<RequestKey>,
    ) -> (Reply, Option<Receipt>) {
        let listed = self.settings.job_types.get(job_type).map(|t| t.price);
        let price = self.settings.price.or(listed).unwrap_or_default();
        if let Some(balance) = &mut self.balance {
            if *balance < price {
                return (self.refuse(protocol, &Refusal::NoBalance), None);
            }
            *balance = *balance - price;
        }
        // An adopted job may have taken the next id.
        while self.ledger.job(self.next_job_id).is_some() {
            self.next_job_id = self.next_job_id.wrapping_add(1);
        }
        let id = self.next_job_id;
        self.next_job_id = id.wrapping_add(1);
        let ordinal = self.ledger.totals().jobs + 1;
        let end = self.fate(now, mix(self.settings.seed, 5, ordinal));
        self.ledger
            .made(JobRecord::new(id, job_type, request, now, end, price));
        let receipt = Receipt {
            job: id,
            news: News::Created,
        };
        (
            Reply::json(self.writer.created(protocol, id)),
            Some(receipt),
        )
    }

    /// Makes a job of an id that an earlier process gave out.
    fn adopt(&mut self, now: Instant, id: u64) {
        let end = self.fate(now, mix(self.settings.seed, 6, id));
        let mut job = JobRecord::new(id, 0, Arc::default(), now, end, Micros::ZERO);
        job.adopted = true;
        self.ledger.made(job);
    }

    fn fate(&self, now: Instant, seed: u64) -> JobEnd {
        let mut rng = Rng::with_seed(seed);
        let luck = rng.f64();
        let at = now + self.settings.solve_time.draw(&mut rng);
        let failing = self.settings.fail_rate;
        if luck < failing {
            JobEnd::Failed(at)
        } else if luck < failing + self.settings.never_rate {
            JobEnd::Never
        } else {
            JobEnd::Solved(at)
        }
    }

    fn poll(
        &mut self,
        now: Instant,
        protocol: Protocol,
        id: Option<u64>,
    ) -> (Reply, Option<Receipt>) {
        let Some(job) = id.and_then(|id| self.ledger.job(id)) else {
            self.ledger.unknown_job();
            return (self.refuse(protocol, &Refusal::UnknownJob), None);
        };
        let (id, job_type, end) = (job.id, job.job_type, job.end);
        let ended = |told| {
            Some(Receipt {
                job: id,
                news: News::Ended(told),
            })
        };
        match end {
            JobEnd::Solved(at) if at <= now => {
                let style = self.style(job_type);
                let token = token_for(self.settings.seed, id, style);
                let body = self.writer.solved(protocol, style, &token);
                (Reply::json(body), ended(Told::Solved))
            }
            JobEnd::Failed(at) if at <= now => {
                let refund = self.ledger.refund(id);
                if let Some(balance) = &mut self.balance {
                    *balance += refund;
                }
                (
                    Reply::json(self.writer.failed(protocol)),
                    ended(Told::Failed),
                )
            }
            JobEnd::Solved(_) | JobEnd::Failed(_) | JobEnd::Never => {
                (Reply::json(self.writer.pending(protocol)), None)
            }
        }
    }

    fn retry_after(&self, now: Instant, hint: RetryHint) -> String {
        match hint {
            RetryHint::Seconds(seconds) => seconds.to_string(),
            RetryHint::Date(ahead) => httpdate::fmt_http_date(self.wall(now) + ahead),
        }
    }

    /// What the wall clock says at `now`.
    pub(super) fn wall(&self, now: Instant) -> SystemTime {
        SystemTime::from(self.started_wall) + now.duration_since(self.started_at)
    }
}

fn error_page(status: u16, page: Page) -> Reply {
    let title = match status {
        403 => "403 Forbidden",
        429 => "429 Too Many Requests",
        502 => "502 Bad Gateway",
        503 => "503 Service Temporarily Unavailable",
        520 => "520: Web server is returning an unknown error",
        _ => "Error",
    };
    match page {
        Page::Html => Reply::new(status, HTML, body::html_page(title)),
        Page::Json if status == 429 => Reply::new(status, JSON, body::JSON_THROTTLED),
        Page::Json => Reply::new(status, JSON, body::JSON_ERROR),
        Page::Empty => Reply::new(status, JSON, ""),
    }
}

/// A seed of a purpose's own (`SplitMix64`'s finaliser), so that neighbouring numbers share nothing.
fn mix(seed: u64, purpose: u64, number: u64) -> u64 {
    let mut z = seed
        .wrapping_add(purpose.wrapping_mul(0x9e37_79b9_7f4a_7c15))
        .wrapping_add(number.wrapping_mul(0xd1b5_4a32_d192_ed03));
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// A [`Brain`] that several connections, and whoever reads its ledger, share.
#[derive(Clone, Debug)]
pub struct SharedBrain(Arc<Mutex<Brain>>);

impl SharedBrain {
    /// A simulator that starts now.
    #[must_use]
    pub fn new(settings: SimulatorSettings) -> Self {
        let brain = Brain::new(settings, Instant::now(), Timestamp::now());
        Self(Arc::new(Mutex::new(brain)))
    }

    /// Does something with the brain. No other can while it lasts: it must not block.
    pub fn with<T>(&self, act: impl FnOnce(&mut Brain) -> T) -> T {
        // A panic elsewhere leaves counts that may be off by one, which is no reason for another.
        act(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[cfg(test)]
mod tests;
