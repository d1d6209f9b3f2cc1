//! The node's counters for Prometheus. Each shard leaves a copy of its own now and then; a scrape
//! adds them up. No counter is shared between shards.

use std::fmt;
use std::sync::{Mutex, PoisonError};

use fanwire_core::Counters;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

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
    pub(crate) fn publish(&self, shard: usize, snapshot: Snapshot) {
        if let Some(slot) = self.shards.get(shard) {
            *slot.lock().unwrap_or_else(PoisonError::into_inner) = snapshot;
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

        let mut text = String::new();
        encode(&mut text, &page.registry)?;
        Ok(text)
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
            metrics.publish(shard, snapshot);
        }
        let text = metrics.encode().unwrap();
        assert!(text.contains("\nfanwire_connections 6\n"), "{text}");
        assert!(text.contains("\nfanwire_sockets_accepted_total 10\n"), "{text}");
    }
}
