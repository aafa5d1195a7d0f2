//! What is refused, what is locked, and who may read.

use std::fs::Permissions;
use std::os::unix::fs::{PermissionsExt, symlink};

use super::*;

#[test]
fn an_output_without_a_journal_is_never_overwritten() {
    let bench = Bench::of(&["a"]);
    std::fs::write(bench.path("out.csv"), "precious\n").unwrap();
    let error = bench.refused(|_| {});
    assert!(matches!(error, OpenError::OutputWithoutJournal { .. }));
    assert!(error.to_string().contains("--fresh"), "{error}");
    assert_eq!(bench.output(), "precious\n");
}

#[test]
fn an_output_that_another_hand_changed_is_left_alone() {
    for (deed, found) in [
        ("edit", "edited near its end"),
        ("append", "extended by 5 bytes"),
        ("cut", "shorter by 1 bytes"),
        ("replace", "another file"),
        ("delete", "gone"),
    ] {
        let bench = Bench::of(&["a"]);
        run(&bench, Status::Solved, |_| {});
        let path = bench.path("out.csv");
        let text = bench.output();
        let write = |text: &str| std::fs::write(&path, text).unwrap();
        match deed {
            "edit" => write(&text.replace("P1_secret", "P2_secret")),
            "append" => write(&format!("{text}mine\n")),
            "cut" => write(&text[..text.len() - 1]),
            "replace" => {
                std::fs::write(bench.path("x"), &text).unwrap();
                std::fs::rename(bench.path("x"), &path).unwrap();
            }
            _ => std::fs::remove_file(&path).unwrap(),
        }
        let before = std::fs::read(&path).ok();
        bench.input(&rows(&["a", "b"]));
        match bench.refused(|_| {}) {
            OpenError::OutputChanged { found: what, .. } => {
                assert!(what.contains(found), "{deed}: {what}");
            }
            e => panic!("{deed}: {e}"),
        }
        assert_eq!(std::fs::read(&path).ok(), before, "{deed}");
    }
}

#[test]
fn a_second_run_is_kept_out_whatever_name_it_comes_by() {
    let bench = Bench::of(&["a"]);
    let (backlog, _) = bench.open();
    assert!(matches!(bench.refused(|_| {}), OpenError::Locked { .. }));
    symlink("out.csv", bench.path("link.csv")).unwrap();
    std::fs::hard_link(bench.path("out.csv"), bench.path("hard.csv")).unwrap();
    for name in ["link.csv", "hard.csv"] {
        let other = |s: &mut CsvSettings| s.sink = CsvSink::File(bench.path(name));
        assert!(
            matches!(bench.refused(other), OpenError::Locked { .. }),
            "{name}"
        );
        let own_journal = |s: &mut CsvSettings| {
            s.sink = CsvSink::File(bench.path(name));
            s.journal = Some(bench.path("other.journal"));
        };
        assert!(
            matches!(bench.refused(own_journal), OpenError::Locked { .. }),
            "{name}"
        );
    }
    // The journal by another name, and an output of its own.
    symlink("out.csv.journal", bench.path("link.journal")).unwrap();
    let other = |s: &mut CsvSettings| {
        s.sink = CsvSink::File(bench.path("another.csv"));
        s.journal = Some(bench.path("link.journal"));
    };
    assert!(matches!(bench.refused(other), OpenError::Locked { .. }));
    assert!(bench.status().running);
    assert!(
        JournalStatus::read(&bench.path("link.journal"))
            .unwrap()
            .running
    );
    drop(backlog);
    assert!(!bench.status().running);
    bench.open();
}

#[test]
fn a_symlinked_output_is_its_target() {
    let bench = Bench::of(&["a"]);
    symlink("target.csv", bench.path("out.csv")).unwrap();
    run(&bench, Status::Failed, |_| {});
    run(&bench, Status::Solved, |s| s.retry_failed = true);
    assert!(bench.path("out.csv").is_symlink() && bench.path("target.csv").is_file());
    assert_eq!(bench.results(), [("a".to_owned(), "solved".to_owned())]);
}

#[test]
fn what_is_no_journal_of_ours_is_refused() {
    let bench = Bench::of(&["a"]);
    let journal = bench.path("out.csv.journal");
    std::fs::write(
        &journal,
        "not a database, but long enough to be taken for one".repeat(30),
    )
    .unwrap();
    assert!(matches!(
        bench.refused(|_| {}),
        OpenError::DamagedJournal { .. }
    ));
    std::fs::remove_file(&journal).unwrap();
    rusqlite::Connection::open(&journal)
        .unwrap()
        .execute_batch("CREATE TABLE mine (x)")
        .unwrap();
    assert!(matches!(
        bench.refused(|_| {}),
        OpenError::ForeignJournal { .. }
    ));
    std::fs::remove_file(&journal).unwrap();
    run(&bench, Status::Solved, |_| {});
    rusqlite::Connection::open(&journal)
        .unwrap()
        .execute_batch("PRAGMA user_version = 99")
        .unwrap();
    assert!(
        matches!(bench.refused(|_| {}), OpenError::ForeignJournal { why, .. } if why.contains("version 99"))
    );
}

#[test]
fn a_process_killed_while_it_made_the_journal_is_no_obstacle() {
    for (unfinished, has_output) in [("", false), ("PRAGMA journal_mode = WAL", false)] {
        let bench = Bench::of(&["a"]);
        let journal = bench.path("out.csv.journal");
        std::fs::write(&journal, "").unwrap();
        rusqlite::Connection::open(&journal)
            .unwrap()
            .execute_batch(unfinished)
            .ok();
        assert_eq!(bench.path("out.csv").exists(), has_output);
        run(&bench, Status::Solved, |_| {});
        assert_eq!(bench.ids(), ["a"]);
    }
    // Killed between the journal and the output, and between the output and its first checkpoint.
    for has_output in [false, true] {
        let bench = Bench::of(&["a"]);
        drop(bench.open());
        rusqlite::Connection::open(bench.path("out.csv.journal"))
            .unwrap()
            .execute_batch("DELETE FROM checkpoint; DELETE FROM run;")
            .unwrap();
        let header = bench.output();
        std::fs::remove_file(bench.path("out.csv")).unwrap();
        if has_output {
            std::fs::write(bench.path("out.csv"), "").unwrap();
        }
        rusqlite::Connection::open(bench.path("out.csv.journal"))
            .unwrap()
            .execute(
                "INSERT OR REPLACE INTO outbox VALUES (0, ?1)",
                [header.as_bytes()],
            )
            .unwrap();
        run(&bench, Status::Solved, |_| {});
        assert_eq!(bench.ids(), ["a"]);
    }
}

#[test]
fn simulated_and_real_results_never_mix() {
    let bench = Bench::of(&["a"]);
    let simulated = |s: &mut CsvSettings| s.identity = identity(Identity::SIMULATED, "token");
    run(&bench, Status::Solved, simulated);
    assert!(bench.status().simulated);
    assert!(matches!(
        bench.refused(|_| {}),
        OpenError::SimulatedMismatch {
            journal_is_simulated: true,
            ..
        }
    ));
    bench.open_with(simulated);
    let real = Bench::of(&["a"]);
    run(&real, Status::Solved, |_| {});
    assert!(matches!(
        real.refused(simulated),
        OpenError::SimulatedMismatch {
            journal_is_simulated: false,
            ..
        }
    ));
}

#[test]
fn input_and_output_are_two_files() {
    let bench = Bench::of(&["a"]);
    let same = |s: &mut CsvSettings| s.sink = CsvSink::File(bench.path("in.csv"));
    assert!(matches!(bench.refused(same), OpenError::Usage(_)));
    assert_eq!(
        std::fs::read_to_string(bench.path("in.csv")).unwrap(),
        rows(&["a"])
    );
}

#[test]
fn a_run_that_was_refused_leaves_nothing_but_a_lock_file() {
    let bench = Bench::new("id,website_url\na,b\n");
    bench.refused(|_| {});
    let mut names: Vec<_> = std::fs::read_dir(bench.dir.path())
        .unwrap()
        .map(|e| e.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    assert_eq!(names, ["in.csv", "out.csv.journal.lock"]);
}

#[test]
fn unreadable_inputs_say_why() {
    for (text, why) in [("", "empty"), ("\n\n", "empty"), ("\u{feff}", "empty")] {
        let bench = Bench::new(text);
        assert!(bench.refused(|_| {}).to_string().contains(why), "{text:?}");
    }
    let bench = Bench::new("");
    std::fs::remove_file(bench.path("in.csv")).unwrap();
    assert!(matches!(
        bench.refused(|_| {}),
        OpenError::InputUnreadable {
            source: Some(_),
            ..
        }
    ));
}

/// The files of a run are for their owner alone, under any umask. The umask belongs to the process, so that
/// the run is one of its own: this test, started again.
#[test]
fn all_files_are_for_the_owner_alone() {
    const CHILD: &str = "POLLWHEEL_TEST_UMASK_DIR";
    if let Some(dir) = std::env::var_os(CHILD) {
        let dir = PathBuf::from(dir);
        std::fs::write(dir.join("in.csv"), rows(&["a"])).unwrap();
        let bench = Bench::of(&["a"]);
        let (mut backlog, _) = bench.open_with(|s| {
            s.input = CsvInput::File(dir.join("in.csv"));
            s.sink = CsvSink::File(dir.join("out.csv"));
        });
        let job = claim_all(&mut backlog).remove(0);
        solve(&mut backlog, job.ticket, Status::Solved);
        // Left open, so that -wal and -shm are there to be looked at.
        std::mem::forget(backlog);
        return;
    }
    for umask in ["000", "077"] {
        let dir = tempfile::tempdir().unwrap();
        let name = "backlog::csv::tests::guard::all_files_are_for_the_owner_alone";
        let done = std::process::Command::new("sh")
            .args(["-c", "umask $0; exec \"$1\" --exact \"$2\"", umask])
            .arg(std::env::current_exe().unwrap())
            .arg(name)
            .env(CHILD, dir.path())
            .output()
            .unwrap();
        assert!(done.status.success(), "{done:?}");
        for file in [
            "out.csv",
            "out.csv.journal",
            "out.csv.journal-wal",
            "out.csv.journal-shm",
            "out.csv.journal.lock",
        ] {
            let mode = std::fs::metadata(dir.path().join(file))
                .unwrap()
                .permissions()
                .mode()
                & 0o777;
            assert_eq!(mode, 0o600, "{file} under umask {umask}");
        }
    }
}

#[test]
fn a_rewrite_keeps_the_file_for_its_owner() {
    let bench = Bench::of(&["a"]);
    run(&bench, Status::Failed, |_| {});
    std::fs::set_permissions(bench.path("out.csv"), Permissions::from_mode(0o644)).unwrap();
    run(&bench, Status::Solved, |s| s.retry_failed = true);
    let mode = std::fs::metadata(bench.path("out.csv"))
        .unwrap()
        .permissions()
        .mode()
        & 0o777;
    assert_eq!(mode, 0o600);
}

#[test]
fn fresh_moves_everything_away_but_paid_jobs() {
    let bench = Bench::of(&["a"]);
    run(&bench, Status::Solved, |_| {});
    let first = bench.output();
    bench.input(&rows(&["b"]));
    run(&bench, Status::Failed, |s| s.fresh = true);
    assert_eq!(bench.ids(), ["b"]);
    assert_eq!(
        std::fs::read_to_string(bench.path("out.csv.bak")).unwrap(),
        first
    );
    assert!(bench.path("out.csv.journal.bak").exists());

    let (mut backlog, _) = bench.open_with(|s| s.fresh = true);
    let job = claim_all(&mut backlog).remove(0);
    record_one(&mut backlog, job.ticket, begin());
    record_one(&mut backlog, job.ticket, created(1));
    drop(backlog);
    let before = bench.output();
    assert!(matches!(
        bench.refused(|s| s.fresh = true),
        OpenError::PaidJobsInFlight { count: 1, .. }
    ));
    assert_eq!(bench.output(), before);
    run(&bench, Status::Solved, |s| {
        s.fresh = true;
        s.abandon_paid = true;
    });
    assert_eq!(bench.results(), [("b".to_owned(), "solved".to_owned())]);
}

#[test]
fn fresh_works_where_only_the_output_is_there() {
    let bench = Bench::of(&["a"]);
    std::fs::write(bench.path("out.csv"), "old\n").unwrap();
    run(&bench, Status::Solved, |s| s.fresh = true);
    assert_eq!(bench.ids(), ["a"]);
    assert_eq!(
        std::fs::read_to_string(bench.path("out.csv.bak")).unwrap(),
        "old\n"
    );
}

#[test]
fn fresh_moves_nothing_where_the_input_is_bad() {
    let bench = Bench::of(&["a"]);
    run(&bench, Status::Solved, |_| {});
    bench.input(&rows(&["a", "a"]));
    assert!(matches!(
        bench.refused(|s| s.fresh = true),
        OpenError::BadInput(_)
    ));
    assert_eq!(bench.ids(), ["a"]);
}
