//! From an error of reqwest to a [`Fault`]: may the service have acted on the request?
//!
//! `is_connect` is hyper-util's `ErrorKind::Connect`, which it gives to name resolution, TCP, the TLS
//! handshake and the time-out over all three, and to nothing after them
//! (`hyper-util/src/client/legacy/client.rs`, `connect_to`). Where a pooled connection turns out to
//! be dead before the request was begun, hyper-util takes another one; that is no repetition, since
//! it does so only with a request that it got back unwritten. Once a byte was written the error is
//! `SendRequest`, which counts as sent, as does whatever is not known to be otherwise.
//!
//! Texts name host and port and the kind of fault, so that an operator knows whom to ask; they never
//! hold a path, a query or a body.

use std::error::Error;
use std::fmt;
use std::io;
use std::time::Duration;

use crate::api::Fault;

use super::HttpTransport;

/// How far an exchange had come.
#[derive(Clone, Copy)]
pub(super) enum Phase {
    /// To the answer's header.
    Head,
    /// Into the answer's body.
    Body,
}

impl HttpTransport {
    /// What `e`, met in `phase`, says of the request.
    pub(super) fn fault(&self, e: &reqwest::Error, phase: Phase) -> Fault {
        let place = &self.base.place;
        if e.is_connect() {
            let within = Millis(self.connect_timeout);
            return Fault::NotSent(if e.is_dns() {
                format!("cannot resolve {place}: {}", root_text(e))
            } else if e.is_timeout() {
                format!("no connection to {place} within {within}")
            } else if has_io(e, &[io::ErrorKind::ConnectionRefused]) {
                format!("connection to {place} refused")
            } else if self.base.is_https && !chain(e).any(|c| c.to_string().starts_with("tcp ")) {
                format!("TLS with {place} failed: {}", root_text(e))
            } else {
                format!("cannot connect to {place}: {}", root_text(e))
            });
        }
        let gone = [
            io::ErrorKind::ConnectionReset,
            io::ErrorKind::ConnectionAborted,
            io::ErrorKind::BrokenPipe,
        ];
        let within = Millis(self.total_timeout);
        Fault::AfterSend(match phase {
            Phase::Head if e.is_timeout() => format!("no answer from {place} within {within}"),
            Phase::Body if e.is_timeout() => {
                format!("answer of {place} not complete within {within}")
            }
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
fn chain<'a>(e: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
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
