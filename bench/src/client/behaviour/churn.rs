//! Clients that subscribe and unsubscribe at a fixed rate (open loop) while a backend publishes on
//! a schedule that is known here as well: what a subscription must have heard follows from it.

use std::collections::{BTreeMap, VecDeque};

use serde::{Deserialize, Serialize};

use crate::client::behaviour::{Behaviour, Happening, LATE};
use crate::client::control::{Assignment, Times};
use crate::client::fleet::Fleet;
use crate::client::tally::Tally;
use crate::clock::{SECOND_NS, now_ns};
use crate::error::BenchError;
use crate::payload::Stamp;
use crate::publisher::schedule::Schedule;

/// Deliveries that all subscriptions together should have seen.
pub(crate) const EXPECTED: &str = "expected";
/// Operations that were due but could not be begun, or were never answered.
pub(crate) const UNDONE: &str = "operations not done";
/// Times of subscribing and unsubscribing, from due until answered.
pub(crate) const SUBSCRIBE: &str = "subscribe";
/// See [`SUBSCRIBE`].
pub(crate) const UNSUBSCRIBE: &str = "unsubscribe";

/// Operations per wake-up, so that a process that has fallen behind still reads.
const BATCH_MAX: u64 = 256;
/// A publication due so long before the end of a subscription must have been heard, whatever
/// else; later ones may have been under way.
const SLACK_NS_MAX: u64 = SECOND_NS;
/// What part of a subscription may be left unchecked at its end, unless deliveries took longer.
const SLACK_DIVISOR: u64 = 10;

/// How often, and for how long.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Parameters {
    /// Subscriptions per second of all clients of this process together, made in turn.
    pub(crate) rate: f64,
    /// How long each is kept, in nanoseconds.
    pub(crate) hold_ns: u64,
    /// What the backend publishes.
    pub(crate) publications: Schedule,
    /// Where in the gap between two subscriptions this process begins, 0 to 1.
    pub(crate) phase: f64,
}

/// The behaviour.
#[derive(Debug)]
pub(crate) struct Churn {
    parameters: Parameters,
    first_client: u32,
    clients: u32,
    run: Option<Run>,
    /// By client and topic: from the wish until the server has agreed to the end.
    held: BTreeMap<(u32, u32), Held>,
    /// When subscriptions are due to end, soonest first.
    ends: VecDeque<(u64, u32, u32)>,
    /// Those that have ended, with their topics. What they should have seen depends on the slowest
    /// delivery, so it is known in the end.
    ended: Vec<(u32, Held)>,
    /// The longest that a delivery took, in nanoseconds.
    slowest_ns: u64,
    /// Deliveries that subscriptions of lost connections should have seen.
    expected: u64,
    /// Operations that wait for their answer.
    unanswered: u64,
    undone: u64,
}

#[derive(Clone, Copy, Debug)]
struct Run {
    times: Times,
    schedule: Schedule,
    begin_ns: u64,
    next: u64,
    is_stopped: bool,
}

/// One subscription.
#[derive(Clone, Copy, Debug, Default)]
struct Held {
    /// When the current operation was due.
    due_ns: u64,
    /// When the server said that it stands.
    since_ns: Option<u64>,
    /// When the server was asked to end it.
    left_ns: Option<u64>,
    /// It is due to end, but does not stand yet.
    is_overdue: bool,
    /// Sequence number of the first publication heard, and of the one behind the last.
    heard: Option<(u64, u64)>,
}

impl Churn {
    /// The behaviour of the clients of `assignment`.
    pub(crate) fn new(parameters: &Parameters, assignment: &Assignment) -> Self {
        Self {
            parameters: parameters.clone(),
            first_client: assignment.first,
            clients: assignment.count,
            run: None,
            held: BTreeMap::new(),
            ends: VecDeque::new(),
            ended: Vec::new(),
            slowest_ns: 0,
            expected: 0,
            unanswered: 0,
            undone: 0,
        }
    }

    /// Client and topic of subscription `number`: in every round, each client goes on to the next
    /// topic, and neighbours are at different ones. Rounds begin at different clients, since a
    /// subscription would often end just when the same client begins another, and a server that
    /// gets both in one frame has it easier.
    fn place(&self, number: u64) -> (u32, u32) {
        const SPREAD: u64 = 31;
        let (clients, topics) = (u64::from(self.clients), self.parameters.publications.topics());
        let round = number / clients;
        // The golden section: rounds that begin at the same client are far apart.
        let shift = (clients as f64 * 0.381_966) as u64;
        let slot = (number + round * shift) % clients;
        let client = u64::from(self.first_client) + slot;
        let topic = (client * SPREAD + round) % u64::from(topics.end.max(1));
        // Both are remainders of a division by a u32.
        (u32::try_from(slot).unwrap_or(0), u32::try_from(topic).unwrap_or(0))
    }

    fn begin(&mut self, number: u64, due_ns: u64, fleet: &mut Fleet) {
        let (slot, topic) = self.place(number);
        if !fleet.is_up(slot) || self.held.contains_key(&(slot, topic)) {
            self.undone += 1;
            return;
        }
        self.held.insert((slot, topic), Held { due_ns, ..Held::default() });
        self.ends.push_back((due_ns + self.parameters.hold_ns, slot, topic));
        self.unanswered += 1;
        fleet.subscribe(slot, topic);
    }

    fn end(&mut self, due_ns: u64, now_ns: u64, (slot, topic): (u32, u32), fleet: &mut Fleet) {
        let Some(held) = self.held.get_mut(&(slot, topic)) else { return };
        if held.since_ns.is_none() {
            held.is_overdue = true;
            return;
        }
        (held.due_ns, held.left_ns) = (due_ns, Some(now_ns));
        self.unanswered += 1;
        fleet.unsubscribe(slot, topic);
    }

    fn subscribed(&mut self, key: (u32, u32), fleet: &mut Fleet) {
        let (now_ns, hold_ns) = (fleet.happened_ns(), self.parameters.hold_ns);
        let Some(held) = self.held.get_mut(&key) else { return };
        held.since_ns = Some(now_ns);
        let (due_ns, is_overdue) = (held.due_ns, held.is_overdue);
        self.answered(SUBSCRIBE, due_ns, fleet);
        if is_overdue {
            self.end(due_ns + hold_ns, now_ns, key, fleet);
        }
    }

    fn unsubscribed(&mut self, key: (u32, u32), fleet: &mut Fleet) {
        let Some(held) = self.held.remove(&key) else { return };
        self.answered(UNSUBSCRIBE, held.due_ns, fleet);
        self.ended.push((key.1, held));
    }

    fn answered(&mut self, what: &'static str, due_ns: u64, fleet: &mut Fleet) {
        self.unanswered = self.unanswered.saturating_sub(1);
        let now_ns = fleet.happened_ns();
        fleet.tally().operated(what, due_ns, now_ns);
    }

    /// A connection is gone: nothing more can be expected of its subscriptions.
    fn lost(&mut self, slot: u32) {
        let of_it = self.held.range((slot, 0)..=(slot, u32::MAX));
        let keys: Vec<_> = of_it.map(|(key, _)| *key).collect();
        for key in keys {
            let Some(held) = self.held.remove(&key) else { continue };
            if held.since_ns.is_none() || held.left_ns.is_some() {
                self.unanswered = self.unanswered.saturating_sub(1);
                self.undone += 1;
            }
            self.expected += held.heard.map_or(0, |(first, end)| end - first);
        }
    }

    /// How long before the end of a subscription a publication must have been due to be missed.
    fn slack_ns(&self) -> u64 {
        let checked = self.parameters.hold_ns / SLACK_DIVISOR;
        checked.max(2 * self.slowest_ns).min(SLACK_NS_MAX)
    }

    /// Deliveries that a subscription to `topic` should have seen.
    fn expected_of(&self, topic: u32, held: &Held) -> u64 {
        let heard = held.heard.map_or(0, |(first, end)| end - first);
        let (Some(run), Some(since_ns)) = (self.run, held.since_ns) else { return heard };
        let publications = &self.parameters.publications;
        let from = |at_ns| publications.first_due_from(run.times.start_ns, topic, at_ns);
        let all = publications.sent_to(topic, publications.count());
        let due = held.left_ns.map_or(all, |left_ns| from(left_ns.saturating_sub(self.slack_ns())));
        let (first, end) = held.heard.unwrap_or((u64::MAX, 0));
        end.max(due.min(all)).saturating_sub(first.min(from(since_ns)))
    }
}

impl Behaviour for Churn {
    fn topics(&self, _client: u32, _assignment: &Assignment, _into: &mut Vec<u32>) {}

    fn wants_deliveries(&self) -> bool {
        true
    }

    fn start(&mut self, times: Times, _fleet: &mut Fleet) {
        let Parameters { rate, phase, .. } = self.parameters;
        let begin_ns = times.start_ns + (phase / rate * SECOND_NS as f64) as u64;
        let seconds = times.until_ns.saturating_sub(begin_ns) as f64 / SECOND_NS as f64;
        let schedule = Schedule::new(rate, 1, seconds);
        self.run = Some(Run { times, schedule, begin_ns, next: 0, is_stopped: false });
    }

    fn on_happening(&mut self, what: Happening, fleet: &mut Fleet) {
        match what {
            Happening::Subscribed { slot, topic, .. } => self.subscribed((slot, topic), fleet),
            Happening::Unsubscribed { slot, topic } => self.unsubscribed((slot, topic), fleet),
            Happening::Delivered { slot, stamp: Stamp { topic, sequence, intended_ns, .. } } => {
                let time_ns = fleet.happened_ns().saturating_sub(intended_ns);
                self.slowest_ns = self.slowest_ns.max(time_ns);
                if let Some(held) = self.held.get_mut(&(slot, topic)) {
                    let (first, end) = held.heard.unwrap_or((sequence, sequence));
                    held.heard = Some((first.min(sequence), end.max(sequence + 1)));
                }
            }
            Happening::Lost { slot } => self.lost(slot),
            Happening::Opened { .. } | Happening::Live { .. } => {}
        }
    }

    fn due_ns(&self) -> Option<u64> {
        let run = self.run.filter(|run| !run.is_stopped)?;
        let next =
            (run.next < run.schedule.count()).then(|| run.schedule.due_ns(run.begin_ns, run.next));
        let end = self.ends.front().map(|end| end.0).filter(|end| *end < run.times.until_ns);
        next.into_iter().chain(end).min()
    }

    fn on_timer(&mut self, now_ns: u64, fleet: &mut Fleet) -> Result<(), BenchError> {
        let Some(mut run) = self.run.filter(|run| !run.is_stopped) else { return Ok(()) };
        let limit = run.schedule.count().min(run.next + BATCH_MAX);
        while run.next < limit {
            let due_ns = run.schedule.due_ns(run.begin_ns, run.next);
            if due_ns > now_ns {
                break;
            }
            self.begin(run.next, due_ns, fleet);
            run.next += 1;
        }
        self.run = Some(run);
        for _ in 0..BATCH_MAX {
            let is_due = |end: &mut (u64, u32, u32)| end.0 <= now_ns && end.0 < run.times.until_ns;
            let Some((due_ns, slot, topic)) = self.ends.pop_front_if(is_due) else { break };
            self.end(due_ns, now_ns, (slot, topic), fleet);
        }
        Ok(())
    }

    fn stop(&mut self, fleet: &mut Fleet) -> Result<(), BenchError> {
        // All that is left is due: a little late it counts, and what is more than that is told.
        self.on_timer(now_ns(), fleet)?;
        if let Some(run) = &mut self.run {
            run.is_stopped = true;
            fleet.tally().count(LATE, run.schedule.count() - run.next);
        }
        Ok(())
    }

    fn count(&self, tally: &mut Tally) {
        let held = self.held.iter().map(|((_, topic), held)| (*topic, held));
        let ended = self.ended.iter().map(|(topic, held)| (*topic, held));
        let expected = held.chain(ended).map(|(topic, held)| self.expected_of(topic, held));
        tally.set_count(EXPECTED, self.expected + expected.sum::<u64>());
        tally.set_count(UNDONE, self.undone + self.unanswered);
    }

    fn is_over(&self, _fleet: &Fleet) -> bool {
        self.unanswered == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = SECOND_NS / 1_000;

    /// Ten publications a second on each of two topics for two seconds, from 0 on.
    fn churn() -> Churn {
        let publications = Schedule::new(20.0, 2, 2.0);
        let times = Times { start_ns: 0, from_ns: 0, until_ns: 2 * SECOND_NS };
        let schedule = Schedule::new(1.0, 1, 2.0);
        Churn {
            parameters: Parameters { rate: 1.0, hold_ns: SECOND_NS, publications, phase: 0.0 },
            first_client: 0,
            clients: 3,
            run: Some(Run { times, schedule, begin_ns: 0, next: 0, is_stopped: false }),
            held: BTreeMap::new(),
            ends: VecDeque::new(),
            ended: Vec::new(),
            slowest_ns: 0,
            expected: 0,
            unanswered: 0,
            undone: 0,
        }
    }

    fn held(since_ms: u64, left_ms: Option<u64>, heard: Option<(u64, u64)>) -> Held {
        let left_ns = left_ms.map(|ms| ms * MS);
        Held { since_ns: Some(since_ms * MS), left_ns, heard, ..Held::default() }
    }

    #[test]
    fn a_subscription_must_hear_what_is_due_from_its_answer_on() {
        let expected = |held| churn().expected_of(0, &held);
        // Topic 0 is published at 0, 100, 200, … ms: 20 in all.
        assert_eq!(expected(held(50, None, Some((1, 20)))), 19);
        // What was on its way already is heard as well.
        assert_eq!(expected(held(150, None, Some((1, 20)))), 19);
        // The first and the last were lost.
        assert_eq!(expected(held(50, None, Some((2, 19)))), 19);
        assert_eq!(expected(held(50, None, None)), 19);
    }

    #[test]
    fn a_subscription_that_ends_must_have_heard_all_but_what_may_be_under_way() {
        let expected = |held| churn().expected_of(0, &held);
        // A tenth of the second that it is held.
        assert_eq!(expected(held(50, Some(910), None)), 8);
        assert_eq!(expected(held(50, Some(910), Some((1, 7)))), 8);
        // Where deliveries have taken half a second, twice that; never more than one second.
        let slow = |slowest_ns| Churn { slowest_ns, ..churn() };
        let expected = |held| slow(500 * MS).expected_of(0, &held);
        assert_eq!(expected(held(50, Some(900), Some((1, 7)))), 6);
        assert_eq!(expected(held(50, Some(900), None)), 0);
        assert_eq!(expected(held(50, Some(1_350), None)), 3);
        assert_eq!(expected(held(50, Some(1_350), Some((3, 9)))), 8);
    }

    #[test]
    fn a_lost_connection_leaves_nothing_to_wait_for() {
        let mut churn = churn();
        churn.held.insert((1, 0), held(50, None, Some((1, 4))));
        churn.held.insert((1, 1), Held::default());
        churn.held.insert((2, 0), held(50, None, None));
        churn.unanswered = 1;
        churn.lost(1);
        assert_eq!((churn.expected, churn.undone, churn.unanswered), (3, 1, 0));
        assert_eq!(churn.held.len(), 1);
    }

    #[test]
    fn each_client_goes_through_all_topics_before_it_meets_one_again() {
        let mut churn = churn();
        churn.clients = 10;
        let mut next = [0_u32; 10];
        for number in 0..200 {
            let (slot, topic) = churn.place(number);
            let (round, own) = (u32::try_from(number / 10).unwrap(), &mut next[slot as usize]);
            assert_eq!((*own, topic), (round, (slot * 31 + round) % 2));
            *own += 1;
        }
        let starts: Vec<_> = (0..5).map(|round| churn.place(round * 10).0).collect();
        assert_eq!(starts, [0, 3, 6, 9, 2]);
    }
}
