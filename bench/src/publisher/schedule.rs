//! The open-loop schedule: when each publication is due, and on which topic.

use serde::{Deserialize, Serialize};

use crate::clock::SECOND_NS;

/// Publications at a fixed rate, dealt to the topics in turn. Publication k is due at
/// start + k / rate, whatever happened to those before it.
#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
pub(crate) struct Schedule {
    rate: f64,
    topics: u32,
    count: u64,
    burst: u64,
}

impl Schedule {
    /// `rate` publications per second over `topics` topics for `seconds`.
    pub(crate) fn new(rate: f64, topics: u32, seconds: f64) -> Self {
        // Those due strictly before the end: k < rate × seconds.
        Self { rate, topics, count: (rate * seconds).ceil() as u64, burst: 1 }
    }

    /// The same rate in groups of `burst` publications that are due at the same moment.
    pub(crate) fn in_bursts(self, burst: u32) -> Self {
        Self { burst: u64::from(burst.max(1)), ..self }
    }

    /// Indices of the topics.
    pub(crate) fn topics(&self) -> std::ops::Range<u32> {
        0..self.topics
    }

    /// Number of publications.
    pub(crate) fn count(&self) -> u64 {
        self.count
    }

    /// When publication `publication` is due if the first is due at `start_ns`, in nanoseconds.
    pub(crate) fn due_ns(&self, start_ns: u64, publication: u64) -> u64 {
        let first = publication - publication % self.burst;
        start_ns + (first as f64 * SECOND_NS as f64 / self.rate) as u64
    }

    /// The topic of publication `publication`, and its place among those of that topic.
    pub(crate) fn place(&self, publication: u64) -> (u32, u64) {
        let topics = u64::from(self.topics);
        // The remainder of a division by a u32 fits one.
        let topic = u32::try_from(publication % topics).unwrap_or(0);
        (topic, publication / topics)
    }

    /// Place of the first publication on `topic` that is due at `from_ns` or later, if the first of
    /// all is due at `start_ns`; it may be behind the end of the schedule.
    pub(crate) fn first_due_from(&self, start_ns: u64, topic: u32, from_ns: u64) -> u64 {
        if self.rate <= 0.0 {
            return 0;
        }
        let (topic, topics) = (u64::from(topic), u64::from(self.topics));
        let is_early = |place: u64| self.due_ns(start_ns, topic + place * topics) < from_ns;
        let seconds = from_ns.saturating_sub(start_ns) as f64 / SECOND_NS as f64;
        let about = (seconds * self.rate) as u64 / topics;
        // Rounding makes it one too many or too few.
        let mut place = about.saturating_sub(2);
        while is_early(place) {
            place += 1;
        }
        place
    }

    /// How many of the first `sent` publications are on `topic`.
    pub(crate) fn sent_to(&self, topic: u32, sent: u64) -> u64 {
        let (turns, rest) = (sent / u64::from(self.topics), sent % u64::from(self.topics));
        turns + u64::from(u64::from(topic) < rest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn due_times_do_not_drift() {
        let schedule = Schedule::new(3.0, 1, 100.0);
        assert_eq!(schedule.count(), 300);
        assert_eq!(schedule.due_ns(7, 0), 7);
        assert_eq!(schedule.due_ns(7, 3), 7 + SECOND_NS);
        assert_eq!(schedule.due_ns(7, 300), 7 + 100 * SECOND_NS);
        let fast = Schedule::new(1e6, 1, 3_600.0);
        assert_eq!(fast.due_ns(0, 3_600_000_000), 3_600 * SECOND_NS);
    }

    #[test]
    fn a_burst_is_due_as_a_whole_and_the_rate_stays() {
        let schedule = Schedule::new(16.0, 1, 2.0).in_bursts(8);
        assert_eq!(schedule.count(), 32);
        let due: Vec<u64> = (0..32).map(|publication| schedule.due_ns(0, publication)).collect();
        assert_eq!(due[..8], [0; 8]);
        assert_eq!(due[8..16], [SECOND_NS / 2; 8]);
        assert_eq!(due[31], 3 * SECOND_NS / 2);
    }

    #[test]
    fn the_first_publication_from_a_moment_on_is_neither_early_nor_the_second() {
        for rate in [0.7, 3.0, 1_000.0, 77_777.0] {
            let schedule = Schedule::new(rate, 3, 60.0);
            let due_ns = |topic, place| schedule.due_ns(5, topic + 3 * place);
            for from_ns in (0..40).map(|step| step * 777_777_777) {
                for topic in 0..3 {
                    let place = schedule.first_due_from(5, topic, from_ns);
                    let topic = u64::from(topic);
                    assert!(due_ns(topic, place) >= from_ns);
                    assert!(place == 0 || due_ns(topic, place - 1) < from_ns, "{rate} {from_ns}");
                }
            }
        }
        assert_eq!(Schedule::new(0.0, 3, 60.0).first_due_from(0, 1, 1), 0);
    }

    #[test]
    fn a_publication_due_at_the_end_is_not_sent() {
        assert_eq!(Schedule::new(5.0, 1, 2.0).count(), 10);
        assert_eq!(Schedule::new(5.0, 1, 2.1).count(), 11);
        assert_eq!(Schedule::new(0.5, 1, 1.0).count(), 1);
        assert_eq!(Schedule::new(0.0, 1, 10.0).count(), 0);
    }

    #[test]
    fn every_topic_gets_its_own_unbroken_sequence() {
        let schedule = Schedule::new(10.0, 3, 1.0);
        let mut next = [0_u64; 3];
        for publication in 0..schedule.count() {
            let (topic, sequence) = schedule.place(publication);
            let expected = &mut next[usize::try_from(topic).unwrap()];
            assert_eq!(sequence, *expected);
            *expected += 1;
        }
        for (topic, count) in next.into_iter().enumerate() {
            assert_eq!(schedule.sent_to(u32::try_from(topic).unwrap(), 10), count);
        }
    }
}
