//! What can be asked about the account: its balance, and what the service offers.

use crate::job::{ForeignText, Micros};

use super::loose::Loose;
use super::{Refusal, RetryAfter};

/// What is left to spend. Amounts finer than a micro-dollar are cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Balance {
    /// The balance; below zero where the service lets it be.
    pub amount: Micros,
    /// What is left of vouchers (v2).
    pub voucher: Option<Micros>,
    /// Tasks left of a package (v2).
    pub quantity: Option<u64>,
}

/// A kind of job that the service offers, in its own words. What it does not say is empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Service {
    /// The `type_job_id` of v1.
    pub id: ForeignText,
    /// Its name.
    pub name: ForeignText,
    /// What a solved job costs, raised to a whole micro-dollar.
    pub price: Option<Micros>,
    /// The share of jobs that are solved, such as `98%`.
    pub avg_success: ForeignText,
    /// How long a solve takes, such as `15s`.
    pub avg_time: ForeignText,
    /// Whether it is on offer now.
    pub is_active: Option<bool>,
}

/// Why a question about the account has no answer. None of them says anything about a job.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LookUpError {
    /// The service refuses to say.
    #[error("the service refuses: {}", .0.message)]
    Refused(Refusal),
    /// 429, or a 503 that says when to come back.
    #[error("the service wants to be asked later")]
    Throttled(Option<RetryAfter>),
    /// There was no answer.
    #[error("{0}")]
    NoAnswer(ForeignText),
    /// The answer was none to this question.
    #[error("no usable answer: {0}")]
    Unusable(ForeignText),
}

/// The price in a string or a number, from its digits.
pub(super) fn price(value: &Loose<'_>) -> Option<Micros> {
    Micros::raised(value.as_written()?).ok()
}

/// The amount in a string or a number, from its digits.
pub(super) fn amount(value: &Loose<'_>) -> Option<Micros> {
    Micros::cut(value.as_written()?).ok()
}
