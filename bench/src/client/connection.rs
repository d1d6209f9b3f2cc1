//! One client: its socket, from the first byte of the upgrade to the last delivery, without ever
//! waiting. What it says and understands is `client::dialogue`.

use std::io;
use std::time::Duration;

use mio::net::TcpStream;

use crate::client::behaviour::Manners;
use crate::client::dialogue::{Dialogue, Phase};
use crate::client::inbox::{Inbox, Received};
use crate::client::line::Line;
use crate::client::shared::Shared;
use crate::client::stream::Stream;
use crate::client::tls::Session;
use crate::clock::now_ns;
use crate::dialect::{Event, Topic};
use crate::error::ClientError;

/// One client's connection; it outlives its socket, so that a client can come back.
#[derive(Debug)]
pub(crate) struct Connection {
    stream: Option<Stream<TcpStream>>,
    inbox: Inbox,
    line: Line,
    is_paused: bool,
    /// What is special about this client.
    pub(crate) manners: Manners,
    /// Whether all that it wanted has stood once.
    pub(crate) was_complete: bool,
    /// What it says.
    pub(crate) dialogue: Dialogue,
}

impl Connection {
    /// The client in this slot of the process with this index over all processes, not connected.
    pub(crate) fn new(slot: u32, client: u32, manners: Manners) -> Self {
        Self {
            stream: None,
            inbox: Inbox::default(),
            line: Line::default(),
            is_paused: false,
            manners,
            was_complete: false,
            dialogue: Dialogue::new(slot, client, manners.excuse.is_some()),
        }
    }

    /// Begins with a socket that is still connecting, and with TLS on it if there is a session.
    /// What stood is wanted again.
    pub(crate) fn start(&mut self, socket: TcpStream, session: Option<Session>) {
        self.end();
        self.stream = Some(Stream::new(socket, session));
        self.dialogue.phase = Phase::Connecting;
    }

    /// Drops the socket without a word.
    pub(crate) fn end(&mut self) {
        self.stream = None;
        self.inbox = Inbox::default();
        self.line = Line::default();
        self.is_paused = false;
        self.dialogue.reset();
    }

    /// Drops the socket so that the server is told nothing but that it is gone: a reset.
    pub(crate) fn reset(&mut self) {
        if let Some(stream) = &self.stream {
            // Should the kernel refuse, the connection ends in good order instead.
            let _ = socket2::SockRef::from(stream.socket()).set_linger(Some(Duration::ZERO));
        }
        self.end();
    }

    /// Whether there is a socket.
    pub(crate) fn is_up(&self) -> bool {
        self.stream.is_some()
    }

    /// Reads no more until told otherwise, or goes on reading: call `on_ready` then, since what
    /// has become readable meanwhile is not told again.
    pub(crate) fn set_paused(&mut self, is_paused: bool) {
        self.is_paused = is_paused;
    }

    /// Does all that can be done now. Readiness is edge-triggered, so everything is read.
    ///
    /// # Errors
    /// Whatever makes the connection useless; `end` it then.
    pub(crate) fn on_ready(&mut self, shared: &mut Shared) -> Result<(), ClientError> {
        if self.stream.is_none() {
            return Ok(());
        }
        if self.dialogue.phase == Phase::Connecting {
            if !self.is_connected()? {
                return Ok(());
            }
            if shared.wrapping.is_websocket() {
                self.append_upgrade(shared);
            } else {
                self.dialogue.open(shared);
            }
        }
        self.flush(shared)?;
        while !self.is_paused {
            match self.receive(shared)? {
                Received::Drained | Received::Nothing => break,
                Received::More => {}
                Received::End => return Err(ClientError::Closed { code: None }),
            }
        }
        self.flush(shared)
    }

    /// Says what is due to be said and writes as much of it as the kernel takes.
    ///
    /// # Errors
    /// See `on_ready`.
    pub(crate) fn flush(&mut self, shared: &mut Shared) -> Result<(), ClientError> {
        self.dialogue.speak(shared);
        let Some(stream) = &mut self.stream else { return Ok(()) };
        if matches!(self.dialogue.phase, Phase::Down | Phase::Connecting) {
            return Ok(());
        }
        stream.send(&mut self.dialogue.outgoing)
    }

    fn is_connected(&self) -> Result<bool, ClientError> {
        let Some(stream) = &self.stream else { return Ok(false) };
        if let Some(error) = stream.socket().take_error()? {
            return Err(error.into());
        }
        match stream.socket().peer_addr() {
            Ok(_) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::NotConnected => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    fn append_upgrade(&mut self, shared: &Shared) {
        let topic = self.dialogue.first_topic();
        let name = topic.map(|index| (index, shared.senses.topic_name(index)));
        let topic = name.as_ref().map(|(index, name)| Topic { name, index: *index });
        let path = shared.dialect.path(&shared.target, topic);
        shared.upgrade.append_request(&path, &mut self.dialogue.outgoing);
        self.dialogue.phase = Phase::Upgrading;
    }

    fn receive(&mut self, shared: &mut Shared) -> Result<Received, ClientError> {
        let Self { stream: Some(stream), inbox, line, dialogue, .. } = self else {
            return Ok(Received::Nothing);
        };
        let mut scratch = std::mem::take(&mut shared.scratch);
        let received = inbox.receive(stream, &mut scratch, |bytes| {
            let arrived_ns = now_ns();
            let mut start = 0;
            if dialogue.phase == Phase::Upgrading {
                let Some(length) = shared.upgrade.response(bytes)? else { return Ok(0) };
                dialogue.open(shared);
                start = length;
            }
            let Shared { dialect, wrapping, senses, .. } = shared;
            let mut pongs = Vec::new();
            let fresh = bytes.get(start..).unwrap_or_default();
            let mut on_event =
                |event: Event<'_>| dialogue.on_event(event, dialect.as_ref(), senses, arrived_ns);
            let walked = line.walk(fresh, wrapping, dialect.as_ref(), &mut pongs, &mut on_event)?;
            dialogue.outgoing.extend_from_slice(&pongs);
            Ok(start + walked)
        });
        shared.scratch = scratch;
        received
    }
}
