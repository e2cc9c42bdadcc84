//! Numbers of certificates.

use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A finite number, written exactly in hexadecimal digits and in decimal ones.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Number(pub(super) f64);

impl Serialize for Number {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if !self.0.is_finite() {
            return Err(serde::ser::Error::custom("a number that is not finite"));
        }
        (hexadecimal(self.0), self.0).serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Number {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let (text, decimal) = <(String, f64)>::deserialize(deserializer)?;
        let number = of_hexadecimal(&text).ok_or_else(|| D::Error::custom("a number that is not in hexadecimal form"))?;
        if number.to_bits() != decimal.to_bits() {
            return Err(D::Error::custom(format_args!("{text} and {decimal} are different numbers")));
        }
        Ok(Self(number))
    }
}

/// As in C99: `0x1.8p+1`.
fn hexadecimal(x: f64) -> String {
    let bits = x.to_bits();
    let (exponent, fraction) = ((bits >> 52 & 0x7ff) as i32, bits & ((1 << 52) - 1));
    let digits = format!("{fraction:013x}");
    let digits = digits.trim_end_matches('0');
    let (lead, power) = match (exponent, fraction) {
        (0, 0) => (0, 0),
        (0, _) => (0, -1022),
        _ => (1, exponent - 1023),
    };
    let (sign, point) = (if x.is_sign_negative() { "-" } else { "" }, if digits.is_empty() { "" } else { "." });
    format!("{sign}0x{lead}{point}{digits}p{power:+}")
}

/// The number of its one hexadecimal form.
fn of_hexadecimal(text: &str) -> Option<f64> {
    let (sign, rest) = text.strip_prefix('-').map_or((0, text), |rest| (1u64 << 63, rest));
    let (mantissa, power) = rest.strip_prefix("0x")?.split_once('p')?;
    let (lead, digits) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let power: i32 = power.parse().ok()?;
    if digits.len() > 13 {
        return None;
    }
    let fraction = u64::from_str_radix(&format!("{digits:0<13}"), 16).ok()?;
    let exponent = match lead {
        "0" => 0,
        "1" => u64::try_from(power.checked_add(1023)?).ok()?,
        _ => return None,
    };
    let number = f64::from_bits(sign | exponent << 52 | fraction);
    // Only what would be written is read.
    (exponent < 0x7ff && hexadecimal(number) == text).then_some(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hexadecimal_forms() {
        let forms = [
            (3.0, "0x1.8p+1"),
            (-0.0, "-0x0p+0"),
            (1.0, "0x1p+0"),
            (f64::MIN_POSITIVE, "0x1p-1022"),
            (5e-324, "0x0.0000000000001p-1022"),
            (f64::MAX, "0x1.fffffffffffffp+1023"),
            (0.1, "0x1.999999999999ap-4"),
        ];
        for (number, form) in forms {
            assert_eq!(hexadecimal(number), form);
            assert_eq!(of_hexadecimal(form).map(f64::to_bits), Some(number.to_bits()));
        }
        for form in
            ["0x1p+1024", "0x1.p+0", "1p+0", "0x1p0", "0x1.8P+1", "+0x1p+0", "0x1p+99999999999", "0x1.00000000000001p+0", "0x1.+1p+0", ""]
        {
            assert_eq!(of_hexadecimal(form), None, "{form}");
        }
    }

    mod properties {
        use proptest::prelude::*;

        use super::*;

        proptest! {
        #[test]
            fn every_number_has_one_form(bits in any::<u64>()) {
                let x = f64::from_bits(bits);
                prop_assume!(x.is_finite());
                prop_assert_eq!(of_hexadecimal(&hexadecimal(x)).map(f64::to_bits), Some(bits));
            }
        }
    }
}
