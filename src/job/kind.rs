//! Kinds of job, as data: one TOML file each, no Rust.
//!
//! The kinds in `jobs/` are built into the binary. A folder of the user's adds to them or
//! replaces them by name.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;
use toml::Spanned;

use super::outcome::RESULT_COLUMNS;
use super::{Micros, Problem, TomlFault, parse_toml, quoted};

/// The files built in: name and text.
const BUILT_IN: [(&str, &str); 2] = [
    (
        "jobs/hcaptcha.toml",
        include_str!("../../jobs/hcaptcha.toml"),
    ),
    (
        "jobs/recaptcha-v2.toml",
        include_str!("../../jobs/recaptcha-v2.toml"),
    ),
];

/// Most columns of a kind. Bounds the memory of a request.
const MOST_COLUMNS: usize = 64;

/// Names that mean something to us in a file's header or in a message.
const OWN_NAMES: [&str; 5] = ["id", "job", "deadline", "reply_to", "meta"];

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

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct KindFile {
    name: Spanned<String>,
    description: String,
    price: Option<Spanned<String>>,
    token_lifetime: Spanned<String>,
    first_after: Spanned<String>,
    interval: Spanned<String>,
    timeout: Spanned<String>,
    attempts: Spanned<u32>,
    protocol: Spanned<BTreeMap<String, ProtocolKind>>,
    column: Vec<Spanned<ColumnTable>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ColumnTable {
    name: String,
    #[serde(default)]
    aliases: Vec<String>,
    #[serde(rename = "type")]
    field_type: FieldType,
    role: Option<Role>,
    #[serde(default)]
    required: bool,
    wire: BTreeMap<String, String>,
}

impl Kind {
    /// Reads a kind from the text of its file.
    ///
    /// # Errors
    ///
    /// Names file, line, column and key of the first thing that is wrong.
    pub fn from_toml(file: &str, text: &str) -> Result<Self, TomlFault> {
        let raw: KindFile = parse_toml(file, text)?;
        let fault = |span: Range<usize>, message: String| TomlFault::at(file, text, span, message);
        let duration =
            |key: &str, value: &Spanned<String>, least: Duration| match humantime::parse_duration(
                value.get_ref(),
            ) {
                Ok(d) if d >= least && d <= LONGEST_TIME => Ok(d),
                Ok(_) => Err(fault(
                    value.span(),
                    format!(
                        "{key}: must lie between {} and 24h",
                        humantime::format_duration(least)
                    ),
                )),
                Err(e) => Err(fault(
                    value.span(),
                    format!("{key}: {e}; write it like \"90s\" or \"2m\""),
                )),
            };
        let name = raw.name.get_ref();
        let name_is_good = !name.is_empty()
            && name.len() <= 64
            && name
                .bytes()
                .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'_');
        if !name_is_good {
            let message = "name: use a-z, 0-9, - and _, at most 64 characters".to_owned();
            return Err(fault(raw.name.span(), message));
        }
        let price = match &raw.price {
            Some(text) => {
                let price = text.get_ref().parse::<Micros>();
                Some(price.map_err(|e| fault(text.span(), format!("price: {e}")))?)
            }
            None => None,
        };
        if !(1..=100).contains(raw.attempts.get_ref()) {
            return Err(fault(
                raw.attempts.span(),
                "attempts: must lie between 1 and 100".to_owned(),
            ));
        }
        if raw.protocol.get_ref().is_empty() {
            let message = "protocol: at least one is needed, such as [protocol.v1]".to_owned();
            return Err(fault(raw.protocol.span(), message));
        }
        let columns = columns(&raw, &fault)?;
        Ok(Self {
            name: name.clone(),
            description: raw.description,
            file: file.to_owned(),
            columns,
            price,
            token_lifetime: duration(
                "token_lifetime",
                &raw.token_lifetime,
                Duration::from_secs(1),
            )?,
            first_after: duration("first_after", &raw.first_after, Duration::ZERO)?,
            interval: duration("interval", &raw.interval, Duration::from_millis(1))?,
            timeout: duration("timeout", &raw.timeout, Duration::from_secs(1))?,
            attempts: *raw.attempts.get_ref(),
            protocols: raw.protocol.into_inner(),
        })
    }

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

/// Longest time in a kind's file.
const LONGEST_TIME: Duration = Duration::from_secs(24 * 60 * 60);

fn columns(
    raw: &KindFile,
    fault: &impl Fn(Range<usize>, String) -> TomlFault,
) -> Result<Vec<Column>, TomlFault> {
    let mut columns: Vec<Column> = Vec::new();
    for table in &raw.column {
        let span = table.span();
        let table = table.get_ref();
        if table.name.trim().is_empty() {
            return Err(fault(span, "name: a column needs one".to_owned()));
        }
        for name in std::iter::once(&table.name).chain(&table.aliases) {
            if OWN_NAMES.contains(&name.as_str()) || RESULT_COLUMNS.contains(&name.as_str()) {
                return Err(fault(
                    span,
                    format!("name: `{name}` is a column of pollwheel's own"),
                ));
            }
            if columns.iter().any(|c| c.answers_to(name)) {
                return Err(fault(span, format!("name: `{name}` stands twice")));
            }
        }
        for protocol in raw.protocol.get_ref().keys() {
            if !table.wire.contains_key(protocol) {
                let message = format!("wire: `{}` has no name for protocol {protocol}", table.name);
                return Err(fault(span, message));
            }
        }
        if table.role == Some(Role::SiteKey) && table.field_type != FieldType::Text {
            return Err(fault(span, "role: a site_key is of type text".to_owned()));
        }
        columns.push(Column {
            name: table.name.clone(),
            aliases: table.aliases.clone(),
            field_type: table.field_type,
            role: table.role,
            required: table.required,
            wire: table.wire.clone(),
        });
    }
    let whole = raw.name.span();
    if columns.len() > MOST_COLUMNS {
        return Err(fault(whole, format!("column: at most {MOST_COLUMNS}")));
    }
    if !columns
        .iter()
        .any(|c| c.field_type == FieldType::Url && c.required)
    {
        let message =
            "column: at least one of type url must be required, or no site could be checked";
        return Err(fault(whole, message.to_owned()));
    }
    Ok(columns)
}

impl Column {
    /// Whether a header of that name is this column.
    #[must_use]
    pub fn answers_to(&self, header: &str) -> bool {
        self.name == header || self.aliases.iter().any(|a| a == header)
    }
}

/// All kinds known to a run, by name.
#[derive(Clone, Debug)]
pub struct Kinds {
    by_name: BTreeMap<String, Arc<Kind>>,
    /// The protocol of the run; `None` where any will do.
    protocol: Option<String>,
}

impl Kinds {
    /// The kinds built in.
    ///
    /// # Panics
    ///
    /// Where a file built in is wrong, which a test of this module rules out.
    #[must_use]
    pub fn built_in() -> Self {
        let kinds = BUILT_IN
            .iter()
            .map(|(file, text)| match Kind::from_toml(file, text) {
                Ok(kind) => (kind.name.clone(), Arc::new(kind)),
                Err(fault) => panic!("a kind that is built in is wrong: {fault}"),
            });
        Self {
            by_name: kinds.collect(),
            protocol: None,
        }
    }

    /// Adds a kind, or replaces the one of its name.
    pub fn insert(&mut self, kind: Kind) {
        self.by_name.insert(kind.name.clone(), Arc::new(kind));
    }

    /// Changes every kind, for settings that hold for all of them.
    pub fn for_each_mut(&mut self, mut change: impl FnMut(&mut Kind)) {
        self.by_name
            .values_mut()
            .for_each(|kind| change(Arc::make_mut(kind)));
    }

    /// Sets the prices of kinds, by name.
    pub fn set_prices(&mut self, prices: &BTreeMap<String, Micros>) {
        self.for_each_mut(|kind| {
            if let Some(price) = prices.get(&kind.name) {
                kind.price = Some(*price);
            }
        });
    }

    /// The kind of that name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Arc<Kind>> {
        self.by_name.get(name)
    }

    /// The kind of that name.
    ///
    /// # Errors
    ///
    /// [`Problem::UnknownKind`], naming those there are.
    pub fn find(&self, name: &str) -> Result<&Arc<Kind>, Problem> {
        self.get(name).ok_or_else(|| Problem::UnknownKind {
            name: quoted(name),
            known: self.names(),
        })
    }

    /// The same kinds for a run that speaks `protocol`.
    #[must_use]
    pub fn for_protocol(mut self, protocol: &str) -> Self {
        self.protocol = Some(protocol.to_owned());
        self
    }

    /// Why no job of `kind` can be created in this run; `None` where it can.
    #[must_use]
    pub fn not_spoken(&self, kind: &Kind) -> Option<Problem> {
        let protocol = self.protocol.as_deref()?;
        (!kind.speaks(protocol)).then(|| Problem::NotSpoken {
            kind: kind.name.clone(),
            file: kind.file.clone(),
            protocol: protocol.to_owned(),
        })
    }

    /// All kinds, by name.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Kind>> {
        self.by_name.values()
    }

    /// The names, for messages: `hcaptcha, recaptcha-v2`.
    #[must_use]
    pub fn names(&self) -> String {
        self.by_name
            .keys()
            .map(String::as_str)
            .collect::<Vec<_>>()
            .join(", ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kinds_built_in_are_right() {
        let kinds = Kinds::built_in();
        assert_eq!(kinds.names(), "hcaptcha, recaptcha-v2");
        let hcaptcha = kinds.get("hcaptcha").unwrap();
        assert_eq!(hcaptcha.protocols["v1"].wire_type, "11");
        assert_eq!(
            hcaptcha.column("websiteURL"),
            hcaptcha.column("website_url")
        );
        assert_eq!(hcaptcha.columns[0].wire["v1"], "website_url");
        assert_eq!(
            kinds.get("recaptcha-v2").unwrap().columns[0].wire["v1"],
            "websiteURL"
        );
    }

    #[test]
    fn a_kind_speaks_what_its_file_says() {
        let kinds = Kinds::built_in();
        let recaptcha = kinds.get("recaptcha-v2").unwrap();
        assert_eq!(recaptcha.protocols["v2"].wire_type, "RecaptchaV2TokenTask");
        assert!(recaptcha.speaks("v1") && recaptcha.speaks("v2") && !recaptcha.speaks("v3"));
        let hcaptcha = Arc::clone(kinds.get("hcaptcha").unwrap());
        assert_eq!(kinds.not_spoken(&hcaptcha), None, "any protocol will do");
        let kinds = kinds.for_protocol("v2");
        assert_eq!(kinds.not_spoken(kinds.get("recaptcha-v2").unwrap()), None);
        assert_eq!(
            kinds.not_spoken(&hcaptcha).unwrap().to_string(),
            "kind `hcaptcha` (jobs/hcaptcha.toml) has no [protocol.v2]: it cannot be sent by v2"
        );
    }

    fn broken(from: &str, to: &str) -> String {
        let text = BUILT_IN[0].1.replacen(from, to, 1);
        assert_ne!(text, BUILT_IN[0].1, "nothing was replaced");
        Kind::from_toml("k.toml", &text).unwrap_err().to_string()
    }

    #[test]
    fn a_fault_names_file_line_column_and_key() {
        for (from, to, key) in [
            ("price = \"0.001\"", "price = \"cheap\"", "price"),
            ("interval = \"2s\"", "interval = \"2 parsecs\"", "interval"),
            ("attempts = 2", "attempts = 0", "attempts"),
            ("type = \"url\"", "type = \"uri\"", "uri"),
            ("name = \"website_key\"", "name = \"token\"", "token"),
            (
                "name = \"website_key\"",
                "name = \"website_url\"",
                "website_url",
            ),
            (
                "wire = { v1 = \"website_key\" }",
                "wire = { v9 = \"website_key\" }",
                "wire",
            ),
            ("first_after =", "first_afer =", "first_afer"),
        ] {
            let message = broken(from, to);
            let place = message.strip_prefix("k.toml:").expect(&message);
            assert!(place.starts_with(|c: char| c.is_ascii_digit()), "{message}");
            assert!(message.contains(key), "{message}");
        }
    }

    #[test]
    fn a_price_may_be_left_to_the_service() {
        let text = BUILT_IN[0].1.replace("price = \"0.001\"", "");
        let kind = Kind::from_toml("k.toml", &text).unwrap();
        assert_eq!((kind.price, kind.reserve()), (None, Micros::ZERO));
    }

    #[test]
    fn a_kind_whose_site_cannot_be_checked_is_refused() {
        let text = BUILT_IN[0].1.replace("type = \"url\"", "type = \"text\"");
        assert!(
            Kind::from_toml("k.toml", &text)
                .unwrap_err()
                .to_string()
                .contains("type url")
        );
    }
}
