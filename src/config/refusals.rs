//! `[[refusals]]`: rules for what a service's refusals mean, tried before those built in.
//!
//! ```toml
//! [[refusals]]
//! code = "ERROR_DAILY_LIMIT"        # the whole of a refusal's errorCode, or
//! match = "vượt quá giới hạn ngày"  # words that it contains
//! means = "blocked"
//! ```
//!
//! A rule has one of `code` and `match`. Case, diacritics and punctuation of `match` do not matter.

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::file::Source;
use crate::api::{Meaning, RefusalRule};
use crate::job::TomlFault;
use crate::job::closest;

/// Most rules: each refusal is held against all of them.
const MOST_RULES: usize = 1000;

const SHAPE: &str = "refusals: stand in tables of their own: [[refusals]], with `means` and one of `code` and `match`";

/// Reads the rules, in their order.
pub(super) fn rules(
    source: &Source<'_>,
    value: &Spanned<DeValue<'_>>,
) -> Result<Vec<RefusalRule>, TomlFault> {
    let Some(list) = value.get_ref().as_array() else {
        return Err(source.fault(value.span(), SHAPE));
    };
    if list.len() > MOST_RULES {
        let message = format!("refusals: at most {MOST_RULES} rules");
        return Err(source.fault(value.span(), message));
    }
    list.iter()
        .map(|entry| {
            let table = entry.get_ref().as_table();
            let table = table.ok_or_else(|| source.fault(entry.span(), SHAPE))?;
            rule(source, entry, table)
        })
        .collect()
}

fn rule(
    source: &Source<'_>,
    entry: &Spanned<DeValue<'_>>,
    table: &DeTable<'_>,
) -> Result<RefusalRule, TomlFault> {
    let known = ["code", "match", "means"];
    let unknown = |key: &&Spanned<_>| !known.contains(&AsRef::<str>::as_ref(key.get_ref()));
    if let Some(key) = table.keys().find(unknown) {
        let name = key.get_ref().escape_debug();
        let message = format!("unknown key `refusals.{name}`; a rule has `code`, `match`, `means`");
        return Err(source.fault(key.span(), message));
    }
    let text = |key: &str| {
        let Some(value) = table.get(key) else {
            return Ok(None);
        };
        let text = value.get_ref().as_str();
        let text =
            text.ok_or_else(|| source.fault(value.span(), format!("{key}: must be a text")))?;
        Ok(Some((text, value.span())))
    };
    let Some((word, span)) = text("means")? else {
        return Err(source.fault(entry.span(), "refusals: a rule needs `means`"));
    };
    let meaning = Meaning::named(word).ok_or_else(|| source.fault(span, not_a_meaning(word)))?;
    let (key, built, span) = match (text("code")?, text("match")?) {
        (Some((code, span)), None) => ("code", RefusalRule::for_code(code, meaning), span),
        (None, Some((words, span))) => ("match", RefusalRule::for_words(words, meaning), span),
        (None, None) => {
            let message = "refusals: a rule needs one of `code` and `match`";
            return Err(source.fault(entry.span(), message));
        }
        (Some(_), Some((_, span))) => {
            let message = "match: stands beside `code`; make two rules of it";
            return Err(source.fault(span, message));
        }
    };
    built.map_err(|e| source.fault(span, format!("{key}: {e}")))
}

/// What to say of a word that is no meaning, without repeating it.
fn not_a_meaning(word: &str) -> String {
    let names = Meaning::ALL.map(|(name, _)| name);
    match closest(&word.to_ascii_lowercase(), names.into_iter()) {
        Some(meant) => format!("means: did you mean `{meant}`?"),
        None => format!("means: must be one of {}", names.join(", ")),
    }
}
