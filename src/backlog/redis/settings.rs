//! How a worker works on a queue, and why it may not.

use std::time::Duration;

use jiff::Timestamp;

use super::deliver::Delivery;
use super::finish::WRONG_TARGET;
use super::message::Intake;
use crate::api::Identity;
use crate::backlog::{BacklogError, UnknownCreatePolicy};
use crate::job::Micros;
use crate::redis::LinkError;

/// How a worker works on a queue.
#[derive(Debug)]
pub struct RedisSettings {
    /// How Redis is reached.
    pub link: crate::redis::Settings,
    /// The queue's keys.
    pub keys: crate::redis::Keys,
    /// Where outcomes go.
    pub delivery: Delivery,
    /// What a request may be.
    pub intake: Intake,
    /// The API that this worker's jobs live at.
    pub identity: Identity,
    /// How long a worker that is silent keeps its requests.
    pub lease: Duration,
    /// How long a finished id is remembered.
    pub repeat_window: Duration,
    /// Time between two creates of all workers, and how many may leave at once.
    pub submit_pace: (Duration, u32),
    /// Time between two polls of all workers, and how many may leave at once; `None` for no limit.
    pub poll_pace: Option<(Duration, u32)>,
    /// Most that all workers spend together.
    pub max_spend: Option<Micros>,
    /// Most requests that all workers hold together.
    pub max_in_flight: Option<u64>,
    /// What becomes of creates that ended workers have left without an answer.
    pub on_unknown_create: UnknownCreatePolicy,
    /// End when the queue is empty.
    pub drain: bool,
    /// Most requests that this worker takes up; adopted jobs are not counted.
    pub limit: Option<u64>,
    /// Work although Redis may lose what it acknowledged.
    pub allow_unsafe: bool,
    /// The wall clock.
    pub wall_clock: fn() -> Timestamp,
}

/// Why a queue cannot be worked on.
#[derive(Debug, thiserror::Error)]
pub enum OpenQueueError {
    /// Redis cannot be reached, or refuses us.
    #[error(transparent)]
    Link(#[from] LinkError),
    /// Redis may lose what it acknowledged.
    #[error("{0}")]
    Unsafe(String),
}

impl From<LinkError> for BacklogError {
    /// Whatever Redis says to a worker may pass: a server that comes back, a right that is given back, a key
    /// of another type that is removed. So the call is made again until patience ends, and ids that are on
    /// the wire meanwhile are kept. A worker that could never work is refused when it starts.
    fn from(error: LinkError) -> Self {
        let what = match &error {
            LinkError::Server(what) if what.contains(WRONG_TARGET) => {
                "the list that outcomes go to is a key of another type in Redis; remove that key"
                    .to_owned()
            }
            _ => error.to_string(),
        };
        Self::Away { what }
    }
}
