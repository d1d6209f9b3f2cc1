//! A timer among the descriptors: epoll's own timeout is rounded up to whole milliseconds, which
//! would show in every latency of a client that publishes.

use std::io;
use std::os::fd::{AsFd, AsRawFd};

use mio::unix::SourceFd;
use mio::{Interest, Registry, Token};
use nix::sys::time::TimeSpec;
use nix::sys::timerfd::{ClockId, Expiration, TimerFd, TimerFlags, TimerSetTimeFlags};

use crate::clock::SECOND_NS;

/// Wakes the poll at a moment of CLOCK_MONOTONIC.
#[derive(Debug)]
pub(crate) struct Alarm {
    timer: TimerFd,
    /// What it is set to, in nanoseconds.
    set_ns: Option<u64>,
}

impl Alarm {
    /// An alarm that is not set.
    ///
    /// # Errors
    /// When the kernel has no descriptor for it.
    pub(crate) fn new(registry: &Registry, token: Token) -> io::Result<Self> {
        let timer = TimerFd::new(ClockId::CLOCK_MONOTONIC, TimerFlags::TFD_NONBLOCK)?;
        let descriptor = timer.as_fd().as_raw_fd();
        registry.register(&mut SourceFd(&descriptor), token, Interest::READABLE)?;
        Ok(Self { timer, set_ns: None })
    }

    /// Rings once at `due_ns`, or at once when that has passed; never for `None`.
    ///
    /// # Errors
    /// When the kernel refuses, which it does not.
    pub(crate) fn set(&mut self, due_ns: Option<u64>) -> io::Result<()> {
        if self.set_ns == due_ns {
            return Ok(());
        }
        self.set_ns = due_ns;
        let Some(due_ns) = due_ns else { return Ok(self.timer.unset()?) };
        // 0 would unset it.
        let due_ns = i64::try_from(due_ns.max(1)).unwrap_or(i64::MAX);
        let second_ns = i64::try_from(SECOND_NS).unwrap_or(i64::MAX);
        let due = TimeSpec::new(due_ns / second_ns, due_ns % second_ns);
        let flags = TimerSetTimeFlags::TFD_TIMER_ABSTIME;
        Ok(self.timer.set(Expiration::OneShot(due), flags)?)
    }

    /// It has rung: the same moment may be set again.
    pub(crate) fn rang(&mut self) {
        self.set_ns = None;
    }
}
