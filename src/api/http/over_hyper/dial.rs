//! From a base URL to a connected stream: name, TCP and TLS, by hyper-util and hyper-rustls.

use std::error::Error;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::pin::Pin;
use std::task::{Context, Poll};

use hyper::Uri;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder, MaybeHttpsStream};
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::connect::dns::{GaiResolver, Name};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tower_service::Service;

use super::super::base_url::BaseUrl;
use super::super::fault::{chain, root_text};
use super::super::{HttpSettings, TransportSetupError};

/// A connected stream, with TLS or without.
pub(super) type Stream = MaybeHttpsStream<TokioIo<TcpStream>>;

type BoxError = Box<dyn Error + Send + Sync>;

/// Makes connections to one service.
pub(super) struct Dialer {
    uri: Uri,
    connector: Connector,
}

enum Connector {
    Tcp(HttpConnector<Names>),
    Tls(HttpsConnector<HttpConnector<Names>>),
}

impl Dialer {
    pub(super) fn new(
        settings: &HttpSettings,
        base: &BaseUrl,
        uri: &Uri,
    ) -> Result<Self, TransportSetupError> {
        let names = match base.is_localhost {
            true => Names::ThisMachine,
            false => Names::System(GaiResolver::new()),
        };
        #[cfg(test)]
        let names = if settings.knows_no_names {
            Names::None
        } else {
            names
        };
        let mut tcp = HttpConnector::new_with_resolver(names);
        tcp.set_nodelay(true);
        // Shared out among the name's addresses.
        tcp.set_connect_timeout(Some(settings.connect_timeout()));
        let connector = if base.is_https {
            tcp.enforce_http(false);
            let tls = HttpsConnectorBuilder::new()
                .try_with_platform_verifier()
                .map_err(|e| TransportSetupError::Tls(root_text(&e)))?
                .https_only()
                .enable_all_versions()
                .wrap_connector(tcp);
            Connector::Tls(tls)
        } else {
            // Without TLS no authority is needed, and none need be installed.
            Connector::Tcp(tcp)
        };
        Ok(Self {
            uri: uri.clone(),
            connector,
        })
    }

    pub(super) async fn dial(&self) -> Result<Stream, BoxError> {
        let uri = self.uri.clone();
        match &self.connector {
            Connector::Tcp(connector) => Ok(connector.clone().call(uri).await?.into()),
            Connector::Tls(connector) => connector.clone().call(uri).await,
        }
    }

    /// Whether a dial failed because the name is not known. Only a message depends on it.
    pub(super) fn failed_to_resolve(e: &(dyn Error + 'static)) -> bool {
        chain(e).any(|c| c.to_string().starts_with("dns error"))
    }
}

/// Finds the addresses of a name.
#[derive(Clone, Debug)]
enum Names {
    System(GaiResolver),
    /// Whatever the resolver says: `localhost` is allowed without TLS, so it has to be this machine.
    ThisMachine,
    #[cfg(test)]
    None,
}

impl Service<Name> for Names {
    type Response = std::vec::IntoIter<SocketAddr>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<Self::Response>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::System(resolver) => resolver.poll_ready(cx),
            _ => Poll::Ready(Ok(())),
        }
    }

    fn call(&mut self, name: Name) -> Self::Future {
        match self {
            Self::System(resolver) => {
                let addresses = resolver.call(name);
                Box::pin(async { Ok(addresses.await?.collect::<Vec<_>>().into_iter()) })
            }
            Self::ThisMachine => {
                let here = [
                    IpAddr::V4(Ipv4Addr::LOCALHOST),
                    IpAddr::V6(Ipv6Addr::LOCALHOST),
                ];
                let here = here.map(|ip| SocketAddr::new(ip, 0)).to_vec();
                Box::pin(std::future::ready(Ok(here.into_iter())))
            }
            #[cfg(test)]
            Self::None => Box::pin(std::future::ready(Err(io::Error::other("no such name")))),
        }
    }
}
