//! The CSV backlog: reading, and batches of records with their journal and output.

use std::cell::RefCell;
use std::path::Path;
use std::time::Duration;

use divan::Bencher;
use divan::counter::ItemsCount;
use futures_util::FutureExt;
use jiff::Timestamp;
use pollwheel::backlog::{
    Backlog, Claim, CsvBacklog, CsvInput, CsvSettings, CsvSink, Record, Supply, Ticket,
    UnknownCreatePolicy, check,
};

use crate::rows::{self, Step};

const ROWS: usize = 10_000;
const BATCHES: [usize; 3] = [1, 16, 128];
const SAMPLES: u32 = 50;

fn open(folder: &Path, count: usize) -> CsvBacklog {
    let input = folder.join("in.csv");
    std::fs::write(&input, rows::csv(count)).unwrap();
    let settings = CsvSettings {
        input: CsvInput::File(input),
        sink: CsvSink::File(folder.join("out.csv")),
        journal: None,
        delimiter: None,
        default_kind: Some("hcaptcha".to_owned()),
        kinds: rows::kinds(),
        sites: rows::sites(),
        identity: rows::identity(),
        skip_bad_rows: false,
        ordered: false,
        fresh: false,
        abandon_paid: false,
        retry_failed: false,
        limit: None,
        on_unknown_create: UnknownCreatePolicy::Retry,
        lock_wait: Duration::ZERO,
        wall_clock: Timestamp::now,
        crash_point: None,
        deliver_every: Duration::ZERO,
        forgets_beyond: usize::MAX,
    };
    CsvBacklog::open(settings).unwrap().0
}

fn claim(backlog: &mut CsvBacklog, count: usize) -> Vec<Claim> {
    let mut jobs = Vec::new();
    while jobs.len() < count {
        let claimed = backlog.claim(count - jobs.len());
        let claimed = claimed.now_or_never().unwrap().unwrap();
        jobs.extend(claimed.jobs);
        assert!(jobs.len() == count || claimed.supply != Supply::Exhausted);
    }
    jobs
}

/// A backlog, and so many claims of it.
pub fn claimed(folder: &Path, count: usize) -> (CsvBacklog, Vec<Claim>) {
    let mut backlog = open(folder, count);
    let jobs = claim(&mut backlog, count);
    (backlog, jobs)
}

fn record(backlog: &mut CsvBacklog, batch: &[(Ticket, Record)]) {
    backlog.record(batch, 0).now_or_never().unwrap().unwrap();
}

#[divan::bench]
fn check_file(bencher: Bencher<'_, '_>) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("in.csv");
    std::fs::write(&path, rows::csv(ROWS)).unwrap();
    bencher.counter(ItemsCount::new(ROWS)).bench_local(|| {
        let kind = Some("hcaptcha".to_owned());
        check(&path, None, kind, rows::kinds(), rows::sites()).unwrap()
    });
}

/// Rows of a file that was checked, handed out as requests.
#[divan::bench(sample_count = 20, sample_size = 1)]
fn claim_rows(bencher: Bencher<'_, '_>) {
    let folder = tempfile::tempdir().unwrap();
    bencher
        .counter(ItemsCount::new(ROWS))
        .with_inputs(|| open(folder.path(), ROWS))
        .bench_local_refs(|backlog| claim(backlog, ROWS));
}

/// The records of a request's life up to the one that is measured.
fn record_batches(bencher: Bencher<'_, '_>, size: usize, before: &[Step], measured: Step) {
    let folder = tempfile::tempdir().unwrap();
    let backlog = RefCell::new(open(folder.path(), size * (SAMPLES as usize + 1)));
    bencher
        .counter(ItemsCount::new(size))
        .with_inputs(|| {
            let backlog = &mut backlog.borrow_mut();
            let claims = claim(backlog, size);
            for step in before {
                record(backlog, &step(&claims));
            }
            measured(&claims)
        })
        .bench_local_refs(|batch| record(&mut backlog.borrow_mut(), batch));
}

#[divan::bench(args = BATCHES, sample_count = SAMPLES, sample_size = 1)]
fn journal_begin(bencher: Bencher<'_, '_>, size: usize) {
    record_batches(bencher, size, &[], rows::begun);
}

#[divan::bench(args = BATCHES, sample_count = SAMPLES, sample_size = 1)]
fn journal_created(bencher: Bencher<'_, '_>, size: usize) {
    record_batches(bencher, size, &[rows::begun], rows::created);
}

/// With the lines in the output file.
#[divan::bench(args = BATCHES, sample_count = SAMPLES, sample_size = 1)]
fn journal_finish_and_write(bencher: Bencher<'_, '_>, size: usize) {
    record_batches(bencher, size, &[rows::begun, rows::created], rows::finished);
}
