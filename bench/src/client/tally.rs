//! What the clients of one process have seen and done so far.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use crate::client::control::{Published, Totals};
use crate::error::{BenchError, ClientError};
use crate::histogram::TimeHistogram;
use crate::payload::Stamp;
use crate::sequence::{Arrival, Windows};
use crate::timeline::Timeline;

/// Counted when a publication comes that its subscriber had missed.
pub(crate) const RECOVERED: &str = "publications recovered";

/// Counters and latencies of one process.
#[derive(Debug)]
pub(crate) struct Tally {
    run: u32,
    measure_from_ns: u64,
    received: u64,
    duplicated: u64,
    out_of_order: u64,
    misrouted: u64,
    excused: u64,
    pings: u64,
    disconnected: BTreeMap<String, u64>,
    latency: TimeHistogram,
    timeline: Timeline,
    published: Published,
    lag: TimeHistogram,
    answered: TimeHistogram,
    sent_timeline: Timeline,
    answer_timeline: Timeline,
    counts: BTreeMap<Cow<'static, str>, u64>,
    times: BTreeMap<&'static str, TimeHistogram>,
}

impl Tally {
    /// Nothing seen. Latencies are not recorded before [`Tally::measure`].
    ///
    /// # Errors
    /// `Histogram` when its bounds are impossible, which they are not.
    pub(crate) fn new(run: u32) -> Result<Self, BenchError> {
        Ok(Self {
            run,
            measure_from_ns: u64::MAX,
            received: 0,
            duplicated: 0,
            out_of_order: 0,
            misrouted: 0,
            excused: 0,
            pings: 0,
            disconnected: BTreeMap::new(),
            latency: TimeHistogram::new()?,
            timeline: Timeline::idle(),
            published: Published::default(),
            lag: TimeHistogram::new()?,
            answered: TimeHistogram::new()?,
            sent_timeline: Timeline::idle(),
            answer_timeline: Timeline::idle(),
            counts: BTreeMap::new(),
            times: BTreeMap::new(),
        })
    }

    /// Records latencies of what is meant to happen at `from_ns` or later, and counts as in time
    /// what arrives before `until_ns`. Told the same beginning again, as in the next round of a
    /// run, it keeps what it has.
    pub(crate) fn measure(&mut self, from_ns: u64, until_ns: u64) {
        if self.measure_from_ns != from_ns {
            self.measure_from_ns = from_ns;
            self.timeline.start_window(from_ns, until_ns);
            self.sent_timeline.start(from_ns);
            self.answer_timeline.start_window(from_ns, until_ns);
        }
    }

    /// Number of the run.
    pub(crate) fn run(&self) -> u32 {
        self.run
    }

    /// Whether a message is one of this run.
    pub(crate) fn is_ours(&self, stamp: &Stamp) -> bool {
        stamp.run == self.run
    }

    /// A message of this run arrived at `now_ns` on a connection that is subscribed to its topic
    /// and has seen `windows` there. Whether it was no repetition.
    pub(crate) fn delivery(&mut self, stamp: &Stamp, windows: &mut Windows, now_ns: u64) -> bool {
        if !self.observe(stamp, windows) {
            return false;
        }
        self.timeline.record(stamp.intended_ns, now_ns);
        if stamp.intended_ns >= self.measure_from_ns {
            self.latency.record(now_ns.saturating_sub(stamp.intended_ns));
        }
        true
    }

    /// The same for one that was published while its subscriber was away. How long ago says
    /// nothing about the server, so it counts in no latency.
    pub(crate) fn recovered(&mut self, stamp: &Stamp, windows: &mut Windows) -> bool {
        let is_new = self.observe(stamp, windows);
        self.count(RECOVERED, u64::from(is_new));
        is_new
    }

    /// A message came of a topic that its connection is not subscribed to.
    pub(crate) fn misrouted(&mut self) {
        self.misrouted += 1;
    }

    fn observe(&mut self, stamp: &Stamp, windows: &mut Windows) -> bool {
        match windows.observe(stamp.publisher, stamp.sequence) {
            Arrival::InOrder => {}
            Arrival::OutOfOrder => self.out_of_order += 1,
            Arrival::Duplicate => {
                self.duplicated += 1;
                return false;
            }
        }
        self.received += 1;
        true
    }

    /// A message of this run arrived at a client from which nothing is expected.
    pub(crate) fn excused(&mut self) {
        self.excused += 1;
    }

    /// Messages that arrived at clients from which nothing is expected.
    pub(crate) fn excused_count(&self) -> u64 {
        self.excused
    }

    /// A protocol ping arrived.
    pub(crate) fn ping(&mut self) {
        self.pings += 1;
    }

    /// A subscribed connection is gone; with an excuse it is no fault.
    pub(crate) fn disconnected(&mut self, error: &ClientError, excuse: Option<&str>) {
        match excuse {
            None => *self.disconnected.entry(error.to_string()).or_default() += 1,
            Some(excuse) => self.count(format!("{excuse}: {error}"), 1),
        }
    }

    /// A client published on `topic` at `now_ns` what was due at `intended_ns`.
    pub(crate) fn published(&mut self, topic: u32, intended_ns: u64, now_ns: u64) {
        self.published.sent += 1;
        *self.published.by_topic.entry(topic).or_default() += 1;
        self.sent_timeline.record(intended_ns, now_ns);
        if intended_ns >= self.measure_from_ns {
            self.lag.record(now_ns.saturating_sub(intended_ns));
        }
    }

    /// The server took the publication that was due at `intended_ns`.
    pub(crate) fn accepted(&mut self, intended_ns: u64, now_ns: u64) {
        self.published.accepted += 1;
        self.answer_timeline.record(intended_ns, now_ns);
        if intended_ns >= self.measure_from_ns {
            self.answered.record(now_ns.saturating_sub(intended_ns));
        }
    }

    /// The server has no answers: what was sent counts as taken.
    pub(crate) fn accepted_unseen(&mut self) {
        self.published.accepted += 1;
    }

    /// The server refused a publication on `topic`.
    pub(crate) fn refused(&mut self, topic: u32, reason: String) {
        *self.published.refused.entry(reason).or_default() += 1;
        if let Some(count) = self.published.by_topic.get_mut(&topic) {
            *count = count.saturating_sub(1);
        }
    }

    /// The server answered a question of this name that was due at `intended_ns`.
    pub(crate) fn answered(&mut self, name: &'static str, intended_ns: u64, now_ns: u64) {
        if intended_ns >= self.measure_from_ns {
            self.time(name, now_ns.saturating_sub(intended_ns));
        }
    }

    /// The server has done an operation of this name, which is what the run is about.
    pub(crate) fn operated(&mut self, name: &'static str, intended_ns: u64, now_ns: u64) {
        self.answer_timeline.record(intended_ns, now_ns);
        self.answered(name, intended_ns, now_ns);
    }

    /// The server refused a question of this name.
    pub(crate) fn question_refused(&mut self, name: &'static str, reason: &str) {
        self.count(format!("{name} refused, {reason}"), 1);
    }

    /// Counts something that only one role knows.
    pub(crate) fn count(&mut self, name: impl Into<Cow<'static, str>>, count: u64) {
        *self.counts.entry(name.into()).or_default() += count;
    }

    /// Counts something that happened at `at_ns`, if measuring had begun.
    pub(crate) fn count_measured(&mut self, name: &'static str, at_ns: u64) {
        if at_ns >= self.measure_from_ns {
            self.count(name, 1);
        }
    }

    /// Says what the count of something that only one role knows is.
    pub(crate) fn set_count(&mut self, name: &'static str, count: u64) {
        self.counts.insert(name.into(), count);
    }

    /// Records a time that only one role knows, in nanoseconds.
    pub(crate) fn time(&mut self, name: &'static str, time_ns: u64) {
        let histogram = match self.times.entry(name) {
            Entry::Occupied(entry) => entry.into_mut(),
            Entry::Vacant(entry) => {
                // Only impossible bounds make this fail, and they would have at the start.
                let Ok(histogram) = TimeHistogram::new() else { return };
                entry.insert(histogram)
            }
        };
        histogram.record(time_ns);
    }

    /// Deliveries so far, without repetitions.
    pub(crate) fn received(&self) -> u64 {
        self.received
    }

    /// The result of this process.
    pub(crate) fn totals(&self) -> Totals {
        let counts = self.counts.iter().map(|(name, &count)| (name.clone().into_owned(), count));
        let times = self.times.iter().map(|(&name, times)| (name.to_owned(), times.to_portable()));
        Totals {
            received: self.received,
            duplicated: self.duplicated,
            out_of_order: self.out_of_order,
            misrouted: self.misrouted,
            pings: self.pings,
            disconnected: self.disconnected.clone(),
            latency: self.latency.to_portable(),
            timeline: self.timeline.to_portable(),
            published: Published {
                lag: self.lag.to_portable(),
                answered: self.answered.to_portable(),
                timeline: self.sent_timeline.to_portable(),
                answers: self.answer_timeline.to_portable(),
                ..self.published.clone()
            },
            counts: counts.collect(),
            times: times.collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deliveries_are_counted_by_what_they_are() {
        let mut tally = Tally::new(1).unwrap();
        tally.measure(100, u64::MAX);
        let mut windows = Windows::default();
        let mut deliver = |sequence, intended_ns| {
            let stamp = Stamp { run: 1, topic: 5, publisher: 0, sequence, intended_ns };
            tally.delivery(&stamp, &mut windows, 1_000)
        };
        assert!(deliver(0, 99)); // before measuring starts
        assert!(deliver(2, 100));
        assert!(deliver(1, 101)); // late
        assert!(!deliver(1, 101)); // repeated
        tally.misrouted();
        let stamp = Stamp { run: 1, topic: 5, publisher: 0, sequence: 3, intended_ns: 102 };
        assert!(tally.recovered(&stamp, &mut windows));
        let totals = tally.totals();
        assert_eq!((totals.received, totals.out_of_order, totals.duplicated), (4, 1, 1));
        assert_eq!((totals.misrouted, totals.counts[RECOVERED]), (1, 1));
        let mut latency = TimeHistogram::new().unwrap();
        latency.merge(&totals.latency);
        assert_eq!(latency.percentiles().count, 2);
    }

    #[test]
    fn what_was_recovered_is_counted_in_its_place_but_not_timed() {
        let mut tally = Tally::new(1).unwrap();
        tally.measure(0, u64::MAX);
        let mut windows = Windows::default();
        let stamp = |sequence| Stamp { run: 1, topic: 0, publisher: 0, sequence, intended_ns: 5 };
        tally.delivery(&stamp(0), &mut windows, 10);
        tally.recovered(&stamp(0), &mut windows);
        tally.recovered(&stamp(1), &mut windows);
        tally.delivery(&stamp(3), &mut windows, 10);
        tally.recovered(&stamp(2), &mut windows);
        let totals = tally.totals();
        assert_eq!((totals.received, totals.duplicated, totals.out_of_order), (4, 1, 1));
        assert_eq!(totals.counts[RECOVERED], 2);
        let mut latency = TimeHistogram::new().unwrap();
        latency.merge(&totals.latency);
        assert_eq!(latency.percentiles().count, 2);
    }

    #[test]
    fn the_loss_of_an_excused_connection_is_no_fault() {
        let mut tally = Tally::new(1).unwrap();
        let error = ClientError::Closed { code: Some(3008) };
        tally.disconnected(&error, None);
        tally.disconnected(&error, Some("stalled"));
        let totals = tally.totals();
        assert_eq!(totals.disconnected.values().sum::<u64>(), 1);
        assert_eq!(totals.counts["stalled: closed by the server with code 3008"], 1);
    }

    #[test]
    fn the_next_round_of_a_run_keeps_what_the_ones_before_have_seen() {
        let mut tally = Tally::new(1).unwrap();
        let mut windows = Windows::default();
        for (round, from_ns) in [(0, 100), (1, 100)] {
            tally.measure(from_ns, u64::MAX);
            let stamp = Stamp { run: 1, topic: 0, publisher: 0, sequence: round, intended_ns: 200 };
            tally.delivery(&stamp, &mut windows, 300);
        }
        let timeline = Timeline::merged([&tally.totals().timeline]).unwrap();
        assert_eq!(timeline.summaries().map(|summary| summary.arrived).sum::<u64>(), 2);
    }

    #[test]
    fn a_refused_question_is_counted_with_its_reason() {
        let mut tally = Tally::new(1).unwrap();
        tally.question_refused("history", "108 not available");
        tally.question_refused("history", "108 not available");
        assert_eq!(tally.totals().count("history refused, 108 not available"), 2);
    }

    #[test]
    fn a_refused_publication_is_not_expected_by_its_topic() {
        let mut tally = Tally::new(1).unwrap();
        tally.published(3, 10, 12);
        tally.published(3, 20, 21);
        tally.refused(3, "no".to_owned());
        tally.accepted(20, 30);
        let published = tally.totals().published;
        assert_eq!((published.sent, published.accepted), (2, 1));
        assert_eq!(published.by_topic[&3], 1);
        assert_eq!(published.refused["no"], 1);
    }
}
