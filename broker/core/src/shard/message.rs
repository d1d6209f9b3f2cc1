//! All that crosses from one shard to another.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::api::{NodeCounts, Query};
use crate::ids::{RequestId, TopicRef};
use crate::protocol::{Publication, Publish, Published};

/// What one shard has for another at the end of a turn, in order.
#[derive(Debug, Default)]
pub struct Batch {
    pub(super) messages: Vec<Message>,
    /// Bytes of payload in it.
    pub(super) bytes: usize,
}

/// One message of a lane. Requests carry the number by which the asker finds what it is for.
#[derive(Debug)]
pub(crate) enum Message {
    /// To the owner: send me this topic's publications under this name, from your answer on.
    Join { name: Arc<str>, topic: TopicRef, request: RequestId },
    /// To the owner: send them no more.
    Part { name: Arc<str>, topic: TopicRef },
    /// To the owner: sequence this.
    Publish { publish: Publish, request: RequestId },
    /// To every shard.
    Ask { query: Arc<Query>, request: RequestId },
    /// The owner's answer to a join. A subscription begins where this stands in the lane.
    Joined { request: RequestId },
    /// The owner's answer to a publish.
    Published { request: RequestId, outcome: Published },
    /// To an interested shard.
    Deliver { topic: TopicRef, publication: Arc<Publication> },
    /// A shard's answer to a question.
    Found { request: RequestId, found: Box<Found> },
}

impl Message {
    /// Roughly what it holds in memory.
    pub(super) fn bytes(&self) -> usize {
        let payload = match self {
            Self::Publish { publish, .. } => publish.draft.bytes(),
            Self::Deliver { publication, .. } => publication.draft.bytes(),
            _ => 0,
        };
        size_of::<Self>() + payload
    }
}

/// One shard's part of the answer to a [`Query`], and the sum of such parts.
#[derive(Debug, Default)]
pub(crate) struct Found {
    pub(crate) counts: NodeCounts,
    /// Sorted, each once.
    pub(crate) users: Vec<Arc<str>>,
    pub(crate) topics: BTreeMap<Arc<str>, usize>,
}

impl Found {
    /// Adds the part of another shard.
    pub(crate) fn add(&mut self, other: Self) {
        self.counts.clients += other.counts.clients;
        self.counts.subscriptions += other.counts.subscriptions;
        self.counts.topics += other.counts.topics;
        self.users.extend(other.users);
        self.users.sort_unstable();
        self.users.dedup();
        for (name, clients) in other.topics {
            *self.topics.entry(name).or_default() += clients;
        }
    }
}
