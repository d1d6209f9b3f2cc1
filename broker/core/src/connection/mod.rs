//! One socket: framing, what waits to be sent, its phase and its one timer.

mod outbox;
mod pipeline;
mod table;

pub(crate) use outbox::Frame;
pub(crate) use pipeline::Ticket;
pub(crate) use table::Connections;

use std::sync::Arc;
use std::time::Duration;

use outbox::{Kept, Outbox};
use pipeline::Pipeline;

use crate::ids::SocketId;
use crate::limits::{FRAME_COST_BYTES, PIPELINE_COMMANDS_MAX};
use crate::protocol::{Adapter, PingStyle, Subscribed};
use crate::session::Session;
use crate::time::Time;
use crate::websocket::{Assembler, Compression};

/// Who had so many bursts of frames keeps the room for the next one, until it is idle; replies at
/// the begin of a session are such a burst, and mostly the only one.
const BURSTS_MIN: u8 = 8;

/// One connection of a shard.
#[derive(Debug)]
pub(crate) struct Connection {
    pub(crate) socket: SocketId,
    pub(crate) adapter: Adapter,
    pub(crate) pings: PingStyle,
    /// What it is sent, its handshake agreed on.
    pub(crate) compression: Compression,
    pub(crate) phase: Phase,
    /// The kernel takes no more for now.
    pub(crate) blocked: bool,
    /// Where it waits for its socket to be served.
    pub(crate) queued: Option<Queue>,
    /// What its timer is for, and when.
    pub(crate) timer: Timer,
    /// When the timer's entry in the wheel fires; entries that fire at other times are stale.
    pub(crate) armed: Time,
    pub(crate) assembler: Assembler,
    /// Its connect waits for the owners of topics.
    pub(crate) connecting: Option<Box<Connecting>>,
    /// How often several frames waited since it was last found idle.
    bursts: u8,
    outbox: Outbox,
    pipeline: Option<Box<Pipeline>>,
}

/// A connect whose reply waits for server-side subscriptions.
#[derive(Debug)]
pub(crate) struct Connecting {
    pub(crate) command: u32,
    pub(crate) ticket: Option<Ticket>,
    /// Answers that have not come.
    pub(crate) awaited: usize,
    pub(crate) ttl_seconds: Option<u32>,
    pub(crate) ping_seconds: Option<u32>,
    pub(crate) subs: Vec<(Arc<str>, Subscribed)>,
    /// What the publications in them cost, in bytes.
    pub(crate) bytes: usize,
}

/// In which queue a connection waits for its socket to be served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Queue {
    /// What concerns one or few.
    Short,
    /// What many are sent.
    Long,
}

/// Where a connection is in its life.
#[derive(Debug)]
pub(crate) enum Phase {
    /// No `connect` yet.
    Opening,
    /// Its `connect` was refused; it may try again.
    Refused,
    /// It is a session.
    Live(Box<Session>),
    /// The close frame is on its way.
    Closing(Closing),
}

/// How far a close has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Closing {
    /// The peer's close frame is awaited.
    AwaitingPeer,
    /// The peer broke the framing, so its close frame cannot be found: its end is awaited.
    OutOfSync {
        /// It was told that nothing follows.
        shut_down: bool,
    },
    /// Both sides are done; what waits is sent, then the socket is closed.
    Done,
}

/// The one thing a connection waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Timer {
    /// It must be a session by then.
    Connect(Time),
    /// The next ping is due.
    Ping(Time),
    /// The ping must be answered by then; the next one is due so many milliseconds later.
    Pong(Time, u32),
    /// The socket is closed then, whatever the peer does.
    Close(Time),
}

impl Timer {
    pub(crate) fn at(self) -> Time {
        match self {
            Self::Connect(at) | Self::Ping(at) | Self::Pong(at, _) | Self::Close(at) => at,
        }
    }

    /// The ping that is due at `next` follows one that must be answered by `at`.
    pub(crate) fn pong(at: Time, next: Time) -> Self {
        Self::Pong(at, u32::try_from(next.since(at).as_millis()).unwrap_or(u32::MAX))
    }

    /// What follows a ping that was answered; `None` if this is no wait for an answer.
    pub(crate) fn answered(self) -> Option<Self> {
        match self {
            Self::Pong(at, wait_ms) => {
                Some(Self::Ping(at.after(Duration::from_millis(wait_ms.into()))))
            }
            Self::Connect(_) | Self::Ping(_) | Self::Close(_) => None,
        }
    }
}

impl Connection {
    pub(crate) fn new(socket: SocketId, adapter: Adapter, pings: PingStyle, timer: Timer) -> Self {
        Self {
            socket,
            adapter,
            pings,
            compression: Compression::NONE,
            phase: Phase::Opening,
            blocked: false,
            queued: None,
            timer,
            armed: timer.at(),
            assembler: Assembler::default(),
            connecting: None,
            bursts: 0,
            outbox: Outbox::default(),
            pipeline: None,
        }
    }

    pub(crate) fn session(&self) -> Option<&Session> {
        match &self.phase {
            Phase::Live(session) => Some(session),
            Phase::Opening | Phase::Refused | Phase::Closing(_) => None,
        }
    }

    pub(crate) fn session_mut(&mut self) -> Option<&mut Session> {
        match &mut self.phase {
            Phase::Live(session) => Some(session),
            Phase::Opening | Phase::Refused | Phase::Closing(_) => None,
        }
    }

    /// Bytes that wait for the socket or for a reply before them, with what their entries cost.
    pub(crate) fn waiting_bytes(&self) -> usize {
        let (frames, bytes) = (self.outbox.len(), self.outbox.bytes());
        let pipeline = self.pipeline.as_ref();
        let (more_frames, more_bytes) =
            pipeline.map_or((0, 0), |pipeline| (pipeline.len(), pipeline.bytes()));
        bytes + more_bytes + FRAME_COST_BYTES * (frames + more_frames)
    }

    pub(crate) fn has_output(&self) -> bool {
        !self.outbox.is_empty()
    }

    pub(crate) fn chunks(&self) -> impl Iterator<Item = &[u8]> {
        self.outbox.chunks()
    }

    pub(crate) fn written(&mut self, count: usize) {
        self.outbox.written(count);
        if self.outbox.has_room() && self.outbox.is_empty() {
            self.bursts = self.bursts.saturating_add(1);
            let kept = if self.bursts < BURSTS_MIN { Kept::Nothing } else { Kept::Some };
            self.outbox.shrink(kept);
        }
    }

    /// Queues a push: it passes replies that are awaited, but none that waits itself.
    pub(crate) fn push(&mut self, frame: Frame) {
        match &mut self.pipeline {
            Some(pipeline) if pipeline.holds_frames() => pipeline.push(frame),
            _ => self.outbox.push(frame),
        }
    }

    /// Queues a frame behind the replies that are awaited.
    pub(crate) fn push_in_order(&mut self, frame: Frame) {
        match &mut self.pipeline {
            Some(pipeline) => pipeline.push(frame),
            None => self.outbox.push(frame),
        }
    }

    /// Keeps the place of a reply that comes later; `None` if too many are awaited.
    pub(crate) fn reserve(&mut self) -> Option<Ticket> {
        let pipeline = self.pipeline.get_or_insert_default();
        (pipeline.len() < PIPELINE_COMMANDS_MAX).then(|| pipeline.reserve())
    }

    /// The same for a reply that nothing may pass: the one that begins the session.
    pub(crate) fn reserve_before_all(&mut self) -> Option<Ticket> {
        let ticket = self.reserve()?;
        self.pipeline.get_or_insert_default().hold_pushes(ticket);
        Some(ticket)
    }

    /// Whether places are kept for replies.
    pub(crate) fn awaits_replies(&self) -> bool {
        self.pipeline.is_some()
    }

    /// The reply for a place that was kept.
    pub(crate) fn fill(&mut self, ticket: Ticket, frame: Frame) {
        let Some(pipeline) = &mut self.pipeline else {
            return;
        };
        pipeline.fill(ticket, frame);
        while let Some(frame) = pipeline.pop() {
            self.outbox.push(frame);
        }
        if pipeline.len() == 0 {
            self.pipeline = None;
        }
    }

    /// Replies that are awaited will not be sent.
    pub(crate) fn forget_replies(&mut self) {
        self.pipeline = None;
    }

    /// What waits will not be sent, but for the rest of a frame that has begun.
    pub(crate) fn discard_output(&mut self) {
        self.pipeline = None;
        self.outbox.discard();
    }

    /// Gives back memory that an idle connection does not need.
    pub(crate) fn shrink(&mut self) {
        self.bursts = 0;
        self.outbox.shrink(Kept::Nothing);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session::Subscription;

    /// There are hundreds of thousands of each; what few of them need goes into a box.
    #[test]
    fn what_every_connection_has_is_small() {
        let sizes = [
            ("Connection", size_of::<Connection>(), 120),
            ("Outbox", size_of::<Outbox>(), 40),
            ("Timer", size_of::<Timer>(), 16),
            ("Session", size_of::<Session>(), 64),
            ("Subscription", size_of::<Subscription>(), 32),
        ];
        for (name, bytes, bytes_max) in sizes {
            assert!(bytes <= bytes_max, "{name}: {bytes} bytes");
        }
    }
}
