//! The messages without a transport, for `benches/` alone. All are v1's.

use crate::job::{RemoteId, Request};

use super::{AccountToken, Answer, CreateReply, PollReply, Reader, RefusalRules, v1};

/// The body of a create; `None` where the kind does not speak v1.
#[must_use]
pub fn encode_create(account: &AccountToken, request: &Request) -> Option<Vec<u8>> {
    v1::encode_create(account, request)
}

/// The body of a poll.
#[must_use]
pub fn encode_poll(account: &AccountToken, id: &RemoteId) -> Vec<u8> {
    v1::encode_poll(account, id)
}

/// What an answer to a create means.
#[must_use]
pub fn decode_create(answer: &Answer, account: &AccountToken, rules: &RefusalRules) -> CreateReply {
    v1::decode_create(answer, &Reader { account, rules })
}

/// What an answer to a poll means.
#[must_use]
pub fn decode_poll(
    answer: &Answer,
    members: &[String],
    account: &AccountToken,
    rules: &RefusalRules,
) -> PollReply {
    v1::decode_poll(answer, members, &Reader { account, rules })
}
