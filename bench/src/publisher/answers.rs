//! What became of the publications: accepted, refused and why, or never answered.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::publisher::schedule::Schedule;

/// Answers as the reading threads see them arrive.
#[derive(Debug)]
pub(crate) struct Answers {
    schedule: Schedule,
    accepted: AtomicU64,
    refused: Mutex<Refusals>,
    heard: AtomicU64,
    is_over: AtomicBool,
}

/// Publications that the server refused.
#[derive(Clone, Debug, Default)]
pub(crate) struct Refusals {
    /// How many.
    pub(crate) count: u64,
    /// By index of the topic.
    pub(crate) by_topic: BTreeMap<u32, u64>,
    /// By what the server said.
    pub(crate) by_reason: BTreeMap<String, u64>,
}

impl Answers {
    /// No answer yet to the publications of `schedule`.
    pub(crate) fn new(schedule: Schedule) -> Self {
        Self {
            schedule,
            accepted: AtomicU64::new(0),
            refused: Mutex::default(),
            heard: AtomicU64::new(0),
            is_over: AtomicBool::new(false),
        }
    }

    /// A publication was accepted.
    pub(crate) fn accept(&self) {
        self.accepted.fetch_add(1, Ordering::Relaxed);
    }

    /// Publication number `publication` was refused.
    pub(crate) fn refuse(&self, publication: u64, reason: String) {
        let (topic, _) = self.schedule.place(publication);
        let mut refused = self.refused();
        refused.count += 1;
        *refused.by_topic.entry(topic).or_default() += 1;
        *refused.by_reason.entry(reason).or_default() += 1;
    }

    /// Publications accepted.
    pub(crate) fn accepted_count(&self) -> u64 {
        self.accepted.load(Ordering::Relaxed)
    }

    /// Publications refused.
    pub(crate) fn refusals(&self) -> Refusals {
        self.refused().clone()
    }

    /// Publications answered either way.
    pub(crate) fn count(&self) -> u64 {
        self.accepted_count() + self.refused().count
    }

    /// The server has said something, if only what it says to all.
    pub(crate) fn hear(&self) {
        self.heard.fetch_add(1, Ordering::Relaxed);
    }

    /// How often it has.
    pub(crate) fn heard_count(&self) -> u64 {
        self.heard.load(Ordering::Relaxed)
    }

    /// From now on the end of a connection is no fault.
    pub(crate) fn end(&self) {
        self.is_over.store(true, Ordering::Release);
    }

    /// Whether the end of a connection is expected.
    pub(crate) fn is_over(&self) -> bool {
        self.is_over.load(Ordering::Acquire)
    }

    fn refused(&self) -> MutexGuard<'_, Refusals> {
        self.refused.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
