//! Where an outcome goes: the results list or the request's own reply list, a key of its own, and a sink
//! that is not in Redis.
//!
//! What must stay true: an outcome goes to one list at most; a reply list that may not be written to, or is
//! none, is replaced by the results list, with the reason; a key's life never outlasts the token's. What
//! cannot be delivered in the one script that ends the request (a file, another slot of a Cluster) is
//! delivered before it: at least once.

use std::time::Duration;

use ::redis::Cmd;
use jiff::Timestamp;

use super::message::{Message, MessageText, Rejected};
use super::reply_to::ReplyPolicy;
use super::worker::RedisBacklog;
use super::{Epoch, Finish, Finished, Hold, Raw, Target};
use crate::backlog::BacklogError;
use crate::job::{ErrorClass, ForeignText, Micros, Outcome, Status};
use crate::redis::{LinkError, slot};
use crate::sink::csv_file::{self, CsvFile};
use crate::sink::json::{self, About};

/// Where outcomes go.
pub struct Delivery {
    /// The list that they are pushed to; `None` where another sink takes them.
    pub results: Option<String>,
    /// Which reply lists there may be.
    pub replies: ReplyPolicy,
    /// Outcomes are also put under this prefix and their id, for at most this time.
    pub keys: Option<(String, Duration)>,
    /// A CSV file or stream that takes all of them.
    pub foreign: Option<CsvFile>,
}

impl std::fmt::Debug for Delivery {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Delivery")
            .field("results", &self.results)
            .field("keys", &self.keys)
            .finish_non_exhaustive()
    }
}

impl Delivery {
    /// What the operator should know of it.
    pub(super) fn warning(&self, list: &str, is_cluster: bool) -> Option<String> {
        let results = self.results.as_deref()?;
        (is_cluster && slot(results.as_bytes()) != slot(list.as_bytes())).then(|| {
            format!(
                "the list {results} is in another slot of the Cluster than {list}: outcomes go there at least once; with one {{tag}} in both names they go once"
            )
        })
    }

    /// How long a key with this outcome lives.
    fn ttl(longest: Duration, outcome: &Outcome, now: Timestamp) -> Duration {
        let left = outcome
            .expires_at
            .map(|at| Duration::try_from(at.duration_since(now)).unwrap_or_default());
        left.map_or(longest, |left| left.min(longest))
            .max(Duration::from_millis(1))
    }
}

/// An outcome that the queue itself gives: the request is not sent, or not sent any more.
pub(super) struct Ending {
    /// The request's id, or a message's key.
    key: String,
    epoch: Epoch,
    whose: Whose,
    outcome: Outcome,
    /// JSON text.
    remote_id: Option<String>,
}

enum Whose {
    Request(Box<Message>),
    Message(Box<Rejected>),
}

impl Ending {
    pub(super) fn of_request(
        epoch: Epoch,
        message: Message,
        outcome: Outcome,
        remote_id: Option<String>,
    ) -> Self {
        Self {
            key: message.request.id().as_str().to_owned(),
            epoch,
            whose: Whose::Request(Box::new(message)),
            outcome,
            remote_id,
        }
    }

    pub(super) fn of_rejected(
        (key, epoch): (String, Epoch),
        rejected: Rejected,
        outcome: Outcome,
        remote_id: Option<String>,
    ) -> Self {
        Self {
            key,
            epoch,
            whose: Whose::Message(Box::new(rejected)),
            outcome,
            remote_id,
        }
    }

    /// Of a message that nobody shall read.
    pub(super) fn of_unread(raw: Raw, class: ErrorClass, why: &str, now: Timestamp) -> Self {
        let rejected = Rejected {
            id: None,
            job: None,
            class,
            why: ForeignText::clean(why, &[]),
            text: MessageText::cut(&raw.text),
            reply_to: None,
            meta: None,
            is_conflict: false,
        };
        let outcome = rejected.outcome(now);
        Self::of_rejected((raw.key, raw.epoch), rejected, outcome, None)
    }
}

/// An outcome on its way.
pub(super) struct Parcel {
    pub(super) key: String,
    pub(super) epoch: Epoch,
    pub(super) outcome: Outcome,
    pub(super) remote_id: Option<String>,
    pub(super) refund: Micros,
    pub(super) polls: u32,
    pub(super) unknown_create: bool,
    whose: Whose,
}

impl Parcel {
    pub(super) fn of_request(
        epoch: Epoch,
        message: Message,
        outcome: Outcome,
        (refund, polls, unknown_create): (Micros, u32, bool),
        remote_id: Option<String>,
    ) -> Self {
        Self {
            key: message.request.id().as_str().to_owned(),
            epoch,
            outcome,
            remote_id,
            refund,
            polls,
            unknown_create,
            whose: Whose::Request(Box::new(message)),
        }
    }

    fn about(&self) -> About<'_> {
        match &self.whose {
            Whose::Request(message) => message.about(),
            Whose::Message(rejected) => rejected.about(),
        }
    }

    fn reply_to(&self) -> Option<&str> {
        match &self.whose {
            Whose::Request(message) => message.reply_to.as_deref(),
            Whose::Message(rejected) => rejected.reply_to.as_deref(),
        }
    }

    fn document(&self, reply_error: Option<&str>) -> String {
        let about = About {
            reply_error,
            ..self.about()
        };
        let bytes = json::outcome(about, &self.outcome);
        String::from_utf8(bytes).unwrap_or_else(|_| unreachable!("JSON is UTF-8"))
    }

    fn is_conflict(&self) -> bool {
        matches!(&self.whose, Whose::Message(rejected) if rejected.is_conflict)
    }

    /// What went wrong for good is kept for `requeue`; what came too late is of no more use.
    fn is_dead(&self) -> bool {
        self.outcome.status == Status::Failed && self.outcome.error != Some(ErrorClass::Deadline)
    }
}

/// Where a parcel goes, and what it says there.
struct Address {
    reply_to: Option<String>,
    document: String,
    /// Where the reply list turns out to be none.
    fallback: Option<String>,
    result_key: Option<(String, Duration)>,
    /// All of it was delivered before the request is ended.
    is_there: bool,
}

const NO_LIST: &str = "reply_to is a key of another type than a list";

impl RedisBacklog {
    /// Ends what is to be ended by us.
    pub(super) async fn end_endings(&mut self) -> Result<(), BacklogError> {
        if self.endings.is_empty() {
            return Ok(());
        }
        let parcels: Vec<Parcel> = std::mem::take(&mut self.endings)
            .into_iter()
            .map(|ending| Parcel {
                key: ending.key,
                epoch: ending.epoch,
                outcome: ending.outcome,
                remote_id: ending.remote_id,
                refund: Micros::ZERO,
                polls: 0,
                unknown_create: false,
                whose: ending.whose,
            })
            .collect();
        match self.deliver(&parcels).await {
            Ok(answers) => {
                for (parcel, answer) in parcels.into_iter().zip(answers) {
                    if answer == Finished::Done {
                        self.told.push(parcel.outcome);
                    }
                }
                Ok(())
            }
            Err(e) => {
                self.endings = parcels
                    .into_iter()
                    .map(|parcel| Ending {
                        key: parcel.key,
                        epoch: parcel.epoch,
                        whose: parcel.whose,
                        outcome: parcel.outcome,
                        remote_id: parcel.remote_id,
                    })
                    .collect();
                Err(e)
            }
        }
    }

    /// Delivers outcomes and ends their requests; an answer for each, in order.
    pub(super) async fn deliver(
        &mut self,
        parcels: &[Parcel],
    ) -> Result<Vec<Finished>, BacklogError> {
        self.tell_foreign(parcels)?;
        let now = (self.wall_clock)();
        let mut addresses = Vec::with_capacity(parcels.len());
        for parcel in parcels {
            let mut address = self.address(parcel, now);
            if self.link.facts().is_some_and(|facts| facts.is_cluster) {
                self.push_elsewhere(parcel, &mut address).await?;
            }
            addresses.push(address);
        }
        let mut answers = self.finish(parcels, &addresses).await?;
        for n in 0..answers.len() {
            if let Finished::BadTarget(key) = &answers[n] {
                // There is no other place, or the key of its own is taken by something else.
                let why = format!("{key} is a key of another type");
                let address = Address {
                    reply_to: None,
                    document: parcels[n].document(Some(&why)),
                    fallback: None,
                    result_key: None,
                    is_there: addresses[n].is_there,
                };
                let one = std::slice::from_ref(&parcels[n]);
                let again = self.finish(one, std::slice::from_ref(&address)).await?;
                answers[n] = again.into_iter().next().unwrap_or(Finished::Lost);
            }
        }
        for parcel in parcels {
            self.delivered.remove(&parcel.key);
        }
        Ok(answers)
    }

    /// Tells the sink that is not in Redis, once as long as this process lives.
    fn tell_foreign(&mut self, parcels: &[Parcel]) -> Result<(), BacklogError> {
        let Some(sink) = &mut self.delivery.foreign else {
            return Ok(());
        };
        let new: Vec<&Parcel> = parcels
            .iter()
            .filter(|parcel| !self.delivered.contains(&parcel.key))
            .collect();
        if new.is_empty() {
            return Ok(());
        }
        let lines: Vec<u8> = new
            .iter()
            .flat_map(|parcel| csv_file::line(parcel.about(), &parcel.outcome))
            .collect();
        sink.deliver(&lines)?;
        self.delivered
            .extend(new.into_iter().map(|parcel| parcel.key.clone()));
        Ok(())
    }

    fn address(&self, parcel: &Parcel, now: Timestamp) -> Address {
        let allowed = parcel
            .reply_to()
            .map(|list| self.delivery.replies.check(list).map(|()| list.to_owned()));
        // A message that only borrows an id must not take the place of that request's outcome.
        let keys = self
            .delivery
            .keys
            .as_ref()
            .filter(|_| !parcel.is_conflict());
        let result_key = keys.and_then(|(prefix, longest)| {
            let ttl = Delivery::ttl(*longest, &parcel.outcome, now);
            Some((format!("{prefix}{}", parcel.about().id?), ttl))
        });
        let (reply_to, document, fallback) = match allowed {
            None => (None, parcel.document(None), None),
            Some(Ok(list)) => (
                Some(list),
                parcel.document(None),
                Some(parcel.document(Some(NO_LIST))),
            ),
            Some(Err(why)) => (None, parcel.document(Some(&why)), None),
        };
        Address {
            reply_to,
            document,
            fallback,
            result_key,
            is_there: false,
        }
    }

    /// On a Cluster: pushes what belongs to other slots than the queue's.
    async fn push_elsewhere(
        &mut self,
        parcel: &Parcel,
        address: &mut Address,
    ) -> Result<(), BacklogError> {
        let home = slot(self.queue.keys[0].as_bytes());
        let is_elsewhere = |key: &str| slot(key.as_bytes()) != home;
        if let Some((key, ttl)) = address.result_key.take_if(|(key, _)| is_elsewhere(key)) {
            let ms = u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX);
            let set = ::redis::cmd("SET")
                .arg(&key)
                .arg(&address.document)
                .arg("PX")
                .arg(ms)
                .to_owned();
            self.link.run::<()>(&set).await?;
        }
        if self.delivered.contains(&parcel.key) && self.delivery.foreign.is_none() {
            address.is_there = true;
            return Ok(());
        }
        if let Some(list) = address.reply_to.take_if(|list| is_elsewhere(list)) {
            match self.push(&list, &address.document).await {
                Ok(()) => {
                    address.is_there = true;
                    self.delivered.insert(parcel.key.clone());
                    return Ok(());
                }
                Err(LinkError::WrongType(_)) => {
                    if let Some(fallback) = address.fallback.take() {
                        address.document = fallback;
                    }
                }
                Err(e) => return Err(e.into()),
            }
        }
        let results = self.delivery.results.clone();
        if let Some(list) = results.filter(|list| address.reply_to.is_none() && is_elsewhere(list))
        {
            self.push(&list, &address.document).await?;
            address.is_there = true;
            self.delivered.insert(parcel.key.clone());
        }
        Ok(())
    }

    async fn push(&mut self, list: &str, document: &str) -> Result<(), LinkError> {
        self.link.run(&Cmd::lpush(list, document)).await
    }

    async fn finish(
        &mut self,
        parcels: &[Parcel],
        addresses: &[Address],
    ) -> Result<Vec<Finished>, BacklogError> {
        let is_cluster = self.link.facts().is_some_and(|facts| facts.is_cluster);
        let home = slot(self.queue.keys[0].as_bytes());
        // A list in another slot can't be named to the script.
        let results = self
            .delivery
            .results
            .clone()
            .filter(|list| !is_cluster || slot(list.as_bytes()) == home);
        let items: Vec<Finish<'_>> = parcels
            .iter()
            .zip(addresses)
            .map(|(parcel, address)| Finish {
                hold: Hold {
                    id: &parcel.key,
                    epoch: parcel.epoch,
                    step: 0,
                },
                status: parcel.outcome.status,
                remote_id: parcel.remote_id.as_deref(),
                refund: parcel.refund,
                polls: parcel.polls,
                unknown_create: parcel.unknown_create,
                dead: parcel.is_dead(),
                target: match (&address.reply_to, &results) {
                    _ if address.is_there => Target::Nowhere,
                    (Some(list), _) => Target::Reply(list),
                    (None, Some(_)) => Target::Results,
                    (None, None) => Target::Nowhere,
                },
                outcome: &address.document,
                with_reply_error: address.fallback.as_deref(),
                result_key: address
                    .result_key
                    .as_ref()
                    .map(|(key, ttl)| (key.as_str(), *ttl)),
            })
            .collect();
        let finished = self
            .call(async |q, c| q.finish(c, results.as_deref(), &items).await)
            .await?;
        Ok(finished)
    }
}
