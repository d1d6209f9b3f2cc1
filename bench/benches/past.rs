//! What is kept of topics, and what is made of it: history, recovery, deltas.

mod kit;

use std::hint::black_box;

use criterion::{BatchSize, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use fanwire_core::{Adapter, Shard, Time};
use kit::{call, flush, frame, open_json, options, publish, shard, subscribe};

/// A shard with a topic whose history is full.
fn with_history() -> Shard {
    let mut shard = shard(&options(true));
    for _ in 0..kit::HISTORY {
        call(&mut shard, "publish", &publish("news", 128));
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

/// The epoch of the topic, from the reply to a subscribe.
fn epoch(shard: &mut Shard) -> String {
    let body = call_for_answer(shard, r#"{"channel":"news","limit":0}"#);
    let rest = body.split(r#""epoch":""#).nth(1).unwrap_or_default();
    rest.split('"').next().unwrap_or_default().to_owned()
}

fn call_for_answer(shard: &mut Shard, body: &str) -> String {
    use fanwire_core::api::{ErrorMode, decode};
    if let Ok(call) = decode("history", body.as_bytes(), ErrorMode::InBody) {
        shard.handle_call(Time::ZERO, fanwire_core::CallId(1), call);
    }
    match shard.poll_output() {
        Some(fanwire_core::Output::Answer { body, .. }) => String::from_utf8(body),
        _ => Ok(String::new()),
    }
    .unwrap_or_default()
}

fn recovery(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("recovery, 128 B");
    let mut shard = with_history();
    let epoch = epoch(&mut shard);
    for missed in [1, 100] {
        let offset = kit::HISTORY as u64 - missed;
        let since = format!(r#","recover":true,"offset":{offset},"epoch":"{epoch}""#);
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
            format!(
                r#"{{"channel":"news","delta":true,"data":{{"number":{number},"text":"{filler}"}}}}"#
            )
        });
        let mut turn = bodies.iter().cycle();
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
criterion_main!(benches);
