//! What a client asks.

use std::borrow::Cow;

use serde::{Deserialize, Deserializer};

use super::filter::FilterNode;
use super::publication::Since;
use crate::json::or_default;

/// What a client asks. Texts are borrowed from its message where they can be.
#[derive(Debug, PartialEq)]
pub(crate) enum Command<'a> {
    /// The answer to a ping.
    Pong,
    /// Become a session.
    Connect(Connect<'a>),
    /// Hear a topic.
    Subscribe(Box<Subscribe<'a>>),
    /// Hear a topic no more.
    Unsubscribe {
        /// The topic.
        topic: Cow<'a, str>,
    },
    /// Publish into a topic.
    Publish {
        /// The topic.
        topic: Cow<'a, str>,
        /// The payload as it came; `None` = absent.
        data: Option<Cow<'a, [u8]>>,
        /// Into a topic of the plain kind, not a map.
        stream: bool,
    },
    /// Who is subscribed.
    Presence {
        /// The topic.
        topic: Cow<'a, str>,
    },
    /// How many are subscribed.
    PresenceStats {
        /// The topic.
        topic: Cow<'a, str>,
    },
    /// What was published.
    History {
        /// The topic.
        topic: Cow<'a, str>,
        /// How much of it.
        range: Range,
    },
    /// A call of the backend.
    Rpc {
        /// Its name.
        method: Cow<'a, str>,
    },
    /// A message to the backend without an answer.
    Send,
    /// A new connection token.
    Refresh {
        /// The token; empty = none.
        token: Cow<'a, str>,
    },
    /// A new subscription token.
    SubRefresh {
        /// The topic.
        topic: Cow<'a, str>,
        /// The token; empty = none.
        token: Cow<'a, str>,
    },
}

/// A command with the id that its reply will bear.
#[derive(Debug, PartialEq)]
pub(crate) struct Request<'a> {
    /// The client's number; need not be unique. 0 where there is none.
    pub(crate) id: u32,
    /// What is asked.
    pub(crate) command: Command<'a>,
}

/// What a connect says.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Connect<'a> {
    /// The connection token; empty = none.
    pub(crate) token: Cow<'a, str>,
    /// Positions of server-side subscriptions, and wishes for more of them (section 6).
    pub(crate) subs: Vec<Wish<'a>>,
}

/// A topic that a client names in its connect.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Wish<'a> {
    /// The topic.
    pub(crate) topic: Cow<'a, str>,
    /// What was published since then is wanted.
    pub(crate) recover: Option<Since>,
    /// Deltas are welcome (fossil).
    pub(crate) delta: bool,
}

/// What a subscribe asks for.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Subscribe<'a> {
    /// The topic.
    pub(crate) topic: Cow<'a, str>,
    /// The subscription token; empty = none.
    pub(crate) token: Cow<'a, str>,
    /// `type`: 0 = a topic of the plain kind.
    pub(crate) kind: i32,
    /// What was published since then is wanted.
    pub(crate) recover: Option<Since>,
    /// If that cannot be, refuse (112) instead of saying so (flag 2).
    pub(crate) must_recover: bool,
    /// The position shall be watched over.
    pub(crate) positioned: bool,
    /// The client means to recover later.
    pub(crate) recoverable: bool,
    /// Joins and leaves are wanted.
    pub(crate) join_leave: bool,
    /// Deltas are welcome (fossil).
    pub(crate) delta: bool,
    /// Only publications whose tags match are wanted.
    pub(crate) filter: Option<FilterNode>,
}

/// How much of a topic's history is wanted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Range {
    /// At most so many publications; negative = all, 0 = only the position.
    pub(crate) limit: i32,
    /// After this position; before it if `reverse`.
    pub(crate) since: Option<Since>,
    /// Newest first.
    pub(crate) reverse: bool,
}

/// Options of a topic that a token or a backend decides for one subscription; `None` = as
/// configured. Written as `{"presence": {"value": true}}`; `{}` is off.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub(crate) struct Overrides {
    #[serde(deserialize_with = "switch")]
    pub(crate) presence: Option<bool>,
    #[serde(deserialize_with = "switch")]
    pub(crate) join_leave: Option<bool>,
    #[serde(deserialize_with = "switch")]
    pub(crate) force_push_join_leave: Option<bool>,
    #[serde(deserialize_with = "switch")]
    pub(crate) force_positioning: Option<bool>,
    #[serde(deserialize_with = "switch")]
    pub(crate) force_recovery: Option<bool>,
}

fn switch<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<bool>, D::Error> {
    #[derive(Deserialize)]
    struct Switch {
        #[serde(default, deserialize_with = "or_default")]
        value: bool,
    }
    let switch: Option<Switch> = Option::deserialize(deserializer)?;
    Ok(switch.map(|Switch { value }| value))
}
