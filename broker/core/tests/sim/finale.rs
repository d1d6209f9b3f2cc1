//! The end of a run: faults stop, everything arrives, and the node must be as the clients see it.
//! Then all clients go, and nothing may be left.

use std::collections::{BTreeMap, BTreeSet};

use fanwire_core::Shard;
use rand::RngExt as _;
use serde_json::{Value, json};

use crate::client::Phase;
use crate::model::{Publisher, Violation, ensure};
use crate::plan::Drain;
use crate::users;
use crate::verdict;
use crate::world::World;

/// Longest time that a closing socket may live, and a little more.
const CLOSE_MS: u64 = 6_000;

/// Clients that are there in the end, at least.
const OPEN_MIN: usize = 2;

/// Clients that come back in the end, at most.
const BACK_MAX: usize = 6;

impl World {
    pub(crate) fn finale(&mut self) -> Result<(), Violation> {
        self.model.note(|| "faults stop".to_owned());
        self.calm = true;
        self.settle()?;
        self.close_closing()?;
        self.nothing_awaited()?;
        for client in &self.clients {
            let closed = !client.must_close || client.phase == Phase::Gone;
            ensure!(closed, Some(client.index), None, "it was disconnected, but lives");
        }
        self.come_back()?;
        self.fill_up()?;
        for _ in 0..self.random.random_range(0..=3) {
            self.miss_something()?;
            self.come_back()?;
        }
        self.publish_everywhere();
        self.settle()?;
        verdict::check(&self.model, true)?;
        self.check_publishers()?;
        self.check_counts()?;
        self.check_members()?;
        self.check_pings()?;
        self.part()?;
        self.nothing_left()
    }

    /// At least some clients are subscribed to something.
    fn fill_up(&mut self) -> Result<(), Violation> {
        let open = self.clients.iter().filter(|client| client.phase == Phase::Open);
        for _ in open.count()..OPEN_MIN {
            let shard = self.random.random_range(0..self.shards.len());
            let (index, mut text) = self.open_at(shard, None);
            for topic in 0..self.plan.rules.topics.len() {
                text.push('\n');
                text.push_str(&self.subscribe_somehow(index, topic));
            }
            self.send(index, &text);
        }
        self.settle()
    }

    /// Some are gone for a while, and the node goes on without them.
    fn miss_something(&mut self) -> Result<(), Violation> {
        for index in 0..self.clients.len() {
            if self.clients[index].phase == Phase::Open && self.random.random_ratio(2, 3) {
                self.hang_up(index);
            }
        }
        if self.random.random() {
            self.settle()?;
        }
        for _ in 0..self.random.random_range(0..6) {
            self.publish_everywhere();
        }
        if self.random.random_ratio(1, 4) {
            self.call();
        }
        if self.random.random() {
            self.settle()?;
            let millis = self.random.random_range(0..6_000);
            self.pass(millis);
        }
        Ok(())
    }

    /// Everybody who is gone comes back and goes on where it was, or is told that it cannot.
    fn come_back(&mut self) -> Result<(), Violation> {
        let away = self.clients.iter().filter(|client| client.is_away());
        let away: Vec<_> = away.map(|client| client.index).take(BACK_MAX).collect();
        for gone in away {
            let shard = self.random.random_range(0..self.shards.len());
            let (index, mut text) = self.open_at(shard, Some(gone));
            self.subscribe_held(index, &mut text);
            self.send(index, &text);
            if self.random.random() {
                self.settle()?;
            }
        }
        self.settle()?;
        for client in &self.clients {
            let alive = client.phase == Phase::Gone || client.phase == Phase::Open;
            ensure!(alive, Some(client.index), None, "it came back, but was closed");
        }
        Ok(())
    }

    /// Who is there is who sees itself subscribed; what is kept is what the model says.
    fn check_members(&mut self) -> Result<(), Violation> {
        self.model.told.clear();
        for topic in 0..self.plan.rules.topics.len() {
            self.ask_about(topic);
        }
        self.settle()?;
        for told in std::mem::take(&mut self.model.told) {
            let topic = Some(told.topic);
            let live = self.clients.iter().filter(|client| client.live.contains_key(&told.topic));
            let live: Vec<_> = live.collect();
            let mut names: Vec<_> = live.iter().filter_map(|client| client.id.clone()).collect();
            names.sort_unstable();
            let found: Vec<_> = told.members.keys().cloned().collect();
            ensure!(found == names, None, topic, "{found:?} are there instead of {names:?}");
            for (name, info) in &told.members {
                let user = self.model.names.get(name).map(|(_, user)| users::name(*user));
                let right = info.client == *name && user == Some(info.user.as_str());
                ensure!(right, None, topic, "{name} is said to be {info:?}");
            }
            let named: BTreeSet<_> = live.iter().map(|client| client.user).collect();
            let expected = (names.len() as u64, named.len() as u64);
            let counted = self.stats.get(&told.topic).copied();
            ensure!(counted == Some(expected), None, topic, "{counted:?}, not {expected:?}");
            self.model.count("members checked");
        }
        Ok(())
    }

    /// Lets everything arrive, without time passing.
    pub(crate) fn settle(&mut self) -> Result<(), Violation> {
        for round in 0.. {
            ensure!(round < 1_000, None, None, "the node does not come to rest");
            let mut idle = true;
            for index in 0..self.clients.len() {
                if self.clients[index].phase == Phase::Gone {
                    continue;
                }
                self.clients[index].pong();
                let count = self.clients[index].uplink.len();
                if count > 0 {
                    self.feed(index, count);
                    idle = false;
                }
                if self.clients[index].blocked {
                    self.set_writable(index);
                }
            }
            for from in 0..self.shards.len() {
                for to in 0..self.shards.len() {
                    self.set_lane(from, to, true);
                    while !self.lanes[from][to].batches.is_empty() {
                        self.cross(from, to);
                        idle = false;
                    }
                }
                idle &= !self.turn(from)?;
            }
            if idle {
                return Ok(());
            }
        }
        Ok(())
    }

    /// Waits for the sockets whose close is under way.
    pub(crate) fn close_closing(&mut self) -> Result<(), Violation> {
        for _ in 0..6 {
            self.pass(CLOSE_MS / 6);
            self.settle()?;
        }
        let closing = |phase| phase == Phase::Leaving || phase == Phase::Told;
        for client in &self.clients {
            ensure!(!closing(client.phase), Some(client.index), None, "its close does not end");
        }
        Ok(())
    }

    fn nothing_awaited(&self) -> Result<(), Violation> {
        for (index, shard) in self.shards.iter().enumerate() {
            ensure!(shard.is_quiet(), None, None, "shard {index} is not quiet");
        }
        let call = self.calls.first_key_value();
        ensure!(call.is_none(), None, None, "without an answer: {call:?}");
        for client in self.clients.iter().filter(|client| client.phase == Phase::Open) {
            let by = Some(client.index);
            let awaited = client.awaited.front();
            ensure!(awaited.is_none(), by, None, "without a reply: {awaited:?}");
            ensure!(client.own_pings.is_empty(), by, None, "a ping without a pong");
        }
        Ok(())
    }

    /// Subscribers were told rightly who published.
    pub(crate) fn check_publishers(&self) -> Result<(), Violation> {
        for (number, publication) in self.model.publications.iter().enumerate() {
            let Some(told) = &publication.info else {
                continue;
            };
            let publisher = match publication.publisher {
                Publisher::Call(_) => None,
                Publisher::Client(index, _) => {
                    let client = &self.clients[index];
                    // A client that was gone before it read its own id cannot be compared.
                    client.id.clone().or_else(|| told.as_ref().map(|told| told.client.clone()))
                }
            };
            let topic = Some(publication.topic);
            let right = told.as_ref().map(|told| &told.client) == publisher.as_ref();
            ensure!(
                right,
                None,
                topic,
                "{number} is said to come from {told:?}, not {publisher:?}"
            );
        }
        Ok(())
    }

    /// What the node says of itself is what its clients see.
    fn check_counts(&mut self) -> Result<(), Violation> {
        let mut topics: BTreeMap<String, u64> = BTreeMap::new();
        let (mut clients, mut subscriptions, mut users) = (0, 0, BTreeSet::new());
        for client in self.clients.iter().filter(|client| client.phase == Phase::Open) {
            if client.id.is_some() {
                clients += 1;
                users.insert(client.user);
            }
            subscriptions += client.live.len() as u64;
            for topic in client.live.keys() {
                *topics.entry(self.plan.rules.name(*topic).to_owned()).or_default() += 1;
            }
        }
        self.told.clear();
        self.question("info");
        self.question("channels");
        self.settle()?;
        let counted: Vec<_> = topics.iter().map(|(name, count)| json!({name: count})).collect();
        let expected = (clients, users.len() as u64, subscriptions, counted.len() as u64, counted);
        let info = self.told.iter().find_map(|told| told.get("nodes")).cloned().unwrap_or_default();
        let named = self.told.iter().find_map(|told| told.get("channels")?.as_object()).cloned();
        let named = named.unwrap_or_default().into_iter();
        let number = |name: &str| info[0][name].as_u64().unwrap_or(u64::MAX);
        let found = (
            number("num_clients"),
            number("num_users"),
            number("num_subs"),
            number("num_channels"),
            named.map(|(name, found)| json!({name: found["num_clients"]})).collect::<Vec<Value>>(),
        );
        ensure!(found == expected, None, None, "it holds {found:?}, clients see {expected:?}");
        Ok(())
    }

    /// Every client is pinged, and lives on when it answers.
    fn check_pings(&mut self) -> Result<(), Violation> {
        let before: Vec<_> =
            self.clients.iter().map(|client| (client.phase, client.pings_read)).collect();
        for _ in 0..12 {
            self.pass(self.plan.rules.ping_interval_ms / 10);
            self.settle()?;
        }
        for (client, before) in self.clients.iter().zip(before) {
            let pinged = client.phase == Phase::Open && client.pings_read > before.1;
            let never = before.0 != Phase::Open || client.id.is_none();
            ensure!(pinged || never, Some(client.index), None, "it was not pinged in time");
        }
        Ok(())
    }

    /// All clients go, in one of the ways in which that can be.
    fn part(&mut self) -> Result<(), Violation> {
        let open = self.clients.iter().filter(|client| client.phase == Phase::Open);
        let open: Vec<_> = open.map(|client| client.index).collect();
        match self.random.random_range(0..4) {
            0 => open.into_iter().for_each(|index| self.hang_up(index)),
            1 => open.into_iter().for_each(|index| self.leave_as(index)),
            2 => {
                // It concerns sessions; the others go by their own timer.
                self.disconnect_all();
                self.settle()?;
                self.pass(10_000);
            }
            _ => {
                self.shards.iter_mut().for_each(Shard::drain);
                self.close_all(Drain::Done);
            }
        }
        self.settle()?;
        self.close_closing()
    }

    /// Nobody is there, and what was kept for those who might come back goes in the end.
    pub(crate) fn nothing_left(&mut self) -> Result<(), Violation> {
        for client in &self.clients {
            let gone = client.phase == Phase::Gone;
            ensure!(gone, Some(client.index), None, "it lives although all were to go");
        }
        for (index, shard) in self.shards.iter().enumerate() {
            let (bytes, max) = (shard.counters().history_bytes, self.plan.rules.history_bytes_max);
            ensure!(bytes <= max as u64, None, None, "shard {index} keeps {bytes} bytes");
        }
        self.pass(self.plan.rules.meta_ms_max() + 1_000);
        self.settle()?;
        for (index, shard) in self.shards.iter().enumerate() {
            let counters = shard.counters();
            ensure!(counters.history_bytes == 0, None, None, "shard {index} keeps histories");
            let left = (counters.connections, counters.subscriptions, counters.topics_kept);
            ensure!(left == (0, 0, 0), None, None, "shard {index} holds {left:?} of nobody");
            ensure!(shard.is_quiet(), None, None, "shard {index} is not quiet");
        }
        Ok(())
    }
}
