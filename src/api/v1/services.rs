//! getService: `{"api_token": …}`, answered by a list of the kinds of job on offer.

use crate::api::envelope::is_true;
use crate::api::look_up;
use crate::api::loose::Loose;
use crate::api::{AccountToken, Answer, LookUpError, Reader, Service, verdict};
use crate::job::ForeignText;

use super::begin_body;

/// Where it is sent.
pub(in crate::api) const PATH: &str = "/api/getService";

/// The body that asks for the services.
pub(in crate::api) fn encode(account: &AccountToken) -> Vec<u8> {
    let mut body = begin_body(account);
    body.push(b'}');
    body
}

/// The services, in the answer's order. An entry without an id is passed over: it cannot be ordered.
pub(in crate::api) fn decode(
    answer: &Answer,
    reader: &Reader<'_>,
) -> Result<Vec<Service>, LookUpError> {
    verdict::of_look_up(answer, reader, "no list of services", |body| {
        let Some(Loose::List(entries)) = body.get("service") else {
            return None;
        };
        let services = entries
            .iter()
            .filter_map(|entry| service(entry, reader.account));
        Some(services.collect())
    })
}

fn service(entry: &Loose<'_>, account: &AccountToken) -> Option<Service> {
    let text = |name: &str| {
        let written = entry.get(name).and_then(Loose::as_written);
        ForeignText::clean(written.unwrap_or_default(), &[account.expose()])
    };
    entry.get("id")?.as_written()?;
    Some(Service {
        id: text("id"),
        name: text("name"),
        price: entry.get("price").and_then(look_up::price),
        avg_success: text("avg_success"),
        avg_time: text("avg_time"),
        is_active: entry.get("is_active").map(is_true),
    })
}
