//! Text that came from outside: it is data everywhere, never control.

use std::borrow::Cow;
use std::fmt;

/// Longest text from a server that is kept, in characters.
const LONGEST: usize = 500;

/// What stands in the place of a secret.
const MASK: &str = "[secret]";

/// Text that a server or a file sent, made safe to print, log and store.
///
/// Control characters are escaped, the given secrets are masked, and the length is bounded to
/// 500 characters. Made once, where the text enters.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ForeignText(String);

impl ForeignText {
    /// Cleans `raw`, masking every occurrence of each of `secrets`.
    ///
    /// Secrets are masked before anything is cut, so that no half of one remains. Secrets shorter
    /// than 4 characters are left alone: masking them would only spell them out.
    #[must_use]
    pub fn clean(raw: &str, secrets: &[&str]) -> Self {
        let mut masked = raw.to_owned();
        for secret in secrets.iter().filter(|s| s.len() >= 4) {
            if masked.contains(secret) {
                masked = masked.replace(secret, MASK);
            }
        }
        let mut text = String::with_capacity(masked.len().min(LONGEST));
        for (n, c) in masked.trim().chars().enumerate() {
            if n == LONGEST {
                text.push('…');
                break;
            }
            if c.is_control() || is_invisible_control(c) {
                text.extend(c.escape_default());
            } else {
                text.push(c);
            }
        }
        Self(text)
    }

    /// The cleaned text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ForeignText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Characters that reorder or hide text on a terminal although Unicode calls them formatting.
fn is_invisible_control(c: char) -> bool {
    matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}')
}

/// `text` so that no spreadsheet runs it as a formula: a leading `=`, `+`, `-`, `@`, tab or
/// carriage return gets an apostrophe before it.
///
/// Source: OWASP, "CSV Injection".
#[must_use]
pub fn for_spreadsheet(text: &str) -> Cow<'_, str> {
    if text.starts_with(['=', '+', '-', '@', '\t', '\r']) {
        Cow::Owned(format!("'{text}"))
    } else {
        Cow::Borrowed(text)
    }
}

/// What a message quotes of a word that came from outside: escaped, at most 60 characters of it.
#[must_use]
pub fn quoted(word: &str) -> String {
    let mut short: String = word.chars().take(60).flat_map(char::escape_debug).collect();
    if word.chars().nth(60).is_some() {
        short.push('…');
    }
    short
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_are_escaped_and_secrets_masked() {
        let text = ForeignText::clean("bad \u{1b}[31mtoken s3cr3t-token\r\n", &["s3cr3t-token"]);
        assert_eq!(text.as_str(), "bad \\u{1b}[31mtoken [secret]");
    }

    #[test]
    fn a_secret_across_the_cut_leaves_no_half() {
        let raw = format!("{}s3cr3t-token", "x".repeat(LONGEST - 4));
        assert!(
            !ForeignText::clean(&raw, &["s3cr3t-token"])
                .as_str()
                .contains("s3cr")
        );
    }

    #[test]
    fn bidirectional_overrides_do_not_reach_a_terminal() {
        assert_eq!(
            ForeignText::clean("a\u{202e}b", &[]).as_str(),
            "a\\u{202e}b"
        );
    }

    #[test]
    fn formulas_are_defused() {
        assert_eq!(for_spreadsheet("=cmd|' /C calc'!A0"), "'=cmd|' /C calc'!A0");
        assert_eq!(for_spreadsheet("fine"), "fine");
    }
}
