//! The suite over reqwest.

use crate::api::http::HttpClient;

const CLIENT: HttpClient = HttpClient::Reqwest;

#[expect(clippy::duplicate_mod, reason = "the same tests for either client")]
#[path = "suite.rs"]
mod suite;
