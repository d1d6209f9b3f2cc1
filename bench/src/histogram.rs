//! Histograms of times in nanoseconds, and their way from one process to another.

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

use crate::error::BenchError;

/// Longest time that is told apart; longer ones count as this one, in nanoseconds.
pub(crate) const TIME_NS_MAX: u64 = 600_000_000_000;
/// Precision: three decimal digits, one part in a thousand.
const DIGITS: u8 = 3;

/// A histogram of times, in nanoseconds.
#[derive(Clone, Debug)]
pub(crate) struct TimeHistogram {
    counts: Histogram<u64>,
}

/// A histogram as pairs of a time in nanoseconds and its count, as it crosses a pipe.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
pub(crate) struct PortableHistogram(Vec<(u64, u64)>);

/// Percentiles of a histogram, in microseconds.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Serialize)]
pub(crate) struct Percentiles {
    /// Times recorded.
    pub(crate) count: u64,
    /// Shortest.
    pub(crate) min_us: f64,
    /// Half are not longer.
    pub(crate) p50_us: f64,
    /// 90 % are not longer.
    pub(crate) p90_us: f64,
    /// 99 % are not longer.
    pub(crate) p99_us: f64,
    /// 99.9 % are not longer.
    pub(crate) p99_9_us: f64,
    /// 99.99 % are not longer.
    pub(crate) p99_99_us: f64,
    /// Longest.
    pub(crate) max_us: f64,
}

impl TimeHistogram {
    /// An empty histogram.
    ///
    /// # Errors
    /// `Histogram` when its bounds are impossible, which they are not.
    pub(crate) fn new() -> Result<Self, BenchError> {
        Ok(Self { counts: Histogram::new_with_bounds(1, TIME_NS_MAX, DIGITS)? })
    }

    /// Counts one time, in nanoseconds.
    pub(crate) fn record(&mut self, time_ns: u64) {
        self.counts.saturating_record(time_ns);
    }

    /// Counts the same time `count` times.
    pub(crate) fn record_n(&mut self, time_ns: u64, count: u64) {
        self.counts.saturating_record_n(time_ns, count);
    }

    /// Adds the counts of another process.
    pub(crate) fn merge(&mut self, other: &PortableHistogram) {
        for &(time_ns, count) in &other.0 {
            self.counts.saturating_record_n(time_ns, count);
        }
    }

    /// The same counts in a form that can be sent; merging it loses nothing.
    pub(crate) fn to_portable(&self) -> PortableHistogram {
        let pairs = self.counts.iter_recorded();
        PortableHistogram(
            pairs.map(|pair| (pair.value_iterated_to(), pair.count_at_value())).collect(),
        )
    }

    /// The counts of all these together.
    ///
    /// # Errors
    /// `Histogram` when its bounds are impossible, which they are not.
    pub(crate) fn merged<'a>(
        parts: impl IntoIterator<Item = &'a PortableHistogram>,
    ) -> Result<Self, BenchError> {
        let mut sum = Self::new()?;
        parts.into_iter().for_each(|part| sum.merge(part));
        Ok(sum)
    }

    /// The time that the fraction `quantile` (0 to 1) of all do not exceed, in microseconds.
    pub(crate) fn quantile_us(&self, quantile: f64) -> f64 {
        to_us(self.counts.value_at_quantile(quantile))
    }

    /// The percentiles that a report shows; all 0 when nothing was recorded.
    pub(crate) fn percentiles(&self) -> Percentiles {
        if self.counts.is_empty() {
            return Percentiles::default();
        }
        let quantile_us = |quantile| self.quantile_us(quantile);
        Percentiles {
            count: self.counts.len(),
            min_us: to_us(self.counts.min()),
            p50_us: quantile_us(0.5),
            p90_us: quantile_us(0.9),
            p99_us: quantile_us(0.99),
            p99_9_us: quantile_us(0.999),
            p99_99_us: quantile_us(0.9999),
            max_us: to_us(self.counts.max()),
        }
    }
}

fn to_us(time_ns: u64) -> f64 {
    time_ns as f64 / 1_000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn merging_parts_over_the_wire_equals_recording_in_one() {
        let mut whole = TimeHistogram::new().unwrap();
        let mut merged = TimeHistogram::new().unwrap();
        for part in 0..3_u64 {
            let mut histogram = TimeHistogram::new().unwrap();
            for step in 0..5_000_u64 {
                let time_ns = (step * step * 977 + part * 31) % 3_000_000_000;
                histogram.record(time_ns);
                whole.record(time_ns);
            }
            let wire = serde_json::to_string(&histogram.to_portable()).unwrap();
            merged.merge(&serde_json::from_str(&wire).unwrap());
        }
        assert_eq!(merged.percentiles(), whole.percentiles());
        assert_eq!(merged.counts, whole.counts);
    }

    #[test]
    fn percentiles_stand_where_they_must() {
        let mut histogram = TimeHistogram::new().unwrap();
        (1..=1_000_u64).for_each(|step| histogram.record(step * 1_000));
        let percentiles = histogram.percentiles();
        assert_eq!(percentiles.count, 1_000);
        assert!((percentiles.p50_us - 500.0).abs() < 1.0);
        assert!((percentiles.p99_us - 990.0).abs() < 1.0);
        assert!((percentiles.max_us - 1_000.0).abs() < 1.0);
    }

    #[test]
    fn an_empty_histogram_has_no_percentiles() {
        assert_eq!(TimeHistogram::new().unwrap().percentiles(), Percentiles::default());
    }
}
