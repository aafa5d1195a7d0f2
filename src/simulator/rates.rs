//! How often which faults are committed.

use std::str::FromStr;

use fastrand::Rng;

use super::fault::{Endpoint, InjectedFault};
use super::words::split_words;

/// How often which faults are committed at one endpoint or at all of them. The sum of the rates of
/// an endpoint is at most 1.
///
/// Textual form: `create:reset_after=0.02,503=0.01`, `poll:429 retry-after=2=0.05`, `any:html=0.01`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct FaultRates(Vec<(Endpoint, f64, InjectedFault)>);

/// Why a text gives no rates.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
#[error("`{text}`, column {column}: {why}; write for instance create:reset_after=0.02,503=0.01")]
pub struct ParseRatesError {
    text: String,
    column: usize,
    why: String,
}

impl FaultRates {
    /// Adds the rates of another flag.
    ///
    /// # Errors
    ///
    /// Names the endpoint whose rates exceed 1 in sum.
    pub fn add(&mut self, other: Self) -> Result<(), String> {
        self.0.extend(other.0);
        for endpoint in Endpoint::ALL {
            let at = self.0.iter().filter(|(e, ..)| *e == endpoint);
            let sum: f64 = at.map(|(_, rate, _)| rate).sum();
            if sum > 1.0 + 1e-9 {
                return Err(format!(
                    "the rates of {} add up to {sum}, above 1",
                    endpoint.as_str()
                ));
            }
        }
        Ok(())
    }

    /// Draws the fault of one call, if it gets one. Draws once where there are any rates, so that
    /// the sequence does not depend on the outcomes.
    pub(super) fn draw(&self, endpoint: Endpoint, rng: &mut Rng) -> Option<&InjectedFault> {
        if self.0.is_empty() {
            return None;
        }
        let mut left = rng.f64();
        for (_, rate, fault) in self.0.iter().filter(|(e, ..)| *e == endpoint) {
            if left < *rate {
                return Some(fault);
            }
            left -= rate;
        }
        None
    }
}

impl FromStr for FaultRates {
    type Err = ParseRatesError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let fault = |at: usize, why: &str| ParseRatesError {
            text: text.to_owned(),
            column: text.get(..at).unwrap_or(text).chars().count() + 1,
            why: why.to_owned(),
        };
        let (name, entries) = text
            .split_once(':')
            .ok_or_else(|| fault(0, "an endpoint and a colon are missing"))?;
        let endpoints = match Endpoint::named(name.trim()) {
            Some(endpoint) => vec![endpoint],
            None if name.trim() == "any" => Endpoint::ALL.to_vec(),
            None => {
                return Err(fault(
                    0,
                    "the endpoint is create, poll, balance, service or any",
                ));
            }
        };
        let mut rates = Self::default();
        let mut start = name.len() + 1;
        for entry in split_unquoted(entries) {
            let (spec, rate) = entry
                .rsplit_once('=')
                .ok_or_else(|| fault(start, "a rate is missing"))?;
            let words = split_words(spec).map_err(|e| fault(start + e.at, &e.why))?;
            let kind =
                InjectedFault::from_words(&words).map_err(|e| fault(start + e.at, &e.why))?;
            let rate_at = start + spec.len() + 1;
            let rate: Option<f64> = rate.trim().parse().ok().filter(|r| (0.0..=1.0).contains(r));
            let rate = rate.ok_or_else(|| fault(rate_at, "a rate lies between 0 and 1"))?;
            let unfit = endpoints.len() == 1 && !kind.fits(endpoints[0]);
            if unfit {
                return Err(fault(start, "that fault makes no sense there"));
            }
            let at = endpoints.iter().filter(|e| kind.fits(**e));
            let added = Self(at.map(|e| (*e, rate, kind.clone())).collect());
            rates.add(added).map_err(|why| fault(rate_at, &why))?;
            start += entry.len() + 1;
        }
        Ok(rates)
    }
}

/// The parts between commas that stand outside quotes.
fn split_unquoted(text: &str) -> impl Iterator<Item = &str> {
    let mut quoted = false;
    text.split(move |c| {
        quoted ^= c == '"';
        c == ',' && !quoted
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_kept_to() {
        let mut rates: FaultRates = "create:reset_after=0.02,429 retry-after=2=0.1"
            .parse()
            .unwrap();
        rates.add("poll:html=1".parse().unwrap()).unwrap();
        let mut rng = Rng::with_seed(3);
        let drawn: Vec<_> = (0..20_000)
            .filter_map(|_| rates.draw(Endpoint::Create, &mut rng))
            .map(InjectedFault::name)
            .collect();
        let count = |name: &str| drawn.iter().filter(|n| *n == name).count();
        assert!(
            (300..500).contains(&count("reset_after")),
            "{}",
            count("reset_after")
        );
        assert!((1800..2200).contains(&count("429")), "{}", count("429"));
        assert!(rates.draw(Endpoint::Poll, &mut rng).is_some());
        assert!(rates.draw(Endpoint::Balance, &mut rng).is_none());
    }

    #[test]
    fn any_leaves_out_what_makes_no_sense() {
        let rates: FaultRates = "any:no_id=1".parse().unwrap();
        let mut rng = Rng::with_seed(3);
        assert!(rates.draw(Endpoint::Create, &mut rng).is_some());
        assert!(rates.draw(Endpoint::Poll, &mut rng).is_none());
    }

    #[test]
    fn bad_rates_say_what_and_where() {
        for (text, place) in [
            ("create", "column 1: an endpoint"),
            ("fetch:html=0.1", "column 1: the endpoint"),
            ("poll:html", "column 6: a rate is missing"),
            ("poll:html=2", "column 11: a rate lies"),
            ("poll:html=0.6,cut=0.5", "column 19: the rates of poll"),
            (
                "poll:html=0.1,boom=0.1",
                "column 15: there is no fault `boom`",
            ),
            ("poll:no_id=0.1", "column 6: that fault"),
        ] {
            let message = text.parse::<FaultRates>().unwrap_err().to_string();
            assert!(message.contains(place), "{text}: {message}");
        }
    }
}
