//! permessage-deflate (RFC 7692), and the echo that shares the framing with everybody else.

use std::time::Duration;

use fanwire_core::{Adapter, PingStyle};

use crate::deflate::{COMPRESSED, deflate};
use crate::kit::{Client, Frame, Node, fragment, frame, open_settings, with_shards};
use crate::wire;

const CONNECT: &[u8] = br#"{"id":1,"connect":{}}"#;

/// A compressed text message.
fn compressed(text: &[u8]) -> Vec<u8> {
    frame(COMPRESSED | wire::TEXT, &deflate(text))
}

fn connected(node: &mut Node, bits: u8) -> Client {
    let client = node.open_compressed(bits);
    node.bytes(client, &compressed(CONNECT));
    assert_eq!(node.take(client).len(), 1);
    client
}

fn closed(code: u16) -> [Frame; 2] {
    [Frame::Close(Some(code), String::new()), Frame::Shut]
}

#[test]
fn subscribers_of_every_window_and_of_none_are_sent_the_same() {
    with_shards(&open_settings(), |node| {
        let plain = node.connect();
        let clients: Vec<Client> = (9..=15).map(|bits| connected(node, bits)).collect();
        for client in clients.iter().copied().chain([plain]) {
            node.send(client, r#"{"id":2,"subscribe":{"channel":"t"}}"#);
            assert_eq!(node.texts(client), [r#"{"id":2,"subscribe":{}}"#]);
        }
        let data = "abc ".repeat(500);
        for data in [&data, "short", &data] {
            let body = format!(r#"{{"channel":"t","data":"{data}"}}"#);
            assert_eq!(node.call(0, "publish", &body), r#"{"result":{}}"#);
        }
        let push =
            |data: &str| format!(r#"{{"push":{{"channel":"t","pub":{{"data":"{data}"}}}}}}"#);
        assert_eq!(node.texts(plain), [push(&data), push("short"), push(&data)]);
        for client in clients {
            let long = Frame::Compressed(push(&data));
            // Below compression_min_bytes.
            let short = Frame::Text(push("short"));
            assert_eq!(node.take(client), [long.clone(), short, long]);
        }
    });
}

#[test]
fn long_replies_are_compressed_too() {
    let mut settings = open_settings();
    settings.client.compression_min_bytes = 20;
    with_shards(&settings, |node| {
        let client = connected(node, 15);
        node.send(client, r#"{"id":2,"presence":{"channel":"t"}}"#);
        let refused = r#"{"id":2,"error":{"code":108,"message":"not available"}}"#;
        // Too short a text to become shorter, and one that does not stay so.
        assert_eq!(node.take(client), [Frame::Text(refused.to_owned())]);
        node.send(client, r#"{"id":3,"subscribe":{"channel":"aaaaaaaaaaaaaaaaaaaaaaaaa"}}"#);
        node.take(client);
        let body = format!(r#"{{"channel":"{}","user":""}}"#, "a".repeat(25));
        node.call(0, "unsubscribe", &body);
        let frames = node.take(client);
        assert!(matches!(&frames[..], [Frame::Compressed(_)]), "{frames:?}");
    });
}

#[test]
fn a_compressed_message_may_come_in_fragments_with_control_frames_between() {
    with_shards(&open_settings(), |node| {
        let client = node.open_compressed(9);
        let payload = deflate(CONNECT);
        node.bytes(client, &fragment(COMPRESSED | wire::TEXT, &payload[..5]));
        node.bytes(client, &frame(wire::PING, b"between"));
        node.bytes(client, &fragment(wire::CONTINUATION, &[]));
        let rest = frame(wire::CONTINUATION, &payload[5..]);
        node.bytes(client, &rest[..8]);
        node.bytes(client, &rest[8..]);
        let frames = node.take(client);
        assert!(matches!(&frames[..], [Frame::Pong(_), Frame::Text(_)]), "{frames:?}");
    });
}

#[test]
fn what_breaks_the_compression_is_answered_by_a_code() {
    let bomb = deflate(&vec![b' '; 4 << 20]);
    assert!(bomb.len() < 64 * 1024);
    for (name, bytes, code) in [
        ("reserved bit 2", frame(0x20 | wire::TEXT, b"{}"), 1002),
        ("reserved bit of a ping", frame(COMPRESSED | wire::PING, b""), 1002),
        (
            "reserved bit of a continuation",
            [
                fragment(COMPRESSED | wire::TEXT, &deflate(b"{}")[..1]),
                frame(COMPRESSED | wire::CONTINUATION, &deflate(b"{}")[1..]),
            ]
            .concat(),
            1002,
        ),
        ("no DEFLATE", frame(COMPRESSED | wire::TEXT, &[0xff; 10]), 1002),
        ("cut off", frame(COMPRESSED | wire::TEXT, &deflate(CONNECT)[..9]), 1002),
        ("no UTF-8", compressed(b"\"\xc3\x28\""), 1007),
        ("half a character", compressed(b"\"\xe2\x82"), 1007),
        ("a bomb", frame(COMPRESSED | wire::TEXT, &bomb), 1009),
        ("more than can become less", frame(COMPRESSED | wire::TEXT, &[0; 80_000]), 1009),
    ] {
        let mut node = Node::new(1, open_settings());
        let client = connected(&mut node, 15);
        node.bytes(client, &bytes);
        assert_eq!(node.take(client), closed(code), "{name}");
    }
}

#[test]
fn a_message_of_the_largest_size_may_be_compressed() {
    with_shards(&open_settings(), |node| {
        let client = connected(node, 15);
        let head = r#"{"id":2,"publish":{"channel":"t","data":""#;
        let text = format!("{head}{}\"}}}}", "x".repeat(64 * 1024 - head.len() - 3));
        assert_eq!(text.len(), 64 * 1024);
        node.bytes(client, &compressed(text.as_bytes()));
        assert_eq!(node.texts(client), [r#"{"id":2,"publish":{}}"#]);
        node.bytes(client, &compressed(format!("{text} ").as_bytes()));
        assert_eq!(node.take(client), closed(1009));
    });
}

fn echo(node: &mut Node) -> Client {
    node.open_as(Adapter::Echo, PingStyle::Frames)
}

#[test]
fn an_echo_needs_no_connect_and_is_not_pinged() {
    with_shards(&open_settings(), |node| {
        let client = echo(node);
        node.pass(Duration::from_secs(300));
        node.bytes(client, &frame(wire::BINARY, b"\xff\x00"));
        node.send(client, "still here");
        let answers = [Frame::Binary(vec![0xff, 0]), Frame::Text("still here".to_owned())];
        assert_eq!(node.take(client), answers);
        node.bytes(client, &frame(wire::CLOSE, b"\x03\xe8bye"));
        assert_eq!(node.take(client), [Frame::Close(Some(1000), String::new()), Frame::End]);
    });
}

#[test]
fn an_echo_says_what_was_right_before_it_says_what_was_wrong() {
    let mut node = Node::new(1, open_settings());
    let client = echo(&mut node);
    let right = frame(wire::TEXT, b"right");
    node.bytes(client, &[right.clone(), frame(wire::PING, b"p"), frame(3, b""), right].concat());
    let [close, shut] = closed(1002);
    let right = Frame::Text("right".to_owned());
    assert_eq!(node.take(client), [right, Frame::Pong(b"p".to_vec()), close, shut]);
}

#[test]
fn an_echo_that_nobody_reads_is_bounded() {
    let settings = open_settings();
    let outbox_bytes_max = settings.client.outbox_bytes_max;
    let mut node = Node::new(1, settings);
    let client = echo(&mut node);
    node.stick(client);
    for _ in 0..100 {
        node.bytes(client, &frame(wire::BINARY, &[7; 60_000]));
        assert!(node.pending_bytes(client) <= outbox_bytes_max);
    }
    // What was waiting is gone; the close frame says why.
    node.unstick(client);
    assert_eq!(node.take(client), [Frame::Close(Some(3008), "slow".to_owned())]);
}
