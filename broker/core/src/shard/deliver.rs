//! From a publication to the outboxes of its subscribers: encoded once per way of spelling and
//! compressing it, then one reference per subscriber.

use std::sync::Arc;

use bytes::Bytes;

use super::Shard;
use super::flush::Pace;
use super::message::News;
use crate::connection::{Connection, Frame, Ticket};
use crate::fault::Disconnect;
use crate::ids::{ConnectionId, TopicRef};
use crate::protocol::{ClientInfo, Encoding, Form, Publication, Push, Reply};
use crate::topic::{Boundaries, Flow, delta};
use crate::websocket::{Compression, Data, Deflater, OpCode, framed_compressed};

/// Ways to spell a publication: as it is, as it is for one who gets deltas, as a patch.
const FORMS: usize = 3;

/// Frames that are made already, by way and form; mostly one.
pub(super) type Made = Vec<(usize, Frame)>;

/// The frames of one publication, made when the first subscriber needs them.
struct Frames<'a> {
    publication: &'a Publication,
    topic: &'a str,
    /// What patches are made against.
    base: Option<&'a Publication>,
    made: Made,
    /// Patches by encoding; `None` = not tried.
    patches: [Option<Option<Form>>; Encoding::COUNT],
}

impl Frames<'_> {
    /// The frame for a subscriber.
    fn get(
        &mut self,
        scratch: &mut Vec<u8>,
        deflater: &mut Deflater,
        way: Way,
        flow: Flow,
    ) -> Option<&Frame> {
        let (topic, publication, base) = (self.topic, self.publication, self.base);
        let (index, form) = if !flow.contains(Flow::DELTA) {
            (0, &Form::Plain)
        } else {
            let patch = self.patches.get_mut(way.encoding as usize)?;
            let patch = patch.get_or_insert_with(|| {
                base.and_then(|base| patch_of(way.encoding, base, publication))
            });
            match patch {
                Some(form) if flow.contains(Flow::BASED) => (2, &*form),
                _ => (1, &Form::Full),
            }
        };
        let key = way.index() * FORMS + index;
        let found = self.made.iter().position(|(made, _)| *made == key);
        let place = found.unwrap_or_else(|| {
            let push = Push::Publication { topic, publication, form };
            self.made.push((key, push_frame(scratch, deflater, way, &push)));
            self.made.len() - 1
        });
        self.made.get(place).map(|(_, frame)| frame)
    }
}

/// A publication as a patch of the one before it, where it is to be sent so and that is shorter.
pub(super) fn patch_of(encoding: Encoding, base: &Publication, next: &Publication) -> Option<Form> {
    if !next.draft.delta {
        return None;
    }
    let (base, next) = (&base.draft.data, &next.draft.data);
    let patch = match encoding {
        // It goes into a JSON string, so it must be text itself.
        Encoding::CentrifugoJson => delta(&base.json_text(), &next.json_text(), Boundaries::Utf8),
        Encoding::CentrifugoProtobuf => delta(base.bytes(), next.bytes(), Boundaries::Bytes),
    };
    patch.map(|patch| Form::Patch(Bytes::from(patch)))
}

impl Shard {
    /// A publication has arrived for a topic of this shard.
    pub(super) fn deliver(&mut self, topic: TopicRef, publication: &Arc<Publication>) {
        if !publication.draft.skip_history {
            self.advance(topic, publication);
        }
        // The shard may have left the topic while this was under way.
        let Some(local) = self.local.topic_mut(topic) else {
            return;
        };
        let special = local.special.as_deref();
        let base = special.and_then(|special| special.last.as_deref());
        let mut frames = Frames {
            publication,
            topic: &local.name,
            base,
            made: std::mem::take(&mut self.made),
            patches: Default::default(),
        };
        let mut slow = Vec::new();
        let mut delivered = 0;
        for subscriber in &mut local.subscribers {
            let id = subscriber.connection;
            let Some(connection) = self.connections.get_mut(id) else {
                continue;
            };
            if subscriber.flow.contains(Flow::FILTERED) {
                let filter = special.and_then(|special| special.filters.get(&id));
                if filter.is_some_and(|filter| !filter.matches(&publication.draft.tags)) {
                    continue;
                }
            }
            let (scratch, deflater) = (&mut self.scratch, &mut self.deflater);
            let way = Way::of(connection);
            let Some(frame) = frames.get(scratch, deflater, way, subscriber.flow) else {
                continue;
            };
            connection.push(Frame::clone(frame));
            if self.flush.add(id, connection) == Pace::Slow {
                slow.push(id);
                continue;
            }
            if subscriber.flow.contains(Flow::DELTA) {
                subscriber.flow |= Flow::BASED;
            }
            delivered += 1;
        }
        self.made = frames.made;
        self.made.clear();
        if let Some(special) = &mut local.special
            && special.deltas > 0
        {
            special.last = Some(Arc::clone(publication));
        }
        self.counters.deliveries += delivered;
        for id in slow {
            self.close_slow(id);
        }
    }

    /// Somebody came to a topic or left it: tells those who want to hear of it.
    pub(super) fn deliver_news(&mut self, topic: TopicRef, news: News, info: &ClientInfo) {
        let Some(local) = self.local.topic(topic) else {
            return;
        };
        if local.special.as_ref().is_none_or(|special| special.hear_joins == 0) {
            return;
        }
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
                if self.flush.add(id, connection) == Pace::Slow {
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
            && self.flush.add(id, connection) == Pace::Slow
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
struct Way {
    encoding: Encoding,
    compression: Compression,
}

/// Ways that there are.
const WAYS: usize = Encoding::COUNT * Compression::CLASSES;

impl Way {
    fn of(connection: &Connection) -> Self {
        Self { encoding: connection.adapter.encoding(), compression: connection.compression }
    }

    fn index(self) -> usize {
        self.encoding as usize * Compression::CLASSES + self.compression.class()
    }
}

fn push_frame(scratch: &mut Vec<u8>, deflater: &mut Deflater, way: Way, push: &Push<'_>) -> Frame {
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
