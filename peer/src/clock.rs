//! When a player needs an object, seen from what was handed to it.
//!
//! Rule: the deadline errs early, never late. It is the moment the first byte was handed over plus
//! the media duration handed over since, restarted on a seek; it assumes that playback began at
//! once and runs at normal speed. Where the shell sees the real playhead, that is believed instead.
//! A player that changes to another rendition takes its buffer along.

use alloc::vec::Vec;
use core::time::Duration;
use shoal_wire::{Instant, RenditionId};

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
    /// The rendition that it seems to have left for this one.
    left: Option<RenditionId>,
}

/// What a player that changes rendition brings along.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Inherited {
    /// The rendition that it leaves.
    pub(crate) from: RenditionId,
    /// When it needs what it asks for now.
    pub(crate) needed_at: Instant,
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
    /// A player asks for segment `msn` of duration `len`; one that is new here may have
    /// `inherited` a buffer.
    pub(crate) fn request(
        &mut self,
        msn: u64,
        len: Duration,
        inherited: Option<Inherited>,
        now: Instant,
    ) -> Need {
        self.forget_jumpers(msn, len, now);
        if let Some(player) = self.known(msn) {
            player.seen = now;
            if player.newest_msn != msn {
                player.before += player.newest_len;
                player.newest_msn = msn;
            }
            player.newest_len = len;
            return player.need(now);
        }
        self.follow(Player {
            anchor: inherited.map(|i| i.needed_at),
            before: Duration::ZERO,
            newest_len: len,
            newest_msn: msn,
            seen: now,
            left: inherited.map(|i| i.from),
        });
        inherited.map_or(Need::Start, |i| Need::At(i.needed_at))
    }

    /// Whether a player here asks for segment `msn` next, or did last.
    pub(crate) fn knows(&self, msn: u64) -> bool {
        self.players.iter().any(|p| p.newest_msn == msn || p.newest_msn + 1 == msn)
    }

    fn known(&mut self, msn: u64) -> Option<&mut Player> {
        self.players.iter_mut().find(|p| p.newest_msn == msn || p.newest_msn + 1 == msn)
    }

    fn follow(&mut self, player: Player) {
        self.players.retain(|p| player.seen - p.seen < SILENCE_MAX);
        if self.players.len() >= PLAYERS_MAX
            && let Some(oldest) = (0..self.players.len()).min_by_key(|i| self.players[*i].seen)
        {
            self.players.swap_remove(oldest);
        }
        self.players.push(player);
    }

    /// When a player of this rendition would need segment `msn`, if it is the next that it asks
    /// for, or the last again, in another rendition.
    pub(crate) fn hand_down(&self, msn: u64, now: Instant) -> Option<Instant> {
        let needed = |p: &Player| {
            let asked = p.newest_msn == msn && now - p.seen < SILENCE_MAX;
            let at = if asked { p.anchor? + p.before } else { p.end(now)? };
            (asked || p.newest_msn + 1 == msn).then_some(at.max(now))
        };
        self.players.iter().filter(|p| now - p.seen < SILENCE_MAX).filter_map(needed).min()
    }

    /// The players of `rendition` go on there with segment `msn`: who seemed to have left it for
    /// this rendition is another player and has buffered nothing. True if there was any.
    pub(crate) fn disinherit(&mut self, rendition: RenditionId, msn: u64, now: Instant) -> bool {
        let mut any = false;
        for player in &mut self.players {
            if player.left == Some(rendition) && player.newest_msn <= msn {
                player.left = None;
                player.anchor = Some(now.saturating_sub(player.before));
                any = true;
            }
        }
        any
    }

    /// One that asked for something else since, and not here for longer than a player that plays on
    /// would, jumped away and comes back: what it had then is gone.
    fn forget_jumpers(&mut self, msn: u64, len: Duration, now: Instant) {
        let Some(latest) = self.players.iter().map(|p| p.seen).max() else { return };
        self.players.retain(|p| {
            let is_here = p.newest_msn == msn || p.newest_msn + 1 == msn;
            !is_here || p.seen == latest || now - p.seen <= len * 2
        });
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

    /// The player that asks for segment `msn` next, or did last, needs it at `at`.
    pub(crate) fn playhead(&mut self, msn: u64, at: Instant, len: Duration, now: Instant) {
        let Some(player) = self.known(msn) else {
            let anchor = Some(at);
            let (before, newest_len, newest_msn) = (Duration::ZERO, len, msn);
            self.follow(Player { anchor, before, newest_len, newest_msn, seen: now, left: None });
            return;
        };
        // Counted anew from here; the clock knows nothing before its epoch.
        let back = if player.newest_msn == msn { Duration::ZERO } else { player.newest_len };
        let anchor = at.saturating_sub(back);
        player.anchor = Some(anchor);
        player.before = Duration::ZERO;
        player.left = None;
        if player.newest_msn != msn {
            player.newest_len = at - anchor;
        }
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
        assert_eq!(clocks.request(10, LEN, None, at(100)), Need::Start);
        clocks.handed(10, at(100));
        assert_eq!(clocks.request(11, LEN, None, at(100)), Need::At(at(102)));
        assert_eq!(clocks.request(11, LEN, None, at(101)), Need::At(at(102)), "a retry");
        assert_eq!(clocks.request(12, LEN, None, at(101)), Need::At(at(104)));
        assert_eq!(clocks.expected(13, LEN, at(101)), Some(at(106)));
        assert_eq!(clocks.expected(15, LEN, at(101)), Some(at(110)));
        assert_eq!(clocks.buffered(at(101)), Duration::from_secs(5));
        assert_eq!(clocks.request(40, LEN, None, at(103)), Need::Start, "a seek");
    }

    #[test]
    fn a_pause_moves_the_clock() {
        let mut clocks = Clocks::default();
        clocks.request(1, LEN, None, at(0));
        clocks.handed(1, at(0));
        assert_eq!(clocks.request(2, LEN, None, at(20)), Need::At(at(20)));
        assert_eq!(clocks.request(3, LEN, None, at(20)), Need::At(at(22)));
    }

    #[test]
    fn who_jumps_back_to_where_it_was_begins_anew() {
        let mut clocks = Clocks::default();
        for msn in 1..=10 {
            clocks.request(msn, LEN, None, at(0));
            clocks.handed(msn, at(0));
        }
        clocks.request(80, LEN, None, at(1));
        assert_eq!(clocks.request(11, LEN, None, at(4)), Need::At(at(20)), "another player");
        clocks.request(81, LEN, None, at(5));
        assert_eq!(clocks.request(12, LEN, None, at(10)), Need::Start);
        assert_eq!(clocks.request(82, LEN, None, at(11)), Need::Start);
        clocks.handed(82, at(11));
        assert_eq!(clocks.request(83, LEN, None, at(30)), Need::At(at(30)), "it paused");
    }

    #[test]
    fn a_playhead_that_is_seen_is_believed() {
        let mut clocks = Clocks::default();
        clocks.request(10, LEN, None, at(100));
        clocks.handed(10, at(100));
        // It stood for three seconds before it began.
        clocks.playhead(11, at(105), LEN, at(100));
        assert_eq!(clocks.request(11, LEN, None, at(101)), Need::At(at(105)));
        assert_eq!(clocks.asked(11), Some(at(105)));
        // It jumped.
        clocks.playhead(11, at(103), LEN, at(101));
        assert_eq!(clocks.asked(11), Some(at(103)));
        assert_eq!(clocks.expected(12, LEN, at(101)), Some(at(105)));
        assert_eq!(clocks.asked(10), None);
    }

    #[test]
    fn a_playhead_is_known_before_the_first_request() {
        let mut clocks = Clocks::default();
        clocks.playhead(10, at(104), LEN, at(100));
        assert_eq!(clocks.request(10, LEN, None, at(100)), Need::At(at(104)));
    }

    #[test]
    fn a_buffer_goes_along_to_another_rendition() {
        let (from, mut left, mut entered) = (RenditionId(1), Clocks::default(), Clocks::default());
        left.request(10, LEN, None, at(100));
        left.handed(10, at(100));
        left.request(11, LEN, None, at(100));
        assert_eq!(left.hand_down(13, at(101)), None, "it does not follow");
        assert_eq!(left.hand_down(11, at(101)), Some(at(102)), "the last one again");
        let needed_at = left.hand_down(12, at(101)).expect("the next one");
        assert_eq!(needed_at, at(104));
        let inherited = Some(Inherited { from, needed_at });
        assert_eq!(entered.request(12, LEN, inherited, at(101)), Need::At(at(104)));
        entered.handed(12, at(101));
        assert_eq!(entered.request(13, LEN, None, at(101)), Need::At(at(106)));
        assert!(!entered.disinherit(RenditionId(2), 14, at(102)));
        assert!(entered.disinherit(from, 14, at(102)), "the first player goes on");
        assert_eq!(entered.request(13, LEN, None, at(102)), Need::At(at(102)));
        assert_eq!(entered.request(14, LEN, None, at(102)), Need::At(at(104)));
    }

    #[test]
    fn players_are_bounded() {
        let mut clocks = Clocks::default();
        for i in 0..100 {
            clocks.request(i * 10, LEN, None, at(i));
        }
        assert_eq!(clocks.players.len(), PLAYERS_MAX);
    }
}
