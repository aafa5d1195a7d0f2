//! The life of a request, as far as a backlog records it.
//!
//! ```text
//! queued ──begin──▶ submitting ──created──▶ waiting ──finish──▶ settled
//!   ▲                 │  │                     │
//!   ├───withdraw──────┘  │                     │
//!   ├───unknown──────────┘                     │
//!   └───retry──────────────────────────────────┘
//! ```
//!
//! `finish` is legal from every state but `settled`. Whatever is not drawn is refused: a backlog
//! that is asked for it has found a bug, and says so instead of writing it.

/// Where a request stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum State {
    /// No job of it is known to exist or in doubt.
    Queued,
    /// A create was or is about to be sent; its answer is not recorded.
    Submitting,
    /// A job exists, its remote id is recorded.
    Waiting,
    /// It has its outcome.
    Settled,
}

/// What can happen to a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Transition {
    /// A create is about to be sent.
    Begin,
    /// The create is known not to exist.
    Withdraw,
    /// The fate of the create is unknown; the request is to be tried again.
    Unknown,
    /// The create answered with a remote id.
    Created,
    /// The job failed; the request is to be tried again.
    Retry,
    /// The request has its outcome.
    Finish,
}

impl State {
    /// The state after `transition`, or `None` where that is illegal.
    #[must_use]
    pub fn after(self, transition: Transition) -> Option<Self> {
        match (self, transition) {
            (Self::Queued, Transition::Begin) => Some(Self::Submitting),
            (Self::Submitting, Transition::Withdraw | Transition::Unknown)
            | (Self::Waiting, Transition::Retry) => Some(Self::Queued),
            (Self::Submitting, Transition::Created) => Some(Self::Waiting),
            (Self::Queued | Self::Submitting | Self::Waiting, Transition::Finish) => {
                Some(Self::Settled)
            }
            _ => None,
        }
    }

    /// The word that stands in journals.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Submitting => "submitting",
            Self::Waiting => "waiting",
            Self::Settled => "settled",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_settled_request_stays_settled() {
        for t in [
            Transition::Begin,
            Transition::Withdraw,
            Transition::Unknown,
            Transition::Created,
            Transition::Retry,
            Transition::Finish,
        ] {
            assert_eq!(State::Settled.after(t), None);
        }
    }

    #[test]
    fn a_known_job_is_never_created_again_without_a_verdict() {
        assert_eq!(State::Waiting.after(Transition::Begin), None);
        assert_eq!(State::Submitting.after(Transition::Begin), None);
    }
}
