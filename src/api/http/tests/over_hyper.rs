//! The suite over hyper.

use crate::api::http::HttpClient;

const CLIENT: HttpClient = HttpClient::Hyper;

#[expect(clippy::duplicate_mod, reason = "the same tests for either client")]
#[path = "suite.rs"]
mod suite;
