//! What things take, counted by the allocator.
//!
//! An idle connection: bytes that are asked for, not those that are rounded up to. Most of a node's
//! memory is this, times its connections. A message: how often memory is asked for. Each time costs
//! some twenty nanoseconds, which is nothing once per publication and much once per subscriber. A
//! turn: how many it delivers to, and who must not wait for that.

#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use std::rc::Rc;
use std::sync::Arc;

use fanwire_core::api::{self, Call, ErrorMode};
use fanwire_core::config::{ClientSettings, NodeInfo, Settings, TopicOptions};
use fanwire_core::{
    Adapter, CallId, ConnectionId, Output, PingStyle, Place, Shard, ShardIndex, SocketId, Time,
};

/// Enough that what a shard takes by itself does not count; not where tables have just grown.
const CONNECTIONS: u64 = 15_000;

/// Most bytes in core of a connection with one subscription, of a topic that others share.
const SHARED_BYTES_MAX: u64 = 310;
/// The same if nobody shares its topic.
const OWN_BYTES_MAX: u64 = 500;

/// Most allocations of a publication of a client that nobody hears, its reply included.
const UNHEARD_MAX: u64 = 5;
/// Most allocations of a publication of a client, whoever hears it and however many they are.
const HEARD_MAX: u64 = 9;

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
    let mask = [1, 2, 3, 4];
    let length = u8::try_from(text.len()).ok().filter(|length| *length < 126).unwrap();
    let mut out = vec![0x81, 0x80 | length];
    out.extend(mask);
    out.extend(text.bytes().zip(mask.into_iter().cycle()).map(|(byte, mask)| byte ^ mask));
    out
}

/// A client connects and subscribes with one message, as SDKs do, and is answered.
fn open(shard: &mut Shard, socket: u64, topic: &str) -> ConnectionId {
    let now = Time::from_millis(socket / 10);
    let id = shard.open(now, SocketId(socket), Adapter::CentrifugoJson, PingStyle::Messages);
    let subscribe = format!(r#"{{"id":2,"subscribe":{{"channel":"{topic}"}}}}"#);
    shard.handle_bytes(now, id, &mut frame(&format!("{{\"id\":1,\"connect\":{{}}}}\n{subscribe}")));
    let mut answer = String::new();
    while let Some(output) = shard.poll_output() {
        let Output::Write { connection, .. } = output else { panic!("{output:?}") };
        let bytes: Vec<u8> = shard.pending(connection).flatten().copied().collect();
        answer += &String::from_utf8_lossy(&bytes);
        shard.handle_written(now, connection, bytes.len());
    }
    assert!(answer.contains(r#"{"id":1,"connect":{"#) && answer.contains(r#"{"id":2,"subscribe""#));
    id
}

/// How often memory is asked for when a client publishes so many messages at once, all of them are
/// delivered and it is answered. What grows once has grown.
fn allocations(shard: &mut Shard, publisher: ConnectionId, topic: &str, messages: usize) -> u64 {
    let command = format!(r#"{{"id":3,"publish":{{"channel":"{topic}","data":"news"}}}}"#);
    let bytes = frame(&command).repeat(messages);
    let publish = |shard: &mut Shard, bytes: &mut [u8]| {
        let now = Time::from_millis(10_000);
        shard.handle_bytes(now, publisher, bytes);
        shard.carry_on();
        while let Some(output) = shard.poll_output() {
            let Output::Write { connection, .. } = output else { panic!("{output:?}") };
            let count = shard.pending(connection).map(<[u8]>::len).sum();
            shard.handle_written(now, connection, count);
        }
    };
    // Outboxes keep room for bursts when some have come.
    for _ in 0..10 {
        publish(shard, &mut bytes.clone());
    }
    let (before, mut bytes) = (shard.counters(), bytes);
    let info = allocation_counter::measure(|| publish(shard, &mut bytes));
    assert_eq!(shard.counters().publications - before.publications, messages as u64);
    info.count_total
}

/// Bytes per connection that stay when all are there, each subscribed to one of so many topics.
fn bytes_per_connection(topics: u64) -> u64 {
    let mut shard = shard();
    let info = allocation_counter::measure(|| {
        for socket in 0..CONNECTIONS {
            open(&mut shard, socket, &format!("bench{}", socket % topics));
        }
    });
    assert_eq!(shard.counters().subscriptions, CONNECTIONS);
    u64::try_from(info.bytes_current).unwrap() / CONNECTIONS
}

#[test]
fn an_idle_connection_takes_few_bytes() {
    let (shared, own) = (bytes_per_connection(1), bytes_per_connection(CONNECTIONS));
    println!("{shared} bytes per connection with a shared topic, {own} with one of its own");
    assert!(shared <= SHARED_BYTES_MAX, "{shared} bytes per connection");
    assert!(own <= OWN_BYTES_MAX, "{own} bytes per connection with a topic of its own");
}

#[test]
fn a_connection_that_goes_leaves_nothing_that_grows() {
    let mut shard = shard();
    let mut rounds = [0; 3];
    for (round, left) in rounds.iter_mut().enumerate() {
        *left = allocation_counter::measure(|| {
            for socket in 0..1000 {
                open(&mut shard, socket, &format!("bench{socket}"));
            }
            let now = Time::from_millis(1_000_000 * (round as u64 + 1));
            // Nobody has sent a pong or even a close frame.
            shard.handle_timeout(now);
            while let Some(output) = shard.poll_output() {
                if let Output::Write { connection, .. } = output {
                    shard.handle_closed(now, connection);
                }
            }
        })
        .bytes_current;
    }
    assert_eq!(shard.counters().connections, 0);
    assert!(rounds[1] + rounds[2] <= 0, "{rounds:?}");
}

#[test]
fn a_message_allocates_by_the_publication_and_not_by_the_subscriber() {
    let mut shard = shard();
    let publisher = open(&mut shard, 0, "own");
    let unheard = allocations(&mut shard, publisher, "nobody", 1);
    assert!(unheard <= UNHEARD_MAX, "{unheard} allocations of an unheard publication");
    for socket in 1..=1000 {
        open(&mut shard, socket, if socket == 1 { "one" } else { "many" });
    }
    for topic in ["one", "many"] {
        let heard = allocations(&mut shard, publisher, topic, 1);
        assert!(heard <= HEARD_MAX, "{heard} allocations of a publication to {topic}");
    }
}

#[test]
fn bursts_that_repeat_allocate_by_the_publication_too() {
    let mut shard = shard();
    let publisher = open(&mut shard, 0, "own");
    for socket in 1..=1000 {
        open(&mut shard, socket, "many");
    }
    let burst = allocations(&mut shard, publisher, "many", 8);
    assert!(burst <= 8 * HEARD_MAX, "{burst} allocations of 8,000 deliveries");
}

/// A call that publishes so many messages.
fn batch(topic: &str, messages: usize) -> Call {
    let command = format!(r#"{{"publish":{{"channel":"{topic}","data":"news"}}}}"#);
    let body = format!(r#"{{"commands":[{}]}}"#, vec![command.as_str(); messages].join(","));
    api::decode("batch", body.as_bytes(), ErrorMode::InBody).unwrap()
}

#[test]
fn a_turn_delivers_to_a_bounded_number_whatever_is_asked() {
    let mut shard = shard();
    for socket in 0..1000 {
        open(&mut shard, socket, "many");
    }
    // Publications below the size of a slice, and above it.
    for slice in [1500, 100] {
        shard.set_fanout_slice(slice);
        let now = Time::from_millis(10_000);
        let before = shard.counters().deliveries;
        shard.carry_on();
        shard.handle_call(now, CallId(1), batch("many", 100));
        let (mut most, mut seen) = (shard.counters().deliveries - before, before);
        while let Some(output) = shard.poll_output() {
            match output {
                // What a shell does: it looks for events, and comes back.
                Output::Pause => {
                    most = most.max(shard.counters().deliveries - seen);
                    seen = shard.counters().deliveries;
                    shard.carry_on();
                }
                Output::Write { connection, .. } => {
                    let count = shard.pending(connection).map(<[u8]>::len).sum();
                    shard.handle_written(now, connection, count);
                }
                _ => {}
            }
        }
        assert_eq!(shard.counters().deliveries - before, 100_000);
        // Eight slices in a turn and one that begins the next, and what the last of them overshot.
        let bound = 9 * slice as u64 + 1000;
        assert!(most <= bound, "{most} deliveries in a turn with slices of {slice}");
    }
}

#[test]
fn answers_that_lead_to_calls_do_not_keep_writes_waiting() {
    let mut shard = shard();
    let now = Time::from_millis(10_000);
    let reader = open(&mut shard, 0, "one");
    shard.handle_call(now, CallId(1), batch("one", 1));
    // Whoever calls has the next call ready, for ever.
    for polls in 0.. {
        match shard.poll_output() {
            Some(Output::Answer { call, .. }) => shard.handle_call(now, call, batch("nobody", 1)),
            Some(Output::Write { connection, .. }) => {
                assert_eq!(connection, reader);
                return;
            }
            other => panic!("{other:?}"),
        }
        assert!(polls < 100, "nothing was written for a hundred answers");
    }
}

#[test]
fn who_leaves_has_had_what_was_published_before() {
    let mut shard = shard();
    let now = Time::from_millis(10_000);
    let subscribers: Vec<_> = (0..3).map(|socket| open(&mut shard, socket, "many")).collect();
    shard.set_fanout_slice(1);
    shard.carry_on();
    shard.handle_call(now, CallId(1), batch("many", 1));
    let answer = shard.poll_output();
    assert!(matches!(answer, Some(Output::Answer { status: 200, .. })), "{answer:?}");
    // It has reached the first of them; the next leaves, and the last takes its place in the list.
    let leave = r#"{"id":3,"unsubscribe":{"channel":"many"}}"#;
    shard.handle_bytes(now, subscribers[1], &mut frame(leave));
    while let Some(output) = shard.poll_output() {
        assert!(matches!(output, Output::Write { .. } | Output::Pause), "{output:?}");
    }
    for (subscriber, replies) in subscribers.iter().zip([0, 1, 0]) {
        let sent: Vec<u8> = shard.pending(*subscriber).flatten().copied().collect();
        let sent = String::from_utf8_lossy(&sent);
        let (push, reply) = (sent.find("push"), sent.find(r#"{"id":3"#));
        assert_eq!((sent.matches("push").count(), usize::from(reply.is_some())), (1, replies));
        assert!(reply.is_none_or(|reply| push < Some(reply)), "{sent}");
    }
}
