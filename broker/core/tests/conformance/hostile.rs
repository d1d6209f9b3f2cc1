//! Protobuf as nobody should send it: it ends its sender (3501), disturbs nobody else, and never
//! panics.

use fanwire_core::Adapter;

use crate::kit::protobuf::{commands, delimited, varint};
use crate::kit::{Client, Node, fragment, frame, full_settings, joined, with_shards};
use crate::wire;

/// A message behind its length.
fn framed(message: &[u8]) -> Vec<u8> {
    [varint(message.len() as u64), message.to_vec()].concat()
}

/// A command with the id 1 and more fields.
fn command(fields: &[u8]) -> Vec<u8> {
    framed(&[&[0x08, 0x01], fields].concat())
}

fn subscribe(fields: &[u8]) -> Vec<u8> {
    command(&delimited(5, fields))
}

fn nested(levels: usize) -> Vec<u8> {
    let filter = (0..levels).fold(Vec::new(), |inner, _| delimited(6, &inner));
    subscribe(&[delimited(1, b"tags:t"), delimited(13, &filter)].concat())
}

/// Runs a dialogue with a node whose clients speak Protobuf, one of which is subscribed to "t".
fn with_a_witness(dialogue: impl Fn(&mut Node, Client)) {
    with_shards(&full_settings(), |node| {
        node.adapter = Adapter::CentrifugoProtobuf;
        let witness = node.guest("w");
        node.say(witness, r#"{"id":2,"subscribe":{"channel":"t"}}"#);
        node.listen(witness);
        dialogue(node, witness);
        node.publish("t", "1");
        node.hear(witness, &[r#"{"push":{"channel":"t","pub":{"data":1}}}"#]);
    });
}

/// What is no message, and why.
fn malformed() -> Vec<(&'static str, Vec<u8>)> {
    let good = commands(r#"{"id":1,"subscribe":{"channel":"x"}}"#);
    let lying = |length: u64, rest: &[u8]| [varint(length), rest.to_vec()].concat();
    vec![
        ("nothing", vec![]),
        ("a length without end", vec![0x80; 3]),
        ("a length of 64 bits and more", [vec![0xff; 10], good.clone()].concat()),
        ("the largest length there is", lying(u64::MAX, &good[1..])),
        ("a length of 4 GiB", lying(1 << 32, &good[1..])),
        ("one byte too few", good[..good.len() - 1].to_vec()),
        ("a length that is one too large", lying(good.len() as u64, &good[1..])),
        ("a length that is one too small", lying(good.len() as u64 - 2, &good[1..])),
        ("a length in more bytes than it needs", [&[good[0] | 0x80, 0], &good[1..]].concat()),
        ("JSON", br#"{"id":1,"connect":{}}"#.to_vec()),
        ("an inner length beyond", command(&[0x2a, 0x7f, 0x0a])),
        ("an inner length of 2^63", command(&[&[0x2a][..], &varint(1 << 63)].concat())),
        ("an id that never ends", framed(&[0x08, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff])),
        ("field 0", command(&[0x00, 0x00])),
        ("a group", command(&[0x2b, 0x2c])),
        ("the end of a group", command(&[0x2c])),
        ("a wire type that is none", command(&[0x2f, 0x00])),
        ("a method that is a number", command(&[0x28, 0x01])),
        ("a name that is no UTF-8", subscribe(&delimited(1, b"\xff\xfe"))),
        ("a surrogate", subscribe(&delimited(1, b"\xed\xa0\x80"))),
        (
            "a token that is no UTF-8",
            subscribe(&[delimited(1, b"t"), delimited(2, b"\xc0")].concat()),
        ),
        ("a delta nobody knows", subscribe(&[delimited(1, b"t"), delimited(12, b"xor")].concat())),
        ("a filter without a floor", nested(200)),
        ("a filter that fills the message", nested(9_000)),
        ("no method", command(&[])),
        ("ping", command(&[0x5a, 0x00])),
        ("no name", subscribe(&[])),
        ("a connect", command(&[0x22, 0x00])),
    ]
}

#[test]
fn what_is_malformed_ends_its_client() {
    with_a_witness(|node, _| {
        for (why, bytes) in malformed() {
            let client = node.guest("a");
            node.bytes(client, &frame(wire::BINARY, &bytes));
            let heard = node.listen(client);
            assert_eq!(heard, [serde_json::json!({"close":3501,"reason":"bad request"})], "{why}");
        }
    });
}

#[test]
fn what_came_before_it_is_done_and_what_follows_is_not() {
    with_a_witness(|node, witness| {
        for (why, bytes) in malformed().into_iter().skip(1) {
            let client = node.guest("a");
            let publish = |data| {
                commands(&format!(r#"{{"id":2,"publish":{{"channel":"t","data":{data}}}}}"#))
            };
            let message = [publish(1), bytes, publish(2)].concat();
            // In two pieces, cut anywhere.
            let (head, tail) = message.split_at(message.len() / 2);
            let pieces = [fragment(wire::BINARY, head), frame(wire::CONTINUATION, tail)].concat();
            node.bytes(client, &pieces);
            let heard = node.listen(client);
            assert_eq!(heard.last().unwrap()["close"], 3501, "{why}");
            let told = r#"{"data":1,"info":{"user":"","client":"<_>"}}"#;
            node.hear(witness, &[&format!(r#"{{"push":{{"channel":"t","pub":{told}}}}}"#)]);
        }
    });
}

#[test]
fn unknown_fields_of_every_type_are_skipped() {
    with_a_witness(|node, _| {
        let client = node.guest("a");
        let unknown = [
            vec![0xc0, 0x3e, 0x07],
            vec![0xc1, 0x3e, 1, 2, 3, 4, 5, 6, 7, 8],
            delimited(1000, b"\xff"),
            vec![0xc5, 0x3e, 1, 2, 3, 4],
        ]
        .concat();
        let subscribe = delimited(5, &[unknown.clone(), delimited(1, b"x")].concat());
        node.bytes(client, &frame(wire::BINARY, &command(&[unknown, subscribe].concat())));
        node.hear(client, &[r#"{"id":1,"subscribe":{}}"#]);
    });
}

#[test]
fn filters_may_be_nested_as_deep_as_they_are_taken() {
    with_a_witness(|node, _| {
        let client = node.guest("a");
        for levels in [20, 50] {
            node.bytes(client, &frame(wire::BINARY, &nested(levels)));
            node.hear(client, &[r#"{"id":1,"error":{"code":107,"message":"bad request"}}"#]);
        }
    });
}

#[test]
fn the_kind_of_message_does_not_matter() {
    with_a_witness(|node, _| {
        let client = node.guest("a");
        let bytes = commands(r#"{"id":1,"unsubscribe":{"channel":"x"}}"#);
        node.bytes(client, &frame(wire::TEXT, &bytes));
        node.hear(client, &[r#"{"id":1,"unsubscribe":{}}"#]);
    });
}

/// Messages with random changes. What they mean nobody knows; the witness must not notice but by
/// publications.
#[test]
fn random_changes_are_commands_or_ends() {
    let good = [
        r#"{"id":1,"subscribe":{"channel":"rec:a","recover":true,"epoch":"e",
            "offset":7,"flag":1}}"#,
        r#"{"id":2,"subscribe":{"channel":"tags:a","tf":{"op":"and",
            "nodes":[{"key":"k","cmp":"in","vals":["v","w"]}]}}}"#,
        r#"{"id":3,"history":{"channel":"hist:a","limit":-1,
            "since":{"offset":3,"epoch":"e"},"reverse":true}}"#,
        r#"{"id":4,"publish":{"channel":"x","data":{"a":[1,2,3]}}}"#,
        r#"{"id":5,"presence":{"channel":"pres:a"}}"#,
        r#"{"id":6,"sub_refresh":{"channel":"a","token":"a.b.c"}}"#,
    ];
    let bytes: Vec<_> = good.iter().map(|line| commands(&joined(line))).collect();
    with_a_witness(|node, _| {
        let mut random = 0x9e37_79b9_7f4a_7c15_u64;
        let mut next = move |below: usize| {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            usize::try_from(random % below as u64).unwrap()
        };
        let mut client = node.guest("a");
        for _ in 0..1000 {
            let mut message = bytes[next(bytes.len())].clone();
            for _ in 0..=next(3) {
                let at = next(message.len());
                match next(3) {
                    0 => message[at] = u8::try_from(next(256)).unwrap(),
                    1 => message[at] ^= 1 << next(8),
                    _ => message.truncate(at.max(1)),
                }
            }
            node.bytes(client, &frame(wire::BINARY, &message));
            let heard = node.listen(client);
            assert!(!heard.is_empty(), "neither answered nor closed: {message:?}");
            if heard.last().unwrap()["close"].is_number() {
                node.drop_client(client);
                client = node.guest("a");
            }
        }
    });
}
