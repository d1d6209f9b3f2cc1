//! Payloads: what is taken arrives as it was, what cannot be sent on is refused, and nobody else is
//! the worse for either.

use base64::Engine as _;
use fanwire_core::api;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::kit::{Client, Frame, Node, fragment, frame, open_settings, with_shards};
use crate::wire;

/// Brackets of a payload that is nested as deeply as a message can hold.
const DEPTH: usize = 30_000;

/// JSON in form, but not UTF-8.
const NOT_UTF8: [(&str, &[u8]); 8] = [
    ("a byte that never occurs", b"\"\xff\""),
    ("a continuation alone", b"\"\x80\""),
    ("a sequence cut short", b"\"\xe2\x82\""),
    ("a sequence that is too long", b"\"\xc0\xaf\""),
    ("a surrogate", b"\"\xed\xa0\x80\""),
    ("in a key", b"{\"\xff\":1}"),
    ("deep inside", b"[[{\"a\":\"b\xfe\"}]]"),
    ("outside strings", b"[1,\xff]"),
];

/// Everything JSON allows, though a parser may stumble over it.
const ODD: [&str; 14] = [
    "null",
    r#""""#,
    r#""\u00e9\n\t\"\\\/\u0000""#,
    r#""\ud83e\udd80""#,
    r#""\ud800""#,
    r#"["\udc00\ud800",{"\udfff":1}]"#,
    "1e999",
    "[-1e-999,-0,1.0E+2,0.1e1]",
    "123456789012345678901234567890.5",
    r#"{"a":1,"a":2,"":{"a":1,"a":[]},"a":3}"#,
    "{ \"spaces\" :\t[ 1 , 2 ] }",
    "\"\u{7f}\u{85}\u{2028}\u{feff}\u{ffff}\u{10ffff}\"",
    r#""}}\n{\"push\":{}}""#,
    r#""</script>""#,
];

#[derive(Deserialize)]
struct Line<'a> {
    #[serde(borrow)]
    push: Push<'a>,
}

#[derive(Deserialize)]
struct Push<'a> {
    #[serde(borrow, rename = "pub")]
    publication: Publication<'a>,
}

#[derive(Deserialize)]
struct Publication<'a> {
    #[serde(borrow)]
    data: &'a RawValue,
}

/// A publish of a client, with the data as it is.
fn publish(data: &[u8]) -> Vec<u8> {
    [br#"{"id":3,"publish":{"channel":"t","data":"#, data, b"}}"].concat()
}

/// The same data as every call takes it.
fn calls(data: &[u8]) -> [(&'static str, Vec<u8>); 4] {
    let base64 = base64::engine::general_purpose::STANDARD.encode(data);
    let single = [br#"{"channel":"t","data":"#, data, b"}"].concat();
    [
        ("batch", [br#"{"commands":[{"publish":"#, single.as_slice(), b"}]}"].concat()),
        ("publish", single),
        ("broadcast", [br#"{"channels":["t"],"data":"#, data, b"}"].concat()),
        ("publish", format!(r#"{{"channel":"t","b64data":"{base64}"}}"#).into_bytes()),
    ]
}

/// A client that hears what is published here.
fn subscriber(node: &mut Node) -> Client {
    let client = node.connect();
    node.send(client, r#"{"id":2,"subscribe":{"channel":"t"}}"#);
    node.take(client);
    client
}

/// The data of what a client has heard.
fn heard(node: &mut Node, client: Client) -> Vec<String> {
    let data = |text: &String| {
        let line: Line<'_> = serde_json::from_str(text).expect("the push is JSON");
        line.push.publication.data.get().to_owned()
    };
    node.texts(client).iter().map(data).collect()
}

/// The client still hears what others publish.
fn check_alive(node: &mut Node, client: Client) {
    node.call(0, "publish", r#"{"channel":"t","data":"alive"}"#);
    assert_eq!(heard(node, client), [r#""alive""#]);
}

#[test]
fn what_is_not_utf8_ends_its_client_and_reaches_nobody() {
    with_shards(&open_settings(), |node| {
        let subscriber = subscriber(node);
        for (name, data) in NOT_UTF8 {
            let message = publish(data);
            let (head, tail) = message.split_at(message.len() - 4);
            let pieces = [fragment(wire::BINARY, head), frame(wire::CONTINUATION, tail)].concat();
            for bytes in [frame(wire::BINARY, &message), pieces] {
                let client = node.connect();
                node.bytes(client, &bytes);
                let close = Frame::Close(Some(3501), "bad request".to_owned());
                assert_eq!(node.take(client), [close], "{name}");
                assert!(node.take(subscriber).is_empty(), "{name}");
            }
        }
        check_alive(node, subscriber);
    });
}

#[test]
fn what_is_not_utf8_is_no_call() {
    with_shards(&open_settings(), |node| {
        let subscriber = subscriber(node);
        for (name, data) in NOT_UTF8 {
            let [batch, single, broadcast, base64] = calls(data);
            for (method, body) in [batch, single, broadcast] {
                assert!(
                    api::decode(method, &body, api::ErrorMode::InBody).is_err(),
                    "{method}: {name}"
                );
            }
            assert!(node.take(subscriber).is_empty(), "{name}");
            // In base64 they are bytes like others.
            let (method, body) = base64;
            let answer = node.call(0, method, std::str::from_utf8(&body).unwrap());
            assert_eq!(answer, r#"{"result":{}}"#, "{name}");
            let base64 = base64::engine::general_purpose::STANDARD.encode(data);
            assert_eq!(heard(node, subscriber), [format!(r#"{{"b64data":"{base64}"}}"#)]);
        }
    });
}

#[test]
fn odd_data_arrives_unchanged() {
    with_shards(&open_settings(), |node| {
        let subscriber = subscriber(node);
        let client = node.connect();
        for data in ODD {
            for opcode in [wire::TEXT, wire::BINARY] {
                node.bytes(client, &frame(opcode, &publish(data.as_bytes())));
                assert_eq!(node.texts(client), [r#"{"id":3,"publish":{}}"#], "{data}");
                assert_eq!(heard(node, subscriber), [data]);
            }
            for (method, body) in calls(data.as_bytes()) {
                let answer = node.call(0, method, std::str::from_utf8(&body).unwrap());
                assert!(!answer.contains("error"), "{method} {data}: {answer}");
                assert_eq!(heard(node, subscriber), [data], "{method}");
            }
        }
    });
}

#[test]
fn line_breaks_between_values_are_all_that_is_lost() {
    with_shards(&open_settings(), |node| {
        let subscriber = subscriber(node);
        for (method, body) in calls(b"{\r\n  \"a\\n\":\n[1,\r2]\n}") {
            node.call(0, method, std::str::from_utf8(&body).unwrap());
            assert_eq!(heard(node, subscriber), [r#"{  "a\n":[1,2]}"#], "{method}");
        }
        let client = node.connect();
        node.bytes(client, &frame(wire::TEXT, &publish(b"[1,\r2]")));
        assert_eq!(heard(node, subscriber), ["[1,2]"]);
    });
}

/// Whether the broker takes such data is its own affair.
#[test]
fn deeply_nested_data_arrives_unchanged_or_not_at_all() {
    let arrays = "[".repeat(DEPTH) + &"]".repeat(DEPTH);
    let objects = r#"{"":"#.repeat(DEPTH / 3) + "1" + &"}".repeat(DEPTH / 3);
    with_shards(&open_settings(), |node| {
        let subscriber = subscriber(node);
        for data in [&arrays, &objects] {
            let client = node.connect();
            node.bytes(client, &frame(wire::TEXT, &publish(data.as_bytes())));
            let reply = Frame::Text(r#"{"id":3,"publish":{}}"#.to_owned());
            let taken = node.take(client) == [reply];
            check_whole_or_nothing(node, subscriber, taken, data);
            for (method, body) in calls(data.as_bytes()) {
                let body = std::str::from_utf8(&body).unwrap();
                let taken = api::decode(method, body.as_bytes(), api::ErrorMode::InBody).is_ok()
                    && !node.call(0, method, body).contains("error");
                check_whole_or_nothing(node, subscriber, taken, data);
            }
        }
        let unclosed = publish(&"[".repeat(2 * DEPTH).into_bytes());
        let client = node.connect();
        node.bytes(client, &frame(wire::TEXT, &unclosed));
        let close = Frame::Close(Some(3501), "bad request".to_owned());
        assert_eq!(node.take(client), [close]);
        check_alive(node, subscriber);
    });
}

fn check_whole_or_nothing(node: &mut Node, subscriber: Client, taken: bool, data: &str) {
    let heard = heard(node, subscriber);
    let expected = if taken { vec![data] } else { vec![] };
    assert!(heard == expected, "{} of {} bytes, taken: {taken}", heard.len(), data.len());
    check_alive(node, subscriber);
}
