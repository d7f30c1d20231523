//! Rates as people write them: `5mbit`, `800kbit`, `2.5Mbit/s`.
//!
//! Rule: a rate names its unit. A bare number is refused, because it may be bits or bytes.

use shoal_wire::BitRate;

/// A rate that a person wrote.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate(pub BitRate);

/// A text that is no rate.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a rate is a number with its unit, such as 800kbit, 5mbit or 1gbit (bits per second)")]
pub struct InvalidRate;

/// Units with their bits; longer names first, as the short ones end them.
const UNITS: [(&str, u64); 4] =
    [("kbit", 1_000), ("mbit", 1_000_000), ("gbit", 1_000_000_000), ("bit", 1)];

impl std::str::FromStr for Rate {
    type Err = InvalidRate;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let text = text.trim().to_ascii_lowercase();
        let text = text.strip_suffix("/s").unwrap_or(&text);
        let (number, unit) = UNITS
            .iter()
            .find_map(|(name, bits)| Some((text.strip_suffix(name)?.trim_end(), *bits)))
            .ok_or(InvalidRate)?;
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        let digits = |part: &str| part.bytes().all(|b| b.is_ascii_digit());
        if whole.is_empty() || !digits(whole) || !digits(fraction) || fraction.len() > 9 {
            return Err(InvalidRate);
        }
        let mut bits = whole.parse::<u64>().map_err(|_| InvalidRate)?.checked_mul(unit);
        if !fraction.is_empty() {
            let part = fraction.parse::<u64>().map_err(|_| InvalidRate)?;
            let scale = 10_u64.pow(u32::try_from(fraction.len()).map_err(|_| InvalidRate)?);
            let part = part.checked_mul(unit).ok_or(InvalidRate)? / scale;
            bits = bits.and_then(|bits| bits.checked_add(part));
        }
        bits.map(|bits| Self(BitRate::from_bps(bits))).ok_or(InvalidRate)
    }
}

/// A rate for a status line: `2.1 Mbit/s`, `800 kbit/s`.
pub(crate) fn readable(rate: BitRate) -> String {
    let bits = rate.as_bps();
    if bits >= 1_000_000 {
        format!("{}.{} Mbit/s", bits / 1_000_000, bits % 1_000_000 / 100_000)
    } else {
        format!("{} kbit/s", bits / 1_000)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_read() {
        for (text, bits) in [
            ("5mbit", 5_000_000),
            ("800kbit", 800_000),
            (" 2.5Mbit/s ", 2_500_000),
            ("1 gbit", 1_000_000_000),
            ("0bit", 0),
            ("64bit", 64),
        ] {
            assert_eq!(text.parse(), Ok(Rate(BitRate::from_bps(bits))), "{text}");
        }
    }

    #[test]
    fn what_may_be_misread_is_refused() {
        for text in ["", "5", "mbit", "5mbyte", "-1mbit", "5,5mbit", "1e3kbit", "1.2.3mbit", "5 m"]
        {
            assert_eq!(text.parse::<Rate>(), Err(InvalidRate), "{text}");
        }
        assert_eq!("99999999999999999gbit".parse::<Rate>(), Err(InvalidRate));
    }

    #[test]
    fn rates_are_written() {
        assert_eq!(readable(BitRate::from_bps(2_150_000)), "2.1 Mbit/s");
        assert_eq!(readable(BitRate::from_bps(999_999)), "999 kbit/s");
    }
}
