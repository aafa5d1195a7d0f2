//! The configuration file: top-level keys named like the flags, `[authorization] sites`, and
//! `[[refusals]]`, which have a module of their own.
//!
//! ```toml
//! max_in_flight = 200
//! submit_rate = "10/s"
//!
//! [authorization]
//! sites = ["shop.example.com", { host = "*.example.org", keys = ["10000000-ffff"] }]
//! ```
//!
//! Values are kept as text and parsed with those of the other layers. A key that is not known is a
//! fault. Relative paths are relative to the file's folder.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::{Path, PathBuf};

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::settings::SETTINGS;
use super::{ConfigError, Origin, refusals};
use crate::api::RefusalRule;
use crate::job::{SiteRule, TomlFault, closest, parse_toml};

/// A file that was read.
#[derive(Clone, Debug)]
pub(super) struct ConfigFile {
    pub(super) folder: PathBuf,
    pub(super) values: BTreeMap<String, FileValue>,
    pub(super) sites: Option<FileSites>,
    pub(super) refusals: Option<FileRefusals>,
}

/// A value's text and place.
#[derive(Clone)]
pub(super) struct FileValue {
    pub(super) text: String,
    pub(super) origin: Origin,
}

/// Without the text, which may hold a password.
impl std::fmt::Debug for FileValue {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "FileValue({})", self.origin)
    }
}

/// The allowlist of a file, and its place.
#[derive(Clone, Debug)]
pub(super) struct FileSites {
    pub(super) rules: Vec<SiteRule>,
    pub(super) origin: Origin,
}

/// The rules for refusals of a file, and their place.
#[derive(Clone, Debug)]
pub(super) struct FileRefusals {
    pub(super) rules: Vec<RefusalRule>,
    pub(super) origin: Origin,
}

/// Where things stand in a file.
pub(super) struct Source<'a> {
    file: &'a str,
    text: &'a str,
}

impl Source<'_> {
    pub(super) fn fault(&self, span: Range<usize>, message: impl Into<String>) -> TomlFault {
        TomlFault::at(self.file, self.text, span, message)
    }

    fn origin(&self, span: Range<usize>) -> Origin {
        let TomlFault {
            file, line, column, ..
        } = self.fault(span, String::new());
        Origin::File { file, line, column }
    }
}

impl ConfigFile {
    /// Reads the file at `path`.
    pub(super) fn read(path: &Path) -> Result<Self, ConfigError> {
        let text = super::read(path)?;
        let folder = path.parent().unwrap_or(Path::new("")).to_owned();
        Ok(Self::parse(&path.display().to_string(), &text, folder)?)
    }

    pub(super) fn parse(file: &str, text: &str, folder: PathBuf) -> Result<Self, TomlFault> {
        // Faults of the syntax come from here, with their values taken out.
        parse_toml::<toml::Table>(file, text)?;
        let source = Source { file, text };
        let table =
            DeTable::parse(text).map_err(|e| source.fault(e.span().unwrap_or(0..0), "not TOML"))?;
        let mut read = Self {
            folder,
            values: BTreeMap::new(),
            sites: None,
            refusals: None,
        };
        for (key, value) in table.get_ref() {
            let name = key.get_ref().as_ref();
            if name == "authorization" {
                read.sites = authorization(&source, value)?;
                continue;
            }
            if name == "refusals" {
                read.refusals = Some(FileRefusals {
                    rules: refusals::rules(&source, value)?,
                    origin: source.origin(value.span()),
                });
                continue;
            }
            if !SETTINGS.iter().any(|s| s.key == name) {
                return Err(source.fault(key.span(), unknown(name)));
            }
            let text = scalar(value.get_ref()).ok_or_else(|| {
                source.fault(
                    value.span(),
                    format!("{name}: must be a text, a number, true or false"),
                )
            })?;
            if text.trim().is_empty() {
                let message = format!("{name}: is empty; leave the line out for the default");
                return Err(source.fault(value.span(), message));
            }
            read.values.insert(
                name.to_owned(),
                FileValue {
                    text,
                    origin: source.origin(value.span()),
                },
            );
        }
        Ok(read)
    }
}

/// The text of a value that is no list and no table.
fn scalar(value: &DeValue<'_>) -> Option<String> {
    match value {
        DeValue::String(text) => Some(text.as_ref().to_owned()),
        DeValue::Integer(n) if n.radix() == 10 => Some(n.as_str().to_owned()),
        DeValue::Float(n) => Some(n.as_str().to_owned()),
        DeValue::Boolean(b) => Some(b.to_string()),
        _ => None,
    }
}

/// What to say of a key that is not known.
fn unknown(name: &str) -> String {
    let shown = name.escape_debug();
    match name {
        "api_token" | "token" => {
            return format!(
                "{shown}: the account token does not belong in this file; set POLLWHEEL_API_TOKEN, or name the file that holds it in api_token_file"
            );
        }
        "redis_password" | "redis_sentinel_password" => {
            return format!(
                "{shown}: a password does not belong in this file; set {}, or name the file that holds it in {name}_file",
                super::environment::variable(name)
            );
        }
        "config" => return "config: a file cannot name another; use --config".to_owned(),
        "authorized_site" | "authorized_sites" | "sites" => {
            return format!(
                "{shown}: sites stand in a table of their own: [authorization] sites = [\"shop.example.com\"]"
            );
        }
        "refusal" => {
            return format!("unknown key `{shown}`; did you mean `[[refusals]]`?");
        }
        _ => {}
    }
    match closest(&name.replace('-', "_"), SETTINGS.iter().map(|s| s.key)) {
        Some(key) => format!("unknown key `{shown}`; did you mean `{key}`?"),
        None => format!("unknown key `{shown}`; config.toml in the source lists them all"),
    }
}

fn authorization(
    source: &Source<'_>,
    value: &Spanned<DeValue<'_>>,
) -> Result<Option<FileSites>, TomlFault> {
    let Some(table) = value.get_ref().as_table() else {
        return Err(source.fault(
            value.span(),
            "authorization: must be a table: [authorization]",
        ));
    };
    let mut sites = None;
    for (key, value) in table {
        if key.get_ref() != "sites" {
            let name = key.get_ref().escape_debug().to_string();
            return Err(source.fault(
                key.span(),
                format!("unknown key `authorization.{name}`; it has `sites` alone"),
            ));
        }
        let Some(list) = value.get_ref().as_array() else {
            return Err(source.fault(
                value.span(),
                "sites: must be a list: sites = [\"shop.example.com\"]",
            ));
        };
        let rules = list
            .iter()
            .map(|entry| site(source, entry))
            .collect::<Result<_, _>>()?;
        sites = Some(FileSites {
            rules,
            origin: source.origin(value.span()),
        });
    }
    Ok(sites)
}

/// An entry: a host, or a table of a host and the site keys that it is pinned to.
fn site(source: &Source<'_>, entry: &Spanned<DeValue<'_>>) -> Result<SiteRule, TomlFault> {
    const SHAPE: &str = "sites: an entry is \"shop.example.com\" or { host = \"shop.example.com\", keys = [\"…\"] }";
    let fault = |message: String| source.fault(entry.span(), message);
    let (host, keys) = match entry.get_ref() {
        DeValue::String(host) => (host.as_ref(), Vec::new()),
        DeValue::Table(table) => {
            if let Some(key) = table
                .keys()
                .find(|key| key.get_ref() != "host" && key.get_ref() != "keys")
            {
                return Err(source.fault(key.span(), SHAPE));
            }
            let host = table.get("host").and_then(|host| host.get_ref().as_str());
            let host = host.ok_or_else(|| fault(SHAPE.to_owned()))?;
            (host, keys(table).ok_or_else(|| fault(SHAPE.to_owned()))?)
        }
        _ => return Err(fault(SHAPE.to_owned())),
    };
    SiteRule::try_new(host, keys).map_err(|e| fault(format!("sites: {e}")))
}

/// The pinned keys: at least one where they are given, or the entry would mean its opposite.
fn keys(table: &DeTable<'_>) -> Option<Vec<String>> {
    let Some(list) = table.get("keys") else {
        return Some(Vec::new());
    };
    let list = list.get_ref().as_array()?;
    let keys = list
        .iter()
        .map(|key| key.get_ref().as_str().map(str::to_owned))
        .collect::<Option<Vec<_>>>()?;
    (!keys.is_empty()).then_some(keys)
}
