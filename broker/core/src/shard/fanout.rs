//! From a publication to the outboxes of its subscribers: encoded once per way of spelling and
//! compressing it, then one reference per subscriber, along one contiguous list.
//!
//! A publication to very many is delivered in slices, and the sockets are served in between. One
//! such fan-out is under way at a time; messages of the same topic, and publications to very many
//! in others, wait for its end (see `Shard::settle`). Who comes to the topic meanwhile is no
//! subscriber of this publication, so what is left of it is done first; who leaves it is served
//! before, and gives their place to the last of the list, who then must not be passed over.

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;

use super::Shard;
use super::deliver::{Way, push_frame};
use super::flush::Pace;
use super::message::Message;
use crate::connection::{Frame, Queue};
use crate::ids::{ConnectionId, TopicRef};
use crate::limits::FANOUT_SLICE;
use crate::protocol::{Encoding, Form, Publication, Push};
use crate::topic::{Boundaries, Flow, Local, Subscriber, delta};
use crate::websocket::Deflater;

/// Ways to spell a publication: as it is, as it is for one who gets deltas, as a patch.
const FORMS: usize = 3;
/// Subscribers of a publication that are few; who is one of more waits in the long queue.
const SHORT_QUEUE_MAX: usize = 128;
/// Slices in a turn of the shell: some half a millisecond of work.
const SLICES_PER_TURN: usize = 8;

/// The frames of one publication, made when the first subscriber needs them.
#[derive(Debug, Default)]
struct Frames {
    /// By way and form; mostly one.
    made: Vec<(usize, Frame)>,
    /// Patches by encoding; `None` = not tried.
    patches: [Option<Option<Form>>; Encoding::COUNT],
}

impl Frames {
    /// The frame for a subscriber.
    fn get(&mut self, tools: &mut Tools<'_>, way: Way, flow: Flow) -> Option<&Frame> {
        let Tools { topic, publication, base, .. } = *tools;
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
            self.made.push((key, push_frame(tools.scratch, tools.deflater, way, &push)));
            self.made.len() - 1
        });
        self.made.get(place).map(|(_, frame)| frame)
    }
}

/// What a frame is made of, and with.
struct Tools<'a> {
    topic: &'a str,
    publication: &'a Publication,
    /// What patches are made against.
    base: Option<&'a Publication>,
    scratch: &'a mut Vec<u8>,
    deflater: &'a mut Deflater,
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

/// A publication on its way to the subscribers of a topic.
#[derive(Debug)]
pub(super) struct Fanout {
    topic: TopicRef,
    publication: Arc<Publication>,
    frames: Frames,
    /// The first subscriber that it has not reached.
    next: usize,
}

/// Who still must be told, or given up.
#[derive(Debug)]
pub(super) struct Fanouts {
    /// What needed more than one slice.
    current: Option<Fanout>,
    /// Room for the frames of the next one.
    spare: Vec<(usize, Frame)>,
    /// Connections that do not keep up. They are closed between slices.
    slow: Vec<ConnectionId>,
    /// Subscribers that are reached before others have their turn.
    slice: usize,
    /// Subscribers that were looked at in this turn of the shell.
    reached: usize,
}

impl Default for Fanouts {
    fn default() -> Self {
        Self { current: None, spare: Vec::new(), slow: Vec::new(), slice: FANOUT_SLICE, reached: 0 }
    }
}

impl Fanouts {
    /// Whether something is not delivered to all.
    pub(super) fn is_active(&self) -> bool {
        self.current.is_some()
    }

    /// Where those wait for their sockets who are so many.
    pub(super) fn queue_of(&self, subscribers: usize) -> Queue {
        let is_short = subscribers <= SHORT_QUEUE_MAX.min(self.slice);
        if is_short { Queue::Short } else { Queue::Long }
    }

    /// So many subscribers were looked at.
    pub(super) fn count(&mut self, subscribers: usize) {
        self.reached += subscribers;
    }

    /// Whether enough was delivered for one turn of the shell.
    pub(super) fn is_spent(&self) -> bool {
        self.reached >= self.slice.saturating_mul(SLICES_PER_TURN)
    }

    /// The shell has looked for events.
    pub(super) fn begin_turn(&mut self) {
        self.reached = 0;
    }
}

impl Shard {
    /// Sets how many subscribers a publication reaches before others have their turn, instead of
    /// [`FANOUT_SLICE`]; at least 1. Simulations want it small.
    pub fn set_fanout_slice(&mut self, subscribers: usize) {
        self.fanouts.slice = subscribers.max(1);
    }

    /// A publication has arrived for a topic of this shard.
    pub(super) fn deliver(&mut self, topic: TopicRef, publication: Arc<Publication>) {
        if !publication.draft.skip_history {
            self.advance(topic, &publication);
        }
        let made = std::mem::take(&mut self.fanouts.spare);
        let frames = Frames { made, ..Frames::default() };
        self.slice(Fanout { topic, publication, frames, next: 0 });
        self.close_all_slow();
    }

    /// Goes on with what was not delivered to all, by a slice.
    pub(super) fn go_on_delivering(&mut self) {
        if let Some(fanout) = self.fanouts.current.take() {
            self.slice(fanout);
            self.close_all_slow();
        }
    }

    /// Whether a message must wait for the end of a fan-out.
    pub(super) fn must_wait(&self, message: &Message) -> bool {
        let Some(current) = &self.fanouts.current else {
            return false;
        };
        match message {
            Message::Deliver { topic, .. } => {
                let local = self.local.topic(*topic);
                let count = local.map_or(0, |local| local.subscribers.len());
                *topic == current.topic || count > self.fanouts.slice
            }
            Message::Announce { topic, .. } => *topic == current.topic,
            _ => false,
        }
    }

    /// Somebody is about to come to a topic: what is under way there is for those who came before.
    pub(super) fn deliver_before_joining(&mut self, topic: TopicRef) {
        while let Some(fanout) = self.fanouts.current.take_if(|found| found.topic == topic) {
            self.slice(fanout);
        }
        self.close_all_slow();
    }

    /// The subscriber at `index` is about to leave a topic. What was published before and had not
    /// reached them is theirs, unless they are gone altogether.
    pub(super) fn deliver_before_leaving(&mut self, topic: TopicRef, index: usize) {
        let Some(mut fanout) = self.fanouts.current.take_if(|found| found.topic == topic) else {
            return;
        };
        if index >= fanout.next {
            self.serve(&mut fanout, index..index + 1);
        }
        self.fanouts.current = Some(fanout);
    }

    /// Somebody left the list of a topic, and the last one took the place `index`. If what is under
    /// way has passed that place and had not reached the end, the one who moved is served now.
    pub(super) fn deliver_to_moved(&mut self, topic: TopicRef, index: usize) {
        let Some(mut fanout) = self.fanouts.current.take_if(|found| found.topic == topic) else {
            return;
        };
        let old_index = self.local.topic(topic).map_or(0, |local| local.subscribers.len());
        if index < fanout.next && fanout.next <= old_index {
            self.serve(&mut fanout, index..index + 1);
        }
        self.fanouts.current = Some(fanout);
    }

    /// Delivers to the next subscribers; what is not done then is kept for the next slice.
    fn slice(&mut self, mut fanout: Fanout) {
        let range = fanout.next..fanout.next.saturating_add(self.fanouts.slice);
        fanout.next = range.end;
        self.serve(&mut fanout, range);
        // The shard may have left the topic while this was under way.
        if let Some(local) = self.local.topic_mut(fanout.topic) {
            if fanout.next < local.subscribers.len() {
                self.fanouts.current = Some(fanout);
                return;
            }
            if let Some(special) = &mut local.special
                && special.deltas > 0
            {
                special.last = Some(fanout.publication);
            }
        }
        self.fanouts.spare = fanout.frames.made;
        self.fanouts.spare.clear();
    }

    /// Queues a publication for a range of the topic's subscribers, as far as there are any.
    fn serve(&mut self, fanout: &mut Fanout, range: Range<usize>) {
        let Some(local) = self.local.topic_mut(fanout.topic) else {
            return;
        };
        let Local { name, subscribers, special, .. } = local;
        let queue = self.fanouts.queue_of(subscribers.len());
        let special = special.as_deref();
        let tags = &fanout.publication.draft.tags;
        let mut tools = Tools {
            topic: name,
            publication: &fanout.publication,
            base: special.and_then(|special| special.last.as_deref()),
            scratch: &mut self.scratch,
            deflater: &mut self.deflater,
        };
        let range = range.start.min(subscribers.len())..range.end.min(subscribers.len());
        self.fanouts.count(range.len());
        for subscriber in subscribers.get_mut(range).unwrap_or_default() {
            let Subscriber { connection: id, flow } = *subscriber;
            let Some(connection) = self.connections.get_mut(id) else {
                continue;
            };
            if flow.contains(Flow::FILTERED) {
                let filter = special.and_then(|special| special.filters.get(&id));
                if filter.is_some_and(|filter| !filter.matches(tags)) {
                    continue;
                }
            }
            let Some(frame) = fanout.frames.get(&mut tools, Way::of(connection), flow) else {
                continue;
            };
            connection.push(Frame::clone(frame));
            if self.flush.add(id, connection, queue) == Pace::Slow {
                self.fanouts.slow.push(id);
                continue;
            }
            if flow.contains(Flow::DELTA) {
                subscriber.flow |= Flow::BASED;
            }
            self.counters.deliveries += 1;
        }
    }

    /// Closes who does not keep up. That takes them out of lists, and may make others move.
    fn close_all_slow(&mut self) {
        while let Some(id) = self.fanouts.slow.pop() {
            let connection = self.connections.get(id);
            if connection.is_some_and(|found| self.flush.pace(found) == Pace::Slow) {
                self.close_slow(id);
            }
        }
    }
}
