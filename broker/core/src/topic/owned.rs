//! Topics at their owner: position, history, presence, and the shards that have subscribers.

use std::collections::VecDeque;
use std::sync::Arc;

use ahash::RandomState;
use uuid::Uuid;

use super::history::{History, cost};
use super::named::{Named, NamedTopics};
use super::presence::Presence;
use crate::config::TopicOptions;
use crate::few::Few;
use crate::ids::{OwnedRef, ShardIndex, TopicRef};
use crate::limits::TOPIC_COST_BYTES;
use crate::protocol::{Epoch, Position, Publication};
use crate::time::Time;

/// The unit of order. It exists while any shard is interested, or while a history is kept of it;
/// after that its continuity cannot be proven any more, so the next one has a new epoch.
#[derive(Debug)]
pub(crate) struct OwnedTopic {
    name: Arc<str>,
    position: Position,
    interested: Few<(ShardIndex, TopicRef)>,
    history: Option<Box<History>>,
    presence: Option<Box<Presence>>,
}

impl OwnedTopic {
    fn new(name: Arc<str>, epoch: Epoch) -> Self {
        Self {
            name,
            position: Position { epoch, offset: 0 },
            interested: Few::default(),
            history: None,
            presence: None,
        }
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

    pub(crate) fn history(&self) -> Option<&History> {
        self.history.as_deref()
    }

    pub(crate) fn presence(&self) -> Option<&Presence> {
        self.presence.as_deref()
    }

    pub(crate) fn presence_mut(&mut self) -> &mut Presence {
        self.presence.get_or_insert_default()
    }

    /// Whether one who takes its leave never came; asked once for each that was refused.
    pub(crate) fn was_refused(&mut self, client: Uuid) -> bool {
        self.presence.as_mut().is_some_and(|presence| presence.was_refused(client))
    }

    /// Whether a publication of this version is older than what was published (specification,
    /// section 18).
    pub(crate) fn is_outdated(&self, version: u64, epoch: &str) -> bool {
        let last = self.history.as_ref().and_then(|history| history.version.as_deref());
        last.is_some_and(|(last, last_epoch)| {
            version <= *last && (epoch.is_empty() || last_epoch == epoch)
        })
    }

    pub(crate) fn set_version(&mut self, version: u64, epoch: &str) {
        if let Some(history) = &mut self.history {
            history.version = Some(Box::new((version, epoch.to_owned())));
        }
    }

    /// Nobody hears it.
    fn is_idle(&self) -> bool {
        self.interested.is_empty() && self.presence.as_ref().is_none_or(|found| found.is_empty())
    }

    /// What it costs while a history is kept, beside the publications.
    fn cost(&self) -> usize {
        self.name.len() + TOPIC_COST_BYTES
    }
}

impl Named for OwnedTopic {
    fn name(&self) -> &Arc<str> {
        &self.name
    }
}

/// All topics of one owner.
#[derive(Debug)]
pub(crate) struct OwnedTopics {
    topics: NamedTopics<OwnedRef, OwnedTopic>,
    /// Topics that some shard is interested in.
    heard: usize,
    /// What is kept, oldest first. Entries of what is gone already are skipped.
    kept: VecDeque<(OwnedRef, Position)>,
    /// Publications in all histories.
    kept_count: usize,
    /// Topics of which only the position is kept, least recently used first.
    spare: VecDeque<OwnedRef>,
    /// What all histories cost.
    bytes: usize,
    bytes_max: usize,
}

impl OwnedTopics {
    pub(crate) fn new(hasher: RandomState, bytes_max: usize) -> Self {
        Self {
            topics: NamedTopics::new(hasher),
            heard: 0,
            kept: VecDeque::new(),
            kept_count: 0,
            spare: VecDeque::new(),
            bytes: 0,
            bytes_max,
        }
    }

    pub(crate) fn count(&self) -> usize {
        self.topics.len()
    }

    /// Topics that some shard is interested in.
    pub(crate) fn heard(&self) -> usize {
        self.heard
    }

    /// What all histories cost, in bytes.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(crate) fn find(&self, name: &str) -> Option<OwnedRef> {
        self.topics.find(name)
    }

    pub(crate) fn get(&self, topic: OwnedRef) -> Option<&OwnedTopic> {
        self.topics.get(topic)
    }

    pub(crate) fn get_mut(&mut self, topic: OwnedRef) -> Option<&mut OwnedTopic> {
        self.topics.get_mut(topic)
    }

    /// The topic, new if there is none; it has a history if its options ask for one. `epoch` serves
    /// if it is new.
    pub(crate) fn find_or_insert(
        &mut self,
        name: &Arc<str>,
        options: &TopicOptions,
        now: Time,
        epoch: impl FnOnce() -> Epoch,
    ) -> OwnedRef {
        let topic = self
            .find(name)
            .unwrap_or_else(|| self.topics.insert(OwnedTopic::new(Arc::clone(name), epoch())));
        self.note_use(topic, options, now);
        topic
    }

    /// A topic is in use: if a history is kept of it, its position is kept for longer.
    pub(crate) fn note_use(&mut self, topic: OwnedRef, options: &TopicOptions, now: Time) {
        if !options.keeps_history() {
            return;
        }
        let Some(owned) = self.topics.get_mut(topic) else {
            return;
        };
        let forgotten = now.after(options.history_meta_ttl.max(options.history_ttl));
        match &mut owned.history {
            Some(history) => history.forgotten = forgotten,
            None => {
                owned.history = Some(Box::new(History::new(forgotten)));
                self.bytes += owned.cost();
            }
        }
    }

    /// Keeps a publication, and lets older ones go where there are too many.
    pub(crate) fn keep(
        &mut self,
        topic: OwnedRef,
        publication: &Arc<Publication>,
        options: &TopicOptions,
        now: Time,
    ) {
        let Some(owned) = self.topics.get_mut(topic) else {
            return;
        };
        let Some(history) = &mut owned.history else {
            return;
        };
        history.push(Arc::clone(publication));
        history.expires = now.after(options.history_ttl);
        self.bytes += cost(publication);
        self.kept_count += 1;
        while history.len() > options.history_size {
            let Some(freed) = history.pop() else { break };
            self.bytes -= freed;
            self.kept_count -= 1;
        }
        self.kept.push_back((topic, publication.position));
        if self.kept.len() > 2 * self.kept_count + 64 {
            let topics = &self.topics;
            self.kept.retain(|(topic, position)| {
                let history = topics.get(*topic).and_then(|owned| owned.history.as_ref());
                history.is_some_and(|history| history.holds(*position))
            });
        }
        self.trim();
    }

    /// Lets go what is oldest until the histories fit their budget.
    fn trim(&mut self) {
        while self.bytes > self.bytes_max {
            if let Some((topic, position)) = self.kept.pop_front() {
                self.pop_kept(topic, position);
            } else if let Some(topic) = self.spare.pop_front() {
                let Some(owned) = self.topics.get_mut(topic) else { continue };
                let idle = owned.is_idle();
                let Some(history) = &mut owned.history else { continue };
                history.spare = false;
                if idle && history.is_empty() {
                    self.remove(topic);
                }
            } else {
                return;
            }
        }
    }

    fn pop_kept(&mut self, topic: OwnedRef, position: Position) {
        let Some(history) = self.topics.get_mut(topic).and_then(|owned| owned.history.as_mut())
        else {
            return;
        };
        if history.begins_with(position)
            && let Some(freed) = history.pop()
        {
            self.bytes -= freed;
            self.kept_count -= 1;
            self.note_spare(topic);
        }
    }

    /// Removes what is kept; position and epoch stay.
    pub(crate) fn clear_history(&mut self, topic: OwnedRef) {
        if let Some(history) = self.topics.get_mut(topic).and_then(|owned| owned.history.as_mut()) {
            self.kept_count -= history.len();
            self.bytes -= history.clear();
            self.note_spare(topic);
        }
    }

    /// Lists a topic of which only the position is kept.
    fn note_spare(&mut self, topic: OwnedRef) {
        if let Some(owned) = self.topics.get_mut(topic)
            && owned.is_idle()
            && let Some(history) = &mut owned.history
            && !history.spare
            && history.is_empty()
        {
            history.spare = true;
            self.spare.push_back(topic);
            if self.spare.len() > 2 * self.topics.len() + 64 {
                // What has ended in the meantime, by its `history_meta_ttl`.
                let topics = &self.topics;
                self.spare.retain(|topic| topics.get(*topic).is_some());
            }
        }
    }

    /// A shard has, or is about to have, subscribers.
    pub(crate) fn join(&mut self, topic: OwnedRef, shard: ShardIndex, local: TopicRef) {
        if let Some(owned) = self.topics.get_mut(topic)
            && !owned.interested.contains(&(shard, local))
        {
            self.heard += usize::from(owned.interested.is_empty());
            owned.interested.push((shard, local));
        }
    }

    /// A shard has no subscriber any more.
    pub(crate) fn part(&mut self, topic: OwnedRef, shard: ShardIndex, local: TopicRef) {
        if let Some(owned) = self.topics.get_mut(topic) {
            let heard = !owned.interested.is_empty();
            let found = owned.interested.iter().position(|entry| *entry == (shard, local));
            found.and_then(|index| owned.interested.swap_remove(index));
            self.heard -= usize::from(heard && owned.interested.is_empty());
            self.remove_if_unused(topic);
        }
    }

    /// Forgets a topic that nobody hears and of which nothing is kept.
    pub(crate) fn remove_if_unused(&mut self, topic: OwnedRef) {
        let Some(owned) = self.topics.get_mut(topic) else {
            return;
        };
        if owned.presence.as_ref().is_some_and(|presence| presence.is_empty()) {
            owned.presence = None;
        }
        if !owned.is_idle() {
            return;
        }
        if owned.history.is_none() {
            self.remove(topic);
        } else {
            self.note_spare(topic);
            self.trim();
        }
    }

    fn remove(&mut self, topic: OwnedRef) {
        let Some(mut owned) = self.topics.remove(topic) else {
            return;
        };
        let cost = owned.cost();
        if let Some(history) = &mut owned.history {
            self.kept_count -= history.len();
            self.bytes -= history.clear() + cost;
        }
    }

    /// The time for which the topic's timer must be set, if it is not.
    pub(crate) fn arm(&mut self, topic: OwnedRef) -> Option<Time> {
        let history = self.topics.get_mut(topic)?.history.as_mut()?;
        let due = history.due();
        if history.armed.is_some_and(|armed| armed <= due) {
            return None;
        }
        history.armed = Some(due);
        Some(due)
    }

    /// Whether the topic's timer is set for this time.
    pub(crate) fn is_armed(&self, topic: OwnedRef, at: Time) -> bool {
        let history = self.topics.get(topic).and_then(OwnedTopic::history);
        history.is_some_and(|history| history.armed == Some(at))
    }

    /// A timer of the topic has fired.
    pub(crate) fn expire(
        &mut self,
        topic: OwnedRef,
        armed: Time,
        now: Time,
        options: Option<&TopicOptions>,
    ) {
        let Some(owned) = self.topics.get_mut(topic) else {
            return;
        };
        let idle = owned.is_idle();
        let Some(history) = owned.history.as_mut().filter(|history| history.armed == Some(armed))
        else {
            return;
        };
        history.armed = None;
        if history.forgotten <= now {
            if idle {
                self.remove(topic);
                return;
            }
            // It is in use.
            if let Some(options) = options {
                history.forgotten = now.after(options.history_meta_ttl);
            }
        }
        if history.expires <= now {
            self.clear_history(topic);
        }
    }

    /// The name of a topic.
    pub(crate) fn name(&self, topic: OwnedRef) -> Option<&Arc<str>> {
        self.topics.get(topic).map(|owned| &owned.name)
    }
}
