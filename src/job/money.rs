//! Amounts of US dollars. Never a float.

use std::fmt;
use std::iter::Sum;
use std::ops::{Add, AddAssign, Sub};
use std::str::FromStr;

use rust_decimal::Decimal;
use rust_decimal::prelude::ToPrimitive;

/// An amount in millionths of a US dollar.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Micros(pub i64);

/// Why a text is no amount.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum ParseMoneyError {
    /// Not a decimal number.
    #[error("not an amount in US dollars, such as 1.50")]
    NotDecimal,
    /// More than six decimals.
    #[error("an amount has at most six decimals")]
    TooFine,
    /// Below zero, or too large to count in millionths.
    #[error("an amount lies between 0 and 9 trillion dollars")]
    OutOfRange,
}

impl Micros {
    /// Nothing.
    pub const ZERO: Self = Self(0);

    /// `self × n`, stopping at the largest amount.
    #[must_use]
    pub fn times(self, n: u64) -> Self {
        Self(self.0.saturating_mul(i64::try_from(n).unwrap_or(i64::MAX)))
    }
}

impl FromStr for Micros {
    type Err = ParseMoneyError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let dollars =
            Decimal::from_str_exact(text.trim()).map_err(|_| ParseMoneyError::NotDecimal)?;
        let micros = dollars
            .checked_mul(Decimal::from(1_000_000))
            .ok_or(ParseMoneyError::OutOfRange)?;
        if !micros.fract().is_zero() {
            return Err(ParseMoneyError::TooFine);
        }
        match micros.to_i64() {
            Some(n) if n >= 0 => Ok(Self(n)),
            _ => Err(ParseMoneyError::OutOfRange),
        }
    }
}

/// Dollars with as many decimals as needed, such as `0.00055`.
impl fmt::Display for Micros {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Decimal::new(self.0, 6).normalize().fmt(f)
    }
}

impl Add for Micros {
    type Output = Self;
    fn add(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }
}

impl Sub for Micros {
    type Output = Self;
    fn sub(self, other: Self) -> Self {
        Self(self.0.saturating_sub(other.0))
    }
}

impl AddAssign for Micros {
    fn add_assign(&mut self, other: Self) {
        *self = *self + other;
    }
}

impl Sum for Micros {
    fn sum<I: Iterator<Item = Self>>(amounts: I) -> Self {
        amounts.fold(Self::ZERO, Add::add)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dollars_survive_the_trip() {
        for text in ["0.00055", "0.001", "1.5", "0", "345.678", "12"] {
            assert_eq!(text.parse::<Micros>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn what_is_no_amount() {
        assert_eq!("x".parse::<Micros>(), Err(ParseMoneyError::NotDecimal));
        assert_eq!("0.0000001".parse::<Micros>(), Err(ParseMoneyError::TooFine));
        assert_eq!("-1".parse::<Micros>(), Err(ParseMoneyError::OutOfRange));
        assert_eq!(
            "99999999999999".parse::<Micros>(),
            Err(ParseMoneyError::OutOfRange)
        );
    }
}
