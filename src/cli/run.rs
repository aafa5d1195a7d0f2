//! `run`: drains a CSV source into a CSV sink.

use std::path::{Path, PathBuf};
use std::process;

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;
use tracing::{error, info, warn};

use super::explain::explain;
use super::{ExitCode, Failure, RunArgs, Sink, Source, again, print, transport};
use crate::api::{Client, Transport};
use crate::backlog::{
    CrashPoint, CsvBacklog, CsvInput, CsvSettings, CsvSink, JournalStatus, Opened, Recorder,
};
use crate::config::{Config, Environment, LogFormat, Settings};
use crate::engine::{self, Engine, Report, Signal};
use crate::telemetry::{
    Distributions, EventLog, Observers, Progress, RunView, Screen, Summary, Totals, start_log,
    table,
};

/// Runs to the end, or as far as it gets.
pub(super) fn run(args: RunArgs) -> Result<ExitCode, Failure> {
    let RunArgs {
        from,
        to,
        settings: flags,
    } = args;
    let config = Config::load(&flags.0, Environment::of_process())?;
    let settings = &config.settings;
    let screen = Screen::stderr();
    start_log(settings.log_level, settings.log_format, &screen)
        .map_err(|e| Failure::new(ExitCode::Config, e))?;
    for warning in config.warnings.iter().chain(&config.site_warning()) {
        warn!("{warning}");
    }
    if settings.ordered && to.is_stream() {
        return Err(Failure::new(
            ExitCode::Usage,
            "--ordered: what went to a stream cannot be put in order",
        )
        .hint("name a file with --to"));
    }
    if let Some(path) = &settings.summary {
        refuse_summary_over(path, &from, &to, settings)?;
        Summary::check(path)?;
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|e| Failure::new(ExitCode::Io, e))?;
    let (mut signals, listener) = runtime.block_on(async { listen() })?;
    let to_open = backlog_settings(&config, &from, &to)?;
    let (backlog, opened) = runtime.block_on(open(to_open, &mut signals))?;
    announce(&opened);

    let capacity = engine::most_jobs(settings.max_in_flight);
    let (recorder, recorder_thread) = Recorder::on_thread(backlog, capacity)
        .map_err(|e| Failure::new(ExitCode::Io, e).hint("the system gives no further thread"))?;
    let mut log = EventLog;
    let mut distributions = Distributions::default();
    let mut progress = (!settings.is_quiet())
        .then(|| runtime.block_on(async { Progress::start(screen, to_settle(&opened)) }));
    let report = {
        let mut all: Vec<&mut dyn engine::Observer> = vec![&mut log, &mut distributions];
        if let Some(progress) = &mut progress {
            all.push(progress);
        }
        let mut observers = Observers::new(all);
        let end = drive(&config, recorder, &opened, &mut observers, signals);
        runtime.block_on(end)?
    };
    if let Some(mut progress) = progress {
        progress.stop();
    }
    if report.abrupt {
        // The recorder may be in the middle of a write; whatever it finished, the journal knows.
        print::note(&format!(
            "stopped at once; to go on:\n  {}\n",
            again::command(std::env::args_os())
        ));
        process::exit(i32::from(
            ExitCode::of_run(&report.stop, &report.tally) as u8
        ));
    }
    runtime.block_on(async {
        listener.abort();
        // Aborted on purpose; there is nothing else that it could say.
        let _ = listener.await;
    });
    let panicked = recorder_thread.join().is_err();
    conclude(settings, &opened, &report, &distributions)?;
    if panicked {
        return Err(Failure::new(
            ExitCode::Io,
            "the recorder panicked; this is a bug",
        ));
    }
    Ok(ExitCode::of_run(&report.stop, &report.tally))
}

/// Opens the backlog: checks the input, takes the locks, puts the last run's traces in order. All of
/// that may take a while (a large file, a lock that is waited for); a signal ends it, as safely as a
/// kill would.
async fn open(
    settings: CsvSettings,
    signals: &mut mpsc::Receiver<Signal>,
) -> Result<(CsvBacklog, Opened), Failure> {
    let opening = tokio::task::spawn_blocking(move || CsvBacklog::open(settings));
    tokio::select! {
        biased;
        Some(signal) = signals.recv() => {
            let again = again::command(std::env::args_os());
            print::note(&format!("stopped before anything was sent; to go on:\n  {again}\n"));
            let code = match signal {
                Signal::Interrupt => ExitCode::Interrupted,
                Signal::Terminate => ExitCode::Terminated,
            };
            process::exit(i32::from(code as u8));
        }
        opened = opening => match opened {
            Ok(opened) => opened.map_err(Failure::from),
            Err(panicked) => Err(Failure::new(ExitCode::Io, panicked)),
        },
    }
}

/// What the backlog is told.
fn backlog_settings(config: &Config, from: &Source, to: &Sink) -> Result<CsvSettings, Failure> {
    let settings = &config.settings;
    Ok(CsvSettings {
        input: match from {
            Source::File(path) => CsvInput::File(path.clone()),
            Source::Stdin => CsvInput::Stream {
                name: "stdin".to_owned(),
                source: Box::new(std::io::stdin()),
            },
            Source::Redis(_) => return Err(super::not_wired()),
        },
        sink: match to {
            Sink::File(path) => CsvSink::File(path.clone()),
            Sink::Stdout => CsvSink::Stream(Box::new(std::io::stdout())),
            Sink::Redis(_) => return Err(super::not_wired()),
        },
        journal: settings.journal.clone(),
        delimiter: settings.delimiter,
        default_kind: settings.job.clone(),
        kinds: config.kinds.clone(),
        sites: config.sites.clone(),
        identity: config.identity()?,
        skip_bad_rows: settings.skip_bad_rows,
        ordered: settings.ordered,
        fresh: settings.fresh,
        abandon_paid: settings.abandon_paid,
        retry_failed: settings.retry_failed,
        limit: settings.limit,
        on_unknown_create: settings.on_unknown_create,
        lock_wait: settings.lock_wait,
        wall_clock: jiff::Timestamp::now,
        crash_point: crash_point()?,
    })
}

/// A summary in the place of the run's own files would end them.
fn refuse_summary_over(
    summary: &Path,
    from: &Source,
    to: &Sink,
    settings: &Settings,
) -> Result<(), Failure> {
    let journal_of = |file: &PathBuf| {
        let mut name = file.clone().into_os_string();
        name.push(".journal");
        PathBuf::from(name)
    };
    let mut files: Vec<(&str, PathBuf)> = Vec::new();
    if let Source::File(path) = from {
        files.extend([("the input", path.clone()), ("a journal", journal_of(path))]);
    }
    if let Sink::File(path) = to {
        files.extend([
            ("the output", path.clone()),
            ("a journal", journal_of(path)),
        ]);
    }
    files.extend(settings.journal.clone().map(|path| ("the journal", path)));
    let there = |path: &Path| {
        path.canonicalize()
            .or_else(|_| std::path::absolute(path))
            .ok()
    };
    match files
        .iter()
        .find(|(_, path)| there(path).is_some() && there(path) == there(summary))
    {
        Some((what, path)) => Err(Failure::new(
            ExitCode::Usage,
            format!("--summary: {} is {what}", path.display()),
        )
        .hint("name a file of its own")),
        None => Ok(()),
    }
}

/// Takes the operator's signals from now on.
fn listen() -> Result<(mpsc::Receiver<Signal>, tokio::task::JoinHandle<()>), Failure> {
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

/// Where a test wants the process to die.
fn crash_point() -> Result<Option<CrashPoint>, Failure> {
    let Some(text) = std::env::var_os("POLLWHEEL_CRASH_AT") else {
        return Ok(None);
    };
    let point = text.to_string_lossy().parse();
    point
        .map(Some)
        .map_err(|e: String| Failure::new(ExitCode::Config, format!("POLLWHEEL_CRASH_AT: {e}")))
}

/// What the run begins with.
fn announce(opened: &Opened) {
    if opened.journal.is_none() {
        warn!(
            "from a stream to a stream there is no journal: what is under way is lost if this process dies; name one with --journal"
        );
    }
    for warning in &opened.warnings {
        warn!("{warning}");
    }
    for (base_url, jobs) in &opened.elsewhere {
        warn!(
            "{jobs} jobs live at another API or account ({base_url}); a run with that one ends them"
        );
    }
    if opened.unknown_creates > 0 {
        warn!(
            "{} creates were cut short by the end of an earlier run; their fate is unknown, they may have been paid",
            opened.unknown_creates
        );
    }
    if opened.done + opened.adopted > 0 {
        let to_go = opened
            .to_go
            .map_or_else(|| "the rest of the stream".to_owned(), |n| n.to_string());
        info!(
            "resuming: {} done, {} adopted, {to_go} to go",
            opened.done, opened.adopted
        );
    }
}

/// Rows that this run has to settle, where that is known.
fn to_settle(opened: &Opened) -> Option<u64> {
    opened.to_go.map(|n| n + opened.adopted)
}

/// Runs the engine with the transport that the settings ask for.
async fn drive(
    config: &Config,
    recorder: Recorder,
    opened: &Opened,
    observer: &mut dyn engine::Observer,
    signals: mpsc::Receiver<Signal>,
) -> Result<Report, Failure> {
    let identity = config.identity()?;
    if config.settings.simulate {
        return Ok(work(
            Client::new(transport::simulated(config), identity),
            config,
            recorder,
            opened,
            observer,
            signals,
        )
        .await);
    }
    Ok(work(
        Client::new(transport::http(config)?, identity),
        config,
        recorder,
        opened,
        observer,
        signals,
    )
    .await)
}

async fn work<T: Transport + 'static>(
    client: Client<T>,
    config: &Config,
    recorder: Recorder,
    opened: &Opened,
    observer: &mut dyn engine::Observer,
    signals: mpsc::Receiver<Signal>,
) -> Report {
    let settings = &config.settings;
    let engine = Engine::new(
        client,
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
            spent_before: opened.spent_before,
            drain_timeout: settings.drain_timeout,
            wall_clock: jiff::Timestamp::now,
        },
        recorder,
        observer,
        signals,
    );
    engine.run().await
}

/// Says how it went: the table, the summary, and how to go on.
fn conclude(
    settings: &Settings,
    opened: &Opened,
    report: &Report,
    distributions: &Distributions,
) -> Result<(), Failure> {
    let journal = opened.journal.as_deref();
    let read = |path| {
        JournalStatus::read(path).map_err(|e| {
            Failure::new(ExitCode::Io, e)
                .hint("the journal was moved or removed while the run went on: put it back before the next one")
        })
    };
    let status = journal.map(read).transpose()?;
    let pending = match &status {
        Some(status) => status.total.is_some().then(|| status.pending.all()),
        None => None,
    };
    let again = again::command(std::env::args_os());
    let why = explain(&report.stop);
    let is_done = matches!(report.stop, engine::StopReason::Done);
    if settings.log_format == LogFormat::Json {
        // Whoever reads JSON lines gets nothing else.
        let tally = &report.tally;
        info!(
            stop = report.stop.word(),
            solved = tally.solved,
            failed = tally.failed,
            rejected = tally.rejected,
            pending,
            creates = tally.creates,
            unknown_creates = tally.unknown_creates,
            polls = tally.polls,
            spend = %tally.spend,
            elapsed_s = report.elapsed.as_secs_f64(),
            "the run ended"
        );
        if !is_done {
            error!(again, "{why}");
        }
    } else {
        if !settings.is_quiet() {
            print::note(&table(&RunView {
                tally: &report.tally,
                distributions,
                elapsed: report.elapsed,
                pending,
                stop: &report.stop,
            }));
        }
        if !is_done {
            let place = journal.map_or_else(String::new, |journal| {
                format!(
                    "nothing is lost: {} has every step; to go on:\n",
                    journal.display()
                )
            });
            print::note(&format!("{why}\n{place}  {again}\n"));
        }
    }
    if let Some(path) = &settings.summary {
        let this_run = Totals::of_run(&report.tally, pending, report.elapsed);
        let all_runs = status
            .as_ref()
            .map_or_else(|| this_run.clone(), super::status::totals);
        Summary {
            all_runs,
            this_run,
            stop: report.stop.word(),
        }
        .write(path)?;
    }
    Ok(())
}
