//! The shard's own io_uring: what the loop asks of it, and what it answers.
//!
//! The one file of the server with `unsafe` (see `docs/adr/0001-own-ring-in-the-glommio-task.md`):
//! submission entries are raw pointers and descriptors, and a completed accept is a bare number.
//! Both turn into owned, typed values here. Nothing below knows what a socket is for.

use std::collections::VecDeque;
use std::io;
use std::net::TcpStream;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::time::Duration;

use io_uring::types::{Fd, SubmitArgs, Timespec};
use io_uring::{EnterFlags, IoUring, cqueue, opcode, squeue};
use nix::libc;
use slotmap::{Key, KeyData};

use super::Hangup;
use super::socket::SocketKey;

/// Submission entries. When they are used up, the rest waits in `backlog` for the next turn.
const SUBMISSIONS: u32 = 1024;
/// Completion entries: a burst of as many ready sockets fits without the kernel's overflow list.
const COMPLETIONS: u32 = 16 * 1024;

/// The index half of a [`SocketKey`] stays below this, which leaves four bits for the token's kind.
const INDEX_BITS: u32 = 28;
const KIND_MASK: u64 = 0xf << INDEX_BITS;

/// Which listening socket an accept belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Door {
    /// Clients and backends.
    Public,
    /// Health and metrics.
    Admin,
}

/// What an operation was for; travels through the kernel as its `user_data`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Token {
    /// Nobody waits for the result (cancellations).
    Ignored,
    /// The multishot accept of a listening socket.
    Accept(Door),
    /// The multishot poll of the shard's doorbell.
    Doorbell,
    /// The multishot poll of a socket for bytes or a hang-up.
    Readable(SocketKey),
    /// The one-shot poll of a socket for room in its send buffer.
    Writable(SocketKey),
}

impl Token {
    fn to_bits(self) -> u64 {
        let (kind, rest) = match self {
            Self::Ignored => (0, 0),
            Self::Accept(Door::Public) => (1, 0),
            Self::Accept(Door::Admin) => (2, 0),
            Self::Doorbell => (3, 0),
            Self::Readable(key) => (4, key.data().as_ffi()),
            Self::Writable(key) => (5, key.data().as_ffi()),
        };
        assert_eq!(rest & KIND_MASK, 0, "more sockets than a token can number");
        rest | (kind << INDEX_BITS)
    }

    fn from_bits(bits: u64) -> Self {
        let key = || SocketKey::from(KeyData::from_ffi(bits & !KIND_MASK));
        match (bits & KIND_MASK) >> INDEX_BITS {
            1 => Self::Accept(Door::Public),
            2 => Self::Accept(Door::Admin),
            3 => Self::Doorbell,
            4 => Self::Readable(key()),
            5 => Self::Writable(key()),
            _ => Self::Ignored,
        }
    }
}

/// Whether more completions of the same operation will follow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Series {
    /// The operation stays armed.
    GoesOn,
    /// This was its last completion; the kernel has let go of the file.
    Ended,
}

/// One completion, made safe.
#[derive(Debug)]
pub(crate) enum Event {
    /// A connection was accepted, or could not be.
    Accepted(Door, io::Result<TcpStream>, Series),
    /// Somebody rang the shard's doorbell.
    Doorbell(Series),
    /// There may be something to read.
    Readable { socket: SocketKey, hangup: Hangup, series: Series },
    /// There may be room to write, or the poll was cancelled.
    Writable(SocketKey),
    /// Nothing to act upon (cancellations).
    Nothing,
}

/// The ring and what is on its way into it.
pub(crate) struct Ring {
    ring: IoUring,
    /// Entries that found no room in the submission queue.
    backlog: VecDeque<squeue::Entry>,
}

impl Ring {
    /// Creates a ring that only this thread may submit to.
    ///
    /// # Errors
    ///
    /// What `io_uring_setup` said: EPERM (denied), ENOSYS (none), EINVAL (kernel before 6.1).
    pub(crate) fn new() -> io::Result<Self> {
        let ring = IoUring::builder()
            .setup_single_issuer()
            .setup_defer_taskrun()
            .setup_taskrun_flag()
            .setup_clamp()
            .setup_cqsize(COMPLETIONS)
            .build(SUBMISSIONS)?;
        Ok(Self { ring, backlog: VecDeque::new() })
    }

    /// Accepts on a listening socket until cancelled; sockets come nonblocking, close-on-exec.
    pub(crate) fn accept(&mut self, door: Door, listener: BorrowedFd<'_>) {
        let entry = opcode::AcceptMulti::new(Fd(listener.as_raw_fd()))
            .flags(libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC)
            .build();
        self.push(entry, Token::Accept(door));
    }

    /// Reports bytes and hang-ups of a descriptor until cancelled.
    pub(crate) fn poll_readable(&mut self, token: Token, file: BorrowedFd<'_>) {
        let flags = poll_bits(libc::POLLIN | libc::POLLRDHUP);
        let entry = opcode::PollAdd::new(Fd(file.as_raw_fd()), flags).multi(true).build();
        self.push(entry, token);
    }

    /// Reports once that a socket can be written to.
    pub(crate) fn poll_writable(&mut self, socket: SocketKey, file: BorrowedFd<'_>) {
        let flags = poll_bits(libc::POLLOUT);
        let entry = opcode::PollAdd::new(Fd(file.as_raw_fd()), flags).build();
        self.push(entry, Token::Writable(socket));
    }

    /// Ends an operation; its last completion follows.
    pub(crate) fn cancel(&mut self, token: Token) {
        self.push(opcode::AsyncCancel::new(token.to_bits()).build(), Token::Ignored);
    }

    /// Submits what is pushed and waits for a completion, at most `timeout`; zero does not wait.
    ///
    /// # Errors
    ///
    /// The ring is unusable. Interruptions and the end of the wait are no errors.
    pub(crate) fn wait(&mut self, timeout: Duration) -> io::Result<()> {
        self.push_backlog();
        let result = if timeout.is_zero() {
            let entries = u32::try_from(self.ring.submission().len()).unwrap_or(u32::MAX);
            // Without the flag the kernel would run none of the work that it has put off for us.
            let flags = EnterFlags::GETEVENTS.bits();
            // SAFETY: no argument points to memory.
            unsafe { self.ring.submitter().enter::<()>(entries, 0, flags, None) }
        } else {
            let timespec = Timespec::from(timeout);
            let args = SubmitArgs::new().timespec(&timespec);
            self.ring.submitter().submit_with_args(1, &args)
        };
        match result {
            Ok(_) => Ok(()),
            // EBUSY and EAGAIN: the kernel wants completions to be taken first, which comes next.
            Err(error) => match error.raw_os_error() {
                Some(libc::ETIME | libc::EINTR | libc::EBUSY | libc::EAGAIN) => Ok(()),
                _ => Err(error),
            },
        }
    }

    /// Whether there is something to submit or to take without waiting.
    pub(crate) fn has_work(&mut self) -> bool {
        let submissions = self.ring.submission();
        let busy = submissions.taskrun() || submissions.cq_overflow() || !submissions.is_empty();
        drop(submissions);
        busy || !self.backlog.is_empty() || !self.ring.completion().is_empty()
    }

    /// Whether the kernel has put off completions that another [`Ring::wait`] brings.
    pub(crate) fn has_put_off(&mut self) -> bool {
        self.ring.submission().taskrun()
    }

    /// How many completions can be taken.
    pub(crate) fn event_count(&mut self) -> usize {
        self.ring.completion().len()
    }

    /// Takes all completions that are there.
    pub(crate) fn take_events(&mut self, events: &mut Vec<Event>) {
        events.extend(self.ring.completion().map(|entry| event(&entry)));
    }

    fn push(&mut self, entry: squeue::Entry, token: Token) {
        self.backlog.push_back(entry.user_data(token.to_bits()));
        self.push_backlog();
    }

    /// Keeps the order of entries: a cancel must not overtake what it cancels.
    fn push_backlog(&mut self) {
        let mut submissions = self.ring.submission();
        while let Some(entry) = self.backlog.front() {
            // SAFETY: accepts, polls and cancels refer to no memory. A descriptor that was closed
            // meanwhile fails with EBADF or names a file that the token's owner no longer listens
            // for.
            if unsafe { submissions.push(entry) }.is_err() {
                return;
            }
            self.backlog.pop_front();
        }
    }
}

/// The poll bits as io_uring wants them; they are small and never negative.
fn poll_bits(bits: i16) -> u32 {
    u32::from(bits.unsigned_abs())
}

fn event(entry: &cqueue::Entry) -> Event {
    let series = if cqueue::more(entry.flags()) { Series::GoesOn } else { Series::Ended };
    let result = entry.result();
    match Token::from_bits(entry.user_data()) {
        Token::Accept(door) => Event::Accepted(door, accepted(result), series),
        Token::Doorbell => Event::Doorbell(series),
        Token::Readable(socket) => Event::Readable { socket, hangup: hangup(result), series },
        Token::Writable(socket) => Event::Writable(socket),
        Token::Ignored => Event::Nothing,
    }
}

/// Whether the result of a poll for reading, bits or an error, tells of the end of the stream.
fn hangup(result: i32) -> Hangup {
    let bits = i32::from(libc::POLLRDHUP | libc::POLLHUP | libc::POLLERR);
    if result < 0 || result & bits != 0 { Hangup::Seen } else { Hangup::NotSeen }
}

/// Only for the result of an accept, each once.
fn accepted(result: i32) -> io::Result<TcpStream> {
    if result < 0 {
        return Err(io::Error::from_raw_os_error(-result));
    }
    // SAFETY: the kernel made this descriptor for this completion, which is taken from the queue
    // only once, and nobody else knows it.
    let descriptor = unsafe { OwnedFd::from_raw_fd(result) };
    Ok(TcpStream::from(descriptor))
}

#[cfg(test)]
mod tests {
    use slotmap::SlotMap;

    use super::{Door, SocketKey, Token};

    #[test]
    fn tokens_survive_the_way_through_the_kernel() {
        let mut keys: SlotMap<SocketKey, ()> = SlotMap::with_key();
        let old = keys.insert(());
        keys.remove(old);
        let new = keys.insert(());
        for token in [
            Token::Ignored,
            Token::Accept(Door::Public),
            Token::Accept(Door::Admin),
            Token::Doorbell,
            Token::Readable(old),
            Token::Readable(new),
            Token::Writable(new),
        ] {
            assert_eq!(Token::from_bits(token.to_bits()), token);
        }
    }
}
