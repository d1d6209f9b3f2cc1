//! One clock for all processes of a run: CLOCK_MONOTONIC, which they share.

use std::time::Duration;

use nix::time::{ClockId, clock_gettime};

/// Nanoseconds in a second.
pub(crate) const SECOND_NS: u64 = 1_000_000_000;

/// CLOCK_MONOTONIC in nanoseconds; comparable between processes of one machine.
pub(crate) fn now_ns() -> u64 {
    // The kernel always has this clock; 0 would show up as absurd latencies rather than pass.
    clock_gettime(ClockId::CLOCK_MONOTONIC).map_or(0, |time| {
        let seconds = u64::try_from(time.tv_sec()).unwrap_or(0);
        let nanoseconds = u64::try_from(time.tv_nsec()).unwrap_or(0);
        seconds * SECOND_NS + nanoseconds
    })
}

/// Sleeps until the clock shows `deadline_ns`, or returns at once when that has passed.
pub(crate) fn sleep_until(deadline_ns: u64) {
    let wait_ns = deadline_ns.saturating_sub(now_ns());
    if wait_ns > 0 {
        std::thread::sleep(Duration::from_nanos(wait_ns));
    }
}

/// Seconds, as the command line gives them, in nanoseconds.
pub(crate) fn seconds_to_ns(seconds: f64) -> u64 {
    Duration::try_from_secs_f64(seconds)
        .ok()
        .and_then(|duration| u64::try_from(duration.as_nanos()).ok())
        .unwrap_or(0)
}
