//! Courses of events that chance would not find: clients publish more than lanes may hold (calls of
//! backends wait for room instead), and one comes back to more than its outbox may hold.

use fanwire_core::limits::LANE_BYTES_MAX;

use crate::client::Phase;
use crate::model::{Violation, ensure};
use crate::topics::Wish;
use crate::world::World;

/// Data of one publication, in bytes.
const DATA_BYTES: usize = 512 * 1024;

/// What is missed of each of many topics, in bytes and publications.
const MISSED_BYTES: usize = 24 * 1024;
const MISSED: usize = 4;

impl World {
    /// Fills the lanes between the shards, those to the owner and those from it, and lets them flow
    /// again. How many publications each shard took, and how many of them were refused.
    pub(crate) fn run_overload(&mut self) -> Result<Vec<(usize, usize)>, Violation> {
        self.model.overload = true;
        self.calm = true;
        for shard in 0..self.shards.len() {
            self.open_subscriber(shard, 0);
        }
        self.settle()?;
        for (from, to) in [(0, 1), (1, 0)] {
            self.set_lane(from, to, false);
        }
        let pad = "x".repeat(DATA_BYTES);
        let mut numbers = vec![Vec::new(); self.shards.len()];
        for _ in 0..LANE_BYTES_MAX / DATA_BYTES + 8 {
            for (shard, numbers) in numbers.iter_mut().enumerate() {
                // The subscriber that was opened at this shard.
                let data = format!(r#"{{"n":{},"pad":"{pad}"}}"#, self.model.next_label());
                let (text, number) = self.publish_data(shard, 0, &data);
                self.send(shard, &text);
                self.feed(shard, self.clients[shard].uplink.len());
                numbers.push(number);
            }
        }
        for shard in 0..self.shards.len() {
            self.turn(shard)?;
        }
        // The replies that refuse wait behind those of publishes that wait for a lane.
        self.finale()?;
        let refused = |number: &&usize| self.model.publications[**number].refused;
        let count = |numbers: &Vec<usize>| (numbers.len(), numbers.iter().filter(refused).count());
        Ok(numbers.iter().map(count).collect())
    }

    /// A client comes back to many topics at once, and has missed nearly as much of each as it may.
    /// It reads all that its socket is offered, so it is not slow: what does not fit beside the
    /// rest is refused for now, and there is something that fits each time.
    pub(crate) fn run_return(&mut self) -> Result<(), Violation> {
        self.miss_much()?;
        let topics = self.plan.rules.topics.len();
        let (index, mut text) = self.open_at(0, Some(0));
        text.push('\n');
        for _ in 0..topics {
            for topic in 0..topics {
                if !self.clients[index].live.contains_key(&topic) {
                    let recover = self.clients[index].held_since(topic);
                    let wish = Wish { recoverable: true, recover, ..Wish::default() };
                    text.push_str(&self.subscribe(index, topic, wish));
                    text.push('\n');
                }
            }
            let before = self.clients[index].live.len();
            self.send(index, std::mem::take(&mut text).trim_end());
            self.settle()?;
            let client = &self.clients[index];
            let open = client.phase == Phase::Open;
            ensure!(open, Some(index), None, "it came back, but is {:?}", client.phase);
            ensure!(client.live.len() > before, Some(index), None, "nothing was recovered");
            if client.live.len() == topics {
                break;
            }
        }
        let recovered = self.model.counts.get("recovered").copied();
        ensure!(recovered == Some(topics as u64), Some(index), None, "recovered: {recovered:?}");
        Ok(())
    }

    /// The same by its connect, whose reply must hold all of it. How much it recovered.
    pub(crate) fn run_return_by_connect(&mut self) -> Result<u64, Violation> {
        self.miss_much()?;
        let topics = self.plan.rules.topics.len();
        let (index, _) = self.open_at(0, Some(0));
        self.clients[index].awaited.clear();
        let wishes = (0..topics).map(|topic| {
            let recover = self.clients[index].held_since(topic);
            self.connect_wish(index, topic, recover)
        });
        let wishes = wishes.collect();
        let connect = self.connect(index, wishes);
        self.send(index, &connect);
        self.settle()?;
        let client = &self.clients[index];
        let open = client.phase == Phase::Open && client.live.len() == topics;
        ensure!(open, Some(index), None, "it came back, but is {:?}", client.phase);
        Ok(self.model.counts.get("recovered").copied().unwrap_or_default())
    }

    /// The first client is gone while much is published into each topic that it was subscribed to.
    fn miss_much(&mut self) -> Result<(), Violation> {
        self.calm = true;
        let (index, mut text) = self.open_at(0, None);
        for topic in 0..self.plan.rules.topics.len() {
            let wish = Wish { recoverable: true, ..Wish::default() };
            text.push('\n');
            text.push_str(&self.subscribe(index, topic, wish));
        }
        self.send(index, &text);
        self.settle()?;
        self.hang_up(index);
        let pad = "x".repeat(MISSED_BYTES / MISSED);
        for topic in 0..self.plan.rules.topics.len() {
            for _ in 0..MISSED {
                let data = format!(r#"{{"n":{},"pad":"{pad}"}}"#, self.model.next_label());
                self.publish_text(topic, &data);
            }
        }
        self.settle()
    }
}
