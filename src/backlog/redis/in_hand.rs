//! A request that a worker has handed out, and what it knows of it.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::time::Instant;

use super::message::Message;
use super::{Epoch, Held, Hold};
use crate::backlog::{History, Waiting};
use crate::job::{FieldsHash, Kind, Micros, RemoteId, Request, RequestId};

/// What is kept of a request while it is held: there may be very many. The rest stands in its payload.
pub(super) struct Kept {
    pub(super) id: RequestId,
    pub(super) kind: Arc<Kind>,
    /// Of its fields.
    pub(super) hash: FieldsHash,
    /// See [`Message::payload`].
    pub(super) payload: Box<str>,
}

impl Kept {
    /// A message's, and its request for whoever sends it.
    pub(super) fn of(message: Message, hash: FieldsHash) -> (Self, Request) {
        let Message {
            request, payload, ..
        } = message;
        let kept = Self {
            id: request.id().clone(),
            kind: Arc::clone(request.kind()),
            hash,
            payload: payload.into_boxed_str(),
        };
        (kept, request)
    }
}

/// A request that was handed out.
pub(super) struct InHand {
    pub(super) epoch: Epoch,
    pub(super) step: u32,
    pub(super) kept: Rc<Kept>,
    pub(super) history: History,
    pub(super) crashes: u32,
    pub(super) waiting: Option<Waiting>,
    pub(super) not_after: Option<Timestamp>,
    /// Of a create that was begun and whose fate is not recorded.
    pub(super) reserve: Option<Micros>,
    /// Somebody else has it since.
    pub(super) lost_at: Option<Instant>,
}

impl InHand {
    pub(super) fn new(epoch: Epoch, step: u32, kept: Kept) -> Self {
        Self {
            epoch,
            step,
            kept: Rc::new(kept),
            history: History::default(),
            crashes: 0,
            waiting: None,
            not_after: None,
            reserve: None,
            lost_at: None,
        }
    }

    pub(super) fn hold(&self) -> Hold<'_> {
        Hold {
            id: self.kept.id.as_str(),
            epoch: self.epoch,
            step: self.step,
        }
    }

    /// Takes over what Redis knows better.
    pub(super) fn learn(&mut self, held: &Held, now: Timestamp) -> Option<Waiting> {
        self.step = self.step.max(held.step);
        self.history = held.history;
        self.reserve = None;
        self.waiting = waiting(held, now);
        self.waiting.clone()
    }
}

/// The job that Redis tells of.
pub(super) fn waiting(held: &Held, now: Timestamp) -> Option<Waiting> {
    let remote_id = RemoteId::from_json(held.remote_id.as_deref()?)?;
    let submitted_at = held
        .submitted_at_ms
        .and_then(|ms| Timestamp::from_millisecond(ms).ok());
    Some(Waiting {
        remote_id,
        submitted_at: submitted_at.unwrap_or(now),
        deadline: in_ms(now, held.deadline_left_ms.unwrap_or(0)),
    })
}

/// A time so many milliseconds from now, or now where that has passed.
pub(super) fn in_ms(now: Timestamp, ms: i64) -> Timestamp {
    let left = Duration::from_millis(u64::try_from(ms).unwrap_or(0));
    now.saturating_add(left).unwrap_or(now)
}

/// From now until a time, in milliseconds; below zero where that has passed.
pub(super) fn ms_until(now: Timestamp, at: Timestamp) -> i64 {
    i64::try_from(at.duration_since(now).as_millis()).unwrap_or(0)
}

/// The hash of a request's fields, as Redis keeps it.
pub(super) fn hash_text(hash: FieldsHash) -> String {
    format!("{:032x}", u128::from_be_bytes(hash.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// There may be very many of them.
    #[test]
    fn a_request_in_hand_is_small() {
        assert!(size_of::<InHand>() <= 176, "{}", size_of::<InHand>());
        assert!(size_of::<Kept>() <= 56, "{}", size_of::<Kept>());
    }
}
