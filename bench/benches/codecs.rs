//! Frames and both forms of the protocol, from masked bytes in to final frames out.
//!
//! Echo: the frame codec alone. Commands: a publish to a topic without subscribers, so decoding and
//! the reply. Pushes: a publication to one subscriber, so encoding.

use std::hint::black_box;

use crate::kit::{
    self, assert_said, call, call_once, field, flush, frame, listen, open, options,
    protobuf_command, publish, shard,
};
use criterion::{BatchSize, BenchmarkId, Criterion, Throughput, criterion_group};
use fanwire_core::{Adapter, ConnectionId, Shard, Time};

/// Asserts that a message of a client is answered so.
fn take_once(shard: &mut Shard, id: ConnectionId, frame: &[u8], answer: &[u8]) {
    shard.handle_bytes(Time::ZERO, id, &mut frame.to_vec());
    assert_said(&listen(shard), answer);
}

/// Times how a message of a client is taken and answered.
fn take(bencher: &mut criterion::Bencher<'_>, shard: &mut Shard, id: ConnectionId, frame: &[u8]) {
    bencher.iter_batched_ref(
        || frame.to_vec(),
        |bytes| {
            shard.handle_bytes(Time::ZERO, id, bytes);
            black_box(flush(shard))
        },
        BatchSize::SmallInput,
    );
}

fn frames(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("frames, echo");
    for bytes in [64, 1024, 65_536] {
        let mut shard = shard(&options(false));
        let id = open(&mut shard, 0, Adapter::Echo, b"hello");
        let message = vec![b'x'; bytes];
        let frame = frame(Adapter::Echo, &message);
        take_once(&mut shard, id, &frame, &message);
        group.throughput(Throughput::Bytes(bytes as u64));
        group.bench_function(BenchmarkId::from_parameter(bytes), |bencher| {
            take(bencher, &mut shard, id, &frame);
        });
    }
    group.finish();
}

/// In the form of the protocol: a connect, a subscribe to "news", and a publish to a topic.
fn commands(adapter: Adapter, topic: &str) -> [Vec<u8>; 3] {
    if adapter == Adapter::CentrifugoProtobuf {
        let data = format!("\"{}\"", "x".repeat(62));
        let publish = [field(1, topic.as_bytes()), field(2, data.as_bytes())].concat();
        [
            protobuf_command(1, 4, &[]),
            protobuf_command(2, 5, &field(1, b"news")),
            protobuf_command(3, 7, &publish),
        ]
    } else {
        [
            r#"{"id":1,"connect":{}}"#.to_owned(),
            r#"{"id":2,"subscribe":{"channel":"news"}}"#.to_owned(),
            format!(r#"{{"id":3,"publish":{}}}"#, publish(topic, 64)),
        ]
        .map(String::into_bytes)
    }
}

/// The reply to the publish, without its frame: an error would be where the result is.
fn published(adapter: Adapter) -> &'static [u8] {
    if adapter == Adapter::CentrifugoProtobuf {
        &[4, 0x08, 3, 8 << 3 | 2, 0]
    } else {
        br#"{"id":3,"publish":{}}"#
    }
}

const FORMS: [(&str, Adapter); 2] =
    [("JSON", Adapter::CentrifugoJson), ("Protobuf", Adapter::CentrifugoProtobuf)];

fn decode(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("commands, publish 64 B");
    for (name, adapter) in FORMS {
        let mut shard = shard(&options(false));
        let [connect, _, publish] = commands(adapter, "nobody");
        let id = open(&mut shard, 0, adapter, &connect);
        let publish = frame(adapter, &publish);
        take_once(&mut shard, id, &publish, published(adapter));
        group.throughput(Throughput::Elements(1));
        group.bench_function(name, |bencher| take(bencher, &mut shard, id, &publish));
        let mut bytes = publish.clone();
        kit::tell_allocations(&format!("commands, publish 64 B/{name}"), 1, || {
            bytes.copy_from_slice(&publish);
            shard.handle_bytes(Time::ZERO, id, &mut bytes);
            flush(&mut shard);
        });
    }
    group.finish();
}

fn encode(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("pushes, 64 B to one");
    for (name, adapter) in FORMS {
        let mut shard = shard(&options(false));
        let [connect, subscribe, _] = commands(adapter, "news");
        let separator: &[u8] = if adapter == Adapter::CentrifugoJson { b"\n" } else { b"" };
        open(&mut shard, 0, adapter, &[&connect, separator, &subscribe].concat());
        let body = publish("news", 64);
        assert_said(&call_once(&mut shard, "publish", &body), b"xxxx");
        group.throughput(Throughput::Elements(1));
        group.bench_function(name, |bencher| {
            bencher.iter(|| black_box(call(&mut shard, "publish", &body)));
        });
        kit::tell_allocations(&format!("pushes, 64 B to one/{name}"), 1, || {
            call(&mut shard, "publish", &body);
        });
    }
    group.finish();
}

criterion_group!(benches, frames, decode, encode);
