//! getTaskResult: `{"clientKey": …, "taskId": …}`, answered by a status and, in the end, a token.

use crate::api::{AccountToken, Answer, PollReply, Reader, verdict};
use crate::job::RemoteId;

use super::begin_body;

/// Where it is sent.
pub(in crate::api) const PATH: &str = "/getTaskResult";

/// The body that asks for the task `id`, which goes back as it came: a string or a number.
pub(in crate::api) fn encode(account: &AccountToken, id: &RemoteId) -> Vec<u8> {
    let mut body = begin_body(account);
    body.extend_from_slice(b",\"taskId\":");
    body.extend_from_slice(id.to_json().as_bytes());
    body.push(b'}');
    body
}

/// What became of a task. `members` are those of `solution` that may hold the token.
pub(in crate::api) fn decode(
    answer: &Answer,
    members: &[String],
    reader: &Reader<'_>,
) -> PollReply {
    verdict::of_poll(answer, members, reader)
}
