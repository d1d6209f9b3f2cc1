//! What core costs without a kernel under it: `cargo bench -p fanwire-bench`.
//!
//! Fan-out: a backend's publish to the outboxes of the subscribers, encoded and taken as written.
//! Inbound: masked frames of a client to commands and replies.

use std::hint::black_box;
use std::rc::Rc;
use std::sync::Arc;

use criterion::{BatchSize, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use fanwire_core::config::{ClientSettings, NodeInfo, Settings, TopicOptions};
use fanwire_core::{Adapter, PingStyle};
use fanwire_core::{CallId, ConnectionId, Output, Place, Shard, ShardIndex, SocketId, Time, api};

const SUBSCRIBE: &str =
    "{\"id\":1,\"connect\":{}}\n{\"id\":2,\"subscribe\":{\"channel\":\"news\"}}";

fn shard() -> Shard {
    let topics = TopicOptions {
        allow_subscribe_for_client: true,
        allow_subscribe_for_anonymous: true,
        allow_publish_for_client: true,
        allow_publish_for_anonymous: true,
        ..TopicOptions::default()
    };
    let client = ClientSettings { anonymous: true, ..ClientSettings::default() };
    let settings = Settings { client, topics, ..Settings::default() };
    let node = NodeInfo { id: uuid::Uuid::nil(), name: String::new(), version: String::new() };
    let place = Place { index: ShardIndex(0), count: 1 };
    Shard::new(place, Rc::new(settings), Arc::new(node), [7; 32], Time::ZERO)
}

/// A masked text frame, as a client sends it.
fn frame(text: &str) -> Vec<u8> {
    let mut out = vec![0x81];
    match u8::try_from(text.len()) {
        Ok(length) if length < 126 => out.push(0x80 | length),
        _ => {
            out.push(0x80 | 126);
            out.extend(u16::try_from(text.len()).unwrap_or(u16::MAX).to_be_bytes());
        }
    }
    let mask = [1, 2, 3, 4];
    out.extend(mask);
    out.extend(text.bytes().zip(mask.into_iter().cycle()).map(|(byte, mask)| byte ^ mask));
    out
}

/// Takes all that the shard has to send; how many bytes.
fn flush(shard: &mut Shard) -> usize {
    let mut bytes = 0;
    while let Some(output) = shard.poll_output() {
        if let Output::Write { connection, .. } = output {
            let count = shard.pending(connection).map(<[u8]>::len).sum();
            shard.handle_written(Time::ZERO, connection, count);
            bytes += count;
        }
    }
    bytes
}

fn open(shard: &mut Shard, socket: u64, text: &str) -> ConnectionId {
    let id = shard.open(Time::ZERO, SocketId(socket), Adapter::CentrifugoJson, PingStyle::Messages);
    shard.handle_bytes(Time::ZERO, id, &mut frame(text));
    flush(shard);
    id
}

fn fan_out(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("fan-out, 128 B");
    for subscribers in [1, 1_000, 50_000] {
        let mut shard = shard();
        for socket in 0..subscribers {
            open(&mut shard, socket, SUBSCRIBE);
        }
        let body = format!(r#"{{"channel":"news","data":"{}"}}"#, "x".repeat(126));
        group.throughput(Throughput::Elements(subscribers));
        group.bench_function(BenchmarkId::from_parameter(subscribers), |bencher| {
            bencher.iter(|| {
                if let Ok(call) = api::decode("publish", body.as_bytes(), api::ErrorMode::InBody) {
                    shard.handle_call(Time::ZERO, CallId(1), call);
                }
                black_box(flush(&mut shard))
            });
        });
    }
    group.finish();
}

fn inbound(criterion: &mut Criterion) {
    let mut shard = shard();
    let id = open(&mut shard, 0, r#"{"id":1,"connect":{}}"#);
    let publish = frame(&format!(
        r#"{{"id":9,"publish":{{"channel":"nobody","data":"{}"}}}}"#,
        "x".repeat(62)
    ));
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
    group.finish();
}

criterion_group!(benches, fan_out, inbound);
criterion_main!(benches);
