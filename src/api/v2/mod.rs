//! Protocol v2: createTask, getTaskResult and getBalance, the shape that most services of this field speak.
//!
//! A message is one file: its path, its encoder, its decoder, and nothing that touches a socket. What
//! an answer means is decided in [`verdict`](super::verdict), by rules that v1 shares.
//!
//! What must stay true: a body is built from validated fields only. Paths are appended to the base
//! URL, which ends in `/v2` at the service itself and in nothing at others.

mod balance;
mod create;
mod poll;

pub(super) use balance::{
    PATH as BALANCE_PATH, decode as decode_balance, encode as encode_balance,
};
pub(super) use create::{PATH as CREATE_PATH, decode as decode_create, encode as encode_create};
pub(super) use poll::{PATH as POLL_PATH, decode as decode_poll, encode as encode_poll};

use super::{AccountToken, envelope};

/// Begins a body with the account token: `{"clientKey":"…"`.
fn begin_body(account: &AccountToken) -> Vec<u8> {
    envelope::begin_body("clientKey", account)
}

#[cfg(test)]
mod tests;
