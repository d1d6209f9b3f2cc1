//! RFC 6455: what breaks the framing is answered by its close code; what only looks odd is not.

use crate::kit::{Frame, MASK, Node, fragment, frame, open_settings, with_shards};
use crate::wire;

const CONNECT: &str = r#"{"id":1,"connect":{}}"#;

fn close_code(bytes: &[u8]) -> Vec<Frame> {
    let mut node = Node::new(1, open_settings());
    let client = node.connect();
    node.bytes(client, bytes);
    node.take(client)
}

#[test]
fn broken_framing_is_answered_by_its_code_and_nothing_more_is_read() {
    let unmasked = {
        let mut bytes = vec![0x81, u8::try_from(CONNECT.len()).unwrap()];
        bytes.extend(CONNECT.bytes());
        bytes
    };
    let join = |frames: &[Vec<u8>]| frames.concat();
    for (name, bytes, code) in [
        ("unmasked", unmasked, 1002),
        ("reserved bit", frame(0x40 | wire::TEXT, b"{}"), 1002),
        ("reserved data opcode", frame(3, b"{}"), 1002),
        ("reserved control opcode", frame(11, b""), 1002),
        ("continuation first", frame(wire::CONTINUATION, b"{}"), 1002),
        (
            "message inside a message",
            join(&[fragment(wire::TEXT, b"{"), frame(wire::TEXT, b"}")]),
            1002,
        ),
        ("fragmented ping", fragment(wire::PING, b""), 1002),
        ("ping of 126 bytes", frame(wire::PING, &[0; 126]), 1002),
        ("close of one byte", frame(wire::CLOSE, b"x"), 1002),
        ("close with 1005", frame(wire::CLOSE, &1005u16.to_be_bytes()), 1002),
        ("close with bad reason", frame(wire::CLOSE, b"\x03\xe8\xff"), 1007),
        ("text that is not UTF-8", frame(wire::TEXT, b"\"\xc3\x28\""), 1007),
        ("too big", frame(wire::TEXT, &[b' '; 64 * 1024 + 1]), 1009),
        (
            "too big in fragments",
            join(&[
                fragment(wire::TEXT, &[b' '; 40_000]),
                frame(wire::CONTINUATION, &[b' '; 40_000]),
            ]),
            1009,
        ),
    ] {
        assert_eq!(
            close_code(&bytes),
            [Frame::Close(Some(code), String::new()), Frame::Shut],
            "{name}"
        );
    }
}

#[test]
fn a_length_that_nobody_could_hold_is_too_big_at_once() {
    let mut bytes = vec![0x81, 0xff];
    bytes.extend(u64::MAX.to_be_bytes());
    bytes.extend([0; 4]);
    assert_eq!(close_code(&bytes), [Frame::Close(Some(1009), String::new()), Frame::Shut]);
}

#[test]
fn fragments_with_control_frames_between_are_one_message() {
    with_shards(&open_settings(), |node| {
        let client = node.connect();
        let text = br#"{"id":2,"subscribe":{"channel":"t"}}"#;
        node.bytes(client, &fragment(wire::TEXT, &text[..10]));
        node.bytes(client, &frame(wire::PING, b"hello"));
        node.bytes(client, &fragment(wire::CONTINUATION, &text[10..20]));
        node.bytes(client, &frame(wire::PONG, b"unasked"));
        node.bytes(client, &frame(wire::CONTINUATION, &text[20..]));
        assert_eq!(
            node.take(client),
            [Frame::Pong(b"hello".to_vec()), Frame::Text(r#"{"id":2,"subscribe":{}}"#.to_owned())]
        );
    });
}

#[test]
fn a_binary_message_is_read_like_a_text() {
    with_shards(&open_settings(), |node| {
        let client = node.open();
        node.bytes(client, &frame(wire::BINARY, CONNECT.as_bytes()));
        assert_eq!(node.texts(client).len(), 1);
    });
}

#[test]
fn a_message_of_the_largest_size_is_read() {
    with_shards(&open_settings(), |node| {
        let client = node.connect();
        let head = r#"{"id":2,"publish":{"channel":"t","data":""#;
        let fill = "x".repeat(64 * 1024 - head.len() - 4);
        node.send(client, &format!(r#"{head}{fill}"}}}} "#));
        assert_eq!(node.texts(client), [r#"{"id":2,"publish":{}}"#]);
    });
}

#[test]
fn text_is_refused_at_its_first_wrong_byte() {
    // Overlong, a surrogate, beyond the last character, a character cut short.
    for (right, wrong) in
        [(&b"\"abc"[..], 0xc0), (b"\"\xed", 0xa0), (b"\"\xf4", 0x90), (b"\"\xe2\x82", b' ')]
    {
        for first in [true, false] {
            let mut node = Node::new(1, open_settings());
            let client = node.connect();
            if !first {
                node.bytes(client, &fragment(wire::TEXT, b"\"begun"));
            }
            // A frame of 1,000 bytes whose rest never comes.
            let opcode = if first { wire::TEXT } else { wire::CONTINUATION };
            node.bytes(client, &fragment(opcode, &[b' '; 1_000])[..8]);
            let masked = |text: &[u8]| -> Vec<u8> {
                text.iter().zip(MASK.into_iter().cycle()).map(|(byte, mask)| byte ^ mask).collect()
            };
            let text = [right, &[wrong]].concat();
            node.bytes(client, &masked(&text)[..right.len()]);
            assert_eq!(node.take(client), [], "{right:x?} is right so far");
            node.bytes(client, &masked(&text)[right.len()..]);
            let closed = [Frame::Close(Some(1007), String::new()), Frame::Shut];
            assert_eq!(node.take(client), closed, "{right:x?} {wrong:x}");
        }
    }
}

#[test]
fn a_message_may_have_fragments_max_frames_and_not_one_more() {
    let mut settings = open_settings();
    settings.client.fragments_max = 3;
    let mut node = Node::new(1, settings);
    let client = node.connect();
    for _ in 0..2 {
        node.bytes(client, &fragment(wire::TEXT, br#"{"id":2,"#));
        node.bytes(client, &fragment(wire::CONTINUATION, b""));
        node.bytes(client, &frame(wire::PING, b""));
        node.bytes(client, &frame(wire::CONTINUATION, br#""rpc":{}}"#));
        let frames = node.take(client);
        assert!(matches!(&frames[..], [Frame::Pong(_), Frame::Text(_)]), "{frames:?}");
    }
    node.bytes(client, &fragment(wire::TEXT, b" "));
    node.bytes(client, &fragment(wire::CONTINUATION, b" "));
    node.bytes(client, &fragment(wire::CONTINUATION, b" "));
    assert_eq!(node.take(client), []);
    node.bytes(client, &frame(wire::CONTINUATION, b"{}"));
    assert_eq!(node.take(client), [Frame::Close(Some(1009), String::new()), Frame::Shut]);
}
