//! Holds on jobs, and what a script tells of a job.

use ::redis::RedisResult;

use crate::backlog::History;
use crate::job::Micros;

use super::reply::Reply;

/// The number of a hold. One counter for the queue, which never restarts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Epoch(pub(crate) u64);

/// What a caller proves itself with.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Hold<'a> {
    /// The request's id, or a message's key.
    pub(crate) id: &'a str,
    /// From the claim, adoption or admission.
    pub(crate) epoch: Epoch,
    /// Changes made within this hold: 0 at first, one more after each `Slot` of a begin and each `Done` of
    /// a created or back. After a `Learn` it is what the [`Held`] says. Beat, finish and release need none.
    pub(crate) step: u32,
}

/// Where a job stands in Redis.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum JobState {
    /// A message that was not read yet.
    Raw,
    /// Held, with no create under way.
    Claimed,
    /// In `ready` or `delayed`.
    Queued,
    /// A create was or is about to be sent.
    Submitting,
    /// A remote id is recorded.
    Waiting,
}

impl JobState {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Raw => "raw",
            Self::Claimed => "claimed",
            Self::Queued => "queued",
            Self::Submitting => "submitting",
            Self::Waiting => "waiting",
        }
    }

    pub(super) fn read(reply: &mut Reply) -> RedisResult<Self> {
        match reply.text()?.as_str() {
            "raw" => Ok(Self::Raw),
            "claimed" => Ok(Self::Claimed),
            "queued" => Ok(Self::Queued),
            "submitting" => Ok(Self::Submitting),
            "waiting" => Ok(Self::Waiting),
            _ => Err(reply.unknown_word()),
        }
    }
}

/// A job that the caller holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Held {
    /// The request's id.
    pub(crate) id: String,
    /// Of this hold.
    pub(crate) epoch: Epoch,
    /// See [`Hold::step`].
    pub(crate) step: u32,
    /// `Claimed` or `Waiting`.
    pub(crate) state: JobState,
    /// Its last owner died between begin and created: that create is in doubt, and counted as such.
    pub(crate) found_submitting: bool,
    /// The request. Empty in a `Learn`: the caller has it.
    pub(crate) payload: String,
    /// Of its fields.
    pub(crate) hash: String,
    /// What was done for it.
    pub(crate) history: History,
    /// In a row, between begin and created.
    pub(crate) crashes: u32,
    /// JSON text.
    pub(crate) remote_id: Option<String>,
    /// The submitter's wall clock, ms.
    pub(crate) submitted_at_ms: Option<i64>,
    /// Until the job is given up; below zero, it is over.
    pub(crate) deadline_left_ms: Option<i64>,
    /// Until the request may not be sent any more.
    pub(crate) not_after_left_ms: Option<i64>,
    /// The API its last create went to.
    pub(crate) api: Option<String>,
}

impl Held {
    /// What `tell` of common.lua writes.
    pub(super) fn read(reply: &mut Reply) -> RedisResult<Self> {
        Ok(Self {
            id: reply.text()?,
            epoch: Epoch(reply.int()?),
            step: reply.int()?,
            state: JobState::read(reply)?,
            found_submitting: reply.flag()?,
            payload: String::from_utf8_lossy(&reply.bytes()?).into_owned(),
            hash: reply.text()?,
            history: History {
                creates: reply.int()?,
                failed_attempts: reply.int()?,
                unknown_creates: reply.int()?,
                polls: reply.int()?,
                spent: Micros(reply.int()?),
            },
            crashes: reply.int()?,
            remote_id: reply.text_or_none()?,
            submitted_at_ms: reply.int_or_none()?,
            deadline_left_ms: reply.int_or_none()?,
            not_after_left_ms: reply.int_or_none()?,
            api: reply.text_or_none()?,
        })
    }
}

/// A message that the caller holds and nobody has read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Raw {
    /// Its key, which no request's id can be: it begins with NUL.
    pub(crate) key: String,
    /// Of this hold.
    pub(crate) epoch: Epoch,
    /// Times it was taken in a row, this one included.
    pub(crate) takes: u32,
    /// As the producer wrote it, cut after 64 KiB and one byte.
    pub(crate) text: Vec<u8>,
}

/// What became of a call about one hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// It is recorded, by this call or the one that it repeats.
    Done,
    /// The hold is over. What could be kept of the message (a remote id) was kept.
    Lost,
    /// The request has a job that the caller does not know of: it is to be polled, and nothing created.
    Learn(Box<Held>),
}

impl Answer {
    pub(super) fn read(reply: &mut Reply) -> RedisResult<Self> {
        match reply.text()?.as_str() {
            "done" => Ok(Self::Done),
            "lost" => Ok(Self::Lost),
            "learn" => Ok(Self::Learn(Box::new(Held::read(reply)?))),
            _ => Err(reply.unknown_word()),
        }
    }
}
