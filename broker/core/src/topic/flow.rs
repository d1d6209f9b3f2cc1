//! What a subscription gets and what it causes.

use bitflags::bitflags;

bitflags! {
    /// Properties of one subscription, decided when it is asked for.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub(crate) struct Flow: u16 {
        /// Its position is watched over: a gap ends it.
        const POSITIONED = 1;
        /// It may recover what it missed.
        const RECOVERABLE = 1 << 1;
        /// It stands in the topic's presence.
        const PRESENCE = 1 << 2;
        /// Its begin and end are announced.
        const ANNOUNCED = 1 << 3;
        /// It hears of begins and ends.
        const HEARS_JOINS = 1 << 4;
        /// It gets deltas.
        const DELTA = 1 << 5;
        /// It has the last publication that was delivered here, so that a delta makes sense to it.
        const BASED = 1 << 6;
        /// It gets only what its filter admits.
        const FILTERED = 1 << 7;
        /// The server made it, not a command of the client.
        const SERVER_SIDE = 1 << 8;
        /// A subscription token made it.
        const BY_TOKEN = 1 << 9;
        /// The connection token made it.
        const BY_CONNECTION_TOKEN = 1 << 10;
    }
}

impl Flow {
    /// Whether the owner keeps track of the subscriber itself, not only of its shard.
    pub(crate) fn is_known_to_owner(self) -> bool {
        self.intersects(Self::PRESENCE | Self::ANNOUNCED)
    }
}
