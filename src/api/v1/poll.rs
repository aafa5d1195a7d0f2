//! getJobResult: `{"api_token": …, "job_id": …}`, answered by a status and, in the end, a token.

use crate::api::{AccountToken, Answer, PollReply, Reader, verdict};
use crate::job::RemoteId;

use super::begin_body;

/// Where it is sent.
pub(in crate::api) const PATH: &str = "/api/getJobResult";

/// The body that asks for the job `id`, which goes back as it came.
pub(in crate::api) fn encode(account: &AccountToken, id: &RemoteId) -> Vec<u8> {
    let mut body = begin_body(account);
    body.extend_from_slice(b",\"job_id\":");
    body.extend_from_slice(id.to_json().as_bytes());
    body.push(b'}');
    body
}

/// What became of a job. `members` are those of an object `result` that may hold the token.
///
/// A status of v2's shape is understood as well: one of the originals prints it.
pub(in crate::api) fn decode(
    answer: &Answer,
    members: &[String],
    reader: &Reader<'_>,
) -> PollReply {
    verdict::of_poll(answer, members, reader)
}
