//! What a user who made a mistake reads: the exit code and every word on stderr, held against
//! `tests/bad_input.txt`. `UPDATE=1 cargo test --test bad_input` writes that file anew, to be read
//! before it is committed.

mod support;

use std::fmt::Write;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use support::{ACCOUNT, Api, Case, finish};

const HEADER: &str = "id,job,website_url,website_key,is_invisible\n";
const GOOD: &str = "r1,hcaptcha,https://a.example.com/,key-1,\n";

/// Collects what was said.
struct Said(String);

impl Said {
    /// Runs a command that must fail, notes what it says, and checks that it printed no secret and
    /// left no output.
    fn note(&mut self, what: &str, case: &Case, command: &mut Command) {
        let (code, stdout, stderr) = finish(command);
        assert_eq!(stdout, "", "{what}");
        assert!(code > 0, "{what}: {code}: {stderr}");
        assert!(!stderr.contains(ACCOUNT), "{what}: {stderr}");
        let folder = case.folder.path().to_str().expect("its name is UTF-8");
        let said = stderr
            .replace(folder, "FOLDER")
            .replace(env!("CARGO_BIN_EXE_pollwheel"), "pollwheel");
        let said = without_ports(&said);
        let _ = write!(self.0, "## {what}\nexit {code}\n{said}\n");
    }

    /// A run of this input that must be refused before anything is sent.
    fn input(&mut self, what: &str, text: impl AsRef<[u8]>) {
        self.input_with(what, text, &[]);
    }

    fn input_with(&mut self, what: &str, text: impl AsRef<[u8]>, args: &[&str]) {
        let case = Case::new();
        std::fs::write(case.path("in.csv"), text.as_ref()).expect("the folder can be written");
        self.note(
            what,
            &case,
            quiet(&mut case.run("http://127.0.0.1:9", args)),
        );
        assert!(!case.path("out.csv").exists(), "{what}: there is an output");
        assert!(
            !case.path("out.csv.journal").exists(),
            "{what}: there is a journal"
        );
    }

    fn config(&mut self, what: &str, text: &str) {
        let case = Case::with_rows(1);
        case.write("config.toml", text);
        self.note(what, &case, quiet(&mut case.run("http://127.0.0.1:9", &[])));
    }
}

/// `text` with each port of this machine's as `PORT`.
fn without_ports(text: &str) -> String {
    const HOST: &str = "http://127.0.0.1:";
    let mut parts = text.split(HOST);
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |text, part| {
        text + HOST + "PORT" + part.trim_start_matches(|c: char| c.is_ascii_digit())
    })
}

/// Without the log, whose lines have times.
fn quiet(command: &mut Command) -> &mut Command {
    command.arg("-q")
}

#[test]
fn every_mistake_is_told_with_its_place_and_its_cure() {
    let mut said = Said(String::new());
    inputs(&mut said);
    configurations(&mut said);
    services(&mut said);
    outputs(&mut said);
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/bad_input.txt");
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(path, &said.0).expect("the snapshot can be written");
    }
    let expected = std::fs::read_to_string(path).expect("there is a snapshot");
    for (said, expected) in said.0.split("\n## ").zip(expected.split("\n## ")) {
        assert_eq!(said, expected);
    }
    assert_eq!(said.0, expected);
}

fn inputs(said: &mut Said) {
    let row = |row: &str| format!("{HEADER}{GOOD}{row}\n");
    let case = Case::new();
    said.note(
        "missing file",
        &case,
        quiet(&mut case.run("http://127.0.0.1:9", &[])),
    );
    said.input("empty file", "");
    said.input(
        "missing column",
        "id,job,website_url\nr1,hcaptcha,https://a.example.com/\n",
    );
    said.input("duplicate id", row(GOOD.trim_end()));
    said.input(
        "duplicate header",
        "id,job,website_url,website_url,website_key\n",
    );
    said.input(
        "two headers for one column",
        "id,job,website_url,websiteURL,website_key\nr1,hcaptcha,https://a.example.com/,,k\n",
    );
    said.input(
        "a result column's name",
        "id,job,website_url,website_key,token\n",
    );
    said.input("bad URL", row("r2,hcaptcha,not a url,k,"));
    said.input(
        "host not allowed",
        row("r2,hcaptcha,https://elsewhere.example.org/,k,"),
    );
    said.input(
        "user information in a URL",
        row("r2,hcaptcha,https://a.example.com@elsewhere.org/,k,"),
    );
    said.input(
        "backslash in a URL",
        row("r2,hcaptcha,https://a.example.com\\@elsewhere.org/,k,"),
    );
    said.input(
        "wrong type",
        row("r2,recaptcha-v2,https://a.example.com/,k,perhaps"),
    );
    said.input(
        "invalid UTF-8",
        [
            row("r2,hcaptcha,https://a.example.com/,k")
                .trim_end()
                .as_bytes(),
            b"\xff\xfe,\n",
        ]
        .concat(),
    );
    said.input("NUL", row("r2,hcaptcha,https://a.example.com/,k\0,"));
    said.input("ragged row", row("r2,hcaptcha,https://a.example.com/"));
    said.input(
        "empty required value",
        row("r2,hcaptcha,https://a.example.com/,,"),
    );
    said.input("unknown kind", row("r2,hcapcha,https://a.example.com/,k,"));
    said.input("no kind", row("r2,,https://a.example.com/,k,"));
    said.input(
        "a quote that is never closed",
        row("r2,hcaptcha,\"https://a.example.com/,k,"),
    );
    said.input(
        "several kinds of bad rows",
        row("r2,hcaptcha,https://elsewhere.org/,k,\nr3,hcaptcha,,k,"),
    );
    let many: String = (0..60).map(|n| format!("r{n},hcaptcha,,k,\n")).collect();
    said.input("more bad rows than are listed", format!("{HEADER}{many}"));
    said.input_with(
        "unknown --job",
        format!("{HEADER}{GOOD}"),
        &["--job", "nope"],
    );
    let rows = "https://a.example.com/,k\nhttps://a.example.com/,l\n";
    let without_kinds = format!("website_url,website_key\n{rows}");
    said.input_with(
        "unknown --job of all rows",
        &without_kinds,
        &["--job", "nope"],
    );
    said.input("no kind at all", &without_kinds);
}

fn configurations(said: &mut Said) {
    said.config("unknown key in config", "max_in_fligt = 5\n");
    said.config(
        "bad duration in config",
        "# pace\npoll_interval = \"5 parsecs\"\n",
    );
    said.config("wrong type in config", "max_in_flight = \"hunter2\"\n");
    said.config("password in config", "redis_password = \"hunter2\"\n");
    said.config("a brace in redis_prefix", "redis_prefix = \"{a}\"\n");
    said.config("config is no TOML", "max_in_flight = = 5\n");
    said.config(
        "bad site in config",
        "[authorization]\nsites = [\"*.com\"]\n",
    );
    let case = Case::with_rows(1);
    let mut command = case.run("http://127.0.0.1:9", &[]);
    said.note(
        "missing token",
        &case,
        quiet(command.env_remove("POLLWHEEL_API_TOKEN")),
    );
    said.note(
        "bad flag value",
        &case,
        quiet(&mut case.run("http://127.0.0.1:9", &["--timeout", "soon"])),
    );
    said.note(
        "unknown flag",
        &case,
        &mut case.run("http://127.0.0.1:9", &["--max-in-fligt", "5"]),
    );
    said.note(
        "plain http to another host",
        &case,
        quiet(&mut case.run("http://api.example.com", &[])),
    );
    let mut command = case.run("https://api.example.com", &["--poll-interval", "1s"]);
    said.note("polls under the floor", &case, quiet(&mut command));
    let mut command = case.pollwheel("run");
    command.args([
        "--from",
        "in.csv",
        "--to",
        "-",
        "--ordered",
        "--authorized-site",
        "*.example.com",
    ]);
    said.note("--ordered to a stream", &case, quiet(&mut command));
    let mut command = case.pollwheel("run");
    said.note(
        "redis:// for a list",
        &case,
        command.args(["--from", "redis://h/1", "--to", "out.csv"]),
    );
    let mut command = case.pollwheel("work");
    said.note(
        "a file for a list",
        &case,
        command.args(["--from", "in.csv", "--to", "redis:results"]),
    );
    let mut command = case.pollwheel("status");
    said.note(
        "no URL of Redis",
        &case,
        command.args(["--from", "redis:requests"]),
    );
    let mut command = case.pollwheel("status");
    said.note(
        "a bad URL of Redis",
        &case,
        command.args([
            "--from",
            "redis:requests",
            "--redis-url",
            "redis://:hun/ter2@h",
        ]),
    );
    let mut command = case.pollwheel("pause");
    said.note(
        "a list of our own keys",
        &case,
        command.args([
            "--from",
            "redis:pollwheel:{x}:x:job",
            "--redis-url",
            "redis://127.0.0.1",
        ]),
    );
    let mut command = case.run("http://127.0.0.1:9", &["--jobs", "kinds"]);
    std::fs::create_dir(case.path("kinds")).expect("a folder");
    case.write("kinds/mine.toml", "name = \"mine\"\nprice = 3\n");
    said.note("a broken kind", &case, quiet(&mut command));
}

fn services(said: &mut Said) {
    let refused = |script: &str| {
        let (case, script_case) = (Case::with_rows(3), Case::new());
        script_case.write("script", script);
        let path = script_case.path("script");
        (
            Api::start(&["--script", path.to_str().expect("UTF-8")]),
            case,
        )
    };
    let (api, case) = refused("any: bad_token");
    said.note("refused token", &case, quiet(&mut case.run(&api.url, &[])));
    let (api, case) = refused("create: no_balance");
    said.note("zero balance", &case, quiet(&mut case.run(&api.url, &[])));
    let (api, case) = refused("create: refuse \"MESSAGE_ERROR\"");
    said.note(
        "refused without a reason",
        &case,
        quiet(&mut case.run(&api.url, &[])),
    );
    let (api, case) = refused("create: 429 retry-after=31536000");
    said.note(
        "told to wait a year",
        &case,
        quiet(&mut case.run(&api.url, &[])),
    );
}

fn outputs(said: &mut Said) {
    let api = Api::start(&["--solve-time", "10ms"]);
    let quick = ["--poll-interval", "20ms", "--submit-rate", "500/s"];
    let case = Case::with_rows(2);
    let mut command = case.pollwheel("run");
    command.args([
        "--from",
        "in.csv",
        "--to",
        "no/such/out.csv",
        "--authorized-site",
        "*.example.com",
    ]);
    said.note(
        "output not writable",
        &case,
        quiet(command.args(["--base-url", &api.url])),
    );
    case.write("out.csv", "something else\n");
    said.note(
        "output without a journal",
        &case,
        quiet(&mut case.run(&api.url, &quick)),
    );
    assert_eq!(case.read("out.csv"), "something else\n");
    std::fs::remove_file(case.path("out.csv")).expect("it is there");

    let (code, _, stderr) = finish(&mut case.run(&api.url, &quick));
    assert_eq!(code, 0, "{stderr}");
    let written = case.read("out.csv");
    for (what, text) in [
        ("output changed by hand", written.replacen("r1", "rX", 1)),
        (
            "output cut by hand",
            written[..written.len() - 40].to_owned(),
        ),
        ("output added to by hand", format!("{written}r9,by,hand\n")),
    ] {
        case.write("out.csv", &text);
        said.note(what, &case, quiet(&mut case.run(&api.url, &quick)));
        assert_eq!(case.read("out.csv"), text, "{what}: it was touched");
    }
    // Kept aside, so that its inode is not given to its copy.
    case.write("out.csv", &written);
    std::fs::rename(case.path("out.csv"), case.path("aside.csv")).expect("it is there");
    said.note("output gone", &case, quiet(&mut case.run(&api.url, &quick)));
    case.write("out.csv", &written);
    said.note(
        "output replaced by a copy",
        &case,
        quiet(&mut case.run(&api.url, &quick)),
    );
    let (code, _, stderr) = finish(&mut case.run(&api.url, &[&quick[..], &["--fresh"]].concat()));
    assert_eq!(code, 0, "{stderr}");
    assert_eq!(case.read("out.csv.bak"), written);

    case.write("in.csv", &case.read("in.csv").replace("key-1", "key-9"));
    said.note(
        "a known id with other values",
        &case,
        quiet(&mut case.run(&api.url, &quick)),
    );
    case.write(
        "out.csv.journal",
        "not a database, but long enough to be taken for one at a glance ........",
    );
    said.note(
        "damaged journal",
        &case,
        quiet(&mut case.run(&api.url, &quick)),
    );
    let mode = |name: &str| {
        std::fs::metadata(case.path(name))
            .expect("it is there")
            .permissions()
            .mode()
            & 0o777
    };
    assert_eq!(mode("out.csv"), 0o600);
}
