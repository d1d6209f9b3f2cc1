//! What core wants done: batches to other shards, answers, and above all the writes. All that is
//! pending for a socket goes out in one call, for a call is what a delivery costs.

use std::io::{self, ErrorKind, IoSlice, Write};
use std::net::{Shutdown, TcpStream};
use std::rc::Rc;
use std::time::{Duration, Instant};

use fanwire_core::{ConnectionId, Output, Shard};

use super::socket::Phase;
use super::{Reactor, SocketKey};
use crate::mesh::Room;

/// Writes and answers per turn; what is left waits for the next, so that reading goes on.
const OUTPUTS_PER_TURN: usize = 1000;
/// Time for them per turn.
const OUTPUT_TIME: Duration = Duration::from_millis(1);
/// The clock is read once in so many of them.
const CLOCK_EVERY: usize = 64;
/// An answer of so many bytes belongs to a call that took a while: the clock is read after it.
const LARGE_ANSWER_BYTES: usize = 1024;
/// Calls per socket and turn. One does, unless more is pending than one can take.
const CALLS_PER_SOCKET: usize = 4;
/// Slices that one vectored write takes.
const SLICES_MAX: usize = 64;
/// How long a peer may take to close after core said its last word.
const ENDING_TIMEOUT: Duration = Duration::from_secs(5);

impl Reactor {
    /// Carries out what core asks for, within the budget of a turn.
    pub(super) fn handle_outputs(&mut self) {
        let mut count = 0;
        let began = Instant::now();
        self.outputs_left = false;
        while let Some(output) = self.shard.poll_output() {
            if matches!(output, Output::Pause) {
                self.outputs_left = true;
                break;
            }
            let large = is_large(&output);
            self.handle_output(output);
            count += 1;
            let late = (large || count % CLOCK_EVERY == 0) && began.elapsed() >= OUTPUT_TIME;
            if late || count >= OUTPUTS_PER_TURN {
                self.outputs_left = true;
                break;
            }
        }
        self.flush_answers();
    }

    fn handle_output(&mut self, output: Output) {
        match output {
            Output::Send { to, batch } => {
                if self.lanes.send(to, batch) == Room::Full {
                    self.shard.handle_lane(to, false);
                }
            }
            Output::Answer { call, status, body } => self.answered(call.into(), status, body),
            Output::FetchKeys => self.keyring.demand(),
            Output::Pause => {}
            Output::Write { socket, connection } => {
                // Answers come before the writes that their calls lead to.
                if !self.corked.is_empty() {
                    self.flush_answers();
                }
                let key = SocketKey::from(socket);
                self.contain(key, |reactor| reactor.write(key, connection));
            }
            Output::ShutdownWrite { socket } => self.end_websocket(socket.into()),
            Output::Close { socket } => {
                self.close(socket.into());
            }
        }
    }

    fn write(&mut self, key: SocketKey, connection: ConnectionId) {
        let Some(socket) = self.sockets.find(key) else { return };
        if socket.tls.is_some() {
            return self.write_tls(key, connection);
        }
        let Some(stream) = socket.stream.clone() else { return };
        for _ in 0..CALLS_PER_SOCKET {
            let written = write_pending(&stream, &self.shard, connection, &mut self.gather);
            self.counters.writes += u64::from(!matches!(written, Ok(Written::Nothing)));
            match written {
                Ok(Written::Nothing) => return,
                Ok(Written::All(count)) => self.shard.handle_written(self.now, connection, count),
                Ok(Written::Part(count)) => {
                    self.shard.handle_written(self.now, connection, count);
                    return self.blocked(key, connection);
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    return self.blocked(key, connection);
                }
                Err(error) => {
                    tracing::debug!(socket = key.socket_id().0, %error, "write failed");
                    return self.hang_up(key);
                }
            }
        }
    }

    fn blocked(&mut self, key: SocketKey, connection: ConnectionId) {
        self.shard.handle_blocked(connection);
        self.arm_writable(key);
    }

    fn end_websocket(&mut self, key: SocketKey) {
        let Some(socket) = self.sockets.find(key) else { return };
        let Phase::WebSocket(connection) = socket.phase else { return };
        let Some(stream) = socket.stream.clone() else { return };
        socket.phase = Phase::WebSocketEnding(connection);
        let secure = socket.tls.is_some();
        self.sockets.set_deadline(key, Some(self.now.after(ENDING_TIMEOUT)));
        if secure {
            return self.end_tls(key);
        }
        // It fails only if the peer is gone, which the ring reports by itself.
        let _ = stream.shutdown(Shutdown::Write);
    }
}

/// An answer after which its caller's next call may begin, and a long one came before.
fn is_large(output: &Output) -> bool {
    matches!(output, Output::Answer { body, .. } if body.len() >= LARGE_ANSWER_BYTES)
}

/// What one call could write.
enum Written {
    /// There was nothing.
    Nothing,
    /// What was offered; there may be more.
    All(usize),
    /// Less than was offered: the socket is full.
    Part(usize),
}

/// Writes what is pending, or as much of it as one call takes. Small chunks are joined first,
/// which costs less than a slice for each; large ones are not copied.
fn write_pending(
    stream: &Rc<TcpStream>,
    shard: &Shard,
    connection: ConnectionId,
    gather: &mut Vec<u8>,
) -> io::Result<Written> {
    let mut stream: &TcpStream = stream;
    let mut chunks = shard.pending(connection);
    let Some(first) = chunks.next() else { return Ok(Written::Nothing) };
    let Some(second) = chunks.next() else {
        return stream.write(first).map(|count| written(count, first.len()));
    };
    gather.clear();
    let mut rest = [first, second].into_iter().chain(chunks);
    let overflow = rest.find(|chunk| !push_if_it_fits(gather, chunk));
    if overflow.is_none() || gather.len() * 2 >= gather.capacity() {
        return stream.write(gather).map(|count| written(count, gather.len()));
    }
    let mut slices = [IoSlice::new(&[]); SLICES_MAX];
    let mut offered = 0;
    for (slice, chunk) in slices.iter_mut().zip(shard.pending(connection)) {
        *slice = IoSlice::new(chunk);
        offered += chunk.len();
    }
    stream.write_vectored(&slices).map(|count| written(count, offered))
}

fn written(count: usize, offered: usize) -> Written {
    if count < offered { Written::Part(count) } else { Written::All(count) }
}

fn push_if_it_fits(gather: &mut Vec<u8>, chunk: &[u8]) -> bool {
    let fits = chunk.len() <= gather.capacity() - gather.len();
    if fits {
        gather.extend_from_slice(chunk);
    }
    fits
}
