//! The report: what the run found, added up. `text` makes it readable, serde makes it JSON.

mod machine;
mod text;
mod verdict;

use std::collections::BTreeMap;
use std::fmt;
use std::io::Write;
use std::time::{SystemTime, UNIX_EPOCH};

use serde::Serialize;

use crate::cli::FanoutOptions;
use crate::client::control::Totals;
use crate::error::BenchError;
use crate::histogram::{Percentiles, TimeHistogram};
use crate::procfs::Memory;
use crate::publisher::answers::Refusals;
use crate::report::machine::Machine;

/// What a run hands over to be reported.
#[derive(Debug)]
pub(crate) struct Findings {
    /// Generator processes.
    pub(crate) processes: usize,
    /// As the server told it, or empty.
    pub(crate) server_version: String,
    /// `None` in an idle run.
    pub(crate) published: Option<Published>,
    /// Deliveries that should have been.
    pub(crate) expected: u64,
    /// What each generator process has seen.
    pub(crate) totals: Vec<Totals>,
    /// What the run used.
    pub(crate) usage: Usage,
}

/// What became of the publications.
#[derive(Debug)]
pub(crate) struct Published {
    /// Sent.
    pub(crate) sent: u64,
    /// Accepted by the server.
    pub(crate) accepted: u64,
    /// Refused by the server.
    pub(crate) refusals: Refusals,
    /// How late they were sent.
    pub(crate) lag: Percentiles,
}

/// CPU time and memory.
#[derive(Clone, Debug, Default)]
pub(crate) struct Usage {
    /// Length of the measured part, in nanoseconds.
    pub(crate) measured_ns: u64,
    /// CPU time of the server in the measured part.
    pub(crate) server_ns: u64,
    /// CPU time of the server until the last delivery had arrived.
    pub(crate) server_until_arrived_ns: u64,
    /// CPU time of each generator process in the measured part.
    pub(crate) subscribers_ns: Vec<u64>,
    /// CPU time of the publishing process in the measured part.
    pub(crate) publisher_ns: u64,
    /// The server's memory before the first connection.
    pub(crate) before: Memory,
    /// The server's memory when all were subscribed.
    pub(crate) connected: Memory,
    /// The server's memory at the end.
    pub(crate) after: Memory,
    /// The most memory that was seen in the measured part.
    pub(crate) peak: Memory,
}

/// Everything a report says. Field names are the names in the JSON.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    scenario: Scenario,
    /// When it ended, seconds since 1970.
    unix_time: u64,
    command_line: Vec<String>,
    machine: Machine,
    /// As the server told it in its reply to connect.
    server_version: Option<String>,
    load: Load,
    publications: Publications,
    deliveries: Deliveries,
    /// From the intended moment of sending until read by the subscriber; measured part only.
    latency: Percentiles,
    connections: Connections,
    server: Option<Server>,
    generator: Generator,
    /// What was wrong, in words; empty = the run was clean.
    faults: Vec<String>,
}

/// What was measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Scenario {
    /// Publications to subscribers.
    Fanout,
    /// Subscribers that hear nothing.
    Idle,
}

impl fmt::Display for Scenario {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Fanout => "fanout",
            Self::Idle => "idle",
        })
    }
}

#[derive(Debug, Serialize)]
struct Load {
    subscribers: u32,
    topics: u32,
    rate_per_second: f64,
    size_bytes: usize,
    seconds: f64,
    warmup_seconds: f64,
    processes: usize,
    publish_over: &'static str,
}

/// Warm-up included.
#[derive(Debug, Serialize)]
struct Publications {
    sent: u64,
    accepted: u64,
    refused: u64,
    /// Neither accepted nor refused; their deliveries are expected.
    unanswered: u64,
    refused_by_reason: BTreeMap<String, u64>,
    /// How much later than intended they were sent.
    lag: Percentiles,
}

/// Warm-up included, but for the last two.
#[derive(Debug, Serialize)]
struct Deliveries {
    expected: u64,
    received: u64,
    lost: u64,
    duplicated: u64,
    out_of_order: u64,
    misrouted: u64,
    measured: u64,
    measured_per_second: f64,
}

#[derive(Debug, Serialize)]
struct Connections {
    /// After they were subscribed.
    lost: u64,
    lost_by_reason: BTreeMap<String, u64>,
    pings_answered: u64,
}

#[derive(Debug, Serialize)]
struct Server {
    /// CPU time until the last delivery had arrived, divided by the measured deliveries.
    cpu_us_per_delivery: Option<f64>,
    /// 100 is one core.
    cpu_percent: f64,
    rss_before_bytes: u64,
    rss_connected_bytes: u64,
    rss_peak_bytes: u64,
    rss_after_bytes: u64,
    /// Growth from before the first connection until all were subscribed.
    rss_bytes_per_connection: f64,
}

#[derive(Debug, Serialize)]
struct Generator {
    /// Of each process of subscribers; 100 is one core.
    subscribers_cpu_percent: Vec<f64>,
    publisher_cpu_percent: f64,
}

impl Report {
    /// Adds up the findings of a run.
    ///
    /// # Errors
    /// `Histogram` when its bounds are impossible, which they are not.
    pub(crate) fn new(options: &FanoutOptions, findings: Findings) -> Result<Self, BenchError> {
        let (totals, latency) = add_up(&findings.totals)?;
        let usage = &findings.usage;
        let deliveries = Deliveries {
            expected: findings.expected,
            received: totals.received,
            lost: findings.expected.saturating_sub(totals.received),
            duplicated: totals.duplicated,
            out_of_order: totals.out_of_order,
            misrouted: totals.misrouted,
            measured: latency.count,
            measured_per_second: latency.count as f64 / options.seconds,
        };
        let server = options.server_pid.map(|_| Server::new(options, usage, latency.count));
        let published = findings.published.as_ref();
        let scenario = if published.is_some() { Scenario::Fanout } else { Scenario::Idle };
        let publications = Publications::new(published);
        let connections = Connections {
            lost: totals.disconnected.values().sum(),
            lost_by_reason: totals.disconnected,
            pings_answered: totals.pings,
        };
        let faults = verdict::faults(scenario, &publications, &deliveries, &connections);
        Ok(Self {
            scenario,
            unix_time: SystemTime::now()
                .duration_since(UNIX_EPOCH)
                .map_or(0, |since| since.as_secs()),
            command_line: machine::command_line(std::env::args()),
            machine: Machine::read(),
            server_version: Some(findings.server_version).filter(|version| !version.is_empty()),
            load: Load::new(options, findings.processes),
            publications,
            deliveries,
            latency,
            connections,
            server,
            generator: Generator {
                subscribers_cpu_percent: usage
                    .subscribers_ns
                    .iter()
                    .map(|&cpu_ns| percent(cpu_ns, usage.measured_ns))
                    .collect(),
                publisher_cpu_percent: percent(usage.publisher_ns, usage.measured_ns),
            },
            faults,
        })
    }

    /// Whether every publication was accepted, every delivery came once and in order, and no
    /// connection was lost; in an idle run the last of these.
    pub(crate) fn is_clean(&self) -> bool {
        self.faults.is_empty()
    }
}

/// Writes the report, as JSON or as text.
///
/// # Errors
/// `Output` when it cannot be written.
pub(crate) fn write(
    report: &Report,
    as_json: bool,
    output: &mut impl Write,
) -> Result<(), BenchError> {
    if as_json {
        serde_json::to_writer_pretty(&mut *output, report)?;
        writeln!(output)?;
    } else {
        text::write(report, output)?;
    }
    Ok(output.flush()?)
}

/// The totals of all processes together, and the latencies of all.
fn add_up(parts: &[Totals]) -> Result<(Totals, Percentiles), BenchError> {
    let mut sum = Totals::default();
    let mut latency = TimeHistogram::new()?;
    for part in parts {
        sum.received += part.received;
        sum.duplicated += part.duplicated;
        sum.out_of_order += part.out_of_order;
        sum.misrouted += part.misrouted;
        sum.pings += part.pings;
        for (reason, count) in &part.disconnected {
            *sum.disconnected.entry(reason.clone()).or_default() += count;
        }
        latency.merge(&part.latency);
    }
    Ok((sum, latency.percentiles()))
}

impl Load {
    fn new(options: &FanoutOptions, processes: usize) -> Self {
        Self {
            subscribers: options.subscribers,
            topics: options.topics,
            rate_per_second: options.rate,
            size_bytes: options.size,
            seconds: options.seconds,
            warmup_seconds: options.warmup,
            processes,
            publish_over: if options.api_key.is_some() { "http" } else { "websocket" },
        }
    }
}

impl Publications {
    fn new(published: Option<&Published>) -> Self {
        let count = |of: fn(&Published) -> u64| published.map_or(0, of);
        let (sent, accepted) = (count(|p| p.sent), count(|p| p.accepted));
        let refused = count(|p| p.refusals.count);
        Self {
            sent,
            accepted,
            refused,
            unanswered: sent.saturating_sub(accepted + refused),
            refused_by_reason: published.map(|p| p.refusals.by_reason.clone()).unwrap_or_default(),
            lag: published.map(|p| p.lag).unwrap_or_default(),
        }
    }
}

impl Server {
    fn new(options: &FanoutOptions, usage: &Usage, delivered: u64) -> Self {
        let grown = usage.connected.resident_bytes.saturating_sub(usage.before.resident_bytes);
        Self {
            cpu_us_per_delivery: (delivered > 0)
                .then(|| usage.server_until_arrived_ns as f64 / 1_000.0 / delivered as f64),
            cpu_percent: percent(usage.server_ns, usage.measured_ns),
            rss_before_bytes: usage.before.resident_bytes,
            rss_connected_bytes: usage.connected.resident_bytes,
            rss_peak_bytes: usage.peak.resident_bytes,
            rss_after_bytes: usage.after.resident_bytes,
            rss_bytes_per_connection: grown as f64 / f64::from(options.subscribers),
        }
    }
}

fn percent(part_ns: u64, whole_ns: u64) -> f64 {
    100.0 * part_ns as f64 / whole_ns.max(1) as f64
}

#[cfg(test)]
#[path = "report_tests.rs"]
mod tests;
