//! What carries a dialect's messages on one connection: WebSocket frames or the bare stream. Used
//! by the subscribers and by the publisher alike; pings of either layer are answered here.

use tungstenite::protocol::frame::coding::{Data, OpCode};

use crate::client::frames::{self, FrameEvent};
use crate::client::target::Transport;
use crate::dialect::{Dialect, Event, OnEvent};
use crate::error::ClientError;

/// The carrying state of one connection.
#[derive(Debug, Default)]
pub(crate) struct Line {
    /// A WebSocket message whose last fragment has not come yet.
    fragments: Vec<u8>,
    /// A message of the dialect that a WebSocket frame ended in the middle of (MQTT may).
    partial: Vec<u8>,
}

/// How messages are wrapped; the same for all connections of a run.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wrapping {
    transport: Transport,
    opcode: OpCode,
}

impl Wrapping {
    /// The wrapping of `dialect` over `transport`.
    pub(crate) fn new(transport: Transport, dialect: &dyn Dialect) -> Self {
        let data = if dialect.opening().is_binary { Data::Binary } else { Data::Text };
        Self { transport, opcode: OpCode::Data(data) }
    }

    /// Whether the connection begins with an upgrade.
    pub(crate) fn is_websocket(&self) -> bool {
        self.transport == Transport::WebSocket
    }

    /// Appends one message, wrapped; nothing when it is empty.
    pub(crate) fn append(&self, message: &[u8], output: &mut Vec<u8>) {
        match self.transport {
            _ if message.is_empty() => {}
            Transport::WebSocket => frames::append_frame(self.opcode, message, output),
            Transport::Tcp => output.extend_from_slice(message),
        }
    }
}

impl Line {
    /// Walks what the server sent and returns how many bytes are done with. Answers to pings are
    /// appended to `outgoing`.
    ///
    /// # Errors
    /// `Malformed`, `Closed`, and what `on_event` says.
    pub(crate) fn walk(
        &mut self,
        bytes: &[u8],
        wrapping: &Wrapping,
        dialect: &dyn Dialect,
        outgoing: &mut Vec<u8>,
        on_event: &mut OnEvent<'_>,
    ) -> Result<usize, ClientError> {
        if !wrapping.is_websocket() {
            return dialect.walk(bytes, &mut answering(wrapping, dialect, outgoing, on_event));
        }
        let Self { fragments, partial } = self;
        frames::walk(bytes, fragments, |frame| match frame {
            FrameEvent::Data(data) => {
                let on_event = &mut answering(wrapping, dialect, outgoing, on_event);
                walk_data(data, partial, dialect, on_event)
            }
            FrameEvent::Ping(body) => {
                frames::append_pong(body, outgoing);
                Ok(())
            }
            FrameEvent::Close(code) => Err(ClientError::Closed { code }),
        })
    }
}

/// Walks one frame's payload together with what the one before has left.
fn walk_data(
    data: &[u8],
    partial: &mut Vec<u8>,
    dialect: &dyn Dialect,
    on_event: &mut OnEvent<'_>,
) -> Result<(), ClientError> {
    if partial.is_empty() {
        let walked = dialect.walk(data, on_event)?;
        partial.extend_from_slice(data.get(walked..).unwrap_or_default());
    } else {
        partial.extend_from_slice(data);
        let walked = dialect.walk(partial, on_event)?;
        *partial = partial.get(walked..).unwrap_or_default().to_vec();
    }
    Ok(())
}

/// `on_event`, with every ping answered before it.
fn answering<'a>(
    wrapping: &'a Wrapping,
    dialect: &'a dyn Dialect,
    outgoing: &'a mut Vec<u8>,
    on_event: &'a mut OnEvent<'_>,
) -> impl FnMut(Event<'_>) -> Result<(), ClientError> + 'a {
    move |event| {
        if let Event::Ping(body) = &event {
            let mut pong = Vec::new();
            dialect.append_pong(body, &mut pong);
            wrapping.append(&pong, outgoing);
        }
        on_event(event)
    }
}
