//! The lower end of an HTTP connection, shared by hyper's side of it (`io`) and the reactor's. It
//! is the same whether the socket speaks TLS or not.
//!
//! Answers are corked: what hyper writes waits for the end of the turn, so that the answers to
//! requests that came in one packet go out in one, and as one TLS record. The reactor flushes.

use std::cell::{Cell, RefCell};

use bytes::{Buf as _, BytesMut};

use super::intake::Intake;

/// Bytes that are corked at most; hyper waits for a flush before it writes more.
const CORKED_BYTES_MAX: usize = 64 * 1024;
/// First size of a cork: some twenty answers to publishes.
const CORK_BYTES: usize = 4 * 1024;

/// What became of what was corked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Flushed {
    /// It is gone.
    All,
    /// The socket is full.
    Blocked,
}

/// The lower end of one connection.
pub(super) struct Link {
    /// What hyper reads.
    pub(super) intake: Intake,
    corked: RefCell<BytesMut>,
    /// The reactor knows that it is to flush.
    listed: Cell<bool>,
    /// hyper waits for room.
    full: Cell<bool>,
}

impl Link {
    pub(super) fn new(intake: Intake) -> Self {
        let corked = RefCell::default();
        Self { intake, corked, listed: Cell::default(), full: Cell::default() }
    }

    /// Whether something is to be flushed.
    pub(super) fn has_corked(&self) -> bool {
        !self.corked.borrow().is_empty()
    }

    /// Whether the reactor has to flush and does not know it yet.
    pub(super) fn list(&self) -> bool {
        self.has_corked() && !self.listed.replace(true)
    }

    /// Whether hyper wanted to cork more than there was room for.
    pub(super) fn is_full(&self) -> bool {
        self.full.get()
    }

    /// Corks what fits; the number of bytes, or `None` when it must be flushed first.
    pub(super) fn cork(&self, bytes: &[u8]) -> Option<usize> {
        let mut corked = self.corked.borrow_mut();
        let room = CORKED_BYTES_MAX.saturating_sub(corked.len());
        self.full.set(room == 0);
        if room == 0 {
            return None;
        }
        if corked.capacity() == 0 {
            corked.reserve(CORK_BYTES);
        }
        let part = bytes.get(..room).unwrap_or(bytes);
        corked.extend_from_slice(part);
        Some(part.len())
    }

    /// Gives all that is corked to `send`, which says how many bytes of it were taken.
    pub(super) fn flush<E>(
        &self,
        send: impl FnOnce(&[u8]) -> Result<usize, E>,
    ) -> Result<Flushed, E> {
        self.listed.set(false);
        let mut corked = self.corked.borrow_mut();
        if !corked.is_empty() {
            let count = send(&corked)?;
            if count < corked.len() {
                corked.advance(count);
                return Ok(Flushed::Blocked);
            }
        }
        self.full.set(false);
        // A connection at rest keeps no buffer.
        *corked = BytesMut::new();
        Ok(Flushed::All)
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::rc::Rc;

    use super::super::intake::{Scratch, Wire};
    use super::*;

    fn link() -> Link {
        Link::new(Intake::new(Wire::Tls, Rc::new(Scratch::new(0))))
    }

    /// Flushes into a socket that takes so many bytes.
    fn flush(link: &Link, bytes_max: usize) -> (Flushed, Vec<u8>) {
        let mut sent = Vec::new();
        let flushed = link.flush(|bytes| {
            sent.extend_from_slice(&bytes[..bytes_max.min(bytes.len())]);
            Ok::<_, Infallible>(sent.len())
        });
        (flushed.unwrap(), sent)
    }

    #[test]
    fn what_is_corked_in_a_turn_is_sent_once_and_listed_once() {
        let link = link();
        assert!(!link.list());
        assert_eq!(link.cork(b"one "), Some(4));
        assert_eq!(link.cork(b"two"), Some(3));
        assert!(link.list() && !link.list());
        assert_eq!(flush(&link, 64), (Flushed::All, b"one two".to_vec()));
        assert!(!link.list());
        let nothing = link.flush(|_| Err("nothing is to be sent"));
        assert_eq!(nothing, Ok(Flushed::All));
    }

    #[test]
    fn a_peer_that_does_not_read_is_waited_for_with_bounded_memory() {
        let link = link();
        let large = vec![b'x'; 48 * 1024];
        let mut taken = 0;
        while let Some(count) = link.cork(&large) {
            taken += count;
        }
        assert_eq!((taken, link.is_full()), (CORKED_BYTES_MAX, true));
        assert_eq!(flush(&link, 5), (Flushed::Blocked, b"xxxxx".to_vec()));
        assert!(link.list(), "the rest is to be flushed");
        assert_eq!((link.cork(&large), link.is_full()), (Some(5), false));
        assert_eq!((link.cork(b"x"), link.is_full()), (None, true));
        assert_eq!(flush(&link, usize::MAX).0, Flushed::All);
        assert!(!link.is_full() && !link.has_corked());
    }
}
