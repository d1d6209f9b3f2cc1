//! Subscribing, at the subscriber's shard.

use std::rc::Rc;
use std::sync::Arc;

use super::message::{Message, Recovered, Wants, Welcome};
use super::{Answerer, AskedSubscribe, Pending, Shard};
use crate::fault::{Disconnect, Refusal};
use crate::ids::{ConnectionId, RequestId, TopicRef};
use crate::protocol::{
    ClientInfo, Encoding, Form, Overrides, Payload, Position, Publication, Push, Recovery, Reply,
    Since, Subscribe, Subscribed,
};
use crate::session::policy::{self, OptIns};
use crate::session::token::{self, SubscriptionGrant, TokenError};
use crate::session::{Special, Subscription, SubscriptionState};
use crate::topic::{Filter, Flow, cost};

/// A subscription as it is asked for, whoever asks.
#[derive(Debug, Default)]
pub(super) struct Asked {
    pub(super) flow: Flow,
    /// The session as others see it in this topic, where that differs.
    pub(super) info: Option<Arc<ClientInfo>>,
    /// When it ends, in Unix milliseconds.
    pub(super) expires_at: Option<u64>,
    /// The client is told to renew it.
    pub(super) renewed_by_client: bool,
    pub(super) recover: Option<Since>,
    pub(super) must_recover: bool,
    pub(super) filter: Option<Filter>,
    pub(super) data: Option<Payload>,
}

/// What the reply to a subscribe needs beside the owner's answer.
#[derive(Debug, Default)]
pub(super) struct Noted {
    since: Option<Since>,
    ttl_seconds: Option<u32>,
    filter: Option<Filter>,
    data: Option<Payload>,
}

/// What keeps a client from being subscribed.
pub(super) enum NoSubscription {
    Refused(Refusal),
    Disconnected,
}

impl From<Refusal> for NoSubscription {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

impl Shard {
    /// A client's subscribe. The subscription begins when the owner's answer is read.
    pub(super) fn subscribe(
        &mut self,
        id: ConnectionId,
        command: u32,
        asked: &mut Subscribe<'_>,
    ) -> Result<(), NoSubscription> {
        let settings = Rc::clone(&self.settings);
        let name = asked.topic.as_ref();
        policy::check_length(name)?;
        let Some(session) = self.connections.session(id) else {
            return Ok(());
        };
        if self.local.find(name).is_some_and(|topic| session.subscription(topic).is_some()) {
            return Err(Refusal::AlreadySubscribed.into());
        }
        if session.subscriptions.len() >= settings.client.topics_max {
            return Err(Refusal::LimitExceeded.into());
        }
        let options = policy::named(&settings, name)?;
        if asked.kind != 0 {
            return Err(Refusal::PermissionDenied.into());
        }
        let info = Arc::clone(&session.info);
        let (mut granted, overrides) = if asked.token.is_empty() {
            policy::may_subscribe(&settings, options, &info.user, name)?;
            (Asked::default(), Overrides::default())
        } else {
            match self.subscription_token(&info, name, &asked.token) {
                Ok(grant) => grant,
                Err(NoSubscription::Disconnected) => {
                    self.disconnect(id, &Disconnect::INVALID_TOKEN, "token of another");
                    return Err(NoSubscription::Disconnected);
                }
                Err(refused) => return Err(refused),
            }
        };
        granted.filter = match &asked.filter {
            Some(_) if !options.allow_tags_filter => return Err(Refusal::BadRequest.into()),
            Some(node) => Some(Filter::compile(node).map_err(|_| Refusal::BadRequest)?),
            None => None,
        };
        self.check_end(granted.expires_at)?;
        let opt_ins = OptIns {
            positioned: asked.positioned,
            recoverable: asked.recoverable,
            join_leave: asked.join_leave,
            delta: asked.delta,
            filtered: granted.filter.is_some(),
        };
        granted.flow |= policy::flow(&settings, options, &info.user, &overrides, opt_ins);
        granted.recover = asked.recover.take();
        granted.must_recover = asked.must_recover;
        let ticket = self.reserve(id)?;
        self.ask_owner(id, name, granted, Answerer::Reply { ticket, id: command })?;
        Ok(())
    }

    /// What a subscription token grants a session in a topic.
    pub(super) fn subscription_token(
        &mut self,
        info: &ClientInfo,
        name: &str,
        token: &str,
    ) -> Result<(Asked, Overrides), NoSubscription> {
        let client = &self.settings.client;
        if client.insecure {
            return Ok((Asked::default(), Overrides::default()));
        }
        let (rules, now) = (client.subscription_token(), self.unix_ms());
        let found = token::subscription_token(&self.keys, rules, token, now);
        let found = match self.check_token(token, found) {
            Ok(found) => found,
            Err(TokenError::Expired) => return Err(Refusal::TokenExpired.into()),
            Err(TokenError::UnknownKey) => return Err(Refusal::Internal.into()),
            Err(TokenError::Invalid(cause)) => {
                tracing::debug!(cause, "subscription token refused");
                return Err(Refusal::PermissionDenied.into());
            }
        };
        let client = found.client.as_deref();
        let meant = found.channel == name
            && found.user == *info.user
            && client.is_none_or(|client| client.parse() == Ok(info.client));
        if !meant {
            return Err(NoSubscription::Disconnected);
        }
        let SubscriptionGrant { info: chan_info, data, overrides } = found.grant;
        let asked = Asked {
            flow: Flow::BY_TOKEN,
            info: chan_info.map(|chan_info| {
                let chan_info = Some(chan_info.into());
                Arc::new(ClientInfo { chan_info, ..info.clone() })
            }),
            expires_at: found.expires_at,
            renewed_by_client: true,
            data,
            ..Asked::default()
        };
        Ok((asked, overrides))
    }

    /// Asks the owner of a topic for its publications.
    pub(super) fn ask_owner(
        &mut self,
        id: ConnectionId,
        name: &str,
        asked: Asked,
        answerer: Answerer,
    ) -> Result<(), Refusal> {
        let Asked { flow, info, expires_at, renewed_by_client, recover, must_recover, .. } = asked;
        // Before anything is noted of it.
        if self.requests_full() {
            return Err(Refusal::Overloaded);
        }
        let topic = self.local.find_or_insert(name);
        let ttl_seconds = expires_at.filter(|_| renewed_by_client).map(|at| self.ttl(at));
        let noted =
            Noted { since: recover.clone(), ttl_seconds, filter: asked.filter, data: asked.data };
        let asked = AskedSubscribe { connection: id, topic, answerer, noted, ended: false };
        let request = self.ask(Pending::Subscribe(Box::new(asked)))?;
        let expires = expires_at.map(|at| self.subscription_end(at));
        let special = (info.is_some() || expires.is_some())
            .then(|| Box::new(Special { info: info.clone(), expires }));
        let Some(session) = self.connections.session_mut(id) else {
            return Ok(());
        };
        let state = SubscriptionState::Asked(request);
        session.subscriptions.push(Subscription { topic, state, flow, special });
        self.counters.subscriptions += 1;
        let wants = (flow.intersects(Flow::POSITIONED) || flow.is_known_to_owner()).then(|| {
            let seen = info.unwrap_or_else(|| Arc::clone(&session.info));
            let info = flow.is_known_to_owner().then_some(seen);
            Box::new(Wants { flow, info, recover, must_recover })
        });
        if let Some(at) = expires {
            self.watch_expiry(id, at);
        }
        let owner = self.owner(name);
        if let Some(local) = self.local.topic_mut(topic) {
            local.asked += 1;
            let name = Arc::clone(&local.name);
            self.lanes.send(owner, Message::Join { name, topic, request, wants });
        }
        Ok(())
    }

    /// The owner's answer to a subscribe.
    pub(super) fn joined(&mut self, request: RequestId, outcome: Result<Welcome, Refusal>) {
        let Some(Pending::Subscribe(asked)) = self.requests.remove(request) else {
            debug_assert!(false, "an answer to a subscribe that nobody awaits");
            return;
        };
        let AskedSubscribe { connection: id, topic, answerer, noted, ended } = *asked;
        let outcome = outcome.and_then(|welcome| {
            let asked = !ended && matches!(answerer, Answerer::Reply { .. });
            let full = asked && !self.has_room(id, &welcome);
            if full { Err(Refusal::Overloaded) } else { Ok(welcome) }
        });
        match outcome {
            Ok(welcome) => self.welcomed(id, topic, answerer, noted, welcome, ended),
            Err(refusal) => {
                if !ended {
                    self.end_subscription(id, topic);
                }
                match answerer {
                    Answerer::Reply { ticket, id: command } => {
                        self.fill(id, ticket, command, &Reply::Refused(refusal));
                    }
                    Answerer::Connect => self.connect_goes_on(id, None),
                    Answerer::Backend(order) => self.order_goes_on(order),
                }
            }
        }
        // Only now, for a gap may just have ended all other subscriptions.
        if let Some(local) = self.local.topic_mut(topic) {
            local.asked -= 1;
        }
        self.leave_if_unused(topic);
    }

    /// Whether what was missed fits into the outbox beside what waits there. Much may wait, of
    /// other topics and behind the answer of another shard, and the client is not to blame: it is
    /// refused for now, and comes again when it has read that.
    fn has_room(&self, id: ConnectionId, welcome: &Welcome) -> bool {
        let publications = welcome.recovered.iter().flat_map(|found| &found.publications);
        let bytes: usize = publications.map(|publication| cost(publication)).sum();
        bytes == 0 || self.fits(id, bytes)
    }

    fn welcomed(
        &mut self,
        id: ConnectionId,
        topic: TopicRef,
        answerer: Answerer,
        noted: Noted,
        mut welcome: Welcome,
        ended: bool,
    ) {
        // The lanes are without loss, so the two agree.
        self.checked(topic, Some(welcome.position));
        let Some(name) = self.local.topic_mut(topic).map(|local| {
            local.heard = local.heard.get().or(Some(welcome.position)).into();
            Arc::clone(&local.name)
        }) else {
            return;
        };
        if matches!(answerer, Answerer::Connect) {
            self.fit_into_connect(id, &mut welcome);
        }
        let Some(connection) = self.connections.get(id) else {
            if let Answerer::Backend(order) = answerer {
                self.order_goes_on(order);
            }
            return;
        };
        let encoding = connection.adapter.encoding();
        let entry = connection.session().and_then(|session| session.subscription(topic));
        let Noted { since, ttl_seconds, filter, data } = noted;
        let subscribed = match entry.filter(|_| !ended) {
            Some((_, entry)) => {
                let told = subscribed(entry.flow, encoding, since, filter.as_ref(), &welcome);
                Subscribed { ttl_seconds, data, ..told }
            }
            // What was published meanwhile may not be for this client any more.
            None => Subscribed::default(),
        };
        if !ended {
            self.begin(id, topic, &subscribed, welcome, filter);
        }
        match answerer {
            Answerer::Reply { ticket, id: command } => {
                self.fill(id, ticket, command, &Reply::Subscribed(&subscribed));
            }
            Answerer::Connect => self.connect_goes_on(id, (!ended).then_some((name, subscribed))),
            Answerer::Backend(order) => {
                if !ended {
                    self.push_begin(id, &name, &subscribed);
                }
                self.order_goes_on(order);
            }
        }
    }

    /// Tells a client that the server subscribed it.
    fn push_begin(&mut self, id: ConnectionId, name: &str, subscribed: &Subscribed) {
        self.push_in_order(id, &Push::Subscribed { topic: name, subscribed });
        for (publication, form) in &subscribed.publications {
            self.push_in_order(id, &Push::Publication { topic: name, publication, form });
        }
    }

    /// The subscription of a connection begins, if it still lives.
    fn begin(
        &mut self,
        id: ConnectionId,
        topic: TopicRef,
        subscribed: &Subscribed,
        welcome: Welcome,
        filter: Option<Filter>,
    ) {
        self.deliver_before_joining(topic);
        let Some(session) = self.connections.session_mut(id) else {
            return;
        };
        let Some(local) = self.local.topic_mut(topic) else {
            return;
        };
        let Some(entry) = session.subscription_mut(topic) else {
            return;
        };
        let index = local.add(id, entry.flow, filter);
        self.watched += usize::from(entry.flow.contains(Flow::POSITIONED));
        entry.state = SubscriptionState::Live { index };
        // One who was just sent the last publication can be sent deltas at once.
        let newest = welcome.recovered.and_then(|recovered| recovered.newest);
        let newest = newest.filter(|_| !subscribed.publications.is_empty());
        if subscribed.delta
            && let Some(newest) = newest
            && let Some(special) = &mut local.special
        {
            let last = special.last.get_or_insert_with(|| Arc::clone(&newest));
            if Arc::ptr_eq(last, &newest)
                && let Some(subscriber) = local.subscribers.last_mut()
            {
                subscriber.flow.insert(Flow::BASED);
            }
        }
    }
}

/// What a subscriber is told.
fn subscribed(
    flow: Flow,
    encoding: Encoding,
    since: Option<Since>,
    filter: Option<&Filter>,
    welcome: &Welcome,
) -> Subscribed {
    let positioned = flow.contains(Flow::POSITIONED);
    let mut subscribed = Subscribed {
        positioned,
        recoverable: flow.contains(Flow::RECOVERABLE),
        delta: flow.contains(Flow::DELTA),
        position: positioned.then_some(welcome.position),
        ..Subscribed::default()
    };
    let Some(Recovered { recovery, publications, .. }) = welcome.recovered.as_deref() else {
        return subscribed;
    };
    subscribed.recovery = *recovery;
    if *recovery == Recovery::Done {
        // The client counts up from there while it takes what it missed (section 11).
        let offset = since.map_or(0, |since| since.offset);
        subscribed.position = Some(Position { offset, ..welcome.position });
        let admitted = |publication: &&Arc<Publication>| {
            filter.is_none_or(|filter| filter.matches(&publication.draft.tags))
        };
        let admitted = publications.iter().filter(admitted);
        if subscribed.delta {
            subscribed.publications = chained(encoding, admitted);
        } else {
            subscribed.publications =
                admitted.map(|publication| (Arc::clone(publication), Form::Plain)).collect();
        }
    }
    subscribed
}

/// Publications for one who gets deltas: the first as it is, each further one as a patch of the one
/// before it.
fn chained<'a>(
    encoding: Encoding,
    publications: impl Iterator<Item = &'a Arc<Publication>>,
) -> Vec<(Arc<Publication>, Form)> {
    let mut base: Option<&Arc<Publication>> = None;
    let forms = publications.map(|publication| {
        let form = base.and_then(|base| super::fanout::patch_of(encoding, base, publication));
        base = Some(publication);
        (Arc::clone(publication), form.unwrap_or(Form::Full))
    });
    forms.collect()
}
