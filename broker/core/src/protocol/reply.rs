//! What the broker answers, and what it sends unasked.

use std::sync::Arc;

use uuid::Uuid;

use super::publication::{ClientInfo, Form, Payload, Position, Publication};
use crate::fault::Refusal;

/// The answer to one command.
#[derive(Debug)]
pub(crate) enum Reply<'a> {
    /// It was refused.
    Refused(Refusal),
    /// The connection is a session.
    Connected(&'a Connected<'a>),
    /// Subscribed.
    Subscribed(&'a Subscribed),
    /// Not subscribed any more.
    Unsubscribed,
    /// Published.
    Published,
    /// Who is subscribed.
    Presence(&'a [Arc<ClientInfo>]),
    /// How many are subscribed.
    PresenceStats {
        /// Connections.
        clients: u32,
        /// Users, all anonymous clients being one.
        users: u32,
    },
    /// What was published, and the place of the last of all.
    History {
        /// In the order that was asked for.
        publications: &'a [Arc<Publication>],
        /// The topic's position.
        position: Position,
    },
    /// A call with nothing to tell.
    Called,
    /// The connection's token is renewed; seconds until the next one is due, `None` = never.
    Refreshed(Option<u32>),
    /// The same for a subscription's token.
    SubRefreshed(Option<u32>),
}

/// What a session is told when it begins.
#[derive(Debug)]
pub(crate) struct Connected<'a> {
    /// Its id.
    pub(crate) client: Uuid,
    /// Version of the server.
    pub(crate) version: &'a str,
    /// Seconds until its token must be renewed; `None` = never.
    pub(crate) ttl_seconds: Option<u32>,
    /// Seconds between two pings that the client must answer; `None` = no such pings.
    pub(crate) ping_seconds: Option<u32>,
    /// The server's clock, Unix milliseconds, where it is told.
    pub(crate) time_ms: Option<u64>,
    /// Its server-side subscriptions.
    pub(crate) subs: &'a [(Arc<str>, Subscribed)],
}

/// What a subscriber is told when its subscription begins.
#[derive(Debug, Default)]
pub(crate) struct Subscribed {
    /// Seconds until its token must be renewed; `None` = never, or not by the client.
    pub(crate) ttl_seconds: Option<u32>,
    /// Its position is watched over.
    pub(crate) positioned: bool,
    /// It can recover later.
    pub(crate) recoverable: bool,
    /// It gets deltas.
    pub(crate) delta: bool,
    /// The position that it starts at, where it is positioned: after a recovery the one it named.
    pub(crate) position: Option<Position>,
    /// What became of the recovery that it asked for.
    pub(crate) recovery: Recovery,
    /// What it missed, in order.
    pub(crate) publications: Vec<(Arc<Publication>, Form)>,
    /// What its token or its backend has for it.
    pub(crate) data: Option<Payload>,
}

/// What became of a recovery.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Recovery {
    /// None was asked for.
    #[default]
    None,
    /// Something is missing.
    Failed,
    /// All is there.
    Done,
}

/// What the broker sends unasked.
#[derive(Debug)]
pub(crate) enum Push<'a> {
    /// An application ping.
    Ping,
    /// A publication of a topic.
    Publication {
        /// The topic.
        topic: &'a str,
        /// What was published.
        publication: &'a Publication,
        /// How its data is spelled.
        form: &'a Form,
    },
    /// Somebody has subscribed to a topic.
    Join {
        /// The topic.
        topic: &'a str,
        /// Who.
        info: &'a ClientInfo,
    },
    /// Somebody is subscribed to a topic no more.
    Leave {
        /// The topic.
        topic: &'a str,
        /// Who.
        info: &'a ClientInfo,
    },
    /// The server subscribed this connection.
    Subscribed {
        /// The topic.
        topic: &'a str,
        /// How; publications that were recovered follow as pushes of their own.
        subscribed: &'a Subscribed,
    },
    /// The subscription was ended by the server.
    Unsubscribed {
        /// The topic.
        topic: &'a str,
        /// Why, as a number (specification, section 8.2).
        code: u32,
        /// For people.
        reason: &'a str,
    },
    /// A backend renewed the connection; seconds until it must be renewed again, `None` = never.
    Refreshed(Option<u32>),
}
