//! `run`: drains a CSV source into a CSV sink.

use std::path::{Path, PathBuf};
use std::process;
use std::time::Duration;

use tokio::sync::mpsc;
use tracing::{info, warn};

use super::conclude::{Standing, conclude};
use super::drive::{Driven, FORGETS_BEYOND, Pace, drive, listen};
use super::preflight::{self, Ahead};
use super::{ExitCode, Failure, RedisList, RunArgs, Sink, Source, again, print, work};
use crate::backlog::redis::OpenQueueError;
use crate::backlog::{
    CrashPoint, CsvBacklog, CsvInput, CsvSettings, CsvSink, JournalStatus, Opened, Recorder,
};
use crate::config::{Config, Environment, Settings};
use crate::engine::{self, Report, Signal};
use crate::redis::check_safe;
use crate::sink::redis::RedisOutbox;
use crate::telemetry::{Distributions, Screen, Summary, start_log};

/// Runs to the end, or as far as it gets.
pub(super) fn run(args: RunArgs) -> Result<ExitCode, Failure> {
    let RunArgs {
        from,
        to,
        settings: flags,
    } = args;
    if let Source::Redis(list) = &from {
        return work::serve(list, &to, &flags.0, work::Until::Empty);
    }
    let config = Config::load(&flags.0, Environment::of_process())?;
    let settings = &config.settings;
    let screen = Screen::stderr();
    start_log(settings.log_level, settings.log_format, &screen)
        .map_err(|e| Failure::new(ExitCode::Config, e))?;
    for warning in config.warnings.iter().chain(&config.site_warning()) {
        warn!("{warning}");
    }
    if settings.ordered && (to.is_stream() || matches!(to, Sink::Redis(_))) {
        return Err(Failure::new(
            ExitCode::Usage,
            "--ordered: what went to a stream or a list cannot be put in order",
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
    let (mut backlog, opened) = runtime.block_on(open(to_open, &mut signals))?;
    announce(&opened);
    if opened.to_go != Some(0) || opened.adopted > 0 {
        let ahead = Ahead {
            rows: opened
                .to_go
                .map(|n| settings.limit.map_or(n, |limit| n.min(limit))),
            kinds: &opened.report.kinds,
        };
        let asking = unless_stopped(preflight::look_up(&config, ahead), &mut signals);
        backlog.set_prices(&runtime.block_on(asking)?);
    }

    let capacity = engine::most_jobs(settings.max_in_flight);
    let (recorder, recorder_thread) = Recorder::on_thread(backlog, capacity)
        .map_err(|e| Failure::new(ExitCode::Io, e).hint("the system gives no further thread"))?;
    let pace = Pace::alone(opened.spent_before, settings);
    let Driven {
        report,
        distributions,
    } = drive(
        &runtime,
        &config,
        recorder,
        pace,
        to_settle(&opened),
        (screen, signals),
    )?;
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
    tell(settings, &opened, &report, &distributions)?;
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
    match unless_stopped(opening, signals).await {
        Ok(opened) => opened.map_err(Failure::from),
        Err(panicked) => Err(Failure::new(ExitCode::Io, panicked)),
    }
}

/// Does some work before the run begins anything. A signal ends the process, as safely as a kill would.
async fn unless_stopped<T>(
    work: impl Future<Output = T>,
    signals: &mut mpsc::Receiver<Signal>,
) -> T {
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
        done = work => done,
    }
}

/// How long settled rows may be collected before they go into the output file together.
const DELIVER_EVERY: Duration = Duration::from_millis(50);

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
            Source::Redis(_) => {
                return Err(Failure::new(
                    ExitCode::Usage,
                    "a file cannot go to a list of Redis in this version; use pollwheel push",
                ));
            }
        },
        sink: match to {
            Sink::File(path) => CsvSink::File(path.clone()),
            Sink::Stdout => CsvSink::Stream(Box::new(std::io::stdout())),
            Sink::Redis(list) => CsvSink::Outbox(Box::new(results_list(config, list)?)),
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
        deliver_every: DELIVER_EVERY,
        forgets_beyond: FORGETS_BEYOND,
    })
}

/// The list in Redis that outcomes go to.
fn results_list(config: &Config, list: &RedisList) -> Result<RedisOutbox, Failure> {
    let found = config.redis()?;
    for warning in &found.warnings {
        warn!("{warning}");
    }
    let outbox = RedisOutbox::open(&found.settings, list.as_str())?;
    if let Err(reason) = check_safe(outbox.facts()) {
        if !config.settings.allow_unsafe_redis {
            return Err(OpenQueueError::Unsafe(reason.to_string()).into());
        }
        warn!("{reason}");
    }
    Ok(outbox)
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

/// Says how it went, over all runs on the journal.
fn tell(
    settings: &Settings,
    opened: &Opened,
    report: &Report,
    distributions: &Distributions,
) -> Result<(), Failure> {
    let journal = opened.journal.as_deref();
    let read = |path| {
        JournalStatus::read_again(path, opened.unchanged.as_ref()).map_err(|e| {
            Failure::new(ExitCode::Io, e)
                .hint("the journal was moved or removed while the run went on: put it back before the next one")
        })
    };
    let status = journal.map(read).transpose()?;
    conclude(
        settings,
        report,
        distributions,
        &Standing {
            pending: status
                .as_ref()
                .filter(|status| status.total.is_some())
                .map(|status| status.pending.all()),
            place: journal.map(|journal| journal.display().to_string()),
            all_runs: status.as_ref().map(super::status::totals),
            is_worker: false,
        },
    )
}
