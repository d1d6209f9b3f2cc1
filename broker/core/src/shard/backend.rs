//! Calls of the backend API: their operations one after another, their answers put together.

use std::collections::VecDeque;
use std::sync::Arc;

use wildmatch::WildMatch;

use super::message::{Found, Message};
use super::{Output, Pending, Shard};
use crate::api::{Answer, Call, Client, NodeCounts, Operation, Query, Shape, Who, append_answer};
use crate::fault::Refusal;
use crate::ids::{CallId, CallKey, ConnectionId, RequestId, ShardIndex};
use crate::protocol::{Publish, Published};
use crate::session::{Session, policy};
use crate::time::Time;

/// A call whose answer is not complete.
#[derive(Debug)]
pub(super) struct Running {
    id: CallId,
    shape: Shape,
    parallel: bool,
    /// Not begun.
    waiting: VecDeque<Operation>,
    /// Begun, in order.
    begun: Vec<Progress>,
    /// Answers awaited.
    awaited: usize,
}

/// How far an operation has come.
#[derive(Debug)]
enum Progress {
    Done(Answer),
    Publishing(Option<Published>),
    Broadcasting(Vec<Option<Published>>),
    Asking { query: Arc<Query>, found: Found },
}

impl Running {
    /// Whether the next operation must wait for those before it. Publications need not: one lane
    /// keeps them in order.
    fn must_wait(&self) -> bool {
        let asks = |operation: Option<&Operation>| matches!(operation, Some(Operation::Ask(_)));
        let asking = matches!(self.begun.last(), Some(Progress::Asking { .. }));
        self.awaited > 0 && !self.parallel && (asking || asks(self.waiting.front()))
    }

    /// Notes the answer to one publication.
    fn answer(&mut self, operation: usize, item: usize, outcome: Published) {
        let slot = match self.begun.get_mut(operation) {
            Some(Progress::Publishing(slot)) => Some(slot),
            Some(Progress::Broadcasting(slots)) => slots.get_mut(item),
            _ => None,
        };
        debug_assert!(slot.is_some(), "an answer belongs to a publication");
        if let Some(slot) = slot {
            *slot = Some(outcome);
        }
    }
}

impl Shard {
    pub(super) fn start_call(&mut self, id: CallId, call: Call) {
        let Call { operations, shape, parallel } = call;
        let key = self.calls.insert(Running {
            id,
            shape,
            parallel,
            begun: Vec::with_capacity(operations.len()),
            waiting: operations.into(),
            awaited: 0,
        });
        self.advance_call(key);
    }

    /// Begins what can begin; answers the call when all is done.
    fn advance_call(&mut self, key: CallKey) {
        loop {
            let Some(running) = self.calls.get_mut(key) else {
                return;
            };
            if running.must_wait() {
                return;
            }
            let Some(operation) = running.waiting.pop_front() else {
                break;
            };
            let index = running.begun.len();
            let (progress, awaited) = self.begin_operation(key, index, operation);
            if let Some(running) = self.calls.get_mut(key) {
                running.begun.push(progress);
                running.awaited += awaited;
            }
        }
        let done = self.calls.get(key).is_some_and(|running| running.awaited == 0);
        if let Some(running) = done.then(|| self.calls.remove(key)).flatten() {
            let now = self.now;
            let answers: Vec<_> =
                running.begun.into_iter().map(|progress| answer(progress, now)).collect();
            let mut body = Vec::new();
            append_answer(&mut body, &self.node, running.shape, &answers);
            self.outputs.push_back(Output::Answer { call: running.id, body });
        }
    }

    /// Begins one operation; how many answers it awaits.
    fn begin_operation(
        &mut self,
        key: CallKey,
        operation: usize,
        asked: Operation,
    ) -> (Progress, usize) {
        match asked {
            Operation::Refused(refusal) => (Progress::Done(Answer::Refused(refusal)), 0),
            Operation::Publish(publish) => {
                let refused = self.call_publish(key, operation, 0, publish).err();
                let awaited = usize::from(refused.is_none());
                (Progress::Publishing(refused.map(Err)), awaited)
            }
            Operation::Broadcast(publishes) => {
                let slots: Vec<_> = publishes
                    .into_iter()
                    .enumerate()
                    .map(|(item, publish)| self.call_publish(key, operation, item, publish).err())
                    .map(|refused| refused.map(Err))
                    .collect();
                let awaited = slots.iter().filter(|slot| slot.is_none()).count();
                (Progress::Broadcasting(slots), awaited)
            }
            Operation::Ask(query) => self.begin_ask(key, operation, query),
        }
    }

    fn begin_ask(
        &mut self,
        call: CallKey,
        operation: usize,
        query: Arc<Query>,
    ) -> (Progress, usize) {
        if let Query::Unsubscribe { topic, .. } = query.as_ref()
            && let Err(refusal) =
                policy::check_name(topic).and(policy::options(&self.settings, topic))
        {
            return (Progress::Done(Answer::Refused(refusal)), 0);
        }
        let left = self.place.count;
        match self.ask(Pending::CallAsk { call, operation, left }) {
            Err(refusal) => (Progress::Done(Answer::Refused(refusal)), 0),
            Ok(request) => {
                for shard in (0..left).map(ShardIndex) {
                    let query = Arc::clone(&query);
                    self.lanes.send(shard, Message::Ask { query, request });
                }
                (Progress::Asking { query, found: Found::default() }, usize::from(left))
            }
        }
    }

    fn call_publish(
        &mut self,
        call: CallKey,
        operation: usize,
        item: usize,
        publish: Publish,
    ) -> Result<(), Refusal> {
        policy::check_name(&publish.topic)?;
        let options = policy::options(&self.settings, &publish.topic)?;
        policy::check_data(options, Some(&publish.draft.data))?;
        self.check_publish(&publish)?;
        let owner = self.owner(&publish.topic);
        let request = self.ask(Pending::CallPublish { call, operation, item })?;
        self.lanes.send(owner, Message::Publish { publish, request });
        Ok(())
    }

    /// The owner's answer to a publication of a call.
    pub(super) fn call_published(
        &mut self,
        key: CallKey,
        operation: usize,
        item: usize,
        outcome: Published,
    ) {
        if let Some(running) = self.calls.get_mut(key) {
            running.answer(operation, item, outcome);
            running.awaited -= 1;
            self.advance_call(key);
        }
    }

    /// A shard's answer to a question.
    pub(super) fn found(&mut self, request: RequestId, part: Found) {
        let Some(Pending::CallAsk { call, operation, left }) = self.requests.get_mut(request)
        else {
            debug_assert!(false, "an answer to a question that nobody asked");
            return;
        };
        *left -= 1;
        let (key, operation, left) = (*call, *operation, *left);
        if left == 0 {
            self.requests.remove(request);
        }
        if let Some(running) = self.calls.get_mut(key) {
            if let Some(Progress::Asking { found, .. }) = running.begun.get_mut(operation) {
                found.add(part);
            }
            running.awaited -= 1;
            self.advance_call(key);
        }
    }

    /// Answers a question, or carries an order out, for this shard.
    pub(super) fn answer_query(&mut self, from: ShardIndex, query: &Query, request: RequestId) {
        let mut found = Found::default();
        match query {
            Query::Info => self.count(&mut found),
            Query::Topics { pattern } => {
                let pattern = pattern.as_deref().map(WildMatch::new);
                found.topics = self
                    .local
                    .iter()
                    .filter(|(_, clients)| *clients > 0)
                    .filter(|(name, _)| {
                        pattern.as_ref().is_none_or(|pattern| pattern.matches(name))
                    })
                    .map(|(name, clients)| (Arc::clone(name), clients))
                    .collect();
            }
            Query::Disconnect { who, spared, disconnect } => {
                for id in self.sessions(|session| meant(who, session)) {
                    let spare = self.session(id).is_some_and(|one| spared.contains(&one.client));
                    if !spare {
                        self.disconnect(id, disconnect, "disconnected by a backend");
                    }
                }
            }
            Query::Unsubscribe { who, topic } => {
                if let Some(topic) = self.local.find(topic) {
                    for id in self.sessions(|session| {
                        meant(who, session) && session.subscription(topic).is_some()
                    }) {
                        self.unsubscribe_by_backend(id, topic);
                    }
                }
            }
        }
        self.lanes.send(from, Message::Found { request, found: Box::new(found) });
    }

    fn count(&self, found: &mut Found) {
        found.counts = NodeCounts {
            topics: self.owned.count(),
            subscriptions: usize::try_from(self.counters.subscriptions).unwrap_or(usize::MAX),
            ..NodeCounts::default()
        };
        for session in self.connections.values().filter_map(|found| found.session()) {
            found.counts.clients += 1;
            if found.users.last() != Some(&session.user) {
                found.users.push(Arc::clone(&session.user));
            }
        }
        found.users.sort_unstable();
        found.users.dedup();
    }

    fn session(&self, id: ConnectionId) -> Option<&Session> {
        self.connections.get(id)?.session()
    }

    /// The connections whose session is wanted.
    fn sessions(&self, wanted: impl Fn(&Session) -> bool) -> Vec<ConnectionId> {
        self.connections
            .iter()
            .filter(|(_, connection)| connection.session().is_some_and(&wanted))
            .map(|(id, _)| id)
            .collect()
    }
}

fn meant(who: &Who, session: &Session) -> bool {
    let client = match who.client {
        Client::Any => true,
        Client::One(client) => client == session.client,
        Client::Nobody => false,
    };
    client && who.user == *session.user
}

/// What became of an operation that is done.
fn answer(progress: Progress, now: Time) -> Answer {
    let missing = Err(Refusal::Overloaded);
    match progress {
        Progress::Done(answer) => answer,
        Progress::Publishing(outcome) => Answer::Published(outcome.unwrap_or(missing)),
        Progress::Broadcasting(outcomes) => Answer::Broadcast(
            outcomes.into_iter().map(|outcome| outcome.unwrap_or(missing)).collect(),
        ),
        Progress::Asking { query, found } => match query.as_ref() {
            Query::Info => Answer::Info(NodeCounts {
                users: found.users.len(),
                uptime_seconds: now.as_millis() / 1000,
                ..found.counts
            }),
            Query::Topics { .. } => Answer::Topics(found.topics),
            query => Answer::Done(query.method()),
        },
    }
}
