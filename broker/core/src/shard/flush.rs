//! Which connections have something to send, and whether one of them has so much that everything
//! else must wait.
//!
//! There are two queues. Who is reached by a publication to many waits in the long one, and who has
//! more to send than the socket took; a reply, a ping or a publication to few need not wait for a
//! hundred thousand sends before it.

use std::collections::VecDeque;

use crate::connection::{Connection, Queue};
use crate::ids::ConnectionId;

/// Connections served from the short queue before one of the long queue is, while both have some.
const SHORT_IN_A_ROW: u32 = 3;

/// What waits for the end of the turn.
#[derive(Debug)]
pub(super) struct Flush {
    /// Connections with something to send. An entry counts only if its connection still says that
    /// it waits in this queue.
    short: VecDeque<ConnectionId>,
    long: VecDeque<ConnectionId>,
    /// Served from the short queue since one of the long queue was.
    in_a_row: u32,
    /// Some connection has much to send that its socket was not offered yet. What has come and what
    /// backends ask waits until it was.
    pressed: bool,
    outbox_bytes_max: usize,
}

impl Flush {
    pub(super) fn new(outbox_bytes_max: usize) -> Self {
        let (short, long) = Default::default();
        Self { short, long, in_a_row: 0, pressed: false, outbox_bytes_max }
    }

    /// A frame was queued. Lists its connection, or says that it does not keep up.
    #[must_use]
    pub(super) fn add(
        &mut self,
        id: ConnectionId,
        connection: &mut Connection,
        queue: Queue,
    ) -> Pace {
        let waiting_bytes = connection.waiting_bytes();
        if waiting_bytes > self.bound(connection) {
            return Pace::Slow;
        }
        self.pressed |= !connection.blocked && waiting_bytes > self.outbox_bytes_max / 2;
        self.list(id, connection, queue);
        Pace::Fine
    }

    /// Lists a connection that may have something to send. One in the long queue may change to the
    /// short one.
    pub(super) fn list(&mut self, id: ConnectionId, connection: &mut Connection, queue: Queue) {
        let is_listed = connection.queued == Some(Queue::Short) || connection.queued == Some(queue);
        if is_listed || connection.blocked || !connection.has_output() {
            return;
        }
        connection.queued = Some(queue);
        match queue {
            Queue::Short => self.short.push_back(id),
            Queue::Long => self.long.push_back(id),
        }
    }

    /// Takes the next entry; its connection may be gone, or wait in another queue by now.
    pub(super) fn pop(&mut self) -> Option<(ConnectionId, Queue)> {
        let is_turn_of_long = self.in_a_row >= SHORT_IN_A_ROW && !self.long.is_empty();
        if !is_turn_of_long && let Some(id) = self.short.pop_front() {
            self.in_a_row += 1;
            return Some((id, Queue::Short));
        }
        self.in_a_row = 0;
        self.long.pop_front().map(|id| (id, Queue::Long))
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
