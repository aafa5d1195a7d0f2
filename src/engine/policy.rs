//! What follows from an answer. Pure: no clock, no I/O, chance passed in.
//!
//! What must stay true: both matches are exhaustive, so that a new class of answer forces a
//! decision here; nothing is called unknown that is known not to exist, and nothing is called
//! known not to exist that may have been paid; a job is timed out only by a poll made after its
//! deadline.

use std::time::Duration;

use secrecy::SecretString;

use crate::api::{CreateReply, PollReply, Refusal, RefusalCause, RetryAfter};
use crate::job::{ErrorClass, ForeignText, RemoteId};

use super::UnknownCreatePolicy;

/// Unexplained refusals of one request before it is believed that they are about the request.
const REFUSALS_TO_BELIEVE: u32 = 3;
/// Answers of "no such job" before a job is believed to be gone: replicas lag.
const LOST_JOBS_TO_BELIEVE: u32 = 3;
/// Answers of success without a token before a solve is believed to have failed.
const EMPTY_RESULTS_TO_BELIEVE: u32 = 3;
/// Unknown creates of one request before they may be held against it.
const UNKNOWNS_TO_BELIEVE: u32 = 3;
/// Faulty polls after the deadline, while others succeed, that end a job.
const LATE_FAULTS_TO_BELIEVE: u32 = 5;

/// First and longest bound of the backoff.
const BACKOFF: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));

/// What a decision on a request needs to know about its past answers.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Doubts {
    /// Answers in a row that were no verdict, this one included.
    pub(super) count: u32,
    /// Of those, refusals that may be about the request itself.
    pub(super) refusals: u32,
    /// Whether other requests had success since the first of them.
    pub(super) others_succeeded: bool,
    /// Whether they go on for longer than a job may take.
    pub(super) lasting: bool,
}

/// What follows from a create's answer.
#[derive(Debug)]
pub(super) enum CreateVerdict {
    /// Record the id and wait.
    Wait(RemoteId),
    /// No job exists: take the create back, then go on so.
    Withdraw(AfterWithdraw),
    /// A job may exist: record that, then create again after a backoff.
    CountAndRetry(ForeignText),
    /// A job may exist: the request ends.
    CountAndFail(ForeignText),
}

/// How a request goes on whose create is known not to exist.
#[derive(Debug)]
pub(super) enum AfterWithdraw {
    /// The service could not be reached: again after a backoff.
    Unsent(ForeignText),
    /// The service is busy: again when it wants to be asked.
    Throttled(Option<RetryAfter>),
    /// The service says that it cannot take it now: again after a backoff.
    Busy(ForeignText),
    /// A refusal that may be about anything: again after a backoff.
    Doubted(ForeignText),
    /// The service does not take this request: it ends.
    Refused(ForeignText),
    /// The service names what is wrong in this request: it ends, unless that is said of all of them.
    BadRequest(ForeignText),
    /// The account is at fault: the request stays unsettled, and the run stops.
    AccountFault(Refusal),
}

/// What follows from a poll's answer.
#[derive(Debug)]
pub(super) enum PollVerdict {
    /// The job is done.
    Solved(SecretString),
    /// Poll again at the usual interval.
    Again,
    /// Poll again slowly: the status is one that nobody documented.
    AgainSlowly(ForeignText),
    /// No verdict: poll again after a backoff.
    AgainLater(ForeignText),
    /// Everybody waits.
    Throttled(Option<RetryAfter>),
    /// The solve failed: create a new job.
    NewAttempt {
        /// The reason.
        why: ForeignText,
        /// Whether the failed one is paid for all the same.
        is_billed: bool,
    },
    /// The request ends.
    Fail {
        /// As which failure.
        class: ErrorClass,
        /// The reason.
        why: ForeignText,
        /// Whether its job is paid for all the same.
        is_billed: bool,
    },
    /// An unexplained refusal: again after a backoff, and the run may have to stop.
    Doubted(ForeignText),
    /// The account is at fault: the job stays recorded as waiting, and the run stops.
    AccountFault(Refusal),
}

/// Decides on a create's answer.
pub(super) fn after_create(
    reply: CreateReply,
    doubts: Doubts,
    policy: UnknownCreatePolicy,
) -> CreateVerdict {
    match reply {
        CreateReply::Created(id) => CreateVerdict::Wait(id),
        CreateReply::NotSent(why) => CreateVerdict::Withdraw(AfterWithdraw::Unsent(why)),
        CreateReply::Throttled(after) => CreateVerdict::Withdraw(AfterWithdraw::Throttled(after)),
        CreateReply::Unknown { why, .. } => {
            let hopeless =
                doubts.lasting && doubts.others_succeeded && doubts.count >= UNKNOWNS_TO_BELIEVE;
            match policy {
                UnknownCreatePolicy::Retry if !hopeless => CreateVerdict::CountAndRetry(why),
                UnknownCreatePolicy::Retry | UnknownCreatePolicy::Fail => {
                    CreateVerdict::CountAndFail(why)
                }
            }
        }
        CreateReply::Refused(refusal) => CreateVerdict::Withdraw(match refusal.cause {
            RefusalCause::BadToken | RefusalCause::NoBalance | RefusalCause::Blocked => {
                AfterWithdraw::AccountFault(refusal)
            }
            RefusalCause::Passing => AfterWithdraw::Busy(refusal.message),
            RefusalCause::BadRequest => AfterWithdraw::BadRequest(refusal.message),
            RefusalCause::UnknownJob | RefusalCause::Unrecognised => {
                if doubts.others_succeeded && doubts.refusals >= REFUSALS_TO_BELIEVE {
                    AfterWithdraw::Refused(refusal.message)
                } else {
                    AfterWithdraw::Doubted(refusal.message)
                }
            }
        }),
    }
}

/// Decides on a poll's answer. `overdue`: the poll was sent after the job's deadline.
/// `attempts_left`: further jobs that may be created for the request.
pub(super) fn after_poll(
    reply: PollReply,
    overdue: bool,
    attempts_left: u32,
    doubts: Doubts,
) -> PollVerdict {
    // A solve that failed is not billed; any other job may well be.
    let fail = |class: ErrorClass, why: ForeignText| PollVerdict::Fail {
        class,
        why,
        is_billed: true,
    };
    let timed_out = |why: String| fail(ErrorClass::Timeout, ForeignText::clean(&why, &[]));
    let failed_solve = |why: ForeignText, is_billed: bool| {
        if attempts_left > 0 {
            PollVerdict::NewAttempt { why, is_billed }
        } else {
            let class = ErrorClass::SolveFailed;
            PollVerdict::Fail {
                class,
                why,
                is_billed,
            }
        }
    };
    let no_verdict = |why: ForeignText| {
        if overdue && doubts.others_succeeded && doubts.count >= LATE_FAULTS_TO_BELIEVE {
            timed_out(format!("no usable answer after its time: {why}"))
        } else {
            PollVerdict::AgainLater(why)
        }
    };
    match reply {
        PollReply::Solved(token) => PollVerdict::Solved(token),
        PollReply::Pending if overdue => timed_out("still pending after its time".to_owned()),
        PollReply::Pending => PollVerdict::Again,
        PollReply::UnknownStatus(status) if overdue => {
            timed_out(format!("still `{status}` after its time"))
        }
        PollReply::UnknownStatus(status) => PollVerdict::AgainSlowly(status),
        PollReply::Failed(why) => failed_solve(why, false),
        // The service calls it a success, so it bills it. A token that is only late is had by asking
        // again; a new job would be paid a second time.
        PollReply::NoToken => {
            let why = ForeignText::clean("success without a token", &[]);
            if doubts.count >= EMPTY_RESULTS_TO_BELIEVE || overdue {
                failed_solve(why, true)
            } else {
                PollVerdict::AgainLater(why)
            }
        }
        PollReply::Throttled(after) => PollVerdict::Throttled(after),
        PollReply::Transient(why) => no_verdict(why),
        PollReply::Refused(refusal) => match refusal.cause {
            RefusalCause::BadToken | RefusalCause::NoBalance | RefusalCause::Blocked => {
                PollVerdict::AccountFault(refusal)
            }
            RefusalCause::Passing => no_verdict(refusal.message),
            // Of a job that exists and is paid for, both are believed late.
            RefusalCause::UnknownJob | RefusalCause::BadRequest
                if doubts.refusals >= LOST_JOBS_TO_BELIEVE =>
            {
                fail(ErrorClass::Refused, refusal.message)
            }
            RefusalCause::UnknownJob | RefusalCause::BadRequest => {
                PollVerdict::AgainLater(refusal.message)
            }
            RefusalCause::Unrecognised => {
                if doubts.others_succeeded && doubts.refusals >= REFUSALS_TO_BELIEVE {
                    fail(ErrorClass::Refused, refusal.message)
                } else {
                    PollVerdict::Doubted(refusal.message)
                }
            }
        },
    }
}

/// Full jitter: a time between nothing and a bound that doubles from 1 s to 30 s with every failure.
///
/// Source: AWS Architecture Blog, "Exponential Backoff And Jitter".
pub(super) fn backoff(failures: u32, rng: &mut fastrand::Rng) -> Duration {
    let bound = BACKOFF
        .0
        .saturating_mul(1 << failures.saturating_sub(1).min(16))
        .min(BACKOFF.1);
    bound.mul_f64(rng.f64())
}

/// The most that is added to an interval by chance: a tenth of the shortest interval that services of this kind
/// ask for. It parts what would go at once; more would be for nothing, and jobs that are polled in nearly the
/// order in which they were made stand near each other in memory and in the journal.
const LONGEST_JITTER: Duration = Duration::from_millis(200);

/// `interval` and up to a tenth more, so that a burst of creates does not stay a burst of polls.
pub(super) fn jittered(interval: Duration, rng: &mut fastrand::Rng) -> Duration {
    interval + (interval / 10).min(LONGEST_JITTER).mul_f64(rng.f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(s: &str) -> ForeignText {
        ForeignText::clean(s, &[])
    }

    fn refused(cause: RefusalCause) -> Refusal {
        Refusal {
            cause,
            message: text("no"),
        }
    }

    fn fails_as(verdict: &PollVerdict, expected: ErrorClass, billed: bool) -> bool {
        matches!(verdict, PollVerdict::Fail { class, is_billed, .. } if *class == expected && *is_billed == billed)
    }

    const CONVINCED: Doubts = Doubts {
        count: 9,
        refusals: 9,
        others_succeeded: true,
        lasting: true,
    };

    #[test]
    fn only_what_is_known_not_to_exist_is_withdrawn() {
        for policy in [UnknownCreatePolicy::Retry, UnknownCreatePolicy::Fail] {
            for doubts in [Doubts::default(), CONVINCED] {
                let reset = CreateReply::Unknown {
                    why: text("reset"),
                    pause: None,
                };
                let verdict = after_create(reset, doubts, policy);
                assert!(
                    !matches!(verdict, CreateVerdict::Withdraw(_)),
                    "{verdict:?}"
                );
            }
        }
    }

    #[test]
    fn a_refusal_is_held_against_a_request_only_while_others_succeed() {
        let alone = Doubts {
            count: 9,
            refusals: 9,
            others_succeeded: false,
            lasting: true,
        };
        let reply = || CreateReply::Refused(refused(RefusalCause::Unrecognised));
        let verdict = after_create(reply(), alone, UnknownCreatePolicy::Retry);
        assert!(matches!(
            verdict,
            CreateVerdict::Withdraw(AfterWithdraw::Doubted(_))
        ));
        let verdict = after_create(reply(), CONVINCED, UnknownCreatePolicy::Retry);
        assert!(matches!(
            verdict,
            CreateVerdict::Withdraw(AfterWithdraw::Refused(_))
        ));
    }

    #[test]
    fn what_passes_is_waited_for_and_held_against_nobody() {
        let busy = || refused(RefusalCause::Passing);
        for policy in [UnknownCreatePolicy::Retry, UnknownCreatePolicy::Fail] {
            let verdict = after_create(CreateReply::Refused(busy()), CONVINCED, policy);
            assert!(
                matches!(verdict, CreateVerdict::Withdraw(AfterWithdraw::Busy(_))),
                "{verdict:?}"
            );
        }
        let verdict = after_poll(PollReply::Refused(busy()), false, 0, CONVINCED);
        assert!(matches!(verdict, PollVerdict::AgainLater(_)), "{verdict:?}");
        // A job does not outlive its time by more than a few polls for it, where others get on.
        let verdict = after_poll(PollReply::Refused(busy()), true, 0, CONVINCED);
        assert!(fails_as(&verdict, ErrorClass::Timeout, true), "{verdict:?}");
    }

    #[test]
    fn faults_before_it_do_not_make_a_refusal_believed() {
        let first = Doubts {
            refusals: 1,
            ..CONVINCED
        };
        let reply = CreateReply::Refused(refused(RefusalCause::Unrecognised));
        let verdict = after_create(reply, first, UnknownCreatePolicy::Retry);
        assert!(matches!(
            verdict,
            CreateVerdict::Withdraw(AfterWithdraw::Doubted(_))
        ));
        let reply = PollReply::Refused(refused(RefusalCause::UnknownJob));
        let verdict = after_poll(reply, false, 0, first);
        assert!(matches!(verdict, PollVerdict::AgainLater(_)), "{verdict:?}");
    }

    #[test]
    fn an_account_fault_settles_no_row() {
        for cause in [
            RefusalCause::BadToken,
            RefusalCause::NoBalance,
            RefusalCause::Blocked,
        ] {
            let verdict = after_create(
                CreateReply::Refused(refused(cause)),
                CONVINCED,
                UnknownCreatePolicy::Fail,
            );
            assert!(matches!(
                verdict,
                CreateVerdict::Withdraw(AfterWithdraw::AccountFault(_))
            ));
            let verdict = after_poll(PollReply::Refused(refused(cause)), true, 0, CONVINCED);
            assert!(matches!(verdict, PollVerdict::AccountFault(_)));
        }
    }

    #[test]
    fn a_job_is_timed_out_only_by_a_poll_after_its_deadline() {
        assert!(matches!(
            after_poll(PollReply::Pending, false, 0, CONVINCED),
            PollVerdict::Again
        ));
        let verdict = after_poll(PollReply::Pending, true, 5, CONVINCED);
        assert!(fails_as(&verdict, ErrorClass::Timeout, true), "{verdict:?}");
        let verdict = after_poll(
            PollReply::Transient(text("502")),
            true,
            0,
            Doubts::default(),
        );
        assert!(matches!(verdict, PollVerdict::AgainLater(_)));
    }

    #[test]
    fn a_failed_solve_is_tried_again_while_attempts_are_left() {
        let failed = || PollReply::Failed(text("fail"));
        assert!(matches!(
            after_poll(failed(), false, 1, CONVINCED),
            PollVerdict::NewAttempt {
                is_billed: false,
                ..
            }
        ));
        let verdict = after_poll(failed(), false, 0, CONVINCED);
        assert!(
            fails_as(&verdict, ErrorClass::SolveFailed, false),
            "{verdict:?}"
        );
    }

    #[test]
    fn a_success_without_a_token_is_asked_for_again_and_believed_late() {
        let times = |count| Doubts {
            count,
            ..Doubts::default()
        };
        for count in [1, 2] {
            let verdict = after_poll(PollReply::NoToken, false, 1, times(count));
            assert!(matches!(verdict, PollVerdict::AgainLater(_)), "{verdict:?}");
        }
        let verdict = after_poll(PollReply::NoToken, false, 1, times(3));
        assert!(
            matches!(
                verdict,
                PollVerdict::NewAttempt {
                    is_billed: true,
                    ..
                }
            ),
            "{verdict:?}"
        );
        let verdict = after_poll(PollReply::NoToken, true, 0, times(1));
        assert!(
            fails_as(&verdict, ErrorClass::SolveFailed, true),
            "{verdict:?}"
        );
    }

    #[test]
    fn a_bad_request_ends_its_row_and_a_job_for_it_only_after_three_answers() {
        let bad = || refused(RefusalCause::BadRequest);
        let verdict = after_create(
            CreateReply::Refused(bad()),
            Doubts::default(),
            UnknownCreatePolicy::Retry,
        );
        assert!(
            matches!(
                verdict,
                CreateVerdict::Withdraw(AfterWithdraw::BadRequest(_))
            ),
            "{verdict:?}"
        );
        let times = |refusals| Doubts {
            count: refusals,
            refusals,
            ..Doubts::default()
        };
        let verdict = after_poll(PollReply::Refused(bad()), false, 1, times(2));
        assert!(matches!(verdict, PollVerdict::AgainLater(_)), "{verdict:?}");
        let verdict = after_poll(PollReply::Refused(bad()), false, 1, times(3));
        assert!(fails_as(&verdict, ErrorClass::Refused, true), "{verdict:?}");
    }

    #[test]
    fn backoff_grows_to_its_bound() {
        let mut rng = fastrand::Rng::with_seed(7);
        for failures in 0..200 {
            assert!(backoff(failures, &mut rng) <= BACKOFF.1);
        }
        assert!((0..50).all(|_| backoff(1, &mut rng) <= BACKOFF.0));
        assert!((0..50).any(|_| backoff(10, &mut rng) > Duration::from_secs(15)));
    }
}
