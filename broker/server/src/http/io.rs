//! hyper's view of a [`Link`]. It keeps no waker: the reactor polls the connection whenever there
//! is something to read, or room to write.

use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use bytes::Bytes;
use hyper::rt::{Read, ReadBufCursor, Write};

use super::intake::Intake;
use super::link::Link;

/// The lower end of one HTTP connection.
pub(super) struct HttpIo {
    link: Rc<Link>,
}

impl HttpIo {
    pub(super) fn new(link: Rc<Link>) -> Self {
        Self { link }
    }

    /// What came and was not used; `read` is what hyper has of it.
    pub(super) fn into_rest(self, read: Bytes) -> Bytes {
        match &self.link.intake {
            Intake::Socket(_) => read,
            Intake::Plaintext(plaintext) => plaintext.take_rest(read),
        }
    }
}

impl Read for HttpIo {
    fn poll_read(
        self: Pin<&mut Self>,
        _context: &mut Context<'_>,
        mut buffer: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        // By way of a buffer of the shard, for hyper's may be uninitialised.
        let bytes_max = buffer.remaining();
        let read = self.link.intake.read(bytes_max, |bytes| buffer.put_slice(bytes));
        read.transpose().map_or(Poll::Pending, Poll::Ready)
    }
}

impl Write for HttpIo {
    fn poll_write(
        self: Pin<&mut Self>,
        _context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.link.cork(bytes).map_or(Poll::Pending, |count| Poll::Ready(Ok(count)))
    }

    /// What was written is as good as sent: the reactor flushes at the end of the turn, and before
    /// the connection ends.
    fn poll_flush(self: Pin<&mut Self>, _context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    /// The reactor says goodbye when all is flushed.
    fn poll_shutdown(self: Pin<&mut Self>, _context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
