//! Messages of the client protocol between JSON and Protobuf, by a table: the numbers of the
//! specification, section 5, and nothing of the broker's own codec. A dialogue is written once, in
//! JSON, and runs in both.
//!
//! Payloads are JSON in JSON and bytes in Protobuf: bytes that are no JSON read `{"b64data":"…"}`,
//! as the broker tells them to JSON clients, and `{"<bytes>":"…"}` (base64) is how a dialogue says
//! bytes that need not be JSON.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};

/// Key of an object that stands for bytes.
pub(crate) const BYTES: &str = "<bytes>";

/// Field number of what the specification does not know.
const UNKNOWN: u64 = 1000;

/// `number name type`; `*` = repeated, `map` = from texts, `!` = in JSON even if zero (section 1).
const SCHEMA: &str = "
Command: 1 id uint; 4 connect ConnectRequest; 5 subscribe SubscribeRequest; 6 unsubscribe OfTopic;
    7 publish PublishRequest; 8 presence OfTopic; 9 presence_stats OfTopic;
    10 history HistoryRequest; 11 ping Empty; 12 send Data; 13 rpc RpcRequest;
    14 refresh RefreshRequest; 15 sub_refresh SubRefreshRequest
Reply: 1 id uint; 2 error Error; 4 push Push; 5 connect ConnectResult; 6 subscribe SubscribeResult;
    7 unsubscribe Empty; 8 publish Empty; 9 presence PresenceResult; 10 presence_stats StatsResult;
    11 history HistoryResult; 12 ping Empty; 13 rpc Data; 14 refresh RefreshResult;
    15 sub_refresh Expiry
Error: 1 code uint; 2 message text; 3 temporary bool
Push: 2 channel text; 4 pub Publication; 5 join Member; 6 leave Member; 7 unsubscribe Unsubscribe;
    8 message Data; 9 subscribe Subscribe; 11 disconnect Unknown; 12 refresh Expiry
ClientInfo: 1 user text !; 2 client text !; 3 conn_info bytes; 4 chan_info bytes
Publication: 4 data bytes; 5 info ClientInfo; 6 offset uint; 7 tags map text; 8 delta bool;
    14 epoch text
Member: 1 info ClientInfo
Data: 1 data bytes
Unsubscribe: 2 code uint; 3 reason text
Subscribe: 1 recoverable bool; 4 epoch text; 5 offset uint; 6 positioned bool; 7 data bytes
ConnectRequest: 1 token text; 2 data bytes; 3 subs map SubscribeRequest; 4 name text;
    5 version text; 6 headers map text
ConnectResult: 1 client text; 2 version text; 3 expires bool; 4 ttl uint; 5 data bytes;
    6 subs map SubscribeResult; 7 ping uint; 8 pong bool; 9 session text; 10 node text; 11 time int
RefreshRequest: 1 token text
RefreshResult: 1 client text; 2 version text; 3 expires bool; 4 ttl uint
Expiry: 1 expires bool; 2 ttl uint
SubscribeRequest: 1 channel text; 2 token text; 3 recover bool; 6 epoch text; 7 offset uint;
    8 data bytes; 9 positioned bool; 10 recoverable bool; 11 join_leave bool; 12 delta text;
    13 tf FilterNode; 14 flag int; 15 type int; 16 phase int; 17 cursor text;
    18 limit int; 19 asc bool
SubscribeResult: 1 expires bool; 2 ttl uint; 3 recoverable bool; 6 epoch text;
    7 publications * Publication; 8 recovered bool; 9 offset uint; 10 positioned bool;
    11 data bytes; 12 was_recovering bool; 13 delta bool
SubRefreshRequest: 1 channel text; 2 token text
PublishRequest: 1 channel text; 2 data bytes; 3 type int
OfTopic: 1 channel text
PresenceResult: 1 presence map ClientInfo !
StatsResult: 1 num_clients uint !; 2 num_users uint !
StreamPosition: 1 offset uint; 2 epoch text
HistoryRequest: 1 channel text; 7 limit int; 8 since StreamPosition; 9 reverse bool
HistoryResult: 1 publications * Publication !; 2 epoch text !; 3 offset uint !
RpcRequest: 1 data bytes; 2 method text
FilterNode: 1 op text; 2 key text; 3 cmp text; 4 val text; 5 vals * text; 6 nodes * FilterNode
Empty:
Unknown:
";

#[derive(Clone, Copy, PartialEq)]
enum Shape {
    One,
    Many,
    Map,
}

struct Field {
    number: u64,
    name: &'static str,
    kind: &'static str,
    shape: Shape,
    always: bool,
}

static TABLE: LazyLock<BTreeMap<&'static str, Vec<Field>>> = LazyLock::new(|| {
    let mut table = BTreeMap::new();
    let mut fields: &mut Vec<Field> = table.entry("").or_default();
    for line in SCHEMA.lines().filter(|line| !line.is_empty()) {
        let line = match line.split_once(':') {
            Some((name, rest)) => {
                fields = table.entry(name).or_default();
                rest
            }
            None => line,
        };
        fields.extend(line.split(';').filter(|text| !text.trim().is_empty()).map(field));
    }
    table
});

fn field(text: &'static str) -> Field {
    let mut words: Vec<_> = text.split_whitespace().collect();
    let always = words.pop_if(|last| *last == "!").is_some();
    let shape = match words[2] {
        "*" => Shape::Many,
        "map" => Shape::Map,
        _ => Shape::One,
    };
    let kind = words[words.len() - 1];
    Field { number: words[0].parse().unwrap(), name: words[1], kind, shape, always }
}

/// A varint, seven bits per byte, the lowest first.
pub(crate) fn varint(mut number: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    while number >= 0x80 {
        bytes.push(number as u8 | 0x80);
        number >>= 7;
    }
    bytes.push(number as u8);
    bytes
}

/// A field of bytes behind its number and length.
pub(crate) fn delimited(number: u64, bytes: &[u8]) -> Vec<u8> {
    [&varint(number << 3 | 2), &varint(bytes.len() as u64), bytes].concat()
}

/// Commands, one per line of JSON, as one message of the transport.
pub(crate) fn commands(lines: &str) -> Vec<u8> {
    let command = |line: &str| {
        let command: Value = serde_json::from_str(line).expect("a command in JSON");
        let bytes = message("Command", &command);
        [varint(bytes.len() as u64), bytes].concat()
    };
    lines.lines().flat_map(command).collect()
}

fn message(kind: &str, value: &Value) -> Vec<u8> {
    let fields = &TABLE[kind];
    let value = value.as_object().unwrap_or_else(|| panic!("{kind} is an object, not {value}"));
    let mut out = Vec::new();
    for (name, value) in value {
        let Some(field) = fields.iter().find(|field| field.name == name) else {
            out.extend(delimited(UNKNOWN, value.to_string().as_bytes()));
            continue;
        };
        match (field.shape, value) {
            (_, Value::Null) if field.kind != "bytes" => {}
            (Shape::One, value) => out.extend(spelled(field.kind, field.number, value)),
            (Shape::Many, value) => {
                let values = value.as_array().expect("a list").iter();
                out.extend(values.flat_map(|value| spelled(field.kind, field.number, value)));
            }
            (Shape::Map, value) => {
                for (key, value) in value.as_object().expect("a map") {
                    let entry = [delimited(1, key.as_bytes()), spelled(field.kind, 2, value)];
                    out.extend(delimited(field.number, &entry.concat()));
                }
            }
        }
    }
    out
}

fn spelled(kind: &str, number: u64, value: &Value) -> Vec<u8> {
    let integer = |integer: u64| [varint(number << 3), varint(integer)].concat();
    match kind {
        "uint" => integer(value.as_u64().expect("a number")),
        "int" => integer(value.as_i64().expect("a number") as u64),
        "bool" => integer(u64::from(value.as_bool().expect("a truth"))),
        "text" => delimited(number, value.as_str().expect("a text").as_bytes()),
        "bytes" => match value.get(BYTES) {
            Some(bytes) => delimited(number, &STANDARD.decode(bytes.as_str().unwrap()).unwrap()),
            None => delimited(number, value.to_string().as_bytes()),
        },
        kind => delimited(number, &message(kind, value)),
    }
}

/// What bytes are told as.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Payloads {
    /// The JSON that they are.
    AsJson,
    /// Under [`BYTES`].
    AsBytes,
}

/// The replies in one message of the transport.
pub(crate) fn replies(mut bytes: &[u8], payloads: Payloads) -> Vec<Value> {
    let mut found = Vec::new();
    while !bytes.is_empty() {
        let length = read_varint(&mut bytes);
        found.push(parsed("Reply", take(&mut bytes, length), payloads));
    }
    found
}

fn read_varint(bytes: &mut &[u8]) -> u64 {
    let mut number = 0;
    for shift in (0..64).step_by(7) {
        let (byte, rest) = bytes.split_first().expect("a number goes on");
        *bytes = rest;
        number |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return number;
        }
    }
    panic!("a number without end")
}

fn take<'a>(bytes: &mut &'a [u8], count: u64) -> &'a [u8] {
    let (taken, rest) = bytes.split_at(usize::try_from(count).unwrap());
    *bytes = rest;
    taken
}

fn parsed(kind: &str, mut bytes: &[u8], payloads: Payloads) -> Value {
    let fields = &TABLE[kind];
    let mut object = Map::new();
    while !bytes.is_empty() {
        let key = read_varint(&mut bytes);
        let field = fields.iter().find(|field| field.number == key >> 3);
        let field = field.unwrap_or_else(|| panic!("{kind} has no field {}", key >> 3));
        let numeric = matches!(field.kind, "uint" | "int" | "bool") && field.shape != Shape::Map;
        assert_eq!(key & 7, if numeric { 0 } else { 2 }, "type of {kind}.{}", field.name);
        let value = if numeric {
            number(field.kind, read_varint(&mut bytes))
        } else {
            let length = read_varint(&mut bytes);
            let bytes = take(&mut bytes, length);
            match field.shape {
                Shape::Map => {
                    let (key, value) = entry(field.kind, bytes, payloads);
                    let map = object.entry(field.name).or_insert_with(|| json!({}));
                    let before = map.as_object_mut().unwrap().insert(key, value);
                    assert!(before.is_none(), "a key of {kind}.{} twice", field.name);
                    continue;
                }
                _ => content(field.kind, bytes, payloads),
            }
        };
        if field.shape == Shape::Many {
            let list = object.entry(field.name).or_insert_with(|| json!([]));
            list.as_array_mut().unwrap().push(value);
            continue;
        }
        let empty = if field.kind == "bytes" { json!({ BYTES: "" }) } else { json!("") };
        let zero = value == empty || numeric && [json!(0), json!(false)].contains(&value);
        assert!(!zero, "{kind}.{} is zero and there", field.name);
        assert!(object.insert(field.name.to_owned(), value).is_none(), "{} twice", field.name);
    }
    for field in fields.iter().filter(|field| field.always) {
        let zero = match (field.shape, field.kind) {
            (Shape::Map, _) => json!({}),
            (Shape::Many, _) => json!([]),
            (_, "uint") => json!(0),
            _ => json!(""),
        };
        object.entry(field.name).or_insert(zero);
    }
    Value::Object(object)
}

fn number(kind: &str, number: u64) -> Value {
    match kind {
        "uint" => json!(number),
        "int" => json!(number as i64),
        _ => json!(number != 0),
    }
}

fn entry(kind: &str, mut bytes: &[u8], payloads: Payloads) -> (String, Value) {
    let empty = if kind == "text" { json!("") } else { json!({}) };
    let mut entry = (String::new(), empty);
    while !bytes.is_empty() {
        let key = read_varint(&mut bytes);
        let length = read_varint(&mut bytes);
        let content_bytes = take(&mut bytes, length);
        match key {
            0x0a => entry.0 = content("text", content_bytes, payloads).as_str().unwrap().to_owned(),
            0x12 => entry.1 = content(kind, content_bytes, payloads),
            other => panic!("{other} in an entry of a map"),
        }
    }
    entry
}

fn content(kind: &str, bytes: &[u8], payloads: Payloads) -> Value {
    match kind {
        "text" => json!(std::str::from_utf8(bytes).expect("text is UTF-8")),
        "bytes" if payloads == Payloads::AsBytes => json!({ BYTES: STANDARD.encode(bytes) }),
        "bytes" => serde_json::from_slice(bytes)
            .unwrap_or_else(|_| json!({ "b64data": STANDARD.encode(bytes) })),
        kind => parsed(kind, bytes, payloads),
    }
}

#[test]
fn the_table_says_what_was_written_out_by_hand_once() {
    // Unsubscribe 1 from "a", as bytes.
    let bytes = [0x07, 0x08, 0x01, 0x32, 0x03, 0x0a, 0x01, b'a'];
    let mut sent = commands(r#"{"id":1,"unsubscribe":{"channel":"a"}}"#);
    sent.sort_unstable();
    let mut expected = bytes.to_vec();
    expected.sort_unstable();
    assert_eq!(sent, expected, "the fields may stand in any order");
    // Reply 1: error 100 "x", temporary.
    let bytes = [11, 0x08, 1, 0x12, 7, 0x08, 100, 0x12, 1, b'x', 0x18, 1];
    assert_eq!(
        replies(&bytes, Payloads::AsJson),
        [json!({"id": 1, "error": {"code": 100, "message": "x", "temporary": true}})]
    );
    // A push into "a" with the data `1` and offset 2.
    let bytes = [14, 0x22, 12, 0x12, 1, b'a', 0x22, 7, 0x22, 1, b'1', 0x30, 2, 0x40, 1];
    assert_eq!(
        replies(&bytes, Payloads::AsJson),
        [json!({"push": {"channel": "a", "pub": {"data": 1, "offset": 2, "delta": true}}})]
    );
    assert_eq!(replies(&[0], Payloads::AsJson), [json!({})]);
}
