//! Faults that the simulator can commit, and how often.
//!
//! Textual form of a fault: its name, then parameters.
//!
//! | fault | does | on |
//! | --- | --- | --- |
//! | `refuse_connection` | no byte is taken (over sockets: as `reset_before`) | all |
//! | `reset_before`, `reset_after` | resets the connection before or after acting | all |
//! | `429 [retry-after=2\|90s\|1y\|date+5s] [body=…]` | slow down; does not act | all |
//! | `500` … any status of 300 to 599 `[body=html\|json\|empty] [retry-after=…]`, `503_after` | an error; with `_after` it acted | all |
//! | `html`, `html_after`, `empty`, `empty_after` | status 200 with a page, or nothing | all |
//! | `cut` | acts, and cuts the answer in the middle | all |
//! | `slow [over=10s]` | acts, and dribbles the answer out | all |
//! | `delay [for=5s]` | acts, and answers late | all |
//! | `hang [for=10m]`, `hang_after` | never answers; ends by a reset after so long | all |
//! | `wrong_type` | acts, with `Content-Type: text/html` on the right body | all |
//! | `huge` | acts, with an answer of 2 MiB | all |
//! | `no_id` | makes a job and does not tell its id | create |
//! | `no_balance` | refuses for want of balance | create |
//! | `unknown_status` | a status that no document names | poll |
//! | `empty_result` | success without a token | poll |
//! | `unknown_job` | refuses as if there were no such job | poll |
//! | `bad_token`, `blocked` | refuses the account | all |
//! | `refuse "text"` | refuses in these words; by v2 a first word `ERROR_…` is the code | all |
//!
//! To act is to make the job (create); a poll has nothing to act on.

use std::fmt;
use std::time::Duration;

use super::distribution::parse_duration;
use super::words::{TextFault, Word};

/// What a request asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Endpoint {
    /// Makes a job.
    Create,
    /// Asks for a job's result.
    Poll,
    /// Asks for the balance.
    Balance,
    /// Asks for the services.
    Service,
}

impl Endpoint {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Create, Self::Poll, Self::Balance, Self::Service];

    /// Its name in scripts and in the ledger.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Create => "create",
            Self::Poll => "poll",
            Self::Balance => "balance",
            Self::Service => "service",
        }
    }

    /// The endpoint of that name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|e| e.as_str() == name)
    }
}

/// A fault, committed in place of the right behaviour.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum InjectedFault {
    /// The connection is refused: nothing was sent.
    RefuseConnection,
    /// The connection is reset.
    Reset {
        /// After acting.
        acts: bool,
    },
    /// An HTTP error.
    Status {
        /// 300 to 599.
        status: u16,
        /// After acting; never with 429.
        acts: bool,
        /// Its body.
        page: Page,
        /// Its `Retry-After` header.
        retry_after: Option<RetryHint>,
    },
    /// 200 with an HTML page.
    Html {
        /// After acting.
        acts: bool,
    },
    /// 200 with nothing.
    Empty {
        /// After acting.
        acts: bool,
    },
    /// The right answer, cut in the middle.
    Cut,
    /// The right answer, dribbled out over so long.
    Slow(Duration),
    /// The right answer, so much later.
    Delay(Duration),
    /// No answer; the connection is reset after `hold`.
    Hang {
        /// After acting.
        acts: bool,
        /// For so long.
        hold: Duration,
    },
    /// The right answer, called HTML.
    WrongType,
    /// The right answer, blown up to 2 MiB.
    Huge,
    /// Create: a job is made and its id is not told.
    NoId,
    /// Poll: a status that no document names.
    UnknownStatus,
    /// Poll: success without a token.
    EmptyResult,
    /// Poll: there is no such job.
    UnknownJob,
    /// The account token is refused.
    BadToken,
    /// The account is blocked.
    Blocked,
    /// Create: the balance does not suffice.
    NoBalance,
    /// A refusal in these words.
    Refuse(String),
}

/// The body of an HTTP error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Page {
    /// A proxy's page.
    Html,
    /// The service's own words.
    Json,
    /// Nothing.
    Empty,
}

/// When a throttled client shall come back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RetryHint {
    /// In whole seconds.
    Seconds(u64),
    /// As an HTTP date, so long from now.
    Date(Duration),
}

/// Parameters of a fault, each of which may be taken once.
struct Parameters<'a>(Vec<(&'a Word, &'a str, &'a str)>);

impl<'a> Parameters<'a> {
    fn of(words: &'a [Word]) -> Result<Self, TextFault> {
        let pair = |word: &'a Word| match word.text.split_once('=') {
            Some((key, value)) => Ok((word, key, value)),
            None => Err(word.fault("a parameter is written name=value")),
        };
        words.iter().map(pair).collect::<Result<_, _>>().map(Self)
    }

    fn take<T>(
        &mut self,
        name: &str,
        parse: impl FnOnce(&str) -> Result<T, String>,
    ) -> Result<Option<T>, TextFault> {
        let Some(at) = self.0.iter().position(|(_, key, _)| *key == name) else {
            return Ok(None);
        };
        let (word, _, value) = self.0.remove(at);
        parse(value).map(Some).map_err(|why| word.fault(&why))
    }

    fn end(self) -> Result<(), TextFault> {
        match self.0.first() {
            Some((word, key, _)) => Err(word.fault(&format!("the fault has no parameter `{key}`"))),
            None => Ok(()),
        }
    }
}

impl InjectedFault {
    /// Reads a fault from the words of its textual form.
    pub(super) fn from_words(words: &[Word]) -> Result<Self, TextFault> {
        let Some((head, rest)) = words.split_first() else {
            return Err(TextFault::new(0, "a fault is missing"));
        };
        let name = head.text.as_str();
        if name == "refuse" {
            return match rest {
                [text] => Ok(Self::Refuse(text.text.clone())),
                _ => Err(head.fault("refuse takes one text, in quotes")),
            };
        }
        let mut parameters = Parameters::of(rest)?;
        let (stem, acts) = match name.strip_suffix("_after") {
            Some(stem) => (stem, true),
            None => (name, false),
        };
        let fault = match (stem, acts) {
            ("refuse_connection", false) => Self::RefuseConnection,
            ("reset_before", false) => Self::Reset { acts: false },
            ("reset", true) => Self::Reset { acts: true },
            ("html", _) => Self::Html { acts },
            ("empty", _) => Self::Empty { acts },
            ("cut", false) => Self::Cut,
            ("slow", false) => {
                let over = parameters.take("over", parse_duration)?;
                Self::Slow(over.unwrap_or(Duration::from_secs(10)))
            }
            ("delay", false) => {
                let by = parameters.take("for", parse_duration)?;
                Self::Delay(by.unwrap_or(Duration::from_secs(5)))
            }
            ("hang", _) => {
                let hold = parameters.take("for", parse_duration)?;
                let hold = hold.unwrap_or(Duration::from_secs(600));
                Self::Hang { acts, hold }
            }
            ("wrong_type", false) => Self::WrongType,
            ("huge", false) => Self::Huge,
            ("no_id", false) => Self::NoId,
            ("unknown_status", false) => Self::UnknownStatus,
            ("empty_result", false) => Self::EmptyResult,
            ("unknown_job", false) => Self::UnknownJob,
            ("bad_token", false) => Self::BadToken,
            ("blocked", false) => Self::Blocked,
            ("no_balance", false) => Self::NoBalance,
            _ => {
                let status = stem.parse().ok().filter(|s| (300..600).contains(s));
                let Some(status) = status else {
                    return Err(head.fault(&format!("there is no fault `{name}`")));
                };
                if status == 429 && acts {
                    return Err(head.fault("a 429 does not act"));
                }
                let json_by_default = status == 429;
                let page = parameters.take("body", parse_page)?;
                Self::Status {
                    status,
                    acts,
                    page: page.unwrap_or(if json_by_default {
                        Page::Json
                    } else {
                        Page::Html
                    }),
                    retry_after: parameters.take("retry-after", parse_hint)?,
                }
            }
        };
        parameters.end()?;
        Ok(fault)
    }

    /// Its name, under which the ledger counts it.
    #[must_use]
    pub fn name(&self) -> String {
        let (stem, acts) = match self {
            Self::RefuseConnection => ("refuse_connection", false),
            Self::Reset { acts: false } => ("reset_before", false),
            Self::Reset { acts: true } => ("reset", true),
            Self::Status { status, acts, .. } => {
                return format!("{status}{}", if *acts { "_after" } else { "" });
            }
            Self::Html { acts } => ("html", *acts),
            Self::Empty { acts } => ("empty", *acts),
            Self::Cut => ("cut", false),
            Self::Slow(_) => ("slow", false),
            Self::Delay(_) => ("delay", false),
            Self::Hang { acts, .. } => ("hang", *acts),
            Self::WrongType => ("wrong_type", false),
            Self::Huge => ("huge", false),
            Self::NoId => ("no_id", false),
            Self::UnknownStatus => ("unknown_status", false),
            Self::EmptyResult => ("empty_result", false),
            Self::UnknownJob => ("unknown_job", false),
            Self::BadToken => ("bad_token", false),
            Self::Blocked => ("blocked", false),
            Self::NoBalance => ("no_balance", false),
            Self::Refuse(_) => ("refuse", false),
        };
        format!("{stem}{}", if acts { "_after" } else { "" })
    }

    /// Whether a create makes a job all the same.
    #[must_use]
    pub fn acts(&self) -> bool {
        match self {
            Self::Reset { acts }
            | Self::Status { acts, .. }
            | Self::Html { acts }
            | Self::Empty { acts }
            | Self::Hang { acts, .. } => *acts,
            Self::Cut
            | Self::Slow(_)
            | Self::Delay(_)
            | Self::WrongType
            | Self::Huge
            | Self::NoId => true,
            Self::RefuseConnection
            | Self::UnknownStatus
            | Self::EmptyResult
            | Self::UnknownJob
            | Self::BadToken
            | Self::Blocked
            | Self::NoBalance
            | Self::Refuse(_) => false,
        }
    }

    /// Whether it makes sense at that endpoint.
    #[must_use]
    pub fn fits(&self, endpoint: Endpoint) -> bool {
        match self {
            Self::NoId | Self::NoBalance => endpoint == Endpoint::Create,
            Self::UnknownStatus | Self::EmptyResult | Self::UnknownJob => {
                endpoint == Endpoint::Poll
            }
            _ => true,
        }
    }
}

fn parse_page(text: &str) -> Result<Page, String> {
    match text {
        "html" => Ok(Page::Html),
        "json" => Ok(Page::Json),
        "empty" => Ok(Page::Empty),
        _ => Err("body is html, json or empty".to_owned()),
    }
}

fn parse_hint(text: &str) -> Result<RetryHint, String> {
    if let Some(ahead) = text.strip_prefix("date+") {
        return parse_duration(ahead).map(RetryHint::Date);
    }
    match text.parse() {
        Ok(seconds) => Ok(RetryHint::Seconds(seconds)),
        Err(_) => parse_duration(text).map(|d| RetryHint::Seconds(d.as_secs())),
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::super::words::split_words;
    use super::*;

    fn fault(text: &str) -> Result<InjectedFault, TextFault> {
        InjectedFault::from_words(&split_words(text).unwrap())
    }

    #[test]
    fn every_fault_can_be_written_and_goes_by_its_name() {
        for text in [
            "refuse_connection",
            "reset_before",
            "reset_after",
            "429",
            "503",
            "503_after",
            "520",
            "html",
            "html_after",
            "empty",
            "empty_after",
            "cut",
            "slow",
            "delay",
            "hang",
            "hang_after",
            "wrong_type",
            "huge",
            "no_id",
            "unknown_status",
            "empty_result",
            "unknown_job",
            "bad_token",
            "blocked",
            "no_balance",
        ] {
            let parsed = fault(text).unwrap();
            assert_eq!(parsed.name(), text);
            assert!(!text.ends_with("_after") || parsed.acts(), "{text}");
        }
    }

    #[test]
    fn parameters() {
        let status = |status, page, retry_after| InjectedFault::Status {
            status,
            acts: false,
            page,
            retry_after,
        };
        for (text, expected) in [
            (
                "429 retry-after=2",
                status(429, Page::Json, Some(RetryHint::Seconds(2))),
            ),
            (
                "429 retry-after=90s",
                status(429, Page::Json, Some(RetryHint::Seconds(90))),
            ),
            (
                "429 retry-after=1y",
                status(429, Page::Json, Some(RetryHint::Seconds(31_557_600))),
            ),
            (
                "429 body=empty retry-after=date+5s",
                status(
                    429,
                    Page::Empty,
                    Some(RetryHint::Date(Duration::from_secs(5))),
                ),
            ),
            ("502 body=json", status(502, Page::Json, None)),
            ("slow over=3s", InjectedFault::Slow(Duration::from_secs(3))),
            (
                "refuse \"a, b = c\"",
                InjectedFault::Refuse("a, b = c".to_owned()),
            ),
        ] {
            assert_eq!(fault(text).unwrap(), expected, "{text}");
        }
    }

    #[test]
    fn bad_faults_say_what_and_where() {
        for (text, at, why) in [
            ("", 0, "missing"),
            ("explode", 0, "explode"),
            ("429_after", 0, "does not act"),
            ("200", 0, "no fault"),
            ("503 body=xml", 4, "html, json or empty"),
            ("503 over=3s", 4, "over"),
            ("slow 3s", 5, "name=value"),
            ("refuse", 0, "one text"),
            ("reset", 0, "no fault"),
        ] {
            let error = fault(text).unwrap_err();
            assert_eq!(error.at, at, "{text}");
            assert!(error.why.contains(why), "{text}: {}", error.why);
        }
    }
}
