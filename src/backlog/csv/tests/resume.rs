//! What a killed run leaves, and what the next one makes of it.

use std::sync::Arc;

use super::*;

#[test]
fn a_recorded_job_is_adopted_and_never_created_again() {
    let bench = Bench::of(&["a", "b"]);
    let (mut backlog, _) = bench.open();
    let jobs = claim_all(&mut backlog);
    record_one(&mut backlog, jobs[0].ticket, begin());
    record_one(&mut backlog, jobs[0].ticket, created(77));
    record_one(
        &mut backlog,
        jobs[0].ticket,
        Record::Release {
            polls: 5,
            delay: Duration::ZERO,
        },
    );
    drop(backlog);
    assert_eq!(
        bench.status().pending,
        Pending {
            queued: 1,
            submitting: 0,
            waiting: 1
        }
    );
    let (mut backlog, opened) = bench.open();
    assert_eq!((opened.adopted, opened.to_go, opened.done), (1, Some(1), 0));
    let first = claim(&mut backlog, 1);
    let job = &first.jobs[0];
    assert!(
        matches!(&job.resume, Resume::Waiting(w) if w.remote_id.to_json() == "77"),
        "{job:?}"
    );
    assert_eq!(
        (job.history.creates, job.history.polls, job.history.spent),
        (1, 5, Micros(1000))
    );
    assert!(first.supply != Supply::Exhausted);
    let rest = claim_all(&mut backlog);
    assert_eq!(rest.len(), 1);
    assert_eq!(rest[0].request.id().as_str(), "b");
    record_one(&mut backlog, job.ticket, finish(Status::Solved));
    assert_eq!(bench.ids(), ["a"]);
}

#[test]
fn a_clock_that_was_set_back_does_not_stretch_a_deadline() {
    let bench = Bench::of(&["a"]);
    let (mut backlog, _) = bench.open();
    let job = claim_all(&mut backlog).remove(0);
    record_one(&mut backlog, job.ticket, begin());
    record_one(&mut backlog, job.ticket, created(1));
    drop(backlog);
    for (clock, left) in [(1_699_999_000_000, 180), (1_700_000_100_000, 80)] {
        let wall_clock: fn() -> Timestamp = if left == 180 {
            || Timestamp::from_millisecond(1_699_999_000_000).unwrap()
        } else {
            || Timestamp::from_millisecond(1_700_000_100_000).unwrap()
        };
        let (mut backlog, _) = bench.open_with(|s| s.wall_clock = wall_clock);
        let job = claim_all(&mut backlog).remove(0);
        let Resume::Waiting(waiting) = job.resume else {
            panic!()
        };
        assert_eq!(waiting.deadline.as_millisecond() - clock, left * 1000);
    }
}

#[test]
fn jobs_of_another_api_or_account_are_listed_and_left() {
    let bench = Bench::of(&["a"]);
    let (mut backlog, _) = bench.open();
    let job = claim_all(&mut backlog).remove(0);
    record_one(&mut backlog, job.ticket, begin());
    record_one(&mut backlog, job.ticket, created(1));
    drop(backlog);
    for other in [
        identity("https://other.example.net", "token-1"),
        identity("https://api.example.net", "token-2"),
    ] {
        let (mut backlog, opened) = bench.open_with(|s| s.identity = other);
        assert_eq!(
            opened.elsewhere,
            [("https://api.example.net".to_owned(), 1)]
        );
        assert_eq!((opened.adopted, opened.to_go), (0, Some(0)));
        assert!(claim_all(&mut backlog).is_empty());
        close(&mut backlog);
    }
    assert_eq!(
        bench.status().waiting_at,
        [("https://api.example.net".to_owned(), 1)]
    );
    assert_eq!(run(&bench, Status::Solved, |_| {}).adopted, 1);
    assert_eq!(bench.ids(), ["a"]);
}

#[test]
fn a_create_without_an_answer_is_counted_and_tried_again() {
    let bench = Bench::of(&["a"]);
    let (mut backlog, _) = bench.open();
    let job = claim_all(&mut backlog).remove(0);
    record_one(&mut backlog, job.ticket, begin());
    drop(backlog);
    let (mut backlog, opened) = bench.open();
    assert_eq!(
        (
            opened.unknown_creates,
            opened.crash_settled,
            opened.spent_before
        ),
        (1, 0, Micros(1000))
    );
    let job = claim_all(&mut backlog).remove(0);
    assert!(matches!(job.resume, Resume::Queued));
    assert_eq!(
        (
            job.history.creates,
            job.history.unknown_creates,
            job.history.failed_attempts
        ),
        (1, 1, 0)
    );
    solve(&mut backlog, job.ticket, Status::Solved);
    close(&mut backlog);
    let status = bench.status();
    assert_eq!(
        (status.creates, status.unknown_creates, status.spend),
        (2, 1, Micros(2000))
    );
    assert_eq!(bench.ids(), ["a"]);
}

#[test]
fn under_the_policy_fail_it_ends_instead() {
    let bench = Bench::of(&["a"]);
    let (mut backlog, _) = bench.open();
    let job = claim_all(&mut backlog).remove(0);
    record_one(&mut backlog, job.ticket, begin());
    drop(backlog);
    let (mut backlog, opened) =
        bench.open_with(|s| s.on_unknown_create = UnknownCreatePolicy::Fail);
    assert_eq!((opened.crash_settled, opened.to_go), (1, Some(0)));
    let claimed = claim(&mut backlog, 10);
    assert!(claimed.supply == Supply::Exhausted && claimed.jobs.is_empty());
    assert_eq!(claimed.settled[0].error, Some(ErrorClass::UnknownCreate));
    assert!(
        bench
            .output()
            .contains("\na,https://a.example.com/a,k,failed,,unknown_create,")
    );
    close(&mut backlog);
    assert_eq!(bench.status().errors["unknown_create"], 1);
}

#[test]
fn twenty_crashes_in_a_row_end_a_request() {
    let bench = Bench::of(&["a"]);
    for n in 1..=20 {
        let (mut backlog, opened) = bench.open();
        assert_eq!(opened.crash_settled, 0, "{n}");
        let job = claim_all(&mut backlog).remove(0);
        record_one(&mut backlog, job.ticket, begin());
    }
    let (mut backlog, opened) = bench.open();
    assert_eq!(opened.crash_settled, 1);
    assert_eq!(
        claim(&mut backlog, 10).settled[0].error,
        Some(ErrorClass::CrashLimit)
    );
    assert_eq!(bench.results(), [("a".to_owned(), "failed".to_owned())]);
    assert_eq!(bench.status().unknown_creates, 20);
}

#[test]
fn a_row_that_left_the_input_is_still_adopted() {
    let bench = Bench::of(&["a", "b"]);
    let (mut backlog, _) = bench.open();
    for job in claim_all(&mut backlog) {
        record_one(&mut backlog, job.ticket, begin());
        match job.ticket.0 {
            1 => record_one(&mut backlog, job.ticket, created(1)),
            _ => record_one(&mut backlog, job.ticket, Record::Unknown),
        }
    }
    drop(backlog);
    bench.input(&rows(&["c"]));
    let opened = run(&bench, Status::Solved, |_| {});
    assert_eq!(
        (opened.adopted, opened.left_input, opened.to_go),
        (1, 2, Some(1))
    );
    assert_eq!(
        bench.ids(),
        ["a", "c"],
        "the queued one that left is not created again"
    );
    assert_eq!(
        (bench.status().total, bench.status().pending.queued),
        (Some(3), 1)
    );
}

#[test]
fn a_job_whose_site_is_not_listed_any_more_is_not_polled() {
    let bench = Bench::of(&["a"]);
    let (mut backlog, _) = bench.open();
    let job = claim_all(&mut backlog).remove(0);
    record_one(&mut backlog, job.ticket, begin());
    record_one(&mut backlog, job.ticket, created(77));
    drop(backlog);
    bench.input("id,website_url,website_key\n");
    let (mut backlog, _) = bench.open_with(|s| s.sites = Allowlist::default());
    let claimed = claim(&mut backlog, 10);
    assert!(claimed.jobs.is_empty() && claimed.supply == Supply::Exhausted);
    assert_eq!(
        claimed.settled[0].error,
        Some(ErrorClass::SiteNotAuthorized)
    );
    assert!(
        bench.output().contains(
            "\na,https://a.example.com/a,k,rejected,,site_not_authorized,\"`website_url`: site"
        ) || bench.output().contains(",77,"),
        "{}",
        bench.output()
    );
    assert!(bench.output().contains(",77,1,0,"), "{}", bench.output());
}

#[test]
fn a_kind_that_is_not_known_throws_no_paid_job_away() {
    let bench = Bench::of(&["a"]);
    let (mut backlog, _) = bench.open();
    let job = claim_all(&mut backlog).remove(0);
    record_one(&mut backlog, job.ticket, begin());
    record_one(&mut backlog, job.ticket, created(77));
    drop(backlog);
    rusqlite::Connection::open(bench.path("out.csv.journal"))
        .unwrap()
        .execute("UPDATE job SET kind = 'mine'", [])
        .unwrap();
    assert!(matches!(bench.refused(|_| {}), OpenError::UnknownKind { kind, .. } if kind == "mine"));
}

#[test]
fn a_repeated_batch_changes_nothing() {
    let bench = Bench::of(&["a", "b"]);
    let (mut backlog, _) = bench.open();
    let jobs = claim_all(&mut backlog);
    let (a, b) = (jobs[0].ticket, jobs[1].ticket);
    for batch in [
        vec![(a, begin()), (b, begin())],
        vec![(a, created(1)), (b, Record::Withdraw)],
        vec![
            (a, finish(Status::Solved)),
            (
                b,
                Record::Release {
                    polls: 0,
                    delay: Duration::ZERO,
                },
            ),
        ],
    ] {
        record(&mut backlog, &batch).unwrap();
        let before = (backlog.status().unwrap(), bench.output());
        record(&mut backlog, &batch).unwrap();
        assert_eq!((backlog.status().unwrap(), bench.output()), before);
    }
    assert_eq!(bench.status().creates, 1);
}

#[test]
fn an_illegal_record_is_a_bug_and_leaves_nothing_behind() {
    let bench = Bench::of(&["a", "b"]);
    let (mut backlog, _) = bench.open();
    let jobs = claim_all(&mut backlog);
    let batch = [(jobs[0].ticket, begin()), (jobs[1].ticket, created(2))];
    assert!(
        matches!(record(&mut backlog, &batch), Err(BacklogError::Fatal { what }) if what.contains("bug"))
    );
    assert_eq!(backlog.status().unwrap().creates, 0);
    record_one(&mut backlog, jobs[0].ticket, begin());
    assert!(record(&mut backlog, &[(Ticket(99), begin())]).is_err());
}

#[test]
fn a_full_disk_is_no_loss() {
    let bench = Bench::of(&["a", "b"]);
    let (mut backlog, _) = bench.open();
    let jobs = claim_all(&mut backlog);
    let pages: i64 = backlog
        .journal
        .db
        .query_row("PRAGMA page_count", [], |row| row.get(0))
        .unwrap();
    let set = |backlog: &CsvBacklog, pages: i64| {
        backlog
            .journal
            .db
            .query_row(&format!("PRAGMA max_page_count = {pages}"), [], |_| Ok(()))
            .unwrap();
    };
    record_one(&mut backlog, jobs[0].ticket, begin());
    record_one(&mut backlog, jobs[0].ticket, created(1));
    set(&backlog, pages);
    // A token that needs pages of its own.
    let mut big = outcome(Status::Solved);
    big.token = Some("x".repeat(20_000).into());
    let batch = [(
        jobs[0].ticket,
        Record::Finish {
            outcome: Arc::new(big),
            refund: Micros::ZERO,
            unknown_create: false,
        },
    )];
    let error = record(&mut backlog, &batch).unwrap_err();
    assert!(
        matches!(&error, BacklogError::Retryable { source, .. } if source.kind() == std::io::ErrorKind::StorageFull),
        "{error}"
    );
    assert_eq!(bench.ids(), Vec::<String>::new());
    set(&backlog, 1_000_000);
    record(&mut backlog, &batch).unwrap();
    assert_eq!(bench.ids(), ["a"]);
    close(&mut backlog);
    assert_eq!(bench.status().creates, 1);
}

#[test]
fn tokens_leave_the_journal_when_their_line_is_durable() {
    let bench = Bench::of(&["a"]);
    run(&bench, Status::Solved, |_| {});
    assert_eq!(bench.sql("SELECT count(*) FROM outbox"), 0);
    let bytes = std::fs::read(bench.path("out.csv.journal")).unwrap();
    assert!(
        !bytes.windows(9).any(|w| w == b"P1_secret"),
        "secure_delete leaves no trace"
    );
    assert!(!bench.path("out.csv.journal-wal").exists());
}

/// Whatever step a process dies at, the next one ends with each id once and its counts right.
#[test]
fn every_crash_point_is_survived() {
    let points = [
        "before-commit",
        "after-begin-commit",
        "after-commit",
        "mid-append",
        "after-append",
        "after-fsync",
        "after-checkpoint",
    ];
    for point in points {
        for times in 1..12 {
            let bench = Bench::of(&["a", "b", "c"]);
            let crash: CrashPoint = format!("{point}:{times}").parse().unwrap();
            let crashed = (|| {
                let (mut backlog, _) = bench
                    .try_open(|s| s.crash_point = Some(crash))
                    .map_err(|_| ())?;
                let claimed = backlog.claim(10).now_or_never().unwrap().map_err(|_| ())?;
                for job in claimed.jobs {
                    for step in [begin(), created(job.ticket.0), finish(Status::Solved)] {
                        record(&mut backlog, &[(job.ticket, step)]).map_err(|_| ())?;
                    }
                }
                backlog
                    .close("done")
                    .now_or_never()
                    .unwrap()
                    .map_err(|_| ())
            })();
            let opened = run(&bench, Status::Solved, |_| {});
            let mut ids = bench.ids();
            ids.sort();
            assert_eq!(
                ids,
                ["a", "b", "c"],
                "{point}:{times} {crashed:?} {opened:?}"
            );
            let status = bench.status();
            assert_eq!(
                status.creates,
                3 + status.unknown_creates,
                "{point}:{times}"
            );
            assert_eq!((status.solved, status.pending.all()), (3, 0));
            assert!(bench.output().ends_with('\n'));
        }
    }
}

#[test]
fn a_row_that_was_begun_and_is_bad_now_is_rejected_with_its_history() {
    let bench = Bench::of(&["a"]);
    let (mut backlog, _) = bench.open();
    let job = claim_all(&mut backlog).remove(0);
    record_one(&mut backlog, job.ticket, begin());
    record_one(&mut backlog, job.ticket, Record::Unknown);
    drop(backlog);
    let delisted = |s: &mut CsvSettings| {
        s.sites = Allowlist::default();
        s.skip_bad_rows = true;
    };
    let (mut backlog, _) = bench.open_with(delisted);
    let claimed = claim(&mut backlog, 10);
    assert!(claimed.jobs.is_empty());
    assert_eq!(
        (claimed.settled[0].attempts, claimed.settled[0].cost),
        (1, Micros(1000))
    );
    close(&mut backlog);
    drop(backlog);
    assert_eq!(bench.results(), [("a".to_owned(), "rejected".to_owned())]);
    assert_eq!(run(&bench, Status::Solved, delisted).to_go, Some(0));
}

/// The ends that a power cut or a kill may leave of a line that was committed.
#[test]
fn a_torn_end_of_ours_is_cut_and_written_again() {
    for (kept, nuls) in [(0, 0), (5, 0), (1000, 0), (0, 20), (5, 20), (0, 1000)] {
        let bench = Bench::of(&["a", "b"]);
        let (mut backlog, _) = bench.open();
        let jobs = claim_all(&mut backlog);
        solve(&mut backlog, jobs[0].ticket, Status::Solved);
        let checkpointed = bench.output().len();
        record_one(&mut backlog, jobs[1].ticket, begin());
        record_one(&mut backlog, jobs[1].ticket, created(2));
        record_one(&mut backlog, jobs[1].ticket, finish(Status::Solved));
        let whole = bench.output();
        drop(backlog);
        let line = &whole.as_bytes()[checkpointed..];
        let mut torn = whole.as_bytes()[..checkpointed].to_vec();
        torn.extend_from_slice(&line[..kept.min(line.len())]);
        torn.extend(std::iter::repeat_n(
            0,
            nuls.min(line.len() - kept.min(line.len())),
        ));
        std::fs::write(bench.path("out.csv"), torn).unwrap();
        run(&bench, Status::Solved, |_| {});
        assert_eq!(bench.output(), whole, "{kept} bytes and {nuls} NULs");
    }
}

/// A journal that an older program left, killed, is gone on with: a line by itself in each row, and none that
/// is durable.
#[test]
fn a_journal_of_version_1_is_gone_on_with() {
    let bench = Bench::of(&["a", "b", "c", "d"]);
    let (mut backlog, _) = bench.open_with(|s| s.deliver_every = Duration::from_secs(600));
    let jobs = claim_all(&mut backlog);
    for job in &jobs[..3] {
        solve(&mut backlog, job.ticket, Status::Solved);
    }
    drop(backlog);
    assert_eq!(
        bench.sql("SELECT count(*) FROM outbox WHERE out_seq > 0"),
        3
    );
    rusqlite::Connection::open(bench.path("out.csv.journal"))
        .unwrap()
        .execute_batch("PRAGMA user_version = 1; DELETE FROM outbox WHERE out_seq = 0")
        .unwrap();
    assert_eq!(bench.status().solved, 3);
    // What is refused leaves it to the older program.
    bench.input("id,website_url,website_key\ne,ftp://a.example.com/,k\n");
    bench.refused(|_| {});
    assert_eq!(bench.sql("PRAGMA user_version"), 1);
    bench.input(&rows(&["a", "b", "c", "d"]));
    run(&bench, Status::Solved, |_| {});
    assert_eq!(bench.ids(), ["a", "b", "c", "d"]);
    assert_eq!(bench.sql("PRAGMA user_version"), i64::from(schema::VERSION));
}

/// Copies of lines that are durable stay until others take their place, and are no lines to be written.
#[test]
fn what_stays_of_durable_lines_is_not_written_again() {
    let bench = Bench::of(&["a", "b", "c", "d"]);
    let (mut backlog, _) = bench.open();
    let jobs = claim_all(&mut backlog);
    for job in &jobs[..3] {
        solve(&mut backlog, job.ticket, Status::Solved);
        assert!(bench.sql("SELECT count(*) FROM outbox") <= 2);
    }
    record_one(&mut backlog, jobs[3].ticket, begin());
    drop(backlog);
    assert_eq!(
        bench.sql("SELECT count(*) FROM outbox WHERE out_seq <= (SELECT out_seq FROM checkpoint)"),
        1
    );
    run(&bench, Status::Solved, |_| {});
    assert_eq!(bench.ids(), ["a", "b", "c", "d"]);
    assert_eq!(bench.sql("SELECT count(*) FROM outbox"), 0);
}

/// The lines of a batch stand together in the journal, in rows that are no longer than they must be.
#[test]
fn the_lines_of_a_batch_share_a_row() {
    let ids: Vec<String> = (0..100).map(|n| format!("r{n}")).collect();
    let bench = Bench::of(&ids.iter().map(String::as_str).collect::<Vec<_>>());
    let (mut backlog, _) = bench.open_with(|s| s.deliver_every = Duration::from_secs(600));
    let jobs = claim_all(&mut backlog);
    let all = |record: fn(u64) -> Record| -> Vec<(Ticket, Record)> {
        jobs.iter()
            .map(|job| (job.ticket, record(job.ticket.0)))
            .collect()
    };
    record(&mut backlog, &all(|_| begin())).unwrap();
    record(&mut backlog, &all(created)).unwrap();
    record(&mut backlog, &all(|_| finish(Status::Solved))).unwrap();
    assert_eq!(
        bench.sql("SELECT count(*) FROM outbox WHERE out_seq > 0"),
        1
    );
    drop(backlog);
    run(&bench, Status::Solved, |_| {});
    assert_eq!(bench.ids(), ids);
}

#[test]
fn long_lines_take_more_rows() {
    let bench = Bench::of(&["a", "b", "c"]);
    let (mut backlog, _) = bench.open_with(|s| s.deliver_every = Duration::from_secs(600));
    let jobs = claim_all(&mut backlog);
    let mut long = outcome(Status::Solved);
    long.token = Some("x".repeat(40_000).into());
    let long = Arc::new(long);
    let mut batch = Vec::new();
    for job in &jobs {
        let finish = Record::Finish {
            outcome: Arc::clone(&long),
            refund: Micros::ZERO,
            unknown_create: false,
        };
        batch.extend([begin(), created(job.ticket.0), finish].map(|record| (job.ticket, record)));
    }
    record(&mut backlog, &batch).unwrap();
    assert_eq!(
        bench.sql("SELECT count(*) FROM outbox WHERE out_seq > 0"),
        2
    );
    drop(backlog);
    run(&bench, Status::Solved, |_| {});
    assert_eq!(bench.ids(), ["a", "b", "c"]);
}
