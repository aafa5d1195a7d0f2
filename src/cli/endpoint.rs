//! What `--from` and `--to` can name.
//!
//! What must stay true: no error repeats the text, which may be a server's URL with a password, put in the
//! place of a list.

use std::path::PathBuf;
use std::str::FromStr;

/// Where requests come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// A CSV file.
    File(PathBuf),
    /// CSV on stdin.
    Stdin,
    /// A list of Redis.
    Redis(RedisList),
}

/// Where outcomes go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sink {
    /// A CSV file, or a pipe or device of that name.
    File(PathBuf),
    /// CSV on stdout.
    Stdout,
    /// A list of Redis.
    Redis(RedisList),
}

/// The name of a list of Redis: everything behind `redis:`, whatever it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RedisList(String);

/// A CSV file that is looked at ahead or afterwards: no stream, and no list of Redis.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CsvFile(pub PathBuf);

/// Why a text names no source, sink, list or file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EndpointError {
    /// A server's URL where a list is named.
    #[error(
        "redis:// names a server, and a list is meant: redis:LIST, with the server in --redis-url"
    )]
    RedisUrl,
    /// `redis:` alone.
    #[error("redis: names no list; write redis:LIST")]
    NoList,
    /// Something else than a list.
    #[error("must be a list of Redis; write redis:LIST")]
    NotRedis,
    /// A list where a file is named.
    #[error(
        "must be a CSV file; a list of Redis is looked at by `pollwheel status --from redis:LIST`"
    )]
    NotFile,
    /// A stream where a file is named.
    #[error("a stream cannot be looked at ahead or afterwards; name a file")]
    Stream,
    /// Nothing.
    #[error("is empty; give a CSV file, - for stdin or stdout, or redis:LIST")]
    Empty,
}

impl RedisList {
    /// The list's name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// As it is written on the command line.
impl std::fmt::Display for RedisList {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "redis:{}", self.0)
    }
}

/// Whether a text is the URL of a server: `redis://…`, `rediss+cluster://…`, `unix://…`.
fn is_server(text: &str) -> bool {
    let Some((scheme, _)) = text.split_once("://") else {
        return false;
    };
    let scheme = scheme.to_ascii_lowercase();
    matches!(
        scheme.split('+').next(),
        Some("redis" | "rediss" | "unix" | "valkey" | "valkeys")
    )
}

impl FromStr for Source {
    type Err = EndpointError;

    fn from_str(text: &str) -> Result<Self, EndpointError> {
        Ok(match text.parse::<Sink>()? {
            Sink::File(path) => Self::File(path),
            Sink::Stdout => Self::Stdin,
            Sink::Redis(list) => Self::Redis(list),
        })
    }
}

impl FromStr for Sink {
    type Err = EndpointError;

    fn from_str(text: &str) -> Result<Self, EndpointError> {
        match text {
            "" => Err(EndpointError::Empty),
            "-" => Ok(Self::Stdout),
            _ if is_server(text) => Err(EndpointError::RedisUrl),
            _ => match text.strip_prefix("redis:") {
                None => Ok(Self::File(text.into())),
                Some("") => Err(EndpointError::NoList),
                Some(list) if list.starts_with("//") || is_server(list) => {
                    Err(EndpointError::RedisUrl)
                }
                Some(list) => Ok(Self::Redis(RedisList(list.to_owned()))),
            },
        }
    }
}

impl FromStr for RedisList {
    type Err = EndpointError;

    fn from_str(text: &str) -> Result<Self, EndpointError> {
        match text.parse()? {
            Sink::Redis(list) => Ok(list),
            Sink::File(_) | Sink::Stdout => Err(EndpointError::NotRedis),
        }
    }
}

impl FromStr for CsvFile {
    type Err = EndpointError;

    fn from_str(text: &str) -> Result<Self, EndpointError> {
        match text.parse()? {
            Sink::File(path) => Ok(Self(path)),
            Sink::Stdout => Err(EndpointError::Stream),
            Sink::Redis(_) => Err(EndpointError::NotFile),
        }
    }
}

impl Sink {
    /// Whether it is a stream, or a name of one: what was written to it cannot be read back.
    #[must_use]
    pub fn is_stream(&self) -> bool {
        match self {
            Self::Stdout => true,
            Self::File(path) => std::fs::metadata(path).is_ok_and(|m| !m.is_file()),
            Self::Redis(_) => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        assert_eq!("-".parse(), Ok(Source::Stdin));
        assert_eq!("-".parse(), Ok(Sink::Stdout));
        assert_eq!("a.csv".parse(), Ok(Source::File("a.csv".into())));
        assert_eq!("".parse::<Sink>(), Err(EndpointError::Empty));
        assert_eq!("a.csv".parse::<RedisList>(), Err(EndpointError::NotRedis));
        assert_eq!("-".parse::<CsvFile>(), Err(EndpointError::Stream));
        assert_eq!("redis:jobs".parse::<CsvFile>(), Err(EndpointError::NotFile));
    }

    #[test]
    fn a_list_is_everything_behind_the_colon() {
        for list in [
            "jobs",
            "solve:requests",
            "{shop}:a b",
            "-",
            "é://x",
            "https://x",
            "a.csv",
            " ",
        ] {
            let text = format!("redis:{list}");
            let Ok(Source::Redis(named)) = text.parse() else {
                panic!("{text}");
            };
            assert_eq!((named.as_str(), named.to_string()), (list, text.clone()));
            assert_eq!(text.parse(), Ok(Sink::Redis(named)));
        }
        assert_eq!("redis:".parse::<Sink>(), Err(EndpointError::NoList));
    }

    #[test]
    fn a_server_is_no_list() {
        for server in [
            "redis://host/1",
            "rediss://:pw@host",
            "redis+cluster://a,b",
            "REDIS://host",
            "unix:///r.sock",
            "redis:redis://host/1",
            "redis:rediss+sentinel://a/m",
            "redis:unix:///r.sock",
            "redis:///r",
        ] {
            assert_eq!(
                server.parse::<Sink>(),
                Err(EndpointError::RedisUrl),
                "{server}"
            );
        }
    }
}
