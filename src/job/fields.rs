//! The fields of a request: whether they fit its kind, and what makes two requests the same.
//!
//! What must stay true: there is one judgement, [`check_fields`], for requests that are built and for rows that are
//! only looked at; journals keep hashes, so that the same values have the same one in every version.

use std::borrow::Cow;

use super::{Column, FieldType, Kind, Problem, Role, SiteError, has_control};

/// Longest text in a field, in bytes.
const LONGEST_TEXT: usize = 4096;

/// A value that was found good. Borrowed where it is sent as it stood.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Checked<'a> {
    /// Text, or a URL in the form that was checked.
    Text(Cow<'a, str>),
    /// A truth value.
    Bool(bool),
}

/// What makes two requests the same: a hash over the kind's name and the values of its fields,
/// as they are sent. It does not depend on the order of columns, aliases, or any other column.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct FieldsHash(pub [u8; 16]);

/// Makes hashes of fields, one request after the other.
#[derive(Clone, Debug, Default)]
pub struct FieldsHasher {
    /// What is hashed. As long as the values, which are capped.
    bytes: Vec<u8>,
}

impl FieldsHasher {
    /// Begins a request of this kind.
    pub fn begin(&mut self, kind: &Kind) {
        self.bytes.clear();
        self.part(b'k', kind.name.as_bytes());
    }

    /// Takes in a value. The order of the kind's columns must be kept.
    pub fn take(&mut self, column: &Column, value: &Checked<'_>) {
        match value {
            Checked::Text(text) => self.text(column, text),
            Checked::Bool(yes) => self.bool(column, *yes),
        }
    }

    /// Takes in a text. The order of the kind's columns must be kept.
    pub fn text(&mut self, column: &Column, text: &str) {
        self.part(b'c', column.name.as_bytes());
        self.part(b't', text.as_bytes());
    }

    /// Takes in a truth value. The order of the kind's columns must be kept.
    pub fn bool(&mut self, column: &Column, yes: bool) {
        self.part(b'c', column.name.as_bytes());
        self.part(b'b', &[u8::from(yes)]);
    }

    /// The hash.
    #[must_use]
    pub fn finish(&self) -> FieldsHash {
        let mut hash = [0; 16];
        hash.copy_from_slice(&blake3::hash(&self.bytes).as_bytes()[..16]);
        FieldsHash(hash)
    }

    fn part(&mut self, tag: u8, bytes: &[u8]) {
        self.bytes.push(tag);
        self.bytes
            .extend_from_slice(&(bytes.len() as u64).to_le_bytes());
        self.bytes.extend_from_slice(bytes);
    }
}

/// Checks the raw values of a request. `field(n)` gives the text of the kind's column `n`, `None` where the input
/// has no such column; `authorize` judges a URL, with the site key. Good values that are not empty go to `take`,
/// with their column's number; they count only if there is no problem in the end.
///
/// # Errors
///
/// The first [`Problem`], in the order of the kind's columns; an unlisted site comes after all others, so that it
/// is reported only for rows that are otherwise good.
pub fn check_fields<'a>(
    kind: &Kind,
    field: impl Fn(usize) -> Option<&'a str>,
    mut authorize: impl FnMut(&'a str, Option<&str>) -> Result<Cow<'a, str>, SiteError>,
    mut take: impl FnMut(usize, Checked<'a>),
) -> Result<(), Problem> {
    let mut not_listed = None;
    let site_key = kind
        .columns
        .iter()
        .position(|c| c.role == Some(Role::SiteKey))
        .and_then(&field)
        .map(str::trim);
    for (n, column) in kind.columns.iter().enumerate() {
        let name = || column.name.clone();
        let text = field(n).unwrap_or_default();
        let trimmed = text.trim();
        if trimmed.is_empty() {
            if column.required {
                return Err(Problem::Missing {
                    column: name(),
                    kind: kind.name.clone(),
                });
            }
            continue;
        }
        let value = match column.field_type {
            FieldType::Text => Checked::Text(Cow::Borrowed(checked_text(trimmed, &column.name)?)),
            FieldType::Bool => Checked::Bool(
                parse_bool(trimmed).ok_or_else(|| Problem::NotBool { column: name() })?,
            ),
            FieldType::Url => match authorize(text, site_key) {
                Ok(url) => Checked::Text(url),
                Err(source) => {
                    let problem = Problem::Site {
                        column: name(),
                        source,
                    };
                    if !problem.is_authorization() {
                        return Err(problem);
                    }
                    not_listed.get_or_insert(problem);
                    continue;
                }
            },
        };
        take(n, value);
    }
    not_listed.map_or(Ok(()), Err)
}

fn checked_text<'a>(text: &'a str, column: &str) -> Result<&'a str, Problem> {
    let bad = |why| Problem::BadText {
        column: column.to_owned(),
        why,
    };
    if text.len() > LONGEST_TEXT {
        return Err(bad("is longer than 4096 bytes"));
    }
    if has_control(text) {
        return Err(bad("contains a control character"));
    }
    Ok(text)
}

fn parse_bool(text: &str) -> Option<bool> {
    let is_any_of = |words: [&str; 3]| words.iter().any(|word| text.eq_ignore_ascii_case(word));
    if is_any_of(["true", "1", "yes"]) {
        Some(true)
    } else {
        is_any_of(["false", "0", "no"]).then_some(false)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::job::Kinds;

    #[test]
    fn hashes_are_those_that_journals_have() {
        let kinds = Kinds::built_in();
        let kind = kinds.get("hcaptcha").unwrap();
        let mut hasher = FieldsHasher::default();
        for _ in 0..2 {
            hasher.begin(kind);
            let url = "https://checkout.example.com/support/tickets/new/433";
            hasher.text(&kind.columns[0], url);
            hasher.text(&kind.columns[1], "10000000-ffff-ffff-ffff-000000000001");
            let hash = hasher.finish().0;
            assert_eq!(
                u128::from_be_bytes(hash),
                0x09fa_05da_5e03_3ff9_2d58_19d0_eb2c_0743
            );
        }
        let kind = kinds.get("recaptcha-v2").unwrap();
        let hash = |yes| {
            let mut hasher = FieldsHasher::default();
            hasher.begin(kind);
            hasher.bool(&kind.columns[2], yes);
            hasher.finish()
        };
        assert_ne!(hash(true), hash(false));
    }

    #[test]
    fn truth_values() {
        for (text, value) in [
            ("TRUE", Some(true)),
            ("yes", Some(true)),
            ("1", Some(true)),
            ("No", Some(false)),
            ("0", Some(false)),
            ("false", Some(false)),
            ("ja", None),
            ("ＴＲＵＥ", None),
        ] {
            assert_eq!(parse_bool(text), value, "{text}");
        }
    }
}
