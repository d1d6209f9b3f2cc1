//! What is kept of topics, and what is made of it: history, recovery, deltas.

use std::hint::black_box;

use crate::kit::{
    self, assert_said, call, call_once, flush, frame, listen, open_json, options, publish, shard,
    subscribe,
};
use criterion::{BatchSize, BenchmarkId, Criterion, Throughput, criterion_group};
use fanwire_core::{Adapter, Shard, Time};

/// A shard with a topic whose history is full.
fn with_history() -> Shard {
    let mut shard = shard(&options(true));
    for _ in 0..kit::HISTORY {
        call_once(&mut shard, "publish", &publish("news", 128));
    }
    shard
}

fn history(criterion: &mut Criterion) {
    let mut shard = with_history();
    let mut group = criterion.benchmark_group("history, 128 B");
    let body = publish("news", 128);
    group.throughput(Throughput::Elements(1));
    group.bench_function("keep", |bencher| {
        bencher.iter(|| black_box(call(&mut shard, "publish", &body)));
    });
    kit::tell_allocations("history, 128 B/keep", 1, || {
        call(&mut shard, "publish", &body);
    });
    let id = open_json(&mut shard, 0, "");
    for limit in [1, 100] {
        let command = format!(r#"{{"id":3,"history":{{"channel":"news","limit":{limit}}}}}"#);
        let question = frame(Adapter::CentrifugoJson, command.as_bytes());
        shard.handle_bytes(Time::ZERO, id, &mut question.clone());
        let said = listen(&mut shard);
        assert_said(&said, br#"{"id":3,"history":{"#);
        assert!(said.len() as u64 > limit * 128, "{} B", said.len());
        group.throughput(Throughput::Elements(limit));
        group.bench_function(format!("read {limit}"), |bencher| {
            bencher.iter_batched_ref(
                || question.clone(),
                |bytes| {
                    shard.handle_bytes(Time::ZERO, id, bytes);
                    black_box(flush(&mut shard))
                },
                BatchSize::SmallInput,
            );
        });
    }
    group.finish();
}

/// The epoch of the topic.
fn epoch(shard: &mut Shard) -> String {
    let answer = call_once(shard, "history", r#"{"channel":"news","limit":0}"#);
    let answer = String::from_utf8_lossy(&answer);
    let rest = answer.split(r#""epoch":""#).nth(1).unwrap_or_default();
    let epoch = rest.split('"').next().unwrap_or_default();
    assert!(!epoch.is_empty(), "{answer}");
    epoch.to_owned()
}

fn recovery(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("recovery, 128 B");
    let mut shard = with_history();
    let epoch = epoch(&mut shard);
    for missed in [1, 100] {
        let offset = kit::HISTORY as u64 - missed;
        let since =
            format!(r#","recoverable":true,"recover":true,"offset":{offset},"epoch":"{epoch}""#);
        let command = format!(r#"{{"id":2,"subscribe":{{"channel":"news"{since}}}}}"#);
        let id = open_json(&mut shard, 0, "");
        shard.handle_bytes(Time::ZERO, id, &mut frame(Adapter::CentrifugoJson, command.as_bytes()));
        let said = listen(&mut shard);
        assert_said(&said, br#""recovered":true"#);
        assert!(said.len() as u64 > missed * 128, "{} B", said.len());
        shard.handle_closed(Time::ZERO, id);
        flush(&mut shard);
        group.throughput(Throughput::Elements(missed));
        group.bench_function(format!("connect, recover {missed}"), |bencher| {
            bencher.iter(|| {
                let id = subscribe(&mut shard, 0, "news", &since);
                shard.handle_closed(Time::ZERO, id);
                black_box(flush(&mut shard))
            });
        });
    }
    group.finish();
}

fn deltas(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("delta, 1 KiB, one change");
    for subscribers in [1, 1_000] {
        let mut shard = shard(&options(true));
        for socket in 0..subscribers {
            subscribe(&mut shard, socket, "news", r#","delta":"fossil""#);
        }
        let filler = "news of the day ".repeat(64);
        let bodies = [1, 2].map(|number| {
            let data = format!(r#"{{"number":{number},"text":"{filler}"}}"#);
            format!(r#"{{"channel":"news","delta":true,"data":{data}}}"#)
        });
        let mut turn = bodies.iter().cycle();
        call_once(&mut shard, "publish", turn.next().map_or("", String::as_str));
        let said = call_once(&mut shard, "publish", turn.next().map_or("", String::as_str));
        assert_said(&said, br#""delta":true"#);
        assert!((said.len() as u64) < subscribers.max(2) * 512, "{} B", said.len());
        group.throughput(Throughput::Elements(subscribers));
        group.bench_function(BenchmarkId::from_parameter(subscribers), |bencher| {
            bencher.iter(|| {
                let body = turn.next().map_or("", String::as_str);
                black_box(call(&mut shard, "publish", body))
            });
        });
    }
    group.finish();
}

criterion_group!(benches, history, recovery, deltas);
