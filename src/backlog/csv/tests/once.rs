//! What a start does once and no more, and that shortcuts say what the long way says.

use proptest::prelude::*;

use super::super::header::Header;
use super::super::judge::Look;
use super::super::reader::{Row, sniff};
use super::*;
use crate::job::{Request, RequestId};

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

fn cell() -> impl Strategy<Value = String> {
    let plain = prop::sample::select(vec![
        "",
        " ",
        "a",
        "k1",
        "hcaptcha",
        "recaptcha-v2",
        "nope",
        "true",
        "NO",
        "maybe",
        "\0",
        "\u{7f}",
        "é",
        "\u{a0}",
        "https://a.example.com",
        "https://a.example.com/x?y=1",
        "https://b.example.com/a b",
        "https://A.example.com/",
        "https://pinned.example.org/",
        "https://evil.net/",
        "https://a.example.com/../x",
        " https://a.example.com/%2e/ ",
        "https://a.example.com:443/",
    ]);
    prop_oneof![
        8 => plain.prop_map(str::to_owned),
        1 => "https://(a|b|pinned)\\.example\\.(com|org)[/?#]{0,2}[ -~é]{0,8}",
        1 => "[a-zé\t]{0,5}",
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1500))]
    /// A row that is looked at, one that is judged, and one whose fields are validated the long way, by a list
    /// without a memory.
    #[test]
    fn a_look_says_what_the_long_way_says(
        table in prop::collection::vec(prop::collection::vec(cell(), 5), 1..12),
        has_default: bool,
    ) {
        let rule = |host: &str, keys: &[&str]| {
            SiteRule::try_new(host, keys.iter().map(|k| (*k).to_owned()).collect()).unwrap()
        };
        let sites = Allowlist::new(vec![rule("*.example.com", &[]), rule("pinned.example.org", &["k1"])]);
        let quote = |cells: &[String]| {
            let cells: Vec<_> = cells.iter().map(|c| format!("\"{}\"", c.replace('"', "\"\""))).collect();
            cells.join(",") + "\n"
        };
        let text: String = table.iter().map(|cells| quote(cells)).collect();
        let text = format!("id,job,url,sitekey,invisible\n{text}");
        let mut reader = sniff(text.as_bytes(), None).unwrap();
        let mut row = Row::default();
        prop_assert!(reader.read(&mut row).unwrap());
        let header = Header::parse(&row).unwrap();
        let default = has_default.then(|| "recaptcha-v2".to_owned());
        let mut judge = Judge::new(header, Kinds::built_in(), sites.clone(), default.clone());
        for cells in &table {
            prop_assert!(reader.read(&mut row).unwrap());
            let judged = judge.judge(&row);
            for hashes in [true, false] {
                let Look { own_id, verdict } = judge.look(&row, hashes);
                prop_assert_eq!(own_id, judged.own_id.as_ref().map(|id| id.as_str()));
                match (&verdict, &judged.request) {
                    (Ok(good), Ok(request)) => {
                        prop_assert_eq!(good.fields, hashes.then(|| request.fields_hash()));
                        prop_assert_eq!(judge.kind_name(good.plan), &request.kind().name);
                    }
                    (Err(a), Err(b)) => prop_assert_eq!(format!("{a:?}"), format!("{b:?}")),
                    _ => prop_assert!(false, "{verdict:?} is not {:?}", judged.request),
                }
            }
            let name = match cells[1].trim() {
                "" => default.as_deref().unwrap_or_default(),
                name => name,
            };
            let is_text = cells.iter().all(|cell| !cell.contains('\0'));
            let id = RequestId::try_new(&cells[0]);
            let (Some(kind), Some(id), true) = (judge_kind(name), id, is_text) else {
                prop_assert!(judged.request.is_err());
                continue;
            };
            let field = |n: usize| Some(cells[n + 2].as_str());
            let long = Request::validate(id, &kind, field, &sites);
            match (long, &judged.request) {
                (Ok(long), Ok(request)) => {
                    prop_assert_eq!(long.values(), request.values());
                    prop_assert_eq!(long.fields_hash(), request.fields_hash());
                }
                (Err(long), Err(fault)) => prop_assert_eq!(&long, &fault.problem),
                (long, request) => prop_assert!(false, "{long:?} is not {request:?}"),
            }
        }
    }
}

fn judge_kind(name: &str) -> Option<std::sync::Arc<crate::job::Kind>> {
    Kinds::built_in().get(name).cloned()
}
