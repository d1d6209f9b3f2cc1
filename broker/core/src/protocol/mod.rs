//! Wire protocols. An adapter turns messages of its protocol into [`Command`]s and spells
//! [`Reply`]s and [`Push`]es in it. It knows no shard, session or socket.
//!
//! What an encoding makes of a push is a function of the encoding, never of the connection: that is
//! why one encoding serves all subscribers of a shard.

mod centrifugo;
mod filter;

use std::borrow::Cow;
use std::sync::Arc;

use bytes::Bytes;
use uuid::Uuid;

use crate::fault::Refusal;
use crate::websocket::{Data, OpCode};

pub(crate) use filter::FilterNode;

/// The wire protocol of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Adapter {
    /// The Centrifugo client protocol in its JSON form.
    CentrifugoJson,
    /// No protocol: every message is answered by itself. For tests of the framing.
    Echo,
}

/// How pushes and replies are spelled. Connections of one encoding share their frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Encoding {
    /// JSON of the Centrifugo client protocol, in text messages.
    CentrifugoJson,
}

/// How the server's pings look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PingStyle {
    /// An empty message of the protocol, answered by one.
    Messages,
    /// WebSocket ping frames (`cf_ws_frame_ping_pong=true`).
    Frames,
}

/// What a client asks. Texts are borrowed from its message where they can be.
#[derive(Debug, PartialEq)]
pub(crate) enum Command<'a> {
    /// The answer to a ping.
    Pong,
    /// Become a session.
    Connect {
        /// The connection token; empty = none.
        token: Cow<'a, str>,
    },
    /// Hear a topic.
    Subscribe(Subscribe<'a>),
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
        data: Option<&'a [u8]>,
        /// Into a topic of the plain kind, not a map.
        stream: bool,
    },
    /// Who is subscribed; also its counting form.
    Presence {
        /// The topic.
        topic: Cow<'a, str>,
    },
    /// What was published.
    History {
        /// The topic.
        topic: Cow<'a, str>,
    },
    /// A call of the backend.
    Rpc,
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

/// What a subscribe asks for.
#[derive(Debug, PartialEq)]
pub(crate) struct Subscribe<'a> {
    /// The topic.
    pub(crate) topic: Cow<'a, str>,
    /// The subscription token; empty = none.
    pub(crate) token: Cow<'a, str>,
    /// To a topic of the plain kind, not a map.
    pub(crate) stream: bool,
    /// With a filter over tags.
    pub(crate) filtered: bool,
}

/// A command with the id that its reply will bear.
#[derive(Debug, PartialEq)]
pub(crate) struct Request<'a> {
    /// The client's number; need not be unique. 0 where there is none.
    pub(crate) id: u32,
    /// What is asked.
    pub(crate) command: Command<'a>,
}

/// The answer to one command.
#[derive(Debug)]
pub(crate) enum Reply<'a> {
    /// It was refused.
    Refused(Refusal),
    /// The connection is a session.
    Connected {
        /// Its id.
        client: Uuid,
        /// Version of the server.
        version: &'a str,
        /// Seconds between two pings that the client must answer; `None` = no such pings.
        ping_seconds: Option<u32>,
    },
    /// Subscribed.
    Subscribed,
    /// Not subscribed any more.
    Unsubscribed,
    /// Published.
    Published,
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
}

/// Where a publication stands in its topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Position {
    /// Names one unbroken run of offsets; changes whenever continuity cannot be proven.
    pub(crate) epoch: Epoch,
    /// 1 for the first publication of the epoch, then without gaps.
    pub(crate) offset: u64,
}

/// Eight random letters a-z, A-Z.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Epoch(pub(crate) [u8; 8]);

impl Epoch {
    /// As text.
    pub(crate) fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).unwrap_or_default()
    }
}

impl std::fmt::Debug for Epoch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Who published, as subscribers see it.
#[derive(Clone, Debug)]
pub(crate) struct ClientInfo {
    /// The user; empty = anonymous.
    pub(crate) user: Arc<str>,
    /// The connection.
    pub(crate) client: Uuid,
}

/// What a publisher hands in.
#[derive(Clone, Debug)]
pub(crate) struct Draft {
    /// The payload: JSON text without line breaks.
    pub(crate) data: Bytes,
    /// The publishing client; `None` = a backend.
    pub(crate) info: Option<ClientInfo>,
    /// Sorted by key.
    pub(crate) tags: Arc<[(String, String)]>,
    /// Keep it out of the history; it gets no position that anybody sees.
    pub(crate) skip_history: bool,
}

impl Draft {
    /// What it holds in memory, roughly.
    pub(crate) fn bytes(&self) -> usize {
        let tags = self.tags.iter().map(|(key, value)| key.len() + value.len() + 48);
        self.data.len() + tags.sum::<usize>()
    }

    /// The most that an encoding makes of it: in JSON one byte of a tag may become six, and each
    /// has quotes, colon and comma.
    pub(crate) fn encoded_bytes_max(&self) -> usize {
        let tags = self.tags.iter().map(|(key, value)| 6 * (key.len() + value.len()) + 6);
        self.data.len() + tags.sum::<usize>()
    }
}

/// A publication on its way to the owner of its topic.
#[derive(Clone, Debug)]
pub(crate) struct Publish {
    pub(crate) topic: Arc<str>,
    pub(crate) draft: Draft,
}

/// What became of a publish: its position, where that is visible.
pub(crate) type Published = Result<Option<Position>, Refusal>;

/// A message of a topic, in its place.
#[derive(Debug)]
pub(crate) struct Publication {
    /// What was published.
    pub(crate) draft: Draft,
    /// Its place in the topic.
    pub(crate) position: Position,
    /// Whether clients see the position (the topic keeps a history).
    pub(crate) position_visible: bool,
}

impl Publication {
    /// The position, where clients may see it.
    pub(crate) fn visible_position(&self) -> Option<Position> {
        self.position_visible.then_some(self.position)
    }
}

/// Payload text as it travels on: without line breaks, which separate messages (section 1). Inside
/// JSON strings they cannot occur raw.
pub(crate) fn payload(text: &[u8]) -> Bytes {
    if memchr::memchr2(b'\n', b'\r', text).is_none() {
        return Bytes::copy_from_slice(text);
    }
    text.iter().copied().filter(|byte| !matches!(byte, b'\n' | b'\r')).collect()
}

impl Adapter {
    /// The encoding of what is sent over this adapter.
    pub(crate) const fn encoding(self) -> Encoding {
        match self {
            // To an echo nothing is sent that has an encoding.
            Self::CentrifugoJson | Self::Echo => Encoding::CentrifugoJson,
        }
    }

    /// The requests in one message, in order. After an error there is nothing more.
    pub(crate) fn decode<'a>(
        self,
        message: &'a [u8],
    ) -> impl Iterator<Item = Result<Request<'a>, Malformed>> + use<'a> {
        match self {
            // What an echo gets is not decoded.
            Self::CentrifugoJson | Self::Echo => centrifugo::json::decode(message),
        }
    }
}

/// A message that is no message of the protocol; the text says how. It is answered by close 3501.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Malformed(pub(crate) &'static str);

impl Encoding {
    /// How many there are, for tables with an entry each.
    pub(crate) const COUNT: usize = 1;

    /// The kind of WebSocket message that carries it.
    pub(crate) const fn opcode(self) -> OpCode {
        match self {
            Self::CentrifugoJson => OpCode::Data(Data::Text),
        }
    }

    /// Appends a reply to the command `id`.
    pub(crate) fn append_reply(self, out: &mut Vec<u8>, id: u32, reply: &Reply<'_>) {
        match self {
            Self::CentrifugoJson => centrifugo::json::append_reply(out, id, reply),
        }
    }

    /// Appends a push.
    pub(crate) fn append_push(self, out: &mut Vec<u8>, push: &Push<'_>) {
        match self {
            Self::CentrifugoJson => centrifugo::json::append_push(out, push),
        }
    }
}
