//! Settings, from four layers into plain checked values.
//!
//! What must stay true:
//!
//! * A flag wins over the environment, the environment over the configuration file, the file over
//!   the default; where each value came from is kept ([`Provenance`]) and shown by `check`.
//! * A setting is written down once, in the table of [`settings`](self::Settings): its flag
//!   (`--max-in-flight`), its variable (`POLLWHEEL_MAX_IN_FLIGHT`), its key (`max_in_flight`), its
//!   default and its help are all made from that one line.
//! * All layers are text, read by the same parser; a message names the flag, the variable or the
//!   file's line and column, and never repeats the value, which may be a secret in the wrong place.
//! * The account token comes from `POLLWHEEL_API_TOKEN` or the file named by `api_token_file`, is
//!   no flag and no value of a file, and stands in nothing that is printed. The same holds for the
//!   passwords of Redis, but that a URL may have one: it is shown masked, and a flag's is warned of.
//!
//! Called by the command line alone; the layers below get plain values.

mod base_url;
mod environment;
mod file;
mod kinds;
mod layers;
mod provenance;
mod redis;
mod refusals;
mod secret;
mod settings;
mod token;
mod value;

use std::path::{Path, PathBuf};

use crate::job::TomlFault;

pub use base_url::BaseUrl;
pub use environment::Environment;
pub use layers::{Config, Flags};
pub use provenance::{Origin, Provenance, show};
pub use redis::FoundRedis;
pub use settings::{LogFormat, SETTINGS, Section, Setting, Settings, masked_url};
pub use token::FoundToken;

/// The file that is read where `--config` names none and it is there.
pub const DEFAULT_FILE: &str = "config.toml";

/// Why the configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// A flag's value is wrong, or flags contradict each other.
    #[error("{flag}: {message}")]
    Flag {
        /// The flag, with its dashes.
        flag: String,
        /// What is wrong and what would be right.
        message: String,
    },
    /// A variable's value is wrong.
    #[error("{variable}: {message}")]
    Environment {
        /// The variable's name.
        variable: String,
        /// What is wrong and what would be right.
        message: String,
    },
    /// The configuration file or a kind's file is wrong.
    #[error(transparent)]
    File(#[from] TomlFault),
    /// A file that was named cannot be read.
    #[error("cannot read {}", path.display())]
    Unreadable {
        /// The file or folder.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// A value that could be read but is not allowed, wherever it came from.
    #[error("{place}: {message}")]
    Refused {
        /// Where it came from.
        place: String,
        /// Why, and what is allowed.
        message: String,
    },
    /// There is no account token.
    #[error(
        "no account token; set POLLWHEEL_API_TOKEN, or name a file that holds it in api_token_file (--simulate needs none)"
    )]
    NoToken,
    /// Nothing says where Redis is.
    #[error(
        "where is Redis? give --redis-url URL, such as redis://127.0.0.1:6379, or set POLLWHEEL_REDIS_URL"
    )]
    NoRedisUrl,
    /// What there is cannot be a password of Redis.
    #[error("{place} holds no password: one line is expected")]
    BadPassword {
        /// The variable or the file.
        place: String,
    },
    /// What is said about Redis does not fit together, or names a file that is no good.
    #[error("redis_*: settings that cannot be used")]
    Redis(#[from] crate::redis::SettingsError),
    /// What there is cannot be an account token.
    #[error("{place} holds no account token: one word of printable ASCII is expected")]
    BadToken {
        /// The variable or the file.
        place: String,
    },
}

impl ConfigError {
    /// Whether the command line itself is at fault, not what surrounds it.
    #[must_use]
    pub fn is_usage(&self) -> bool {
        matches!(self, Self::Flag { .. })
    }

    /// `message` about a value that came from `origin`.
    fn at(origin: &Origin, key: &str, message: impl std::fmt::Display) -> Self {
        match origin {
            Origin::Flag(flag) => Self::Flag {
                flag: flag.clone(),
                message: message.to_string(),
            },
            Origin::Environment(variable) => Self::Environment {
                variable: variable.clone(),
                message: message.to_string(),
            },
            Origin::File { file, line, column } => Self::File(TomlFault {
                file: file.clone(),
                line: *line,
                column: *column,
                message: format!("{key}: {message}"),
            }),
            Origin::Default => Self::Refused {
                place: key.to_owned(),
                message: message.to_string(),
            },
        }
    }
}

/// Reads `path`, naming it where that fails.
fn read(path: &Path) -> Result<String, ConfigError> {
    std::fs::read_to_string(path).map_err(|source| ConfigError::Unreadable {
        path: path.to_owned(),
        source,
    })
}

#[cfg(test)]
mod tests;
