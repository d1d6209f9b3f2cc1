//! One subscriber: from the first byte of the upgrade to the last delivery, without ever waiting.

use std::io::{self, Write};

use mio::net::TcpStream;

use crate::client::frames::{self, FrameEvent};
use crate::client::inbox::{Inbox, Received};
use crate::client::protocol::{self, CONNECT_ID, PING, SUBSCRIBE_ID, ServerMessage};
use crate::client::tally::Tally;
use crate::client::upgrade::Upgrade;
use crate::clock::now_ns;
use crate::error::ClientError;
use crate::payload::StampReader;
use crate::sequence::SequenceWindow;

/// What all connections of a process use together.
#[derive(Debug)]
pub(crate) struct Shared {
    /// The handshake.
    pub(crate) upgrade: Upgrade,
    /// Names of the topics: this, followed by their index.
    pub(crate) topic_prefix: String,
    /// Finds the stamps.
    pub(crate) stamps: StampReader,
    /// What has been seen.
    pub(crate) tally: Tally,
    /// The server's version, once a reply to connect has told it.
    pub(crate) server_version: String,
    /// The one read buffer.
    pub(crate) scratch: Vec<u8>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Waiting for TCP.
    Connecting,
    /// Waiting for the answer to the upgrade.
    Upgrading,
    /// Waiting for the answers to connect and subscribe.
    Joining,
    /// Subscribed.
    Live,
}

/// One subscriber's connection.
#[derive(Debug)]
pub(crate) struct Connection {
    stream: TcpStream,
    inbox: Inbox,
    fragments: Vec<u8>,
    state: State,
}

/// What changes while the connection's bytes are being walked.
#[derive(Debug)]
struct State {
    phase: Phase,
    topic: u32,
    window: SequenceWindow,
    /// What the kernel has not taken yet; empty nearly always.
    outgoing: Vec<u8>,
}

impl Connection {
    /// A subscriber to be of `topic` on a stream that is still connecting.
    pub(crate) fn new(stream: TcpStream, topic: u32) -> Self {
        let state = State {
            phase: Phase::Connecting,
            topic,
            window: SequenceWindow::default(),
            outgoing: Vec::new(),
        };
        Self { stream, inbox: Inbox::default(), fragments: Vec::new(), state }
    }

    /// The stream, to register it.
    pub(crate) fn stream(&mut self) -> &mut TcpStream {
        &mut self.stream
    }

    /// Whether the subscription stands.
    pub(crate) fn is_live(&self) -> bool {
        self.state.phase == Phase::Live
    }

    /// Does all that can be done now. Readiness is edge-triggered, so everything is read.
    ///
    /// # Errors
    /// Whatever makes the connection useless; drop it then.
    pub(crate) fn on_ready(&mut self, shared: &mut Shared) -> Result<(), ClientError> {
        if self.state.phase == Phase::Connecting {
            if !self.is_connected()? {
                return Ok(());
            }
            self.state.outgoing.extend_from_slice(shared.upgrade.request());
            self.state.phase = Phase::Upgrading;
        }
        self.flush()?;
        loop {
            match self.receive(shared)? {
                Received::Drained | Received::Nothing => break,
                Received::More => {}
                Received::End => return Err(ClientError::Closed { code: None }),
            }
        }
        self.flush()
    }

    fn is_connected(&mut self) -> Result<bool, ClientError> {
        if let Some(error) = self.stream.take_error()? {
            return Err(error.into());
        }
        match self.stream.peer_addr() {
            Ok(_) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::NotConnected => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    fn receive(&mut self, shared: &mut Shared) -> Result<Received, ClientError> {
        let Self { stream, inbox, fragments, state } = self;
        let Shared { upgrade, topic_prefix, stamps, tally, server_version, scratch } = shared;
        inbox.receive(stream, scratch, |bytes| {
            let arrived_ns = now_ns();
            let mut start = 0;
            if state.phase == Phase::Upgrading {
                let Some(length) = upgrade.response(bytes)? else { return Ok(0) };
                let topic = format!("{topic_prefix}{}", state.topic);
                protocol::append_join(&topic, &mut state.outgoing);
                state.phase = Phase::Joining;
                start = length;
            }
            let frames = bytes.get(start..).unwrap_or_default();
            let walked = frames::walk(frames, fragments, |event| match event {
                FrameEvent::Message(message) => match stamps.read(message) {
                    Some(stamp) => {
                        tally.delivery(stamp, state.topic, &mut state.window, arrived_ns);
                        Ok(())
                    }
                    None => state.on_message(message, tally, server_version),
                },
                FrameEvent::Ping(body) => {
                    frames::append_pong(body, &mut state.outgoing);
                    Ok(())
                }
                FrameEvent::Close(code) => Err(ClientError::Closed { code }),
            })?;
            Ok(start + walked)
        })
    }

    fn flush(&mut self) -> Result<(), ClientError> {
        let outgoing = &mut self.state.outgoing;
        while !outgoing.is_empty() {
            match self.stream.write(outgoing) {
                Ok(0) => return Err(ClientError::Closed { code: None }),
                Ok(count) if count == outgoing.len() => *outgoing = Vec::new(),
                Ok(count) => drop(outgoing.drain(..count)),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }
}

impl State {
    /// A message that carries no stamp: a ping, a reply, or a push that does not matter.
    fn on_message(
        &mut self,
        message: &[u8],
        tally: &mut Tally,
        server_version: &mut String,
    ) -> Result<(), ClientError> {
        if message == PING {
            tally.ping();
            frames::append_text(PING, &mut self.outgoing);
            return Ok(());
        }
        let reply = ServerMessage::parse(message)?;
        match reply.id {
            CONNECT_ID => {
                let result = reply.accepted("connect")?.connect;
                if let Some(connect) = result.filter(|_| server_version.is_empty()) {
                    *server_version = connect.version;
                }
            }
            SUBSCRIBE_ID => {
                let result = reply.accepted("subscribe")?.subscribe;
                result.ok_or(ClientError::Malformed { what: "reply to subscribe" })?;
                self.phase = Phase::Live;
            }
            _ => {}
        }
        Ok(())
    }
}
