//! Where a value came from.

use std::fmt;

/// The layer that a value came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// The command line; the flag as it was written.
    Flag(String),
    /// The environment; the variable's name.
    Environment(String),
    /// A configuration file.
    File {
        /// Its name, as the user gave it.
        file: String,
        /// Line, from 1.
        line: usize,
        /// Column, from 1.
        column: usize,
    },
    /// Built in.
    Default,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Flag(flag) => f.write_str(flag),
            Self::Environment(variable) => f.write_str(variable),
            Self::File { file, line, .. } => write!(f, "{file}:{line}"),
            Self::Default => f.write_str("default"),
        }
    }
}

/// An effective value and where it came from, for `check`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Provenance {
    /// The setting's key.
    pub key: &'static str,
    /// The value as it was written; empty where there is none.
    pub text: String,
    /// Its layer.
    pub origin: Origin,
}

/// The values as lines, aligned: `max_in_flight   = 200   (default)`.
#[must_use]
pub fn show(values: &[Provenance]) -> String {
    let text = |p: &Provenance| {
        if p.text.is_empty() {
            "-".to_owned()
        } else {
            p.text.escape_debug().to_string()
        }
    };
    let key_width = values.iter().map(|p| p.key.len()).max().unwrap_or(0);
    // A single long path must not push all the others to the right.
    let width = values
        .iter()
        .map(|p| text(p).chars().count())
        .max()
        .unwrap_or(0)
        .min(32);
    values
        .iter()
        .map(|p| {
            format!(
                "{:key_width$} = {:width$}   ({})\n",
                p.key,
                text(p),
                p.origin
            )
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_shown_with_their_layer() {
        let value = |key, text: &str, origin| Provenance {
            key,
            text: text.to_owned(),
            origin,
        };
        let shown = show(&[
            value("max_in_flight", "200", Origin::Default),
            value("limit", "", Origin::Default),
            value(
                "submit_rate",
                "5/s",
                Origin::Environment("POLLWHEEL_SUBMIT_RATE".to_owned()),
            ),
            value(
                "timeout",
                "90s",
                Origin::File {
                    file: "config.toml".to_owned(),
                    line: 12,
                    column: 3,
                },
            ),
            value("ordered", "true", Origin::Flag("--ordered".to_owned())),
        ]);
        insta::assert_snapshot!(shown, @r"
        max_in_flight = 200    (default)
        limit         = -      (default)
        submit_rate   = 5/s    (POLLWHEEL_SUBMIT_RATE)
        timeout       = 90s    (config.toml:12)
        ordered       = true   (--ordered)
        ");
    }
}
