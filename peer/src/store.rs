//! The objects that the viewer holds, within a byte limit.

use crate::object::Object;
use crate::table::Table;
use crate::uplink::Uplink;
use alloc::vec::Vec;
use shoal_wire::{Instant, ObjectId};

/// Objects by id; the incomplete ones are also listed apart, because they have timers.
#[derive(Debug, Default)]
pub(crate) struct Store {
    objects: Table<ObjectId, Object>,
    incomplete: Vec<ObjectId>,
    bytes: usize,
}

impl Store {
    pub(crate) fn object(&self, id: &ObjectId) -> Option<&Object> {
        self.objects.get(id)
    }

    pub(crate) fn object_mut(&mut self, id: &ObjectId) -> Option<&mut Object> {
        self.objects.get_mut(id)
    }

    /// The object, made if it is new. `jitter_percent` is for a new one.
    pub(crate) fn ensure(
        &mut self,
        id: ObjectId,
        now: Instant,
        jitter_percent: u32,
    ) -> &mut Object {
        if let Err(at) = self.incomplete.binary_search(&id) {
            self.incomplete.insert(at, id);
        }
        self.objects.get_or_insert_with(id, || Object::new(now, jitter_percent))
    }

    pub(crate) fn note_bytes(&mut self, added: usize) {
        self.bytes += added;
    }

    pub(crate) fn note_removed(&mut self, removed: usize) {
        self.bytes = self.bytes.saturating_sub(removed);
    }

    pub(crate) fn note_complete(&mut self, id: &ObjectId) {
        if let Ok(at) = self.incomplete.binary_search(id) {
            self.incomplete.remove(at);
        }
    }

    pub(crate) const fn bytes(&self) -> usize {
        self.bytes
    }

    pub(crate) fn len(&self) -> usize {
        self.objects.len()
    }

    pub(crate) fn incomplete(&self) -> Vec<ObjectId> {
        self.incomplete.clone()
    }

    pub(crate) fn iter_incomplete(&self) -> impl Iterator<Item = (&ObjectId, &Object)> {
        self.incomplete.iter().filter_map(|id| Some((id, self.objects.get(id)?)))
    }

    /// Objects of a rendition from `from` on, in order.
    pub(crate) fn from(&self, from: ObjectId) -> impl Iterator<Item = (&ObjectId, &Object)> {
        self.objects.from(&from).take_while(move |(id, _)| id.rendition == from.rendition)
    }

    pub(crate) fn iter(&self) -> impl DoubleEndedIterator<Item = (&ObjectId, &Object)> {
        self.objects.iter()
    }

    /// Forgets the oldest objects until the limits hold, sparing those that `in_use` names.
    pub(crate) fn evict(
        &mut self,
        bytes_max: usize,
        objects_max: usize,
        in_use: impl Fn(&ObjectId) -> bool,
        uplink: &mut Uplink,
    ) -> Vec<(ObjectId, Object)> {
        let mut gone = Vec::new();
        while self.bytes > bytes_max || self.objects.len() > objects_max {
            let oldest = self.objects.iter().filter(|(id, _)| !in_use(id)).min_by_key(|(id, o)| {
                // Oldest by when it was learned, then by name.
                (o.known_at, **id)
            });
            let Some(id) = oldest.map(|(id, _)| *id) else {
                break;
            };
            let Some(object) = self.objects.remove(&id) else { break };
            self.bytes = self.bytes.saturating_sub(object.bytes_held());
            self.note_complete(&id);
            uplink.forget_object(&id);
            gone.push((id, object));
        }
        gone
    }
}
