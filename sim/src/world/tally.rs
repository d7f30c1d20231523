//! What is counted while the world runs.
//!
//! Rule: bytes of media count for the segment that they belong to, whenever they move; control
//! bytes for the second in which they are sent.

use shoal_wire::ObjectId;
use std::collections::BTreeMap;

/// Counts of one run. Bytes are as on the wire.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    /// Per media sequence number, over all renditions.
    pub(crate) by_segment: Vec<Segment>,
    /// Per second.
    pub(crate) by_second: Vec<Second>,
    /// Time from publication to the whole segment at a viewer: segment, µs.
    pub(crate) delays: Vec<(u32, u32)>,
    /// Who changed rendition: viewer, seconds of the world, the new one.
    pub(crate) switches: Vec<(u32, f64, u16)>,
    pub(crate) links_up: u64,
    pub(crate) links_failed: u64,
    pub(crate) plan_changes: u64,
    pub(crate) lost_parents: u64,
    pub(crate) banned: u64,
    pub(crate) honest_banned: u64,
    pub(crate) bad_relayed: u64,
    pub(crate) bad_played: u64,
    /// Bad chunks that each polluter got through to each victim.
    pub(crate) bad_pairs: BTreeMap<(u32, u32), u64>,
    /// By reason: deadline, no source, no peers.
    pub(crate) fallbacks: [u64; 3],
    pub(crate) failed_requests: u64,
}

/// One segment of all renditions.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Segment {
    pub(crate) origin: u64,
    pub(crate) delivered: u64,
    /// How often a player that reaches others got all of it.
    pub(crate) whole: u64,
}

/// One second.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Second {
    pub(crate) origin: u64,
    pub(crate) control: u64,
    pub(crate) delivered: u64,
    pub(crate) viewers: u32,
}

impl Tally {
    fn segment(&mut self, msn: u64) -> &mut Segment {
        let at = usize::try_from(msn).expect("segments are few");
        if self.by_segment.len() <= at {
            self.by_segment.resize(at + 1, Segment::default());
        }
        &mut self.by_segment[at]
    }

    pub(crate) fn second(&mut self, now: u64) -> &mut Second {
        let at = usize::try_from(now / 1_000_000).expect("runs are short");
        if self.by_second.len() <= at {
            self.by_second.resize(at + 1, Second::default());
        }
        &mut self.by_second[at]
    }

    /// The origin sent media, or headers, of an object.
    pub(crate) fn origin_bytes(&mut self, object: ObjectId, bytes: u64, now: u64) {
        self.segment(object.msn).origin += bytes;
        self.second(now).origin += bytes;
    }

    /// Most bad chunks that one polluter got through to one victim.
    pub(crate) fn bad_per_pair_max(&self) -> u64 {
        self.bad_pairs.values().max().copied().unwrap_or(0)
    }

    /// The origin sent something else.
    pub(crate) fn control_bytes(&mut self, bytes: u64, now: u64) {
        self.second(now).control += bytes;
    }

    /// A player that reaches others received all of a segment.
    pub(crate) fn whole_segment(&mut self, msn: u64) {
        self.segment(msn).whole += 1;
    }

    /// A player received media.
    pub(crate) fn delivered_bytes(&mut self, msn: u64, bytes: u64, now: u64) {
        self.segment(msn).delivered += bytes;
        self.second(now).delivered += bytes;
    }
}
