//! From a token to a session and its server-side subscriptions (specification, sections 6, 9 and
//! 15).

use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;

use rand::Rng as _;
use uuid::Uuid;

use super::message::Welcome;
use super::subscribe::Asked;
use super::{Answerer, Output, Reading, Shard};
use crate::connection::{Connecting, Phase, Timer};
use crate::fault::{Disconnect, Refusal};
use crate::ids::ConnectionId;
use crate::protocol::{
    ClientInfo, Connect, Connected, Payload, PingStyle, Recovery, Reply, Subscribed, Wish,
};
use crate::session::token::{self, SubscriptionGrant, TokenError, TokenTopic};
use crate::session::{Session, policy};
use crate::topic::{Flow, cost};

/// Who wants to be a session.
struct Identity {
    user: Arc<str>,
    info: Option<Payload>,
    /// In Unix milliseconds.
    expires_at: Option<u64>,
    topics: Vec<TokenTopic>,
}

/// Why there is no session, or why it does not go on.
pub(super) enum NoSession {
    Refused(Refusal),
    Disconnected(Disconnect, &'static str),
}

impl From<Refusal> for NoSession {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

impl Shard {
    /// A client's connect. After a refusal it may try again, until `connect_timeout`.
    pub(super) fn connect(
        &mut self,
        id: ConnectionId,
        command: u32,
        asked: &Connect<'_>,
    ) -> Reading {
        let admitted = self.identify(&asked.token).and_then(|identity| {
            let topics = self.server_side(&identity, &asked.subs)?;
            Ok((identity, topics))
        });
        match admitted {
            Ok((identity, topics)) => {
                self.begin_session(id, command, identity, topics);
                Reading::Continue(())
            }
            Err(NoSession::Refused(refusal)) => {
                self.reply(id, command, &Reply::Refused(refusal));
                if let Some(connection) = self.connections.get_mut(id) {
                    connection.phase = Phase::Refused;
                }
                Reading::Break(())
            }
            Err(NoSession::Disconnected(disconnect, cause)) => {
                self.disconnect(id, &disconnect, cause);
                Reading::Break(())
            }
        }
    }

    fn identify(&mut self, token: &str) -> Result<Identity, NoSession> {
        let settings = Rc::clone(&self.settings);
        let client = &settings.client;
        let nobody = Identity {
            user: Arc::clone(&self.anonymous),
            info: None,
            expires_at: None,
            topics: Vec::new(),
        };
        let unchecked = client.insecure && self.keys.connection().is_empty();
        if token.is_empty() || unchecked {
            return if client.anonymous || client.insecure {
                Ok(nobody)
            } else {
                Err(NoSession::Disconnected(Disconnect::BAD_REQUEST, "connect without a token"))
            };
        }
        let found = token::connection_token(&self.keys, &client.token, token, self.unix_ms());
        let found = match self.check_token(token, found) {
            Ok(found) => found,
            Err(TokenError::Expired) => return Err(Refusal::TokenExpired.into()),
            Err(TokenError::UnknownKey) => return Err(Refusal::Internal.into()),
            Err(TokenError::Invalid(cause)) => {
                return Err(NoSession::Disconnected(Disconnect::INVALID_TOKEN, cause));
            }
        };
        if found.user.is_empty() && client.disallow_anonymous_connection_tokens {
            let cause = "a token without a user";
            return Err(NoSession::Disconnected(Disconnect::PERMISSION_DENIED, cause));
        }
        self.check_end(found.expires_at)?;
        Ok(Identity {
            user: if found.user.is_empty() { nobody.user } else { found.user.into() },
            info: found.info,
            expires_at: found.expires_at.filter(|_| !client.insecure),
            topics: found.topics,
        })
    }

    /// Has the keys fetched if they do not say whether a token is good, unless that was of no use
    /// before: then it is not.
    pub(super) fn check_token<T>(
        &mut self,
        token: &str,
        checked: Result<T, TokenError>,
    ) -> Result<T, TokenError> {
        if !matches!(checked, Err(TokenError::UnknownKey)) {
            return checked;
        }
        if self.unknown_keys.is_hopeless(&token::key_name(token)) {
            return Err(TokenError::Invalid("signed with a key that cannot be fetched"));
        }
        self.outputs.push_back(Output::FetchKeys);
        checked
    }

    /// What a session is subscribed to from its beginning.
    fn server_side(
        &self,
        identity: &Identity,
        wishes: &[Wish<'_>],
    ) -> Result<Vec<(String, Asked)>, NoSession> {
        let settings = &self.settings;
        let mut topics = BTreeMap::new();
        for TokenTopic { name, grant } in &identity.topics {
            policy::named(settings, name)?;
            topics.insert(name.clone(), (grant.clone(), Flow::BY_CONNECTION_TOKEN));
        }
        if let Some(name) = self.personal_topic(&identity.user) {
            topics.entry(name).or_default();
        }
        for wish in wishes {
            let name = wish.topic.as_ref();
            match policy::named(settings, name)
                .and_then(|options| policy::may_subscribe(settings, options, &identity.user, name))
            {
                Ok(()) => {
                    topics.entry(name.to_owned()).or_default();
                }
                Err(Refusal::UnknownTopic) => {
                    let cause = "a topic of an unknown namespace in a connect";
                    return Err(NoSession::Disconnected(Disconnect::BAD_REQUEST, cause));
                }
                Err(_) => {}
            }
        }
        if topics.len() > settings.client.topics_max {
            let cause = "more server-side subscriptions than topics_max";
            return Err(NoSession::Disconnected(Disconnect::TOPIC_LIMIT, cause));
        }
        let wishes: BTreeMap<_, _> =
            wishes.iter().map(|wish| (wish.topic.as_ref(), wish)).collect();
        let asked = topics.into_iter().map(|(name, (grant, flow))| {
            let wish = wishes.get(name.as_str()).copied();
            let asked = self.server_side_one(identity, &name, grant, flow, wish)?;
            Ok((name, asked))
        });
        asked.collect()
    }

    fn server_side_one(
        &self,
        identity: &Identity,
        name: &str,
        grant: SubscriptionGrant,
        flow: Flow,
        wish: Option<&Wish<'_>>,
    ) -> Result<Asked, NoSession> {
        let options = policy::options(&self.settings, name)?;
        let opt_ins = policy::OptIns {
            recoverable: wish.is_some_and(|wish| wish.recover.is_some()),
            delta: wish.is_some_and(|wish| wish.delta),
            ..policy::OptIns::default()
        };
        let granted =
            policy::flow(&self.settings, options, &identity.user, &grant.overrides, opt_ins);
        Ok(Asked {
            flow: granted | flow | Flow::SERVER_SIDE,
            // The id of the session is not known yet: what it holds is put in later.
            info: grant.info.map(|info| {
                Arc::new(ClientInfo {
                    user: Arc::clone(&identity.user),
                    client: Uuid::nil(),
                    conn_info: identity.info.clone().map(Box::new),
                    chan_info: Some(info.into()),
                })
            }),
            recover: wish.and_then(|wish| wish.recover.clone()),
            data: grant.data,
            ..Asked::default()
        })
    }

    /// The topic that is a user's own.
    fn personal_topic(&self, user: &str) -> Option<String> {
        let personal = self.settings.client.personal_topic.as_ref()?;
        if user.is_empty() {
            return None;
        }
        Some(match personal.namespace.as_str() {
            "" => format!("#{user}"),
            namespace => format!("{namespace}:#{user}"),
        })
    }

    fn begin_session(
        &mut self,
        id: ConnectionId,
        command: u32,
        identity: Identity,
        topics: Vec<(String, Asked)>,
    ) {
        let mut bytes = [0; 16];
        self.random.fill_bytes(&mut bytes);
        let client = uuid::Builder::from_random_bytes(bytes).into_uuid();
        let Identity { user, info, expires_at, .. } = identity;
        let conn_info = info.map(Box::new);
        let info = ClientInfo { user: Arc::clone(&user), client, conn_info, chan_info: None };
        let mut session = Session::new(Arc::new(info));
        session.expires = expires_at.map(|at| self.connection_end(at));
        let expires = session.expires;
        let ttl_seconds = expires_at.map(|at| self.ttl(at));
        let first_ping = self.first_ping();
        let ping_interval = self.settings.client.ping_interval;
        let Some(connection) = self.connections.get_mut(id) else {
            return;
        };
        let ping_seconds = u32::try_from(ping_interval.as_secs()).unwrap_or(u32::MAX).max(1);
        let ping_seconds = (connection.pings == PingStyle::Messages).then_some(ping_seconds);
        connection.phase = Phase::Live(Box::new(session));
        self.set_timer(id, Timer::Ping(first_ping));
        if let Some(at) = expires {
            self.watch_expiry(id, at);
        }
        let Ok(counted) = self.user_came(id, &user) else {
            self.disconnect(id, &Disconnect::INTERNAL, "too many requests under way");
            return;
        };
        let mut connecting = Connecting {
            command,
            ticket: None,
            awaited: topics.len() + usize::from(counted),
            ttl_seconds,
            ping_seconds,
            subs: Vec::with_capacity(topics.len()),
            bytes: 0,
        };
        if connecting.awaited == 0 {
            self.connected(id, connecting);
            return;
        }
        if let Some(connection) = self.connections.get_mut(id) {
            connecting.ticket = connection.reserve_before_all();
            connection.connecting = Some(Box::new(connecting));
        }
        for (name, mut asked) in topics {
            if let Some(info) = &mut asked.info {
                Arc::make_mut(info).client = client;
            }
            if self.ask_owner(id, &name, asked, Answerer::Connect).is_err() {
                self.disconnect(id, &Disconnect::INTERNAL, "too many requests under way");
                return;
            }
        }
    }

    /// All that a connect brings goes in one message, which an outbox must hold: what does not fit
    /// is not recovered.
    pub(super) fn fit_into_connect(&mut self, id: ConnectionId, welcome: &mut Welcome) {
        let bytes_max = self.settings.client.outbox_bytes_max / 2;
        let connection = self.connections.get_mut(id);
        let connecting = connection.and_then(|connection| connection.connecting.as_mut());
        let (Some(connecting), Some(recovered)) = (connecting, &mut welcome.recovered) else {
            return;
        };
        let bytes: usize = recovered.publications.iter().map(|one| cost(one)).sum();
        if connecting.bytes + bytes <= bytes_max {
            connecting.bytes += bytes;
        } else {
            recovered.recovery = Recovery::Failed;
            recovered.publications.clear();
        }
    }

    /// One of the things that a connect waits for has come.
    pub(super) fn connect_goes_on(
        &mut self,
        id: ConnectionId,
        subscribed: Option<(Arc<str>, Subscribed)>,
    ) {
        let Some(connection) = self.connections.get_mut(id) else {
            return;
        };
        let Some(connecting) = &mut connection.connecting else {
            return;
        };
        connecting.subs.extend(subscribed);
        connecting.awaited -= 1;
        if connecting.awaited == 0
            && let Some(connecting) = connection.connecting.take()
        {
            self.connected(id, *connecting);
        }
    }

    fn connected(&mut self, id: ConnectionId, connecting: Connecting) {
        let Connecting { command, ticket, ttl_seconds, ping_seconds, subs, .. } = connecting;
        let session = self.connections.session(id);
        let Some(client) = session.map(|session| session.info.client) else {
            return;
        };
        let node = Arc::clone(&self.node);
        let connected = Connected {
            client,
            version: &node.version,
            ttl_seconds,
            ping_seconds,
            time_ms: self.settings.client.connect_time.then(|| self.unix_ms()),
            subs: &subs,
        };
        let reply = Reply::Connected(&connected);
        match ticket {
            None => self.reply(id, command, &reply),
            Some(ticket) => self.fill(id, ticket, command, &reply),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{ClientSettings, NodeInfo, Settings};
    use crate::ids::{Place, ShardIndex, SocketId};
    use crate::limits::REQUESTS_MAX;
    use crate::protocol::Adapter;
    use crate::shard::Pending;
    use crate::time::Time;

    /// A close frame with 3004.
    const INTERNAL_CLOSE: [u8; 4] = [0x88, 2 + "internal server error".len() as u8, 0x0b, 0xbc];

    /// What a session is sent that begins when so many requests are under way.
    fn sent(requests: usize, user: &str, topics: Vec<(String, Asked)>) -> Vec<u8> {
        let client = ClientSettings { user_connections_max: 1, ..ClientSettings::default() };
        let settings = Rc::new(Settings { client, ..Settings::default() });
        let node = NodeInfo { id: Uuid::nil(), name: String::new(), version: String::new() };
        let place = Place { index: ShardIndex(0), count: 1 };
        let mut shard = Shard::new(place, settings, Arc::new(node), [7; 32], Time::ZERO);
        let adapter = Adapter::CentrifugoJson;
        let id = shard.open(Time::ZERO, SocketId(1), adapter, PingStyle::Messages);
        for _ in 0..requests {
            shard.requests.insert(Pending::Attend { connection: ConnectionId::default() });
        }
        let (info, expires_at) = (None, None);
        let identity = Identity { user: user.into(), info, expires_at, topics: Vec::new() };
        shard.begin_session(id, 1, identity, topics);
        shard.settle();
        shard.pending(id).flatten().copied().collect()
    }

    #[test]
    fn who_cannot_be_subscribed_or_counted_is_told_to_come_again() {
        let topics = || vec![("a".to_owned(), Asked::default())];
        assert!(sent(REQUESTS_MAX, "", topics()).starts_with(&INTERNAL_CLOSE));
        assert!(sent(REQUESTS_MAX, "u", Vec::new()).starts_with(&INTERNAL_CLOSE));
        for (user, topics) in [("", topics()), ("u", Vec::new())] {
            let sent = String::from_utf8_lossy(&sent(0, user, topics)).into_owned();
            assert!(sent.contains(r#"{"id":1,"connect":{"#), "{user} {sent:?}");
        }
        // Who needs no request is let in all the same.
        assert!(!sent(REQUESTS_MAX, "", Vec::new()).starts_with(&INTERNAL_CLOSE));
    }
}
