//! `simulate`: the make-believe service as a process of its own.

use std::path::Path;
use std::str::FromStr;

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use super::{ExitCode, Failure, SimulateArgs, print};
use crate::api::AccountToken;
use crate::simulator::{Server, ServerError, Shapes, SimulatorSettings};

/// Serves until SIGINT or SIGTERM. The URL is the one line on stdout, so that a script can read it.
pub(super) fn simulate(args: &SimulateArgs) -> Result<ExitCode, Failure> {
    let settings = settings(args)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|e| Failure::new(ExitCode::Io, e))?;
    runtime.block_on(serve(settings, args))?;
    Ok(ExitCode::Success)
}

async fn serve(settings: SimulatorSettings, args: &SimulateArgs) -> Result<(), Failure> {
    // Before the URL is printed: who reads it may send a signal at once.
    let mut interrupt =
        signal(SignalKind::interrupt()).map_err(|e| Failure::new(ExitCode::Io, e))?;
    let mut terminate =
        signal(SignalKind::terminate()).map_err(|e| Failure::new(ExitCode::Io, e))?;
    let shutdown = CancellationToken::new();
    let server = Server::bind(settings, args.listen, args.allow_remote, shutdown.clone())
        .await
        .map_err(ended)?;
    print::out(&format!("{}\n", server.url()))?;
    let stopped = server.join();
    tokio::pin!(stopped);
    tokio::select! {
        ended_early = &mut stopped => return ended_early.map_err(ended),
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
    shutdown.cancel();
    stopped.await.map_err(ended)
}

fn ended(error: ServerError) -> Failure {
    match error {
        ServerError::NotLoopback(_) => {
            Failure::new(ExitCode::Usage, error).hint("add --allow-remote if others may reach it")
        }
        error => Failure::new(ExitCode::Io, error),
    }
}

/// The simulator's settings; what is not given keeps its default.
fn settings(args: &SimulateArgs) -> Result<SimulatorSettings, Failure> {
    let mut settings = SimulatorSettings {
        seed: args.seed.unwrap_or(1),
        balance: args.balance,
        price: args.price,
        ..Default::default()
    };
    if let Some(text) = &args.solve_time {
        settings.solve_time = parse("--solve-time", text)?;
    }
    if let Some(text) = &args.latency {
        settings.latency = parse("--latency", text)?;
    }
    if let Some(rate) = args.fail_rate {
        settings.fail_rate = fraction("--fail-rate", rate)?;
    }
    if let Some(rate) = args.never_rate {
        settings.never_rate = fraction("--never-rate", rate)?;
    }
    for text in &args.fault {
        settings
            .rates
            .add(parse("--fault", text)?)
            .map_err(|e| usage("--fault", e))?;
    }
    if let Some(path) = &args.script {
        settings.script = script(path)?;
    }
    if let Some(text) = &args.token {
        let token = AccountToken::try_new(text)
            .ok_or_else(|| usage("--token", "must be one word of printable ASCII"))?;
        settings.accepted_tokens.push(token);
    }
    if args.plain {
        settings.shapes = Shapes::Plain;
    }
    Ok(settings)
}

fn parse<T: FromStr>(flag: &str, text: &str) -> Result<T, Failure>
where
    T::Err: std::fmt::Display,
{
    text.parse().map_err(|e| usage(flag, e))
}

fn fraction(flag: &str, rate: f64) -> Result<f64, Failure> {
    if (0.0..=1.0).contains(&rate) {
        Ok(rate)
    } else {
        Err(usage(flag, "must lie between 0 and 1"))
    }
}

fn script(path: &Path) -> Result<crate::simulator::Script, Failure> {
    let text = std::fs::read_to_string(path).map_err(|e| {
        Failure::new(ExitCode::BadInput, e)
            .hint(format!("--script {} cannot be read", path.display()))
    })?;
    text.parse()
        .map_err(|e| usage("--script", format!("{}: {e}", path.display())))
}

fn usage(flag: &str, why: impl std::fmt::Display) -> Failure {
    Failure::new(ExitCode::Usage, format!("{flag}: {why}"))
}
