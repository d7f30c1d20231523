//! Things that wait somewhere in the world, named by small numbers, so that events stay small.

/// A store whose free places are used again.
#[derive(Debug)]
pub(crate) struct Slab<T> {
    places: Vec<Option<T>>,
    free: Vec<u32>,
}

impl<T> Slab<T> {
    pub(crate) const fn new() -> Self {
        Self { places: Vec::new(), free: Vec::new() }
    }

    pub(crate) fn put(&mut self, thing: T) -> u32 {
        if let Some(at) = self.free.pop() {
            self.places[at as usize] = Some(thing);
            return at;
        }
        self.places.push(Some(thing));
        (self.places.len() - 1) as u32
    }

    pub(crate) fn take(&mut self, at: u32) -> Option<T> {
        let thing = self.places.get_mut(at as usize)?.take();
        if thing.is_some() {
            self.free.push(at);
        }
        thing
    }
}
