//! What the subscribers of one process have seen so far.

use std::collections::BTreeMap;

use crate::client::control::Totals;
use crate::error::{BenchError, ClientError};
use crate::histogram::TimeHistogram;
use crate::payload::Stamp;
use crate::sequence::{Arrival, SequenceWindow};

/// Counters and latencies of one process.
#[derive(Debug)]
pub(crate) struct Tally {
    run: u32,
    measure_from_ns: u64,
    received: u64,
    duplicated: u64,
    out_of_order: u64,
    misrouted: u64,
    pings: u64,
    disconnected: BTreeMap<String, u64>,
    latency: TimeHistogram,
}

impl Tally {
    /// Nothing seen. Latencies are not recorded before [`Tally::measure_from`].
    ///
    /// # Errors
    /// `Histogram` when its bounds are impossible, which they are not.
    pub(crate) fn new(run: u32) -> Result<Self, BenchError> {
        Ok(Self {
            run,
            measure_from_ns: u64::MAX,
            received: 0,
            duplicated: 0,
            out_of_order: 0,
            misrouted: 0,
            pings: 0,
            disconnected: BTreeMap::new(),
            latency: TimeHistogram::new()?,
        })
    }

    /// Records latencies of publications meant to be sent at `from_ns` or later.
    pub(crate) fn measure_from(&mut self, from_ns: u64) {
        self.measure_from_ns = from_ns;
    }

    /// A message arrived at `now_ns` on a connection that is subscribed to `topic` and has seen
    /// `window`.
    pub(crate) fn delivery(
        &mut self,
        stamp: Stamp,
        topic: u32,
        window: &mut SequenceWindow,
        now_ns: u64,
    ) {
        if stamp.run != self.run {
            return;
        }
        if stamp.topic != topic {
            self.misrouted += 1;
            return;
        }
        match window.observe(stamp.sequence) {
            Arrival::InOrder => {}
            Arrival::OutOfOrder => self.out_of_order += 1,
            Arrival::Duplicate => {
                self.duplicated += 1;
                return;
            }
        }
        self.received += 1;
        if stamp.intended_ns >= self.measure_from_ns {
            self.latency.record(now_ns.saturating_sub(stamp.intended_ns));
        }
    }

    /// A protocol ping arrived.
    pub(crate) fn ping(&mut self) {
        self.pings += 1;
    }

    /// A subscribed connection is gone.
    pub(crate) fn disconnected(&mut self, error: &ClientError) {
        *self.disconnected.entry(error.to_string()).or_default() += 1;
    }

    /// Deliveries so far, without repetitions.
    pub(crate) fn received(&self) -> u64 {
        self.received
    }

    /// The result of this process.
    pub(crate) fn totals(&self) -> Totals {
        Totals {
            received: self.received,
            duplicated: self.duplicated,
            out_of_order: self.out_of_order,
            misrouted: self.misrouted,
            pings: self.pings,
            disconnected: self.disconnected.clone(),
            latency: self.latency.to_portable(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deliveries_are_counted_by_what_they_are() {
        let mut tally = Tally::new(1).unwrap();
        tally.measure_from(100);
        let mut window = SequenceWindow::default();
        let mut deliver = |run, topic, sequence, intended_ns| {
            let stamp = Stamp { run, topic, sequence, intended_ns };
            tally.delivery(stamp, 5, &mut window, 1_000);
        };
        deliver(1, 5, 0, 99); // before measuring starts
        deliver(1, 5, 2, 100);
        deliver(1, 5, 1, 101); // late
        deliver(1, 5, 1, 101); // repeated
        deliver(1, 6, 3, 102); // another topic
        deliver(2, 5, 3, 103); // another run
        let totals = tally.totals();
        assert_eq!((totals.received, totals.out_of_order, totals.duplicated), (3, 1, 1));
        assert_eq!(totals.misrouted, 1);
        let mut latency = TimeHistogram::new().unwrap();
        latency.merge(&totals.latency);
        assert_eq!(latency.percentiles().count, 2);
    }
}
