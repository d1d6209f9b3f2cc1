//! What goes to other shards, collected over a turn. What a shard has for itself takes the same
//! way, so that nothing behaves differently when owner and subscriber share a core.

use std::collections::VecDeque;

use super::message::{Batch, Message};
use crate::ids::{Place, ShardIndex};
use crate::limits::LANE_BYTES_MAX;

/// The outgoing ends of a shard's lanes.
#[derive(Debug)]
pub(super) struct Lanes {
    own: ShardIndex,
    to_self: VecDeque<Message>,
    outgoing: Vec<Outgoing>,
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
        Self { own: place.index, to_self: VecDeque::new(), outgoing }
    }

    pub(super) fn send(&mut self, to: ShardIndex, message: Message) {
        if to == self.own {
            self.to_self.push_back(message);
        } else if let Some(outgoing) = self.outgoing.get_mut(to.as_usize()) {
            outgoing.batch.bytes += message.bytes();
            outgoing.batch.messages.push(message);
        }
    }

    /// The next message of this shard to itself.
    pub(super) fn pop_to_self(&mut self) -> Option<Message> {
        self.to_self.pop_front()
    }

    pub(super) fn set_ready(&mut self, to: ShardIndex, ready: bool) {
        if let Some(outgoing) = self.outgoing.get_mut(to.as_usize()) {
            outgoing.ready = ready;
        }
    }

    /// Whether so much waits for a lane that nothing avoidable may be added.
    pub(super) fn overloaded(&self, to: ShardIndex) -> bool {
        self.outgoing
            .get(to.as_usize())
            .is_some_and(|outgoing| outgoing.batch.bytes > LANE_BYTES_MAX)
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
        self.to_self.is_empty()
            && self.outgoing.iter().all(|outgoing| outgoing.batch.messages.is_empty())
    }
}
