//! What connections are sent beside publications: replies, news, pushes of their own. And how a
//! frame is made.

use super::Shard;
use super::flush::Pace;
use super::message::News;
use crate::connection::{Connection, Frame, Queue, Ticket};
use crate::fault::Disconnect;
use crate::ids::{ConnectionId, TopicRef};
use crate::protocol::{ClientInfo, Encoding, Push, Reply};
use crate::topic::Flow;
use crate::websocket::{Compression, Data, Deflater, OpCode, framed_compressed};

impl Shard {
    /// Somebody came to a topic or left it: tells those who want to hear of it.
    pub(super) fn deliver_news(&mut self, topic: TopicRef, news: News, info: &ClientInfo) {
        let Some(local) = self.local.topic(topic) else {
            return;
        };
        let hear = local.special.as_ref().map_or(0, |special| special.hear_joins as usize);
        if hear == 0 {
            return;
        }
        self.fanouts.count(local.subscribers.len());
        let queue = self.fanouts.queue_of(hear);
        let push = match news {
            News::Join => Push::Join { topic: &local.name, info },
            News::Leave => Push::Leave { topic: &local.name, info },
        };
        let mut frames = [const { None }; WAYS];
        let mut slow = Vec::new();
        // Mostly few of many: the others are not even looked up.
        let hearers =
            local.subscribers.iter().filter(|found| found.flow.contains(Flow::HEARS_JOINS));
        for subscriber in hearers {
            let id = subscriber.connection;
            let Some(connection) = self.connections.get_mut(id) else {
                continue;
            };
            let way = Way::of(connection);
            if let Some(slot) = frames.get_mut(way.index()) {
                let frame = slot.get_or_insert_with(|| {
                    push_frame(&mut self.scratch, &mut self.deflater, way, &push)
                });
                connection.push(Frame::clone(frame));
                if self.flush.add(id, connection, queue) == Pace::Slow {
                    slow.push(id);
                }
            }
        }
        for id in slow {
            self.close_slow(id);
        }
    }

    /// Queues a push for one connection.
    pub(super) fn push(&mut self, id: ConnectionId, push: &Push<'_>) {
        if let Some(connection) = self.connections.get_mut(id) {
            let way = Way::of(connection);
            connection.push(push_frame(&mut self.scratch, &mut self.deflater, way, push));
            self.queued(id);
        }
    }

    /// Queues a push that keeps its place among the replies.
    pub(super) fn push_in_order(&mut self, id: ConnectionId, push: &Push<'_>) {
        if let Some(connection) = self.connections.get_mut(id) {
            let way = Way::of(connection);
            let frame = push_frame(&mut self.scratch, &mut self.deflater, way, push);
            connection.push_in_order(frame);
            self.queued(id);
        }
    }

    /// Queues a reply that is ready.
    pub(super) fn reply(&mut self, id: ConnectionId, command: u32, reply: &Reply<'_>) {
        self.count_refusal(id, reply);
        if let Some(connection) = self.connections.get_mut(id) {
            let way = Way::of(connection);
            let frame = reply_frame(&mut self.scratch, &mut self.deflater, way, command, reply);
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
        // One that is closed awaits nothing any more. To spell what nobody reads would cost those
        // who stay: a client may ask for large answers by the hundred and be slow at the first.
        let connection = self.connections.get_mut(id).filter(|found| found.awaits_replies());
        if let Some(connection) = connection {
            let way = Way::of(connection);
            let frame = reply_frame(&mut self.scratch, &mut self.deflater, way, command, reply);
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

    /// Whether a large reply fits into the outbox beside what waits for this connection.
    pub(super) fn fits(&self, id: ConnectionId, bytes: usize) -> bool {
        let waiting_bytes = self.connections.get(id).map_or(0, Connection::waiting_bytes);
        waiting_bytes + bytes <= self.settings.client.outbox_bytes_max
    }

    /// Something was queued for one connection alone.
    pub(super) fn queued(&mut self, id: ConnectionId) {
        if let Some(connection) = self.connections.get_mut(id)
            && self.flush.add(id, connection, Queue::Short) == Pace::Slow
        {
            self.close_slow(id);
        }
    }

    pub(super) fn close_slow(&mut self, id: ConnectionId) {
        self.counters.slow += u64::from(self.is_open(id));
        self.disconnect(id, &Disconnect::SLOW, "outbox over outbox_bytes_max");
    }
}

/// What the frames to a connection depend on; connections of one way share them.
#[derive(Clone, Copy)]
pub(super) struct Way {
    pub(super) encoding: Encoding,
    compression: Compression,
}

/// Ways that there are.
const WAYS: usize = Encoding::COUNT * Compression::CLASSES;

impl Way {
    pub(super) fn of(connection: &Connection) -> Self {
        Self { encoding: connection.adapter.encoding(), compression: connection.compression }
    }

    pub(super) fn index(self) -> usize {
        self.encoding as usize * Compression::CLASSES + self.compression.class()
    }
}

pub(super) fn push_frame(
    scratch: &mut Vec<u8>,
    deflater: &mut Deflater,
    way: Way,
    push: &Push<'_>,
) -> Frame {
    let Way { encoding, compression } = way;
    framed_compressed(scratch, encoding.opcode(), (compression, deflater), |out| {
        encoding.append_push(out, push);
    })
}

fn reply_frame(
    scratch: &mut Vec<u8>,
    deflater: &mut Deflater,
    way: Way,
    command: u32,
    reply: &Reply<'_>,
) -> Frame {
    let Way { encoding, compression } = way;
    framed_compressed(scratch, encoding.opcode(), (compression, deflater), |out| {
        encoding.append_reply(out, command, reply);
    })
}
