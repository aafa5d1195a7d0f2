//! getBalance: `{"api_token": …}`, answered by an amount in US dollars, a decimal string.

use crate::api::look_up::amount;
use crate::api::{AccountToken, Answer, Balance, LookUpError, Reader, verdict};

use super::begin_body;

/// Where it is sent.
pub(in crate::api) const PATH: &str = "/api/getBalance";

/// The body that asks for the balance.
pub(in crate::api) fn encode(account: &AccountToken) -> Vec<u8> {
    let mut body = begin_body(account);
    body.push(b'}');
    body
}

/// The balance.
pub(in crate::api) fn decode(answer: &Answer, reader: &Reader<'_>) -> Result<Balance, LookUpError> {
    verdict::of_look_up(answer, reader, "no balance", |body| {
        Some(Balance {
            amount: amount(body.get("balance")?)?,
            voucher: None,
            quantity: None,
        })
    })
}
