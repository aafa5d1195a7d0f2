//! Exchanges by reqwest, made to do nothing by itself.
//!
//! `is_connect` is hyper-util's `ErrorKind::Connect`, which it gives to name resolution, TCP, the TLS
//! handshake and the time-out over all three, and to nothing after them
//! (`hyper-util/src/client/legacy/client.rs`, `connect_to`). Where a pooled connection turns out to
//! be dead before the request was begun, hyper-util takes another one; that is no repetition, since
//! it does so only with a request that it got back unwritten. Once a byte was written the error is
//! `SendRequest`, which counts as sent, as does whatever is not known to be otherwise.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use reqwest::header::CONTENT_TYPE;
use url::Url;

use crate::api::{Answer, Fault};

use super::base_url::BaseUrl;
use super::fault::{Faults, Phase, root_text};
use super::{
    Body, H2_KEEP_ALIVE, HttpSettings, POOL_IDLE, TransportSetupError, USER_AGENT, answer,
};

/// A client of reqwest for one service.
#[derive(Clone)]
pub(super) struct Reqwest {
    http: reqwest::Client,
    base: String,
    faults: Faults,
}

impl Reqwest {
    pub(super) fn new(
        settings: &HttpSettings,
        base: &BaseUrl,
        faults: Faults,
    ) -> Result<Self, TransportSetupError> {
        let mut builder = reqwest::Client::builder()
            .user_agent(USER_AGENT)
            .redirect(reqwest::redirect::Policy::none())
            .retry(reqwest::retry::never())
            .no_proxy()
            .referer(false)
            .connect_timeout(settings.connect_timeout())
            .timeout(settings.total_timeout)
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
        #[cfg(test)]
        if settings.knows_no_names {
            builder = builder.dns_resolver(std::sync::Arc::new(NoNames));
        }
        let http = builder
            .build()
            .map_err(|e| TransportSetupError::Tls(root_text(&e)))?;
        Ok(Self {
            http,
            base: base.text.clone(),
            faults,
        })
    }

    pub(super) async fn post(&self, path: &'static str, body: Vec<u8>) -> Result<Answer, Fault> {
        let url = Url::parse(&format!("{}{path}", self.base))
            // Only for a path that is no path.
            .map_err(|e| Fault::NotSent(format!("bad path {path}: {e}")))?;
        let request = self
            .http
            .post(url)
            .header(CONTENT_TYPE, "application/json")
            .body(body)
            .send();
        let mut response = request.await.map_err(|e| self.fault(&e, Phase::Head))?;
        let mut body = Body::default();
        while let Some(chunk) = response
            .chunk()
            .await
            .map_err(|e| self.fault(&e, Phase::Body))?
        {
            body.push(chunk)?;
        }
        Ok(answer(response.status(), response.headers(), body))
    }

    /// What `e`, met in `phase`, says of the request.
    fn fault(&self, e: &reqwest::Error, phase: Phase) -> Fault {
        match e.is_timeout() {
            true if e.is_connect() => self.faults.connect_timed_out(),
            false if e.is_connect() => self.faults.connect(e, e.is_dns()),
            true => self.faults.timed_out(phase),
            false => self.faults.broken(phase, e),
        }
    }
}

/// Knows no name. The real resolver would ask beyond this machine.
#[cfg(test)]
struct NoNames;

#[cfg(test)]
impl reqwest::dns::Resolve for NoNames {
    fn resolve(&self, _: reqwest::dns::Name) -> reqwest::dns::Resolving {
        Box::pin(std::future::ready(Err("no such name".into())))
    }
}
