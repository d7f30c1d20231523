//! Wall-clock time in seconds, which never steps back during a run.
//!
//! Rule: every instant in the demo's figures is one of these.

use std::sync::OnceLock;
use std::time::{Instant, SystemTime};

/// Seconds since the Unix epoch.
pub(crate) fn unix_s() -> f64 {
    static START: OnceLock<(f64, Instant)> = OnceLock::new();
    let (unix_s, instant) = START.get_or_init(|| {
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        (since.expect("the clock is past 1970").as_secs_f64(), Instant::now())
    });
    unix_s + instant.elapsed().as_secs_f64()
}

/// Reads `2026-11-21T06:45:38.725+0000` (also `Z` and `+00:00`) as seconds since the Unix epoch.
pub(crate) fn parse_date_time(text: &str) -> Option<f64> {
    let (date, time) = text.trim().split_once('T')?;
    let mut date = date.splitn(3, '-').map(|field| field.parse::<i64>().ok());
    let (year, month, day) = (date.next()??, date.next()??, date.next()??);
    let zone_at = time.find(['Z', '+', '-'])?;
    let (time, zone) = time.split_at(zone_at);
    let mut time = time.splitn(3, ':').map(|field| field.parse::<f64>().ok());
    let (hours, minutes, seconds) = (time.next()??, time.next()??, time.next()??);
    let days = days_since_1970(year, month, day) as f64;
    Some(days * 86_400.0 + hours * 3600.0 + minutes * 60.0 + seconds - zone_seconds(zone)?)
}

fn zone_seconds(zone: &str) -> Option<f64> {
    let digits: String = zone.chars().filter(char::is_ascii_digit).collect();
    if zone == "Z" {
        return Some(0.0);
    }
    let number: f64 = digits.parse().ok()?;
    let (hours, minutes) =
        if digits.len() == 4 { ((number / 100.0).floor(), number % 100.0) } else { (number, 0.0) };
    let sign = if zone.starts_with('-') { -1.0 } else { 1.0 };
    Some(sign * (hours * 3600.0 + minutes * 60.0))
}

/// Days from 1970-01-01 in the Gregorian calendar, counted in years that begin in March.
fn days_since_1970(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn date_times() {
        assert_eq!(parse_date_time("1970-01-01T00:00:01.500Z"), Some(1.5));
        assert_eq!(parse_date_time("2024-02-29T12:00:00+00:00"), Some(1_709_208_000.0));
        assert_eq!(parse_date_time("2024-02-29T14:00:00.25+0200"), Some(1_709_208_000.25));
        assert_eq!(parse_date_time("2026-11-21T06:45:38Z"), Some(1_795_243_538.0));
        assert_eq!(parse_date_time("yesterday"), None);
    }
}
