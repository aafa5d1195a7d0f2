//! Faults in TOML files, with their place.

use std::ops::Range;

use serde::de::DeserializeOwned;

/// A fault in a TOML file: file, line, column, and what to do about it. It never holds the text of
/// the faulty line, which may be a secret put in the wrong place.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
#[error("{file}:{line}:{column}: {message}")]
pub struct TomlFault {
    /// The file's name, as the user gave it.
    pub file: String,
    /// Line, from 1.
    pub line: usize,
    /// Column, from 1, in characters.
    pub column: usize,
    /// What is wrong, naming the key.
    pub message: String,
}

impl TomlFault {
    /// A fault at `span` of `text`.
    #[must_use]
    pub fn at(file: &str, text: &str, span: Range<usize>, message: impl Into<String>) -> Self {
        let before = text.get(..span.start).unwrap_or(text);
        let line_start = before.rfind('\n').map_or(0, |n| n + 1);
        Self {
            file: file.to_owned(),
            line: before.matches('\n').count() + 1,
            column: before[line_start..].chars().count() + 1,
            message: message.into(),
        }
    }
}

/// Parses `text` as TOML.
///
/// # Errors
///
/// Where it is not TOML or does not fit `T`; keys that `T` does not know are a fault too where
/// `T` denies them.
pub fn parse_toml<T: DeserializeOwned>(file: &str, text: &str) -> Result<T, TomlFault> {
    toml::from_str(text).map_err(|e| {
        let message = without_values(e.message());
        TomlFault::at(file, text, e.span().unwrap_or(0..0), message)
    })
}

/// The parser's message less the values that it quotes (`string "hunter2"` becomes `a string`);
/// names of keys stand in backticks and stay.
fn without_values(message: &str) -> String {
    let mut parts = message.split('"');
    let mut clean = parts.next().unwrap_or_default().to_owned();
    while let (Some(_quoted), Some(after)) = (parts.next(), parts.next()) {
        clean.truncate(clean.trim_end().len());
        clean.push_str(after);
    }
    clean.replace('\n', "; ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(serde::Deserialize, Debug)]
    #[serde(deny_unknown_fields)]
    struct One {
        #[allow(dead_code)]
        number: u32,
    }

    #[test]
    fn a_fault_names_its_place_and_not_the_value() {
        let e = parse_toml::<One>("c.toml", "# x\nnumber = \"hunter2\"\n").unwrap_err();
        assert_eq!(
            e.to_string(),
            "c.toml:2:10: invalid type: string, expected u32"
        );
    }

    #[test]
    fn an_unknown_key_is_named() {
        let e = parse_toml::<One>("c.toml", "nmber = 1\n").unwrap_err();
        assert_eq!(
            e.to_string(),
            "c.toml:1:1: unknown field `nmber`, expected `number`"
        );
    }
}
