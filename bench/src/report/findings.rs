//! From what the processes of a run found to its outcome: the part that is the same for every
//! scenario that publishes and subscribes.

use std::collections::BTreeMap;

use crate::client::behaviour::LATE;
use crate::client::control::{self, Totals};
use crate::error::BenchError;
use crate::histogram::TimeHistogram;
use crate::procfs::Memory;
use crate::report::figure::{Figure, Unit};
use crate::report::origin::Machine;
use crate::report::outcome::Outcome;
use crate::report::saturation::{GeneratorUse, Saturation};
use crate::report::series::Series;
use crate::scenarios::course::Measured;
use crate::timeline::Timeline;
use crate::watch::{Reading, Waited};

/// Name of the latencies from the intended moment of sending until read by the subscriber.
pub(crate) const DELIVERY: &str = "delivery";
/// Name of the times from the intended moment of sending until the server's answer.
pub(crate) const ANSWER: &str = "answer";
/// Name of the times by which publications were sent late.
pub(crate) const LAG: &str = "sent late by";

/// CPU times may miss this part of what they should cover,
const LATE_DIVISOR: u64 = 20;
/// or so much of it, in nanoseconds.
const LATE_NS_MIN: u64 = 100_000_000;

/// What a run hands over to be reported.
#[derive(Debug)]
pub(crate) struct Findings {
    /// What the run counts and times.
    pub(crate) subject: Subject,
    /// What was found.
    pub(crate) measured: Measured,
}

/// What a run is about: what is counted, timed, and what the server's CPU time is divided by.
#[derive(Debug)]
pub(crate) struct Subject {
    /// One of them, as in "CPU per delivery".
    pub(crate) one: &'static str,
    /// Many of them, as in "deliveries per second".
    pub(crate) many: &'static str,
    /// What happens to them, as in "nothing was delivered".
    pub(crate) verb: &'static str,
    /// How many that were due in the measured part, whenever they arrived.
    pub(crate) count: u64,
    /// How many arrived in the measured part, whenever they were due.
    pub(crate) arrived: u64,
    /// Name of their times.
    pub(crate) times_name: &'static str,
    /// Their times in the measured part.
    pub(crate) times: TimeHistogram,
    /// The same by time.
    pub(crate) timeline: Timeline,
}

/// What became of the publications.
#[derive(Debug)]
pub(crate) struct Published {
    /// Sent.
    pub(crate) sent: u64,
    /// Accepted by the server.
    pub(crate) accepted: u64,
    /// Refused by the server, by what it said.
    pub(crate) refused: BTreeMap<String, u64>,
    /// How late they were sent.
    pub(crate) lag: TimeHistogram,
    /// The same in the measured part, by time.
    pub(crate) timeline: Timeline,
    /// CPU time of the busiest publishing thread; 100 is one core. `None` when there is no
    /// backend: what clients use is the generator's.
    pub(crate) thread_cpu_percent: Option<f64>,
}

/// CPU time and memory.
#[derive(Clone, Debug, Default)]
pub(crate) struct Usage {
    /// When the measured part began, CLOCK_MONOTONIC in nanoseconds.
    pub(crate) from_ns: u64,
    /// Length of the measured part until all was sent, in nanoseconds.
    pub(crate) measured_ns: u64,
    /// Length of the time in which arrivals were counted, in nanoseconds.
    pub(crate) window_ns: u64,
    /// How much later than that CPU times were read first, in nanoseconds.
    pub(crate) late_ns: u64,
    /// CPU time of the server in the measured part; `None` when it is not watched.
    pub(crate) server_ns: Option<u64>,
    /// CPU time of the server until the last delivery had arrived.
    pub(crate) server_until_arrived_ns: u64,
    /// CPU time of each generator process in the measured part.
    pub(crate) subscribers_ns: Vec<u64>,
    /// CPU time of the publishing process in the measured part.
    pub(crate) publisher_ns: u64,
    /// How long those who were ready to run had no core in the measured part.
    pub(crate) waited: Waited,
    /// The server's memory before the first connection.
    pub(crate) before: Memory,
    /// The server's memory when all were subscribed.
    pub(crate) connected: Memory,
    /// The server's memory at the end.
    pub(crate) after: Memory,
    /// The course of it.
    pub(crate) readings: Vec<Reading>,
}

impl Usage {
    /// A time in percent of the measured part.
    fn percent(&self, ns: u64) -> f64 {
        100.0 * ns as f64 / self.measured_ns.max(1) as f64
    }
}

impl Subject {
    /// Deliveries, of publications with any number of subscribers.
    ///
    /// # Errors
    /// `Histogram` when its bounds are impossible, which they are not.
    pub(crate) fn deliveries(totals: &[Totals]) -> Result<Self, BenchError> {
        let times = TimeHistogram::merged(totals.iter().map(|part| &part.latency))?;
        let timeline = Timeline::merged(totals.iter().map(|part| &part.timeline))?;
        Ok(Self {
            one: "delivery",
            many: "deliveries",
            verb: "delivered",
            count: times.percentiles().count,
            arrived: timeline.in_time(),
            times_name: DELIVERY,
            times,
            timeline,
        })
    }

    /// Messages from one client to one other: deliveries by another name.
    ///
    /// # Errors
    /// `Histogram` when its bounds are impossible, which they are not.
    pub(crate) fn messages(totals: &[Totals]) -> Result<Self, BenchError> {
        Ok(Self { one: "message", many: "messages", ..Self::deliveries(totals)? })
    }

    /// Publications that nobody hears: they count when they are answered.
    ///
    /// # Errors
    /// `Histogram` when its bounds are impossible, which they are not.
    pub(crate) fn answers(totals: &[Totals]) -> Result<Self, BenchError> {
        let published = || totals.iter().map(|part| &part.published);
        let times = TimeHistogram::merged(published().map(|part| &part.answered))?;
        let timeline = Timeline::merged(published().map(|part| &part.answers))?;
        Ok(Self {
            one: "message",
            many: "messages",
            verb: "answered",
            count: times.percentiles().count,
            arrived: timeline.in_time(),
            times_name: ANSWER,
            times,
            timeline,
        })
    }

    /// Adds rates and percentiles. What arrived in the window is the server's speed; what was due
    /// in it is only what was asked for, since a server that falls behind delivers it later.
    fn add_to(&self, outcome: &mut Outcome, usage: &Usage) {
        let per_second = |count: u64, ns: u64| count as f64 * 1e9 / ns.max(1) as f64;
        let name = format!("{} per second", self.many);
        let rate = per_second(self.arrived, usage.window_ns);
        outcome.figures.push(Figure::higher(&name, rate, Unit::PerSecond));
        let name = format!("offered {name}");
        let rate = per_second(self.count, usage.measured_ns);
        outcome.figures.push(Figure::neutral(&name, rate, Unit::PerSecond));
        let percentiles = self.times.percentiles();
        if percentiles.count == 0 {
            return;
        }
        let times = [
            ("latency p50", percentiles.p50_us),
            ("latency p99", percentiles.p99_us),
            ("latency p99.9", percentiles.p99_9_us),
            ("latency max", percentiles.max_us),
        ];
        let figure = |(name, value)| Figure::lower(name, value, Unit::Microseconds);
        outcome.figures.extend(times.map(figure));
    }
}

impl Published {
    /// Publications of the clients of all processes.
    ///
    /// # Errors
    /// `Histogram` when its bounds are impossible, which they are not.
    pub(crate) fn by_clients<'a>(
        parts: impl Iterator<Item = &'a control::Published> + Clone,
    ) -> Result<Self, BenchError> {
        let mut refused = BTreeMap::new();
        for (reason, count) in parts.clone().flat_map(|part| &part.refused) {
            *refused.entry(reason.clone()).or_default() += count;
        }
        Ok(Self {
            sent: parts.clone().map(|part| part.sent).sum(),
            accepted: parts.clone().map(|part| part.accepted).sum(),
            refused,
            lag: TimeHistogram::merged(parts.clone().map(|part| &part.lag))?,
            timeline: Timeline::merged(parts.map(|part| &part.timeline))?,
            thread_cpu_percent: None,
        })
    }

    /// These and those of others.
    ///
    /// # Errors
    /// `Histogram` when its bounds are impossible, which they are not.
    pub(crate) fn and(mut self, others: Self) -> Result<Self, BenchError> {
        for (reason, count) in others.refused {
            *self.refused.entry(reason).or_default() += count;
        }
        self.lag.merge(&others.lag.to_portable());
        let timelines = [self.timeline.to_portable(), others.timeline.to_portable()];
        Ok(Self {
            sent: self.sent + others.sent,
            accepted: self.accepted + others.accepted,
            timeline: Timeline::merged(&timelines)?,
            thread_cpu_percent: self.thread_cpu_percent.or(others.thread_cpu_percent),
            ..self
        })
    }
}

impl Findings {
    /// Adds counts, figures, latencies, series, saturation and faults to `outcome`, and gives back
    /// what was found.
    pub(crate) fn add_to(self, outcome: &mut Outcome) -> Measured {
        outcome.set_server_version(&self.measured.server_version);
        self.count(outcome);
        let Measured { published, usage, .. } = &self.measured;
        if published.is_some() || self.subject.count > 0 {
            self.subject.add_to(outcome, usage);
            outcome.add_latency(self.subject.times_name, &self.subject.times);
        }
        if let Some(published) = published {
            outcome.add_latency(LAG, &published.lag);
        }
        self.add_server(outcome);
        let used = self.generator_use();
        outcome.saturation = Saturation::judge(&used);
        self.add_generator(outcome);
        let publications = published.as_ref().map(|published| published.timeline.clone());
        let publications = publications.unwrap_or_else(Timeline::idle);
        let Usage { from_ns, measured_ns, ref readings, .. } = *usage;
        let subjects = &self.subject.timeline;
        outcome.series = Series::new(from_ns, measured_ns, subjects, &publications, readings);
        // Without this a server that takes nothing, or a run too short to publish, would look fine.
        if published.is_some() && self.subject.count == 0 {
            outcome.fault(format!("nothing was {} in the measured part", self.subject.verb));
        }
        // What the server did until then is in no figure.
        if usage.late_ns > LATE_NS_MIN.max(usage.measured_ns / LATE_DIVISOR) {
            let late_ms = usage.late_ns / 1_000_000;
            outcome.fault(format!("measuring began {late_ms} ms late: the generator did not run"));
        }
        let faults: Vec<String> = outcome.counts.faults().collect();
        faults.into_iter().for_each(|fault| outcome.fault(fault));
        self.measured
    }

    fn count(&self, outcome: &mut Outcome) {
        let counts = &mut outcome.counts;
        let Measured { totals, expected, published, .. } = &self.measured;
        totals.iter().zip(expected).for_each(|(part, &expected)| counts.add(part, expected));
        published.iter().for_each(|published| counts.add_published(published));
    }

    fn add_server(&self, outcome: &mut Outcome) {
        let usage = &self.measured.usage;
        let Some(server_ns) = usage.server_ns else { return };
        if self.subject.count > 0 {
            let cost = usage.server_until_arrived_ns as f64 / 1e3 / self.subject.count as f64;
            let name = format!("CPU per {}", self.subject.one);
            outcome.figures.push(Figure::lower(&name, cost, Unit::Microseconds));
        }
        let percent = usage.percent(server_ns);
        outcome.figures.push(Figure::lower("server CPU", percent, Unit::PercentOfCore));
        let wait = usage.percent(usage.waited.server_ns);
        outcome.figures.push(Figure::neutral("server wait for a core", wait, Unit::PercentOfCore));
        let bytes = |memory: Memory| memory.resident_bytes as f64;
        let connections = self.measured.connections;
        if connections > 0 {
            let grown = usage.connected.resident_bytes.saturating_sub(usage.before.resident_bytes);
            let each = grown as f64 / f64::from(connections);
            outcome.figures.push(Figure::lower("RSS per connection", each, Unit::Bytes));
        }
        let during = usage.readings.iter().filter_map(|reading| Some(reading.server?.1));
        let peak = during.map(bytes).fold(bytes(usage.connected), f64::max);
        let memory = [
            ("RSS before", bytes(usage.before)),
            ("RSS connected", bytes(usage.connected)),
            ("RSS peak", peak),
            ("RSS after", bytes(usage.after)),
        ];
        outcome.figures.extend(memory.map(|(name, b)| Figure::lower(name, b, Unit::Bytes)));
    }

    fn add_generator(&self, outcome: &mut Outcome) {
        let saturation = &outcome.saturation;
        let busiest = saturation.generator_cpu_percent.iter().copied().fold(0.0, f64::max);
        let usage = &self.measured.usage;
        let wait = usage.percent(usage.waited.generator_ns);
        let mut figures = vec![
            Figure::neutral("generator CPU", busiest, Unit::PercentOfCore),
            Figure::neutral("generator wait for a core", wait, Unit::PercentOfCore),
        ];
        if let Some(published) = &self.measured.published {
            let (cpu, lag) = (saturation.publisher_cpu_percent, saturation.publisher_lag_p99_us);
            if published.thread_cpu_percent.is_some() {
                figures.push(Figure::neutral("publisher CPU", cpu, Unit::PercentOfCore));
            }
            figures.push(Figure::neutral("publisher lag p99", lag, Unit::Microseconds));
        }
        outcome.figures.extend(figures);
    }

    fn generator_use(&self) -> GeneratorUse {
        let Measured { published, usage, .. } = &self.measured;
        let published = published.as_ref();
        GeneratorUse {
            measured_ns: usage.measured_ns,
            processes_ns: usage.subscribers_ns.clone(),
            publisher_ns: usage.publisher_ns,
            publisher_thread_percent: published.and_then(|p| p.thread_cpu_percent).unwrap_or(0.0),
            lag_p99_us: published.map_or(0.0, |p| p.lag.percentiles().p99_us),
            late: self.measured.count(LATE),
            waited: usage.waited,
            latency_p99_us: self.subject.times.percentiles().p99_us,
            cores: Machine::usable_cores(),
        }
    }
}
