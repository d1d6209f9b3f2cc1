//! The way out to one client, counted: a socket takes what it can without waiting.

use std::io::{self, ErrorKind, Write as _};
use std::net::TcpStream;

/// A nonblocking socket to write to.
pub(crate) struct Sink<'a> {
    stream: &'a TcpStream,
    /// System calls so far.
    writes: &'a mut u64,
}

impl<'a> Sink<'a> {
    /// Counts the writes to `stream` in `writes`.
    pub(crate) fn new(stream: &'a TcpStream, writes: &'a mut u64) -> Self {
        Self { stream, writes }
    }

    /// Writes; returns how many bytes the socket took, fewer than were offered when it is full.
    ///
    /// # Errors
    ///
    /// The peer is gone: close the socket.
    pub(crate) fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        loop {
            *self.writes += 1;
            return match self.stream.write(bytes) {
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(0),
                result => result,
            };
        }
    }
}
