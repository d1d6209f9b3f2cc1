//! The backend API: what a call asks, and how it is spelled (specification, section 18). HTTP
//! itself, and the key, are the shell's.

mod decode;
mod encode;

pub use decode::{DecodeError, decode};
pub(crate) use encode::{Answer, NodeCounts, append_answer};

use std::sync::Arc;

use uuid::Uuid;

use crate::fault::{Disconnect, Refusal};
use crate::protocol::Publish;

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

/// How the answer of a call is wrapped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shape {
    /// `{"result":…}` or `{"error":…}`.
    Single,
    /// `{"replies":[…]}`, each under the name of its method.
    Batch,
}

/// One thing to do.
#[derive(Debug)]
pub(crate) enum Operation {
    /// It was refused while it was read.
    Refused(Refusal),
    Publish(Publish),
    /// The same into each of several topics.
    Broadcast(Vec<Publish>),
    /// Something that concerns every shard.
    Ask(Arc<Query>),
}

impl Operation {
    /// Whether its answer grows with what the node holds.
    fn is_survey(&self) -> bool {
        let Self::Ask(query) = self else {
            return false;
        };
        matches!(query.as_ref(), Query::Info | Query::Topics { .. })
    }
}

/// A question or an order to every shard.
#[derive(Debug)]
pub(crate) enum Query {
    Info,
    /// Topics with subscribers whose name matches the glob; `None` = all.
    Topics {
        pattern: Option<String>,
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
            Self::Disconnect { .. } => "disconnect",
            Self::Unsubscribe { .. } => "unsubscribe",
        }
    }
}
