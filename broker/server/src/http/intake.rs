//! Where the bytes come from that hyper reads: the socket, or what the reactor has opened of one
//! that speaks TLS.
//!
//! It is known when a socket has been emptied, so that nothing is read before the ring says that
//! there is something.

use std::cell::{Cell, RefCell};
use std::io::{self, ErrorKind, Read as _};
use std::net::TcpStream;
use std::rc::Rc;

use bytes::{Buf as _, Bytes, BytesMut};

/// Plaintext that waits for hyper up to which more is opened.
const PLAINTEXT_BYTES_MAX: usize = 16 * 1024;

/// What the socket of an HTTP connection speaks.
pub(crate) enum Wire {
    /// HTTP: hyper's bytes are read from it.
    Plain(Rc<TcpStream>),
    /// TLS: the reactor opens what it reads, see [`Plaintext`].
    Tls,
}

/// What all HTTP connections of a shard read into, before hyper's own buffer gets it.
pub(super) struct Scratch {
    buffer: RefCell<Box<[u8]>>,
    reads: Cell<u64>,
}

impl Scratch {
    pub(super) fn new(bytes: usize) -> Self {
        Self { buffer: RefCell::new(vec![0; bytes].into_boxed_slice()), reads: Cell::default() }
    }

    /// System calls so far.
    pub(super) fn reads(&self) -> u64 {
        self.reads.get()
    }
}

/// The bytes of one connection on their way to hyper.
pub(super) enum Intake {
    /// They are in the socket.
    Socket(Source),
    /// They were in it.
    Plaintext(Plaintext),
}

impl Intake {
    pub(super) fn new(wire: Wire, scratch: Rc<Scratch>) -> Self {
        match wire {
            Wire::Plain(stream) => {
                Self::Socket(Source { stream, scratch, readiness: Cell::default() })
            }
            Wire::Tls => Self::Plaintext(Plaintext::default()),
        }
    }

    /// Hands at most `bytes_max` bytes to `take`, none at the end; `None` = there are none for now.
    pub(super) fn read(
        &self,
        bytes_max: usize,
        take: impl FnOnce(&[u8]),
    ) -> io::Result<Option<()>> {
        match self {
            Self::Socket(source) => source.read(bytes_max, take),
            Self::Plaintext(plaintext) => Ok(plaintext.read(bytes_max, take)),
        }
    }
}

/// What a read would bring.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Readiness {
    /// Nothing; an event will tell.
    Empty,
    /// Something, perhaps.
    #[default]
    Unknown,
    /// The peer has closed its side: read to the end, for no event will come any more.
    HungUp,
}

/// A socket to read from.
pub(super) struct Source {
    stream: Rc<TcpStream>,
    scratch: Rc<Scratch>,
    readiness: Cell<Readiness>,
}

impl Source {
    /// There is something to read, or the end.
    pub(super) fn note_readable(&self, hung_up: bool) {
        if hung_up {
            self.readiness.set(Readiness::HungUp);
        } else if self.readiness.get() == Readiness::Empty {
            self.readiness.set(Readiness::Unknown);
        }
    }

    fn read(&self, bytes_max: usize, take: impl FnOnce(&[u8])) -> io::Result<Option<()>> {
        if self.readiness.get() == Readiness::Empty {
            return Ok(None);
        }
        let mut buffer = self.scratch.buffer.borrow_mut();
        let bytes_max = bytes_max.min(buffer.len());
        let space = buffer.get_mut(..bytes_max).unwrap_or_default();
        let count = loop {
            self.scratch.reads.set(self.scratch.reads.get() + 1);
            match (&*self.stream).read(space) {
                Ok(count) => break count,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    self.note_emptied();
                    return Ok(None);
                }
                Err(error) => return Err(error),
            }
        };
        if count < bytes_max {
            self.note_emptied();
        }
        take(space.get(..count).unwrap_or_default());
        Ok(Some(()))
    }

    fn note_emptied(&self) {
        if self.readiness.get() == Readiness::Unknown {
            self.readiness.set(Readiness::Empty);
        }
    }
}

/// What the reactor has opened and hyper has not read.
#[derive(Default)]
pub(crate) struct Plaintext {
    bytes: RefCell<BytesMut>,
    ended: Cell<bool>,
}

impl Plaintext {
    /// Whether more may be opened; if not, poll first.
    pub(crate) fn has_room(&self) -> bool {
        self.bytes.borrow().len() < PLAINTEXT_BYTES_MAX
    }

    /// More from the peer.
    pub(crate) fn push(&self, bytes: &[u8]) {
        self.bytes.borrow_mut().extend_from_slice(bytes);
    }

    /// The peer sends nothing more.
    pub(crate) fn end(&self) {
        self.ended.set(true);
    }

    /// What hyper has read but not used, and what it has not read.
    pub(super) fn take_rest(&self, read: Bytes) -> Bytes {
        let unread = self.bytes.take();
        match (read.is_empty(), unread.is_empty()) {
            (_, true) => read,
            (true, false) => unread.freeze(),
            (false, false) => [read, unread.freeze()].concat().into(),
        }
    }

    fn read(&self, bytes_max: usize, take: impl FnOnce(&[u8])) -> Option<()> {
        let mut bytes = self.bytes.borrow_mut();
        if bytes.is_empty() && !self.ended.get() {
            return None;
        }
        let count = bytes_max.min(bytes.len());
        take(bytes.get(..count).unwrap_or_default());
        bytes.advance(count);
        if bytes.is_empty() {
            // A connection at rest keeps no buffer.
            *bytes = BytesMut::new();
        }
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;
    use std::net::{Shutdown, TcpListener};

    use super::*;

    #[test]
    fn a_socket_that_was_emptied_is_not_read_until_an_event_tells() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut peer = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (stream, _) = listener.accept().unwrap();
        stream.set_nonblocking(true).unwrap();
        let scratch = Rc::new(Scratch::new(64));
        let intake = Intake::new(Wire::Plain(Rc::new(stream)), Rc::clone(&scratch));
        let Intake::Socket(source) = &intake else { panic!("another intake") };
        assert_eq!(intake.read(8, |_| ()).unwrap(), None);
        peer.write_all(b"bytes").unwrap();
        assert_eq!(intake.read(8, |_| ()).unwrap(), None, "no event has come");
        source.note_readable(false);
        source.stream.set_nonblocking(false).unwrap();
        let mut got = Vec::new();
        intake.read(8, |bytes| got.extend_from_slice(bytes)).unwrap().unwrap();
        assert_eq!((got.as_slice(), scratch.reads()), (b"bytes".as_slice(), 2));
        peer.shutdown(Shutdown::Write).unwrap();
        assert_eq!(intake.read(8, |_| ()).unwrap(), None);
        source.note_readable(true);
        intake.read(8, |bytes| assert!(bytes.is_empty())).unwrap().unwrap();
        intake.read(8, |bytes| assert!(bytes.is_empty())).unwrap().unwrap();
    }

    fn read(plaintext: &Plaintext, bytes_max: usize) -> Option<Vec<u8>> {
        let mut got = Vec::new();
        plaintext.read(bytes_max, |bytes| got.extend_from_slice(bytes)).map(|()| got)
    }

    #[test]
    fn plaintext_comes_in_order_and_the_end_after_it() {
        let plaintext = Plaintext::default();
        assert_eq!(read(&plaintext, 9), None);
        plaintext.push(b"abc");
        plaintext.push(b"de");
        plaintext.end();
        assert_eq!(read(&plaintext, 4).unwrap(), b"abcd");
        assert_eq!(read(&plaintext, 4).unwrap(), b"e");
        assert_eq!(read(&plaintext, 4).unwrap(), b"");
    }

    #[test]
    fn plaintext_that_nobody_reads_leaves_no_room() {
        let plaintext = Plaintext::default();
        plaintext.push(&[0; PLAINTEXT_BYTES_MAX]);
        assert!(!plaintext.has_room());
        assert_eq!(read(&plaintext, 1).unwrap(), [0]);
        assert!(plaintext.has_room());
    }

    #[test]
    fn what_is_left_is_in_order() {
        for (read, left) in [("", ""), ("ab", ""), ("", "cd"), ("ab", "cd")] {
            let plaintext = Plaintext::default();
            plaintext.push(left.as_bytes());
            assert_eq!(plaintext.take_rest(Bytes::from(read)), format!("{read}{left}"));
        }
    }
}
