//! Publications that must not happen twice: what an idempotency key brought, for five minutes
//! (specification, section 18).

use std::collections::{HashMap, VecDeque};
use std::hash::Hash;
use std::sync::Arc;

use ahash::RandomState;

use crate::fault::Refusal;
use crate::limits::{IDEMPOTENCY_BYTES_MAX, IDEMPOTENCY_WINDOW};
use crate::protocol::{Draft, Position, Published};
use crate::time::Time;

/// Topic and idempotency key.
type Key = (Arc<str>, Arc<str>);

/// What an entry costs beside its texts, twice in the map and once in the queue.
const ENTRY_COST_BYTES: usize = 160;

/// The answers that repeats get, of all topics of one owner.
#[derive(Debug)]
pub(crate) struct Answers {
    by_key: HashMap<Key, Answer, RandomState>,
    /// In the order of their end.
    ends: VecDeque<(Time, Key)>,
    bytes: usize,
    hasher: RandomState,
}

#[derive(Clone, Copy, Debug)]
struct Answer {
    /// Of what was published.
    content: u64,
    position: Option<Position>,
}

impl Answers {
    pub(crate) fn new(hasher: RandomState) -> Self {
        let by_key = HashMap::with_hasher(hasher.clone());
        Self { by_key, ends: VecDeque::new(), bytes: 0, hasher }
    }

    /// The answer to a repeat; `None` if the key is new.
    ///
    /// # Errors
    ///
    /// In the answer: [`Refusal::Conflict`] if the key was used with other data,
    /// [`Refusal::Overloaded`] if no further key can be remembered.
    pub(crate) fn find(
        &mut self,
        topic: &Arc<str>,
        key: &str,
        draft: &Draft,
        now: Time,
    ) -> Option<Published> {
        self.expire(now);
        let content = self.content(draft);
        match self.by_key.get(&(Arc::clone(topic), key.into())) {
            Some(answer) if answer.content == content => Some(Ok(answer.position)),
            Some(_) => Some(Err(Refusal::Conflict)),
            None if self.bytes > IDEMPOTENCY_BYTES_MAX => Some(Err(Refusal::Overloaded)),
            None => None,
        }
    }

    /// Remembers the first answer.
    pub(crate) fn insert(
        &mut self,
        topic: &Arc<str>,
        key: &str,
        draft: &Draft,
        position: Option<Position>,
        now: Time,
    ) {
        let key: Key = (Arc::clone(topic), key.into());
        self.bytes += cost(&key);
        let answer = Answer { content: self.content(draft), position };
        self.ends.push_back((now.after(IDEMPOTENCY_WINDOW), key.clone()));
        self.by_key.insert(key, answer);
    }

    fn expire(&mut self, now: Time) {
        while let Some((_, key)) = self.ends.pop_front_if(|(end, _)| *end <= now) {
            self.bytes -= cost(&key);
            self.by_key.remove(&key);
        }
    }

    fn content(&self, draft: &Draft) -> u64 {
        struct Content<'a>(&'a Draft);
        impl Hash for Content<'_> {
            fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
                self.0.data.bytes().hash(state);
                self.0.tags.hash(state);
            }
        }
        self.hasher.hash_one(Content(draft))
    }
}

fn cost((topic, key): &Key) -> usize {
    topic.len() + key.len() + ENTRY_COST_BYTES
}
