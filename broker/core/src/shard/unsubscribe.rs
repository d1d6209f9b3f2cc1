//! The ends of subscriptions, whoever ends them.

use std::sync::Arc;

use super::message::Message;
use super::{Pending, Shard};
use crate::fault::Ended;
use crate::ids::{ConnectionId, TopicRef};
use crate::protocol::{ClientInfo, Push, Reply};
use crate::session::{Subscription, SubscriptionState};
use crate::topic::Flow;

impl Shard {
    /// A client's unsubscribe. It succeeds for topics that were never subscribed to as well.
    pub(super) fn unsubscribe(&mut self, id: ConnectionId, command: u32, name: &str) {
        if let Some(topic) = self.local.find(name) {
            self.end_subscription(id, topic);
        }
        self.reply(id, command, &Reply::Unsubscribed);
    }

    /// Ends a subscription that the client did not end. The client learns of it in the place that
    /// it has among its own commands: behind the reply to the subscribe, before the reply to a
    /// later one.
    pub(super) fn unsubscribe_unasked(&mut self, id: ConnectionId, topic: TopicRef, ended: Ended) {
        let Some(name) = self.local.topic(topic).map(|local| Arc::clone(&local.name)) else {
            return;
        };
        self.end_subscription(id, topic);
        let Ended { code, reason } = ended;
        self.push_in_order(id, &Push::Unsubscribed { topic: &name, code, reason });
    }

    /// Ends one subscription of a session, if there is one.
    pub(super) fn end_subscription(&mut self, id: ConnectionId, topic: TopicRef) {
        let Some(session) = self.connections.session(id) else {
            return;
        };
        let info = Arc::clone(&session.info);
        if let Some(subscription) = self.forget(id, topic) {
            self.end(&info, &subscription);
        }
    }

    /// Ends all subscriptions of a connection that goes.
    pub(super) fn end_session(&mut self, id: ConnectionId) {
        let Some(session) = self.connections.session_mut(id) else {
            return;
        };
        let info = Arc::clone(&session.info);
        let attended = std::mem::take(&mut session.attended);
        let subscriptions = std::mem::take(&mut session.subscriptions);
        self.counters.subscriptions -= subscriptions.len() as u64;
        for subscription in &subscriptions {
            self.end(&info, subscription);
        }
        self.user_left(id, &info.user, attended);
    }

    /// Takes a subscription out of its session.
    fn forget(&mut self, id: ConnectionId, topic: TopicRef) -> Option<Subscription> {
        let session = self.connections.get_mut(id)?.session_mut()?;
        let (index, _) = session.subscription(topic)?;
        let subscription = session.subscriptions.swap_remove(index)?;
        self.counters.subscriptions -= 1;
        Some(subscription)
    }

    /// Ends a subscription that has left its session.
    fn end(&mut self, info: &Arc<ClientInfo>, subscription: &Subscription) {
        let topic = subscription.topic;
        match subscription.state {
            SubscriptionState::Asked(request) => {
                if let Some(Pending::Subscribe(asked)) = self.requests.get_mut(request) {
                    asked.ended = true;
                }
            }
            SubscriptionState::Live { index } => {
                self.watched -= usize::from(subscription.flow.contains(Flow::POSITIONED));
                self.remove_subscriber(topic, index);
            }
        }
        // Behind the join in the lane, if that is still on its way.
        if subscription.flow.is_known_to_owner()
            && let Some(local) = self.local.topic(topic)
        {
            let (name, info) = (Arc::clone(&local.name), Arc::clone(subscription.info(info)));
            let owner = self.owner(&name);
            self.lanes.send(owner, Message::Leave { name, flow: subscription.flow, info });
        }
        self.leave_if_unused(topic);
    }

    /// Takes an entry out of a subscriber list and tells the one that takes its place.
    fn remove_subscriber(&mut self, topic: TopicRef, index: u32) {
        self.deliver_before_leaving(topic, index as usize);
        let Some(local) = self.local.topic_mut(topic) else {
            return;
        };
        let Some(moved) = local.remove(usize::try_from(index).unwrap_or(usize::MAX)) else {
            return;
        };
        let session = self.connections.session_mut(moved);
        if let Some(entry) = session.and_then(|found| found.subscription_mut(topic)) {
            entry.state = SubscriptionState::Live { index };
        }
        self.deliver_to_moved(topic, index as usize);
    }

    /// Leaves a topic that nobody here hears. A subscribe whose answer has not come keeps it: the
    /// owner has counted this shard in already.
    pub(super) fn leave_if_unused(&mut self, topic: TopicRef) {
        if let Some(name) = self.local.remove_if_unused(topic) {
            let owner = self.owner(&name);
            self.lanes.send(owner, Message::Part { name, topic });
        }
    }
}
