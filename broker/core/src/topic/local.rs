//! A topic at a shard with subscribers: who they are, in one contiguous list.

use std::collections::BTreeMap;
use std::sync::Arc;

use ahash::RandomState;

use super::filter::Filter;
use super::flow::Flow;
use super::named::{Named, NamedTopics};
use crate::few::Few;
use crate::ids::{ConnectionId, TopicRef};
use crate::protocol::{Epoch, Position, Publication};

/// One subscriber of a topic.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Subscriber {
    pub(crate) connection: ConnectionId,
    pub(crate) flow: Flow,
}

/// A topic as one shard knows it.
#[derive(Debug)]
pub(crate) struct Local {
    pub(crate) name: Arc<str>,
    pub(crate) subscribers: Few<Subscriber>,
    /// Subscribes whose answer has not come. The shard must not leave the topic before.
    pub(crate) asked: u32,
    /// How far this shard has heard it.
    pub(crate) heard: Heard,
    /// What few topics need.
    pub(crate) special: Option<Box<Special>>,
}

/// A position, or none yet; as an `Option` it would be half as large again.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Heard(Position);

impl Heard {
    /// What no topic has.
    const NOTHING: Self = Self(Position { epoch: Epoch([0; 8]), offset: 0 });

    pub(crate) fn get(self) -> Option<Position> {
        (self.0.epoch != Self::NOTHING.0.epoch).then_some(self.0)
    }
}

impl From<Option<Position>> for Heard {
    fn from(position: Option<Position>) -> Self {
        position.map_or(Self::NOTHING, Self)
    }
}

/// What a topic needs for subscribers with special wishes.
#[derive(Debug, Default)]
pub(crate) struct Special {
    /// Subscribers whose position is watched over.
    pub(crate) positioned: u32,
    /// Subscribers that get deltas.
    pub(crate) deltas: u32,
    /// Subscribers that hear of joins and leaves.
    pub(crate) hear_joins: u32,
    /// What those that get deltas got last.
    pub(crate) last: Option<Arc<Publication>>,
    /// Of those that have one.
    pub(crate) filters: BTreeMap<ConnectionId, Filter>,
}

impl Local {
    /// Adds a subscriber; its index in the list.
    pub(crate) fn add(
        &mut self,
        connection: ConnectionId,
        flow: Flow,
        filter: Option<Filter>,
    ) -> u32 {
        let index = u32::try_from(self.subscribers.len()).unwrap_or(u32::MAX);
        self.subscribers.push(Subscriber { connection, flow });
        self.count(flow, 1);
        if let Some(filter) = filter {
            self.special.get_or_insert_default().filters.insert(connection, filter);
        }
        index
    }

    /// Removes the subscriber at an index; the one that has its index now, if any has.
    pub(crate) fn remove(&mut self, index: usize) -> Option<ConnectionId> {
        if index >= self.subscribers.len() {
            debug_assert!(false, "a subscription knows its place");
            return None;
        }
        let Subscriber { connection, flow } = self.subscribers.swap_remove(index)?;
        self.count(flow, -1);
        if flow.contains(Flow::FILTERED)
            && let Some(special) = &mut self.special
        {
            special.filters.remove(&connection);
        }
        if self.subscribers.is_empty() {
            self.special = None;
        }
        self.subscribers.get(index).map(|moved| moved.connection)
    }

    fn count(&mut self, flow: Flow, by: i32) {
        const SPECIAL: Flow = Flow::POSITIONED.union(Flow::DELTA).union(Flow::HEARS_JOINS);
        if !flow.intersects(SPECIAL) {
            return;
        }
        let special = self.special.get_or_insert_default();
        for (bit, count) in [
            (Flow::POSITIONED, &mut special.positioned),
            (Flow::DELTA, &mut special.deltas),
            (Flow::HEARS_JOINS, &mut special.hear_joins),
        ] {
            if flow.contains(bit) {
                *count = count.saturating_add_signed(by);
            }
        }
        if special.deltas == 0 {
            special.last = None;
        }
    }
}

/// The topics that a shard has subscribers of, or asked for.
#[derive(Debug)]
pub(crate) struct LocalTopics {
    topics: NamedTopics<TopicRef, Local>,
}

impl Named for Local {
    fn name(&self) -> &Arc<str> {
        &self.name
    }
}

impl LocalTopics {
    pub(crate) fn new(hasher: RandomState) -> Self {
        Self { topics: NamedTopics::new(hasher) }
    }

    pub(crate) fn find(&self, name: &str) -> Option<TopicRef> {
        self.topics.find(name)
    }

    /// A name to send along: the one that is shared, where the topic was found here.
    pub(crate) fn name(&self, found: Option<TopicRef>, name: &str) -> Arc<str> {
        let local = found.and_then(|topic| self.topics.get(topic));
        local.map_or_else(|| name.into(), |local| Arc::clone(&local.name))
    }

    pub(crate) fn find_or_insert(&mut self, name: &str) -> TopicRef {
        if let Some(topic) = self.find(name) {
            return topic;
        }
        self.topics.insert(Local {
            name: name.into(),
            subscribers: Few::default(),
            asked: 0,
            heard: None.into(),
            special: None,
        })
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
        Some(self.topics.remove(topic)?.name)
    }

    /// Every topic.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (TopicRef, &Local)> {
        self.topics.iter()
    }
}
