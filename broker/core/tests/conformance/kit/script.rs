//! Dialogues written once and spoken in JSON and in Protobuf: what is said and what must be heard
//! stand there as JSON.
//!
//! `"<name>"` in it stands for a value. What is heard gives it one where it has none, so an epoch
//! or an id need not be known before; after that it must be the same, and may be said. `"<_>"` is
//! anything. A close frame is heard as `{"close":code,"reason":"…"}`, the end of a socket as
//! `{"end":true}`. Commands stand on a line each; where one needs several, all but the first of
//! them are indented.

use fanwire_core::Adapter;
use fanwire_core::config::Settings;
use serde_json::{Value, json};

use super::protobuf::{self, Payloads};
use super::tokens;
use super::{Client, Frame, Node, frame};
use crate::wire;

/// Runs a dialogue in both encodings on nodes of 1, 2 and 8 shards.
pub(crate) fn in_both(settings: &Settings, dialogue: impl Fn(&mut Node)) {
    on(&[1, 2, 8], settings, dialogue);
}

/// The same on nodes of several shards, whose lanes can be held.
pub(crate) fn across(settings: &Settings, dialogue: impl Fn(&mut Node)) {
    on(&[2, 8], settings, dialogue);
}

fn on(counts: &[u16], settings: &Settings, dialogue: impl Fn(&mut Node)) {
    for adapter in [Adapter::CentrifugoJson, Adapter::CentrifugoProtobuf] {
        for &count in counts {
            let mut node = Node::new(count, settings.clone());
            node.adapter = adapter;
            node.set_wall_clock(tokens::START * 1000);
            node.set_keys(tokens::keys());
            dialogue(&mut node);
        }
    }
}

/// Commands with those of several lines on one each.
pub(crate) fn joined(commands: &str) -> String {
    let lines = commands.split('\n').map(|line| {
        let continued = line.trim_start_matches(' ');
        if continued.len() < line.len() { continued.to_owned() } else { format!("\n{line}") }
    });
    lines.collect::<String>().split_off(1)
}

impl Node {
    /// A new session without a token; `<name>` is its id from now on.
    pub(crate) fn guest(&mut self, name: &str) -> Client {
        self.enter(name, "{}")
    }

    /// A new session of a user.
    pub(crate) fn user(&mut self, name: &str, user: &str) -> Client {
        self.enter(name, &format!(r#"{{"token":"{}"}}"#, tokens::token_of(user, "")))
    }

    /// A new session by this connect.
    pub(crate) fn enter(&mut self, name: &str, connect: &str) -> Client {
        let client = self.open();
        self.say(client, &format!(r#"{{"id":1,"connect":{connect}}}"#));
        let heard = self.listen(client);
        let [reply] = heard.as_slice() else { panic!("{connect}: {heard:?}") };
        let id = &reply["connect"]["client"];
        assert!(id.is_string(), "{connect}: {reply}");
        self.names.insert(name.to_owned(), id.clone());
        client
    }

    /// Sends commands, one per line, in one message.
    pub(crate) fn say(&mut self, client: Client, commands: &str) {
        let commands = self.with_names(&joined(commands));
        match self.adapters[&client.0] {
            Adapter::CentrifugoJson => self.send(client, &commands),
            _ => {
                self.bytes(client, &frame(wire::BINARY, &protobuf::commands(&commands)));
            }
        }
    }

    /// Sends commands and expects exactly these messages.
    pub(crate) fn ask_for(&mut self, client: Client, commands: &str, expected: &[&str]) {
        self.say(client, commands);
        self.hear_after(client, expected, commands);
    }

    /// Expects exactly these messages since the last time.
    pub(crate) fn hear(&mut self, client: Client, expected: &[&str]) {
        self.hear_after(client, expected, "");
    }

    /// Expects an error in answer to a command.
    pub(crate) fn refused(&mut self, client: Client, command: &str, code: u32, message: &str) {
        let temporary = if matches!(code, 100 | 111) { r#","temporary":true"# } else { "" };
        let error = format!(r#"{{"code":{code},"message":"{message}"{temporary}}}"#);
        let reply = format!(r#"{{"id":9,"error":{error}}}"#);
        self.ask_for(client, &format!(r#"{{"id":9,{command}}}"#), &[&reply]);
    }

    /// Expects the connection to end by this close frame.
    pub(crate) fn closed(&mut self, client: Client, code: u16, reason: &str) {
        let close = format!(r#"{{"close":{code},"reason":"{reason}"}}"#);
        self.hear_after(client, &[&close], "close");
    }

    /// Calls the API and expects this answer.
    pub(crate) fn calls(&mut self, method: &str, body: &str, expected: &str) {
        self.turn = (self.turn + 1) % self.shard_count();
        let answer = self.call(self.turn, method, &self.with_names(body));
        let found: Value = serde_json::from_str(&answer).unwrap();
        let expected: Value = serde_json::from_str(expected).unwrap();
        if !self.matches(&expected, &found) {
            panic!("{method} {body}\nexpected {expected}\nfound    {found}");
        }
    }

    /// Publishes by the API, whatever is answered.
    pub(crate) fn publish(&mut self, topic: &str, data: &str) {
        let body = format!(r#"{{"channel":"{topic}","data":{data}}}"#);
        self.calls("publish", &body, r#"{"result":"<_>"}"#);
    }

    /// What a client has heard since the last time.
    pub(crate) fn listen(&mut self, client: Client) -> Vec<Value> {
        self.listen_as(client, Payloads::AsJson)
    }

    /// The same with payloads as they were sent: text in JSON, bytes in Protobuf.
    pub(crate) fn listen_raw(&mut self, client: Client) -> Vec<Value> {
        self.listen_as(client, Payloads::AsBytes)
    }

    fn listen_as(&mut self, client: Client, payloads: Payloads) -> Vec<Value> {
        let mut heard = Vec::new();
        for frame in self.take(client) {
            match frame {
                Frame::Text(text) => {
                    assert!(!text.contains('\n'), "a line break within a message: {text}");
                    heard.push(serde_json::from_str(&text).unwrap());
                }
                Frame::Binary(bytes) => heard.extend(protobuf::replies(&bytes, payloads)),
                Frame::Close(code, reason) => {
                    heard.push(json!({ "close": code, "reason": reason }));
                }
                Frame::End => heard.push(json!({ "end": true })),
                other => panic!("{other:?} in a dialogue"),
            }
        }
        heard
    }

    fn hear_after(&mut self, client: Client, expected: &[&str], said: &str) {
        let found = self.listen(client);
        let expected: Vec<Value> =
            expected.iter().map(|text| serde_json::from_str(text).unwrap()).collect();
        let mut matching = found.len() == expected.len();
        for (expected, found) in expected.iter().zip(&found) {
            matching &= self.matches(expected, found);
        }
        if !matching {
            let lines = |values: &[Value]| {
                values.iter().map(|value| format!("\n  {value}")).collect::<String>()
            };
            panic!(
                "{:?} on {} shards, after {said}\nexpected{}\nheard{}\nnames {:?}",
                self.adapters[&client.0],
                self.shard_count(),
                lines(&expected),
                lines(&found),
                self.names
            );
        }
    }

    /// The value that a name stands for, as text.
    pub(crate) fn name(&self, name: &str) -> String {
        self.names[name].as_str().unwrap().to_owned()
    }

    fn with_names(&self, text: &str) -> String {
        self.names.iter().fold(text.to_owned(), |text, (name, value)| {
            text.replace(&format!("\"<{name}>\""), &value.to_string())
        })
    }

    fn matches(&mut self, expected: &Value, found: &Value) -> bool {
        match (expected, found) {
            (Value::String(text), found) if text.starts_with('<') && text.ends_with('>') => {
                let name = &text[1..text.len() - 1];
                name == "_" || *self.names.entry(name.to_owned()).or_insert(found.clone()) == *found
            }
            (Value::Array(expected), Value::Array(found)) => {
                expected.len() == found.len()
                    && expected.iter().zip(found).all(|(one, other)| self.matches(one, other))
            }
            (Value::Object(expected), Value::Object(found)) => {
                expected.len() == found.len()
                    && expected.iter().all(|(key, value)| {
                        let known = key.strip_prefix('<').and_then(|key| key.strip_suffix('>'));
                        let known = known.and_then(|name| self.names.get(name));
                        let key = known.and_then(Value::as_str).unwrap_or(key).to_owned();
                        found.get(&key).is_some_and(|found| self.matches(value, found))
                    })
            }
            _ => expected == found,
        }
    }
}
