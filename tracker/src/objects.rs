//! Objects as the origin publishes them: rate, shape, and who is told.
//!
//! Rule: a digest goes to the roots only; the others get it from their parents.

use crate::input::Published;
use crate::output::Output;
use crate::peers::kbps;
use crate::shared::Core;
use crate::swarm::{Shape, Swarm};
use shoal_wire::{ObjectId, SUBSTREAMS_MAX};

impl Swarm {
    /// Notes a new object; says whether it is the first, which gives the rendition its shape.
    pub(crate) fn take_object(&mut self, core: &mut Core, published: Published) -> bool {
        self.recent.push_back(published.object);
        self.segment_len = published.duration;
        self.is_on_demand = false;
        while self.recent.len() > usize::from(core.config.start_digests_max) {
            self.recent.pop_front();
        }
        let rate_kbps = kbps(published.size.per(published.duration)).max(1);
        let chunk_bits = published.chunk_size.saturating_mul(8);
        match &mut self.shape {
            Some(shape) => {
                // An eighth of each new object: scenes differ, the plan should not.
                let smoothed = (u64::from(shape.rate_kbps) * 7 + u64::from(rate_kbps)) / 8;
                shape.rate_kbps = u32::try_from(smoothed).unwrap_or(u32::MAX).max(1);
                shape.chunk_bits = chunk_bits;
                false
            }
            None => {
                let substreams = published.substreams.clamp(1, SUBSTREAMS_MAX);
                self.set_shape(core, Shape { substreams, chunk_bits, rate_kbps });
                true
            }
        }
    }

    /// Sends an object's digest to the roots.
    pub(crate) fn announce(&self, core: &mut Core, object: ObjectId) {
        let id = |member| core.peers.peer(self.member(member).peer).id;
        let peers: alloc::vec::Vec<_> = self.roots().map(id).collect();
        if !peers.is_empty() {
            core.emit(Output::Digest { object, peers });
        }
    }
}
