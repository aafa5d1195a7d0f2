//! `--ordered` and `--retry-failed`: the output is rewritten, and is whole at every instant.

use super::*;

fn reversed(bench: &Bench, ids: &[&str], change: impl FnOnce(&mut CsvSettings)) {
    let (mut backlog, _) = bench.open_with(change);
    let mut jobs = claim_all(&mut backlog);
    assert_eq!(jobs.len(), ids.len());
    jobs.reverse();
    for job in jobs {
        solve(&mut backlog, job.ticket, Status::Solved);
    }
    close(&mut backlog);
}

#[test]
fn ordered_puts_the_output_in_the_inputs_order() {
    let bench = Bench::of(&["c", "a", "b"]);
    reversed(&bench, &["c", "a", "b"], |s| s.ordered = true);
    assert_eq!(bench.ids(), ["c", "a", "b"]);
    // Rows that left stay behind the others, in their order.
    bench.input(&rows(&["d", "b"]));
    run(&bench, Status::Solved, |s| s.ordered = true);
    assert_eq!(bench.ids(), ["d", "b", "c", "a"]);
    let before = std::fs::metadata(bench.path("out.csv")).unwrap();
    run(&bench, Status::Solved, |s| s.ordered = true);
    let after = std::fs::metadata(bench.path("out.csv")).unwrap();
    assert_eq!(
        crate::sink::file::identity(&before),
        crate::sink::file::identity(&after),
        "what is in order is left alone"
    );
}

#[test]
fn ordered_holds_for_rows_without_ids_and_bad_ones() {
    let row = "https://a.example.com/,k\n";
    let text = format!("website_url,website_key\n{row}nonsense\n{row}https://b.example.com,k\n");
    let bench = Bench::new(&text);
    let (mut backlog, _) = bench.open_with(|s| {
        s.ordered = true;
        s.skip_bad_rows = true;
    });
    let mut jobs = claim_all(&mut backlog);
    jobs.reverse();
    for job in jobs {
        solve(&mut backlog, job.ticket, Status::Solved);
    }
    close(&mut backlog);
    let statuses: Vec<String> = bench.results().into_iter().map(|(_, s)| s).collect();
    assert_eq!(statuses, ["solved", "rejected", "solved", "solved"]);
    assert!(bench.ids()[0].ends_with("-1") && bench.ids()[2].ends_with("-2"));
}

#[test]
fn a_limited_run_orders_what_it_has() {
    let bench = Bench::of(&["a", "b", "c"]);
    run(&bench, Status::Solved, |s| s.limit = Some(2));
    bench.input(&rows(&["c", "b", "a"]));
    run(&bench, Status::Solved, |s| {
        s.ordered = true;
        s.limit = Some(0);
    });
    assert_eq!(bench.ids(), ["b", "a"]);
}

#[test]
fn a_failed_row_is_taken_up_again_and_its_line_replaced() {
    let bench = Bench::new(
        "id,website_url,website_key\na,https://a.example.com/a,k\nb,https://a.example.com/b,k\nbad,https://evil.net,k\n",
    );
    run(&bench, Status::Failed, |s| s.skip_bad_rows = true);
    assert_eq!(
        run(&bench, Status::Solved, |s| s.skip_bad_rows = true).to_go,
        Some(0)
    );
    let (mut backlog, opened) = bench.open_with(|s| {
        s.retry_failed = true;
        s.skip_bad_rows = true;
    });
    assert_eq!((opened.to_go, opened.done), (Some(2), 1));
    let jobs = claim_all(&mut backlog);
    assert_eq!(jobs.len(), 2, "what was rejected stays rejected");
    assert_eq!(
        (
            jobs[0].history.creates,
            jobs[0].history.failed_attempts,
            jobs[0].history.polls
        ),
        (1, 0, 3)
    );
    solve(&mut backlog, jobs[0].ticket, Status::Solved);
    // Seen at once, and never two lines of one id.
    let results = |bench: &Bench| {
        let mut results = bench.results();
        results.sort();
        results
            .into_iter()
            .map(|(id, status)| format!("{id} {status}"))
            .collect::<Vec<_>>()
    };
    assert_eq!(results(&bench), ["a solved", "b failed", "bad rejected"]);
    record_one(&mut backlog, jobs[1].ticket, begin());
    record_one(&mut backlog, jobs[1].ticket, created(9));
    assert_eq!(backlog.status().unwrap().pending.waiting, 1);
    drop(backlog);
    assert_eq!(results(&bench), ["a solved", "b failed", "bad rejected"]);
    // Adopted without the flag, it still replaces its line.
    assert_eq!(
        run(&bench, Status::Solved, |s| s.skip_bad_rows = true).adopted,
        1
    );
    assert_eq!(results(&bench), ["a solved", "b solved", "bad rejected"]);
    let status = bench.status();
    assert_eq!(
        (
            status.solved,
            status.failed,
            status.rejected,
            status.creates
        ),
        (2, 0, 1, 4)
    );
}

#[test]
fn every_crash_point_of_a_rewrite_is_survived() {
    let points = [
        "before-commit",
        "after-commit",
        "after-rewrite-file",
        "after-intent",
        "after-rename",
        "after-checkpoint",
    ];
    for ordered in [false, true] {
        for point in points {
            for times in 1..8 {
                let bench = Bench::of(&["a", "b", "c"]);
                reversed(&bench, &["a", "b", "c"], |_| {});
                bench.input(&rows(&["a", "b", "c", "d"]));
                run(&bench, Status::Failed, |_| {});
                let crash: CrashPoint = format!("{point}:{times}").parse().unwrap();
                let settings = |s: &mut CsvSettings| {
                    s.retry_failed = true;
                    s.ordered = ordered;
                };
                let _ = (|| {
                    let (mut backlog, _) = bench
                        .try_open(|s| {
                            settings(s);
                            s.crash_point = Some(crash);
                        })
                        .map_err(|_| ())?;
                    let claimed = backlog.claim(10).now_or_never().unwrap().map_err(|_| ())?;
                    for job in claimed.jobs {
                        for step in [begin(), created(job.ticket.0), finish(Status::Solved)] {
                            record(&mut backlog, &[(job.ticket, step)]).map_err(|_| ())?;
                            assert_eq!(bench.ids().len(), 4, "whole at every instant");
                        }
                    }
                    backlog
                        .close("done")
                        .now_or_never()
                        .unwrap()
                        .map_err(|_| ())
                })();
                assert_eq!(bench.ids().len(), 4, "{point}:{times}");
                run(&bench, Status::Solved, settings);
                let ids = bench.ids();
                if ordered {
                    assert_eq!(ids, ["a", "b", "c", "d"], "{point}:{times}");
                } else {
                    assert_eq!(ids, ["c", "b", "a", "d"], "{point}:{times}");
                }
                assert_eq!(bench.status().solved, 4, "{point}:{times}");
                assert!(!bench.path("out.csv.rewrite").exists());
            }
        }
    }
}

#[test]
fn a_rewrite_that_was_cut_off_does_not_run_over_another_hands_work() {
    let bench = Bench::of(&["a"]);
    run(&bench, Status::Failed, |_| {});
    let crash: CrashPoint = "after-intent:1".parse().unwrap();
    let (mut backlog, _) = bench.open_with(|s| {
        s.retry_failed = true;
        s.crash_point = Some(crash);
    });
    let job = claim_all(&mut backlog).remove(0);
    record_one(&mut backlog, job.ticket, begin());
    record_one(&mut backlog, job.ticket, created(1));
    assert!(record(&mut backlog, &[(job.ticket, finish(Status::Solved))]).is_err());
    drop(backlog);
    let edited = bench.output().replace("failed", "FAILED");
    std::fs::write(bench.path("out.csv"), &edited).unwrap();
    assert!(matches!(
        bench.refused(|_| {}),
        OpenError::OutputChanged { .. }
    ));
    assert_eq!(bench.output(), edited);
    std::fs::write(bench.path("out.csv"), edited.replace("FAILED", "failed")).unwrap();
    run(&bench, Status::Solved, |_| {});
    assert_eq!(bench.results(), [("a".to_owned(), "solved".to_owned())]);
}
