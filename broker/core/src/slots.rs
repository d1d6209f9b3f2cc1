//! A table by generational key that never moves what it holds: it grows by chunks. Doubling would
//! copy a hundred thousand topics or sockets within one turn, and leave the old table behind as a
//! hole in the memory. Connections are looked up for every delivery, and a chunk more on the way
//! costs there what it saves; they stay in `slotmap`'s own table.

use std::fmt;
use std::marker::PhantomData;

use slotmap::{Key, KeyData};

/// Slots per chunk, as a power of two: some ten kilobytes of topics.
const CHUNK_BITS: u32 = 8;
const CHUNK_SLOTS: usize = 1 << CHUNK_BITS;

/// A map whose keys it makes itself, and never twice: `slotmap::SlotMap` in chunks.
pub struct Slots<K, V> {
    chunks: Vec<Vec<Slot<V>>>,
    /// The slot that became vacant last.
    vacant: Option<u32>,
    count: usize,
    key: PhantomData<K>,
}

struct Slot<V> {
    /// Odd while it is occupied, and one more with each change.
    version: u32,
    entry: Entry<V>,
}

enum Entry<V> {
    Occupied(V),
    /// The slot that became vacant before it, if that still is.
    Vacant(Option<u32>),
}

impl<K: Key, V> Slots<K, V> {
    /// Entries.
    pub fn len(&self) -> usize {
        self.count
    }

    /// Whether there is no entry.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The entry with this key, unless it was removed.
    #[inline]
    pub fn get(&self, key: K) -> Option<&V> {
        let (index, version) = parts(key);
        let (chunk, place) = place(index);
        match self.chunks.get(chunk)?.get(place)? {
            Slot { version: found, entry: Entry::Occupied(value) } if *found == version => {
                Some(value)
            }
            _ => None,
        }
    }

    /// The entry with this index, whatever its version, and its key.
    pub(crate) fn at(&self, index: u32) -> Option<(K, &V)> {
        let (chunk, place) = place(index);
        match self.chunks.get(chunk)?.get(place)? {
            Slot { version, entry: Entry::Occupied(value) } => Some((key(index, *version), value)),
            Slot { entry: Entry::Vacant(_), .. } => None,
        }
    }

    /// The same, to change it.
    #[inline]
    pub fn get_mut(&mut self, key: K) -> Option<&mut V> {
        match self.slot_mut(key)? {
            Slot { entry: Entry::Occupied(value), .. } => Some(value),
            Slot { entry: Entry::Vacant(_), .. } => None,
        }
    }

    /// Adds an entry and makes its key.
    ///
    /// # Panics
    ///
    /// With more than four thousand million entries.
    pub fn insert(&mut self, value: V) -> K {
        self.count += 1;
        if let Some(index) = self.vacant {
            let (chunk, place) = place(index);
            if let Some(slot) = self.chunks.get_mut(chunk).and_then(|chunk| chunk.get_mut(place))
                && let Entry::Vacant(next) = slot.entry
            {
                self.vacant = next;
                slot.version = slot.version.wrapping_add(1);
                slot.entry = Entry::Occupied(value);
                return key(index, slot.version);
            }
        }
        self.append(Slot { version: 1, entry: Entry::Occupied(value) })
    }

    /// Removes an entry, if it is still there.
    pub fn remove(&mut self, key: K) -> Option<V> {
        let vacant = self.vacant;
        let slot = self.slot_mut(key)?;
        slot.version = slot.version.wrapping_add(1);
        let removed = std::mem::replace(&mut slot.entry, Entry::Vacant(vacant));
        self.vacant = Some(parts(key).0);
        self.count -= 1;
        match removed {
            Entry::Occupied(value) => Some(value),
            Entry::Vacant(_) => None,
        }
    }

    /// Every entry with its key.
    pub fn iter(&self) -> impl Iterator<Item = (K, &V)> {
        self.chunks.iter().flatten().zip(0..).filter_map(|(slot, index)| match &slot.entry {
            Entry::Occupied(value) => Some((key(index, slot.version), value)),
            Entry::Vacant(_) => None,
        })
    }

    /// The occupied slot that a key names.
    fn slot_mut(&mut self, key: K) -> Option<&mut Slot<V>> {
        let (index, version) = parts(key);
        let (chunk, place) = place(index);
        let slot = self.chunks.get_mut(chunk)?.get_mut(place)?;
        (slot.version == version).then_some(slot)
    }

    fn append(&mut self, slot: Slot<V>) -> K {
        let full = self.chunks.last().is_none_or(|chunk| chunk.len() == CHUNK_SLOTS);
        if full {
            self.chunks.push(Vec::with_capacity(CHUNK_SLOTS));
        }
        let before = (self.chunks.len() - 1) << CHUNK_BITS;
        let place = self.chunks.last().map_or(0, Vec::len);
        let index = u32::try_from(before + place);
        assert!(index.is_ok(), "more entries than a key can number");
        let key = key(index.unwrap_or_default(), slot.version);
        if let Some(chunk) = self.chunks.last_mut() {
            chunk.push(slot);
        }
        key
    }
}

/// The index of a key's entry, for [`Slots::at`].
pub(crate) fn index(key: impl Key) -> u32 {
    parts(key).0
}

/// Index and version of a key.
fn parts(key: impl Key) -> (u32, u32) {
    let bits = key.data().as_ffi();
    (bits as u32, (bits >> 32) as u32)
}

fn key<K: Key>(index: u32, version: u32) -> K {
    KeyData::from_ffi(u64::from(version) << 32 | u64::from(index)).into()
}

/// Chunk, and place in it.
fn place(index: u32) -> (usize, usize) {
    let index = index as usize;
    (index >> CHUNK_BITS, index % CHUNK_SLOTS)
}

impl<K, V> Default for Slots<K, V> {
    fn default() -> Self {
        Self { chunks: Vec::new(), vacant: None, count: 0, key: PhantomData }
    }
}

impl<K: Key, V: fmt::Debug> fmt::Debug for Slots<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter()).finish()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use rand::rngs::StdRng;
    use rand::{RngExt as _, SeedableRng as _};

    use super::*;
    use crate::ids::ConnectionId;

    #[test]
    fn it_is_a_map_and_no_key_comes_twice() {
        let mut random = StdRng::from_seed([1; 32]);
        let mut slots = Slots::<ConnectionId, u64>::default();
        let (mut model, mut gone) = (BTreeMap::new(), Vec::new());
        for number in 0..20_000_u64 {
            // It grows over several chunks, and shrinks, and grows.
            let grows = random.random_range(0..1000) < (number / 2500 % 2 * 500 + 250);
            if grows || model.is_empty() {
                let id = slots.insert(number);
                assert!(!gone.contains(&id));
                assert_eq!(model.insert(id, number), None);
            } else {
                let nth = random.random_range(0..model.len());
                let id = *model.keys().nth(nth).unwrap();
                if let Some(value) = slots.get_mut(id) {
                    *value += 1;
                }
                assert_eq!(slots.remove(id), model.remove(&id).map(|value| value + 1));
                gone.push(id);
            }
            assert_eq!((slots.len(), slots.is_empty()), (model.len(), model.is_empty()));
        }
        assert!(model.len() > CHUNK_SLOTS, "{}", model.len());
        for id in gone {
            assert!(slots.get(id).is_none() && slots.remove(id).is_none());
            assert!(slots.get_mut(id).is_none());
        }
        assert!(slots.iter().map(|(id, value)| (id, *value)).collect::<BTreeMap<_, _>>() == model);
        assert!(slots.iter().all(|(id, value)| model.get(&id) == Some(value)));
    }

    #[test]
    fn what_it_holds_stays_where_it_is() {
        let mut slots = Slots::<ConnectionId, u64>::default();
        let first = slots.insert(7);
        let address = std::ptr::from_ref(slots.get(first).unwrap());
        for number in 0..10 * CHUNK_SLOTS as u64 {
            slots.insert(number);
        }
        assert_eq!(std::ptr::from_ref(slots.get(first).unwrap()), address);
    }
}
