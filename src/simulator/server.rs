//! The simulator on a TCP port: HTTP/1.1 by hyper, connections accepted and ended by ourselves, for
//! only so can they be reset and cut.
//!
//! Beside the API it answers `GET /health`, `GET /ledger` (sums, JSON), `GET /ledger/seconds` (creates and
//! polls in each second, JSON), `GET /ledger/jobs` and `GET /ledger/requests` (JSON lines). Those hold no account token; they do hold the make-believe
//! solved ones.
//!
//! What must stay true: one task per connection, all of them awaited; the brain is never locked
//! over an await; a reset is a real one (`SO_LINGER` 0), which the client sees as ECONNRESET.

use std::convert::Infallible;
use std::future::{Future as _, pending, poll_fn};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use hyper::header::{CONTENT_TYPE, HeaderValue, RETRY_AFTER};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio::task::{JoinError, JoinHandle, JoinSet};
use tokio::time::{Instant, Sleep, sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::brain::SharedBrain;
use super::reaction::{Effect, Reply};
use super::record::Receipt;
use super::request::HttpRequest;
use super::settings::SimulatorSettings;

/// Largest request body that is read.
const LARGEST_REQUEST: usize = 64 << 10;
/// How long answers under way may take when the server is told to stop.
const GRACE: Duration = Duration::from_secs(1);
/// Parts of a body that is dribbled out.
const DRIBBLES: usize = 20;

/// Why there is no server, or no longer.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// The address is not a loopback one and that was not allowed.
    #[error(
        "{0} can be reached from other machines; the simulator listens on loopback unless told otherwise"
    )]
    NotLoopback(SocketAddr),
    /// The address cannot be listened on.
    #[error("cannot listen on {address}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The listener failed.
    #[error("the listener failed")]
    Listener(#[source] std::io::Error),
    /// A task of it panicked.
    #[error("a task of the simulator panicked")]
    Panicked(#[source] JoinError),
}

/// A simulator that listens. Dropped without [`join`](Self::join) it goes on until its token is
/// cancelled.
#[derive(Debug)]
pub struct Server {
    local_addr: SocketAddr,
    brain: SharedBrain,
    shutdown: CancellationToken,
    accepting: JoinHandle<Result<(), ServerError>>,
}

impl Server {
    /// Listens on `address` and starts. Port 0 takes a free one.
    ///
    /// # Errors
    ///
    /// [`ServerError::NotLoopback`] unless `allow_non_loopback`, [`ServerError::Listen`] where the
    /// address cannot be had.
    pub async fn bind(
        settings: SimulatorSettings,
        address: SocketAddr,
        allow_non_loopback: bool,
        shutdown: CancellationToken,
    ) -> Result<Self, ServerError> {
        if !allow_non_loopback && !address.ip().is_loopback() {
            return Err(ServerError::NotLoopback(address));
        }
        let listener = TcpListener::bind(address)
            .await
            .map_err(|source| ServerError::Listen { address, source })?;
        Self::start(SharedBrain::new(settings), listener, shutdown)
    }

    /// Serves `brain` on a listener until `shutdown` is cancelled.
    ///
    /// # Errors
    ///
    /// [`ServerError::Listener`] where the listener does not know its address.
    ///
    /// # Panics
    ///
    /// Outside of a tokio runtime with I/O and time.
    pub fn start(
        brain: SharedBrain,
        listener: TcpListener,
        shutdown: CancellationToken,
    ) -> Result<Self, ServerError> {
        let local_addr = listener.local_addr().map_err(ServerError::Listener)?;
        let accepting = tokio::spawn(accept(brain.clone(), listener, shutdown.clone()));
        Ok(Self {
            local_addr,
            brain,
            shutdown,
            accepting,
        })
    }

    /// Where it listens.
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        self.local_addr
    }

    /// The base URL for clients.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.local_addr)
    }

    /// The simulator behind it.
    #[must_use]
    pub fn brain(&self) -> &SharedBrain {
        &self.brain
    }

    /// Waits until it has ended: after its token was cancelled, or by a fault.
    ///
    /// # Errors
    ///
    /// The fault that ended it.
    pub async fn join(self) -> Result<(), ServerError> {
        self.accepting.await.map_err(ServerError::Panicked)?
    }

    /// Tells it to stop and waits until it has; answers under way have a second.
    ///
    /// # Errors
    ///
    /// A fault that had ended it before.
    pub async fn stop(self) -> Result<(), ServerError> {
        self.shutdown.cancel();
        self.join().await
    }
}

/// Accepts connections until told to stop.
async fn accept(
    brain: SharedBrain,
    listener: TcpListener,
    shutdown: CancellationToken,
) -> Result<(), ServerError> {
    let keep_alive = brain.with(|brain| brain.settings().keep_alive);
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => {
                    let serving = serve(brain.clone(), stream, shutdown.clone(), keep_alive);
                    connections.spawn(serving);
                }
                // The client went away, or there are no descriptors for now: neither is the end.
                Err(_) => sleep(Duration::from_millis(10)).await,
            },
            Some(ended) = connections.join_next() => ended.map_err(ServerError::Panicked)?,
            () = shutdown.cancelled() => break,
        }
    }
    drop(listener);
    let all = async {
        while let Some(ended) = connections.join_next().await {
            ended.map_err(ServerError::Panicked)?;
        }
        Ok(())
    };
    match timeout(GRACE, all).await {
        Ok(ended) => ended,
        Err(_) => {
            connections.shutdown().await;
            Ok(())
        }
    }
}

/// How a connection is ended by its handler, against hyper's will.
#[derive(Debug, Default)]
struct Hatchet {
    reset: Notify,
    close: Notify,
}

/// Serves one connection to its end.
async fn serve(
    brain: SharedBrain,
    stream: TcpStream,
    shutdown: CancellationToken,
    keep_alive: Duration,
) {
    // Else the later parts of a slow answer would wait for acknowledgements.
    let _ = stream.set_nodelay(true);
    let hatchet = Arc::new(Hatchet::default());
    let service = service_fn(|request| respond(brain.clone(), Arc::clone(&hatchet), request));
    let mut connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(keep_alive)
        .serve_connection(TokioIo::new(stream), service);
    let mut stopping = false;
    loop {
        tokio::select! {
            // An error is the client's going away.
            _ = &mut connection => return,
            () = hatchet.close.notified() => return,
            () = hatchet.reset.notified() => break,
            () = shutdown.cancelled(), if !stopping => {
                stopping = true;
                Pin::new(&mut connection).graceful_shutdown();
            }
        }
    }
    // With a lingering time of zero, closing is a reset.
    let _ = connection.into_parts().io.into_inner().set_zero_linger();
}

/// Answers one request, or ends its connection.
async fn respond(
    brain: SharedBrain,
    hatchet: Arc<Hatchet>,
    request: Request<Incoming>,
) -> Result<Response<AnswerBody>, Infallible> {
    let (head, body) = request.into_parts();
    if head.method == Method::GET
        && let Some(reply) = books(&brain, head.uri.path())
    {
        return Ok(response(reply, None, Ending::Whole));
    }
    let Some(body) = read(body).await else {
        let reply = Reply::new(413, "text/plain", "the request is too large\n");
        return Ok(response(reply, None, Ending::Whole));
    };
    let content_type = head.headers.get(CONTENT_TYPE).and_then(|v| v.to_str().ok());
    let request = HttpRequest {
        method: head.method.as_str(),
        path: head.uri.path(),
        content_type: content_type.unwrap_or_default(),
        body: &body,
    };
    let now = Instant::now();
    let reaction = brain.with(|brain| brain.handle(now, &request));
    if reaction.delay > Duration::ZERO {
        sleep(reaction.delay).await;
    }
    let news = reaction.receipt.map(|receipt| (brain, receipt));
    match reaction.effect {
        Effect::Answer(reply) => return Ok(response(reply, news, Ending::Whole)),
        Effect::Slow { reply, over } => {
            let ending = Ending::slow(reply.body.len(), over);
            return Ok(response(reply, news, ending));
        }
        Effect::CutShort { reply, keep } => {
            return Ok(response(
                reply,
                None,
                Ending::Cut {
                    keep,
                    hatchet,
                    flushed: false,
                },
            ));
        }
        Effect::Hang(hold) => sleep(hold).await,
        Effect::Reset | Effect::RefuseConnection => {}
    }
    hatchet.reset.notify_one();
    pending().await
}

/// The pages beside the API.
fn books(brain: &SharedBrain, path: &str) -> Option<Reply> {
    let lines = "application/x-ndjson";
    Some(match path {
        "/health" => Reply::new(200, "text/plain", "ok\n"),
        "/ledger" => Reply::new(200, "application/json", brain.with(|b| b.totals_json())),
        "/ledger/seconds" => Reply::new(200, "application/json", brain.with(|b| b.seconds_json())),
        "/ledger/jobs" => {
            let now = Instant::now();
            Reply::new(200, lines, brain.with(|b| b.jobs_json_lines(now)))
        }
        "/ledger/requests" => Reply::new(200, lines, brain.with(|b| b.requests_json_lines())),
        _ => return None,
    })
}

/// Reads a request's body; `None` where it is too large or does not arrive whole.
async fn read(mut body: Incoming) -> Option<Vec<u8>> {
    let mut read = Vec::new();
    while let Some(frame) = poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await {
        if let Ok(data) = frame.ok()?.into_data() {
            if read.len() + data.len() > LARGEST_REQUEST {
                return None;
            }
            read.extend_from_slice(&data);
        }
    }
    Some(read)
}

type News = Option<(SharedBrain, Receipt)>;

fn response(reply: Reply, news: News, ending: Ending) -> Response<AnswerBody> {
    let mut response = Response::new(AnswerBody {
        rest: reply.body,
        news,
        ending,
    });
    *response.status_mut() =
        StatusCode::from_u16(reply.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(reply.content_type));
    if let Some(when) = reply
        .retry_after
        .and_then(|w| HeaderValue::try_from(w).ok())
    {
        headers.insert(RETRY_AFTER, when);
    }
    response
}

/// A body that can be slow or end early, and that tells the brain when it was handed over whole.
struct AnswerBody {
    rest: Bytes,
    news: News,
    ending: Ending,
}

enum Ending {
    /// At once.
    Whole,
    /// `part` bytes, each time `pace` later.
    Slow {
        part: usize,
        pace: Duration,
        wait: Option<Pin<Box<Sleep>>>,
    },
    /// The first `keep` bytes, then the end of the connection.
    Cut {
        keep: usize,
        hatchet: Arc<Hatchet>,
        flushed: bool,
    },
}

impl Ending {
    fn slow(len: usize, over: Duration) -> Self {
        let part = len.div_ceil(DRIBBLES).max(1);
        let parts = u32::try_from(len.div_ceil(part)).unwrap_or(u32::MAX).max(1);
        Self::Slow {
            part,
            pace: over / parts,
            wait: None,
        }
    }
}

impl AnswerBody {
    fn take(&mut self, len: usize) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let part = self.rest.split_to(len.min(self.rest.len()));
        if self.rest.is_empty()
            && let Some((brain, receipt)) = self.news.take()
        {
            brain.with(|brain| brain.delivered(Instant::now(), receipt));
        }
        Poll::Ready(Some(Ok(Frame::data(part))))
    }
}

impl Body for AnswerBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let left = self.rest.len();
        match &mut self.ending {
            Ending::Whole | Ending::Slow { .. } if left == 0 => Poll::Ready(None),
            Ending::Whole => self.take(left),
            Ending::Slow { part, pace, wait } => {
                let timer = wait.get_or_insert_with(|| Box::pin(sleep(*pace)));
                if timer.as_mut().poll(cx).is_pending() {
                    return Poll::Pending;
                }
                *wait = None;
                let part = *part;
                self.take(part)
            }
            Ending::Cut { keep, .. } if *keep > 0 => {
                let keep = std::mem::take(keep);
                self.take(keep)
            }
            Ending::Cut {
                hatchet, flushed, ..
            } => {
                // hyper flushes what it was given after the first `Pending`; only then is the end.
                if *flushed {
                    hatchet.close.notify_one();
                } else {
                    *flushed = true;
                    cx.waker().wake_by_ref();
                }
                Poll::Pending
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty() && !matches!(self.ending, Ending::Cut { .. })
    }

    /// The whole length, which the head announces, also of an answer that will be cut.
    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.rest.len() as u64)
    }
}

#[cfg(test)]
mod tests;
