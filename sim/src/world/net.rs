//! The network between viewers: uplinks, the associations on them, downlinks, loss.
//!
//! An association is one direction of a data channel over SCTP (RFC 9260): it has a window that
//! starts small, grows with what is acknowledged, shrinks when idle or on loss; a lost tail shows
//! when three more packets have passed or after the minimum retransmission timeout of a second.
//! All associations of a viewer share its uplink in the order in which they hand it pieces.

use super::slab::Slab;
use super::{Event, World};
use crate::instance::Role;
use shoal_peer::Input;
use shoal_wire::{PeerId, PeerMessage};
use std::collections::VecDeque;

/// Payload of a packet.
const PACKET: u32 = 1_200;
/// Window of an association that begins (RFC 9260, 7.2.1).
const WINDOW_FIRST: u32 = 4_380;
/// Most that is on the way at once: the receiver's window.
const WINDOW_MAX: u32 = 256 * 1024;
/// Least time until an unacknowledged packet is sent again (RFC 9260, 16).
const RETRANSMIT_MIN_US: u64 = 1_000_000;
/// Packets after a lost one that show the loss.
const GAP_PACKETS: u8 = 3;
/// What a viewer that shares no upload still has for control messages, bytes per µs.
const CONTROL_RATE: f64 = 0.0625;

/// One direction of a link, named by the link's number and the side that sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Dir(pub(crate) u32);

impl Dir {
    pub(crate) const fn link(self) -> usize {
        (self.0 >> 1) as usize
    }

    const fn side(self) -> usize {
        (self.0 & 1) as usize
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LinkState {
    /// Which sides have begun to open it.
    Opening([bool; 2]),
    Open,
    Closed,
}

/// Two viewers' link.
#[derive(Debug)]
pub(crate) struct Link {
    pub(crate) ends: [u32; 2],
    pub(crate) state: LinkState,
    one_way_us: u32,
    loss: f64,
    dirs: [Association; 2],
}

/// One direction of it.
#[derive(Debug, Default)]
struct Association {
    queue: VecDeque<Outgoing>,
    /// Bytes of chunk messages that have not left yet.
    waiting: u32,
    window: u32,
    /// Below it the window doubles per round trip, above it grows by a packet.
    threshold: u32,
    /// Bytes in the uplink's queue.
    committed: u32,
    /// Bytes on the way, and when each piece is acknowledged.
    flying: u32,
    acks: VecDeque<(u64, u32)>,
    sent_at: u64,
    /// Control messages that leave when so many bytes of the uplink's queue have left.
    riders: Vec<(u32, Outgoing)>,
    /// Whether an event will open the window.
    blocked: bool,
    /// Messages whose tail was lost, their bytes, and packets seen since.
    lost: Vec<(u32, u32, u8)>,
}

#[derive(Clone, Copy, Debug)]
struct Outgoing {
    message: u32,
    bytes: u32,
    left: u32,
    /// Bytes that the sender counts as waiting.
    counted: u32,
}

#[derive(Clone, Copy, Debug)]
struct Piece {
    dir: Dir,
    bytes: u32,
    /// The message that ends with it.
    ends: Option<Outgoing>,
}

/// A viewer's uplink.
#[derive(Debug)]
pub(crate) struct Uplink {
    /// Bytes per µs.
    rate: f64,
    pieces: VecDeque<Piece>,
    busy_until: u64,
    busy: bool,
    /// Time that control messages took, to be added to the next piece, µs.
    debt: f64,
}

impl Uplink {
    pub(crate) fn new(mbps: f64) -> Self {
        let rate = if mbps > 0.0 { mbps / 8.0 } else { CONTROL_RATE };
        Self { rate, pieces: VecDeque::new(), busy_until: 0, busy: false, debt: 0.0 }
    }
}

/// All links and what is on them.
#[derive(Debug)]
pub(crate) struct Net {
    pub(crate) links: Vec<Link>,
    pub(crate) uplinks: Vec<Uplink>,
    messages: Slab<PeerMessage>,
}

impl Net {
    pub(crate) fn new(uplinks: Vec<Uplink>) -> Self {
        Self { links: Vec::new(), uplinks, messages: Slab::new() }
    }

    pub(crate) fn add_link(&mut self, ends: [u32; 2], one_way_us: u32, loss: f64) -> u32 {
        let (window, threshold) = (WINDOW_FIRST, WINDOW_MAX);
        let first = || Association { window, threshold, ..Association::default() };
        let (state, dirs) = (LinkState::Opening([false; 2]), [first(), first()]);
        self.links.push(Link { ends, state, one_way_us, loss, dirs });
        (self.links.len() - 1) as u32
    }

    fn association(&mut self, dir: Dir) -> &mut Association {
        &mut self.links[dir.link()].dirs[dir.side()]
    }

    /// The way from one end.
    pub(crate) fn dir(&self, link: u32, from: u32) -> Dir {
        let side = u32::from(self.links[link as usize].ends[0] != from);
        Dir(link << 1 | side)
    }

    pub(crate) fn from(&self, dir: Dir) -> u32 {
        self.links[dir.link()].ends[dir.side()]
    }

    pub(crate) fn to(&self, dir: Dir) -> u32 {
        self.links[dir.link()].ends[1 - dir.side()]
    }

    pub(crate) fn one_way_us(&self, link: u32) -> u64 {
        u64::from(self.links[link as usize].one_way_us)
    }

    /// Forgets what was on a link.
    pub(crate) fn close(&mut self, link: u32) {
        let link = &mut self.links[link as usize];
        link.state = LinkState::Closed;
        for side in &mut link.dirs {
            for outgoing in side.queue.drain(..) {
                self.messages.take(outgoing.message);
            }
            for (_, outgoing) in side.riders.drain(..) {
                self.messages.take(outgoing.message);
            }
            for (message, _, _) in side.lost.drain(..) {
                self.messages.take(message);
            }
            *side = Association::default();
        }
    }
}

impl World<'_> {
    /// Puts a message of this many wire bytes on an open link.
    pub(crate) fn transmit(&mut self, dir: Dir, message: PeerMessage, bytes: u32) {
        let is_chunk = matches!(message, PeerMessage::Chunk { .. });
        let slot = self.net.messages.put(message);
        let association = self.net.association(dir);
        // Nothing overtakes on one association.
        if !is_chunk && association.queue.is_empty() && association.committed == 0 {
            self.transmit_control(dir, slot, bytes);
            return;
        }
        let counted = if is_chunk { bytes } else { 0 };
        let outgoing = Outgoing { message: slot, bytes, left: bytes, counted };
        if !is_chunk && association.queue.is_empty() {
            association.riders.push((association.committed, outgoing));
            return;
        }
        association.waiting += counted;
        association.queue.push_back(outgoing);
        self.fill_window(dir);
    }

    /// Lets control messages go that waited for this piece.
    fn leave_after(&mut self, piece: Piece) {
        let riders = &mut self.net.association(piece.dir).riders;
        let mut free = 0;
        for (ahead, _) in riders.iter_mut() {
            *ahead = ahead.saturating_sub(piece.bytes);
            free += usize::from(*ahead == 0);
        }
        for _ in 0..free {
            let (_, rider) = self.net.association(piece.dir).riders.remove(0);
            self.transmit_control(piece.dir, rider.message, rider.bytes);
        }
    }

    /// Control messages are small: they go between pieces, and cost the next one their time.
    fn transmit_control(&mut self, dir: Dir, slot: u32, bytes: u32) {
        let from = self.net.from(dir);
        let uplink = &mut self.net.uplinks[from as usize];
        let own = f64::from(bytes) / uplink.rate;
        uplink.debt += own;
        let begin = if uplink.busy { uplink.busy_until.max(self.now) } else { self.now };
        self.leave_network(dir, slot, bytes, begin + own as u64);
    }

    /// Hands the uplink what the window of an association lets through.
    pub(crate) fn fill_window(&mut self, dir: Dir) {
        let now = self.now;
        let from = self.net.from(dir);
        let one_way = self.net.one_way_us(dir.0 >> 1);
        let association = self.net.association(dir);
        association.acknowledge(now, one_way);
        let before = self.net.uplinks[from as usize].pieces.len();
        let Net { links, uplinks, .. } = &mut self.net;
        let association = &mut links[dir.link()].dirs[dir.side()];
        let pieces = &mut uplinks[from as usize].pieces;
        while let Some(front) = association.queue.front_mut() {
            let used = association.flying + association.committed;
            let room = association.window.saturating_sub(used);
            if room < front.left.min(PACKET) && used > 0 {
                break;
            }
            let bytes = front.left.min(room.max(PACKET));
            front.left -= bytes;
            association.committed += bytes;
            let ends = (front.left == 0).then_some(*front);
            pieces.push_back(Piece { dir, bytes, ends });
            if ends.is_some() {
                association.queue.pop_front();
            }
        }
        let waits = !association.queue.is_empty() && !association.blocked;
        if waits && let Some((at, _)) = association.acks.front().copied() {
            association.blocked = true;
            self.queue.push(at, Event::Window(dir));
        }
        if self.net.uplinks[from as usize].pieces.len() > before {
            self.start_uplink(from);
        }
    }

    /// An acknowledgement may have opened the window.
    pub(crate) fn on_window(&mut self, dir: Dir) {
        if self.net.links[dir.link()].state == LinkState::Open {
            self.net.association(dir).blocked = false;
            self.fill_window(dir);
        }
    }

    fn start_uplink(&mut self, viewer: u32) {
        let uplink = &mut self.net.uplinks[viewer as usize];
        if uplink.busy {
            return;
        }
        let Some(piece) = uplink.pieces.front() else { return };
        let time = f64::from(piece.bytes) / uplink.rate + std::mem::take(&mut uplink.debt);
        uplink.busy = true;
        uplink.busy_until = self.now + time.ceil() as u64;
        self.queue.push(uplink.busy_until, Event::Uplink(viewer));
    }

    /// A piece has left.
    pub(crate) fn on_uplink(&mut self, viewer: u32) {
        let uplink = &mut self.net.uplinks[viewer as usize];
        uplink.busy = false;
        let Some(piece) = uplink.pieces.pop_front() else { return };
        self.viewers[viewer as usize].sent_bytes += u64::from(piece.bytes);
        self.leave_after(piece);
        self.start_uplink(viewer);
        if self.net.links[piece.dir.link()].state != LinkState::Open {
            if let Some(outgoing) = piece.ends {
                self.net.messages.take(outgoing.message);
            }
            return;
        }
        let (now, one_way) = (self.now, self.net.one_way_us(piece.dir.0 >> 1));
        let association = self.net.association(piece.dir);
        association.committed -= piece.bytes;
        association.flying += piece.bytes;
        association.sent_at = now;
        association.acks.push_back((now + one_way * 2, piece.bytes));
        if let Some(Outgoing { message, bytes, counted, .. }) = piece.ends {
            association.waiting -= counted;
            let waiting = association.waiting;
            self.leave_network(piece.dir, message, bytes, now);
            if counted > 0 {
                self.tell_buffered(piece.dir, waiting);
            }
        }
        self.fill_window(piece.dir);
    }

    /// Tells a sender what of its messages still waits.
    pub(crate) fn tell_buffered(&mut self, dir: Dir, waiting: u32) {
        let (from, to) = (self.net.from(dir), self.net.to(dir));
        let bytes = (u64::from(waiting) / super::SCALE) as u32;
        self.feed(from, Input::LinkBuffered { peer: peer_id(to), bytes });
    }

    /// The last packet of a message has left at `at`: it arrives, unless packets were lost.
    fn leave_network(&mut self, dir: Dir, message: u32, bytes: u32, at: u64) {
        let packets = bytes.div_ceil(PACKET).max(1);
        let one_way = self.net.one_way_us(dir.0 >> 1);
        self.note_packets(dir, packets, at);
        let loss = self.net.links[dir.link()].loss;
        let mut arrives = at + one_way;
        if loss > 0.0 {
            let lost = 1.0 - (1.0 - loss).powi(packets as i32);
            if self.random.chance(lost) {
                let in_tail = f64::from(packets.min(GAP_PACKETS.into())) / f64::from(packets);
                let association = self.net.association(dir);
                association.window = (association.window / 2).max(WINDOW_FIRST);
                association.threshold = association.window;
                if self.random.chance(in_tail) {
                    self.net.association(dir).lost.push((message, bytes, 0));
                    let timeout = RETRANSMIT_MIN_US.max(one_way * 4);
                    self.queue.push(at + timeout, Event::Retransmit(dir, message));
                    return;
                }
                arrives += one_way * 2;
            }
        }
        self.queue.push(arrives, Event::Arrive(dir, message, bytes));
    }

    /// Later packets show what was lost before.
    fn note_packets(&mut self, dir: Dir, packets: u32, at: u64) {
        if self.net.association(dir).lost.is_empty() {
            return;
        }
        let one_way = self.net.one_way_us(dir.0 >> 1);
        let mut shown = Vec::new();
        self.net.association(dir).lost.retain_mut(|(message, bytes, seen)| {
            *seen = seen.saturating_add(packets.min(255) as u8);
            let shows = *seen >= GAP_PACKETS;
            if shows {
                shown.push((*message, *bytes));
            }
            !shows
        });
        for (message, bytes) in shown {
            self.queue.push(at + one_way * 3, Event::Arrive(dir, message, bytes));
        }
    }

    /// The retransmission timeout of a lost tail.
    pub(crate) fn on_retransmit(&mut self, dir: Dir, message: u32) {
        if self.net.links[dir.link()].state != LinkState::Open {
            return;
        }
        let lost = &mut self.net.association(dir).lost;
        let Some(at) = lost.iter().position(|(lost, _, _)| *lost == message) else { return };
        let (_, bytes, _) = lost.remove(at);
        self.net.association(dir).window = WINDOW_FIRST;
        let at = self.now + self.net.one_way_us(dir.0 >> 1);
        self.queue.push(at, Event::Arrive(dir, message, bytes));
    }

    /// A message has reached the receiver's access line.
    pub(crate) fn on_arrive(&mut self, dir: Dir, slot: u32, bytes: u32) {
        let to = self.net.to(dir);
        let free_at = self.viewers[to as usize].downlink.take(bytes, self.now);
        if free_at > self.now {
            self.queue.push(free_at, Event::Deliver(dir, slot));
        } else {
            self.on_deliver(dir, slot);
        }
    }

    /// A message is through.
    pub(crate) fn on_deliver(&mut self, dir: Dir, slot: u32) {
        let Some(message) = self.net.messages.take(slot) else { return };
        let (from, to) = (self.net.from(dir), self.net.to(dir));
        let cut = |viewer: u32| self.viewers[viewer as usize].cut_off;
        if self.net.links[dir.link()].state == LinkState::Open && !cut(from) && !cut(to) {
            let bad = self.instance.viewers[from as usize].role == Role::Polluter;
            if bad && let PeerMessage::Chunk { chunks, .. } = &message {
                *self.tally.bad_pairs.entry((from, to)).or_default() += u64::from(chunks.count);
            }
            self.feed(to, Input::LinkMessage { peer: peer_id(from), message });
        }
    }
}

impl Association {
    fn acknowledge(&mut self, now: u64, one_way: u64) {
        while let Some((at, bytes)) = self.acks.front().copied()
            && at <= now
        {
            self.acks.pop_front();
            self.flying -= bytes;
            let grown = if self.window < self.threshold {
                self.window + bytes
            } else {
                self.window + (PACKET * bytes / self.window).max(1)
            };
            self.window = grown.min(WINDOW_MAX);
        }
        let idle = now.saturating_sub(self.sent_at);
        let timeout = RETRANSMIT_MIN_US.max(one_way * 4);
        if self.flying + self.committed == 0 && self.sent_at > 0 && idle > timeout {
            let halvings = (idle / timeout).min(8) as u32;
            self.window = (self.window >> halvings).max(WINDOW_FIRST);
        }
    }
}

/// A viewer's downlink.
#[derive(Debug)]
pub(crate) struct Downlink {
    /// Bytes per µs.
    rate: f64,
    free_at: u64,
}

impl Downlink {
    pub(crate) const fn new(mbps: f64) -> Self {
        Self { rate: mbps / 8.0, free_at: 0 }
    }

    /// When bytes that arrive now are through. Alone they are at once: they came no faster.
    pub(crate) fn take(&mut self, bytes: u32, now: u64) -> u64 {
        let time = (f64::from(bytes) / self.rate) as u64;
        if self.free_at <= now {
            self.free_at = now + time;
            return now;
        }
        self.free_at += time;
        self.free_at
    }

    /// When bytes that a fast sender pushes from now on are through.
    pub(crate) fn pull(&mut self, bytes: u64, now: u64) -> u64 {
        let time = (bytes as f64 / self.rate) as u64;
        self.free_at = self.free_at.max(now) + time;
        self.free_at
    }
}

/// The name of a viewer in the protocols.
pub(crate) const fn peer_id(viewer: u32) -> PeerId {
    PeerId(viewer as u64 + 1)
}

/// The viewer of that name.
pub(crate) const fn viewer_of(peer: PeerId) -> u32 {
    (peer.0 - 1) as u32
}
