//! A timer wheel: about one pending entry for each that has a timer, coarse on purpose, so that a
//! mostly idle shard wakes rarely.

use crate::time::Time;

/// Milliseconds per slot.
const TICK_MS: u64 = 32;

/// Slots; what lies further ahead than they reach (32 s) goes round again.
const SLOTS: usize = 1024;

/// Timers of the connections, or topics, of one shard. An entry says whose timer it is and the time
/// for which it was armed.
#[derive(Debug)]
pub(super) struct Timers<K> {
    slots: Vec<Vec<(K, Time)>>,
    /// The tick that comes next.
    tick: u64,
    /// No entry fires before this tick; `None` = there are none.
    next: Option<u64>,
}

impl<K: Copy> Timers<K> {
    pub(super) fn new(now: Time) -> Self {
        Self {
            slots: (0..SLOTS).map(|_| Vec::new()).collect(),
            tick: now.as_millis() / TICK_MS,
            next: None,
        }
    }

    /// Arms a timer. It fires at `at` or up to a tick later.
    pub(super) fn insert(&mut self, whose: K, at: Time) {
        let horizon = self.tick + SLOTS as u64 - 1;
        let tick = at.as_millis().div_ceil(TICK_MS).clamp(self.tick, horizon);
        if let Some(slot) = self.slots.get_mut(slot_of(tick)) {
            if slot.len() == slot.capacity() {
                // Twice as much would be empty half of the time, in every slot.
                slot.reserve_exact((slot.len() / 4).max(4));
            }
            slot.push((whose, at));
            self.next = Some(self.next.map_or(tick, |next| next.min(tick)));
        }
    }

    /// When [`Timers::expire`] has something to do.
    pub(super) fn next(&self) -> Option<Time> {
        self.next.map(|tick| Time::from_millis(tick * TICK_MS))
    }

    /// Moves the entries that are due to `due`, and those that went round to their new places, if
    /// `counts` says that they still count. Whatever is armed anew leaves an entry behind that does
    /// not: kept until its time, such entries would fill the memory.
    pub(super) fn expire(
        &mut self,
        now: Time,
        due: &mut Vec<(K, Time)>,
        counts: impl Fn(K, Time) -> bool,
    ) {
        let last = now.as_millis() / TICK_MS;
        while let Some(next) = self.next.filter(|next| *next <= last) {
            self.tick = next + 1;
            let entries = self.slots.get_mut(slot_of(next)).map(std::mem::take).unwrap_or_default();
            self.next = self.occupied();
            for (whose, at) in entries {
                if at <= now {
                    due.push((whose, at));
                } else if counts(whose, at) {
                    self.insert(whose, at);
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
    use crate::ids::ConnectionId;

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
            timers.expire(now, &mut due, |_, _| true);
            for (_, at) in due {
                assert!(at <= now && now.as_millis() <= at.as_millis() + TICK_MS + 7);
                fired.push(at.as_millis());
            }
        }
        assert_eq!(fired, times);
        assert_eq!(timers.next(), None);
    }

    #[test]
    fn what_counts_no_more_is_gone_after_one_round() {
        let mut ids = SlotMap::<ConnectionId, ()>::with_key();
        let mut timers = Timers::new(Time::ZERO);
        let (kept, at) = (ids.insert(()), Time::from_millis(300_000_000));
        for _ in 0..1000 {
            timers.insert(ids.insert(()), at);
        }
        timers.insert(kept, at);
        let mut due = Vec::new();
        for now in (0..=40_000).step_by(1000).map(Time::from_millis) {
            timers.expire(now, &mut due, |whose, _| whose == kept);
        }
        assert_eq!(timers.slots.iter().map(Vec::len).sum::<usize>(), 1);
        timers.expire(at, &mut due, |whose, _| whose == kept);
        assert_eq!(due, [(kept, at)]);
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
            timers.expire(now, &mut due, |_, _| true);
            now = timers.next().unwrap_or(now);
        }
        assert_eq!(due[0].1, Time::from_millis(70_000));
    }
}
