//! Events as log lines.
//!
//! Levels: what may need a look is a warning; the run's milestones are info; each job is debug; each
//! poll is trace. A job's end in failure is debug as well, because it stands in the output.

use tracing::{debug, error, info, trace, warn};

use super::display::{safe, span};
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
            Event::FoundInDoubt { count } => {
                warn!(
                    count,
                    "workers ended while they were creating jobs; the fate of those creates is unknown, they may have been paid"
                );
            }
            Event::Lost { id } => {
                debug!(id = %safe(id.as_str()), "another worker has this request now, or it has its outcome");
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
                warn!(pause = %span(*pause), "the service asks to slow down");
            }
            Event::CircuitOpened => {
                warn!("most creates fail; one a second is tried until they succeed again");
            }
            Event::CircuitClosed => info!("creates succeed again"),
            Event::RecordingStalled { why } => {
                error!(why = %safe(why), "cannot record; nothing new is begun until it can be done");
            }
            Event::RecordingGoesOn => info!("recording goes on"),
            Event::Stopping { reason, in_flight } => {
                info!(
                    reason = %reason.word(),
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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use jiff::Timestamp;
    use tracing::Level;

    use super::*;
    use crate::engine::{Gauges, StopReason};
    use crate::job::{ErrorClass, ForeignText, Outcome, RemoteId, RequestId, Status};
    use crate::telemetry::LogStyle;
    use crate::telemetry::log::capture::logged;

    /// One of each event, to `see`.
    fn one_of_each(mut see: impl FnMut(&Event<'_>)) {
        let id = RequestId::try_new("row 7 \u{202e}").unwrap();
        let (id, remote_id) = (&id, &RemoteId::number("123456").unwrap());
        let why = &ForeignText::clean("the service's words", &[]);
        let outcome = &Outcome {
            status: Status::Solved,
            token: Some("hunter2-solved".to_owned().into()),
            error: None,
            elapsed: Some(Duration::from_millis(9_800)),
            ..Outcome::rejected(ErrorClass::Timeout, String::new(), Timestamp::UNIX_EPOCH)
        };
        let reason = &StopReason::Interrupted;
        for event in [
            Event::CreateSent { id },
            Event::Created { id, remote_id },
            Event::CreateWithdrawn { id, why },
            Event::CreateUnknown { id, why },
            Event::Adopted { id, remote_id },
            Event::FoundInDoubt { count: 2 },
            Event::Lost { id },
            Event::RecordingGoesOn,
            Event::PollSent {
                id,
                late: Duration::ZERO,
            },
            Event::PollInconclusive { id, why },
            Event::UnknownStatus { status: why },
            Event::Retrying { id, why },
            Event::Settled {
                id: Some(id),
                outcome,
            },
            Event::Settled { id: None, outcome },
            Event::Throttled {
                pause: Duration::from_secs(2),
            },
            Event::CircuitOpened,
            Event::CircuitClosed,
            Event::RecordingStalled { why: "disk full" },
            Event::Stopping {
                reason,
                in_flight: 3,
            },
            Event::Unrecorded { id, remote_id },
            Event::Gauges(Gauges::default()),
        ] {
            see(&event);
        }
    }

    #[test]
    fn every_event_has_a_line_and_none_has_a_token() {
        for style in [LogStyle::Text, LogStyle::Json] {
            let text = logged(Level::TRACE, style, || {
                one_of_each(|event| EventLog.on(event));
            });
            assert_eq!(text.lines().count(), 21, "{text}");
            assert!(!text.contains("hunter2"), "{text}");
            assert!(
                !text.contains('\u{202e}'),
                "an id must not drive the terminal"
            );
        }
    }

    #[test]
    fn a_calm_run_says_little() {
        let text = logged(Level::INFO, LogStyle::Text, || {
            one_of_each(|event| EventLog.on(event));
        });
        let told: Vec<_> = text
            .lines()
            .filter_map(|line| line.split_once("Z "))
            .map(|(_, told)| told)
            .collect();
        insta::assert_snapshot!(told.join("\n"), @r"
         WARN the fate of a create is unknown; it may have been paid id=row 7 \u{202e} why=the service's words
         WARN workers ended while they were creating jobs; the fate of those creates is unknown, they may have been paid count=2
         INFO recording goes on
         WARN the service answers with a status that is not documented; such jobs are polled on until their time is over status=the service's words
         WARN the service asks to slow down pause=2.0s
         WARN most creates fail; one a second is tried until they succeed again
         INFO creates succeed again
        ERROR cannot record; nothing new is begun until it can be done why=disk full
         INFO stopping: nothing new is begun reason=interrupted in_flight=3
        ERROR this job exists and is paid, and its id could not be recorded: keep this line id=row 7 \u{202e} remote_id=123456
        ");
    }
}
