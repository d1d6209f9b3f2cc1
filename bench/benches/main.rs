//! What core does with messages, without a kernel under it: `cargo bench -p fanwire-bench`.
//!
//! `messages` is their way through core, `codecs` what frames and both forms of the protocol cost,
//! `past` what is kept of topics. Each says how often it allocates beside how long it takes, and
//! asserts once, before it is timed, that what it does is accepted: a refusal is fast.

mod codecs;
mod kit;
mod messages;
mod past;

use criterion::criterion_main;

criterion_main!(codecs::benches, messages::benches, past::benches);
