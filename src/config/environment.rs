//! The environment's part of the settings.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt;

use secrecy::SecretString;

/// What all our variables begin with.
const PREFIX: &str = "POLLWHEEL_";
/// The variable that holds the account token.
const TOKEN: &str = "API_TOKEN";

/// The variables that begin with `POLLWHEEL_`, read once. The account token stands apart from the
/// others and in no `Debug` output.
#[derive(Clone, Default)]
pub struct Environment {
    /// By key: `max_in_flight`. `None` where the value is not UTF-8.
    values: BTreeMap<String, Option<String>>,
    token: Option<SecretString>,
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
            if name == TOKEN {
                environment.token = Some(value.to_string_lossy().into_owned().into());
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

    /// The account token, not checked yet.
    pub(super) fn token(&self) -> Option<&SecretString> {
        self.token.as_ref()
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
    fn ours_are_taken_and_the_token_is_not_shown() {
        let environment = Environment::from_pairs(
            [
                ("POLLWHEEL_API_TOKEN", "hunter2"),
                ("POLLWHEEL_LIMIT", "5"),
                ("PATH", "/bin"),
                ("POLLWHEEL_JOB", ""),
            ]
            .map(|(name, value)| (name.into(), value.into())),
        );
        assert_eq!(environment.keys().collect::<Vec<_>>(), ["limit"]);
        assert!(!format!("{environment:?}").contains("hunter2"));
        assert!(environment.token().is_some());
    }
}
