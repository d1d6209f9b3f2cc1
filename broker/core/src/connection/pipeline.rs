//! Replies in the order of their commands, although answers come when they come.
//!
//! A command that another shard must answer leaves a gap. Later replies wait behind it; pushes pass
//! it, so that a publication reaches its publisher before the reply that confirms it. Once a reply
//! waits, pushes wait behind it too: the reply may be the one that begins their subscription.

use std::collections::VecDeque;

use super::outbox::Frame;

/// A gap that a reply will fill.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ticket(u32);

/// The gaps of one connection and what waits behind them. Exists only while there is a gap.
#[derive(Debug, Default)]
pub(crate) struct Pipeline {
    entries: VecDeque<Option<Frame>>,
    /// The ticket of the first entry.
    first: u32,
    /// Frames that wait.
    waiting: usize,
    /// Their bytes.
    bytes: usize,
    /// A gap that pushes may not pass.
    barrier: Option<Ticket>,
}

impl Pipeline {
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether pushes have to wait.
    pub(crate) fn holds_frames(&self) -> bool {
        self.waiting > 0 || self.barrier.is_some()
    }

    /// Pushes wait until this gap is filled.
    pub(crate) fn hold_pushes(&mut self, ticket: Ticket) {
        self.barrier = Some(ticket);
    }

    /// Leaves a gap at the end.
    pub(crate) fn reserve(&mut self) -> Ticket {
        let ticket = self.first.wrapping_add(u32::try_from(self.entries.len()).unwrap_or(u32::MAX));
        self.entries.push_back(None);
        Ticket(ticket)
    }

    /// Puts a frame behind the gaps.
    pub(crate) fn push(&mut self, frame: Frame) {
        self.waiting += 1;
        self.bytes += frame.len();
        self.entries.push_back(Some(frame));
    }

    /// Fills a gap.
    pub(crate) fn fill(&mut self, ticket: Ticket, frame: Frame) {
        let index = usize::try_from(ticket.0.wrapping_sub(self.first)).unwrap_or(usize::MAX);
        let entry = self.entries.get_mut(index);
        debug_assert!(matches!(entry, Some(None)), "a ticket is filled once");
        if self.barrier == Some(ticket) {
            self.barrier = None;
        }
        if let Some(entry) = entry {
            self.waiting += 1;
            self.bytes += frame.len();
            *entry = Some(frame);
        }
    }

    /// The next frame that waits for nothing any more.
    pub(crate) fn pop(&mut self) -> Option<Frame> {
        self.entries.front()?.as_ref()?;
        let frame = self.entries.pop_front()??;
        self.first = self.first.wrapping_add(1);
        self.waiting -= 1;
        self.bytes -= frame.len();
        Some(frame)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(byte: u8) -> Frame {
        [byte].as_slice().into()
    }

    fn pop_all(pipeline: &mut Pipeline) -> Vec<u8> {
        std::iter::from_fn(|| pipeline.pop()).map(|frame| frame[0]).collect()
    }

    #[test]
    fn frames_leave_in_order_once_the_gaps_before_them_are_filled() {
        let mut pipeline = Pipeline::default();
        let first = pipeline.reserve();
        pipeline.push(frame(2));
        let third = pipeline.reserve();
        assert!(pop_all(&mut pipeline).is_empty());
        pipeline.fill(third, frame(3));
        assert!(pop_all(&mut pipeline).is_empty());
        assert!(pipeline.holds_frames());
        pipeline.fill(first, frame(1));
        assert_eq!(pop_all(&mut pipeline), [1, 2, 3]);
        assert!(pipeline.len() == 0 && pipeline.bytes() == 0 && !pipeline.holds_frames());
        let again = pipeline.reserve();
        pipeline.fill(again, frame(4));
        assert_eq!(pop_all(&mut pipeline), [4]);
    }
}
