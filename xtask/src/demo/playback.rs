//! What one player's playback was like: start-up, stalls, latency.
//!
//! Rule: pure, and it only knows what the player itself said and when. A stall is 100 ms or more of
//! waiting after start-up; media skipped or repeated by more than 100 ms is one too.

use super::timeline::Place;

/// Waiting shorter than this is no stall.
pub(crate) const STALL_S_MIN: f64 = 0.1;

/// Positions are compared between windows of this length, by the most timely report of each, so
/// that a report that was late on its way here does not look like a player that waited.
const WINDOW_S: f64 = 1.0;

/// A window cut short holds too few reports to be compared.
const WINDOW_S_MIN: f64 = 0.3;

/// mpv announces the first frame after a discontinuity while the last ones before it still play.
const SETTLING_S: f64 = 1.0;

/// A player that says nothing for so long while it should play is waiting.
const SILENCE_S_MAX: f64 = 2.0;

/// A stall and how long it was.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Stall {
    /// When it ended.
    pub(crate) at_s: f64,
    /// Seconds waited, or seconds skipped or repeated.
    pub(crate) seconds: f64,
    /// How it showed.
    pub(crate) kind: StallKind,
}

/// A seek.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Seek {
    /// When it was asked for.
    pub(crate) at_s: f64,
    /// Seconds from then to the first frame of the new place.
    pub(crate) answered_s: Option<f64>,
}

/// How a stall showed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum StallKind {
    /// The player said that it waited for data.
    Waited,
    /// The position went on later than it should have (or back).
    Late,
    /// The position jumped ahead.
    Skipped,
    /// The player ended or fell silent.
    Ended,
}

/// The smallest wall-clock-minus-media offset of one window.
#[derive(Clone, Copy, Debug)]
struct Window {
    start_s: f64,
    offset_s: f64,
    latency_s: Option<f64>,
}

/// One player's record. All times are Unix seconds.
#[derive(Debug, Default)]
pub(crate) struct Playback {
    started_s: Option<f64>,
    first_frame_s: Option<f64>,
    waiting_since_s: Option<f64>,
    waited_in_window_s: f64,
    last_report_s: f64,
    unsettled_until_s: f64,
    window: Option<Window>,
    previous_offset_s: Option<f64>,
    stalls: Vec<Stall>,
    seeks: Vec<Seek>,
    latencies_s: Vec<f64>,
    ended_s: Option<f64>,
}

impl Playback {
    /// The player's process was started.
    pub(crate) fn start(&mut self, now_s: f64) {
        self.started_s = Some(now_s);
    }

    /// The first frame was shown.
    pub(crate) fn first_frame(&mut self, now_s: f64) {
        if self.first_frame_s.is_none() {
            self.first_frame_s = Some(now_s);
            self.last_report_s = now_s;
        }
    }

    /// The player started its clocks anew, at a discontinuity of the stream: what it says of its
    /// position right then is not what it shows. Positions before and after are still compared.
    pub(crate) fn clocks_restarted(&mut self, now_s: f64) {
        if let Some(seek) = self.seeks.last_mut().filter(|seek| seek.answered_s.is_none()) {
            seek.answered_s = Some(now_s - seek.at_s);
            self.last_report_s = now_s;
        }
        self.close_window(now_s);
        self.unsettled_until_s = now_s + SETTLING_S;
    }

    /// The player was told to go on elsewhere: until it shows a frame from there, it seeks, and
    /// neither waits nor plays.
    pub(crate) fn seek(&mut self, now_s: f64) {
        if self.ended_s.is_some() {
            return;
        }
        self.waiting(false, now_s);
        self.close_window(now_s);
        self.previous_offset_s = None;
        self.seeks.push(Seek { at_s: now_s, answered_s: None });
    }

    fn is_seeking(&self) -> bool {
        self.seeks.last().is_some_and(|seek| seek.answered_s.is_none())
    }

    /// The player waits for data, or no longer does.
    pub(crate) fn waiting(&mut self, waits: bool, now_s: f64) {
        let waits = waits && !self.is_seeking();
        match (self.waiting_since_s, waits) {
            (None, true) if self.first_frame_s.is_some() => {
                self.close_window(now_s);
                self.waiting_since_s = Some(now_s);
            }
            (Some(since_s), false) => {
                self.waiting_since_s = None;
                self.last_report_s = now_s;
                let seconds = now_s - since_s;
                self.waited_in_window_s += seconds;
                self.note(now_s, seconds, StallKind::Waited);
            }
            (None, true | false) | (Some(_), true) => {}
        }
    }

    /// The player is at `place`.
    pub(crate) fn position(&mut self, place: Place, now_s: f64) {
        let plays = self.first_frame_s.is_some() && self.ended_s.is_none();
        if !plays || self.waiting_since_s.is_some() || self.is_seeking() {
            return;
        }
        self.last_report_s = now_s;
        if now_s < self.unsettled_until_s {
            return;
        }
        if self.window.is_some_and(|window| now_s >= window.start_s + WINDOW_S) {
            self.close_window(now_s);
        }
        let offset_s = now_s - place.media_s;
        let latency_s = place.date_s.map(|date_s| now_s - date_s);
        let window = self.window.get_or_insert(Window { start_s: now_s, offset_s, latency_s });
        if offset_s < window.offset_s {
            (window.offset_s, window.latency_s) = (offset_s, latency_s);
        }
    }

    /// The player ended, or the run did (`expected`).
    pub(crate) fn end(&mut self, expected: bool, now_s: f64) {
        if self.ended_s.is_some() || self.started_s.is_none() {
            return;
        }
        self.waiting(false, now_s);
        let since_s =
            if self.first_frame_s.is_some() { Some(self.last_report_s) } else { self.started_s };
        let silent_s = since_s.map_or(0.0, |since_s| now_s - since_s);
        self.close_window(now_s);
        let started = self.first_frame_s.is_some();
        if !expected || (started && silent_s > SILENCE_S_MAX) {
            self.note(now_s, silent_s.max(STALL_S_MIN), StallKind::Ended);
        }
        self.ended_s = Some(now_s);
    }

    fn close_window(&mut self, now_s: f64) {
        let Some(window) = self.window.take() else { return };
        if now_s - window.start_s < WINDOW_S_MIN {
            return;
        }
        self.latencies_s.extend(window.latency_s);
        if let Some(previous_s) = self.previous_offset_s {
            // What it admitted to have waited is noted already.
            let moved_s = window.offset_s - previous_s - self.waited_in_window_s;
            let kind = if moved_s > 0.0 { StallKind::Late } else { StallKind::Skipped };
            self.note(now_s, moved_s.abs(), kind);
        }
        self.previous_offset_s = Some(window.offset_s);
        self.waited_in_window_s = 0.0;
    }

    fn note(&mut self, at_s: f64, seconds: f64, kind: StallKind) {
        if seconds >= STALL_S_MIN {
            self.stalls.push(Stall { at_s, seconds, kind });
        }
    }

    /// Seconds from the player's start to its first frame.
    pub(crate) fn startup_s(&self) -> Option<f64> {
        Some(self.first_frame_s? - self.started_s?)
    }

    /// All stalls so far.
    pub(crate) fn stalls(&self) -> &[Stall] {
        &self.stalls
    }

    /// All seeks so far.
    pub(crate) fn seeks(&self) -> &[Seek] {
        &self.seeks
    }

    /// Median latency over the playback, seconds.
    pub(crate) fn latency_s(&self) -> Option<f64> {
        super::figures::median(self.latencies_s.iter().copied())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Plays from `from_s` to `to_s` at 25 reports per second, each `behind_s` behind the clock.
    fn play(playback: &mut Playback, from_s: f64, to_s: f64, behind_s: f64) {
        let frames = ((to_s - from_s) * 25.0) as u32;
        for frame in 0..frames {
            let now_s = from_s + f64::from(frame) / 25.0;
            let media_s = now_s - behind_s;
            playback.position(Place { media_s, date_s: Some(media_s) }, now_s);
        }
    }

    fn started() -> Playback {
        let mut playback = Playback::default();
        playback.start(100.0);
        playback.first_frame(100.25);
        playback
    }

    fn stalls(playback: &Playback) -> Vec<(StallKind, i64)> {
        let ms = |seconds: f64| (seconds * 1000.0).round() as i64;
        playback.stalls().iter().map(|stall| (stall.kind, ms(stall.seconds))).collect()
    }

    #[test]
    fn smooth_playback() {
        let mut playback = started();
        play(&mut playback, 100.25, 130.0, 6.0);
        playback.end(true, 130.0);
        assert_eq!(playback.startup_s(), Some(0.25));
        assert!((playback.latency_s().unwrap() - 6.0).abs() < 1e-6);
        assert_eq!(stalls(&playback), []);
    }

    #[test]
    fn a_wait_counts_once() {
        let mut playback = started();
        play(&mut playback, 100.25, 110.0, 6.0);
        playback.waiting(true, 110.0);
        playback.waiting(false, 110.7);
        play(&mut playback, 110.7, 120.0, 6.7);
        playback.end(true, 120.0);
        assert_eq!(stalls(&playback), [(StallKind::Waited, 700)]);
    }

    #[test]
    fn jumps_count_in_both_directions_and_jitter_does_not() {
        let mut playback = started();
        play(&mut playback, 100.25, 105.0, 6.0);
        playback.position(Place { media_s: 98.5, date_s: None }, 105.0); // said 0.5 s late
        play(&mut playback, 105.04, 110.0, 6.0);
        play(&mut playback, 110.0, 115.0, 4.0);
        play(&mut playback, 115.0, 120.0, 4.3);
        play(&mut playback, 120.0, 125.0, 4.35);
        playback.end(true, 125.0);
        assert_eq!(stalls(&playback), [(StallKind::Skipped, 2000), (StallKind::Late, 300)]);
    }

    #[test]
    fn a_discontinuity_is_no_stall_but_hides_none() {
        let mut playback = started();
        play(&mut playback, 100.25, 105.0, 6.0);
        playback.clocks_restarted(105.0);
        play(&mut playback, 105.0, 105.4, 5.7);
        play(&mut playback, 105.4, 110.0, 6.03);
        playback.clocks_restarted(110.0);
        play(&mut playback, 110.5, 115.0, 6.5);
        playback.end(true, 115.0);
        assert_eq!(stalls(&playback), [(StallKind::Late, 470)]);
    }

    #[test]
    fn a_seek_is_no_stall_and_is_answered_by_a_frame() {
        let mut playback = started();
        play(&mut playback, 100.25, 110.0, 6.0);
        playback.seek(110.0);
        playback.waiting(true, 110.1);
        play(&mut playback, 110.1, 110.4, 6.0);
        playback.waiting(false, 110.4);
        playback.clocks_restarted(110.5);
        play(&mut playback, 110.5, 115.0, -60.0);
        playback.waiting(true, 115.0);
        playback.waiting(false, 115.25);
        playback.seek(116.0);
        playback.end(true, 116.5);
        assert_eq!(stalls(&playback), [(StallKind::Waited, 250)]);
        let answers: Vec<_> = playback.seeks().iter().map(|seek| seek.answered_s).collect();
        assert_eq!(answers, [Some(0.5), None]);
    }

    #[test]
    fn a_player_that_falls_silent_or_dies_has_stalled() {
        let mut playback = started();
        play(&mut playback, 100.25, 110.0, 6.0);
        playback.end(true, 115.0);
        assert_eq!(playback.stalls().len(), 1);
        assert_eq!(playback.stalls()[0].kind, StallKind::Ended);
        let mut playback = started();
        play(&mut playback, 100.25, 110.0, 6.0);
        playback.end(false, 110.0);
        assert_eq!(playback.stalls().len(), 1);
    }
}
