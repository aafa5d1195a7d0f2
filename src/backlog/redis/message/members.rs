//! The top level of a JSON object, member by member, each value as its own text.
//!
//! What must stay true: whatever the bytes, nothing panics, nothing recurses, and memory is bounded by
//! the text and [`MOST_MEMBERS`]. A text that turns out to be no JSON half-way still gives the members
//! before that place, so that the answer to it can be addressed.

use std::fmt;

use serde::de::{Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::error::Category;
use serde_json::value::RawValue;

/// Most members of a message: more than any kind has columns and aliases that could be meant.
const MOST_MEMBERS: usize = 128;
/// Most levels of lists and objects, the message itself among them.
pub(super) const DEEPEST: usize = 32;

/// The members of an object, as far as they could be read, and what is wrong with it.
#[derive(Debug, Default)]
pub(super) struct Members<'a> {
    list: Vec<(String, &'a RawValue)>,
    /// A name that stands twice.
    twice: Option<String>,
    /// Why the text is no object that is taken.
    pub(super) fault: Option<String>,
}

impl<'a> Members<'a> {
    /// Reads the members of the object that `text` should be.
    pub(super) fn read(text: &'a str) -> Self {
        let mut members = Self::default();
        let mut json = serde_json::Deserializer::from_str(text);
        let read = json
            .deserialize_map(Collect(&mut members))
            .and_then(|()| json.end());
        let fault = match read {
            Err(e) if e.classify() == Category::Data => Some("must be a JSON object".to_owned()),
            // Of the syntax: a fixed word and a place, never a value.
            Err(e) => Some(format!("is not JSON: {e}")),
            Ok(()) if depth(text) > DEEPEST => {
                Some(format!("is nested deeper than {DEEPEST} levels"))
            }
            Ok(()) => None,
        };
        members.fault = fault.or(members.fault);
        members
    }

    /// The name that stands twice, if one does.
    pub(super) fn twice(&self) -> Option<&str> {
        self.twice.as_deref()
    }

    /// The names, in order.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> + Clone {
        self.list.iter().map(|(name, _)| name.as_str())
    }

    /// The value of the member at a place of [`names`](Self::names).
    pub(super) fn value(&self, n: usize) -> Option<&'a RawValue> {
        self.list.get(n).map(|(_, value)| *value)
    }

    /// The value of the member of that name; `None` too where it stands twice.
    pub(super) fn get(&self, name: &str) -> Option<&'a RawValue> {
        let mut found = self.list.iter().filter(|(n, _)| n == name);
        match (found.next(), found.next()) {
            (Some((_, value)), None) => Some(*value),
            _ => None,
        }
    }
}

/// A JSON string, unescaped; `None` for any other value, and for one with a lone surrogate.
pub(super) fn string(value: &RawValue) -> Option<String> {
    serde_json::from_str(value.get()).ok()
}

/// Whether it is `null`.
pub(super) fn is_null(value: &RawValue) -> bool {
    value.get() == "null"
}

/// How deep lists and objects are nested in a JSON text.
pub(super) fn depth(text: &str) -> usize {
    let (mut depth, mut deepest) = (0_usize, 0);
    let (mut in_string, mut escaped) = (false, false);
    for byte in text.bytes() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_string => escaped = true,
            b'"' => in_string = !in_string,
            b'{' | b'[' if !in_string => {
                depth += 1;
                deepest = deepest.max(depth);
            }
            b'}' | b']' if !in_string => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    deepest
}

/// Collects members into what outlives a failure.
struct Collect<'m, 'a>(&'m mut Members<'a>);

impl<'a> Visitor<'a> for Collect<'_, 'a> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<M: MapAccess<'a>>(self, mut map: M) -> Result<(), M::Error> {
        let members = self.0;
        while let Some(name) = map.next_key::<String>()? {
            if members.list.len() == MOST_MEMBERS {
                map.next_value::<IgnoredAny>()?;
                members.fault = Some(format!("has more than {MOST_MEMBERS} members"));
                continue;
            }
            let value = map.next_value::<&RawValue>()?;
            if members.twice.is_none() && members.names().any(|n| n == name) {
                members.twice = Some(name.clone());
            }
            members.list.push((name, value));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_stands_before_a_fault_is_read() {
        let members = Members::read(r#"{"a":1,"b":[2,"]"],"c":"#);
        assert_eq!(members.names().collect::<Vec<_>>(), ["a", "b"]);
        assert_eq!(
            members.fault.as_deref(),
            Some("is not JSON: EOF while parsing a value at line 1 column 23")
        );
    }

    #[test]
    fn a_fault_never_quotes_a_value() {
        for text in [r#""hunter2""#, r#"["hunter2"]"#, "4711", "true", "null"] {
            let fault = Members::read(text).fault.unwrap();
            assert_eq!(fault, "must be a JSON object", "{text}");
        }
        for text in [
            "hunter2",
            r#"{"a":hunter2}"#,
            r#"{"a":"hunter2"#,
            r#"{"a":1} hunter2"#,
        ] {
            let fault = Members::read(text).fault.unwrap();
            assert!(fault.starts_with("is not JSON: "), "{fault}");
            assert!(!fault.contains("hunter2"), "{fault}");
        }
    }

    #[test]
    fn a_name_that_stands_twice_has_no_value() {
        let members = Members::read(r#"{"id":1,"\u0069d":2,"x":3}"#);
        assert_eq!(members.twice(), Some("id"));
        assert!(members.get("id").is_none() && members.get("x").is_some());
    }

    #[test]
    fn brackets_within_strings_are_no_levels() {
        assert_eq!(depth(r#"{"a":["[[\"[",{}]}"#), 3);
        let nested = |n: usize| format!(r#"{{"meta":{}{}}}"#, "[".repeat(n), "]".repeat(n));
        assert_eq!(Members::read(&nested(31)).fault, None);
        assert!(
            Members::read(&nested(32))
                .fault
                .unwrap()
                .contains("32 levels")
        );
        // Far beyond what a recursive reader survives.
        assert!(
            Members::read(&nested(30_000))
                .fault
                .unwrap()
                .contains("32 levels")
        );
    }
}
