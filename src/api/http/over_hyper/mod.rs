//! Exchanges by hyper's connections, without a task between.
//!
//! An HTTP/1 connection belongs to one exchange at a time, which drives it itself: request, answer and
//! body move in the one task that waits for them, where a client of the usual make wakes a task of the
//! connection's, a task of the pool's and the caller in turn. Between exchanges nobody drives a
//! connection: whether it was closed meanwhile is seen when it is taken up again, before anything is
//! written. An HTTP/2 connection is shared by all exchanges and has a task of its own.
//!
//! What must stay true, beside what [`super`] says: a request is given to a further connection only
//! where the one before handed it back unwritten.

mod dial;
mod pool;

use std::cell::Cell;
use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::{Body as _, Incoming};
use hyper::client::conn::TrySendError;
use hyper::header::{CONTENT_TYPE, HOST, HeaderValue, USER_AGENT};
use hyper::{Method, Request, Response, Uri, Version};
use tokio::time::timeout;

use crate::api::{Answer, Fault};

use super::base_url::BaseUrl;
use super::fault::{Faults, Phase};
use super::{Body, HttpSettings, TransportSetupError, answer};

use pool::{Connection, Driven, Pool};

type Outgoing = Request<Full<Bytes>>;

/// Where an exchange stands; where it ends without an answer, the service may have acted on it or not.
#[derive(Clone, Copy)]
enum Stage {
    Unsent,
    Sent(Phase),
}

/// Why an exchange over one connection brought no answer.
enum Failure {
    /// The connection was dead; the request was not begun.
    Unsent,
    /// It failed.
    Broken(Fault),
}

/// A client for one service.
#[derive(Clone)]
pub(super) struct Hyper(Rc<Inner>);

struct Inner {
    pool: Pool,
    /// `https://host:port`, and what paths are appended to.
    origin: String,
    prefix: String,
    host: HeaderValue,
    total_timeout: Duration,
    faults: Faults,
}

impl Hyper {
    pub(super) fn new(
        settings: &HttpSettings,
        base: &BaseUrl,
        faults: Faults,
    ) -> Result<Self, TransportSetupError> {
        let bad = |_| TransportSetupError::BadBaseUrl("cannot be sent to");
        let uri: Uri = base.text.parse().map_err(bad)?;
        let authority = uri.authority().map(ToString::to_string).unwrap_or_default();
        let host = HeaderValue::from_str(&authority)
            .map_err(|_| TransportSetupError::BadBaseUrl("has a host that cannot be sent"))?;
        let scheme = uri.scheme_str().unwrap_or_default();
        Ok(Self(Rc::new(Inner {
            pool: Pool::new(settings, base, &uri, faults.clone())?,
            origin: format!("{scheme}://{authority}"),
            prefix: uri.path().trim_end_matches('/').to_owned(),
            host,
            total_timeout: settings.total_timeout,
            faults,
        })))
    }

    pub(super) async fn post(&self, path: &'static str, body: Vec<u8>) -> Result<Answer, Fault> {
        let stage = Cell::new(Stage::Unsent);
        let exchange = self.0.exchange(path, body.into(), &stage);
        match timeout(self.0.total_timeout, exchange).await {
            Ok(result) => result,
            Err(_) => Err(match stage.get() {
                Stage::Unsent => self.0.faults.connect_timed_out(),
                Stage::Sent(phase) => self.0.faults.timed_out(phase),
            }),
        }
    }
}

impl Inner {
    async fn exchange(
        &self,
        path: &'static str,
        body: Bytes,
        stage: &Cell<Stage>,
    ) -> Result<Answer, Fault> {
        loop {
            stage.set(Stage::Unsent);
            let connection = self.pool.take().await?;
            let is_new = connection.is_new();
            let request = self.request(path, body.clone(), connection.is_h2())?;
            stage.set(Stage::Sent(Phase::Head));
            match self.over(connection, request, stage).await {
                Ok(answer) => return Ok(answer),
                Err(Failure::Broken(fault)) => return Err(fault),
                Err(Failure::Unsent) if is_new => return Err(self.faults.closed_unsent()),
                // It was closed while nobody used it. There are only so many of them.
                Err(Failure::Unsent) => {}
            }
        }
    }

    /// The request. HTTP/1 wants the path alone.
    fn request(&self, path: &str, body: Bytes, is_h2: bool) -> Result<Outgoing, Fault> {
        let prefix = &self.prefix;
        let uri = if is_h2 {
            format!("{}{prefix}{path}", self.origin)
        } else {
            format!("{prefix}{path}")
        };
        // Only for a path that is no path.
        let bad = |e: &dyn std::fmt::Display| Fault::NotSent(format!("bad path {path}: {e}"));
        let uri = Uri::try_from(uri).map_err(|e| bad(&e))?;
        let mut request = Request::new(Full::new(body));
        *request.method_mut() = Method::POST;
        *request.uri_mut() = uri;
        let headers = request.headers_mut();
        if is_h2 {
            *request.version_mut() = Version::HTTP_2;
        } else {
            headers.insert(HOST, self.host.clone());
        }
        let headers = request.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert(USER_AGENT, HeaderValue::from_static(super::USER_AGENT));
        Ok(request)
    }

    /// One exchange over this connection. It goes back to the pool where it can be used again.
    async fn over(
        &self,
        connection: Connection,
        request: Outgoing,
        stage: &Cell<Stage>,
    ) -> Result<Answer, Failure> {
        match connection {
            Connection::H1(mut connection) => {
                let sent = connection.sender.try_send_request(request);
                let answer = self.read(sent, &mut connection.driven, stage).await?;
                self.pool.put_back(connection).await;
                Ok(answer)
            }
            Connection::H2(shared, _) => {
                let sent = shared.sender.clone().try_send_request(request);
                let answer = self.read(sent, &mut Driven::by_its_task(), stage).await;
                self.pool.used(&shared);
                answer
            }
        }
    }

    /// Reads the answer to what was sent.
    async fn read(
        &self,
        sent: impl Future<Output = Result<Response<Incoming>, TrySendError<Outgoing>>>,
        driven: &mut Driven,
        stage: &Cell<Stage>,
    ) -> Result<Answer, Failure> {
        let response = driven.until(pin!(sent)).await.map_err(|mut e| {
            if e.take_message().is_some() {
                Failure::Unsent
            } else {
                Failure::Broken(self.faults.broken(Phase::Head, e.error()))
            }
        })?;
        stage.set(Stage::Sent(Phase::Body));
        let (head, mut incoming) = response.into_parts();
        let mut body = Body::default();
        while !incoming.is_end_stream() {
            let frame = pin!(poll_fn(|cx| Pin::new(&mut incoming).poll_frame(cx)));
            let Some(frame) = driven.until(frame).await else {
                break;
            };
            let frame = frame.map_err(|e| Failure::Broken(self.faults.broken(Phase::Body, &e)))?;
            if let Ok(piece) = frame.into_data() {
                body.push(piece).map_err(Failure::Broken)?;
            }
        }
        Ok(answer(head.status, &head.headers, body))
    }
}

impl Driven {
    /// Waits for `what`, and drives the connection that brings it.
    async fn until<F: Future>(&mut self, mut what: Pin<&mut F>) -> F::Output {
        poll_fn(|cx| {
            if let Some(connection) = &mut self.0
                && let Poll::Ready(_end) = Pin::new(&mut **connection).poll(cx)
            {
                // What ended it is told to whoever waits for something of it.
                self.0 = None;
            }
            what.as_mut().poll(cx)
        })
        .await
    }
}
