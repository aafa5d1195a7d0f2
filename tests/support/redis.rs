//! A redis-server of the tests' own: a free port of loopback, a folder that goes with it, stopped at the end.
//!
//! Part of the end-to-end tests and, by its path, of the unit tests.
#![allow(
    dead_code,
    unreachable_pub,
    missing_docs,
    clippy::expect_used,
    reason = "a part of each test binary, which uses a part of it"
)]

use std::io::{BufRead, BufReader};
use std::net::{Ipv4Addr, TcpListener};
use std::path::Path;
use std::process::{Child, Command, Stdio};

/// How often another port is tried where somebody took the free one in between.
const PORTS_TO_TRY: u32 = 20;

/// A redis-server in a process of its own.
pub struct RedisServer {
    child: Child,
    folder: tempfile::TempDir,
    arguments: Vec<String>,
    pub port: u16,
}

/// A port of loopback that nobody listens at.
pub fn free_port() -> u16 {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
        .and_then(|l| l.local_addr())
        .expect("loopback has a free port")
        .port()
}

impl RedisServer {
    /// A server that keeps every write (AOF, fsync always).
    pub fn start() -> Self {
        Self::with(&["--appendonly", "yes", "--appendfsync", "always"])
    }

    /// A server with these further arguments, ready to be connected to.
    pub fn with(arguments: &[&str]) -> Self {
        let folder = tempfile::tempdir().expect("a folder for the server");
        let arguments: Vec<String> = arguments.iter().map(|&a| a.to_owned()).collect();
        for _ in 0..PORTS_TO_TRY {
            let port = free_port();
            if let Some(child) = launch(port, folder.path(), &arguments) {
                return Self {
                    child,
                    folder,
                    arguments,
                    port,
                };
            }
        }
        panic!("redis-server does not start: is it installed? scripts/test installs it");
    }

    /// Its URL.
    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}/", self.port)
    }

    /// Its folder: append-only file, logs, a socket.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Its process id, for signals.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// `kill -9`.
    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Starts it again on its port and its folder, after [`kill`](Self::kill).
    pub fn start_again(&mut self) {
        // Sockets of the killed process may hold the port for an instant.
        for _ in 0..PORTS_TO_TRY {
            if let Some(child) = launch(self.port, self.folder.path(), &self.arguments) {
                self.child = child;
                return;
            }
            std::thread::sleep(std::time::Duration::from_millis(50));
        }
        panic!("redis-server does not start again on port {}", self.port);
    }
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Starts a server and waits until it takes connections; `None` where it ends before that.
fn launch(port: u16, folder: &Path, arguments: &[String]) -> Option<Child> {
    let mut child = Command::new("redis-server")
        .args(["--bind", "127.0.0.1", "--port", &port.to_string(), "--dir"])
        .arg(folder)
        .args(["--save", "", "--enable-debug-command", "yes"])
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .ok()?;
    let mut lines = BufReader::new(child.stdout.take()?).lines();
    let is_ready = lines
        .by_ref()
        .map_while(Result::ok)
        .any(|line| line.contains("Ready to accept connections"));
    if !is_ready {
        let _ = child.wait();
        return None;
    }
    // Read on, so that the server never blocks on a full pipe.
    std::thread::spawn(move || lines.for_each(drop));
    Some(child)
}

/// What the server at `port` of loopback answers.
///
/// # Errors
///
/// The server's, or that there is none.
pub fn ask(
    port: u16,
    password: Option<&str>,
    words: &[&str],
) -> ::redis::RedisResult<::redis::Value> {
    let client = ::redis::Client::open(("127.0.0.1", port))?;
    let mut connection = client.get_connection_with_timeout(std::time::Duration::from_secs(5))?;
    if let Some(password) = password {
        ::redis::cmd("AUTH").arg(password).exec(&mut connection)?;
    }
    let mut command = ::redis::Cmd::new();
    for word in words {
        command.arg(word);
    }
    command.query(&mut connection)
}
