//! What must hold of a whole run, once faults have stopped and everything has arrived.

use std::collections::{BTreeMap, BTreeSet};

use crate::model::{Interval, Model, Publisher, Tick, Violation, ensure};

/// Checks everything that no single event shows.
pub(crate) fn check(model: &Model) -> Result<(), Violation> {
    for interval in model.intervals.iter().filter(|interval| interval.ended.is_none()) {
        complete(model, interval)?;
    }
    same_end(model)?;
    for (topic, order) in orders(model)? {
        check_order(model, topic, &order)?;
    }
    Ok(())
}

/// A subscription that lives has all that was published after it began. What nobody was told
/// about may have been published or not; if anybody has it, so must this one.
fn complete(model: &Model, interval: &Interval) -> Result<(), Violation> {
    let Interval { client, topic, begun, .. } = *interval;
    ensure!(
        !interval.must_end,
        Some(client),
        Some(topic),
        "the subscription goes on although a backend has ended it"
    );
    for (number, publication) in model.publications.iter().enumerate() {
        let published = publication.acked.is_some() || publication.info.is_some();
        if publication.topic == topic && publication.sent > begun && published {
            let seen = interval.seen.contains(&number);
            ensure!(seen, Some(client), Some(topic), "{number} was not delivered");
        }
    }
    Ok(())
}

/// All subscriptions of a topic that live have come to the same, last publication.
fn same_end(model: &Model) -> Result<(), Violation> {
    let mut ends = BTreeMap::new();
    for interval in model.intervals.iter().filter(|interval| interval.ended.is_none()) {
        let placed = |number: &&usize| model.publications[**number].placed;
        if let Some(&last) = interval.seen.iter().rev().find(placed) {
            let end = *ends.entry(interval.topic).or_insert(last);
            let (client, topic) = (Some(interval.client), Some(interval.topic));
            ensure!(end == last, client, topic, "subscriptions end with {end} and with {last}");
        }
    }
    Ok(())
}

/// The publications of one epoch of a topic, by offset.
type Order = BTreeMap<u64, usize>;

/// The order of each epoch, with its topic. Epochs are seldom spelled out, so
/// they are put together from what single clients have seen in a row.
fn orders(model: &Model) -> Result<Vec<(usize, Order)>, Violation> {
    let mut groups = Groups::new(model.publications.len());
    let mut epochs = BTreeMap::new();
    for (number, publication) in model.publications.iter().enumerate() {
        if let Some(epoch) = &publication.epoch {
            groups.join(*epochs.entry((publication.topic, epoch)).or_insert(number), number);
        }
    }
    for interval in &model.intervals {
        let mut placed = interval.seen.iter().filter(|seen| model.publications[**seen].placed);
        if let Some(first) = placed.next() {
            placed.for_each(|next| groups.join(*first, *next));
        }
    }
    let mut orders: BTreeMap<usize, (usize, Order)> = BTreeMap::new();
    let mut named: BTreeMap<usize, &String> = BTreeMap::new();
    for (number, publication) in model.publications.iter().enumerate() {
        let Some(offset) = publication.offset else {
            continue;
        };
        let topic = publication.topic;
        let group = groups.root(number);
        let order = &mut orders.entry(group).or_insert((topic, BTreeMap::new())).1;
        let other = order.insert(offset, number);
        ensure!(
            other.is_none(),
            None,
            Some(topic),
            "{number} and {other:?} both have offset {offset}"
        );
        if let Some(epoch) = &publication.epoch {
            let before = *named.entry(group).or_insert(epoch);
            let text = "a client has seen epochs";
            ensure!(before == epoch, None, Some(topic), "{text} {before} and {epoch}");
        }
    }
    Ok(orders.into_values().collect())
}

/// The owner's order agrees with the order of events: what one publisher sent later comes later,
/// and what was sent after the acknowledgement of another comes after that one.
fn check_order(model: &Model, topic: usize, order: &Order) -> Result<(), Violation> {
    let mut publishers: BTreeSet<(Publisher, usize)> = BTreeSet::new();
    let mut acked_later: Option<(Tick, usize)> = None;
    for &number in order.values().rev() {
        let publication = &model.publications[number];
        let publisher = publication.publisher;
        let overtaken =
            publishers.range((publisher, 0)..(publisher, number)).next().map(|(_, other)| other);
        ensure!(
            overtaken.is_none(),
            None,
            Some(topic),
            "{number} stands before {overtaken:?}, which its publisher sent before"
        );
        publishers.insert((publisher, number));
        if let Some((acked, other)) = acked_later {
            ensure!(
                publication.sent < acked,
                None,
                Some(topic),
                "{number} stands before {other}, which was acknowledged before {number} was sent"
            );
        }
        if let Some(acked) = publication.acked
            && acked_later.is_none_or(|(earliest, _)| acked < earliest)
        {
            acked_later = Some((acked, number));
        }
    }
    Ok(())
}

/// Disjoint sets of publications that belong to one epoch.
struct Groups {
    parents: Vec<usize>,
}

impl Groups {
    fn new(count: usize) -> Self {
        Self { parents: (0..count).collect() }
    }

    fn root(&mut self, mut member: usize) -> usize {
        while self.parents[member] != member {
            self.parents[member] = self.parents[self.parents[member]];
            member = self.parents[member];
        }
        member
    }

    fn join(&mut self, one: usize, other: usize) {
        let (one, other) = (self.root(one), self.root(other));
        self.parents[one] = other;
    }
}
