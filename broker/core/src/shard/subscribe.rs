//! Subscribing and unsubscribing, at the subscriber's shard.

use std::sync::Arc;

use super::message::Message;
use super::{AskedSubscribe, Pending, Shard};
use crate::fault::Refusal;
use crate::ids::{ConnectionId, RequestId, TopicRef};
use crate::protocol::{Push, Reply, Subscribe};
use crate::session::policy::{self, SubscribeAsked};
use crate::session::{Subscription, SubscriptionState};

/// Unsubscribed by a backend (specification, section 8.2).
const UNSUBSCRIBED_BY_SERVER: (u32, &str) = (2000, "server unsubscribe");

impl Shard {
    /// Asks the topic's owner. The subscription begins when its answer is read.
    pub(super) fn subscribe(
        &mut self,
        id: ConnectionId,
        command: u32,
        asked: &Subscribe<'_>,
    ) -> Result<(), Refusal> {
        let name = asked.topic.as_ref();
        policy::check_name(name)?;
        let Some(session) = self.connections.get(id).and_then(|found| found.session()) else {
            return Ok(());
        };
        if self.local.find(name).is_some_and(|topic| session.subscription(topic).is_some()) {
            return Err(Refusal::AlreadySubscribed);
        }
        if session.subscriptions.len() >= self.settings.client.topics_max {
            return Err(Refusal::LimitExceeded);
        }
        let asked = SubscribeAsked {
            token: !asked.token.is_empty(),
            stream: asked.stream,
            filtered: asked.filtered,
        };
        policy::may_subscribe(&self.settings, &session.user, name, asked)?;
        if self.requests_full() {
            return Err(Refusal::Overloaded);
        }
        let Some(connection) = self.connections.get_mut(id) else {
            return Ok(());
        };
        let ticket = connection.reserve().ok_or(Refusal::Overloaded)?;
        let topic = self.local.find_or_insert(name);
        let asked = AskedSubscribe { connection: id, topic, ticket, id: command, ended: false };
        let request = self.ask(Pending::Subscribe(asked))?;
        if let Some(session) = self.connections.get_mut(id).and_then(|found| found.session_mut()) {
            let state = SubscriptionState::Asked(request);
            session.subscriptions.push(Subscription { topic, state });
            self.counters.subscriptions += 1;
        }
        let owner = self.owner(name);
        if let Some(local) = self.local.topic_mut(topic) {
            local.asked += 1;
            let name = Arc::clone(&local.name);
            self.lanes.send(owner, Message::Join { name, topic, request });
        }
        Ok(())
    }

    /// The owner's answer to a subscribe.
    pub(super) fn joined(&mut self, request: RequestId) {
        let Some(Pending::Subscribe(asked)) = self.requests.remove(request) else {
            debug_assert!(false, "an answer to a subscribe that nobody awaits");
            return;
        };
        if let Some(local) = self.local.topic_mut(asked.topic) {
            local.asked -= 1;
        }
        if !asked.ended {
            self.begin(asked.connection, asked.topic);
        }
        self.fill(asked.connection, asked.ticket, asked.id, &Reply::Subscribed);
        self.leave_if_unused(asked.topic);
    }

    /// The subscription of a connection begins, if it still lives.
    fn begin(&mut self, id: ConnectionId, topic: TopicRef) {
        let Some(session) = self.connections.get_mut(id).and_then(|found| found.session_mut())
        else {
            return;
        };
        let Some(local) = self.local.topic_mut(topic) else {
            return;
        };
        let entry = session.subscriptions.iter_mut().find(|entry| entry.topic == topic);
        if let Some(entry) = entry {
            let index = u32::try_from(local.subscribers.len()).unwrap_or(u32::MAX);
            entry.state = SubscriptionState::Live { index };
            local.subscribers.push(id);
        }
    }

    /// Takes a subscription out of its session.
    fn forget(&mut self, id: ConnectionId, topic: TopicRef) -> Option<SubscriptionState> {
        let session = self.connections.get_mut(id)?.session_mut()?;
        let (index, state) = session.subscription(topic)?;
        session.subscriptions.swap_remove(index);
        self.counters.subscriptions -= 1;
        Some(state)
    }

    /// A client's unsubscribe. It succeeds for topics that were never subscribed to as well.
    pub(super) fn unsubscribe(&mut self, id: ConnectionId, command: u32, name: &str) {
        if let Some(topic) = self.local.find(name) {
            self.end_subscription(id, topic);
        }
        self.reply(id, command, &Reply::Unsubscribed);
    }

    /// A backend's unsubscribe. The client learns of it in the place that it has among its own
    /// commands: behind the reply to the subscribe, before the reply to a later one.
    pub(super) fn unsubscribe_by_backend(&mut self, id: ConnectionId, topic: TopicRef) {
        let Some(name) = self.local.topic(topic).map(|local| Arc::clone(&local.name)) else {
            return;
        };
        self.end_subscription(id, topic);
        let (code, reason) = UNSUBSCRIBED_BY_SERVER;
        self.push_in_order(id, &Push::Unsubscribed { topic: &name, code, reason });
    }

    /// Ends one subscription of a session, if there is one.
    fn end_subscription(&mut self, id: ConnectionId, topic: TopicRef) {
        match self.forget(id, topic) {
            None => {}
            Some(SubscriptionState::Asked(request)) => {
                if let Some(Pending::Subscribe(asked)) = self.requests.get_mut(request) {
                    asked.ended = true;
                }
            }
            Some(SubscriptionState::Live { index }) => {
                self.remove_subscriber(topic, index);
                self.leave_if_unused(topic);
            }
        }
    }

    /// Ends all subscriptions of a connection that goes.
    pub(super) fn end_session(&mut self, id: ConnectionId) {
        let Some(session) = self.connections.get_mut(id).and_then(|found| found.session_mut())
        else {
            return;
        };
        let subscriptions = std::mem::take(&mut session.subscriptions);
        self.counters.subscriptions -= subscriptions.len() as u64;
        for Subscription { topic, state } in subscriptions {
            // What was only asked for is noticed when the answer finds no session.
            if let SubscriptionState::Live { index } = state {
                self.remove_subscriber(topic, index);
                self.leave_if_unused(topic);
            }
        }
    }

    /// Takes an entry out of a subscriber list and tells the one that takes its place.
    fn remove_subscriber(&mut self, topic: TopicRef, index: u32) {
        let Some(local) = self.local.topic_mut(topic) else {
            return;
        };
        let index_in_list = usize::try_from(index).unwrap_or(usize::MAX);
        if index_in_list >= local.subscribers.len() {
            debug_assert!(false, "a subscription knows its place");
            return;
        }
        local.subscribers.swap_remove(index_in_list);
        let Some(&moved) = local.subscribers.get(index_in_list) else {
            return;
        };
        let session = self.connections.get_mut(moved).and_then(|found| found.session_mut());
        let entry = session
            .and_then(|found| found.subscriptions.iter_mut().find(|entry| entry.topic == topic));
        if let Some(entry) = entry {
            entry.state = SubscriptionState::Live { index };
        }
    }

    /// Leaves a topic that nobody here hears. A subscribe whose answer has not come keeps it: the
    /// owner has counted this shard in already.
    fn leave_if_unused(&mut self, topic: TopicRef) {
        if let Some(name) = self.local.remove_if_unused(topic) {
            let owner = self.owner(&name);
            self.lanes.send(owner, Message::Part { name, topic });
        }
    }
}
