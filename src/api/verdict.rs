//! What an answer means, by rules that hold for both protocols.
//!
//! What must stay true: what money has bought (a job's id, a token) is taken from an answer whatever
//! its HTTP status; every other verdict needs an answer that decodes and whose HTTP status is 2xx or
//! 4xx; everything else is no verdict: an unknown create, a poll to be repeated, a question without
//! an answer.

use secrecy::SecretString;

use crate::job::{ForeignText, RemoteId};

use super::envelope::{Envelope, describe, is_decisive};
use super::loose::Loose;
use super::{Answer, CreateReply, LookUpError, PollReply, Reader, refusal};

/// Longest token, in bytes. Real ones have one to four thousand.
const LONGEST_TOKEN: usize = 64 * 1024;

/// What became of a create. `id` finds the job's id where the answer says that there is a job; then
/// it is created, whatever the HTTP status says: it is paid for.
pub(super) fn of_create(
    answer: &Answer,
    reader: &Reader<'_>,
    id: impl FnOnce(&Envelope<'_>) -> Option<RemoteId>,
) -> CreateReply {
    let body = Envelope::read(answer);
    if let Some(id) = body.as_ref().ok().and_then(id) {
        return CreateReply::Created(id);
    }
    if answer.status == 429 {
        return CreateReply::Throttled(answer.retry_after);
    }
    match body {
        Ok(body) if is_decisive(answer.status) && refuses(&body) => {
            CreateReply::Refused(refusal::of_create(&body, answer.status, reader))
        }
        Ok(_) => unknown(answer, reader, "no job id"),
        Err(fault) => unknown(answer, reader, &fault.to_string()),
    }
}

fn unknown(answer: &Answer, reader: &Reader<'_>, fault: &str) -> CreateReply {
    CreateReply::Unknown {
        why: describe(answer, reader.account, fault),
        pause: answer.retry_after.filter(|_| asks_for_a_pause(answer)),
    }
}

/// What was told about the account. `told` finds it in an answer that is no refusal; `missing` says
/// what it did not find.
pub(super) fn of_look_up<T>(
    answer: &Answer,
    reader: &Reader<'_>,
    missing: &str,
    told: impl FnOnce(&Envelope<'_>) -> Option<T>,
) -> Result<T, LookUpError> {
    if asks_for_a_pause(answer) {
        return Err(LookUpError::Throttled(answer.retry_after));
    }
    let unusable = |why: &str| LookUpError::Unusable(describe(answer, reader.account, why));
    let body = Envelope::read(answer).map_err(|fault| unusable(&fault.to_string()))?;
    if refuses(&body) && is_decisive(answer.status) {
        let refusal = refusal::of_create(&body, answer.status, reader);
        return Err(LookUpError::Refused(refusal));
    }
    let is_success = matches!(answer.status, 200..=299) && !refuses(&body);
    is_success
        .then(|| told(&body))
        .flatten()
        .ok_or_else(|| unusable(missing))
}

/// 429, or a 503 that says when to come back: a request to slow down, too.
fn asks_for_a_pause(answer: &Answer) -> bool {
    answer.status == 429 || answer.status == 503 && answer.retry_after.is_some()
}

/// Whether an answer without a usable id says that there is no job.
fn refuses(body: &Envelope<'_>) -> bool {
    body.says_no() || body.error_text().is_some() || body.success_is_false()
}

/// What became of a job. `members` are those of an object `result` or `solution` that may hold the
/// token; a bare string is always understood.
pub(super) fn of_poll(answer: &Answer, members: &[String], reader: &Reader<'_>) -> PollReply {
    let body = Envelope::read(answer);
    let solved = body.as_ref().ok().and_then(|body| solved(body, members));
    if let Some(token) = solved {
        return PollReply::Solved(token);
    }
    // Of a create a 503 leaves open whether the server acted, so there it stays unknown.
    if asks_for_a_pause(answer) {
        return PollReply::Throttled(answer.retry_after);
    }
    match body {
        Ok(body) if is_decisive(answer.status) => undecided(&body, answer, reader),
        Ok(_) => PollReply::Transient(describe(answer, reader.account, "not decisive")),
        Err(fault) => PollReply::Transient(describe(answer, reader.account, &fault.to_string())),
    }
}

/// The verdict of an answer that holds no token.
fn undecided(body: &Envelope<'_>, answer: &Answer, reader: &Reader<'_>) -> PollReply {
    let account = reader.account;
    let refused = || refusal::of_poll(body, answer.status, reader);
    // A code says more than the status beside it: an account that is refused has no failed jobs.
    if body.says_no() && refusal::is_explained(body, reader) {
        return refused();
    }
    match Status::of(body) {
        Status::Fail => PollReply::Failed(body.message(account)),
        _ if body.says_no() => refused(),
        Status::Success => PollReply::NoToken,
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
    // v1's name of it and v2's: servers of v1 are known to mix them.
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
