//! Reading from a socket into one buffer that all connections share; only what is incomplete is
//! kept per connection.

use std::io::{self, Read};

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
    /// `Socket` when reading fails, and what `take` says.
    pub(crate) fn receive(
        &mut self,
        source: &mut impl Read,
        scratch: &mut Vec<u8>,
        take: impl FnOnce(&[u8]) -> Result<usize, ClientError>,
    ) -> Result<Received, ClientError> {
        let carried = self.carry.len();
        if scratch.len() < carried + READ_BYTES {
            scratch.resize(carried + READ_BYTES, 0);
        }
        let (front, room) = scratch.split_at_mut(carried);
        front.copy_from_slice(&self.carry);
        let fresh = match source.read(room) {
            Ok(0) => return Ok(Received::End),
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                return Ok(Received::Nothing);
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return Ok(Received::More),
            Err(error) => return Err(error.into()),
        };
        let is_full = fresh == room.len();
        let bytes = scratch.get(..carried + fresh).unwrap_or_default();
        let taken = take(bytes)?;
        let rest = bytes.get(taken..).unwrap_or_default();
        // A connection with nothing pending owns no memory: there are many of them.
        self.carry = rest.to_vec();
        Ok(if is_full { Received::More } else { Received::Drained })
    }
}

#[cfg(test)]
impl Inbox {
    /// Whether everything received has been taken.
    pub(crate) fn is_empty(&self) -> bool {
        self.carry.is_empty()
    }
}
