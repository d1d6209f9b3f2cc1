//! Topics by key and by name. The table of names holds keys only, and looks the names up in the
//! topics themselves: a shard may have as many topics as connections, and twice.

use std::sync::Arc;

use ahash::RandomState;
use hashbrown::HashTable;
use slotmap::Key;

use crate::slots::{Slots, index};

/// What has a name.
pub(super) trait Named {
    fn name(&self) -> &Arc<str>;
}

/// Topics of one kind.
#[derive(Debug)]
pub(super) struct NamedTopics<K: Key, T> {
    topics: Slots<K, T>,
    /// Indices of keys.
    by_name: HashTable<u32>,
    hasher: RandomState,
}

impl<K: Key, T: Named> NamedTopics<K, T> {
    pub(super) fn new(hasher: RandomState) -> Self {
        Self { topics: Slots::default(), by_name: HashTable::new(), hasher }
    }

    pub(super) fn len(&self) -> usize {
        self.topics.len()
    }

    pub(super) fn find(&self, name: &str) -> Option<K> {
        let named =
            |index: &u32| self.topics.at(*index).is_some_and(|(_, topic)| **topic.name() == *name);
        let index = self.by_name.find(self.hasher.hash_one(name), named)?;
        self.topics.at(*index).map(|(key, _)| key)
    }

    pub(super) fn get(&self, key: K) -> Option<&T> {
        self.topics.get(key)
    }

    pub(super) fn get_mut(&mut self, key: K) -> Option<&mut T> {
        self.topics.get_mut(key)
    }

    /// Adds a topic whose name none has.
    pub(super) fn insert(&mut self, topic: T) -> K {
        let hash = self.hasher.hash_one(&**topic.name());
        let key = self.topics.insert(topic);
        let (topics, hasher) = (&self.topics, &self.hasher);
        self.by_name.insert_unique(hash, index(key), |index| {
            topics.at(*index).map_or(0, |(_, topic)| hasher.hash_one(&**topic.name()))
        });
        key
    }

    pub(super) fn remove(&mut self, key: K) -> Option<T> {
        let topic = self.topics.remove(key)?;
        let hash = self.hasher.hash_one(&**topic.name());
        if let Ok(entry) = self.by_name.find_entry(hash, |found| *found == index(key)) {
            entry.remove();
        }
        Some(topic)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (K, &T)> {
        self.topics.iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::TopicRef;

    impl Named for Arc<str> {
        fn name(&self) -> &Arc<str> {
            self
        }
    }

    #[test]
    fn a_topic_is_found_by_its_name_until_it_is_removed() {
        let mut topics: NamedTopics<TopicRef, Arc<str>> =
            NamedTopics::new(RandomState::with_seeds(1, 2, 3, 4));
        let names: Vec<String> = (0..1000).map(|number| format!("t{number}")).collect();
        let keys: Vec<_> = names.iter().map(|name| topics.insert(name.as_str().into())).collect();
        for (index, name) in names.iter().enumerate() {
            assert_eq!(topics.find(name), Some(keys[index]));
            if index % 2 == 0 {
                assert_eq!(topics.remove(keys[index]).as_deref(), Some(name.as_str()));
            }
        }
        for (index, name) in names.iter().enumerate() {
            assert_eq!(topics.find(name).is_some(), index % 2 == 1);
        }
        assert_eq!((topics.len(), topics.iter().count()), (500, 500));
    }
}
