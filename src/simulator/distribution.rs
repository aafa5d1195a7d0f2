//! Times drawn from a distribution: how long a solve takes, how long an answer takes.
//!
//! Textual forms, for flags: `2s` (always), `1s..3s` (uniform), `lognormal:8s,0.5` (median, sigma).

use std::f64::consts::TAU;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use fastrand::Rng;

/// Longest time that is drawn. A lognormal tail has no end, but timers have.
const LONGEST: Duration = Duration::from_secs(30 * 24 * 3600);

/// Longest time that can be written.
const LONGEST_WRITTEN: Duration = Duration::from_secs(100 * 366 * 24 * 3600);

/// A distribution of durations.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Distribution {
    /// Always the same.
    Fixed(Duration),
    /// Every duration between the two, ends included, is as likely.
    Uniform(Duration, Duration),
    /// The logarithm is normally distributed: most solves are quick and some take very long.
    LogNormal {
        /// Half of the draws are below it.
        median: Duration,
        /// Standard deviation of the logarithm, 0 to 5.
        sigma: f64,
    },
}

/// Why a text is no distribution.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
#[error("`{text}` is no distribution of times: {why}; write 2s, 1s..3s or lognormal:8s,0.5")]
pub struct ParseDistributionError {
    text: String,
    why: String,
}

impl Distribution {
    /// No time at all.
    pub const ZERO: Self = Self::Fixed(Duration::ZERO);

    /// Draws a duration, at most 30 days.
    #[must_use]
    pub fn draw(&self, rng: &mut Rng) -> Duration {
        let drawn = match *self {
            Self::Fixed(always) => always,
            Self::Uniform(low, high) => low + high.saturating_sub(low).mul_f64(rng.f64()),
            Self::LogNormal { median, sigma } => {
                // Box and Muller's transform; 1 - u keeps the logarithm's argument above zero.
                let normal = (-2.0 * (1.0 - rng.f64()).ln()).sqrt() * (TAU * rng.f64()).cos();
                let factor = (sigma * normal).exp();
                Duration::try_from_secs_f64(median.as_secs_f64() * factor).unwrap_or(LONGEST)
            }
        };
        drawn.min(LONGEST)
    }
}

impl FromStr for Distribution {
    type Err = ParseDistributionError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let fault = |why: String| ParseDistributionError {
            text: text.to_owned(),
            why,
        };
        let duration = |part: &str| parse_duration(part).map_err(fault);
        if let Some(parameters) = text.trim().strip_prefix("lognormal:") {
            let (median, sigma) = parameters
                .split_once(',')
                .ok_or_else(|| fault("lognormal takes a median and a sigma".to_owned()))?;
            let median = duration(median)?;
            let sigma = sigma.trim().parse::<f64>().ok();
            let sigma = sigma.filter(|s| (0.0..=5.0).contains(s));
            let sigma = sigma.ok_or_else(|| fault("sigma lies between 0 and 5".to_owned()))?;
            return Ok(Self::LogNormal { median, sigma });
        }
        if let Some((low, high)) = text.split_once("..") {
            let (low, high) = (duration(low)?, duration(high)?);
            if low > high {
                return Err(fault("the first time is the longer one".to_owned()));
            }
            return Ok(Self::Uniform(low, high));
        }
        duration(text).map(Self::Fixed)
    }
}

impl fmt::Display for Distribution {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let time = |d: Duration| humantime::format_duration(d).to_string().replace(' ', "");
        match *self {
            Self::Fixed(always) => f.write_str(&time(always)),
            Self::Uniform(low, high) => write!(f, "{}..{}", time(low), time(high)),
            Self::LogNormal { median, sigma } => write!(f, "lognormal:{},{sigma}", time(median)),
        }
    }
}

/// A duration with a unit, such as `1m30s`, of 100 years at most: clocks and dates have an end.
pub(super) fn parse_duration(text: &str) -> Result<Duration, String> {
    let text = text.trim();
    if text.is_empty() {
        return Err("a time is missing".to_owned());
    }
    let parsed = humantime::parse_duration(text).map_err(|e| format!("`{text}`: {e}"))?;
    if parsed > LONGEST_WRITTEN {
        return Err(format!("`{text}` is longer than 100 years"));
    }
    Ok(parsed)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(text: &str) -> (f64, f64) {
        let distribution: Distribution = text.parse().unwrap();
        let mut rng = Rng::with_seed(7);
        let mut draws: Vec<f64> = (0..20_000)
            .map(|_| distribution.draw(&mut rng).as_secs_f64())
            .collect();
        draws.sort_by(f64::total_cmp);
        (
            draws.iter().sum::<f64>() / draws.len() as f64,
            draws[draws.len() / 2],
        )
    }

    #[test]
    fn means_and_medians() {
        assert_eq!(seconds("2s"), (2.0, 2.0));
        let (mean, median) = seconds("1s..3s");
        assert!((mean - 2.0).abs() < 0.02, "{mean}");
        assert!((median - 2.0).abs() < 0.04, "{median}");
        // The mean of a lognormal distribution is median × exp(sigma² / 2).
        let (mean, median) = seconds("lognormal:8s,0.5");
        assert!((mean - 8.0 * 0.125_f64.exp()).abs() < 0.15, "{mean}");
        assert!((median - 8.0).abs() < 0.15, "{median}");
    }

    #[test]
    fn draws_stay_in_their_bounds() {
        let mut rng = Rng::with_seed(1);
        let uniform: Distribution = "0s..50ms".parse().unwrap();
        for _ in 0..10_000 {
            assert!(uniform.draw(&mut rng) <= Duration::from_millis(50));
        }
        let wild: Distribution = "lognormal:1000d,5".parse().unwrap();
        for _ in 0..10_000 {
            assert!(wild.draw(&mut rng) <= LONGEST);
        }
    }

    #[test]
    fn texts_survive_the_trip() {
        for text in [
            "0s",
            "2s",
            "1s..3s",
            "0s..50ms",
            "1m30s..2m",
            "lognormal:8s,0.5",
        ] {
            assert_eq!(text.parse::<Distribution>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn what_is_no_distribution_says_why() {
        for (text, why) in [
            ("", "missing"),
            ("fast", "fast"),
            ("2", "2"),
            ("3s..1s", "longer"),
            ("1s..", "missing"),
            ("lognormal:8s", "sigma"),
            ("lognormal:8s,-1", "between 0 and 5"),
            ("lognormal:8s,NaN", "between 0 and 5"),
            ("lognormal:x,1", "x"),
            ("0s..101y", "100 years"),
        ] {
            let message = text.parse::<Distribution>().unwrap_err().to_string();
            assert!(message.contains(why), "{text}: {message}");
            assert!(
                message.contains("lognormal:8s,0.5"),
                "no example: {message}"
            );
        }
    }
}
