//! What holds for both encodings: the same command means the same in either, and whatever comes is
//! read without a panic.

use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;
use rand::{RngExt as _, SeedableRng as _};
use serde_json::{Map, Value, json};

use super::wire;
use crate::protocol::{Adapter, Malformed, Request};

const TEXTS: [&str; 8] = ["", "a", "news:1", "fossil", "\"\\\n\t", "grün", "日本🦀", "eq"];
const NUMBERS: [i128; 9] = [0, 0, 1, 2, 7, 300, -1, i32::MAX as i128, i64::MAX as i128];

/// A message in both encodings, field by field.
struct Twin<'r> {
    random: &'r mut StdRng,
    json: Map<String, Value>,
    protobuf: Vec<Vec<u8>>,
}

impl<'r> Twin<'r> {
    fn new(random: &'r mut StdRng) -> Self {
        Self { random, json: Map::new(), protobuf: Vec::new() }
    }

    /// A field. In JSON the absence of a value has three spellings, in Protobuf two.
    fn field(&mut self, name: &str, value: Value, absent: bool, protobuf: Vec<u8>) {
        let value = if absent && self.random.random() { Value::Null } else { value };
        if !absent || self.random.random() {
            self.json.insert(name.to_owned(), value);
        }
        if !absent || self.random.random() {
            self.protobuf.push(protobuf);
        }
    }

    fn text(&mut self, name: &str, number: u64) {
        let text = *TEXTS.choose(self.random).unwrap();
        self.field(name, json!(text), text.is_empty(), wire::text(number, text));
    }

    fn number(&mut self, name: &str, number: u64, range: std::ops::RangeInclusive<i128>) {
        let value = *NUMBERS.choose(self.random).unwrap();
        if range.contains(&value) {
            let json: Value = serde_json::from_str(&value.to_string()).unwrap();
            self.field(name, json, value == 0, wire::number(number, value));
        }
    }

    fn truth(&mut self, name: &str, number: u64) {
        let truth: bool = self.random.random();
        self.field(name, json!(truth), !truth, wire::number(number, i128::from(truth)));
    }

    fn data(&mut self, number: u64) {
        if self.random.random() {
            let data = *["1", "null", r#"{"a":[1,"x"]}"#, r#""grün""#].choose(self.random).unwrap();
            self.json.insert("data".to_owned(), serde_json::from_str(data).unwrap());
            self.protobuf.push(wire::text(number, data));
        }
    }

    fn object(&mut self, name: &str, number: u64, fill: impl FnOnce(&mut Twin<'_>)) {
        let mut inner = Twin::new(self.random);
        fill(&mut inner);
        let (json, protobuf) = (inner.json, inner.protobuf);
        self.json.insert(name.to_owned(), Value::Object(json));
        self.protobuf.push(wire::message(number, &protobuf));
    }

    fn positions(&mut self) {
        self.truth("recover", 3);
        self.text("epoch", 6);
        self.number("offset", 7, 0..=i128::from(u64::MAX));
        self.text("delta", 12);
    }

    fn subs(&mut self) {
        let mut json = Map::new();
        for _ in 0..self.random.random_range(0..3) {
            let topic = *TEXTS.choose(self.random).unwrap();
            let mut wish = Twin::new(self.random);
            wish.positions();
            let entry = [wire::text(1, topic), wire::message(2, &wish.protobuf)];
            json.insert(topic.to_owned(), Value::Object(wish.json));
            self.protobuf.push(wire::message(3, &entry));
        }
        self.json.insert("subs".to_owned(), Value::Object(json));
    }

    fn subscribe(&mut self) {
        self.text("channel", 1);
        self.text("token", 2);
        self.positions();
        self.truth("positioned", 9);
        self.truth("recoverable", 10);
        self.truth("join_leave", 11);
        if self.random.random() {
            self.object("tf", 13, |node| node.filter(0));
        }
        self.number("flag", 14, i128::from(i64::MIN)..=i128::from(i64::MAX));
        self.number("type", 15, i128::from(i32::MIN)..=i128::from(i32::MAX));
    }

    fn filter(&mut self, depth: u32) {
        self.text("op", 1);
        self.text("key", 2);
        self.text("cmp", 3);
        self.text("val", 4);
        let vals: Vec<&str> =
            (0..self.random.random_range(0..3)).map(|index| TEXTS[index]).collect();
        self.protobuf.extend(vals.iter().map(|val| wire::text(5, val)));
        self.json.insert("vals".to_owned(), json!(vals));
        let mut nodes = Vec::new();
        while depth < 4 && self.random.random() {
            let mut node = Twin::new(self.random);
            node.filter(depth + 1);
            let protobuf = wire::message(6, &node.protobuf);
            nodes.push(Value::Object(node.json));
            self.protobuf.push(protobuf);
        }
        self.json.insert("nodes".to_owned(), json!(nodes));
    }

    fn history(&mut self) {
        self.text("channel", 1);
        self.number("limit", 7, i128::from(i32::MIN)..=i128::from(i32::MAX));
        if self.random.random() {
            self.object("since", 8, |since| {
                since.number("offset", 1, 0..=i128::from(u64::MAX));
                since.text("epoch", 2);
            });
        }
        self.truth("reverse", 9);
    }

    /// A method; several of them in one command now and then.
    fn method(&mut self) {
        match self.random.random_range(0..12) {
            0 => self.object("connect", 4, |request| {
                request.text("token", 1);
                request.data(2);
                request.subs();
                request.text("name", 4);
            }),
            1 => self.object("subscribe", 5, |request| request.subscribe()),
            2 => self.object("unsubscribe", 6, |request| request.text("channel", 1)),
            3 => self.object("publish", 7, |request| {
                request.text("channel", 1);
                request.data(2);
                request.number("type", 3, 0..=4);
            }),
            4 => self.object("presence", 8, |request| request.text("channel", 1)),
            5 => self.object("presence_stats", 9, |request| request.text("channel", 1)),
            6 => self.object("history", 10, |request| request.history()),
            7 => self.object("ping", 11, |_| {}),
            8 => self.object("send", 12, |request| request.data(1)),
            9 => self.object("rpc", 13, |request| {
                request.data(1);
                request.text("method", 2);
            }),
            10 => self.object("refresh", 14, |request| request.text("token", 1)),
            _ => self.object("sub_refresh", 15, |request| {
                request.text("channel", 1);
                request.text("token", 2);
            }),
        }
    }
}

/// A message of up to three commands, in JSON and in Protobuf.
fn message(random: &mut StdRng) -> (Vec<u8>, Vec<u8>) {
    let (mut json, mut protobuf) = (Vec::new(), Vec::new());
    for _ in 0..random.random_range(1..=3) {
        let mut twin = Twin::new(random);
        twin.number("id", 1, 0..=i128::from(u32::MAX));
        twin.method();
        if twin.random.random_ratio(1, 4) {
            let mut other = Twin::new(twin.random);
            other.method();
            // The same method twice is something else in either encoding.
            if !other.json.keys().any(|method| twin.json.contains_key(method)) {
                twin.json.extend(other.json);
                twin.protobuf.extend(other.protobuf);
            }
        }
        json.push(serde_json::to_vec(&twin.json).unwrap());
        protobuf.extend(wire::framed(&twin.protobuf));
    }
    (json.join(&b'\n'), protobuf)
}

/// All requests of a message, up to the first that is none.
fn decode(adapter: Adapter, message: &[u8]) -> Vec<Result<Request<'_>, Malformed>> {
    let mut rest = Some(message);
    let mut found = Vec::new();
    while let Some(request) = adapter.next(&mut rest) {
        let over = request.is_err();
        found.push(request);
        assert!(found.len() <= message.len().max(1), "no progress");
        assert!(!over || rest.is_none(), "something is left after an error");
    }
    found
}

#[test]
fn a_command_means_the_same_in_both_encodings() {
    let mut random = StdRng::seed_from_u64(1);
    let mut understood = 0;
    for _ in 0..4000 {
        let (json, protobuf) = message(&mut random);
        let mut found = decode(Adapter::CentrifugoJson, &json);
        let mut expected = decode(Adapter::CentrifugoProtobuf, &protobuf);
        // Why it is none is told in the words of the encoding.
        for request in found.iter_mut().chain(&mut expected) {
            *request = std::mem::replace(request, Err(Malformed(""))).map_err(|_| Malformed(""));
        }
        assert_eq!(found, expected, "{}", String::from_utf8_lossy(&json));
        understood += found.iter().filter(|request| request.is_ok()).count();
    }
    assert!(understood > 3000, "{understood}");
}

#[test]
fn whatever_comes_is_read_without_a_panic() {
    let mut random = StdRng::seed_from_u64(2);
    for _ in 0..4000 {
        let (json, protobuf) = message(&mut random);
        for (adapter, mut message) in
            [(Adapter::CentrifugoJson, json), (Adapter::CentrifugoProtobuf, protobuf)]
        {
            for _ in 0..random.random_range(1..8) {
                mutate(&mut random, &mut message);
                decode(adapter, &message);
            }
        }
        let noise: Vec<u8> = (0..random.random_range(0..64)).map(|_| random.random()).collect();
        decode(Adapter::CentrifugoJson, &noise);
        decode(Adapter::CentrifugoProtobuf, &noise);
    }
}

fn mutate(random: &mut StdRng, message: &mut Vec<u8>) {
    if message.is_empty() {
        return;
    }
    let index = random.random_range(0..message.len());
    match random.random_range(0..5) {
        0 => message[index] = random.random(),
        1 => message[index] ^= 1 << random.random_range(0..8),
        2 => message.insert(index, random.random()),
        3 => {
            message.remove(index);
        }
        _ => message.truncate(index),
    }
}
