//! The environment's part of the settings.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt;

use secrecy::SecretString;

/// What all our variables begin with.
const PREFIX: &str = "POLLWHEEL_";
/// The variables that hold secrets, which are values of nothing else: no flag and no file has them.
const SECRETS: [&str; 3] = [TOKEN, REDIS_PASSWORD, SENTINEL_PASSWORD];
/// The account token.
pub(super) const TOKEN: &str = "API_TOKEN";
/// Redis' password.
pub(super) const REDIS_PASSWORD: &str = "REDIS_PASSWORD";
/// The Sentinels' password.
pub(super) const SENTINEL_PASSWORD: &str = "REDIS_SENTINEL_PASSWORD";

/// The variables that begin with `POLLWHEEL_`, read once. Secrets stand apart from the others and in
/// no `Debug` output.
#[derive(Clone, Default)]
pub struct Environment {
    /// By key: `max_in_flight`. `None` where the value is not UTF-8.
    values: BTreeMap<String, Option<String>>,
    secrets: BTreeMap<&'static str, SecretString>,
}

impl Environment {
    /// That of this process.
    #[must_use]
    pub fn of_process() -> Self {
        Self::from_pairs(std::env::vars_os())
    }

    /// That of these variables; others than ours are passed over, and so are empty ones, which
    /// is how containers and crontabs write "not set".
    #[must_use]
    pub fn from_pairs(variables: impl IntoIterator<Item = (OsString, OsString)>) -> Self {
        let mut environment = Self::default();
        for (name, value) in variables {
            let Some(name) = name.to_str().and_then(|name| name.strip_prefix(PREFIX)) else {
                continue;
            };
            if value.is_empty() {
                continue;
            }
            if let Some(secret) = SECRETS.into_iter().find(|secret| *secret == name) {
                let text = value.to_string_lossy().into_owned();
                environment.secrets.insert(secret, text.into());
            } else {
                environment
                    .values
                    .insert(name.to_ascii_lowercase(), value.into_string().ok());
            }
        }
        environment
    }

    /// The value for `key`: `Some(None)` where it is not UTF-8.
    pub(super) fn get(&self, key: &str) -> Option<Option<&str>> {
        self.values.get(key).map(Option::as_deref)
    }

    /// The keys that there are.
    pub(super) fn keys(&self) -> impl Iterator<Item = &str> {
        self.values.keys().map(String::as_str)
    }

    /// A secret, not checked yet.
    pub(super) fn secret(&self, name: &str) -> Option<&SecretString> {
        self.secrets.get(name)
    }
}

/// The variable's name for a key.
pub(super) fn variable(key: &str) -> String {
    format!("{PREFIX}{}", key.to_ascii_uppercase())
}

impl fmt::Debug for Environment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.values.keys()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ours_are_taken_and_secrets_are_not_shown() {
        let environment = Environment::from_pairs(
            [
                ("POLLWHEEL_API_TOKEN", "hunter2"),
                ("POLLWHEEL_REDIS_PASSWORD", "hunter2"),
                ("POLLWHEEL_REDIS_SENTINEL_PASSWORD", "hunter2"),
                ("POLLWHEEL_LIMIT", "5"),
                ("PATH", "/bin"),
                ("POLLWHEEL_JOB", ""),
            ]
            .map(|(name, value)| (name.into(), value.into())),
        );
        assert_eq!(environment.keys().collect::<Vec<_>>(), ["limit"]);
        assert!(!format!("{environment:?}").contains("hunter2"));
        assert!(
            SECRETS
                .iter()
                .all(|name| environment.secret(name).is_some())
        );
    }
}
