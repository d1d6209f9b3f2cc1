//! What goes over the wire (specification, sections 3 and 5): commands out, replies in, one
//! JSON object per line. Payloads stay the text they are.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

/// The empty object: a ping of the broker, and the pong that answers it.
pub(super) const PING: &str = "{}";

/// Id of the connect command; commands after it count on.
pub(super) const CONNECT_ID: u32 = 1;

/// A command with the method that is set.
#[derive(Debug, Default, Serialize)]
pub(super) struct Command<'a> {
    pub(super) id: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) connect: Option<Connect<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) subscribe: Option<Subscribe<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) publish: Option<Publish<'a>>,
}

#[derive(Debug, Serialize)]
pub(super) struct Connect<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    token: Option<&'a str>,
    name: &'a str,
    version: &'a str,
    /// Positions of the topics that the token brings.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    subs: BTreeMap<&'a str, Subscribe<'a>>,
}

/// A subscription to be made; also, in the connect command, the position in one that the token
/// brings.
#[derive(Debug, Default, Serialize)]
pub(super) struct Subscribe<'a> {
    pub(super) channel: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) token: Option<&'a str>,
    /// Asks for positions where the topic leaves that to its subscribers.
    #[serde(skip_serializing_if = "is_default")]
    pub(super) recoverable: bool,
    /// Asks for what came after this epoch and offset.
    #[serde(skip_serializing_if = "is_default")]
    pub(super) recover: bool,
    #[serde(skip_serializing_if = "is_default")]
    pub(super) epoch: &'a str,
    #[serde(skip_serializing_if = "is_default")]
    pub(super) offset: u64,
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// A publication to be made; the body of `/api/publish` too.
#[derive(Debug, Serialize)]
pub(super) struct Publish<'a> {
    pub(super) channel: &'a str,
    pub(super) data: &'a RawValue,
}

/// A reply, or a push when `push` is there, or a ping when nothing is.
#[derive(Debug, Deserialize)]
pub(super) struct Reply<'a> {
    #[serde(default)]
    pub(super) id: u32,
    pub(super) error: Option<WireError>,
    #[serde(borrow)]
    pub(super) connect: Option<Connected<'a>>,
    #[serde(borrow)]
    pub(super) subscribe: Option<Subscribed<'a>>,
    #[serde(borrow)]
    pub(super) push: Option<&'a RawValue>,
}

/// Why a command was refused.
#[derive(Debug, Deserialize)]
pub(super) struct WireError {
    pub(super) code: u32,
    #[serde(default)]
    pub(super) message: String,
}

/// The result of the connect command.
#[derive(Debug, Deserialize)]
pub(super) struct Connected<'a> {
    /// Seconds between two pings; 0 = no pings.
    #[serde(default)]
    pub(super) ping: u32,
    /// The subscriptions that the token brings, by topic.
    #[serde(borrow, default)]
    pub(super) subs: BTreeMap<String, Subscribed<'a>>,
}

/// A subscription as the broker granted it.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Subscribed<'a> {
    pub(super) recoverable: bool,
    pub(super) epoch: String,
    /// Position before `publications`.
    pub(super) offset: u64,
    /// Whether the broker tried to recover, and whether it could.
    pub(super) was_recovering: bool,
    pub(super) recovered: bool,
    /// What was recovered, oldest first.
    #[serde(borrow)]
    pub(super) publications: Vec<&'a RawValue>,
}

/// What the broker says unasked.
#[derive(Debug, Deserialize)]
pub(super) struct Push<'a> {
    #[serde(default)]
    pub(super) channel: String,
    #[serde(borrow, rename = "pub")]
    pub(super) publication: Option<Publication<'a>>,
    pub(super) unsubscribe: Option<Unsubscribe>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Publication<'a> {
    #[serde(borrow)]
    pub(super) data: Option<&'a RawValue>,
    /// Place in the topic's history; 0 = outside it.
    #[serde(default)]
    pub(super) offset: u64,
    /// Only with the first of a history.
    #[serde(default)]
    pub(super) epoch: String,
}

/// A recovered publication in the form of a push.
#[derive(Debug, Serialize)]
pub(super) struct RecoveredPush<'a> {
    pub(super) channel: &'a str,
    #[serde(rename = "pub")]
    pub(super) publication: &'a RawValue,
}

/// The broker ended a subscription.
#[derive(Debug, Deserialize)]
pub(super) struct Unsubscribe {
    #[serde(default)]
    pub(super) code: u32,
    #[serde(default)]
    pub(super) reason: String,
}

impl<'a> Command<'a> {
    /// The command that every connection begins with.
    pub(super) fn connect(token: Option<&'a str>, subs: BTreeMap<&'a str, Subscribe<'a>>) -> Self {
        let version = env!("CARGO_PKG_VERSION");
        let connect = Connect { token, name: "fanwire", version, subs };
        Self { id: CONNECT_ID, connect: Some(connect), ..Self::default() }
    }

    /// Its line, without the line's end.
    pub(super) fn line(&self) -> Result<String, serde_json::Error> {
        serde_json::to_string(self)
    }
}

/// The data of a publication as JSON on one line: what is JSON stays as it is, anything else
/// becomes a JSON string.
pub(super) fn json_of(data: &str) -> Result<Box<RawValue>, serde_json::Error> {
    match serde_json::from_str::<&RawValue>(data) {
        // A line break ends a command. In JSON it can stand only where a space may.
        Ok(json) => RawValue::from_string(json.get().replace(['\n', '\r'], " ")),
        Err(_) => serde_json::value::to_raw_value(data),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_stays_as_it_is_on_one_line() {
        let json = |data| json_of(data).unwrap().get().to_owned();
        assert_eq!(json(r#"{"b":1, "a":1.0}"#), r#"{"b":1, "a":1.0}"#);
        assert_eq!(json("[1,\r\n2]\n"), "[1,  2]");
        assert_eq!(json("12"), "12");
    }

    #[test]
    fn text_becomes_a_json_string() {
        let json = |data| json_of(data).unwrap().get().to_owned();
        assert_eq!(json("hello \"you\"\n"), r#""hello \"you\"\n""#);
        assert_eq!(json(""), r#""""#);
        assert_eq!(json("{broken"), r#""{broken""#);
    }

    #[test]
    fn commands_have_only_what_is_set() {
        let subscribe = Some(Subscribe { channel: "news", ..Subscribe::default() });
        let command = Command { id: 2, subscribe, ..Command::default() };
        assert_eq!(command.line().unwrap(), r#"{"id":2,"subscribe":{"channel":"news"}}"#);
    }
}
