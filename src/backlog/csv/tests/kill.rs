//! Processes of their own: killed without any clean-up, and with a disk that is really full. Each of these
//! tests starts itself again as the process to be killed.

use std::os::unix::process::ExitStatusExt;
use std::process::{Command, ExitStatus};
use std::sync::Arc;

use super::*;

/// The number of the signal that an abort ends with.
const SIGABRT: i32 = 6;

const DIR: &str = "POLLWHEEL_TEST_DIR";
const POINT: &str = "POLLWHEEL_TEST_CRASH_AT";

/// The folder that this process is to work in, where it is one that a test has started.
fn as_child() -> Option<PathBuf> {
    std::env::var_os(DIR).map(PathBuf::from)
}

/// Runs the named test again as a child in `bench`'s folder, from a shell that first does `prepare`.
fn start_child(bench: &Bench, test: &str, prepare: &str, point: &str) -> ExitStatus {
    let name = format!("backlog::csv::tests::kill::{test}");
    Command::new("sh")
        .args(["-c", &format!("{prepare}; exec \"$0\" --exact \"$1\"")])
        .env(DIR, bench.dir.path())
        .env(POINT, point)
        .args([std::env::current_exe().unwrap().to_str().unwrap(), &name])
        .output()
        .unwrap()
        .status
}

/// A bench in the folder of the parent's.
fn settings_in(dir: &std::path::Path, settings: &mut CsvSettings) {
    settings.input = CsvInput::File(dir.join("in.csv"));
    settings.sink = CsvSink::File(dir.join("out.csv"));
}

#[test]
fn an_aborted_process_is_survived_at_every_step() {
    if let Some(dir) = as_child() {
        let mut point: CrashPoint = std::env::var(POINT).unwrap().parse().unwrap();
        point.only_fail = false;
        run(&Bench::of(&[]), Status::Solved, |s| {
            settings_in(&dir, s);
            s.crash_point = Some(point);
            s.retry_failed = true;
            s.ordered = true;
        });
        return;
    }
    for point in [
        "before-commit:3",
        "after-begin-commit:2",
        "after-commit:4",
        "mid-append:2",
        "after-append:2",
        "after-fsync:2",
        "after-rewrite-file:1",
        "after-intent:1",
        "after-rename:1",
        "after-checkpoint:1",
    ] {
        let bench = Bench::of(&["a", "b"]);
        run(&bench, Status::Failed, |_| {});
        bench.input(&rows(&["c", "b", "d", "a"]));
        let status = start_child(
            &bench,
            "an_aborted_process_is_survived_at_every_step",
            ":",
            point,
        );
        assert_eq!(status.signal(), Some(SIGABRT), "{point}: it was not killed");
        assert!(!bench.status().running);
        run(&bench, Status::Solved, |s| {
            s.retry_failed = true;
            s.ordered = true;
        });
        assert_eq!(bench.ids(), ["c", "b", "d", "a"], "{point}");
        let status = bench.status();
        assert_eq!(status.solved, 4, "{point}");
        assert_eq!(status.creates, 6 + status.unknown_creates, "{point}");
    }
}

#[test]
fn an_output_that_cannot_grow_loses_nothing() {
    let ids: Vec<String> = (0..60).map(|n| format!("r{n}")).collect();
    if let Some(dir) = as_child() {
        let (mut backlog, _) = Bench::of(&[]).open_with(|s| settings_in(&dir, s));
        // The journal is to stay small, so that the output is what reaches the limit.
        backlog
            .journal
            .db
            .execute_batch("PRAGMA wal_autocheckpoint = 1")
            .unwrap();
        let mut delivered = 0;
        for job in claim_all(&mut backlog) {
            record_one(&mut backlog, job.ticket, begin());
            record_one(&mut backlog, job.ticket, created(job.ticket.0));
            let mut big = outcome(Status::Solved);
            big.token = Some("x".repeat(10_000).into());
            let outcome = Arc::new(big);
            let batch = [(
                job.ticket,
                Record::Finish {
                    outcome,
                    refund: Micros::ZERO,
                    unknown_create: false,
                },
            )];
            for _ in 0..2 {
                match record(&mut backlog, &batch) {
                    Ok(()) => delivered += 1,
                    Err(BacklogError::Retryable { what, .. }) if what.contains("out.csv: ") => {
                        let text = std::fs::read(dir.join("out.csv")).unwrap();
                        assert!(text.ends_with(b"\n"), "half a line is left");
                        std::process::exit(if delivered > 9 { 7 } else { 8 });
                    }
                    Err(e) => panic!("{e}"),
                }
            }
        }
        return;
    }
    let bench = Bench::of(&ids.iter().map(String::as_str).collect::<Vec<_>>());
    // Of the file that grows too large, as much is written as fits. Blocks of 512 or of 1024 bytes.
    let full = "trap '' XFSZ; ulimit -f 500";
    let status = start_child(&bench, "an_output_that_cannot_grow_loses_nothing", full, "");
    assert_eq!(status.code(), Some(7));
    run(&bench, Status::Solved, |_| {});
    let mut seen = bench.ids();
    seen.sort();
    let mut all = ids.clone();
    all.sort();
    assert_eq!(seen, all);
    assert_eq!(bench.status().creates, 60);
}
