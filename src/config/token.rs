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
/// [`ConfigError::Token`] where there is none or it cannot be one; [`ConfigError::Unreadable`].
pub(super) fn find(
    settings: &Settings,
    environment: &Environment,
) -> Result<FoundToken, ConfigError> {
    const UNFIT: &str = "holds no account token: one word of printable ASCII is expected";
    if let Some(text) = environment.token() {
        let token = AccountToken::try_new(text.expose_secret())
            .ok_or_else(|| ConfigError::Token(format!("POLLWHEEL_API_TOKEN {UNFIT}")))?;
        return Ok(FoundToken {
            token,
            origin: Origin::Environment("POLLWHEEL_API_TOKEN".to_owned()),
            warning: None,
        });
    }
    let Some(path) = &settings.api_token_file else {
        let message = "no account token; set POLLWHEEL_API_TOKEN, or name a file that holds it in api_token_file (--simulate needs none)";
        return Err(ConfigError::Token(message.to_owned()));
    };
    let unfit = || ConfigError::Token(format!("{} {UNFIT}", path.display()));
    let size = std::fs::metadata(path).map(|m| m.len());
    if size.map_err(|source| ConfigError::Unreadable {
        path: path.clone(),
        source,
    })? > LONGEST_FILE
    {
        return Err(unfit());
    }
    let token = AccountToken::try_new(&super::read(path)?).ok_or_else(unfit)?;
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
