//! Players' requests: bytes in order, as they come.

use crate::clock::{Inherited, Need, Place};
use crate::engine::Engine;
use crate::feed::Rendition;
use crate::input::{ByteRange, OriginFailure, RequestId};
use crate::object::{Cell, Object};
use crate::origin::Origin;
use crate::output::Output;
use alloc::vec::Vec;
use bytes::Bytes;
use core::time::Duration;
use shoal_wire::{ClientMessage, Instant, ObjectId, RenditionId};

/// A request that is not answered to the end yet.
#[derive(Debug)]
pub(crate) struct Request {
    pub(crate) object: ObjectId,
    /// The first byte that was asked for.
    start: u32,
    /// The next byte to hand over.
    cursor: u32,
    end: Option<u32>,
    started: bool,
    lateness_noted: bool,
}

impl Engine {
    pub(crate) fn on_request(
        &mut self,
        id: RequestId,
        object: ObjectId,
        range: ByteRange,
        duration: Option<Duration>,
        now: Instant,
    ) {
        if self.requests.len() >= self.config.requests_max {
            let failure = OriginFailure::Status(503);
            self.push(Output::Failed { id, failure });
            return;
        }
        let need = self.note_need(object, duration, now);
        let jitter = self.random(20);
        let retry_at = self.origin.retry_at(now);
        let entry = self.store.ensure(object, now, jitter);
        let wanted_by = match need {
            Need::Start => now,
            Need::At(at) => at,
        };
        entry.deadline = Some(entry.deadline.map_or(wanted_by, |at| at.min(wanted_by)));
        entry.direct |= need == Need::Start;
        entry.asked_at.get_or_insert(now);
        // A player that asks again begins anew, and what it waits for does not wait behind others.
        entry.first_failure = None;
        let soon = if entry.failures > 0 { retry_at } else { now };
        entry.origin_at = entry.origin_at.min(soon);
        if entry.is_complete() {
            self.store.note_complete(&object);
        }
        let request = Request {
            object,
            start: range.start,
            cursor: range.start,
            end: range.end,
            started: false,
            lateness_noted: false,
        };
        self.requests.insert(id, request);
        self.watch(object, now);
        self.note_front(object, now);
        self.ask_for_digest(object);
        self.serve(object, now);
        self.consider(object, now);
    }

    /// When the player that asks for `object` needs it.
    fn note_need(&mut self, object: ObjectId, told: Option<Duration>, now: Instant) -> Need {
        let known = self.store.object(&object).and_then(|o| o.digest.as_ref()).map(|d| d.duration);
        let (id, place) = (object.rendition, Place::of(&object));
        let inherited = self.inherited(id, place, now);
        let rendition = self.rendition_mut(id);
        let len = known.or(told).unwrap_or(rendition.segment_len);
        let goes_on = rendition.clocks.knows(place);
        let need = rendition.clocks.request(place, len, inherited, now);
        if goes_on {
            self.disinherit_heirs(id, place, now);
        }
        need
    }

    /// What a player that asks for `place` of a rendition brings from another one, if it is
    /// new there.
    fn inherited(&self, rendition: RenditionId, place: Place, now: Instant) -> Option<Inherited> {
        if self.renditions.get(&rendition).is_some_and(|state| state.clocks.knows(place)) {
            return None;
        }
        let others = self.renditions.iter().filter(|(id, _)| **id != rendition);
        let from = |(id, state): (&RenditionId, &Rendition)| {
            let needed_at = state.clocks.hand_down(place, now)?;
            Some(Inherited { from: *id, needed_at })
        };
        others.filter_map(from).min_by_key(|inherited| inherited.needed_at)
    }

    /// A player goes on in a rendition that it seemed to have left.
    fn disinherit_heirs(&mut self, rendition: RenditionId, place: Place, now: Instant) {
        let others: Vec<_> =
            self.renditions.keys().copied().filter(|id| *id != rendition).collect();
        for other in others {
            if self.rendition_mut(other).clocks.disinherit(rendition, place, now) {
                self.move_deadlines(other);
            }
        }
    }

    /// The player needs `object` at `at`, and what it asked for after it accordingly.
    pub(crate) fn on_playhead(&mut self, object: ObjectId, at: Instant, now: Instant) {
        let rendition = object.rendition;
        let state = self.rendition_mut(rendition);
        let len = state.segment_len;
        state.clocks.playhead(Place::of(&object), at, len, now);
        self.move_deadlines(rendition);
    }

    /// Players' clocks moved: what they wait for is needed at other instants.
    fn move_deadlines(&mut self, rendition: RenditionId) {
        let asked: Vec<_> = self.requests.values().map(|request| request.object).collect();
        for object in asked {
            let place = Place::of(&object);
            let needed = self.renditions.get(&rendition).and_then(|r| r.clocks.asked(place));
            if object.rendition == rendition
                && let Some(needed) = needed
                && let Some(entry) = self.store.object_mut(&object)
                && entry.deadline.is_some()
            {
                entry.deadline = Some(needed);
            }
        }
    }

    /// The digest of a requested object comes with the plan or from a neighbour; where it does
    /// not, the server is asked for it.
    fn ask_for_digest(&mut self, object: ObjectId) {
        let Some(entry) = self.store.object_mut(&object) else {
            return;
        };
        if entry.digest.is_some() || entry.asked_for_digest {
            return;
        }
        let asked = self.session.is_welcome() || self.ask_origin_for_digest(object);
        // Without a session, this says nothing.
        self.tell_server(ClientMessage::WantDigests { objects: [object].into() });
        if let Some(entry) = self.store.object_mut(&object) {
            entry.asked_for_digest = asked;
        }
    }

    pub(crate) fn on_cancel_request(&mut self, id: RequestId) {
        let Some(request) = self.requests.remove(&id) else {
            return;
        };
        let object = request.object;
        if self.requests.values().any(|r| r.object == object) {
            return;
        }
        if let Some(entry) = self.store.object_mut(&object) {
            entry.deadline = None;
        }
        if let Some(state) = self.renditions.get_mut(&object.rendition) {
            state.clocks.give_up(Place::of(&object));
        }
        // On demand, nothing is fetched from the origin that no player asked for.
        let wanted = self.renditions.get(&object.rendition).is_some_and(|r| r.wants(&object));
        if !wanted || self.is_on_demand(object.rendition) {
            self.cancel_fetches(object);
        }
    }

    pub(crate) fn on_stop_watching(&mut self, rendition: RenditionId) {
        let Some(state) = self.renditions.get_mut(&rendition) else {
            return;
        };
        if state.first.take().is_none() {
            return;
        }
        state.clocks.clear();
        state.feeds.clear();
        state.demand = None;
        self.tell_server(ClientMessage::Unwatch { rendition });
        let peers: Vec<_> = self.neighbours.keys().copied().collect();
        for peer in peers {
            self.tell(peer, shoal_wire::PeerMessage::Forget { rendition });
        }
        let idle: Vec<_> =
            self.store.incomplete().into_iter().filter(|id| id.rendition == rendition).collect();
        for object in idle {
            if !self.requests.values().any(|r| r.object == object) {
                self.cancel_fetches(object);
            }
        }
    }

    pub(crate) fn cancel_fetches(&mut self, object: ObjectId) {
        for fetch in self.origin.of(object) {
            self.drop_fetch(fetch);
            self.push(Output::OriginCancel { fetch });
        }
    }

    /// Hands over what is here for the requests of `object`.
    pub(crate) fn serve(&mut self, object: ObjectId, now: Instant) {
        let waiting = |(_, request): &(&RequestId, &Request)| request.object == object;
        let ids: Vec<_> = self.requests.iter().filter(waiting).map(|(id, _)| *id).collect();
        for id in ids {
            self.serve_request(id, now);
        }
    }

    fn serve_request(&mut self, id: RequestId, now: Instant) {
        let Some(request) = self.requests.get_mut(&id) else {
            return;
        };
        let Some(object) = self.store.object(&request.object) else {
            return;
        };
        let Some(total) = object.total_len else {
            return;
        };
        let mut outputs = Vec::new();
        if !request.started {
            request.started = true;
            outputs.push(Output::Started { id, total_len: Some(total) });
        }
        let end = request.end.unwrap_or(total).min(total);
        let mut handed = 0u64;
        while request.cursor < end {
            let Some(bytes) = next_bytes(object, &self.origin, request.cursor, end) else {
                break;
            };
            request.cursor += u32::try_from(bytes.len()).unwrap_or(u32::MAX);
            handed += bytes.len() as u64;
            outputs.push(Output::Deliver { id, bytes });
        }
        let done = request.cursor >= end;
        let (place, rendition) = (Place::of(&request.object), request.object.rendition);
        if handed > 0 && !request.lateness_noted {
            request.lateness_noted = true;
            let late = object.deadline.filter(|_| !object.direct).map(|at| now - at);
            self.counters.note_lateness(late.unwrap_or_default());
        }
        self.counters.delivered += handed;
        self.outputs_extend(outputs);
        if handed > 0 {
            let began = self.rendition_mut(rendition).clocks.handed(place, now);
            self.timers.objects_stale |= began;
        }
        if done {
            self.note_handed(id, now);
            self.requests.remove(&id);
            self.push(Output::Delivered { id });
        }
    }

    /// A player has all that it asked for. A range is a piece of a segment and lasts as long in
    /// proportion.
    fn note_handed(&mut self, id: RequestId, now: Instant) {
        let Some(request) = self.requests.get(&id) else { return };
        let Some(entry) = self.store.object(&request.object) else { return };
        let (Some(total), Some(asked_at)) = (entry.total_len, entry.asked_at) else { return };
        let rendition = self.renditions.get(&request.object.rendition);
        let known = entry.digest.as_ref().map(|digest| digest.duration);
        let len = known.or(rendition.map(|it| it.segment_len)).unwrap_or_default();
        let handed = request.cursor.saturating_sub(request.start);
        let share = u64::from(handed) * 1000 / u64::from(total.max(1));
        let len = len.saturating_mul(u32::try_from(share).unwrap_or(1000)) / 1000;
        self.counters.note_handed(request.object, len, now - asked_at);
    }

    fn outputs_extend(&mut self, outputs: Vec<Output>) {
        for output in outputs {
            self.push(output);
        }
    }

    /// The origin does not have `object`: its requests end with the origin's own answer.
    pub(crate) fn fail_requests(&mut self, object: ObjectId, failure: OriginFailure) {
        let waiting = |(_, request): &(&RequestId, &Request)| request.object == object;
        let ids: Vec<_> = self.requests.iter().filter(waiting).map(|(id, _)| *id).collect();
        for id in ids {
            self.requests.remove(&id);
            self.push(Output::Failed { id, failure });
        }
    }
}

/// The bytes of `object` at `cursor`, as far as they are here in one piece.
fn next_bytes(object: &Object, origin: &Origin, cursor: u32, end: u32) -> Option<Bytes> {
    if let Some(digest) = &object.digest {
        let chunk = cursor / digest.chunk_size;
        let start = chunk * digest.chunk_size;
        let (Cell::Held { bytes, .. } | Cell::Local(bytes)) = object.cells.get(chunk as usize)?
        else {
            return None;
        };
        let to = (end - start).min(u32::try_from(bytes.len()).unwrap_or(u32::MAX));
        let from = cursor - start;
        return (from < to).then(|| bytes.slice(from as usize..to as usize));
    }
    if let Some(whole) = &object.undigested {
        let to = (end as usize).min(whole.len());
        return ((cursor as usize) < to).then(|| whole.slice(cursor as usize..to));
    }
    let fetch = origin.fetch(object.raw_fetch?)?;
    let here = fetch.tail.get((cursor.checked_sub(fetch.base)?) as usize..)?;
    let here = &here[..here.len().min((end - cursor) as usize)];
    (!here.is_empty()).then(|| Bytes::copy_from_slice(here))
}
