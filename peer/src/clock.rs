//! When a player needs an object, seen from what was handed to it.
//!
//! Rule: the deadline errs early, never late. It is the moment the first byte was handed over plus
//! the media duration handed over since, restarted on a seek; it assumes that playback began at
//! once and runs at normal speed. Where the shell sees the real playhead, that is believed instead.
//! A player that changes to another rendition takes its buffer along.

use alloc::vec::Vec;
use core::time::Duration;
use shoal_wire::{Instant, ObjectId, Part, RenditionId};

/// Players followed per rendition; the one silent for longest makes room for a new one.
const PLAYERS_MAX: usize = 8;
/// A player silent for longer has gone.
const SILENCE_MAX: Duration = Duration::from_secs(30);

/// What a player asks for: a segment, or one part after the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Place {
    msn: u64,
    part: Part,
}

impl Place {
    pub(crate) const fn of(object: &ObjectId) -> Self {
        Self { msn: object.msn, part: object.part }
    }

    /// Whether a player asks for this after `before`. How many parts a segment has is not known: its
    /// next one's first may follow each of them.
    fn follows(self, before: Self) -> bool {
        let begins = self.part == Part::WHOLE || self.part == Part(0);
        let next_part = before.part != Part::WHOLE && self.part.0 == before.part.0 + 1;
        (self.msn == before.msn + 1 && begins) || (self.msn == before.msn && next_part)
    }

    /// How many objects come between `before` and this, at least.
    fn ahead(self, before: Self) -> Option<u32> {
        let part =
            |place: Self| if place.part == Part::WHOLE { 0 } else { u64::from(place.part.0) };
        let ahead = match self.msn.checked_sub(before.msn)? {
            0 if before.part == Part::WHOLE => return None,
            0 => part(self).checked_sub(part(before) + 1)?,
            segments => segments - 1 + part(self),
        };
        u32::try_from(ahead).ok()
    }
}

/// The players of one rendition.
#[derive(Debug, Default)]
pub(crate) struct Clocks {
    players: Vec<Player>,
}

#[derive(Debug)]
struct Player {
    /// When the first byte since the last seek was handed over.
    anchor: Option<Instant>,
    /// Media asked for since, without the newest segment or part.
    before: Duration,
    /// Duration of the newest one asked for.
    newest_len: Duration,
    newest: Place,
    seen: Instant,
    /// It gave the newest one up before it had all of it: what it asks for next is where it jumped
    /// to, unless that is in another rendition.
    gave_up: bool,
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
    /// A player asks for `place` of duration `len`; one that is new here may have
    /// `inherited` a buffer.
    pub(crate) fn request(
        &mut self,
        place: Place,
        len: Duration,
        inherited: Option<Inherited>,
        now: Instant,
    ) -> Need {
        self.forget_jumpers(place, len, now);
        if let Some(player) = self.known(place) {
            player.seen = now;
            if player.newest != place {
                player.before += player.newest_len;
                player.newest = place;
            }
            player.newest_len = len;
            return player.need(now);
        }
        self.follow(Player {
            anchor: inherited.map(|i| i.needed_at),
            before: Duration::ZERO,
            newest_len: len,
            newest: place,
            seen: now,
            gave_up: false,
            left: inherited.map(|i| i.from),
        });
        inherited.map_or(Need::Start, |i| Need::At(i.needed_at))
    }

    /// Whether a player here asks for `place` next, or did last.
    pub(crate) fn knows(&self, place: Place) -> bool {
        self.players.iter().any(|p| p.may_ask(place))
    }

    /// The player that asks for `place` next, or did last; of several the one that needs it first.
    fn known(&mut self, place: Place) -> Option<&mut Player> {
        let is_here = |p: &&mut Player| p.may_ask(place);
        let needed_at = |p: &&mut Player| {
            let asked = if p.newest == place { Duration::ZERO } else { p.newest_len };
            p.anchor.map(|anchor| anchor + p.before + asked)
        };
        self.players.iter_mut().filter(is_here).min_by_key(needed_at)
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

    /// When a player of this rendition would need `place`, if it is the next that it asks
    /// for, or the last again, in another rendition.
    pub(crate) fn hand_down(&self, place: Place, now: Instant) -> Option<Instant> {
        let needed = |p: &Player| {
            let asked = p.newest == place && now - p.seen < SILENCE_MAX;
            let at = if asked { p.anchor? + p.before } else { p.end(now)? };
            (asked || p.may_ask(place)).then_some(at.max(now))
        };
        self.players.iter().filter(|p| now - p.seen < SILENCE_MAX).filter_map(needed).min()
    }

    /// The players of `rendition` go on there with `place`: who seemed to have left it for
    /// this rendition is another player and has buffered nothing. True if there was any.
    pub(crate) fn disinherit(
        &mut self,
        rendition: RenditionId,
        place: Place,
        now: Instant,
    ) -> bool {
        let mut any = false;
        for player in &mut self.players {
            if player.left == Some(rendition) && player.newest <= place {
                player.left = None;
                player.anchor = Some(now.saturating_sub(player.before));
                any = true;
            }
        }
        any
    }

    /// One that asked for something else since, and not here for longer than a player that plays on
    /// would, jumped away and comes back: what it had then is gone.
    fn forget_jumpers(&mut self, place: Place, len: Duration, now: Instant) {
        let Some(latest) = self.players.iter().map(|p| p.seen).max() else { return };
        self.players.retain(|p| !p.may_ask(place) || p.seen == latest || now - p.seen <= len * 2);
    }

    /// Nobody waits for `place` any more, of which not all was handed over.
    pub(crate) fn give_up(&mut self, place: Place) {
        for player in self.players.iter_mut().filter(|p| p.newest == place) {
            player.gave_up = true;
        }
    }

    /// The first bytes of `place` are handed over. True if a player begins with them.
    pub(crate) fn handed(&mut self, place: Place, now: Instant) -> bool {
        let mut began = false;
        for player in &mut self.players {
            if player.newest == place && player.anchor.is_none() {
                player.anchor = Some(now);
                began = true;
            }
        }
        began
    }

    /// The player that asks for `place` next, or did last, needs it at `at`.
    pub(crate) fn playhead(&mut self, place: Place, at: Instant, len: Duration, now: Instant) {
        let Some(player) = self.known(place) else {
            let anchor = Some(at);
            let (before, newest_len, newest) = (Duration::ZERO, len, place);
            let (gave_up, left) = (false, None);
            self.follow(Player { anchor, before, newest_len, newest, seen: now, gave_up, left });
            return;
        };
        // Counted anew from here; the clock knows nothing before its epoch.
        let back = if player.newest == place { Duration::ZERO } else { player.newest_len };
        let anchor = at.saturating_sub(back);
        player.anchor = Some(anchor);
        player.before = Duration::ZERO;
        player.left = None;
        if player.newest != place {
            player.newest_len = at - anchor;
        }
    }

    /// When the player that asked for `place` last needs it.
    pub(crate) fn asked(&self, place: Place) -> Option<Instant> {
        let player = self.players.iter().find(|p| p.newest == place && !p.gave_up)?;
        Some(player.anchor? + player.before)
    }

    /// When the earliest player will need `place`, which it has not asked for yet, if
    /// segments last `len`.
    pub(crate) fn expected(&self, place: Place, len: Duration, now: Instant) -> Option<Instant> {
        self.players
            .iter()
            .filter(|p| !p.gave_up && now - p.seen < SILENCE_MAX)
            .filter_map(|p| Some(p.end(now)? + len.saturating_mul(place.ahead(p.newest)?)))
            .min()
    }

    /// Media asked for and not yet played by the earliest player.
    pub(crate) fn buffered(&self, now: Instant) -> Duration {
        let end = |p: &Player| Some(p.anchor? + p.before + p.newest_len - now);
        self.players.iter().filter(|p| !p.gave_up).filter_map(end).min().unwrap_or_default()
    }

    /// Whether a player has played all that it asked for, and `next` is what it waits for.
    pub(crate) fn is_dry_before(&self, next: Place, now: Instant) -> bool {
        self.players.iter().filter(|p| !p.gave_up && now - p.seen < SILENCE_MAX).any(|p| {
            let is_dry = p.anchor.is_some_and(|at| at + p.before + p.newest_len <= now);
            is_dry && next.follows(p.newest)
        })
    }

    pub(crate) fn clear(&mut self) {
        self.players.clear();
    }
}

impl Player {
    /// Whether it plays on with `place`, or asks for it again.
    fn may_ask(&self, place: Place) -> bool {
        !self.gave_up && (self.newest == place || place.follows(self.newest))
    }

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

    fn whole(msn: u64) -> Place {
        Place { msn, part: Part::WHOLE }
    }

    /// A player that had these segments at once, at 0 s.
    fn played(msns: core::ops::RangeInclusive<u64>) -> Clocks {
        let mut clocks = Clocks::default();
        for msn in msns {
            clocks.request(whole(msn), LEN, None, at(0));
            clocks.handed(whole(msn), at(0));
        }
        clocks
    }

    #[test]
    fn parts_are_counted_one_by_one() {
        let part = |msn, part| Place { msn, part: Part(part) };
        let (len, ms) = (Duration::from_millis(500), |ms: u64| Instant::from_micros(ms * 1000));
        let mut clocks = Clocks::default();
        assert_eq!(clocks.request(part(10, 2), len, None, ms(100)), Need::Start);
        clocks.handed(part(10, 2), ms(100));
        assert_eq!(clocks.request(part(10, 3), len, None, ms(200)), Need::At(ms(600)));
        assert_eq!(clocks.request(part(11, 0), len, None, ms(700)), Need::At(ms(1100)));
        assert_eq!(clocks.request(part(11, 0), len, None, ms(700)), Need::At(ms(1100)), "a retry");
        assert_eq!(clocks.expected(part(11, 1), len, ms(700)), Some(ms(1600)));
        assert_eq!(clocks.expected(part(11, 3), len, ms(700)), Some(ms(2600)));
        assert_eq!(clocks.expected(part(12, 0), len, ms(700)), Some(ms(1600)), "or early");
        assert_eq!(clocks.expected(part(10, 3), len, ms(700)), None);
        assert_eq!(clocks.request(part(13, 1), len, None, ms(800)), Need::Start, "a seek");
        // The real playhead, said before the request.
        clocks.playhead(part(11, 1), ms(1900), len, ms(800));
        assert_eq!(clocks.request(part(11, 1), len, None, ms(800)), Need::At(ms(1900)));
        assert_eq!(clocks.request(part(11, 2), len, None, ms(800)), Need::At(ms(2400)));
        // From segments to parts, as a player that comes to the live edge.
        let mut clocks = Clocks::default();
        clocks.request(whole(4), LEN, None, at(10));
        clocks.handed(whole(4), at(10));
        assert_eq!(clocks.request(part(5, 0), len, None, at(10)), Need::At(at(12)));
    }

    #[test]
    fn deadlines_follow_what_was_handed_over() {
        let mut clocks = Clocks::default();
        assert_eq!(clocks.request(whole(10), LEN, None, at(100)), Need::Start);
        clocks.handed(whole(10), at(100));
        assert_eq!(clocks.request(whole(11), LEN, None, at(100)), Need::At(at(102)));
        assert_eq!(clocks.request(whole(11), LEN, None, at(101)), Need::At(at(102)), "a retry");
        assert_eq!(clocks.request(whole(12), LEN, None, at(101)), Need::At(at(104)));
        assert_eq!(clocks.expected(whole(13), LEN, at(101)), Some(at(106)));
        assert_eq!(clocks.expected(whole(15), LEN, at(101)), Some(at(110)));
        assert_eq!(clocks.buffered(at(101)), Duration::from_secs(5));
        assert_eq!(clocks.request(whole(40), LEN, None, at(103)), Need::Start, "a seek");
    }

    #[test]
    fn a_pause_moves_the_clock() {
        let mut clocks = Clocks::default();
        clocks.request(whole(1), LEN, None, at(0));
        clocks.handed(whole(1), at(0));
        assert_eq!(clocks.request(whole(2), LEN, None, at(20)), Need::At(at(20)));
        assert_eq!(clocks.request(whole(3), LEN, None, at(20)), Need::At(at(22)));
    }

    #[test]
    fn who_jumps_back_to_where_it_was_begins_anew() {
        let mut clocks = played(1..=10);
        clocks.request(whole(80), LEN, None, at(1));
        assert_eq!(clocks.request(whole(11), LEN, None, at(4)), Need::At(at(20)), "another player");
        clocks.request(whole(81), LEN, None, at(5));
        assert_eq!(clocks.request(whole(12), LEN, None, at(10)), Need::Start);
        assert_eq!(clocks.request(whole(82), LEN, None, at(11)), Need::Start);
        clocks.handed(whole(82), at(11));
        assert_eq!(clocks.request(whole(83), LEN, None, at(30)), Need::At(at(30)), "it paused");
    }

    #[test]
    fn who_gives_up_what_it_asked_for_jumps() {
        for next in [3, 4] {
            let mut clocks = played(1..=2);
            clocks.request(whole(3), LEN, None, at(1));
            clocks.give_up(whole(3));
            assert_eq!(clocks.expected(whole(4), LEN, at(1)), None, "it plays on nowhere");
            assert!(!clocks.is_dry_before(whole(4), at(9)));
            assert_eq!(clocks.hand_down(whole(3), at(1)), Some(at(4)), "in another rendition");
            assert_eq!(clocks.request(whole(next), LEN, None, at(1)), Need::Start);
            clocks.handed(whole(next), at(1));
            assert_eq!(clocks.buffered(at(1)), LEN);
            assert_eq!(clocks.request(whole(next + 1), LEN, None, at(1)), Need::At(at(3)));
        }
    }

    #[test]
    fn who_steps_back_by_one_has_no_more_than_that() {
        let mut clocks = played(1..=5);
        assert_eq!(clocks.request(whole(4), LEN, None, at(1)), Need::Start);
        clocks.handed(whole(4), at(1));
        assert_eq!(clocks.request(whole(5), LEN, None, at(1)), Need::At(at(3)));
        assert_eq!(clocks.request(whole(6), LEN, None, at(1)), Need::At(at(5)));
    }

    #[test]
    fn a_playhead_that_is_seen_is_believed() {
        let mut clocks = Clocks::default();
        clocks.request(whole(10), LEN, None, at(100));
        clocks.handed(whole(10), at(100));
        // It stood for three seconds before it began.
        clocks.playhead(whole(11), at(105), LEN, at(100));
        assert_eq!(clocks.request(whole(11), LEN, None, at(101)), Need::At(at(105)));
        assert_eq!(clocks.asked(whole(11)), Some(at(105)));
        // It jumped.
        clocks.playhead(whole(11), at(103), LEN, at(101));
        assert_eq!(clocks.asked(whole(11)), Some(at(103)));
        assert_eq!(clocks.expected(whole(12), LEN, at(101)), Some(at(105)));
        assert_eq!(clocks.asked(whole(10)), None);
    }

    #[test]
    fn a_playhead_is_known_before_the_first_request() {
        let mut clocks = Clocks::default();
        clocks.playhead(whole(10), at(104), LEN, at(100));
        assert_eq!(clocks.request(whole(10), LEN, None, at(100)), Need::At(at(104)));
    }

    #[test]
    fn a_buffer_goes_along_to_another_rendition() {
        let (from, mut left, mut entered) = (RenditionId(1), Clocks::default(), Clocks::default());
        left.request(whole(10), LEN, None, at(100));
        left.handed(whole(10), at(100));
        left.request(whole(11), LEN, None, at(100));
        assert_eq!(left.hand_down(whole(13), at(101)), None, "it does not follow");
        assert_eq!(left.hand_down(whole(11), at(101)), Some(at(102)), "the last one again");
        let needed_at = left.hand_down(whole(12), at(101)).expect("the next one");
        assert_eq!(needed_at, at(104));
        let inherited = Some(Inherited { from, needed_at });
        assert_eq!(entered.request(whole(12), LEN, inherited, at(101)), Need::At(at(104)));
        entered.handed(whole(12), at(101));
        assert_eq!(entered.request(whole(13), LEN, None, at(101)), Need::At(at(106)));
        assert!(!entered.disinherit(RenditionId(2), whole(14), at(102)));
        assert!(entered.disinherit(from, whole(14), at(102)), "the first player goes on");
        assert_eq!(entered.request(whole(13), LEN, None, at(102)), Need::At(at(102)));
        assert_eq!(entered.request(whole(14), LEN, None, at(102)), Need::At(at(104)));
    }

    #[test]
    fn players_are_bounded() {
        let mut clocks = Clocks::default();
        for i in 0..100 {
            clocks.request(whole(i * 10), LEN, None, at(i));
        }
        assert_eq!(clocks.players.len(), PLAYERS_MAX);
    }
}
