//! The kinds of a run: built in, from `--jobs`, and what the settings change in all of them.

use std::path::Path;

use super::{ConfigError, Settings};
use crate::job::{Kind, Kinds};

pub(super) fn load(settings: &Settings) -> Result<Kinds, ConfigError> {
    let mut kinds = Kinds::built_in();
    if let Some(folder) = &settings.jobs {
        for path in toml_files(folder)? {
            kinds.insert(Kind::from_toml(
                &path.display().to_string(),
                &super::read(&path)?,
            )?);
        }
    }
    kinds.for_each_mut(|kind| {
        if let Some(timeout) = settings.timeout {
            kind.timeout = timeout;
        }
        if let Some(attempts) = settings.attempts {
            kind.attempts = attempts;
        }
        if let Some(interval) = settings.poll_interval {
            kind.interval = interval;
            kind.first_after = kind.first_after.min(interval);
        }
    });
    Ok(kinds.for_protocol(settings.protocol.as_str()))
}

/// The folder's `*.toml`, by name. A folder without any is a mistake.
fn toml_files(folder: &Path) -> Result<Vec<std::path::PathBuf>, ConfigError> {
    let unreadable = |source| ConfigError::Unreadable {
        path: folder.to_owned(),
        source,
    };
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(unreadable)? {
        let path = entry.map_err(unreadable)?.path();
        if path.extension().is_some_and(|ext| ext == "toml") {
            files.push(path);
        }
    }
    if files.is_empty() {
        let message = format!(
            "{} holds no *.toml; a kind of job is one such file",
            folder.display()
        );
        return Err(ConfigError::Refused {
            place: "jobs".to_owned(),
            message,
        });
    }
    files.sort();
    Ok(files)
}
