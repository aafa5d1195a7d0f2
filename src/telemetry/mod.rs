//! What a run tells people and machines: logs, progress, the final table, the summary.
//!
//! What must stay true:
//!
//! * All of it is made from the engine's events ([`crate::engine::Event`]) and its final tally, so
//!   that no two of them can disagree.
//! * Everything goes to stderr or to the file of `--summary`; stdout belongs to results.
//! * No token is in any of it: outcomes are shown by status, class and cleaned message. Log lines of
//!   the libraries we use are never let through, because they could carry bodies.
//! * Lines are written before the call returns and none is dropped; a reader that went away
//!   (a closed pipe) is no fault.

mod display;
mod distributions;
mod events;
mod log;
mod progress;
mod screen;
mod summary;
mod table;

pub use display::{safe, span};
pub use distributions::{Distributions, Lateness};
pub use events::{EventLog, Observers};
pub use log::{LogSetupError, LogStyle, start as start_log};
pub use progress::Progress;
pub use screen::Screen;
pub(crate) use summary::dollars;
pub use summary::{Summary, Totals, WriteSummaryError};
pub use table::{RunView, table};
