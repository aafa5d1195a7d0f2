//! The primary that Sentinels name.
//!
//! What must stay true: a server is only used that a Sentinel names now, and that itself says that it is the
//! primary. Source: Redis, "Guidelines for Redis clients with support for Redis Sentinel".

use std::collections::HashSet;

use ::redis::cmd;
use futures_util::stream::{FuturesUnordered, StreamExt};

use super::dial::{Server, at, dial, primary};
use super::error::{LinkError, judge};
use super::settings::Settings;
use super::url::Address;

/// Connects to the primary `master`. All Sentinels are asked at once, and the first answer that leads to a
/// primary is taken.
pub(super) async fn find(
    settings: &Settings,
    sentinels: &[Address],
    master: &str,
) -> Result<Server, LinkError> {
    let mut answers: FuturesUnordered<_> = sentinels
        .iter()
        .map(|sentinel| ask(settings, sentinel, master))
        .collect();
    let mut tried = HashSet::new();
    let mut faults = Faults::default();
    while let Some(answer) = answers.next().await {
        match answer {
            Ok(address) if tried.contains(&address) => {}
            Ok(address) => {
                match primary(settings, &address).await {
                    Ok(server) => return Ok(server),
                    Err(e) => faults.push(e),
                }
                tried.insert(address);
            }
            Err(e) => faults.push(e),
        }
    }
    Err(faults.into_error(&format!("no Sentinel leads to the primary {master:?}")))
}

async fn ask(settings: &Settings, sentinel: &Address, master: &str) -> Result<Address, LinkError> {
    let mut connection = dial(settings, sentinel, &settings.sentinel_login, 0).await?;
    let mut question = cmd("SENTINEL");
    question.arg("GET-MASTER-ADDR-BY-NAME").arg(master);
    let answer: Result<Option<(String, u16)>, _> = question.query_async(&mut connection).await;
    let answer = answer.map_err(|e| at(sentinel, judge(&e, &settings.secrets()).error))?;
    let (host, port) = answer
        .ok_or_else(|| LinkError::Away(format!("the Sentinel {sentinel} knows no such primary")))?;
    Ok(Address::Tcp(host, port))
}

/// What was wrong with each of several ways.
#[derive(Default)]
pub(super) struct Faults {
    away: Vec<String>,
    other: Option<LinkError>,
}

impl Faults {
    pub(super) fn push(&mut self, error: LinkError) {
        match error {
            LinkError::Away(text) => self.away.push(text),
            other => self.other = Some(other),
        }
    }

    /// All of it as one error: what waiting does not mend comes first.
    pub(super) fn into_error(self, what: &str) -> LinkError {
        self.other
            .unwrap_or_else(|| LinkError::Away(format!("{what}: {}", self.away.join("; "))))
    }
}
