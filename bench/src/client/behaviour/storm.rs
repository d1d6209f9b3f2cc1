//! Clients that all leave at once and all come back at once: what a broker sees when the network
//! in front of it was gone, or when it was restarted itself.
//!
//! The first `Run` begins the run; each further one begins a round, and its start is the moment to
//! leave. A round is over when all are back: that is what `Stop` waits for.

use clap::ValueEnum;
use serde::{Deserialize, Serialize};

use crate::client::behaviour::{Behaviour, Happening};
use crate::client::control::{Assignment, Times};
use crate::client::fleet::Fleet;
use crate::clock::now_ns;
use crate::error::BenchError;

/// Times from the moment at which all are meant to come back until all that a client hears stands
/// again, with what it has missed.
pub(crate) const BACK: &str = "back";
/// Times from a client's own attempt until the answer to the upgrade.
pub(crate) const CONNECT: &str = "connect";
/// Times from the answer to the upgrade until all that a client hears stands again.
pub(crate) const RESUBSCRIBE: &str = "resubscribe";
/// Count of clients that came back.
pub(crate) const RECONNECTS: &str = "reconnects";
/// Count of attempts that failed and were made again.
const REPEATED: &str = "attempts repeated";
/// Count of subscriptions whose past the server no longer had.
pub(crate) const UNRECOVERED: &str = "recoveries refused by the server";
/// Sum over the rounds of the time until the last client of the process was back, in nanoseconds.
pub(crate) const LAST_BACK_NS: &str = "last back, ns";

/// A failed attempt is made again after this, in nanoseconds.
const REPEAT_NS: u64 = 50_000_000;

/// How clients leave.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Leaving {
    /// Their kernel closes the connection in good order
    #[default]
    Fin,
    /// Their kernel resets the connection
    Rst,
}

/// What they do.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Parameters {
    /// How long they stay away, in nanoseconds.
    pub(crate) away_ns: u64,
    /// How they leave.
    pub(crate) leaving: Leaving,
    /// Most connections in the making at any moment.
    pub(crate) connecting: u32,
}

/// The behaviour.
#[derive(Debug)]
pub(crate) struct Storm {
    parameters: Parameters,
    /// Connections in the making at any moment.
    connecting: usize,
    has_begun: bool,
    stage: Stage,
    clients: Vec<Client>,
    /// Slots of those that shall come back, the next one last.
    waiting: Vec<u32>,
    /// Those whose attempt has failed, and when to make it again.
    failed: Vec<(u64, u32)>,
    making: usize,
    back: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// All are there.
    Calm,
    /// All leave at this moment.
    Leaving(u64),
    /// All come back at this moment.
    Away(u64),
    /// All come back since this moment.
    Returning(u64),
}

/// Where one client is on its way back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Client {
    Away,
    /// Since when it connects.
    Connecting(u64),
    /// Since when it subscribes.
    Subscribing(u64),
    Back,
}

impl Storm {
    /// The behaviour of the clients of `assignment`.
    pub(crate) fn new(parameters: &Parameters, assignment: &Assignment) -> Self {
        Self {
            parameters: parameters.clone(),
            connecting: parameters.connecting as usize,
            has_begun: false,
            stage: Stage::Calm,
            clients: vec![Client::Back; assignment.count as usize],
            waiting: Vec::new(),
            failed: Vec::new(),
            making: 0,
            back: assignment.count as usize,
        }
    }

    fn leave(&mut self, fleet: &mut Fleet) {
        for slot in fleet.slots() {
            match self.parameters.leaving {
                Leaving::Fin => fleet.disconnect(slot),
                Leaving::Rst => fleet.reset(slot),
            }
        }
        self.clients.fill(Client::Away);
        // The first comes back first.
        self.waiting = fleet.slots().rev().collect();
        self.failed.clear();
        (self.making, self.back) = (0, 0);
    }

    /// Connects as many as may be in the making at once.
    fn connect_more(&mut self, due_until_ns: u64, fleet: &mut Fleet) -> Result<(), BenchError> {
        let due = |&mut (due_ns, _): &mut (u64, u32)| due_ns <= due_until_ns;
        self.waiting.extend(self.failed.extract_if(.., due).map(|(_, slot)| slot));
        while self.making < self.connecting
            && let Some(slot) = self.waiting.pop()
        {
            self.set(slot, Client::Connecting(now_ns()));
            self.making += 1;
            fleet.connect(slot).map_err(BenchError::Reconnect)?;
        }
        Ok(())
    }

    fn client(&self, slot: u32) -> Option<Client> {
        self.clients.get(slot as usize).copied()
    }

    fn set(&mut self, slot: u32, client: Client) {
        if let Some(place) = self.clients.get_mut(slot as usize) {
            *place = client;
        }
    }

    fn came_back(&mut self, slot: u32, subscribing_ns: u64, returning_ns: u64, fleet: &mut Fleet) {
        let now_ns = fleet.happened_ns();
        self.set(slot, Client::Back);
        self.making -= 1;
        self.back += 1;
        fleet.tally().count(RECONNECTS, 1);
        fleet.tally().time(RESUBSCRIBE, now_ns.saturating_sub(subscribing_ns));
        fleet.tally().time(BACK, now_ns.saturating_sub(returning_ns));
        if self.back == self.clients.len() {
            fleet.tally().count(LAST_BACK_NS, now_ns.saturating_sub(returning_ns));
            self.stage = Stage::Calm;
        }
    }

    fn lost(&mut self, slot: u32, fleet: &mut Fleet) {
        match self.client(slot) {
            None | Some(Client::Away) => return,
            Some(Client::Connecting(_) | Client::Subscribing(_)) => self.making -= 1,
            Some(Client::Back) => self.back -= 1,
        }
        self.set(slot, Client::Away);
        fleet.tally().count(REPEATED, 1);
        self.failed.push((fleet.happened_ns() + REPEAT_NS, slot));
    }
}

impl Behaviour for Storm {
    fn start(&mut self, times: Times, _fleet: &mut Fleet) {
        if self.has_begun {
            self.stage = Stage::Leaving(times.start_ns);
        }
        self.has_begun = true;
    }

    fn on_happening(&mut self, what: Happening, fleet: &mut Fleet) {
        let Stage::Returning(returning_ns) = self.stage else { return };
        match what {
            Happening::Opened { slot } => {
                if let Some(Client::Connecting(since_ns)) = self.client(slot) {
                    let now_ns = fleet.happened_ns();
                    self.set(slot, Client::Subscribing(now_ns));
                    fleet.tally().time(CONNECT, now_ns.saturating_sub(since_ns));
                }
            }
            Happening::Subscribed { is_recovered: Some(false), .. } => {
                fleet.tally().count(UNRECOVERED, 1);
            }
            Happening::Live { slot } => {
                if let Some(Client::Subscribing(since_ns)) = self.client(slot) {
                    self.came_back(slot, since_ns, returning_ns, fleet);
                }
            }
            Happening::Lost { slot } => self.lost(slot, fleet),
            _ => {}
        }
    }

    fn due_ns(&self) -> Option<u64> {
        match self.stage {
            Stage::Calm => None,
            Stage::Leaving(at_ns) | Stage::Away(at_ns) => Some(at_ns),
            Stage::Returning(_) if self.making >= self.connecting => None,
            Stage::Returning(at_ns) if !self.waiting.is_empty() => Some(at_ns),
            Stage::Returning(_) => self.failed.iter().map(|(due_ns, _)| *due_ns).min(),
        }
    }

    fn on_timer(&mut self, now_ns: u64, fleet: &mut Fleet) -> Result<(), BenchError> {
        match self.stage {
            Stage::Calm => {}
            Stage::Leaving(at_ns) => {
                self.leave(fleet);
                self.stage = Stage::Away(at_ns + self.parameters.away_ns);
            }
            Stage::Away(at_ns) => {
                self.stage = Stage::Returning(at_ns);
                self.connect_more(now_ns, fleet)?;
            }
            Stage::Returning(_) => self.connect_more(now_ns, fleet)?,
        }
        Ok(())
    }

    fn is_over(&self, _fleet: &Fleet) -> bool {
        self.stage == Stage::Calm
    }
}
