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
    /// Lines that stand before the error, for people and tools: `file:line: column: why`.
    findings: String,
    /// What was under way; empty where the error says so itself.
    context: String,
    error: Box<dyn Error>,
    hint: Option<String>,
}

impl Failure {
    /// Ends with `code` because of `error`.
    pub fn new(code: ExitCode, error: impl Into<Box<dyn Error>>) -> Self {
        Self {
            code,
            findings: String::new(),
            context: String::new(),
            error: error.into(),
            hint: None,
        }
    }

    /// Lists what was found, one thing a line.
    #[must_use]
    pub fn findings(mut self, lines: impl std::fmt::Display) -> Self {
        self.findings = lines.to_string();
        if !self.findings.is_empty() {
            self.findings.push('\n');
        }
        self
    }

    /// Says what was under way: `the balance: …`.
    #[must_use]
    pub fn context(mut self, what: &str) -> Self {
        self.context = format!("{what}: ");
        self
    }

    /// Says what to do about it.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// The findings, `error: …`, one `because: …` a cause that says something new, `hint: …`.
    #[must_use]
    pub fn render(&self) -> String {
        let mut text = format!("{}error: {}{}\n", self.findings, self.context, self.error);
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
        let code = if error.is_usage() {
            ExitCode::Usage
        } else {
            ExitCode::Config
        };
        let hint = match &error {
            ConfigError::Flag { .. } => "`pollwheel help run` shows every option",
            ConfigError::File(_) => {
                "config.toml in the source shows every setting as it may be written"
            }
            _ => return Self::new(code, error),
        };
        Self::new(code, error).hint(hint)
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
        let failure = Failure::new(ExitCode::Io, error).findings("in.csv:3: id: is empty");
        insta::assert_snapshot!(failure.hint("choose another --to").render(), @r"
        in.csv:3: id: is empty
        error: cannot open results.csv
          because: permission denied
        hint: choose another --to
        ");
    }
}
