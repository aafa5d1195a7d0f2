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

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::{Body as _, Incoming};
use hyper::client::conn::TrySendError;
use hyper::header::{CONTENT_TYPE, HOST, HeaderMap, HeaderValue, USER_AGENT};
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

/// What all requests of one version of HTTP begin with.
struct Head {
    version: Version,
    headers: HeaderMap,
    /// What stands before paths.
    before: String,
    /// Of paths that were asked for. There are only so many of them.
    uris: RefCell<Vec<(&'static str, Uri)>>,
}

/// A client for one service.
#[derive(Clone)]
pub(super) struct Hyper(Rc<Inner>);

struct Inner {
    pool: Pool,
    h1: Head,
    h2: Head,
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
        let prefix = uri.path().trim_end_matches('/');
        let origin = format!("{scheme}://{authority}{prefix}");
        Ok(Self(Rc::new(Inner {
            pool: Pool::new(settings, base, &uri, faults.clone())?,
            // HTTP/1 wants the path alone.
            h1: Head::new(Version::HTTP_11, prefix.to_owned(), Some(host)),
            h2: Head::new(Version::HTTP_2, origin, None),
            total_timeout: settings.total_timeout,
            faults,
        })))
    }

    pub(super) async fn post(&self, path: &'static str, body: Vec<u8>) -> Result<Answer, Fault> {
        let stage = Cell::new(Stage::Unsent);
        let body = body.into();
        let exchange = self.0.exchange(path, &body, &stage);
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
        body: &Bytes,
        stage: &Cell<Stage>,
    ) -> Result<Answer, Fault> {
        loop {
            stage.set(Stage::Unsent);
            let connection = self.pool.take().await?;
            let is_new = connection.is_new();
            let result = match connection {
                Connection::H1(mut connection) => {
                    let request = self.h1.request(path, body.clone())?;
                    stage.set(Stage::Sent(Phase::Head));
                    // In a block of its own: what is awaited here and there shares its room in the future.
                    let response = {
                        let sent = pin!(connection.sender.try_send_request(request));
                        connection.driven.until(sent).await
                    };
                    let result = match self.head(response) {
                        Ok(mut response) => {
                            let driven = &mut connection.driven;
                            self.read(&mut response, driven, stage).await
                        }
                        Err(failure) => Err(failure),
                    };
                    if result.is_ok() {
                        self.pool.put_back(connection).await;
                    }
                    result
                }
                Connection::H2(shared, _) => {
                    let request = self.h2.request(path, body.clone())?;
                    stage.set(Stage::Sent(Phase::Head));
                    let response = shared.sender.clone().try_send_request(request).await;
                    let result = match self.head(response) {
                        Ok(mut response) => {
                            let driven = &mut Driven::by_its_task();
                            self.read(&mut response, driven, stage).await
                        }
                        Err(failure) => Err(failure),
                    };
                    self.pool.used(&shared);
                    result
                }
            };
            match result {
                Ok(answer) => return Ok(answer),
                Err(Failure::Broken(fault)) => return Err(fault),
                Err(Failure::Unsent) if is_new => return Err(self.faults.closed_unsent()),
                // It was closed while nobody used it. There are only so many of them.
                Err(Failure::Unsent) => {}
            }
        }
    }

    /// Reads the answer, whose head is there.
    async fn read(
        &self,
        response: &mut Response<Incoming>,
        driven: &mut Driven,
        stage: &Cell<Stage>,
    ) -> Result<Answer, Failure> {
        stage.set(Stage::Sent(Phase::Body));
        let mut body = Body::default();
        while !response.body().is_end_stream() {
            let incoming = response.body_mut();
            let frame = pin!(poll_fn(|cx| Pin::new(&mut *incoming).poll_frame(cx)));
            let Some(frame) = driven.until(frame).await else {
                break;
            };
            let frame = frame.map_err(|e| Failure::Broken(self.faults.broken(Phase::Body, &e)))?;
            if let Ok(piece) = frame.into_data() {
                body.push(piece).map_err(Failure::Broken)?;
            }
        }
        Ok(answer(response.status(), response.headers(), body))
    }

    fn head(
        &self,
        response: Result<Response<Incoming>, TrySendError<Outgoing>>,
    ) -> Result<Response<Incoming>, Failure> {
        response.map_err(|mut e| {
            if e.take_message().is_some() {
                Failure::Unsent
            } else {
                Failure::Broken(self.faults.broken(Phase::Head, e.error()))
            }
        })
    }
}

impl Head {
    /// For this version of HTTP; `before` is what stands before paths.
    fn new(version: Version, before: String, host: Option<HeaderValue>) -> Self {
        let mut headers = HeaderMap::new();
        if let Some(host) = host {
            headers.insert(HOST, host);
        }
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert(USER_AGENT, HeaderValue::from_static(super::USER_AGENT));
        Self {
            version,
            headers,
            before,
            uris: RefCell::default(),
        }
    }

    fn request(&self, path: &'static str, body: Bytes) -> Result<Outgoing, Fault> {
        let mut request = Request::new(Full::new(body));
        *request.method_mut() = Method::POST;
        *request.version_mut() = self.version;
        *request.uri_mut() = self.uri(path)?;
        request.headers_mut().clone_from(&self.headers);
        Ok(request)
    }

    fn uri(&self, path: &'static str) -> Result<Uri, Fault> {
        let mut uris = self.uris.borrow_mut();
        if let Some((_, uri)) = uris.iter().find(|(known, _)| *known == path) {
            return Ok(uri.clone());
        }
        // Only for a path that is no path.
        let uri = Uri::try_from(format!("{}{path}", self.before))
            .map_err(|e| Fault::NotSent(format!("bad path {path}: {e}")))?;
        uris.push((path, uri.clone()));
        Ok(uri)
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
