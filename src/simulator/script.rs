//! Scripts: which call meets which fault, one rule a line.
//!
//! ```text
//! # ENDPOINT SELECTOR…: FAULT
//! create #3: reset_after
//! poll every 7: 429 retry-after=2
//! create from 10s to 40s: 503
//! create url~=/row-17 #1: 503_after
//! poll job 5 #1..#3: unknown_status
//! create each #1: hang for=20s
//! any from 1m: ok
//! ```
//!
//! The endpoint is `create`, `poll`, `balance`, `service` or `any`. All selectors of a rule must hold:
//!
//! | selector | holds for |
//! | --- | --- |
//! | `from 10s`, `to 40s` | calls that arrive so long after the start (`from` counts in, `to` out) |
//! | `job 5` | the fifth job made, counted from 1 |
//! | `url~=TEXT`, `key=TEXT` | requests, and polls of their jobs, whose URL contains it, whose key is it |
//! | `#3`, `#1..#3`, `#4..` | the third, the first three, the fourth and all later calls that the rest of the rule holds for |
//! | `every 7` | the 7th, 14th, … of them |
//! | `each` | makes the two above count by job (polls) or by URL and key (creates) |
//!
//! A word with spaces stands in quotes. The first rule that holds decides, before any rates; `ok`
//! is the right behaviour. Faults are listed in the module `fault`. A line that begins with `#` is
//! a comment.

use std::str::FromStr;
use std::time::Duration;

use super::distribution::parse_duration;
use super::fault::{Endpoint, InjectedFault};
use super::words::{TextFault, Word, split_words};

/// The rules, in order, and how often each was looked at.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Script(Vec<Rule>);

/// Why a text is no script.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
#[error("script, line {line}, column {column}: {why}")]
pub struct ParseScriptError {
    /// Counted from 1.
    pub line: usize,
    /// In characters, counted from 1.
    pub column: usize,
    /// What is wrong there.
    pub why: String,
}

/// What a script is told of a call.
#[derive(Clone, Copy, Debug)]
pub(super) struct Call<'a> {
    pub(super) endpoint: Endpoint,
    pub(super) since_start: Duration,
    /// The job polled: its place in the order of creation, from 1.
    pub(super) job: Option<u64>,
    pub(super) url: &'a str,
    pub(super) key: &'a str,
    /// The place of this call among those of its job or request, from 1.
    pub(super) nth_of_its_own: u64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Rule {
    /// `None` for any.
    endpoint: Option<Endpoint>,
    from: Option<Duration>,
    to: Option<Duration>,
    job: Option<u64>,
    url: Option<String>,
    key: Option<String>,
    count: Option<Count>,
    each: bool,
    /// `None` for the right behaviour.
    fault: Option<InjectedFault>,
    /// Calls so far that everything but `count` held for.
    seen: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Count {
    /// Both ends included.
    Between(u64, u64),
    Every(u64),
}

/// What a script says about a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Verdict<'a> {
    /// Nothing: the rates decide.
    Silent,
    /// The right behaviour, whatever the rates.
    Right,
    /// This fault.
    Fault(&'a InjectedFault),
}

impl Script {
    /// Whether there are no rules.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Decides one call, and counts it.
    pub(super) fn decide(&mut self, call: &Call<'_>) -> Verdict<'_> {
        let mut decided = None;
        for (n, rule) in self.0.iter_mut().enumerate() {
            // Every rule counts, also those behind the one that decides.
            if rule.holds(call) && decided.is_none() {
                decided = Some(n);
            }
        }
        match decided.and_then(|n| self.0.get(n)) {
            None => Verdict::Silent,
            Some(rule) => rule.fault.as_ref().map_or(Verdict::Right, Verdict::Fault),
        }
    }
}

impl Rule {
    fn holds(&mut self, call: &Call<'_>) -> bool {
        let candidate = match self.endpoint {
            Some(endpoint) => endpoint == call.endpoint,
            None => self.fault.as_ref().is_none_or(|f| f.fits(call.endpoint)),
        };
        let chosen = candidate
            && self.from.is_none_or(|from| call.since_start >= from)
            && self.to.is_none_or(|to| call.since_start < to)
            && self.job.is_none_or(|job| call.job == Some(job))
            && self.url.as_ref().is_none_or(|part| call.url.contains(part))
            && self.key.as_ref().is_none_or(|key| call.key == key);
        if !chosen {
            return false;
        }
        self.seen += 1;
        let n = if self.each {
            call.nth_of_its_own
        } else {
            self.seen
        };
        match self.count {
            None => true,
            Some(Count::Between(first, last)) => (first..=last).contains(&n),
            Some(Count::Every(every)) => n.is_multiple_of(every),
        }
    }

    fn parse(line: &str) -> Result<Self, TextFault> {
        let colon = colon_of(line)
            .ok_or_else(|| TextFault::new(line.len(), "a colon and a fault are missing"))?;
        let head = split_words(&line[..colon])?;
        let shift = |fault: TextFault| TextFault::new(fault.at + colon + 1, &fault.why);
        let fault_words = split_words(&line[colon + 1..]).map_err(shift)?;
        let fault = match fault_words.as_slice() {
            [only] if only.text == "ok" => None,
            words => Some(InjectedFault::from_words(words).map_err(shift)?),
        };
        let Some((endpoint, selectors)) = head.split_first() else {
            return Err(TextFault::new(0, "an endpoint is missing"));
        };
        let mut rule = Self {
            endpoint: Endpoint::named(&endpoint.text),
            from: None,
            to: None,
            job: None,
            url: None,
            key: None,
            count: None,
            each: false,
            fault,
            seen: 0,
        };
        if rule.endpoint.is_none() && endpoint.text != "any" {
            return Err(endpoint.fault("the endpoint is create, poll, balance, service or any"));
        }
        rule.select(selectors)?;
        let fits = |e: Endpoint| rule.fault.as_ref().is_none_or(|f| f.fits(e));
        if !rule.endpoint.is_none_or(fits) {
            let at = fault_words.first().map_or(0, |w| w.at) + colon + 1;
            return Err(TextFault::new(
                at,
                "that fault makes no sense at that endpoint",
            ));
        }
        Ok(rule)
    }

    fn select(&mut self, words: &[Word]) -> Result<(), TextFault> {
        let mut words = words.iter();
        while let Some(word) = words.next() {
            let mut next = || {
                let missing = || word.fault(&format!("`{}` wants a value after it", word.text));
                words.next().ok_or_else(missing)
            };
            let twice = match word.text.as_str() {
                "from" => put(&mut self.from, duration(next()?)?),
                "to" => put(&mut self.to, duration(next()?)?),
                "job" => put(&mut self.job, number(next()?)?),
                "every" => put(&mut self.count, Count::Every(number(next()?)?)),
                "each" => std::mem::replace(&mut self.each, true),
                text => {
                    if let Some(part) = text.strip_prefix("url~=") {
                        put(&mut self.url, part.to_owned())
                    } else if let Some(key) = text.strip_prefix("key=") {
                        put(&mut self.key, key.to_owned())
                    } else if let Some(numbers) = text.strip_prefix('#') {
                        put(&mut self.count, between(numbers, word)?)
                    } else {
                        return Err(word.fault(&format!("there is no selector `{text}`")));
                    }
                }
            };
            if twice {
                return Err(word.fault("that is selected by already"));
            }
        }
        if self.each && self.count.is_none() {
            return Err(TextFault::new(
                0,
                "`each` wants a number, such as #1, or `every`",
            ));
        }
        if self.each && !matches!(self.endpoint, Some(Endpoint::Create | Endpoint::Poll)) {
            return Err(TextFault::new(0, "`each` goes with create and poll alone"));
        }
        Ok(())
    }
}

/// Fills a slot; whether it was full.
fn put<T>(slot: &mut Option<T>, value: T) -> bool {
    slot.replace(value).is_some()
}

fn duration(word: &Word) -> Result<Duration, TextFault> {
    parse_duration(&word.text).map_err(|why| word.fault(&why))
}

fn number(word: &Word) -> Result<u64, TextFault> {
    let number = word.text.parse().ok().filter(|n| *n > 0);
    number.ok_or_else(|| word.fault("a whole number from 1 on is wanted"))
}

/// `3`, `1..#3`, `1..3` or `4..`, the `#` before it gone.
fn between(text: &str, word: &Word) -> Result<Count, TextFault> {
    let wrong = || word.fault("numbers are written #3, #1..#3 or #4..");
    let number = |text: &str| text.parse().ok().filter(|n: &u64| *n > 0).ok_or_else(wrong);
    let (first, last) = match text.split_once("..") {
        None => (number(text)?, number(text)?),
        Some((first, "")) => (number(first)?, u64::MAX),
        Some((first, last)) => {
            let last = last.strip_prefix('#').unwrap_or(last);
            (number(first)?, number(last)?)
        }
    };
    if first > last {
        return Err(word.fault("the first number is the larger one"));
    }
    Ok(Count::Between(first, last))
}

/// The colon between rule and fault: outside quotes, with white space or nothing after it, so that
/// those of URLs are none.
fn colon_of(line: &str) -> Option<usize> {
    let mut quoted = false;
    line.char_indices().find_map(|(at, c)| {
        quoted ^= c == '"';
        let ends = line[at..].chars().nth(1).is_none_or(char::is_whitespace);
        (c == ':' && !quoted && ends).then_some(at)
    })
}

impl FromStr for Script {
    type Err = ParseScriptError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut rules = Vec::new();
        for (n, line) in text.lines().enumerate() {
            if line.trim().is_empty() || line.trim_start().starts_with('#') {
                continue;
            }
            let place = |fault: TextFault| ParseScriptError {
                line: n + 1,
                column: line.get(..fault.at).unwrap_or(line).chars().count() + 1,
                why: fault.why,
            };
            rules.push(Rule::parse(line).map_err(place)?);
        }
        Ok(Self(rules))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(endpoint: Endpoint) -> Call<'static> {
        Call {
            endpoint,
            since_start: Duration::ZERO,
            job: None,
            url: "",
            key: "",
            nth_of_its_own: 1,
        }
    }

    fn outcome(script: &mut Script, call: &Call<'_>) -> String {
        match script.decide(call) {
            Verdict::Silent => "-".to_owned(),
            Verdict::Right => "ok".to_owned(),
            Verdict::Fault(fault) => fault.name(),
        }
    }

    fn outcomes(script: &str, calls: &[Call<'_>]) -> String {
        let mut script: Script = script.parse().unwrap();
        let said: Vec<_> = calls.iter().map(|c| outcome(&mut script, c)).collect();
        said.join(" ")
    }

    #[test]
    fn the_example_of_the_head_parses() {
        let text = "# comment\ncreate #3: reset_after\npoll every 7: 429 retry-after=2\n\
            create from 10s to 40s: 503\ncreate url~=/row-17 #1: 503_after\n\
            poll job 5 #1..#3: unknown_status\ncreate each #1: hang for=20s\nany from 1m: ok\n";
        assert_eq!(text.parse::<Script>().unwrap().0.len(), 7);
    }

    #[test]
    fn numbers_count_the_calls_that_the_rest_holds_for() {
        let create = call(Endpoint::Create);
        let poll = call(Endpoint::Poll);
        let calls = [create, poll, create, poll, create, create];
        assert_eq!(
            outcomes("create #3: reset_after", &calls),
            "- - - - reset_after -"
        );
        assert_eq!(outcomes("create every 2: 500", &calls), "- - 500 - - 500");
        assert_eq!(outcomes("any #2..#3: html", &calls), "- html html - - -");
        assert_eq!(outcomes("create #2..: cut", &calls), "- - cut - cut cut");
    }

    #[test]
    fn the_first_rule_decides_and_all_of_them_count() {
        let calls = [call(Endpoint::Create); 4];
        let script = "create #1..#2: ok\ncreate #2..#3: 503\ncreate: empty";
        assert_eq!(outcomes(script, &calls), "ok ok 503 empty");
    }

    #[test]
    fn jobs_urls_keys_and_windows() {
        let at = |url, key, seconds| Call {
            url,
            key,
            since_start: Duration::from_secs(seconds),
            ..call(Endpoint::Create)
        };
        let calls = [
            at("https://a.example.com/row-17", "k1", 9),
            at("https://a.example.com/row-18", "k1", 10),
            at("https://a.example.com/row-17", "k2", 39),
            at("https://a.example.com/row-19", "k2", 40),
        ];
        assert_eq!(
            outcomes("create url~=https://a.example.com/row-17 #2: 503", &calls),
            "- - 503 -"
        );
        assert_eq!(outcomes("create key=k2: 503", &calls), "- - 503 503");
        assert_eq!(
            outcomes("create from 10s to 40s: 503", &calls),
            "- 503 503 -"
        );
        let poll = |job| Call {
            job: Some(job),
            ..call(Endpoint::Poll)
        };
        let calls = [poll(5), poll(4), poll(5), poll(5)];
        assert_eq!(outcomes("poll job 5 #1..#2: cut", &calls), "cut - cut -");
    }

    #[test]
    fn each_counts_by_job() {
        let nth = |n| Call {
            nth_of_its_own: n,
            ..call(Endpoint::Poll)
        };
        assert_eq!(
            outcomes("poll each #1: 500", &[nth(1), nth(2), nth(1)]),
            "500 - 500"
        );
    }

    #[test]
    fn errors_point_at_the_word() {
        for (text, line, column, why) in [
            ("create", 1, 7, "colon"),
            ("\n# c\ncrate #1: 503", 3, 1, "endpoint"),
            ("create #0: 503", 1, 8, "#3"),
            ("create #3..#1: 503", 1, 8, "larger"),
            ("create sometimes: 503", 1, 8, "sometimes"),
            ("create from: 503", 1, 8, "value"),
            ("create from soon: 503", 1, 13, "soon"),
            ("create job x: 503", 1, 12, "whole number"),
            ("create #1 every 2: 503", 1, 11, "already"),
            ("create #1:", 1, 11, "a fault is missing"),
            ("create #1: boom", 1, 12, "boom"),
            ("poll #1: no_id", 1, 10, "makes no sense"),
            ("create url~=\"ä: 503", 1, 20, "colon"),
            ("create key=ä #x: 503", 1, 14, "#3"),
            ("any each #1: 503", 1, 1, "create and poll"),
            ("poll each: 503", 1, 1, "#1"),
        ] {
            let error = text.parse::<Script>().unwrap_err();
            assert_eq!(
                (error.line, error.column),
                (line, column),
                "{text}: {error}"
            );
            assert!(error.why.contains(why), "{text}: {error}");
        }
    }

    proptest::proptest! {
        #[test]
        fn any_text_parses_or_is_pointed_into(text in "((create|poll|any) ?(#|from |each |job |url~=)?[0-9a-z.#\"ä:]{0,6} ?: ?[a-z0-9_\"=ß ]{0,12}\n?){0,3}") {
            if let Err(error) = text.parse::<Script>() {
                let line = text.lines().nth(error.line - 1).unwrap();
                proptest::prop_assert!(error.column <= line.chars().count() + 1);
            }
        }
    }
}
