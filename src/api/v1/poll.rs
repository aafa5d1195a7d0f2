//! getJobResult: `{"api_token": …, "job_id": …}`, answered by a status and, in the end, a token.

use secrecy::SecretString;

use crate::api::loose::Loose;
use crate::api::{AccountToken, Answer, PollReply};
use crate::job::{ForeignText, RemoteId};

use super::{Envelope, begin_body, describe, is_decisive, refusal};

/// Where it is sent.
pub(in crate::api) const PATH: &str = "/api/getJobResult";

/// Longest token, in bytes. Real ones have one to four thousand.
const LONGEST_TOKEN: usize = 64 * 1024;

/// The body that asks for the job `id`, which goes back as it came.
pub(in crate::api) fn encode(account: &AccountToken, id: &RemoteId) -> Vec<u8> {
    let mut body = begin_body(account);
    body.extend_from_slice(b",\"job_id\":");
    body.extend_from_slice(id.to_json().as_bytes());
    body.push(b'}');
    body
}

/// What became of a job. `members` are those of an object `result` that may hold the token; a bare
/// string is always understood.
pub(in crate::api) fn decode(
    answer: &Answer,
    members: &[String],
    account: &AccountToken,
) -> PollReply {
    let body = Envelope::read(answer);
    let solved = body.as_ref().ok().and_then(|body| solved(body, members));
    if let Some(token) = solved {
        return PollReply::Solved(token);
    }
    // A 503 that says when to come back is a request to slow down, too. (Of a create it leaves open
    // whether the server acted, so there it stays unknown.)
    if answer.status == 429 || answer.status == 503 && answer.retry_after.is_some() {
        return PollReply::Throttled(answer.retry_after);
    }
    match body {
        Ok(body) if is_decisive(answer.status) => verdict(&body, answer, account),
        Ok(_) => PollReply::Transient(describe(answer, account, "not decisive")),
        Err(fault) => PollReply::Transient(describe(answer, account, &fault.to_string())),
    }
}

/// The verdict of an answer that holds no token.
fn verdict(body: &Envelope<'_>, answer: &Answer, account: &AccountToken) -> PollReply {
    let refused = || PollReply::Refused(refusal::of_poll(body, answer.status, account));
    match Status::of(body) {
        Status::Fail => PollReply::Failed(body.message(account)),
        _ if body.says_no() => refused(),
        Status::Success => PollReply::Failed(ForeignText::clean("success without a token", &[])),
        Status::Pending => PollReply::Pending,
        Status::Other(_) | Status::Missing if body.error_text().is_some() => refused(),
        Status::Missing if body.success_is_false() => refused(),
        // Under a 4xx it is a proxy's status, not the job's.
        Status::Other(status) if answer.status < 400 => {
            PollReply::UnknownStatus(ForeignText::clean(&status, &[account.expose()]))
        }
        Status::Other(_) | Status::Missing => {
            PollReply::Transient(describe(answer, account, "no status of a job"))
        }
    }
}

/// The token of an answer that says success and does not contradict itself.
fn solved(body: &Envelope<'_>, members: &[String]) -> Option<SecretString> {
    if body.says_no() || !matches!(Status::of(body), Status::Success) {
        return None;
    }
    // `solution` is v2's name of it.
    ["result", "solution"]
        .iter()
        .find_map(|name| token(body.get(name)?, members))
}

/// A usable token in `result`: a string (braces around one included), or an object that has one
/// under one of `members`, the first of which wins.
fn token(result: &Loose<'_>, members: &[String]) -> Option<SecretString> {
    let text = result
        .as_text()
        .or_else(|| members.iter().find_map(|name| result.get(name)?.as_text()))?
        .trim();
    let is_whole = !text
        .chars()
        .any(|c| c.is_control() || c == char::REPLACEMENT_CHARACTER);
    let good = !text.is_empty() && text.len() <= LONGEST_TOKEN && is_whole;
    good.then(|| SecretString::from(text))
}

/// The `status` of an answer.
enum Status {
    Success,
    Pending,
    Fail,
    /// One that no document names, or that is no string.
    Other(String),
    Missing,
}

impl Status {
    fn of(body: &Envelope<'_>) -> Self {
        let text = match body.get("status") {
            Some(Loose::Text(text)) => text.trim(),
            Some(Loose::Number(digits)) => digits,
            Some(Loose::Bool(true)) => "true",
            Some(Loose::Bool(false)) => "false",
            Some(Loose::List(_) | Loose::Object(_)) => "(not a string)",
            Some(Loose::Null) | None => "",
        };
        match text.to_ascii_lowercase().as_str() {
            "" => Self::Missing,
            "success" | "ready" => Self::Success,
            "running" | "processing" | "waiting" | "pending" => Self::Pending,
            "fail" | "failed" => Self::Fail,
            _ => Self::Other(text.to_owned()),
        }
    }
}
