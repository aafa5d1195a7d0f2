//! Protocol v1: createJob, getJobResult, getBalance and getService.
//!
//! A message is one file: its path, its encoder, its decoder, and nothing that touches a socket. What
//! an answer means is decided in [`verdict`](super::verdict), by rules that v2 shares.
//!
//! What must stay true: a body is built from validated fields only.

mod balance;
mod create;
mod poll;
mod services;

pub(super) use balance::{
    PATH as BALANCE_PATH, decode as decode_balance, encode as encode_balance,
};
pub(super) use create::{PATH as CREATE_PATH, decode as decode_create, encode as encode_create};
pub(super) use poll::{PATH as POLL_PATH, decode as decode_poll, encode as encode_poll};
pub(super) use services::{
    PATH as SERVICES_PATH, decode as decode_services, encode as encode_services,
};

use super::{AccountToken, envelope};

/// Begins a body with the account token: `{"api_token":"…"`.
fn begin_body(account: &AccountToken) -> Vec<u8> {
    envelope::begin_body("api_token", account)
}

#[cfg(test)]
mod tests;
