//! How Redis is reached: `redis_url` and what belongs to it, laid together.
//!
//! What must stay true: a password comes from `POLLWHEEL_REDIS_PASSWORD`, the file named by
//! `redis_password_file`, or a URL, in this order; it is no flag, and no message repeats it.

use std::path::Path;

use secrecy::{ExposeSecret, SecretString};

use super::environment::{REDIS_PASSWORD, SENTINEL_PASSWORD, variable};
use super::secret::{open_to_others, secret_file};
use super::{ConfigError, Environment, Settings};
use crate::redis::{self, Access};

/// How Redis is reached, and what there is to say about it.
#[derive(Debug)]
pub struct FoundRedis {
    /// What a connection is made with.
    pub settings: redis::Settings,
    /// Something to tell the user.
    pub warnings: Vec<String>,
}

/// Lays together what the settings and the environment say.
///
/// # Errors
///
/// [`ConfigError::NoRedisUrl`], and what [`redis::Settings::try_new`] refuses.
pub(super) fn find(
    settings: &Settings,
    environment: &Environment,
) -> Result<FoundRedis, ConfigError> {
    let url = settings.redis_url.as_ref().ok_or(ConfigError::NoRedisUrl)?;
    let mut warnings = Vec::new();
    let mut password = |name: &str, file: Option<&Path>| {
        let (text, place) = match (environment.secret(name), file) {
            (Some(text), _) => (Some(text.clone()), variable(name)),
            (None, Some(path)) => {
                warnings.extend(open_to_others(path));
                (secret_file(path)?, path.display().to_string())
            }
            (None, None) => return Ok(None),
        };
        text.and_then(|text| first_line(&text))
            .map(Some)
            .ok_or(ConfigError::BadPassword { place })
    };
    let access = Access {
        password: password(REDIS_PASSWORD, settings.redis_password_file.as_deref())?,
        sentinel_password: password(
            SENTINEL_PASSWORD,
            settings.redis_sentinel_password_file.as_deref(),
        )?,
        user: settings.redis_username.clone(),
        sentinel_user: settings.redis_sentinel_username.clone(),
        ca_file: settings.redis_ca_file.clone(),
        certificate_file: settings.redis_cert_file.clone(),
        key_file: settings.redis_key_file.clone(),
        ..Access::default()
    };
    let settings = redis::Settings::try_new(url.expose_secret(), access)?;
    Ok(FoundRedis { settings, warnings })
}

/// The password in a text that may end with a line end; `None` where there is none, or more than one line.
fn first_line(text: &SecretString) -> Option<SecretString> {
    let text = text.expose_secret();
    let line = text.strip_suffix('\n').unwrap_or(text);
    let line = line.strip_suffix('\r').unwrap_or(line);
    (!line.is_empty() && !line.contains(['\n', '\0'])).then(|| line.into())
}
