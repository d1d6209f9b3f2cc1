//! How a shard waits: always in its own ring, as long as nothing is to be done. A socket, the
//! doorbell or the next timer ends the wait; an idle shard costs nothing.
//!
//! It never gives the thread back to glommio's executor. That one goes to sleep with runnable tasks
//! when its preemption timer fires before it has run any (see `docs/adr/0001`).

use std::io;
use std::time::Duration;

use fanwire_core::Time;

use super::Reactor;
use super::drain::Stage;

/// Longest wait while a lane is full or the shard is coming to its end: no bell is rung when a
/// target has made room, or when the last thing in hand is done.
const WATCHFUL_WAIT: Duration = Duration::from_micros(1500);
/// Longest wait of all; as good as for ever.
const LONGEST_WAIT: Duration = Duration::from_secs(3600);
/// Events that a turn takes up before it asks the kernel for no more.
const EVENTS_PER_TURN: usize = 1000;
/// Timers of connections are seconds long, and many thousand of them spread over all
/// milliseconds. Waking on this grid serves a crowd of them at once; a multiple of core's own tick.
const WAKE_GRID_MS: u64 = 128;

impl Reactor {
    /// Waits for an event, unless something is left to do.
    pub(super) fn wait(&mut self) -> io::Result<()> {
        if self.has_unfinished() || self.ring.has_work() {
            self.enter_ring(Duration::ZERO)
        } else {
            self.sleep()
        }
    }

    fn sleep(&mut self) -> io::Result<()> {
        self.doorbell.fall_asleep();
        let timeout = if self.has_mail() { Duration::ZERO } else { self.until_wake() };
        if !timeout.is_zero() {
            self.publish_counters();
        }
        let result = self.enter_ring(timeout);
        self.doorbell.wake_up();
        result
    }

    /// Brings what else has happened. One call brings about 20 completions, measured on Linux
    /// 6.18. A crowd of ready sockets is one turn's work: who stands behind it would wait for a
    /// turn, with all its writes, per 20 of it.
    pub(super) fn bring_events(&mut self) -> io::Result<()> {
        let mut count = self.ring.event_count();
        while self.ring.has_put_off() && count < EVENTS_PER_TURN {
            self.enter_ring(Duration::ZERO)?;
            let before = std::mem::replace(&mut count, self.ring.event_count());
            if count == before {
                break;
            }
        }
        Ok(())
    }

    fn enter_ring(&mut self, timeout: Duration) -> io::Result<()> {
        self.counters.waits += 1;
        self.ring.wait(timeout)
    }

    fn has_unfinished(&self) -> bool {
        self.outputs_left || !self.again.is_empty() || self.tls.has_waiting()
    }

    /// What another thread may have left just before this one fell asleep.
    fn has_mail(&self) -> bool {
        self.lanes.any_mail() || self.has_orders()
    }

    /// Time until something is due without an event.
    fn until_wake(&self) -> Duration {
        let coarse = [self.shard.next_timeout(), self.sockets.next_deadline()];
        let coarse = coarse.into_iter().flatten().min().map(on_grid);
        let next = [coarse, self.doors.retry_at()].into_iter().flatten().min();
        let watchful = self.lanes.any_full() || self.stage != Stage::Running;
        let longest = if watchful { WATCHFUL_WAIT } else { LONGEST_WAIT };
        next.map_or(longest, |at| at.since(self.now).min(longest))
    }
}

fn on_grid(time: Time) -> Time {
    Time::from_millis(time.as_millis().div_ceil(WAKE_GRID_MS).saturating_mul(WAKE_GRID_MS))
}

#[cfg(test)]
mod tests {
    use super::{Time, on_grid};

    #[test]
    fn the_grid_never_wakes_too_early() {
        for (time, expected) in [(0, 0), (1, 128), (128, 128), (129, 256)] {
            assert_eq!(on_grid(Time::from_millis(time)), Time::from_millis(expected));
        }
    }
}
