//! Identities: ours of a request, and the service's of a job.

use std::fmt;

use super::has_control;

/// Longest id of a request, in bytes.
const LONGEST_REQUEST_ID: usize = 512;
/// Longest remote id, in bytes.
const LONGEST_REMOTE_ID: usize = 256;

/// What its owner calls a request: unique within a file or a queue.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RequestId(Box<str>);

impl RequestId {
    /// Takes a non-empty id of at most 512 bytes without control characters.
    #[must_use]
    pub fn try_new(text: &str) -> Option<Self> {
        Self::accepts(text).then(|| Self(text.into()))
    }

    /// Whether a text can be an id.
    #[must_use]
    pub fn accepts(text: &str) -> bool {
        !text.is_empty() && text.len() <= LONGEST_REQUEST_ID && !has_control(text)
    }

    /// The id as its owner wrote it.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The service's id of a job, kept as it came so that it goes back as it came.
///
/// Services of this kind send an integer or a string. A number is kept by its digits: it may be
/// larger than any machine integer.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum RemoteId {
    /// A JSON number that is its shortest decimal form: what services send.
    Small(u64),
    /// Any other JSON number, by its digits.
    Number(Box<str>),
    /// A JSON string, unescaped.
    Text(Box<str>),
}

impl RemoteId {
    /// A usable id from the digits of a JSON number: a positive integer of at most 256 digits.
    #[must_use]
    pub fn number(digits: &str) -> Option<Self> {
        let good = digits.len() <= LONGEST_REMOTE_ID
            && digits.bytes().all(|b| b.is_ascii_digit())
            && digits.bytes().any(|b| b != b'0');
        good.then(|| match digits.parse() {
            Ok(number) if !digits.starts_with('0') => Self::Small(number),
            _ => Self::Number(digits.into()),
        })
    }

    /// A usable id from a JSON string: not blank, at most 256 bytes.
    #[must_use]
    pub fn text(text: &str) -> Option<Self> {
        let good = !text.trim().is_empty() && text.len() <= LONGEST_REMOTE_ID;
        good.then(|| Self::Text(text.into()))
    }

    /// The id as a JSON value, the form it is sent and recorded in.
    #[must_use]
    pub fn to_json(&self) -> String {
        match self {
            Self::Small(number) => number.to_string(),
            Self::Number(digits) => digits.to_string(),
            Self::Text(text) => serde_json::Value::from(&**text).to_string(),
        }
    }

    /// Reads back what [`to_json`](Self::to_json) wrote.
    #[must_use]
    pub fn from_json(json: &str) -> Option<Self> {
        if json.starts_with('"') {
            serde_json::from_str::<String>(json)
                .ok()
                .and_then(|t| Self::text(&t))
        } else {
            Self::number(json)
        }
    }
}

/// The bare id, for people.
impl fmt::Display for RemoteId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Small(number) => number.fmt(f),
            Self::Number(text) | Self::Text(text) => f.write_str(text),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_remote_id_goes_back_as_it_came() {
        for json in [
            "123456",
            "18446744073709551615",
            "18446744073709551616",
            "007",
            "\"49f9f60a-c809\"",
            "99999999999999999999999",
            "\"123\"",
            "\"a\\\"b\"",
        ] {
            assert_eq!(
                RemoteId::from_json(json).map(|id| id.to_json()).as_deref(),
                Some(json)
            );
        }
    }

    #[test]
    fn unusable_remote_ids() {
        for json in ["0", "-1", "1.5", "\"\"", "\"  \"", "null", "000"] {
            assert_eq!(RemoteId::from_json(json), None, "{json}");
        }
    }
}
