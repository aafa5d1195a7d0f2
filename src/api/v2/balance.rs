//! getBalance: `{"clientKey": …}`, answered by amounts in US dollars, JSON numbers.

use crate::api::look_up::amount;
use crate::api::loose::Loose;
use crate::api::{AccountToken, Answer, Balance, LookUpError, Reader, verdict};

use super::begin_body;

/// Where it is sent.
pub(in crate::api) const PATH: &str = "/getBalance";

/// The body that asks for the balance.
pub(in crate::api) fn encode(account: &AccountToken) -> Vec<u8> {
    let mut body = begin_body(account);
    body.push(b'}');
    body
}

/// The balance, with what the service adds to it.
pub(in crate::api) fn decode(answer: &Answer, reader: &Reader<'_>) -> Result<Balance, LookUpError> {
    verdict::of_look_up(answer, reader, "no balance", |body| {
        let quantity = body.get("quantity").and_then(Loose::as_written);
        Some(Balance {
            amount: amount(body.get("balance")?)?,
            voucher: body.get("voucher_balance").and_then(amount),
            quantity: quantity.and_then(|digits| digits.parse().ok()),
        })
    })
}
