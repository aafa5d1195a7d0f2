//! The transport over HTTP, made to do nothing by itself.
//!
//! What must stay true: no redirect is followed, no proxy used, no cookie kept, nothing sent twice;
//! the account token leaves over TLS only, or to this machine ([`base_url`]); a [`Fault::NotSent`]
//! is one before any byte of the request was written ([`fault`]). Bodies are read to their end, so
//! that connections are used again, but not beyond 1 MiB.
//!
//! There are two clients, which do the same in every respect (one suite of tests runs over both):
//! [`over_hyper`], which costs about half the CPU time an exchange, and [`over_reqwest`].

mod base_url;
mod fault;
mod over_hyper;
mod over_reqwest;
mod retry_after;

use std::fmt;
use std::time::{Duration, SystemTime};

use bytes::{Bytes, BytesMut};
use futures_util::future::Either;
use hyper::StatusCode;
use hyper::header::{CONTENT_TYPE, HeaderMap};

use super::{Answer, Fault, Transport};

use base_url::BaseUrl;
use fault::Faults;
use over_hyper::Hyper;
use over_reqwest::Reqwest;
use retry_after::retry_after;

/// Largest body that is read.
const LARGEST_ANSWER: usize = 1024 * 1024;
/// How long an unused connection is kept. Common servers close theirs after 15 s, and one that is
/// closed while a request is on its way leaves the request's fate unknown.
const POOL_IDLE: Duration = Duration::from_secs(10);
/// A silent HTTP/2 connection with requests under way is asked for a sign of life so often, and
/// given as long: all requests share it, and a dead one would hold them all.
const H2_KEEP_ALIVE: Duration = Duration::from_secs(10);
const USER_AGENT: &str = concat!("pollwheel/", env!("CARGO_PKG_VERSION"));

/// What speaks HTTP.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum HttpClient {
    /// hyper's connections in a pool of our own.
    #[default]
    Hyper,
    /// reqwest.
    Reqwest,
}

impl HttpClient {
    /// Its name in settings.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Hyper => "hyper",
            Self::Reqwest => "reqwest",
        }
    }
}

/// How to reach the service.
#[derive(Clone, Debug)]
pub struct HttpSettings {
    /// What paths are appended to: `https://…`, or `http://…` on this machine.
    pub base_url: String,
    /// What speaks HTTP.
    pub client: HttpClient,
    /// Longest time to a connection: name, TCP and TLS together; at most half of `total_timeout`
    /// is taken, so that a service that cannot be reached is known not to have been asked.
    pub connect_timeout: Duration,
    /// Longest time of an exchange, from the first attempt to connect to the answer's last byte.
    pub total_timeout: Duration,
    /// Most unused connections that are kept. Those in use are bounded by the caller.
    pub max_connections: usize,
    /// No name can be resolved.
    #[cfg(test)]
    pub(crate) knows_no_names: bool,
}

impl HttpSettings {
    /// Settings for `base_url` with the defaults: 10 s to connect, 30 s in all, 32 connections.
    #[must_use]
    pub fn new(base_url: impl Into<String>) -> Self {
        Self {
            base_url: base_url.into(),
            client: HttpClient::default(),
            connect_timeout: Duration::from_secs(10),
            total_timeout: Duration::from_secs(30),
            max_connections: 32,
            #[cfg(test)]
            knows_no_names: false,
        }
    }

    fn connect_timeout(&self) -> Duration {
        self.connect_timeout.min(self.total_timeout / 2)
    }
}

/// Why there is no transport. It never shows the URL, which may hold a password.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
pub enum TransportSetupError {
    /// The base URL cannot be used.
    #[error("the base URL {0}")]
    BadBaseUrl(&'static str),
    /// No client, in practice because the system has no certificates of authorities.
    #[error("cannot set up TLS: {0}")]
    Tls(String),
}

/// A pool of connections to the service.
#[derive(Clone)]
pub struct HttpTransport {
    base: BaseUrl,
    exchanges: Exchanges,
}

#[derive(Clone)]
enum Exchanges {
    OverHyper(Hyper),
    OverReqwest(Reqwest),
}

impl HttpTransport {
    /// Sets up the pool. Nothing is sent or resolved yet.
    ///
    /// # Errors
    ///
    /// A base URL that is neither https nor on this machine, or has user information, a query or a
    /// fragment; a system without certificates.
    pub fn new(settings: &HttpSettings) -> Result<Self, TransportSetupError> {
        let base = BaseUrl::try_new(&settings.base_url)?;
        let faults = Faults::new(&base, settings.connect_timeout(), settings.total_timeout);
        let exchanges = match settings.client {
            HttpClient::Hyper => Exchanges::OverHyper(Hyper::new(settings, &base, faults)?),
            HttpClient::Reqwest => Exchanges::OverReqwest(Reqwest::new(settings, &base, faults)?),
        };
        Ok(Self { base, exchanges })
    }

    /// Whether the service runs on this machine; the floor between polls is lifted for such only.
    #[must_use]
    pub fn is_loopback(&self) -> bool {
        self.base.is_loopback
    }

    /// The base URL in the form that is compared and recorded: lower-case host, no default port,
    /// no slash at the end.
    #[must_use]
    pub fn canonical_base_url(&self) -> &str {
        &self.base.text
    }
}

impl fmt::Debug for HttpTransport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpTransport")
            .field("base", &self.base.text)
            .finish_non_exhaustive()
    }
}

impl Transport for HttpTransport {
    fn post(
        &self,
        path: &'static str,
        body: Vec<u8>,
    ) -> impl Future<Output = Result<Answer, Fault>> {
        match &self.exchanges {
            Exchanges::OverHyper(client) => Either::Left(client.post(path, body)),
            Exchanges::OverReqwest(client) => Either::Right(Box::pin(client.post(path, body))),
        }
    }
}

/// A body as far as it was read. One that comes in one piece is not copied.
#[derive(Default)]
struct Body {
    first: Bytes,
    more: BytesMut,
}

impl Body {
    /// Takes a further piece.
    fn push(&mut self, piece: Bytes) -> Result<(), Fault> {
        if self.first.len() + self.more.len() + piece.len() > LARGEST_ANSWER {
            return Err(Faults::too_large());
        }
        if self.first.is_empty() && self.more.is_empty() {
            self.first = piece;
        } else {
            self.more
                .extend_from_slice(&std::mem::take(&mut self.first));
            self.more.extend_from_slice(&piece);
        }
        Ok(())
    }

    fn into_bytes(self) -> Bytes {
        if self.more.is_empty() {
            self.first
        } else {
            self.more.freeze()
        }
    }
}

/// The answer, once its body is read.
fn answer(status: StatusCode, headers: &HeaderMap, body: Body) -> Answer {
    Answer {
        status: status.as_u16(),
        retry_after: retry_after(headers, SystemTime::now()),
        content_type: header(headers, CONTENT_TYPE.as_str()).to_owned(),
        body: body.into_bytes(),
    }
}

/// A header's text; empty where it is missing or no text.
fn header<'a>(headers: &'a HeaderMap, name: &str) -> &'a str {
    headers
        .get(name)
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default()
        .trim()
}

#[cfg(test)]
mod tests;
