use clap::CommandFactory;

use super::*;

fn parse(words: &[&str]) -> Result<CommandLine, clap::Error> {
    CommandLine::try_parse_from(std::iter::once("pollwheel").chain(words.iter().copied()))
}

#[test]
fn the_grammar_is_sound() {
    CommandLine::command().debug_assert();
}

#[test]
fn the_options_of_the_contract_are_there() {
    let command = CommandLine::command();
    let run = command.find_subcommand("run").unwrap();
    let options: Vec<_> = run.get_arguments().filter_map(|a| a.get_long()).collect();
    for option in [
        "from",
        "to",
        "config",
        "jobs",
        "base-url",
        "protocol",
        "simulate",
        "authorized-site",
        "job",
        "journal",
        "max-in-flight",
        "submit-rate",
        "poll-rate",
        "poll-interval",
        "max-connections",
        "timeout",
        "attempts",
        "on-unknown-create",
        "skip-bad-rows",
        "ordered",
        "fresh",
        "abandon-paid",
        "retry-failed",
        "limit",
        "max-runtime",
        "max-failures",
        "max-spend",
        "drain-timeout",
        "lock-wait",
        "delimiter",
        "summary",
        "log-format",
        "log-level",
        "redis-url",
    ] {
        assert!(options.contains(&option), "--{option}");
    }
    assert!(
        !options
            .iter()
            .any(|option| option.contains("token") || option.contains("password")),
        "a secret is no flag"
    );
}

#[test]
fn the_verbs_of_a_queue() {
    for words in [
        &["run", "--from", "redis:jobs", "--to", "out.csv"][..],
        &["run", "--from", "in.csv", "--to", "redis:done"],
        &[
            "work",
            "--from",
            "redis:jobs",
            "--to",
            "redis:done",
            "--redis-lease",
            "5s",
        ],
        &["work", "--from", "redis:jobs", "--to", "-"],
        &["push", "in.csv", "--to", "redis:jobs", "--skip-bad-rows"],
        &[
            "status",
            "--from",
            "redis:jobs",
            "--json",
            "--redis-url",
            "redis://h",
        ],
        &["requeue", "a", "b", "--from", "redis:jobs"],
        &["requeue", "--all", "--from", "redis:jobs"],
        &["pause", "--from", "redis:jobs", "--redis-prefix", "x:"],
        &["resume", "--from", "redis:jobs", "--config", "c.toml"],
    ] {
        assert!(
            parse(words).is_ok(),
            "{words:?}: {}",
            parse(words).unwrap_err()
        );
    }
}

#[test]
fn what_a_queue_needs_and_cannot_have() {
    for (words, why) in [
        (&["status", "redis:jobs"][..], "status --from redis:LIST"),
        (&["status"], "required"),
        (
            &["status", "a.csv", "--from", "redis:jobs"],
            "cannot be used with",
        ),
        (
            &["status", "--from", "redis:jobs", "--journal", "j"],
            "cannot be used with",
        ),
        (&["status", "--from", "a.csv"], "must be a list of Redis"),
        (
            &["work", "--from", "a.csv", "--to", "b.csv"],
            "must be a list of Redis",
        ),
        (
            &["work", "--from", "redis:", "--to", "b.csv"],
            "names no list",
        ),
        (&["push", "-", "--to", "redis:jobs"], "stream"),
        (
            &["push", "a.csv", "--to", "b.csv"],
            "must be a list of Redis",
        ),
        (&["requeue", "--from", "redis:jobs"], "required"),
        (
            &["requeue", "a", "--all", "--from", "redis:jobs"],
            "cannot be used with",
        ),
        (&["pause"], "--from"),
        (&["check", "redis:jobs"], "must be a CSV file"),
    ] {
        let error = parse(words).unwrap_err();
        assert_eq!(error.exit_code(), 2);
        assert!(error.to_string().contains(why), "{words:?}: {error}");
    }
}

#[test]
fn a_password_in_the_place_of_a_list_is_not_repeated() {
    let url = "redis://worker:hunter2@127.0.0.1:6379";
    for words in [
        &["run", "--from", url, "--to", "out.csv"][..],
        &["run", "--from", "in.csv", "--to", url],
        &["work", "--from", url, "--to", "-"],
        &["push", "in.csv", "--to", url],
        &["status", "--from", url],
        &["status", url],
        &["pause", "--from", url],
    ] {
        let error = parse(words).unwrap_err().to_string();
        assert!(
            error.contains("--redis-url") && !error.contains("hunter2"),
            "{error}"
        );
    }
    let parsed = parse(&["pause", "--from", "redis:jobs", "--redis-url", url]).unwrap();
    assert!(!format!("{parsed:?}").contains("hunter2"));
}

#[test]
fn switches_can_be_switched_off() {
    let given = |word| {
        let Verb::Check(args) = parse(&["check", "in.csv", word]).unwrap().verb else {
            unreachable!()
        };
        format!("{:?}", args.settings)
    };
    assert!(
        given("--ordered").contains(r#""ordered": ("true""#),
        "{}",
        given("--ordered")
    );
    assert!(given("--ordered=false").contains(r#""ordered": ("false""#));
}

#[test]
fn verbosity_is_the_log_level_by_another_name() {
    for (word, level) in [("-v", "debug"), ("-vv", "trace"), ("-q", "error")] {
        let Verb::Check(args) = parse(&["check", "in.csv", word]).unwrap().verb else {
            unreachable!()
        };
        assert!(format!("{:?}", args.settings).contains(level));
    }
    assert!(parse(&["check", "in.csv", "-v", "-q"]).is_err());
    assert!(parse(&["check", "in.csv", "-q", "--log-level", "warn"]).is_err());
}
