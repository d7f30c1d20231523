//! What a scenario does to the world at set times: outages of a network, the tracker, the origin.

use super::server::Session;
use super::{Event, World};
use shoal_peer::Input;
use shoal_tracker::{Config, Tracker};

/// Time until both ends of a dead link know, s.
const SILENCE_S: [f64; 2] = [4.0, 8.0];
/// Time between two tries of the server, which follows the origin, while that fails: this part of
/// the time for which it has failed, and within these, s.
const FOLLOW_RETRY_DIVISOR: f64 = 400.0;
const FOLLOW_RETRY_S: [f64; 2] = [0.05, 0.7];
/// Time that it takes to read a playlist and a segment, µs.
const FOLLOW_US: u64 = 20_000;
/// Time within which viewers come back to a server, s.
const RECONNECT_S: f64 = 3.0;

/// One step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    OutageBegins,
    OutageEnds,
    TrackerStops,
    TrackerStarts,
    OriginSlow,
    OriginStops,
    OriginStarts,
}

impl World<'_> {
    pub(crate) fn prepare_script(&mut self) {
        let s = self.settings;
        let mut steps = Vec::new();
        if s.outage_share > 0.0 {
            steps.push((s.outage_at_s, Step::OutageBegins));
            steps.push((s.outage_at_s + s.outage_s, Step::OutageEnds));
        }
        if s.tracker_down_s > 0.0 && self.peers {
            steps.push((s.tracker_down_at_s, Step::TrackerStops));
            steps.push((s.tracker_down_at_s + s.tracker_down_s, Step::TrackerStarts));
        }
        if s.origin_slow_s > 0.0 {
            steps.push((s.origin_slow_at_s, Step::OriginSlow));
        }
        if s.origin_down_s > 0.0 {
            steps.push((s.origin_down_at_s, Step::OriginStops));
            steps.push((s.origin_down_at_s + s.origin_down_s, Step::OriginStarts));
        }
        for (at_s, step) in steps {
            self.queue.push(self.at_second(at_s), Event::Script(step));
        }
    }

    pub(crate) fn on_script(&mut self, step: Step) {
        match step {
            Step::OutageBegins => self.begin_outage(),
            Step::OutageEnds => self.end_outage(),
            Step::TrackerStops => self.stop_tracker(),
            Step::TrackerStarts => self.start_tracker(),
            Step::OriginSlow => {
                self.origin.slow_until = self.now + (self.settings.origin_slow_s * 1e6) as u64;
            }
            Step::OriginStops => self.origin.is_down = true,
            Step::OriginStarts => {
                self.origin.is_down = false;
                self.origin.back_at = self.now;
                let [least, most] = FOLLOW_RETRY_S;
                let retry_s =
                    (self.settings.origin_down_s / FOLLOW_RETRY_DIVISOR).clamp(least, most);
                let noticed_us = (self.random.unit() * retry_s * 1e6) as u64;
                self.queue.push(self.now + noticed_us + FOLLOW_US, Event::Announce);
            }
        }
    }

    fn begin_outage(&mut self) {
        self.in_outage = true;
        for viewer in 0..self.viewers.len() as u32 {
            if !self.instance.viewers[viewer as usize].in_outage {
                continue;
            }
            self.viewers[viewer as usize].cut_off = true;
            for (_, link) in self.viewers[viewer as usize].links.clone() {
                let [least, most] = SILENCE_S;
                let at = self.now + (self.random.between(least, most) * 1e6) as u64;
                self.queue.push(at, Event::LinkDead(link));
            }
            if self.viewers[viewer as usize].session == Session::Up {
                self.end_session(viewer);
                self.feed(viewer, Input::ServerLost);
            }
        }
    }

    fn end_outage(&mut self) {
        self.in_outage = false;
        for viewer in 0..self.viewers.len() as u32 {
            if self.instance.viewers[viewer as usize].in_outage {
                self.viewers[viewer as usize].cut_off = false;
                self.viewers[viewer as usize].back_at = self.now;
                self.reconnect(viewer);
            }
        }
    }

    fn stop_tracker(&mut self) {
        self.tracker = None;
        for viewer in 0..self.viewers.len() as u32 {
            if self.viewers[viewer as usize].session == Session::Up {
                self.viewers[viewer as usize].session = Session::None;
                self.feed(viewer, Input::ServerLost);
            }
        }
    }

    fn start_tracker(&mut self) {
        self.tracker = Some(Tracker::new(Config::default(), self.instance.seed ^ 1));
        self.tell_on_demand();
        for viewer in 0..self.viewers.len() as u32 {
            self.reconnect(viewer);
        }
    }

    fn reconnect(&mut self, viewer: u32) {
        if self.peers {
            let at = self.now + (self.random.unit() * RECONNECT_S * 1e6) as u64;
            self.queue.push(at, Event::Session(viewer));
        }
    }
}
