//! The Fanwire broker as a state machine.
//!
//! [`Shard`] is one core's share of a node: some connections, some topics. What happens outside
//! goes in by its `handle_*` methods; what is to be done outside comes out of
//! [`Shard::poll_output`]. There is no socket, clock, thread or randomness in here: time and seed
//! are arguments, so every course of events can be replayed.
//!
//! `docs/ARCHITECTURE.md` shows the rooms and the way of a message through them.

#![forbid(unsafe_code)]

pub mod api;
pub mod config;
mod connection;
pub mod fault;
mod few;
mod ids;
mod json;
pub mod keys {
    //! What tokens may be signed with.

    pub use crate::session::jwks::Jwks;
    pub use crate::session::keys::{KeyError, KeyKind, KeySet, Keys};
}
pub mod limits;
mod protocol;
mod session;
mod shard;
mod slots;
mod time;
mod topic;
mod websocket;

pub use ids::{CallId, ConnectionId, Place, ShardIndex, SocketId};
pub use protocol::{Adapter, PingStyle};
pub use shard::{Batch, Counters, Output, Shard};
pub use slots::Slots;
pub use time::Time;
pub use websocket::{Agreement, Compression, negotiate};
