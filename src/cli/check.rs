//! `check FILE.csv`: what a run would be told, would cost, and would take. Sends nothing.

use std::fmt::Write;
use std::sync::Arc;
use std::time::Duration;

use super::refusal::bad_input;
use super::{CheckArgs, ExitCode, Failure, print};
use crate::backlog;
use crate::config::{Config, ConfigError, Environment, FoundToken, Settings, show};
use crate::job::{Kind, Micros};
use crate::telemetry::{safe, span};

/// How long a solve is taken to last; services of this kind advertise about this much.
const TYPICAL_SOLVE: Duration = Duration::from_secs(15);

/// Prints what a run would be told, cost and take; problems of the file go to stderr and decide the
/// exit code.
pub(super) fn check(args: &CheckArgs) -> Result<ExitCode, Failure> {
    let config = Config::load(&args.settings.0, Environment::of_process())?;
    let settings = &config.settings;
    // A check sends nothing and so needs no token; one that cannot be one is a fault all the same.
    let token = match config.account_token() {
        _ if settings.simulate => None,
        Err(ConfigError::NoToken) => None,
        found => Some(found?),
    };
    if !settings.is_quiet() {
        let about_token = token.iter().filter_map(|found| found.warning.as_ref());
        let about_sites = config.site_warning();
        let warnings = config.warnings.iter().chain(&about_sites);
        for warning in warnings.chain(about_token) {
            print::note(&format!("warning: {warning}\n"));
        }
    }
    let (kinds, sites) = (config.kinds.clone(), config.sites.clone());
    let report = backlog::check(
        &args.file.0,
        settings.delimiter,
        settings.job.clone(),
        kinds,
        sites,
    )?;
    let rows = report
        .kinds
        .iter()
        .filter_map(|(name, n)| Some((Arc::clone(config.kinds.get(name)?), *n)));
    let view = CheckView {
        config: &config,
        token: token.as_ref(),
        file: &report.file,
        rows: rows.collect(),
        problems: report.problem_count,
    };
    print::out(&view.render())?;
    if report.is_good() {
        return Ok(ExitCode::Success);
    }
    if settings.skip_bad_rows && report.header_problems == 0 {
        print::note(&format!("{report}\n"));
        return Ok(ExitCode::Success);
    }
    Err(bad_input(&report))
}

/// What there is to say of a file.
#[derive(Clone, Debug)]
struct CheckView<'a> {
    config: &'a Config,
    /// The account token, where there is one.
    token: Option<&'a FoundToken>,
    /// The file, as it was named.
    file: &'a str,
    /// Good rows of each kind.
    rows: Vec<(Arc<Kind>, u64)>,
    problems: u64,
}

impl CheckView<'_> {
    /// The text for stdout.
    fn render(&self) -> String {
        let settings = &self.config.settings;
        let mut text = String::from("settings\n");
        for line in show(&self.config.provenance).lines() {
            let _ = writeln!(text, "  {line}");
        }
        let token = match self.token {
            _ if settings.simulate => "not needed (--simulate)".to_owned(),
            Some(found) => format!("[secret] ({})", found.origin),
            None => "none; a run needs POLLWHEEL_API_TOKEN or api_token_file".to_owned(),
        };
        let _ = writeln!(text, "  account token: {token}\n");

        let total: u64 = self.rows.iter().map(|(_, n)| n).sum();
        let good = if total == 1 { "good row" } else { "good rows" };
        let _ = writeln!(text, "{}: {total} {good}", safe(self.file));
        let width = self
            .rows
            .iter()
            .map(|(kind, _)| kind.name.len())
            .max()
            .unwrap_or(0);
        for (kind, n) in &self.rows {
            let Kind {
                name,
                price,
                interval,
                timeout,
                attempts,
                ..
            } = &**kind;
            let (interval, timeout) = (
                humantime::format_duration(*interval),
                humantime::format_duration(*timeout),
            );
            let pace =
                format!("polled every {interval} for {timeout}, at most {attempts} attempts");
            let price = match price {
                Some(price) => format!("${price} each"),
                None => "no price in its file".to_owned(),
            };
            let _ = writeln!(text, "  {name:width$}  {n:>8}   {price}, {pace}");
        }
        if self.problems > 0 {
            let n = self.problems;
            let problems = if n == 1 { "problem" } else { "problems" };
            let then = if settings.skip_bad_rows {
                "such rows would be rejected"
            } else {
                "a run would send nothing"
            };
            let _ = writeln!(text, "  {n} {problems}; {then}");
        }
        let _ = writeln!(text, "{}", Estimate::new(&self.rows, settings));
        text
    }
}

/// What a run over these rows costs and takes.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Estimate {
    /// Every row is solved at the first attempt.
    cost: Micros,
    /// Every row takes all its attempts, and all are billed.
    worst: Micros,
    /// Rows that no price is known for.
    unpriced: u64,
    time: Duration,
    /// Rows begun per second.
    per_second: f64,
}

impl Estimate {
    fn new(rows: &[(Arc<Kind>, u64)], settings: &Settings) -> Self {
        let cost = rows.iter().map(|(kind, n)| kind.reserve().times(*n)).sum();
        let worst = rows
            .iter()
            .map(|(kind, n)| kind.reserve().times(n.saturating_mul(kind.attempts.into())))
            .sum();
        let unpriced = rows.iter().filter(|(kind, _)| kind.price.is_none());
        let unpriced: u64 = unpriced.map(|(_, n)| n).sum();
        // A row holds its slot for a solve, so that the slots bound the rate as well.
        let by_slots = settings.max_in_flight as f64 / TYPICAL_SOLVE.as_secs_f64();
        let per_second = settings.submit_rate.per_second.min(by_slots);
        let total: u64 = rows.iter().map(|(_, n)| n).sum();
        let begun = Duration::try_from_secs_f64(total as f64 / per_second).unwrap_or(Duration::MAX);
        let time = if total == 0 {
            Duration::ZERO
        } else {
            begun.saturating_add(TYPICAL_SOLVE)
        };
        Self {
            cost,
            worst,
            unpriced,
            time,
            per_second,
        }
    }
}

impl std::fmt::Display for Estimate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "cost: ${}, at most ${} if every row takes all its attempts",
            self.cost, self.worst
        )?;
        match self.unpriced {
            0 => writeln!(f)?,
            n => writeln!(f, "; and that of {n} rows that have no price")?,
        }
        let per_second = (self.per_second * 1000.0).round() / 1000.0;
        write!(
            f,
            "time: about {} at {per_second}/s, if a solve takes {}",
            span(self.time),
            span(TYPICAL_SOLVE)
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Flags;
    use crate::job::Kinds;

    fn config(flags: &[(&'static str, &str)]) -> Config {
        let mut given = Flags::default();
        for (key, text) in flags {
            given.set(key, *text, format!("--{}", key.replace('_', "-")));
        }
        given.add_site("*.example.com");
        // Not the config.toml of whatever folder the tests run in.
        let file = tempfile::NamedTempFile::new().unwrap();
        given.set_config(file.path().to_owned());
        Config::load(&given, Environment::default()).unwrap()
    }

    fn some_rows() -> Vec<(Arc<Kind>, u64)> {
        Kinds::built_in()
            .iter()
            .map(|kind| (Arc::clone(kind), 120))
            .collect()
    }

    #[test]
    fn cost_and_time() {
        let config = config(&[("submit_rate", "8/s")]);
        insta::assert_snapshot!(Estimate::new(&some_rows(), &config.settings), @r"
        cost: $0.186, at most $0.372 if every row takes all its attempts
        time: about 45s at 8/s, if a solve takes 15s
        ");
    }

    #[test]
    fn rows_without_a_price_are_told() {
        let config = config(&[]);
        let mut rows = some_rows();
        Arc::make_mut(&mut rows[0].0).price = None;
        let estimate = Estimate::new(&rows, &config.settings).to_string();
        assert!(
            estimate.starts_with("cost: $0.066, ")
                && estimate.contains("; and that of 120 rows that have no price\n"),
            "{estimate}"
        );
    }

    #[test]
    fn slots_bound_the_rate_as_well() {
        // 15 slots, each held for 15 s, are one row a second, whatever the rate.
        let config = config(&[("max_in_flight", "15")]);
        let estimate = Estimate::new(&some_rows(), &config.settings);
        assert_eq!(
            (estimate.per_second, estimate.time),
            (1.0, Duration::from_secs(255))
        );
        assert_eq!(Estimate::new(&[], &config.settings).time, Duration::ZERO);
    }

    #[test]
    fn the_whole_of_it() {
        let config = config(&[("limit", "5")]);
        let view = CheckView {
            config: &config,
            token: None,
            file: "in.csv",
            rows: some_rows(),
            problems: 1,
        };
        insta::assert_snapshot!(view.render(), @r"
        settings
          base_url                     = https://omocaptcha.com   (default)
          protocol                     = v1                       (default)
          api_token_file               = -                        (default)
          http_client                  = hyper                    (default)
          simulate                     = false                    (default)
          jobs                         = -                        (default)
          job                          = -                        (default)
          max_in_flight                = 200                      (default)
          submit_rate                  = 10/s                     (default)
          poll_rate                    = -                        (default)
          poll_interval                = -                        (default)
          max_connections              = 32                       (default)
          timeout                      = -                        (default)
          attempts                     = -                        (default)
          on_unknown_create            = retry                    (default)
          limit                        = 5                        (--limit)
          max_runtime                  = -                        (default)
          max_failures                 = -                        (default)
          max_spend                    = -                        (default)
          drain_timeout                = 30s                      (default)
          lock_wait                    = 0s                       (default)
          journal                      = -                        (default)
          skip_bad_rows                = false                    (default)
          ordered                      = false                    (default)
          fresh                        = false                    (default)
          abandon_paid                 = false                    (default)
          retry_failed                 = false                    (default)
          delimiter                    = -                        (default)
          summary                      = -                        (default)
          redis_url                    = -                        (default)
          redis_username               = -                        (default)
          redis_password_file          = -                        (default)
          redis_sentinel_username      = -                        (default)
          redis_sentinel_password_file = -                        (default)
          redis_ca_file                = -                        (default)
          redis_cert_file              = -                        (default)
          redis_key_file               = -                        (default)
          redis_prefix                 = pollwheel:               (default)
          redis_lease                  = 30s                      (default)
          redis_patience               = 5m                       (default)
          repeat_window                = 10m                      (default)
          reply_prefix                 = reply:                   (default)
          result_key_prefix            = -                        (default)
          result_ttl                   = 120s                     (default)
          max_fleet_in_flight          = -                        (default)
          allow_unsafe_redis           = false                    (default)
          log_format                   = text                     (default)
          log_level                    = info                     (default)
          authorized_site              = *.example.com            (--authorized-site)
          account token: none; a run needs POLLWHEEL_API_TOKEN or api_token_file

        in.csv: 240 good rows
          hcaptcha           120   $0.001 each, polled every 2s for 3m, at most 2 attempts
          recaptcha-v2       120   $0.00055 each, polled every 2s for 3m, at most 2 attempts
          1 problem; a run would send nothing
        cost: $0.186, at most $0.372 if every row takes all its attempts
        time: about 39s at 10/s, if a solve takes 15s
        ");
    }
}
