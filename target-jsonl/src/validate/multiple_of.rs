//! The keyword `multipleOf`, exactly: 19.99 is a multiple of 0.01, which arithmetic with doubles denies.

use jsonschema::paths::Location;
use jsonschema::{Keyword, ValidationError};
use serde_json::{Map, Number, Value};

/// The keyword's check of one value.
struct MultipleOf {
    of: Decimal,
    /// The number as the schema writes it.
    text: String,
}

/// Makes the check for the jsonschema crate.
#[allow(clippy::unnecessary_wraps)] // The crate asks for a result.
pub(super) fn factory<'a>(
    _: &'a Map<String, Value>,
    of: &'a Value,
    _: Location,
) -> Result<Box<dyn for<'i> Keyword<'i>>, ValidationError<'a>> {
    let number = of.as_number().and_then(Decimal::from_number).filter(|of| of.digits > 0);
    match number {
        Some(number) => Ok(Box::new(MultipleOf { of: number, text: of.to_string() })),
        None => Err(ValidationError::custom("multipleOf must be a number greater than 0")),
    }
}

impl<'i> Keyword<'i> for MultipleOf {
    fn validate(&self, instance: &'i Value) -> Result<(), ValidationError<'i>> {
        if Keyword::is_valid(self, instance) {
            return Ok(());
        }
        Err(ValidationError::custom(format!("the value is not a multiple of {}", self.text)))
    }

    fn is_valid(&self, instance: &'i Value) -> bool {
        let Value::Number(number) = instance else { return true };
        Decimal::from_number(number).is_none_or(|number| number.is_multiple_of(&self.of))
    }
}

/// A number without its sign: `digits` × 10^`exponent`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Decimal {
    digits: u64,
    exponent: i32,
}

impl Decimal {
    /// Reads the shortest text of a number, which has at most 20 digits.
    fn from_number(number: &Number) -> Option<Self> {
        let text = number.to_string();
        let text = text.trim_start_matches('-');
        let (number, exponent) = text.split_once(['e', 'E']).unwrap_or((text, "0"));
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        let fraction = fraction.trim_end_matches('0');
        let digits = format!("{whole}{fraction}").parse().ok()?;
        let places = i32::try_from(fraction.len()).ok()?;
        Some(Decimal { digits, exponent: exponent.parse::<i32>().ok()?.checked_sub(places)? })
    }

    fn is_multiple_of(&self, of: &Decimal) -> bool {
        if self.digits == 0 {
            return true;
        }
        let shift = self.exponent.saturating_sub(of.exponent);
        let tens = shift.unsigned_abs();
        if shift >= 0 {
            // digits × 10^tens modulo the other's digits, without a large number.
            let modulus = u128::from(of.digits);
            let mut rest = u128::from(self.digits) % modulus;
            for _ in 0..tens {
                rest = rest * 10 % modulus;
            }
            rest == 0
        } else {
            // The other is larger by that many tens. It has to divide a number of at most 20 digits.
            let of = 10_u128.checked_pow(tens).and_then(|scale| scale.checked_mul(of.digits.into()));
            of.is_some_and(|of| u128::from(self.digits) % of == 0)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decimals_are_compared_exactly() {
        let cases = [
            ("19.99", "0.01", true),
            ("0.3", "0.1", true),
            ("4.02", "0.01", true),
            ("19.995", "0.01", false),
            ("-1.1", "0.1", true),
            ("0", "0.01", true),
            ("10", "2.5", true),
            ("11", "2.5", false),
            ("1e300", "1e-300", true),
            ("1e-300", "1e300", false),
            ("9007199254740993", "1", true),
            ("18446744073709551615", "5", true),
            ("18446744073709551615", "2", false),
            ("7", "1e1", false),
            ("70", "1e1", true),
        ];
        let decimal = |text: &str| {
            let number = serde_json::from_str(text).expect("a number");
            Decimal::from_number(&number).expect("digits")
        };
        for (value, of, expected) in cases {
            assert_eq!(decimal(value).is_multiple_of(&decimal(of)), expected, "{value} of {of}");
        }
    }
}
