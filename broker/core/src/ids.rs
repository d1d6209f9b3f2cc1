//! Newtypes for everything that is counted or addressed, so that no two can be mixed up.
//!
//! The keys carry the generation of their slot: an id that outlives what it named is recognised
//! instead of naming the next tenant.

/// Index of a shard within its node, from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ShardIndex(pub u16);

impl ShardIndex {
    /// As an index into a table with one entry per shard.
    pub fn as_usize(self) -> usize {
        usize::from(self.0)
    }
}

/// Where a shard stands: its own index, and how many there are.
#[derive(Clone, Copy, Debug)]
pub struct Place {
    /// This shard.
    pub index: ShardIndex,
    /// Shards in the node, at least 1.
    pub count: u16,
}

slotmap::new_key_type! {
    /// One connection of one shard.
    pub struct ConnectionId;

    /// One topic as a shard with subscribers knows it. The owner keeps it and sends it along with
    /// each publication, so that the receiving shard needs no look-up by name.
    pub(crate) struct TopicRef;

    /// One topic as its owner knows it.
    pub(crate) struct OwnedRef;

    /// A request that waits for an answer in the table of the shard that sent it.
    pub(crate) struct RequestId;

    /// An order of a backend whose subscriptions have not all begun.
    pub(crate) struct OrderKey;

    /// A call of the backend API in the table of the shard that serves it.
    pub(crate) struct CallKey;
}

/// The shell's name for a socket. Core hands it back in outputs and never looks inside.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SocketId(pub u64);

/// The shell's name for one call of the backend API, handed back with its answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct CallId(pub u64);
