//! The table of a shard's sockets: what each one is at the moment, and when its time is up.
//!
//! A socket begins as [`Phase::Fresh`], where TLS is spoken after a [`Phase::Handshake`]; its
//! first byte makes it [`Phase::Http`]. An upgrade makes it a [`Phase::WebSocket`]; every other end
//! of the HTTP conversation, a [`Phase::Lingering`]. A closed socket keeps its entry until the
//! kernel has reported the end of its polls, so that no completion can meet a later tenant.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::net::TcpStream;
use std::rc::Rc;

use fanwire_core::{CallId, ConnectionId, Slots, SocketId, Time};
use slotmap::{Key, KeyData, new_key_type};

use crate::http::{HttpConnection, Plaintext, RequestInHand, Surface};
use crate::tls::Session;

new_key_type! {
    /// A socket of this shard: an index and a generation.
    pub(crate) struct SocketKey;
}

impl SocketKey {
    /// The name that core knows the socket by; its number is `socket` in the log.
    pub(crate) fn socket_id(self) -> SocketId {
        SocketId(self.data().as_ffi())
    }

    /// The name of the call that waits on this socket; HTTP/1.1 has one at a time.
    pub(crate) fn call_id(self) -> CallId {
        CallId(self.data().as_ffi())
    }
}

impl From<SocketId> for SocketKey {
    fn from(id: SocketId) -> Self {
        KeyData::from_ffi(id.0).into()
    }
}

impl From<CallId> for SocketKey {
    fn from(id: CallId) -> Self {
        KeyData::from_ffi(id.0).into()
    }
}

/// What a socket is used for at the moment.
pub(crate) enum Phase {
    /// TLS is being agreed on; its session comes with the first byte.
    Handshake {
        /// It waits for its turn.
        queued: bool,
    },
    /// Accepted, and silent so far. hyper's buffers are 9 KiB; who says nothing gets none.
    Fresh(Surface),
    /// HTTP/1.1, a request or the wait for one.
    Http(Box<HttpConnection>),
    /// Frames, read and written by core.
    WebSocket(ConnectionId),
    /// Core wrote its last word; what still comes is discarded until the peer closes too.
    WebSocketEnding(ConnectionId),
    /// HTTP said its last word; the same. A request that was cut short is in hand until then.
    Lingering(#[expect(dead_code, reason = "a guard")] Option<RequestInHand>),
    /// Waits for the last completion of its polls.
    Closed,
}

/// Entries of `Sockets::deadlines` that may always be out of date.
const STALE_DEADLINES: usize = 64;

/// One socket.
pub(crate) struct Socket {
    /// `None` once closed.
    pub(crate) stream: Option<Rc<TcpStream>>,
    /// What it is used for.
    pub(crate) phase: Phase,
    /// A multishot poll for reading is in the ring.
    pub(crate) read_armed: bool,
    /// A one-shot poll for writing is in the ring.
    pub(crate) write_armed: bool,
    /// Where TLS is spoken, from the first byte on; `None` = the socket is plain.
    pub(crate) tls: Option<Box<Session>>,
    /// When the shell closes it unless something happens; `None` = core watches over it.
    deadline: Option<Time>,
    /// The earliest entry in `Sockets::deadlines` that names it.
    queued: Option<Time>,
}

impl Socket {
    /// Whether reading of a TLS socket stopped until HTTP had taken what was opened, and may go on;
    /// it is said once.
    pub(crate) fn resume_tls(&mut self) -> bool {
        let Some(tls) = &mut self.tls else { return false };
        let has_room = match &self.phase {
            Phase::Http(http) => http.plaintext().is_some_and(Plaintext::has_room),
            _ => false,
        };
        has_room && std::mem::take(&mut tls.stalled)
    }
}

/// All sockets of a shard.
#[derive(Default)]
pub(crate) struct Sockets {
    slots: Slots<SocketKey, Socket>,
    /// Entries may be out of date: a deadline that moves away leaves its entry until it is due, or
    /// until most entries are of that kind.
    deadlines: BinaryHeap<Reverse<(Time, SocketKey)>>,
    /// Sockets with a deadline.
    watched_count: usize,
    /// Sockets whose stream is open.
    open_count: usize,
}

impl Sockets {
    /// Adds an open socket.
    pub(crate) fn insert(
        &mut self,
        stream: Rc<TcpStream>,
        phase: Phase,
        deadline: Time,
    ) -> SocketKey {
        let key = self.slots.insert(Socket {
            stream: Some(stream),
            phase,
            read_armed: false,
            write_armed: false,
            tls: None,
            deadline: None,
            queued: None,
        });
        self.open_count += 1;
        self.set_deadline(key, Some(deadline));
        key
    }

    /// The socket, closed ones included.
    pub(crate) fn find(&mut self, key: SocketKey) -> Option<&mut Socket> {
        self.slots.get_mut(key)
    }

    /// How many are open.
    pub(crate) fn open_count(&self) -> usize {
        self.open_count
    }

    /// The keys of all open sockets.
    pub(crate) fn open_keys(&self) -> Vec<SocketKey> {
        let open = self.slots.iter().filter(|(_, socket)| socket.stream.is_some());
        open.map(|(key, _)| key).collect()
    }

    /// Takes the stream and what the socket was used for out of the table.
    pub(crate) fn close(&mut self, key: SocketKey) -> Option<(Rc<TcpStream>, Phase)> {
        let socket = self.slots.get_mut(key)?;
        let stream = socket.stream.take()?;
        self.watched_count -= usize::from(socket.deadline.take().is_some());
        self.open_count -= 1;
        Some((stream, std::mem::replace(&mut socket.phase, Phase::Closed)))
    }

    /// Forgets a closed socket when no poll of it is left in the ring.
    pub(crate) fn release(&mut self, key: SocketKey) {
        let done =
            |socket: &Socket| socket.stream.is_none() && !socket.read_armed && !socket.write_armed;
        if self.slots.get(key).is_some_and(done) {
            self.slots.remove(key);
        }
    }

    /// Sets or clears the time at which the shell closes the socket.
    pub(crate) fn set_deadline(&mut self, key: SocketKey, deadline: Option<Time>) {
        let Some(socket) = self.slots.get_mut(key) else { return };
        self.watched_count += usize::from(deadline.is_some());
        self.watched_count -= usize::from(socket.deadline.is_some());
        socket.deadline = deadline;
        let Some(deadline) = deadline else { return };
        if socket.queued.is_none_or(|queued| deadline < queued) {
            socket.queued = Some(deadline);
            self.deadlines.push(Reverse((deadline, key)));
            self.forget_stale_deadlines();
        }
    }

    /// An entry of each socket that became a WebSocket would stay for a minute otherwise.
    fn forget_stale_deadlines(&mut self) {
        if self.deadlines.len() <= 2 * self.watched_count + STALE_DEADLINES {
            return;
        }
        let slots = &mut self.slots;
        self.deadlines.retain(|Reverse((time, key))| {
            let Some(socket) = slots.get_mut(*key) else { return false };
            let current = socket.queued == Some(*time);
            if current && socket.deadline.is_none() {
                socket.queued = None;
            }
            current && socket.deadline.is_some()
        });
    }

    /// When [`Sockets::pop_expired`] may have something; perhaps too early, never too late.
    pub(crate) fn next_deadline(&self) -> Option<Time> {
        self.deadlines.peek().map(|Reverse((time, _))| *time)
    }

    /// A socket whose deadline has come.
    pub(crate) fn pop_expired(&mut self, now: Time) -> Option<SocketKey> {
        while self.next_deadline().is_some_and(|time| time <= now) {
            let Reverse((time, key)) = self.deadlines.pop()?;
            let Some(socket) = self.slots.get_mut(key) else { continue };
            if socket.queued != Some(time) {
                continue;
            }
            socket.queued = None;
            match socket.deadline {
                Some(deadline) if deadline <= now => {
                    socket.deadline = None;
                    self.watched_count -= 1;
                    return Some(key);
                }
                later => self.set_deadline(key, later),
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::{Phase, Rc, SocketKey, Sockets, TcpStream, Time};

    fn stream() -> Rc<TcpStream> {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        Rc::new(TcpStream::connect(listener.local_addr().unwrap()).unwrap())
    }

    fn at(millis: u64) -> Time {
        Time::from_millis(millis)
    }

    fn socket(sockets: &mut Sockets, deadline: u64) -> SocketKey {
        sockets.insert(stream(), Phase::Lingering(None), at(deadline))
    }

    #[test]
    fn a_deadline_fires_once_and_only_when_it_is_due() {
        let mut sockets = Sockets::default();
        let key = socket(&mut sockets, 10);
        assert_eq!(sockets.pop_expired(at(9)), None);
        assert_eq!(sockets.pop_expired(at(10)), Some(key));
        assert_eq!(sockets.pop_expired(at(99)), None);
    }

    #[test]
    fn a_moved_deadline_fires_at_its_new_time() {
        let mut sockets = Sockets::default();
        let later = socket(&mut sockets, 10);
        let sooner = socket(&mut sockets, 50);
        let cleared = socket(&mut sockets, 5);
        sockets.set_deadline(later, Some(at(30)));
        sockets.set_deadline(sooner, Some(at(20)));
        sockets.set_deadline(cleared, None);
        assert_eq!(sockets.pop_expired(at(19)), None);
        assert_eq!(sockets.pop_expired(at(29)), Some(sooner));
        assert_eq!(sockets.pop_expired(at(29)), None);
        assert_eq!(sockets.pop_expired(at(30)), Some(later));
        assert_eq!(sockets.pop_expired(at(90)), None);
    }

    #[test]
    fn deadlines_that_were_cleared_take_no_room_and_those_that_were_not_fire() {
        let mut sockets = Sockets::default();
        let kept: Vec<_> = (0..10).map(|nth| socket(&mut sockets, 1000 + nth)).collect();
        for _ in 0..400 {
            let key = socket(&mut sockets, 500);
            sockets.set_deadline(key, None);
            assert!(sockets.deadlines.len() <= 3 * super::STALE_DEADLINES);
            if sockets.open_count() % 2 == 0 {
                sockets.close(key);
                sockets.release(key);
            }
        }
        // One that had none for a while has one again.
        sockets.set_deadline(kept[0], None);
        for _ in 0..100 {
            let key = socket(&mut sockets, 500);
            sockets.set_deadline(key, None);
        }
        sockets.set_deadline(kept[0], Some(at(1000)));
        for key in kept {
            assert_eq!(sockets.pop_expired(at(2000)), Some(key));
        }
        assert_eq!((sockets.pop_expired(at(9000)), sockets.watched_count), (None, 0));
    }

    #[test]
    fn a_closed_socket_stays_until_its_last_poll_ended() {
        let mut sockets = Sockets::default();
        let key = socket(&mut sockets, 10);
        sockets.find(key).unwrap().read_armed = true;
        assert!(sockets.close(key).is_some());
        assert!(sockets.close(key).is_none());
        assert_eq!(sockets.open_count(), 0);
        sockets.release(key);
        sockets.find(key).unwrap().read_armed = false;
        sockets.release(key);
        assert!(sockets.find(key).is_none());
        assert_eq!(sockets.pop_expired(at(99)), None);
    }
}
