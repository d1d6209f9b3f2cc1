//! A timer wheel: one pending entry per connection, coarse on purpose, so that a mostly idle shard
//! wakes rarely.

use crate::ids::ConnectionId;
use crate::time::Time;

/// Milliseconds per slot.
const TICK_MS: u64 = 32;

/// Slots; what lies further ahead than they reach (32 s) goes round again.
const SLOTS: usize = 1024;

/// An entry: whose timer, and the time for which it was armed.
pub(super) type Entry = (ConnectionId, Time);

/// Timers of the connections of one shard.
#[derive(Debug)]
pub(super) struct Timers {
    slots: Vec<Vec<Entry>>,
    /// The tick that comes next.
    tick: u64,
    /// No entry fires before this tick; `None` = there are none.
    next: Option<u64>,
}

impl Timers {
    pub(super) fn new(now: Time) -> Self {
        Self { slots: vec![Vec::new(); SLOTS], tick: now.as_millis() / TICK_MS, next: None }
    }

    /// Arms a timer. It fires at `at` or up to a tick later.
    pub(super) fn insert(&mut self, connection: ConnectionId, at: Time) {
        let horizon = self.tick + SLOTS as u64 - 1;
        let tick = at.as_millis().div_ceil(TICK_MS).clamp(self.tick, horizon);
        if let Some(slot) = self.slots.get_mut(slot_of(tick)) {
            slot.push((connection, at));
            self.next = Some(self.next.map_or(tick, |next| next.min(tick)));
        }
    }

    /// When [`Timers::expire`] has something to do.
    pub(super) fn next(&self) -> Option<Time> {
        self.next.map(|tick| Time::from_millis(tick * TICK_MS))
    }

    /// Moves the entries that are due to `due`, and those that went round to their new places.
    pub(super) fn expire(&mut self, now: Time, due: &mut Vec<Entry>) {
        let last = now.as_millis() / TICK_MS;
        while let Some(next) = self.next.filter(|next| *next <= last) {
            self.tick = next + 1;
            let entries = self.slots.get_mut(slot_of(next)).map(std::mem::take).unwrap_or_default();
            self.next = self.occupied();
            for (connection, at) in entries {
                if at <= now {
                    due.push((connection, at));
                } else {
                    self.insert(connection, at);
                }
            }
        }
        self.tick = self.tick.max(last + 1);
    }

    /// The first tick with entries, from the current one on.
    fn occupied(&self) -> Option<u64> {
        (self.tick..self.tick + SLOTS as u64)
            .find(|tick| self.slots.get(slot_of(*tick)).is_some_and(|slot| !slot.is_empty()))
    }
}

fn slot_of(tick: u64) -> usize {
    usize::try_from(tick % SLOTS as u64).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use slotmap::SlotMap;

    use super::*;

    #[test]
    fn every_timer_fires_once_and_within_a_tick_of_its_time() {
        let mut ids = SlotMap::<ConnectionId, ()>::with_key();
        let mut timers = Timers::new(Time::ZERO);
        let times = [0, 1, 31, 32, 33, 500, 32_767, 32_768, 40_000, 100_000];
        for at in times {
            timers.insert(ids.insert(()), Time::from_millis(at));
        }
        let mut fired = Vec::new();
        for now in (0..101_000).step_by(7).map(Time::from_millis) {
            let mut due = Vec::new();
            timers.expire(now, &mut due);
            for (_, at) in due {
                assert!(at <= now && now.as_millis() <= at.as_millis() + TICK_MS + 7);
                fired.push(at.as_millis());
            }
        }
        assert_eq!(fired, times);
        assert_eq!(timers.next(), None);
    }

    #[test]
    fn next_is_never_later_than_the_first_timer() {
        let mut ids = SlotMap::<ConnectionId, ()>::with_key();
        let mut timers = Timers::new(Time::from_millis(5_000));
        timers.insert(ids.insert(()), Time::from_millis(70_000));
        let mut now = timers.next().unwrap();
        let mut due = Vec::new();
        while due.is_empty() {
            assert!(now <= Time::from_millis(70_000 + TICK_MS));
            timers.expire(now, &mut due);
            now = timers.next().unwrap_or(now);
        }
        assert_eq!(due[0].1, Time::from_millis(70_000));
    }
}
