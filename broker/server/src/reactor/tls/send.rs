//! Bytes out: all that waits for a socket is joined, then sealed, then sent.

use fanwire_core::ConnectionId;

use crate::reactor::{Reactor, SCRATCH_BYTES, SocketKey};
use crate::sink::Sink;
use crate::tls::{SEALED_BYTES_MAX, SEND_BYTES_MAX, Sent, Session, TlsError};

const _: () = assert!(SEALED_BYTES_MAX <= SCRATCH_BYTES);

/// Calls per socket and turn, as for plain ones.
const CALLS_PER_SOCKET: usize = 4;

impl Reactor {
    /// Sends what waits in the session. `false` = not all; the next report of room calls again.
    pub(in crate::reactor) fn flush_tls(&mut self, key: SocketKey) -> bool {
        let Some(socket) = self.sockets.find(key) else { return true };
        let (Some(stream), Some(tls)) = (&socket.stream, &mut socket.tls) else { return true };
        match tls.flush(&mut Sink::new(stream, &mut self.counters.writes)) {
            Ok(Sent::All) => true,
            Ok(Sent::Part) => {
                self.arm_writable(key);
                false
            }
            Err(error) => {
                tracing::debug!(socket = key.socket_id().0, %error, "write failed");
                self.hang_up(key);
                false
            }
        }
    }

    /// Seals and sends what core has for a socket: all that waits, in as few records as it takes.
    pub(in crate::reactor) fn write_tls(&mut self, key: SocketKey, connection: ConnectionId) {
        if !self.flush_tls(key) {
            return self.shard.handle_blocked(connection);
        }
        for _ in 0..CALLS_PER_SOCKET {
            let Some(socket) = self.sockets.find(key) else { return };
            let (Some(stream), Some(tls)) = (&socket.stream, &mut socket.tls) else { return };
            let (shard, gather) = (&self.shard, &mut self.gather);
            let mut sink = Sink::new(stream, &mut self.counters.writes);
            let chunks = shard.pending(connection);
            match send_pending(tls, &mut sink, chunks, gather, &mut self.scratch) {
                Ok((0, _)) => return,
                Ok((count, Sent::All)) => self.shard.handle_written(self.now, connection, count),
                Ok((count, Sent::Part)) => {
                    // The rest is ours to send now.
                    self.shard.handle_written(self.now, connection, count);
                    self.shard.handle_blocked(connection);
                    return self.arm_writable(key);
                }
                Err(error) => {
                    tracing::debug!(socket = key.socket_id().0, %error, "write failed");
                    return self.hang_up(key);
                }
            }
        }
    }
}

/// Seals and sends what is pending, or as much of it as goes in one call: small chunks are joined,
/// so that they share a record. Returns how much of it that was.
fn send_pending<'a>(
    tls: &mut Session,
    sink: &mut Sink<'_>,
    mut chunks: impl Iterator<Item = &'a [u8]>,
    gather: &mut Vec<u8>,
    buffer: &mut [u8],
) -> Result<(usize, Sent), TlsError> {
    let Some(first) = chunks.next() else { return Ok((0, Sent::All)) };
    let plain = match chunks.next() {
        Some(second) if first.len() < SEND_BYTES_MAX => {
            gather.clear();
            for chunk in [first, second].into_iter().chain(chunks) {
                let room = SEND_BYTES_MAX - gather.len();
                gather.extend_from_slice(chunk.get(..room).unwrap_or(chunk));
                if chunk.len() >= room {
                    break;
                }
            }
            gather
        }
        _ => first.get(..SEND_BYTES_MAX).unwrap_or(first),
    };
    Ok((plain.len(), tls.send(sink, plain, buffer)?))
}
