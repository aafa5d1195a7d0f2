//! The command that goes on where a run stopped early.

use std::ffi::OsString;

use crate::config::masked_url;

const REDIS_URL: &str = "--redis-url";

/// The command line of this process, quoted for a shell, less the flags that must not be repeated:
/// `--fresh` would start anew, and `--abandon-paid` would give up what is under way. A password in
/// `--redis-url` is masked.
#[must_use]
pub(super) fn command(arguments: impl IntoIterator<Item = OsString>) -> String {
    let once = |word: &str| {
        let name = word.split('=').next().unwrap_or(word);
        matches!(name, "--fresh" | "--abandon-paid")
    };
    let mut is_url = false;
    let mut without_password = |word: String| {
        if std::mem::replace(&mut is_url, word == REDIS_URL) {
            return masked_url(&word);
        }
        match word
            .strip_prefix(REDIS_URL)
            .and_then(|rest| rest.strip_prefix('='))
        {
            Some(url) => format!("{REDIS_URL}={}", masked_url(url)),
            None => word,
        }
    };
    let words: Vec<_> = arguments
        .into_iter()
        .map(|word| word.to_string_lossy().into_owned())
        .filter(|word| !once(word))
        .map(&mut without_password)
        .map(|word| quote(&word))
        .collect();
    words.join(" ")
}

/// A word as a POSIX shell reads it back.
fn quote(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./=:,+@%".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shell_reads_back_what_was_given() {
        let words = [
            "pollwheel",
            "run",
            "--from",
            "my file.csv",
            "--to",
            "it's $HOME;`x`.csv",
            "",
            "é",
            "a\nb",
        ];
        let shown = command(words.map(OsString::from));
        let echoed = std::process::Command::new("sh")
            .arg("-c")
            .arg(format!("for w in {shown}; do printf '%s\\0' \"$w\"; done"))
            .output()
            .unwrap();
        let read: Vec<_> = String::from_utf8(echoed.stdout)
            .unwrap()
            .split_terminator('\0')
            .map(str::to_owned)
            .collect();
        assert_eq!(read, words);
    }

    #[test]
    fn a_password_is_masked() {
        let url = "redis://worker:hunter2@127.0.0.1/1";
        let joined = format!("--redis-url={url}");
        for words in [
            &["run", "--redis-url", url, "-q"][..],
            &["run", &joined, "-q"],
        ] {
            let shown = command(words.iter().map(OsString::from));
            assert!(shown.contains("***@127.0.0.1:6379/1' -q"), "{shown}");
            assert!(!shown.contains("hunter2"), "{shown}");
        }
    }

    #[test]
    fn what_starts_anew_is_left_out() {
        let words = [
            "pollwheel",
            "run",
            "--fresh",
            "--abandon-paid=true",
            "--from",
            "a.csv",
            "--retry-failed",
        ];
        assert_eq!(
            command(words.map(OsString::from)),
            "pollwheel run --from a.csv --retry-failed"
        );
    }
}
