//! Over real sockets on the loopback, with a server written out by hand: what it sends is what the
//! test says, byte by byte.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::CLIENT;
use crate::api::http::{HttpSettings, HttpTransport, LARGEST_ANSWER};
use crate::api::{Answer, Fault, RetryAfter, Transport};

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}";

/// A server that hands every connection to `serve`, and counts them.
struct Server {
    url: String,
    connections: Arc<AtomicUsize>,
    task: tokio::task::JoinHandle<()>,
}

impl Server {
    async fn start<F>(serve: impl Fn(TcpStream, usize) -> F + Send + 'static) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let connections = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&connections);
        let task = tokio::spawn(async move {
            let mut all = tokio::task::JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                all.spawn(serve(stream, count.fetch_add(1, Ordering::Relaxed)));
            }
        });
        Self {
            url,
            connections,
            task,
        }
    }

    /// Answers every request on every connection with `answer`, and keeps the connection.
    async fn answering(answer: impl Into<Vec<u8>>) -> Self {
        let answer: Arc<[u8]> = answer.into().into();
        Self::start(move |mut stream, _| {
            let answer = Arc::clone(&answer);
            async move {
                while read_request(&mut stream).await.is_some() {
                    // The client may go before it has read all.
                    let _ = stream.write_all(&answer).await;
                }
            }
        })
        .await
    }

    /// Answers the first request with `answer`, then closes.
    async fn closing_after(answer: &'static str) -> Self {
        Self::start(move |mut stream, _| async move {
            read_request(&mut stream).await;
            stream.write_all(answer.as_bytes()).await.unwrap();
        })
        .await
    }

    fn connections(&self) -> usize {
        self.connections.load(Ordering::Relaxed)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Header and body of the next request; `None` where the connection ends first.
async fn read_request(stream: &mut TcpStream) -> Option<(String, String)> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.ok()?);
    }
    let head = String::from_utf8(head).unwrap();
    let length = head
        .lines()
        .find_map(|line| {
            line.to_lowercase()
                .strip_prefix("content-length:")?
                .trim()
                .parse()
                .ok()
        })
        .unwrap_or(0);
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await.ok()?;
    Some((head, String::from_utf8(body).unwrap()))
}

fn settings(url: &str) -> HttpSettings {
    HttpSettings {
        client: CLIENT,
        ..HttpSettings::new(url)
    }
}

fn transport(url: &str) -> HttpTransport {
    HttpTransport::new(&settings(url)).unwrap()
}

async fn post(url: &str) -> Result<Answer, Fault> {
    transport(url)
        .post("/api/createJob", b"{\"a\":1}".to_vec())
        .await
}

/// For what is to time out.
async fn post_within(url: &str, connect: u64, total: u64) -> Result<Answer, Fault> {
    let settings = HttpSettings {
        connect_timeout: Duration::from_millis(connect),
        total_timeout: Duration::from_millis(total),
        ..settings(url)
    };
    HttpTransport::new(&settings)
        .unwrap()
        .post("/", vec![])
        .await
}

fn not_sent(result: Result<Answer, Fault>) -> String {
    match result {
        Err(Fault::NotSent(why)) => why,
        other => panic!("{other:?}"),
    }
}

fn after_send(result: Result<Answer, Fault>) -> String {
    match result {
        Err(Fault::AfterSend(why)) => why,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_request_is_a_plain_json_post() {
    let (sender, mut requests) = tokio::sync::mpsc::channel(1);
    let server = Server::start(move |mut stream, _| {
        let sender = sender.clone();
        async move {
            let request = read_request(&mut stream).await.unwrap();
            stream.write_all(OK.as_bytes()).await.unwrap();
            sender.send(request).await.unwrap();
        }
    })
    .await;
    let answer = post(&format!("{}/prefix/", server.url)).await.unwrap();
    assert_eq!((answer.status, &answer.body[..]), (200, &b"{}"[..]));
    assert_eq!(answer.content_type, "application/json");
    assert_eq!(answer.retry_after, None);
    let (head, body) = requests.recv().await.unwrap();
    let head = head.to_lowercase();
    assert!(
        head.starts_with("post /prefix/api/createjob http/1.1\r\n"),
        "{head}"
    );
    assert!(
        head.contains("\r\ncontent-type: application/json\r\n"),
        "{head}"
    );
    assert!(
        head.contains(&format!(
            "\r\nuser-agent: pollwheel/{}\r\n",
            env!("CARGO_PKG_VERSION")
        )),
        "{head}"
    );
    assert!(
        !head.contains("referer") && !head.contains("cookie"),
        "{head}"
    );
    assert_eq!(body, "{\"a\":1}");
}

#[tokio::test]
async fn connections_are_used_again() {
    let server = Server::answering(OK).await;
    let transport = transport(&server.url);
    for _ in 0..20 {
        transport.post("/", vec![]).await.unwrap();
    }
    assert_eq!(server.connections(), 1);
}

#[tokio::test]
async fn an_error_answer_keeps_its_connection_too() {
    let page = "<html>bad gateway</html>";
    let server = Server::answering(format!(
        "HTTP/1.1 502 Bad Gateway\r\nContent-Length: {}\r\n\r\n{page}",
        page.len()
    ))
    .await;
    let transport = transport(&server.url);
    for _ in 0..5 {
        let answer = transport.post("/", vec![]).await.unwrap();
        assert_eq!((answer.status, &answer.body[..]), (502, page.as_bytes()));
        assert_eq!(answer.content_type, "");
    }
    assert_eq!(server.connections(), 1);
}

#[tokio::test]
async fn a_chunked_answer_is_read_whole() {
    let chunked =
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\n{\"a\r\n4\r\n\":1}\r\n0\r\n\r\n";
    let server = Server::answering(chunked).await;
    assert_eq!(&post(&server.url).await.unwrap().body[..], b"{\"a\":1}");
}

#[tokio::test]
async fn a_refused_connection_is_not_sent() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let place = listener.local_addr().unwrap().to_string();
    drop(listener);
    let why = not_sent(post(&format!("http://{place}")).await);
    assert_eq!(why, format!("connection to {place} refused"));
}

#[tokio::test]
async fn a_name_that_does_not_resolve_is_not_sent() {
    let settings = HttpSettings {
        knows_no_names: true,
        ..settings("https://solver.invalid")
    };
    let transport = HttpTransport::new(&settings).unwrap();
    let why = not_sent(transport.post("/", vec![]).await);
    assert_eq!(why, "cannot resolve solver.invalid:443: no such name");
}

#[tokio::test]
async fn a_failed_tls_handshake_is_not_sent() {
    let server = Server::start(|mut stream, _| async move {
        let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await;
    })
    .await;
    let place = server.url.strip_prefix("http://").unwrap();
    let why = not_sent(post(&format!("https://{place}")).await);
    assert!(
        why.starts_with(&format!("TLS with {place} failed: ")),
        "{why}"
    );
}

#[tokio::test]
async fn a_tls_handshake_that_hangs_is_not_sent() {
    let server =
        Server::start(|mut stream, _| async move { while stream.read_u8().await.is_ok() {} }).await;
    let place = server.url.strip_prefix("http://").unwrap();
    let why = not_sent(post_within(&format!("https://{place}"), 200, 60_000).await);
    assert_eq!(why, format!("no connection to {place} within 200ms"));
}

/// Else a host that cannot be reached would leave creates of unknown fate behind.
#[tokio::test]
async fn a_connection_times_out_before_the_exchange_does() {
    let server =
        Server::start(|mut stream, _| async move { while stream.read_u8().await.is_ok() {} }).await;
    let url = server.url.replace("http://", "https://");
    let why = not_sent(post_within(&url, 60_000, 600).await);
    assert!(why.ends_with(" within 300ms"), "{why}");
}

#[tokio::test]
async fn a_reset_after_the_request_may_have_been_acted_on() {
    let server = Server::start(|mut stream, _| async move {
        read_request(&mut stream).await;
        stream.set_zero_linger().unwrap();
    })
    .await;
    let why = after_send(post(&server.url).await);
    assert!(why.ends_with(" reset before the answer"), "{why}");
    assert_eq!(server.connections(), 1, "it was sent again");
}

#[tokio::test]
async fn a_close_after_the_request_may_have_been_acted_on() {
    let server = Server::closing_after("").await;
    let why = after_send(post(&server.url).await);
    assert!(why.ends_with(" closed before the answer"), "{why}");
    assert_eq!(server.connections(), 1, "it was sent again");
}

/// The worst case: the connection was good for one exchange, so a client might think it was only
/// idle too long, and send again.
#[tokio::test]
async fn a_kept_connection_that_closes_under_a_request_may_have_been_acted_on() {
    let server = Server::start(|mut stream, _| async move {
        read_request(&mut stream).await;
        stream.write_all(OK.as_bytes()).await.unwrap();
        read_request(&mut stream).await;
    })
    .await;
    let transport = transport(&server.url);
    transport.post("/", vec![]).await.unwrap();
    let why = after_send(transport.post("/", vec![]).await);
    assert!(why.ends_with(" closed before the answer"), "{why}");
    assert_eq!(server.connections(), 1, "it was sent again");
}

#[tokio::test]
async fn a_kept_connection_that_closed_while_idle_is_replaced() {
    let server = Server::closing_after(OK).await;
    let transport = transport(&server.url);
    for _ in 0..5 {
        // What is asserted: never an answer that was not asked for, never two sends of one request.
        // A close that races with the send is a fault after it.
        match transport.post("/", vec![]).await {
            Ok(answer) => assert_eq!(&answer.body[..], b"{}"),
            Err(Fault::AfterSend(_)) => {}
            Err(fault) => panic!("{fault:?}"),
        }
    }
    assert!(
        (1..=5).contains(&server.connections()),
        "{}",
        server.connections()
    );
}

#[tokio::test]
async fn a_hanging_answer_times_out() {
    let server = Server::start(|mut stream, _| async move {
        read_request(&mut stream).await;
        while stream.read_u8().await.is_ok() {}
    })
    .await;
    let why = after_send(post_within(&server.url, 60_000, 1_000).await);
    assert!(
        why.starts_with("no answer from 127.0.0.1:") && why.ends_with(" within 1s"),
        "{why}"
    );
}

#[tokio::test]
async fn a_body_that_trickles_times_out_too() {
    let server = Server::start(|mut stream, _| async move {
        read_request(&mut stream).await;
        stream
            .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 9999\r\n\r\n")
            .await
            .unwrap();
        while stream.write_all(b" ").await.is_ok() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
    let why = after_send(post_within(&server.url, 60_000, 1_500).await);
    assert!(why.ends_with(" not complete within 1500ms"), "{why}");
}

#[tokio::test]
async fn a_cut_body_is_no_answer() {
    for cut in [
        "HTTP/1.1 200 OK\r\nContent-Length: 20\r\n\r\n{\"job_id\": 12",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\n{\"a\r\n4\r\n\":",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n",
    ] {
        let server = Server::closing_after(cut).await;
        let why = after_send(post(&server.url).await);
        assert!(why.contains(" cut short: "), "{why}");
        assert!(!why.contains("job_id"), "{why}");
    }
}

#[tokio::test]
async fn what_is_no_http_is_a_protocol_error() {
    for nonsense in [
        "SSH-2.0-OpenSSH_9.9\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n{}",
    ] {
        let server = Server::closing_after(nonsense).await;
        let why = after_send(post(&server.url).await);
        assert!(why.starts_with("protocol error from "), "{why}");
    }
}

#[tokio::test]
async fn an_answer_is_read_up_to_a_mebibyte() {
    let answer = |n: usize| {
        format!(
            "HTTP/1.1 200 OK\r\nContent-Length: {n}\r\n\r\n{}",
            "x".repeat(n)
        )
    };
    let server = Server::answering(answer(LARGEST_ANSWER)).await;
    assert_eq!(post(&server.url).await.unwrap().body.len(), LARGEST_ANSWER);
    for n in [LARGEST_ANSWER + 1, 2 * LARGEST_ANSWER] {
        let server = Server::answering(answer(n)).await;
        assert_eq!(
            after_send(post(&server.url).await),
            "answer larger than 1 MiB"
        );
    }
}

#[tokio::test]
async fn a_redirect_is_an_answer() {
    let target = Server::answering(OK).await;
    for status in [301, 302, 307, 308] {
        let moved = format!(
            "HTTP/1.1 {status} Moved\r\nLocation: {}/\r\nContent-Length: 0\r\n\r\n",
            target.url
        );
        let server = Server::answering(moved).await;
        assert_eq!(post(&server.url).await.unwrap().status, status);
    }
    assert_eq!(target.connections(), 0, "the account token was sent on");
}

#[tokio::test]
async fn retry_after_comes_with_the_answer() {
    let throttled = "HTTP/1.1 429 Too Many Requests\r\nRetry-After: 7\r\nContent-Length: 0\r\n\r\n";
    let server = Server::answering(throttled).await;
    let answer = post(&server.url).await.unwrap();
    assert_eq!(
        (answer.status, answer.retry_after),
        (429, Some(RetryAfter(Duration::from_secs(7))))
    );
}

/// The environment can only be set for a child, which is this very test.
#[tokio::test]
async fn proxies_of_the_environment_are_not_used() {
    let module = module_path!().split_once("::").unwrap().1;
    let name = format!("{module}::proxies_of_the_environment_are_not_used");
    const VARIABLES: [&str; 3] = ["HTTP_PROXY", "http_proxy", "ALL_PROXY"];
    // Nothing listens there: whatever is sent by this proxy fails.
    const NOWHERE: &str = "http://127.0.0.1:9";
    if VARIABLES
        .iter()
        .all(|name| std::env::var(name).is_ok_and(|value| value == NOWHERE))
    {
        let server = Server::answering(OK).await;
        assert_eq!(post(&server.url).await.unwrap().status, 200);
        return;
    }
    let child = std::process::Command::new(std::env::current_exe().unwrap())
        .args([&name, "--exact", "--test-threads=1"])
        .envs(VARIABLES.map(|name| (name, NOWHERE)))
        .env_remove("NO_PROXY")
        .env_remove("no_proxy")
        .output()
        .unwrap();
    let shown = String::from_utf8_lossy(&child.stdout);
    assert!(
        child.status.success() && shown.contains("1 passed"),
        "{shown}"
    );
}

#[tokio::test]
async fn localhost_is_this_machine_whatever_the_resolver_says() {
    let server = Server::answering(OK).await;
    let (_, port) = server.url.rsplit_once(':').unwrap();
    let transport = transport(&format!("http://LocalHost:{port}/"));
    assert_eq!(transport.post("/", vec![]).await.unwrap().status, 200);
    assert!(transport.is_loopback());
    let canonical = format!("http://localhost:{port}");
    assert_eq!(transport.canonical_base_url(), canonical);
}
