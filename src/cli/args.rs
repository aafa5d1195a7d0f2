//! The command line's grammar. The options that are settings come from the one table in
//! [`crate::config`]; only the verbs and what is peculiar to them is written here.

mod flags;
#[cfg(test)]
mod tests;

use std::ffi::OsStr;
use std::marker::PhantomData;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;

use clap::builder::{Styles, TypedValueParser};
use clap::error::ErrorKind;
use clap::{Arg, ArgGroup, Args, Command, Parser, Subcommand};

use super::{CsvFile, EndpointError, ExitCode, RedisList, Sink, Source};

pub use flags::{OfQueue, OfService, Pick, QueueFlags, ServiceFlags, SettingFlags, SomeFlags};

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
