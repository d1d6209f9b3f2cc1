//! Which plots there are of one run or of several, and where their points come from.

use crate::error::BenchError;
use crate::histogram::{PortableHistogram, TimeHistogram};
use crate::report::figure::Unit;
use crate::report::findings::DELIVERY;
use crate::report::outcome::Outcome;
use crate::report::plot::{Curve, Plot, XAxis, YAxis};
use crate::report::series::{Sample, Series};

/// Points of a percentile curve per tenfold step.
const STEPS_PER_DECADE: u32 = 24;
/// Beyond this many nines a curve shows single events.
const DECADES_MAX: u32 = 6;
/// Intervals after the measured part are shown while at least this part of the usual arrives.
const TAIL_SHARE: f64 = 0.5;

/// A run, or several repetitions of one, as a plot shows it.
#[derive(Clone, Debug)]
pub(super) struct Subject<'a> {
    /// For the legend.
    pub(super) label: String,
    /// The run whose course is shown.
    pub(super) typical: &'a Outcome,
    /// All repetitions.
    pub(super) runs: Vec<&'a Outcome>,
}

/// What a curve over time shows of a sample; `None` = nothing in that interval.
type Value = fn(&Sample, f64) -> Option<f64>;

const P50: Value = |sample, _| Some(sample.latency?.p50_us);
const P99: Value = |sample, _| Some(sample.latency?.p99_us);
const MAX: Value = |sample, _| Some(sample.latency?.max_us);
const DELIVERED: Value = |sample, seconds| Some(sample.delivered as f64 / seconds);
const PUBLISHED: Value = |sample, seconds| Some(sample.published as f64 / seconds);
const SERVER_CPU: Value = |sample, _| sample.server_cpu_percent;
const GENERATOR_CPU: Value = |sample, _| sample.generator_cpu_percent;
const PUBLISHER_CPU: Value = |sample, _| sample.publisher_cpu_percent;
const SERVER_RSS: Value = |sample, _| Some(sample.server_rss_bytes? as f64);
const LAG: Value = |sample, _| (sample.published > 0).then_some(sample.lag_max_us);

const TIME: YAxis = YAxis::Logarithmic(Unit::Microseconds);
const RATE: YAxis = YAxis::Linear(Unit::PerSecond);
const CPU: YAxis = YAxis::Linear(Unit::PercentOfCore);
const MEMORY: YAxis = YAxis::Linear(Unit::Bytes);

/// All plots of one run.
///
/// # Errors
/// `Histogram` when its bounds are impossible, which they are not.
pub(super) fn of_run(outcome: &Outcome) -> Result<Vec<Plot>, BenchError> {
    let subject = Subject { label: outcome.label.clone(), typical: outcome, runs: vec![outcome] };
    let over_time = |title: &str, y, curves: &[(&str, Value)]| Plot {
        title: title.to_owned(),
        x: XAxis::Time,
        y,
        curves: curves.iter().map(|&(name, value)| curve(name, outcome, value)).collect(),
    };
    let latency: [(&str, Value); 3] = [("max", MAX), ("p99", P99), ("p50", P50)];
    let cpu: [(&str, Value); 3] = [
        ("server", SERVER_CPU),
        ("generator, busiest process", GENERATOR_CPU),
        ("publisher", PUBLISHER_CPU),
    ];
    let samples = &outcome.series.samples;
    let throughput: &[(&str, Value)] = if samples.iter().any(|sample| sample.delivered > 0) {
        &[("delivered", DELIVERED)]
    } else if samples.iter().any(|sample| sample.published > 0) {
        &[("published", PUBLISHED)]
    } else {
        &[]
    };
    let rate = throughput.first().map_or("", |(name, _)| name);
    let throughput = over_time(&format!("Throughput, {rate} per second"), RATE, throughput);
    let mut plots = vec![over_time("Latency over time", TIME, &latency)];
    plots.extend(percentile_curves(outcome, &[subject])?);
    plots.push(throughput);
    plots.push(over_time("CPU, 100 % = one core", CPU, &cpu));
    plots.push(over_time("Memory of the server (RSS)", MEMORY, &[("server", SERVER_RSS)]));
    plots.push(over_time("Publications sent late by at most", TIME, &[("latest", LAG)]));
    Ok(plots)
}

/// All plots of several runs of one scenario, a curve for each.
///
/// # Errors
/// `Histogram` when its bounds are impossible, which they are not.
pub(super) fn of_several(subjects: &[Subject<'_>]) -> Result<Vec<Plot>, BenchError> {
    let over_time = |title: &str, y, value: Value| Plot {
        title: title.to_owned(),
        x: XAxis::Time,
        y,
        curves: subjects.iter().map(|s| curve(&s.label, s.typical, value)).collect(),
    };
    let mut plots = Vec::new();
    if let Some(first) = subjects.first() {
        plots = percentile_curves(first.typical, subjects)?;
    }
    plots.push(over_time("Latency over time, p99", TIME, P99));
    plots.push(over_time("Latency over time, p50", TIME, P50));
    plots.push(over_time("Deliveries per second", RATE, DELIVERED));
    plots.push(over_time("CPU of the server, 100 % = one core", CPU, SERVER_CPU));
    plots.push(over_time("Memory of the server (RSS)", MEMORY, SERVER_RSS));
    plots.push(over_time("CPU of the busiest generator process", CPU, GENERATOR_CPU));
    Ok(plots)
}

/// A plot for each distribution that `first` has, except for the generator's own delay.
fn percentile_curves(first: &Outcome, subjects: &[Subject<'_>]) -> Result<Vec<Plot>, BenchError> {
    let names = first.latencies.keys().filter(|name| *name != crate::report::findings::LAG);
    names
        .map(|name| {
            let curves = subjects.iter().map(|subject| percentile_curve(name, subject));
            let of = if name == DELIVERY { String::new() } else { format!(", {name}") };
            Ok(Plot {
                title: format!("Latency by percentile{of}"),
                x: XAxis::Quantile,
                y: TIME,
                curves: curves.collect::<Result<_, BenchError>>()?,
            })
        })
        .collect()
}

fn percentile_curve(name: &str, subject: &Subject<'_>) -> Result<Curve, BenchError> {
    let of = |outcome: &&'_ Outcome| -> Option<PortableHistogram> {
        Some(outcome.latencies.get(name)?.histogram.clone())
    };
    let parts: Vec<_> = subject.runs.iter().filter_map(of).collect();
    let times = TimeHistogram::merged(&parts)?;
    let count = times.percentiles().count;
    // The last point is the slowest of all: 1 - 1/count.
    let steps = ((count.max(1) as f64).log10() * f64::from(STEPS_PER_DECADE)) as u32;
    let steps = if count == 0 { 0..0 } else { 0..steps.min(DECADES_MAX * STEPS_PER_DECADE) + 1 };
    let point = |step| {
        let x = f64::from(step) / f64::from(STEPS_PER_DECADE);
        (x, times.quantile_us(1.0 - 10_f64.powf(-x)))
    };
    Ok(Curve { name: subject.label.clone(), points: steps.map(point).collect() })
}

fn curve(name: &str, outcome: &Outcome, value: Value) -> Curve {
    let series = &outcome.series;
    let point = |sample: &Sample| {
        let value = value(sample, series.interval_seconds)?;
        Some((sample.at_seconds + series.interval_seconds / 2.0, value))
    };
    Curve { name: name.to_owned(), points: shown(series).filter_map(point).collect() }
}

/// The measured part, and what follows as long as much is still arriving; everything, where the
/// result does not tell what was measured.
fn shown(series: &Series) -> impl Iterator<Item = &Sample> {
    let end = series.measured_seconds;
    let is_measured = move |sample: &Sample| {
        end == 0.0 || sample.at_seconds + series.interval_seconds <= end * 1.001
    };
    let measured: Vec<u64> =
        series.samples.iter().filter(|sample| is_measured(sample)).map(|s| s.delivered).collect();
    let usual = measured.iter().sum::<u64>() as f64 / measured.len().max(1) as f64;
    series.samples.iter().take_while(move |sample| {
        is_measured(sample) || (sample.delivered as f64) > usual * TAIL_SHARE && usual > 0.0
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::tests::outcome;

    #[test]
    fn a_percentile_curve_ends_with_the_slowest() {
        let outcome = outcome();
        let plots = of_run(&outcome).unwrap();
        let plot = plots.iter().find(|plot| plot.x == XAxis::Quantile).unwrap();
        let points = &plot.curves[0].points;
        assert!((points[0].1 - 1_000.0).abs() < 2.0);
        let (x, y) = *points.last().unwrap();
        assert!((x - 400_f64.log10()).abs() < 0.1 && (y - 9_000.0).abs() < 10.0, "{x} {y}");
    }

    #[test]
    fn what_follows_the_measured_part_is_shown_only_while_much_arrives() {
        let sample = |index: u32, delivered| Sample {
            at_seconds: f64::from(index),
            delivered,
            ..Sample::default()
        };
        let delivered = [100, 100, 100, 60, 1, 90];
        let samples = (0..).zip(delivered).map(|(index, count)| sample(index, count)).collect();
        let mut series = Series { measured_seconds: 3.0, interval_seconds: 1.0, samples };
        assert_eq!(shown(&series).count(), 4);
        series.measured_seconds = 0.0;
        assert_eq!(shown(&series).count(), 6);
    }

    #[test]
    fn every_run_has_its_curve() {
        let (first, mut second) = (outcome(), outcome());
        second.label = "other".to_owned();
        let subjects = [&first, &second].map(|outcome| Subject {
            label: outcome.label.clone(),
            typical: outcome,
            runs: vec![outcome],
        });
        for plot in of_several(&subjects).unwrap() {
            let names: Vec<_> = plot.curves.iter().map(|curve| curve.name.as_str()).collect();
            assert_eq!(names, ["tiny 1", "other"], "{}", plot.title);
        }
    }
}
