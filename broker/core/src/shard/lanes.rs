//! What goes to other shards, collected over a turn, and what has come from them. What a shard has
//! for itself takes the same way, so that nothing behaves differently when owner and subscriber
//! share a core.

use std::collections::VecDeque;

use super::message::{Batch, Message};
use crate::ids::{Place, ShardIndex};
use crate::limits::{LANE_BYTES_MAX, LANE_BYTES_PACED};

/// A shard's ends of its lanes.
#[derive(Debug)]
pub(super) struct Lanes {
    own: ShardIndex,
    inbox: VecDeque<(ShardIndex, Message)>,
    inbox_bytes: usize,
    outgoing: Vec<Outgoing>,
    /// Some lane may hold more than `LANE_BYTES_PACED`.
    filling: bool,
}

#[derive(Debug)]
struct Outgoing {
    /// The lane takes batches.
    ready: bool,
    batch: Batch,
}

impl Lanes {
    pub(super) fn new(place: Place) -> Self {
        let outgoing =
            (0..place.count).map(|_| Outgoing { ready: true, batch: Batch::default() }).collect();
        Self { own: place.index, inbox: VecDeque::new(), inbox_bytes: 0, outgoing, filling: false }
    }

    pub(super) fn send(&mut self, to: ShardIndex, message: Message) {
        if to == self.own {
            self.arrive(to, message);
        } else if let Some(outgoing) = self.outgoing.get_mut(to.as_usize()) {
            outgoing.batch.bytes += message.bytes();
            outgoing.batch.messages.push(message);
            self.filling |= outgoing.batch.bytes > LANE_BYTES_PACED;
        }
    }

    /// A message has come for this shard, of another or of itself.
    pub(super) fn arrive(&mut self, from: ShardIndex, message: Message) {
        self.inbox_bytes += message.bytes();
        self.inbox.push_back((from, message));
        self.filling |= self.inbox_bytes > LANE_BYTES_PACED;
    }

    /// The next message that has come.
    pub(super) fn pop_arrived(&mut self) -> Option<(ShardIndex, Message)> {
        let (from, message) = self.inbox.pop_front()?;
        self.inbox_bytes -= message.bytes();
        Some((from, message))
    }

    /// The message that [`Lanes::pop_arrived`] would take.
    pub(super) fn first_arrived(&self) -> Option<&Message> {
        self.inbox.front().map(|(_, message)| message)
    }

    pub(super) fn has_arrived(&self) -> bool {
        !self.inbox.is_empty()
    }

    /// Whether so much is collected that what can wait should.
    pub(super) fn is_filling(&mut self) -> bool {
        if self.filling {
            let mut lanes = self.outgoing.iter();
            self.filling = self.inbox_bytes > LANE_BYTES_PACED
                || lanes.any(|outgoing| outgoing.batch.bytes > LANE_BYTES_PACED);
        }
        self.filling
    }

    pub(super) fn set_ready(&mut self, to: ShardIndex, ready: bool) {
        if let Some(outgoing) = self.outgoing.get_mut(to.as_usize()) {
            outgoing.ready = ready;
        }
    }

    /// Whether so much waits for a lane that nothing avoidable may be added.
    pub(super) fn overloaded(&self, to: ShardIndex) -> bool {
        let bytes = if to == self.own {
            self.inbox_bytes
        } else {
            self.outgoing.get(to.as_usize()).map_or(0, |outgoing| outgoing.batch.bytes)
        };
        bytes > LANE_BYTES_MAX
    }

    /// The next batch that can go.
    pub(super) fn pop_batch(&mut self) -> Option<(ShardIndex, Batch)> {
        let (index, outgoing) = self
            .outgoing
            .iter_mut()
            .enumerate()
            .find(|(_, outgoing)| outgoing.ready && !outgoing.batch.messages.is_empty())?;
        let to = ShardIndex(u16::try_from(index).unwrap_or(u16::MAX));
        Some((to, std::mem::take(&mut outgoing.batch)))
    }

    pub(super) fn is_empty(&self) -> bool {
        self.inbox.is_empty()
            && self.outgoing.iter().all(|outgoing| outgoing.batch.messages.is_empty())
    }
}
