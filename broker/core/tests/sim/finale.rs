//! The end of a run: faults stop, everything arrives, and the node must be as the clients see it.
//! Then all clients go, and nothing may be left.

use std::collections::BTreeMap;

use fanwire_core::Shard;
use rand::RngExt as _;
use serde_json::{Value, json};

use crate::client::Phase;
use crate::model::{Publisher, Violation, ensure};
use crate::plan::Drain;
use crate::verdict;
use crate::world::World;

/// Longest time that a closing socket may live, and a little more.
const CLOSE_MS: u64 = 6_000;

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
        verdict::check(&self.model)?;
        self.check_publishers()?;
        self.check_counts()?;
        self.check_pings()?;
        self.part()?;
        self.nothing_left()
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
                Publisher::Client(index) => {
                    let client = &self.clients[index];
                    // A client that was gone before it read its own id cannot be compared.
                    client.id.clone().or_else(|| told.clone())
                }
            };
            let topic = Some(publication.topic);
            let right = *told == publisher;
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
        let (mut clients, mut subscriptions) = (0, 0);
        for client in self.clients.iter().filter(|client| client.phase == Phase::Open) {
            clients += u64::from(client.id.is_some());
            subscriptions += client.live.len() as u64;
            for topic in client.live.keys() {
                *topics.entry(format!("t{topic}")).or_default() += 1;
            }
        }
        self.told.clear();
        self.question("info");
        self.question("channels");
        self.settle()?;
        let counted: Vec<_> = topics.iter().map(|(name, count)| json!({name: count})).collect();
        let expected = (clients, subscriptions, counted.len() as u64, counted);
        let info = self.told.iter().find_map(|told| told.get("nodes")).cloned().unwrap_or_default();
        let named = self.told.iter().find_map(|told| told.get("channels")?.as_object()).cloned();
        let named = named.unwrap_or_default().into_iter();
        let number = |name: &str| info[0][name].as_u64().unwrap_or(u64::MAX);
        let found = (
            number("num_clients"),
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

    pub(crate) fn nothing_left(&self) -> Result<(), Violation> {
        for client in &self.clients {
            let gone = client.phase == Phase::Gone;
            ensure!(gone, Some(client.index), None, "it lives although all were to go");
        }
        for (index, shard) in self.shards.iter().enumerate() {
            let counters = shard.counters();
            let left = (counters.connections, counters.subscriptions, counters.topics);
            ensure!(left == (0, 0, 0), None, None, "shard {index} holds {left:?} of nobody");
            ensure!(shard.is_quiet(), None, None, "shard {index} is not quiet");
        }
        Ok(())
    }
}
