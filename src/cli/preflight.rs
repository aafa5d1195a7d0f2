//! What the service is asked before a run begins anything: the balance, and what it charges.
//!
//! What must stay true:
//!
//! * Both questions are asked at once, once, and waited for [`PATIENCE`] at most; a pause that the service
//!   asks for is kept.
//! * No answer is needed to go on, but where `--max-spend` would have nothing to count with (78).
//! * An account that the service refuses ends the run before anything is begun (77).
//! * The service's price counts and not that of the kind's file, unless it is none (zero or less), which
//!   would be no bound on what is spent.

use std::collections::BTreeMap;
use std::time::Duration;

use tracing::{info, warn};

use super::account::in_dollars;
use super::explain::explain;
use super::{ExitCode, Failure, again, transport};
use crate::api::{Balance, Client, LookUpError, RefusalCause, RetryAfter, Service, Transport};
use crate::config::Config;
use crate::engine::StopReason;
use crate::job::{ForeignText, Kind, Micros};
use crate::telemetry::span;

/// How long the answers are waited for.
const PATIENCE: Duration = Duration::from_secs(5);
/// The pause where a throttling service names none.
const OWN_PAUSE: Duration = Duration::from_secs(2);
/// A service that asks for a longer pause is not waited for, as in the run.
const LONGEST_PAUSE: Duration = Duration::from_secs(10 * 60);

/// What a run has before it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ahead<'a> {
    /// Rows that may be begun, where that is known.
    pub(super) rows: Option<u64>,
    /// How many rows of each kind the input has; empty where that is not known.
    pub(super) kinds: &'a BTreeMap<String, u64>,
}

/// Asks, tells the user, and gives the prices that the service names, by kind.
///
/// # Errors
///
/// An account that is refused, a pause that is too long, and `--max-spend` without a price.
///
/// # Cancel safety
///
/// Safe: it changes nothing at the service.
pub(super) async fn look_up(
    config: &Config,
    ahead: Ahead<'_>,
) -> Result<BTreeMap<String, Micros>, Failure> {
    let (identity, rules) = (config.identity()?, config.refusals.clone());
    let answers = if config.settings.simulate {
        let client = Client::new(transport::simulated(config), identity);
        Answers::of(&client.with_rules(rules)).await
    } else {
        let client = Client::new(transport::http(config)?, identity);
        Answers::of(&client.with_rules(rules)).await
    };
    if let Some(stop) = answers.refused_account() {
        return Err(nothing_begun(ExitCode::NotAuthorized, &stop));
    }
    match answers.pause() {
        Some(pause) if pause > LONGEST_PAUSE => {
            let stop = StopReason::LongPause(pause);
            return Err(nothing_begun(ExitCode::Unavailable, &stop));
        }
        Some(pause) => {
            warn!(
                "the service wants a pause of {} before anything else",
                span(pause)
            );
            tokio::time::sleep(pause).await;
        }
        None => {}
    }
    let prices = answers.prices(config, ahead)?;
    answers.tell_balance(config, ahead, &prices);
    Ok(prices)
}

/// The end of a run before its beginning.
fn nothing_begun(code: ExitCode, stop: &StopReason) -> Failure {
    let again = again::command(std::env::args_os());
    Failure::new(code, explain(stop)).hint(format!("nothing was begun; to go on:\n  {again}"))
}

/// What the service said.
struct Answers {
    balance: Result<Balance, LookUpError>,
    /// `None` where the protocol has no such question.
    services: Result<Option<Vec<Service>>, LookUpError>,
}

impl Answers {
    async fn of<T: Transport>(client: &Client<T>) -> Self {
        let late = || LookUpError::NoAnswer(ForeignText::clean("no answer within 5s", &[]));
        let (balance, services) = tokio::join!(
            tokio::time::timeout(PATIENCE, client.balance()),
            tokio::time::timeout(PATIENCE, client.services()),
        );
        Self {
            balance: balance.unwrap_or_else(|_| Err(late())),
            services: services.unwrap_or_else(|_| Err(late())),
        }
    }

    /// Why the account is refused, unless either answer shows that it is not. An empty balance is no
    /// refusal: jobs under way can still be polled.
    fn refused_account(&self) -> Option<StopReason> {
        if self.balance.is_ok() || matches!(self.services, Ok(Some(_))) {
            return None;
        }
        let errors = [self.balance.as_ref().err(), self.services.as_ref().err()];
        errors.into_iter().flatten().find_map(|error| match error {
            LookUpError::Refused(refusal) => match refusal.cause {
                RefusalCause::BadToken => Some(StopReason::BadToken(refusal.message.to_string())),
                RefusalCause::Blocked => Some(StopReason::Blocked(refusal.message.to_string())),
                RefusalCause::NoBalance
                | RefusalCause::UnknownJob
                | RefusalCause::Passing
                | RefusalCause::BadRequest
                | RefusalCause::Unrecognised => None,
            },
            LookUpError::Throttled(_) | LookUpError::NoAnswer(_) | LookUpError::Unusable(_) => None,
        })
    }

    /// The longest pause that was asked for.
    fn pause(&self) -> Option<Duration> {
        let errors = [self.balance.as_ref().err(), self.services.as_ref().err()];
        let pauses = errors
            .into_iter()
            .flatten()
            .filter_map(|error| match error {
                LookUpError::Throttled(Some(RetryAfter(pause))) => Some(*pause),
                LookUpError::Throttled(None) => Some(OWN_PAUSE),
                _ => None,
            });
        pauses.max()
    }

    /// The service's prices by kind; tells where they are not those of the kinds' files.
    fn prices(
        &self,
        config: &Config,
        ahead: Ahead<'_>,
    ) -> Result<BTreeMap<String, Micros>, Failure> {
        let offered = match &self.services {
            Ok(services) => services.as_deref().unwrap_or_default(),
            Err(error) => {
                warn!(
                    "the service does not tell its prices: {error}; those of the kinds' files count"
                );
                &[]
            }
        };
        let protocol = config.settings.protocol.as_str();
        let mut prices = BTreeMap::new();
        for kind in config.kinds.iter() {
            let service = kind.protocols.get(protocol).and_then(|terms| {
                let is_it = |s: &&Service| s.id.as_str() == terms.wire_type;
                offered.iter().find(is_it)
            });
            let price = service
                .and_then(|service| service.price)
                .filter(|price| *price > Micros::ZERO);
            if let Some(price) = price {
                prices.insert(kind.name.clone(), price);
            }
            let is_needed = if ahead.kinds.is_empty() {
                config.kinds.not_spoken(kind).is_none()
            } else {
                ahead.kinds.contains_key(&kind.name)
            };
            if is_needed {
                if service.and_then(|s| s.is_active) == Some(false) {
                    warn!(
                        "{}: the service says that it is not on offer now",
                        kind.name
                    );
                }
                tell_price(kind, price, config.settings.max_spend.is_some())?;
            }
        }
        Ok(prices)
    }

    /// Tells what is left to spend, and whether it will last.
    fn tell_balance(&self, config: &Config, ahead: Ahead<'_>, prices: &BTreeMap<String, Micros>) {
        let balance = match &self.balance {
            Ok(balance) => balance,
            Err(error) => {
                warn!("the balance is not known: {error}");
                return;
            }
        };
        let mut text = format!("balance: {}", in_dollars(balance.amount));
        if let Some(voucher) = balance.voucher.filter(|amount| *amount > Micros::ZERO) {
            text += &format!(", vouchers: {}", in_dollars(voucher));
        }
        if let Some(quantity) = balance.quantity.filter(|n| *n > 0) {
            text += &format!(", quantity: {quantity}");
        }
        let Some(rows) = ahead.rows else {
            info!("{text}");
            return;
        };
        let cost = estimate(config, ahead, prices, rows);
        let left = balance.amount + balance.voucher.unwrap_or_default();
        let is_covered = left >= cost || balance.quantity.is_some_and(|n| n >= rows);
        text += &format!("; to go: {rows} rows, about {}", in_dollars(cost));
        if is_covered {
            info!("{text}");
        } else {
            warn!("{text}: it will not last");
        }
    }
}

/// Tells of a price that is not the file's, or of none.
fn tell_price(kind: &Kind, price: Option<Micros>, is_bounded: bool) -> Result<(), Failure> {
    let (name, file) = (&kind.name, &kind.file);
    match (price, kind.price) {
        (Some(price), Some(own)) if price != own => info!(
            "{name}: the service charges {}, {file} says {}; the service's price counts",
            in_dollars(price),
            in_dollars(own)
        ),
        (Some(price), None) => info!("{name}: the service charges {}", in_dollars(price)),
        (Some(_), Some(_)) | (None, Some(_)) => {}
        (None, None) if is_bounded => {
            let error = format!(
                "--max-spend: nobody says what {name} costs, neither the service nor {file}"
            );
            let hint = "give it a price in a file of --jobs DIR, such as price = \"0.001\"";
            return Err(Failure::new(ExitCode::Config, error).hint(hint));
        }
        (None, None) => {
            warn!("{name}: nobody says what it costs; `cost` and `spend` leave it out");
        }
    }
    Ok(())
}

/// What that many rows cost, if the kinds are mixed among them as in the whole input.
fn estimate(
    config: &Config,
    ahead: Ahead<'_>,
    prices: &BTreeMap<String, Micros>,
    rows: u64,
) -> Micros {
    let price = |name: &String| {
        let own = || config.kinds.get(name).map(|kind| kind.reserve());
        prices.get(name).copied().or_else(own).unwrap_or_default()
    };
    let all: i128 = ahead
        .kinds
        .iter()
        .map(|(name, n)| i128::from(price(name).0) * i128::from(*n))
        .sum();
    let count: u64 = ahead.kinds.values().sum();
    let count = i128::from(count.max(1));
    let share = (all * i128::from(rows) + count - 1) / count;
    Micros(i64::try_from(share).unwrap_or(i64::MAX))
}
