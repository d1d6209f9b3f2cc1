//! What a backend asks of every shard: questions about its clients, and orders for them.

use std::rc::Rc;
use std::sync::Arc;

use wildmatch::WildMatch;

use super::message::{Found, Message};
use super::subscribe::Asked;
use super::users::OfUser;
use super::{Answerer, Shard};
use crate::api::{Client, NodeCounts, Query, ServerSubscribe, Who};
use crate::fault::{Disconnect, Ended};
use crate::ids::{ConnectionId, OrderKey, RequestId, ShardIndex};
use crate::protocol::{ClientInfo, Payload, Push};
use crate::session::{Session, policy};
use crate::topic::Flow;

/// An order whose subscriptions have not all begun.
#[derive(Debug)]
pub(super) struct Order {
    /// Who gave it.
    from: ShardIndex,
    request: RequestId,
    /// Subscribes whose answer has not come.
    awaited: usize,
}

impl Shard {
    /// Answers a question, or carries an order out, for this shard.
    pub(super) fn answer_query(&mut self, from: ShardIndex, query: &Query, request: RequestId) {
        let mut found = Found::default();
        match query {
            Query::Info => self.count(&mut found),
            Query::Topics { pattern } => self.list_topics(pattern.as_deref(), &mut found),
            Query::Subscribe(order) => return self.subscribe_by_order(from, order, request),
            Query::Refresh { who, expired, expire_at, info } => {
                for id in self.sessions(who) {
                    self.refresh_by_order(id, *expired, *expire_at, info.as_ref());
                }
            }
            Query::Disconnect { who, spared, disconnect } => {
                for id in self.sessions(who) {
                    let spare = self
                        .connections
                        .session(id)
                        .is_some_and(|one| spared.contains(&one.info.client));
                    if !spare {
                        self.disconnect(id, disconnect, "disconnected by a backend");
                    }
                }
            }
            Query::Unsubscribe { who, topic } => {
                if let Some(topic) = self.local.find(topic) {
                    for id in self.sessions(who) {
                        if self
                            .connections
                            .session(id)
                            .is_some_and(|one| one.subscription(topic).is_some())
                        {
                            self.unsubscribe_unasked(id, topic, Ended::BY_SERVER);
                        }
                    }
                }
            }
        }
        self.lanes.send(from, Message::Found { request, found: Box::new(found) });
    }

    /// Subscribes the sessions that are meant. The order is answered when all that began anew have
    /// begun, so that what its backend publishes then reaches them.
    fn subscribe_by_order(
        &mut self,
        from: ShardIndex,
        subscribe: &ServerSubscribe,
        request: RequestId,
    ) {
        let key = self.orders.insert(Order { from, request, awaited: 1 });
        for id in self.sessions(&subscribe.who) {
            self.subscribe_one_by_order(id, subscribe, key);
        }
        self.order_goes_on(key);
    }

    fn subscribe_one_by_order(
        &mut self,
        id: ConnectionId,
        subscribe: &ServerSubscribe,
        key: OrderKey,
    ) {
        let settings = Rc::clone(&self.settings);
        let name = &*subscribe.topic;
        // Checked before the order crossed.
        let (Ok(options), Some(session)) =
            (policy::options(&settings, name), self.connections.session(id))
        else {
            return;
        };
        if self.local.find(name).is_some_and(|topic| session.subscription(topic).is_some()) {
            return;
        }
        if session.subscriptions.len() >= settings.client.topics_max {
            let cause = "more server-side subscriptions than topics_max";
            self.disconnect(id, &Disconnect::TOPIC_LIMIT, cause);
            return;
        }
        let recoverable = subscribe.recover_since.is_some();
        let opt_ins = policy::OptIns { recoverable, ..policy::OptIns::default() };
        let flow = policy::flow(&settings, options, session.user(), &subscribe.overrides, opt_ins);
        let info = subscribe.info.as_ref().map(|info| {
            let chan_info = Some(info.clone().into());
            Arc::new(ClientInfo { chan_info, ..(*session.info).clone() })
        });
        let asked = Asked {
            flow: flow | Flow::SERVER_SIDE,
            info,
            expires_at: subscribe.expire_at.map(|seconds| seconds.saturating_mul(1000)),
            recover: subscribe.recover_since.clone(),
            data: subscribe.data.clone(),
            ..Asked::default()
        };
        match self.ask_owner(id, name, asked, Answerer::Backend(key)) {
            Ok(()) => {
                if let Some(order) = self.orders.get_mut(key) {
                    order.awaited += 1;
                }
            }
            // The client comes again, and its backend with it.
            Err(_) => self.disconnect(id, &Disconnect::INTERNAL, "too many requests under way"),
        }
    }

    /// One of the subscribes of an order has its answer.
    pub(super) fn order_goes_on(&mut self, key: OrderKey) {
        let Some(order) = self.orders.get_mut(key) else {
            return;
        };
        order.awaited -= 1;
        if order.awaited == 0
            && let Some(Order { from, request, .. }) = self.orders.remove(key)
        {
            self.lanes.send(from, Message::Found { request, found: Box::default() });
        }
    }

    fn refresh_by_order(
        &mut self,
        id: ConnectionId,
        expired: bool,
        expire_at: Option<u64>,
        info: Option<&Payload>,
    ) {
        let expires_at = expire_at.map(|seconds| seconds.saturating_mul(1000));
        if expired || expires_at.is_some_and(|at| at <= self.unix_ms()) {
            self.disconnect(id, &Disconnect::EXPIRED, "expired by a backend");
            return;
        }
        self.renew(id, expires_at, info);
        let ttl = expires_at.map(|at| self.ttl(at));
        self.push_in_order(id, &Push::Refreshed(ttl));
    }

    fn list_topics(&self, pattern: Option<&str>, found: &mut Found) {
        let pattern = pattern.map(WildMatch::new);
        let heard = self.local.iter().filter(|(_, local)| {
            !local.subscribers.is_empty()
                && pattern.as_ref().is_none_or(|pattern| pattern.matches(&local.name))
        });
        found.topics =
            heard.map(|(_, local)| (Arc::clone(&local.name), local.subscribers.len())).collect();
    }

    fn count(&self, found: &mut Found) {
        found.counts = NodeCounts {
            topics: self.owned.heard(),
            subscriptions: usize::try_from(self.counters.subscriptions).unwrap_or(usize::MAX),
            ..NodeCounts::default()
        };
        for session in self.connections.values().filter_map(|found| found.session()) {
            found.counts.clients += 1;
            if found.users.last() != Some(&session.info.user) {
                found.users.push(Arc::clone(&session.info.user));
            }
        }
        found.users.sort_unstable();
        found.users.dedup();
    }

    /// The connections whose session is meant.
    fn sessions(&self, who: &Who) -> Vec<ConnectionId> {
        let meant = |session: &Session| {
            let client = match who.client {
                Client::Any => true,
                Client::One(client) => client == session.info.client,
                Client::Nobody => false,
            };
            client && who.user == *session.info.user
        };
        if who.user.is_empty() {
            let sessions = self.connections.iter();
            return sessions
                .filter(|(_, connection)| connection.session().is_some_and(meant))
                .map(|(id, _)| id)
                .collect();
        }
        let connections = self.local_users.get(who.user.as_str()).into_iter();
        let connections = connections.flat_map(OfUser::iter);
        connections.filter(|id| self.connections.session(*id).is_some_and(meant)).collect()
    }
}
