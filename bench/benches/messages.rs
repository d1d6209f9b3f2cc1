//! The way of a message through core.
//!
//! Fan-out: a backend's publish to the outboxes of the subscribers, encoded and taken as written.
//! Inbound: a masked frame of a client to a command and its reply. Lanes: a publication from the
//! publisher's shard over the owner's to the subscriber's. Each also says how often it allocates.
#![allow(clippy::indexing_slicing, reason = "a bench knows its own shards")]

use std::hint::black_box;

use crate::kit::{
    self, assert_said, call, call_once, flush, frame, listen, open_json, options, publish, shard,
    shards, subscribe,
};
use criterion::{BatchSize, BenchmarkId, Criterion, Throughput, criterion_group};
use fanwire_core::{Output, Shard, ShardIndex, Time};

fn fan_out(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("fan-out, 128 B");
    for subscribers in [1, 1_000, 50_000] {
        let mut shard = shard(&options(false));
        for socket in 0..subscribers {
            subscribe(&mut shard, socket, "news", "");
        }
        let body = publish("news", 128);
        let said = call_once(&mut shard, "publish", &body);
        assert!(said.len() as u64 > subscribers * 128, "{} B", said.len());
        group.throughput(Throughput::Elements(subscribers));
        group.bench_function(BenchmarkId::from_parameter(subscribers), |bencher| {
            bencher.iter(|| black_box(call(&mut shard, "publish", &body)));
        });
        kit::tell_allocations(&format!("fan-out, 128 B/{subscribers}"), subscribers, || {
            call(&mut shard, "publish", &body);
        });
    }
    group.finish();
}

fn inbound(criterion: &mut Criterion) {
    let mut shard = shard(&options(false));
    let id = open_json(&mut shard, 0, "");
    let command = format!(r#"{{"id":9,"publish":{}}}"#, publish("nobody", 64));
    let publish = frame(fanwire_core::Adapter::CentrifugoJson, command.as_bytes());
    shard.handle_bytes(Time::ZERO, id, &mut publish.clone());
    assert_said(&listen(&mut shard), br#"{"id":9,"publish":{}}"#);
    let mut group = criterion.benchmark_group("inbound, 64 B");
    group.throughput(Throughput::Elements(1));
    group.bench_function("publish", |bencher| {
        bencher.iter_batched_ref(
            || publish.clone(),
            |bytes| {
                shard.handle_bytes(Time::ZERO, id, bytes);
                black_box(flush(&mut shard))
            },
            BatchSize::SmallInput,
        );
    });
    let mut bytes = publish.clone();
    kit::tell_allocations("inbound, 64 B/publish", 1, || {
        bytes.copy_from_slice(&publish);
        shard.handle_bytes(Time::ZERO, id, &mut bytes);
        flush(&mut shard);
    });
    group.finish();
}

/// Lets the shards do what they want done until none wants anything; how many bytes were sent.
fn settle(shards: &mut [Shard]) -> usize {
    let mut bytes = 0;
    loop {
        let mut quiet = true;
        for from in 0..shards.len() {
            while let Some(output) = shards[from].poll_output() {
                quiet = false;
                match output {
                    Output::Send { to, batch } => {
                        let index = ShardIndex(u16::try_from(from).unwrap_or(0));
                        shards[to.as_usize()].handle_batch(Time::ZERO, index, batch);
                    }
                    Output::Write { connection, .. } => {
                        let count = shards[from].pending(connection).map(<[u8]>::len).sum();
                        shards[from].handle_written(Time::ZERO, connection, count);
                        bytes += count;
                    }
                    _ => {}
                }
            }
        }
        if quiet {
            return bytes;
        }
    }
}

/// A publisher on one shard, a topic that another owns, a subscriber on a third: two crossings for
/// the publication and one for the answer.
fn lanes(criterion: &mut Criterion) {
    let mut shards = shards(3, &options(false));
    let publisher = open_json(&mut shards[0], 0, "");
    // Names differ in their owners; one of the three shards owns each.
    let topics: Vec<String> = (0..48).map(|number| format!("topic{number}")).collect();
    for (socket, topic) in (1..).zip(&topics) {
        let subscriber = open_json(&mut shards[2], socket, "");
        let command = format!(r#"{{"id":2,"subscribe":{{"channel":"{topic}"}}}}"#);
        let mut bytes = frame(fanwire_core::Adapter::CentrifugoJson, command.as_bytes());
        shards[2].handle_bytes(Time::ZERO, subscriber, &mut bytes);
        settle(&mut shards);
    }
    let mut group = criterion.benchmark_group("lanes, 3 shards, 64 B");
    for per_turn in [1, 48] {
        let commands: Vec<String> = topics
            .iter()
            .take(per_turn)
            .map(|topic| format!(r#"{{"id":9,"publish":{}}}"#, publish(topic, 64)))
            .collect();
        let message = commands.join("\n");
        let message = frame(fanwire_core::Adapter::CentrifugoJson, message.as_bytes());
        shards[0].handle_bytes(Time::ZERO, publisher, &mut message.clone());
        let bytes = settle(&mut shards);
        assert!(bytes > per_turn * 64, "{bytes} B for {per_turn} publications");
        group.throughput(Throughput::Elements(per_turn as u64));
        group.bench_function(format!("{per_turn} per turn"), |bencher| {
            bencher.iter_batched_ref(
                || message.clone(),
                |bytes| {
                    shards[0].handle_bytes(Time::ZERO, publisher, bytes);
                    black_box(settle(&mut shards))
                },
                BatchSize::SmallInput,
            );
        });
        let mut bytes = message.clone();
        let name = format!("lanes, 3 shards, 64 B/{per_turn} per turn");
        kit::tell_allocations(&name, per_turn as u64, || {
            bytes.copy_from_slice(&message);
            shards[0].handle_bytes(Time::ZERO, publisher, &mut bytes);
            settle(&mut shards);
        });
    }
    group.finish();
}

criterion_group!(benches, fan_out, inbound, lanes);
