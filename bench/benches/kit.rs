//! What the benches of core share: a shard, clients of it, and the count of allocations.

use std::io::Write;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use fanwire_core::api::{self, ErrorMode};
use fanwire_core::config::{ClientSettings, NodeInfo, Settings, TopicOptions};
use fanwire_core::{
    Adapter, CallId, ConnectionId, Output, PingStyle, Place, Shard, ShardIndex, SocketId, Time,
};

/// Publications that histories keep.
pub(crate) const HISTORY: usize = 1000;

/// Options of the topics: clients may do everything; with `past`, everything is kept as well.
pub(crate) fn options(past: bool) -> TopicOptions {
    let ttl = Duration::from_secs(3600);
    let open = TopicOptions {
        allow_subscribe_for_client: true,
        allow_subscribe_for_anonymous: true,
        allow_publish_for_client: true,
        allow_publish_for_anonymous: true,
        ..TopicOptions::default()
    };
    if !past {
        return open;
    }
    TopicOptions {
        history_size: HISTORY,
        history_ttl: ttl,
        history_meta_ttl: ttl,
        allow_recovery: true,
        allow_delta: true,
        allow_history_for_client: true,
        allow_history_for_anonymous: true,
        ..open
    }
}

/// The shards of a node, in order.
pub(crate) fn shards(count: u16, topics: &TopicOptions) -> Vec<Shard> {
    let client = ClientSettings {
        anonymous: true,
        recovery_publications_max: HISTORY,
        history_publications_max: HISTORY,
        ..ClientSettings::default()
    };
    let settings = Settings { client, topics: topics.clone(), ..Settings::default() };
    let node = NodeInfo { id: Default::default(), name: String::new(), version: String::new() };
    let node = Arc::new(node);
    let shard = |index| {
        let (place, settings) = (Place { index: ShardIndex(index), count }, settings.clone());
        Shard::new(place, Rc::new(settings), Arc::clone(&node), [7; 32], Time::ZERO)
    };
    (0..count).map(shard).collect()
}

/// A node of one shard.
pub(crate) fn shard(topics: &TopicOptions) -> Shard {
    shards(1, topics).remove(0)
}

/// A masked frame, as a client sends it.
pub(crate) fn frame(adapter: Adapter, message: &[u8]) -> Vec<u8> {
    let opcode = if adapter == Adapter::CentrifugoProtobuf { 2 } else { 1 };
    let mut out = vec![0x80 | opcode];
    match (u8::try_from(message.len()), u16::try_from(message.len())) {
        (Ok(length), _) if length < 126 => out.push(0x80 | length),
        (_, Ok(length)) => {
            out.push(0x80 | 126);
            out.extend(length.to_be_bytes());
        }
        _ => {
            out.push(0x80 | 127);
            out.extend((message.len() as u64).to_be_bytes());
        }
    }
    let mask = [1, 2, 3, 4];
    out.extend(mask);
    out.extend(message.iter().zip(mask.into_iter().cycle()).map(|(byte, mask)| byte ^ mask));
    out
}

/// A length-delimited field of Protobuf.
pub(crate) fn field(number: u8, bytes: &[u8]) -> Vec<u8> {
    let mut out = vec![number << 3 | 2];
    let mut length = bytes.len();
    while length >= 0x80 {
        out.push(length as u8 | 0x80);
        length >>= 7;
    }
    out.push(length as u8);
    out.extend_from_slice(bytes);
    out
}

/// A command of Protobuf with its id, framed as one of a message (length first).
pub(crate) fn protobuf_command(id: u8, number: u8, request: &[u8]) -> Vec<u8> {
    let command = [vec![0x08, id], field(number, request)].concat();
    field(0, &command).split_off(1)
}

/// Takes all that a shard has to send, and what it has for others; how many bytes were sent.
pub(crate) fn flush(shard: &mut Shard) -> usize {
    let mut bytes = 0;
    flush_to(shard, |piece| bytes += piece.len());
    bytes
}

/// The same, told: what was said to clients and answered to the backend, one after the other.
pub(crate) fn listen(shard: &mut Shard) -> Vec<u8> {
    let mut said = Vec::new();
    flush_to(shard, |piece| said.extend_from_slice(piece));
    said
}

fn flush_to(shard: &mut Shard, mut take: impl FnMut(&[u8])) {
    while let Some(output) = shard.poll_output() {
        match output {
            Output::Write { connection, .. } => {
                let count = shard.pending(connection).map(<[u8]>::len).sum();
                shard.pending(connection).for_each(&mut take);
                shard.handle_written(Time::ZERO, connection, count);
            }
            Output::Answer { body, .. } => take(&body),
            _ => {}
        }
    }
}

/// Asserts that these bytes were said, and no error with them.
pub(crate) fn assert_said(said: &[u8], expected: &[u8]) {
    let has = |part: &[u8]| said.windows(part.len()).any(|window| window == part);
    let text = String::from_utf8_lossy(said);
    assert!(has(expected), "{:?} is missing: {text:?}", String::from_utf8_lossy(expected));
    assert!(!has(b"\"error\"") && !has(b"disconnect"), "{text:?}");
}

/// A connection that has said something. Whether that was refused shows in what it does next.
pub(crate) fn open(
    shard: &mut Shard,
    socket: u64,
    adapter: Adapter,
    message: &[u8],
) -> ConnectionId {
    let id = shard.open(Time::ZERO, SocketId(socket), adapter, PingStyle::Messages);
    shard.handle_bytes(Time::ZERO, id, &mut frame(adapter, message));
    flush(shard);
    id
}

/// A connection of the JSON protocol.
pub(crate) fn open_json(shard: &mut Shard, socket: u64, more: &str) -> ConnectionId {
    let text = format!("{{\"id\":1,\"connect\":{{}}}}\n{more}");
    open(shard, socket, Adapter::CentrifugoJson, text.trim_end().as_bytes())
}

/// One that is subscribed, with what the request says beside the topic.
pub(crate) fn subscribe(shard: &mut Shard, socket: u64, topic: &str, more: &str) -> ConnectionId {
    let command = format!(r#"{{"id":2,"subscribe":{{"channel":"{topic}"{more}}}}}"#);
    open_json(shard, socket, &command)
}

/// Carries out a call of the backend API and all that follows.
pub(crate) fn call(shard: &mut Shard, method: &str, body: &str) -> usize {
    begin_call(shard, method, body);
    flush(shard)
}

/// The same, told; it must succeed.
pub(crate) fn call_once(shard: &mut Shard, method: &str, body: &str) -> Vec<u8> {
    begin_call(shard, method, body);
    let said = listen(shard);
    assert_said(&said, br#"{"result""#);
    said
}

fn begin_call(shard: &mut Shard, method: &str, body: &str) {
    let call = api::decode(method, body.as_bytes(), ErrorMode::InBody);
    assert!(call.is_ok(), "{method} is malformed: {body}");
    if let Ok(call) = call {
        shard.handle_call(Time::ZERO, CallId(1), call);
    }
}

/// A publish of so many bytes of JSON.
pub(crate) fn publish(topic: &str, bytes: usize) -> String {
    let data = "x".repeat(bytes.saturating_sub(2));
    format!(r#"{{"channel":"{topic}","data":"{data}"}}"#)
}

/// Prints how often something allocates, per piece of work, in the form of the timings.
pub(crate) fn tell_allocations(name: &str, pieces: u64, mut work: impl FnMut()) {
    // What grows once has grown.
    work();
    let info = allocation_counter::measure(work);
    let each = |count: u64| count as f64 / pieces as f64;
    let _ = writeln!(
        std::io::stdout(),
        "{name:<40} allocations: {:.3} of {:.1} B in all, each",
        each(info.count_total),
        each(info.bytes_total),
    );
}
