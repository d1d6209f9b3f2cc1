//! The bounded queue of encoded frames that wait for one socket.

use std::collections::VecDeque;
use std::rc::Rc;

/// Final bytes, WebSocket header included, shared by all outboxes of a shard that hold them.
pub(crate) type Frame = Rc<[u8]>;

/// Entries that an empty queue may keep room for.
const QUEUE_KEPT: usize = 32;

/// What waits for a socket, in order. One waiting frame, the usual case, needs no memory of its
/// own.
#[derive(Debug, Default)]
pub(crate) struct Outbox {
    first: Option<Frame>,
    /// Bytes of `first` that the kernel has taken.
    sent: usize,
    /// Bytes that wait, without those.
    bytes: usize,
    rest: Option<Box<Rest>>,
}

/// Whether an empty queue keeps some room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kept {
    Nothing,
    Some,
}

/// What waits behind the first frame.
#[derive(Debug, Default)]
struct Rest {
    frames: VecDeque<Frame>,
}

impl Outbox {
    /// Bytes that wait, without those that the kernel has taken.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Frames that wait.
    pub(crate) fn len(&self) -> usize {
        let rest = self.rest.as_ref().map_or(0, |rest| rest.frames.len());
        usize::from(self.first.is_some()) + rest
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.first.is_none()
    }

    pub(crate) fn push(&mut self, frame: Frame) {
        debug_assert!(!frame.is_empty());
        self.bytes += frame.len();
        if self.first.is_none() {
            self.first = Some(frame);
        } else {
            self.rest.get_or_insert_default().frames.push_back(frame);
        }
    }

    /// The bytes that wait, in order.
    pub(crate) fn chunks(&self) -> impl Iterator<Item = &[u8]> {
        let first = self.first.iter().map(|frame| frame.get(self.sent..).unwrap_or_default());
        let rest = self.rest.as_ref().map_or((&[][..], &[][..]), |rest| rest.frames.as_slices());
        first.chain(rest.0.iter().chain(rest.1).map(|frame| frame.as_ref()))
    }

    /// The kernel has taken `count` more bytes.
    pub(crate) fn written(&mut self, count: usize) {
        debug_assert!(count <= self.bytes);
        self.bytes = self.bytes.saturating_sub(count);
        self.sent += count;
        while let Some(first) = &self.first
            && self.sent >= first.len()
        {
            self.sent -= first.len();
            self.first = match &mut self.rest {
                None => None,
                Some(rest) => rest.frames.pop_front(),
            };
        }
    }

    /// Drops what waits, but for a frame of which a part was sent: without its rest, nothing that
    /// follows could be read.
    pub(crate) fn discard(&mut self) {
        self.rest = None;
        if self.sent == 0 {
            self.first = None;
        }
        self.bytes = self.first.as_ref().map_or(0, |first| first.len() - self.sent);
    }

    /// Whether it has, or had, more than one frame.
    pub(crate) fn has_room(&self) -> bool {
        self.rest.is_some()
    }

    /// Gives back the room of an empty queue, unless so many entries may stay.
    pub(crate) fn shrink(&mut self, kept: Kept) {
        let entries = match kept {
            Kept::Nothing => 0,
            Kept::Some => QUEUE_KEPT,
        };
        let spare = |rest: &Rest| rest.frames.is_empty() && rest.frames.capacity() > entries;
        if self.rest.as_deref().is_some_and(spare) {
            self.rest = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drained(outbox: &Outbox) -> Vec<u8> {
        outbox.chunks().flatten().copied().collect()
    }

    #[test]
    fn what_waits_is_what_was_pushed_less_what_was_written() {
        let all = b"abcdefghij";
        for step in 1..=all.len() {
            let mut outbox = Outbox::default();
            for frame in [&all[..3], &all[3..4], &all[4..]] {
                outbox.push(frame.into());
            }
            let mut written = 0;
            while written < all.len() {
                assert_eq!(
                    (drained(&outbox), outbox.bytes()),
                    (all[written..].to_vec(), all.len() - written)
                );
                let count = step.min(all.len() - written);
                outbox.written(count);
                written += count;
            }
            assert!(outbox.is_empty() && outbox.bytes() == 0);
        }
    }

    #[test]
    fn discard_keeps_the_rest_of_a_frame_that_has_begun() {
        let mut outbox = Outbox::default();
        outbox.push(b"abc".as_slice().into());
        outbox.push(b"def".as_slice().into());
        outbox.written(1);
        outbox.discard();
        assert_eq!((drained(&outbox), outbox.bytes()), (b"bc".to_vec(), 2));
        outbox.written(2);
        outbox.push(b"x".as_slice().into());
        outbox.discard();
        assert!(outbox.is_empty() && outbox.bytes() == 0);
    }
}
