//! How a shard waits. Hot, it sleeps up to 1.5 ms at a time in its own ring: one system call per
//! turn. After a few such waits without an event it parks: glommio's ring reads an eventfd that its
//! own ring counts completions in, so that an idle shard costs nothing at all.

use std::io;
use std::time::Duration;

use fanwire_core::Time;

use super::Reactor;
use super::drain::Stage;

/// Longest wait of a turn while hot.
const HOT_WAIT: Duration = Duration::from_micros(1500);
/// Turns without an event before the thread parks: a few milliseconds.
const QUIET_TURNS_BEFORE_PARK: u32 = 3;
/// Timers of connections are seconds long, and many thousand of them spread over all
/// milliseconds. Waking on this grid serves a crowd of them at once; a multiple of core's own tick.
const WAKE_GRID_MS: u64 = 128;

impl Reactor {
    /// Waits for an event, unless something is left to do.
    pub(super) fn wait(&mut self) -> io::Result<()> {
        let timeout = if self.has_unfinished() || self.ring.has_work() {
            Duration::ZERO
        } else {
            self.doorbell.fall_asleep();
            if self.has_mail() { Duration::ZERO } else { self.hot_wait() }
        };
        let result = self.ring.wait(timeout);
        self.doorbell.wake_up();
        result
    }

    /// Whether the shard has been idle long enough to leave its own ring.
    pub(super) fn may_park(&self) -> bool {
        self.quiet_turns >= QUIET_TURNS_BEFORE_PARK
            && self.stage == Stage::Running
            && !self.has_unfinished()
            // Its target rings no bell when it has made room, so it must be looked at.
            && !self.lanes.any_full()
    }

    /// Sleeps in glommio's ring until its own has a completion: a socket, the doorbell, or the
    /// timer. The timer is an entry of the own ring because then one read is all that is awaited;
    /// glommio leaks a task that is cancelled.
    pub(super) async fn park(&mut self) -> io::Result<()> {
        self.publish_counters();
        self.ring.watch(&self.watch)?;
        self.doorbell.fall_asleep();
        if let Some(at) = self.next_wake() {
            self.ring.wake_at(self.now, at);
        }
        self.ring.wait(Duration::ZERO)?;
        // Whatever happened before the watch began is seen here; what happens after, it counts.
        if !self.ring.has_work() && !self.has_mail() {
            let read = self.watch.read_at(0, size_of::<u64>()).await;
            read.map_err(|error| io::Error::other(error.to_string()))?;
        }
        self.doorbell.wake_up();
        self.ring.unwatch()
    }

    fn has_unfinished(&self) -> bool {
        self.outputs_left || !self.again.is_empty()
    }

    /// What another thread may have left just before this one fell asleep.
    fn has_mail(&self) -> bool {
        self.lanes.any_mail() || self.has_orders()
    }

    fn hot_wait(&self) -> Duration {
        self.next_wake().map_or(HOT_WAIT, |at| at.since(self.now).min(HOT_WAIT))
    }

    /// When the next timer is due; `None` = there is none.
    fn next_wake(&self) -> Option<Time> {
        let coarse = [self.shard.next_timeout(), self.sockets.next_deadline()];
        let coarse = coarse.into_iter().flatten().min().map(on_grid);
        [coarse, self.doors.retry_at()].into_iter().flatten().min()
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
