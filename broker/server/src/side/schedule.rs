//! When to fetch something again: after an interval, sooner when somebody asks for it, but never
//! twice within a gap, and later and later while it fails. Time is an argument.

use std::time::{Duration, Instant};

/// The times between two fetches.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pace {
    /// After a fetch that succeeded.
    pub(crate) refresh: Duration,
    /// At least, when somebody asks.
    pub(crate) demand_gap: Duration,
    /// After the first failure; twice as long after each further one.
    pub(crate) retry_min: Duration,
    /// After many failures; never longer than `refresh`.
    pub(crate) retry_max: Duration,
}

/// When the next fetch is due.
#[derive(Debug)]
pub(super) struct Schedule {
    pace: Pace,
    last: Option<Instant>,
    next: Instant,
    failures: u32,
}

impl Schedule {
    /// The first fetch is due at once.
    pub(super) fn new(pace: Pace, now: Instant) -> Self {
        Self { pace, last: None, next: now, failures: 0 }
    }

    /// When the next fetch is due.
    pub(super) fn next(&self) -> Instant {
        self.next
    }

    /// Somebody needs it.
    pub(super) fn demanded(&mut self, now: Instant) {
        let allowed = self.last.map_or(now, |last| last + self.pace.demand_gap);
        self.next = self.next.min(allowed.max(now));
    }

    /// A fetch has ended well.
    pub(super) fn succeeded(&mut self, now: Instant) {
        self.failures = 0;
        self.last = Some(now);
        self.next = now + self.pace.refresh;
    }

    /// A fetch has failed.
    pub(super) fn failed(&mut self, now: Instant) {
        let longer = 2_u32.saturating_pow(self.failures);
        self.failures += 1;
        let pause = self.pace.retry_min.saturating_mul(longer);
        self.last = Some(now);
        self.next = now + pause.min(self.pace.retry_max).min(self.pace.refresh);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PACE: Pace = Pace {
        refresh: Duration::from_mins(10),
        demand_gap: Duration::from_secs(10),
        retry_min: Duration::from_secs(1),
        retry_max: Duration::from_mins(1),
    };

    fn after_success() -> (Schedule, Instant) {
        let now = Instant::now();
        let mut schedule = Schedule::new(PACE, now);
        assert_eq!(schedule.next(), now);
        schedule.succeeded(now);
        (schedule, now)
    }

    #[test]
    fn a_success_is_followed_by_the_interval() {
        let (schedule, now) = after_success();
        assert_eq!(schedule.next(), now + PACE.refresh);
    }

    #[test]
    fn a_demand_is_met_at_once_but_not_twice_within_the_gap() {
        let (mut schedule, now) = after_success();
        schedule.demanded(now + Duration::from_secs(3));
        assert_eq!(schedule.next(), now + PACE.demand_gap);
        schedule.succeeded(now + PACE.demand_gap);
        schedule.demanded(now + Duration::from_secs(60));
        schedule.demanded(now + Duration::from_secs(61));
        assert_eq!(schedule.next(), now + Duration::from_secs(60));
    }

    #[test]
    fn a_demand_never_puts_a_fetch_off() {
        let (mut schedule, now) = after_success();
        schedule.failed(now);
        schedule.demanded(now);
        assert_eq!(schedule.next(), now + PACE.retry_min);
    }

    #[test]
    fn failures_are_retried_later_and_later_within_bounds() {
        let (mut schedule, now) = after_success();
        for seconds in [1, 2, 4, 8, 16, 32, 60, 60] {
            schedule.failed(now);
            assert_eq!(schedule.next(), now + Duration::from_secs(seconds));
        }
        (0..100).for_each(|_| schedule.failed(now));
        assert_eq!(schedule.next(), now + PACE.retry_max);
        schedule.succeeded(now);
        schedule.failed(now);
        assert_eq!(schedule.next(), now + PACE.retry_min);
        let refresh = Duration::from_secs(5);
        let mut schedule = Schedule::new(Pace { refresh, ..PACE }, now);
        (0..9).for_each(|_| schedule.failed(now));
        assert_eq!(schedule.next(), now + refresh);
    }
}
