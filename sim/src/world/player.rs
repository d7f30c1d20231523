//! A player: asks for one segment after the other, plays what it has, stalls when it has nothing.
//!
//! It sees only what is handed to it. Times are µs.

/// A stalled player goes on when it has this much again, µs.
const RESUME_US: u64 = 200_000;
/// It asks for nothing more while it has this much ahead, µs.
const AHEAD_MAX_US: u64 = 30_000_000;

/// A player's state.
#[derive(Clone, Debug)]
pub struct Player {
    join_at: u64,
    startup_buffer: u64,
    /// The next segment to ask for; none until it has seen a playlist.
    pub next: Option<u64>,
    /// Segments below this one are known from the playlist.
    pub known_until: u64,
    /// The segment that it waits for.
    pub waiting: Option<u64>,
    /// Media received since the start.
    received: u64,
    started_at: Option<u64>,
    /// When media time 0 played, stalls taken into account.
    anchor: u64,
    stalled_since: Option<u64>,
    stalled: u64,
    /// Since when it waits for what it jumped to.
    seeking_since: Option<u64>,
    seeks: Vec<u64>,
}

impl Player {
    /// One that joins at this time and plays once it has so much media, both µs.
    pub const fn new(join_at: u64, startup_buffer: u64) -> Self {
        Self {
            join_at,
            startup_buffer,
            next: None,
            known_until: 0,
            waiting: None,
            received: 0,
            started_at: None,
            anchor: 0,
            stalled_since: None,
            stalled: 0,
            seeking_since: None,
            seeks: Vec::new(),
        }
    }

    /// Media of this length arrived.
    pub fn receive(&mut self, media: u64, now: u64) {
        self.note_stall(now);
        self.received += media;
        if self.started_at.is_none() {
            if self.received >= self.startup_buffer {
                self.started_at = Some(now);
                self.anchor = now;
            }
            return;
        }
        if let Some(since) = self.seeking_since {
            if self.received >= self.startup_buffer {
                self.seeks.push(now - since);
                self.anchor = now;
                self.seeking_since = None;
            }
            return;
        }
        if let Some(since) = self.stalled_since {
            let played = since - self.anchor;
            if self.received >= played + RESUME_US {
                self.stalled += now - since;
                self.anchor += now - since;
                self.stalled_since = None;
            }
        }
    }

    /// When it runs out of media, if it plays.
    pub fn empty_at(&self) -> Option<u64> {
        let plays = self.started_at.is_some() && self.seeking_since.is_none();
        plays.then(|| self.anchor + self.received)
    }

    /// It jumps: what it has is thrown away, and waiting from here on is no stall.
    pub fn seek(&mut self, to: u64, now: u64) {
        self.end(now);
        self.received = 0;
        self.next = Some(to);
        if self.started_at.is_some() {
            self.seeking_since.get_or_insert(now);
        }
    }

    /// Times from a seek to playback.
    pub fn seeks(&self) -> &[u64] {
        &self.seeks
    }

    fn note_stall(&mut self, now: u64) {
        if self.stalled_since.is_none()
            && let Some(empty_at) = self.empty_at()
            && empty_at < now
        {
            self.stalled_since = Some(empty_at);
        }
    }

    /// Whether it has so much ahead that it asks for nothing; then, until when.
    pub fn full_until(&self, now: u64) -> Option<u64> {
        let full_until = self.empty_at()?.saturating_sub(AHEAD_MAX_US);
        (full_until > now).then_some(full_until)
    }

    /// It ends, at `now`, and must not be blamed for what was not published by then.
    pub fn end(&mut self, now: u64) {
        self.note_stall(now);
        if let Some(since) = self.stalled_since.take() {
            self.stalled += now - since;
        }
    }

    /// Time from joining to playing; none if it never played.
    pub fn startup(&self) -> Option<u64> {
        self.started_at.map(|at| at - self.join_at)
    }

    /// Time that it stood still.
    pub const fn stalled(&self) -> u64 {
        self.stalled
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seek_is_no_stall_but_is_timed() {
        let mut player = Player::new(0, 2_000_000);
        player.receive(2_000_000, 1_000_000);
        player.seek(7, 3_500_000);
        assert_eq!((player.stalled(), player.next, player.empty_at()), (500_000, Some(7), None));
        player.receive(1_000_000, 9_000_000);
        player.receive(1_000_000, 9_500_000);
        assert_eq!((player.seeks(), player.empty_at()), (&[6_000_000][..], Some(11_500_000)));
        player.end(11_500_000);
        assert_eq!(player.stalled(), 500_000);
    }

    #[test]
    fn it_starts_stalls_and_goes_on() {
        let mut player = Player::new(1_000_000, 2_000_000);
        player.receive(1_000_000, 1_500_000);
        assert_eq!(player.startup(), None);
        player.receive(1_000_000, 1_800_000);
        assert_eq!(player.startup(), Some(800_000));
        // It has two seconds and gets nothing for three.
        player.receive(100_000, 4_800_000);
        player.receive(1_900_000, 5_000_000);
        assert_eq!(player.stalled(), 1_200_000);
        player.end(6_999_999);
        assert_eq!(player.stalled(), 1_200_000);
        player.end(7_500_000);
        assert_eq!(player.stalled(), 1_700_000);
    }
}
