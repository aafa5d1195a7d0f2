//! How spans of time and text from outside are shown.

use std::borrow::Cow;
use std::time::Duration;

/// A span for people: `0.4s`, `9.8s`, `42s`, `3m 05s`, `2h 10m`.
#[must_use]
pub fn span(span: Duration) -> String {
    let seconds = span.as_secs();
    match seconds {
        0..10 => format!("{:.1}s", span.as_secs_f64()),
        10..60 => format!("{seconds}s"),
        60..3600 => format!("{}m {:02}s", seconds / 60, seconds % 60),
        3600..360_000 => format!("{}h {:02}m", seconds / 3600, seconds / 60 % 60),
        _ => format!("{} days", seconds / 86_400),
    }
}

/// Text of the user's (an id, a path) as it may go to a terminal: characters that control it or
/// hide text are escaped.
#[must_use]
pub fn safe(text: &str) -> Cow<'_, str> {
    // `escape_debug` also escapes quotes and backslashes, which harm nobody.
    let harmless = |c: char| matches!(c, '"' | '\'' | '\\') || c.escape_debug().count() == 1;
    if text.chars().all(harmless) {
        return Cow::Borrowed(text);
    }
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        if harmless(c) {
            escaped.push(c);
        } else {
            escaped.extend(c.escape_debug());
        }
    }
    Cow::Owned(escaped)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans() {
        for (millis, shown) in [
            (0, "0.0s"),
            (420, "0.4s"),
            (9_800, "9.8s"),
            (42_900, "42s"),
            (185_000, "3m 05s"),
            (7_810_000, "2h 10m"),
            (864_000_000, "10 days"),
        ] {
            assert_eq!(span(Duration::from_millis(millis)), shown);
        }
    }

    #[test]
    fn a_terminal_is_not_driven_by_an_id() {
        assert_eq!(safe("row \"1\" é"), "row \"1\" é");
        assert_eq!(safe("a\u{1b}[2Jb\u{202e}"), "a\\u{1b}[2Jb\\u{202e}");
    }
}
