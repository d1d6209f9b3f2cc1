//! A simulated client: what it sends, what it reads, and what it may expect to read.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use fanwire_core::{ConnectionId, PingStyle};

use crate::history::AskedHistory;
use crate::model::{Model, Tick, Violation, ensure};
use crate::plan::{Drain, Rules};
use crate::recovery::Subscribing;
use crate::topics::Since;
use crate::wire;

/// A command whose reply is awaited.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Asked {
    /// With what it wants to be subscribed to from the beginning.
    Connect(Vec<Subscribing>),
    Subscribe(Box<Subscribing>),
    Unsubscribe {
        topic: usize,
    },
    Publish {
        number: usize,
    },
    History(Box<AskedHistory>),
    Presence {
        topic: usize,
        sent: Tick,
    },
    PresenceStats {
        topic: usize,
    },
}

/// Where a client is in a topic, as it keeps it for later.
#[derive(Clone, Debug)]
pub(crate) struct Held {
    pub(crate) epoch: String,
    pub(crate) offset: u64,
    /// Until when the topic was in use at least.
    pub(crate) used_ms: u64,
}

/// Where the client is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    Open,
    /// It has sent a close frame.
    Leaving,
    /// It has read a close frame.
    Told,
    /// The socket is closed.
    Gone,
}

/// One client on one socket.
#[derive(Debug)]
pub(crate) struct Client {
    pub(crate) index: usize,
    pub(crate) shard: usize,
    pub(crate) connection: ConnectionId,
    pub(crate) pings: PingStyle,
    pub(crate) phase: Phase,
    /// Who it is.
    pub(crate) user: usize,
    /// The id that the broker gave it.
    pub(crate) id: Option<String>,
    /// Bytes on their way to the broker.
    pub(crate) uplink: VecDeque<u8>,
    /// Bytes from the broker that are no whole frame yet.
    downlink: Vec<u8>,
    /// The broker was told that the socket takes no more.
    pub(crate) blocked: bool,
    pub(crate) awaited: VecDeque<(u32, Asked)>,
    /// How many of these were read before the node began to go down, where that is known.
    pub(crate) in_hand: Option<usize>,
    next_command: u32,
    /// Topics it is subscribed to as far as it has read, with their intervals.
    pub(crate) live: BTreeMap<usize, usize>,
    /// Topics of its connect whose subscriptions were ended before it read the reply, until it has
    /// read that.
    pub(crate) omitted: BTreeSet<usize>,
    /// When it read that a subscribe was refused although it had begun at the broker, by topic.
    pub(crate) undone: BTreeMap<usize, Tick>,
    /// Its positions, those of earlier subscriptions and connections included.
    pub(crate) held: BTreeMap<usize, Held>,
    /// Another connection goes on in its place.
    pub(crate) returned: bool,
    /// Close codes that backends have asked for.
    pub(crate) closes: BTreeSet<u16>,
    /// How often backends have asked to unsubscribe it, by topic.
    pub(crate) unsubscribes: BTreeMap<usize, u32>,
    /// When a backend last unsubscribed it with nothing on the way to the broker, by topic.
    pub(crate) unsubscribed: BTreeMap<usize, Tick>,
    /// A backend has disconnected it after it was connected.
    pub(crate) must_close: bool,
    /// It has sent what is no valid command.
    pub(crate) misbehaved: bool,
    /// It has sent a close frame, or has chosen not to.
    pub(crate) closing: bool,
    /// Pings that it has read.
    pub(crate) pings_read: u32,
    /// Pings that it has read and not answered.
    pub(crate) owed_pongs: u32,
    /// Time has passed while something between it and the broker waited, so that it may be too
    /// late for a pong or a close frame.
    pub(crate) late: bool,
    /// The same of the time before it read the last ping, which may have waited too.
    late_before: bool,
    /// Payloads of its own ping frames that were not answered.
    pub(crate) own_pings: VecDeque<Vec<u8>>,
}

impl Client {
    pub(crate) fn new(
        index: usize,
        shard: usize,
        connection: ConnectionId,
        pings: PingStyle,
        user: usize,
    ) -> Self {
        Self {
            index,
            shard,
            connection,
            pings,
            phase: Phase::Open,
            user,
            id: None,
            uplink: VecDeque::new(),
            downlink: Vec::new(),
            blocked: false,
            awaited: VecDeque::new(),
            in_hand: None,
            next_command: 1,
            live: BTreeMap::new(),
            omitted: BTreeSet::new(),
            undone: BTreeMap::new(),
            held: BTreeMap::new(),
            returned: false,
            closes: BTreeSet::new(),
            unsubscribes: BTreeMap::new(),
            unsubscribed: BTreeMap::new(),
            must_close: false,
            misbehaved: false,
            closing: false,
            pings_read: 0,
            owed_pongs: 0,
            late: false,
            late_before: false,
            own_pings: VecDeque::new(),
        }
    }

    /// Notes a command and gives the id to spell it with. Ids wrap soon: they need not be unique.
    pub(crate) fn ask(&mut self, asked: Asked) -> u32 {
        let id = self.next_command;
        self.next_command = id % 50 + 1;
        self.awaited.push_back((id, asked));
        id
    }

    /// Sends a frame.
    pub(crate) fn send(&mut self, opcode: u8, last: bool, payload: &[u8]) {
        let mask = [0x1d, self.index as u8, 0xff, payload.len() as u8];
        let mut frame = Vec::new();
        wire::append_masked(&mut frame, opcode, last, mask, payload);
        self.uplink.extend(frame);
    }

    /// Answers the pings that it has read.
    pub(crate) fn pong(&mut self) {
        for _ in 0..std::mem::take(&mut self.owed_pongs) {
            match self.pings {
                PingStyle::Messages => self.send(wire::TEXT, true, b"{}"),
                PingStyle::Frames => self.send(wire::PONG, true, b""),
            }
        }
    }

    pub(crate) fn ping(&mut self) {
        self.pings_read += 1;
        self.owed_pongs += 1;
        self.late_before = std::mem::take(&mut self.late);
    }

    /// Whether the broker may have lost patience.
    pub(crate) fn may_be_late(&self) -> bool {
        self.late || self.late_before
    }

    /// The socket has ended, or a close frame was read: every subscription ends.
    pub(crate) fn end_all(&mut self, model: &mut Model) {
        for interval in std::mem::take(&mut self.live).into_values() {
            model.end(interval);
        }
        self.awaited.clear();
    }

    /// Whether it is gone and may go on where it was.
    pub(crate) fn is_away(&self) -> bool {
        self.phase == Phase::Gone && !self.returned && !self.held.is_empty()
    }

    /// Where it was in a topic.
    pub(crate) fn held_since(&self, topic: usize) -> Option<Since> {
        let Held { epoch, offset, used_ms } = self.held.get(&topic)?.clone();
        Some(Since { epoch, offset, held_ms: Some(used_ms) })
    }

    /// Whether nobody but itself can have ended its subscription to a topic.
    pub(crate) fn is_safe(&self, topic: usize, rules: &Rules) -> bool {
        let told = self.must_close || self.misbehaved || !self.closes.is_empty();
        let ended = self.may_have_ended(topic);
        let slow = rules.small_outbox || self.may_be_late() || self.owed_pongs > 0;
        self.phase == Phase::Open && rules.drain == Drain::No && !told && !ended && !slow
    }

    /// Whether an end of its subscription is on the way, by its own command or by a backend.
    pub(crate) fn may_have_ended(&self, topic: usize) -> bool {
        let own = Asked::Unsubscribe { topic };
        let others = self.unsubscribes.get(&topic).is_some_and(|count| *count > 0);
        others || self.awaited.iter().any(|(_, asked)| *asked == own)
    }

    /// It is about to end its subscription to a topic by itself.
    pub(crate) fn note_end(&mut self, topic: usize, rules: &Rules, model: &mut Model) {
        if !self.is_safe(topic, rules) {
            return;
        }
        if let Some(interval) = self.live.get(&topic) {
            let now = model.now();
            model.intervals[*interval].lived.get_or_insert(now);
            if let Some(held) = self.held.get_mut(&topic)
                && model.intervals[*interval].granted.positioned
            {
                held.used_ms = model.now_ms;
            }
        }
    }

    /// The same of all its subscriptions.
    pub(crate) fn note_ends(&mut self, rules: &Rules, model: &mut Model) {
        let topics: Vec<_> = self.live.keys().copied().collect();
        for topic in topics {
            self.note_end(topic, rules, model);
        }
    }

    /// The shard reads no commands from here on. Which ones it has read is clear if none is under
    /// way.
    pub(crate) fn note_drain(&mut self) {
        self.in_hand = self.uplink.is_empty().then_some(self.awaited.len());
    }

    /// Reads bytes from the broker.
    pub(crate) fn read(
        &mut self,
        bytes: &[u8],
        rules: &Rules,
        model: &mut Model,
    ) -> Result<(), Violation> {
        self.downlink.extend_from_slice(bytes);
        let mut taken = 0;
        while let Some((frame, count)) = wire::parse(&self.downlink[taken..]) {
            taken += count;
            self.frame(&frame, rules, model)?;
        }
        self.downlink.drain(..taken);
        Ok(())
    }

    fn frame(
        &mut self,
        frame: &wire::Frame,
        rules: &Rules,
        model: &mut Model,
    ) -> Result<(), Violation> {
        let by = Some(self.index);
        let index = self.index;
        let text = || String::from_utf8_lossy(&frame.payload).into_owned();
        model.note(|| format!("c{index} reads {} {:?}", frame.opcode, text()));
        ensure!(self.phase != Phase::Told, by, None, "a frame follows the close frame");
        ensure!(frame.last, by, None, "a fragment");
        match frame.opcode {
            wire::TEXT => {
                for line in frame.payload.split(|byte| *byte == b'\n') {
                    self.message(line, rules, model)?;
                }
            }
            wire::PING => self.ping(),
            wire::PONG => {
                let expected = self.own_pings.pop_front();
                let equal = expected.as_ref() == Some(&frame.payload);
                ensure!(equal, by, None, "a pong with {}, not {expected:?}", text());
            }
            wire::CLOSE => self.told(&frame.payload, rules, model)?,
            other => ensure!(false, by, None, "a frame with opcode {other}"),
        }
        Ok(())
    }

    fn told(&mut self, payload: &[u8], rules: &Rules, model: &mut Model) -> Result<(), Violation> {
        let code = payload.first_chunk().map_or(0, |code| u16::from_be_bytes(*code));
        let justified = match code {
            0 | 1000 => self.phase == Phase::Leaving,
            3001 => matches!(rules.drain, Drain::Done | Drain::CutShort),
            3008 => rules.small_outbox,
            3012 => self.may_be_late() || self.owed_pongs > 0 || self.unheard(rules),
            3501 => self.misbehaved,
            3502 => self.id.is_none(),
            asked => self.closes.contains(&asked),
        };
        let by = Some(self.index);
        ensure!(justified, by, None, "it was closed with {code}");
        if code == 3008 {
            model.count("closed as slow");
        }
        self.phase = Phase::Told;
        if code == 3001 && rules.drain == Drain::Done {
            let done = self.in_hand.is_none_or(|left| left == 0);
            ensure!(done, by, None, "closed without {:?} replies in hand", self.in_hand);
            ensure!(!self.must_close, by, None, "it was disconnected, but told to reconnect");
            // Whoever stays until then has everything, so these subscriptions count as live.
            self.live.clear();
        }
        self.end_all(model);
        Ok(())
    }

    /// Its pongs are messages, which a node that goes down does not read.
    fn unheard(&self, rules: &Rules) -> bool {
        rules.drain != Drain::No && self.pings == PingStyle::Messages
    }
}
