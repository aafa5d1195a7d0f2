//! Parsers of single values. Each says what would be right, and never repeats what it was given.

use std::num::NonZeroU32;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::time::Duration;

use secrecy::SecretString;

use crate::engine::Rate;
use crate::job::{Micros, RequestId};
use crate::redis::RedisUrl;

/// The text of a setting and what it is relative to.
#[derive(Clone, Copy, Debug)]
pub(super) struct Text<'a> {
    pub(super) text: &'a str,
    /// The configuration file's folder, where the text stands in one.
    pub(super) folder: Option<&'a Path>,
}

/// What a parser gives: the value, or what would be right.
pub(super) type Parsed<T> = Result<T, String>;

/// A setting that always has a value. The table's tests hold that each of these has a default.
pub(super) fn required<T>(
    parse: impl FnOnce(Text<'_>) -> Parsed<T>,
) -> impl FnOnce(Option<Text<'_>>) -> Parsed<T> {
    |text| text.map_or_else(|| Err("is needed".to_owned()), parse)
}

/// A setting that may be left out.
pub(super) fn optional<T>(
    parse: impl FnOnce(Text<'_>) -> Parsed<T>,
) -> impl FnOnce(Option<Text<'_>>) -> Parsed<Option<T>> {
    |text| text.map(parse).transpose()
}

/// `true` or `false`; left out means false.
pub(super) fn switch(text: Option<Text<'_>>) -> Parsed<bool> {
    match text.map(|t| t.text.to_ascii_lowercase()).as_deref() {
        None | Some("false" | "0" | "no") => Ok(false),
        Some("true" | "1" | "yes") => Ok(true),
        Some(_) => Err("must be true or false".to_owned()),
    }
}

/// A whole number in `range`.
pub(super) fn count<T>(range: RangeInclusive<T>) -> impl FnOnce(Text<'_>) -> Parsed<T>
where
    T: std::str::FromStr + PartialOrd + std::fmt::Display + Largest,
{
    move |text| match text.text.replace('_', "").parse::<T>() {
        Ok(n) if range.contains(&n) => Ok(n),
        _ if *range.end() == T::LARGEST => Err(format!(
            "must be a whole number, at least {}",
            range.start()
        )),
        _ => Err(format!(
            "must be a whole number from {} to {}",
            range.start(),
            range.end()
        )),
    }
}

/// The largest value of a type, to leave it out of messages.
pub(super) trait Largest {
    const LARGEST: Self;
}

macro_rules! largest {
    ($($integer:ty)+) => { $(impl Largest for $integer { const LARGEST: Self = Self::MAX; })+ };
}
largest!(usize u32 u64);

/// A time span such as `90s`, `2m` or `1h 30m`, in `range`.
pub(super) fn span(range: RangeInclusive<Duration>) -> impl FnOnce(Text<'_>) -> Parsed<Duration> {
    move |text| {
        let shown = |d: &Duration| humantime::format_duration(*d).to_string();
        let limits = || {
            format!(
                "must lie between {} and {}",
                shown(range.start()),
                shown(range.end())
            )
        };
        if text.text.bytes().all(|b| b.is_ascii_digit()) {
            return Err("has no unit; write it like 90s, 2m or 1h".to_owned());
        }
        match humantime::parse_duration(text.text) {
            Ok(d) if range.contains(&d) => Ok(d),
            Ok(_) => Err(limits()),
            Err(_) => Err("not a time span; write it like 90s, 2m or 1h".to_owned()),
        }
    }
}

/// Requests per second: `10/s`, `10`, `0.5/s`, `600/m`. Nothing goes in a burst.
pub(super) fn rate(text: Text<'_>) -> Parsed<Rate> {
    const WRONG: &str = "not a rate; write it like 10/s, 0.5/s or 600/m";
    let (number, seconds) = match text.text.split_once('/') {
        None => (text.text, 1.0),
        Some((number, "s" | "sec" | "second")) => (number, 1.0),
        Some((number, "m" | "min" | "minute")) => (number, 60.0),
        Some((number, "h" | "hour")) => (number, 3600.0),
        Some(_) => return Err(WRONG.to_owned()),
    };
    // Only digits and a point: what Rust's parser takes beyond that (inf, nan, 1e9) is no rate.
    let number = number.trim();
    if number.is_empty() || !number.bytes().all(|b| b.is_ascii_digit() || b == b'.') {
        return Err(WRONG.to_owned());
    }
    let per_second = number.parse::<f64>().map_err(|_| WRONG.to_owned())? / seconds;
    if !(SLOWEST..=FASTEST).contains(&per_second) {
        return Err("must lie between 1/h and 100000/s".to_owned());
    }
    Ok(Rate {
        per_second,
        burst: NonZeroU32::MIN,
    })
}

/// One an hour; slower makes no sense, and a rate of zero would never end.
const SLOWEST: f64 = 1.0 / 3600.0;
const FASTEST: f64 = 100_000.0;

/// An amount of US dollars.
pub(super) fn money(text: Text<'_>) -> Parsed<Micros> {
    text.text
        .parse()
        .map_err(|e: crate::job::ParseMoneyError| e.to_string())
}

/// A path; in a file, relative to the file's folder.
pub(super) fn path(text: Text<'_>) -> Parsed<PathBuf> {
    Ok(match text.folder {
        Some(folder) => folder.join(text.text),
        None => PathBuf::from(text.text),
    })
}

/// A kind's name. Whether there is such a kind is known later.
pub(super) fn word(text: Text<'_>) -> Parsed<String> {
    match RequestId::try_new(text.text.trim()) {
        Some(word) => Ok(word.as_str().to_owned()),
        None => Err("must be a name".to_owned()),
    }
}

/// Where Redis is. The text is kept, in a form that no `Debug` shows: it may hold a password.
pub(super) fn redis_url(text: Text<'_>) -> Parsed<SecretString> {
    RedisUrl::parse(text.text).map_err(|e| e.to_string())?;
    Ok(text.text.trim().into())
}

/// What names of keys begin with.
pub(super) fn key_prefix(text: Text<'_>) -> Parsed<String> {
    if text.text.len() > LONGEST_PREFIX {
        Err(format!("is longer than {LONGEST_PREFIX} bytes"))
    } else if text
        .text
        .chars()
        .any(|c| c.is_control() || "{}".contains(c))
    {
        Err("has a brace or a control character; write it like `shop:`".to_owned())
    } else {
        Ok(text.text.to_owned())
    }
}

/// Longest beginning of a key, in bytes.
const LONGEST_PREFIX: usize = 100;

/// What separates the columns of a CSV file.
pub(super) fn delimiter(text: Text<'_>) -> Parsed<u8> {
    match text.text {
        "comma" => Ok(b','),
        "semicolon" => Ok(b';'),
        "tab" | "\\t" => Ok(b'\t'),
        "pipe" => Ok(b'|'),
        other => match other.as_bytes() {
            [b @ (b',' | b';' | b'\t' | b'|' | b':')] => Ok(*b),
            _ => Err("must be one of , ; | : tab".to_owned()),
        },
    }
}

/// One of a few words.
pub(super) fn one_of<T: Copy>(
    choices: &'static [(&'static str, T)],
) -> impl FnOnce(Text<'_>) -> Parsed<T> {
    move |text| {
        choices
            .iter()
            .find(|(word, _)| *word == text.text)
            .map(|(_, value)| *value)
            .ok_or_else(|| {
                let words: Vec<_> = choices.iter().map(|(word, _)| *word).collect();
                format!("must be {}", words.join(" or "))
            })
    }
}

/// The service's base URL.
pub(super) fn base_url(text: Text<'_>) -> Parsed<super::BaseUrl> {
    super::BaseUrl::try_new(text.text).map_err(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(text: &str) -> Text<'_> {
        Text { text, folder: None }
    }

    #[test]
    fn rates() {
        for (given, per_second) in [
            ("10/s", 10.0),
            ("10", 10.0),
            ("0.5/s", 0.5),
            ("600/m", 10.0),
            ("3600/h", 1.0),
            ("1/h", 1.0 / 3600.0),
        ] {
            let rate = rate(text(given)).unwrap();
            assert_eq!(
                (rate.per_second, rate.burst.get()),
                (per_second, 1),
                "{given}"
            );
        }
        for bad in [
            "", "0", "0/s", "-1/s", "nan", "inf", "1e3", "10/d", "10/", "/s", "x/s", "1.2.3/s",
            "200000/s",
        ] {
            assert!(rate(text(bad)).is_err(), "{bad}");
        }
    }

    #[test]
    fn spans() {
        let parse = |given| span(Duration::from_secs(1)..=Duration::from_secs(3600))(text(given));
        assert_eq!(parse("90s"), Ok(Duration::from_secs(90)));
        assert_eq!(parse("1m 30s"), Ok(Duration::from_secs(90)));
        assert_eq!(
            parse("90").unwrap_err(),
            "has no unit; write it like 90s, 2m or 1h"
        );
        assert_eq!(parse("2h").unwrap_err(), "must lie between 1s and 1h");
        assert_eq!(
            parse("soon").unwrap_err(),
            "not a time span; write it like 90s, 2m or 1h"
        );
    }

    #[test]
    fn counts() {
        assert_eq!(count(1..=1_000_000_usize)(text("1_000")), Ok(1000));
        assert_eq!(
            count(1..=32_u32)(text("0")).unwrap_err(),
            "must be a whole number from 1 to 32"
        );
        assert_eq!(
            count(1..=u64::MAX)(text("-1")).unwrap_err(),
            "must be a whole number, at least 1"
        );
    }

    #[test]
    fn beginnings_of_keys() {
        assert_eq!(key_prefix(text("shop:é ")).as_deref(), Ok("shop:é "));
        let long = "x".repeat(101);
        for bad in ["{a}", "a}", "a\n", long.as_str()] {
            assert!(key_prefix(text(bad)).is_err(), "{bad}");
        }
    }

    #[test]
    fn delimiters() {
        for (given, byte) in [
            (",", b','),
            ("tab", b'\t'),
            ("\t", b'\t'),
            ("\\t", b'\t'),
            ("semicolon", b';'),
        ] {
            assert_eq!(delimiter(text(given)), Ok(byte));
        }
        for bad in ["", "\"", "ab", "\n", "é"] {
            assert!(delimiter(text(bad)).is_err(), "{bad:?}");
        }
    }

    proptest::proptest! {
        /// A value may be a secret in the wrong place.
        #[test]
        fn no_text_makes_a_parser_panic_or_is_repeated(given in "\\PC{0,40}|[0-9./smhd ]{0,12}|99999999999[0-9]{0,30}[a-z]{0,3}") {
            let given = format!("hunter2{given}");
            for message in [
                rate(text(&given)).err(),
                span(Duration::ZERO..=Duration::MAX)(text(&given)).err(),
                count(0..=u64::MAX)(text(&given)).err(),
                money(text(&given)).err(),
                delimiter(text(&given)).err(),
                base_url(text(&given)).err(),
                redis_url(text(&given)).err(),
                switch(Some(text(&given))).err(),
            ] {
                proptest::prop_assert!(!message.expect("it is no value").contains("hunter2"));
            }
        }

        #[test]
        fn no_number_makes_a_parser_panic(given in "[0-9]{1,40}([.][0-9]{0,20})?(/[smh]|[a-z]{1,3})?") {
            let _ = rate(text(&given));
            let _ = span(Duration::ZERO..=Duration::MAX)(text(&given));
            let _ = money(text(&given));
        }
    }
}
