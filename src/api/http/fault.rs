//! What ended an exchange without an answer, and whether the service may have acted on the request.
//!
//! Texts name host and port and the kind of fault, so that an operator knows whom to ask; they never
//! hold a path, a query or a body.

use std::error::Error;
use std::fmt;
use std::io;
use std::time::Duration;

use crate::api::Fault;

use super::LARGEST_ANSWER;
use super::base_url::BaseUrl;

/// How far an exchange had come.
#[derive(Clone, Copy)]
pub(super) enum Phase {
    /// To the answer's header.
    Head,
    /// Into the answer's body.
    Body,
}

/// Makes faults of what ends exchanges with one service.
#[derive(Clone)]
pub(super) struct Faults {
    place: String,
    is_https: bool,
    connect_timeout: Duration,
    total_timeout: Duration,
}

impl Faults {
    pub(super) fn new(base: &BaseUrl, connect_timeout: Duration, total_timeout: Duration) -> Self {
        Self {
            place: base.place.clone(),
            is_https: base.is_https,
            connect_timeout,
            total_timeout,
        }
    }

    /// There was no connection in time.
    pub(super) fn connect_timed_out(&self) -> Fault {
        let within = Millis(self.connect_timeout);
        Fault::NotSent(format!("no connection to {} within {within}", self.place))
    }

    /// There was no connection, because of `e`: nothing was sent. `is_dns`: the name is not known.
    pub(super) fn connect(&self, e: &(dyn Error + 'static), is_dns: bool) -> Fault {
        let place = &self.place;
        Fault::NotSent(if is_dns {
            format!("cannot resolve {place}: {}", root_text(e))
        } else if has_io(e, &[io::ErrorKind::TimedOut]) {
            return self.connect_timed_out();
        } else if has_io(e, &[io::ErrorKind::ConnectionRefused]) {
            format!("connection to {place} refused")
        } else if self.is_https && !chain(e).any(|c| c.to_string().starts_with("tcp ")) {
            format!("TLS with {place} failed: {}", root_text(e))
        } else {
            format!("cannot connect to {place}: {}", root_text(e))
        })
    }

    /// A connection was closed as soon as it was made, before anything was written to it.
    pub(super) fn closed_unsent(&self) -> Fault {
        Fault::NotSent(format!(
            "connection to {} closed before the request",
            self.place
        ))
    }

    /// The time of the exchange was over.
    pub(super) fn timed_out(&self, phase: Phase) -> Fault {
        let (place, within) = (&self.place, Millis(self.total_timeout));
        Fault::AfterSend(match phase {
            Phase::Head => format!("no answer from {place} within {within}"),
            Phase::Body => format!("answer of {place} not complete within {within}"),
        })
    }

    /// The answer is longer than is read.
    pub(super) fn too_large() -> Fault {
        const { assert!(LARGEST_ANSWER == 1024 * 1024) };
        Fault::AfterSend("answer larger than 1 MiB".to_owned())
    }

    /// The connection broke, or what came is no HTTP.
    pub(super) fn broken(&self, phase: Phase, e: &(dyn Error + 'static)) -> Fault {
        let place = &self.place;
        let gone = [
            io::ErrorKind::ConnectionReset,
            io::ErrorKind::ConnectionAborted,
            io::ErrorKind::BrokenPipe,
        ];
        Fault::AfterSend(match phase {
            Phase::Head if has_io(e, &gone) => {
                format!("connection to {place} reset before the answer")
            }
            Phase::Body if has_io(e, &gone) => format!("connection to {place} reset in the answer"),
            Phase::Body => format!("answer of {place} cut short: {}", root_text(e)),
            Phase::Head if is_closed(e) => {
                format!("connection to {place} closed before the answer")
            }
            Phase::Head => format!("protocol error from {place}: {}", root_text(e)),
        })
    }
}

/// The error and its causes. An `io::Error` passes over the error that it wraps, hence the detour.
pub(super) fn chain<'a>(
    e: &'a (dyn Error + 'static),
) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(Some(e), |&e: &&'a (dyn Error + 'static)| {
        match e.downcast_ref::<io::Error>() {
            Some(io) => io.get_ref().map(|inner| inner as &(dyn Error + 'static)),
            None => e.source(),
        }
    })
}

fn has_io(e: &(dyn Error + 'static), kinds: &[io::ErrorKind]) -> bool {
    chain(e)
        .filter_map(|c| c.downcast_ref::<io::Error>())
        .any(|io| kinds.contains(&io.kind()))
}

/// hyper's words for a connection that ended where an answer should begin. Only a message depends
/// on them, no class.
fn is_closed(e: &(dyn Error + 'static)) -> bool {
    chain(e).any(|c| c.to_string().starts_with("connection closed"))
}

/// What the last cause says. The first ones only say that there was an error, and name the URL.
pub(super) fn root_text(e: &(dyn Error + 'static)) -> String {
    chain(e).last().map(ToString::to_string).unwrap_or_default()
}

/// A time-out for people: `30s`, `250ms`.
struct Millis(Duration);

impl fmt::Display for Millis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.subsec_millis() == 0 {
            write!(f, "{}s", self.0.as_secs())
        } else {
            write!(f, "{}ms", self.0.as_millis())
        }
    }
}
