//! Handshakes: first come, first served, and only so many in a turn that nobody else waits long.

use std::io::Write;
use std::net::TcpStream;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::ServerConfig;

use super::receive::Opened;
use crate::http::Surface;
use crate::reactor::drain::Stage;
use crate::reactor::receive::READS_PER_TURN;
use crate::reactor::socket::Phase;
use crate::reactor::{Hangup, Reactor, SocketKey};
use crate::tls::{Session, TlsError};

/// Time for handshakes per turn. One costs 0.2 to 1 ms, mostly for one signature.
const HANDSHAKE_TIME: Duration = Duration::from_millis(1);
/// First byte of a handshake's record (RFC 8446, section 5.1).
const HANDSHAKE_RECORD: u8 = 22;
/// For who speaks HTTP where TLS is spoken.
const SPEAK_TLS: &[u8] = b"HTTP/1.1 400 Bad Request\r\ncontent-type: text/plain\r\n\
    content-length: 45\r\nconnection: close\r\n\r\n\
    this port speaks TLS: use https:// or wss://\n";

impl Reactor {
    /// Something came from a peer whose handshake goes on; it has its turn when it comes to it.
    pub(in crate::reactor) fn queue_handshake(&mut self, key: SocketKey) {
        let Some(socket) = self.sockets.find(key) else { return };
        if let Phase::Handshake { queued: queued @ false } = &mut socket.phase {
            *queued = true;
            self.tls.waiting.push_back(key);
        }
    }

    /// Lets handshakes get on, first come first served, as far as the turn's time goes. At the end
    /// of the turn, so that nobody's answer waits for them.
    pub(in crate::reactor) fn continue_handshakes(&mut self) {
        if !self.tls.has_waiting() {
            return;
        }
        // What they lead to is carried out in the next turn, which must not wait for an event.
        self.outputs_left = true;
        let began = Instant::now();
        while let Some(key) = self.tls.waiting.pop_front() {
            self.contain(key, |reactor| reactor.shake_hands(key));
            if began.elapsed() >= HANDSHAKE_TIME {
                break;
            }
        }
    }

    fn shake_hands(&mut self, key: SocketKey) {
        let Some(socket) = self.sockets.find(key) else { return };
        let Phase::Handshake { queued } = &mut socket.phase else { return };
        *queued = false;
        // To the end of what is there: a handshake is short, and no event tells twice.
        for _ in 0..READS_PER_TURN {
            if let Opened::Nothing | Opened::Over = self.open_tls(key) {
                return;
            }
            let Some(socket) = self.sockets.find(key) else { return };
            if socket.tls.as_ref().is_some_and(|tls| !tls.is_handshaking()) {
                return self.handshake_done(key);
            }
        }
        self.queue_handshake(key);
    }

    fn handshake_done(&mut self, key: SocketKey) {
        self.counters.tls_handshakes += 1;
        if let Some(socket) = self.sockets.find(key) {
            socket.phase = Phase::Fresh(Surface::Public);
        }
        self.deliver(key);
        self.read(key, Hangup::Seen);
        if self.stage != Stage::Running {
            self.end_http_of(key);
        }
    }

    /// What came first is no handshake.
    pub(super) fn refuse(
        &mut self,
        key: SocketKey,
        stream: &Rc<TcpStream>,
        error: Option<TlsError>,
    ) {
        self.counters.tls_handshake_failures += 1;
        let cause = error.map_or_else(|| "no TLS was spoken".to_owned(), |error| error.to_string());
        tracing::debug!(socket = key.socket_id().0, cause, "no TLS handshake");
        // It fits in the buffer of any socket; if not, the peer goes without.
        let _ = (&**stream).write(SPEAK_TLS);
        self.linger(key);
    }
}

/// A session for whom its first byte shows to speak TLS.
pub(super) fn first_words(
    input: &[u8],
    config: Option<&Arc<ServerConfig>>,
) -> Result<Box<Session>, Option<TlsError>> {
    match (input.first(), config) {
        (Some(&HANDSHAKE_RECORD), Some(config)) => Ok(Box::new(Session::new(config)?)),
        _ => Err(None),
    }
}
