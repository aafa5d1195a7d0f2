//! `push FILE.csv --to redis:LIST`: checks the file as a run would, then pushes its rows as messages.
//!
//! What must stay true: where a row is bad, nothing is pushed, unless bad rows are skipped. A row has the id
//! that it has in a run, so that a push that was cut short can be repeated: what the queue has not finished, or
//! finished a short while ago (`repeat_window`), is noticed. Memory is a constant and 8 bytes a row.

use std::time::Duration;

use tokio::time::Instant;

use super::queue::{Desk, runtime};
use super::refusal::bad_input;
use super::{ExitCode, Failure, PushArgs, RedisList, print};
use crate::backlog::redis::message;
use crate::backlog::{GoodRow, GoodRows};
use crate::config::{Config, Environment};
use crate::redis::{LinkError, check_safe};
use crate::telemetry::safe;

/// Messages in a batch, and bytes after which it is full.
const BATCH: usize = 500;
const BATCH_BYTES: usize = 1 << 20;

/// Pushes a file's rows.
pub(super) fn push(args: &PushArgs) -> Result<ExitCode, Failure> {
    let config = Config::load(&args.settings.0, Environment::of_process())?;
    let settings = &config.settings;
    if let Some(warning) = config.site_warning().filter(|_| !settings.is_quiet()) {
        print::note(&format!("warning: {warning}\n"));
    }
    let (report, rows) = GoodRows::check(
        &args.file.0,
        settings.delimiter,
        settings.job.clone(),
        config.kinds.clone(),
        config.sites.clone(),
        |row| message(row).map(drop),
    )?;
    let Some(rows) = rows.filter(|_| report.is_good() || settings.skip_bad_rows) else {
        return Err(bad_input(&report));
    };
    if !report.is_good() {
        print::note(&format!("{report}\n"));
    }
    let left_out = match report.problem_count {
        0 => String::new(),
        1 => ", 1 bad one was left out".to_owned(),
        n => format!(", {n} bad ones were left out"),
    };
    let pushed = runtime()?.block_on(push_rows(&config, &args.to, rows))?;
    let requests = if pushed == 1 { "request" } else { "requests" };
    print::out(&format!(
        "{pushed} {requests} pushed to {}{left_out}\n",
        safe(&args.to.to_string())
    ))?;
    Ok(ExitCode::Success)
}

fn message(row: &GoodRow) -> Result<String, String> {
    message::write(&row.request, &row.others)
}

/// Pushes rows in batches, in order, and says how many.
async fn push_rows(config: &Config, list: &RedisList, mut rows: GoodRows) -> Result<u64, Failure> {
    let mut desk = Desk::open(config, list).await?;
    if let Some(Err(reason)) = desk.facts().map(check_safe)
        && !config.settings.is_quiet()
    {
        print::note(&format!("warning: {reason}\n"));
    }
    let most = config.settings.limit.unwrap_or(u64::MAX);
    let mut pushed = 0;
    while pushed < most {
        let batch = next_batch(&mut rows, most - pushed).map_err(|e| so_far(e, pushed))?;
        if batch.is_empty() {
            break;
        }
        let batch: Vec<&str> = batch.iter().map(String::as_str).collect();
        let sent = push_batch(&mut desk, &batch, config.settings.redis_patience).await;
        sent.map_err(|e| so_far(e, pushed))?;
        pushed += batch.len() as u64;
    }
    Ok(pushed)
}

/// The next messages, `most` at most.
fn next_batch(rows: &mut GoodRows, most: u64) -> Result<Vec<String>, Failure> {
    let mut batch = Vec::new();
    let mut bytes = 0;
    while batch.len() < BATCH && bytes < BATCH_BYTES && (batch.len() as u64) < most {
        let Some(row) = rows.next_row()? else { break };
        // It was checked that each has a message.
        let text = message(&row).map_err(|why| Failure::new(ExitCode::BadInput, why))?;
        bytes += text.len();
        batch.push(text);
    }
    Ok(batch)
}

/// Pushes one batch, again where it is not known whether it arrived: ids keep a message that comes twice from
/// being done twice.
async fn push_batch(desk: &mut Desk, batch: &[&str], patience: Duration) -> Result<(), Failure> {
    let began = Instant::now();
    loop {
        let sent = desk
            .ask(async |queue, connection| queue.push(connection, batch, None).await)
            .await;
        match sent {
            Ok(_) => return Ok(()),
            Err(LinkError::Away(_)) if began.elapsed() < patience => {}
            Err(e) => return Err(e.into()),
        }
    }
}

/// What ended the push, after so many.
fn so_far(failure: impl Into<Failure>, pushed: u64) -> Failure {
    let failure = failure.into();
    if pushed == 0 {
        return failure;
    }
    let again = super::again::command(std::env::args_os());
    failure.context(&format!("{pushed} requests were pushed, and then")).hint(format!(
        "to go on, push the file again: what the queue has already is noticed by its id\n  {again}"
    ))
}
