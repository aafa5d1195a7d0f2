//! createTask: `{"clientKey": …, "task": {"type": "RecaptchaV2TokenTask", …}}`, answered by a task's
//! id.

use crate::api::envelope::{push_string, push_values, wire_type};
use crate::api::{AccountToken, Answer, CreateReply, Protocol, Reader, verdict};
use crate::job::Request;

use super::begin_body;

/// Where it is sent.
pub(in crate::api) const PATH: &str = "/createTask";

/// The body that creates a task for `request`, or `None` where its kind does not speak v2.
pub(in crate::api) fn encode(account: &AccountToken, request: &Request) -> Option<Vec<u8>> {
    let mut body = begin_body(account);
    body.extend_from_slice(b",\"task\":{\"type\":");
    push_string(&mut body, wire_type(request.kind(), Protocol::V2)?);
    push_values(&mut body, request, Protocol::V2)?;
    body.extend_from_slice(b"}}");
    Some(body)
}

/// What became of a create.
///
/// A usable `taskId` without an `errorId` other than 0 means created, whatever the HTTP status says.
/// Known not to exist is it only after a decoded refusal or a 429.
pub(in crate::api) fn decode(answer: &Answer, reader: &Reader<'_>) -> CreateReply {
    verdict::of_create(answer, reader, |body| {
        body.usable_id("taskId").filter(|_| !body.says_no())
    })
}
