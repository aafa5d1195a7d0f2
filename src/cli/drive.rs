//! Driving the engine: what every verb that creates jobs does in the same way.

use std::time::Duration;

use tokio::runtime::Runtime;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::{ExitCode, Failure, transport};
use crate::api::{Client, Transport};
use crate::backlog::{LeaseClock, Recorder};
use crate::config::{Config, Settings};
use crate::engine::{self, Engine, Pacing, Report, Signal};
use crate::job::Micros;
use crate::telemetry::{Distributions, EventLog, Observers, Progress, Screen};

/// Beyond so many requests at a time, those that wait are kept in memory in a short form: the rest of them is in
/// the journal, or in the text that Redis keeps.
pub(super) const FORGETS_BEYOND: usize = 5_000;

/// Who keeps the rates, and what a run is told of what was before it.
pub(super) struct Pace {
    spent_before: Micros,
    pacing: Pacing,
    patience: Duration,
    lease: Option<LeaseClock>,
    drain_timeout: Duration,
}

impl Pace {
    /// A run that is alone with its backlog.
    pub(super) fn alone(spent_before: Micros, settings: &Settings) -> Self {
        Self {
            spent_before,
            pacing: Pacing::Own,
            patience: settings.redis_patience,
            lease: None,
            drain_timeout: settings.drain_timeout,
        }
    }

    /// A worker of several. It hands its jobs over when it is told to stop: another polls on at once.
    pub(super) fn shared(lease: LeaseClock, patience: Duration) -> Self {
        Self {
            spent_before: Micros::ZERO,
            pacing: Pacing::Shared,
            patience,
            lease: Some(lease),
            drain_timeout: Duration::ZERO,
        }
    }
}

/// What came of it.
pub(super) struct Driven {
    pub(super) report: Report,
    pub(super) distributions: Distributions,
}

/// Takes the operator's signals from now on.
pub(super) fn listen() -> Result<(mpsc::Receiver<Signal>, JoinHandle<()>), Failure> {
    let (send, signals) = mpsc::channel(2);
    let io = |e| Failure::new(ExitCode::Io, e);
    let mut interrupt = signal(SignalKind::interrupt()).map_err(io)?;
    let mut terminate = signal(SignalKind::terminate()).map_err(io)?;
    let listener = tokio::spawn(async move {
        loop {
            let signal = tokio::select! {
                _ = interrupt.recv() => Signal::Interrupt,
                _ = terminate.recv() => Signal::Terminate,
            };
            if send.send(signal).await.is_err() {
                return;
            }
        }
    });
    Ok((signals, listener))
}

/// Runs the engine to its end, with log, progress and distributions. `to_settle`: how many requests
/// there are, where that is known.
pub(super) fn drive(
    runtime: &Runtime,
    config: &Config,
    recorder: Recorder,
    pace: Pace,
    to_settle: Option<u64>,
    (screen, signals): (Screen, mpsc::Receiver<Signal>),
) -> Result<Driven, Failure> {
    let mut log = EventLog;
    let mut distributions = Distributions::default();
    let mut progress = (!config.settings.is_quiet())
        .then(|| runtime.block_on(async { Progress::start(screen, to_settle) }));
    let report = {
        let mut all: Vec<&mut dyn engine::Observer> = vec![&mut log, &mut distributions];
        if let Some(progress) = &mut progress {
            all.push(progress);
        }
        let mut observers = Observers::new(all);
        let identity = config.identity()?;
        let settings = engine_settings(config, pace);
        runtime.block_on(async {
            if config.settings.simulate {
                let client = Client::new(transport::simulated(config), identity)
                    .with_rules(config.refusals.clone());
                Ok(run(client, settings, recorder, &mut observers, signals).await)
            } else {
                let client = Client::new(transport::http(config)?, identity)
                    .with_rules(config.refusals.clone());
                Ok::<_, Failure>(run(client, settings, recorder, &mut observers, signals).await)
            }
        })?
    };
    if let Some(mut progress) = progress {
        progress.stop();
    }
    Ok(Driven {
        report,
        distributions,
    })
}

async fn run<T: Transport + 'static>(
    client: Client<T>,
    settings: engine::Settings,
    recorder: Recorder,
    observer: &mut dyn engine::Observer,
    signals: mpsc::Receiver<Signal>,
) -> Report {
    Engine::new(client, settings, recorder, observer, signals)
        .run()
        .await
}

fn engine_settings(config: &Config, pace: Pace) -> engine::Settings {
    let settings = &config.settings;
    engine::Settings {
        max_in_flight: settings.max_in_flight,
        max_connections: settings.max_connections,
        submit_rate: settings.submit_rate,
        poll_rate: settings.poll_rate,
        poll_floor: settings.poll_floor(),
        on_unknown_create: settings.on_unknown_create,
        max_runtime: settings.max_runtime,
        max_failures: settings.max_failures,
        max_spend: settings.max_spend,
        spent_before: pace.spent_before,
        pacing: pace.pacing,
        patience: pace.patience,
        lease: pace.lease,
        drain_timeout: pace.drain_timeout,
        forgets_beyond: FORGETS_BEYOND,
        wall_clock: jiff::Timestamp::now,
    }
}
