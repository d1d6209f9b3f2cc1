//! The backend API: what a call asks, and how it is spelled (specification, section 18). HTTP
//! itself, and the key, are the shell's.

mod decode;
mod encode;
mod lines;
mod methods;

pub use decode::{DecodeError, decode, decode_lines};
pub(crate) use encode::{Answer, NodeCounts, append_answer};
pub use lines::PublishLines;

use std::sync::Arc;

use uuid::Uuid;

use crate::fault::{Disconnect, Refusal};
use crate::protocol::{Overrides, Payload, Publish, Range, Since};

/// One call, whole and valid in form.
#[derive(Debug)]
pub struct Call {
    /// What to do, in this order.
    pub(crate) operations: Vec<Operation>,
    /// How the answer is wrapped.
    pub(crate) shape: Shape,
    /// The operations need not wait for one another.
    pub(crate) parallel: bool,
}

/// Where a caller wants to read that its call was refused.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ErrorMode {
    /// In the body of an answer with status 200.
    #[default]
    InBody,
    /// In the HTTP status.
    InStatus,
}

/// How the answer of a call is wrapped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Shape {
    /// `{"result":…}` or `{"error":…}`.
    Single(ErrorMode),
    /// `{"replies":[…]}`, each under the name of its method.
    Batch,
    /// A line as of [`Shape::Single`] for each operation, with its id if it has one.
    Lines(Vec<Option<u64>>),
    /// A line as of [`Shape::Single`] for each operation, each with its end.
    Feed,
}

/// One thing to do.
#[derive(Debug)]
pub(crate) enum Operation {
    /// It was refused while it was read.
    Refused(Refusal),
    Publish(Publish),
    /// The same into each of several topics.
    Broadcast(Vec<Publish>),
    /// Something that the owner of a topic knows.
    OfTopic {
        topic: Arc<str>,
        query: TopicQuery,
    },
    /// Something that concerns every shard.
    Ask(Arc<Query>),
}

impl Operation {
    /// Whether its answer grows with what the node holds.
    fn is_survey(&self) -> bool {
        match self {
            Self::Ask(query) => matches!(query.as_ref(), Query::Info | Query::Topics { .. }),
            Self::OfTopic { query: TopicQuery::History(range), .. } => range.limit != 0,
            Self::OfTopic { query, .. } => matches!(query, TopicQuery::Presence),
            Self::Refused(_) | Self::Publish(_) | Self::Broadcast(_) => false,
        }
    }
}

/// A question or an order to the owner of a topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum TopicQuery {
    /// Who is subscribed.
    Presence,
    /// How many are subscribed.
    PresenceStats,
    /// What was published.
    History(Range),
    /// Forget what was published; the position stays.
    HistoryRemove,
}

/// A question or an order to every shard.
#[derive(Debug)]
pub(crate) enum Query {
    Info,
    /// Topics with subscribers whose name matches the glob; `None` = all.
    Topics {
        pattern: Option<String>,
    },
    Subscribe(Box<ServerSubscribe>),
    Refresh {
        who: Who,
        /// Their connections end now.
        expired: bool,
        /// When their connections end, in Unix seconds; `None` = not any more.
        expire_at: Option<u64>,
        /// What others see of them from now on; `None` = what they saw.
        info: Option<Payload>,
    },
    Disconnect {
        who: Who,
        spared: Vec<Uuid>,
        disconnect: Disconnect,
    },
    Unsubscribe {
        who: Who,
        topic: String,
    },
}

/// A subscription that a backend makes for its clients.
#[derive(Debug)]
pub(crate) struct ServerSubscribe {
    pub(crate) who: Who,
    pub(crate) topic: Arc<str>,
    /// What others in the topic see of them.
    pub(crate) info: Option<Payload>,
    /// What they are told when it begins.
    pub(crate) data: Option<Payload>,
    /// When it ends, in Unix seconds; `None` = never.
    pub(crate) expire_at: Option<u64>,
    /// What was published since then comes with it.
    pub(crate) recover_since: Option<Since>,
    pub(crate) overrides: Overrides,
}

/// Which sessions are meant: those that match everything here.
#[derive(Debug)]
pub(crate) struct Who {
    /// The user; empty = the anonymous ones.
    pub(crate) user: String,
    /// One connection.
    pub(crate) client: Client,
}

/// Which connections are meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Client {
    Any,
    One(Uuid),
    /// An id was given that is none, so it names nobody.
    Nobody,
}

impl Query {
    /// The API method that it comes from.
    pub(crate) const fn method(&self) -> &'static str {
        match self {
            Self::Info => "info",
            Self::Topics { .. } => "channels",
            Self::Subscribe(_) => "subscribe",
            Self::Refresh { .. } => "refresh",
            Self::Disconnect { .. } => "disconnect",
            Self::Unsubscribe { .. } => "unsubscribe",
        }
    }
}
