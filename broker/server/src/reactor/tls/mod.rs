//! Sockets that speak TLS: what a shard has for them, and how they end. Handshakes are in
//! `handshake`, bytes in and out in `receive` and `send`.
//!
//! A session is with its socket (`Socket::tls`) but while it works; it is taken out for that, since
//! it works on the shard's buffers. A socket without one is plain and never comes here.

mod handshake;
mod receive;
mod send;

use std::collections::VecDeque;
use std::net::Shutdown;
use std::sync::Arc;

use rustls::ServerConfig;

use super::socket::Phase;
use super::{Reactor, SocketKey};
use crate::http::Surface;
use crate::sink::Sink;
use crate::tls::TlsError;

/// What a shard needs for all its TLS sockets.
#[derive(Default)]
pub(super) struct Tls {
    /// `None` = the public port is plain.
    config: Option<Arc<ServerConfig>>,
    /// Sockets whose handshake may go on.
    waiting: VecDeque<SocketKey>,
    /// What was opened last.
    plain: Vec<u8>,
}

impl Tls {
    pub(super) fn new(config: Option<Arc<ServerConfig>>) -> Self {
        Self { config, ..Self::default() }
    }

    /// How a socket begins that came in by the public door.
    pub(super) fn first_phase(&self) -> Phase {
        match self.config {
            Some(_) => Phase::Handshake { queued: false },
            None => Phase::Fresh(Surface::Public),
        }
    }

    /// Whether handshakes wait for the next turn.
    pub(super) fn has_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }
}

impl Reactor {
    /// A session is lost. The peer is told why, if it still listens.
    fn break_off(&mut self, key: SocketKey, error: &TlsError) {
        let Some(socket) = self.sockets.find(key) else { return };
        tracing::debug!(socket = key.socket_id().0, %error, "TLS broken off");
        socket.tls = None;
        match socket.phase {
            Phase::Handshake { .. } => self.counters.tls_handshake_failures += 1,
            Phase::WebSocket(connection) => self.shard.handle_closed(self.now, connection),
            _ => {}
        }
        // Closing at once could overtake the alert.
        self.linger(key);
    }

    /// Ends our side of a socket, after all that waits for it.
    pub(super) fn end_tls(&mut self, key: SocketKey) {
        let Some(socket) = self.sockets.find(key) else { return };
        if let Some(tls) = &mut socket.tls {
            tls.end();
        }
        if self.flush_tls(key) {
            self.shutdown_tls(key);
        }
    }

    /// What waited at the end was sent.
    pub(super) fn shutdown_tls(&mut self, key: SocketKey) {
        if let Some(socket) = self.sockets.find(key)
            && let Some(stream) = &socket.stream
        {
            // It fails only if the peer is gone, which the ring reports by itself.
            let _ = stream.shutdown(Shutdown::Write);
        }
    }

    /// The socket is about to be closed: the peer is told, if it is still there to hear it.
    pub(super) fn leave_tls(&mut self, key: SocketKey) {
        let Some(socket) = self.sockets.find(key) else { return };
        let Some(mut tls) = socket.tls.take() else { return };
        if let Phase::Handshake { .. } = socket.phase {
            self.counters.tls_handshake_failures += 1;
        }
        if let Some(stream) = &socket.stream {
            tls.end();
            let _ = tls.flush(&mut Sink::new(stream, &mut self.counters.writes));
        }
    }
}
