//! Who a connection is, and what it is subscribed to.

mod claims;
pub(crate) mod jwks;
pub(crate) mod keys;
pub(crate) mod policy;
#[cfg(test)]
mod tests;
#[cfg_attr(not(test), expect(dead_code, reason = "shards do not ask for tokens yet"))]
pub(crate) mod token;

use std::sync::Arc;

use uuid::Uuid;

use crate::ids::{RequestId, TopicRef};
use crate::protocol::ClientInfo;

/// What a connection becomes by a successful `connect`.
#[derive(Debug)]
pub(crate) struct Session {
    /// Random, one per connection.
    pub(crate) client: Uuid,
    /// The user; empty = anonymous.
    pub(crate) user: Arc<str>,
    /// Never more than `topics_max`; small for nearly all, so searched by walking.
    pub(crate) subscriptions: Vec<Subscription>,
}

/// One topic of a session.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Subscription {
    pub(crate) topic: TopicRef,
    pub(crate) state: SubscriptionState,
}

/// A subscription begins when the owner's answer is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SubscriptionState {
    /// The owner was asked by this request.
    Asked(RequestId),
    /// Entry of the topic's subscriber list.
    Live {
        /// Index in that list.
        index: u32,
    },
}

impl Session {
    /// The subscription to a topic, with its index in `subscriptions`.
    pub(crate) fn subscription(&self, topic: TopicRef) -> Option<(usize, SubscriptionState)> {
        self.subscriptions
            .iter()
            .enumerate()
            .find_map(|(index, entry)| (entry.topic == topic).then_some((index, entry.state)))
    }

    /// As subscribers see the publisher.
    pub(crate) fn info(&self) -> ClientInfo {
        ClientInfo { user: Arc::clone(&self.user), client: self.client }
    }
}
