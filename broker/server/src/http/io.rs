//! hyper's view of a nonblocking socket. It keeps no waker: the reactor polls the connection
//! whenever the ring says that its socket is ready.

use std::io::{ErrorKind, IoSlice, Read as _, Write as _};
use std::net::{Shutdown, TcpStream};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use hyper::rt::{Read, ReadBufCursor, Write};

use super::Exchange;

/// Bytes that one read takes at most; hyper's own buffer begins with as many.
const READ_BYTES: usize = 8 * 1024;

/// The socket of one HTTP connection.
pub(super) struct HttpIo {
    stream: Rc<TcpStream>,
    exchange: Rc<Exchange>,
}

impl HttpIo {
    pub(super) fn new(stream: Rc<TcpStream>, exchange: Rc<Exchange>) -> Self {
        Self { stream, exchange }
    }

    fn write_with(
        &self,
        mut write: impl FnMut(&TcpStream) -> std::io::Result<usize>,
    ) -> Poll<std::io::Result<usize>> {
        loop {
            return match write(&self.stream) {
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    self.exchange.note_write_blocked();
                    Poll::Pending
                }
                result => Poll::Ready(result),
            };
        }
    }
}

impl Read for HttpIo {
    fn poll_read(
        self: Pin<&mut Self>,
        _context: &mut Context<'_>,
        mut buffer: ReadBufCursor<'_>,
    ) -> Poll<std::io::Result<()>> {
        // On the stack, for hyper's buffer may be uninitialised; the copy is at most 8 KiB.
        let mut bytes = [0; READ_BYTES];
        let limit = buffer.remaining().min(READ_BYTES);
        let Some(space) = bytes.get_mut(..limit) else { return Poll::Ready(Ok(())) };
        loop {
            return match (&*self.stream).read(space) {
                Ok(count) => {
                    buffer.put_slice(space.get(..count).unwrap_or_default());
                    Poll::Ready(Ok(()))
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) if error.kind() == ErrorKind::WouldBlock => Poll::Pending,
                Err(error) => Poll::Ready(Err(error)),
            };
        }
    }
}

impl Write for HttpIo {
    fn poll_write(
        self: Pin<&mut Self>,
        _context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        self.write_with(|mut stream| stream.write(bytes))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        _context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<std::io::Result<usize>> {
        self.write_with(|mut stream| stream.write_vectored(slices))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _context: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(
        self: Pin<&mut Self>,
        _context: &mut Context<'_>,
    ) -> Poll<std::io::Result<()>> {
        Poll::Ready(self.stream.shutdown(Shutdown::Write))
    }
}
