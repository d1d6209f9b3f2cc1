//! Framing, seen through the shard: how the input is split into reads changes nothing, compressed
//! or not, and no input whatever makes anything worse happen than a close.
//!
//! Every stream comes from a seed. Failures name it.

#![allow(clippy::expect_used, clippy::indexing_slicing, clippy::unwrap_used)]

#[path = "../wire/deflate.rs"]
mod deflate;
mod stream;
#[path = "../wire/mod.rs"]
mod wire;

use std::rc::Rc;
use std::sync::Arc;

use fanwire_core::config::{ClientSettings, NodeInfo, Settings, TopicOptions};
use fanwire_core::{
    Adapter, Compression, ConnectionId, Output, PingStyle, Place, Shard, ShardIndex, SocketId, Time,
};
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

use deflate::{COMPRESSED, inflate};
use stream::{Commands, Streams};

/// Largest message that the shard takes, in bytes; no valid stream has a larger one.
const MESSAGE_BYTES_MAX: usize = 1 << 20;

/// Streams per test.
const SEEDS: u64 = 400;

/// Ways to split each of them.
const SPLITS: usize = 5;

/// A shard with one connection, and what the connection was sent.
struct Server {
    shard: Shard,
    connection: ConnectionId,
    sent: Vec<u8>,
    closed: bool,
}

impl Server {
    fn new(adapter: Adapter, compression: Compression) -> Self {
        let topics = TopicOptions {
            allow_subscribe_for_client: true,
            allow_subscribe_for_anonymous: true,
            allow_publish_for_client: true,
            allow_publish_for_anonymous: true,
            ..TopicOptions::default()
        };
        let client = ClientSettings {
            anonymous: true,
            message_bytes_max: MESSAGE_BYTES_MAX,
            compression_min_bytes: 40,
            ..ClientSettings::default()
        };
        let settings = Rc::new(Settings { client, topics, ..Settings::default() });
        let id = uuid::Uuid::from_u128(1);
        let node = Arc::new(NodeInfo { id, name: "node".to_owned(), version: "0".to_owned() });
        let place = Place { index: ShardIndex(0), count: 1 };
        let mut shard = Shard::new(place, settings, node, [7; 32], Time::ZERO);
        let connection = shard.open(Time::ZERO, SocketId(1), adapter, PingStyle::Messages);
        shard.set_compression(connection, compression);
        Self { shard, connection, sent: Vec::new(), closed: false }
    }

    /// One read of the socket, and one turn.
    fn read(&mut self, bytes: &[u8]) {
        self.shard.handle_bytes(Time::ZERO, self.connection, &mut bytes.to_vec());
        while let Some(output) = self.shard.poll_output() {
            match output {
                Output::Write { connection, .. } => {
                    let before = self.sent.len();
                    for chunk in self.shard.pending(connection) {
                        self.sent.extend_from_slice(chunk);
                    }
                    let count = self.sent.len() - before;
                    self.shard.handle_written(Time::ZERO, connection, count);
                }
                Output::Close { .. } => self.closed = true,
                Output::ShutdownWrite { .. } => {}
                other => panic!("{other:?}"),
            }
        }
    }

    /// The frames that were sent: opcode and payload, as it was before it was compressed.
    fn frames(&self) -> Vec<(u8, Vec<u8>)> {
        let mut rest = self.sent.as_slice();
        let mut frames = Vec::new();
        while let Some((frame, taken)) = wire::parse(rest) {
            assert!(frame.last, "the broker sends no fragments");
            frames.push(match frame.opcode & COMPRESSED {
                0 => (frame.opcode, frame.payload),
                _ => (frame.opcode & !COMPRESSED, inflate(&frame.payload)),
            });
            rest = &rest[taken..];
        }
        assert!(rest.is_empty(), "half a frame is left: {rest:?}");
        frames
    }
}

/// What a server makes of a stream that arrives in one read.
fn whole(mut server: Server, stream: &[u8]) -> Server {
    server.read(stream);
    server
}

/// What a server makes of a stream that arrives in random pieces, some of one byte.
fn in_pieces(mut server: Server, stream: &[u8], random: &mut StdRng) -> Server {
    let longest = [1, 3, 20, 300, 30_000][random.random_range(0..5)];
    let mut rest = stream;
    while !rest.is_empty() {
        // Large payloads byte by byte would only take long.
        let longest = if rest.len() > 5_000 { longest.max(300) } else { longest };
        let (piece, after) = rest.split_at(random.random_range(1..=longest.min(rest.len())));
        server.read(piece);
        rest = after;
    }
    server
}

/// Runs a test for every seed and says which one failed.
fn for_seeds(test: impl Fn(&mut StdRng)) {
    for seed in 0..SEEDS {
        let run = std::panic::AssertUnwindSafe(|| test(&mut StdRng::seed_from_u64(seed)));
        if std::panic::catch_unwind(run).is_err() {
            panic!("with seed {seed}");
        }
    }
}

/// None, or any window.
fn any_compression(random: &mut StdRng) -> Compression {
    match random.random_range(0..16) {
        bits @ 9..=15 => Compression::window(bits).unwrap(),
        _ => Compression::NONE,
    }
}

fn server(compression: Compression) -> Server {
    Server::new(Adapter::CentrifugoJson, compression)
}

#[test]
fn any_split_gives_the_same_bytes() {
    for_seeds(|random| {
        let compression = any_compression(random);
        let stream = Streams::new(random, Commands::AnsweredAtOnce, compression).valid();
        let expected = whole(server(compression), &stream);
        assert!(!expected.frames().is_empty());
        for _ in 0..SPLITS {
            let found = in_pieces(server(compression), &stream, random);
            assert_eq!((found.sent, found.closed), (expected.sent.clone(), expected.closed));
        }
    });
}

/// What comes between two reads may be answered between them, so that publications stand elsewhere
/// among the replies; the replies themselves are the same.
#[test]
fn any_split_gives_the_same_replies_and_pongs() {
    for_seeds(|random| {
        let compression = any_compression(random);
        let stream = Streams::new(random, Commands::All, compression).valid();
        let answers = |server: &Server, wanted: u8| -> Vec<Vec<u8>> {
            let reply = |(opcode, payload): &(u8, Vec<u8>)| {
                *opcode == wanted && !payload.starts_with(br#"{"push""#)
            };
            server.frames().into_iter().filter(reply).map(|(_, payload)| payload).collect()
        };
        let expected = whole(server(compression), &stream);
        for _ in 0..SPLITS {
            let found = in_pieces(server(compression), &stream, random);
            for opcode in [wire::TEXT, wire::PONG, wire::CLOSE] {
                assert_eq!(answers(&found, opcode), answers(&expected, opcode));
            }
        }
    });
}

#[test]
fn every_message_and_every_ping_is_answered() {
    for_seeds(|random| {
        let compression = any_compression(random);
        let mut streams = Streams::new(random, Commands::AnsweredAtOnce, compression);
        let stream = streams.valid();
        let (commands, pings) = (streams.commands, streams.pings);
        let frames = whole(server(compression), &stream).frames();
        let count = |wanted: u8| frames.iter().filter(|(opcode, _)| *opcode == wanted).count();
        assert_eq!((count(wire::TEXT), count(wire::PONG)), (commands, pings));
        assert_eq!(count(wire::CLOSE), 0);
    });
}

#[test]
fn an_echo_answers_every_message_by_itself() {
    for_seeds(|random| {
        let compression = any_compression(random);
        let mut streams = Streams::new(random, Commands::All, compression);
        let stream = streams.valid();
        let (messages, pings) = (std::mem::take(&mut streams.messages), streams.pings);
        let echo = Server::new(Adapter::Echo, compression);
        let mut frames = in_pieces(echo, &stream, random).frames();
        frames.retain(|(opcode, _)| *opcode != wire::PONG);
        assert!(frames == messages);
        let echo = Server::new(Adapter::Echo, compression);
        let frames = whole(echo, &stream).frames();
        assert_eq!(frames.len(), messages.len() + pings);
    });
}

#[test]
fn hostile_and_damaged_streams_end_in_a_close_frame_or_in_waiting() {
    for_seeds(|random| {
        let compression = any_compression(random);
        let hostile = random.random();
        let mut streams = Streams::new(random, Commands::AnsweredAtOnce, compression);
        let stream = if hostile { streams.hostile() } else { streams.damaged() };
        let expected = whole(server(compression), &stream);
        check_end(&expected);
        for _ in 0..SPLITS {
            let found = in_pieces(server(compression), &stream, random);
            assert_eq!((found.sent, found.closed), (expected.sent.clone(), expected.closed));
        }
    });
}

#[test]
fn garbage_ends_in_a_close_frame_or_in_waiting() {
    for_seeds(|random| {
        let compression = any_compression(random);
        let length = random.random_range(0..200);
        let mut stream: Vec<u8> = (0..length).map(|_| random.random()).collect();
        if random.random() {
            // Where garbage would end at its first bytes: a compressed message made of it.
            stream.clear();
            let garbage: Vec<u8> = (0..length).map(|_| random.random()).collect();
            let opcode = COMPRESSED | wire::BINARY;
            wire::append_masked(&mut stream, opcode, true, [0; 4], &garbage);
        }
        check_end(&whole(server(compression), &stream));
        check_end(&in_pieces(server(compression), &stream, random));
    });
}

/// Nothing follows a close frame; without one the connection lives.
fn check_end(server: &Server) {
    let frames = server.frames();
    let close = frames.iter().position(|(opcode, _)| *opcode == wire::CLOSE);
    match close {
        Some(index) => assert_eq!(index + 1, frames.len(), "frames after the close frame"),
        None => assert!(!server.closed, "closed without a word"),
    }
    let held = server.shard.counters().connections;
    assert_eq!(held, u64::from(!server.closed), "connections held");
}
