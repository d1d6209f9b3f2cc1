//! Dialogues: scripted bytes in, exact answers out, on nodes of 1, 2 and 8 shards.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

mod backends;
mod bounds;
mod clients;
mod closing;
mod codes;
mod compression;
mod connect;
#[path = "../wire/deflate.rs"]
mod deflate;
mod drain;
mod framing;
mod history;
mod hostile;
mod kit;
mod lost;
mod orders;
mod payloads;
mod permissions;
mod presence;
mod recovery;
mod renewal;
mod server_side;
mod streams;
mod subscribe;
#[path = "../wire/mod.rs"]
mod wire;
