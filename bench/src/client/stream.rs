//! A socket that never blocks, plain or with TLS on it: the only place of a client that knows
//! which.

use std::io::{self, ErrorKind, Read, Write};

use crate::client::inbox::{Intake, Source};
use crate::client::tls::Session;
use crate::error::ClientError;

/// The way to and from the server.
#[derive(Debug)]
pub(crate) enum Stream<S> {
    /// Bytes as they are.
    Plain(S),
    /// Sealed.
    Tls(Box<TlsStream<S>>),
}

/// A socket with TLS on it.
#[derive(Debug)]
pub(crate) struct TlsStream<S> {
    socket: S,
    session: Session,
    has_ended: bool,
}

impl<S: Read + Write> Stream<S> {
    /// The way over this socket.
    pub(crate) fn new(socket: S, session: Option<Session>) -> Self {
        match session {
            None => Self::Plain(socket),
            Some(session) => Self::Tls(Box::new(TlsStream { socket, session, has_ended: false })),
        }
    }

    /// The socket below.
    pub(crate) fn socket(&self) -> &S {
        match self {
            Self::Plain(socket) => socket,
            Self::Tls(stream) => &stream.socket,
        }
    }

    /// Writes as much of `outgoing` as the kernel takes; what is gone from it may still wait here.
    /// To be called again when the socket is ready, with nothing to say too: TLS has words of its
    /// own.
    ///
    /// # Errors
    /// `Socket`, `Closed`.
    pub(crate) fn send(&mut self, outgoing: &mut Vec<u8>) -> Result<(), ClientError> {
        match self {
            Self::Plain(socket) => send(socket, outgoing),
            Self::Tls(stream) => stream.send(outgoing),
        }
    }
}

impl<S: Read + Write> Source for Stream<S> {
    fn take_in(&mut self, room: &mut [u8]) -> Result<Intake, ClientError> {
        match self {
            Self::Plain(socket) => Ok(Intake::read(socket, room)?),
            Self::Tls(stream) => stream.take_in(room),
        }
    }
}

fn send(socket: &mut impl Write, outgoing: &mut Vec<u8>) -> Result<(), ClientError> {
    while !outgoing.is_empty() {
        match socket.write(outgoing) {
            Ok(0) => return Err(ClientError::Closed { code: None }),
            Ok(count) if count == outgoing.len() => *outgoing = Vec::new(),
            Ok(count) => drop(outgoing.drain(..count)),
            Err(error) if error.kind() == ErrorKind::WouldBlock => break,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

impl<S: Read + Write> TlsStream<S> {
    fn send(&mut self, outgoing: &mut Vec<u8>) -> Result<(), ClientError> {
        if !outgoing.is_empty() {
            self.session.seal(outgoing)?;
            *outgoing = Vec::new();
        }
        while self.session.has_sealed() {
            match self.session.write_to(&mut self.socket) {
                Ok(0) => return Err(ClientError::Closed { code: None }),
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// One read with something in it: handshakes and tickets are passed over.
    fn take_in(&mut self, room: &mut [u8]) -> Result<Intake, ClientError> {
        let (room, wire) = split(room);
        while !self.has_ended {
            let Intake { count, may_follow } = Intake::read(&mut self.socket, wire)?;
            let sealed = wire.get(..count).unwrap_or_default();
            let unsealed = self.session.unseal(sealed, room).inspect_err(|_| {
                // Tells the server why, if it can be told.
                let _ = self.session.write_to(&mut self.socket);
            })?;
            self.has_ended = unsealed.is_end || count == 0;
            if unsealed.count > 0 {
                let may_follow = may_follow || self.has_ended;
                return Ok(Intake { count: unsealed.count, may_follow });
            }
        }
        Ok(Intake::END)
    }
}

/// Parts the room of a read: for what is said, and for what it comes in.
pub(crate) fn split(room: &mut [u8]) -> (&mut [u8], &mut [u8]) {
    room.split_at_mut(room.len() - room.len() / 4)
}

impl Intake {
    /// One plain read. A short one has emptied the socket.
    pub(crate) fn read(socket: &mut impl Read, room: &mut [u8]) -> io::Result<Self> {
        let count = socket.read(room)?;
        Ok(Self { count, may_follow: count == room.len() })
    }
}
