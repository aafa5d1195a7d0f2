//! Why a run stopped, for people.

use crate::engine::StopReason;
use crate::telemetry::{safe, span};

/// A sentence or two: what happened, and what to do before going on.
#[must_use]
pub(super) fn explain(stop: &StopReason) -> String {
    match stop {
        StopReason::Done => "every row has its outcome".to_owned(),
        StopReason::MaxSpend => {
            "the next create could exceed --max-spend, which counts all runs on this journal or queue; give a higher one".to_owned()
        }
        StopReason::MaxRuntime => "--max-runtime is over".to_owned(),
        StopReason::MaxFailures => {
            "too many failures in a row (--max-failures): solves that failed, jobs that timed out, creates of unknown fate; -v shows each".to_owned()
        }
        StopReason::NoBalance(words) => {
            format!("the service says that the balance is used up: {}; top it up", safe(words))
        }
        StopReason::BadToken(words) => {
            format!("the service does not accept the account token: {}; check POLLWHEEL_API_TOKEN", safe(words))
        }
        StopReason::Blocked(words) => {
            format!("the service says that the account is suspended or blocked: {}", safe(words))
        }
        StopReason::Refusals(words) => {
            format!("the service refuses one request after another: {}; that looks like the account, the kind or the protocol, not like the rows", safe(words))
        }
        StopReason::Unreachable(fault) => format!("the service cannot be reached: {}", safe(fault)),
        StopReason::LongPause(pause) => {
            format!("the service asks for a pause of {}, longer than a run waits; go on after that", span(*pause))
        }
        StopReason::Interrupted => "stopped by SIGINT".to_owned(),
        StopReason::Terminated => "stopped by SIGTERM".to_owned(),
        StopReason::CannotRecord(why) => {
            format!("nothing can be recorded: {}; make room or mend it", safe(why))
        }
        StopReason::BacklogAway(why) => {
            format!("Redis was out of reach for too long: {}; jobs that are recorded there are polled on by the next worker", safe(why))
        }
        StopReason::Backlog(error) => {
            // The chain belongs together here: this is the one place where it is printed.
            let mut text = safe(&error.to_string()).into_owned();
            if let Some(cause) = std::error::Error::source(error) {
                text += &format!(": {}", safe(&cause.to_string()));
            }
            text
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_services_words_cannot_drive_a_terminal() {
        let text = explain(&StopReason::NoBalance("your balance \u{1b}[2J".to_owned()));
        assert!(
            !text.contains('\u{1b}') && text.contains("your balance"),
            "{text}"
        );
    }

    #[test]
    fn a_cause_is_told() {
        let source = std::io::Error::other("No space left on device");
        let error = crate::backlog::BacklogError::Retryable {
            what: "cannot write j".to_owned(),
            source,
        };
        assert_eq!(
            explain(&StopReason::Backlog(error)),
            "cannot write j: No space left on device"
        );
    }
}
