//! A course of events that chance would not find: clients publish more than lanes may hold. (Calls
//! of backends wait for room instead.)

use fanwire_core::limits::LANE_BYTES_MAX;

use crate::model::Violation;
use crate::world::World;

/// Data of one publication, in bytes.
const DATA_BYTES: usize = 512 * 1024;

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
}
