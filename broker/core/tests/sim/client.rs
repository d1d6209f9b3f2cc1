//! A simulated client: what it sends, what it reads, and what it may expect to read.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use fanwire_core::{ConnectionId, PingStyle};

use crate::message::{Message, Push};
use crate::model::{Model, Seen, Tick, Violation, ensure};
use crate::plan::{Drain, Rules};
use crate::wire;

/// A command whose reply is awaited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Asked {
    Connect,
    Subscribe { topic: usize, sent: Tick },
    Unsubscribe { topic: usize },
    Publish { number: usize },
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
    in_hand: Option<usize>,
    next_command: u32,
    /// Topics it is subscribed to as far as it has read, with their intervals.
    pub(crate) live: BTreeMap<usize, usize>,
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
    ) -> Self {
        Self {
            index,
            shard,
            connection,
            pings,
            phase: Phase::Open,
            id: None,
            uplink: VecDeque::new(),
            downlink: Vec::new(),
            blocked: false,
            awaited: VecDeque::new(),
            in_hand: None,
            next_command: 1,
            live: BTreeMap::new(),
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

    fn ping(&mut self) {
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

    fn message(&mut self, line: &[u8], rules: &Rules, model: &mut Model) -> Result<(), Violation> {
        let by = Some(self.index);
        if line == b"{}" {
            ensure!(self.pings == PingStyle::Messages, by, None, "a ping message");
            self.ping();
            return Ok(());
        }
        let Ok(message) = serde_json::from_slice::<Message<'_>>(line) else {
            ensure!(false, by, None, "not understood: {}", String::from_utf8_lossy(line));
            return Ok(());
        };
        if let Some(push) = message.push {
            ensure!(message.id == 0 && self.id.is_some(), by, None, "a push before its time");
            return self.push(push, rules, model);
        }
        let asked = self.awaited.pop_front();
        ensure!(asked.is_some(), by, None, "a reply to nothing");
        let Some((id, asked)) = asked else {
            return Ok(());
        };
        ensure!(id == message.id, by, None, "a reply to {}, awaited: {id} {asked:?}", message.id);
        if let Some(left) = &mut self.in_hand {
            ensure!(*left > 0, by, None, "a reply to what came after the drain: {asked:?}");
            *left -= 1;
        }
        match &message.error {
            Some(error) => self.refused(asked, error.code, rules, model),
            None => self.granted(asked, message, rules, model),
        }
    }

    fn granted(
        &mut self,
        asked: Asked,
        reply: Message<'_>,
        rules: &Rules,
        model: &mut Model,
    ) -> Result<(), Violation> {
        let by = Some(self.index);
        match (asked, reply) {
            (Asked::Connect, Message { connect: Some(connect), .. }) => {
                self.id = Some(connect.client);
            }
            (Asked::Subscribe { topic, sent }, Message { subscribe: Some(_), .. }) => {
                let before = self.live.contains_key(&topic);
                ensure!(!before, by, Some(topic), "subscribed although it was subscribed");
                let room = self.live.len() < rules.topics_max;
                ensure!(room, by, Some(topic), "subscribed above the limit");
                let must_end = self.unsubscribed.get(&topic).is_some_and(|at| sent < *at);
                self.live.insert(topic, model.begin(self.index, topic, sent, must_end));
            }
            (Asked::Unsubscribe { topic }, Message { unsubscribe: Some(_), .. }) => {
                if let Some(interval) = self.live.remove(&topic) {
                    model.end(interval);
                }
            }
            (Asked::Publish { number }, Message { publish: Some(_), .. }) => model.acked(number)?,
            (asked, _) => ensure!(false, by, None, "a reply of the wrong kind to {asked:?}"),
        }
        Ok(())
    }

    fn refused(
        &mut self,
        asked: Asked,
        code: u64,
        rules: &Rules,
        model: &mut Model,
    ) -> Result<(), Violation> {
        let by = Some(self.index);
        match (asked, code) {
            (Asked::Subscribe { topic, .. }, 105) => {
                let live = self.live.contains_key(&topic);
                ensure!(live, by, Some(topic), "refused as subscribed although it was not");
            }
            (Asked::Subscribe { topic, .. }, 106) => {
                let full = self.live.len() >= rules.topics_max;
                ensure!(full, by, Some(topic), "refused as one topic too many");
            }
            (Asked::Publish { number }, 103) => {
                let topic = model.publications[number].topic;
                let allowed = !rules.subscribers_publish || self.live.contains_key(&topic);
                ensure!(!allowed, by, Some(topic), "{number} was refused with 103");
                model.refused(number, code)?;
            }
            (Asked::Publish { number }, _) => model.refused(number, code)?,
            (asked, code) => ensure!(false, by, None, "{asked:?} was refused with {code}"),
        }
        Ok(())
    }

    fn push(&mut self, push: Push<'_>, rules: &Rules, model: &mut Model) -> Result<(), Violation> {
        let by = Some(self.index);
        let topic = rules.topic(push.channel);
        let Some(interval) = self.live.get(&topic).copied() else {
            ensure!(false, by, Some(topic), "a push of a topic it is not subscribed to");
            return Ok(());
        };
        if let Some(publication) = push.publication {
            let info = publication.info.map(|info| info.client);
            let label = publication.data.n;
            let (offset, epoch) = (publication.offset, publication.epoch);
            return model.seen(interval, Seen { label, offset, epoch, info });
        }
        let asked = self.unsubscribes.get_mut(&topic).filter(|count| **count > 0);
        let unsubscribe = push.unsubscribe.is_some_and(|unsubscribe| unsubscribe.code == 2000);
        ensure!(unsubscribe && asked.is_some(), by, Some(topic), "a push that nobody asked for");
        if let Some(count) = asked {
            *count -= 1;
        }
        self.live.remove(&topic);
        model.end(interval);
        Ok(())
    }
}
