//! A kind's file.

use std::collections::BTreeMap;
use std::ops::Range;
use std::time::Duration;

use serde::Deserialize;
use toml::Spanned;

use super::kind::{Column, FieldType, Kind, ProtocolKind, Role};
use super::outcome::RESULT_COLUMNS;
use super::{Micros, TomlFault, parse_toml};

/// Most columns of a kind. Bounds the memory of a request.
const MOST_COLUMNS: usize = 64;

/// Names that mean something to us in a file's header or in a message.
const OWN_NAMES: [&str; 5] = ["id", "job", "deadline", "reply_to", "meta"];

/// Longest time in a kind's file.
const LONGEST_TIME: Duration = Duration::from_secs(24 * 60 * 60);

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
}

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

#[cfg(test)]
mod tests {
    use super::*;

    const HCAPTCHA: &str = include_str!("../../jobs/hcaptcha.toml");

    fn broken(from: &str, to: &str) -> String {
        let text = HCAPTCHA.replacen(from, to, 1);
        assert_ne!(text, HCAPTCHA, "nothing was replaced");
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
        let text = HCAPTCHA.replace("price = \"0.001\"", "");
        let kind = Kind::from_toml("k.toml", &text).unwrap();
        assert_eq!((kind.price, kind.reserve()), (None, Micros::ZERO));
    }

    #[test]
    fn a_kind_whose_site_cannot_be_checked_is_refused() {
        let text = HCAPTCHA.replace("type = \"url\"", "type = \"text\"");
        assert!(
            Kind::from_toml("k.toml", &text)
                .unwrap_err()
                .to_string()
                .contains("type url")
        );
    }
}
