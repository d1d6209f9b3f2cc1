//! Time as an argument. The shell reads one monotonic clock per turn and passes it in; core never
//! reads a clock, so a test may run a day in a millisecond.

use std::fmt;
use std::num::NonZeroU64;
use std::time::Duration;

/// Milliseconds since the node started, monotonic. One more is stored, so that an `Option` of it,
/// of which each connection has several, is no larger.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Time(NonZeroU64);

impl Time {
    /// The node's start.
    pub const ZERO: Self = Self(NonZeroU64::MIN);

    /// The time `millis` milliseconds after the node's start.
    pub const fn from_millis(millis: u64) -> Self {
        Self(NonZeroU64::MIN.saturating_add(millis))
    }

    /// Milliseconds since the node's start.
    pub const fn as_millis(self) -> u64 {
        self.0.get() - 1
    }

    /// The time `duration` later, in whole milliseconds; the far future where it would overflow.
    pub fn after(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)))
    }

    /// How long ago `earlier` was; zero if it is in the future.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(self.0.get().saturating_sub(earlier.0.get()))
    }
}

impl Default for Time {
    fn default() -> Self {
        Self::ZERO
    }
}

impl fmt::Debug for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}ms", self.as_millis())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_the_milliseconds_they_were_made_of_up_to_the_far_future() {
        assert_eq!((Time::ZERO, Time::ZERO.as_millis()), (Time::default(), 0));
        assert_eq!(Time::from_millis(7).after(Duration::from_millis(5)), Time::from_millis(12));
        let end = Time::from_millis(7).after(Duration::MAX);
        assert!(end > Time::from_millis(u64::MAX - 2) && end == Time::from_millis(u64::MAX));
        assert_eq!(Time::from_millis(7).since(Time::from_millis(9)), Duration::ZERO);
        assert_eq!(size_of::<Option<Time>>(), size_of::<Time>());
    }
}
