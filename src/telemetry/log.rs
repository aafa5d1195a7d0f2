//! The log: lines of our own on stderr, as text or JSON.

use std::io::{self, Write};

use tracing::Level;
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::FormatTime;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::{SubscriberInitExt, TryInitError};
use tracing_subscriber::{Layer, Registry};

use super::Screen;

/// How log lines are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogStyle {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// The log was started before in this process.
#[derive(Debug, thiserror::Error)]
#[error("the log is already running")]
pub struct LogSetupError(#[from] TryInitError);

/// Starts the log of this process.
///
/// Lines of this crate at `level` and above are written; those of the libraries below it never are,
/// at any level, because they may show bodies, and bodies hold the account token.
///
/// # Errors
///
/// Where it was started before.
pub fn start(
    level: Level,
    style: impl Into<LogStyle>,
    screen: &Screen,
) -> Result<(), LogSetupError> {
    let colour = screen.can_draw() && std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty());
    let screen = screen.clone();
    Ok(subscriber(level, style.into(), colour, move || {
        ScreenWriter(screen.clone())
    })
    .try_init()?)
}

/// The subscriber, over any writer. Each line is one `write_all`.
fn subscriber<W>(
    level: Level,
    style: LogStyle,
    colour: bool,
    writer: W,
) -> impl tracing::Subscriber + Send + Sync
where
    W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
{
    let lines = tracing_subscriber::fmt::layer()
        .with_writer(writer)
        .with_timer(WallClock)
        .with_target(false)
        .with_ansi(colour);
    let layer = match style {
        LogStyle::Text => lines.boxed(),
        LogStyle::Json => lines
            .json()
            .flatten_event(true)
            .with_current_span(false)
            .with_span_list(false)
            .boxed(),
    };
    // Not `Targets`, which would take `pollwheelish` for ours as well.
    let ours = filter_fn(move |metadata| {
        let target = metadata.target();
        *metadata.level() <= level && (target == "pollwheel" || target.starts_with("pollwheel::"))
    });
    Registry::default().with(layer.with_filter(ours.with_max_level_hint(level)))
}

/// RFC 3339, UTC, milliseconds.
struct WallClock;

impl FormatTime for WallClock {
    fn format_time(&self, w: &mut Writer<'_>) -> std::fmt::Result {
        write!(w, "{:.3}", jiff::Timestamp::now())
    }
}

struct ScreenWriter(Screen);

impl Write for ScreenWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write_bytes(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Lines as they would be written, for tests of what is logged.
#[cfg(test)]
pub(super) mod capture {
    use std::io::{self, Write};
    use std::sync::{Arc, Mutex};

    use super::{Level, LogStyle, subscriber};

    #[derive(Clone, Default)]
    pub(in crate::telemetry) struct Lines(Arc<Mutex<Vec<u8>>>);

    impl Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl Lines {
        pub(in crate::telemetry) fn text(&self) -> String {
            String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
        }

        /// Captures what this thread logs until the guard is dropped.
        pub(in crate::telemetry) fn capture(
            &self,
            level: Level,
            style: LogStyle,
        ) -> tracing::subscriber::DefaultGuard {
            let writer = self.clone();
            tracing::subscriber::set_default(subscriber(level, style, false, move || {
                writer.clone()
            }))
        }
    }

    /// What is logged meanwhile.
    pub(in crate::telemetry) fn logged(
        level: Level,
        style: LogStyle,
        say: impl FnOnce(),
    ) -> String {
        let lines = Lines::default();
        let guard = lines.capture(level, style);
        say();
        drop(guard);
        lines.text()
    }
}

#[cfg(test)]
mod tests {
    use super::capture::logged;
    use super::*;

    #[test]
    fn libraries_are_not_heard_at_any_level() {
        let text = logged(Level::TRACE, LogStyle::Text, || {
            tracing::error!(target: "hyper::proto", "body: hunter2");
            tracing::error!(target: "reqwest", "body: hunter2");
            tracing::error!(target: "pollwheelish", "not ours either");
            tracing::trace!(target: "pollwheel::engine", "ours");
        });
        assert!(text.contains("ours") && text.lines().count() == 1, "{text}");
    }

    #[test]
    fn the_level_holds() {
        let say = || {
            tracing::error!("one");
            tracing::warn!("two");
            tracing::info!("three");
            tracing::debug!("four");
            tracing::trace!("five");
        };
        for (n, level) in [
            Level::ERROR,
            Level::WARN,
            Level::INFO,
            Level::DEBUG,
            Level::TRACE,
        ]
        .into_iter()
        .enumerate()
        {
            assert_eq!(logged(level, LogStyle::Text, say).lines().count(), n + 1);
        }
    }

    #[test]
    fn a_json_line_is_one_object() {
        let text = logged(Level::INFO, LogStyle::Json, || {
            tracing::info!(id = "row 1\n", polls = 3, "created");
        });
        assert_eq!(text.lines().count(), 1);
        let line: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(
            (&line["id"], &line["polls"], &line["level"]),
            (&"row 1\n".into(), &3.into(), &"INFO".into())
        );
        let time = line["timestamp"].as_str().unwrap();
        assert!(
            time.ends_with('Z') && time.parse::<jiff::Timestamp>().is_ok(),
            "{time}"
        );
    }
}
