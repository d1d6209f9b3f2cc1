//! The report for people.

use std::collections::BTreeMap;
use std::io::{self, Write};

use serde_json::Value;

use crate::histogram::Percentiles;
use crate::report::counts::Counts;
use crate::report::figure::{Better, Figure, Unit};
use crate::report::outcome::{Outcome, Parameters};

/// Writes the outcome as text.
///
/// # Errors
/// When `output` fails.
pub(super) fn write(outcome: &Outcome, output: &mut impl Write) -> io::Result<()> {
    let version = outcome.server.version_or_unknown();
    writeln!(output, "{}, server version {version}, {}\n", outcome.scenario, outcome.started)?;
    row(output, "load", &parameters(&outcome.parameters))?;
    write_counts(&outcome.counts, output)?;
    if !outcome.latencies.is_empty() {
        writeln!(output)?;
        write_latencies(outcome, output)?;
    }
    writeln!(output)?;
    write_figures(&outcome.figures, output)?;
    writeln!(output)?;
    row(output, "server", &server(outcome))?;
    let cores = &outcome.machine.generator_cores;
    row(output, "generator", &format!("{}; on cores {cores}", outcome.tool.show()))?;
    row(output, "machine", &outcome.machine.show())?;
    writeln!(output)?;
    if let Some(warning) = outcome.saturation.warning() {
        writeln!(output, "WARNING: {warning}")?;
    }
    if outcome.is_clean {
        return writeln!(output, "clean");
    }
    writeln!(output, "FAULTY: {}", outcome.faults.join(", "))
}

/// Parameters in one line: `subscribers 100, topics 1`.
pub(super) fn parameters(parameters: &Parameters) -> String {
    let pairs = parameters.iter().map(|(name, value)| format!("{name} {}", parameter(value)));
    pairs.collect::<Vec<_>>().join(", ")
}

/// A parameter's value without the quotes of JSON.
pub(super) fn parameter(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        // The shortest form: 50, not 50.0.
        Value::Number(number) => number.as_f64().unwrap_or_default().to_string(),
        other => other.to_string(),
    }
}

/// Counts of publications, deliveries and connections, each with its name.
pub(super) fn count_rows(counts: &Counts) -> [(&'static str, Vec<(&'static str, u64)>); 3] {
    let publications = vec![
        ("sent", counts.published),
        ("accepted", counts.accepted),
        ("refused", counts.refused_count()),
        ("unanswered", counts.unanswered),
    ];
    let deliveries = vec![
        ("expected", counts.expected),
        ("received", counts.delivered),
        ("lost", counts.lost),
        ("too many", counts.surplus),
        ("duplicated", counts.duplicated),
        ("out of order", counts.out_of_order),
        ("misrouted", counts.misrouted),
    ];
    let connections = vec![("lost", counts.disconnected_count()), ("pings answered", counts.pings)];
    [("publications", publications), ("deliveries", deliveries), ("connections", connections)]
}

/// The server in one line.
pub(super) fn server(outcome: &Outcome) -> String {
    let server = &outcome.server;
    let Some(pid) = server.pid else { return "not watched (no --server-pid)".to_owned() };
    let (command, threads, cores) = (server.command.join(" "), server.threads, &server.cores);
    let version = server.version_or_unknown();
    format!("version {version}: {command} (pid {pid}, {threads} threads, on cores {cores})")
}

fn write_counts(counts: &Counts, output: &mut impl Write) -> io::Result<()> {
    for (name, values) in count_rows(counts) {
        // What a scenario does not do is not worth a line; connections always are.
        if name != "connections" && values.iter().all(|(_, count)| *count == 0) {
            continue;
        }
        let values = values.iter().map(|(what, count)| {
            let count = Unit::Count.show(*count as f64);
            format!("{what} {count}")
        });
        row(output, name, &values.collect::<Vec<_>>().join(", "))?;
        match name {
            "publications" => write_reasons(output, &counts.refused)?,
            "connections" => write_reasons(output, &counts.disconnected)?,
            _ => {}
        }
    }
    for (name, count) in &counts.other {
        row(output, name, &Unit::Count.show(*count as f64))?;
    }
    Ok(())
}

fn write_latencies(outcome: &Outcome, output: &mut impl Write) -> io::Result<()> {
    let width =
        outcome.latencies.keys().map(|name| name.chars().count()).max().unwrap_or(0).max(14);
    write!(output, "  {:<width$}", "milliseconds")?;
    for (name, _) in columns(&Percentiles::default()) {
        write!(output, " {name:>9}")?;
    }
    writeln!(output)?;
    for (name, latency) in &outcome.latencies {
        write!(output, "  {name:<width$}")?;
        for (_, time_us) in columns(&latency.percentiles) {
            write!(output, " {:>9.2}", time_us / 1e3)?;
        }
        writeln!(output)?;
    }
    Ok(())
}

/// What a table shows of a distribution: names, and times in microseconds.
pub(super) fn columns(times: &Percentiles) -> [(&'static str, f64); 7] {
    [
        ("min", times.min_us),
        ("p50", times.p50_us),
        ("p90", times.p90_us),
        ("p99", times.p99_us),
        ("p99.9", times.p99_9_us),
        ("p99.99", times.p99_99_us),
        ("max", times.max_us),
    ]
}

fn write_figures(figures: &[Figure], output: &mut impl Write) -> io::Result<()> {
    let width = figures.iter().map(|figure| figure.title().chars().count()).max().unwrap_or(0);
    for figure in figures {
        let value = figure.unit.show(figure.value);
        let goal = goal(figure).map_or_else(String::new, |goal| format!("   {goal}"));
        writeln!(output, "  {:<width$}  {value:>16}{goal}", figure.title())?;
    }
    Ok(())
}

/// A figure's goal in words, if it has one.
pub(super) fn goal(figure: &Figure) -> Option<String> {
    let sign = if figure.better == Better::Higher { '≥' } else { '≤' };
    let verdict = if figure.is_goal_met()? { "met" } else { "MISSED" };
    Some(format!("goal {sign} {}: {verdict}", figure.unit.show(figure.goal?)))
}

fn write_reasons(output: &mut impl Write, reasons: &BTreeMap<String, u64>) -> io::Result<()> {
    reasons.iter().try_for_each(|(reason, count)| row(output, "", &format!("{count} × {reason}")))
}

fn row(output: &mut impl Write, name: &str, text: &str) -> io::Result<()> {
    writeln!(output, "  {name:<14} {text}")
}
