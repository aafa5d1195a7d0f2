//! Rules of the user's for what refusals mean. They come from the configuration and go before
//! everything that is built in, so that a service with words or codes of its own, or a misreading of
//! ours, needs no new version.

use crate::api::RefusalCause;
use crate::api::envelope::Envelope;

use super::Clause;

/// What a refusal can mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Meaning {
    /// The request is refused, for this.
    Cause(RefusalCause),
    /// The job that was polled has failed. Of a create it means nothing.
    SolveFailed,
}

impl Meaning {
    /// Every meaning, under the word by which a configuration names it.
    pub const ALL: [(&str, Self); 8] = [
        ("bad_token", Self::Cause(RefusalCause::BadToken)),
        ("no_balance", Self::Cause(RefusalCause::NoBalance)),
        ("blocked", Self::Cause(RefusalCause::Blocked)),
        ("unknown_job", Self::Cause(RefusalCause::UnknownJob)),
        ("passing", Self::Cause(RefusalCause::Passing)),
        ("bad_request", Self::Cause(RefusalCause::BadRequest)),
        ("unrecognised", Self::Cause(RefusalCause::Unrecognised)),
        ("solve_failed", Self::SolveFailed),
    ];

    /// The meaning of that word.
    #[must_use]
    pub fn named(word: &str) -> Option<Self> {
        let found = Self::ALL.iter().find(|(name, _)| *name == word);
        found.map(|(_, meaning)| *meaning)
    }
}

/// A rule: a refusal that shows this sign has that meaning.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RefusalRule {
    sign: Sign,
    meaning: Meaning,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Sign {
    /// Its code is this one, letter for letter.
    Code(String),
    /// Its words contain these, as whole words; case, diacritics and punctuation do not matter.
    Words(Clause),
}

/// Why there is no such rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RuleError {
    /// It would hold for everything, or nothing.
    #[error("has no letter and no digit")]
    Blank,
}

impl RefusalRule {
    /// A rule for refusals with this code (`errorCode`, in either protocol).
    ///
    /// # Errors
    ///
    /// A code without letters and digits.
    pub fn for_code(code: &str, meaning: Meaning) -> Result<Self, RuleError> {
        let code = code.trim();
        if !code.contains(char::is_alphanumeric) {
            return Err(RuleError::Blank);
        }
        let sign = Sign::Code(code.to_owned());
        Ok(Self { sign, meaning })
    }

    /// A rule for refusals whose words, code and description included, contain these.
    ///
    /// # Errors
    ///
    /// A text without letters and digits.
    pub fn for_words(words: &str, meaning: Meaning) -> Result<Self, RuleError> {
        let words = Clause::new(words);
        if words.is_blank() {
            return Err(RuleError::Blank);
        }
        let sign = Sign::Words(words);
        Ok(Self { sign, meaning })
    }
}

/// Rules, of which the first that holds decides.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RefusalRules(Vec<RefusalRule>);

impl RefusalRules {
    /// These rules, in this order.
    #[must_use]
    pub fn new(rules: Vec<RefusalRule>) -> Self {
        Self(rules)
    }

    /// What they say about a refusal.
    pub(super) fn meaning(&self, body: &Envelope<'_>) -> Option<Meaning> {
        if self.0.is_empty() {
            return None;
        }
        let (code, words) = (body.error_code(), Clause::new(&body.words()));
        let holds = |rule: &&RefusalRule| match &rule.sign {
            Sign::Code(expected) => code == Some(expected.as_str()),
            Sign::Words(expected) => words.contains(expected),
        };
        self.0.iter().find(holds).map(|rule| rule.meaning)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::Answer;
    use bytes::Bytes;

    fn meaning(rules: &RefusalRules, body: &serde_json::Value) -> Option<Meaning> {
        let answer = Answer {
            status: 200,
            retry_after: None,
            content_type: String::new(),
            body: Bytes::from(body.to_string()),
        };
        rules.meaning(&Envelope::read(&answer).unwrap())
    }

    #[test]
    fn the_first_rule_that_holds_decides() {
        const PASSING: Meaning = Meaning::Cause(RefusalCause::Passing);
        let rules = RefusalRules::new(vec![
            RefusalRule::for_code("ERROR_X", Meaning::SolveFailed).unwrap(),
            RefusalRule::for_words("hết lượt!", PASSING).unwrap(),
            RefusalRule::for_words("x", Meaning::Cause(RefusalCause::Blocked)).unwrap(),
        ]);
        let says = |body| meaning(&rules, &body);
        let v1 = |message: &str| serde_json::json!({"error": true, "message": message});
        assert_eq!(says(v1("Bạn đã HET LUOT, chờ nhé")), Some(PASSING));
        assert_eq!(says(v1("bạn đã hết. Lượt sau")), Some(PASSING));
        assert_eq!(says(v1("hết lượtt")), None, "whole words alone");
        let v2 = |code: &str| serde_json::json!({"errorId": 1, "errorCode": code, "errorDescription": "x"});
        assert_eq!(says(v2("ERROR_X")), Some(Meaning::SolveFailed));
        assert_eq!(
            says(v2("ERROR_Y")),
            Some(Meaning::Cause(RefusalCause::Blocked))
        );
        assert_eq!(
            says(v2("error_x")),
            Some(Meaning::Cause(RefusalCause::Blocked))
        );
    }

    #[test]
    fn a_rule_without_a_letter_is_none() {
        for text in ["", " ", "…!", "\u{301}"] {
            let words = RefusalRule::for_words(text, Meaning::SolveFailed);
            assert_eq!(words, Err(RuleError::Blank), "{text:?}");
        }
        let code = RefusalRule::for_code(" - ", Meaning::SolveFailed);
        assert_eq!(code, Err(RuleError::Blank));
    }

    #[test]
    fn every_word_names_its_meaning() {
        for (word, meaning) in Meaning::ALL {
            assert_eq!(Meaning::named(word), Some(meaning));
        }
        assert_eq!(Meaning::named("Passing"), None);
    }
}
