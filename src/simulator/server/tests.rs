use super::*;
use std::io::ErrorKind;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

const CREATE: &str = r#"{"api_token":"t","data":{"type_job_id":"11","website_url":"https://a.example.com/#1","website_key":"k"}}"#;

async fn server(script: &str) -> Server {
    let mut settings = SimulatorSettings::exact(Duration::ZERO);
    settings.script = script.parse().unwrap();
    let any = SocketAddr::from(([127, 0, 0, 1], 0));
    Server::bind(settings, any, false, CancellationToken::new())
        .await
        .unwrap()
}

/// A client without any cleverness, so that what it sees is what the server did.
struct Client(TcpStream);

impl Client {
    async fn new(server: &Server) -> Self {
        Self(TcpStream::connect(server.local_addr()).await.unwrap())
    }

    async fn send(&mut self, method: &str, path: &str, body: &str) {
        let request = format!(
            "{method} {path} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        self.0.write_all(request.as_bytes()).await.unwrap();
    }

    /// All that comes until the connection ends, and the error that it ends with.
    async fn rest(&mut self) -> (String, Option<ErrorKind>) {
        let mut text = Vec::new();
        let mut buffer = [0; 4096];
        let error = loop {
            match self.0.read(&mut buffer).await {
                Ok(0) => break None,
                Ok(n) => text.extend_from_slice(&buffer[..n]),
                Err(error) => break Some(error.kind()),
            }
        };
        (String::from_utf8(text).unwrap(), error)
    }

    /// One answer: its head, and its body by `Content-Length`.
    async fn answer(&mut self) -> (String, String) {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(self.0.read_u8().await.unwrap());
        }
        let head = String::from_utf8(head).unwrap().to_ascii_lowercase();
        let mut body = vec![0; announced(&head)];
        self.0.read_exact(&mut body).await.unwrap();
        (head, String::from_utf8(body).unwrap())
    }

    async fn get(&mut self, path: &str) -> String {
        self.send("GET", path, "").await;
        self.answer().await.1
    }
}

fn announced(head: &str) -> usize {
    let line = head
        .lines()
        .find_map(|l| l.strip_prefix("content-length: "));
    line.unwrap().trim().parse().unwrap()
}

fn jobs(server: &Server) -> u64 {
    server.brain().with(|brain| brain.ledger().totals().jobs)
}

#[tokio::test]
async fn a_job_over_a_socket_and_the_books() {
    let server = server("").await;
    let mut client = Client::new(&server).await;
    assert_eq!(client.get("/health").await, "ok\n");
    client.send("POST", "/api/createJob", CREATE).await;
    let (head, body) = client.answer().await;
    assert!(head.starts_with("http/1.1 200 ok"), "{head}");
    assert!(head.contains("content-type: application/json"), "{head}");
    assert!(body.contains("\"job_id\": 1,"), "{body}");
    client
        .send(
            "POST",
            "/api/getJobResult",
            r#"{"api_token":"t","job_id":1}"#,
        )
        .await;
    let token = server.brain().with(|brain| brain.token_of(1));
    assert!(client.answer().await.1.contains(&token));

    let totals: serde_json::Value = serde_json::from_str(&client.get("/ledger").await).unwrap();
    assert_eq!(totals["totals"]["creates"], 1);
    assert_eq!(totals["totals"]["solved"], 1);
    let job: serde_json::Value = serde_json::from_str(&client.get("/ledger/jobs").await).unwrap();
    assert_eq!(job["answer_delivered"], true);
    assert_eq!(job["told"], "solved");
    let request: serde_json::Value =
        serde_json::from_str(&client.get("/ledger/requests").await).unwrap();
    assert_eq!(request["url"], "https://a.example.com/#1");
    server.stop().await.unwrap();
}

#[tokio::test]
async fn resets_are_resets_and_the_ledger_tells_which() {
    for (script, jobs_made) in [
        ("create: reset_before", 0),
        ("create: reset_after", 1),
        ("create: hang_after for=10ms", 1),
    ] {
        let server = server(script).await;
        let mut client = Client::new(&server).await;
        client.send("POST", "/api/createJob", CREATE).await;
        let seen = client.rest().await;
        assert_eq!(
            seen,
            (String::new(), Some(ErrorKind::ConnectionReset)),
            "{script}"
        );
        assert_eq!(jobs(&server), jobs_made, "{script}");
        server.stop().await.unwrap();
    }
}

#[tokio::test]
async fn a_cut_answer_announces_more_than_comes() {
    let server = server("create: cut").await;
    let mut client = Client::new(&server).await;
    client.send("POST", "/api/createJob", CREATE).await;
    let (text, error) = client.rest().await;
    assert_eq!(error, None);
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    assert!(body.starts_with("{\"error\": false"), "{body}");
    assert!(announced(&head.to_ascii_lowercase()) > body.len());
    let delivered = server
        .brain()
        .with(|b| b.ledger().job(1).unwrap().answer_delivered);
    assert!(!delivered);
    server.stop().await.unwrap();
}

#[tokio::test]
async fn a_slow_answer_comes_in_parts_and_whole() {
    let server = server("create: slow over=200ms").await;
    let mut client = Client::new(&server).await;
    let start = Instant::now();
    client.send("POST", "/api/createJob", CREATE).await;
    let mut first = [0; 64];
    let n = client.0.read(&mut first).await.unwrap();
    assert!(n > 0);
    let delivered = || {
        server
            .brain()
            .with(|b| b.ledger().job(1).unwrap().answer_delivered)
    };
    assert!(!delivered());
    let mut text = first[..n].to_vec();
    while !text.ends_with(b"}") {
        text.push(client.0.read_u8().await.unwrap());
    }
    assert!(
        start.elapsed() >= Duration::from_millis(190),
        "{:?}",
        start.elapsed()
    );
    assert!(String::from_utf8(text).unwrap().contains("\"job_id\": 1,"));
    assert!(delivered());
    server.stop().await.unwrap();
}

#[tokio::test]
async fn errors_carry_their_headers_and_the_connection_goes_on() {
    let server = server("create #1: 429 retry-after=2\ncreate #2: 503\ncreate #3: empty").await;
    let mut client = Client::new(&server).await;
    for (status, header) in [
        ("429", "retry-after: 2"),
        ("503", "text/html"),
        ("200", "content-length: 0"),
        ("200", "application/json"),
    ] {
        client.send("POST", "/api/createJob", CREATE).await;
        let (head, _) = client.answer().await;
        assert!(head.starts_with(&format!("http/1.1 {status}")), "{head}");
        assert!(head.contains(header), "{head}");
    }
    assert_eq!(jobs(&server), 1);
    server.stop().await.unwrap();
}

#[tokio::test]
async fn a_huge_answer_has_two_mebibytes() {
    let server = server("create: huge").await;
    let mut client = Client::new(&server).await;
    client.send("POST", "/api/createJob", CREATE).await;
    assert_eq!(client.answer().await.1.len(), 2 << 20);
    server.stop().await.unwrap();
}

#[tokio::test]
async fn too_large_a_request_and_wrong_methods_are_refused() {
    let server = server("").await;
    let mut client = Client::new(&server).await;
    client.send("GET", "/api/createJob", "").await;
    assert!(client.answer().await.0.starts_with("http/1.1 405"));
    client.send("GET", "/ledger/nothing", "").await;
    assert!(client.answer().await.0.starts_with("http/1.1 404"));
    client.send("POST", "/api/createJob?x=1", CREATE).await;
    assert!(client.answer().await.0.starts_with("http/1.1 200"));
    client
        .send("POST", "/api/createJob", &" ".repeat(LARGEST_REQUEST + 1))
        .await;
    assert!(client.answer().await.0.starts_with("http/1.1 413"));
    server.stop().await.unwrap();
}

#[tokio::test]
async fn a_client_that_leaves_is_not_told() {
    let server = server("create: delay for=300ms").await;
    let mut client = Client::new(&server).await;
    client.send("POST", "/api/createJob", CREATE).await;
    while jobs(&server) == 0 {
        tokio::task::yield_now().await;
    }
    drop(client);
    let mut other = Client::new(&server).await;
    other.send("POST", "/api/createJob", CREATE).await;
    other.answer().await;
    let known = |id| {
        server
            .brain()
            .with(|b| b.ledger().job(id).unwrap().answer_delivered)
    };
    assert_eq!((known(1), known(2)), (false, true));
    server.stop().await.unwrap();
}

#[tokio::test]
async fn stopping_ends_answers_that_hang() {
    let server = server("create: hang").await;
    let mut client = Client::new(&server).await;
    client.send("POST", "/api/createJob", CREATE).await;
    while server.brain().with(|brain| brain.ledger().totals().creates) == 0 {
        tokio::task::yield_now().await;
    }
    let start = Instant::now();
    server.stop().await.unwrap();
    assert!(start.elapsed() < Duration::from_secs(5));
    let (text, _) = client.rest().await;
    assert_eq!(text, "");
}

#[tokio::test]
async fn an_idle_connection_is_closed_by_the_server_first() {
    let mut settings = SimulatorSettings::exact(Duration::ZERO);
    settings.keep_alive = Duration::from_millis(50);
    let any = SocketAddr::from(([127, 0, 0, 1], 0));
    let server = Server::bind(settings, any, false, CancellationToken::new())
        .await
        .unwrap();
    let mut client = Client::new(&server).await;
    assert_eq!(client.get("/health").await, "ok\n");
    assert_eq!(client.rest().await, (String::new(), None));
    server.stop().await.unwrap();
}

#[tokio::test]
async fn only_loopback_unless_allowed() {
    let settings = SimulatorSettings::default;
    let everywhere = SocketAddr::from(([0, 0, 0, 0], 0));
    let token = CancellationToken::new();
    let refused = Server::bind(settings(), everywhere, false, token.clone()).await;
    assert!(matches!(refused, Err(ServerError::NotLoopback(_))));
}
