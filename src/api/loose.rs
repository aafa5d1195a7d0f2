//! One tolerant reader for every body that the service sends.
//!
//! It takes strict JSON (RFC 8259) and what this service is known to send beside it:
//! - one trailing comma in an object or a list: `{"error": true,}`;
//! - braces around a bare string, `{ "P1_…" }`, which is read as that string;
//! - a byte order mark before the value, white space around it;
//! - in strings: raw control characters, lone surrogates and bytes that are no UTF-8 (both become
//!   U+FFFD). A job's id is worth keeping although the message beside it is garbled; whoever reads
//!   an id or a token out of a string checks it.
//!
//! What must stay true: it never panics, whatever the bytes; its memory is bounded by the body's
//! size, [`DEEPEST`] and [`MOST_VALUES`]; a body that was cut anywhere, or that goes on after its
//! value, is an error and not an answer; an error holds a class and a position, never the text.
//! Numbers keep their digits: an id may be larger than any machine integer.
//!
//! Where an object has a member twice, the last one counts, as it does for nearly every other
//! reader; [`Loose::all`] gives them all to those who decide with more caution.

use std::borrow::Cow;
use std::fmt;

use memchr::memchr2;

/// Most levels of lists and objects.
const DEEPEST: usize = 64;
/// Most values in a body. A value takes some tens of bytes and can be written in two.
const MOST_VALUES: usize = 65_536;

/// A value, borrowed from the body where it can be. It has no `Debug` outside tests: it may hold a
/// solved token.
#[derive(Clone, PartialEq, Eq)]
#[cfg_attr(test, derive(Debug))]
pub(super) enum Loose<'a> {
    /// `null`.
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// A number, as it was written.
    Number(&'a str),
    /// A string, unescaped.
    Text(Cow<'a, str>),
    /// A list.
    List(Vec<Self>),
    /// An object, its members in order.
    Object(Vec<(Cow<'a, str>, Self)>),
}

/// Why a body could not be read, and where.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{class} at byte {at}")]
pub(super) struct Malformed {
    /// What is wrong.
    pub(super) class: Class,
    /// Offset from the start of the body.
    pub(super) at: usize,
}

/// What is wrong with a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Class {
    /// It ends before its value does.
    CutShort,
    /// A byte that cannot stand there.
    Unexpected,
    /// A backslash followed by what is no escape.
    BadEscape,
    /// It goes on after its value.
    Trailing,
    /// More than 64 levels.
    TooDeep,
    /// More than 65,536 values.
    TooMany,
}

impl fmt::Display for Class {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::CutShort => "cut short",
            Self::Unexpected => "not JSON",
            Self::BadEscape => "bad escape",
            Self::Trailing => "more than one value",
            Self::TooDeep => "nested too deeply",
            Self::TooMany => "too many values",
        })
    }
}

impl<'a> Loose<'a> {
    /// Reads a body that is one value and nothing else.
    ///
    /// # Errors
    ///
    /// The class and position of the first thing that cannot be read.
    pub(super) fn read(body: &'a [u8]) -> Result<Self, Malformed> {
        let mark = if body.starts_with(b"\xef\xbb\xbf") {
            3
        } else {
            0
        };
        let mut reader = Reader {
            body,
            at: mark,
            values: 0,
        };
        let value = reader.value(0)?;
        reader.skip_space();
        if reader.at < body.len() {
            return Err(reader.fault(Class::Trailing));
        }
        Ok(value)
    }

    /// The last member of that name, where this is an object that has it.
    pub(super) fn get(&self, name: &str) -> Option<&Self> {
        self.all(name).next_back()
    }

    /// Every member of that name, in order.
    pub(super) fn all(&self, name: &str) -> impl DoubleEndedIterator<Item = &Self> {
        let members = match self {
            Self::Object(members) => members.as_slice(),
            _ => &[],
        };
        members
            .iter()
            .filter(move |(key, _)| key == name)
            .map(|(_, value)| value)
    }

    /// The string, or the number as it was written.
    pub(super) fn as_written(&self) -> Option<&str> {
        match self {
            Self::Number(digits) => Some(digits),
            value => value.as_text(),
        }
    }

    /// The string, where this is one.
    pub(super) fn as_text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            _ => None,
        }
    }
}

struct Reader<'a> {
    body: &'a [u8],
    at: usize,
    values: usize,
}

impl<'a> Reader<'a> {
    fn fault(&self, class: Class) -> Malformed {
        Malformed { class, at: self.at }
    }

    fn peek(&self) -> Option<u8> {
        self.body.get(self.at).copied()
    }

    /// The fault of the byte that stands here, or of the end.
    fn unexpected(&self) -> Malformed {
        self.fault(if self.peek().is_some() {
            Class::Unexpected
        } else {
            Class::CutShort
        })
    }

    fn skip_space(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    /// Takes `byte` if it stands here.
    fn took(&mut self, byte: u8) -> bool {
        let there = self.peek() == Some(byte);
        self.at += usize::from(there);
        there
    }

    fn expect(&mut self, word: &[u8]) -> Result<(), Malformed> {
        for &byte in word {
            if !self.took(byte) {
                return Err(self.unexpected());
            }
        }
        Ok(())
    }

    fn value(&mut self, depth: usize) -> Result<Loose<'a>, Malformed> {
        self.values += 1;
        if self.values > MOST_VALUES {
            return Err(self.fault(Class::TooMany));
        }
        if depth > DEEPEST {
            return Err(self.fault(Class::TooDeep));
        }
        self.skip_space();
        match self.peek() {
            Some(b'{') => self.object(depth),
            Some(b'[') => self.list(depth),
            Some(b'"') => self.string().map(Loose::Text),
            Some(b'-' | b'0'..=b'9') => self.number().map(Loose::Number),
            Some(b't') => self.expect(b"true").map(|()| Loose::Bool(true)),
            Some(b'f') => self.expect(b"false").map(|()| Loose::Bool(false)),
            Some(b'n') => self.expect(b"null").map(|()| Loose::Null),
            _ => Err(self.unexpected()),
        }
    }

    fn object(&mut self, depth: usize) -> Result<Loose<'a>, Malformed> {
        self.at += 1;
        let mut members = Vec::new();
        loop {
            self.skip_space();
            // Also after a comma: that is the trailing one.
            if self.took(b'}') {
                return Ok(Loose::Object(members));
            }
            if self.peek() != Some(b'"') {
                return Err(self.unexpected());
            }
            let key = self.string()?;
            self.skip_space();
            if members.is_empty() && matches!(self.peek(), Some(b'}' | b',')) {
                return self.bare_string_ends(key);
            }
            self.expect(b":")?;
            members.push((key, self.value(depth + 1)?));
            self.skip_space();
            if !self.took(b',') && self.peek() != Some(b'}') {
                return Err(self.unexpected());
            }
        }
    }

    fn bare_string_ends(&mut self, text: Cow<'a, str>) -> Result<Loose<'a>, Malformed> {
        if self.took(b',') {
            self.skip_space();
        }
        self.expect(b"}").map(|()| Loose::Text(text))
    }

    fn list(&mut self, depth: usize) -> Result<Loose<'a>, Malformed> {
        self.at += 1;
        let mut items = Vec::new();
        loop {
            self.skip_space();
            if self.took(b']') {
                return Ok(Loose::List(items));
            }
            items.push(self.value(depth + 1)?);
            self.skip_space();
            if !self.took(b',') && self.peek() != Some(b']') {
                return Err(self.unexpected());
            }
        }
    }

    fn number(&mut self) -> Result<&'a str, Malformed> {
        let start = self.at;
        self.took(b'-');
        if !self.took(b'0') {
            self.digits()?;
        }
        if self.took(b'.') {
            self.digits()?;
        }
        if matches!(self.peek(), Some(b'e' | b'E')) {
            self.at += 1;
            if !self.took(b'+') {
                self.took(b'-');
            }
            self.digits()?;
        }
        // All of it is ASCII.
        std::str::from_utf8(&self.body[start..self.at]).map_err(|_| self.fault(Class::Unexpected))
    }

    fn digits(&mut self) -> Result<(), Malformed> {
        if !self.peek().is_some_and(|b| b.is_ascii_digit()) {
            return Err(self.unexpected());
        }
        while self.peek().is_some_and(|b| b.is_ascii_digit()) {
            self.at += 1;
        }
        Ok(())
    }

    fn string(&mut self) -> Result<Cow<'a, str>, Malformed> {
        self.at += 1;
        let start = self.at;
        let plain = self.until_quote_or_backslash()?;
        if self.took(b'"') {
            return Ok(utf8(&self.body[start..plain]));
        }
        let mut text = self.body[start..plain].to_vec();
        loop {
            if self.took(b'"') {
                return Ok(Cow::Owned(utf8(&text).into_owned()));
            }
            let c = self.escape()?;
            text.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
            let start = self.at;
            let end = self.until_quote_or_backslash()?;
            text.extend_from_slice(&self.body[start..end]);
        }
    }

    fn until_quote_or_backslash(&mut self) -> Result<usize, Malformed> {
        let rest = &self.body[self.at..];
        let plain = memchr2(b'"', b'\\', rest);
        self.at += plain.unwrap_or(rest.len());
        match plain {
            Some(_) => Ok(self.at),
            None => Err(self.fault(Class::CutShort)),
        }
    }

    /// The character of the escape that begins here.
    fn escape(&mut self) -> Result<char, Malformed> {
        self.at += 1;
        let c = match self.peek() {
            Some(b'"') => '"',
            Some(b'\\') => '\\',
            Some(b'/') => '/',
            Some(b'b') => '\u{8}',
            Some(b'f') => '\u{c}',
            Some(b'n') => '\n',
            Some(b'r') => '\r',
            Some(b't') => '\t',
            Some(b'u') => {
                self.at += 1;
                return self.code_point();
            }
            Some(_) => return Err(self.fault(Class::BadEscape)),
            None => return Err(self.fault(Class::CutShort)),
        };
        self.at += 1;
        Ok(c)
    }

    /// The character of one `\uXXXX`, or of two that are a surrogate pair.
    fn code_point(&mut self) -> Result<char, Malformed> {
        let first = self.four_hex()?;
        if (0xd800..0xdc00).contains(&first) && self.body[self.at..].starts_with(b"\\u") {
            let back = self.at;
            self.at += 2;
            let second = self.four_hex()?;
            if (0xdc00..0xe000).contains(&second) {
                let code = 0x1_0000 + ((first - 0xd800) << 10) + (second - 0xdc00);
                return Ok(char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER));
            }
            self.at = back;
        }
        Ok(char::from_u32(first).unwrap_or(char::REPLACEMENT_CHARACTER))
    }

    fn four_hex(&mut self) -> Result<u32, Malformed> {
        let mut code = 0;
        for _ in 0..4 {
            let Some(byte) = self.peek() else {
                return Err(self.fault(Class::CutShort));
            };
            let Some(digit) = char::from(byte).to_digit(16) else {
                return Err(self.fault(Class::BadEscape));
            };
            code = code * 16 + digit;
            self.at += 1;
        }
        Ok(code)
    }
}

/// As [`String::from_utf8_lossy`], which looks at text that is sound more slowly.
fn utf8(bytes: &[u8]) -> Cow<'_, str> {
    std::str::from_utf8(bytes).map_or_else(|_| String::from_utf8_lossy(bytes), Cow::Borrowed)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(body: &str) -> Result<Loose<'_>, Malformed> {
        Loose::read(body.as_bytes())
    }

    fn text(text: &str) -> Loose<'_> {
        Loose::Text(text.into())
    }

    #[test]
    fn what_is_tolerated() {
        for (body, value) in [
            ("{ \"P1_x\" }", text("P1_x")),
            ("{\"P1_x\",\n}", text("P1_x")),
            ("\u{feff} \"x\"\r\n", text("x")),
            ("{}", Loose::Object(vec![])),
            ("[1,]", Loose::List(vec![Loose::Number("1")])),
            (
                "{\"a\": true,}",
                Loose::Object(vec![("a".into(), Loose::Bool(true))]),
            ),
            ("\"a\nb\"", text("a\nb")),
            ("\"\\ud800x\"", text("\u{fffd}x")),
            ("\"\\ud83d\\ude00\\u0041\\/\"", text("😀A/")),
            ("\"\\ud83d\\u0041\"", text("\u{fffd}A")),
        ] {
            assert_eq!(read(body), Ok(value), "{body}");
        }
        assert_eq!(Loose::read(b"\"a\xffb\""), Ok(text("a\u{fffd}b")));
    }

    #[test]
    fn what_is_not() {
        for (body, class, at) in [
            ("", Class::CutShort, 0),
            ("  ", Class::CutShort, 2),
            ("<html>", Class::Unexpected, 0),
            ("{\"a\": 1} {\"a\": 1}", Class::Trailing, 9),
            ("{,}", Class::Unexpected, 1),
            ("[1,,2]", Class::Unexpected, 3),
            ("{\"a\" \"b\"}", Class::Unexpected, 5),
            ("{\"a\",\"b\"}", Class::Unexpected, 5),
            ("{\"a\":1,\"b\"}", Class::Unexpected, 10),
            ("{\"a\":}", Class::Unexpected, 5),
            ("{'a':1}", Class::Unexpected, 1),
            ("01", Class::Trailing, 1),
            ("1.", Class::CutShort, 2),
            ("+1", Class::Unexpected, 0),
            ("-", Class::CutShort, 1),
            ("nul", Class::CutShort, 3),
            ("nulx", Class::Unexpected, 3),
            ("\"\\x\"", Class::BadEscape, 2),
            ("\"\\u12g4\"", Class::BadEscape, 5),
        ] {
            assert_eq!(read(body), Err(Malformed { class, at }), "{body}");
        }
    }

    #[test]
    fn numbers_keep_their_digits() {
        let body = "[99999999999999999999999, -0.50, 1e+9]";
        let numbers = ["99999999999999999999999", "-0.50", "1e+9"].map(Loose::Number);
        assert_eq!(read(body), Ok(Loose::List(numbers.to_vec())));
    }

    #[test]
    fn the_last_of_two_members_counts_and_none_is_lost() {
        let value = read("{\"a\":1,\"b\":2,\"a\":3}").unwrap();
        assert_eq!(value.get("a"), Some(&Loose::Number("3")));
        assert_eq!(value.all("a").count(), 2);
        assert_eq!(value.get("c"), None);
    }

    #[test]
    fn depth_and_number_of_values_are_bounded() {
        let nested = |n: usize| format!("{}{}", "[".repeat(n), "]".repeat(n));
        assert!(read(&nested(DEEPEST)).is_ok());
        assert_eq!(read(&nested(1 << 20)).unwrap_err().class, Class::TooDeep);
        let many = format!("[{}]", "1,".repeat(1 << 19));
        assert_eq!(read(&many).unwrap_err().class, Class::TooMany);
    }

    #[test]
    fn an_error_does_not_show_the_body() {
        let fault = read("{\"result\": \"s3cr3t\" oops").unwrap_err();
        assert_eq!(fault.to_string(), "not JSON at byte 20");
        assert!(!format!("{fault:?}").contains("s3cr3t"));
    }

    fn json() -> impl Strategy<Value = serde_json::Value> {
        let leaf = prop_oneof![
            Just(serde_json::Value::Null),
            any::<bool>().prop_map(Into::into),
            any::<i64>().prop_map(Into::into),
            any::<String>().prop_map(Into::into),
        ];
        leaf.prop_recursive(4, 32, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Into::into),
                prop::collection::btree_map(any::<String>(), inner, 0..4)
                    .prop_map(|members| serde_json::Value::Object(members.into_iter().collect())),
            ]
        })
    }

    /// What a reader of strict JSON makes of the same value.
    fn strict(value: &Loose<'_>) -> serde_json::Value {
        match value {
            Loose::Null => serde_json::Value::Null,
            Loose::Bool(b) => (*b).into(),
            Loose::Number(digits) => serde_json::from_str(digits).unwrap(),
            Loose::Text(text) => text.as_ref().into(),
            Loose::List(items) => items.iter().map(strict).collect(),
            Loose::Object(members) => members
                .iter()
                .map(|(key, value)| (key.to_string(), strict(value)))
                .collect(),
        }
    }

    proptest! {
        #[test]
        fn strict_json_is_read_as_a_strict_reader_reads_it(value in json()) {
            for body in [value.to_string(), format!("{value:#}")] {
                prop_assert_eq!(strict(&read(&body).unwrap()), value.clone());
            }
        }

        #[test]
        fn a_cut_or_doubled_body_is_no_answer(value in json(), cut in any::<prop::sample::Index>()) {
            let body = format!("{{\"value\":{value}}}");
            prop_assert!(Loose::read(&body.as_bytes()[..cut.index(body.len())]).is_err());
            let doubled = body.repeat(2);
            prop_assert!(read(&doubled).is_err());
        }

        #[test]
        fn any_bytes_are_read_without_panic(body in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = Loose::read(&body);
        }

        #[test]
        fn anything_near_json_is_read_without_panic(body in "[\\[\\]{}\",:\\\\u0-9a-fdD tnrel+-]{0,60}") {
            let _ = read(&body);
        }
    }
}
