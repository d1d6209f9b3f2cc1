//! Times along a run: for each interval, how many things arrived in it, and the histogram of the
//! times of those that were due in it. Kept by whoever observes them (a generator process, the
//! publisher), sent at the end, merged into the series of the result.
//!
//! The number of intervals is bounded: when a run outgrows it, neighbours are merged in pairs.

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

use crate::error::BenchError;
use crate::histogram::{TIME_NS_MAX, TimeHistogram};

/// Length of an interval as long as none were merged, in nanoseconds.
pub(crate) const INTERVAL_NS: u64 = 200_000_000;
/// Intervals kept.
pub(crate) const INTERVALS_MAX: usize = 600;
/// Shorter times count as this one, in nanoseconds: the resolution of a plot, not of the figures.
const TIME_NS_MIN: u64 = 1_000;
/// Two decimal digits: one part in a hundred is less than a pixel.
const DIGITS: u8 = 2;

/// Observations of one observer, by interval. Empty until [`Timeline::start`].
#[derive(Clone, Debug)]
pub(crate) struct Timeline {
    from_ns: u64,
    until_ns: u64,
    interval_ns: u64,
    intervals: Vec<Interval>,
    /// Observations made before the end, exactly: intervals need not end with it.
    in_time: u64,
    /// Where the last observations were counted, and the bounds of that interval: nearly all
    /// observations are near the one before.
    due: Cursor,
    arrived: Cursor,
}

#[derive(Clone, Debug, Default)]
struct Interval {
    arrived: u64,
    /// Made with the first observation: an observer that sees nothing needs no memory.
    times: Option<Histogram<u32>>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Cursor {
    index: usize,
    from_ns: u64,
    until_ns: u64,
}

/// A timeline as it crosses a pipe.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub(crate) struct PortableTimeline {
    in_time: u64,
    interval_ns: u64,
    intervals: Vec<PortableInterval>,
}

#[derive(Clone, Debug, Default, Deserialize, Serialize)]
struct PortableInterval {
    arrived: u64,
    /// Pairs of a time in nanoseconds and its count.
    times: Vec<(u64, u32)>,
}

/// What is known of one interval.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct IntervalSummary {
    /// Observations made in it.
    pub(crate) arrived: u64,
    /// Observations of what was due in it.
    pub(crate) due: u64,
    /// Half of the times of those are not longer, in microseconds.
    pub(crate) p50_us: f64,
    /// 99 % are not longer.
    pub(crate) p99_us: f64,
    /// The longest.
    pub(crate) max_us: f64,
}

impl Timeline {
    /// A timeline that ignores everything until it is started.
    pub(crate) fn idle() -> Self {
        Self {
            from_ns: u64::MAX,
            until_ns: u64::MAX,
            interval_ns: INTERVAL_NS,
            intervals: Vec::new(),
            in_time: 0,
            due: Cursor::default(),
            arrived: Cursor::default(),
        }
    }

    /// Begins at `from_ns` (CLOCK_MONOTONIC); what was due or arrives before is ignored.
    pub(crate) fn start(&mut self, from_ns: u64) {
        self.start_window(from_ns, u64::MAX);
    }

    /// The same; what arrives at `until_ns` or later is not counted as in time.
    pub(crate) fn start_window(&mut self, from_ns: u64, until_ns: u64) {
        *self = Self { from_ns, until_ns, ..Self::idle() };
    }

    /// Something that was due at `due_ns` has happened at `now_ns`.
    pub(crate) fn record(&mut self, due_ns: u64, now_ns: u64) {
        if now_ns < self.from_ns {
            return;
        }
        self.in_time += u64::from(now_ns < self.until_ns);
        if let Some(interval) = self.at(now_ns, |timeline| &mut timeline.arrived) {
            interval.arrived += 1;
        }
        // A peer's nonsense about the future must not stretch the intervals.
        let due_ns = due_ns.min(now_ns);
        if due_ns < self.from_ns {
            return;
        }
        if let Some(interval) = self.at(due_ns, |timeline| &mut timeline.due) {
            interval.record(now_ns - due_ns, 1);
        }
    }

    /// The same in a form that can be sent.
    pub(crate) fn to_portable(&self) -> PortableTimeline {
        let intervals = self.intervals.iter().map(Interval::to_portable).collect();
        PortableTimeline { in_time: self.in_time, interval_ns: self.interval_ns, intervals }
    }

    /// All observers together. They must have been started at the same moment.
    ///
    /// # Errors
    /// `Histogram` when its bounds are impossible, which they are not.
    pub(crate) fn merged<'a>(
        parts: impl IntoIterator<Item = &'a PortableTimeline>,
    ) -> Result<Self, BenchError> {
        let mut sum = Self { from_ns: 0, ..Self::idle() };
        for part in parts {
            // Idle observers have no say in the length of an interval.
            if part.intervals.is_empty() {
                continue;
            }
            sum.in_time += part.in_time;
            while sum.interval_ns < part.interval_ns {
                sum.coarsen();
            }
            let fine = (sum.interval_ns / part.interval_ns.max(1)).max(1);
            for (index, interval) in (0_u64..).zip(&part.intervals) {
                let index = usize::try_from(index / fine).unwrap_or(usize::MAX);
                if index >= INTERVALS_MAX {
                    break;
                }
                if sum.intervals.len() <= index {
                    sum.intervals.resize_with(index + 1, Interval::default);
                }
                if let Some(slot) = sum.intervals.get_mut(index) {
                    slot.arrived += interval.arrived;
                    interval.times.iter().for_each(|&(time, count)| slot.record(time, count));
                }
            }
        }
        Ok(sum)
    }

    /// Observations made from the beginning to the end, whenever they were due.
    pub(crate) fn in_time(&self) -> u64 {
        self.in_time
    }

    /// Length of each interval, in nanoseconds.
    pub(crate) fn interval_ns(&self) -> u64 {
        self.interval_ns
    }

    /// What is known of each interval, in order.
    pub(crate) fn summaries(&self) -> impl Iterator<Item = IntervalSummary> {
        self.intervals.iter().map(Interval::summary)
    }

    /// Times of what was due between `from_ns` and `until_ns` since the beginning: of all intervals
    /// that begin there. To one part in a hundred, as finely as a timeline knows them.
    ///
    /// # Errors
    /// `Histogram` when its bounds are impossible, which they are not.
    pub(crate) fn times_between(
        &self,
        from_ns: u64,
        until_ns: u64,
    ) -> Result<TimeHistogram, BenchError> {
        let mut sum = TimeHistogram::new()?;
        for (index, interval) in (0_u64..).zip(&self.intervals) {
            if (from_ns..until_ns).contains(&(index * self.interval_ns)) {
                let times = interval.to_portable().times.into_iter();
                times.for_each(|(time_ns, count)| sum.record_n(time_ns, count.into()));
            }
        }
        Ok(sum)
    }

    /// The interval of the moment `at_ns`, which is not before the start.
    fn at(
        &mut self,
        at_ns: u64,
        cursor: impl Fn(&mut Self) -> &mut Cursor,
    ) -> Option<&mut Interval> {
        let known = *cursor(self);
        if (known.from_ns..known.until_ns).contains(&at_ns) {
            return self.intervals.get_mut(known.index);
        }
        let since_ns = at_ns - self.from_ns;
        while since_ns / self.interval_ns >= INTERVALS_MAX as u64 {
            self.coarsen();
        }
        let index = usize::try_from(since_ns / self.interval_ns).ok()?;
        if self.intervals.len() <= index {
            self.intervals.resize_with(index + 1, Interval::default);
        }
        let from_ns = self.from_ns + index as u64 * self.interval_ns;
        *cursor(self) = Cursor { index, from_ns, until_ns: from_ns + self.interval_ns };
        self.intervals.get_mut(index)
    }

    /// Merges neighbours in pairs.
    fn coarsen(&mut self) {
        self.interval_ns *= 2;
        (self.due, self.arrived) = (Cursor::default(), Cursor::default());
        let mut fine = std::mem::take(&mut self.intervals).into_iter();
        while let Some(mut interval) = fine.next() {
            if let Some(next) = fine.next() {
                interval.add(next);
            }
            self.intervals.push(interval);
        }
    }
}

impl Interval {
    fn record(&mut self, time_ns: u64, count: u32) {
        if self.times.is_none() {
            // The bounds are constants that fit; without a histogram only the plot would be empty.
            self.times = Histogram::new_with_bounds(TIME_NS_MIN, TIME_NS_MAX, DIGITS).ok();
        }
        if let Some(times) = &mut self.times {
            times.saturating_record_n(time_ns, count);
        }
    }

    fn add(&mut self, other: Self) {
        self.arrived += other.arrived;
        match (&mut self.times, other.times) {
            // Both have the same bounds.
            (Some(times), Some(other)) => drop(times.add(other)),
            (None, other) => self.times = other,
            (Some(_), None) => {}
        }
    }

    fn to_portable(&self) -> PortableInterval {
        let pairs = self.times.iter().flat_map(Histogram::iter_recorded);
        let pairs = pairs.map(|pair| (pair.value_iterated_to(), pair.count_at_value()));
        PortableInterval { arrived: self.arrived, times: pairs.collect() }
    }

    fn summary(&self) -> IntervalSummary {
        let Some(times) = self.times.as_ref().filter(|times| !times.is_empty()) else {
            return IntervalSummary { arrived: self.arrived, ..IntervalSummary::default() };
        };
        let quantile_us = |quantile| times.value_at_quantile(quantile) as f64 / 1_000.0;
        IntervalSummary {
            arrived: self.arrived,
            due: times.len(),
            p50_us: quantile_us(0.5),
            p99_us: quantile_us(0.99),
            max_us: times.max() as f64 / 1_000.0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const START_NS: u64 = 7_000_000_000;

    fn started() -> Timeline {
        let mut timeline = Timeline::idle();
        timeline.start(START_NS);
        timeline
    }

    fn summaries(parts: &[&Timeline]) -> (u64, Vec<IntervalSummary>) {
        let parts: Vec<_> = parts.iter().map(|part| part.to_portable()).collect();
        let wire = serde_json::to_string(&parts).unwrap();
        let parts: Vec<PortableTimeline> = serde_json::from_str(&wire).unwrap();
        let sum = Timeline::merged(&parts).unwrap();
        (sum.interval_ns(), sum.summaries().collect())
    }

    #[test]
    fn a_time_counts_where_it_was_due_and_an_arrival_where_it_arrived() {
        let mut timeline = started();
        timeline.record(START_NS - 1, START_NS - 1);
        timeline.record(START_NS - 1, START_NS + 1);
        timeline.record(START_NS + 5, START_NS + 5 + 2 * INTERVAL_NS);
        let (_, seen) = summaries(&[&timeline]);
        assert_eq!(
            seen.iter().map(|s| (s.arrived, s.due)).collect::<Vec<_>>(),
            [(1, 1), (0, 0), (1, 0)]
        );
        assert!((seen[0].max_us - 400_000.0).abs() < 4_000.0, "{seen:?}");
    }

    #[test]
    fn observers_are_merged_by_interval_whatever_their_length() {
        let (mut long, mut short) = (started(), started());
        for step in 0..2 * INTERVALS_MAX as u64 {
            let due_ns = START_NS + step * INTERVAL_NS;
            long.record(due_ns, due_ns + 2_000_000);
        }
        short.record(START_NS + 3 * INTERVAL_NS, START_NS + 3 * INTERVAL_NS + 8_000_000);
        for parts in [[&long, &short], [&short, &long]] {
            let (interval_ns, seen) = summaries(&parts);
            assert_eq!((interval_ns, seen.len()), (2 * INTERVAL_NS, INTERVALS_MAX));
            assert_eq!(seen[0].arrived, 2);
            assert_eq!((seen[1].arrived, seen[1].due), (3, 3));
            assert!((seen[1].max_us - 8_000.0).abs() < 80.0);
            assert!((seen[1].p50_us - 2_000.0).abs() < 20.0);
        }
    }

    #[test]
    fn a_part_of_the_run_has_the_times_of_what_was_due_in_it() {
        let mut timeline = started();
        for step in 0..6 {
            let due_ns = START_NS + step * INTERVAL_NS;
            timeline.record(due_ns, due_ns + (step + 1) * 1_000_000);
        }
        let sum = Timeline::merged(&[timeline.to_portable()]).unwrap();
        let part = sum.times_between(2 * INTERVAL_NS, 4 * INTERVAL_NS).unwrap().percentiles();
        assert_eq!(part.count, 2);
        assert!((part.min_us - 3_000.0).abs() < 60.0 && (part.max_us - 4_000.0).abs() < 60.0);
        let rest = sum.times_between(4 * INTERVAL_NS, u64::MAX).unwrap().percentiles();
        assert_eq!(rest.count, 2);
    }

    #[test]
    fn intervals_stay_bounded_and_nothing_is_dropped() {
        let mut timeline = started();
        let steps = 10 * INTERVALS_MAX as u64;
        for step in 0..steps {
            let due_ns = START_NS + step * INTERVAL_NS;
            timeline.record(due_ns, due_ns);
        }
        let (_, seen) = summaries(&[&timeline]);
        assert!(seen.len() <= INTERVALS_MAX && seen.len() >= INTERVALS_MAX / 2);
        assert_eq!(seen.iter().map(|summary| summary.arrived).sum::<u64>(), steps);
        assert_eq!(seen.iter().map(|summary| summary.due).sum::<u64>(), steps);
    }

    #[test]
    fn a_stamp_of_the_future_counts_as_now() {
        let mut timeline = started();
        timeline.record(u64::MAX, START_NS + 1);
        let (interval_ns, seen) = summaries(&[&timeline]);
        assert_eq!((interval_ns, seen.len(), seen[0].due), (INTERVAL_NS, 1, 1));
    }

    #[test]
    fn nothing_is_recorded_before_the_start() {
        let mut timeline = Timeline::idle();
        timeline.record(1, 2);
        assert_eq!(summaries(&[&timeline]).1, []);
    }
}
