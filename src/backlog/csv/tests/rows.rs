//! Rows: what is known, what is new, what is bad, and what the output looks like.

use super::*;

#[test]
fn a_run_from_start_to_end() {
    let bench = Bench::new(
        "id,note,website_url,website_key\nr1,\"a,\"\"b\"\"\",https://a.example.com/,k\n",
    );
    let opened = run(&bench, Status::Solved, |_| {});
    assert_eq!(
        (opened.to_go, opened.done, opened.report.rows),
        (Some(1), 0, 1)
    );
    assert_eq!(
        bench.output(),
        "id,note,website_url,website_key,status,token,error,message,remote_id,attempts,polls,submitted_at,finished_at,\
         expires_at,elapsed_s,cost\n\
         r1,\"a,\"\"b\"\"\",https://a.example.com/,k,solved,P1_secret,,,,1,3,,2023-11-14T22:13:20.000Z,,,0.001\n"
    );
    let status = bench.status();
    assert_eq!(
        (status.total, status.solved, status.pending.all()),
        (Some(1), 1, 0)
    );
    assert_eq!(
        (status.creates, status.spend, status.running),
        (1, Micros(1000), false)
    );
}

#[test]
fn a_finished_command_does_only_what_is_new() {
    let bench = Bench::of(&["a", "b"]);
    run(&bench, Status::Solved, |_| {});
    let before = bench.output();
    let opened = run(&bench, Status::Solved, |_| {});
    assert_eq!((opened.done, opened.to_go), (2, Some(0)));
    assert_eq!(bench.output(), before);
    bench.input(&rows(&["c", "b", "a"]));
    let opened = run(&bench, Status::Solved, |_| {});
    assert_eq!((opened.done, opened.to_go), (2, Some(1)));
    assert_eq!(bench.ids(), ["a", "b", "c"]);
}

#[test]
fn rows_without_ids_are_known_by_their_fields_and_occurrence() {
    let head = "website_url,website_key,note\n";
    let row = "https://a.example.com/,k,";
    let bench = Bench::new(&format!(
        "{head}{row}1\n{row}2\nhttps://b.example.com,k,3\n"
    ));
    run(&bench, Status::Solved, |_| {});
    let ids = bench.ids();
    assert_eq!((ids.len(), ids[0][..24] == ids[1][..24]), (3, true));
    assert!(ids[0].ends_with("-1") && ids[1].ends_with("-2"), "{ids:?}");
    // Annotated, moved, and one more of the same.
    bench.input(&format!(
        "{head}https://b.example.com,k,x\n{row}y\n{row}z\n{row}w\n"
    ));
    let opened = run(&bench, Status::Solved, |_| {});
    assert_eq!((opened.done, opened.to_go), (3, Some(1)));
    assert!(bench.ids()[3].ends_with("-3"));
}

#[test]
fn a_known_id_with_other_fields_is_an_error_that_shows_both() {
    let bench = Bench::of(&["a", "b"]);
    run(&bench, Status::Solved, |_| {});
    bench.input("id,website_url,website_key\na,https://a.example.com/other,k\n");
    let error = bench.refused(|_| {}).to_string();
    assert!(error.contains("in.csv:2: id: id `a` was begun as hcaptcha {\"website_key\":\"k\",\"website_url\":\"https://a.example.com/a\"}"), "{error}");
    assert!(error.contains("is now hcaptcha {\"website_key\":\"k\",\"website_url\":\"https://a.example.com/other\"}"), "{error}");
}

#[test]
fn duplicates_are_told_with_both_lines() {
    let bench = Bench::of(&["a", "b", "a", "c", "a"]);
    let OpenError::BadInput(report) = bench.refused(|_| {}) else {
        panic!()
    };
    assert_eq!(report.problem_count, 2);
    let text = report.to_string();
    assert!(
        text.contains("in.csv:4: id: id `a` stands already in line 2"),
        "{text}"
    );
    assert!(
        text.contains("in.csv:6: id: id `a` stands already in line 2"),
        "{text}"
    );
    assert!(!bench.path("out.csv").exists() && !bench.path("out.csv.journal").exists());
}

#[test]
fn an_unlisted_site_is_a_matter_of_authorization_only() {
    let bench = Bench::new("id,website_url,website_key\na,https://evil.net/,k\n");
    let OpenError::BadInput(report) = bench.refused(|_| {}) else {
        panic!()
    };
    assert!(report.only_authorization);
    assert!(
        report
            .to_string()
            .contains("in.csv:2: website_url: site evil.net is not authorised"),
        "{report}"
    );
}

const BAD: &str = "id,website_url,website_key\n\
    good,https://a.example.com/,k\n\
    unlisted,https://evil.net/,k\n\
    ragged,https://a.example.com/\n\
    ,https://a.example.com/,k\n\
    good,https://a.example.com/2,k\n\
    ,https://a.example.com/,k\n";

#[test]
fn skipped_bad_rows_are_rejected_once() {
    let bench = Bench::new(BAD);
    let opened = run(&bench, Status::Solved, |s| s.skip_bad_rows = true);
    assert_eq!(opened.to_go, Some(6));
    let mut results = bench.results();
    results.sort();
    let bad: Vec<_> = results
        .iter()
        .filter(|(id, _)| id.starts_with("bad-"))
        .collect();
    assert_eq!((results.len(), bad.len()), (6, 3), "{results:?}");
    assert!(results.contains(&("unlisted".into(), "rejected".into())));
    assert!(results.contains(&("ragged".into(), "rejected".into())));
    assert!(results.contains(&("good".into(), "solved".into())));
    let output = bench.output();
    assert!(
        output.contains("site_not_authorized") && output.contains("stands already in line 2"),
        "{output}"
    );
    let again = run(&bench, Status::Solved, |s| s.skip_bad_rows = true);
    assert_eq!((again.to_go, again.done), (Some(0), 6));
    assert_eq!(bench.output(), output);
}

#[test]
fn a_stream_gives_what_a_file_gives() {
    let bench = Bench::new("");
    let stream = |settings: &mut CsvSettings| {
        settings.input = CsvInput::Stream {
            name: "stdin".into(),
            source: Box::new(BAD.as_bytes()),
        };
    };
    let opened = run(&bench, Status::Solved, stream);
    assert_eq!(opened.to_go, None);
    let mut from_stream = bench.results();
    from_stream.sort();
    let again = run(&bench, Status::Solved, stream);
    assert_eq!((again.done, bench.results().len()), (6, 6));
    assert_eq!(bench.status().total, Some(6));
    let file = Bench::new(BAD);
    run(&file, Status::Solved, |s| s.skip_bad_rows = true);
    let mut from_file = file.results();
    from_file.sort();
    assert_eq!(from_stream, from_file);
}

#[test]
fn a_slow_stream_holds_nothing_up() {
    let bench = Bench::new("");
    let (reader, mut writer) = std::io::pipe().unwrap();
    use std::io::Write;
    writer.write_all(rows(&["a"]).as_bytes()).unwrap();
    let (mut backlog, _) = bench.open_with(|s| {
        s.input = CsvInput::Stream {
            name: "stdin".into(),
            source: Box::new(reader),
        };
    });
    let mut jobs = Vec::new();
    while jobs.is_empty() {
        let claimed = claim(&mut backlog, 10);
        assert!(claimed.supply != Supply::Exhausted);
        jobs.extend(claimed.jobs);
    }
    assert!(claim(&mut backlog, 10).jobs.is_empty());
    solve(&mut backlog, jobs[0].ticket, Status::Solved);
    assert_eq!(bench.ids(), ["a"]);
    drop(writer);
    while claim(&mut backlog, 10).supply != Supply::Exhausted {}
    close(&mut backlog);
}

#[test]
fn a_stream_as_output_gets_its_header_and_lines_at_once() {
    use std::sync::{Arc, Mutex};
    #[derive(Clone, Default)]
    struct Shared(Arc<Mutex<Vec<u8>>>);
    impl std::io::Write for Shared {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    for journal in [true, false] {
        let bench = Bench::of(&["a"]);
        let out = Shared::default();
        let text = || String::from_utf8(out.0.lock().unwrap().clone()).unwrap();
        let (mut backlog, opened) = bench.open_with(|s| {
            s.sink = CsvSink::Stream(Box::new(out.clone()));
            if !journal {
                let source = std::fs::File::open(bench.path("in.csv")).unwrap();
                s.input = CsvInput::Stream {
                    name: "stdin".into(),
                    source: Box::new(source),
                };
            }
        });
        assert_eq!(
            opened.journal,
            journal.then(|| bench.path("in.csv.journal"))
        );
        assert!(text().starts_with("id,website_url,website_key,status,"));
        let job = claim_all(&mut backlog).remove(0);
        solve(&mut backlog, job.ticket, Status::Solved);
        assert!(text().ends_with("0.001\n"), "{}", text());
        assert_eq!(backlog.status().unwrap().solved, 1);
        close(&mut backlog);
        assert_eq!(bench.path("in.csv.journal").exists(), journal);
    }
}

#[test]
fn a_limit_counts_new_and_bad_rows() {
    let bench = Bench::new(BAD);
    let (mut backlog, _) = bench.open_with(|s| {
        s.skip_bad_rows = true;
        s.limit = Some(2);
    });
    let claimed = claim(&mut backlog, 100);
    assert_eq!(
        (
            claimed.jobs.len(),
            claimed.settled.len(),
            (claimed.supply == Supply::Exhausted)
        ),
        (1, 1, true)
    );
}

#[test]
fn claims_are_no_larger_than_asked_for() {
    let ids: Vec<String> = (0..20).map(|n| n.to_string()).collect();
    let bench = Bench::of(&ids.iter().map(String::as_str).collect::<Vec<_>>());
    let (mut backlog, _) = bench.open();
    let mut seen = Vec::new();
    loop {
        let claimed = claim(&mut backlog, 3);
        assert!(claimed.jobs.len() <= 3);
        seen.extend(
            claimed
                .jobs
                .iter()
                .map(|c| c.request.id().as_str().to_owned()),
        );
        if claimed.supply == Supply::Exhausted {
            break;
        }
    }
    assert_eq!(seen, ids);
    assert_eq!(
        bench.sql("SELECT count(*) FROM job"),
        0,
        "a claim writes nothing"
    );
}

#[test]
fn rows_appended_during_a_run_are_for_the_next_one() {
    let bench = Bench::of(&["a"]);
    let (mut backlog, _) = bench.open();
    bench.input(&rows(&["a", "b"]));
    assert_eq!(claim_all(&mut backlog).len(), 1);
}

#[test]
fn a_file_that_is_edited_during_a_run_ends_it() {
    // Larger than any buffer that is read ahead.
    let ids: Vec<String> = (10_000..15_000).map(|n| n.to_string()).collect();
    let text = rows(&ids.iter().map(String::as_str).collect::<Vec<_>>());
    for (from, to, why) in [
        (
            "\n14999,",
            "\n99999,",
            "in.csv:5001: this row was not there",
        ),
        ("\n14999,", "\n14998,", "in.csv:5001:"),
    ] {
        let bench = Bench::new(&text);
        let (mut backlog, _) = bench.open();
        let mut file = std::fs::OpenOptions::new()
            .write(true)
            .open(bench.path("in.csv"))
            .unwrap();
        std::io::Write::write_all(&mut file, text.replace(from, to).as_bytes()).unwrap();
        // A claim lets go after some rows.
        let error = loop {
            match backlog.claim(10_000).now_or_never().unwrap() {
                Ok(claimed) => assert_eq!(claimed.supply, Supply::More),
                Err(error) => break error.to_string(),
            }
        };
        assert!(error.contains(why), "{error}");
    }
}

#[test]
fn later_inputs_are_fitted_to_the_output() {
    let bench = Bench::of(&["a"]);
    run(&bench, Status::Solved, |_| {});
    bench.input("new;website_key;id;website_url\nn;k;b;https://a.example.com/b\n");
    let opened = run(&bench, Status::Solved, |_| {});
    assert!(
        opened.warnings[0].contains("`new`"),
        "{:?}",
        opened.warnings
    );
    assert_eq!(opened.left_input, 1);
    assert!(
        bench
            .output()
            .contains("\nb,https://a.example.com/b,k,solved,"),
        "{}",
        bench.output()
    );
}

#[test]
fn losing_the_id_column_is_no_reason_to_pay_again() {
    let bench = Bench::of(&["a"]);
    run(&bench, Status::Solved, |_| {});
    bench.input("website_url,website_key\nhttps://a.example.com/a,k\n");
    assert!(matches!(bench.refused(|_| {}), OpenError::Usage(why) if why.contains("`id` column")));
}

#[test]
fn kinds_may_be_mixed() {
    let bench = Bench::new(
        "id,job,url,sitekey,invisible\n\
         a,hcaptcha,https://a.example.com/,k,\n\
         b,recaptcha-v2,https://a.example.com/,k,yes\n\
         c,,https://a.example.com/,k,\n",
    );
    let (mut backlog, opened) = bench.open();
    assert_eq!(
        opened
            .report
            .kinds
            .iter()
            .map(|(k, n)| (k.as_str(), *n))
            .collect::<Vec<_>>(),
        [("hcaptcha", 2), ("recaptcha-v2", 1)]
    );
    let kinds: Vec<_> = claim_all(&mut backlog)
        .iter()
        .map(|j| j.request.kind().name.clone())
        .collect();
    assert_eq!(kinds, ["hcaptcha", "recaptcha-v2", "hcaptcha"]);
}

#[test]
fn a_kind_whose_column_is_missing_is_told_once() {
    let mut text = "id,job,url\n".to_owned();
    for n in 0..100 {
        text.push_str(&format!("{n},hcaptcha,https://a.example.com/\n"));
    }
    let bench = Bench::new(&text);
    let OpenError::BadInput(report) = bench.refused(|s| s.skip_bad_rows = true) else {
        panic!()
    };
    assert_eq!(report.problem_count, 1, "{report}");
    assert!(
        report
            .to_string()
            .contains("in.csv:1: there is no column `website_key`"),
        "{report}"
    );
}

#[test]
fn bytes_that_are_no_text_do_not_reach_the_output() {
    let bench = Bench::new("");
    let text = b"id,website_url,website_key,note\na,https://a.example.com/,k,\xff\xfe\nb,https://a.example.com/,k,x\0y\n";
    std::fs::write(bench.path("in.csv"), text).unwrap();
    let OpenError::BadInput(report) = bench.refused(|_| {}) else {
        panic!()
    };
    let shown = report.to_string();
    assert!(
        shown.contains("in.csv:2: note: is not UTF-8")
            && shown.contains("in.csv:3: note: holds a NUL"),
        "{shown}"
    );
    run(&bench, Status::Solved, |s| s.skip_bad_rows = true);
    let output = bench.output();
    assert!(
        output.contains("\u{fffd}")
            && output.contains("note: is not UTF-8")
            && !output.contains('\0'),
        "{output}"
    );
    assert_eq!(bench.ids(), ["a", "b"]);
}

#[test]
fn a_record_without_an_end_refuses_the_run() {
    let bench = Bench::new(&format!("{}x,\"{}", rows(&["a"]), "y".repeat(3 << 20)));
    let OpenError::BadInput(report) = bench.refused(|s| s.skip_bad_rows = true) else {
        panic!()
    };
    assert!(
        report
            .to_string()
            .contains("in.csv:3: a record begins here that is longer than 1 MiB"),
        "{report}"
    );
}

#[test]
fn a_check_says_what_a_run_would() {
    let bench = Bench::new(BAD);
    let settings = bench.settings();
    let path = bench.path("in.csv");
    let report = check(
        &path,
        None,
        settings.default_kind,
        settings.kinds,
        settings.sites,
    )
    .unwrap();
    let OpenError::BadInput(refused) = bench.refused(|_| {}) else {
        panic!()
    };
    assert_eq!(report.to_string(), refused.to_string());
    assert_eq!(
        (report.rows, report.kinds["hcaptcha"], report.is_good()),
        (6, 2, false)
    );
}

#[test]
fn a_journal_is_found_by_its_output_or_its_own_name() {
    let bench = Bench::of(&["a"]);
    let (mut backlog, _) = bench.open();
    let job = claim_all(&mut backlog).remove(0);
    solve(&mut backlog, job.ticket, Status::Solved);
    close(&mut backlog);
    drop(backlog);
    let by_output = bench.status();
    assert_eq!(
        JournalStatus::read(&bench.path("out.csv.journal")).unwrap(),
        by_output
    );
    let last = by_output.last_run.unwrap();
    assert_eq!(
        (last.stop.as_deref(), last.ended, last.solved),
        (Some("done"), Some(now()), 1)
    );
    assert!(JournalStatus::read(&bench.path("none.csv")).is_err());
}
