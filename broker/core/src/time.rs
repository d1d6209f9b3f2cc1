//! Time as an argument. The shell reads one monotonic clock per turn and passes it in; core never
//! reads a clock, so a test may run a day in a millisecond.

use std::time::Duration;

/// Milliseconds since the node started, monotonic.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Time(u64);

impl Time {
    /// The node's start.
    pub const ZERO: Self = Self(0);

    /// The time `millis` milliseconds after the node's start.
    pub const fn from_millis(millis: u64) -> Self {
        Self(millis)
    }

    /// Milliseconds since the node's start.
    pub const fn as_millis(self) -> u64 {
        self.0
    }

    /// The time `duration` later, in whole milliseconds; the far future where it would overflow.
    pub fn after(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)))
    }

    /// How long ago `earlier` was; zero if it is in the future.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0))
    }
}
