//! Connections that wait for their next exchange.
//!
//! What must stay true: a connection is used again only where its last exchange was read to its end
//! and it was idle for [`POOL_IDLE`] at most; the one used last is taken first, so that those that are
//! not needed grow old; to a service whose protocol is not known to be HTTP/1 there is one dial at a
//! time, since one connection of HTTP/2 is enough for all.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::poll_fn;
use std::pin::pin;
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::Uri;
use hyper::client::conn::{http1, http2};
use hyper_util::client::legacy::connect::Connection as _;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use tokio::sync::Mutex;
use tokio::time::{Instant, timeout};
use tokio_util::task::AbortOnDropHandle;

use crate::api::Fault;

use super::super::base_url::BaseUrl;
use super::super::fault::{Faults, Phase};
use super::super::{H2_KEEP_ALIVE, HttpSettings, POOL_IDLE, TransportSetupError};
use super::dial::{Dialer, Stream};

/// A connection for an exchange.
pub(super) enum Connection {
    /// All of it.
    H1(Box<H1>),
    /// A share of it. Whether it was made for this exchange.
    H2(Rc<H2>, bool),
}

/// An HTTP/1 connection.
pub(super) struct H1 {
    pub(super) sender: http1::SendRequest<Full<Bytes>>,
    pub(super) driven: Driven,
    is_new: bool,
    idle_since: Instant,
}

/// What moves a connection's bytes, until it is closed; nothing where a task of its own does.
pub(super) struct Driven(pub(super) Option<Box<http1::Connection<Stream, Full<Bytes>>>>);

/// An HTTP/2 connection.
pub(super) struct H2 {
    pub(super) sender: http2::SendRequest<Full<Bytes>>,
    used: Cell<Instant>,
    _driver: AbortOnDropHandle<()>,
}

impl Connection {
    pub(super) fn is_new(&self) -> bool {
        match self {
            Self::H1(h1) => h1.is_new,
            Self::H2(_, is_new) => *is_new,
        }
    }
}

impl Driven {
    pub(super) fn by_its_task() -> Self {
        Self(None)
    }
}

/// The connections to one service.
pub(super) struct Pool {
    dialer: Dialer,
    connect_timeout: Duration,
    /// Oldest first.
    idle: RefCell<VecDeque<Box<H1>>>,
    most_idle: usize,
    shared: RefCell<Option<Rc<H2>>>,
    /// Known to speak HTTP/1.
    is_h1: Cell<bool>,
    dialing: Mutex<()>,
    faults: Faults,
}

impl Pool {
    pub(super) fn new(
        settings: &HttpSettings,
        base: &BaseUrl,
        uri: &Uri,
        faults: Faults,
    ) -> Result<Self, TransportSetupError> {
        Ok(Self {
            dialer: Dialer::new(settings, base, uri)?,
            connect_timeout: settings.connect_timeout(),
            idle: RefCell::default(),
            most_idle: settings.max_connections,
            shared: RefCell::default(),
            is_h1: Cell::new(!base.is_https),
            dialing: Mutex::new(()),
            faults,
        })
    }

    /// A connection, a used one where there is one. Nothing was sent where it fails.
    pub(super) async fn take(&self) -> Result<Connection, Fault> {
        if let Some(connection) = self.take_used() {
            return Ok(connection);
        }
        // Boxed, since it is large and seldom needed.
        match timeout(self.connect_timeout, Box::pin(self.take_new())).await {
            Ok(connection) => connection,
            Err(_) => Err(self.faults.connect_timed_out()),
        }
    }

    fn take_used(&self) -> Option<Connection> {
        let now = Instant::now();
        self.drop_old(now);
        if let Some(h1) = self.idle.borrow_mut().pop_back() {
            return Some(Connection::H1(h1));
        }
        let mut shared = self.shared.borrow_mut();
        match &*shared {
            Some(h2) if !h2.sender.is_closed() && now - h2.used.get() <= POOL_IDLE => {
                h2.used.set(now);
                Some(Connection::H2(Rc::clone(h2), false))
            }
            // Exchanges that are under way over it keep it until they end.
            _ => {
                *shared = None;
                None
            }
        }
    }

    async fn take_new(&self) -> Result<Connection, Fault> {
        let _alone = if self.is_h1.get() {
            None
        } else {
            let alone = self.dialing.lock().await;
            // Whoever dialled meanwhile may have brought one for all.
            if let Some(connection) = self.take_used() {
                return Ok(connection);
            }
            Some(alone)
        };
        let stream = self.dialer.dial().await.map_err(|e| {
            let is_dns = Dialer::failed_to_resolve(&*e);
            self.faults.connect(&*e, is_dns)
        })?;
        let is_h2 = stream.connected().is_negotiated_h2();
        self.is_h1.set(!is_h2);
        // Nothing of a request is sent by a handshake.
        let failed = |e: hyper::Error| match self.faults.broken(Phase::Head, &e) {
            Fault::AfterSend(why) | Fault::NotSent(why) => Fault::NotSent(why),
        };
        if is_h2 {
            let (sender, connection) = http2::Builder::new(TokioExecutor::new())
                .timer(TokioTimer::new())
                .keep_alive_interval(H2_KEEP_ALIVE)
                .keep_alive_timeout(H2_KEEP_ALIVE)
                .handshake(stream)
                .await
                .map_err(failed)?;
            let driver = tokio::spawn(async move {
                // What ends it is told to the exchanges over it.
                let _ = connection.await;
            });
            let h2 = Rc::new(H2 {
                sender,
                used: Cell::new(Instant::now()),
                _driver: AbortOnDropHandle::new(driver),
            });
            *self.shared.borrow_mut() = Some(Rc::clone(&h2));
            return Ok(Connection::H2(h2, true));
        }
        // Head and body of a request are small: one buffer, one packet, one record of TLS.
        let (sender, connection) = http1::Builder::new()
            .writev(false)
            .handshake(stream)
            .await
            .map_err(failed)?;
        Ok(Connection::H1(Box::new(H1 {
            sender,
            driven: Driven(Some(Box::new(connection))),
            is_new: true,
            idle_since: Instant::now(),
        })))
    }

    /// Keeps a connection whose exchange was read to its end, unless either side closes it.
    pub(super) async fn put_back(&self, mut h1: Box<H1>) {
        if !h1.sender.is_ready() {
            // It notices the end of the exchange when it is driven once more.
            let once = pin!(poll_fn(|_| Poll::Ready(())));
            h1.driven.until(once).await;
        }
        if h1.driven.0.is_none() || !h1.sender.is_ready() {
            return;
        }
        let now = Instant::now();
        self.drop_old(now);
        if self.idle.borrow().len() < self.most_idle {
            h1.is_new = false;
            h1.idle_since = now;
            self.idle.borrow_mut().push_back(h1);
        }
    }

    /// An exchange over it has just ended.
    pub(super) fn used(&self, h2: &H2) {
        h2.used.set(Instant::now());
    }

    fn drop_old(&self, now: Instant) {
        let mut idle = self.idle.borrow_mut();
        while idle
            .front()
            .is_some_and(|h1| now - h1.idle_since > POOL_IDLE)
        {
            idle.pop_front();
        }
    }
}
