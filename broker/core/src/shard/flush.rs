//! Which connections have something to send, and whether one of them has so much that everything
//! else must wait.

use std::collections::VecDeque;

use crate::connection::Connection;
use crate::ids::ConnectionId;

/// What waits for the end of the turn.
#[derive(Debug)]
pub(super) struct Flush {
    /// Connections with something to send.
    listed: VecDeque<ConnectionId>,
    /// Some connection has much to send that its socket was not offered yet. What has come and what
    /// backends ask waits until it was.
    pressed: bool,
    outbox_bytes_max: usize,
}

impl Flush {
    pub(super) fn new(outbox_bytes_max: usize) -> Self {
        Self { listed: VecDeque::new(), pressed: false, outbox_bytes_max }
    }

    /// A frame was queued. Lists its connection, or says that it does not keep up.
    #[must_use]
    pub(super) fn add(&mut self, id: ConnectionId, connection: &mut Connection) -> Pace {
        let waiting_bytes = connection.waiting_bytes();
        if waiting_bytes > self.bound(connection) {
            return Pace::Slow;
        }
        self.pressed |= !connection.blocked && waiting_bytes > self.outbox_bytes_max / 2;
        self.list(id, connection);
        Pace::Fine
    }

    /// Lists a connection that may have something to send.
    pub(super) fn list(&mut self, id: ConnectionId, connection: &mut Connection) {
        if !connection.dirty && !connection.blocked && connection.has_output() {
            connection.dirty = true;
            self.listed.push_back(id);
        }
    }

    /// Takes the next connection out of the list; it may be gone.
    pub(super) fn pop(&mut self) -> Option<ConnectionId> {
        self.listed.pop_front()
    }

    /// Whether what can wait for the sockets must.
    pub(super) fn is_pressed(&self) -> bool {
        self.pressed
    }

    /// All sockets were offered what they had coming.
    pub(super) fn relax(&mut self) {
        self.pressed = false;
    }

    /// Whether a connection keeps up.
    pub(super) fn pace(&self, connection: &Connection) -> Pace {
        let slow = connection.waiting_bytes() > self.bound(connection);
        if slow { Pace::Slow } else { Pace::Fine }
    }

    /// What may wait for a connection: less once its socket was offered it, and never more than a
    /// turn brings together by right.
    fn bound(&self, connection: &Connection) -> usize {
        self.outbox_bytes_max * if connection.blocked { 1 } else { 2 }
    }
}

/// Whether a connection keeps up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pace {
    Fine,
    Slow,
}
