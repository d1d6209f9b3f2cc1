//! What is measured against the floor, what the goals are, and the arithmetic of ratios.

use std::fmt;

use crate::report::outcome::Outcome;

/// What scenarios call what they have done in a second.
const RATE_FIGURES: [&str; 2] = ["deliveries per second", "messages per second"];
/// A load that is reached by less than this part of it is another one.
const RATE_PART_MIN: f64 = 0.9;
/// Publications may be sent so late (99th percentile), as a part of the latency's, before that is
/// the generator's and no longer the server's.
const LAG_PART_MAX: f64 = 0.1;
/// What scenarios call the server's CPU time by what it does.
const CPU_FIGURES: [&str; 2] = ["CPU per delivery", "CPU per message"];

/// A load that both servers are put under.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Load {
    /// 1 topic × 1,000 subscribers, the next message long after the last delivery of this one.
    Single,
    /// The same with eight messages at once.
    Burst,
    /// 1,000 clients publish, nobody listens.
    Inbound,
    /// 1,000 topics with one publisher and one subscriber each.
    Pairs,
}

/// All loads, in the order of measuring.
pub(super) const LOADS: [Load; 4] = [Load::Single, Load::Burst, Load::Inbound, Load::Pairs];

/// Which of the two servers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    Floor,
    Fanwire,
}

/// What became of one measurement.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Attempt {
    Measured(Sample),
    /// Something was lost, doubled or refused: its figures do not count.
    Faulty(String),
    /// The generator could not do it at all.
    Impossible(String),
}

/// The figures of one measurement.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Sample {
    /// In microseconds: CPU time of the server per delivery; where nothing is delivered, per
    /// publication.
    pub(super) cpu_us: f64,
    /// 99 % of the deliveries came within this, in microseconds; `None` where nothing is delivered.
    pub(super) p99_us: Option<f64>,
    /// Deliveries, or messages where nothing is delivered, per second.
    pub(super) rate: f64,
    /// The busiest process of the generator; 100 is one core.
    pub(super) generator_percent: f64,
    /// 99 % of the publications were not sent later than this, in microseconds.
    pub(super) lag_us: f64,
    /// Why these are figures of the generator rather than of the server, in words.
    pub(super) doubts: Vec<String>,
}

/// Which figure of a sample a row is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Figure {
    Cpu,
    P99,
}

/// One row of the result.
#[derive(Clone, Copy, Debug)]
pub(super) struct Row {
    pub(super) name: &'static str,
    pub(super) unit: &'static str,
    load: Load,
    /// The load under which the bare loop's figure is what 1.0 means.
    reference: Load,
    side: Side,
    figure: Figure,
    /// The ratio may be so much; `None` where the row is there to compare with.
    pub(super) goal: Option<f64>,
}

/// All rows. Coalesced deliveries are told as a part of what one `send` each costs.
pub(super) const ROWS: [Row; 6] = [
    Row {
        name: "fan-out, one message per turn",
        unit: "CPU per delivery",
        load: Load::Single,
        reference: Load::Single,
        side: Side::Fanwire,
        figure: Figure::Cpu,
        goal: Some(1.15),
    },
    Row {
        name: "fan-out, 8 messages pending",
        unit: "CPU per delivery",
        load: Load::Burst,
        reference: Load::Single,
        side: Side::Fanwire,
        figure: Figure::Cpu,
        goal: Some(0.2),
    },
    Row {
        name: "  the same in a loop that joins",
        unit: "CPU per delivery",
        load: Load::Burst,
        reference: Load::Single,
        side: Side::Floor,
        figure: Figure::Cpu,
        goal: None,
    },
    Row {
        name: "inbound: recv + parse + reply",
        unit: "CPU per message",
        load: Load::Inbound,
        reference: Load::Inbound,
        side: Side::Fanwire,
        figure: Figure::Cpu,
        goal: Some(1.5),
    },
    Row {
        name: "1:1, 1,000 topics, 50,000/s",
        unit: "CPU per message",
        load: Load::Pairs,
        reference: Load::Pairs,
        side: Side::Fanwire,
        figure: Figure::Cpu,
        goal: Some(1.4),
    },
    Row {
        name: "latency, 1,000 subscribers, 20/s",
        unit: "p99",
        load: Load::Single,
        reference: Load::Single,
        side: Side::Fanwire,
        figure: Figure::P99,
        goal: Some(1.2),
    },
];

/// A median and the range around it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Spread {
    pub(super) median: f64,
    pub(super) min: f64,
    pub(super) max: f64,
}

/// What a row has come to.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Measured {
    /// The bare loop's, in microseconds.
    pub(super) reference: Spread,
    /// What is held against it, in microseconds.
    pub(super) value: Spread,
    /// The second by the first, round by round.
    pub(super) ratio: Spread,
    /// How many count: those in which the generator had room, or all if there are none.
    pub(super) rounds: usize,
    /// Deliveries or messages per second, in the slowest round.
    pub(super) rate: f64,
    /// The generator at its busiest; 100 is one core.
    pub(super) generator_percent: f64,
    /// 99 % of the publications were not sent later than this, in microseconds, at its worst.
    pub(super) lag_us: f64,
    /// Why the ratio is no verdict over the server, in words; empty if it is one.
    pub(super) doubts: Vec<String>,
}

/// What is to be said of a goal.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Verdict {
    Met,
    NotMet,
    /// The generator was the bottleneck.
    Doubtful,
}

/// Everything measured so far.
#[derive(Debug, Default)]
pub(super) struct Trials(Vec<(Load, Side, Attempt)>);

impl Load {
    /// The scenario of the generator, but for the options that all have.
    pub(super) fn scenario(self) -> &'static [&'static str] {
        match self {
            Self::Single => &["fanout", "--subscribers", "1000", "--rate", "20", "--size", "64"],
            Self::Burst => {
                &["fanout", "--subscribers", "1000", "--rate", "48", "--burst", "8", "--size", "64"]
            }
            Self::Inbound => &["inbound", "--clients", "1000", "--rate", "30000", "--size", "64"],
            Self::Pairs => &["pairs", "--pairs", "1000", "--rate", "50000", "--size", "128"],
        }
    }

    /// Deliveries per second, or messages where nothing is delivered, that it asks for.
    const fn rate(self) -> f64 {
        match self {
            Self::Single => 20_000.0,
            Self::Burst => 48_000.0,
            Self::Inbound => 30_000.0,
            Self::Pairs => 50_000.0,
        }
    }

    /// The bare loop that does the same work.
    pub(super) fn floor(self) -> &'static [&'static str] {
        match self {
            Self::Single => &["--loop", "fanout"],
            Self::Burst => &["--loop", "fanout", "--coalesce"],
            Self::Inbound => &["--loop", "inbound"],
            Self::Pairs => &["--loop", "fanout"],
        }
    }
}

impl fmt::Display for Load {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Single => "fan-out",
            Self::Burst => "fan-out in bursts of 8",
            Self::Inbound => "inbound",
            Self::Pairs => "1:1",
        })
    }
}

impl fmt::Display for Side {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Floor => "the bare loop",
            Self::Fanwire => "Fanwire",
        })
    }
}

impl Attempt {
    /// What the outcome of a scenario under `load` says.
    pub(super) fn of(load: Load, outcome: &Outcome) -> Self {
        if !outcome.is_clean {
            return Self::Faulty(outcome.faults.join(", "));
        }
        let cpu = CPU_FIGURES.iter().find_map(|name| outcome.figure(name));
        let Some(cpu) = cpu else {
            return Self::Impossible("its result lacks the server's CPU time".to_owned());
        };
        let deliveries = outcome.latencies.get("delivery");
        let p99_us = deliveries.map(|latency| latency.percentiles.p99_us);
        let rate = RATE_FIGURES.iter().find_map(|name| outcome.figure(name));
        let rate = rate.map_or(0.0, |figure| figure.value);
        let saturation = &outcome.saturation;
        let mut doubts = saturation.reasons.clone();
        if rate < RATE_PART_MIN * load.rate() {
            doubts.push(format!("it came to {rate:.0} of {:.0} per second", load.rate()));
        }
        let generators = saturation.generator_cpu_percent.iter().copied();
        Self::Measured(Sample {
            cpu_us: cpu.value,
            p99_us,
            rate,
            generator_percent: generators.fold(saturation.publisher_cpu_percent, f64::max),
            lag_us: saturation.publisher_lag_p99_us,
            doubts,
        })
    }
}

impl Trials {
    /// Adds what became of one measurement.
    pub(super) fn add(&mut self, load: Load, side: Side, attempt: Attempt) {
        self.0.push((load, side, attempt));
    }

    /// Whether no measurement was faulty or impossible.
    pub(super) fn is_clean(&self) -> bool {
        self.0.iter().all(|(_, _, attempt)| matches!(attempt, Attempt::Measured(_)))
    }

    /// What went wrong, in words, and where.
    pub(super) fn faults(&self) -> impl Iterator<Item = String> {
        self.0.iter().filter_map(|(load, side, attempt)| match attempt {
            Attempt::Measured(_) => None,
            Attempt::Faulty(what) => Some(format!("{load}, {side}: faulty: {what}")),
            Attempt::Impossible(what) => Some(format!("{load}, {side}: not measured: {what}")),
        })
    }

    /// What `row` has come to; `None` when no round has measured both of its sides.
    pub(super) fn result(&self, row: &Row) -> Option<Measured> {
        let references = self.samples(row.reference, Side::Floor);
        let values = self.samples(row.load, row.side);
        let rounds: Vec<_> = references.zip(values).filter_map(|(a, b)| Some((a?, b?))).collect();
        // A hiccup in one round does not spoil the others.
        let is_sound = |round: &&(&Sample, &Sample)| {
            [round.0, round.1].iter().all(|sample| sample.doubts_of(row.figure).is_empty())
        };
        let sound: Vec<_> = rounds.iter().filter(is_sound).copied().collect();
        let rounds = if sound.is_empty() { rounds } else { sound };
        let side = |sample: for<'a> fn(&(&'a Sample, &'a Sample)) -> &'a Sample| {
            Spread::of(rounds.iter().filter_map(|round| sample(round).figure(row.figure)).collect())
        };
        let ratios = rounds.iter().filter_map(|(floor, other)| {
            Some(other.figure(row.figure)? / floor.figure(row.figure)?)
        });
        let samples = || rounds.iter().flat_map(|(floor, other)| [*floor, *other]);
        let highest = |of: fn(&Sample) -> f64| samples().map(of).fold(0.0, f64::max);
        let values = rounds.iter().map(|(_, other)| other.rate);
        let mut doubts: Vec<String> = Vec::new();
        for doubt in samples().flat_map(|sample| sample.doubts_of(row.figure)) {
            if !doubts.contains(&doubt) {
                doubts.push(doubt);
            }
        }
        Some(Measured {
            reference: side(|round| round.0)?,
            value: side(|round| round.1)?,
            rounds: rounds.len(),
            ratio: Spread::of(ratios.collect())?,
            rate: values.fold(f64::INFINITY, f64::min),
            generator_percent: highest(|sample| sample.generator_percent),
            lag_us: highest(|sample| sample.lag_us),
            doubts,
        })
    }

    /// The samples round by round, `None` where the round had a fault.
    fn samples(&self, load: Load, side: Side) -> impl Iterator<Item = Option<&Sample>> {
        let trials = self.0.iter().filter(move |trial| (trial.0, trial.1) == (load, side));
        trials.map(|(_, _, attempt)| match attempt {
            Attempt::Measured(sample) => Some(sample),
            Attempt::Faulty(_) | Attempt::Impossible(_) => None,
        })
    }
}

impl Sample {
    fn figure(&self, figure: Figure) -> Option<f64> {
        match figure {
            Figure::Cpu => Some(self.cpu_us),
            Figure::P99 => self.p99_us,
        }
    }

    /// What speaks against a figure of it. What the generator was late by is part of every latency.
    fn doubts_of(&self, figure: Figure) -> Vec<String> {
        let mut doubts = self.doubts.clone();
        let latency = self.p99_us.filter(|_| figure == Figure::P99);
        if latency.is_some_and(|p99| self.lag_us > LAG_PART_MAX * p99) {
            doubts.push("publications were sent late".to_owned());
        }
        doubts
    }
}

impl Measured {
    /// What is to be said of `row`'s goal; `None` if it has none.
    pub(super) fn verdict(&self, row: &Row) -> Option<Verdict> {
        Some(match row.goal? {
            _ if !self.doubts.is_empty() => Verdict::Doubtful,
            goal if self.ratio.median <= goal => Verdict::Met,
            _ => Verdict::NotMet,
        })
    }
}

impl Spread {
    fn of(mut values: Vec<f64>) -> Option<Self> {
        values.sort_by(f64::total_cmp);
        let (min, max) = (*values.first()?, *values.last()?);
        let upper = values.get(values.len() / 2)?;
        let lower = values.get((values.len() - 1) / 2)?;
        Some(Self { median: f64::midpoint(*lower, *upper), min, max })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::figure::{Figure, Unit};
    use crate::report::options::OutputOptions;
    use crate::report::outcome::Parameters;

    fn measured(cpu_us: f64) -> Attempt {
        Attempt::Measured(Sample { cpu_us, p99_us: Some(10.0 * cpu_us), ..Sample::default() })
    }

    #[test]
    fn ratios_are_taken_round_by_round() {
        let mut trials = Trials::default();
        for (floor, fanwire) in [(2.0, 4.0), (4.0, 4.0), (1.0, 3.0)] {
            trials.add(Load::Single, Side::Floor, measured(floor));
            trials.add(Load::Single, Side::Fanwire, measured(fanwire));
        }
        let result = trials.result(&ROWS[0]).unwrap();
        assert_eq!(result.ratio, Spread { median: 2.0, min: 1.0, max: 3.0 });
        assert_eq!(result.reference, Spread { median: 2.0, min: 1.0, max: 4.0 });
        assert_eq!(trials.result(&ROWS[5]).unwrap().value.median, 40.0);
        assert_eq!(trials.result(&ROWS[3]), None);
        assert!(trials.is_clean());
    }

    #[test]
    fn a_burst_is_compared_with_one_send_per_delivery() {
        let mut trials = Trials::default();
        trials.add(Load::Single, Side::Floor, measured(2.0));
        trials.add(Load::Burst, Side::Floor, measured(0.5));
        trials.add(Load::Burst, Side::Fanwire, measured(1.0));
        assert_eq!(trials.result(&ROWS[1]).unwrap().ratio.median, 0.5);
        assert_eq!(trials.result(&ROWS[2]).unwrap().ratio.median, 0.25);
    }

    #[test]
    fn a_round_with_a_fault_does_not_count_and_is_told() {
        let mut trials = Trials::default();
        trials.add(Load::Single, Side::Floor, measured(1.0));
        trials.add(Load::Single, Side::Fanwire, Attempt::Faulty("lost: 1".to_owned()));
        assert_eq!(trials.result(&ROWS[0]), None);
        assert!(!trials.is_clean());
        trials.add(Load::Single, Side::Floor, measured(2.0));
        trials.add(Load::Single, Side::Fanwire, measured(3.0));
        assert_eq!(trials.result(&ROWS[0]).unwrap().ratio.median, 1.5);
        let told: Vec<String> = trials.faults().collect();
        assert_eq!(told, ["fan-out, Fanwire: faulty: lost: 1"]);
    }

    #[test]
    fn a_goal_is_not_met_by_a_generator_at_its_limit() {
        let verdict = |change: fn(&mut Sample), row: usize| {
            let mut trials = Trials::default();
            let mut sample = Sample { cpu_us: 1.0, p99_us: Some(100.0), ..Sample::default() };
            trials.add(Load::Single, Side::Fanwire, Attempt::Measured(sample.clone()));
            change(&mut sample);
            trials.add(Load::Single, Side::Floor, Attempt::Measured(sample));
            trials.result(&ROWS[row]).unwrap().verdict(&ROWS[row]).unwrap()
        };
        assert_eq!(verdict(|_| {}, 0), Verdict::Met);
        assert_eq!(verdict(|floor| floor.cpu_us = 0.5, 0), Verdict::NotMet);
        assert_eq!(verdict(|floor| floor.doubts.push("busy".to_owned()), 0), Verdict::Doubtful);
        // Lateness is in the latencies, not in the costs.
        assert_eq!(verdict(|floor| floor.lag_us = 11.0, 0), Verdict::Met);
        assert_eq!(verdict(|floor| floor.lag_us = 11.0, 5), Verdict::Doubtful);
    }

    #[test]
    fn a_round_of_a_generator_at_its_limit_counts_only_where_there_is_no_other() {
        let mut trials = Trials::default();
        for (cpu_us, doubts) in [(9.0, vec!["busy".to_owned()]), (2.0, Vec::new())] {
            trials.add(Load::Single, Side::Floor, measured(1.0));
            let sample = Sample { cpu_us, doubts, ..Sample::default() };
            trials.add(Load::Single, Side::Fanwire, Attempt::Measured(sample));
        }
        let result = trials.result(&ROWS[0]).unwrap();
        assert_eq!((result.ratio.max, result.rounds), (2.0, 1));
        assert!(result.doubts.is_empty());
    }

    #[test]
    fn a_load_that_was_not_reached_is_told() {
        let mut outcome =
            Outcome::begin("pairs", Parameters::new(), None, &OutputOptions::default());
        outcome.figures.push(Figure::lower("CPU per message", 2.5, Unit::Microseconds));
        outcome.figures.push(Figure::higher("messages per second", 44_000.0, Unit::PerSecond));
        let Attempt::Measured(sample) = Attempt::of(Load::Pairs, &outcome) else { unreachable!() };
        assert_eq!(sample.doubts, ["it came to 44000 of 50000 per second"]);
        let Attempt::Measured(sample) = Attempt::of(Load::Inbound, &outcome) else {
            unreachable!()
        };
        assert!(sample.doubts.is_empty() && sample.rate > 43_000.0, "{sample:?}");
    }

    #[test]
    fn an_outcome_with_faults_has_no_figures() {
        let mut outcome =
            Outcome::begin("fanout", Parameters::new(), None, &OutputOptions::default());
        assert!(matches!(Attempt::of(Load::Single, &outcome), Attempt::Impossible(_)));
        let figure = Figure::lower("CPU per delivery", 2.5, Unit::Microseconds);
        outcome.figures.push(figure);
        outcome.figures.push(Figure::higher("deliveries per second", 2e4, Unit::PerSecond));
        let sample = Sample { cpu_us: 2.5, rate: 2e4, ..Sample::default() };
        assert_eq!(Attempt::of(Load::Single, &outcome), Attempt::Measured(sample));
        outcome.fault("lost: 1");
        outcome.fault("connections lost: 2");
        let told = Attempt::Faulty("lost: 1, connections lost: 2".to_owned());
        assert_eq!(Attempt::of(Load::Single, &outcome), told);
    }
}
