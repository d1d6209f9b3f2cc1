//! The node's counters for Prometheus. Each shard leaves a copy of its own now and then; a scrape
//! adds them up. No counter is shared between shards.

use std::fmt;
use std::sync::{Mutex, PoisonError};

use fanwire_core::Counters;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::text::encode;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Registry, Unit};

use crate::reactor::{BOUNDS_US, TurnTimes};

type Row = (&'static str, &'static str, fn(&Snapshot) -> u64);

/// What goes up and down.
const GAUGES: &[Row] = &[
    ("connections", "Client connections", |s| s.core.connections),
    ("subscriptions", "Subscriptions of all connections", |s| s.core.subscriptions),
    ("topics", "Topics with subscribers", |s| s.core.topics),
    ("topics_kept", "Topics with subscribers or a past that is kept", |s| s.core.topics_kept),
    ("history_bytes", "Bytes that histories hold", |s| s.core.history_bytes),
    ("sockets", "Open sockets, HTTP and WebSocket", |s| s.reactor.sockets),
];

/// What only grows; the names get the suffix `_total`.
const COUNTERS: &[Row] = &[
    ("connections_opened", "Client connections since the start", |s| s.core.connections_opened),
    ("commands", "Commands of clients", |s| s.core.commands),
    ("refusals", "Commands of clients that were refused", |s| s.core.refusals),
    ("calls", "Calls of backends", |s| s.core.calls),
    ("publications", "Publications accepted", |s| s.core.publications),
    ("deliveries", "Publications queued for connections", |s| s.core.deliveries),
    ("disconnects", "Connections closed by the broker", |s| s.core.disconnects),
    ("slow_disconnects", "Connections closed for not keeping up", |s| s.core.slow),
    ("received_bytes", "Bytes from clients", |s| s.core.received_bytes),
    ("sent_bytes", "Bytes to clients", |s| s.core.sent_bytes),
    ("sockets_accepted", "Sockets accepted", |s| s.reactor.accepted),
    ("accept_failures", "Accepts that failed", |s| s.reactor.accept_failures),
    ("reads", "System calls that read from clients", |s| s.reactor.reads),
    ("writes", "System calls that wrote to clients", |s| s.reactor.writes),
    ("waits", "System calls for what happened, or to wait for it", |s| s.reactor.waits),
    ("tls_handshakes", "TLS handshakes that were finished", |s| s.reactor.tls_handshakes),
    ("tls_handshake_failures", "TLS handshakes that were not", |s| {
        s.reactor.tls_handshake_failures
    }),
    ("panics", "Connections closed because of a bug", |s| s.reactor.panics),
];

/// What the reactor of one shard counts; the rest is core's [`Counters`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct ReactorCounters {
    /// Open sockets, HTTP and WebSocket.
    pub(crate) sockets: u64,
    /// Sockets accepted since the start.
    pub(crate) accepted: u64,
    /// Accepts that failed since the start, mostly for want of descriptors.
    pub(crate) accept_failures: u64,
    /// Reads of clients' sockets since the start.
    pub(crate) reads: u64,
    /// Writes to clients' sockets since the start.
    pub(crate) writes: u64,
    /// Entries into the ring since the start.
    pub(crate) waits: u64,
    /// TLS handshakes that were finished since the start.
    pub(crate) tls_handshakes: u64,
    /// TLS handshakes that were begun since the start, and will not be finished.
    pub(crate) tls_handshake_failures: u64,
    /// Panics that were caught since the start; each closed one connection.
    pub(crate) panics: u64,
}

/// One shard's counters at some moment.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Snapshot {
    /// What core counted.
    pub(crate) core: Counters,
    /// What the reactor counted.
    pub(crate) reactor: ReactorCounters,
    /// How long its turns took.
    pub(crate) turns: TurnTimes,
}

/// The last snapshot of every shard.
#[derive(Debug)]
pub(crate) struct Metrics {
    /// A lock per shard, taken a few times a second and never by two shards.
    shards: Vec<Mutex<Snapshot>>,
}

impl Metrics {
    /// For this many shards.
    pub(crate) fn new(shards: usize) -> Self {
        Self { shards: (0..shards).map(|_| Mutex::default()).collect() }
    }

    /// Replaces the snapshot of a shard.
    pub(crate) fn publish(&self, shard: usize, snapshot: &Snapshot) {
        if let Some(slot) = self.shards.get(shard) {
            *slot.lock().unwrap_or_else(PoisonError::into_inner) = *snapshot;
        }
    }

    /// The sums over all shards, as OpenMetrics text.
    ///
    /// # Errors
    ///
    /// The text cannot be formatted, which does not happen with a `String`.
    pub(crate) fn encode(&self) -> Result<String, fmt::Error> {
        let lock = |slot: &Mutex<Snapshot>| *slot.lock().unwrap_or_else(PoisonError::into_inner);
        let snapshots: Vec<Snapshot> = self.shards.iter().map(lock).collect();
        let sum = |value: fn(&Snapshot) -> u64| snapshots.iter().map(value).sum::<u64>();

        let mut page = Page { registry: Registry::with_prefix("fanwire") };
        page.gauge("shards", "Shards of this node", snapshots.len() as u64);
        for (name, help, value) in GAUGES {
            page.gauge(name, help, sum(*value));
        }
        for (name, help, value) in COUNTERS {
            page.counter(name, help, sum(*value));
        }
        let turns = snapshots.iter().map(|snapshot| snapshot.turns).collect();
        page.registry.register_collector(Box::new(Turns(turns)));

        let mut text = String::new();
        encode(&mut text, &page.registry)?;
        Ok(text)
    }
}

/// The turns of each shard.
#[derive(Debug)]
struct Turns(Vec<TurnTimes>);

impl Collector for Turns {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        const HELP: &str = "Time from a shard's waking to its next wait; all that it serves waits";
        let unit = Some(&Unit::Seconds);
        let mut family =
            encoder.encode_descriptor("turn_time", HELP, unit, MetricType::Histogram)?;
        for (shard, times) in self.0.iter().enumerate() {
            let labels = [("shard", shard.to_string())];
            OneShard(times).encode(family.encode_family(&labels)?)?;
        }
        Ok(())
    }
}

struct OneShard<'a>(&'a TurnTimes);

impl EncodeMetric for OneShard<'_> {
    fn encode(&self, mut encoder: MetricEncoder<'_>) -> Result<(), fmt::Error> {
        let TurnTimes { counts, total_ns } = self.0;
        let bounds = BOUNDS_US.iter().map(|bound| *bound as f64 / 1e6).chain([f64::INFINITY]);
        let buckets: Vec<(f64, u64)> = bounds.zip(counts.iter().copied()).collect();
        let count = counts.iter().sum();
        encoder.encode_histogram::<NoLabelSet>(*total_ns as f64 / 1e9, count, &buckets, None)
    }

    fn metric_type(&self) -> MetricType {
        MetricType::Histogram
    }
}

struct Page {
    registry: Registry,
}

impl Page {
    fn gauge(&mut self, name: &str, help: &str, value: u64) {
        let gauge: Gauge = Gauge::default();
        gauge.set(i64::try_from(value).unwrap_or(i64::MAX));
        self.registry.register(name, help, gauge);
    }

    fn counter(&mut self, name: &str, help: &str, value: u64) {
        let counter: Counter = Counter::default();
        counter.inc_by(value);
        self.registry.register(name, help, counter);
    }
}

#[cfg(test)]
mod tests {
    use super::{Metrics, Snapshot};

    #[test]
    fn a_scrape_adds_up_the_shards() {
        let metrics = Metrics::new(2);
        for shard in 0..2 {
            let mut snapshot = Snapshot::default();
            snapshot.core.connections = 3;
            snapshot.reactor.accepted = 5;
            metrics.publish(shard, &snapshot);
        }
        let text = metrics.encode().unwrap();
        assert!(text.contains("\nfanwire_connections 6\n"), "{text}");
        assert!(text.contains("\nfanwire_sockets_accepted_total 10\n"), "{text}");
    }

    #[test]
    fn turns_are_told_for_each_shard() {
        let metrics = Metrics::new(2);
        let mut snapshot = Snapshot::default();
        for micros in [70, 80, 3_000, 1_000_000] {
            snapshot.turns.add(std::time::Duration::from_micros(micros));
        }
        metrics.publish(1, &snapshot);
        let text = metrics.encode().unwrap();
        for line in [
            "fanwire_turn_time_seconds_count{shard=\"0\"} 0",
            "fanwire_turn_time_seconds_sum{shard=\"1\"} 1.00315",
            "fanwire_turn_time_seconds_bucket{le=\"0.0001\",shard=\"1\"} 2",
            "fanwire_turn_time_seconds_bucket{le=\"0.005\",shard=\"1\"} 3",
            "fanwire_turn_time_seconds_bucket{le=\"+Inf\",shard=\"1\"} 4",
        ] {
            assert!(text.contains(&format!("\n{line}\n")), "{line} is not in\n{text}");
        }
    }
}
