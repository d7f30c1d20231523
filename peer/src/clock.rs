//! When a player needs an object, seen from what was handed to it.
//!
//! Rule: the deadline errs early, never late. It is the moment the first byte was handed over plus
//! the media duration handed over since, restarted on a seek; it assumes that playback began at
//! once and runs at normal speed. Where the shell sees the real playhead, that is believed instead.

use alloc::vec::Vec;
use core::time::Duration;
use shoal_wire::Instant;

/// Players followed per rendition; the one silent for longest makes room for a new one.
const PLAYERS_MAX: usize = 8;
/// A player silent for longer has gone.
const SILENCE_MAX: Duration = Duration::from_secs(30);

/// The players of one rendition.
#[derive(Debug, Default)]
pub(crate) struct Clocks {
    players: Vec<Player>,
}

#[derive(Debug)]
struct Player {
    /// When the first byte since the last seek was handed over.
    anchor: Option<Instant>,
    /// Media asked for since, without the newest segment.
    before: Duration,
    /// Duration of the newest segment asked for.
    newest_len: Duration,
    newest_msn: u64,
    seen: Instant,
}

/// What a request means for its player.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Need {
    /// The start of playback: nothing is buffered.
    Start,
    /// It plays on; the object is needed at this instant.
    At(Instant),
}

impl Clocks {
    /// A player asks for segment `msn` of duration `len`.
    pub(crate) fn request(&mut self, msn: u64, len: Duration, now: Instant) -> Need {
        let known =
            self.players.iter_mut().find(|p| p.newest_msn == msn || p.newest_msn + 1 == msn);
        if let Some(player) = known {
            player.seen = now;
            if player.newest_msn != msn {
                player.before += player.newest_len;
                player.newest_msn = msn;
            }
            player.newest_len = len;
            return player.need(now);
        }
        self.players.retain(|p| now - p.seen < SILENCE_MAX);
        if self.players.len() >= PLAYERS_MAX
            && let Some(oldest) = (0..self.players.len()).min_by_key(|i| self.players[*i].seen)
        {
            self.players.swap_remove(oldest);
        }
        let before = Duration::ZERO;
        self.players.push(Player {
            anchor: None,
            before,
            newest_len: len,
            newest_msn: msn,
            seen: now,
        });
        Need::Start
    }

    /// The first bytes of segment `msn` are handed over. True if a player begins with them.
    pub(crate) fn handed(&mut self, msn: u64, now: Instant) -> bool {
        let mut began = false;
        for player in &mut self.players {
            if player.newest_msn == msn && player.anchor.is_none() {
                player.anchor = Some(now);
                began = true;
            }
        }
        began
    }

    /// The player that asked for segment `msn`, or for the one before it, needs it at `at`. False
    /// if there is none.
    pub(crate) fn playhead(&mut self, msn: u64, at: Instant) -> bool {
        let known =
            self.players.iter_mut().find(|p| p.newest_msn == msn || p.newest_msn + 1 == msn);
        let Some(player) = known else {
            return false;
        };
        // Counted anew from here; the clock knows nothing before its epoch.
        let back = if player.newest_msn == msn { Duration::ZERO } else { player.newest_len };
        let anchor = at.saturating_sub(back);
        player.anchor = Some(anchor);
        player.before = Duration::ZERO;
        if player.newest_msn != msn {
            player.newest_len = at - anchor;
        }
        true
    }

    /// When the player that asked for segment `msn` last needs it.
    pub(crate) fn asked(&self, msn: u64) -> Option<Instant> {
        let player = self.players.iter().find(|p| p.newest_msn == msn)?;
        Some(player.anchor? + player.before)
    }

    /// When the earliest player will need segment `msn`, which it has not asked for yet, if
    /// segments last `len`.
    pub(crate) fn expected(&self, msn: u64, len: Duration, now: Instant) -> Option<Instant> {
        let ahead = |p: &Player| u32::try_from(msn.checked_sub(p.newest_msn + 1)?).ok();
        self.players
            .iter()
            .filter(|p| now - p.seen < SILENCE_MAX)
            .filter_map(|p| Some(p.end(now)? + len.saturating_mul(ahead(p)?)))
            .min()
    }

    /// Media asked for and not yet played by the earliest player.
    pub(crate) fn buffered(&self, now: Instant) -> Duration {
        let end = |p: &Player| Some(p.anchor? + p.before + p.newest_len - now);
        self.players.iter().filter_map(end).min().unwrap_or_default()
    }

    pub(crate) fn clear(&mut self) {
        self.players.clear();
    }
}

impl Player {
    /// When it needs what comes after the newest segment that it asked for. One that should have
    /// played all of that by now stands still for want of it: the rest is not overdue as well.
    fn end(&self, now: Instant) -> Option<Instant> {
        let end = self.anchor? + self.before + self.newest_len;
        Some(if end < now { now + self.newest_len } else { end })
    }

    fn need(&mut self, now: Instant) -> Need {
        let Some(anchor) = self.anchor else {
            return Need::At(now + self.before);
        };
        let due = anchor + self.before;
        if due < now {
            // It paused, or started late: it cannot have needed this earlier than now.
            self.anchor = Some(anchor + (now - due));
            return Need::At(now);
        }
        Need::At(due)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEN: Duration = Duration::from_secs(2);

    fn at(seconds: u64) -> Instant {
        Instant::from_micros(seconds * 1_000_000)
    }

    #[test]
    fn deadlines_follow_what_was_handed_over() {
        let mut clocks = Clocks::default();
        assert_eq!(clocks.request(10, LEN, at(100)), Need::Start);
        clocks.handed(10, at(100));
        assert_eq!(clocks.request(11, LEN, at(100)), Need::At(at(102)));
        assert_eq!(clocks.request(11, LEN, at(101)), Need::At(at(102)), "a retry");
        assert_eq!(clocks.request(12, LEN, at(101)), Need::At(at(104)));
        assert_eq!(clocks.expected(13, LEN, at(101)), Some(at(106)));
        assert_eq!(clocks.expected(15, LEN, at(101)), Some(at(110)));
        assert_eq!(clocks.buffered(at(101)), Duration::from_secs(5));
        assert_eq!(clocks.request(40, LEN, at(103)), Need::Start, "a seek");
    }

    #[test]
    fn a_pause_moves_the_clock() {
        let mut clocks = Clocks::default();
        clocks.request(1, LEN, at(0));
        clocks.handed(1, at(0));
        assert_eq!(clocks.request(2, LEN, at(20)), Need::At(at(20)));
        assert_eq!(clocks.request(3, LEN, at(20)), Need::At(at(22)));
    }

    #[test]
    fn a_playhead_that_is_seen_is_believed() {
        let mut clocks = Clocks::default();
        assert!(!clocks.playhead(10, at(100)), "nobody asked for it");
        clocks.request(10, LEN, at(100));
        clocks.handed(10, at(100));
        // It stood for three seconds before it began.
        assert!(clocks.playhead(11, at(105)));
        assert_eq!(clocks.request(11, LEN, at(101)), Need::At(at(105)));
        assert_eq!(clocks.asked(11), Some(at(105)));
        assert!(clocks.playhead(11, at(103)), "it jumped");
        assert_eq!(clocks.asked(11), Some(at(103)));
        assert_eq!(clocks.expected(12, LEN, at(101)), Some(at(105)));
        assert_eq!(clocks.asked(10), None);
    }

    #[test]
    fn players_are_bounded() {
        let mut clocks = Clocks::default();
        for i in 0..100 {
            clocks.request(i * 10, LEN, at(i));
        }
        assert_eq!(clocks.players.len(), PLAYERS_MAX);
    }
}
