//! Where an outcome goes: the results list or the request's own reply list, a key of its own, and a sink
//! that is not in Redis.
//!
//! What must stay true: an outcome goes to one list at most; a reply list that may not be written to, or is
//! none, is replaced by the results list, with the reason; a key's life never outlasts the token's. What
//! cannot be delivered in the one script that ends the request (a file, another slot of a Cluster) is
//! delivered before it: at least once.

use std::rc::Rc;
use std::time::Duration;

use ::redis::Cmd;
use jiff::Timestamp;

use super::flight::{Asked, Flight, Replies};
use super::in_hand::Kept;
use super::message::{MessageText, Rejected, Wishes};
use super::reply_to::ReplyPolicy;
use super::worker::RedisBacklog;
use super::{Epoch, Finish, Finished, Hold, Raw, Target};
use crate::backlog::BacklogError;
use crate::job::{ErrorClass, ForeignText, Micros, Outcome, RemoteId, Status};
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
    epoch: Epoch,
    whose: Whose,
    outcome: Outcome,
    /// JSON text.
    remote_id: Option<String>,
}

/// What an outcome is about.
#[derive(Clone)]
enum Whose {
    Request(Rc<Kept>),
    /// What is no request, or none that may be sent, under the key that it is held by.
    Message(Rc<(String, Rejected)>),
}

impl Whose {
    /// The request's id, or a message's key.
    fn key(&self) -> &str {
        match self {
            Self::Request(kept) => kept.id.as_str(),
            Self::Message(held) => &held.0,
        }
    }
}

impl Ending {
    pub(super) fn of_request(
        epoch: Epoch,
        kept: Kept,
        outcome: Outcome,
        remote_id: Option<String>,
    ) -> Self {
        Self {
            epoch,
            whose: Whose::Request(Rc::new(kept)),
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
            epoch,
            whose: Whose::Message(Rc::new((key, rejected))),
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

    pub(super) fn parcel(&self) -> Parcel<'_> {
        let whose = self.whose.clone();
        let sums = (Micros::ZERO, 0, false);
        Parcel::of(
            self.epoch,
            whose,
            &self.outcome,
            self.remote_id.clone(),
            sums,
        )
    }

    pub(super) fn into_outcome(self) -> Outcome {
        self.outcome
    }
}

/// An outcome on its way.
pub(super) struct Parcel<'o> {
    epoch: Epoch,
    whose: Whose,
    /// A request's own; those of a message that is none stand with it.
    wishes: Wishes,
    outcome: &'o Outcome,
    /// JSON text.
    remote_id: Option<String>,
    refund: Micros,
    polls: u32,
    unknown_create: bool,
}

impl<'o> Parcel<'o> {
    pub(super) fn of_request(
        epoch: Epoch,
        kept: &Rc<Kept>,
        outcome: &'o Outcome,
        sums: (Micros, u32, bool),
    ) -> Self {
        let whose = Whose::Request(Rc::clone(kept));
        let remote_id = outcome.remote_id.as_ref().map(RemoteId::to_json);
        Self::of(epoch, whose, outcome, remote_id, sums)
    }

    fn of(
        epoch: Epoch,
        whose: Whose,
        outcome: &'o Outcome,
        remote_id: Option<String>,
        (refund, polls, unknown_create): (Micros, u32, bool),
    ) -> Self {
        let wishes = match &whose {
            Whose::Request(kept) => Wishes::of(&kept.payload),
            Whose::Message(_) => Wishes::default(),
        };
        Self {
            epoch,
            whose,
            wishes,
            outcome,
            remote_id,
            refund,
            polls,
            unknown_create,
        }
    }

    fn key(&self) -> &str {
        self.whose.key()
    }

    fn about(&self) -> About<'_> {
        match &self.whose {
            Whose::Request(kept) => About {
                id: Some(kept.id.as_str()),
                job: Some(&kept.kind.name),
                meta: self.wishes.meta.as_deref(),
                ..About::default()
            },
            Whose::Message(held) => held.1.about(),
        }
    }

    fn reply_to(&self) -> Option<&str> {
        match &self.whose {
            Whose::Request(_) => self.wishes.reply_to.as_deref(),
            Whose::Message(held) => held.1.reply_to.as_deref(),
        }
    }

    fn document(&self, reply_error: Option<&str>) -> String {
        let about = About {
            reply_error,
            ..self.about()
        };
        let bytes = json::outcome(about, self.outcome);
        String::from_utf8(bytes).unwrap_or_else(|_| unreachable!("JSON is UTF-8"))
    }

    fn is_conflict(&self) -> bool {
        matches!(&self.whose, Whose::Message(held) if held.1.is_conflict)
    }

    /// What went wrong for good is kept for `requeue`; what came too late is of no more use.
    fn is_dead(&self) -> bool {
        self.outcome.status == Status::Failed && self.outcome.error != Some(ErrorClass::Deadline)
    }
}

/// Outcomes that are ready to be sent, and where to.
pub(super) struct Packed<'o> {
    parcels: Vec<Parcel<'o>>,
    addresses: Vec<Address>,
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
    /// Makes outcomes ready. Those who are told first are told here.
    pub(super) async fn pack<'o>(
        &mut self,
        parcels: Vec<Parcel<'o>>,
    ) -> Result<Packed<'o>, BacklogError> {
        self.tell_foreign(&parcels)?;
        let now = (self.wall_clock)();
        let is_cluster = self.link.facts().is_some_and(|facts| facts.is_cluster);
        let mut addresses = Vec::with_capacity(parcels.len());
        for parcel in &parcels {
            let mut address = self.address(parcel, now);
            if is_cluster {
                self.push_elsewhere(parcel, &mut address).await?;
            }
            addresses.push(address);
        }
        Ok(Packed { parcels, addresses })
    }

    /// Has outcomes delivered and their requests ended.
    pub(super) fn add_finish(&self, flight: &mut Flight, packed: &Packed<'_>) -> Asked {
        self.add_some(flight, &packed.parcels, &packed.addresses)
    }

    /// What became of them, in order.
    pub(super) async fn finished(
        &mut self,
        packed: Packed<'_>,
        asked: Asked,
        replies: &mut Replies,
    ) -> Result<Vec<Finished>, LinkError> {
        let answers = asked.finished(replies);
        let mut answers = answers.map_err(|e| self.link.failed(&e))?;
        for (n, parcel) in packed.parcels.iter().enumerate() {
            if let Finished::BadTarget(key) = &answers[n] {
                // There is no other place, or the key of its own is taken by something else.
                let why = format!("{key} is a key of another type");
                let address = Address {
                    reply_to: None,
                    document: parcel.document(Some(&why)),
                    fallback: None,
                    result_key: None,
                    is_there: packed.addresses[n].is_there,
                };
                let mut flight = Flight::default();
                let one = std::slice::from_ref(parcel);
                let asked = self.add_some(&mut flight, one, std::slice::from_ref(&address));
                if !self.link.is_connected() {
                    // A new connection is looked at before anything is said on it.
                    let what = "the connection was lost meanwhile".to_owned();
                    return Err(LinkError::Away(what));
                }
                let connection = self.link.connection().await?;
                let again = match flight.send(connection).await {
                    Ok(mut replies) => asked.finished(&mut replies),
                    Err(e) => Err(e),
                };
                let again = again.map_err(|e| self.link.failed(&e))?;
                answers[n] = again.into_iter().next().unwrap_or(Finished::Lost);
            }
        }
        if !self.delivered.is_empty() {
            for parcel in &packed.parcels {
                self.delivered.remove(parcel.key());
            }
        }
        Ok(answers)
    }

    /// Tells the sink that is not in Redis, once as long as this process lives.
    fn tell_foreign(&mut self, parcels: &[Parcel<'_>]) -> Result<(), BacklogError> {
        let Some(sink) = &mut self.delivery.foreign else {
            return Ok(());
        };
        let new: Vec<&Parcel<'_>> = parcels
            .iter()
            .filter(|parcel| !self.delivered.contains(parcel.key()))
            .collect();
        if new.is_empty() {
            return Ok(());
        }
        let lines: Vec<u8> = new
            .iter()
            .flat_map(|parcel| csv_file::line(parcel.about(), parcel.outcome))
            .collect();
        sink.deliver(&lines)?;
        self.delivered
            .extend(new.into_iter().map(|parcel| parcel.key().to_owned()));
        Ok(())
    }

    fn address(&self, parcel: &Parcel<'_>, now: Timestamp) -> Address {
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
            let ttl = Delivery::ttl(*longest, parcel.outcome, now);
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
        parcel: &Parcel<'_>,
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
        if self.delivered.contains(parcel.key()) && self.delivery.foreign.is_none() {
            address.is_there = true;
            return Ok(());
        }
        if let Some(list) = address.reply_to.take_if(|list| is_elsewhere(list)) {
            match self.push(&list, &address.document).await {
                Ok(()) => {
                    address.is_there = true;
                    self.delivered.insert(parcel.key().to_owned());
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
            self.delivered.insert(parcel.key().to_owned());
        }
        Ok(())
    }

    async fn push(&mut self, list: &str, document: &str) -> Result<(), LinkError> {
        self.link.run(&Cmd::lpush(list, document)).await
    }

    fn add_some(
        &self,
        flight: &mut Flight,
        parcels: &[Parcel<'_>],
        addresses: &[Address],
    ) -> Asked {
        let is_cluster = self.link.facts().is_some_and(|facts| facts.is_cluster);
        let home = slot(self.queue.keys[0].as_bytes());
        // A list in another slot can't be named to the script.
        let results = self.delivery.results.as_deref();
        let results = results.filter(|list| !is_cluster || slot(list.as_bytes()) == home);
        let items: Vec<Finish<'_>> = parcels
            .iter()
            .zip(addresses)
            .map(|(parcel, address)| Finish {
                hold: Hold {
                    id: parcel.key(),
                    epoch: parcel.epoch,
                    step: 0,
                },
                status: parcel.outcome.status,
                remote_id: parcel.remote_id.as_deref(),
                refund: parcel.refund,
                polls: parcel.polls,
                unknown_create: parcel.unknown_create,
                dead: parcel.is_dead(),
                target: match (&address.reply_to, results) {
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
        self.queue.add_finish(flight, results, &items)
    }
}
