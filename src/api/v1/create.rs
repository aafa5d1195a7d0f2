//! createJob: `{"api_token": …, "data": {"type_job_id": "11", …}}`, answered by a job's id.

use crate::api::loose::Loose;
use crate::api::{AccountToken, Answer, CreateReply, Protocol};
use crate::job::{RemoteId, Request, Value};

use super::{Envelope, begin_body, describe, is_decisive, push_string, refusal};

/// Where it is sent.
pub(in crate::api) const PATH: &str = "/api/createJob";

/// The body that creates a job for `request`, or `None` where its kind does not speak v1.
///
/// The fields stand in the kind's order under its wire names; empty optional ones are left out.
pub(in crate::api) fn encode(account: &AccountToken, request: &Request) -> Option<Vec<u8>> {
    let protocol = Protocol::V1.as_str();
    let kind = request.kind();
    let mut body = begin_body(account);
    body.extend_from_slice(b",\"data\":{\"type_job_id\":");
    push_string(&mut body, &kind.protocols.get(protocol)?.type_job_id);
    for (column, value) in kind.columns.iter().zip(request.values()) {
        let Some(value) = value else { continue };
        body.push(b',');
        push_string(&mut body, column.wire.get(protocol)?);
        body.push(b':');
        match value {
            Value::Text(text) => push_string(&mut body, text),
            Value::Bool(true) => body.extend_from_slice(b"true"),
            Value::Bool(false) => body.extend_from_slice(b"false"),
        }
    }
    body.extend_from_slice(b"}}");
    Some(body)
}

/// What became of a create.
///
/// A usable `job_id` without `"error": true` means created, whatever `success` and the HTTP status
/// say: the job is paid for. Known not to exist is it only after a decoded refusal or a 429.
pub(in crate::api) fn decode(answer: &Answer, account: &AccountToken) -> CreateReply {
    let body = Envelope::read(answer);
    if let Ok(body) = &body
        && !body.error_is_true()
        && let Some(id) = body.get("job_id").and_then(usable_id)
    {
        return CreateReply::Created(id);
    }
    if answer.status == 429 {
        return CreateReply::Throttled(answer.retry_after);
    }
    match body {
        Ok(body) if is_decisive(answer.status) && refuses(&body) => {
            CreateReply::Refused(refusal::of_create(&body, answer.status, account))
        }
        Ok(_) => CreateReply::Unknown(describe(answer, account, "no job id")),
        Err(fault) => CreateReply::Unknown(describe(answer, account, &fault.to_string())),
    }
}

/// Whether an answer without a usable id says that there is no job.
fn refuses(body: &Envelope<'_>) -> bool {
    body.says_no() || body.error_text().is_some() || body.success_is_false()
}

/// An id that can be sent back exactly as it came.
fn usable_id(value: &Loose<'_>) -> Option<RemoteId> {
    match value {
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
