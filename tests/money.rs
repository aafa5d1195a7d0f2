//! What a run asks about money before it begins, and what it spends, from outside.

mod support;

use std::time::Duration;

use tokio::time::Instant;

use support::{ACCOUNT, Api, Case, finish, hold_against_ledger, number};

const QUICK: [&str; 6] = [
    "--poll-interval",
    "20ms",
    "--submit-rate",
    "500/s",
    "--summary",
    "summary.json",
];

/// A healthy, quick simulator with these arguments as well.
fn api(args: &[&str]) -> Api {
    let mut all = vec!["--solve-time", "20ms..60ms", "--latency", "0ms"];
    all.extend(args);
    Api::start(&all)
}

/// Rows of one kind.
fn rows_of(job: &str, rows: usize) -> Case {
    let case = Case::new();
    let mut text = "id,job,website_url,website_key\n".to_owned();
    for n in 0..rows {
        text += &format!("r{n},{job},https://h.example.com/?row={n},key\n");
    }
    case.write("in.csv", &text);
    case
}

/// A folder `kinds` in which hCaptcha has no price.
fn without_price(case: &Case) {
    std::fs::create_dir(case.path("kinds")).expect("a folder");
    let text = include_str!("../jobs/hcaptcha.toml").replace("price = \"0.001\"\n", "");
    case.write("kinds/hcaptcha.toml", &text);
}

#[test]
fn the_service_s_price_counts_and_where_it_differs_is_told() {
    let (api, case) = (api(&["--price", "0.002"]), rows_of("hcaptcha", 5));
    let (code, _, stderr) = finish(&mut case.run(&api.url, &QUICK));
    assert_eq!(code, 0, "{stderr}");
    assert!(
        stderr.contains("hcaptcha: the service charges $0.002, jobs/hcaptcha.toml says $0.001; the service's price counts"),
        "{stderr}"
    );
    assert!(!stderr.contains("recaptcha-v2"), "no row is one: {stderr}");
    assert!(case.rows().iter().all(|row| row["cost"] == "0.002"));
    assert_eq!(case.summary()["spend"].to_string(), "0.01");
    let case = rows_of("hcaptcha", 5);
    let (code, _, stderr) = finish(case.run(&api.url, &QUICK).args(["--max-spend", "0.0079"]));
    assert_eq!(code, 3, "{stderr}");
    assert_eq!(case.summary()["spend"].to_string(), "0.006");
}

#[test]
fn the_balance_is_told_and_whether_it_will_last() {
    for (balance, verdict) in [("0.5", ""), ("0.039999", ": it will not last")] {
        let api = api(&["--balance", balance]);
        for protocol in ["v1", "v2"] {
            let kind = "recaptcha-v2";
            let case = rows_of(kind, 20);
            let url = format!("{}{}", api.url, if protocol == "v2" { "/v2" } else { "" });
            // The second run of the loop has less; prices are the file's in v2.
            let args = ["--protocol", protocol, "--limit", "1"];
            let (code, _, stderr) = finish(case.run(&url, &QUICK).args(args));
            assert_eq!(code, 0, "{stderr}");
            assert!(
                stderr.contains("; to go: 1 rows, about $0.00055"),
                "{stderr}"
            );
            assert!(!stderr.contains("it will not last"), "{stderr}");
        }
        let case = rows_of("hcaptcha", 40);
        let (code, _, stderr) = finish(&mut case.run(&api.url, &QUICK));
        let line = format!("; to go: 40 rows, about $0.04{verdict}\n");
        assert!(stderr.contains(&line), "{stderr}");
        assert_eq!(code, if verdict.is_empty() { 0 } else { 3 }, "{stderr}");
    }
}

#[test]
fn look_ups_that_fail_are_warnings() {
    for fault in ["503", "html", "reset_before", "empty", "unknown words"] {
        let script = Case::new();
        let fault = match fault {
            "unknown words" => "refuse \"no such question\"",
            fault => fault,
        };
        script.write("script", &format!("balance: {fault}\nservice: {fault}\n"));
        let path = script.path("script");
        let api = api(&["--script", path.to_str().expect("UTF-8")]);
        let case = rows_of("hcaptcha", 5);
        let (code, _, stderr) = finish(case.run(&api.url, &QUICK).args(["--max-spend", "1"]));
        assert_eq!(code, 0, "{fault}: {stderr}");
        assert!(
            stderr.contains("the balance is not known: ")
                && stderr.contains("the service does not tell its prices: "),
            "{fault}: {stderr}"
        );
        hold_against_ledger(&case, &api, 5);
        assert!(case.rows().iter().all(|row| row["cost"] == "0.001"));
    }
}

#[test]
fn look_ups_that_hang_hold_a_run_up_for_five_seconds_at_most() {
    let script = Case::new();
    script.write("script", "balance: hang\nservice: hang\n");
    let path = script.path("script");
    let api = api(&["--script", path.to_str().expect("UTF-8")]);
    let case = rows_of("hcaptcha", 5);
    let start = Instant::now();
    let (code, _, stderr) = finish(&mut case.run(&api.url, &QUICK));
    assert_eq!(code, 0, "{stderr}");
    assert!(stderr.contains("no answer within 5s"), "{stderr}");
    let took = start.elapsed();
    assert!(
        took >= Duration::from_secs(5) && took < Duration::from_secs(9),
        "{took:?}"
    );
}

#[test]
fn a_cap_needs_a_price() {
    let down = ["--fault", "balance:503=1", "--fault", "service:503=1"];
    for (fault, args, expected, words) in [
        (
            &down[..],
            &["--max-spend", "1"][..],
            78,
            "nobody says what hcaptcha costs",
        ),
        (&down[..], &[], 0, "`cost` and `spend` leave it out"),
        (
            &[],
            &["--max-spend", "1"],
            0,
            "hcaptcha: the service charges $0.001",
        ),
    ] {
        let api = api(fault);
        let case = rows_of("hcaptcha", 3);
        without_price(&case);
        let mut command = case.run(&api.url, &QUICK);
        let (code, _, stderr) = finish(command.args(["--jobs", "kinds"]).args(args));
        assert_eq!(code, expected, "{stderr}");
        assert!(stderr.contains(words), "{stderr}");
        if expected == 78 {
            assert!(stderr.contains("kinds/hcaptcha.toml"), "{stderr}");
            assert!(stderr.contains("hint: give it a price"), "{stderr}");
            assert_eq!(number(&api.ledger(), "creates"), 0);
        }
    }
    // A service without a price list, and rows that need no price of their own kind.
    let (api, case) = (api(&[]), rows_of("recaptcha-v2", 3));
    without_price(&case);
    let mut command = case.run(&format!("{}/v2", api.url), &QUICK);
    command.args(["--jobs", "kinds", "--protocol", "v2", "--max-spend", "1"]);
    let (code, _, stderr) = finish(&mut command);
    assert_eq!(code, 0, "{stderr}");
}

#[test]
fn an_account_that_is_refused_ends_the_run_before_anything_is_begun() {
    for (script, words) in [
        ("any: bad_token", "does not accept the account token"),
        ("any: blocked", "suspended or blocked"),
    ] {
        let folder = Case::new();
        folder.write("script", script);
        let path = folder.path("script");
        let refusing = api(&["--script", path.to_str().expect("UTF-8")]);
        let case = Case::with_rows(5);
        let (code, _, stderr) = finish(&mut case.run(&refusing.url, &QUICK));
        assert_eq!(code, 77, "{stderr}");
        assert!(
            stderr.contains(words) && stderr.contains("nothing was begun; to go on:\n"),
            "{stderr}"
        );
        assert!(!stderr.contains(ACCOUNT), "{stderr}");
        assert_eq!(number(&refusing.ledger(), "creates"), 0);
        let api = api(&[]);
        let (code, _, stderr) = finish(&mut case.run(&api.url, &QUICK));
        assert_eq!(code, 0, "{stderr}");
        hold_against_ledger(&case, &api, 5);
    }
    // One question refused and the other answered: the token is good.
    let odd = Case::new();
    odd.write("script", "balance: bad_token\n");
    let path = odd.path("script");
    let api = api(&["--script", path.to_str().expect("UTF-8")]);
    let case = rows_of("hcaptcha", 3);
    assert_eq!(finish(&mut case.run(&api.url, &QUICK)).0, 0);
}

#[test]
fn a_pause_that_is_asked_for_is_kept_before_anything_is_begun() {
    let throttling = |wait: &str| {
        let folder = Case::new();
        folder.write("script", &format!("balance: 429 retry-after={wait}\n"));
        let path = folder.path("script");
        api(&["--script", path.to_str().expect("UTF-8")])
    };
    let (api, case) = (throttling("2"), rows_of("hcaptcha", 3));
    let start = Instant::now();
    let (code, _, stderr) = finish(&mut case.run(&api.url, &QUICK));
    assert_eq!(code, 0, "{stderr}");
    assert!(start.elapsed() >= Duration::from_secs(2), "{stderr}");
    assert!(stderr.contains("a pause of 2.0s"), "{stderr}");
    let (api, case) = (throttling("1y"), rows_of("hcaptcha", 3));
    let (code, _, stderr) = finish(&mut case.run(&api.url, &QUICK));
    assert_eq!(code, 69, "{stderr}");
    assert!(stderr.contains("nothing was begun"), "{stderr}");
    assert_eq!(number(&api.ledger(), "creates"), 0);
}

#[test]
fn nothing_is_asked_where_nothing_is_to_do() {
    let (api, case) = (api(&[]), rows_of("hcaptcha", 3));
    assert_eq!(finish(&mut case.run(&api.url, &QUICK)).0, 0);
    let others = number(&api.ledger(), "others");
    assert_eq!(finish(&mut case.run(&api.url, &QUICK)).0, 0);
    case.write(
        "in.csv",
        "id,job,website_url,website_key\nr9,hcaptcha,x,k\n",
    );
    assert_eq!(finish(&mut case.run(&api.url, &QUICK)).0, 65);
    let now = number(&api.ledger(), "others");
    assert!(others == now || others == 0, "{others} {now}");
}

/// A price that rose between two runs: what an adopted job's failure gives back is what was set aside
/// for it.
#[test]
fn a_failed_solve_gives_back_what_was_set_aside_for_it() {
    let case = rows_of("hcaptcha", 4);
    let script = Case::new();
    script.write("script", "service #2..: 503\n");
    let path = script.path("script");
    let cheap = Api::start(&[
        "--solve-time",
        "2s",
        "--fail-rate",
        "1",
        "--script",
        path.to_str().expect("UTF-8"),
    ]);
    let stop = ["--max-runtime", "500ms", "--drain-timeout", "0s"];
    let (code, _, stderr) = finish(case.run(&cheap.url, &QUICK).args(stop));
    assert_eq!(code, 3, "{stderr}");
    assert_eq!(case.summary()["spend"].to_string(), "0.004");
    // It tells no prices any more: the file's count.
    std::fs::create_dir(case.path("kinds")).expect("a folder");
    let text = include_str!("../jobs/hcaptcha.toml").replace("\"0.001\"", "\"5\"");
    case.write("kinds/hcaptcha.toml", &text);
    let args = ["--jobs", "kinds", "--attempts", "1"];
    let (code, _, stderr) = finish(case.run(&cheap.url, &QUICK).args(args));
    assert_eq!(code, 1, "{stderr}");
    let summary = case.summary();
    assert_eq!(summary["spend"].to_string(), "0.0", "{summary}");
}

/// The cap holds with many under way, of which a part fails and gives its share back.
#[test]
fn spending_stops_at_the_cap_and_goes_on_with_a_higher_one() {
    let case = rows_of("hcaptcha", 1000);
    let api = Api::start(&[
        "--solve-time",
        "2s..3s",
        "--latency",
        "0ms..20ms",
        "--fail-rate",
        "0.1",
        "--fault",
        "create:reset_after=0.01,503=0.01",
    ]);
    let mut args = QUICK.to_vec();
    (args[1], args[3]) = ("300ms", "2000/s");
    args.extend(["--max-in-flight", "500", "--max-spend"]);
    let (code, _, stderr) = finish(case.run(&api.url, &args).arg("0.25"));
    assert_eq!(code, 3, "{stderr}");
    assert!(stderr.contains("--max-spend"), "{stderr}");
    let ledger = api.ledger();
    let billed = number(&ledger, "billed_micros");
    assert!(billed <= 250_000, "{ledger}");
    let summary = case.summary();
    assert_eq!(summary["stop"], "max_spend");
    assert!(billed <= micros(&summary["spend"]), "{ledger} {summary}");
    // It is used to the last row that fits.
    assert_eq!(summary["spend"].to_string(), "0.25", "{summary}");
    let in_flight = number(&ledger, "most_in_flight");
    assert!((200..=500).contains(&in_flight), "{ledger}");
    let (code, _, stderr) = finish(case.run(&api.url, &args).arg("5"));
    assert!(code <= 1, "{stderr}");
    hold_against_ledger(&case, &api, 1000);
    assert!(
        number(&api.ledger(), "billed_micros") <= micros(&case.summary()["spend"]),
        "{}",
        case.summary()
    );
}

/// Dollars in a summary as millionths.
fn micros(dollars: &serde_json::Value) -> u64 {
    let (whole, part) = match dollars.to_string().split_once('.') {
        Some((whole, part)) => (whole.to_owned(), part.to_owned()),
        None => (dollars.to_string(), String::new()),
    };
    format!("{whole}{part:0<6}").parse().expect("an amount")
}
