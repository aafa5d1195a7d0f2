//! The command line's grammar. The options that are settings come from the one table in
//! [`crate::config`]; only the verbs and what is peculiar to them is written here.

use std::ffi::OsStr;
use std::marker::PhantomData;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;

use clap::builder::{StyledStr, Styles, TypedValueParser};
use clap::error::ErrorKind;
use clap::{
    Arg, ArgAction, ArgGroup, ArgMatches, Args, Command, FromArgMatches, Parser, Subcommand,
};

use super::{CsvFile, EndpointError, ExitCode, RedisList, Sink, Source};
use crate::config::{Flags, SETTINGS, Section, Setting};

/// A crash-safe batch runner for slow, paid web APIs: create a job, poll for its result, never pay twice
#[derive(Debug, Parser)]
#[command(
    name = "pollwheel",
    version,
    max_term_width = 110,
    styles = Styles::plain(),
    after_help = after_help(),
    arg_required_else_help = true,
    subcommand_required = true,
    disable_help_subcommand = false,
)]
pub struct CommandLine {
    /// What to do.
    #[command(subcommand)]
    pub verb: Verb,
}

/// The verbs.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Drain a CSV file or a queue and exit; the same command goes on after a crash
    #[command(after_help = after_help())]
    Run(RunArgs),
    /// Take requests from a list of Redis until told to stop; any number of workers share it
    #[command(after_help = after_help())]
    Work(WorkArgs),
    /// Validate settings and a file, say what a run would cost; sends nothing
    #[command(after_help = after_help())]
    Check(CheckArgs),
    /// Say what a running, killed or finished run has done, or how a queue stands
    Status(StatusArgs),
    /// Check a CSV file, then push its rows to a queue
    #[command(after_help = after_help())]
    Push(PushArgs),
    /// Take dead requests of a queue up again
    Requeue(RequeueArgs),
    /// Stop all workers of a queue from beginning anything; what is under way goes on
    Pause(QueueArgs),
    /// Let a paused queue go on
    Resume(QueueArgs),
    /// Say what is left to spend and what the service offers
    #[command(after_help = after_help())]
    Account(AccountArgs),
    /// Run a make-believe service; prints the URL it listens on
    Simulate(SimulateArgs),
}

/// `run`.
#[derive(Debug, Args)]
pub struct RunArgs {
    /// Where requests come from: FILE.csv, - for CSV on stdin, or redis:LIST
    #[arg(long, value_name = "SOURCE", allow_hyphen_values = true, value_parser = quietly::<Source>())]
    pub from: Source,
    /// Where outcomes go: FILE.csv, - for CSV on stdout, or redis:LIST
    #[arg(long, value_name = "SINK", allow_hyphen_values = true, value_parser = quietly::<Sink>())]
    pub to: Sink,
    /// The settings given as flags.
    #[command(flatten)]
    pub settings: SettingFlags,
}

/// `check`.
#[derive(Debug, Args)]
pub struct CheckArgs {
    /// The input
    #[arg(value_name = "FILE.csv", value_parser = quietly::<CsvFile>())]
    pub file: CsvFile,
    /// The settings given as flags.
    #[command(flatten)]
    pub settings: SettingFlags,
}

/// `status`.
#[derive(Debug, Args)]
#[command(group(ArgGroup::new("what").args(["file", "from"]).required(true)))]
pub struct StatusArgs {
    /// The run's output, or its journal
    #[arg(value_name = "FILE.csv", value_parser = quietly::<CsvFile>())]
    pub file: Option<CsvFile>,
    /// The queue: the list that its requests come from
    #[arg(long, value_name = "redis:LIST", value_parser = quietly::<RedisList>())]
    pub from: Option<RedisList>,
    /// The journal, where --journal named one for the run
    #[arg(long, value_name = "FILE", conflicts_with = "from")]
    pub journal: Option<PathBuf>,
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
    /// The settings given as flags.
    #[command(flatten)]
    pub settings: QueueFlags,
}

/// `account`.
#[derive(Debug, Args)]
pub struct AccountArgs {
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
    /// The settings given as flags.
    #[command(flatten)]
    pub settings: ServiceFlags,
}

/// `work`.
#[derive(Debug, Args)]
pub struct WorkArgs {
    /// The list that requests come from
    #[arg(long, value_name = "redis:LIST", value_parser = quietly::<RedisList>())]
    pub from: RedisList,
    /// Where outcomes go: redis:LIST, FILE.csv, or - for CSV on stdout
    #[arg(long, value_name = "SINK", allow_hyphen_values = true, value_parser = quietly::<Sink>())]
    pub to: Sink,
    /// The settings given as flags.
    #[command(flatten)]
    pub settings: SettingFlags,
}

/// `push`.
#[derive(Debug, Args)]
pub struct PushArgs {
    /// The input
    #[arg(value_name = "FILE.csv", value_parser = quietly::<CsvFile>())]
    pub file: CsvFile,
    /// The list that workers take requests from
    #[arg(long, value_name = "redis:LIST", value_parser = quietly::<RedisList>())]
    pub to: RedisList,
    /// The settings given as flags.
    #[command(flatten)]
    pub settings: SettingFlags,
}

/// `requeue`.
#[derive(Debug, Args)]
#[command(group(ArgGroup::new("which").args(["ids", "all"]).required(true)))]
pub struct RequeueArgs {
    /// Ids of dead requests
    #[arg(value_name = "ID")]
    pub ids: Vec<String>,
    /// All dead requests
    #[arg(long)]
    pub all: bool,
    /// The queue: the list that its requests come from
    #[arg(long, value_name = "redis:LIST", value_parser = quietly::<RedisList>())]
    pub from: RedisList,
    /// The settings given as flags.
    #[command(flatten)]
    pub settings: QueueFlags,
}

/// `pause` and `resume`.
#[derive(Debug, Args)]
pub struct QueueArgs {
    /// The queue: the list that its requests come from
    #[arg(long, value_name = "redis:LIST", value_parser = quietly::<RedisList>())]
    pub from: RedisList,
    /// The settings given as flags.
    #[command(flatten)]
    pub settings: QueueFlags,
}

/// `simulate`. The forms of the values are the simulator's own; see its settings.
#[derive(Debug, Args)]
pub struct SimulateArgs {
    /// Where to listen; port 0 takes a free one [default: 127.0.0.1:0]
    #[arg(
        long,
        value_name = "ADDR",
        default_value = "127.0.0.1:0",
        hide_default_value = true
    )]
    pub listen: SocketAddr,
    /// Listen on an address that others can reach
    #[arg(long)]
    pub allow_remote: bool,
    /// How long solves take: 2s, 1s..3s, lognormal:8s,0.5 [default: 2s..8s]
    #[arg(long, value_name = "TIME")]
    pub solve_time: Option<String>,
    /// How long answers take, in the same forms [default: 10ms..50ms]
    #[arg(long, value_name = "TIME")]
    pub latency: Option<String>,
    /// Fraction of jobs that fail [default: 0]
    #[arg(long, value_name = "FRACTION")]
    pub fail_rate: Option<f64>,
    /// Fraction of jobs that never end [default: 0]
    #[arg(long, value_name = "FRACTION")]
    pub never_rate: Option<f64>,
    /// Faults by rate, such as create:reset_after=0.02 or poll:500=0.05,html=0.01 (repeatable)
    #[arg(long, value_name = "RATES")]
    pub fault: Vec<String>,
    /// File of scripted faults, one a line, such as `create #3: reset_after`
    #[arg(long, value_name = "FILE")]
    pub script: Option<PathBuf>,
    /// Same seed, same requests: same behaviour [default: 1]
    #[arg(long, value_name = "N")]
    pub seed: Option<u64>,
    /// Balance of the account, in US dollars [default: unlimited]
    #[arg(long, value_name = "DOLLARS")]
    pub balance: Option<crate::job::Micros>,
    /// What every job costs, in US dollars [default: what the documents say]
    #[arg(long, value_name = "DOLLARS")]
    pub price: Option<crate::job::Micros>,
    /// Accept only this make-believe account token [default: any]
    #[arg(long, value_name = "TEXT")]
    pub token: Option<String>,
    /// Answer in one plain shape instead of all documented ones
    #[arg(long)]
    pub plain: bool,
}

/// The flags of the settings' table, and `--config`, `--authorized-site`, `-v`, `-q`.
#[derive(Debug, Default)]
pub struct SettingFlags(pub Flags);

/// `--config` and some flags of the settings' table.
#[derive(Debug, Default)]
pub struct SomeFlags<P>(pub Flags, PhantomData<P>);

/// Picks settings of the table.
pub trait Pick {
    /// Whether this is one.
    fn picks(setting: &Setting) -> bool;
}

/// Those that say which service is meant.
#[derive(Debug, Default)]
pub struct OfService;

/// Those that say where Redis is and what our keys are called there.
#[derive(Debug, Default)]
pub struct OfQueue;

/// The flags of verbs that ask the service.
pub type ServiceFlags = SomeFlags<OfService>;
/// The flags of verbs that look at a queue.
pub type QueueFlags = SomeFlags<OfQueue>;

impl Pick for OfService {
    fn picks(setting: &Setting) -> bool {
        matches!(setting.key, "base_url" | "protocol" | "simulate")
    }
}

impl Pick for OfQueue {
    fn picks(setting: &Setting) -> bool {
        setting.has_flag()
            && matches!(
                setting.key,
                "redis_url"
                    | "redis_username"
                    | "redis_sentinel_username"
                    | "redis_ca_file"
                    | "redis_cert_file"
                    | "redis_key_file"
                    | "redis_prefix"
            )
    }
}

/// Reads a source, a sink, a list or a file without repeating it where it is none: it may be a URL with
/// a password.
#[derive(Clone)]
struct Quietly<T>(PhantomData<fn() -> T>);

fn quietly<T>() -> Quietly<T> {
    Quietly(PhantomData)
}

impl<T> TypedValueParser for Quietly<T>
where
    T: FromStr<Err = EndpointError> + Clone + Send + Sync + 'static,
{
    type Value = T;

    fn parse_ref(&self, cmd: &Command, arg: Option<&Arg>, value: &OsStr) -> Result<T, clap::Error> {
        let text = value
            .to_str()
            .ok_or_else(|| clap::Error::new(ErrorKind::InvalidUtf8).with_cmd(cmd))?;
        text.parse().map_err(|e| {
            let arg = arg.map(ToString::to_string).unwrap_or_default();
            let message =
                format!("invalid value for '{arg}': {e}\n\nFor more information, try '--help'.\n");
            clap::Error::raw(ErrorKind::ValueValidation, message).with_cmd(cmd)
        })
    }
}

const CONFIG: &str = "config";
const SITE: &str = "authorized_site";
const VERBOSE: &str = "verbose";
const QUIET: &str = "quiet";
const LOG_LEVEL: &str = "log_level";

/// The option of a setting.
fn option(setting: &'static Setting) -> Arg {
    let help = setting.help.trim();
    let help = match setting.default {
        "" | "false" => help.to_owned(),
        default => format!("{help} [default: {default}]"),
    };
    // clap wants names that live as long as the process; there are some thirty of them.
    let long: &'static str = setting.key.replace('_', "-").leak();
    let arg = Arg::new(setting.key)
        .long(long)
        .help(StyledStr::from(help))
        .help_heading(setting.section.heading());
    if setting.is_switch() {
        // `--ordered`, and `--ordered=false` where the configuration file says true.
        arg.num_args(0..=1)
            .require_equals(true)
            .default_missing_value("true")
            .value_name("BOOL")
            .hide_possible_values(true)
    } else {
        arg.value_name(setting.value_name).allow_hyphen_values(true)
    }
}

fn with_config(cmd: Command) -> Command {
    cmd.next_help_heading("Configuration").arg(
        Arg::new(CONFIG)
            .long(CONFIG)
            .value_name("FILE")
            .value_parser(clap::value_parser!(PathBuf))
            .help("Configuration file [default: ./config.toml where there is one]"),
    )
}

/// The values of the table's flags that `wanted` picks, and of `--config`.
fn given(matches: &ArgMatches, wanted: impl Fn(&Setting) -> bool) -> Flags {
    let mut flags = Flags::default();
    for setting in SETTINGS.iter().filter(|s| wanted(s)) {
        if let Some(text) = matches.get_one::<String>(setting.key) {
            flags.set(setting.key, text, setting.flag());
        }
    }
    if let Some(path) = matches.get_one::<PathBuf>(CONFIG) {
        flags.set_config(path.clone());
    }
    flags
}

impl<P: Pick> Args for SomeFlags<P> {
    fn augment_args(cmd: Command) -> Command {
        with_config(cmd).args(SETTINGS.iter().filter(|s| P::picks(s)).map(option))
    }

    fn augment_args_for_update(cmd: Command) -> Command {
        Self::augment_args(cmd)
    }
}

impl<P: Pick> FromArgMatches for SomeFlags<P> {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        Ok(Self(given(matches, P::picks), PhantomData))
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

impl Args for SettingFlags {
    fn augment_args(cmd: Command) -> Command {
        let cmd = with_config(cmd);
        let site = Arg::new(SITE)
            .long("authorized-site")
            .value_name("HOST")
            .action(ArgAction::Append)
            .help("Site that may be submitted, such as shop.example.com or *.example.com (repeatable; replaces the configured list)")
            .help_heading(Section::Service.heading());
        let verbosity = [
            (VERBOSE, 'v', "Log each job (-vv: each poll)"),
            (QUIET, 'q', "Log errors only, show no progress"),
        ]
        .map(|(name, short, help)| {
            Arg::new(name)
                .short(short)
                .action(ArgAction::Count)
                .help(help)
                .help_heading(Section::Logs.heading())
        });
        let [verbose, quiet] = verbosity;
        cmd.args(SETTINGS.iter().filter(|s| s.has_flag()).map(option))
            .arg(site)
            .arg(verbose.conflicts_with_all([QUIET, LOG_LEVEL]))
            .arg(quiet.conflicts_with(LOG_LEVEL))
    }

    fn augment_args_for_update(cmd: Command) -> Command {
        Self::augment_args(cmd)
    }
}

impl FromArgMatches for SettingFlags {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let mut flags = given(matches, Setting::has_flag);
        for host in matches.get_many::<String>(SITE).into_iter().flatten() {
            flags.add_site(host);
        }
        match (matches.get_count(VERBOSE), matches.get_count(QUIET)) {
            (0, 0) => {}
            (0, _) => flags.set(LOG_LEVEL, "error", "-q"),
            (1, _) => flags.set(LOG_LEVEL, "debug", "-v"),
            _ => flags.set(LOG_LEVEL, "trace", "-vv"),
        }
        Ok(Self(flags))
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

/// What stands below the options.
fn after_help() -> String {
    let codes: Vec<_> = ExitCode::ALL
        .iter()
        .map(|(code, words)| format!("  {:<3}  {words}\n", *code as u8))
        .collect();
    format!(
        "\
Every setting can also be given by a variable (POLLWHEEL_MAX_IN_FLIGHT=500)
or in the configuration file (max_in_flight = 500); the flag wins, then the variable, then
the file. The account token comes from POLLWHEEL_API_TOKEN, or the file that api_token_file
names, and from nowhere else; Redis' password from POLLWHEEL_REDIS_PASSWORD, the file that
redis_password_file names, or the URL.

Examples:
  pollwheel run --from jobs/sample.csv --to results.csv --simulate
  pollwheel check requests.csv --authorized-site shop.example.com
  pollwheel run --from requests.csv --to results.csv --max-spend 1.50
  pollwheel run --from - --to - < requests.csv | mail-results
  pollwheel status results.csv
  pollwheel work --from redis:requests --to redis:results
  pollwheel push requests.csv --to redis:requests
  pollwheel status --from redis:requests
  pollwheel account --json

Exit codes:
{}",
        codes.concat()
    )
}

#[cfg(test)]
mod tests {
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
}
