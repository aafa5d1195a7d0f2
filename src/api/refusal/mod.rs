//! What a refusal means. Protocol v2 has codes ([`codes`]). v1 has none: the service's words, English
//! or Vietnamese, are all there is. They are read where an answer has no code, in either protocol; a
//! code that is not known is never explained by the words beside it.
//!
//! The user's own rules ([`RefusalRules`]) are asked before all of it.
//!
//! What must stay true: a fault of the account stops the whole run, so words that could be about
//! one row (its key, its site, its proxy) are never read as one; a fault of the request ends its row, so
//! words that could be about the kind of job are never read as one. Where in doubt a refusal is
//! [`Unrecognised`](RefusalCause::Unrecognised): five of these in a row stop the run as well, and no
//! row is lost by it.
//!
//! Words are compared in lower case and without diacritics (the service sends both `số dư` and
//! `so du`), clause by clause, so that the fault of one clause is not pinned on the subject of
//! another.

mod codes;
mod rules;
#[rustfmt::skip]
mod words;

use super::envelope::Envelope;
use super::{AccountToken, PollReply, Refusal, RefusalCause};

use words::{
    ACCOUNT, ADDRESS_REFUSED, AGAIN_LATER, BARE_TOKEN, JOB, KIND, LOCKED, MONEY, NO_MONEY,
    NOT_ACCEPTED, NOT_KNOWN, NOT_LET_IN, NOT_SPENT, PARTS, PASSING, ROW, SHORT, TOKEN_NAMES, UNFIT,
};

pub use rules::{Meaning, RefusalRule, RefusalRules, RuleError};

/// What answers are read with: whose secret is masked in their words, and the user's rules.
#[derive(Clone, Copy)]
pub(super) struct Reader<'a> {
    pub(super) account: &'a AccountToken,
    pub(super) rules: &'a RefusalRules,
}

/// What a refused create means, or a refused question about the account.
pub(super) fn of_create(body: &Envelope<'_>, http_status: u16, reader: &Reader<'_>) -> Refusal {
    let cause = match meaning(body, http_status, reader, Asked::Create) {
        Meaning::Cause(cause) => cause,
        // There was no job that could fail.
        Meaning::SolveFailed => RefusalCause::Unrecognised,
    };
    Refusal {
        cause,
        message: body.message(reader.account),
    }
}

/// What follows from a refused poll.
pub(super) fn of_poll(body: &Envelope<'_>, http_status: u16, reader: &Reader<'_>) -> PollReply {
    let message = body.message(reader.account);
    match meaning(body, http_status, reader, Asked::Poll) {
        Meaning::Cause(cause) => PollReply::Refused(Refusal { cause, message }),
        Meaning::SolveFailed => PollReply::Failed(message),
    }
}

/// Whether a rule or a code explains a refusal: that outweighs a status beside it.
pub(super) fn is_explained(body: &Envelope<'_>, reader: &Reader<'_>) -> bool {
    let by_code = || body.error_code().and_then(codes::meaning);
    reader.rules.meaning(body).or_else(by_code).is_some()
}

/// What was refused: only a poll names a job that can be unknown.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Asked {
    Create,
    Poll,
}

fn meaning(body: &Envelope<'_>, http_status: u16, reader: &Reader<'_>, asked: Asked) -> Meaning {
    if let Some(meaning) = reader.rules.meaning(body) {
        return meaning;
    }
    let meaning = match body.error_code() {
        Some(code) => by_code(code, asked),
        None => Meaning::Cause(by_words(&body.words(), asked)),
    };
    match (meaning, http_status) {
        (Meaning::Cause(RefusalCause::Unrecognised), 401) => Meaning::Cause(RefusalCause::BadToken),
        (Meaning::Cause(RefusalCause::Unrecognised), 402) => {
            Meaning::Cause(RefusalCause::NoBalance)
        }
        (meaning, _) => meaning,
    }
}

/// What `code` means.
fn by_code(code: &str, asked: Asked) -> Meaning {
    match codes::meaning(code) {
        Some(Meaning::Cause(RefusalCause::UnknownJob)) if asked != Asked::Poll => {
            Meaning::Cause(RefusalCause::Unrecognised)
        }
        Some(meaning) => meaning,
        None => Meaning::Cause(RefusalCause::Unrecognised),
    }
}

/// The cause that some clause of `words` names; where several do, the first of this order.
fn by_words(words: &str, asked: Asked) -> RefusalCause {
    let clauses: Vec<Clause> = words
        .split(['.', ',', ';', '!', '?', '\n'])
        .map(Clause::new)
        .collect();
    let any = |test: fn(&Clause) -> bool| clauses.iter().any(test);
    if any(Clause::is_bad_token) {
        RefusalCause::BadToken
    } else if any(Clause::is_blocked) {
        RefusalCause::Blocked
    } else if any(Clause::is_no_balance) {
        RefusalCause::NoBalance
    } else if asked == Asked::Poll && any(Clause::is_unknown_job) {
        RefusalCause::UnknownJob
    } else if any(Clause::is_bad_request) {
        RefusalCause::BadRequest
    } else if any(Clause::is_passing) || any(Clause::is_put_off) && !any(Clause::is_complaint) {
        RefusalCause::Passing
    } else {
        RefusalCause::Unrecognised
    }
}

/// The words of a clause in lower case and without diacritics, a space before and after each.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Clause(String);

impl Clause {
    fn new(text: &str) -> Self {
        let mut folded = String::with_capacity(text.len() + 2);
        folded.push(' ');
        for c in text.chars().flat_map(char::to_lowercase) {
            match fold(c) {
                // A combining mark belongs to the letter before it; an apostrophe (doesn't) too.
                None => {}
                Some(c) if c.is_alphanumeric() => folded.push(c),
                Some(_) if folded.ends_with(' ') => {}
                Some(_) => folded.push(' '),
            }
        }
        if !folded.ends_with(' ') {
            folded.push(' ');
        }
        Self(
            folded
                .replace(" doesnt exist ", " does not exist ")
                .replace(" isnt ", " is not "),
        )
    }

    /// Whether there is no word.
    fn is_blank(&self) -> bool {
        self.0.trim().is_empty()
    }

    /// Whether `other` stands here, as whole words.
    fn contains(&self, other: &Self) -> bool {
        self.0.contains(&other.0)
    }

    /// Whether one of `phrases` stands here, as whole words.
    fn has(&self, phrases: &[&str]) -> bool {
        phrases
            .iter()
            .any(|phrase| self.0.contains(&format!(" {phrase} ")))
    }

    /// The account token is named with a complaint next to it, or a token that can be no other.
    fn is_bad_token(&self) -> bool {
        let faulted = |name: &&str| self.is_faulted(name, &NOT_ACCEPTED);
        TOKEN_NAMES.iter().any(faulted)
            || (self.has(&BARE_TOKEN) || self.has(&NOT_LET_IN)) && !self.has(&ROW)
    }

    /// One of `complaints` stands at most 2 words before `name` or 5 after it: "Job not found for this
    /// API token" is no complaint about the token.
    fn is_faulted(&self, name: &str, complaints: &[&str]) -> bool {
        let needle = format!(" {name} ");
        self.0.match_indices(&needle).any(|(at, _)| {
            let before: Vec<&str> = self.0[..at].split(' ').rev().take(2).collect();
            let after: Vec<&str> = self.0[at + needle.len()..].split(' ').take(5).collect();
            let before: Vec<&str> = before.into_iter().rev().collect();
            Self(format!(" {} ", before.join(" "))).has(complaints)
                || Self(format!(" {} ", after.join(" "))).has(complaints)
        })
    }

    fn is_blocked(&self) -> bool {
        let address = self.has(&ADDRESS_REFUSED) || self.has(&["ip"]) && self.has(&LOCKED);
        self.has(&ACCOUNT) && self.has(&LOCKED)
            || (address || self.has(&["bi khoa"])) && !self.has(&ROW)
    }

    fn is_no_balance(&self) -> bool {
        let short = self.has(&MONEY) && self.has(&SHORT) || self.has(&NO_MONEY);
        short && !self.has(&NOT_SPENT)
    }

    fn is_unknown_job(&self) -> bool {
        let names_job = self.has(&JOB) || self.has(&["id"]) && !self.has(&ACCOUNT);
        names_job && self.has(&NOT_KNOWN) || self.has(&["khong ton tai"])
    }

    /// A part of the request is named with a complaint next to it, and not the kind of job, which is
    /// the same for many rows.
    fn is_bad_request(&self) -> bool {
        let faulted = |part: &&str| self.is_faulted(part, &UNFIT);
        !self.has(&KIND) && PARTS.iter().any(faulted)
    }

    fn is_passing(&self) -> bool {
        self.has(&PASSING) && !self.has(&ACCOUNT)
    }

    /// It says when to ask, which alone says little.
    fn is_put_off(&self) -> bool {
        self.has(&AGAIN_LATER) && !self.has(&ACCOUNT)
    }

    fn is_complaint(&self) -> bool {
        self.has(&UNFIT) || self.has(&NOT_ACCEPTED)
    }
}

/// A Vietnamese letter less its diacritics; `None` for what only marks its neighbour.
fn fold(c: char) -> Option<char> {
    Some(match c {
        '\u{300}'..='\u{36f}' | '\'' | '’' => return None,
        'à' | 'á' | 'ả' | 'ã' | 'ạ' | 'ă' | 'ằ' | 'ắ' | 'ẳ' | 'ẵ' | 'ặ' | 'â' | 'ầ' | 'ấ' | 'ẩ'
        | 'ẫ' | 'ậ' => 'a',
        'è' | 'é' | 'ẻ' | 'ẽ' | 'ẹ' | 'ê' | 'ề' | 'ế' | 'ể' | 'ễ' | 'ệ' => 'e',
        'ì' | 'í' | 'ỉ' | 'ĩ' | 'ị' => 'i',
        'ò' | 'ó' | 'ỏ' | 'õ' | 'ọ' | 'ô' | 'ồ' | 'ố' | 'ổ' | 'ỗ' | 'ộ' | 'ơ' | 'ờ' | 'ớ' | 'ở'
        | 'ỡ' | 'ợ' => 'o',
        'ù' | 'ú' | 'ủ' | 'ũ' | 'ụ' | 'ư' | 'ừ' | 'ứ' | 'ử' | 'ữ' | 'ự' => 'u',
        'ỳ' | 'ý' | 'ỷ' | 'ỹ' | 'ỵ' => 'y',
        'đ' => 'd',
        _ => c,
    })
}
