//! How viewers with peers fare beside viewers without: start-up, stalls, latency, and whether the
//! difference can be chance.
//!
//! Rule: a viewer counts once in each measure, however long it stays; where a group has few
//! viewers nothing is concluded. It knows no clock and no socket.

use crate::config::HoldoutConfig;
use shoal_wire::PeerId;
use shoal_wire::tracker_message::Totals;

/// Viewers that saw less of a stream say nothing of stalls, ms.
const PLAYED_MS_MIN: u64 = 10_000;
/// Half the width of the interval that holds 95 % of a normal distribution, in standard deviations.
const NORMAL_95: f64 = 1.96;
/// A holdout is drawn in thousandths.
const DRAW: u64 = 1000;

/// Whom a viewer is compared with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Group {
    /// Uses peers, as far as they are on.
    #[default]
    Peers,
    /// Has the origin alone, to compare with.
    Holdout,
}

impl Group {
    /// Both, in the order of [`Quality`]'s figures.
    pub(crate) const ALL: [Self; 2] = [Self::Peers, Self::Holdout];

    /// As a metric label.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Peers => "peers",
            Self::Holdout => "holdout",
        }
    }

    /// The group of a viewer, by its name: one that comes back is in the same.
    pub(super) fn of(peer: PeerId, config: &HoldoutConfig) -> Self {
        // Names are drawn at random.
        let is_held_out = peer.0 % DRAW < u64::from(config.percent.0) * DRAW / 100;
        if is_held_out { Self::Holdout } else { Self::Peers }
    }
}

/// What is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Measure {
    /// Seconds from a viewer's first request to the end of its answer.
    Startup,
    /// Share of the time that a player waited after it began.
    Stall,
    /// Seconds from publication to the playhead, of who plays live.
    Latency,
}

impl Measure {
    pub(crate) const ALL: [Self; 3] = [Self::Startup, Self::Stall, Self::Latency];

    /// As a metric label.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Startup => "startup_seconds",
            Self::Stall => "stall_ratio",
            Self::Latency => "latency_seconds",
        }
    }
}

/// What is known of one viewer's session.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Viewing {
    group: Group,
    /// It was here before: its start-up was counted then.
    is_resumed: bool,
    startup_s: Option<f64>,
    latency_s: Option<f64>,
    stalled_ms: u64,
    played_ms: u64,
}

impl Viewing {
    pub(super) fn new(group: Group, is_resumed: bool) -> Self {
        Self { group, is_resumed, ..Self::default() }
    }

    /// Takes in what is new of a viewer's totals. The start-up, if it is told for the first time.
    pub(super) fn note(&mut self, new: &Totals, startup_ms: Option<u32>) -> Option<f64> {
        self.stalled_ms = self.stalled_ms.saturating_add(new.stalled_ms);
        self.played_ms = self.played_ms.saturating_add(new.played_ms);
        let startup_s = startup_ms.map(|ms| f64::from(ms) / 1000.0)?;
        if self.is_resumed || self.startup_s.is_some() {
            return None;
        }
        self.startup_s = Some(startup_s);
        Some(startup_s)
    }

    /// It plays so far behind the moment of publication.
    pub(super) fn note_latency(&mut self, seconds: f64) {
        self.latency_s = Some(seconds);
    }

    fn value(&self, measure: Measure) -> Option<f64> {
        match measure {
            Measure::Startup => self.startup_s,
            Measure::Latency => self.latency_s,
            Measure::Stall if self.played_ms < PLAYED_MS_MIN => None,
            Measure::Stall => {
                Some(self.stalled_ms as f64 / self.played_ms.saturating_add(self.stalled_ms) as f64)
            }
        }
    }
}

/// Number, mean and variance, kept as values come (Welford's way).
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Spread {
    pub(crate) count: u64,
    pub(crate) mean: f64,
    squares: f64,
}

impl Spread {
    fn add(&mut self, value: f64) {
        self.count += 1;
        let off = value - self.mean;
        self.mean += off / self.count as f64;
        self.squares += off * (value - self.mean);
    }

    /// Variance of the mean; none below two values.
    fn variance_of_mean(&self) -> Option<f64> {
        (self.count > 1).then(|| self.squares / (self.count - 1) as f64 / self.count as f64)
    }
}

/// How much larger a measure is with peers than without, and between what it is with 95 %.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Difference {
    pub(crate) mean: f64,
    pub(crate) low: f64,
    pub(crate) high: f64,
}

/// Both groups of one stream.
#[derive(Clone, Debug, Default)]
pub(crate) struct Quality {
    spreads: [[Spread; Measure::ALL.len()]; Group::ALL.len()],
}

impl Quality {
    /// Counts a viewer: for good when it leaves, in a copy while it is here.
    pub(super) fn add(&mut self, viewing: &Viewing) {
        for (spread, measure) in self.spreads[viewing.group as usize].iter_mut().zip(Measure::ALL) {
            if let Some(value) = viewing.value(measure) {
                spread.add(value);
            }
        }
    }

    pub(crate) fn spread(&self, group: Group, measure: Measure) -> Spread {
        self.spreads[group as usize][measure as usize]
    }

    /// Peers less holdout; none while a group has fewer than `viewers_min`.
    pub(crate) fn difference(&self, measure: Measure, viewers_min: u64) -> Option<Difference> {
        let [peers, holdout] = Group::ALL.map(|group| self.spread(group, measure));
        if peers.count.min(holdout.count) < viewers_min {
            return None;
        }
        let mean = peers.mean - holdout.mean;
        let off = NORMAL_95 * (peers.variance_of_mean()? + holdout.variance_of_mean()?).sqrt();
        Some(Difference { mean, low: mean - off, high: mean + off })
    }

    /// The measure in which peers are worse by more than is allowed, beyond chance.
    pub(super) fn harm(&self, config: &HoldoutConfig) -> Option<(Measure, Difference)> {
        let viewers_min = config.viewers_min.0 as u64;
        let allowed = [
            (Measure::Stall, f64::from(config.stall_permille_max) / 1000.0),
            (Measure::Startup, f64::from(config.startup_ms_max) / 1000.0),
        ];
        allowed.into_iter().find_map(|(measure, most)| {
            let difference = self.difference(measure, viewers_min)?;
            (difference.low > most).then_some((measure, difference))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Count, Percent};

    fn config() -> HoldoutConfig {
        HoldoutConfig {
            percent: Percent(10),
            viewers_min: Count(5),
            stall_permille_max: 5,
            startup_ms_max: 250,
            switch_off: true,
        }
    }

    fn viewing(group: Group, startup_ms: u32, stalled_ms: u64) -> Viewing {
        let mut viewing = Viewing { group, ..Viewing::default() };
        let new = Totals { stalled_ms, played_ms: 100_000 - stalled_ms, ..Totals::default() };
        viewing.note(&new, Some(startup_ms));
        viewing
    }

    fn quality(peers: &[(u32, u64)], holdout: &[(u32, u64)]) -> Quality {
        let mut quality = Quality::default();
        for (group, values) in [(Group::Peers, peers), (Group::Holdout, holdout)] {
            for (startup, stalled) in values {
                quality.add(&viewing(group, *startup, *stalled));
            }
        }
        quality
    }

    #[test]
    fn a_tenth_is_held_out_and_stays_there() {
        let held = (0..10_000).filter(|i| {
            let peer = PeerId(u64::from_be_bytes(
                blake3::hash(&u64::to_be_bytes(*i)).as_bytes()[..8].try_into().unwrap(),
            ));
            assert_eq!(Group::of(peer, &config()), Group::of(peer, &config()));
            Group::of(peer, &config()) == Group::Holdout
        });
        assert!((900..1100).contains(&held.count()));
        let none = HoldoutConfig { percent: Percent(0), ..config() };
        assert!((0..1000).all(|i| Group::of(PeerId(i), &none) == Group::Peers));
    }

    #[test]
    fn the_interval_is_welchs() {
        let quality = quality(
            &[(1000, 0), (2000, 0), (3000, 0), (4000, 0), (5000, 0)],
            &[(1000, 0), (1000, 0), (1000, 0), (1000, 0), (1000, 0)],
        );
        let difference = quality.difference(Measure::Startup, 5).unwrap();
        // Variance 2.5 s² over five viewers: the mean's deviation is 0.7071 s.
        assert!((difference.mean - 2.0).abs() < 1e-9);
        assert!((difference.low - (2.0 - 1.385_929)).abs() < 1e-4, "{difference:?}");
        assert!((difference.high - (2.0 + 1.385_929)).abs() < 1e-4);
        assert_eq!(quality.difference(Measure::Startup, 6), None, "too few");
        assert_eq!(quality.difference(Measure::Latency, 1), None, "nobody");
    }

    #[test]
    fn harm_is_what_is_neither_small_nor_chance() {
        let good = [(300, 0), (310, 0), (305, 100), (290, 0), (300, 0)];
        let stalls = [(300, 5000), (310, 5100), (305, 4900), (290, 5000), (300, 5000)];
        let slow = [(900, 0), (910, 0), (905, 0), (890, 0), (900, 0)];
        let wild = [(100, 0), (4000, 0), (305, 0), (290, 0), (300, 0)];
        let harm = |peers| quality(peers, &good).harm(&config()).map(|(measure, _)| measure);
        assert_eq!(harm(&good), None);
        assert_eq!(harm(&stalls), Some(Measure::Stall));
        assert_eq!(harm(&slow), Some(Measure::Startup));
        assert_eq!(harm(&wild), None, "it may be chance");
        assert_eq!(quality(&good, &stalls).harm(&config()), None, "peers help");
    }

    #[test]
    fn who_comes_back_started_up_before() {
        let mut viewing = Viewing { is_resumed: true, ..Viewing::default() };
        assert_eq!(viewing.note(&Totals::default(), Some(100)), None);
        let mut viewing = Viewing::default();
        assert_eq!(viewing.note(&Totals::default(), None), None);
        assert_eq!(viewing.note(&Totals::default(), Some(100)), Some(0.1));
        assert_eq!(viewing.note(&Totals::default(), Some(100)), None, "once");
        assert_eq!(viewing.value(Measure::Stall), None, "it has seen nothing yet");
    }
}
