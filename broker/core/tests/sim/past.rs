//! What a topic must hold of its past, what it may, and what it cannot any more: from the times at
//! which things were asked and answered, since only the owner knows when exactly they happened.

use crate::model::{Epoch, Model, Publication, Tick};
use crate::plan::Rules;

/// What a publication costs beside its data, in bytes, at most.
pub(crate) const COST_BYTES_MAX: usize = 800;

/// What a topic costs, in bytes, at most.
const TOPIC_COST_BYTES_MAX: usize = 600;

/// How late a timer may be, in milliseconds.
const TIMER_MS_MAX: u64 = 64;

/// A history was to be removed.
#[derive(Debug)]
pub(crate) struct Removal {
    pub(crate) topic: usize,
    pub(crate) sent: Tick,
    pub(crate) answered: Option<Tick>,
}

/// When a topic was looked at: between question and answer, at the time when it stood there.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Moment {
    pub(crate) topic: usize,
    pub(crate) epoch: Epoch,
    pub(crate) top: u64,
    pub(crate) asked: Tick,
    pub(crate) asked_ms: u64,
}

impl Model {
    /// The publication at a place, if it was ever told.
    pub(crate) fn at(&self, epoch: Epoch, offset: u64) -> Option<&Publication> {
        self.places.get(&(epoch, offset)).map(|number| &self.publications[*number])
    }

    /// Whether a publication cannot be kept any more.
    pub(crate) fn surely_gone(&self, rules: &Rules, moment: &Moment, offset: u64) -> bool {
        let Moment { topic, epoch, top, asked, asked_ms } = *moment;
        if top - offset >= rules.topics[topic].options.history_size as u64 {
            return true;
        }
        let removed = self.at(epoch, offset).and_then(|found| found.known).is_some_and(|known| {
            self.removals.iter().any(|removal| {
                removal.topic == topic
                    && removal.sent > known.0
                    && removal.answered.is_some_and(|answered| answered < asked)
            })
        });
        let ttl_ms = rules.topics[topic].ttl_ms() + TIMER_MS_MAX;
        let known = self.at(epoch, offset).and_then(|found| found.known);
        let young = known.is_none_or(|known| asked_ms < known.1 + ttl_ms);
        removed
            || !young
                && (offset..=top).any(|last| {
                    let Some((_, known_ms)) = self.at(epoch, last).and_then(|found| found.known)
                    else {
                        return false;
                    };
                    let next_ms = match self.at(epoch, last + 1) {
                        _ if last == top => asked_ms,
                        Some(next) => next.sent_ms,
                        None => return false,
                    };
                    next_ms >= known_ms + ttl_ms
                })
    }

    /// Whether a publication need not be kept any more.
    pub(crate) fn may_be_gone(&self, rules: &Rules, moment: &Moment, offset: u64) -> bool {
        self.why_gone(rules, moment, offset).is_some()
    }

    /// Why a publication need not be kept any more; `None` = it must be.
    pub(crate) fn why_gone(
        &self,
        rules: &Rules,
        moment: &Moment,
        offset: u64,
    ) -> Option<&'static str> {
        let Moment { topic, top, .. } = *moment;
        if top - offset >= rules.topics[topic].options.history_size as u64 {
            return Some("missed was trimmed");
        }
        let sent = self.at(moment.epoch, offset).map_or(0, |found| found.sent);
        if self.may_be_removed(topic, sent) {
            return Some("missed was removed");
        }
        if self.may_be_expired(rules, moment, offset) {
            return Some("missed has expired");
        }
        self.may_evict(rules).then_some("missed was evicted")
    }

    /// Whether nothing may have been published for so long that what there was went.
    fn may_be_expired(&self, rules: &Rules, moment: &Moment, offset: u64) -> bool {
        let Moment { topic, epoch, top, .. } = *moment;
        let ttl_ms = rules.topics[topic].ttl_ms();
        if self.at(epoch, offset).is_some_and(|one| self.now_ms < one.sent_ms + ttl_ms) {
            return false;
        }
        (offset..=top).any(|last| {
            let sent_ms = self.at(epoch, last).map_or(0, |found| found.sent_ms);
            let next_ms = match self.at(epoch, last + 1).and_then(|found| found.known) {
                Some((_, known_ms)) if last < top => known_ms,
                _ => self.now_ms,
            };
            next_ms >= sent_ms + ttl_ms
        })
    }

    /// Whether a removal may have come after a publication.
    pub(crate) fn may_be_removed(&self, topic: usize, sent: Tick) -> bool {
        self.removals.iter().any(|removal| {
            removal.topic == topic && removal.answered.is_none_or(|answered| answered > sent)
        })
    }

    /// Whether so much was published that a shard may have run out of room for histories.
    pub(crate) fn may_evict(&self, rules: &Rules) -> bool {
        if rules.history_bytes_max >= 1 << 20 {
            return false;
        }
        let topics = rules.topics.iter().enumerate().filter(|(_, topic)| topic.keeps());
        let costs = topics.map(|(index, topic)| {
            let (mut count, mut largest) = (0, 0);
            for one in self.publications.iter().filter(|one| one.topic == index && !one.refused) {
                count += 1;
                largest = largest.max(one.bytes);
            }
            let kept = count.min(topic.options.history_size);
            TOPIC_COST_BYTES_MAX + kept * (largest + COST_BYTES_MAX)
        });
        costs.sum::<usize>() > rules.history_bytes_max
    }

    /// Whether the position of a topic that was in use at some time may be forgotten now.
    pub(crate) fn may_be_forgotten(&self, rules: &Rules, topic: usize, used_ms: u64) -> bool {
        if self.may_evict(rules) {
            return true;
        }
        let meta_ms = rules.topics[topic].meta_ms();
        let mut uses: Vec<_> = self.uses.get(&topic).cloned().unwrap_or_default();
        uses.retain(|used| used.0 > used_ms);
        uses.push((self.now_ms, self.now_ms));
        uses.sort_unstable();
        let mut earliest = used_ms;
        uses.into_iter().any(|used| used.1 >= std::mem::replace(&mut earliest, used.0) + meta_ms)
    }

    /// What publications of a range cost, at least and at most, as far as they are known.
    pub(crate) fn bytes(
        &self,
        epoch: Epoch,
        offsets: std::ops::RangeInclusive<u64>,
    ) -> (usize, usize) {
        let mut sum = (0, 0);
        for offset in offsets {
            match self.at(epoch, offset) {
                Some(found) => {
                    sum.0 += found.bytes;
                    sum.1 += found.bytes + COST_BYTES_MAX;
                }
                // Its size is anybody's guess.
                None => sum.1 += 1 << 20,
            }
        }
        sum
    }
}
