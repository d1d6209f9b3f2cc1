//! What a readable or hung-up socket leads to, and how a socket is closed.

use std::io::{ErrorKind, Read};
use std::net::{Shutdown, TcpStream};
use std::os::fd::AsFd;
use std::rc::Rc;

use fanwire_core::ConnectionId;

use super::ring::{Series, Token};
use super::socket::Phase;
use super::{Hangup, Reactor, SocketKey};

/// Reads of one socket per turn, so that a flood on one does not starve the others.
pub(super) const READS_PER_TURN: usize = 4;

/// What one read brought.
pub(super) enum Received {
    Bytes(usize),
    /// Nothing for now; an event will tell.
    Nothing,
    /// The end of the stream, or an error, which comes to the same.
    End,
}

pub(super) fn receive(mut stream: &TcpStream, scratch: &mut [u8]) -> Received {
    loop {
        return match stream.read(scratch) {
            Ok(0) => Received::End,
            Ok(count) => Received::Bytes(count),
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            Err(error) if error.kind() == ErrorKind::WouldBlock => Received::Nothing,
            Err(_) => Received::End,
        };
    }
}

impl Reactor {
    /// A completion of a socket's poll for reading.
    pub(super) fn readable(&mut self, key: SocketKey, hangup: Hangup, series: Series) {
        if series == Series::Ended {
            let Some(socket) = self.sockets.find(key) else { return };
            socket.read_armed = false;
            if socket.stream.is_none() {
                self.sockets.release(key);
                return;
            }
            // The kernel ends a multishot poll when its completion queue was full.
            self.arm_readable(key);
        }
        self.read(key, hangup);
    }

    /// Sockets that had not had enough in the turn before.
    pub(super) fn read_again(&mut self) {
        let mut again = std::mem::take(&mut self.again);
        // One place per socket, whatever asked for it.
        again.sort_unstable();
        again.dedup_by_key(|(key, _)| *key);
        for (key, hangup) in again {
            self.read(key, hangup);
        }
    }

    /// Reads a socket until it is empty or has had its share of the turn.
    pub(super) fn read(&mut self, key: SocketKey, hangup: Hangup) {
        let Some(socket) = self.sockets.find(key) else { return };
        let Some(stream) = socket.stream.clone() else { return };
        match socket.phase {
            Phase::Handshake { .. } => self.queue_handshake(key),
            Phase::WebSocketEnding(_) | Phase::Lingering(_) => self.discard(key, &stream),
            _ if socket.tls.is_some() => self.read_tls(key, hangup),
            Phase::Fresh(_) => self.begin_http(key, hangup),
            Phase::Http(_) => self.read_http(key, hangup),
            Phase::WebSocket(connection) => {
                self.contain(key, |reactor| {
                    reactor.read_frames(key, connection, &stream, hangup);
                });
            }
            Phase::Closed => {}
        }
    }

    fn read_frames(
        &mut self,
        key: SocketKey,
        connection: ConnectionId,
        stream: &Rc<TcpStream>,
        hangup: Hangup,
    ) {
        for _ in 0..READS_PER_TURN {
            self.counters.reads += 1;
            match receive(stream, &mut self.scratch) {
                Received::Bytes(count) => {
                    let whole = count == self.scratch.len();
                    let bytes = self.scratch.get_mut(..count).unwrap_or_default();
                    self.shard.handle_bytes(self.now, connection, bytes);
                    // A short read has emptied the socket: what comes later makes an event.
                    if !whole && hangup == Hangup::NotSeen {
                        return;
                    }
                }
                Received::Nothing => return,
                Received::End => return self.hang_up(key),
            }
        }
        self.again.push((key, hangup));
    }

    fn discard(&mut self, key: SocketKey, stream: &Rc<TcpStream>) {
        for _ in 0..READS_PER_TURN {
            self.counters.reads += 1;
            match receive(stream, &mut self.scratch) {
                Received::Bytes(_) => {}
                Received::Nothing => return,
                Received::End => return self.hang_up(key),
            }
        }
        self.again.push((key, Hangup::NotSeen));
    }

    /// Closes a socket that the shell has given up, and tells core if it was core's.
    pub(super) fn hang_up(&mut self, key: SocketKey) {
        let phase = self.close(key);
        if let Some(Phase::WebSocket(connection) | Phase::WebSocketEnding(connection)) = phase {
            self.shard.handle_closed(self.now, connection);
        }
    }

    /// Closes a socket. Its entry goes when its polls have ended.
    pub(super) fn close(&mut self, key: SocketKey) -> Option<Phase> {
        self.leave_tls(key);
        let (stream, phase) = self.sockets.close(key)?;
        // The ring's polls hold the file, so that closing the descriptor alone says no goodbye.
        // It fails only if the peer has closed already.
        let _ = stream.shutdown(Shutdown::Both);
        if let Some(socket) = self.sockets.find(key) {
            if socket.read_armed {
                self.ring.cancel(Token::Readable(key));
            }
            if socket.write_armed {
                self.ring.cancel(Token::Writable(key));
            }
        }
        self.sockets.release(key);
        Some(phase)
    }

    /// Asks the ring for reports of what can be read.
    pub(super) fn arm_readable(&mut self, key: SocketKey) {
        let Some(socket) = self.sockets.find(key) else { return };
        let Some(stream) = &socket.stream else { return };
        if !socket.read_armed {
            socket.read_armed = true;
            self.ring.poll_readable(Token::Readable(key), stream.as_fd());
        }
    }

    /// Asks the ring for one report that there is room to write.
    pub(super) fn arm_writable(&mut self, key: SocketKey) {
        let Some(socket) = self.sockets.find(key) else { return };
        let Some(stream) = &socket.stream else { return };
        if !socket.write_armed {
            socket.write_armed = true;
            self.ring.poll_writable(key, stream.as_fd());
        }
    }

    /// The completion of a socket's poll for writing.
    pub(super) fn writable(&mut self, key: SocketKey) {
        let Some(socket) = self.sockets.find(key) else { return };
        socket.write_armed = false;
        if socket.tls.is_some() && !self.flush_tls(key) {
            return;
        }
        let Some(socket) = self.sockets.find(key) else { return };
        match socket.phase {
            Phase::Http(_) => self.poll_http(key),
            Phase::WebSocket(connection) => self.shard.handle_writable(connection),
            Phase::WebSocketEnding(_) | Phase::Lingering(_) if socket.tls.is_some() => {
                self.shutdown_tls(key);
            }
            Phase::Handshake { .. }
            | Phase::Fresh(_)
            | Phase::WebSocketEnding(_)
            | Phase::Lingering(_) => {}
            Phase::Closed => self.sockets.release(key),
        }
    }
}
