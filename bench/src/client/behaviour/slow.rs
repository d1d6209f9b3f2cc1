//! Some clients that stop reading in the middle of the run, among others that read on. At the end
//! those that stopped read again, to see what has become of them.

use serde::{Deserialize, Serialize};

use crate::client::behaviour::{Behaviour, Manners};
use crate::client::control::Times;
use crate::client::fleet::Fleet;
use crate::clock::SECOND_NS;
use crate::error::BenchError;

/// What counts of clients that stopped reading begin with.
pub(crate) const STALLED: &str = "stalled";

/// Those that read again have read everything when nothing has come for so long, in nanoseconds.
const QUIET_NS: u64 = SECOND_NS * 3 / 10;

/// Who does what.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Parameters {
    /// Who stops.
    pub(crate) dealing: Dealing,
    /// When they stop, in nanoseconds after measuring begins.
    pub(crate) stall_after_ns: u64,
    /// Size of their sockets' receive buffers, in bytes.
    pub(crate) receive_buffer_bytes: u32,
}

/// Who of all clients reads and who stops: those that stop are spread evenly.
#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
pub(crate) struct Dealing {
    /// How many stop.
    pub(crate) stalled: u32,
    /// Of so many.
    pub(crate) clients: u32,
}

/// The behaviour.
#[derive(Debug)]
pub(crate) struct Slow {
    parameters: Parameters,
    stage: Stage,
    /// When what comes next comes.
    due_ns: Option<u64>,
    until_ns: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// All read.
    Before,
    /// Some do not.
    Stalled,
    /// All read again, and had so many deliveries when that was looked at last.
    Finding(u64),
    /// What has become of them is known.
    Over,
}

impl Dealing {
    /// Whether client `client`, over all processes, is one that stops.
    pub(crate) fn is_stalled(self, client: u32) -> bool {
        let share = |clients: u32| {
            u64::from(clients) * u64::from(self.stalled) / u64::from(self.clients.max(1))
        };
        share(client + 1) > share(client)
    }
}

impl Slow {
    /// The behaviour.
    pub(crate) fn new(parameters: &Parameters) -> Self {
        let parameters = parameters.clone();
        Self { parameters, stage: Stage::Before, due_ns: None, until_ns: 0 }
    }

    fn stalled(&self, fleet: &Fleet) -> Vec<u32> {
        let is_stalled = |slot: &u32| self.parameters.dealing.is_stalled(fleet.client(*slot));
        fleet.slots().filter(is_stalled).collect()
    }
}

impl Behaviour for Slow {
    fn manners(&self, client: u32) -> Manners {
        if !self.parameters.dealing.is_stalled(client) {
            return Manners::default();
        }
        let bytes = self.parameters.receive_buffer_bytes;
        Manners { receive_buffer_bytes: Some(bytes), excuse: Some(STALLED) }
    }

    fn start(&mut self, times: Times, _fleet: &mut Fleet) {
        self.due_ns = Some(times.from_ns + self.parameters.stall_after_ns);
        self.until_ns = times.until_ns;
    }

    fn due_ns(&self) -> Option<u64> {
        self.due_ns
    }

    fn on_timer(&mut self, now_ns: u64, fleet: &mut Fleet) -> Result<(), BenchError> {
        let stalled = self.stalled(fleet);
        (self.stage, self.due_ns) = match self.stage {
            Stage::Before => {
                stalled.into_iter().for_each(|slot| fleet.pause(slot));
                (Stage::Stalled, Some(self.until_ns))
            }
            Stage::Stalled => {
                stalled.into_iter().for_each(|slot| fleet.resume(slot));
                (Stage::Finding(fleet.tally().excused_count()), Some(now_ns + QUIET_NS))
            }
            Stage::Finding(before) if fleet.tally().excused_count() > before => {
                (Stage::Finding(fleet.tally().excused_count()), Some(now_ns + QUIET_NS))
            }
            Stage::Finding(_) | Stage::Over => (Stage::Over, None),
        };
        Ok(())
    }

    fn is_over(&self, _fleet: &Fleet) -> bool {
        self.stage == Stage::Over
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exactly_as_many_stop_as_were_asked_for_and_they_are_spread() {
        for (stalled, clients) in [(0, 5), (1, 3), (500, 1_500), (7, 7), (2, 20)] {
            let dealing = Dealing { stalled, clients };
            let who: Vec<u32> = (0..clients).filter(|&one| dealing.is_stalled(one)).collect();
            assert_eq!(who.len(), stalled as usize);
            let first_half = who.iter().filter(|&&one| one < clients / 2).count();
            assert!(first_half <= stalled as usize / 2, "{who:?}");
        }
    }
}
