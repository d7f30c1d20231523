//! What a run is required to reach.
//!
//! Rule: a figure that was not measured is not reached.

use crate::outcome::Outcome;
use shoal_sim::report::human;
use std::str::FromStr;

/// A figure and the least or most that it may be.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Requirement {
    pub(crate) figure: String,
    order: Order,
    value: f64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Order {
    AtLeast,
    AtMost,
}

/// A text that requires nothing.
#[derive(Debug, thiserror::Error)]
#[error("write it as FIGURE>=VALUE or FIGURE<=VALUE")]
pub(crate) struct NotRequirement;

impl FromStr for Requirement {
    type Err = NotRequirement;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let split =
            |sign, order| text.split_once(sign).map(|(figure, value)| (figure, order, value));
        let (figure, order, value) = split(">=", Order::AtLeast)
            .or_else(|| split("<=", Order::AtMost))
            .ok_or(NotRequirement)?;
        let value = value.trim().parse().map_err(|_| NotRequirement)?;
        Ok(Self { figure: figure.trim().to_owned(), order, value })
    }
}

impl Requirement {
    /// Why it does not hold, if it does not.
    pub(crate) fn failure(&self, outcome: &Outcome) -> Option<String> {
        let found = outcome.figure(&self.figure);
        let (sign, holds) = match self.order {
            Order::AtLeast => (">=", found >= self.value),
            Order::AtMost => ("<=", found <= self.value),
        };
        let wanted = human(self.value);
        (!holds).then(|| format!("{} is {}, not {sign} {wanted}", self.figure, human(found)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requirements_hold_or_say_why_not() {
        let mut outcome = Outcome::default();
        outcome.add("stalls", 2.0);
        outcome.add("offload_ratio", f64::NAN);
        let failure = |text: &str| text.parse::<Requirement>().expect("one").failure(&outcome);
        assert_eq!(failure("stalls<=2"), None);
        assert_eq!(failure(" stalls >= 2 "), None);
        assert_eq!(failure("stalls<=1").as_deref(), Some("stalls is 2, not <= 1"));
        assert_eq!(failure("offload_ratio>=0").as_deref(), Some("offload_ratio is –, not >= 0"));
        assert!(failure("waste<=1").is_some());
        for wrong in ["stalls", "stalls=1", "stalls>=x"] {
            assert!(wrong.parse::<Requirement>().is_err(), "{wrong}");
        }
    }
}
