//! A topic at a shard with subscribers: who they are, in one contiguous list.

use std::collections::HashMap;
use std::sync::Arc;

use ahash::RandomState;
use slotmap::SlotMap;

use crate::ids::{ConnectionId, TopicRef};

/// A topic as one shard knows it.
#[derive(Debug)]
pub(crate) struct Local {
    pub(crate) name: Arc<str>,
    pub(crate) subscribers: Vec<ConnectionId>,
    /// Subscribes whose answer has not come. The shard must not leave the topic before.
    pub(crate) asked: u32,
}

/// The topics that a shard has subscribers of, or asked for.
#[derive(Debug)]
pub(crate) struct LocalTopics {
    by_name: HashMap<Arc<str>, TopicRef, RandomState>,
    topics: SlotMap<TopicRef, Local>,
}

impl LocalTopics {
    pub(crate) fn new(hasher: RandomState) -> Self {
        Self { by_name: HashMap::with_hasher(hasher), topics: SlotMap::with_key() }
    }

    pub(crate) fn find(&self, name: &str) -> Option<TopicRef> {
        self.by_name.get(name).copied()
    }

    /// A name to send along: the one that is shared, where there is one.
    pub(crate) fn name(&self, name: &str) -> Arc<str> {
        self.by_name.get_key_value(name).map_or_else(|| name.into(), |(name, _)| Arc::clone(name))
    }

    pub(crate) fn find_or_insert(&mut self, name: &str) -> TopicRef {
        if let Some(topic) = self.find(name) {
            return topic;
        }
        let name: Arc<str> = name.into();
        let local = Local { name: Arc::clone(&name), subscribers: Vec::new(), asked: 0 };
        let topic = self.topics.insert(local);
        self.by_name.insert(name, topic);
        topic
    }

    pub(crate) fn topic(&self, topic: TopicRef) -> Option<&Local> {
        self.topics.get(topic)
    }

    pub(crate) fn topic_mut(&mut self, topic: TopicRef) -> Option<&mut Local> {
        self.topics.get_mut(topic)
    }

    /// Forgets a topic that nobody here hears or has asked for; its name, if it did.
    pub(crate) fn remove_if_unused(&mut self, topic: TopicRef) -> Option<Arc<str>> {
        let local = self.topics.get(topic)?;
        if !local.subscribers.is_empty() {
            return None;
        }
        if local.asked > 0 {
            return cfg!(feature = "planted-fault").then(|| Arc::clone(&local.name));
        }
        let name = self.topics.remove(topic)?.name;
        self.by_name.remove(&name);
        Some(name)
    }

    /// Every topic with its number of subscribers.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&Arc<str>, usize)> {
        self.topics.values().map(|local| (&local.name, local.subscribers.len()))
    }
}
