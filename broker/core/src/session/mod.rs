//! Who a connection is, and what it is subscribed to.

mod algorithm;
mod claims;
pub(crate) mod jwks;
pub(crate) mod keys;
pub(crate) mod policy;
#[cfg(test)]
mod tests;
pub(crate) mod token;
mod unknown_keys;

pub(crate) use unknown_keys::UnknownKeys;

use std::sync::Arc;

use crate::few::Few;
use crate::ids::{RequestId, TopicRef};
use crate::protocol::{ClientInfo, Payload};
use crate::time::Time;
use crate::topic::Flow;

/// What a connection becomes by a successful `connect`.
#[derive(Debug)]
pub(crate) struct Session {
    /// As others see it.
    pub(crate) info: Arc<ClientInfo>,
    /// Never more than `topics_max`; small for nearly all, so searched by walking.
    pub(crate) subscriptions: Few<Subscription>,
    /// When the connection ends unless its token is renewed before.
    pub(crate) expires: Option<Time>,
    /// When the timer for what expires fires; others are stale.
    pub(crate) expiry_armed: Option<Time>,
    /// Its user's connections are counted.
    pub(crate) attended: bool,
}

/// One topic of a session.
#[derive(Debug)]
pub(crate) struct Subscription {
    pub(crate) topic: TopicRef,
    pub(crate) state: SubscriptionState,
    pub(crate) flow: Flow,
    /// What few subscriptions have.
    pub(crate) special: Option<Box<Special>>,
}

/// What belongs to a subscription by token or by a backend.
#[derive(Debug, Default)]
pub(crate) struct Special {
    /// The session as others see it in this topic.
    pub(crate) info: Option<Arc<ClientInfo>>,
    /// When it ends unless its token is renewed before.
    pub(crate) expires: Option<Time>,
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
    pub(crate) fn new(info: Arc<ClientInfo>) -> Self {
        let subscriptions = Few::default();
        Self { info, subscriptions, expires: None, expiry_armed: None, attended: false }
    }

    pub(crate) fn user(&self) -> &str {
        &self.info.user
    }

    /// The subscription to a topic, with its index in `subscriptions`.
    pub(crate) fn subscription(&self, topic: TopicRef) -> Option<(usize, &Subscription)> {
        self.subscriptions.iter().enumerate().find(|(_, entry)| entry.topic == topic)
    }

    pub(crate) fn subscription_mut(&mut self, topic: TopicRef) -> Option<&mut Subscription> {
        self.subscriptions.iter_mut().find(|entry| entry.topic == topic)
    }

    /// Changes what others see of it in every topic.
    pub(crate) fn set_conn_info(&mut self, conn_info: Option<&Payload>) {
        let specials = self.subscriptions.iter_mut().filter_map(|entry| entry.special.as_mut());
        let infos = specials.filter_map(|special| special.info.as_mut());
        for info in infos.chain([&mut self.info]) {
            Arc::make_mut(info).conn_info = conn_info.cloned().map(Box::new);
        }
    }

    /// The session as others see it in a topic that it is perhaps subscribed to.
    pub(crate) fn info_in(&self, topic: Option<TopicRef>) -> &Arc<ClientInfo> {
        let entry = topic.and_then(|topic| self.subscription(topic));
        entry.map_or(&self.info, |(_, entry)| entry.info(&self.info))
    }

    /// When the next thing of it expires.
    pub(crate) fn next_expiry(&self) -> Option<Time> {
        let subscriptions = self.subscriptions.iter().filter_map(Subscription::expires);
        subscriptions.chain(self.expires).min()
    }
}

impl Subscription {
    /// The session as others see it in this topic; `info` is how they see it elsewhere.
    pub(crate) fn info<'a>(&'a self, info: &'a Arc<ClientInfo>) -> &'a Arc<ClientInfo> {
        self.special.as_ref().and_then(|special| special.info.as_ref()).unwrap_or(info)
    }

    pub(crate) fn expires(&self) -> Option<Time> {
        self.special.as_ref().and_then(|special| special.expires)
    }
}
