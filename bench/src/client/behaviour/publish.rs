//! Clients that publish on a fixed schedule (open loop): a slow server does not slow them down,
//! and latencies count from the moment a publication was meant to be sent.

use serde::{Deserialize, Serialize};

use crate::client::behaviour::{Behaviour, LATE};
use crate::client::control::{Assignment, Times};
use crate::client::fleet::Fleet;
use crate::clock::{SECOND_NS, now_ns};
use crate::error::BenchError;
use crate::payload::PayloadMaker;
use crate::publisher::schedule::Schedule;

/// Publications per wake-up, so that a process that has fallen behind still reads.
const BATCH_MAX: u64 = 256;

/// What they publish.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Parameters {
    /// Publications per second of all clients of this process together.
    pub(crate) rate: f64,
    /// Size of each payload, in bytes.
    pub(crate) size_bytes: usize,
    /// On which topics.
    pub(crate) aim: Aim,
    /// Where in the gap between two publications this process begins, 0 to 1: spreads several
    /// processes evenly.
    pub(crate) phase: f64,
}

/// Which client publishes on which topic.
#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
pub(crate) enum Aim {
    /// The clients take turns; client i publishes on topic i mod `topics`.
    OwnTopic {
        /// How many.
        topics: u32,
    },
    /// The topics take turns; they are divided among the clients.
    EveryTopic {
        /// How many.
        count: u32,
    },
}

/// The behaviour.
#[derive(Debug)]
pub(crate) struct Publish {
    parameters: Parameters,
    payload: PayloadMaker,
    first_client: u32,
    clients: u32,
    /// `None` before the run and after it.
    run: Option<Run>,
}

#[derive(Clone, Copy, Debug)]
struct Run {
    schedule: Schedule,
    start_ns: u64,
    next: u64,
}

impl Publish {
    /// The behaviour of the clients of `assignment`.
    ///
    /// # Errors
    /// `PayloadTooSmall`.
    pub(crate) fn new(
        parameters: &Parameters,
        assignment: &Assignment,
    ) -> Result<Self, BenchError> {
        Ok(Self {
            parameters: parameters.clone(),
            payload: PayloadMaker::new(parameters.size_bytes)?,
            first_client: assignment.first,
            clients: assignment.count,
            run: None,
        })
    }

    /// Which client publishes on which topic when it is this one's turn.
    fn place(&self, turn: u32) -> (u32, u32) {
        match self.parameters.aim {
            Aim::OwnTopic { topics } => (turn, (self.first_client + turn) % topics.max(1)),
            Aim::EveryTopic { .. } => (turn % self.clients, turn),
        }
    }
}

impl Behaviour for Publish {
    fn start(&mut self, times: Times, _fleet: &mut Fleet) {
        let Parameters { rate, phase, .. } = self.parameters;
        let offset_ns = (phase / rate * SECOND_NS as f64) as u64;
        let start_ns = times.start_ns + offset_ns;
        let seconds = times.until_ns.saturating_sub(start_ns) as f64 / SECOND_NS as f64;
        let turns = match self.parameters.aim {
            Aim::OwnTopic { .. } => self.clients,
            Aim::EveryTopic { count } => count,
        };
        let schedule = Schedule::new(rate, turns, seconds);
        self.run = Some(Run { schedule, start_ns, next: 0 });
    }

    fn due_ns(&self) -> Option<u64> {
        let run = self.run.as_ref()?;
        (run.next < run.schedule.count()).then(|| run.schedule.due_ns(run.start_ns, run.next))
    }

    fn on_timer(&mut self, now_ns: u64, fleet: &mut Fleet) -> Result<(), BenchError> {
        let Some(mut run) = self.run else { return Ok(()) };
        let limit = run.schedule.count().min(run.next + BATCH_MAX);
        while run.next < limit {
            let due_ns = run.schedule.due_ns(run.start_ns, run.next);
            if due_ns > now_ns {
                break;
            }
            let (turn, _) = run.schedule.place(run.next);
            let (slot, topic) = self.place(turn);
            fleet.publish(slot, topic, due_ns, &self.payload);
            run.next += 1;
        }
        self.run = Some(run);
        Ok(())
    }

    fn stop(&mut self, fleet: &mut Fleet) -> Result<(), BenchError> {
        // All that is left is due: a little late it counts, and what is more than that is told.
        self.on_timer(now_ns(), fleet)?;
        let left = self.run.take().map_or(0, |run| run.schedule.count() - run.next);
        fleet.tally().count(LATE, left);
        Ok(())
    }

    fn is_over(&self, _fleet: &Fleet) -> bool {
        self.due_ns().is_none()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::behaviour::Role;
    use crate::client::target::Target;

    #[test]
    fn the_schedule_is_that_of_the_run_shifted_by_the_phase() {
        let parameters =
            Parameters { rate: 10.0, size_bytes: 64, aim: Aim::OwnTopic { topics: 2 }, phase: 0.5 };
        let assignment = Assignment {
            target: Target::parse("tcp://127.0.0.1:1").unwrap(),
            settings: crate::dialect::Settings::default(),
            run: 1,
            first: 0,
            count: 3,
            topics: 0,
            topic_prefix: "t".to_owned(),
            further_topics: None,
            recovers: false,
            source_addresses: 1,
            connecting: 1,
            role: Role::Publish(parameters.clone()),
        };
        let mut publish = Publish::new(&parameters, &assignment).unwrap();
        let poll = mio::Poll::new().unwrap();
        let registry = poll.registry().try_clone().unwrap();
        let mut fleet = Fleet::new(assignment, &publish, registry).unwrap();
        assert!(publish.due_ns().is_none() && publish.is_over(&fleet));
        let times = Times { start_ns: SECOND_NS, from_ns: SECOND_NS, until_ns: 2 * SECOND_NS };
        publish.start(times, &mut fleet);
        let mut due = Vec::new();
        while let Some(due_ns) = publish.due_ns() {
            due.push(due_ns);
            publish.on_timer(due_ns, &mut fleet).unwrap();
        }
        // Every 100 ms, 50 ms after the start, and none at the end or later.
        let expected = (0..10).map(|index| SECOND_NS + 50_000_000 + index * 100_000_000);
        assert_eq!(due, expected.collect::<Vec<_>>());
        assert!(publish.is_over(&fleet));
    }

    fn places(aim: Aim) -> Vec<(u32, u32)> {
        let parameters = Parameters { rate: 1.0, size_bytes: 64, aim, phase: 0.0 };
        let payload = PayloadMaker::new(64).unwrap();
        let publish = Publish { parameters, payload, first_client: 7, clients: 2, run: None };
        (0..3).map(|turn| publish.place(turn)).collect()
    }

    #[test]
    fn clients_keep_to_their_own_topic_and_topics_to_their_own_client() {
        assert_eq!(places(Aim::OwnTopic { topics: 3 })[..2], [(0, 1), (1, 2)]);
        assert_eq!(places(Aim::EveryTopic { count: 3 }), [(0, 0), (1, 1), (0, 2)]);
    }
}
