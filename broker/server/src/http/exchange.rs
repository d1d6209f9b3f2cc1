//! Where a request and the reactor meet: what the request wants of core, and what came back.
//!
//! HTTP/1.1 answers in order and hyper serves one request of a connection at a time, so there is at
//! most one call and one answer per connection.

use std::cell::Cell;
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
    ending: Cell<bool>,
    kept: Cell<Option<RequestInHand>>,
    in_hand: InHand,
}

impl Exchange {
    /// On the socket that core and the reactor know by this name.
    pub(super) fn new(socket: SocketId, in_hand: InHand) -> Self {
        Self { socket: socket.0, in_hand, ..Self::default() }
    }

    /// The socket's number, for the log.
    pub(super) fn socket(&self) -> u64 {
        self.socket
    }

    /// For the request: makes a call of core; [`Exchange::poll_answer`] has its answer.
    pub(super) fn begin_call(&self, call: Call) {
        self.call.set(Some(call));
    }

    /// For the request: the answer to its call. No waker is kept: the reactor polls the connection
    /// when it has set the answer.
    pub(super) fn poll_answer(&self) -> Poll<(u16, Vec<u8>)> {
        self.answer.take().map_or(Poll::Pending, Poll::Ready)
    }

    /// For the request: it is in hand until the guard is dropped.
    pub(super) fn begin_request(&self) -> RequestInHand {
        self.note_activity();
        self.in_hand.begin()
    }

    /// For the request: the node takes nothing new.
    pub(super) fn is_ending(&self) -> bool {
        self.ending.get()
    }

    /// For the request: the socket is to become a WebSocket after the answer.
    pub(super) fn upgrade(&self, upgrade: Upgrade) {
        self.upgrade.set(Some(upgrade));
    }

    /// For the request: it began, or more of it came.
    pub(super) fn note_activity(&self) {
        self.active.set(true);
    }

    /// For the request: it was cut short. Until its socket is closed it is in hand, for bytes that
    /// nobody reads would be answered with a reset, which can overtake the answer.
    pub(super) fn keep_until_closed(&self, in_hand: RequestInHand) {
        self.kept.set(Some(in_hand));
    }

    pub(super) fn take_kept(&self) -> Option<RequestInHand> {
        self.kept.take()
    }

    pub(super) fn note_ending(&self) {
        self.ending.set(true);
    }

    /// Whether a call was made that the reactor has not taken.
    pub(super) fn has_call(&self) -> bool {
        let call = self.call.take();
        let has_call = call.is_some();
        self.call.set(call);
        has_call
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
}

/// Counts the requests of a shard that are being answered.
#[derive(Clone, Default)]
pub(crate) struct InHand(Rc<Cell<usize>>);

impl InHand {
    /// Counts one until the guard is dropped.
    pub(super) fn begin(&self) -> RequestInHand {
        self.0.set(self.0.get() + 1);
        RequestInHand(self.clone())
    }

    pub(super) fn count(&self) -> usize {
        self.0.get()
    }
}

/// One request that is being answered.
pub(crate) struct RequestInHand(InHand);

impl Clone for RequestInHand {
    fn clone(&self) -> Self {
        self.0.begin()
    }
}

impl Drop for RequestInHand {
    fn drop(&mut self) {
        self.0.0.set(self.0.0.get() - 1);
    }
}
