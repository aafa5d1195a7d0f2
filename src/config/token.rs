//! The account token: from `POLLWHEEL_API_TOKEN`, else from the file that `api_token_file` names.

use secrecy::ExposeSecret;

use super::environment::TOKEN;
use super::secret::{open_to_others, secret_file};
use super::{ConfigError, Environment, Origin, Settings};
use crate::api::AccountToken;

/// A token and what there is to say about where it lay.
#[derive(Debug)]
pub struct FoundToken {
    /// The token.
    pub token: AccountToken,
    /// Where it came from.
    pub origin: Origin,
    /// Something to tell the user.
    pub warning: Option<String>,
}

/// Finds the token. No message repeats what was found.
///
/// # Errors
///
/// [`ConfigError::NoToken`], [`ConfigError::BadToken`], [`ConfigError::Unreadable`].
pub(super) fn find(
    settings: &Settings,
    environment: &Environment,
) -> Result<FoundToken, ConfigError> {
    if let Some(text) = environment.secret(TOKEN) {
        let place = "POLLWHEEL_API_TOKEN".to_owned();
        return match AccountToken::try_new(text.expose_secret()) {
            Some(token) => Ok(FoundToken {
                token,
                origin: Origin::Environment(place),
                warning: None,
            }),
            None => Err(ConfigError::BadToken { place }),
        };
    }
    let path = settings
        .api_token_file
        .as_ref()
        .ok_or(ConfigError::NoToken)?;
    let bad = || ConfigError::BadToken {
        place: path.display().to_string(),
    };
    let text = secret_file(path)?.ok_or_else(bad)?;
    let token = AccountToken::try_new(text.expose_secret()).ok_or_else(bad)?;
    let origin = Origin::File {
        file: path.display().to_string(),
        line: 1,
        column: 1,
    };
    Ok(FoundToken {
        token,
        origin,
        warning: open_to_others(path),
    })
}
