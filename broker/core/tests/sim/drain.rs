//! The other end of a run: the node goes down in the midst of everything. What was read before is
//! answered, and who stays until the close frame has everything that was published until then.

use fanwire_core::Shard;
use fanwire_core::fault::Disconnect;
use rand::RngExt as _;

use crate::client::{Client, Phase};
use crate::model::{Violation, ensure};
use crate::plan::Drain;
use crate::verdict;
use crate::world::World;

/// Rounds in which every lane may move, after which a draining node must have become quiet.
const ROUNDS_MAX: usize = 1_000;

impl World {
    /// Drains shard by shard while faults go on, then closes everybody.
    pub(crate) fn drain(&mut self) -> Result<(), Violation> {
        self.plan.rules.drain = Drain::Begun;
        for shard in 0..self.shards.len() {
            self.drain_shard(shard);
            for _ in 0..self.random.random_range(0..30) {
                self.step()?;
            }
        }
        if self.random.random_ratio(1, 4) {
            self.close_all(Drain::CutShort);
        } else {
            self.become_quiet()?;
            self.close_all(Drain::Done);
        }
        self.calm = true;
        self.settle()?;
        self.close_closing()?;
        let call = self.calls.first_key_value();
        ensure!(call.is_none(), None, None, "without an answer: {call:?}");
        verdict::check(&self.model, false)?;
        self.check_publishers()?;
        self.nothing_left()
    }

    fn drain_shard(&mut self, shard: usize) {
        self.model.note(|| format!("shard {shard} drains"));
        self.shards[shard].drain();
        let here = |client: &&mut Client| client.shard == shard;
        for client in self.clients.iter_mut().filter(here) {
            if client.phase == Phase::Open {
                client.note_drain();
            }
        }
    }

    /// Waits as a shell does: until no lane holds anything and every shard says that it is quiet.
    /// Lanes may be full now and then, and sockets stay as slow as they are.
    fn become_quiet(&mut self) -> Result<(), Violation> {
        for _ in 0..ROUNDS_MAX {
            let mut lanes = self.lanes.iter().flatten();
            if lanes.all(|lane| lane.batches.is_empty()) && self.shards.iter().all(Shard::is_quiet)
            {
                return Ok(());
            }
            for from in 0..self.shards.len() {
                for to in 0..self.shards.len() {
                    let ready = self.random.random();
                    self.set_lane(from, to, ready);
                    if self.random.random() {
                        self.cross(from, to);
                    }
                }
                self.turn(from)?;
            }
        }
        ensure!(false, None, None, "the draining node does not become quiet");
        Ok(())
    }

    /// Everybody is told to reconnect elsewhere.
    pub(crate) fn close_all(&mut self, drain: Drain) {
        self.model.note(|| format!("all are told to go: {drain:?}"));
        self.plan.rules.drain = drain;
        for shard in &mut self.shards {
            shard.close_all(self.now, &Disconnect::SHUTDOWN);
        }
    }
}
