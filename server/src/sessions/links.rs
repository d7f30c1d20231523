//! What became of links, by what their two ends are.
//!
//! Rule: a link is counted once, by what the end says that made the offer.

use serde::Serialize;
use shoal_wire::tracker_message::LinkState;

/// What kind of program a viewer runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    /// A page.
    Browser,
    /// The agent beside a player.
    Native,
    /// It does not say.
    Other,
}

impl Kind {
    /// By what it says in its hello: its name, and whether it had better make offers, as browsers
    /// do.
    pub(super) fn of(agent: &str, offers: bool) -> Self {
        match agent.split('/').next().unwrap_or_default() {
            "shoal-agent" => Self::Native,
            "shoal-web" => Self::Browser,
            _ if offers => Self::Browser,
            _ => Self::Other,
        }
    }

    /// In words.
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Browser => "browser",
            Self::Native => "native",
            Self::Other => "other",
        }
    }
}

/// What became of the links of one kind of pair.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Outcomes {
    pub(crate) up: u64,
    pub(crate) failed: u64,
    /// Of those that were up.
    pub(crate) closed: u64,
}

impl Outcomes {
    fn count(&mut self, state: LinkState) {
        *match state {
            LinkState::Up => &mut self.up,
            LinkState::Failed => &mut self.failed,
            LinkState::Closed => &mut self.closed,
        } += 1;
    }
}

/// What became of all links.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Links {
    pub(crate) browser_browser: Outcomes,
    pub(crate) browser_native: Outcomes,
    pub(crate) native_native: Outcomes,
    /// With one that does not say what it is.
    pub(crate) other: Outcomes,
}

impl Links {
    pub(super) fn count(&mut self, one: Kind, two: Kind, state: LinkState) {
        let outcomes = match (one.min(two), one.max(two)) {
            (Kind::Browser, Kind::Browser) => &mut self.browser_browser,
            (Kind::Browser, Kind::Native) => &mut self.browser_native,
            (Kind::Native, Kind::Native) => &mut self.native_native,
            (_, Kind::Other | Kind::Browser) | (Kind::Other, Kind::Native) => &mut self.other,
        };
        outcomes.count(state);
    }

    /// Over all kinds.
    pub(crate) fn sum(&self) -> Outcomes {
        let all = [self.browser_browser, self.browser_native, self.native_native, self.other];
        all.iter().fold(Outcomes::default(), |sum, one| Outcomes {
            up: sum.up + one.up,
            failed: sum.failed + one.failed,
            closed: sum.closed + one.closed,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_are_told_apart_whoever_offers() {
        let mut links = Links::default();
        let (web, native) = (Kind::of("page", true), Kind::of("shoal-agent/0.1.0", false));
        links.count(web, native, LinkState::Up);
        links.count(native, web, LinkState::Failed);
        links.count(web, Kind::of("something", false), LinkState::Closed);
        assert_eq!(links.browser_native, Outcomes { up: 1, failed: 1, closed: 0 });
        assert_eq!(links.other, Outcomes { up: 0, failed: 0, closed: 1 });
        assert_eq!(links.sum(), Outcomes { up: 1, failed: 1, closed: 1 });
    }
}
