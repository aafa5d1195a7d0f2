//! The verbs. The only place that picks concrete types, prints, and sets exit codes.
//!
//! What must stay true: stdout carries only what was asked for on it; everything else goes to
//! stderr. The numbers of [`ExitCode`] and the words of the command line are a contract.

mod account;
mod again;
mod args;
mod check;
mod conclude;
mod drive;
mod endpoint;
mod exit;
mod explain;
mod failure;
mod preflight;
mod print;
mod push;
mod queue;
mod queue_status;
mod refusal;
mod run;
mod simulate;
mod status;
mod transport;
mod work;

use clap::Parser;

use crate::{config, telemetry};

pub use args::{
    AccountArgs, CheckArgs, CommandLine, OfQueue, OfService, Pick, PushArgs, QueueArgs, QueueFlags,
    RequeueArgs, RunArgs, ServiceFlags, SettingFlags, SimulateArgs, SomeFlags, StatusArgs, Verb,
    WorkArgs,
};
pub use endpoint::{CsvFile, EndpointError, RedisList, Sink, Source};
pub use exit::ExitCode;
pub use failure::Failure;

/// The whole program.
#[must_use]
pub fn main() -> std::process::ExitCode {
    let command_line = match CommandLine::try_parse() {
        Ok(command_line) => command_line,
        Err(error) => {
            // Help and version were asked for: stdout and 0. All else: stderr and 2.
            let asked_for = !error.use_stderr();
            let _ = error.print();
            return if asked_for {
                ExitCode::Success
            } else {
                ExitCode::Usage
            }
            .into();
        }
    };
    let ended = match command_line.verb {
        Verb::Run(args) => run::run(args),
        Verb::Work(args) => work::work(&args),
        Verb::Push(args) => push::push(&args),
        Verb::Requeue(args) => queue::requeue(&args),
        Verb::Pause(args) => queue::pause(&args),
        Verb::Resume(args) => queue::resume(&args),
        Verb::Check(args) => check::check(&args),
        Verb::Status(args) => status::status(&args),
        Verb::Account(args) => account::account(&args),
        Verb::Simulate(args) => simulate::simulate(&args),
    };
    ended
        .unwrap_or_else(|failure| {
            print::note(&failure.render());
            failure.code
        })
        .into()
}

/// The words of a setting, in the terms of the log.
impl From<config::LogFormat> for telemetry::LogStyle {
    fn from(format: config::LogFormat) -> Self {
        match format {
            config::LogFormat::Text => Self::Text,
            config::LogFormat::Json => Self::Json,
        }
    }
}
