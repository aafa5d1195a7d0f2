//! What a refusal means. Protocol v2 has codes ([`codes`]). v1 has none: the service's words, English
//! or Vietnamese, are all there is. They are read where an answer has no code, in either protocol; a
//! code that is not known is never explained by the words beside it.
//!
//! What must stay true: a fault of the account stops the whole run, so words that could be about
//! one row (its key, its site, its proxy) are never read as one. Where in doubt a refusal is
//! [`Unrecognised`](RefusalCause::Unrecognised): five of these in a row stop the run as well, and no
//! row is lost by it.
//!
//! Words are compared in lower case and without diacritics (the service sends both `số dư` and
//! `so du`), clause by clause, so that the fault of one clause is not pinned on the subject of
//! another.

pub(super) mod codes;
#[rustfmt::skip]
mod words;

use super::envelope::Envelope;
use super::{AccountToken, Refusal, RefusalCause};

use codes::Code;
use words::{
    ACCOUNT, ADDRESS_REFUSED, BARE_TOKEN, JOB, LOCKED, MONEY, NO_MONEY, NOT_ACCEPTED, NOT_KNOWN,
    NOT_LET_IN, NOT_SPENT, ROW, SHORT, TOKEN_NAMES,
};

/// What a refused create means, or a refused question about the account.
pub(super) fn of_create(body: &Envelope<'_>, http_status: u16, account: &AccountToken) -> Refusal {
    refusal(body, http_status, account, Asked::Create)
}

/// What a refused poll means.
pub(super) fn of_poll(body: &Envelope<'_>, http_status: u16, account: &AccountToken) -> Refusal {
    refusal(body, http_status, account, Asked::Poll)
}

/// What was refused: only a poll names a job that can be unknown.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Asked {
    Create,
    Poll,
}

fn refusal(body: &Envelope<'_>, http_status: u16, account: &AccountToken, asked: Asked) -> Refusal {
    let cause = match body.error_code() {
        Some(code) => by_code(code, asked),
        None => by_words(&body.words(), asked),
    };
    let cause = match (cause, http_status) {
        (RefusalCause::Unrecognised, 401) => RefusalCause::BadToken,
        (RefusalCause::Unrecognised, 402) => RefusalCause::NoBalance,
        (cause, _) => cause,
    };
    Refusal {
        cause,
        message: body.message(account),
    }
}

/// The cause that `code` names.
fn by_code(code: &str, asked: Asked) -> RefusalCause {
    match codes::meaning(code) {
        Some(Code::Refusal(RefusalCause::UnknownJob)) if asked != Asked::Poll => {
            RefusalCause::Unrecognised
        }
        Some(Code::Refusal(cause)) => cause,
        Some(Code::SolveFailed) | None => RefusalCause::Unrecognised,
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
    } else {
        RefusalCause::Unrecognised
    }
}

/// The words of a clause in lower case and without diacritics, a space before and after each.
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

    /// Whether one of `phrases` stands here, as whole words.
    fn has(&self, phrases: &[&str]) -> bool {
        phrases
            .iter()
            .any(|phrase| self.0.contains(&format!(" {phrase} ")))
    }

    /// The account token is named with a complaint next to it, or a token that can be no other.
    fn is_bad_token(&self) -> bool {
        TOKEN_NAMES.iter().any(|name| self.is_faulted(name))
            || (self.has(&BARE_TOKEN) || self.has(&NOT_LET_IN)) && !self.has(&ROW)
    }

    /// A complaint stands at most 2 words before `name` or 5 after it: "Job not found for this API
    /// token" is no complaint about the token.
    fn is_faulted(&self, name: &str) -> bool {
        let needle = format!(" {name} ");
        self.0.match_indices(&needle).any(|(at, _)| {
            let before: Vec<&str> = self.0[..at].split(' ').rev().take(2).collect();
            let after: Vec<&str> = self.0[at + needle.len()..].split(' ').take(5).collect();
            let before: Vec<&str> = before.into_iter().rev().collect();
            Self(format!(" {} ", before.join(" "))).has(&NOT_ACCEPTED)
                || Self(format!(" {} ", after.join(" "))).has(&NOT_ACCEPTED)
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
