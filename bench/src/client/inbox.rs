//! Reading from a socket into one buffer that all connections share; only what is incomplete is
//! kept per connection.

use std::io;

use crate::error::ClientError;

/// Bytes read at once.
const READ_BYTES: usize = 64 * 1024;

/// How a read ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Received {
    /// All that was there has been read.
    Drained,
    /// There may be more.
    More,
    /// Nothing was there; on a blocking socket, its timeout has passed.
    Nothing,
    /// The peer has closed.
    End,
}

/// Where bytes come from.
pub(crate) trait Source {
    /// Reads once into the start of `room`, which has 64 KiB or more.
    ///
    /// # Errors
    /// `Socket` when there is nothing to read now or reading fails, and what TLS says.
    fn take_in(&mut self, room: &mut [u8]) -> Result<Intake, ClientError>;
}

/// What one read has brought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Intake {
    /// Bytes; 0 = the peer has closed.
    pub(crate) count: usize,
    /// Whether there may be more to read at once.
    pub(crate) may_follow: bool,
}

impl Intake {
    /// The peer has closed.
    pub(crate) const END: Self = Self { count: 0, may_follow: false };
}

/// The unread rest of one connection: empty between frames, which is nearly always.
#[derive(Debug, Default)]
pub(crate) struct Inbox {
    carry: Vec<u8>,
}

impl Inbox {
    /// Reads once from `source` and hands `take` all bytes it has not yet taken. `take` says how
    /// many it takes; the others come again, together with the next read. `scratch` is shared by
    /// all connections and grows as needed.
    ///
    /// # Errors
    /// Those of the source, unless it has only nothing to read, and what `take` says.
    pub(crate) fn receive(
        &mut self,
        source: &mut impl Source,
        scratch: &mut Vec<u8>,
        take: impl FnOnce(&[u8]) -> Result<usize, ClientError>,
    ) -> Result<Received, ClientError> {
        let carried = self.carry.len();
        if scratch.len() < carried + READ_BYTES {
            scratch.resize(carried + READ_BYTES, 0);
        }
        let (front, room) = scratch.split_at_mut(carried);
        front.copy_from_slice(&self.carry);
        let intake = match source.take_in(room) {
            Ok(Intake { count: 0, .. }) => return Ok(Received::End),
            Ok(intake) => intake,
            Err(ClientError::Socket(error)) => match error.kind() {
                io::ErrorKind::WouldBlock => return Ok(Received::Nothing),
                io::ErrorKind::Interrupted => return Ok(Received::More),
                _ => return Err(error.into()),
            },
            Err(error) => return Err(error),
        };
        let bytes = scratch.get(..carried + intake.count).unwrap_or_default();
        let taken = take(bytes)?;
        let rest = bytes.get(taken..).unwrap_or_default();
        // A connection with nothing pending owns no memory: there are many of them.
        self.carry = rest.to_vec();
        Ok(if intake.may_follow { Received::More } else { Received::Drained })
    }
}

#[cfg(test)]
impl Inbox {
    /// Whether everything received has been taken.
    pub(crate) fn is_empty(&self) -> bool {
        self.carry.is_empty()
    }
}
