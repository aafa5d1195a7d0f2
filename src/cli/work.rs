//! `work`, and `run` from a list of Redis: a worker that shares a queue with any number of others.

use std::collections::BTreeMap;
use std::process;

use tokio::runtime::Runtime;
use tokio::sync::mpsc;
use tracing::{info, warn};

use super::conclude::{Standing, conclude};
use super::drive::{Driven, Pace, drive, listen};
use super::preflight::{self, Ahead};
use super::queue::Desk;
use super::{ExitCode, Failure, RedisList, Sink, WorkArgs, print};
use crate::backlog::redis::message::Intake;
use crate::backlog::redis::reply_to::{NamesInUse, ReplyPolicy};
use crate::backlog::redis::{Delivery, OpenQueueError, QueueStatus, RedisBacklog, RedisSettings};
use crate::backlog::{BacklogError, LeaseClock, Recorder};
use crate::config::{Config, Environment, Flags};
use crate::engine::{self, Signal, StopReason};
use crate::job::Micros;
use crate::redis::Keys;
use crate::sink::csv_file::{CsvFile, CsvFileError};
use crate::telemetry::{Screen, Summary, Totals, start_log};

/// Works until it is told to stop.
pub(super) fn work(args: &WorkArgs) -> Result<ExitCode, Failure> {
    serve(&args.from, &args.to, &args.settings.0, Until::Told)
}

/// When a worker ends by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Until {
    /// Never.
    Told,
    /// When the queue is empty and nothing of it is in flight anywhere.
    Empty,
}

/// Works on a queue.
pub(super) fn serve(
    from: &RedisList,
    to: &Sink,
    flags: &Flags,
    until: Until,
) -> Result<ExitCode, Failure> {
    let config = Config::load(flags, Environment::of_process())?;
    let settings = &config.settings;
    let screen = Screen::stderr();
    start_log(settings.log_level, settings.log_format, &screen)
        .map_err(|e| Failure::new(ExitCode::Config, e))?;
    for warning in config.warnings.iter().chain(&config.site_warning()) {
        warn!("{warning}");
    }
    if let Some(path) = &settings.summary {
        Summary::check(path)?;
    }
    let mut to_open = queue_settings(&config, from, to, until)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|e| Failure::new(ExitCode::Io, e))?;
    let (mut signals, listener) = runtime.block_on(async { listen() })?;
    let nothing_known = BTreeMap::new();
    let ahead = Ahead {
        rows: None,
        kinds: &nothing_known,
    };
    let asking = unless_stopped(preflight::look_up(&config, ahead), &mut signals, until);
    let prices = runtime.block_on(asking)?;
    to_open.intake.kinds.set_prices(&prices);
    let (recorder, lease, thread) = open(&runtime, &config, to_open, &mut signals, until)?;
    info!(list = %from, "taking requests");
    let pace = Pace::shared(lease, settings.redis_patience);
    let Driven {
        report,
        distributions,
    } = drive(&runtime, &config, recorder, pace, None, (screen, signals))?;
    if report.abrupt {
        print::note(
            "stopped at once; what this worker held is taken up by another when its lease has run out\n",
        );
        process::exit(i32::from(code(until, &report) as u8));
    }
    runtime.block_on(async {
        listener.abort();
        // Aborted on purpose; there is nothing else that it could say.
        let _ = listener.await;
    });
    if thread.join().is_err() {
        return Err(Failure::new(
            ExitCode::Io,
            "the recorder panicked; this is a bug",
        ));
    }
    // Where Redis is out of reach, asking it would only keep the process from its end.
    let is_away = matches!(
        report.stop,
        StopReason::BacklogAway(_) | StopReason::Backlog(BacklogError::Away { .. })
    );
    let status = runtime.block_on(async {
        if is_away {
            return None;
        }
        let mut desk = Desk::reopen(&config, from).await.ok()?;
        desk.ask(async |q, c| q.status(c).await).await.ok()
    });
    let this_run = Totals::of_run(&report.tally, None, report.elapsed);
    conclude(
        settings,
        &report,
        &distributions,
        &Standing {
            pending: status.as_ref().map(pending),
            place: Some(from.to_string()),
            all_runs: status.as_ref().map(|status| totals(status, this_run)),
            is_worker: until == Until::Told,
        },
    )?;
    Ok(code(until, &report))
}

/// Requests without an outcome.
fn pending(status: &QueueStatus) -> u64 {
    status.waiting + status.ready + status.delayed + status.held
}

/// The queue's totals over all workers, and what only this run knows: its time and its errors by class.
fn totals(status: &QueueStatus, this_run: Totals) -> Totals {
    let counter = |name: &str| status.counters.get(name).copied().unwrap_or_default();
    let count = |name| u64::try_from(counter(name)).unwrap_or_default();
    let (solved, failed, rejected) = (count("solved"), count("failed"), count("rejected"));
    Totals {
        total: Some(pending(status) + solved + failed + rejected),
        solved,
        failed,
        rejected,
        pending: Some(pending(status)),
        creates: count("creates"),
        unknown_creates: count("unknown_creates"),
        polls: count("polls"),
        spend: Micros(counter("spent")),
        ..this_run
    }
}

/// Does some work before anything is taken up. A signal ends the process, as safely as a kill would.
async fn unless_stopped<T>(
    work: impl Future<Output = T>,
    signals: &mut mpsc::Receiver<Signal>,
    until: Until,
) -> T {
    tokio::select! {
        biased;
        Some(signal) = signals.recv() => {
            let code = match signal {
                _ if until == Until::Told => ExitCode::Success,
                Signal::Interrupt => ExitCode::Interrupted,
                Signal::Terminate => ExitCode::Terminated,
            };
            print::note("stopped before anything was taken up\n");
            process::exit(i32::from(code as u8));
        }
        done = work => done,
    }
}

/// What a worker that ends so gives back. One that was told to stop has handed everything over.
fn code(until: Until, report: &engine::Report) -> ExitCode {
    match report.stop {
        StopReason::Interrupted | StopReason::Terminated
            if until == Until::Told && !report.abrupt =>
        {
            ExitCode::Success
        }
        _ => ExitCode::of_run(&report.stop, &report.tally),
    }
}

/// Opens the queue on the recorder's thread. A signal ends it, as safely as a kill would.
fn open(
    runtime: &Runtime,
    config: &Config,
    settings: RedisSettings,
    signals: &mut mpsc::Receiver<Signal>,
    until: Until,
) -> Result<(Recorder, LeaseClock, std::thread::JoinHandle<()>), Failure> {
    let capacity = engine::most_jobs(config.settings.max_in_flight);
    let open = move || async move {
        match RedisBacklog::open(settings).await {
            Ok((backlog, warnings)) => {
                let lease = backlog.lease_clock();
                (Some(backlog), Ok((lease, warnings)))
            }
            Err(e) => (None, Err(e)),
        }
    };
    let (recorder, told, thread) = Recorder::opened_on_thread(open, capacity)
        .map_err(|e| Failure::new(ExitCode::Io, e).hint("the system gives no further thread"))?;
    let opened = runtime.block_on(unless_stopped(told, signals, until));
    let (lease, warnings) = match opened {
        Ok(opened) => opened?,
        Err(_) => {
            return Err(Failure::new(
                ExitCode::Io,
                "the recorder panicked; this is a bug",
            ));
        }
    };
    for warning in warnings {
        warn!("{warning}");
    }
    Ok((recorder, lease, thread))
}

impl From<CsvFileError> for Failure {
    fn from(error: CsvFileError) -> Self {
        let code = match error {
            CsvFileError::Locked { .. } => ExitCode::Locked,
            CsvFileError::OtherHeader { .. } | CsvFileError::NotWritable { .. } => ExitCode::Io,
        };
        Self::new(code, error)
    }
}

impl From<OpenQueueError> for Failure {
    fn from(error: OpenQueueError) -> Self {
        match error {
            OpenQueueError::Link(error) => error.into(),
            OpenQueueError::Unsafe(_) => Self::new(ExitCode::Config, error).hint(
                "--allow-unsafe-redis works all the same, where losing requests and paid jobs is no harm",
            ),
        }
    }
}

/// What the backlog is told.
fn queue_settings(
    config: &Config,
    from: &RedisList,
    to: &Sink,
    until: Until,
) -> Result<RedisSettings, Failure> {
    let settings = &config.settings;
    let found = config.redis()?;
    for warning in &found.warnings {
        warn!("{warning}");
    }
    let wrong = |e: Box<dyn std::error::Error>| Failure::new(ExitCode::Config, e);
    let keys = Keys::new(&settings.redis_prefix, from.as_str()).map_err(|e| wrong(e.into()))?;
    let results = match to {
        Sink::Redis(list) => Some(list.as_str().to_owned()),
        Sink::File(_) | Sink::Stdout => None,
    };
    let foreign = match to {
        Sink::Redis(_) => None,
        Sink::File(path) => Some(CsvFile::open(path, settings.lock_wait)?),
        Sink::Stdout => Some(CsvFile::stream(Box::new(std::io::stdout()), "stdout")?),
    };
    let names = NamesInUse {
        list: from.as_str(),
        results: results.as_deref(),
        key_prefix: &settings.redis_prefix,
    };
    let result_key_prefix = settings.result_key_prefix.as_deref();
    let replies =
        ReplyPolicy::try_new(&settings.reply_prefix, result_key_prefix, names).map_err(|e| {
            wrong(e.into()).hint(
                "producers name lists that begin with reply_prefix, and ids follow result_key_prefix: \
                 neither may begin the name of another list",
            )
        })?;
    if results.as_deref() == Some(from.as_str())
        || keys.all().iter().any(|key| results.as_deref() == Some(key))
    {
        return Err(Failure::new(
            ExitCode::Usage,
            format!(
                "--to redis:{} is the list that requests come from, or a key of the queue's own",
                results.unwrap_or_default()
            ),
        )
        .hint("name another list for outcomes"));
    }
    Ok(RedisSettings {
        link: found.settings,
        keys,
        delivery: Delivery {
            results,
            replies,
            keys: settings
                .result_key_prefix
                .clone()
                .map(|prefix| (prefix, settings.result_ttl)),
            foreign,
        },
        intake: Intake {
            kinds: config.kinds.clone(),
            sites: config.sites.clone(),
            default_kind: settings.job.clone(),
        },
        identity: config.identity()?,
        lease: settings.redis_lease,
        repeat_window: settings.repeat_window,
        submit_pace: (
            settings.submit_rate.period(),
            settings.submit_rate.burst.get(),
        ),
        poll_pace: settings
            .poll_rate
            .map(|rate| (rate.period(), rate.burst.get())),
        max_spend: settings.max_spend,
        max_in_flight: settings.max_fleet_in_flight,
        on_unknown_create: settings.on_unknown_create,
        drain: until == Until::Empty,
        limit: settings.limit,
        allow_unsafe: settings.allow_unsafe_redis,
        wall_clock: jiff::Timestamp::now,
    })
}
