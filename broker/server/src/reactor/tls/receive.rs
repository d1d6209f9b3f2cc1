//! Bytes in: read into the shard's buffer, opened there, handed on.

use super::handshake::first_words;
use crate::reactor::receive::{READS_PER_TURN, Received, receive};
use crate::reactor::socket::Phase;
use crate::reactor::{Hangup, Reactor, SocketKey};
use crate::sink::Sink;
use crate::tls::{Sent, Session};

/// What one read of a TLS socket came to.
pub(super) enum Opened {
    /// Something, perhaps no plaintext; the socket may have more if it filled the buffer.
    Bytes { more: bool },
    /// Nothing for now.
    Nothing,
    /// The connection is lost, or there is no session.
    Over,
}

impl Reactor {
    /// Reads a socket until it is empty or has had its share of the turn.
    pub(in crate::reactor) fn read_tls(&mut self, key: SocketKey, hangup: Hangup) {
        self.contain(key, |reactor| reactor.read_records(key, hangup));
        // Also when nothing came, for it may have wanted its next turn.
        self.poll_if_http(key);
    }

    fn read_records(&mut self, key: SocketKey, hangup: Hangup) {
        for _ in 0..READS_PER_TURN {
            let Some(socket) = self.sockets.find(key) else { return };
            let Some(tls) = &mut socket.tls else { return };
            if tls.peer_ended() {
                return self.peer_ended(key);
            }
            if let Phase::Http(http) = &socket.phase
                && http.plaintext().is_some_and(|plaintext| !plaintext.has_room())
            {
                tls.stalled = true;
                return;
            }
            let Opened::Bytes { more } = self.open_tls(key) else { return };
            self.deliver(key);
            let ended = self.sockets.find(key).and_then(|socket| socket.tls.as_ref());
            if ended.is_some_and(|tls| tls.peer_ended()) {
                return self.peer_ended(key);
            }
            if !more && hangup == Hangup::NotSeen {
                return;
            }
        }
        self.again.push((key, hangup));
    }

    fn poll_if_http(&mut self, key: SocketKey) {
        let phase = self.sockets.find(key).map(|socket| &socket.phase);
        if let Some(Phase::Http(_)) = phase {
            self.poll_http(key);
        }
    }

    /// One read; what it brought is in `Tls::plain`.
    pub(super) fn open_tls(&mut self, key: SocketKey) -> Opened {
        self.tls.plain.clear();
        let Some(socket) = self.sockets.find(key) else { return Opened::Over };
        let Some(stream) = socket.stream.clone() else { return Opened::Over };
        let mut session = socket.tls.take();
        let kept = session.as_ref().map_or(0, |tls| tls.put_partial(&mut self.scratch));
        let room = self.scratch.get_mut(kept..).unwrap_or_default();
        let room_bytes = room.len();
        self.counters.reads += 1;
        let count = match receive(&stream, room) {
            Received::Bytes(count) => count,
            Received::Nothing => {
                self.give_back(key, session);
                return Opened::Nothing;
            }
            Received::End => {
                let socket = key.socket_id().0;
                tracing::debug!(socket, "the peer left without ending TLS");
                self.give_back(key, session);
                self.poll_if_http(key);
                self.hang_up(key);
                return Opened::Over;
            }
        };
        let input = self.scratch.get_mut(..kept + count).unwrap_or_default();
        if session.is_none() {
            match first_words(input, self.tls.config.as_ref()) {
                Ok(begun) => session = Some(begun),
                Err(error) => {
                    self.refuse(key, &stream, error);
                    return Opened::Over;
                }
            }
        }
        let Some(mut tls) = session else { return Opened::Over };
        let opened = tls.open(input, &mut self.tls.plain);
        let sent = tls.flush(&mut Sink::new(&stream, &mut self.counters.writes));
        self.give_back(key, Some(tls));
        match opened.and(sent) {
            Ok(Sent::All) => {}
            Ok(Sent::Part) => self.arm_writable(key),
            Err(error) => {
                // What came whole before it is good.
                self.deliver(key);
                self.poll_if_http(key);
                self.break_off(key, &error);
                return Opened::Over;
            }
        }
        Opened::Bytes { more: count == room_bytes }
    }

    fn give_back(&mut self, key: SocketKey, session: Option<Box<Session>>) {
        if let Some(socket) = self.sockets.find(key)
            && socket.stream.is_some()
        {
            socket.tls = session;
        }
    }

    /// Hands on what was opened. HTTP is to be polled afterwards.
    pub(super) fn deliver(&mut self, key: SocketKey) {
        if self.tls.plain.is_empty() {
            return;
        }
        if let Some(socket) = self.sockets.find(key)
            && let Phase::Fresh(_) = socket.phase
        {
            self.open_http(key);
        }
        let Some(socket) = self.sockets.find(key) else { return };
        match &socket.phase {
            Phase::WebSocket(connection) => {
                let connection = *connection;
                let mut plain = std::mem::take(&mut self.tls.plain);
                self.contain(key, |reactor| {
                    reactor.shard.handle_bytes(reactor.now, connection, &mut plain);
                });
                self.tls.plain = plain;
            }
            Phase::Http(http) => {
                if let Some(plaintext) = http.plaintext() {
                    plaintext.push(&self.tls.plain);
                }
            }
            _ => {}
        }
    }

    /// The peer has ended TLS in good order: what it asked by HTTP it still wants answered.
    fn peer_ended(&mut self, key: SocketKey) {
        let Some(socket) = self.sockets.find(key) else { return };
        if let Phase::Http(http) = &socket.phase {
            if let Some(plaintext) = http.plaintext() {
                plaintext.end();
            }
        } else {
            self.hang_up(key);
        }
    }
}
