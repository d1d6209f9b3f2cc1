//! Per subscription: has this publication been seen, and did it come in its place?

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

#[cfg(test)]
mod tests {
    use super::*;

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
