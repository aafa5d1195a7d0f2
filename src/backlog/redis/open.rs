//! How a worker begins: it connects, sees that it can and may work, and takes its place.

use std::collections::{HashSet, VecDeque};
use std::time::Duration;

use foldhash::HashMap;
use tokio::time::Instant;

use super::claims::Looks;
use super::fresh::FreshIds;
use super::settings::{OpenQueueError, RedisSettings};
use super::worker::{POLL_HORIZON, RedisBacklog};
use super::{Pace, Places, Queue, QueueSettings};
use crate::api::Identity;
use crate::backlog::{LeaseClock, News};
use crate::redis::{Bell, Link, LinkError, check_safe};

/// Slots for creates are given this far ahead, and further by what an exchange with Redis takes.
const HORIZON: Duration = Duration::from_millis(100);

/// The API that jobs live at, as Redis keeps it: nobody else's token gives the same text, and none can be
/// had from it.
fn api_text(identity: &Identity, queue: &str) -> String {
    let key = blake3::derive_key(
        "pollwheel 2026 the account of a queue's jobs",
        queue.as_bytes(),
    );
    let print = identity.account.fingerprint(&key);
    let print: String = print.iter().map(|byte| format!("{byte:02x}")).collect();
    format!(
        "{} {} {print}",
        identity.protocol.as_str(),
        identity.base_url
    )
}

/// A list that is none is seen before anything is taken up.
async fn must_be_list(link: &mut Link, key: &str) -> Result<(), LinkError> {
    let kind: String = link.run(::redis::cmd("TYPE").arg(key)).await?;
    if kind == "list" || kind == "none" {
        return Ok(());
    }
    let what = format!("{key} is a {kind}, and a list is needed");
    Err(LinkError::WrongType(what))
}

impl RedisBacklog {
    /// Connects and takes up work on a queue. Returns also what the operator should know.
    ///
    /// # Errors
    ///
    /// Where Redis cannot be reached, refuses us, or is not safe for a queue.
    pub async fn open(settings: RedisSettings) -> Result<(Self, Vec<String>), OpenQueueError> {
        let list = settings.keys.list.clone();
        let mut link = Link::open(&settings.link, &list).await?;
        let lists = settings.delivery.results.iter().chain([&list]);
        for key in lists.cloned().collect::<Vec<_>>() {
            must_be_list(&mut link, &key).await?;
        }
        let mut warnings = Vec::new();
        if let Some(facts) = link.facts() {
            if let Err(reason) = check_safe(facts) {
                if !settings.allow_unsafe {
                    return Err(OpenQueueError::Unsafe(reason.to_string()));
                }
                warnings.push(reason.to_string());
            }
            warnings.extend(settings.delivery.warning(&list, facts.is_cluster));
        }
        let pace = |(period, burst): (Duration, u32), horizon| Pace {
            period_us: u64::try_from(period.as_micros()).unwrap_or(u64::MAX),
            burst,
            horizon,
        };
        let mut ids = FreshIds::new();
        let worker = ids.give().as_str().to_owned();
        let mut backlog = Self {
            bell: Some(Bell::start(&settings.link, &list, &settings.keys.inbox)),
            queue: Queue::new(
                settings.keys.all(),
                QueueSettings {
                    lease: settings.lease,
                    window: settings.repeat_window,
                    worker,
                },
            ),
            link,
            workers_key: settings.keys.workers.clone(),
            delivery: settings.delivery,
            intake: settings.intake,
            ids,
            api: api_text(&settings.identity, &list),
            submit_pace: pace(settings.submit_pace, HORIZON),
            lag: Duration::ZERO,
            poll_pace: settings.poll_pace.map(|p| pace(p, POLL_HORIZON)),
            max_spend: settings.max_spend,
            max_in_flight: settings.max_in_flight,
            on_unknown_create: settings.on_unknown_create,
            wall_clock: settings.wall_clock,
            held: HashMap::default(),
            next_ticket: 0,
            found: VecDeque::new(),
            raws: VecDeque::new(),
            read: Vec::new(),
            unasked_since: None,
            looks: Looks::new(settings.submit_pace.0, Instant::now()),
            ready: Vec::new(),
            endings: Vec::new(),
            told: Vec::new(),
            in_doubt: 0,
            answered: Vec::new(),
            delivered: HashSet::new(),
            news: News::default(),
            drain: settings.drain,
            left: settings.limit,
            may_be_done: false,
            is_full_told: false,
            clock: LeaseClock::default(),
            lease: settings.lease,
            beat_at: Instant::now(),
            generation: 0,
            run_id: None,
        };
        backlog.must_be_allowed(&mut warnings).await?;
        backlog.settle_in().await?;
        backlog.beat().await?;
        Ok((backlog, warnings))
    }

    /// Sees that nothing that a script does can be denied half-way.
    async fn must_be_allowed(&mut self, warnings: &mut Vec<String>) -> Result<(), LinkError> {
        let results = self.delivery.results.clone();
        let result_key = self
            .delivery
            .keys
            .as_ref()
            .map(|(prefix, _)| format!("{prefix}id"));
        let reply = format!("{}id", self.delivery.replies.prefix());
        let places = Places {
            results: results.as_deref(),
            result_key: result_key.as_deref(),
            reply: &reply,
        };
        let rights = self.call(async |q, c| q.probe(c, places).await).await?;
        if !rights.denied.is_empty() {
            let what = format!("this user may not {}", rights.denied.join(", "));
            return Err(LinkError::Denied(what));
        }
        if !rights.may_reply {
            warnings.push(format!(
                "this user of Redis may not push to lists that begin with {}; outcomes of requests with a reply_to go to the results, with a reply_error",
                self.delivery.replies.prefix()
            ));
            self.delivery.replies.deny();
        }
        Ok(())
    }
}
