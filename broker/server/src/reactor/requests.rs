//! HTTP in the loop: polls of its connections, calls to core and their answers, and the moment
//! when a connection becomes a WebSocket.

use std::net::Shutdown;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use fanwire_core::api::Call;

use super::socket::Phase;
use super::{Hangup, Reactor, SocketKey};
use crate::http::{Progress, Upgrade};

/// How long a connection may stay without a request that begins or an answer that comes.
const IDLE_TIMEOUT: Duration = Duration::from_secs(75);
/// How long a peer may go on sending after our last word before it is cut off. Closing at once
/// would answer its bytes with a reset, which can overtake that word.
const LINGER_TIMEOUT: Duration = Duration::from_secs(2);

impl Reactor {
    /// The first bytes of a socket: it speaks HTTP.
    pub(super) fn begin_http(&mut self, key: SocketKey) {
        let Some(socket) = self.sockets.find(key) else { return };
        if let (Phase::Fresh(surface), Some(stream)) = (&socket.phase, &socket.stream) {
            let connection = self.http.open(key.socket_id(), Rc::clone(stream), *surface);
            socket.phase = Phase::Http(Box::new(connection));
        }
        self.poll_http(key);
    }

    /// Lets an HTTP connection get on as far as it can.
    pub(super) fn poll_http(&mut self, key: SocketKey) {
        let polled = self.contain(key, |reactor| {
            let socket = reactor.sockets.find(key)?;
            let Phase::Http(connection) = &mut socket.phase else { return None };
            let progress = reactor.http.poll(connection);
            let (call, active) = (connection.take_call(), connection.take_activity());
            if connection.take_write_blocked() {
                reactor.arm_writable(key);
            }
            Some((progress, call, active))
        });
        let Some(Some((progress, call, active))) = polled else { return };
        if active {
            self.sockets.set_deadline(key, Some(self.now.after(IDLE_TIMEOUT)));
        }
        if let Some(call) = call {
            self.call(key, call);
        }
        match progress {
            Progress::Waiting => {}
            Progress::Again => self.again.push((key, Hangup::NotSeen)),
            Progress::Finished => self.linger(key),
            Progress::Upgrade(upgrade) => self.upgrade(key, upgrade),
        }
    }

    fn call(&mut self, key: SocketKey, call: Call) {
        self.contain(key, |reactor| reactor.shard.handle_call(reactor.now, key.call_id(), call));
    }

    /// Core's answer to a call. If its caller has gone, nobody wants it any more.
    pub(super) fn answered(&mut self, key: SocketKey, status: u16, body: Vec<u8>) {
        let Some(socket) = self.sockets.find(key) else { return };
        if let Phase::Http(connection) = &socket.phase {
            connection.answer(status, body);
            self.poll_http(key);
        }
    }

    fn linger(&mut self, key: SocketKey) {
        let Some(socket) = self.sockets.find(key) else { return };
        let Some(stream) = socket.stream.clone() else { return };
        socket.phase = Phase::Lingering;
        self.sockets.set_deadline(key, Some(self.now.after(LINGER_TIMEOUT)));
        if stream.shutdown(Shutdown::Write).is_err() {
            self.hang_up(key);
        } else {
            self.read(key, Hangup::NotSeen);
        }
    }

    /// From HTTP to WebSocket: hyper's memory is freed, core gets the socket.
    fn upgrade(&mut self, key: SocketKey, upgrade: Upgrade) {
        let Some(socket) = self.sockets.find(key) else { return };
        let phase = std::mem::replace(&mut socket.phase, Phase::Lingering);
        let Phase::Http(http) = phase else { return };
        let rest = http.into_rest();
        let Upgrade { adapter, pings, compression } = upgrade;
        let connection = self.shard.open(self.now, key.socket_id(), adapter, pings);
        self.shard.set_compression(connection, compression);
        socket.phase = Phase::WebSocket(connection);
        self.sockets.set_deadline(key, None);
        self.contain(key, |reactor| reactor.feed(key, &rest));
        // hyper may have stopped before the socket was empty, and no event tells again of what is
        // there already: bytes, or the end.
        self.read(key, Hangup::Seen);
    }

    /// Frames that came in one packet with the upgrade's request.
    fn feed(&mut self, key: SocketKey, rest: &Bytes) {
        let Some(socket) = self.sockets.find(key) else { return };
        let Phase::WebSocket(connection) = socket.phase else { return };
        for chunk in rest.chunks(self.scratch.len()) {
            let Some(bytes) = self.scratch.get_mut(..chunk.len()) else { return };
            bytes.copy_from_slice(chunk);
            self.shard.handle_bytes(self.now, connection, bytes);
        }
    }

    /// Answers the requests in hand, takes no further ones.
    pub(super) fn end_http(&mut self) {
        for key in self.sockets.open_keys() {
            self.end_http_of(key);
        }
    }

    /// The same for one socket.
    pub(super) fn end_http_of(&mut self, key: SocketKey) {
        let phase = self.sockets.find(key).map(|socket| &socket.phase);
        if matches!(phase, Some(Phase::Fresh(_) | Phase::Http(_))) {
            // First what has arrived already, for an idle connection ends at once.
            self.begin_http(key);
        }
        if let Some(socket) = self.sockets.find(key)
            && let Phase::Http(connection) = &mut socket.phase
        {
            connection.end();
            self.poll_http(key);
        }
    }
}
