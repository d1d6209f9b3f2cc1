//! The open-loop schedule: when each publication is due, and on which topic.

use crate::clock::SECOND_NS;

/// Publications at a fixed rate, dealt to the topics in turn. Publication k is due at
/// start + k / rate, whatever happened to those before it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Schedule {
    rate: f64,
    topics: u32,
    count: u64,
}

impl Schedule {
    /// `rate` publications per second over `topics` topics for `seconds`.
    pub(crate) fn new(rate: f64, topics: u32, seconds: f64) -> Self {
        // Those due strictly before the end: k < rate × seconds.
        Self { rate, topics, count: (rate * seconds).ceil() as u64 }
    }

    /// Number of publications.
    pub(crate) fn count(&self) -> u64 {
        self.count
    }

    /// When publication `publication` is due if the first is due at `start_ns`, in nanoseconds.
    pub(crate) fn due_ns(&self, start_ns: u64, publication: u64) -> u64 {
        start_ns + (publication as f64 * SECOND_NS as f64 / self.rate) as u64
    }

    /// The topic of publication `publication`, and its place among those of that topic.
    pub(crate) fn place(&self, publication: u64) -> (u32, u64) {
        let topics = u64::from(self.topics);
        // The remainder of a division by a u32 fits one.
        let topic = u32::try_from(publication % topics).unwrap_or(0);
        (topic, publication / topics)
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
