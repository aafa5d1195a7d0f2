//! An error on its way out of the process: printed once, here, with its causes and a hint.

use std::error::Error;
use std::fmt::Write;

use super::ExitCode;
use crate::config::ConfigError;
use crate::telemetry::WriteSummaryError;

/// What ends the process, with its exit code.
#[derive(Debug)]
pub struct Failure {
    /// The exit code.
    pub code: ExitCode,
    error: Box<dyn Error>,
    hint: Option<String>,
}

impl Failure {
    /// Ends with `code` because of `error`.
    pub fn new(code: ExitCode, error: impl Into<Box<dyn Error>>) -> Self {
        Self {
            code,
            error: error.into(),
            hint: None,
        }
    }

    /// Says what to do about it.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// `error: …`, one `because: …` a cause that says something new, `hint: …`.
    #[must_use]
    pub fn render(&self) -> String {
        let mut text = format!("error: {}\n", self.error);
        let mut said = self.error.to_string();
        let mut cause = self.error.source();
        while let Some(error) = cause {
            let message = error.to_string();
            // Some errors repeat their cause in their own words.
            if !said.contains(&message) {
                let _ = writeln!(text, "  because: {message}");
            }
            said = message;
            cause = error.source();
        }
        if let Some(hint) = &self.hint {
            let _ = writeln!(text, "hint: {hint}");
        }
        text
    }
}

impl From<ConfigError> for Failure {
    fn from(error: ConfigError) -> Self {
        let usage = error.is_usage();
        let hint = match &error {
            ConfigError::Flag { .. } => Some("pollwheel help shows every option"),
            ConfigError::Unreadable { .. } | ConfigError::Token(_) => None,
            _ => Some(
                "`pollwheel check FILE.csv` shows each setting and where it comes from, once this is right",
            ),
        };
        let failure = Self::new(
            if usage {
                ExitCode::Usage
            } else {
                ExitCode::Config
            },
            error,
        );
        match hint {
            Some(hint) => failure.hint(hint),
            None => failure,
        }
    }
}

impl From<WriteSummaryError> for Failure {
    fn from(error: WriteSummaryError) -> Self {
        Self::new(ExitCode::Io, error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("cannot open results.csv")]
    struct Outer(#[source] std::io::Error);

    #[test]
    fn causes_and_hint_follow() {
        let error = Outer(std::io::Error::other("permission denied"));
        let shown = Failure::new(ExitCode::Io, error)
            .hint("choose another --to")
            .render();
        insta::assert_snapshot!(shown, @r"
        error: cannot open results.csv
          because: permission denied
        hint: choose another --to
        ");
    }
}
