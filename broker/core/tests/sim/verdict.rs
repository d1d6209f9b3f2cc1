//! What must hold of a whole run, once faults have stopped and everything has arrived.

use std::collections::{BTreeMap, BTreeSet};

use crate::members;
use crate::model::{Interval, Model, Publisher, Tick, Violation, ensure};

/// Checks everything that no single event shows. `settled`: nobody was driven away in the end.
pub(crate) fn check(model: &Model, settled: bool) -> Result<(), Violation> {
    for interval in model.intervals.iter().filter(|interval| interval.ended.is_none()) {
        complete(model, interval)?;
    }
    same_end(model)?;
    same_epoch(model)?;
    same_order(model)?;
    members::check(model, settled)?;
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

/// All subscriptions of a topic that live have come to the same, last publication, and to the same
/// offset.
fn same_end(model: &Model) -> Result<(), Violation> {
    let mut ends = BTreeMap::new();
    let mut offsets = BTreeMap::new();
    for interval in model.intervals.iter().filter(|interval| interval.ended.is_none()) {
        let (client, topic) = (Some(interval.client), Some(interval.topic));
        if let Some(&last) = interval.seen.last() {
            let end = *ends.entry(interval.topic).or_insert(last);
            ensure!(end == last, client, topic, "subscriptions end with {end} and with {last}");
        }
        if let Some(last) = interval.last_offset {
            let end = *offsets.entry(interval.topic).or_insert(last);
            ensure!(end == last, client, topic, "subscriptions end at {end} and at {last}");
        }
    }
    Ok(())
}

/// While a topic has a subscriber its epoch does not change.
fn same_epoch(model: &Model) -> Result<(), Violation> {
    let named: Vec<_> =
        model.intervals.iter().filter_map(|one| one.epoch.map(|epoch| (one, epoch))).collect();
    for (one, epoch) in &named {
        for (other, changed) in &named {
            let later = other.topic == one.topic && other.asked > one.begun;
            if later && epoch != changed && one.lived_until(other.begun) {
                let (client, topic) = (Some(other.client), Some(other.topic));
                let before = one.client;
                ensure!(false, client, topic, "another epoch, although c{before} was subscribed");
            }
        }
    }
    Ok(())
}

/// In topics that tell no offsets all subscribers see the same, in the same order: of any two
/// publications that follow one another for one, nobody sees anything between.
fn same_order(model: &Model) -> Result<(), Violation> {
    let (mut next, mut previous) = (BTreeMap::new(), BTreeMap::new());
    for interval in &model.intervals {
        let plain = |number: &usize| {
            model.publications[*number].offset.is_none() && interval.last_offset.is_none()
        };
        for pair in interval.seen.windows(2).filter(|pair| pair.iter().all(plain)) {
            let (client, topic) = (Some(interval.client), Some(interval.topic));
            let follower = *next.entry(pair[0]).or_insert(pair[1]);
            let leader = *previous.entry(pair[1]).or_insert(pair[0]);
            let same = follower == pair[1] && leader == pair[0];
            ensure!(same, client, topic, "{pair:?}, but others saw {leader} and {follower}");
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
        if let Some(epoch) = publication.epoch {
            groups.join(*epochs.entry(epoch).or_insert(number), number);
        }
    }
    for interval in &model.intervals {
        let mut placed = interval.seen.iter().filter(|seen| model.publications[**seen].placed);
        if let Some(first) = placed.next() {
            placed.for_each(|next| groups.join(*first, *next));
        }
    }
    let mut orders: BTreeMap<usize, (usize, Order)> = BTreeMap::new();
    let mut named: BTreeMap<usize, usize> = BTreeMap::new();
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
        if let Some(epoch) = publication.epoch {
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
