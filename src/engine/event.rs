//! What the engine tells its observers. Logs, progress, the final table and the summary all come
//! from these, so that no two of them can disagree.

use std::time::Duration;

use crate::job::{ForeignText, Outcome, RemoteId, RequestId};

use super::StopReason;

/// Something that happened in a run.
#[derive(Debug)]
#[non_exhaustive]
pub enum Event<'a> {
    /// A create is recorded as begun and now leaves.
    CreateSent {
        /// Of this request.
        id: &'a RequestId,
    },
    /// A job exists and its id is recorded.
    Created {
        /// Of this request.
        id: &'a RequestId,
        /// The service's id.
        remote_id: &'a RemoteId,
    },
    /// A create is known not to exist, and the request waits for another.
    CreateWithdrawn {
        /// Of this request.
        id: &'a RequestId,
        /// Why, in words.
        why: &'a ForeignText,
    },
    /// A create whose fate is unknown.
    CreateUnknown {
        /// Of this request.
        id: &'a RequestId,
        /// Why, in words.
        why: &'a ForeignText,
    },
    /// A job of an earlier process goes on.
    Adopted {
        /// Of this request.
        id: &'a RequestId,
        /// The service's id.
        remote_id: &'a RemoteId,
    },
    /// Creates that ended workers left without an answer: their fate is unknown.
    FoundInDoubt {
        /// So many.
        count: u64,
    },
    /// Another worker has the request now, or it has its outcome.
    Lost {
        /// This request.
        id: &'a RequestId,
    },
    /// A poll was sent.
    PollSent {
        /// Of this request.
        id: &'a RequestId,
        /// How long after the time it was due.
        late: Duration,
    },
    /// A poll brought no verdict: a transport fault, an error, an unknown status.
    PollInconclusive {
        /// Of this request.
        id: &'a RequestId,
        /// Why, in words.
        why: &'a ForeignText,
    },
    /// A status that no document names, told once per status.
    UnknownStatus {
        /// The status.
        status: &'a ForeignText,
    },
    /// A solve failed and the request is tried again.
    Retrying {
        /// Of this request.
        id: &'a RequestId,
        /// The service's reason.
        why: &'a ForeignText,
    },
    /// A request has its outcome, and it is recorded.
    Settled {
        /// Of this request; `None` where it never had one of its own.
        id: Option<&'a RequestId>,
        /// How it ended.
        outcome: &'a Outcome,
    },
    /// The service wants everybody to slow down.
    Throttled {
        /// For so long.
        pause: Duration,
    },
    /// Most creates fail: they are held to one probe a second.
    CircuitOpened,
    /// Creates succeed again.
    CircuitClosed,
    /// The backlog cannot record for now and is asked again (disk full, out of reach).
    RecordingStalled {
        /// Why, in words.
        why: &'a str,
    },
    /// The backlog records again.
    RecordingGoesOn,
    /// Nothing new is begun from now on; what is in flight is polled on.
    Stopping {
        /// Why.
        reason: &'a StopReason,
        /// Jobs in flight.
        in_flight: usize,
    },
    /// Remote ids that could not be recorded: the user must know them.
    Unrecorded {
        /// Of this request.
        id: &'a RequestId,
        /// The service's id.
        remote_id: &'a RemoteId,
    },
    /// A look at the gauges, about once a second while the run goes on.
    Gauges(Gauges),
}

/// What is under way at one instant.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Gauges {
    /// Requests claimed and not settled.
    pub in_flight: usize,
    /// Of those, jobs that exist at the service.
    pub waiting: usize,
    /// HTTP exchanges under way.
    pub exchanges: usize,
}

/// Sees everything that happens in a run. Called on the engine's task: it must not block for long.
pub trait Observer {
    /// Takes note of an event.
    fn on(&mut self, event: &Event<'_>);
}
