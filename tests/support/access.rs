//! Servers that are reached in other ways than by a bare port: TLS, password, a user with few rights, a socket.
//!
//! Part of the end-to-end tests and, by its path, of the unit tests: beside `redis.rs`, as modules of one parent.
#![allow(
    dead_code,
    unreachable_pub,
    missing_docs,
    clippy::expect_used,
    reason = "a part of each test binary, which uses a part of it"
)]

use std::path::{Path, PathBuf};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};

use super::redis::{RedisServer, free_port};

/// The rights that a worker needs, for the lists `solve:…` and the default prefix. What scripts call needs
/// rights, too. `config|get` and `client|setname` can be left out.
pub const RIGHTS: &[&str] = &[
    "resetkeys",
    "~pollwheel:*",
    "~solve:*",
    "resetchannels",
    "-@all",
    "+info",
    "+config|get",
    "+client|setname",
    "+evalsha",
    "+eval",
    "+script|load",
    "+time",
    "+type",
    "+del",
    "+exists",
    "+pexpire",
    "+get",
    "+set",
    "+@hash",
    "+@sortedset",
    "+@list",
    "+cluster|slots",
    "+ping",
];

/// A server with a user of this name and password who has [`RIGHTS`], and the default user switched off.
pub fn with_user(user: &str, password: &str) -> RedisServer {
    let mut arguments = vec!["--appendonly", "yes", "--user", user, "on"];
    let password = format!(">{password}");
    arguments.push(&password);
    arguments.extend(RIGHTS);
    arguments.extend(["--user", "default", "off"]);
    RedisServer::with(&arguments)
}

/// A server with a socket, and where that is.
pub fn with_socket() -> (RedisServer, PathBuf) {
    let server = RedisServer::with(&["--appendonly", "yes", "--unixsocket", "redis.sock"]);
    let path = server.folder().join("redis.sock");
    (server, path)
}

/// A server with TLS, whose certificate is for `127.0.0.1` and `localhost` and signed by an authority of its own.
pub struct TlsServer {
    pub server: RedisServer,
    /// Where it speaks TLS; `server.port` does not.
    pub port: u16,
    /// What stands beside: `ca.pem`, `server.pem`, `server.key`, `client.pem`, `client.key`, `other-ca.pem`.
    folder: tempfile::TempDir,
}

impl TlsServer {
    /// It does not ask for a client's certificate.
    pub fn start() -> Self {
        Self::launch("no")
    }

    /// It takes only clients whose certificate its authority has signed.
    pub fn for_known_clients() -> Self {
        Self::launch("yes")
    }

    fn launch(auth_clients: &str) -> Self {
        let folder = tempfile::tempdir().expect("a folder for certificates");
        certificates(folder.path());
        let path = |name: &str| folder.path().join(name).display().to_string();
        let port = free_port();
        let server = RedisServer::with(&[
            "--appendonly",
            "yes",
            "--tls-port",
            &port.to_string(),
            "--tls-cert-file",
            &path("server.pem"),
            "--tls-key-file",
            &path("server.key"),
            "--tls-ca-cert-file",
            &path("ca.pem"),
            "--tls-auth-clients",
            auth_clients,
        ]);
        Self {
            server,
            port,
            folder,
        }
    }

    pub fn url(&self) -> String {
        format!("rediss://127.0.0.1:{}", self.port)
    }

    /// One of the files.
    pub fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }
}

/// Writes an authority, two pairs that it has signed, and another authority.
fn certificates(folder: &Path) {
    let write = |name: &str, text: &str| {
        std::fs::write(folder.join(name), text).expect("the folder can be written");
    };
    // Of one name, a certificate would pass for its own authority.
    let named = |name: &str, hosts: &[&str]| {
        let hosts: Vec<String> = hosts.iter().map(|&host| host.to_owned()).collect();
        let mut params = CertificateParams::new(hosts).expect("they are names");
        params.distinguished_name.push(DnType::CommonName, name);
        params
    };
    let authority = |name: &str| {
        let mut params = named(name, &[]);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("there is entropy");
        CertifiedIssuer::self_signed(params, key).expect("it is well-formed")
    };
    let ca = authority("authority");
    write("ca.pem", &ca.pem());
    write("other-ca.pem", &authority("another authority").pem());
    for name in ["server", "client"] {
        let key = KeyPair::generate().expect("there is entropy");
        let params = named(name, &["127.0.0.1", "localhost"]);
        let certificate = params.signed_by(&key, &ca).expect("it is well-formed");
        write(&format!("{name}.pem"), &certificate.pem());
        write(&format!("{name}.key"), &key.serialize_pem());
    }
}
