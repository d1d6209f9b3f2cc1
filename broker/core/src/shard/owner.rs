//! The owner's side of a topic: who gets it, in which order, what is kept of it, who is there.

use std::rc::Rc;
use std::sync::Arc;

use rand::RngExt as _;
use rand::rngs::StdRng;

use super::Shard;
use super::message::{Asker, Message, News, Recovered, Told, Wants, Welcome};
use crate::api::TopicQuery;
use crate::config::{RecoveryMode, TopicOptions};
use crate::fault::Refusal;
use crate::ids::{OwnedRef, RequestId, ShardIndex, TopicRef};
use crate::protocol::{ClientInfo, Epoch, Publication, Publish, Published, Range, Recovery, Since};
use crate::session::policy;
use crate::topic::{Bounds, Flow};

impl Shard {
    /// A shard wants a topic. What is sequenced before this answer reaches it before, the rest
    /// after: one lane, first in, first out.
    pub(super) fn own_join(
        &mut self,
        from: ShardIndex,
        name: &Arc<str>,
        local: TopicRef,
        request: RequestId,
        wants: Option<&Wants>,
    ) {
        let settings = Rc::clone(&self.settings);
        // Checked before the question crossed; a topic without options keeps nothing.
        let none = TopicOptions::default();
        let options = policy::options(&settings, name).unwrap_or(&none);
        let topic = self.own(name, options);
        self.owned.join(topic, from, local);
        let Some(owned) = self.owned.get(topic) else {
            return;
        };
        let position = owned.position();
        let recovered = wants.and_then(|wants| self.recover(topic, wants, options));
        let refused = wants.is_some_and(|wants| wants.must_recover)
            && recovered.as_ref().is_some_and(|found| found.recovery == Recovery::Failed);
        let outcome =
            if refused { Err(Refusal::Unrecoverable) } else { Ok(Welcome { position, recovered }) };
        self.lanes.send(from, Message::Joined { request, outcome });
        if let Some(Wants { flow, info: Some(info), .. }) = wants {
            if refused {
                if let Some(owned) = self.owned.get_mut(topic) {
                    owned.presence_mut().refuse(info.client);
                }
                return;
            }
            if flow.contains(Flow::PRESENCE)
                && let Some(owned) = self.owned.get_mut(topic)
            {
                owned.presence_mut().add(Arc::clone(info));
            }
            if flow.contains(Flow::ANNOUNCED) {
                self.announce(topic, News::Join, info);
            }
        }
    }

    /// What one who joins has missed; `None` if it asks for nothing.
    fn recover(
        &self,
        topic: OwnedRef,
        wants: &Wants,
        options: &TopicOptions,
    ) -> Option<Box<Recovered>> {
        let owned = self.owned.get(topic)?;
        let (history, top) = (owned.history()?, owned.position());
        if !wants.flow.contains(Flow::RECOVERABLE) {
            return None;
        }
        let (recovery, publications) = match (&wants.recover, options.force_recovery_mode) {
            (None, RecoveryMode::Cache) if options.auto_cache_recover => {
                history.recover_newest(&Since::default(), top)
            }
            (None, _) => return None,
            (Some(since), RecoveryMode::Cache) => history.recover_newest(since, top),
            (Some(since), RecoveryMode::Stream) => {
                let client = &self.settings.client;
                let bounds = Bounds {
                    publications_max: client.recovery_publications_max,
                    bytes_max: client.outbox_bytes_max / 2,
                };
                history.recover(since, top, bounds)
            }
        };
        let newest = history.newest().filter(|newest| newest.position == top).cloned();
        Some(Box::new(Recovered { recovery, publications, newest }))
    }

    /// A shard has no subscriber of a topic any more.
    pub(super) fn own_part(&mut self, from: ShardIndex, name: &str, local: TopicRef) {
        if let Some(topic) = self.owned.find(name) {
            if let Ok(options) = policy::options(&self.settings, name) {
                // Until now somebody may have heard it.
                self.owned.note_use(topic, options, self.now);
            }
            self.owned.part(topic, from, local);
        }
    }

    /// A subscriber of whom the topic knows is gone, or did not come because it was refused: each
    /// join of such a one is followed by one leave.
    pub(super) fn own_leave(&mut self, name: &str, flow: Flow, info: &Arc<ClientInfo>) {
        let Some(topic) = self.owned.find(name) else {
            return;
        };
        if let Some(owned) = self.owned.get_mut(topic) {
            if owned.was_refused(info.client) {
                self.owned.remove_if_unused(topic);
                return;
            }
            if flow.contains(Flow::PRESENCE) {
                owned.presence_mut().remove(info.client);
            }
        }
        if flow.contains(Flow::ANNOUNCED) {
            self.announce(topic, News::Leave, info);
        }
        self.owned.remove_if_unused(topic);
    }

    /// A subscriber says something else of itself.
    pub(super) fn own_renew(&mut self, name: &str, info: Arc<ClientInfo>) {
        let found = self.owned.find(name).and_then(|topic| self.owned.get_mut(topic));
        if let Some(owned) = found.filter(|owned| owned.presence().is_some()) {
            owned.presence_mut().renew(info);
        }
    }

    /// Tells the interested shards who came or went: at most once, so not where too much waits.
    fn announce(&mut self, topic: OwnedRef, news: News, info: &Arc<ClientInfo>) {
        let Some(owned) = self.owned.get(topic) else {
            return;
        };
        for &(shard, topic) in owned.interested() {
            if !self.lanes.overloaded(shard) {
                let info = Arc::clone(info);
                self.lanes.send(shard, Message::Announce { topic, news, info });
            }
        }
    }

    /// Gives a publication its place and sends it to every shard with subscribers.
    pub(super) fn own_publish(&mut self, from: ShardIndex, publish: Publish, request: RequestId) {
        let outcome = self.publish_once(publish);
        self.lanes.send(from, Message::Published { request, outcome });
    }

    /// Publishes what was not published before.
    fn publish_once(&mut self, publish: Publish) -> Published {
        let settings = Rc::clone(&self.settings);
        let options = policy::options(&settings, &publish.topic)?;
        let Some(once) = publish.once.clone() else {
            return self.sequence(publish, options);
        };
        let Publish { topic: name, draft, .. } = &publish;
        let key = once.idempotency_key.as_str();
        if !key.is_empty()
            && let Some(answer) = self.answers.find(name, key, draft, self.now)
        {
            return answer;
        }
        let versioned = once.version > 0 && options.keeps_history();
        let found = self.owned.find(name).filter(|_| versioned);
        if let Some(owned) = found.and_then(|topic| self.owned.get(topic))
            && owned.is_outdated(once.version, &once.version_epoch)
        {
            let answer = Some(owned.position());
            if !key.is_empty() {
                self.answers.insert(name, key, draft, answer, self.now);
            }
            return Ok(answer);
        }
        let (name, draft) = (Arc::clone(name), draft.clone());
        let published = self.sequence(publish, options)?;
        if !key.is_empty() {
            self.answers.insert(&name, key, &draft, published, self.now);
        }
        let found = self.owned.find(&name).filter(|_| versioned);
        if let Some(owned) = found.and_then(|topic| self.owned.get_mut(topic)) {
            owned.set_version(once.version, &once.version_epoch);
        }
        Ok(published)
    }

    fn sequence(&mut self, publish: Publish, options: &TopicOptions) -> Published {
        let Publish { topic: name, mut draft, .. } = publish;
        draft.delta |= options.delta_publish;
        let kept = options.keeps_history() && !draft.skip_history;
        let found = if kept { Some(self.own(&name, options)) } else { self.owned.find(&name) };
        let Some(topic) = found else {
            // Nobody hears it and nothing is kept.
            self.counters.publications += 1;
            return Ok(None);
        };
        let Some(owned) = self.owned.get_mut(topic) else {
            return Err(Refusal::Overloaded);
        };
        // Before the offset is given it may be refused; after it, it must arrive.
        if owned.interested().iter().any(|(shard, _)| self.lanes.overloaded(*shard)) {
            return Err(Refusal::Overloaded);
        }
        let position = if draft.skip_history { owned.position() } else { owned.advance() };
        let publication = Arc::new(Publication { draft, position, position_visible: kept });
        for (shard, topic) in owned.interested() {
            let publication = Arc::clone(&publication);
            self.lanes.send(*shard, Message::Deliver { topic: *topic, publication });
        }
        self.counters.publications += 1;
        if kept {
            self.owned.keep(topic, &publication, options, self.now);
            self.arm_topic(topic);
        }
        Ok(publication.visible_position())
    }

    /// Answers a question about a topic.
    pub(super) fn own_query(
        &mut self,
        from: ShardIndex,
        name: &Arc<str>,
        query: &TopicQuery,
        asker: Asker,
        request: RequestId,
    ) {
        let told = Box::new(self.tell(name, query, asker));
        self.lanes.send(from, Message::Told { request, told });
    }

    fn tell(&mut self, name: &Arc<str>, query: &TopicQuery, asker: Asker) -> Result<Told, Refusal> {
        let settings = Rc::clone(&self.settings);
        let options = policy::options(&settings, name)?;
        let found = self.owned.find(name).and_then(|topic| self.owned.get(topic));
        let presence = found.and_then(|owned| owned.presence());
        let members_max = settings.client.presence_members_max;
        match query {
            TopicQuery::Presence => match presence {
                None => Ok(Told::Presence(Vec::new())),
                Some(found) if found.client_count() > members_max => Err(Refusal::TooManyMembers),
                Some(found) => {
                    let bytes: usize = found.members().map(|info| info.bytes()).sum();
                    if asker == Asker::Client && bytes > settings.client.outbox_bytes_max / 2 {
                        return Err(Refusal::TooManyMembers);
                    }
                    Ok(Told::Presence(found.members().cloned().collect()))
                }
            },
            TopicQuery::PresenceStats => {
                let count = |count: Option<usize>| {
                    u32::try_from(count.unwrap_or_default()).unwrap_or(u32::MAX)
                };
                Ok(Told::PresenceStats {
                    clients: count(presence.map(|found| found.client_count())),
                    users: count(presence.map(|found| found.user_count())),
                })
            }
            TopicQuery::History(range) => self.tell_history(name, options, range, asker),
            TopicQuery::HistoryRemove => {
                if let Some(topic) = self.owned.find(name) {
                    self.owned.clear_history(topic);
                }
                Ok(Told::HistoryRemoved)
            }
        }
    }

    fn tell_history(
        &mut self,
        name: &Arc<str>,
        options: &TopicOptions,
        range: &Range,
        asker: Asker,
    ) -> Result<Told, Refusal> {
        let topic = self.own(name, options);
        let owned = self.owned.get(topic).ok_or(Refusal::NotAvailable)?;
        let history = owned.history().ok_or(Refusal::NotAvailable)?;
        let position = owned.position();
        let client = &self.settings.client;
        let bounds = if asker == Asker::Client {
            Bounds {
                publications_max: client.history_publications_max,
                bytes_max: client.outbox_bytes_max / 2,
            }
        } else {
            Bounds { publications_max: usize::MAX, bytes_max: usize::MAX }
        };
        let publications = history.read(range, position, bounds);
        // A question may have made the topic; it must not hold memory for which there is no room.
        self.owned.remove_if_unused(topic);
        Ok(Told::History { publications: publications?, position })
    }

    /// Says where a topic stands.
    pub(super) fn own_check(&mut self, from: ShardIndex, name: &str, topic: TopicRef) {
        let owned = self.owned.find(name).and_then(|found| self.owned.get(found));
        let position = owned.map(|owned| owned.position());
        self.lanes.send(from, Message::Checked { topic, position });
    }

    /// The topic, made if there is none; its use is noted, its timer set.
    fn own(&mut self, name: &Arc<str>, options: &TopicOptions) -> OwnedRef {
        let random = &mut self.random;
        let topic = self.owned.find_or_insert(name, options, self.now, || epoch(random));
        self.arm_topic(topic);
        topic
    }

    fn arm_topic(&mut self, topic: OwnedRef) {
        if let Some(at) = self.owned.arm(topic) {
            self.topic_timers.insert(topic, at);
        }
    }

    /// A timer of a topic has fired.
    pub(super) fn expire_topic(&mut self, topic: OwnedRef, armed: crate::time::Time) {
        let settings = Rc::clone(&self.settings);
        let name = self.owned.name(topic).cloned();
        let options = name.and_then(|name| policy::options(&settings, &name).ok());
        self.owned.expire(topic, armed, self.now, options);
        self.arm_topic(topic);
    }
}

/// Eight random letters (specification, section 11).
fn epoch(random: &mut StdRng) -> Epoch {
    const LETTERS: &[u8; 52] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
    Epoch(std::array::from_fn(|_| {
        LETTERS.get(random.random_range(0..LETTERS.len())).copied().unwrap_or(b'A')
    }))
}
