//! From a publication to the outboxes of its subscribers: encoded once per encoding and class of
//! compression, then one reference per subscriber.

use std::collections::VecDeque;

use super::Shard;
use crate::connection::{Connection, Frame, Ticket};
use crate::fault::Disconnect;
use crate::ids::{ConnectionId, TopicRef};
use crate::limits::FRAME_COST_BYTES;
use crate::protocol::{Encoding, Publication, Push, Reply};
use crate::websocket::{Compression, Data, Deflater, OpCode, framed_compressed};

impl Shard {
    /// A publication has arrived for a topic of this shard.
    pub(super) fn deliver(&mut self, topic: TopicRef, publication: &Publication) {
        // The shard may have left the topic while this was under way.
        let Some(local) = self.local.topic(topic) else {
            return;
        };
        let outbox_bytes_max = self.settings.client.outbox_bytes_max;
        let push = Push::Publication { topic: &local.name, publication };
        let mut frames: [Option<Frame>; VARIANTS] = Default::default();
        let mut slow = Vec::new();
        for &id in &local.subscribers {
            let Some(connection) = self.connections.get_mut(id) else {
                continue;
            };
            let form = Form::of(connection);
            let Some(slot) = frames.get_mut(form.index()) else {
                continue;
            };
            let frame = slot.get_or_insert_with(|| {
                push_frame(&mut self.scratch, &mut self.deflater, form, &push)
            });
            let waiting_bytes = connection.waiting_bytes() + frame.len() + FRAME_COST_BYTES;
            if is_slow(connection, waiting_bytes, outbox_bytes_max) {
                slow.push(id);
                continue;
            }
            self.pressed |= !connection.blocked && waiting_bytes > outbox_bytes_max / 2;
            connection.push(Frame::clone(frame));
            mark_dirty(&mut self.dirty, id, connection);
        }
        self.counters.deliveries += (local.subscribers.len() - slow.len()) as u64;
        for id in slow {
            self.close_slow(id);
        }
    }

    /// Queues a push for one connection.
    pub(super) fn push(&mut self, id: ConnectionId, push: &Push<'_>) {
        if let Some(connection) = self.connections.get_mut(id) {
            let form = Form::of(connection);
            connection.push(push_frame(&mut self.scratch, &mut self.deflater, form, push));
            self.queued(id);
        }
    }

    /// Queues a push that keeps its place among the replies.
    pub(super) fn push_in_order(&mut self, id: ConnectionId, push: &Push<'_>) {
        if let Some(connection) = self.connections.get_mut(id) {
            let form = Form::of(connection);
            let frame = push_frame(&mut self.scratch, &mut self.deflater, form, push);
            connection.push_in_order(frame);
            self.queued(id);
        }
    }

    /// Queues a reply that is ready.
    pub(super) fn reply(&mut self, id: ConnectionId, command: u32, reply: &Reply<'_>) {
        self.count_refusal(id, reply);
        if let Some(connection) = self.connections.get_mut(id) {
            let form = Form::of(connection);
            let frame = reply_frame(&mut self.scratch, &mut self.deflater, form, command, reply);
            connection.push_in_order(frame);
            self.queued(id);
        }
    }

    /// Queues a reply in the place that was kept for it.
    pub(super) fn fill(
        &mut self,
        id: ConnectionId,
        ticket: Ticket,
        command: u32,
        reply: &Reply<'_>,
    ) {
        self.count_refusal(id, reply);
        if let Some(connection) = self.connections.get_mut(id) {
            let form = Form::of(connection);
            let frame = reply_frame(&mut self.scratch, &mut self.deflater, form, command, reply);
            connection.fill(ticket, frame);
            self.queued(id);
        }
    }

    /// Answers a message by itself, in the form of everything else that a connection is sent.
    pub(super) fn echo(&mut self, id: ConnectionId, data: Data, message: &[u8]) {
        if let Some(connection) = self.connections.get_mut(id) {
            let deflate = (connection.compression, &mut self.deflater);
            connection.push(framed_compressed(
                &mut self.scratch,
                OpCode::Data(data),
                deflate,
                |out| out.extend_from_slice(message),
            ));
            self.queued(id);
        }
    }

    fn count_refusal(&mut self, id: ConnectionId, reply: &Reply<'_>) {
        if let Reply::Refused(refusal) = reply {
            self.counters.refusals += 1;
            let socket = self.connections.get(id).map(|connection| connection.socket.0);
            tracing::debug!(socket, code = refusal.code(), cause = %refusal, "command refused");
        }
    }

    /// Something was queued outside the fan-out: keeps the bound and the list.
    pub(super) fn queued(&mut self, id: ConnectionId) {
        let Some(connection) = self.connections.get_mut(id) else {
            return;
        };
        let outbox_bytes_max = self.settings.client.outbox_bytes_max;
        if is_slow(connection, connection.waiting_bytes(), outbox_bytes_max) {
            self.close_slow(id);
            return;
        }
        mark_dirty(&mut self.dirty, id, connection);
    }

    pub(super) fn close_slow(&mut self, id: ConnectionId) {
        self.counters.slow += u64::from(self.is_open(id));
        self.disconnect(id, &Disconnect::SLOW, "outbox over outbox_bytes_max");
    }
}

/// Whether a connection does not keep up: too much waits although its socket was offered it, or so
/// much that no turn brings it together by right.
pub(super) fn is_slow(
    connection: &Connection,
    waiting_bytes: usize,
    outbox_bytes_max: usize,
) -> bool {
    let bound = if connection.blocked { outbox_bytes_max } else { 2 * outbox_bytes_max };
    waiting_bytes > bound
}

/// Lists a connection that has something to send.
pub(super) fn mark_dirty(
    dirty: &mut VecDeque<ConnectionId>,
    id: ConnectionId,
    connection: &mut Connection,
) {
    if !connection.dirty && !connection.blocked && connection.has_output() {
        connection.dirty = true;
        dirty.push_back(id);
    }
}

/// What the frames to a connection depend on; connections of one form share them.
#[derive(Clone, Copy)]
struct Form {
    encoding: Encoding,
    compression: Compression,
}

/// Forms that there are.
const VARIANTS: usize = Encoding::COUNT * Compression::CLASSES;

impl Form {
    fn of(connection: &Connection) -> Self {
        Self { encoding: connection.adapter.encoding(), compression: connection.compression }
    }

    fn index(self) -> usize {
        self.encoding as usize * Compression::CLASSES + self.compression.class()
    }
}

fn push_frame(
    scratch: &mut Vec<u8>,
    deflater: &mut Deflater,
    form: Form,
    push: &Push<'_>,
) -> Frame {
    let Form { encoding, compression } = form;
    framed_compressed(scratch, encoding.opcode(), (compression, deflater), |out| {
        encoding.append_push(out, push);
    })
}

fn reply_frame(
    scratch: &mut Vec<u8>,
    deflater: &mut Deflater,
    form: Form,
    command: u32,
    reply: &Reply<'_>,
) -> Frame {
    let Form { encoding, compression } = form;
    framed_compressed(scratch, encoding.opcode(), (compression, deflater), |out| {
        encoding.append_reply(out, command, reply);
    })
}
