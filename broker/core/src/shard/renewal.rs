//! What ends unless it is renewed: sessions and subscriptions that tokens or backends gave a time
//! (specification, sections 9 and 15).

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use super::connect::NoSession;
use super::message::Message;
use super::subscribe::NoSubscription;
use super::{Reading, Shard};
use crate::fault::{Disconnect, Ended, Refusal};
use crate::ids::{ConnectionId, TopicRef};
use crate::limits::EXPIRY_MAX;
use crate::protocol::{Payload, Reply};
use crate::session::Session;
use crate::session::token::{self, ConnectionToken, TokenError};
use crate::time::Time;
use crate::topic::Flow;

impl Shard {
    /// A client's new connection token.
    pub(super) fn refresh(&mut self, id: ConnectionId, command: u32, token: &str) -> Reading {
        if token.is_empty() {
            return self.bad_request(id, "refresh without a token");
        }
        if self.settings.client.insecure {
            self.reply(id, command, &Reply::Refreshed(None));
            return Reading::Continue(());
        }
        match self.check_refresh(id, token) {
            Ok(found) => {
                self.renew(id, found.expires_at, found.info.as_ref());
                let ttl = found.expires_at.map(|at| self.ttl(at));
                self.reply(id, command, &Reply::Refreshed(ttl));
                Reading::Continue(())
            }
            Err(NoSession::Refused(refusal)) => {
                self.reply(id, command, &Reply::Refused(refusal));
                Reading::Continue(())
            }
            Err(NoSession::Disconnected(disconnect, cause)) => {
                self.disconnect(id, &disconnect, cause);
                Reading::Break(())
            }
        }
    }

    /// Whether a session may go on with a token: it must say of user and topics what the session
    /// is.
    fn check_refresh(
        &mut self,
        id: ConnectionId,
        token: &str,
    ) -> Result<ConnectionToken, NoSession> {
        let (rules, now) = (&self.settings.client.token, self.unix_ms());
        let end = |disconnect, cause| Err(NoSession::Disconnected(disconnect, cause));
        let found = token::connection_token(&self.keys, rules, token, now);
        let found = match self.check_token(token, found) {
            Ok(found) => found,
            Err(TokenError::UnknownKey) => return Err(Refusal::Internal.into()),
            Err(TokenError::Expired) => {
                return end(Disconnect::EXPIRED, "refresh with an expired token");
            }
            Err(TokenError::Invalid(cause)) => return end(Disconnect::INVALID_TOKEN, cause),
        };
        let session = self.connections.session(id).ok_or(Refusal::Internal)?;
        if found.user != session.user() {
            return end(Disconnect::INVALID_TOKEN, "refresh with a token of another");
        }
        let topics: BTreeSet<_> = by_connection_token(session)
            .filter_map(|topic| self.local.topic(topic).map(|local| &*local.name))
            .collect();
        let named: BTreeSet<_> = found.topics.iter().map(|topic| topic.name.as_str()).collect();
        if topics != named {
            return end(Disconnect::INSUFFICIENT_STATE, "refresh with a token of other topics");
        }
        if self.check_end(found.expires_at).is_err() {
            return end(Disconnect::EXPIRED, "refresh with an end in the past");
        }
        Ok(found)
    }

    /// A session has a new end, and says something new about itself, if anything.
    pub(super) fn renew(
        &mut self,
        id: ConnectionId,
        expires_at: Option<u64>,
        info: Option<&Payload>,
    ) {
        let expires = expires_at.map(|at| self.connection_end(at));
        let Some(session) = self.connections.session_mut(id) else {
            return;
        };
        session.expires = expires;
        if info.is_some() && session.info.conn_info.as_deref() != info {
            session.set_conn_info(info);
            self.renew_presence(id, |_| true);
        }
        if let Some(at) = expires {
            self.watch_expiry(id, at);
        }
    }

    /// A client's new subscription token.
    pub(super) fn sub_refresh(
        &mut self,
        id: ConnectionId,
        command: u32,
        name: &str,
        token: &str,
    ) -> Result<(), NoSubscription> {
        let session = self.connections.session(id);
        let (Some(session), Some(topic)) = (session, self.local.find(name)) else {
            return Err(Refusal::PermissionDenied.into());
        };
        if session.subscription(topic).is_none() {
            return Err(Refusal::PermissionDenied.into());
        }
        if token.is_empty() {
            return Err(Refusal::BadRequest.into());
        }
        let info = Arc::clone(&session.info);
        let asked = match self.subscription_token(&info, name, token) {
            Ok((asked, _)) => asked,
            Err(NoSubscription::Refused(refused @ (Refusal::TokenExpired | Refusal::Internal))) => {
                return Err(refused.into());
            }
            Err(_) => {
                self.disconnect(id, &Disconnect::INVALID_TOKEN, "sub_refresh with a bad token");
                return Err(NoSubscription::Disconnected);
            }
        };
        self.check_end(asked.expires_at)?;
        let expires = asked.expires_at.map(|at| self.subscription_end(at));
        let session = self.connections.session_mut(id);
        if let Some(entry) = session.and_then(|session| session.subscription_mut(topic)) {
            let special = entry.special.get_or_insert_default();
            special.expires = expires;
            if asked.info.is_some() {
                special.info = asked.info;
                self.renew_presence(id, |renewed| renewed == topic);
            }
        }
        if let Some(at) = expires {
            self.watch_expiry(id, at);
        }
        let ttl = asked.expires_at.map(|at| self.ttl(at));
        self.reply(id, command, &Reply::SubRefreshed(ttl));
        Ok(())
    }

    /// Tells the owners of some of its topics what a session says of itself now.
    fn renew_presence(&mut self, id: ConnectionId, meant: impl Fn(TopicRef) -> bool) {
        let Some(session) = self.connections.session(id) else {
            return;
        };
        for entry in &session.subscriptions {
            if entry.flow.contains(Flow::PRESENCE)
                && meant(entry.topic)
                && let Some(local) = self.local.topic(entry.topic)
            {
                let (name, info) = (Arc::clone(&local.name), Arc::clone(entry.info(&session.info)));
                self.lanes.send(self.owner(&name), Message::Renew { name, info });
            }
        }
    }

    /// Checks that what ends at a moment in Unix milliseconds has not ended already.
    pub(super) fn check_end(&self, expires_at: Option<u64>) -> Result<(), Refusal> {
        let past = expires_at.is_some_and(|at| at <= self.unix_ms());
        if past { Err(Refusal::Expired) } else { Ok(()) }
    }

    /// Ends what has expired of a connection.
    pub(super) fn expire(&mut self, id: ConnectionId, armed: Time) {
        let now = self.now;
        let session = self.connections.session_mut(id);
        let Some(session) = session.filter(|session| session.expiry_armed == Some(armed)) else {
            return;
        };
        session.expiry_armed = None;
        if session.expires.is_some_and(|at| at <= now) {
            self.disconnect(id, &Disconnect::EXPIRED, "connection token not renewed");
            return;
        }
        let subscriptions = session.subscriptions.iter();
        let over = subscriptions.filter(|entry| entry.expires().is_some_and(|at| at <= now));
        let over: Vec<_> = over.map(|entry| (entry.topic, entry.flow)).collect();
        for (topic, flow) in over {
            if flow.contains(Flow::SERVER_SIDE) {
                let cause = "server-side subscription not renewed";
                self.disconnect(id, &Disconnect::SUBSCRIPTION_EXPIRED, cause);
                return;
            }
            self.unsubscribe_unasked(id, topic, Ended::EXPIRED);
        }
        let session = self.connections.session(id);
        if let Some(at) = session.and_then(|session| session.next_expiry()) {
            self.watch_expiry(id, at);
        }
    }

    /// Something of a connection expires then.
    pub(super) fn watch_expiry(&mut self, id: ConnectionId, at: Time) {
        if let Some(session) = self.connections.session_mut(id)
            && session.expiry_armed.is_none_or(|armed| at < armed)
        {
            session.expiry_armed = Some(at);
            self.expiry_timers.insert(id, at);
        }
    }

    /// The wall clock, in Unix milliseconds.
    pub(super) fn unix_ms(&self) -> u64 {
        self.unix_zero_ms + self.now.as_millis()
    }

    /// A moment of the wall clock as it is set now.
    fn time_of(&self, unix_ms: u64) -> Time {
        let latest = self.now.after(EXPIRY_MAX);
        Time::from_millis(unix_ms.saturating_sub(self.unix_zero_ms)).min(latest)
    }

    /// Whole seconds until a moment in Unix milliseconds: at least 1, a year at most.
    pub(super) fn ttl(&self, unix_ms: u64) -> u32 {
        let left = Duration::from_millis(unix_ms.saturating_sub(self.unix_ms()));
        u32::try_from(left.min(EXPIRY_MAX).as_secs()).unwrap_or(u32::MAX).max(1)
    }

    /// When a connection ends that should be renewed at a moment in Unix milliseconds.
    pub(super) fn connection_end(&self, expires_at: u64) -> Time {
        self.time_of(expires_at).after(self.settings.client.expired_close_delay)
    }

    /// The same for a subscription.
    pub(super) fn subscription_end(&self, expires_at: u64) -> Time {
        self.time_of(expires_at).after(self.settings.client.expired_sub_close_delay)
    }
}

/// The names of the topics of a session that the connection token made.
fn by_connection_token(session: &Session) -> impl Iterator<Item = TopicRef> {
    session
        .subscriptions
        .iter()
        .filter(|entry| entry.flow.contains(Flow::BY_CONNECTION_TOKEN))
        .map(|entry| entry.topic)
}
