//! What `--from` and `--to` can name.

use std::path::PathBuf;
use std::str::FromStr;

/// Where requests come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// A CSV file.
    File(PathBuf),
    /// CSV on stdin.
    Stdin,
}

/// Where outcomes go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sink {
    /// A CSV file, or a pipe or device of that name.
    File(PathBuf),
    /// CSV on stdout.
    Stdout,
}

/// Why a text names no source or sink.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EndpointError {
    /// Redis is not part of this version.
    #[error("redis:LIST is not in this version; give a CSV file, or - for stdin or stdout")]
    Redis,
    /// A server's URL where a list is named.
    #[error(
        "redis:// names a server, and a list is meant: redis:LIST, with the server in --redis-url (neither is in this version)"
    )]
    RedisUrl,
    /// Nothing.
    #[error("is empty; give a CSV file, or - for stdin or stdout")]
    Empty,
}

/// The path of a CSV file, `None` for `-`.
fn endpoint(text: &str) -> Result<Option<PathBuf>, EndpointError> {
    match text {
        "" => Err(EndpointError::Empty),
        "-" => Ok(None),
        _ if text.starts_with("redis://")
            || text.starts_with("rediss://")
            || text.starts_with("redis:redis") && text.contains("://") =>
        {
            Err(EndpointError::RedisUrl)
        }
        _ if text.starts_with("redis:") => Err(EndpointError::Redis),
        path => Ok(Some(path.into())),
    }
}

impl FromStr for Source {
    type Err = EndpointError;

    fn from_str(text: &str) -> Result<Self, EndpointError> {
        Ok(endpoint(text)?.map_or(Self::Stdin, Self::File))
    }
}

impl FromStr for Sink {
    type Err = EndpointError;

    fn from_str(text: &str) -> Result<Self, EndpointError> {
        Ok(endpoint(text)?.map_or(Self::Stdout, Self::File))
    }
}

impl Sink {
    /// Whether it is a stream, or a name of one: what was written to it cannot be read back.
    #[must_use]
    pub fn is_stream(&self) -> bool {
        match self {
            Self::Stdout => true,
            Self::File(path) => std::fs::metadata(path).is_ok_and(|m| !m.is_file()),
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
        assert_eq!("redis:jobs".parse::<Source>(), Err(EndpointError::Redis));
        assert_eq!(
            "redis://host/1".parse::<Sink>(),
            Err(EndpointError::RedisUrl)
        );
        assert_eq!(
            "redis:redis://host/1".parse::<Sink>(),
            Err(EndpointError::RedisUrl)
        );
        assert_eq!("".parse::<Sink>(), Err(EndpointError::Empty));
    }
}
