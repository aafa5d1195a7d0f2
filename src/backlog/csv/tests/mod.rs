//! Tests of the whole backlog, on real files. A crash is an error at a crash point, upon which the backlog is
//! dropped without being closed.

mod conformance;
mod guard;
mod judging;
mod kill;
mod model;
mod once;
mod outbox;
mod reference;
mod resume;
mod rewrites;
mod rows;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use jiff::Timestamp;
use tempfile::TempDir;

use super::*;
use crate::api::{AccountToken, Protocol};
use crate::backlog::{Resume, Supply, Waiting};
use crate::job::{ErrorClass, Micros, RemoteId, SiteRule, Status};

/// A folder with an input, an output and a journal.
struct Bench {
    dir: TempDir,
}

impl Bench {
    fn new(input: &str) -> Self {
        let bench = Self {
            dir: tempfile::tempdir().unwrap(),
        };
        bench.input(input);
        bench
    }

    /// An input of rows with ids, of one kind.
    fn of(ids: &[&str]) -> Self {
        Self::new(&rows(ids))
    }

    fn input(&self, text: &str) {
        std::fs::write(self.path("in.csv"), text).unwrap();
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn settings(&self) -> CsvSettings {
        CsvSettings {
            input: CsvInput::File(self.path("in.csv")),
            sink: CsvSink::File(self.path("out.csv")),
            journal: None,
            delimiter: None,
            default_kind: Some("hcaptcha".to_owned()),
            kinds: Kinds::built_in(),
            sites: Allowlist::new(vec![SiteRule::try_new("*.example.com", vec![]).unwrap()]),
            identity: identity("https://api.example.net", "token-1"),
            skip_bad_rows: false,
            ordered: false,
            fresh: false,
            abandon_paid: false,
            retry_failed: false,
            limit: None,
            on_unknown_create: UnknownCreatePolicy::Retry,
            lock_wait: Duration::ZERO,
            wall_clock: || Timestamp::from_millisecond(1_700_000_000_000).unwrap(),
            crash_point: None,
            deliver_every: Duration::ZERO,
            forgets_beyond: usize::MAX,
        }
    }

    fn open(&self) -> (CsvBacklog, Opened) {
        self.open_with(|_| {})
    }

    fn open_with(&self, change: impl FnOnce(&mut CsvSettings)) -> (CsvBacklog, Opened) {
        // A child that another test starts holds our locks, too, from its fork to its exec.
        let patient = |settings: &mut CsvSettings| {
            settings.lock_wait = Duration::from_secs(10);
            change(settings);
        };
        self.try_open(patient).unwrap_or_else(|e| panic!("{e}"))
    }

    fn try_open(
        &self,
        change: impl FnOnce(&mut CsvSettings),
    ) -> Result<(CsvBacklog, Opened), OpenError> {
        let mut settings = self.settings();
        change(&mut settings);
        CsvBacklog::open(settings)
    }

    fn refused(&self, change: impl FnOnce(&mut CsvSettings)) -> OpenError {
        match self.try_open(change) {
            Ok(_) => panic!("it was not refused"),
            Err(e) => e,
        }
    }

    fn output(&self) -> String {
        std::fs::read_to_string(self.path("out.csv")).unwrap()
    }

    /// The output's lines as (id, status), in its order.
    fn results(&self) -> Vec<(String, String)> {
        let mut reader = csv::Reader::from_path(self.path("out.csv")).unwrap();
        let headers = reader.headers().unwrap().clone();
        let at = |name: &str| headers.iter().position(|h| h == name).unwrap();
        let (id, status) = (at("id"), at("status"));
        reader
            .records()
            .map(|r| r.unwrap())
            .map(|r| (r[id].to_owned(), r[status].to_owned()))
            .collect()
    }

    fn ids(&self) -> Vec<String> {
        self.results().into_iter().map(|(id, _)| id).collect()
    }

    fn status(&self) -> JournalStatus {
        JournalStatus::read(&self.path("out.csv")).unwrap()
    }

    fn sql(&self, sql: &str) -> i64 {
        let db = rusqlite::Connection::open(self.path("out.csv.journal")).unwrap();
        db.query_row(sql, [], |row| row.get(0)).unwrap()
    }
}

fn rows(ids: &[&str]) -> String {
    let mut text = "id,website_url,website_key\n".to_owned();
    for id in ids {
        text.push_str(&format!("{id},https://a.example.com/{id},k\n"));
    }
    text
}

fn identity(base_url: &str, token: &str) -> Identity {
    Identity {
        base_url: base_url.to_owned(),
        protocol: Protocol::V1,
        account: AccountToken::try_new(token).unwrap(),
    }
}

fn now() -> Timestamp {
    Timestamp::from_millisecond(1_700_000_000_000).unwrap()
}

fn claim(backlog: &mut CsvBacklog, max: usize) -> Claimed {
    backlog.claim(max).now_or_never().unwrap().unwrap()
}

/// Claims until there is nothing more.
fn claim_all(backlog: &mut CsvBacklog) -> Vec<Claim> {
    let mut all = Vec::new();
    loop {
        let claimed = claim(backlog, 7);
        all.extend(claimed.jobs);
        if claimed.supply == Supply::Exhausted {
            return all;
        }
    }
}

fn record(backlog: &mut CsvBacklog, batch: &[(Ticket, Record)]) -> Result<(), BacklogError> {
    backlog.record(batch, 0).now_or_never().unwrap().map(|_| ())
}

fn record_one(backlog: &mut CsvBacklog, ticket: Ticket, one: Record) {
    record(backlog, &[(ticket, one)]).unwrap();
}

fn close(backlog: &mut CsvBacklog) {
    backlog.close("done").now_or_never().unwrap().unwrap();
}

fn begin() -> Record {
    Record::Begin {
        reserve: Micros(1000),
        at: now(),
    }
}

fn created(n: u64) -> Record {
    let deadline = now() + Duration::from_secs(180);
    Record::Created(Waiting {
        remote_id: RemoteId::number(&n.to_string()).unwrap(),
        submitted_at: now(),
        deadline,
    })
}

fn outcome(status: Status) -> Outcome {
    Outcome {
        status,
        token: (status == Status::Solved).then(|| "P1_secret".to_owned().into()),
        error: (status != Status::Solved).then_some(ErrorClass::SolveFailed),
        attempts: 1,
        polls: 3,
        cost: Micros(1000),
        ..Outcome::rejected(ErrorClass::SolveFailed, String::new(), now())
    }
}

fn finish(status: Status) -> Record {
    let refund = if status == Status::Solved {
        Micros::ZERO
    } else {
        Micros(1000)
    };
    Record::Finish {
        outcome: Arc::new(outcome(status)),
        refund,
        unknown_create: false,
    }
}

/// Takes a claimed job to its end.
fn solve(backlog: &mut CsvBacklog, ticket: Ticket, status: Status) {
    record_one(backlog, ticket, begin());
    record_one(backlog, ticket, created(ticket.0));
    record_one(backlog, ticket, finish(status));
}

/// A run that takes everything to its end.
fn run(bench: &Bench, status: Status, change: impl FnOnce(&mut CsvSettings)) -> Opened {
    let (mut backlog, opened) = bench.open_with(change);
    for job in claim_all(&mut backlog) {
        match job.resume {
            Resume::Queued => solve(&mut backlog, job.ticket, status),
            Resume::Waiting(_) => record_one(&mut backlog, job.ticket, finish(status)),
        }
    }
    close(&mut backlog);
    opened
}
