//! `account` against the simulator, in both protocols; and what a run in v2 does, from outside.

mod support;

use serde_json::Value;
use support::{ACCOUNT, Api, Case, finish, hold_against_ledger};

/// Where the simulator speaks the protocol.
fn base(api: &Api, protocol: &str) -> String {
    match protocol {
        "v2" => format!("{}/v2", api.url),
        _ => api.url.clone(),
    }
}

/// `pollwheel account` at this URL.
fn account(url: &str, protocol: &str, args: &[&str]) -> (i32, String, String) {
    let case = Case::new();
    let mut command = case.pollwheel("account");
    command.args(["--base-url", url, "--protocol", protocol]);
    let (code, stdout, stderr) = finish(command.args(args));
    for text in [&stdout, &stderr] {
        assert!(!text.contains(ACCOUNT), "{text}");
    }
    (code, stdout, stderr)
}

#[test]
fn the_right_token_is_told_the_balance_and_the_services() {
    let api = Api::start(&["--balance", "12.34567", "--token", ACCOUNT]);
    for protocol in ["v1", "v2"] {
        let url = base(&api, protocol);
        let (code, stdout, stderr) = account(&url, protocol, &[]);
        assert_eq!((code, stderr.as_str()), (0, ""), "{stdout}");
        assert!(stdout.contains("balance   $12.34567"), "{stdout}");
        let has_services = stdout.contains("reCaptcha v2") && stdout.contains("$0.00055");
        assert_eq!(has_services, protocol == "v1", "{stdout}");

        let (code, stdout, stderr) = account(&url, protocol, &["--json"]);
        assert_eq!((code, stderr.as_str()), (0, ""), "{stdout}");
        assert_eq!(stdout.lines().count(), 1, "{stdout}");
        let json: Value = serde_json::from_str(&stdout).expect("it is JSON");
        assert_eq!(json["balance"].to_string(), "12.34567");
        assert_eq!(
            (&json["protocol"], &json["base_url"]),
            (&protocol.into(), &url.into())
        );
        match protocol {
            "v1" => {
                let service = &json["services"][1];
                assert_eq!(
                    (&service["id"], service["price"].to_string().as_str()),
                    (&"1".into(), "0.00055")
                );
            }
            _ => assert_eq!(json["services"], Value::Null),
        }
    }
    assert_eq!(api.ledger()["creates"], 0, "nothing was bought");
}

#[test]
fn a_wrong_token_is_77() {
    let api = Api::start(&["--token", "another-token"]);
    for (protocol, words) in [
        ("v1", "Invalid api token."),
        ("v2", "ERROR_KEY_DOES_NOT_EXIST"),
    ] {
        let (code, stdout, stderr) = account(&base(&api, protocol), protocol, &["--json"]);
        assert_eq!((code, stdout.as_str()), (77, ""), "{stderr}");
        assert!(
            stderr.contains(words) && stderr.contains("POLLWHEEL_API_TOKEN"),
            "{stderr}"
        );
    }
}

#[test]
fn a_service_that_is_down_is_69() {
    // A port that was free a moment ago.
    let closed = {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
        format!("http://{}", listener.local_addr().expect("its address"))
    };
    for protocol in ["v1", "v2"] {
        let (code, stdout, stderr) = account(&closed, protocol, &[]);
        assert_eq!((code, stdout.as_str()), (69, ""), "{stderr}");
        assert!(stderr.contains("refused"), "{stderr}");
    }
    for (fault, words) in [
        ("balance:503=1", "HTTP 503"),
        ("balance:html=1", "HTTP 200, text/html"),
        ("balance:429=1", "asked later"),
        ("balance:reset_before=1", "reset"),
    ] {
        let api = Api::start(&["--fault", fault]);
        for protocol in ["v1", "v2"] {
            let (code, stdout, stderr) = account(&base(&api, protocol), protocol, &[]);
            assert_eq!((code, stdout.as_str()), (69, ""), "{fault}: {stderr}");
            assert!(stderr.contains(words), "{fault}: {stderr}");
        }
    }
}

#[test]
fn services_that_cannot_be_had_do_not_hide_the_balance() {
    let api = Api::start(&["--balance", "7", "--fault", "service:500=1"]);
    let (code, stdout, stderr) = account(&api.url, "v1", &[]);
    assert_eq!(code, 69, "{stderr}");
    assert!(stdout.contains("balance   $7\n"), "{stdout}");
    assert!(
        stderr.contains("the services: ") && stderr.contains("HTTP 500"),
        "{stderr}"
    );
}

#[test]
fn no_token_is_78_and_the_simulator_needs_none() {
    let case = Case::new();
    let mut command = case.pollwheel("account");
    let (code, _, stderr) = finish(command.env_remove("POLLWHEEL_API_TOKEN"));
    assert_eq!(code, 78, "{stderr}");
    assert!(stderr.contains("no account token"), "{stderr}");
    for protocol in ["v1", "v2"] {
        let mut command = case.pollwheel("account");
        command.args(["--simulate", "--protocol", protocol]);
        let (code, stdout, stderr) = finish(command.env_remove("POLLWHEEL_API_TOKEN"));
        assert_eq!((code, stderr.as_str()), (0, ""), "{stdout}");
        assert!(
            stdout.contains("make-believe") && stdout.contains("$1000"),
            "{stdout}"
        );
    }
}

const QUICK: [&str; 6] = [
    "--poll-interval",
    "20ms",
    "--submit-rate",
    "500/s",
    "--summary",
    "summary.json",
];

/// Rows of the kind that both protocols speak.
fn recaptcha_rows(rows: usize) -> Case {
    let case = Case::new();
    let mut text = "id,job,website_url,website_key,is_invisible\n".to_owned();
    for n in 0..rows {
        text += &format!(
            "r{n},recaptcha-v2,https://h{n}.example.com/?row={n},key-{n},{}\n",
            n % 2 == 0
        );
    }
    case.write("in.csv", &text);
    case
}

#[test]
fn the_same_rows_end_alike_by_either_protocol() {
    let mut statuses = Vec::new();
    for protocol in ["v1", "v2"] {
        let case = recaptcha_rows(1000);
        // By key, so that it does not matter when a row comes.
        case.write("script", "create key=key-7 #1: reset_after\ncreate key=key-30: refuse \"ERROR_TASK_DATA odd row\"\npoll key=key-44 #1: html\npoll key=key-500: unknown_job\n");
        let script = case.path("script");
        let api = Api::start(&[
            "--solve-time",
            "20ms..60ms",
            "--latency",
            "0ms",
            "--script",
            script.to_str().expect("UTF-8"),
        ]);
        let url = base(&api, protocol);
        let mut command = case.run(&url, &QUICK);
        let (code, stdout, stderr) = finish(command.args(["--protocol", protocol]));
        assert_eq!((code, stdout.as_str()), (1, ""), "{stderr}");
        hold_against_ledger(&case, &api, 1000);
        let mut rows = case.rows();
        rows.sort_by(|a, b| a["id"].cmp(&b["id"]));
        let is_uuid = |id: &str| id.len() == 36 && id.matches('-').count() == 4;
        let uuids = rows.iter().filter(|row| is_uuid(&row["remote_id"]));
        assert_eq!(uuids.count() > 0, protocol == "v2");
        let status = |row: &std::collections::HashMap<String, String>| {
            format!(
                "{} {} attempts {} {} {}",
                row["id"], row["status"], row["attempts"], row["cost"], row["error"]
            )
        };
        statuses.push(rows.iter().map(status).collect::<Vec<_>>());
    }
    assert_eq!(statuses[0], statuses[1]);
    assert!(statuses[0].contains(&"r7 solved attempts 2 0.0011 ".to_owned()));
    let mut failed = statuses[0].clone();
    failed.retain(|status| !status.contains("solved"));
    let expected = [
        "r30 failed attempts 0 0 refused",
        "r500 failed attempts 1 0.00055 refused",
    ];
    assert_eq!(failed, expected);
}

#[test]
fn rules_of_the_configuration_say_what_a_refusal_means() {
    for (protocol, odd) in [("v1", "Hàng kỳ lạ!"), ("v2", "ERROR_ODD_ROW hàng kỳ lạ")] {
        let case = recaptcha_rows(40);
        let script = format!(
            "create key=key-3: refuse \"{odd}\"\ncreate key=key-20: refuse \"ERROR_QUOTA Vượt hạn mức.\"\n"
        );
        case.write("script", &script);
        case.write(
            "rules.toml",
            "[[refusals]]\ncode = \"ERROR_ODD_ROW\"\nmeans = \"bad_request\"\n\
             [[refusals]]\nmatch = \"hang ky la\"\nmeans = \"bad_request\"\n\
             [[refusals]]\nmatch = \"VƯỢT HẠN MỨC\"\nmeans = \"no_balance\"\n",
        );
        let script = case.path("script");
        let api = Api::start(&[
            "--solve-time",
            "20ms",
            "--script",
            script.to_str().expect("UTF-8"),
        ]);
        let mut command = case.run(&base(&api, protocol), &QUICK);
        command.args(["--protocol", protocol, "--config", "rules.toml"]);
        let (code, _, stderr) = finish(&mut command);
        assert_eq!(code, 3, "{stderr}");
        assert!(
            stderr.contains("the balance is used up") && stderr.contains("Vượt hạn mức."),
            "{stderr}"
        );
        let rows = case.rows();
        let odd_row = rows.iter().find(|row| row["id"] == "r3").expect("its row");
        assert_eq!(
            (odd_row["status"].as_str(), odd_row["error"].as_str()),
            ("failed", "refused")
        );
        assert!(odd_row["message"].contains("kỳ lạ"), "{odd_row:?}");
        assert!(rows.iter().all(|row| row["id"] != "r20"), "it is unsettled");
    }
}

#[test]
fn a_kind_that_v2_does_not_know_is_refused_at_start() {
    let (api, case) = (Api::start(&[]), Case::with_rows(9));
    let url = base(&api, "v2");
    for skip in [false, true] {
        let mut run = case.run(&url, &QUICK);
        run.args(["--protocol", "v2"]);
        if skip {
            run.arg("--skip-bad-rows");
        }
        let mut check = case.pollwheel("check");
        check.args([
            "in.csv",
            "--protocol",
            "v2",
            "--authorized-site",
            "*.example.com",
        ]);
        for command in [&mut run, &mut check] {
            let (code, _, stderr) = finish(command);
            assert_eq!(code, 78, "{stderr}");
            let told = stderr
                .matches("in.csv:1: kind `hcaptcha` (jobs/hcaptcha.toml) has no [protocol.v2]");
            assert_eq!(told.count(), 1, "{stderr}");
            assert!(stderr.contains("--protocol"), "{stderr}");
        }
    }
    assert_eq!(api.ledger()["creates"], 0, "something was sent");
}

#[test]
fn a_kind_of_the_user_s_may_speak_v2() {
    let case = Case::with_rows(9);
    std::fs::create_dir(case.path("kinds")).expect("a folder");
    let text = include_str!("../jobs/hcaptcha.toml")
        .replace("[[column]]\nname = \"website_url\"", "[protocol.v2]\ntype = \"HCaptchaTask\"\ntoken = [\"gRecaptchaResponse\"]\n\n[[column]]\nname = \"website_url\"")
        .replace("v1 = \"website_url\"", "v1 = \"website_url\", v2 = \"websiteURL\"")
        .replace("v1 = \"website_key\"", "v1 = \"website_key\", v2 = \"websiteKey\"");
    case.write("kinds/hcaptcha.toml", &text);
    let mut command = case.pollwheel("run");
    command.args([
        "--from",
        "in.csv",
        "--to",
        "out.csv",
        "--simulate",
        "--protocol",
        "v2",
    ]);
    command.args(["--jobs", "kinds", "--authorized-site", "*.example.com"]);
    let (code, _, stderr) = finish(command.args(["--poll-interval", "20ms"]));
    assert_eq!(code, 0, "{stderr}");
    assert!(case.rows().iter().all(|row| row["status"] == "solved"));
}

#[test]
fn tasks_of_v2_are_adopted_by_the_next_run() {
    let case = recaptcha_rows(40);
    let api = Api::start(&["--solve-time", "1500ms", "--latency", "0ms"]);
    let url = base(&api, "v2");
    let run = |args: &[&str]| {
        let mut command = case.run(&url, &QUICK);
        finish(command.args(["--protocol", "v2"]).args(args))
    };
    let (code, _, stderr) = run(&["--max-runtime", "500ms", "--drain-timeout", "0s"]);
    assert_eq!(code, 3, "{stderr}");
    let (code, _, stderr) = run(&[]);
    assert_eq!(code, 0, "{stderr}");
    let resumed = stderr.split_once("resuming: ").expect(&stderr).1;
    assert!(!resumed.contains(" 0 adopted"), "{stderr}");
    hold_against_ledger(&case, &api, 40);
    assert_eq!(api.ledger()["jobs"], 40, "a known task was created again");
}
