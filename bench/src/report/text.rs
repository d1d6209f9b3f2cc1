//! The report for people.

use std::collections::BTreeMap;
use std::io::{self, Write};

use crate::histogram::Percentiles;
use crate::report::{Report, Scenario, Server};

/// A generator process this busy, in percent of a core, delays what it measures.
const BUSY_PERCENT: f64 = 90.0;
/// Publications this late distort the run, in microseconds.
const LATE_US: f64 = 50_000.0;

/// Writes the report as text.
///
/// # Errors
/// When `output` fails.
pub(super) fn write(report: &Report, output: &mut impl Write) -> io::Result<()> {
    write_heading(report, output)?;
    if report.scenario == Scenario::Fanout {
        write_traffic(report, output)?;
    }
    let connections = &report.connections;
    let pings = connections.pings_answered;
    row(output, "connections", &format!("lost {}, pings answered {pings}", connections.lost))?;
    write_reasons(output, &connections.lost_by_reason)?;
    if let Some(server) = &report.server {
        write_server(server, output)?;
    }
    let busy = &report.generator.subscribers_cpu_percent;
    let busy: Vec<String> = busy.iter().map(|percent| format!("{percent:.1} %")).collect();
    let publisher = report.generator.publisher_cpu_percent;
    let generator =
        format!("subscribers {} of a core, publisher {publisher:.1} %", busy.join(", "));
    row(output, "generator", &generator)?;
    let machine = &report.machine;
    let cores = machine.cores;
    let text =
        format!("{}, {cores} cores, {}, {}", machine.processor, machine.kernel, machine.host);
    row(output, "machine", &text)?;
    write_verdict(report, output)
}

fn write_heading(report: &Report, output: &mut impl Write) -> io::Result<()> {
    let load = &report.load;
    let (subscribers, topics) =
        (counted(load.subscribers, "subscriber"), counted(load.topics, "topic"));
    let seconds = load.seconds;
    let version = report.server_version.as_deref().unwrap_or("unknown");
    writeln!(output, "{}, server version {version}\n", report.scenario)?;
    let text = match report.scenario {
        Scenario::Idle => format!("{subscribers} of {topics}, for {seconds} s"),
        Scenario::Fanout => format!(
            "{subscribers} of {topics}, {}/s of {} B over {}, for {seconds} s",
            load.rate_per_second, load.size_bytes, load.publish_over,
        ),
    };
    row(output, "load", &text)
}

fn write_traffic(report: &Report, output: &mut impl Write) -> io::Result<()> {
    let publications = &report.publications;
    let text = format!(
        "sent {}, accepted {}, refused {}, unanswered {}",
        publications.sent, publications.accepted, publications.refused, publications.unanswered
    );
    row(output, "publications", &text)?;
    write_reasons(output, &publications.refused_by_reason)?;
    let lag = &publications.lag;
    let text = format!("p50 {}, p99 {}, max {}", ms(lag.p50_us), ms(lag.p99_us), ms(lag.max_us));
    row(output, "sent late by", &text)?;
    let deliveries = &report.deliveries;
    let text = format!(
        "expected {}, received {}, lost {}, duplicated {}, out of order {}, misrouted {}",
        deliveries.expected,
        deliveries.received,
        deliveries.lost,
        deliveries.duplicated,
        deliveries.out_of_order,
        deliveries.misrouted
    );
    row(output, "deliveries", &text)?;
    let (count, rate) = (deliveries.measured, deliveries.measured_per_second);
    row(output, "measured", &format!("{count} deliveries, {rate:.0} per second"))?;
    row(output, "latency", &latency_text(&report.latency))
}

fn write_server(server: &Server, output: &mut impl Write) -> io::Result<()> {
    let cost = server.cpu_us_per_delivery;
    let cost = cost.map_or_else(String::new, |us| format!("{us:.2} µs per delivery, "));
    row(output, "server CPU", &format!("{cost}{:.2} % of a core", server.cpu_percent))?;
    let text = format!(
        "{} before, {} connected, {} peak, {} after: {:.0} B per connection",
        mib(server.rss_before_bytes),
        mib(server.rss_connected_bytes),
        mib(server.rss_peak_bytes),
        mib(server.rss_after_bytes),
        server.rss_bytes_per_connection
    );
    row(output, "server memory", &text)
}

fn write_verdict(report: &Report, output: &mut impl Write) -> io::Result<()> {
    writeln!(output)?;
    let busiest = report.generator.subscribers_cpu_percent.iter().copied().fold(0.0, f64::max);
    if busiest > BUSY_PERCENT {
        writeln!(output, "warning: the generator was saturated, latencies include its own delay")?;
    }
    if report.publications.lag.max_us > LATE_US {
        writeln!(output, "warning: the publisher could not keep to its schedule")?;
    }
    if report.is_clean() {
        return writeln!(output, "clean");
    }
    writeln!(output, "FAULTY: {}", report.faults.join(", "))
}

fn write_reasons(output: &mut impl Write, reasons: &BTreeMap<String, u64>) -> io::Result<()> {
    reasons.iter().try_for_each(|(reason, count)| row(output, "", &format!("{count} × {reason}")))
}

fn row(output: &mut impl Write, name: &str, text: &str) -> io::Result<()> {
    writeln!(output, "  {name:<14} {text}")
}

fn latency_text(latency: &Percentiles) -> String {
    format!(
        "min {}, p50 {}, p90 {}, p99 {}, p99.9 {}, max {}",
        ms(latency.min_us),
        ms(latency.p50_us),
        ms(latency.p90_us),
        ms(latency.p99_us),
        ms(latency.p99_9_us),
        ms(latency.max_us)
    )
}

fn counted(count: u32, noun: &str) -> String {
    let plural = if count == 1 { "" } else { "s" };
    format!("{count} {noun}{plural}")
}

fn ms(time_us: f64) -> String {
    format!("{:.2} ms", time_us / 1_000.0)
}

fn mib(bytes: u64) -> String {
    format!("{:.1} MiB", bytes as f64 / f64::from(1 << 20))
}
