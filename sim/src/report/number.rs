//! How numbers are written: for programs without loss, for people with four digits.
//!
//! Rule: what was not measured is never written as a number.

use serde::{Serialize, Serializer};

/// Whole numbers up to here are exact in a float.
const WHOLE_MAX: f64 = 9_007_199_254_740_992.0;

/// A number as JSON has it: whole ones without a point, others with as many digits as read back
/// to the same value, `null` where it is not finite.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Exact(pub f64);

impl Serialize for Exact {
    #[expect(clippy::cast_possible_truncation, reason = "whole and within bounds")]
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if !self.0.is_finite() {
            serializer.serialize_none()
        } else if is_whole(self.0) {
            serializer.serialize_i64(self.0 as i64)
        } else {
            serializer.serialize_f64(self.0)
        }
    }
}

fn is_whole(value: f64) -> bool {
    value.fract() == 0.0 && value.abs() <= WHOLE_MAX
}

/// A number for people: whole ones in full, others with about four digits.
pub fn human(value: f64) -> String {
    if !value.is_finite() {
        return "–".into();
    }
    let value = if value == 0.0 { 0.0 } else { value };
    let size = value.abs();
    if is_whole(value) {
        return format!("{value:.0}");
    }
    let decimals = match size {
        _ if size >= 1000.0 => 0,
        _ if size >= 100.0 => 1,
        _ if size >= 10.0 => 2,
        // What rounds to one has as many digits as one.
        _ if size >= 0.999_95 => 3,
        _ if size >= 0.001 => 4,
        _ => return format!("{value:.2e}"),
    };
    format!("{value:.decimals$}")
}

/// The name of a figure for people: its unit set apart.
pub fn spoken(name: &str) -> (String, &'static str) {
    const UNITS: &[(&str, &str)] = &[
        ("_seconds", "s"),
        ("_ms", "ms"),
        ("_s", "s"),
        ("_mbps", "Mbit/s"),
        ("_mbit_s", "Mbit/s"),
        ("_mib", "MiB"),
        ("_bytes", "bytes"),
    ];
    let unit = UNITS.iter().find_map(|(end, unit)| Some((name.strip_suffix(end)?, *unit)));
    let (words, unit) = unit.unwrap_or((name, ""));
    (words.replace('_', " "), unit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exact_numbers_keep_every_digit() {
        let text = |value| serde_json::to_string(&Exact(value)).expect("a number");
        assert_eq!(text(3.0), "3");
        assert_eq!(text(-0.0), "0");
        assert_eq!(text(0.1 + 0.2), "0.30000000000000004");
        assert_eq!(text(f64::NAN), "null");
        assert_eq!(text(f64::INFINITY), "null");
        assert_eq!(text(1e300), "1e+300");
    }

    #[test]
    fn people_get_four_digits() {
        let cases = [
            (12.0, "12"),
            (-0.0, "0"),
            (0.987_654, "0.9877"),
            (0.999_999, "1.000"),
            (1.234_567, "1.235"),
            (12.345_6, "12.35"),
            (123.456, "123.5"),
            (123_456.7, "123457"),
            (0.000_012_3, "1.23e-5"),
            (f64::NAN, "–"),
        ];
        for (value, said) in cases {
            assert_eq!(human(value), said);
        }
    }

    #[test]
    fn units_are_set_apart() {
        assert_eq!(spoken("delay_p99_s"), ("delay p99".into(), "s"));
        assert_eq!(spoken("peak_rss_mib"), ("peak rss".into(), "MiB"));
        assert_eq!(spoken("stalls"), ("stalls".into(), ""));
    }
}
