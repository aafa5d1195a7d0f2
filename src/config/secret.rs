//! Files that hold one secret each.

use std::path::Path;

use secrecy::SecretString;

use super::ConfigError;

/// Longest file that is taken for one with a secret, in bytes.
const LONGEST_FILE: u64 = 16 * 1024;

/// The whole text of a file; `None` where it is too long to be a secret.
///
/// # Errors
///
/// [`ConfigError::Unreadable`], which does not repeat the text.
pub(super) fn secret_file(path: &Path) -> Result<Option<SecretString>, ConfigError> {
    let metadata = std::fs::metadata(path).map_err(|source| ConfigError::Unreadable {
        path: path.to_owned(),
        source,
    })?;
    if metadata.len() > LONGEST_FILE {
        return Ok(None);
    }
    Ok(Some(super::read(path)?.into()))
}

/// A warning where others than its owner may read the file.
pub(super) fn open_to_others(path: &Path) -> Option<String> {
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
