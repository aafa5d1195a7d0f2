//! Requests: a kind and its values, checked.

use std::borrow::Cow;
use std::sync::Arc;

use super::fields::check_fields;
use super::{Allowlist, Checked, ErrorClass, FieldsHash, FieldsHasher, Kind, RequestId, SiteError};

/// A request that may be sent: its values fit its kind and its site is authorised.
///
/// Made by [`Request::validate`] alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    id: RequestId,
    kind: Arc<Kind>,
    /// One per column of the kind, `None` where an optional one is empty.
    values: Vec<Option<Value>>,
}

/// A value of a field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// Text, or a URL in the form that was checked.
    Text(String),
    /// A truth value.
    Bool(bool),
}

impl From<Checked<'_>> for Value {
    fn from(checked: Checked<'_>) -> Self {
        match checked {
            Checked::Text(text) => Self::Text(text.into_owned()),
            Checked::Bool(yes) => Self::Bool(yes),
        }
    }
}

/// Why a request is not acceptable.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
pub enum Problem {
    /// A required field is missing or empty.
    #[error("`{column}` is empty; {kind} needs it")]
    Missing {
        /// The column's name.
        column: String,
        /// The kind's name.
        kind: String,
    },
    /// A truth value is none.
    #[error("`{column}` must be true or false")]
    NotBool {
        /// The column's name.
        column: String,
    },
    /// A text is too long or holds control characters.
    #[error("`{column}` {why}")]
    BadText {
        /// The column's name.
        column: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// The URL is bad, or its site is not authorised.
    #[error("`{column}`: {source}")]
    Site {
        /// The column's name.
        column: String,
        /// What is wrong.
        source: SiteError,
    },
    /// No such kind.
    #[error("unknown job kind `{name}`; known are {known}")]
    UnknownKind {
        /// The name given.
        name: String,
        /// The names of those there are.
        known: String,
    },
    /// The kind does not speak the protocol of the run.
    #[error("kind `{kind}` ({file}) has no [protocol.{protocol}]: it cannot be sent by {protocol}")]
    NotSpoken {
        /// The kind's name.
        kind: String,
        /// The kind's file.
        file: String,
        /// The protocol's name.
        protocol: String,
    },
    /// Neither a `job` column nor `--job`.
    #[error("no job kind; fill the `job` column or give --job KIND")]
    NoKind,
    /// The id is empty, too long or holds control characters.
    #[error("`id` must have 1 to 512 bytes and no control characters")]
    BadId,
    /// The id stands twice.
    #[error("id `{id}` stands already in line {first_line}")]
    DuplicateId {
        /// The id, escaped.
        id: String,
        /// The line where it stood first; 0 where that is not known.
        first_line: u64,
    },
    /// The row cannot be read as a row at all.
    #[error("{0}")]
    Malformed(String),
}

impl Problem {
    /// The class that a rejected outcome gets.
    #[must_use]
    pub fn class(&self) -> ErrorClass {
        if self.is_authorization() {
            ErrorClass::SiteNotAuthorized
        } else {
            ErrorClass::InvalidRequest
        }
    }

    /// Whether the request is well made and only its site is not listed.
    #[must_use]
    pub fn is_authorization(&self) -> bool {
        matches!(
            self,
            Self::Site {
                source: SiteError::NotListed { .. } | SiteError::KeyNotListed { .. },
                ..
            }
        )
    }

    /// The column at fault, where it is one.
    #[must_use]
    pub fn column(&self) -> Option<&str> {
        match self {
            Self::Missing { column, .. }
            | Self::NotBool { column }
            | Self::BadText { column, .. }
            | Self::Site { column, .. } => Some(column),
            Self::UnknownKind { .. } | Self::NotSpoken { .. } | Self::NoKind => Some("job"),
            Self::BadId | Self::DuplicateId { .. } => Some("id"),
            Self::Malformed(_) => None,
        }
    }
}

impl Request {
    /// Checks the raw values of a request. `field(n)` gives the text of the kind's column `n`,
    /// `None` where the input has no such column.
    ///
    /// # Errors
    ///
    /// The first [`Problem`], in the order of the kind's columns; an unlisted site comes after all
    /// others, so that it is reported only for rows that are otherwise good.
    pub fn validate<'a>(
        id: RequestId,
        kind: &Arc<Kind>,
        field: impl Fn(usize) -> Option<&'a str>,
        sites: &Allowlist,
    ) -> Result<Self, Problem> {
        Self::validate_by(id, kind, field, |url, site_key| {
            sites.authorize(url, site_key).map(Cow::Owned)
        })
    }

    /// As [`validate`](Self::validate), where `authorize` judges the site, such as by a [`Gate`](super::Gate).
    ///
    /// # Errors
    ///
    /// As [`validate`](Self::validate).
    pub fn validate_by<'a>(
        id: RequestId,
        kind: &Arc<Kind>,
        field: impl Fn(usize) -> Option<&'a str>,
        authorize: impl FnMut(&'a str, Option<&str>) -> Result<Cow<'a, str>, SiteError>,
    ) -> Result<Self, Problem> {
        let mut values = vec![None; kind.columns.len()];
        check_fields(kind, field, authorize, |n, value| {
            values[n] = Some(Value::from(value));
        })?;
        Ok(Self {
            id,
            kind: Arc::clone(kind),
            values,
        })
    }

    /// What its owner calls it.
    #[must_use]
    pub fn id(&self) -> &RequestId {
        &self.id
    }

    /// The same request under another id, for inputs that have no ids of their own.
    #[must_use]
    pub fn with_id(self, id: RequestId) -> Self {
        Self { id, ..self }
    }

    /// Its kind.
    #[must_use]
    pub fn kind(&self) -> &Arc<Kind> {
        &self.kind
    }

    /// The values, one per column of the kind.
    #[must_use]
    pub fn values(&self) -> &[Option<Value>] {
        &self.values
    }

    /// The hash over kind and values.
    #[must_use]
    pub fn fields_hash(&self) -> FieldsHash {
        let mut hasher = FieldsHasher::default();
        hasher.begin(&self.kind);
        for (column, value) in self.kind.columns.iter().zip(&self.values) {
            match value {
                Some(Value::Text(text)) => hasher.text(column, text),
                Some(Value::Bool(yes)) => hasher.bool(column, *yes),
                None => {}
            }
        }
        hasher.finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::job::{Kinds, SiteRule};

    fn validate(fields: &[(&str, &str)], sites: &[&str]) -> Result<Request, Problem> {
        let kind = Arc::clone(Kinds::built_in().get("recaptcha-v2").unwrap());
        let rules = sites
            .iter()
            .map(|s| SiteRule::try_new(s, vec![]).unwrap())
            .collect();
        let columns = kind.columns.clone();
        Request::validate(
            RequestId::try_new("r1").unwrap(),
            &kind,
            |n| {
                fields
                    .iter()
                    .find(|(name, _)| columns[n].answers_to(name))
                    .map(|(_, v)| *v)
            },
            &Allowlist::new(rules),
        )
    }

    #[test]
    fn a_good_request() {
        let fields = [
            ("url", "https://a.example.com"),
            ("sitekey", " k "),
            ("invisible", "TRUE"),
        ];
        let request = validate(&fields, &["a.example.com"]).unwrap();
        assert_eq!(
            request.values(),
            [
                Some(Value::Text("https://a.example.com/".into())),
                Some(Value::Text("k".into())),
                Some(Value::Bool(true)),
            ]
        );
    }

    #[test]
    fn a_malformed_row_is_not_called_unauthorised() {
        let fields = [("url", "https://a.example.com"), ("sitekey", "")];
        assert!(matches!(
            validate(&fields, &[]),
            Err(Problem::Missing { .. })
        ));
        let fields = [("url", "https://a.example.com"), ("sitekey", "k")];
        assert!(validate(&fields, &[]).unwrap_err().is_authorization());
    }

    #[test]
    fn the_hash_sees_values_and_nothing_else() {
        let sites = ["a.example.com"];
        let hash = |f: &[(&str, &str)]| validate(f, &sites).unwrap().fields_hash();
        let one = hash(&[("url", "https://a.example.com"), ("sitekey", "k")]);
        assert_eq!(
            one,
            hash(&[
                ("website_key", "k "),
                ("website_url", "HTTPS://A.example.com/")
            ])
        );
        assert_ne!(
            one,
            hash(&[("url", "https://a.example.com/x"), ("sitekey", "k")])
        );
        assert_ne!(
            one,
            hash(&[
                ("url", "https://a.example.com"),
                ("sitekey", "k"),
                ("invisible", "no")
            ])
        );
    }
}
