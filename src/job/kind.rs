//! Kinds of job, as data: one TOML file each, no Rust.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Deserialize;

use super::Micros;

/// A kind of job: what it needs, how it is sent, how it is polled, what it costs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kind {
    /// Its name, as in a `job` column.
    pub name: String,
    /// One line for people.
    pub description: String,
    /// The file that it was read from.
    pub file: String,
    /// The input columns, in the file's order.
    pub columns: Vec<Column>,
    /// How it is spoken of in each protocol, by the protocol's name (`v1`).
    pub protocols: BTreeMap<String, ProtocolKind>,
    /// What a solved job costs; `None` where its file does not say. A run asks the service first.
    pub price: Option<Micros>,
    /// How long a token is accepted after it was produced.
    pub token_lifetime: Duration,
    /// From the create's answer to the first poll.
    pub first_after: Duration,
    /// From one poll's answer to the next poll.
    pub interval: Duration,
    /// From the create's answer to giving up.
    pub timeout: Duration,
    /// Most jobs created for a request because solves failed.
    pub attempts: u32,
}

/// What one protocol calls a kind.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProtocolKind {
    /// The service's name or number of the kind: `type_job_id` in v1, `type` in v2. A file may use
    /// either word.
    #[serde(rename = "type", alias = "type_job_id")]
    pub wire_type: String,
    /// Members of an object `result` (v1) or `solution` (v2) that may hold the token; the first one
    /// found wins.
    #[serde(default)]
    pub token: Vec<String>,
}

/// An input column of a kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Column {
    /// Its name in files.
    pub name: String,
    /// Other names that it is found by.
    pub aliases: Vec<String>,
    /// What may stand in it.
    pub field_type: FieldType,
    /// What it means to us.
    pub role: Option<Role>,
    /// Whether it must be there and not be empty.
    pub required: bool,
    /// Its name on the wire, by the protocol's name.
    pub wire: BTreeMap<String, String>,
}

/// Where a column stands among the names of an input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// The first name that is the column's.
    pub first: Option<usize>,
    /// Another one; an input with two is ambiguous.
    pub second: Option<usize>,
}

/// The type of a column.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FieldType {
    /// Any text without control characters.
    Text,
    /// An http(s) URL. Its host must be on the allowlist.
    Url,
    /// `true` or `false` (also `1`/`0`, `yes`/`no`).
    Bool,
}

/// A column that the allowlist looks at beside the URLs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// The site key, which an allowlist entry can pin.
    SiteKey,
}

impl Kind {
    /// The column of that name or alias.
    #[must_use]
    pub fn column(&self, name: &str) -> Option<usize> {
        self.columns.iter().position(|c| c.answers_to(name))
    }

    /// Where each of its columns stands among the names of an input.
    #[must_use]
    pub fn places<'a>(&self, names: &(impl Iterator<Item = &'a str> + Clone)) -> Vec<Place> {
        let place = |column: &Column| {
            let mut found = names.clone().enumerate();
            let mut next = || found.find(|(_, n)| column.answers_to(n)).map(|(n, _)| n);
            Place {
                first: next(),
                second: next(),
            }
        };
        self.columns.iter().map(place).collect()
    }

    /// What to say of a name that stands beside `other`, where both are its column `n`.
    #[must_use]
    pub fn means_the_same(&self, n: usize, other: &str) -> String {
        let column = self.columns.get(n).map_or("", |c| c.name.as_str());
        format!(
            "stands beside `{other}`, and both are {}'s `{column}`; leave one out",
            self.name
        )
    }

    /// What is set aside for a job of it: its price, and nothing where nobody says one.
    #[must_use]
    pub fn reserve(&self) -> Micros {
        self.price.unwrap_or_default()
    }

    /// Whether jobs of it can be created in `protocol`: it has a section for it, and each column a
    /// name.
    #[must_use]
    pub fn speaks(&self, protocol: &str) -> bool {
        self.protocols.contains_key(protocol)
            && self
                .columns
                .iter()
                .all(|column| column.wire.contains_key(protocol))
    }
}

impl Column {
    /// Whether a header of that name is this column.
    #[must_use]
    pub fn answers_to(&self, header: &str) -> bool {
        self.name == header || self.aliases.iter().any(|a| a == header)
    }
}
