//! Per subscription and publisher: has this publication been seen, and did it come in its place?

/// How many places back a late publication can still be told from a repeated one.
const WINDOW: u64 = 64;

/// What the arrival of one publication means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Arrival {
    /// Later in the sequence than all before; a gap shows in the totals.
    InOrder,
    /// New, but one that follows it was here first.
    OutOfOrder,
    /// Seen before.
    Duplicate,
}

/// The sequence numbers seen so far: the next one, and a bit for each of the 64 before it.
///
/// A publication that comes more than 64 places late counts as out of order; whether it was a
/// repetition can no longer be known, and the run is faulty either way.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct SequenceWindow {
    next: u64,
    seen: u64,
}

impl SequenceWindow {
    /// Takes note of `sequence` and says what its arrival means.
    pub(crate) fn observe(&mut self, sequence: u64) -> Arrival {
        if let Some(ahead) = sequence.checked_sub(self.next) {
            self.next = sequence + 1;
            self.seen = if ahead + 1 < WINDOW { self.seen << (ahead + 1) } else { 0 };
            self.seen |= 1;
            return Arrival::InOrder;
        }
        let behind = self.next - 1 - sequence;
        if behind >= WINDOW {
            return Arrival::OutOfOrder;
        }
        let bit = 1_u64 << behind;
        if self.seen & bit != 0 {
            return Arrival::Duplicate;
        }
        self.seen |= bit;
        Arrival::OutOfOrder
    }
}

/// The windows of one subscription: one for each publisher that was heard on it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Windows {
    /// Of the publisher heard first. Most subscriptions hear one only, and there are many.
    first: Option<(u32, SequenceWindow)>,
    /// Of the others, by publisher.
    others: Vec<(u32, SequenceWindow)>,
}

impl Windows {
    /// Takes note of publication `sequence` of `publisher` and says what its arrival means.
    pub(crate) fn observe(&mut self, publisher: u32, sequence: u64) -> Arrival {
        let (heard, window) = self.first.get_or_insert((publisher, SequenceWindow::default()));
        if *heard == publisher {
            return window.observe(sequence);
        }
        let place = match self.others.binary_search_by_key(&publisher, |other| other.0) {
            Ok(place) => place,
            Err(place) => {
                self.others.insert(place, (publisher, SequenceWindow::default()));
                place
            }
        };
        let window = self.others.get_mut(place);
        window.map_or(Arrival::InOrder, |(_, window)| window.observe(sequence))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_publisher_has_its_own_sequence() {
        use Arrival::{Duplicate, InOrder, OutOfOrder};
        let mut windows = Windows::default();
        let heard = [(7, 0), (3, 0), (9, 0), (7, 1), (3, 1), (3, 1), (9, 2), (9, 1), (7, 1)];
        assert_eq!(
            heard.map(|(publisher, sequence)| windows.observe(publisher, sequence)),
            [
                InOrder, InOrder, InOrder, InOrder, InOrder, Duplicate, InOrder, OutOfOrder,
                Duplicate
            ]
        );
    }

    fn arrivals(sequence: &[u64]) -> Vec<Arrival> {
        let mut window = SequenceWindow::default();
        sequence.iter().map(|&number| window.observe(number)).collect()
    }

    #[test]
    fn a_sequence_with_gaps_is_in_order() {
        assert!(arrivals(&[0, 1, 2, 9, 200, 201]).iter().all(|&a| a == Arrival::InOrder));
    }

    #[test]
    fn a_late_publication_is_out_of_order_once_and_then_a_duplicate() {
        use Arrival::{Duplicate, InOrder, OutOfOrder};
        assert_eq!(
            arrivals(&[0, 2, 1, 1, 2, 0, 3]),
            [InOrder, InOrder, OutOfOrder, Duplicate, Duplicate, Duplicate, InOrder]
        );
    }

    #[test]
    fn the_window_reaches_back_exactly_its_width() {
        assert_eq!(arrivals(&[0, 63, 0])[2], Arrival::Duplicate);
        assert_eq!(arrivals(&[1, 64, 1])[2], Arrival::Duplicate);
        assert_eq!(arrivals(&[0, 64, 0])[2], Arrival::OutOfOrder);
        assert_eq!(arrivals(&[0, 62, 63, 1])[3], Arrival::OutOfOrder);
    }
}
