//! Threads beside the shards, for what may block: a shard never does. They hand over what they have
//! by a callback, which must reach a shard by a queue and its doorbell, and hear of it by a channel
//! that is full at one.

pub(crate) mod jwks;
mod schedule;
