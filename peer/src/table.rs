//! A small map in two sorted vectors: what an engine knows comes in tens, and is looked up far
//! more often than it changes.
//!
//! Rule: entries are in the order of their keys, as in a tree. The newest keys are looked at first:
//! most of what comes is of the newest objects.

use alloc::vec::Vec;

/// Keys at the end that are tried before the table is searched.
const NEWEST: usize = 4;

/// The map.
#[derive(Clone, Debug)]
pub(crate) struct Table<K, V> {
    keys: Vec<K>,
    values: Vec<V>,
}

impl<K, V> Default for Table<K, V> {
    fn default() -> Self {
        Self::new()
    }
}

impl<K, V> Table<K, V> {
    pub(crate) const fn new() -> Self {
        Self { keys: Vec::new(), values: Vec::new() }
    }

    pub(crate) fn len(&self) -> usize {
        self.keys.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    pub(crate) fn keys(&self) -> core::slice::Iter<'_, K> {
        self.keys.iter()
    }

    pub(crate) fn values_mut(&mut self) -> core::slice::IterMut<'_, V> {
        self.values.iter_mut()
    }

    pub(crate) fn values(&self) -> core::slice::Iter<'_, V> {
        self.values.iter()
    }

    pub(crate) fn iter(&self) -> impl DoubleEndedIterator<Item = (&K, &V)> + ExactSizeIterator {
        self.keys.iter().zip(&self.values)
    }

    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = (&K, &mut V)> {
        self.keys.iter().zip(&mut self.values)
    }
}

impl<K: Ord, V> Table<K, V> {
    /// Where a key is, or where it belongs.
    fn place(&self, key: &K) -> Result<usize, usize> {
        let tried = self.keys.len().saturating_sub(NEWEST);
        for at in (tried..self.keys.len()).rev() {
            match self.keys[at].cmp(key) {
                core::cmp::Ordering::Equal => return Ok(at),
                core::cmp::Ordering::Less => return Err(at + 1),
                core::cmp::Ordering::Greater => {}
            }
        }
        self.keys[..tried].binary_search(key)
    }

    pub(crate) fn contains_key(&self, key: &K) -> bool {
        self.place(key).is_ok()
    }

    pub(crate) fn get(&self, key: &K) -> Option<&V> {
        self.place(key).ok().map(|at| &self.values[at])
    }

    pub(crate) fn get_mut(&mut self, key: &K) -> Option<&mut V> {
        self.place(key).ok().map(|at| &mut self.values[at])
    }

    /// The value of a key, made if it is new.
    pub(crate) fn get_or_insert_with(&mut self, key: K, value: impl FnOnce() -> V) -> &mut V {
        let at = self.place(&key).unwrap_or_else(|at| {
            self.keys.insert(at, key);
            self.values.insert(at, value());
            at
        });
        &mut self.values[at]
    }

    pub(crate) fn insert(&mut self, key: K, value: V) {
        match self.place(&key) {
            Ok(at) => self.values[at] = value,
            Err(at) => {
                self.keys.insert(at, key);
                self.values.insert(at, value);
            }
        }
    }

    pub(crate) fn remove(&mut self, key: &K) -> Option<V> {
        let at = self.place(key).ok()?;
        self.keys.remove(at);
        Some(self.values.remove(at))
    }

    pub(crate) fn remove_first(&mut self) {
        if !self.keys.is_empty() {
            self.keys.remove(0);
            self.values.remove(0);
        }
    }

    /// The entries from `first` on, in order.
    pub(crate) fn from(&self, first: &K) -> impl Iterator<Item = (&K, &V)> + use<'_, K, V> {
        let at = self.keys.partition_point(|key| key < first);
        self.keys[at..].iter().zip(&self.values[at..])
    }

    pub(crate) fn retain(&mut self, mut keep: impl FnMut(&K, &V) -> bool) {
        let mut at = 0;
        while at < self.keys.len() {
            if keep(&self.keys[at], &self.values[at]) {
                at += 1;
            } else {
                self.keys.remove(at);
                self.values.remove(at);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::collections::BTreeMap;

    #[test]
    fn it_behaves_as_a_tree() {
        let (mut table, mut tree) = (Table::new(), BTreeMap::new());
        let mut state = 1u32;
        for step in 0..5_000u32 {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let key = (state >> 16) % 40;
            match state >> 30 {
                0 => assert_eq!(table.remove(&key), tree.remove(&key)),
                1 => assert_eq!(
                    table.get_or_insert_with(key, || step),
                    tree.entry(key).or_insert(step)
                ),
                _ => {
                    table.insert(key, step);
                    tree.insert(key, step);
                }
            }
            assert_eq!(table.get(&key), tree.get(&key));
            assert!(table.iter().eq(tree.iter()));
            assert!(table.from(&key).eq(tree.range(key..)));
        }
    }
}
