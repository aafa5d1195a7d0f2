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

    /// Reads an amount as a service writes it: a decimal number, perhaps with an exponent, perhaps
    /// below zero. What is finer than a micro-dollar is cut.
    ///
    /// # Errors
    ///
    /// What is no decimal number, or too large to count in millionths.
    pub fn cut(text: &str) -> Result<Self, ParseMoneyError> {
        let text = text.trim();
        let dollars = if text.contains(['e', 'E']) {
            Decimal::from_scientific(text)
        } else {
            // More digits than a `Decimal` holds would be rounded.
            let end = text.find('.').map_or(text.len(), |point| point + 7);
            if text.bytes().skip(end).any(|b| !b.is_ascii_digit()) {
                return Err(ParseMoneyError::NotDecimal);
            }
            Decimal::from_str_exact(text.get(..end).unwrap_or(text))
        };
        dollars
            .map_err(|_| ParseMoneyError::NotDecimal)?
            .checked_mul(Decimal::from(1_000_000))
            .and_then(|micros| micros.trunc().to_i64())
            .map(Self)
            .ok_or(ParseMoneyError::OutOfRange)
    }

    /// Reads a price as a service writes it. What is finer than a micro-dollar is a whole one, so that no
    /// sum of prices is below what is billed.
    ///
    /// # Errors
    ///
    /// As [`cut`](Self::cut).
    pub fn raised(text: &str) -> Result<Self, ParseMoneyError> {
        let cut = Self::cut(text)?;
        let text = text.trim();
        let is_exact = if text.contains(['e', 'E']) {
            let exact = Decimal::from_scientific(text).map_err(|_| ParseMoneyError::NotDecimal)?;
            exact == Decimal::new(cut.0, 6)
        } else {
            let end = text.find('.').map_or(text.len(), |point| point + 7);
            text.bytes().skip(end).all(|b| b == b'0')
        };
        let is_below = !is_exact && !text.starts_with('-');
        Ok(Self(cut.0.saturating_add(i64::from(is_below))))
    }

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
    fn what_a_service_writes_is_cut_and_never_rounded() {
        for (text, micros) in [
            ("0.00000", 0),
            ("345.678", 345_678_000),
            ("1.9999999", 1_999_999),
            ("1.99999999999999999999999999999999999999999", 1_999_999),
            ("-0.50", -500_000),
            ("-0.0000009", 0),
            ("1.0e-5", 10),
            ("5E-7", 0),
            ("1e3", 1_000_000_000),
            (" 12 ", 12_000_000),
        ] {
            assert_eq!(Micros::cut(text), Ok(Micros(micros)), "{text}");
        }
        for text in [
            "",
            "x",
            "1.5x",
            "1.0000000x",
            "1,5",
            "1.2.3",
            "$5",
            "1.000000é",
            "e5",
        ] {
            assert_eq!(
                Micros::cut(text),
                Err(ParseMoneyError::NotDecimal),
                "{text}"
            );
        }
        let huge = "99999999999999999999";
        assert_eq!(Micros::cut(huge), Err(ParseMoneyError::OutOfRange));
    }

    #[test]
    fn a_price_is_raised_and_never_cut() {
        for (text, micros) in [
            ("0.00055", 550),
            ("0.0005501", 551),
            ("0.00055000", 550),
            ("0.0000001", 1),
            ("5.5e-7", 1),
            ("1e-6", 1),
            ("12", 12_000_000),
            ("-0.0000001", 0),
        ] {
            assert_eq!(Micros::raised(text), Ok(Micros(micros)), "{text}");
        }
        assert_eq!(Micros::raised("x"), Err(ParseMoneyError::NotDecimal));
    }

    proptest::proptest! {
        #[test]
        fn digits_beyond_the_sixth_change_nothing(micros in 0..i64::MAX / 10, tail in "[0-9]{0,40}") {
            let text = format!("{}.{:06}{tail}", micros / 1_000_000, micros % 1_000_000);
            proptest::prop_assert_eq!(Micros::cut(&text), Ok(Micros(micros)));
        }

        #[test]
        fn no_text_makes_a_panic(text in "[-+0-9.eE_ é]{0,50}|\\PC{0,20}") {
            let _ = Micros::cut(&text);
            let _ = Micros::raised(&text);
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
