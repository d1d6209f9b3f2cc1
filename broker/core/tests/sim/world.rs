//! The node under test and everything around it: shards, the lanes between them, sockets, clients,
//! backends and time. Nothing in here happens but by the seed.

use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;
use std::sync::Arc;

use fanwire_core::{Batch, ConnectionId, Output, Place, Shard, ShardIndex, SocketId, Time};
use rand::rngs::StdRng;
use rand::{Rng as _, RngExt as _, SeedableRng as _};
use serde_json::Value;

use crate::calls::Awaited;
use crate::client::{Client, Phase};
use crate::model::{Model, Violation, ensure};
use crate::plan::{Action, Plan};
use crate::users;

/// What is on its way from one shard to another.
#[derive(Debug, Default)]
pub(crate) struct Lane {
    pub(crate) batches: VecDeque<Batch>,
    /// The sender was told that it takes no more.
    pub(crate) full: bool,
}

/// Everything.
pub(crate) struct World {
    pub(crate) random: StdRng,
    pub(crate) plan: Plan,
    pub(crate) now: Time,
    pub(crate) shards: Vec<Shard>,
    /// By sender, then receiver.
    pub(crate) lanes: Vec<Vec<Lane>>,
    /// Every client that there ever was; its index names its socket.
    pub(crate) clients: Vec<Client>,
    /// Calls without an answer.
    pub(crate) calls: BTreeMap<u64, Awaited>,
    pub(crate) calls_made: u64,
    /// Answers to questions, as they came.
    pub(crate) told: Vec<Value>,
    /// The last count of clients and users of a topic.
    pub(crate) stats: BTreeMap<usize, (u64, u64)>,
    pub(crate) model: Model,
    /// Faults have stopped.
    pub(crate) calm: bool,
}

impl World {
    pub(crate) fn new(seed: u64, shards: u16, traced: bool) -> Self {
        let mut random = StdRng::seed_from_u64(seed);
        let plan = Plan::new(&mut random);
        Self::with(plan, random, shards, traced)
    }

    /// A node whose outboxes hold everything, so that nothing but lanes can be too full.
    pub(crate) fn roomy(shards: u16) -> Self {
        let mut random = StdRng::seed_from_u64(0);
        let plan = Plan::roomy(&mut random);
        Self::with(plan, random, shards, false)
    }

    /// A node with many topics, and outboxes that do not hold what one may miss of all of them.
    pub(crate) fn broad(shards: u16) -> Self {
        let mut random = StdRng::seed_from_u64(0);
        let plan = Plan::broad(&mut random);
        Self::with(plan, random, shards, false)
    }

    fn with(plan: Plan, mut random: StdRng, shards: u16, traced: bool) -> Self {
        let now = Time::from_millis(random.random_range(0..100_000));
        let shard = |index| {
            let mut seed = [0; 32];
            random.fill_bytes(&mut seed);
            let place = Place { index: ShardIndex(index), count: shards };
            let (settings, node) = (Rc::clone(&plan.settings), Arc::clone(&plan.node));
            let mut shard = Shard::new(place, settings, node, seed, now);
            shard.set_keys(users::keys());
            shard.set_fanout_slice(plan.rules.fanout_slice);
            shard
        };
        let shards: Vec<_> = (0..shards).map(shard).collect();
        let lanes = shards.iter().map(|_| shards.iter().map(|_| Lane::default()).collect());
        let lanes = lanes.collect();
        let mut model = Model::new(traced);
        model.now_ms = now.as_millis();
        model.note(|| format!("{plan:?}"));
        Self {
            random,
            plan,
            now,
            shards,
            lanes,
            clients: Vec::new(),
            calls: BTreeMap::new(),
            calls_made: 0,
            told: Vec::new(),
            stats: BTreeMap::new(),
            model,
            calm: false,
        }
    }

    /// Runs the whole course of events that the seed stands for.
    pub(crate) fn run(&mut self) -> Result<(), Violation> {
        for _ in 0..self.plan.steps {
            self.step()?;
        }
        if self.random.random_ratio(1, 4) { self.drain() } else { self.finale() }
    }

    pub(crate) fn step(&mut self) -> Result<(), Violation> {
        self.model.tick();
        match self.plan.draw(&mut self.random) {
            Action::Open => self.open(),
            Action::Command => self.command(),
            Action::Flap => self.flap(),
            Action::Uplink => self.uplink(),
            Action::Lane => self.lane(),
            Action::Turn => {
                let shard = self.random.random_range(0..self.shards.len());
                self.turn(shard)?;
            }
            Action::Call => self.call(),
            Action::Writable => self.writable(),
            Action::LaneFull => self.lane_ready(false),
            Action::LaneReady => self.lane_ready(true),
            Action::Time => self.time(),
            Action::Drop => self.drop_socket(),
            Action::Leave => self.leave(),
            Action::Misbehave => self.misbehave(),
        }
        if self.random.random_ratio(1, 2) {
            let shard = self.random.random_range(0..self.shards.len());
            self.turn(shard)?;
        }
        Ok(())
    }

    /// A client that is in the wanted phase, if there is one.
    pub(crate) fn any_client(&mut self, wanted: impl Fn(&Client) -> bool) -> Option<usize> {
        let found: Vec<_> =
            self.clients.iter().filter(|client| wanted(client)).map(|found| found.index).collect();
        (!found.is_empty()).then(|| found[self.random.random_range(0..found.len())])
    }

    fn uplink(&mut self) {
        let wanted = |client: &Client| client.phase != Phase::Gone && !client.uplink.is_empty();
        if let Some(index) = self.any_client(wanted) {
            let most = self.clients[index].uplink.len();
            let whole = self.random.random_ratio(2, 3);
            let count = if whole { most } else { self.random.random_range(1..=most) };
            self.feed(index, count);
        }
    }

    /// The broker reads the next bytes of a client.
    pub(crate) fn feed(&mut self, index: usize, count: usize) {
        let client = &mut self.clients[index];
        let mut bytes: Vec<u8> = client.uplink.drain(..count).collect();
        self.model.note(|| format!("c{index} is read, {count} bytes"));
        self.shards[client.shard].handle_bytes(self.now, client.connection, &mut bytes);
    }

    fn lane(&mut self) {
        let count = self.shards.len();
        let waiting: Vec<_> = (0..count * count)
            .map(|lane| (lane / count, lane % count))
            .filter(|(from, to)| !self.lanes[*from][*to].batches.is_empty())
            .collect();
        if !waiting.is_empty() {
            let (from, to) = waiting[self.random.random_range(0..waiting.len())];
            self.cross(from, to);
        }
    }

    /// The first batch of a lane arrives.
    pub(crate) fn cross(&mut self, from: usize, to: usize) {
        if let Some(batch) = self.lanes[from][to].batches.pop_front() {
            self.model.note(|| format!("shard {to} takes {batch:?} of shard {from}"));
            self.shards[to].handle_batch(self.now, ShardIndex(from as u16), batch);
        }
    }

    fn lane_ready(&mut self, ready: bool) {
        let from = self.random.random_range(0..self.shards.len());
        let to = self.random.random_range(0..self.shards.len());
        if from != to {
            self.set_lane(from, to, ready);
        }
    }

    pub(crate) fn set_lane(&mut self, from: usize, to: usize, ready: bool) {
        self.lanes[from][to].full = !ready;
        self.shards[from].handle_lane(ShardIndex(to as u16), ready);
    }

    fn writable(&mut self) {
        let wanted = |client: &Client| client.phase != Phase::Gone && client.blocked;
        if let Some(index) = self.any_client(wanted) {
            self.set_writable(index);
        }
    }

    pub(crate) fn set_writable(&mut self, index: usize) {
        let client = &mut self.clients[index];
        client.blocked = false;
        self.shards[client.shard].handle_writable(client.connection);
    }

    fn time(&mut self) {
        let longest = if self.random.random_ratio(1, 8) { 20_000 } else { 1_500 };
        let millis = self.random.random_range(0..longest);
        self.pass(millis);
    }

    /// Time passes. What waits now may be too late then.
    pub(crate) fn pass(&mut self, millis: u64) {
        self.now = Time::from_millis(self.now.as_millis() + millis);
        self.model.now_ms = self.now.as_millis();
        self.model.note(|| format!("{millis} ms pass"));
        for client in self.clients.iter_mut().filter(|client| client.phase != Phase::Gone) {
            let held = self.shards[client.shard].pending(client.connection).next().is_some();
            let busy = !client.awaited.is_empty() || !client.uplink.is_empty();
            client.late |= held || busy || client.owed_pongs > 0;
        }
        for shard in &mut self.shards {
            if shard.next_timeout().is_some_and(|next| next <= self.now) {
                shard.handle_timeout(self.now);
            }
        }
    }

    /// Does what a shard wants done; sometimes only the beginning of it.
    pub(crate) fn turn(&mut self, shard: usize) -> Result<bool, Violation> {
        let budget = if self.calm { 1000 } else { self.random.random_range(1..20) };
        if self.random.random() {
            self.shards[shard].carry_on();
        }
        for done in 0..budget {
            let Some(output) = self.shards[shard].poll_output() else {
                return Ok(done > 0);
            };
            match output {
                Output::FetchKeys => unreachable!("the keys are known"),
                Output::Pause => return Ok(true),
                Output::Send { to, batch } => {
                    let lane = &mut self.lanes[shard][to.as_usize()];
                    ensure!(!lane.full, None, None, "shard {shard} sends over a full lane");
                    lane.batches.push_back(batch);
                }
                Output::Answer { call, body, .. } => self.answered(call, &body)?,
                Output::Write { socket, connection } => self.write(shard, socket, connection)?,
                Output::ShutdownWrite { socket } => {
                    let index = socket.0 as usize;
                    let closed = self.clients[index].phase != Phase::Open;
                    ensure!(closed, Some(index), None, "shut down without a close frame");
                    self.hang_up(index);
                }
                Output::Close { socket } => {
                    let index = socket.0 as usize;
                    let client = &mut self.clients[index];
                    let closed = client.phase != Phase::Open || client.may_be_late();
                    ensure!(closed, Some(index), None, "closed without a close frame");
                    client.phase = Phase::Gone;
                    client.end_all(&mut self.model);
                    self.model.note(|| format!("c{index} is closed by the broker"));
                }
            }
        }
        Ok(true)
    }

    /// The socket takes some of what a connection has to send, and the client reads it.
    fn write(
        &mut self,
        shard: usize,
        socket: SocketId,
        connection: ConnectionId,
    ) -> Result<(), Violation> {
        let index = socket.0 as usize;
        let mut bytes = Vec::new();
        for chunk in self.shards[shard].pending(connection) {
            bytes.extend_from_slice(chunk);
        }
        let client = &mut self.clients[index];
        let known = client.connection == connection && client.phase != Phase::Gone;
        ensure!(known && !client.blocked, Some(index), None, "a write that cannot be done");
        ensure!(!bytes.is_empty(), Some(index), None, "a write of nothing");
        if !self.calm && !self.random.random_ratio(self.plan.whole_writes, 100) {
            bytes.truncate(self.random.random_range(0..=bytes.len()));
            client.blocked = bytes.is_empty() || self.random.random_ratio(1, 2);
        }
        if !bytes.is_empty() {
            self.shards[shard].handle_written(self.now, connection, bytes.len());
        }
        if client.blocked {
            self.shards[shard].handle_blocked(connection);
        }
        client.read(&bytes, &self.plan.rules, &mut self.model)?;
        if client.phase == Phase::Told && !client.closing {
            client.closing = true;
            match self.random.random_range(0..10) {
                0 if !self.calm => {}
                1 if !self.calm => self.hang_up(index),
                _ => client.send(crate::wire::CLOSE, true, &[]),
            }
        } else if client.owed_pongs > 0 {
            if self.calm || self.random.random_ratio(self.plan.pongs, 100) {
                client.pong();
            } else {
                client.late = true;
            }
        }
        Ok(())
    }

    /// A client ends its socket without a word.
    pub(crate) fn hang_up(&mut self, index: usize) {
        let client = &mut self.clients[index];
        if client.phase == Phase::Gone {
            return;
        }
        if !client.live.is_empty() && !self.calm {
            self.model.count("dropped while subscribed");
        }
        client.note_ends(&self.plan.rules, &mut self.model);
        client.phase = Phase::Gone;
        client.end_all(&mut self.model);
        self.model.note(|| format!("c{index} hangs up"));
        self.shards[client.shard].handle_closed(self.now, client.connection);
    }
}
