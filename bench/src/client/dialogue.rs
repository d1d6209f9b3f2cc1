//! What one client says and understands, in any dialect: joining, its subscriptions, its
//! publications. Bytes to be sent are collected here; the socket is `client::connection`.

use std::collections::VecDeque;

use crate::client::behaviour::Happening;
use crate::client::shared::{Senses, Shared};
use crate::client::subscription::{Standing, Subscription};
use crate::clock::now_ns;
use crate::dialect::{
    Answer, Dialect, Event, JOIN_REQUEST, Joining, Question, Recovery, Request, Subscribing, Topic,
};
use crate::error::ClientError;
use crate::payload::{PayloadMaker, Stamp};

/// See [`Request::Low`].
const LOW_BITS: u32 = 0xffff;
/// Counted when a publication comes before the answer that its subscription stands.
pub(crate) const EARLY: &str = "deliveries before the subscription's answer";

/// Counted when somebody is said to have joined or left a topic; measured part only.
pub(crate) const JOINS_AND_LEAVES: &str = "joins and leaves heard";

/// How far a connection is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// No socket.
    Down,
    /// Waiting for TCP.
    Connecting,
    /// Waiting for the answer to the upgrade.
    Upgrading,
    /// Waiting for the server's greeting.
    Opened,
    /// The join is due to be sent.
    Greeted,
    /// Waiting for the answer to the join.
    Joining,
    /// A client.
    Joined,
}

/// The conversation of one client.
#[derive(Debug)]
pub(crate) struct Dialogue {
    /// How far it is.
    pub(crate) phase: Phase,
    /// What the kernel has not taken yet; empty nearly always.
    pub(crate) outgoing: Vec<u8>,
    slot: u32,
    /// Index over all processes.
    client: u32,
    /// Its deliveries are not counted.
    is_excused: bool,
    last_request: u32,
    /// By topic.
    subscriptions: Vec<Subscription>,
    /// How many of them are wanted or asked for.
    unsettled: u32,
    publishing: Option<Box<Publishing>>,
}

/// Of clients that publish or ask only.
#[derive(Debug, Default)]
struct Publishing {
    /// Next sequence number, by topic.
    next: Vec<(u32, u64)>,
    /// Publications and questions whose answer has not come.
    unanswered: VecDeque<Unanswered>,
}

#[derive(Debug)]
struct Unanswered {
    request: u32,
    topic: u32,
    intended_ns: u64,
    /// What was asked; `None` for a publication.
    question: Option<Question>,
}

impl Dialogue {
    /// The client in this slot with this index over all processes.
    pub(crate) fn new(slot: u32, client: u32, is_excused: bool) -> Self {
        Self {
            phase: Phase::Down,
            outgoing: Vec::new(),
            slot,
            client,
            is_excused,
            last_request: JOIN_REQUEST,
            subscriptions: Vec::new(),
            unsettled: 0,
            publishing: None,
        }
    }

    /// The connection is gone: what stood is wanted again, what was leaving has left, and answers
    /// will not come.
    pub(crate) fn reset(&mut self) {
        self.phase = Phase::Down;
        self.outgoing = Vec::new();
        self.last_request = JOIN_REQUEST;
        self.subscriptions.retain(|one| !matches!(one.standing, Standing::Leaving(_)));
        for subscription in &mut self.subscriptions {
            subscription.standing = Standing::Wanted;
        }
        self.unsettled = u32::try_from(self.subscriptions.len()).unwrap_or(u32::MAX);
        if let Some(publishing) = &mut self.publishing {
            publishing.unanswered.clear();
        }
    }

    /// Whether it has joined and everything it wants to hear stands.
    pub(crate) fn is_live(&self) -> bool {
        self.phase == Phase::Joined && self.unsettled == 0
    }

    /// The topic that comes first by index.
    pub(crate) fn first_topic(&self) -> Option<u32> {
        self.subscriptions.first().map(|subscription| subscription.topic)
    }

    /// Topics that it hears or wants to hear.
    #[cfg(test)]
    pub(crate) fn topics(&self) -> impl Iterator<Item = u32> + '_ {
        let kept = |one: &&Subscription| !matches!(one.standing, Standing::Leaving(_));
        self.subscriptions.iter().filter(kept).map(|subscription| subscription.topic)
    }

    /// Publications and questions that the server has not answered.
    pub(crate) fn unanswered(&self) -> usize {
        self.publishing.as_ref().map_or(0, |publishing| publishing.unanswered.len())
    }

    /// Wants to hear `topic`. The request goes out with the next `speak`.
    pub(crate) fn subscribe(&mut self, topic: u32) {
        match self.subscriptions.binary_search_by_key(&topic, |one| one.topic) {
            Err(place) => self.subscriptions.insert(place, Subscription::new(topic)),
            Ok(place) => match self.subscriptions.get_mut(place) {
                Some(one) if matches!(one.standing, Standing::Leaving(_)) => {
                    one.standing = Standing::Wanted;
                }
                _ => return,
            },
        }
        self.unsettled += 1;
    }

    /// Wants to hear `topic` no longer; says so at once when it is subscribed.
    pub(crate) fn unsubscribe(&mut self, topic: u32, shared: &mut Shared) {
        let Ok(place) = self.subscriptions.binary_search_by_key(&topic, |one| one.topic) else {
            return;
        };
        let Some(subscription) = self.subscriptions.get_mut(place) else { return };
        match subscription.standing {
            Standing::Leaving(_) => {}
            Standing::Wanted => {
                self.subscriptions.remove(place);
                self.unsettled -= 1;
            }
            Standing::Asked(_) | Standing::Live => {
                self.unsettled -= u32::from(subscription.is_unsettled());
                let request = next_request(&mut self.last_request);
                subscription.standing = Standing::Leaving(request);
                let name = shared.senses.topic_name(topic);
                let topic = Topic { name: &name, index: topic };
                shared.message.clear();
                shared.dialect.append_unsubscribe(request, topic, &mut shared.message);
                shared.wrapping.append(&shared.message, &mut self.outgoing);
                shared.message.clear();
                shared.dialect.append_after_unsubscribe(&mut shared.message);
                shared.wrapping.append(&shared.message, &mut self.outgoing);
            }
        }
    }

    /// Publishes on `topic` what is due at `intended_ns`; `false` when it has not joined.
    pub(crate) fn publish(
        &mut self,
        topic: u32,
        intended_ns: u64,
        payload: &PayloadMaker,
        shared: &mut Shared,
    ) -> bool {
        if self.phase != Phase::Joined {
            return false;
        }
        let request = next_request(&mut self.last_request);
        let publishing = self.publishing.get_or_insert_default();
        let Shared { payload: data, message, senses, .. } = shared;
        data.clear();
        let stamp = Stamp {
            run: senses.tally.run(),
            topic,
            publisher: self.client + 1,
            sequence: publishing.next_sequence(topic),
            intended_ns,
        };
        payload.append(stamp, data);
        message.clear();
        let name = senses.topic_name(topic);
        let named = Topic { name: &name, index: topic };
        shared.dialect.append_publish(request, named, data, message);
        shared.wrapping.append(message, &mut self.outgoing);
        senses.tally.published(topic, intended_ns, now_ns());
        if shared.capabilities.answers_publications {
            let question = None;
            publishing.unanswered.push_back(Unanswered { request, topic, intended_ns, question });
        } else {
            senses.tally.accepted_unseen();
        }
        true
    }

    /// Asks about `topic` what is due at `intended_ns`; `false` when it has not joined.
    pub(crate) fn ask(
        &mut self,
        topic: u32,
        question: Question,
        intended_ns: u64,
        shared: &mut Shared,
    ) -> bool {
        if self.phase != Phase::Joined {
            return false;
        }
        let request = next_request(&mut self.last_request);
        let Shared { dialect, message, senses, wrapping, .. } = shared;
        let name = senses.topic_name(topic);
        let named = Topic { name: &name, index: topic };
        message.clear();
        dialect.append_question(request, named, question, message);
        wrapping.append(message, &mut self.outgoing);
        let question = Some(question);
        let asked = Unanswered { request, topic, intended_ns, question };
        self.publishing.get_or_insert_default().unanswered.push_back(asked);
        true
    }

    /// The way to the server is open: who speaks first?
    pub(crate) fn open(&mut self, shared: &mut Shared) {
        shared.senses.happenings.push_back((now_ns(), Happening::Opened { slot: self.slot }));
        match shared.opening.joining {
            Joining::Greeted => self.phase = Phase::Opened,
            Joining::Ahead => self.phase = Phase::Greeted,
            Joining::Open => self.joined(&mut shared.senses, now_ns()),
        }
        self.speak(shared);
    }

    /// Appends the join and the subscriptions that are due.
    pub(crate) fn speak(&mut self, shared: &mut Shared) {
        let Shared { dialect, message, senses, .. } = shared;
        if self.phase == Phase::Greeted {
            message.clear();
            dialect.append_join(&format!("bench-{}", self.client), message);
            shared.wrapping.append(message, &mut self.outgoing);
            self.phase = Phase::Joining;
        }
        let may_ask = match self.phase {
            Phase::Joined => true,
            Phase::Joining => shared.opening.joining == Joining::Ahead,
            _ => false,
        };
        if self.unsettled == 0 || !may_ask {
            return;
        }
        let is_by_address = shared.capabilities.subscribing == Subscribing::ByAddress;
        for subscription in &mut self.subscriptions {
            if subscription.standing != Standing::Wanted {
                continue;
            }
            if is_by_address {
                subscription.standing = Standing::Live;
                self.unsettled -= 1;
                continue;
            }
            let request = next_request(&mut self.last_request);
            subscription.standing = Standing::Asked(request);
            let name = senses.topic_name(subscription.topic);
            let topic = Topic { name: &name, index: subscription.topic };
            let recovery = match &subscription.position {
                _ if !senses.recovers => Recovery::None,
                None => Recovery::Track,
                Some(position) => Recovery::After(position),
            };
            message.clear();
            dialect.append_subscribe(request, topic, recovery, message);
            shared.wrapping.append(message, &mut self.outgoing);
        }
        if is_by_address {
            self.tell_if_live(senses, now_ns());
        }
    }

    /// Takes in what the server said at `arrived_ns`.
    ///
    /// # Errors
    /// `Refused` when the server refuses to let it join or subscribe.
    pub(crate) fn on_event(
        &mut self,
        event: Event<'_>,
        dialect: &dyn Dialect,
        senses: &mut Senses,
        arrived_ns: u64,
    ) -> Result<(), ClientError> {
        match event {
            Event::Delivery(bytes) => self.on_delivery(bytes, dialect, senses, arrived_ns),
            Event::Greeting { version } => {
                senses.learn_version(version);
                if self.phase == Phase::Opened {
                    self.phase = Phase::Greeted;
                }
            }
            Event::Joined { version } => {
                senses.learn_version(version);
                self.joined(senses, arrived_ns);
            }
            Event::Answer(answer) => return self.on_answer(answer, senses, arrived_ns),
            Event::JoinedOrLeft => senses.tally.count_measured(JOINS_AND_LEAVES, arrived_ns),
            Event::Ping(_) => senses.tally.ping(),
        }
        Ok(())
    }

    fn on_delivery(
        &mut self,
        bytes: &[u8],
        dialect: &dyn Dialect,
        senses: &mut Senses,
        arrived_ns: u64,
    ) {
        let Some(stamp) = senses.stamps.read(bytes) else { return };
        let found = self.subscriptions.binary_search_by_key(&stamp.topic, |one| one.topic);
        let mut subscription = found.ok().and_then(|place| self.subscriptions.get_mut(place));
        if senses.recovers
            && let (Some(subscription), Some(offset)) = (&mut subscription, dialect.offset(bytes))
        {
            subscription.advance(offset);
        }
        if !senses.tally.is_ours(&stamp) {
            return;
        }
        if self.is_excused {
            senses.tally.excused();
            return;
        }
        let Some(subscription) = subscription else { return senses.tally.misrouted() };
        let windows = &mut subscription.windows;
        let is_new = if !matches!(subscription.standing, Standing::Asked(_)) {
            senses.tally.delivery(&stamp, windows, arrived_ns)
        } else if senses.recovers {
            senses.tally.recovered(&stamp, windows)
        } else {
            senses.tally.count(EARLY, 1);
            senses.tally.delivery(&stamp, windows, arrived_ns)
        };
        if is_new && senses.tells_deliveries {
            let delivered = Happening::Delivered { slot: self.slot, stamp };
            senses.happenings.push_back((arrived_ns, delivered));
        }
    }

    fn joined(&mut self, senses: &mut Senses, at_ns: u64) {
        self.phase = Phase::Joined;
        self.tell_if_live(senses, at_ns);
    }

    fn tell_if_live(&self, senses: &mut Senses, at_ns: u64) {
        if self.is_live() {
            senses.happenings.push_back((at_ns, Happening::Live { slot: self.slot }));
        }
    }

    fn on_answer(
        &mut self,
        answer: Answer<'_>,
        senses: &mut Senses,
        arrived_ns: u64,
    ) -> Result<(), ClientError> {
        let place = match answer.request {
            Request::Number(number) => self.place_of(number),
            Request::Low(bits) => {
                let is_it = |number: u32| number & LOW_BITS == u32::from(bits);
                self.subscriptions.iter().position(|one| one.request().is_some_and(is_it))
            }
            Request::Oldest => self.oldest(|_| true),
            Request::OldestEnd => self.oldest(|one| !one.is_unsettled()),
            Request::Subscription(name) => senses.topic_index(name).and_then(|topic| {
                self.subscriptions.binary_search_by_key(&topic, |one| one.topic).ok()
            }),
        };
        match (place, &answer) {
            (Some(place), _) => self.on_subscription_answer(place, answer, senses, arrived_ns),
            (None, Answer { refusal: Some(reason), .. }) if self.phase != Phase::Joined => {
                Err(ClientError::Refused { command: "connect", reason: reason.clone() })
            }
            (None, Answer { request: Request::Oldest, .. }) if self.phase == Phase::Joining => {
                self.joined(senses, arrived_ns);
                Ok(())
            }
            (None, Answer { request: Request::Number(number), .. }) => {
                let number = *number;
                self.on_publish_answer(number, answer.refusal, senses, arrived_ns);
                Ok(())
            }
            (None, _) => Ok(()),
        }
    }

    /// The subscription of this kind that has waited longest for an answer.
    fn oldest(&self, is_kind: impl Fn(&Subscription) -> bool) -> Option<usize> {
        let waiting = self.subscriptions.iter().enumerate().filter(|(_, one)| is_kind(one));
        let numbered = waiting.filter_map(|(place, one)| Some((one.request()?, place)));
        numbered.min().map(|(_, place)| place)
    }

    fn place_of(&self, request: u32) -> Option<usize> {
        self.subscriptions.iter().position(|one| one.request() == Some(request))
    }

    fn on_subscription_answer(
        &mut self,
        place: usize,
        answer: Answer<'_>,
        senses: &mut Senses,
        arrived_ns: u64,
    ) -> Result<(), ClientError> {
        let Some(subscription) = self.subscriptions.get_mut(place) else { return Ok(()) };
        let (slot, topic) = (self.slot, subscription.topic);
        match subscription.standing {
            Standing::Asked(_) => {
                if let Some(reason) = answer.refusal {
                    return Err(ClientError::Refused { command: "subscribe", reason });
                }
                if let Some(position) = answer.position.filter(|_| senses.recovers) {
                    subscription.settle(position, answer.is_recovered);
                }
                subscription.standing = Standing::Live;
                self.unsettled -= 1;
                let is_recovered = answer.is_recovered;
                let subscribed = Happening::Subscribed { slot, topic, is_recovered };
                senses.happenings.push_back((arrived_ns, subscribed));
                self.tell_if_live(senses, arrived_ns);
            }
            Standing::Leaving(_) => {
                if let Some(reason) = answer.refusal {
                    return Err(ClientError::Refused { command: "unsubscribe", reason });
                }
                self.subscriptions.remove(place);
                senses.happenings.push_back((arrived_ns, Happening::Unsubscribed { slot, topic }));
            }
            Standing::Wanted | Standing::Live => {}
        }
        Ok(())
    }

    fn on_publish_answer(
        &mut self,
        number: u32,
        refusal: Option<String>,
        senses: &mut Senses,
        arrived_ns: u64,
    ) {
        let Some(publishing) = &mut self.publishing else { return };
        // Answers come in order, nearly always: the first one is it.
        let place = publishing.unanswered.iter().position(|one| one.request == number);
        let Some(answered) = place.and_then(|place| publishing.unanswered.remove(place)) else {
            return;
        };
        let Unanswered { topic, intended_ns, question, .. } = answered;
        if let Some(question) = question {
            return match refusal {
                None => senses.tally.answered(question.name(), intended_ns, arrived_ns),
                Some(reason) => senses.tally.question_refused(question.name(), &reason),
            };
        }
        match refusal {
            None => senses.tally.accepted(intended_ns, arrived_ns),
            Some(reason) => senses.tally.refused(topic, reason),
        }
    }
}

/// The number after the last one. Dialects with 16 bits for it must not see them all 0.
fn next_request(last: &mut u32) -> u32 {
    *last = last.wrapping_add(1);
    if *last & LOW_BITS == 0 {
        *last += 1;
    }
    *last
}

impl Publishing {
    fn next_sequence(&mut self, topic: u32) -> u64 {
        let place = match self.next.binary_search_by_key(&topic, |one| one.0) {
            Ok(place) => place,
            Err(place) => {
                self.next.insert(place, (topic, 0));
                place
            }
        };
        self.next.get_mut(place).map_or(0, |(_, next)| {
            *next += 1;
            *next - 1
        })
    }
}

#[cfg(test)]
#[path = "dialogue_tests.rs"]
mod tests;
