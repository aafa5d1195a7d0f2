//! The account token: from `POLLWHEEL_API_TOKEN`, else from the file that `api_token_file` names.

use std::path::Path;

use secrecy::ExposeSecret;

use super::{ConfigError, Environment, Origin, Settings};
use crate::api::AccountToken;

/// Longest file that is taken for one with a token, in bytes.
const LONGEST_FILE: u64 = 16 * 1024;

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
    if let Some(text) = environment.token() {
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
    let metadata = std::fs::metadata(path);
    if metadata
        .map_err(|source| ConfigError::Unreadable {
            path: path.clone(),
            source,
        })?
        .len()
        > LONGEST_FILE
    {
        return Err(bad());
    }
    let token = AccountToken::try_new(&super::read(path)?).ok_or_else(bad)?;
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

/// A warning where others than its owner may read the file.
fn open_to_others(path: &Path) -> Option<String> {
    use std::os::unix::fs::PermissionsExt;
    let mode = std::fs::metadata(path).ok()?.permissions().mode();
    (mode & 0o077 != 0).then(|| {
        let path = path.display();
        format!(
            "{path} can be read by others (mode {:03o}); chmod 600 {path}",
            mode & 0o777
        )
    })
}
