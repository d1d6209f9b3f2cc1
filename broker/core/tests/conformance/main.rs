//! Dialogues: scripted bytes in, exact answers out, on nodes of 1, 2 and 8 shards.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

mod backends;
mod bounds;
mod clients;
mod closing;
mod compression;
#[path = "../wire/deflate.rs"]
mod deflate;
mod drain;
mod framing;
mod kit;
mod payloads;
#[path = "../wire/mod.rs"]
mod wire;
