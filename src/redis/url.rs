//! Where Redis is, as users write it.
//!
//! What must stay true: no message of a fault and no `Debug` or `Display` shows user name or password. A fault
//! never repeats the text, because what stands in the wrong place may be a piece of a password.
//!
//! | form | is |
//! | --- | --- |
//! | `redis://[user:password@]host[:port][/db]`, `rediss://…` | one server, `rediss` over TLS |
//! | `unix:///path[?db=N]`, `redis+unix:///path` | one server by its socket |
//! | `redis+sentinel://[user:password@]host[:port][,host…]/MASTER[/db]`, `rediss+sentinel://…` | the primary that the Sentinels name |
//! | `redis+cluster://[user:password@]host[:port][,host…]`, `rediss+cluster://…` | a Cluster, by some of its nodes |

use std::fmt;
use std::path::PathBuf;

use secrecy::SecretString;

/// Redis' port.
const PORT: u16 = 6379;
/// A Sentinel's port.
const SENTINEL_PORT: u16 = 26_379;

/// Where one server listens.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Address {
    /// Host and port; the host is a name, an IPv4 address, or an IPv6 address without brackets.
    Tcp(String, u16),
    /// A socket in the file system.
    Unix(PathBuf),
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(host, port) if host.contains(':') => write!(f, "[{host}]:{port}"),
            Self::Tcp(host, port) => write!(f, "{host}:{port}"),
            Self::Unix(path) => write!(f, "{}", path.display()),
        }
    }
}

/// What is at the addresses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// One server. If it turns out to be a node of a Cluster, the Cluster is used.
    Server(Address),
    /// Sentinels that know where the primary is.
    Sentinel {
        /// Where they are.
        sentinels: Vec<Address>,
        /// What they call the primary.
        master: String,
    },
    /// Nodes of a Cluster.
    Cluster(Vec<Address>),
}

/// A URL that was checked.
#[derive(Clone)]
pub struct RedisUrl {
    pub(super) place: Place,
    pub(super) is_tls: bool,
    pub(super) db: u32,
    pub(super) user: Option<String>,
    pub(super) password: Option<SecretString>,
}

/// What is wrong with a URL. It does not hold its text.
#[derive(Clone, Copy, Debug, thiserror::Error, PartialEq, Eq)]
#[error("the Redis URL {0}")]
pub struct UrlError(&'static str);

impl RedisUrl {
    /// Reads a URL.
    ///
    /// # Errors
    ///
    /// Says what is wrong, without the text.
    pub fn parse(text: &str) -> Result<Self, UrlError> {
        let (scheme, rest) = text.trim().split_once("://").ok_or(UrlError(
            "has no scheme: write redis://host:6379 (or rediss, unix, redis+sentinel, redis+cluster)",
        ))?;
        let (is_tls, form) = match scheme.to_ascii_lowercase().as_str() {
            "redis" => (false, Form::Server),
            "rediss" => (true, Form::Server),
            "unix" | "redis+unix" => (false, Form::Unix),
            "redis+sentinel" => (false, Form::Sentinel),
            "rediss+sentinel" => (true, Form::Sentinel),
            "redis+cluster" => (false, Form::Cluster),
            "rediss+cluster" => (true, Form::Cluster),
            _ => {
                return Err(UrlError(
                    "must begin with redis://, rediss://, unix://, redis+sentinel:// or redis+cluster://",
                ));
            }
        };
        if rest.contains('#') {
            return Err(UrlError(
                "contains '#'; in a password it is written %23, elsewhere it means nothing",
            ));
        }
        let (rest, query) = match rest.split_once('?') {
            Some((rest, query)) => (rest, Some(query)),
            None => (rest, None),
        };
        let at = rest.find('/').unwrap_or(rest.len());
        let (authority, path) = rest.split_at(at);
        if path.contains('@') {
            return Err(UrlError(
                "has '@' behind a '/'; in a password '/' is written %2F and '@' %40, or give the \
                 password in a setting of its own",
            ));
        }
        let (login, hosts) = match authority.rsplit_once('@') {
            Some((login, hosts)) => (Some(login), hosts),
            None => (None, authority),
        };
        let (user, password) = login.map_or(Ok((None, None)), credentials)?;
        if query.is_some() && !matches!(form, Form::Unix) {
            return Err(UrlError(
                "has a query; only unix:///path takes one (?db=N). In a password '?' is written %3F",
            ));
        }
        let (place, db) = match form {
            Form::Unix => (Place::Server(socket(hosts, path)?), query_db(query)?),
            Form::Server => {
                let mut found = addresses(hosts, PORT)?;
                let (Some(address), None) = (found.pop(), found.pop()) else {
                    return Err(UrlError(
                        "names several hosts; redis+sentinel:// and redis+cluster:// do that",
                    ));
                };
                (Place::Server(address), path_db(path)?)
            }
            Form::Sentinel => {
                let sentinels = addresses(hosts, SENTINEL_PORT)?;
                let (master, db) = master(path)?;
                (Place::Sentinel { sentinels, master }, db)
            }
            Form::Cluster => {
                let nodes = addresses(hosts, PORT)?;
                if path_db(path)? != 0 {
                    return Err(UrlError("names a database; a Cluster has none but 0"));
                }
                (Place::Cluster(nodes), 0)
            }
        };
        Ok(Self {
            place,
            is_tls,
            db,
            user,
            password,
        })
    }
}

impl RedisUrl {
    /// Whether it holds a password.
    #[must_use]
    pub fn has_password(&self) -> bool {
        self.password.is_some()
    }
}

enum Form {
    Server,
    Unix,
    Sentinel,
    Cluster,
}

impl fmt::Debug for RedisUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RedisUrl({self})")
    }
}

/// As users write it, with user name and password masked.
impl fmt::Display for RedisUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let s = if self.is_tls { "s" } else { "" };
        let login = if self.user.is_some() || self.password.is_some() {
            "***@"
        } else {
            ""
        };
        let list = |f: &mut fmt::Formatter<'_>, addresses: &[Address]| {
            for (n, address) in addresses.iter().enumerate() {
                write!(f, "{}{address}", if n == 0 { "" } else { "," })?;
            }
            Ok(())
        };
        match &self.place {
            Place::Server(Address::Unix(path)) => {
                write!(f, "unix://{login}{}", path.display())?;
                if self.db != 0 {
                    write!(f, "?db={}", self.db)?;
                }
                return Ok(());
            }
            Place::Server(address) => write!(f, "redis{s}://{login}{address}")?,
            Place::Sentinel { sentinels, master } => {
                write!(f, "redis{s}+sentinel://{login}")?;
                list(f, sentinels)?;
                write!(f, "/{master}")?;
            }
            Place::Cluster(nodes) => {
                write!(f, "redis{s}+cluster://{login}")?;
                list(f, nodes)?;
            }
        }
        if self.db != 0 {
            write!(f, "/{}", self.db)?;
        }
        Ok(())
    }
}

/// `user:password`, `:password` or `user`, decoded.
fn credentials(login: &str) -> Result<(Option<String>, Option<SecretString>), UrlError> {
    let (user, password) = match login.split_once(':') {
        Some((user, password)) => (user, Some(password)),
        None => (login, None),
    };
    let user = Some(decode(user)?).filter(|user| !user.is_empty());
    let password = password
        .map(decode)
        .transpose()?
        .filter(|password| !password.is_empty());
    Ok((user, password.map(SecretString::from)))
}

/// Hosts with ports, separated by commas.
fn addresses(hosts: &str, default_port: u16) -> Result<Vec<Address>, UrlError> {
    hosts
        .split(',')
        .map(|text| {
            // In `[::1]:6379` the port follows the bracket, and a bare IPv6 address has no port.
            let (host, port) = match text.rsplit_once(':') {
                Some((host, port)) if !port.contains(']') => (host, Some(port)),
                _ => (text, None),
            };
            let port = match port {
                None => default_port,
                Some(port) => port.parse().ok().filter(|&port| port != 0).ok_or(UrlError(
                    "has a port that is no number from 1 to 65535; special characters of a password are \
                     written %XX, IPv6 addresses stand in brackets",
                ))?,
            };
            if host.is_empty() {
                return Err(UrlError("has no host"));
            }
            match url::Host::parse(host) {
                Ok(url::Host::Domain(name)) => Ok(Address::Tcp(name, port)),
                Ok(url::Host::Ipv4(ip)) => Ok(Address::Tcp(ip.to_string(), port)),
                Ok(url::Host::Ipv6(ip)) => Ok(Address::Tcp(ip.to_string(), port)),
                Err(_) => Err(UrlError("has a host that is neither a name nor an address")),
            }
        })
        .collect()
}

/// The path of a socket.
fn socket(host: &str, path: &str) -> Result<Address, UrlError> {
    if !host.is_empty() {
        return Err(UrlError(
            "of a socket has a host; write unix:///path/of/the.sock with three slashes",
        ));
    }
    if path.len() < 2 {
        return Err(UrlError("names no socket; write unix:///path/of/the.sock"));
    }
    Ok(Address::Unix(decode(path)?.into()))
}

/// The database in a query.
fn query_db(query: Option<&str>) -> Result<u32, UrlError> {
    match query {
        None => Ok(0),
        Some(query) => number(
            query
                .strip_prefix("db=")
                .ok_or(UrlError("has an unknown query; a socket takes ?db=N"))?,
        ),
    }
}

/// The database in a path: nothing, `/`, or `/N`.
fn path_db(path: &str) -> Result<u32, UrlError> {
    match path.strip_prefix('/').unwrap_or(path) {
        "" => Ok(0),
        db => number(db),
    }
}

/// `/MASTER[/db]`.
fn master(path: &str) -> Result<(String, u32), UrlError> {
    let path = path.strip_prefix('/').unwrap_or(path);
    let (name, db) = match path.split_once('/') {
        Some((name, "")) => (name, 0),
        Some((name, db)) => (name, number(db)?),
        None => (path, 0),
    };
    if name.is_empty() {
        return Err(UrlError(
            "does not say what the Sentinels call the primary; write redis+sentinel://host:26379/NAME",
        ));
    }
    Ok((decode(name)?, db))
}

fn number(db: &str) -> Result<u32, UrlError> {
    db.parse()
        .map_err(|_| UrlError("has a database that is no number"))
}

/// Resolves `%XX`.
fn decode(text: &str) -> Result<String, UrlError> {
    let wrong = UrlError("has a '%' without two hexadecimal digits behind it; write %25");
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let mut digit = || {
            rest.next()
                .and_then(|b| char::from(b).to_digit(16))
                .and_then(|d| u8::try_from(d).ok())
                .ok_or(wrong)
        };
        bytes.push(digit()? << 4 | digit()?);
    }
    String::from_utf8(bytes).map_err(|_| UrlError("has %XX that is no UTF-8"))
}

#[cfg(test)]
mod tests {
    use super::*;

    use secrecy::ExposeSecret;

    fn tcp(host: &str, port: u16) -> Address {
        Address::Tcp(host.into(), port)
    }

    fn parsed(text: &str) -> RedisUrl {
        RedisUrl::parse(text).unwrap_or_else(|e| panic!("{text}: {e}"))
    }

    #[test]
    fn every_form_is_read_and_shown_without_its_password() {
        let server = |host: &str, port| Place::Server(tcp(host, port));
        let socket = |path: &str| Place::Server(Address::Unix(path.into()));
        for (text, place, is_tls, db, shown) in [
            ("redis://h", server("h", 6379), false, 0, "redis://h:6379"),
            ("redis://h/", server("h", 6379), false, 0, "redis://h:6379"),
            (
                " rediss://h:7/3\n",
                server("h", 7),
                true,
                3,
                "rediss://h:7/3",
            ),
            (
                "REDIS://[::1]",
                server("::1", 6379),
                false,
                0,
                "redis://[::1]:6379",
            ),
            (
                "redis://[::1]:1/2",
                server("::1", 1),
                false,
                2,
                "redis://[::1]:1/2",
            ),
            (
                "redis://u:pw@127.0.0.1",
                server("127.0.0.1", 6379),
                false,
                0,
                "redis://***@127.0.0.1:6379",
            ),
            (
                "unix:///run/r.sock",
                socket("/run/r.sock"),
                false,
                0,
                "unix:///run/r.sock",
            ),
            (
                "redis+unix:///a%20b?db=4",
                socket("/a b"),
                false,
                4,
                "unix:///a b?db=4",
            ),
            (
                "unix://:pw@/r.sock",
                socket("/r.sock"),
                false,
                0,
                "unix://***@/r.sock",
            ),
            (
                "redis+cluster://a",
                Place::Cluster(vec![tcp("a", 6379)]),
                false,
                0,
                "redis+cluster://a:6379",
            ),
            (
                "rediss+cluster://:pw@a:1,b:2/0",
                Place::Cluster(vec![tcp("a", 1), tcp("b", 2)]),
                true,
                0,
                "rediss+cluster://***@a:1,b:2",
            ),
            (
                "redis+sentinel://u:pw@a,[::2]:9/my%2Fmaster/5",
                Place::Sentinel {
                    sentinels: vec![tcp("a", 26_379), tcp("::2", 9)],
                    master: "my/master".into(),
                },
                false,
                5,
                "redis+sentinel://***@a:26379,[::2]:9/my/master/5",
            ),
            (
                "rediss+sentinel://a/m/",
                Place::Sentinel {
                    sentinels: vec![tcp("a", 26_379)],
                    master: "m".into(),
                },
                true,
                0,
                "rediss+sentinel://a:26379/m",
            ),
        ] {
            let url = parsed(text);
            assert_eq!(
                (&url.place, url.is_tls, url.db),
                (&place, is_tls, db),
                "{text}"
            );
            assert_eq!(url.to_string(), shown);
        }
    }

    #[test]
    fn credentials_are_decoded() {
        for (text, user, password) in [
            ("redis://h", None, None),
            ("redis://u:p@h", Some("u"), Some("p")),
            ("redis://:p@h", None, Some("p")),
            ("redis://:@h", None, None),
            ("redis://u@h", Some("u"), None),
            (
                "redis://u%3A:p%40%2f%3f%23%25é@h",
                Some("u:"),
                Some("p@/?#%é"),
            ),
            ("redis://u:p:@q@h", Some("u"), Some("p:@q")),
        ] {
            let url = parsed(text);
            let found = url.password.as_ref().map(ExposeSecret::expose_secret);
            assert_eq!((url.user.as_deref(), found), (user, password), "{text}");
        }
    }

    #[test]
    fn faults_are_named_and_repeat_nothing() {
        for (text, part) in [
            ("", "no scheme"),
            ("hunter2.example.com:6379", "no scheme"),
            ("http://hunter2", "must begin with"),
            ("redis://", "no host"),
            ("redis://:hunter2@", "no host"),
            ("redis://:hunter2@:6379", "no host"),
            ("redis://:hunter2@h:", "port"),
            ("redis://:hunter2@h:0", "port"),
            ("redis://:hunter2@h:65536", "port"),
            ("redis://h:hunter2", "port"),
            ("redis://::1:hunter2", "port"),
            ("redis://:hun/ter2@h", "'@' behind"),
            ("redis://:hunter2#x@h", "'#'"),
            ("redis://:hunter2?x@h", "query"),
            ("redis://:hunter2%@h", "'%'"),
            ("redis://:hunter2%4@h", "'%'"),
            ("redis://:hunter2%zz@h", "'%'"),
            ("redis://:hunter2%ff@h", "UTF-8"),
            ("redis://h/hunter2", "database"),
            ("redis://h/-1", "database"),
            ("redis://h?hunter2", "query"),
            ("redis://a,b", "several hosts"),
            ("redis://hunter 2", "host"),
            ("unix://hunter2/x", "three slashes"),
            ("unix:///", "no socket"),
            ("unix://", "no socket"),
            ("unix:///x?pass=hunter2", "unknown query"),
            ("unix:///x?db=hunter2", "database"),
            ("redis+sentinel://hunter2", "call the primary"),
            ("redis+sentinel://a//1", "call the primary"),
            ("redis+sentinel://a/m/hunter2", "database"),
            ("redis+sentinel://a,/m", "no host"),
            ("redis+cluster://a/1", "Cluster"),
            ("redis+cluster://a,:1", "no host"),
        ] {
            let fault = RedisUrl::parse(text).expect_err(text).to_string();
            assert!(fault.contains(part), "{text}: {fault}");
            assert!(!fault.contains("hun"), "{text}: {fault}");
        }
    }

    #[test]
    fn debug_shows_no_password() {
        let url = parsed("redis://worker:hunter2@h");
        assert!(!format!("{url:?} {url}").contains("hunter2"));
    }

    proptest::proptest! {
        #[test]
        fn no_text_makes_it_panic_or_tell_a_password(text in "(redis|unix|redis[+]sentinel)://.{0,30}") {
            if let Ok(url) = RedisUrl::parse(&text) {
                // What is shown is read again as the same place.
                let again = RedisUrl::parse(&url.to_string().replace('%', "%25"));
                if !url.to_string().contains(['?', '#', '@', ' ']) && url.db == 0 {
                    proptest::prop_assert_eq!(again.map(|u| u.place), Ok(url.place));
                }
            }
        }
    }
}
