//! How viewers' addresses are translated, counted.
//!
//! Rule: a viewer counts once, and as unknown until it says.

use serde::Serialize;
use shoal_wire::tracker_message::Mapping;

/// Viewers by mapping.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Mappings {
    unknown: usize,
    stable: usize,
    symmetric: usize,
}

impl Mappings {
    /// The count of those.
    pub(super) const fn count(&mut self, mapping: Mapping) -> &mut usize {
        match mapping {
            Mapping::Unknown => &mut self.unknown,
            Mapping::Stable => &mut self.stable,
            Mapping::Symmetric => &mut self.symmetric,
        }
    }

    /// All counts, under the names that the metrics have.
    pub(super) const fn labelled(self) -> [(&'static str, usize); 3] {
        [("unknown", self.unknown), ("stable", self.stable), ("symmetric", self.symmetric)]
    }
}
