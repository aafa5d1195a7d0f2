//! A request that a worker has handed out, and what it knows of it.

use std::rc::Rc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::time::Instant;

use super::message::Message;
use super::{Epoch, Held, Hold};
use crate::backlog::{History, Waiting};
use crate::job::{Micros, RemoteId};

/// A request that was handed out.
pub(super) struct InHand {
    pub(super) epoch: Epoch,
    pub(super) step: u32,
    pub(super) message: Rc<Message>,
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
    pub(super) fn new(epoch: Epoch, step: u32, message: Rc<Message>) -> Self {
        Self {
            epoch,
            step,
            message,
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
            id: self.message.request.id().as_str(),
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

/// The hash of a message's fields, as Redis keeps it.
pub(super) fn hash_text(message: &Message) -> String {
    let hash = u128::from_be_bytes(message.request.fields_hash().0);
    format!("{hash:032x}")
}
