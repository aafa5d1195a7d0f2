//! What a start does once and no more.

use super::*;

/// Opens a finished run again, and tells how many rows were judged, and how many outcomes told.
fn again(bench: &Bench, change: impl FnOnce(&mut CsvSettings)) -> (u64, usize) {
    let (mut backlog, _) = bench.open_with(change);
    let claimed = claim(&mut backlog, 100);
    assert!(claimed.jobs.is_empty());
    assert_eq!(claimed.supply, Supply::Exhausted);
    let looks = backlog.judge.looks();
    close(&mut backlog);
    (looks, claimed.settled.len())
}

#[test]
fn a_finished_run_judges_each_row_once() {
    let ids: Vec<String> = (0..500).map(|n| format!("r{n}")).collect();
    let with_ids = rows(&ids.iter().map(String::as_str).collect::<Vec<_>>());
    let without_ids = with_ids
        .lines()
        .map(|line| line.split_once(',').unwrap().1.to_owned() + "\n")
        .collect::<String>()
        .replace("/r7,", "/r8,");
    for text in [with_ids, without_ids] {
        let bench = Bench::new(&text);
        run(&bench, Status::Solved, |_| {});
        let output = bench.output();
        assert_eq!(again(&bench, |_| {}), (500, 0));
        assert_eq!(bench.output(), output);
        // Where its order is asked for, the rows are needed once more.
        assert_eq!(again(&bench, |s| s.ordered = true), (1000, 0));
    }
}

#[test]
fn rows_that_failed_are_taken_up_and_others_are_not() {
    let bench = Bench::of(&["a", "b"]);
    run(&bench, Status::Failed, |_| {});
    assert_eq!(again(&bench, |_| {}), (2, 0));
    let opened = run(&bench, Status::Solved, |s| s.retry_failed = true);
    assert_eq!(opened.to_go, Some(2));
    assert_eq!(again(&bench, |s| s.retry_failed = true), (2, 0));
}

#[test]
fn a_bad_row_under_an_id_that_is_done_has_its_outcome_all_the_same() {
    let bench = Bench::of(&["a", "b"]);
    run(&bench, Status::Solved, |_| {});
    bench.input(&rows(&["a", "b"]).replace("/a,", "/x,"));
    let (_, told) = again(&bench, |s| s.skip_bad_rows = true);
    assert_eq!(told, 1);
    assert_eq!(bench.ids().len(), 3);
}

#[test]
fn what_was_counted_at_the_start_is_what_the_journal_says() {
    let bench = Bench::new(&(rows(&["a", "b", "c"]) + "d,https://a.example.com/d,\n"));
    let skip = |settings: &mut CsvSettings| settings.skip_bad_rows = true;
    let (mut backlog, opened) = bench.open_with(skip);
    assert_eq!(opened.unchanged, None);
    let statuses = [Status::Solved, Status::Failed, Status::Solved];
    for (job, status) in claim_all(&mut backlog).into_iter().zip(statuses) {
        solve(&mut backlog, job.ticket, status);
    }
    close(&mut backlog);
    drop(backlog);
    let (mut backlog, opened) = bench.open_with(skip);
    let jobs = opened.unchanged.expect("there is nothing to do");
    assert_eq!(
        (jobs.all, jobs.solved, jobs.failed, jobs.rejected),
        (4, 2, 1, 1)
    );
    close(&mut backlog);
    drop(backlog);
    let path = bench.path("out.csv");
    let status = JournalStatus::read_again(&path, Some(&jobs)).unwrap();
    assert_eq!(status, bench.status());
    // With a job in flight there is something to do.
    let (_, opened) = bench.open_with(|settings| {
        skip(settings);
        settings.retry_failed = true;
    });
    assert_eq!(opened.unchanged, None);
}

#[test]
fn the_order_of_the_input_does_not_matter() {
    let ids: Vec<String> = (0..100).map(|n| format!("r{n}")).collect();
    let mut ids: Vec<&str> = ids.iter().map(String::as_str).collect();
    let bench = Bench::of(&ids);
    run(&bench, Status::Solved, |_| {});
    for turn in [1, 50] {
        ids.rotate_left(turn);
        bench.input(&rows(&ids));
        assert_eq!(again(&bench, |_| {}), (100, 0));
    }
    ids.reverse();
    ids.truncate(60);
    ids.insert(30, "new");
    bench.input(&rows(&ids));
    let opened = run(&bench, Status::Solved, |_| {});
    assert_eq!((opened.to_go, opened.left_input), (Some(1), 40));
    assert_eq!(bench.ids().len(), 101);
}
