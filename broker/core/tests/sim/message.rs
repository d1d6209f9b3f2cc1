//! What the broker sends to clients and answers backends, as they read it.

use std::collections::BTreeMap;

use serde::Deserialize;

/// A reply or a push.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Message<'a> {
    #[serde(default)]
    pub(crate) id: u32,
    pub(crate) error: Option<Refused>,
    pub(crate) connect: Option<Connected>,
    pub(crate) subscribe: Option<Subscribed>,
    pub(crate) unsubscribe: Option<Nothing>,
    pub(crate) publish: Option<Nothing>,
    pub(crate) history: Option<History>,
    pub(crate) presence: Option<Presence>,
    pub(crate) presence_stats: Option<PresenceStats>,
    #[serde(borrow)]
    pub(crate) push: Option<Push<'a>>,
}

/// An error in place of a result.
#[derive(Debug, Deserialize)]
pub(crate) struct Refused {
    pub(crate) code: u64,
}

/// The result of a connect.
#[derive(Debug, Deserialize)]
pub(crate) struct Connected {
    pub(crate) client: String,
    #[serde(default)]
    pub(crate) subs: BTreeMap<String, Subscribed>,
}

/// The result of a subscribe.
#[derive(Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Subscribed {
    pub(crate) recoverable: bool,
    pub(crate) positioned: bool,
    pub(crate) recovered: bool,
    pub(crate) was_recovering: bool,
    pub(crate) epoch: Option<String>,
    pub(crate) offset: u64,
    pub(crate) publications: Vec<Published>,
}

/// A result without content.
#[derive(Debug, Deserialize)]
pub(crate) struct Nothing {}

/// A part of a history.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct History {
    pub(crate) publications: Vec<Published>,
    pub(crate) epoch: String,
    pub(crate) offset: u64,
}

/// Who is subscribed.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Presence {
    pub(crate) presence: BTreeMap<String, Info>,
}

/// How many are subscribed.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct PresenceStats {
    pub(crate) num_clients: u64,
    pub(crate) num_users: u64,
}

/// What comes unasked.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Push<'a> {
    pub(crate) channel: &'a str,
    #[serde(rename = "pub")]
    pub(crate) publication: Option<Published>,
    pub(crate) join: Option<Event>,
    pub(crate) leave: Option<Event>,
    pub(crate) unsubscribe: Option<Unsubscribed>,
}

/// A publication.
#[derive(Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Published {
    pub(crate) data: Data,
    pub(crate) offset: Option<u64>,
    pub(crate) epoch: Option<String>,
    pub(crate) info: Option<Info>,
}

/// The data of every publication here; what else is in it only makes it longer.
#[derive(Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Data {
    pub(crate) n: u64,
    #[serde(default)]
    pub(crate) pad: String,
}

impl Data {
    /// How long its text is: `{"n":1}` or `{"n":1,"pad":"xx"}`.
    pub(crate) fn bytes(&self) -> usize {
        let pad = if self.pad.is_empty() { 0 } else { r#","pad":"""#.len() + self.pad.len() };
        r#"{"n":}"#.len() + self.n.to_string().len() + pad
    }
}

/// Somebody came or went.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Event {
    pub(crate) info: Info,
}

/// A client as others see it.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Info {
    pub(crate) user: String,
    pub(crate) client: String,
}

/// The end of a subscription by a backend.
#[derive(Debug, Deserialize)]
pub(crate) struct Unsubscribed {
    pub(crate) code: u32,
}
