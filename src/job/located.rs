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
        let span = e.span().unwrap_or(0..0);
        let mut message = without_values(e.message());
        if let Some(key) = key_of(text, span.start).filter(|key| !message.contains(key)) {
            message = format!("{key}: {message}");
        }
        TomlFault::at(file, text, span, message)
    })
}

/// The bare key to whose value the byte `at` belongs, where key and value stand on one line.
fn key_of(text: &str, at: usize) -> Option<&str> {
    let before = text.get(..at)?;
    let line = before.rsplit('\n').next()?;
    let key = line.split_once('=')?.0.trim();
    let is_bare = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
    (!key.is_empty() && key.chars().all(is_bare)).then_some(key)
}

/// The parser's message less the values that it quotes (`string "hunter2"` becomes `string`, and
/// so does a number in backticks); names of keys stand in backticks and stay.
fn without_values(message: &str) -> String {
    let mut message = message.to_owned();
    for kind in ["integer `", "floating point `", "boolean `", "character `"] {
        if let Some((before, rest)) = message.split_once(kind)
            && let Some((_value, after)) = rest.split_once('`')
        {
            message = format!("{before}{}{after}", kind.trim_end_matches(" `"));
        }
    }
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
            "c.toml:2:10: number: invalid type: string, expected u32"
        );
    }

    #[test]
    fn a_number_is_a_value_too() {
        let e = parse_toml::<One>("c.toml", "number = -4711\n").unwrap_err();
        assert_eq!(
            e.to_string(),
            "c.toml:1:10: number: invalid value: integer, expected u32"
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
