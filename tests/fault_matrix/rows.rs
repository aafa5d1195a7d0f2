//! The rows of the tables: a fault, and how a create and a poll that meet it must end.

/// What goes wrong.
#[derive(Clone, Copy)]
pub(crate) enum Way {
    /// The simulator commits this fault, once, for the first row.
    Once(&'static str),
    /// The simulator commits this fault at every call for the first row.
    Always(&'static str),
    /// The service is not at this URL, where PORT is the simulator's; the message has one of these.
    Elsewhere(&'static str, &'static [&'static str]),
    /// The wall clock jumps by so many days while the call is under way.
    ClockJumps(i64),
}

/// How it must end.
#[derive(Clone, Copy)]
pub(crate) enum End {
    /// Solved, and no doubt about anything.
    Solved,
    /// Solved by a second create after one of unknown fate; so many jobs were made.
    Doubted(u64),
    /// The run ends with this code and the row stays as it was; the next run solves it.
    Stops(i32),
    /// The row fails like this; so many jobs were made.
    Fails(&'static str, u64),
    /// The row fails as of unknown creates, and every job of it is one that is counted as such.
    FailsInDoubt,
    /// The run ends with this code and the row stays as it was, with so many unknown creates; the next
    /// run would fare no better.
    Left(i32, u64),
}

/// A fault, and what it does at a create and at a poll; `None` where it cannot occur.
pub(crate) struct Row {
    pub(crate) fault: &'static str,
    pub(crate) create: Option<(Way, End)>,
    pub(crate) poll: Option<(Way, End)>,
}

/// A fault of the simulator that a call meets once.
const fn once(
    fault: &'static str,
    script: &'static str,
    create: Option<End>,
    poll: Option<End>,
) -> Row {
    both(fault, Way::Once(script), create, poll)
}

/// A fault of the simulator that every call for a row meets.
const fn always(
    fault: &'static str,
    script: &'static str,
    create: Option<End>,
    poll: Option<End>,
) -> Row {
    both(fault, Way::Always(script), create, poll)
}

const fn both(fault: &'static str, way: Way, create: Option<End>, poll: Option<End>) -> Row {
    Row {
        fault,
        create: at(way, create),
        poll: at(way, poll),
    }
}

const fn at(way: Way, end: Option<End>) -> Option<(Way, End)> {
    match end {
        Some(end) => Some((way, end)),
        None => None,
    }
}

use End::{Doubted, Fails, FailsInDoubt, Left, Solved, Stops};
use Way::{ClockJumps, Elsewhere};

const REFUSED: Way = Elsewhere("http://127.0.0.1:9", &["connection to 127.0.0.1:9 refused"]);
const TLS: Way = Elsewhere("https://127.0.0.1:PORT", &["TLS with 127.0.0.1:"]);
/// Where no resolver answers at all, the time for connecting runs out.
const DNS: Way = Elsewhere(
    "https://solver.invalid",
    &[
        "cannot resolve solver.invalid",
        "no connection to solver.invalid",
    ],
);
/// In v1 the words decide, in v2 the code.
const MAINTENANCE: &str = "refuse \"ERROR_TASK_IS_MAINTENANCE under maintenance\"";
const BAD: &str = "refuse \"ERROR_RECAPTCHA_INVALID_SITEKEY website_key is invalid\"";
const ODD: &str = "refuse \"ERROR_X computer says no\"";

/// Each fault occurs once.
#[rustfmt::skip]
pub(crate) const ONCE: &[Row] = &[
    once("429, `Retry-After` in seconds", "429 retry-after=1", Some(Solved), Some(Solved)),
    once("429, `Retry-After` as a date", "429 retry-after=date+2s", Some(Solved), Some(Solved)),
    once("429 without `Retry-After`", "429", Some(Solved), Some(Solved)),
    once("429, `Retry-After` a year off", "429 retry-after=date+1y", Some(Stops(69)), Some(Stops(69))),
    once("500 with a page", "500", Some(Doubted(1)), Some(Solved)),
    once("502 with a page", "502", Some(Doubted(1)), Some(Solved)),
    once("503 with a page", "503", Some(Doubted(1)), Some(Solved)),
    once("503 with `Retry-After`", "503 retry-after=1", Some(Doubted(1)), Some(Solved)),
    once("503 after it acted", "503_after", Some(Doubted(2)), Some(Solved)),
    once("520 with a page", "520", Some(Doubted(1)), Some(Solved)),
    once("200 with a page", "html", Some(Doubted(1)), Some(Solved)),
    once("200 with nothing", "empty", Some(Doubted(1)), Some(Solved)),
    once("answer cut short", "cut", Some(Doubted(2)), Some(Solved)),
    once("right answer, called `text/html`", "wrong_type", Some(Solved), Some(Solved)),
    once("answer of 2 MiB", "huge", Some(Doubted(2)), Some(Solved)),
    once("reset before it acted", "reset_before", Some(Doubted(1)), Some(Solved)),
    once("reset after it acted", "reset_after", Some(Doubted(2)), Some(Solved)),
    once("no answer at all", "hang", Some(Doubted(1)), Some(Solved)),
    once("no answer after it acted", "hang_after", Some(Doubted(2)), Some(Solved)),
    once("body over 3 s", "slow over=3s", Some(Solved), Some(Solved)),
    once("body over 40 s", "slow over=40s", Some(Doubted(2)), Some(Solved)),
    both("connection refused", REFUSED, Some(Stops(69)), Some(Stops(69))),
    both("TLS fails", TLS, Some(Stops(69)), Some(Stops(69))),
    both("name cannot be resolved", DNS, Some(Stops(69)), Some(Stops(69))),
    once("unknown status", "unknown_status", None, Some(Solved)),
    once("id missing", "no_id", Some(Doubted(2)), None),
    once("success, result empty", "empty_result", None, Some(Solved)),
    once("job unknown", "unknown_job", None, Some(Solved)),
    once("account token refused in the middle of a run", "bad_token", Some(Stops(77)), Some(Stops(77))),
    once("account blocked in the middle of a run", "blocked", Some(Stops(77)), Some(Stops(77))),
    once("balance used up", "no_balance", Some(Stops(3)), None),
    once("maintenance", MAINTENANCE, Some(Solved), Some(Solved)),
    once("request called bad", BAD, Some(Fails("refused", 0)), Some(Solved)),
    once("refusal that nothing explains", ODD, Some(Solved), Some(Solved)),
    both("wall clock jumps ahead by 400 days", ClockJumps(400), Some(Solved), Some(Solved)),
    both("wall clock jumps back by 400 days", ClockJumps(-400), Some(Solved), Some(Solved)),
];

/// Each fault occurs at every call for one row, while the others fare well.
#[rustfmt::skip]
pub(crate) const ALWAYS: &[Row] = &[
    always("429, `Retry-After` in seconds", "429 retry-after=1", Some(Left(3, 0)), Some(Left(3, 0))),
    always("429, `Retry-After` as a date", "429 retry-after=date+2s", Some(Left(3, 0)), Some(Left(3, 0))),
    always("429 without `Retry-After`", "429", Some(Left(3, 0)), Some(Left(3, 0))),
    always("429, `Retry-After` a year off", "429 retry-after=date+1y", Some(Left(69, 0)), Some(Left(69, 0))),
    always("500 with a page", "500", Some(FailsInDoubt), Some(Fails("timeout", 1))),
    always("502 with a page", "502", Some(FailsInDoubt), Some(Fails("timeout", 1))),
    always("503 with a page", "503", Some(FailsInDoubt), Some(Fails("timeout", 1))),
    always("503 with `Retry-After`", "503 retry-after=1", Some(FailsInDoubt), Some(Left(3, 0))),
    always("503 after it acted", "503_after", Some(FailsInDoubt), Some(Fails("timeout", 1))),
    always("520 with a page", "520", Some(FailsInDoubt), Some(Fails("timeout", 1))),
    always("200 with a page", "html", Some(FailsInDoubt), Some(Fails("timeout", 1))),
    always("200 with nothing", "empty", Some(FailsInDoubt), Some(Fails("timeout", 1))),
    always("answer cut short", "cut", Some(FailsInDoubt), Some(Fails("timeout", 1))),
    always("right answer, called `text/html`", "wrong_type", Some(Solved), Some(Solved)),
    always("answer of 2 MiB", "huge", Some(FailsInDoubt), Some(Fails("timeout", 1))),
    always("reset before it acted", "reset_before", Some(FailsInDoubt), Some(Fails("timeout", 1))),
    always("reset after it acted", "reset_after", Some(FailsInDoubt), Some(Fails("timeout", 1))),
    always("no answer at all", "hang", Some(Left(3, 1)), Some(Left(3, 0))),
    always("body over 3 s", "slow over=3s", Some(Solved), Some(Solved)),
    always("unknown status", "unknown_status", None, Some(Fails("timeout", 1))),
    always("id missing", "no_id", Some(FailsInDoubt), None),
    always("success, result empty", "empty_result", None, Some(Fails("solve_failed", 2))),
    always("job unknown", "unknown_job", None, Some(Fails("refused", 1))),
    always("account token refused", "bad_token", Some(Left(77, 0)), Some(Left(77, 0))),
    always("balance used up", "no_balance", Some(Left(3, 0)), None),
    always("maintenance", MAINTENANCE, Some(Left(3, 0)), Some(Fails("timeout", 1))),
    always("request called bad", BAD, Some(Fails("refused", 0)), Some(Fails("refused", 1))),
    always("refusal that nothing explains", ODD, Some(Fails("refused", 0)), Some(Fails("refused", 1))),
];
