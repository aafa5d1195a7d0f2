//! The codes by which protocol v2 refuses, and what each means.
//!
//! The first of each group are the service's own; the others are those that services of the same
//! shape send for the same thing. A code that is not here is
//! [`Unrecognised`](RefusalCause::Unrecognised) and shown verbatim.

use crate::api::RefusalCause;

/// What a code means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::api) enum Code {
    /// The request is refused.
    Refusal(RefusalCause),
    /// The job that was polled has failed.
    SolveFailed,
}

/// The meaning of `code`, where it is one that we know.
pub(in crate::api) fn meaning(code: &str) -> Option<Code> {
    use Code::{Refusal, SolveFailed};
    Some(match code {
        "ERROR_KEY_DOES_NOT_EXIST" => Refusal(RefusalCause::BadToken),
        "ERROR_ZERO_BALANCE" => Refusal(RefusalCause::NoBalance),
        "ERROR_IP_NOT_ALLOWED" | "ERROR_IP_BLOCKED" | "ERROR_ACCOUNT_SUSPENDED" => {
            Refusal(RefusalCause::Blocked)
        }
        "ERROR_TASK_IS_MAINTENANCE"
        | "ERROR_SERVICE_UNAVAILABLE"
        | "ERROR_REDIS_UNAVAILABLE"
        | "ERROR_REDIS_JOB_DATA"
        | "ERROR_NO_SLOT_AVAILABLE" => Refusal(RefusalCause::Passing),
        "ERROR_NO_SUCH_CAPCHA_ID"
        | "ERROR_TASK_NOT_FOUND"
        | "ERROR_JOB_NOT_FOUND"
        | "ERROR_TASK_ABSENT"
        | "ERROR_TASKID_INVALID"
        | "WRONG_CAPTCHA_ID" => Refusal(RefusalCause::UnknownJob),
        "ERROR_JOB_STATUS" | "ERROR_CAPTCHA_UNSOLVABLE" => SolveFailed,
        _ => return None,
    })
}
