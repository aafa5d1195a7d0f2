//! Requests, records and outcomes like those of a run.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use pollwheel::api::{AccountToken, Identity, Protocol};
use pollwheel::backlog::{Claim, Record, Ticket, Waiting};
use pollwheel::job::{Allowlist, Kinds, Micros, Outcome, RemoteId, SiteRule, Status};

/// A token of the usual length.
pub const TOKEN: &str = "P1_eyJ0eXAiOiJKV1QiLCJhbGciOiJIUzI1NiJ9.mZ4Yy2bQ0sXW1nKd8vUeT5cRjLxPpGaHqVoIiMfDwNtEkSgCyBzOuJrQlA7hW3mZ4Yy2bQ0sXW1nKd8vUeT5cRjLxPpGaHqVoIiMfDwNtEkSgCyBzOuJrQlA7hW3mZ4Yy2bQ0sXW1nKd8vUeT5cRjLxPpGaHqVoIiMfDwNtEkSgCyBzOuJrQlA7hW3mZ4Yy2bQ0sX.W1nKd8vUeT5cRjLxPpGaHqVoIiMfDwNtEkSgCyBzOuJrQlA7";

pub fn url(n: usize) -> String {
    format!("https://shop.example.com/login?row={n}")
}

/// The records of one step of requests' lives.
pub type Step = fn(&[Claim]) -> Vec<(Ticket, Record)>;

/// An input of `count` rows.
pub fn csv(count: usize) -> String {
    let mut text = "id,website_url,website_key\n".to_owned();
    for n in 0..count {
        text.push_str(&format!("row-{n},{},10000000-ffff-ffff\n", url(n)));
    }
    text
}

/// The message of row `n` for a queue.
pub fn message(n: usize) -> String {
    format!(
        r#"{{"id":"row-{n}","job":"hcaptcha","website_url":"{}","website_key":"10000000-ffff-ffff"}}"#,
        url(n)
    )
}

pub fn kinds() -> Kinds {
    Kinds::built_in()
}

pub fn sites() -> Allowlist {
    Allowlist::new(vec![SiteRule::try_new("*.example.com", vec![]).unwrap()])
}

pub fn identity() -> Identity {
    Identity {
        base_url: "https://api.example.net".to_owned(),
        protocol: Protocol::V1,
        account: AccountToken::try_new("token-1").unwrap(),
    }
}

pub fn begun(claims: &[Claim]) -> Vec<(Ticket, Record)> {
    let begin = Record::Begin {
        reserve: Micros(1000),
        at: Timestamp::now(),
    };
    claims.iter().map(|c| (c.ticket, begin.clone())).collect()
}

pub fn created(claims: &[Claim]) -> Vec<(Ticket, Record)> {
    let now = Timestamp::now();
    let waiting = |claim: &Claim| Waiting {
        remote_id: RemoteId::number(&(1_795_380_688_135_416 + claim.ticket.0).to_string()).unwrap(),
        submitted_at: now,
        deadline: now + Duration::from_secs(180),
    };
    let record = |claim: &Claim| (claim.ticket, Record::Created(waiting(claim)));
    claims.iter().map(record).collect()
}

pub fn finished(claims: &[Claim]) -> Vec<(Ticket, Record)> {
    let record = |claim: &Claim| {
        let finish = Record::Finish {
            outcome: Arc::new(outcome(1_795_380_688_135_416 + claim.ticket.0)),
            refund: Micros::ZERO,
            unknown_create: false,
        };
        (claim.ticket, finish)
    };
    claims.iter().map(record).collect()
}

pub fn outcome(remote_id: u64) -> Outcome {
    let now = Timestamp::now();
    Outcome {
        status: Status::Solved,
        token: Some(TOKEN.to_owned().into()),
        error: None,
        message: String::new(),
        remote_id: Some(RemoteId::number(&remote_id.to_string()).unwrap()),
        attempts: 1,
        polls: 3,
        submitted_at: Some(now),
        finished_at: now,
        expires_at: Some(now + Duration::from_secs(120)),
        elapsed: Some(Duration::from_millis(6312)),
        cost: Micros(1000),
    }
}
