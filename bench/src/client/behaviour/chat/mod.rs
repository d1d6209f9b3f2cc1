//! Clients that chat: they write, type, ask, and some of them come and go. All of it is due at
//! fixed moments (open loop); who does it is drawn by lot.

pub(crate) mod rooms;

use std::collections::{BTreeMap, VecDeque};

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde::{Deserialize, Serialize};

use crate::client::behaviour::chat::rooms::Rooms;
use crate::client::behaviour::{Behaviour, Happening, LATE};
use crate::client::control::{Assignment, Times};
use crate::client::fleet::Fleet;
use crate::clock::{SECOND_NS, now_ns};
use crate::dialect::Question;
use crate::error::{BenchError, ClientError};
use crate::payload::{PAYLOAD_BYTES_MIN, PayloadMaker};
use crate::publisher::schedule::Schedule;

/// Users who have lost their connection on purpose.
const LEFT: &str = "users who left and came back";
/// Deeds for which nobody was free.
pub(crate) const UNDONE: &str = "deeds for which nobody was free";
/// Returns to a room after which the server could not give back what was missed.
pub(crate) const UNRECOVERED: &str = "rooms not recovered";
/// Times from the intended return until a room's subscription stands.
pub(crate) const SUBSCRIBE: &str = "subscribe";
/// Times from the intended return until all rooms' subscriptions stand.
pub(crate) const RECONNECT: &str = "reconnect";

/// Deeds of one kind per wake-up, so that a process that has fallen behind still reads.
const BATCH_MAX: u32 = 128;
/// Users looked at to find one who is free.
const TRIES_MAX: u32 = 64;

/// What they do; rates are those of all clients of this process together, per second.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Parameters {
    /// Users of all processes.
    pub(crate) users: u32,
    /// Rooms.
    pub(crate) rooms: u32,
    /// Exponent of Zipf's law for their sizes.
    pub(crate) exponent: f64,
    /// Size of each message, in bytes.
    pub(crate) size_bytes: usize,
    /// Messages.
    pub(crate) message_rate: f64,
    /// Typing events.
    pub(crate) typing_rate: f64,
    /// Users who leave.
    pub(crate) leaving_rate: f64,
    /// Questions.
    pub(crate) asking_rate: f64,
    /// How long who leaves is away, in nanoseconds.
    pub(crate) away_ns: u64,
    /// Where in the gap between two deeds this process begins, 0 to 1.
    pub(crate) phase: f64,
}

/// The behaviour.
#[derive(Debug)]
pub(crate) struct Chat {
    parameters: Parameters,
    rooms: Rooms,
    message: PayloadMaker,
    typing: PayloadMaker,
    random: StdRng,
    streams: Vec<Stream>,
    /// When who is away comes back, soonest first.
    away: VecDeque<(u64, u32)>,
    /// Who is on the way back, and since when.
    returning: BTreeMap<u32, u64>,
    next_leaver: u32,
}

#[derive(Clone, Copy, Debug)]
enum Deed {
    Write,
    Type,
    Leave,
    Ask,
}

/// Deeds of one kind on their schedule.
#[derive(Clone, Copy, Debug)]
struct Stream {
    deed: Deed,
    schedule: Schedule,
    start_ns: u64,
    next: u64,
}

impl Stream {
    fn due_ns(&self) -> Option<u64> {
        let is_left = self.next < self.schedule.count();
        is_left.then(|| self.schedule.due_ns(self.start_ns, self.next))
    }
}

impl Chat {
    /// The behaviour of the clients of `assignment`.
    ///
    /// # Errors
    /// `PayloadTooSmall`, or `Option` when there can be no such rooms.
    pub(crate) fn new(
        parameters: &Parameters,
        assignment: &Assignment,
    ) -> Result<Self, BenchError> {
        let Parameters { users, rooms, exponent, .. } = *parameters;
        let rooms = Rooms::new(users, rooms, exponent);
        let expected = "a number, 0 to 10";
        Ok(Self {
            rooms: rooms.ok_or(BenchError::Option { option: "zipf", expected })?,
            message: PayloadMaker::new(parameters.size_bytes)?,
            typing: PayloadMaker::new(PAYLOAD_BYTES_MIN)?,
            random: StdRng::seed_from_u64(assignment.first.into()),
            parameters: parameters.clone(),
            streams: Vec::new(),
            away: VecDeque::new(),
            returning: BTreeMap::new(),
            next_leaver: 0,
        })
    }

    fn act(&mut self, deed: Deed, due_ns: u64, number: u64, fleet: &mut Fleet) {
        let is_done = match deed {
            Deed::Write => self.write(due_ns, fleet),
            Deed::Type => self.type_something(due_ns, fleet),
            Deed::Leave => self.leave(due_ns, fleet),
            Deed::Ask => self.ask(due_ns, number, fleet),
        };
        fleet.tally().count(UNDONE, u64::from(!is_done));
    }

    fn write(&mut self, due_ns: u64, fleet: &mut Fleet) -> bool {
        let Some((slot, room)) = self.somebody_in_a_room(fleet, |_| true) else { return false };
        fleet.publish(slot, room, due_ns, &self.message);
        true
    }

    fn type_something(&mut self, due_ns: u64, fleet: &mut Fleet) -> bool {
        let stays = |user| !Rooms::comes_and_goes(user);
        let Some((slot, room)) = self.somebody_in_a_room(fleet, stays) else { return false };
        fleet.publish(slot, self.rooms.typing_topic(room), due_ns, &self.typing);
        true
    }

    fn ask(&mut self, due_ns: u64, number: u64, fleet: &mut Fleet) -> bool {
        let Some((slot, room)) = self.somebody_in_a_room(fleet, |_| true) else { return false };
        let question =
            if number.is_multiple_of(2) { Question::History } else { Question::Presence };
        fleet.ask(slot, room, question, due_ns);
        true
    }

    /// Who leaves has no unanswered publication: whether that was accepted would never be known.
    fn leave(&mut self, due_ns: u64, fleet: &mut Fleet) -> bool {
        let slots = fleet.slots().end.max(1);
        for _ in 0..TRIES_MAX.min(slots) {
            let slot = self.next_leaver % slots;
            self.next_leaver = slot + 1;
            let may_go = Rooms::comes_and_goes(fleet.client(slot));
            if may_go && fleet.is_live(slot) && fleet.unanswered_of(slot) == 0 {
                fleet.disconnect(slot);
                fleet.tally().count(LEFT, 1);
                self.away.push_back((due_ns + self.parameters.away_ns, slot));
                return true;
            }
        }
        false
    }

    /// A user who is there, and one of the rooms that user is in.
    fn somebody_in_a_room(
        &mut self,
        fleet: &Fleet,
        is_wanted: impl Fn(u32) -> bool,
    ) -> Option<(u32, u32)> {
        let slots = fleet.slots().end.max(1);
        for _ in 0..TRIES_MAX {
            let slot = self.random.random_range(0..slots);
            let user = fleet.client(slot);
            if is_wanted(user) && fleet.is_live(slot) {
                let rooms = self.rooms.of(user);
                let room = rooms.get(self.random.random_range(0..rooms.len().max(1)))?;
                return Some((slot, *room));
            }
        }
        None
    }

    fn come_back(&mut self, due_ns: u64, slot: u32, fleet: &mut Fleet) -> Result<(), ClientError> {
        self.returning.insert(slot, due_ns);
        fleet.connect(slot)
    }

    fn came(&mut self, what: &Happening, fleet: &mut Fleet) {
        let happened_ns = fleet.happened_ns();
        let (slot, name) = match *what {
            Happening::Subscribed { slot, .. } => (slot, SUBSCRIBE),
            Happening::Live { slot } => (slot, RECONNECT),
            _ => return,
        };
        let Some(&due_ns) = self.returning.get(&slot) else { return };
        match *what {
            Happening::Subscribed { is_recovered, .. } => {
                fleet.tally().count(UNRECOVERED, u64::from(is_recovered != Some(true)));
            }
            _ => drop(self.returning.remove(&slot)),
        }
        fleet.tally().answered(name, due_ns, happened_ns);
    }
}

impl Behaviour for Chat {
    fn topics(&self, client: u32, _assignment: &Assignment, into: &mut Vec<u32>) {
        self.rooms.topics(client, into);
    }

    fn start(&mut self, times: Times, _fleet: &mut Fleet) {
        let Parameters { message_rate, typing_rate, leaving_rate, asking_rate, phase, .. } =
            self.parameters;
        let rates = [
            (Deed::Write, message_rate),
            (Deed::Type, typing_rate),
            (Deed::Leave, leaving_rate),
            (Deed::Ask, asking_rate),
        ];
        let streams = rates.into_iter().filter(|(_, rate)| *rate > 0.0).map(|(deed, rate)| {
            let start_ns = times.start_ns + (phase / rate * SECOND_NS as f64) as u64;
            let seconds = times.until_ns.saturating_sub(start_ns) as f64 / SECOND_NS as f64;
            Stream { deed, schedule: Schedule::new(rate, 1, seconds), start_ns, next: 0 }
        });
        self.streams = streams.collect();
    }

    fn on_happening(&mut self, what: Happening, fleet: &mut Fleet) {
        if let Happening::Lost { slot } = what {
            // That is a fault and counted as one; what was missed is recovered all the same.
            self.away.push_front((now_ns(), slot));
        }
        self.came(&what, fleet);
    }

    fn due_ns(&self) -> Option<u64> {
        let deeds = self.streams.iter().filter_map(Stream::due_ns);
        deeds.chain(self.away.front().map(|(due_ns, _)| *due_ns)).min()
    }

    fn on_timer(&mut self, now_ns: u64, fleet: &mut Fleet) -> Result<(), BenchError> {
        let mut streams = std::mem::take(&mut self.streams);
        for stream in &mut streams {
            for _ in 0..BATCH_MAX {
                let Some(due_ns) = stream.due_ns().filter(|due_ns| *due_ns <= now_ns) else {
                    break;
                };
                self.act(stream.deed, due_ns, stream.next, fleet);
                stream.next += 1;
            }
        }
        self.streams = streams;
        while let Some((due_ns, slot)) = self.away.pop_front_if(|(due_ns, _)| *due_ns <= now_ns) {
            if let Err(error) = self.come_back(due_ns, slot, fleet) {
                fleet.tally().disconnected(&error, None);
                self.returning.remove(&slot);
            }
        }
        Ok(())
    }

    fn stop(&mut self, fleet: &mut Fleet) -> Result<(), BenchError> {
        // All that is left is due: a little late it counts, and what is more than that is told.
        self.on_timer(now_ns(), fleet)?;
        let left = self.streams.drain(..).map(|stream| stream.schedule.count() - stream.next);
        fleet.tally().count(LATE, left.sum());
        Ok(())
    }

    fn is_over(&self, _fleet: &Fleet) -> bool {
        self.away.is_empty() && self.returning.is_empty()
    }
}
