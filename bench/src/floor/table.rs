//! The result of `fanwire-bench floor`, for people and for programs.

use std::io::Write;

use serde_json::json;

use crate::error::BenchError;
use crate::floor::FloorOptions;
use crate::floor::rows::{Measured, ROWS, Row, Trials, Verdict};
use crate::pin::CoreList;
use crate::report::figure::{Figure, Unit};
use crate::report::outcome::{Outcome, Parameters};

/// An outcome without figures yet; to be called when the run begins.
pub(super) fn outcome(options: &FloorOptions) -> Outcome {
    let parameters: Parameters = [
        ("rounds", json!(options.rounds)),
        ("seconds", json!(options.seconds)),
        ("server cores", json!(options.server_cpu.to_string())),
        ("generator cores", json!(generator_cores(options))),
    ]
    .map(|(name, value)| (name.to_owned(), value))
    .into_iter()
    .collect();
    let mut outcome = Outcome::begin("floor", parameters, None, &options.output);
    outcome.set_server_version("Fanwire and bare loops");
    outcome
}

/// Adds the figures of each row that was measured: the ratio, how far it spread, and both sides.
pub(super) fn add_figures(trials: &Trials, outcome: &mut Outcome) {
    for row in &ROWS {
        let Some(measured) = trials.result(row) else { continue };
        let Measured { reference, value, ratio, .. } = measured;
        let name = format!("{}: {}", row.name.trim_start(), row.unit);
        let figure = Figure::lower(&name, ratio.median, Unit::Ratio);
        outcome.figures.push(match row.goal {
            Some(goal) => figure.with_goal(goal),
            None => figure,
        });
        let mut add = |phase, value, unit| {
            outcome.figures.push(Figure::neutral(&name, value, unit).in_phase(phase));
        };
        add("lowest ratio", ratio.min, Unit::Ratio);
        add("highest ratio", ratio.max, Unit::Ratio);
        add("bare loop", reference.median, Unit::Microseconds);
        add("measured", value.median, Unit::Microseconds);
        add("load reached", measured.rate, Unit::PerSecond);
        add("generator CPU", measured.generator_percent, Unit::PercentOfCore);
        add("publisher lag p99", measured.lag_us, Unit::Microseconds);
        add("rounds that count", measured.rounds as f64, Unit::Count);
        add("doubts", measured.doubts.len() as f64, Unit::Count);
        for doubt in measured.doubts {
            outcome.saturation.is_saturated = true;
            outcome.saturation.reasons.push(format!("{}: {doubt}", row.name.trim_start()));
        }
    }
    for fault in trials.faults() {
        outcome.fault(fault);
    }
}

/// Writes a table.
///
/// # Errors
/// `Output` when `output` fails.
pub(super) fn write(
    options: &FloorOptions,
    trials: &Trials,
    output: &mut impl Write,
) -> Result<(), BenchError> {
    let FloorOptions { rounds, seconds, server_cpu, .. } = options;
    let generator_cpu = generator_cores(options);
    writeln!(
        output,
        "floor: server on core {server_cpu}, generator on core {generator_cpu}; {seconds} s each, \
         median of rounds: {rounds}\n"
    )?;
    let (load, figure, floor, value) = ("", "", "bare loop", "measured");
    writeln!(
        output,
        "  {load:<33} {figure:<17} {floor:>10} {value:>10}   {:<18} {:>11} {:>6} {:>8}   goal",
        "ratio (min–max)", "load", "gen.", "lag p99"
    )?;
    for row in &ROWS {
        let result = trials.result(row);
        write!(output, "  {:<33} {:<17} ", row.name, row.unit)?;
        match result {
            None => writeln!(output, "not measured")?,
            Some(measured) => write_measured(row, &measured, output)?,
        }
    }
    writeln!(output)?;
    writeln!(
        output,
        "  A wide range means that the machine was not at rest, and so does a ratio well below\n  \
         1: who is late sends several messages at once; a bare loop only if told to.\n"
    )?;
    for row in &ROWS {
        for doubt in trials.result(row).into_iter().flat_map(|measured| measured.doubts) {
            writeln!(output, "  {}: the generator's limit: {doubt}", row.name.trim_start())?;
        }
    }
    for fault in trials.faults() {
        writeln!(output, "  {fault}")?;
    }
    let verdict = if trials.is_clean() { "clean" } else { "FAULTY: not all was measured" };
    writeln!(output, "{verdict}")?;
    Ok(output.flush()?)
}

fn generator_cores(options: &FloorOptions) -> String {
    options.output.pin.as_ref().map(CoreList::to_string).unwrap_or_default()
}

fn write_measured(
    row: &Row,
    measured: &Measured,
    output: &mut impl Write,
) -> Result<(), BenchError> {
    let ratio = measured.ratio;
    writeln!(
        output,
        "{:>10} {:>10}   {:<18} {:>8.0} /s {:>4.0} % {:>8}   {}",
        microseconds(measured.reference.median),
        microseconds(measured.value.median),
        format!("{:.2} ({:.2}–{:.2})", ratio.median, ratio.min, ratio.max),
        measured.rate,
        measured.generator_percent,
        microseconds(measured.lag_us),
        goal(row, measured)
    )?;
    Ok(())
}

fn goal(row: &Row, measured: &Measured) -> String {
    let (Some(goal), Some(verdict)) = (row.goal, measured.verdict(row)) else {
        return "(to compare with)".to_owned();
    };
    let ratio = measured.ratio;
    let verdict = match verdict {
        Verdict::Met => "met",
        Verdict::NotMet => "NOT MET",
        Verdict::Doubtful => return format!("≤ {goal:.2} no verdict: see below"),
    };
    let is_doubtful = ratio.min <= goal && goal < ratio.max;
    let doubt = if is_doubtful { " (not in every round)" } else { "" };
    format!("≤ {goal:.2} {verdict}{doubt}")
}

fn microseconds(time_us: f64) -> String {
    if time_us < 100.0 { format!("{time_us:.2} µs") } else { format!("{:.2} ms", time_us / 1e3) }
}
