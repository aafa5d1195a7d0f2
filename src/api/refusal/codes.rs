//! The codes by which protocol v2 refuses, and what each means.
//!
//! The first of each group are the service's own; the others are those that services of the same
//! shape send for the same thing. A code that is not here, nor in the user's rules, is
//! [`Unrecognised`](RefusalCause::Unrecognised) and shown verbatim.

use super::Meaning;
use crate::api::RefusalCause;

/// The meaning of `code`, where it is one that we know.
pub(super) fn meaning(code: &str) -> Option<Meaning> {
    let cause = match code {
        "ERROR_KEY_DOES_NOT_EXIST" => RefusalCause::BadToken,
        "ERROR_ZERO_BALANCE" => RefusalCause::NoBalance,
        "ERROR_IP_NOT_ALLOWED" | "ERROR_IP_BLOCKED" | "ERROR_ACCOUNT_SUSPENDED" => {
            RefusalCause::Blocked
        }
        "ERROR_TASK_IS_MAINTENANCE"
        | "ERROR_SERVICE_UNAVAILABLE"
        | "ERROR_REDIS_UNAVAILABLE"
        | "ERROR_REDIS_JOB_DATA"
        | "ERROR_NO_SLOT_AVAILABLE" => RefusalCause::Passing,
        "ERROR_NO_SUCH_CAPCHA_ID"
        | "ERROR_TASK_NOT_FOUND"
        | "ERROR_JOB_NOT_FOUND"
        | "ERROR_TASK_ABSENT"
        | "ERROR_TASKID_INVALID"
        | "WRONG_CAPTCHA_ID" => RefusalCause::UnknownJob,
        // About a page or a site key. Codes about the task's type are not here: they are the same
        // for every row of a kind.
        "ERROR_INVALID_TASK_DATA"
        | "ERROR_BAD_PARAMETERS"
        | "ERROR_RECAPTCHA_INVALID_SITEKEY"
        | "ERROR_RECAPTCHA_INVALID_DOMAIN"
        | "ERROR_INVALID_SITEKEY"
        | "ERROR_WRONG_GOOGLEKEY"
        | "ERROR_GOOGLEKEY"
        | "ERROR_PAGEURL"
        | "ERROR_DOMAIN_NOT_ALLOWED" => RefusalCause::BadRequest,
        "ERROR_JOB_STATUS" | "ERROR_CAPTCHA_UNSOLVABLE" => return Some(Meaning::SolveFailed),
        _ => return None,
    };
    Some(Meaning::Cause(cause))
}
