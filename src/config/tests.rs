//! Layering and faults, end to end over the text of files, variables and flags.

use std::path::PathBuf;
use std::time::Duration;

use super::file::ConfigFile;
use super::settings::AUTHORIZED_SITE;
use super::*;
use crate::api::{Meaning, RefusalRule, RefusalRules};

fn environment(variables: &[(&str, &str)]) -> Environment {
    Environment::from_pairs(
        variables
            .iter()
            .map(|(name, value)| (name.into(), value.into())),
    )
}

fn flags(values: &[(&'static str, &str)]) -> Flags {
    let mut flags = Flags::default();
    for (key, text) in values {
        flags.set(key, *text, format!("--{}", key.replace('_', "-")));
    }
    flags
}

/// Loads `file` as `config.toml` of a folder of its own, which stands as `DIR` in messages.
fn load(
    values: &[(&'static str, &str)],
    variables: &[(&str, &str)],
    file: &str,
) -> Result<Config, (ConfigError, String)> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("config.toml");
    std::fs::write(&path, file).unwrap();
    let mut flags = flags(values);
    flags.set_config(path);
    Config::load(&flags, environment(variables)).map_err(|e| {
        let message = e
            .to_string()
            .replace(&format!("{}", folder.path().display()), "DIR");
        (e, message)
    })
}

fn origin_of(config: &Config, key: &str) -> Origin {
    config
        .provenance
        .iter()
        .find(|p| p.key == key)
        .unwrap()
        .origin
        .clone()
}

#[test]
fn each_layer_wins_over_those_below() {
    let file = "max_in_flight = 3\n";
    let variable = ("POLLWHEEL_MAX_IN_FLIGHT", "4");
    let flag = ("max_in_flight", "5");
    for (flags, variables, file, value, origin) in [
        (&[][..], &[][..], "", 200, "default"),
        (&[], &[], file, 3, "config.toml:1"),
        (&[], &[variable], file, 4, "POLLWHEEL_MAX_IN_FLIGHT"),
        (&[flag], &[variable], file, 5, "--max-in-flight"),
        (&[flag], &[], "", 5, "--max-in-flight"),
    ] {
        let config = load(flags, variables, file).unwrap();
        assert_eq!(config.settings.max_in_flight, value);
        assert!(
            origin_of(&config, "max_in_flight")
                .to_string()
                .ends_with(origin)
        );
    }
}

#[test]
fn every_setting_can_come_from_every_layer() {
    let value = |setting: &Setting| match (setting.key, setting.default) {
        ("abandon_paid" | "retry_failed" | "fresh", _) => "false",
        ("jobs", _) => concat!(env!("CARGO_MANIFEST_DIR"), "/jobs"),
        ("delimiter", _) => ";",
        ("base_url", _) => "https://example.com",
        ("redis_url", _) => "redis://127.0.0.1",
        (_, "") => match setting.value_name {
            "N" => "7",
            "N/s" => "7/s",
            "TIME" => "7s",
            "DOLLARS" => "7",
            _ => "seven",
        },
        (_, default) => default,
    };
    for setting in SETTINGS {
        let (key, text) = (setting.key, value(setting));
        let config = load(&[(key, text)], &[], "").unwrap();
        assert_eq!(origin_of(&config, key), Origin::Flag(setting.flag()));
        let config = load(&[], &[(&setting.variable(), text)], "").unwrap();
        assert_eq!(
            origin_of(&config, key),
            Origin::Environment(setting.variable())
        );
        let config = load(&[], &[], &format!("{key} = {text:?}\n")).unwrap();
        assert!(
            matches!(origin_of(&config, key), Origin::File { line: 1, .. }),
            "{key}"
        );
    }
}

#[test]
fn the_table_and_the_fields_are_one_list() {
    let config = load(&[], &[], "").unwrap();
    let keys: Vec<_> = config.provenance.iter().map(|p| p.key).collect();
    let table: Vec<_> = SETTINGS
        .iter()
        .map(|s| s.key)
        .chain([AUTHORIZED_SITE.key])
        .collect();
    assert_eq!(keys, table);
    let s = config.settings;
    assert_eq!((s.max_in_flight, s.max_connections), (200, 32));
    assert_eq!(
        (s.submit_rate.per_second, s.submit_rate.burst.get()),
        (10.0, 1)
    );
    assert_eq!(
        (s.drain_timeout, s.lock_wait),
        (Duration::from_secs(30), Duration::ZERO)
    );
    assert_eq!(
        (s.limit, s.max_spend, s.poll_rate.is_none()),
        (None, None, true)
    );
}

#[test]
fn the_file_in_the_source_holds_every_setting_at_its_default() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/config.toml");
    let text = std::fs::read_to_string(path).unwrap();
    let file = ConfigFile::parse("config.toml", &text, PathBuf::new()).unwrap();
    for Setting { key, default, .. } in SETTINGS {
        let active = file.values.get(*key).map(|value| value.text.as_str());
        if default.is_empty() {
            assert_eq!(active, None, "{key} has no default");
            assert!(
                text.contains(&format!("\n# {key} = ")),
                "{key} is not shown"
            );
        } else {
            assert_eq!(active, Some(*default), "{key}");
        }
    }
    let shown: Vec<_> = file
        .sites
        .unwrap()
        .rules
        .iter()
        .map(ToString::to_string)
        .collect();
    assert_eq!(shown, ["*.example.com"]);
}

#[test]
fn what_the_file_in_the_source_comments_out_is_right_as_well() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/config.toml");
    let text: String = std::fs::read_to_string(path)
        .unwrap()
        .lines()
        .map(|line| match line.strip_prefix("# ") {
            Some(rest)
                if SETTINGS
                    .iter()
                    .any(|s| rest.starts_with(&format!("{} = ", s.key))) =>
            {
                format!("{rest}\n")
            }
            _ => format!("{line}\n"),
        })
        .map(|line| {
            line.replace(
                "jobs = \"jobs\"",
                concat!("jobs = \"", env!("CARGO_MANIFEST_DIR"), "/jobs\""),
            )
        })
        .collect();
    let config = load(&[], &[], &text).map_err(|e| e.1).unwrap();
    let untouched: Vec<_> = config
        .provenance
        .iter()
        .filter(|p| p.origin == Origin::Default)
        .map(|p| p.key)
        .collect();
    assert_eq!(untouched, Vec::<&str>::new());
}

#[test]
fn bad_files() {
    let table = [
        (
            "max_in_flight = 0",
            "DIR/config.toml:1:17: max_in_flight: must be a whole number from 1 to 1000000",
        ),
        (
            "\n\n  max_inflight = 1",
            "DIR/config.toml:3:3: unknown key `max_inflight`; did you mean `max_in_flight`?",
        ),
        (
            "colour = 1",
            "DIR/config.toml:1:1: unknown key `colour`; config.toml in the source lists them all",
        ),
        (
            "submit_rate = \"fast\"",
            "DIR/config.toml:1:15: submit_rate: not a rate; write it like 10/s, 0.5/s or 600/m",
        ),
        (
            "submit_rate = 0",
            "DIR/config.toml:1:15: submit_rate: must lie between 1/h and 100000/s",
        ),
        (
            "timeout = 180",
            "DIR/config.toml:1:11: timeout: has no unit; write it like 90s, 2m or 1h",
        ),
        (
            "timeout = \"3 parsecs\"",
            "DIR/config.toml:1:11: timeout: not a time span; write it like 90s, 2m or 1h",
        ),
        (
            "timeout = \"2days\"",
            "DIR/config.toml:1:11: timeout: must lie between 1s and 1day",
        ),
        (
            "max_spend = \"lots\"",
            "DIR/config.toml:1:13: max_spend: not an amount in US dollars, such as 1.50",
        ),
        (
            "ordered = \"perhaps\"",
            "DIR/config.toml:1:11: ordered: must be true or false",
        ),
        (
            "limit = [1]",
            "DIR/config.toml:1:9: limit: must be a text, a number, true or false",
        ),
        (
            "journal = \"\"",
            "DIR/config.toml:1:11: journal: is empty; leave the line out for the default",
        ),
        (
            "protocol = \"v3\"",
            "DIR/config.toml:1:12: protocol: must be v1 or v2",
        ),
        (
            "on_unknown_create = \"ask\"",
            "DIR/config.toml:1:21: on_unknown_create: must be retry or fail",
        ),
        (
            "base_url = \"http://example.com\"",
            "DIR/config.toml:1:12: base_url: http would send the account token in the clear; use https (http is for this machine only)",
        ),
        (
            "poll_interval = \"1s\"",
            "DIR/config.toml:1:17: poll_interval: the service asks for at least 2s between polls of a job; less is for loopback hosts only",
        ),
        (
            "api_token = \"hunter2\"",
            "DIR/config.toml:1:1: api_token: the account token does not belong in this file; set POLLWHEEL_API_TOKEN, or name the file that holds it in api_token_file",
        ),
        (
            "sites = []",
            "DIR/config.toml:1:1: sites: sites stand in a table of their own: [authorization] sites = [\"shop.example.com\"]",
        ),
        (
            "[authorization]\nsites = [\"*.com\"]",
            "DIR/config.toml:2:10: sites: `*.com` is no site: it would cover a whole public suffix; write a host such as shop.example.com, or *.example.com",
        ),
        (
            "[authorization]\nsites = [\"a.example.com\", 5]",
            "DIR/config.toml:2:27: sites: an entry is \"shop.example.com\" or { host = \"shop.example.com\", keys = [\"…\"] }",
        ),
        (
            "[authorization]\nsites = [{ host = \"a.example.com\", keys = [] }]",
            "DIR/config.toml:2:10: sites: an entry is \"shop.example.com\" or { host = \"shop.example.com\", keys = [\"…\"] }",
        ),
        (
            "[authorization]\nall = true",
            "DIR/config.toml:2:1: unknown key `authorization.all`; it has `sites` alone",
        ),
        (
            "refusals = 1",
            "DIR/config.toml:1:12: refusals: stand in tables of their own: [[refusals]], with `means` and one of `code` and `match`",
        ),
        (
            "[refusals]\ncode = \"X\"",
            "DIR/config.toml:1:1: refusals: stand in tables of their own: [[refusals]], with `means` and one of `code` and `match`",
        ),
        (
            "[[refusal]]\ncode = \"X\"",
            "DIR/config.toml:1:3: unknown key `refusal`; did you mean `[[refusals]]`?",
        ),
        (
            "limit = 5\n\n[[refusals]]\ncode = \"ERROR_X\"\nmeans = \"pasing\"",
            "DIR/config.toml:5:9: means: did you mean `passing`?",
        ),
        (
            "[[refusals]]\ncode = \"ERROR_X\"\nmeans = \"hunter2\"",
            "DIR/config.toml:3:9: means: must be one of bad_token, no_balance, blocked, unknown_job, passing, bad_request, unrecognised, solve_failed",
        ),
        (
            "[[refusals]]\ncode = \"ERROR_X\"",
            "DIR/config.toml:1:1: refusals: a rule needs `means`",
        ),
        (
            "[[refusals]]\nmeans = \"passing\"",
            "DIR/config.toml:1:1: refusals: a rule needs one of `code` and `match`",
        ),
        (
            "[[refusals]]\nmeans = \"passing\"\ncode = \"X\"\nmatch = \"x\"",
            "DIR/config.toml:4:9: match: stands beside `code`; make two rules of it",
        ),
        (
            "[[refusals]]\nmeans = \"passing\"\nmatch = \"…\"",
            "DIR/config.toml:3:9: match: has no letter and no digit",
        ),
        (
            "[[refusals]]\nmeans = \"passing\"\ncode = 5",
            "DIR/config.toml:3:8: code: must be a text",
        ),
        (
            "[[refusals]]\nmeans = \"passing\"\nwords = \"x\"",
            "DIR/config.toml:3:1: unknown key `refusals.words`; a rule has `code`, `match`, `means`",
        ),
        (
            "max_in_flight = 1\nmax_in_flight = 2",
            "DIR/config.toml:2:1: duplicate key",
        ),
        (
            "max_in_flight = hunter2",
            "DIR/config.toml:1:17: max_in_flight: string values must be quoted, expected literal string",
        ),
    ];
    let mut wrong = String::new();
    for (file, expected) in table {
        let (error, message) = load(&[], &[], file).unwrap_err();
        assert!(!error.is_usage(), "{file}");
        assert!(!message.contains("hunter2"), "{message}");
        if message != expected {
            wrong += &format!("{file}\n  expected {expected}\n  got      {message}\n");
        }
    }
    assert!(wrong.is_empty(), "\n{wrong}");
}

#[test]
fn bad_flags_and_variables() {
    let (error, message) = load(&[("max_in_flight", "many")], &[], "").unwrap_err();
    assert!(error.is_usage());
    assert_eq!(
        message,
        "--max-in-flight: must be a whole number from 1 to 1000000"
    );

    let (error, message) = load(&[], &[("POLLWHEEL_LIMIT", "0")], "").unwrap_err();
    assert!(!error.is_usage());
    assert_eq!(
        message,
        "POLLWHEEL_LIMIT: must be a whole number, at least 1"
    );

    let (error, message) = load(&[("poll_interval", "1s")], &[], "").unwrap_err();
    assert!(
        !error.is_usage(),
        "the contract says 78 whatever layer it comes from"
    );
    assert!(
        message.starts_with("--poll-interval: the service asks"),
        "{message}"
    );

    for clash in [
        &[("abandon_paid", "true")][..],
        &[("fresh", "true"), ("retry_failed", "true")],
        &[("simulate", "true"), ("base_url", "https://example.com")],
    ] {
        assert!(load(clash, &[], "").unwrap_err().0.is_usage(), "{clash:?}");
    }
}

#[test]
fn loopback_may_be_polled_fast() {
    for flags in [
        &[
            ("base_url", "http://127.0.0.1:1"),
            ("poll_interval", "50ms"),
        ][..],
        &[("simulate", "true"), ("poll_interval", "50ms")],
    ] {
        let config = load(flags, &[], "").unwrap();
        assert_eq!(config.settings.poll_floor(), Duration::ZERO);
        for kind in config.kinds.iter() {
            assert_eq!(
                (kind.interval, kind.first_after),
                (Duration::from_millis(50), Duration::from_millis(50))
            );
        }
    }
    assert_eq!(
        load(&[], &[], "").unwrap().settings.poll_floor(),
        Duration::from_secs(2)
    );
}

#[test]
fn kinds_change_only_where_a_setting_is_given() {
    let config = load(&[], &[], "").unwrap();
    for (kind, built_in) in config
        .kinds
        .iter()
        .zip(crate::job::Kinds::built_in().iter())
    {
        assert_eq!(kind, built_in);
    }
    let config = load(&[("timeout", "60s"), ("attempts", "5")], &[], "").unwrap();
    for kind in config.kinds.iter() {
        assert_eq!((kind.timeout, kind.attempts), (Duration::from_secs(60), 5));
        assert_eq!(kind.first_after, Duration::from_secs(5));
    }
}

#[test]
fn a_folder_of_kinds_adds_to_those_built_in() {
    let folder = tempfile::tempdir().unwrap();
    let text = include_str!("../../jobs/hcaptcha.toml").replace("\"hcaptcha\"", "\"mine\"");
    let path = folder.path().to_str().unwrap().to_owned();
    let message = load(&[("jobs", &path)], &[], "").unwrap_err().1;
    assert!(
        message.ends_with("holds no *.toml; a kind of job is one such file"),
        "{message}"
    );
    std::fs::write(folder.path().join("mine.toml"), &text).unwrap();
    assert_eq!(
        load(&[("jobs", &path)], &[], "").unwrap().kinds.names(),
        "hcaptcha, mine, recaptcha-v2"
    );
    std::fs::write(
        folder.path().join("mine.toml"),
        text.replace("attempts = 2", "attempts = 0"),
    )
    .unwrap();
    let message = load(&[("jobs", &path)], &[], "").unwrap_err().1;
    assert!(
        message.contains("mine.toml:") && message.contains("attempts"),
        "{message}"
    );
}

#[test]
fn sites_are_replaced_not_added() {
    let file = "[authorization]\nsites = [\"a.example.com\", { host = \"*.example.org\", keys = [\"k\"] }]\n";
    let shown = |config: &Config| config.provenance.last().unwrap().text.clone();
    assert_eq!(
        shown(&load(&[], &[], file).unwrap()),
        "a.example.com, *.example.org (1 site keys)"
    );
    let variables = [("POLLWHEEL_AUTHORIZED_SITE", "b.example.com, c.example.com")];
    assert_eq!(
        shown(&load(&[], &variables, file).unwrap()),
        "b.example.com, c.example.com"
    );
    let mut flags = Flags::default();
    flags.add_site("d.example.com");
    let config = Config::load(&flags, environment(&variables)).unwrap();
    assert_eq!(shown(&config), "d.example.com");
    assert!(load(&[], &[], "").unwrap().sites.is_empty());
}

#[test]
fn paths_of_a_file_are_relative_to_its_folder() {
    let config = load(&[("summary", "s.json")], &[], "journal = \"j\"\n").unwrap();
    assert!(config.settings.journal.as_ref().unwrap().is_absolute());
    assert_eq!(config.settings.summary, Some(PathBuf::from("s.json")));
}

#[test]
fn the_token_comes_from_the_environment_or_a_file_and_is_never_shown() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("token");
    std::fs::write(&path, "hunter2-from-file\n").unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
    let file = format!("api_token_file = {:?}\n", path.to_str().unwrap());

    let config = load(&[], &[], &file).unwrap();
    let found = config.account_token().unwrap();
    assert_eq!(
        (found.token.expose(), found.warning),
        ("hunter2-from-file", None)
    );

    let config = load(&[], &[("POLLWHEEL_API_TOKEN", "hunter2")], &file).unwrap();
    let found = config.account_token().unwrap();
    assert_eq!(found.token.expose(), "hunter2");
    assert!(!format!("{config:?} {found:?} {}", show(&config.provenance)).contains("hunter2"));

    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
    let warning = load(&[], &[], &file)
        .unwrap()
        .account_token()
        .unwrap()
        .warning
        .unwrap();
    assert!(warning.contains("mode 644"), "{warning}");

    for (variables, file) in [
        (&[][..], ""),
        (&[("POLLWHEEL_API_TOKEN", "hunter2 has spaces")], ""),
    ] {
        let error = load(&[], variables, file)
            .unwrap()
            .account_token()
            .unwrap_err();
        assert!(!error.is_usage() && !format!("{error} {error:?}").contains("hunter2"));
    }
    assert!(
        load(&[("simulate", "true")], &[], "")
            .unwrap()
            .identity()
            .unwrap()
            .is_simulated()
    );
}

#[test]
fn rules_for_refusals_come_from_the_file_in_its_order() {
    let file = "[[refusals]]\ncode = \"ERROR_X\"\nmeans = \"blocked\"\n\n[[refusals]]\nmatch = \"hết lượt\"\nmeans = \"passing\"\n";
    let config = load(&[], &[], file).unwrap();
    let meaning = |word| Meaning::named(word).unwrap();
    let expected = RefusalRules::new(vec![
        RefusalRule::for_code("ERROR_X", meaning("blocked")).unwrap(),
        RefusalRule::for_words("het luot", meaning("passing")).unwrap(),
    ]);
    assert_eq!(config.refusals, expected);
    let shown = config.provenance.last().unwrap();
    assert_eq!((shown.key, shown.text.as_str()), ("refusals", "2 rules"));
    let none = load(&[], &[], "").unwrap();
    assert_eq!(none.refusals, RefusalRules::default());
}

/// The rules that the file in the source shows, commented out, are right as well.
#[test]
fn the_rules_in_the_source_are_right() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/config.toml");
    let text = std::fs::read_to_string(path).unwrap();
    let at = text.find("# [[refusals]]").unwrap();
    let rules: String = text[at..]
        .lines()
        .map(|line| line.trim_start_matches("# ").to_owned() + "\n")
        .collect();
    let config = load(&[], &[], &rules).map_err(|e| e.1).unwrap();
    assert_ne!(config.refusals, RefusalRules::default());
}

#[test]
fn a_misspelt_variable_is_named() {
    let config = load(
        &[],
        &[
            ("POLLWHEEL_MAX_INFLIGHT", "5"),
            ("POLLWHEEL_PORT_80_TCP", "x"),
        ],
        "",
    )
    .unwrap();
    assert_eq!(
        config.warnings[0],
        "POLLWHEEL_MAX_INFLIGHT is no setting; did you mean POLLWHEEL_MAX_IN_FLIGHT?"
    );
    assert_eq!(config.warnings.len(), 1, "{:?}", config.warnings);
    assert!(config.site_warning().unwrap().contains("no site"));
}

#[test]
fn a_named_file_must_be_there() {
    let mut flags = Flags::default();
    flags.set_config("/nonexistent/config.toml".into());
    let error = Config::load(&flags, Environment::default()).unwrap_err();
    assert_eq!(error.to_string(), "cannot read /nonexistent/config.toml");
}

#[test]
fn each_protocol_has_a_service_of_its_own() {
    for (protocol, service) in [
        ("v1", "https://omocaptcha.com"),
        ("v2", "https://api.omocaptcha.com/v2"),
    ] {
        let config = load(&[("protocol", protocol)], &[], "").unwrap();
        assert_eq!(config.settings.service().as_str(), service);
        let shown = &config.provenance[0];
        assert_eq!(
            (shown.key, shown.text.as_str(), &shown.origin),
            ("base_url", service, &Origin::Default)
        );
        let given = [("protocol", protocol), ("base_url", "https://example.com")];
        let config = load(&given, &[], "").unwrap();
        assert_eq!(config.settings.service().as_str(), "https://example.com");
    }
}

#[test]
fn how_redis_is_reached() {
    use secrecy::ExposeSecret;

    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("password");
    std::fs::write(&file, "hunter2 \r\n").unwrap();
    let name = file.to_str().unwrap();
    let url = ("redis_url", "redis://worker:other@127.0.0.1:7/2");

    let (error, message) = load(&[], &[], "")
        .and_then(|c| {
            c.redis().map_err(|e| {
                let message = e.to_string();
                (e, message)
            })
        })
        .unwrap_err();
    assert!(matches!(error, ConfigError::NoRedisUrl));
    assert!(message.contains("--redis-url"), "{message}");

    let config = load(&[url], &[], &format!("redis_password_file = {name:?}\n")).unwrap();
    let found = config.redis().unwrap();
    assert_eq!(found.settings.masked_url(), "redis://***@127.0.0.1:7/2");
    assert!(
        found.warnings[0].contains("can be read by others"),
        "{:?}",
        found.warnings
    );
    assert!(
        config.warnings[0].starts_with("--redis-url holds a password"),
        "{:?}",
        config.warnings
    );

    // In a variable or a file nobody else sees it.
    let config = load(&[], &[("POLLWHEEL_REDIS_URL", url.1)], "").unwrap();
    assert!(config.warnings.is_empty());
    assert_eq!(
        config.settings.redis_url.as_ref().unwrap().expose_secret(),
        url.1
    );

    std::fs::write(&file, "hunter2\nhunter2\n").unwrap();
    let config = load(&[url], &[], &format!("redis_password_file = {name:?}\n")).unwrap();
    let message = config.redis().unwrap_err().to_string();
    assert!(
        message.ends_with("holds no password: one line is expected"),
        "{message}"
    );

    // The variable goes before the file.
    let variable = ("POLLWHEEL_REDIS_PASSWORD", "hunter2");
    let config = load(
        &[url],
        &[variable],
        &format!("redis_password_file = {name:?}\n"),
    )
    .unwrap();
    assert!(config.redis().unwrap().warnings.is_empty());
    let sentinel = ("POLLWHEEL_REDIS_SENTINEL_PASSWORD", "hunter2");
    let error = load(&[url], &[variable, sentinel], "")
        .unwrap()
        .redis()
        .unwrap_err();
    assert!(matches!(error, ConfigError::Redis(_)), "{error}");
}

#[test]
fn a_password_of_redis_is_shown_nowhere() {
    let url = "redis://worker:hunter2@127.0.0.1";
    let file = format!("redis_url = {url:?}\n");
    for (values, variables, file) in [
        (&[("redis_url", url)][..], &[][..], ""),
        (
            &[],
            &[
                ("POLLWHEEL_REDIS_URL", url),
                ("POLLWHEEL_REDIS_PASSWORD", "hunter2"),
            ],
            "",
        ),
        (&[], &[], file.as_str()),
    ] {
        let config = load(values, variables, file).unwrap();
        let shown = format!(
            "{config:?} {:?} {}",
            config.redis().unwrap(),
            show(&config.provenance)
        );
        assert!(shown.contains("redis://***@127.0.0.1:6379"), "{shown}");
        assert!(!shown.contains("hunter2"), "{shown}");
    }
    assert!(!format!("{:?}", flags(&[("redis_url", url)])).contains("hunter2"));
    let file = ConfigFile::parse("c", &file, PathBuf::new()).unwrap();
    assert!(!format!("{file:?}").contains("hunter2"));
    for (values, file) in [
        (&[("redis_url", "hunter2")][..], ""),
        (&[("redis_url", "redis://:hunter2@h:x")], ""),
        (&[], "redis_url = \"redis://:hunter2@:1\""),
        (&[], "redis_password = \"hunter2\""),
        (&[], "redis_sentinel_password = \"hunter2\""),
    ] {
        let (error, message) = load(values, &[], file).unwrap_err();
        assert!(
            !format!("{error:?} {message}").contains("hunter2"),
            "{message}"
        );
    }
    let (_, message) = load(&[], &[], "redis_password = \"hunter2\"").unwrap_err();
    assert!(
        message.contains("POLLWHEEL_REDIS_PASSWORD") && message.contains("redis_password_file")
    );
}

#[test]
fn settings_of_the_queue() {
    let s = load(&[], &[], "").unwrap().settings;
    assert_eq!(
        (s.redis_prefix.as_str(), s.reply_prefix.as_str()),
        ("pollwheel:", "reply:")
    );
    assert_eq!(
        (
            s.redis_lease,
            s.redis_patience,
            s.repeat_window,
            s.result_ttl
        ),
        (
            Duration::from_secs(30),
            Duration::from_secs(300),
            Duration::from_secs(600),
            Duration::from_secs(120)
        )
    );
    assert!(
        !s.allow_unsafe_redis && s.max_fleet_in_flight.is_none() && s.result_key_prefix.is_none()
    );
    for (key, bad) in [
        ("redis_lease", "0s"),
        ("redis_lease", "2h"),
        ("redis_prefix", "a{b}"),
        ("result_ttl", "10ms"),
        ("max_fleet_in_flight", "0"),
    ] {
        assert!(load(&[(key, bad)], &[], "").is_err(), "{key}");
    }
}
