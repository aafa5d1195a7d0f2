//! What the bodies of both protocols have in common: an account token at their beginning, and
//! answers that say in one of several ways whether they are a refusal.
//!
//! What must stay true: texts of the service are cleaned with the account token masked, and a body
//! that cannot be read is told by its HTTP status, content type and position of the fault, never by
//! its text.

use crate::job::{ForeignText, Kind, RemoteId, Request, Value};

use super::loose::{Loose, Malformed};
use super::{AccountToken, Answer, Protocol};

/// Appends `text` as a JSON string.
pub(super) fn push_string(body: &mut Vec<u8>, text: &str) {
    serde_json::to_writer(body, text)
        .unwrap_or_else(|_| unreachable!("a text has a JSON form, and memory takes it"));
}

/// Begins a body with the account token: `{"api_token":"…"`, under the protocol's name for it.
pub(super) fn begin_body(member: &str, account: &AccountToken) -> Vec<u8> {
    let mut body = Vec::with_capacity(512);
    body.push(b'{');
    push_string(&mut body, member);
    body.push(b':');
    push_string(&mut body, account.expose());
    body
}

/// Appends the values of `request` as members of an object, in the kind's order under its wire
/// names, each after a comma; empty optional ones are left out. `None` where a name is missing.
pub(super) fn push_values(body: &mut Vec<u8>, request: &Request, protocol: Protocol) -> Option<()> {
    for (column, value) in request.kind().columns.iter().zip(request.values()) {
        let Some(value) = value else { continue };
        body.push(b',');
        push_string(body, column.wire.get(protocol.as_str())?);
        body.push(b':');
        match value {
            Value::Text(text) => push_string(body, text),
            Value::Bool(true) => body.extend_from_slice(b"true"),
            Value::Bool(false) => body.extend_from_slice(b"false"),
        }
    }
    Some(())
}

/// What the service calls `kind` in `protocol`.
pub(super) fn wire_type(kind: &Kind, protocol: Protocol) -> Option<&str> {
    kind.protocols
        .get(protocol.as_str())
        .map(|terms| terms.wire_type.as_str())
}

/// Whether a verdict of the service (a refusal, a status) counts under this HTTP status. A proxy
/// may answer 5xx for a server that did act, and a redirect comes from none that decided anything.
pub(super) fn is_decisive(http_status: u16) -> bool {
    matches!(http_status, 200..=299 | 400..=499)
}

/// An answer's body: an object, as all messages send it.
pub(super) struct Envelope<'a>(Loose<'a>);

impl<'a> Envelope<'a> {
    pub(super) fn read(answer: &'a Answer) -> Result<Self, Malformed> {
        Loose::read(&answer.body).map(Self)
    }

    /// The last member of that name.
    pub(super) fn get(&self, name: &str) -> Option<&Loose<'a>> {
        self.0.get(name)
    }

    /// `"error": true`, also as `1` or `"true"`, and also where another `error` says otherwise.
    pub(super) fn error_is_true(&self) -> bool {
        self.0.all("error").any(is_true)
    }

    /// The service says no beyond doubt: `error` is true, or `errorId` is not zero.
    pub(super) fn says_no(&self) -> bool {
        self.error_is_true() || self.0.all("errorId").any(is_true)
    }

    /// `"error": "words"`: a refusal too, unless the answer holds something that outweighs it.
    pub(super) fn error_text(&self) -> Option<&str> {
        let text = self.get("error")?.as_text()?.trim();
        let flags = ["", "0", "1", "false", "true", "no", "none", "null"];
        (!flags.iter().any(|flag| text.eq_ignore_ascii_case(flag))).then_some(text)
    }

    /// The `errorCode`; `None` where it is missing or empty.
    pub(super) fn error_code(&self) -> Option<&str> {
        let code = self.get("errorCode")?.as_text()?.trim();
        (!code.is_empty()).then_some(code)
    }

    /// `"success": false`.
    pub(super) fn success_is_false(&self) -> bool {
        match self.get("success") {
            Some(Loose::Bool(success)) => !success,
            Some(Loose::Number(digits)) => *digits == "0",
            Some(Loose::Text(text)) => text.eq_ignore_ascii_case("false") || text == "0",
            _ => false,
        }
    }

    /// The service's words of either protocol, its code before them; empty where there are none.
    pub(super) fn words(&self) -> String {
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

    pub(super) fn message(&self, account: &AccountToken) -> ForeignText {
        ForeignText::clean(&self.words(), &[account.expose()])
    }

    /// The member `name` as an id that can be sent back exactly as it came.
    pub(super) fn usable_id(&self, name: &str) -> Option<RemoteId> {
        match self.get(name)? {
            Loose::Number(digits) => RemoteId::number(digits),
            Loose::Text(text) => {
                let is_whole = !text
                    .chars()
                    .any(|c| c.is_control() || c == char::REPLACEMENT_CHARACTER);
                // "0" is no more an id than 0 is.
                let is_zero = text.bytes().all(|b| b == b'0');
                if is_whole && !is_zero {
                    RemoteId::text(text)
                } else {
                    None
                }
            }
            Loose::Null | Loose::Bool(_) | Loose::List(_) | Loose::Object(_) => None,
        }
    }
}

/// A flag that is up: `true`, a number that is not zero, or either as a string.
pub(super) fn is_true(value: &Loose<'_>) -> bool {
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
pub(super) fn describe(answer: &Answer, account: &AccountToken, fault: &str) -> ForeignText {
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
