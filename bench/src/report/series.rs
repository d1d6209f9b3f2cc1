//! The course of a run: what the observers saw and what the processes used, interval by interval.

use serde::{Deserialize, Serialize};

use crate::procfs::CpuTime;
use crate::timeline::Timeline;
use crate::watch::Reading;

/// The course of a run.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
pub(crate) struct Series {
    /// Length of the measured part, in seconds; what follows is what was still under way.
    pub(crate) measured_seconds: f64,
    /// Length of each sample, in seconds.
    pub(crate) interval_seconds: f64,
    /// In order of time.
    pub(crate) samples: Vec<Sample>,
}

/// One interval of a run.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
pub(crate) struct Sample {
    /// Its beginning, in seconds since the measured part began.
    pub(crate) at_seconds: f64,
    /// Publications sent in it.
    pub(crate) published: u64,
    /// Deliveries that arrived in it.
    pub(crate) delivered: u64,
    /// Latencies of the publications that were due in it, in microseconds.
    pub(crate) latency: Option<SampleLatency>,
    /// The latest that a publication due in it was sent, in microseconds.
    pub(crate) lag_max_us: f64,
    /// CPU time of the server; 100 is one core.
    pub(crate) server_cpu_percent: Option<f64>,
    /// Most resident memory of the server, in bytes.
    pub(crate) server_rss_bytes: Option<u64>,
    /// CPU time of the busiest generator process; 100 is one core.
    pub(crate) generator_cpu_percent: Option<f64>,
    /// CPU time of the process that publishes.
    pub(crate) publisher_cpu_percent: Option<f64>,
}

/// Latencies of one interval, in microseconds.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Serialize)]
pub(crate) struct SampleLatency {
    /// Half are not longer.
    pub(crate) p50_us: f64,
    /// 99 % are not longer.
    pub(crate) p99_us: f64,
    /// The longest.
    pub(crate) max_us: f64,
}

impl Series {
    /// Puts together what was seen and used since `from_ns`, when the measured part of
    /// `measured_ns` began: deliveries with their latencies,
    /// publications with their lag, and the readings of the watch.
    pub(crate) fn new(
        from_ns: u64,
        measured_ns: u64,
        deliveries: &Timeline,
        publications: &Timeline,
        readings: &[Reading],
    ) -> Self {
        let interval_ns = deliveries.interval_ns().max(publications.interval_ns());
        let watched_ns = readings.last().map_or(0, |last| last.at_ns.saturating_sub(from_ns));
        let watched = usize::try_from(watched_ns / interval_ns).unwrap_or(0);
        let mut samples: Vec<Sample> = (0..watched).map(|_| Sample::default()).collect();
        spread(deliveries, interval_ns, &mut samples, |sample, seen| {
            sample.delivered += seen.arrived;
            if seen.due > 0 {
                let latency = sample.latency.get_or_insert_default();
                // With equal intervals, which is the rule, there is only one to take.
                latency.p50_us = latency.p50_us.max(seen.p50_us);
                latency.p99_us = latency.p99_us.max(seen.p99_us);
                latency.max_us = latency.max_us.max(seen.max_us);
            }
        });
        spread(publications, interval_ns, &mut samples, |sample, seen| {
            sample.published += seen.arrived;
            sample.lag_max_us = sample.lag_max_us.max(seen.max_us);
        });
        for (index, sample) in (0_u64..).zip(&mut samples) {
            let begin_ns = from_ns + index * interval_ns;
            sample.at_seconds = (index * interval_ns) as f64 / 1e9;
            sample.add_usage(readings, begin_ns, begin_ns + interval_ns);
        }
        let seconds = |ns: u64| ns as f64 / 1e9;
        let (measured_seconds, interval_seconds) = (seconds(measured_ns), seconds(interval_ns));
        Self { measured_seconds, interval_seconds, samples }
    }
}

impl Sample {
    fn add_usage(&mut self, readings: &[Reading], begin_ns: u64, end_ns: u64) {
        let percent = |cpu: &dyn Fn(&Reading) -> Option<CpuTime>| {
            let spent = spent_by(readings, end_ns, cpu)? - spent_by(readings, begin_ns, cpu)?;
            Some(100.0 * spent / (end_ns - begin_ns) as f64)
        };
        self.server_cpu_percent = percent(&|reading| Some(reading.server?.0));
        self.publisher_cpu_percent = percent(&|reading| Some(reading.own));
        let generators = readings.first().map_or(0, |reading| reading.generators.len());
        self.generator_cpu_percent = (0..generators)
            .filter_map(|index| percent(&|reading| reading.generators.get(index).copied()))
            .reduce(f64::max);
        let inside = readings.iter().filter(|r| (begin_ns..=end_ns).contains(&r.at_ns));
        let memory = inside.filter_map(|reading| Some(reading.server?.1.resident_bytes));
        self.server_rss_bytes = memory.max();
    }
}

/// Hands each interval of `timeline` to the sample it belongs to.
fn spread(
    timeline: &Timeline,
    interval_ns: u64,
    samples: &mut Vec<Sample>,
    mut take: impl FnMut(&mut Sample, crate::timeline::IntervalSummary),
) {
    let fine = (interval_ns / timeline.interval_ns()).max(1);
    for (index, seen) in (0_u64..).zip(timeline.summaries()) {
        let index = usize::try_from(index / fine).unwrap_or(usize::MAX);
        if samples.len() <= index {
            samples.resize_with(index + 1, Sample::default);
        }
        if let Some(sample) = samples.get_mut(index) {
            take(sample, seen);
        }
    }
}

/// CPU time spent until `at_ns` since the first reading, in nanoseconds, between two readings
/// by proportion. `None` outside of the readings.
fn spent_by(
    readings: &[Reading],
    at_ns: u64,
    cpu: &dyn Fn(&Reading) -> Option<CpuTime>,
) -> Option<f64> {
    let after = readings.partition_point(|reading| reading.at_ns < at_ns);
    let (first, next) = (cpu(readings.first()?)?, readings.get(after)?);
    let spent = |reading: &Reading| Some(cpu(reading)?.since(&first) as f64);
    let Some(before) = after.checked_sub(1).and_then(|before| readings.get(before)) else {
        // The thread that reads wakes a little after the moment it was to read at.
        return spent(next);
    };
    let share = (at_ns - before.at_ns) as f64 / (next.at_ns - before.at_ns).max(1) as f64;
    Some(spent(before)? + share * (spent(next)? - spent(before)?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::procfs::{Memory, Switches};
    use crate::timeline::INTERVAL_NS;
    use crate::watch::Waited;

    const START_NS: u64 = 1_000;

    fn reading(steps: f64, server_ns: u64, resident_bytes: u64) -> Reading {
        Reading {
            at_ns: START_NS + (steps * INTERVAL_NS as f64) as u64,
            server: Some((CpuTime::from_ns(server_ns), Memory { resident_bytes })),
            switches: Switches::default(),
            generators: vec![CpuTime::from_ns(server_ns / 2), CpuTime::from_ns(server_ns / 4)],
            own: CpuTime::default(),
            waited: Waited::default(),
        }
    }

    #[test]
    fn what_was_seen_and_what_was_used_meet_in_the_same_sample() {
        let (mut deliveries, mut publications) = (Timeline::idle(), Timeline::idle());
        deliveries.start(START_NS);
        publications.start(START_NS);
        let second_ns = START_NS + INTERVAL_NS + 1;
        publications.record(second_ns, second_ns);
        deliveries.record(second_ns, second_ns + 3_000_000);
        let readings = [
            reading(0.0, 0, 10),
            reading(1.5, INTERVAL_NS * 3 / 2, 90),
            reading(2.5, INTERVAL_NS * 3 / 2, 20),
        ];
        let series = Series::new(START_NS, 2 * INTERVAL_NS, &deliveries, &publications, &readings);
        assert_eq!(series.samples.len(), 2);
        let [first, second] = &series.samples[..] else { unreachable!() };
        assert_eq!((first.published, first.delivered, first.latency), (0, 0, None));
        assert_eq!((second.published, second.delivered), (1, 1));
        assert!((second.latency.unwrap().p99_us - 3_000.0).abs() < 30.0);
        assert!((first.server_cpu_percent.unwrap() - 100.0).abs() < 0.1);
        assert!((first.generator_cpu_percent.unwrap() - 50.0).abs() < 0.1);
        // Busy until the middle of it, then idle.
        assert!((second.server_cpu_percent.unwrap() - 50.0).abs() < 0.1);
        assert_eq!((first.server_rss_bytes, second.server_rss_bytes), (Some(10), Some(90)));
    }

    #[test]
    fn what_arrives_after_the_last_reading_is_still_shown() {
        let mut deliveries = Timeline::idle();
        deliveries.start(START_NS);
        deliveries.record(START_NS, START_NS + 5 * INTERVAL_NS);
        let series = Series::new(START_NS, INTERVAL_NS, &deliveries, &Timeline::idle(), &[]);
        assert_eq!(series.samples.len(), 6);
        assert_eq!(series.samples[5].delivered, 1);
        assert_eq!(series.samples[5].server_cpu_percent, None);
    }
}
