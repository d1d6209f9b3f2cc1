//! How long the turns of a shard take. All that a shard serves waits while a turn goes on, so this
//! is what one hot topic can cost the others.

use std::time::Duration;

/// Upper bounds of the histogram's buckets, in microseconds; a last bucket has none.
pub(crate) const BOUNDS_US: [u64; 12] =
    [50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000];

/// A histogram of turns, counted by one shard alone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct TurnTimes {
    /// Turns by the first bound that they do not exceed.
    pub(crate) counts: [u64; BOUNDS_US.len() + 1],
    /// Of all turns together, in nanoseconds.
    pub(crate) total_ns: u64,
}

impl TurnTimes {
    /// One more turn.
    pub(crate) fn add(&mut self, time: Duration) {
        let time_us = u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        let bucket = BOUNDS_US.iter().position(|bound| time_us <= *bound);
        if let Some(count) = self.counts.get_mut(bucket.unwrap_or(BOUNDS_US.len())) {
            *count += 1;
        }
        self.total_ns += u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
    }
}

#[cfg(test)]
mod tests {
    use super::{BOUNDS_US, Duration, TurnTimes};

    #[test]
    fn a_turn_counts_in_the_first_bucket_that_holds_it() {
        let mut times = TurnTimes::default();
        for micros in [0, 50, 51, 250_000, 250_001] {
            times.add(Duration::from_micros(micros));
        }
        let mut counts = [0; BOUNDS_US.len() + 1];
        (counts[0], counts[1], counts[11], counts[12]) = (2, 1, 1, 1);
        assert_eq!(times.counts, counts);
        assert_eq!(times.total_ns, 500_102_000);
    }
}
