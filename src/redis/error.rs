//! What can go wrong with Redis, by what a caller does about it.
//!
//! What must stay true: every error that the client library or the server gives is put into one class, here
//! alone. A text from a server is cleaned, and the passwords that we know are masked in it.

use ::redis::{ErrorKind, RedisError, ServerError, ServerErrorKind};

use crate::job::ForeignText;

/// What went wrong.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
pub enum LinkError {
    /// Not reachable, silent, loading, failing over, or a part of it is: later it may work. The command may
    /// or may not have been carried out.
    #[error("Redis is away: {0}")]
    Away(String),
    /// User name, password or the user's rights do not suffice.
    #[error("Redis refuses us: {0}")]
    Denied(String),
    /// Out of memory: the command was not carried out.
    #[error("Redis is full: {0}")]
    Full(String),
    /// A key holds something else than we need.
    #[error("a key in Redis is of another type: {0}")]
    WrongType(String),
    /// A server of a version that lacks what we need.
    #[error("Redis at {address} is version {version}; 7.0 or later is needed")]
    TooOld {
        /// Where it is.
        address: String,
        /// What it says it is.
        version: String,
    },
    /// Anything else that a server says: a fault of ours, or a script's.
    #[error("Redis says: {0}")]
    Server(String),
}

impl LinkError {
    /// Whether to try again later is all there is to do.
    #[must_use]
    pub fn is_away(&self) -> bool {
        matches!(self, Self::Away(_))
    }
}

/// An error in its class, and whether the connection it came by is of no more use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Verdict {
    pub(super) error: LinkError,
    pub(super) is_spent: bool,
}

impl Verdict {
    fn keep(error: LinkError) -> Self {
        Self {
            error,
            is_spent: false,
        }
    }

    fn spent(error: LinkError) -> Self {
        Self {
            error,
            is_spent: true,
        }
    }
}

/// Marks a fault of a Cluster's node that does not hold our queue: the connection to the queue is still good.
pub(super) fn elsewhere(what: String) -> RedisError {
    RedisError::from((
        ErrorKind::ClusterConnectionNotFound,
        "another node of the Cluster",
        what,
    ))
}

/// Puts an error into its class.
pub(super) fn judge(error: &RedisError, secrets: &[&str]) -> Verdict {
    let clean = |text: &str| ForeignText::clean(text, secrets).as_str().to_owned();
    match error.kind() {
        ErrorKind::Io if error.is_timeout() => {
            Verdict::spent(LinkError::Away("no answer in time".into()))
        }
        ErrorKind::Io => Verdict::spent(LinkError::Away(clean(&error.to_string()))),
        // Whoever answers does not speak Redis' protocol, or not over TLS.
        ErrorKind::Parse => Verdict::spent(LinkError::Away(
            "what answers does not speak Redis' protocol (TLS on one side only?)".into(),
        )),
        ErrorKind::ClusterConnectionNotFound => Verdict::keep(LinkError::Away(clean(
            error
                .detail()
                .unwrap_or("a node of the Cluster is not reachable"),
        ))),
        ErrorKind::AuthenticationFailed => Verdict::spent(LinkError::Denied(clean(
            error.detail().unwrap_or("user name or password is wrong"),
        ))),
        ErrorKind::Server(_) | ErrorKind::Extension => {
            // A pipeline's error has one for each command that failed.
            let Some(all) = error.clone().into_server_errors() else {
                return Verdict::keep(LinkError::Server(clean(&error.to_string())));
            };
            all.iter()
                .map(|(_, error)| judge_server(error, &clean))
                .reduce(worse)
                .unwrap_or_else(|| Verdict::keep(LinkError::Server(clean(&error.to_string()))))
        }
        _ => Verdict::keep(LinkError::Server(clean(&error.to_string()))),
    }
}

/// Of two verdicts the one that decides what to do: one that ends the connection, else one that says to try
/// again, else the first.
fn worse(first: Verdict, second: Verdict) -> Verdict {
    let rank = |v: &Verdict| (v.is_spent, v.error.is_away());
    if rank(&second) > rank(&first) {
        second
    } else {
        first
    }
}

fn judge_server(error: &ServerError, clean: &dyn Fn(&str) -> String) -> Verdict {
    let details = error.details().unwrap_or_default();
    let text = clean(&format!("{} {details}", error.code()));
    match error.kind() {
        Some(ServerErrorKind::NoPerm) => return Verdict::keep(LinkError::Denied(text)),
        Some(ServerErrorKind::TryAgain | ServerErrorKind::Ask) => {
            return Verdict::keep(LinkError::Away(text));
        }
        // The primary is another one, or will be. MOVED is only seen where our queue itself has moved.
        Some(
            ServerErrorKind::ReadOnly
            | ServerErrorKind::MasterDown
            | ServerErrorKind::BusyLoading
            | ServerErrorKind::ClusterDown
            | ServerErrorKind::Moved,
        ) => return Verdict::spent(LinkError::Away(text)),
        _ => {}
    }
    match error.code() {
        "NOAUTH" | "WRONGPASS" | "DENIED" => Verdict::spent(LinkError::Denied(text)),
        "OOM" => Verdict::keep(LinkError::Full(text)),
        "WRONGTYPE" => Verdict::keep(LinkError::WrongType(text)),
        // Demoted while a command waited.
        "UNBLOCKED" => Verdict::spent(LinkError::Away(text)),
        // A long script of somebody; its disk is full or broken; too few replicas.
        "BUSY" | "MISCONF" | "NOREPLICAS" => Verdict::keep(LinkError::Away(text)),
        "ERR" if details.contains("max number of clients") => Verdict::spent(LinkError::Away(text)),
        "ERR" if is_denied(details) => Verdict::keep(LinkError::Denied(text)),
        _ => Verdict::keep(LinkError::Server(text)),
    }
}

/// What Redis says without a code of its own about users and rights, from scripts above all.
fn is_denied(details: &str) -> bool {
    [
        "without any password configured",
        "can't run this command",
        "can't access at least one of the keys",
        "ACL failure in script",
    ]
    .iter()
    .any(|part| details.contains(part))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(line: &str) -> Verdict {
        let value = ::redis::parse_redis_value(format!("-{line}\r\n").as_bytes()).unwrap();
        judge(&value.extract_error().unwrap_err(), &["hunter2"])
    }

    #[test]
    fn what_servers_say_is_put_into_classes() {
        let away = |text: &str| LinkError::Away(text.into());
        for (line, spent) in [
            (
                "READONLY You can't write against a read only replica.",
                true,
            ),
            ("LOADING Redis is loading the dataset in memory", true),
            ("MASTERDOWN Link with MASTER is down", true),
            ("CLUSTERDOWN The cluster is down", true),
            ("MOVED 3999 127.0.0.1:6381", true),
            ("UNBLOCKED force unblock from blocking operation", true),
            ("ERR max number of clients reached", true),
            (
                "TRYAGAIN Multiple keys request during rehashing of slot",
                false,
            ),
            ("ASK 3999 127.0.0.1:6381", false),
            ("BUSY Redis is busy running a script.", false),
            (
                "MISCONF Errors writing to the AOF file: No space left on device",
                false,
            ),
            ("NOREPLICAS Not enough good replicas to write.", false),
        ] {
            let found = verdict(line);
            assert_eq!((found.error, found.is_spent), (away(line), spent), "{line}");
        }
        for line in [
            "NOAUTH Authentication required.",
            "WRONGPASS invalid username-password pair or user is disabled.",
            "DENIED Redis is running in protected mode",
            "NOPERM this user has no permissions to run the 'blmove' command",
            "ERR AUTH <password> called without any password configured for the default user.",
            "ERR The user executing the script can't run this command or subcommand",
            "ERR The user executing the script can't access at least one of the keys mentioned",
        ] {
            assert_eq!(verdict(line).error, LinkError::Denied(line.into()));
        }
        let oom = "OOM command not allowed when used memory > 'maxmemory'.";
        assert_eq!(verdict(oom).error, LinkError::Full(oom.into()));
        let wrong = "WRONGTYPE Operation against a key holding the wrong kind of value";
        assert_eq!(verdict(wrong).error, LinkError::WrongType(wrong.into()));
        for line in [
            "ERR unknown command 'blmove'",
            "NOSCRIPT No matching script.",
            "CROSSSLOT Keys in request don't hash to the same slot",
            "MYOWN from a script",
        ] {
            assert_eq!(verdict(line), Verdict::keep(LinkError::Server(line.into())));
        }
    }

    #[test]
    fn passwords_are_masked_and_control_characters_escaped() {
        assert_eq!(
            verdict("ERR unknown 'hunter2' \u{1b}[31m").error,
            LinkError::Server("ERR unknown '[secret]' \\u{1b}[31m".into())
        );
    }

    #[test]
    fn what_the_network_does_is_away_and_ends_the_connection() {
        for kind in [
            std::io::ErrorKind::TimedOut,
            std::io::ErrorKind::ConnectionRefused,
            std::io::ErrorKind::BrokenPipe,
            std::io::ErrorKind::Other,
        ] {
            let found = judge(&RedisError::from(std::io::Error::from(kind)), &[]);
            assert!(found.error.is_away() && found.is_spent, "{kind}");
        }
        let found = judge(
            &::redis::parse_redis_value(b"HTTP/1.1 400\r\n").unwrap_err(),
            &[],
        );
        assert!(found.error.is_away() && found.is_spent);
        let found = judge(&elsewhere("127.0.0.1:7001: no answer".into()), &[]);
        assert_eq!(
            found,
            Verdict::keep(LinkError::Away("127.0.0.1:7001: no answer".into()))
        );
    }
}
