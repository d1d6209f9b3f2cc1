//! HTTP in the loop: polls of its connections, calls to core and their answers, and the moment
//! when a connection becomes a WebSocket.

use std::net::Shutdown;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use fanwire_core::api::Call;

use super::socket::Phase;
use super::{Hangup, Reactor, SocketKey};
use crate::http::{Flushed, Progress, Upgrade, Wire};
use crate::sink::Sink;
use crate::tls::TlsError;

/// How long a connection may stay without a request that begins or an answer that comes.
const IDLE_TIMEOUT: Duration = Duration::from_secs(75);
/// Corks full of answers that one connection may send before the others have their turn.
const CORKS_PER_TURN: usize = 4;
/// How long a peer may go on sending after our last word before it is cut off. Closing at once
/// would answer its bytes with a reset, which can overtake that word.
const LINGER_TIMEOUT: Duration = Duration::from_secs(2);

impl Reactor {
    /// The first bytes of a socket: it speaks HTTP.
    pub(super) fn begin_http(&mut self, key: SocketKey, hangup: Hangup) {
        self.open_http(key);
        self.read_http(key, hangup);
    }

    /// The same, before hyper is given any bytes.
    pub(super) fn open_http(&mut self, key: SocketKey) {
        let Some(socket) = self.sockets.find(key) else { return };
        if let (Phase::Fresh(surface), Some(stream)) = (&socket.phase, &socket.stream) {
            let wire = match socket.tls {
                Some(_) => Wire::Tls,
                None => Wire::Plain(Rc::clone(stream)),
            };
            let connection = self.http.open(key.socket_id(), wire, *surface);
            socket.phase = Phase::Http(Box::new(connection));
        }
    }

    /// The plain socket of an HTTP connection can be read.
    pub(super) fn read_http(&mut self, key: SocketKey, hangup: Hangup) {
        let Some(socket) = self.sockets.find(key) else { return };
        if let Phase::Http(connection) = &socket.phase {
            connection.note_readable(hangup == Hangup::Seen);
            self.poll_http(key);
        }
    }

    /// Lets an HTTP connection get on as far as it can, within its share of the turn.
    pub(super) fn poll_http(&mut self, key: SocketKey) {
        for _ in 0..CORKS_PER_TURN {
            match self.poll_http_once(key) {
                None | Some(Progress::Waiting) => return,
                Some(Progress::Corked) => match self.flush_http(key) {
                    Some(Flushed::All) => {}
                    Some(Flushed::Blocked) | None => return,
                },
                Some(Progress::Again) => break,
                // The next report of room polls again.
                Some(Progress::Finished) if self.has_unsent(key) => return self.arm_writable(key),
                Some(Progress::Finished) => return self.linger(key),
                Some(Progress::Upgrade(upgrade)) => return self.upgrade(key, upgrade),
            }
        }
        self.again.push((key, Hangup::NotSeen));
    }

    fn poll_http_once(&mut self, key: SocketKey) -> Option<Progress> {
        let polled = self.contain(key, |reactor| {
            let socket = reactor.sockets.find(key)?;
            let Phase::Http(connection) = &mut socket.phase else { return None };
            let progress = reactor.http.poll(connection);
            let (call, active) = (connection.take_call(), connection.take_activity());
            if connection.list() {
                reactor.corked.push(key);
            }
            if socket.resume_tls() {
                // To the end of what is there: no event tells of it again.
                reactor.again.push((key, Hangup::Seen));
            }
            Some((progress, call, active))
        });
        let (progress, call, active) = polled??;
        if active {
            self.sockets.set_deadline(key, Some(self.now.after(IDLE_TIMEOUT)));
        }
        if let Some(call) = call {
            self.call(key, call);
        }
        Some(progress)
    }

    /// Sends what the HTTP connections have answered in this turn.
    pub(super) fn flush_answers(&mut self) {
        let mut corked = std::mem::take(&mut self.corked);
        for key in corked.drain(..) {
            self.flush_http(key);
        }
        self.corked = corked;
    }

    /// Sends what one HTTP connection has corked, in one call. `None` = it is none any more.
    fn flush_http(&mut self, key: SocketKey) -> Option<Flushed> {
        let socket = self.sockets.find(key)?;
        let (Phase::Http(connection), Some(stream)) = (&socket.phase, &socket.stream) else {
            return None;
        };
        let mut sink = Sink::new(stream, &mut self.counters.writes);
        let flushed = match &mut socket.tls {
            None => connection.flush(|bytes| sink.write(bytes).map_err(TlsError::from)),
            Some(tls) => {
                connection.flush(|bytes| tls.send_all(&mut sink, bytes, &mut self.scratch))
            }
        };
        match flushed {
            // What is sealed and not sent would be lost with the end of the connection.
            Ok(flushed) if flushed == Flushed::Blocked || self.has_unsent(key) => {
                self.arm_writable(key);
                Some(Flushed::Blocked)
            }
            Ok(flushed) => Some(flushed),
            Err(error) => {
                tracing::debug!(socket = key.socket_id().0, %error, "write failed");
                self.hang_up(key);
                None
            }
        }
    }

    /// Whether something is sealed that the socket has not taken.
    fn has_unsent(&mut self, key: SocketKey) -> bool {
        let tls = self.sockets.find(key).and_then(|socket| socket.tls.as_ref());
        tls.is_some_and(|tls| tls.has_unsent())
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

    pub(super) fn linger(&mut self, key: SocketKey) {
        let Some(socket) = self.sockets.find(key) else { return };
        let Some(stream) = socket.stream.clone() else { return };
        let kept = match &socket.phase {
            Phase::Http(connection) => connection.take_kept(),
            _ => None,
        };
        socket.phase = Phase::Lingering(kept);
        let secure = socket.tls.is_some();
        self.sockets.set_deadline(key, Some(self.now.after(LINGER_TIMEOUT)));
        if secure {
            self.end_tls(key);
            self.read(key, Hangup::NotSeen);
        } else if stream.shutdown(Shutdown::Write).is_err() {
            self.hang_up(key);
        } else {
            self.read(key, Hangup::NotSeen);
        }
    }

    /// From HTTP to WebSocket: hyper's memory is freed, core gets the socket.
    fn upgrade(&mut self, key: SocketKey, upgrade: Upgrade) {
        let Some(socket) = self.sockets.find(key) else { return };
        let phase = std::mem::replace(&mut socket.phase, Phase::Lingering(None));
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
            self.read(key, Hangup::NotSeen);
        }
        // One that speaks TLS and has said nothing in it.
        self.open_http(key);
        if let Some(socket) = self.sockets.find(key)
            && let Phase::Http(connection) = &mut socket.phase
        {
            connection.end();
            self.poll_http(key);
        }
    }
}
