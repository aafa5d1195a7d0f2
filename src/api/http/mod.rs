//! The transport over HTTP: reqwest, made to do nothing by itself.
//!
//! What must stay true: no redirect is followed, no proxy used, no cookie kept, nothing sent twice;
//! the account token leaves over TLS only, or to this machine ([`base_url`]); a [`Fault::NotSent`]
//! is one before any byte of the request was written ([`fault`]). Bodies are read to their end, so
//! that connections are used again, but not beyond 1 MiB.

mod base_url;
mod fault;
mod retry_after;

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::{Duration, SystemTime};

use bytes::{Bytes, BytesMut};
use reqwest::header::{CONTENT_TYPE, HeaderMap};
use url::Url;

use super::{Answer, Fault, Transport};

use base_url::BaseUrl;
use fault::{Phase, root_text};
use retry_after::retry_after;

/// Largest body that is read.
const LARGEST_ANSWER: usize = 1024 * 1024;
/// How long an unused connection is kept. Common servers close theirs after 15 s, and one that is
/// closed while a request is on its way leaves the request's fate unknown.
const POOL_IDLE: Duration = Duration::from_secs(10);
/// A silent HTTP/2 connection with requests under way is asked for a sign of life so often, and
/// given as long: all requests share it, and a dead one would hold them all.
const H2_KEEP_ALIVE: Duration = Duration::from_secs(10);

/// How to reach the service.
#[derive(Clone, Debug)]
pub struct HttpSettings {
    /// What paths are appended to: `https://…`, or `http://…` on this machine.
    pub base_url: String,
    /// Longest time to a connection: name, TCP and TLS together; at most half of `total_timeout`
    /// is taken, so that a service that cannot be reached is known not to have been asked.
    pub connect_timeout: Duration,
    /// Longest time of an exchange, from the first attempt to connect to the answer's last byte.
    pub total_timeout: Duration,
    /// Most unused connections that are kept. Those in use are bounded by the caller.
    pub max_connections: usize,
}

impl HttpSettings {
    /// Settings for `base_url` with the defaults: 10 s to connect, 30 s in all, 32 connections.
    #[must_use]
    pub fn new(base_url: impl Into<String>) -> Self {
        Self {
            base_url: base_url.into(),
            connect_timeout: Duration::from_secs(10),
            total_timeout: Duration::from_secs(30),
            max_connections: 32,
        }
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
    http: reqwest::Client,
    base: BaseUrl,
    total_timeout: Duration,
    connect_timeout: Duration,
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
        let total_timeout = settings.total_timeout;
        let connect_timeout = settings.connect_timeout.min(total_timeout / 2);
        let mut builder = reqwest::Client::builder()
            .user_agent(concat!("pollwheel/", env!("CARGO_PKG_VERSION")))
            .redirect(reqwest::redirect::Policy::none())
            .retry(reqwest::retry::never())
            .no_proxy()
            .referer(false)
            .connect_timeout(connect_timeout)
            .timeout(total_timeout)
            .pool_idle_timeout(POOL_IDLE)
            .pool_max_idle_per_host(settings.max_connections)
            .http2_keep_alive_interval(H2_KEEP_ALIVE)
            .http2_keep_alive_timeout(H2_KEEP_ALIVE)
            .tcp_nodelay(true);
        if base.is_localhost {
            // Whatever the resolver says: it is allowed without TLS, so it has to be this machine.
            let here = [
                IpAddr::V4(Ipv4Addr::LOCALHOST),
                IpAddr::V6(Ipv6Addr::LOCALHOST),
            ];
            builder = builder.resolve_to_addrs("localhost", &here.map(|ip| SocketAddr::new(ip, 0)));
        }
        builder = if base.is_https {
            builder.https_only(true)
        } else {
            // Without TLS no authority is needed, and none need be installed.
            builder.tls_certs_only([])
        };
        let http = builder
            .build()
            .map_err(|e| TransportSetupError::Tls(root_text(&e)))?;
        Ok(Self {
            http,
            base,
            total_timeout,
            connect_timeout,
        })
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

    async fn exchange(&self, url: Url, body: Vec<u8>) -> Result<Answer, Fault> {
        let request = self
            .http
            .post(url)
            .header(CONTENT_TYPE, "application/json")
            .body(body)
            .send();
        let mut response = request.await.map_err(|e| self.fault(&e, Phase::Head))?;
        let status = response.status().as_u16();
        let retry_after = retry_after(response.headers(), SystemTime::now());
        let content_type = header(response.headers(), CONTENT_TYPE.as_str()).to_owned();
        let mut body = BytesMut::new();
        while let Some(chunk) = response
            .chunk()
            .await
            .map_err(|e| self.fault(&e, Phase::Body))?
        {
            if body.len() + chunk.len() > LARGEST_ANSWER {
                return Err(Fault::AfterSend("answer larger than 1 MiB".to_owned()));
            }
            body.extend_from_slice(&chunk);
        }
        Ok(Answer {
            status,
            retry_after,
            content_type,
            body: Bytes::from(body),
        })
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
    async fn post(&self, path: &'static str, body: Vec<u8>) -> Result<Answer, Fault> {
        match Url::parse(&format!("{}{path}", self.base.text)) {
            Ok(url) => self.exchange(url, body).await,
            // Only for a path that is no path.
            Err(e) => Err(Fault::NotSent(format!("bad path {path}: {e}"))),
        }
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
