//! A topic at its owner: the offset, the epoch, and the shards that have subscribers.

use std::collections::HashMap;
use std::sync::Arc;

use ahash::RandomState;

use crate::ids::{ShardIndex, TopicRef};
use crate::protocol::{Epoch, Position};

/// The unit of order. It exists while any shard is interested; after that its continuity cannot be
/// proven any more, so the next one has a new epoch.
#[derive(Debug)]
pub(crate) struct OwnedTopic {
    position: Position,
    interested: Vec<(ShardIndex, TopicRef)>,
}

impl OwnedTopic {
    pub(crate) fn new(epoch: Epoch) -> Self {
        Self { position: Position { epoch, offset: 0 }, interested: Vec::new() }
    }

    /// The place of the last publication.
    pub(crate) fn position(&self) -> Position {
        self.position
    }

    /// The place of the next publication.
    pub(crate) fn advance(&mut self) -> Position {
        self.position.offset += 1;
        self.position
    }

    /// The shards that get each publication, with their names for the topic.
    pub(crate) fn interested(&self) -> &[(ShardIndex, TopicRef)] {
        &self.interested
    }
}

/// All topics of one owner.
#[derive(Debug)]
pub(crate) struct OwnedTopics {
    by_name: HashMap<Arc<str>, OwnedTopic, RandomState>,
}

impl OwnedTopics {
    pub(crate) fn new(hasher: RandomState) -> Self {
        Self { by_name: HashMap::with_hasher(hasher) }
    }

    pub(crate) fn count(&self) -> usize {
        self.by_name.len()
    }

    pub(crate) fn find_mut(&mut self, name: &str) -> Option<&mut OwnedTopic> {
        self.by_name.get_mut(name)
    }

    /// A shard has, or is about to have, subscribers. `epoch` serves if the topic is new.
    pub(crate) fn join(
        &mut self,
        name: Arc<str>,
        shard: ShardIndex,
        topic: TopicRef,
        epoch: impl FnOnce() -> Epoch,
    ) {
        let owned = self.by_name.entry(name).or_insert_with(|| OwnedTopic::new(epoch()));
        if !owned.interested.contains(&(shard, topic)) {
            owned.interested.push((shard, topic));
        }
    }

    /// A shard has no subscriber any more.
    pub(crate) fn part(&mut self, name: &str, shard: ShardIndex, topic: TopicRef) {
        let Some(owned) = self.by_name.get_mut(name) else {
            return;
        };
        owned.interested.retain(|entry| *entry != (shard, topic));
        if owned.interested.is_empty() {
            self.by_name.remove(name);
        }
    }
}
