//! The terminal's last line, shared by the progress bar and the log.

use std::io::{self, IsTerminal, Write};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// stderr, with or without a bar at its bottom. Cheap to clone; all clones share one bar.
#[derive(Clone, Debug)]
pub struct Screen {
    bar: ProgressBar,
    can_draw: bool,
}

/// How often the bar is drawn at most, per second.
const REDRAWS_PER_SECOND: u8 = 5;

impl Screen {
    /// stderr of this process; a bar can be drawn where it is a terminal.
    #[must_use]
    pub fn stderr() -> Self {
        Self::new(io::stderr().is_terminal())
    }

    /// One that never draws.
    #[must_use]
    pub fn plain() -> Self {
        Self::new(false)
    }

    fn new(can_draw: bool) -> Self {
        Self {
            bar: ProgressBar::with_draw_target(None, ProgressDrawTarget::hidden()),
            can_draw,
        }
    }

    /// Whether a bar can be drawn.
    #[must_use]
    pub fn can_draw(&self) -> bool {
        self.can_draw
    }

    /// Begins to draw the bar, where that can be done.
    pub(super) fn start_bar(&self, total: Option<u64>) {
        if !self.can_draw {
            return;
        }
        let template = if total.is_some() {
            "{bar:24.green/dim} {pos}/{len}  {msg}"
        } else {
            "{spinner} {pos}  {msg}"
        };
        let style =
            ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
        self.bar.set_style(style.progress_chars("━━─"));
        if let Some(total) = total {
            self.bar.set_length(total);
        }
        self.bar
            .set_draw_target(ProgressDrawTarget::stderr_with_hz(REDRAWS_PER_SECOND));
        // The engine looks at the gauges once a second; the bar must not stand still until then.
        self.bar.enable_steady_tick(Duration::from_secs(1));
    }

    /// Shows how far the run is.
    pub(super) fn update_bar(&self, done: u64, message: String) {
        self.bar.set_position(done);
        self.bar.set_message(message);
    }

    /// Takes the bar away; lines go on.
    pub(super) fn stop_bar(&self) {
        self.bar.disable_steady_tick();
        self.bar.finish_and_clear();
        self.bar.set_draw_target(ProgressDrawTarget::hidden());
    }

    /// Writes to stderr, above the bar where one is drawn. That nobody reads is no fault.
    pub fn write(&self, text: &str) {
        self.write_bytes(text.as_bytes());
    }

    pub(super) fn write_bytes(&self, bytes: &[u8]) {
        self.bar.suspend(|| {
            let _ = io::stderr().lock().write_all(bytes);
        });
    }
}
