//! Protocol v1: createJob and getJobResult.
//!
//! A message is one file: its encoder, its decoder, and nothing that touches a socket. What the
//! answers have in common is here.
//!
//! What must stay true: a body is built from validated fields only; what money has bought (a job's
//! id, a token) is taken from an answer whatever its HTTP status; every other verdict needs an
//! answer that decodes and whose HTTP status is 2xx or 4xx; everything else is no verdict. Texts of
//! the service are cleaned with the account token masked, and a body that cannot be read is told
//! by its HTTP status, content type and position of the fault, never by its text.

mod create;
mod poll;
mod refusal;
#[rustfmt::skip]
mod words;

pub(super) use create::{PATH as CREATE_PATH, decode as decode_create, encode as encode_create};
pub(super) use poll::{PATH as POLL_PATH, decode as decode_poll, encode as encode_poll};

use crate::job::ForeignText;

use super::loose::{Loose, Malformed};
use super::{AccountToken, Answer};

/// Appends `text` as a JSON string.
fn push_string(body: &mut Vec<u8>, text: &str) {
    body.extend_from_slice(serde_json::Value::from(text).to_string().as_bytes());
}

/// Begins a body with the account token: `{"api_token":"…"`.
fn begin_body(account: &AccountToken) -> Vec<u8> {
    let mut body = Vec::with_capacity(512);
    body.extend_from_slice(b"{\"api_token\":");
    push_string(&mut body, account.expose());
    body
}

/// Whether a verdict of the service (a refusal, a status) counts under this HTTP status. A proxy
/// may answer 5xx for a server that did act, and a redirect comes from none that decided anything.
fn is_decisive(http_status: u16) -> bool {
    matches!(http_status, 200..=299 | 400..=499)
}

/// An answer's body: an object, as both messages send it.
struct Envelope<'a>(Loose<'a>);

impl<'a> Envelope<'a> {
    fn read(answer: &'a Answer) -> Result<Self, Malformed> {
        Loose::read(&answer.body).map(Self)
    }

    /// The last member of that name.
    fn get(&self, name: &str) -> Option<&Loose<'a>> {
        self.0.get(name)
    }

    /// `"error": true`, also as `1` or `"true"`, and also where another `error` says otherwise.
    fn error_is_true(&self) -> bool {
        self.0.all("error").any(is_true)
    }

    /// The service says no beyond doubt: `error` is true, or `errorId` is not zero.
    fn says_no(&self) -> bool {
        self.error_is_true() || self.0.all("errorId").any(is_true)
    }

    /// `"error": "words"`: a refusal too, unless the answer holds something that outweighs it.
    fn error_text(&self) -> Option<&str> {
        let text = self.get("error")?.as_text()?.trim();
        let flags = ["", "0", "1", "false", "true", "no", "none", "null"];
        (!flags.iter().any(|flag| text.eq_ignore_ascii_case(flag))).then_some(text)
    }

    /// `"success": false`.
    fn success_is_false(&self) -> bool {
        match self.get("success") {
            Some(Loose::Bool(success)) => !success,
            Some(Loose::Number(digits)) => *digits == "0",
            Some(Loose::Text(text)) => text.eq_ignore_ascii_case("false") || text == "0",
            _ => false,
        }
    }

    /// The service's words, those of v2's shape included; empty where there are none.
    fn words(&self) -> String {
        let mut words: Vec<&str> = self.error_text().into_iter().collect();
        for name in ["message", "errorCode", "errorDescription"] {
            if let Some(text) = self.get(name).and_then(Loose::as_text)
                && !text.trim().is_empty()
            {
                words.push(text.trim());
            }
        }
        words.join(": ")
    }

    fn message(&self, account: &AccountToken) -> ForeignText {
        ForeignText::clean(&self.words(), &[account.expose()])
    }
}

/// A flag that is up: `true`, a number that is not zero, or either as a string.
fn is_true(value: &Loose<'_>) -> bool {
    match value {
        Loose::Bool(b) => *b,
        Loose::Number(digits) => is_nonzero(digits),
        Loose::Text(text) => {
            let text = text.trim();
            text.eq_ignore_ascii_case("true")
                || text.bytes().all(|b| b.is_ascii_digit()) && is_nonzero(text)
        }
        Loose::Null | Loose::List(_) | Loose::Object(_) => false,
    }
}

fn is_nonzero(number: &str) -> bool {
    number
        .bytes()
        .take_while(|b| !matches!(b, b'e' | b'E'))
        .any(|b| matches!(b, b'1'..=b'9'))
}

/// What came instead of an answer that decides anything: `HTTP 502, text/html`, and what is wrong
/// with the body where that says more.
fn describe(answer: &Answer, account: &AccountToken, fault: &str) -> ForeignText {
    let kind = answer
        .content_type
        .split(';')
        .next()
        .unwrap_or_default()
        .trim();
    let kind = if kind.is_empty() {
        "no content type"
    } else {
        kind
    };
    let body = answer.body.trim_ascii();
    let mut text = format!("HTTP {}, {kind}", answer.status);
    if body.is_empty() {
        text.push_str(", empty");
    } else if body[0] != b'<' {
        text.push_str(": ");
        text.push_str(fault);
    }
    ForeignText::clean(&text, &[account.expose()])
}

#[cfg(test)]
mod tests;
