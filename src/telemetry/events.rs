//! Events as log lines.
//!
//! Levels: what may need a look is a warning; the run's milestones are info; each job is debug; each
//! poll is trace. A job's end in failure is debug as well, because it stands in the output.

use tracing::{debug, error, info, trace, warn};

use super::display::{safe, span};
use super::stop_word;
use crate::engine::{Event, Observer};

/// Several observers, called in order.
#[derive(Default)]
pub struct Observers<'a>(Vec<&'a mut dyn Observer>);

impl<'a> Observers<'a> {
    /// These.
    #[must_use]
    pub fn new(observers: Vec<&'a mut dyn Observer>) -> Self {
        Self(observers)
    }
}

impl Observer for Observers<'_> {
    fn on(&mut self, event: &Event<'_>) {
        for observer in &mut self.0 {
            observer.on(event);
        }
    }
}

/// Writes events to the log.
#[derive(Debug, Default)]
pub struct EventLog;

impl Observer for EventLog {
    fn on(&mut self, event: &Event<'_>) {
        match event {
            Event::CreateSent { id } => trace!(id = %safe(id.as_str()), "create sent"),
            Event::Created { id, remote_id } => {
                debug!(id = %safe(id.as_str()), remote_id = %safe(&remote_id.to_string()), "created");
            }
            Event::CreateWithdrawn { id, why } => {
                debug!(id = %safe(id.as_str()), %why, "no job was created; it will be tried again");
            }
            Event::CreateUnknown { id, why } => {
                warn!(id = %safe(id.as_str()), %why, "the fate of a create is unknown; it may have been paid");
            }
            Event::Adopted { id, remote_id } => {
                debug!(id = %safe(id.as_str()), remote_id = %safe(&remote_id.to_string()), "job of an earlier run goes on");
            }
            Event::PollSent { id, late } => {
                trace!(id = %safe(id.as_str()), late_ms = late.as_millis(), "poll sent");
            }
            Event::PollInconclusive { id, why } => {
                debug!(id = %safe(id.as_str()), %why, "a poll brought no verdict");
            }
            Event::UnknownStatus { status } => {
                warn!(%status, "the service answers with a status that is not documented; such jobs are polled on until their time is over");
            }
            Event::Retrying { id, why } => {
                debug!(id = %safe(id.as_str()), %why, "the solve failed; it will be tried again");
            }
            Event::Settled { id, outcome } => debug!(
                id = id.map(|id| safe(id.as_str()).into_owned()),
                status = outcome.status.as_str(),
                error = outcome.error.map(crate::job::ErrorClass::as_str),
                message = (!outcome.message.is_empty()).then_some(outcome.message.as_str()),
                attempts = outcome.attempts,
                polls = outcome.polls,
                elapsed_s = outcome.elapsed.map(|e| e.as_secs_f64()),
                "settled"
            ),
            Event::Throttled { pause } => {
                warn!(pause = span(*pause), "the service asks to slow down");
            }
            Event::CircuitOpened => {
                warn!("most creates fail; one a second is tried until they succeed again");
            }
            Event::CircuitClosed => info!("creates succeed again"),
            Event::RecordingStalled { why } => {
                error!(why = %safe(why), "cannot record; nothing new is begun until it can be done");
            }
            Event::Stopping { reason, in_flight } => {
                info!(
                    reason = stop_word(reason),
                    in_flight, "stopping: nothing new is begun"
                );
            }
            Event::Unrecorded { id, remote_id } => error!(
                id = %safe(id.as_str()),
                remote_id = %safe(&remote_id.to_string()),
                "this job exists and is paid, and its id could not be recorded: keep this line"
            ),
            Event::Gauges(gauges) => trace!(
                in_flight = gauges.in_flight,
                waiting = gauges.waiting,
                exchanges = gauges.exchanges,
                "gauges"
            ),
        }
    }
}
