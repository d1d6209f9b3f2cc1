//! Calls of the backend API: their operations one after another, their answers put together.

use std::collections::VecDeque;
use std::sync::Arc;

use super::message::{Asker, Found, Message, Told};
use super::{Output, Pending, Shard};
use crate::api::{
    Answer, Call, NodeCounts, Operation, Query, ServerSubscribe, Shape, TopicQuery, append_answer,
};
use crate::fault::Refusal;
use crate::ids::{CallId, CallKey, RequestId, ShardIndex};
use crate::protocol::{Publish, Published};
use crate::session::policy;
use crate::time::Time;

/// A call whose answer is not complete.
#[derive(Debug)]
pub(super) struct Running {
    id: CallId,
    shape: Shape,
    parallel: bool,
    /// Not begun.
    waiting: VecDeque<Operation>,
    /// What is left of the broadcast that was begun last.
    broadcast: std::vec::IntoIter<Publish>,
    /// Begun, in order.
    begun: Vec<Progress>,
    /// Answers awaited.
    awaited: usize,
    /// It stands in the shard's list of calls that wait for a flush.
    paced: bool,
}

/// What a call does next.
enum Step {
    Publish {
        operation: usize,
        item: usize,
        publish: Publish,
    },
    AskOwner {
        operation: usize,
        topic: Arc<str>,
        query: TopicQuery,
    },
    Ask {
        operation: usize,
        query: Arc<Query>,
    },
    /// An answer must come first.
    Wait,
    /// Everything was begun.
    End,
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

    /// The next thing to begin, with its place among the answers.
    fn next(&mut self) -> Step {
        loop {
            if let Some(publish) = self.broadcast.next() {
                let operation = self.begun.len().saturating_sub(1);
                let Some(Progress::Broadcasting(slots)) = self.begun.last_mut() else {
                    return Step::End;
                };
                slots.push(None);
                return Step::Publish { operation, item: slots.len() - 1, publish };
            }
            if self.must_wait() {
                return Step::Wait;
            }
            let operation = self.begun.len();
            match self.waiting.pop_front() {
                None => return Step::End,
                Some(Operation::Refused(refusal)) => {
                    self.begun.push(Progress::Done(Answer::Refused(refusal)));
                }
                Some(Operation::Publish(publish)) => {
                    self.begun.push(Progress::Publishing(None));
                    return Step::Publish { operation, item: 0, publish };
                }
                Some(Operation::Broadcast(publishes)) => {
                    let slots = Vec::with_capacity(publishes.len());
                    self.begun.push(Progress::Broadcasting(slots));
                    self.broadcast = publishes.into_iter();
                }
                Some(Operation::OfTopic { topic, query }) => {
                    self.begun.push(Progress::Done(Answer::Refused(Refusal::Overloaded)));
                    return Step::AskOwner { operation, topic, query };
                }
                Some(Operation::Ask(query)) => {
                    let (asked, found) = (Arc::clone(&query), Found::default());
                    self.begun.push(Progress::Asking { query: asked, found });
                    return Step::Ask { operation, query };
                }
            }
        }
    }

    /// Notes the answer to an operation.
    fn finish(&mut self, operation: usize, answer: Answer) {
        if let Some(progress) = self.begun.get_mut(operation) {
            *progress = Progress::Done(answer);
        }
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
            broadcast: Vec::new().into_iter(),
            awaited: 0,
            paced: false,
        });
        self.advance_call(key);
    }

    /// A call that had to wait for a flush goes on.
    pub(super) fn resume_call(&mut self, key: CallKey) {
        if let Some(running) = self.calls.get_mut(key) {
            running.paced = false;
            self.advance_call(key);
        }
    }

    /// Begins what can begin; answers the call when all is done.
    fn advance_call(&mut self, key: CallKey) {
        loop {
            let must_pace = self.must_pace();
            let Some(running) = self.calls.get_mut(key) else {
                return;
            };
            if must_pace {
                if !running.paced {
                    running.paced = true;
                    self.paced.push_back(key);
                }
                return;
            }
            match running.next() {
                Step::Wait => return,
                Step::End if running.awaited > 0 => return,
                Step::End => break,
                Step::Publish { operation, item, publish } => {
                    let begun = self.call_publish(key, operation, item, publish);
                    if let Some(running) = self.calls.get_mut(key) {
                        match begun {
                            Ok(()) => running.awaited += 1,
                            Err(refusal) => running.answer(operation, item, Err(refusal)),
                        }
                    }
                }
                Step::AskOwner { operation, topic, query } => {
                    let begun = self.call_owner(key, operation, topic, query);
                    if let Some(running) = self.calls.get_mut(key) {
                        match begun {
                            Ok(()) => running.awaited += 1,
                            Err(refusal) => running.finish(operation, Answer::Refused(refusal)),
                        }
                    }
                }
                Step::Ask { operation, query } => self.begin_ask(key, operation, &query),
            }
        }
        if let Some(running) = self.calls.remove(key) {
            self.answer_call(running);
        }
    }

    fn answer_call(&mut self, running: Running) {
        let now = self.now;
        let answers: Vec<_> =
            running.begun.into_iter().map(|progress| answer(progress, now)).collect();
        let mut body = Vec::new();
        let status = append_answer(&mut body, &self.node, &running.shape, &answers);
        self.outputs.push_back(Output::Answer { call: running.id, status, body });
    }

    fn begin_ask(&mut self, call: CallKey, operation: usize, query: &Arc<Query>) {
        let left = self.place.count;
        let asked = self.check_query(query);
        let request = asked.and_then(|()| self.ask(Pending::CallAsk { call, operation, left }));
        let Some(running) = self.calls.get_mut(call) else {
            return;
        };
        match request {
            Ok(request) => {
                running.awaited += usize::from(left);
                for shard in (0..left).map(ShardIndex) {
                    let query = Arc::clone(query);
                    self.lanes.send(shard, Message::Ask { query, request });
                }
            }
            Err(refusal) => running.finish(operation, Answer::Refused(refusal)),
        }
    }

    /// What can be said of a question or an order before it crosses to the shards.
    fn check_query(&self, query: &Query) -> Result<(), Refusal> {
        match query {
            Query::Unsubscribe { topic, .. } => policy::named(&self.settings, topic).map(|_| ()),
            Query::Subscribe(subscribe) => {
                let ServerSubscribe { topic, expire_at, .. } = subscribe.as_ref();
                let expired = |at: u64| at.saturating_mul(1000) <= self.unix_ms();
                policy::named(&self.settings, topic)?;
                if expire_at.is_some_and(expired) { Err(Refusal::Expired) } else { Ok(()) }
            }
            _ => Ok(()),
        }
    }

    fn call_owner(
        &mut self,
        call: CallKey,
        operation: usize,
        topic: Arc<str>,
        query: TopicQuery,
    ) -> Result<(), Refusal> {
        let options = policy::named(&self.settings, &topic)?;
        let available = match query {
            TopicQuery::Presence | TopicQuery::PresenceStats => options.presence,
            TopicQuery::History(_) | TopicQuery::HistoryRemove => options.keeps_history(),
        };
        if !available {
            return Err(Refusal::NotAvailable);
        }
        let request = self.ask(Pending::CallTold { call, operation })?;
        let (owner, asker) = (self.owner(&topic), Asker::Backend);
        self.lanes.send(owner, Message::AskOwner { name: topic, query, asker, request });
        Ok(())
    }

    fn call_publish(
        &mut self,
        call: CallKey,
        operation: usize,
        item: usize,
        publish: Publish,
    ) -> Result<(), Refusal> {
        let options = policy::named(&self.settings, &publish.topic)?;
        policy::check_data(options, &publish.draft.data)?;
        let owner = self.owner(&publish.topic);
        self.check_publish(&publish.draft, options, owner)?;
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

    /// The owner's answer to a question about a topic.
    pub(super) fn call_told(
        &mut self,
        key: CallKey,
        operation: usize,
        told: Result<Told, Refusal>,
    ) {
        let Some(running) = self.calls.get_mut(key) else {
            return;
        };
        let answer = match told {
            Err(refusal) => Answer::Refused(refusal),
            Ok(Told::Presence(members)) => Answer::Presence(members),
            Ok(Told::PresenceStats { clients, users }) => Answer::PresenceStats { clients, users },
            Ok(Told::History { publications, position }) => {
                Answer::History { publications, position }
            }
            Ok(Told::HistoryRemoved) => Answer::Done("history_remove"),
        };
        running.finish(operation, answer);
        running.awaited -= 1;
        self.advance_call(key);
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
}

/// What became of an operation that is done.
fn answer(progress: Progress, now: Time) -> Answer {
    let missing = Err(Refusal::Overloaded);
    let answer = match progress {
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
    };
    let refused: &[Published] = match &answer {
        Answer::Refused(refusal) => &[Err(*refusal)],
        Answer::Published(published) => &[*published],
        Answer::Broadcast(published) => published,
        _ => &[],
    };
    for refusal in refused.iter().filter_map(|published| published.err()) {
        tracing::debug!(code = refusal.code(), cause = %refusal, "call refused");
    }
    answer
}
