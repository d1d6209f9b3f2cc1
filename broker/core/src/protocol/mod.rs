//! Wire protocols. An adapter turns messages of its protocol into [`Command`]s and spells
//! [`Reply`]s and [`Push`]es in it. It knows no shard, session or socket.
//!
//! What an encoding makes of a push is a function of the encoding, never of the connection: that is
//! why one encoding serves all subscribers of a shard.

mod centrifugo;
mod command;
mod filter;
mod publication;
mod reply;

use crate::websocket::{Data, OpCode};

pub(crate) use command::{Command, Connect, Overrides, Range, Request, Subscribe, Wish};
pub(crate) use filter::FilterNode;
pub(crate) use publication::{
    ClientInfo, Draft, Epoch, Form, Once, Payload, Position, Publication, Publish, Published, Since,
};
pub(crate) use reply::{Connected, Push, Recovery, Reply, Subscribed};

/// The wire protocol of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Adapter {
    /// The Centrifugo client protocol in its JSON form.
    CentrifugoJson,
    /// The same in its Protobuf form.
    CentrifugoProtobuf,
    /// No protocol: every message is answered by itself. For tests of the framing.
    Echo,
}

/// How pushes and replies are spelled. Connections of one encoding share their frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Encoding {
    /// JSON of the Centrifugo client protocol, in text messages.
    CentrifugoJson,
    /// Protobuf of the same, in binary messages.
    CentrifugoProtobuf,
}

/// How the server's pings look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PingStyle {
    /// An empty message of the protocol, answered by one.
    Messages,
    /// WebSocket ping frames (`cf_ws_frame_ping_pong=true`).
    Frames,
}

impl Adapter {
    /// The encoding of what is sent over this adapter.
    pub(crate) const fn encoding(self) -> Encoding {
        match self {
            // To an echo nothing is sent that has an encoding.
            Self::CentrifugoJson | Self::Echo => Encoding::CentrifugoJson,
            Self::CentrifugoProtobuf => Encoding::CentrifugoProtobuf,
        }
    }

    /// A payload that came over this adapter.
    pub(crate) fn payload(self, bytes: &[u8]) -> Payload {
        match self {
            Self::CentrifugoJson => Payload::json(bytes),
            Self::CentrifugoProtobuf | Self::Echo => Payload::detect(bytes),
        }
    }

    /// Takes the next request from the front of a message; `None` = there is no more. After an
    /// error there is nothing more.
    pub(crate) fn next<'a>(
        self,
        message: &mut Option<&'a [u8]>,
    ) -> Option<Result<Request<'a>, Malformed>> {
        match self {
            // What an echo gets is not decoded.
            Self::CentrifugoJson | Self::Echo => centrifugo::json::next(message),
            Self::CentrifugoProtobuf => centrifugo::protobuf::next(message),
        }
    }
}

/// A message that is no message of the protocol; the text says how. It is answered by close 3501.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Malformed(pub(crate) &'static str);

impl Encoding {
    /// How many there are, for tables with an entry each.
    pub(crate) const COUNT: usize = 2;

    /// The kind of WebSocket message that carries it.
    pub(crate) const fn opcode(self) -> OpCode {
        match self {
            Self::CentrifugoJson => OpCode::Data(Data::Text),
            Self::CentrifugoProtobuf => OpCode::Data(Data::Binary),
        }
    }

    /// Appends a reply to the command `id`.
    pub(crate) fn append_reply(self, out: &mut Vec<u8>, id: u32, reply: &Reply<'_>) {
        match self {
            Self::CentrifugoJson => centrifugo::json::append_reply(out, id, reply),
            Self::CentrifugoProtobuf => centrifugo::protobuf::append_reply(out, id, reply),
        }
    }

    /// Appends a push.
    pub(crate) fn append_push(self, out: &mut Vec<u8>, push: &Push<'_>) {
        match self {
            Self::CentrifugoJson => centrifugo::json::append_push(out, push),
            Self::CentrifugoProtobuf => centrifugo::protobuf::append_push(out, push),
        }
    }
}
