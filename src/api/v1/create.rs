//! createJob: `{"api_token": …, "data": {"type_job_id": "11", …}}`, answered by a job's id.

use crate::api::envelope::{push_string, push_values, wire_type};
use crate::api::{AccountToken, Answer, CreateReply, Protocol, Reader, verdict};
use crate::job::Request;

use super::begin_body;

/// Where it is sent.
pub(in crate::api) const PATH: &str = "/api/createJob";

/// The body that creates a job for `request`, or `None` where its kind does not speak v1.
pub(in crate::api) fn encode(account: &AccountToken, request: &Request) -> Option<Vec<u8>> {
    let mut body = begin_body(account);
    body.extend_from_slice(b",\"data\":{\"type_job_id\":");
    push_string(&mut body, wire_type(request.kind(), Protocol::V1)?);
    push_values(&mut body, request, Protocol::V1)?;
    body.extend_from_slice(b"}}");
    Some(body)
}

/// What became of a create.
///
/// A usable `job_id` without `"error": true` means created, whatever `success` and the HTTP status
/// say: the job is paid for. Known not to exist is it only after a decoded refusal or a 429.
pub(in crate::api) fn decode(answer: &Answer, reader: &Reader<'_>) -> CreateReply {
    verdict::of_create(answer, reader, |body| {
        body.usable_id("job_id").filter(|_| !body.error_is_true())
    })
}
