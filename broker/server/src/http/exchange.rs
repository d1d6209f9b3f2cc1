//! Where a request and the reactor meet: what the request wants of core, and what came back.
//!
//! HTTP/1.1 answers in order and hyper serves one request of a connection at a time, so there is at
//! most one call and one answer per connection.

use std::cell::Cell;
use std::future::poll_fn;
use std::rc::Rc;
use std::task::Poll;

use fanwire_core::SocketId;
use fanwire_core::api::Call;

use super::upgrade::Upgrade;

/// The meeting place of one connection.
#[derive(Default)]
pub(crate) struct Exchange {
    socket: u64,
    call: Cell<Option<Call>>,
    answer: Cell<Option<(u16, Vec<u8>)>>,
    upgrade: Cell<Option<Upgrade>>,
    active: Cell<bool>,
    write_blocked: Cell<bool>,
}

impl Exchange {
    /// On the socket that core and the reactor know by this name.
    pub(super) fn new(socket: SocketId) -> Self {
        Self { socket: socket.0, ..Self::default() }
    }

    /// The socket's number, for the log.
    pub(super) fn socket(&self) -> u64 {
        self.socket
    }

    /// For the request: makes a call of core and waits for HTTP status and body of its answer.
    pub(super) async fn call(&self, call: Call) -> (u16, Vec<u8>) {
        self.call.set(Some(call));
        poll_fn(|_| match self.answer.take() {
            Some(answer) => Poll::Ready(answer),
            // No waker is kept: the reactor polls the connection when it has set the answer.
            None => Poll::Pending,
        })
        .await
    }

    /// For the request: the socket is to become a WebSocket after the answer.
    pub(super) fn upgrade(&self, upgrade: Upgrade) {
        self.upgrade.set(Some(upgrade));
    }

    /// For the request: it began.
    pub(super) fn note_activity(&self) {
        self.active.set(true);
    }

    /// For the socket: it takes no more bytes at the moment.
    pub(super) fn note_write_blocked(&self) {
        self.write_blocked.set(true);
    }

    pub(super) fn take_call(&self) -> Option<Call> {
        self.call.take()
    }

    pub(super) fn answer(&self, status: u16, body: Vec<u8>) {
        self.active.set(true);
        self.answer.set(Some((status, body)));
    }

    pub(super) fn take_upgrade(&self) -> Option<Upgrade> {
        self.upgrade.take()
    }

    pub(super) fn take_activity(&self) -> bool {
        self.active.take()
    }

    pub(super) fn take_write_blocked(&self) -> bool {
        self.write_blocked.take()
    }
}

/// Counts the requests of a shard that are being answered.
#[derive(Clone, Default)]
pub(crate) struct InHand(Rc<Cell<usize>>);

impl InHand {
    /// Counts one until the guard is dropped.
    pub(super) fn begin(&self) -> RequestInHand {
        self.0.set(self.0.get() + 1);
        RequestInHand(Rc::clone(&self.0))
    }

    pub(super) fn count(&self) -> usize {
        self.0.get()
    }
}

/// One request that is being answered.
pub(super) struct RequestInHand(Rc<Cell<usize>>);

impl Drop for RequestInHand {
    fn drop(&mut self) {
        self.0.set(self.0.get() - 1);
    }
}
