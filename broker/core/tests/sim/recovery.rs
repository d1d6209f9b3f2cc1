//! Subscribing and coming back: what the reply says of the past, and whether it may say so. Nothing
//! may be missing from what is called recovered, and what is not recovered must really be lost.

use crate::message::{Published, Subscribed};
use crate::model::{Interval, Model, Tick, Violation, ensure};
use crate::past::{COST_BYTES_MAX, Moment};
use crate::plan::Rules;
use crate::topics::{Granted, Since, Wish};

/// A subscribe without a reply.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Subscribing {
    pub(crate) topic: usize,
    pub(crate) wish: Wish,
    pub(crate) sent: Tick,
    pub(crate) sent_ms: u64,
    /// In a connect, whose reply must hold what all its topics recover.
    pub(crate) in_connect: bool,
}

impl Model {
    /// A client reads that it is subscribed; the number of its subscription.
    pub(crate) fn subscribed(
        &mut self,
        client: usize,
        asked: &Subscribing,
        reply: &Subscribed,
        must_end: bool,
        rules: &Rules,
    ) -> Result<usize, Violation> {
        let begun = self.tick();
        let (by, of, topic) = (Some(client), Some(asked.topic), &rules.topics[asked.topic]);
        let granted = topic.granted(&asked.wish);
        let told = (reply.positioned, reply.recoverable, reply.was_recovering);
        let expected = (granted.positioned, granted.recoverable, granted.recovering);
        ensure!(told == expected, by, of, "subscribed with {told:?} instead of {expected:?}");
        ensure!(reply.epoch.is_some() == granted.positioned, by, of, "epoch {:?}", reply.epoch);
        let epoch = reply.epoch.as_ref().map(|epoch| self.epoch(asked.topic, epoch));
        self.intervals.push(Interval {
            client,
            topic: asked.topic,
            granted,
            asked: asked.sent,
            begun,
            ended: None,
            lived: None,
            must_end,
            end_told: None,
            barred: Vec::new(),
            seen: Vec::new(),
            epoch,
            last_offset: epoch.map(|_| reply.offset),
            heard: Vec::new(),
        });
        let interval = self.intervals.len() - 1;
        if topic.keeps() {
            self.uses.entry(asked.topic).or_default().push((asked.sent_ms, self.now_ms));
        }
        if reply.recovered {
            ensure!(granted.recovering, by, of, "recovered unasked");
            self.recovered(interval, asked, reply, rules)?;
        } else {
            ensure!(reply.publications.is_empty(), by, of, "publications, but not recovered");
            if let Some(epoch) = epoch.filter(|_| granted.recovering) {
                self.not_recovered(client, asked, epoch, reply.offset, rules)?;
            }
        }
        Ok(interval)
    }

    /// A client reads that it is subscribed, but nothing else: the subscription was ended before it
    /// began.
    pub(crate) fn subscribed_in_vain(&mut self, client: usize, asked: &Subscribing) -> usize {
        self.count("ended before it began");
        let begun = self.tick();
        self.intervals.push(Interval {
            client,
            topic: asked.topic,
            granted: Granted::default(),
            asked: asked.sent,
            begun,
            ended: None,
            lived: None,
            must_end: true,
            end_told: Some(0),
            barred: Vec::new(),
            seen: Vec::new(),
            epoch: None,
            last_offset: None,
            heard: Vec::new(),
        });
        self.intervals.len() - 1
    }

    fn moment(&self, asked: &Subscribing, epoch: usize, top: u64) -> Moment {
        let Subscribing { topic, sent, sent_ms, .. } = *asked;
        Moment { topic, epoch, top, asked: sent, asked_ms: sent_ms }
    }

    /// All that was missed is in the reply, and nothing that should not be there any more.
    fn recovered(
        &mut self,
        interval: usize,
        asked: &Subscribing,
        reply: &Subscribed,
        rules: &Rules,
    ) -> Result<(), Violation> {
        let Interval { client, epoch, .. } = self.intervals[interval];
        let (by, of, topic) = (Some(client), Some(asked.topic), &rules.topics[asked.topic]);
        let epoch = epoch.unwrap_or_default();
        let since = asked.wish.recover.clone();
        let since = since.unwrap_or(Since { epoch: String::new(), offset: 0, held_ms: None });
        let echoed = reply.offset == since.offset;
        ensure!(echoed, by, of, "recovered from {} instead of {}", reply.offset, since.offset);
        let named = since.epoch.is_empty() || self.epoch(asked.topic, &since.epoch) == epoch;
        if topic.is_cache() {
            let count = reply.publications.len();
            let same = named && !since.epoch.is_empty() && since.offset > 0;
            ensure!(count == 1 || count == 0 && same, by, of, "{count} publications of a cache");
            self.count("newest recovered");
        } else {
            ensure!(named, by, of, "recovered from another epoch");
            self.count("recovered");
        }
        let mut next = since.offset + 1;
        for published in &reply.publications {
            let offset = published.offset.unwrap_or(0);
            ensure!(topic.is_cache() || offset == next, by, of, "{offset} stands for {next}");
            next = offset + 1;
            self.recovered_one(interval, published)?;
        }
        let moment = self.moment(asked, epoch, next - 1);
        let Some(first) = reply.publications.first().and_then(|first| first.offset) else {
            return Ok(());
        };
        self.count(if topic.is_cache() { "newest sent" } else { "publications recovered" });
        let gone = self.surely_gone(rules, &moment, first);
        ensure!(!gone, by, of, "{first} was recovered, but cannot be kept any more");
        let missed = reply.publications.len() as u64;
        ensure!(missed <= rules.recovery_max, by, of, "{missed} publications were recovered");
        let bytes = self.bytes(epoch, first..=moment.top).0;
        let fits = topic.is_cache() || bytes <= rules.outbox_bytes_max / 2;
        ensure!(fits, by, of, "{bytes} bytes were recovered");
        Ok(())
    }

    fn recovered_one(&mut self, interval: usize, read: &Published) -> Result<(), Violation> {
        let Interval { client, topic, epoch, .. } = self.intervals[interval];
        let number = self.read(Some(client), topic, read)?;
        if let Some(offset) = read.offset {
            self.place(number, offset, epoch)?;
        }
        self.intervals[interval].last_offset = read.offset;
        self.intervals[interval].seen.push(number);
        Ok(())
    }

    /// What was missed, or some of it, is lost.
    fn not_recovered(
        &mut self,
        client: usize,
        asked: &Subscribing,
        epoch: usize,
        top: u64,
        rules: &Rules,
    ) -> Result<(), Violation> {
        self.count("not recovered");
        let (by, of, topic) = (Some(client), Some(asked.topic), &rules.topics[asked.topic]);
        ensure!(!asked.wish.must_recover, by, of, "not recovered instead of refused");
        let moment = self.moment(asked, epoch, top);
        let since = asked.wish.recover.clone();
        let since = since.unwrap_or(Since { epoch: String::new(), offset: 0, held_ms: None });
        let other = !since.epoch.is_empty() && self.epoch(asked.topic, &since.epoch) != epoch;
        if other && let Some(used_ms) = since.held_ms {
            let forgotten = self.may_be_forgotten(rules, asked.topic, used_ms);
            ensure!(forgotten, by, of, "the epoch is another, although it was in use");
            self.count("epoch changed");
        }
        if topic.is_cache() {
            let same = !other && !since.epoch.is_empty() && since.offset > 0 && since.offset == top;
            ensure!(!same, by, of, "not recovered, although nothing was missed");
            let lost = top == 0 || self.may_be_gone(rules, &moment, top);
            let room = !asked.in_connect || self.all_bytes() <= rules.outbox_bytes_max / 2;
            ensure!(lost || !room, by, of, "not recovered, although {top} must be there");
            return Ok(());
        }
        if other {
            return Ok(());
        }
        if since.offset > top {
            ensure!(since.held_ms.is_none(), by, of, "{} was there, now {top} is", since.offset);
            return Ok(());
        }
        ensure!(since.offset < top, by, of, "not recovered, although nothing was missed");
        let first = since.offset + 1;
        let missed = top - since.offset;
        let gone = (first..=top).find_map(|offset| self.why_gone(rules, &moment, offset));
        let reason = if missed > rules.recovery_max {
            "too many missed"
        } else if let Some(why) = gone {
            why
        } else {
            let bytes =
                if asked.in_connect { self.all_bytes() } else { self.bytes(epoch, first..=top).1 };
            let fits = bytes <= rules.outbox_bytes_max / 2;
            ensure!(!fits, by, of, "not recovered, although {first} to {top} must be there");
            "too many bytes missed"
        };
        self.count(reason);
        Ok(())
    }

    /// What all publications may cost together: more than a connect can bring.
    fn all_bytes(&self) -> usize {
        self.publications.iter().map(|one| one.bytes + COST_BYTES_MAX).sum()
    }

    /// A subscribe was refused with 112: it would not have recovered.
    pub(crate) fn unrecoverable(
        &mut self,
        client: usize,
        asked: &Subscribing,
        rules: &Rules,
    ) -> Result<(), Violation> {
        let (by, of, topic) = (Some(client), Some(asked.topic), &rules.topics[asked.topic]);
        let asks = topic.granted(&asked.wish).recovering && asked.wish.must_recover;
        ensure!(asks, by, of, "refused with 112");
        self.count("refused as unrecoverable");
        let Some(since) = asked.wish.recover.clone() else {
            return Ok(());
        };
        let Some(used_ms) = since.held_ms else {
            return Ok(());
        };
        if self.may_be_forgotten(rules, asked.topic, used_ms) || self.may_evict(rules) {
            return Ok(());
        }
        let epoch = Some(self.epoch(asked.topic, &since.epoch));
        let seen = |offset: Option<u64>| offset.is_some_and(|offset| offset <= since.offset);
        let missed: Vec<_> = self
            .publications
            .iter()
            .filter(|one| one.topic == asked.topic && one.placed && !one.refused)
            .filter(|one| one.epoch.is_none() || one.epoch == epoch && !seen(one.offset))
            .collect();
        let sum: usize = missed.iter().map(|one| one.bytes + 1000).sum();
        let oldest = missed.iter().map(|one| one.sent_ms).min();
        let limits = rules.recovery_max.min(topic.options.history_size as u64);
        // An empty cache has nothing to recover, even for one who missed nothing.
        let lost = topic.is_cache() && since.offset == 0
            || oldest.is_some_and(|sent| self.now_ms >= sent + topic.ttl_ms())
            || !missed.is_empty() && self.may_be_removed(asked.topic, 0)
            || missed.len() as u64 > limits
            || sum > rules.outbox_bytes_max / 2;
        ensure!(lost, by, of, "refused with 112, although all must be there");
        Ok(())
    }
}
