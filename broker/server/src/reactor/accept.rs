//! The doors: listening sockets, and what comes in by them.

use std::io;
use std::net::{TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::rc::Rc;
use std::time::Duration;

use fanwire_core::Time;
use nix::libc;
use tracing::field;

use super::drain::Stage;
use super::ring::{Door, Series, Token};
use super::socket::Phase;
use super::{Reactor, SocketKey};
use crate::http::Surface;

/// How long no accept is tried after one failed for want of descriptors or memory.
const RETRY_MS: u64 = 100;
/// A lasting failure is logged once in this time.
const LOG_INTERVAL_MS: u64 = 10_000;

/// The listening sockets of a shard and their accepts.
pub(super) struct Doors {
    public: Option<TcpListener>,
    admin: Option<TcpListener>,
    /// Doors whose multishot accept is not in the ring.
    unarmed: Vec<Door>,
    retry_at: Option<Time>,
    log_at: Time,
}

impl Doors {
    pub(super) fn new(public: TcpListener, admin: Option<TcpListener>) -> Self {
        let mut unarmed = vec![Door::Public];
        unarmed.extend(admin.as_ref().map(|_| Door::Admin));
        Self { public: Some(public), admin, unarmed, retry_at: None, log_at: Time::ZERO }
    }

    /// When accepting is tried again after a failure.
    pub(super) fn retry_at(&self) -> Option<Time> {
        self.retry_at
    }

    fn listener(&self, door: Door) -> Option<&TcpListener> {
        match door {
            Door::Public => self.public.as_ref(),
            Door::Admin => self.admin.as_ref(),
        }
    }
}

impl Reactor {
    /// Arms the accepts that are not armed, unless the last one failed a moment ago.
    pub(super) fn arm_doors(&mut self) {
        if self.doors.retry_at.is_some_and(|time| self.now < time) {
            return;
        }
        self.doors.retry_at = None;
        while let Some(door) = self.doors.unarmed.pop() {
            if let Some(listener) = self.doors.listener(door) {
                self.ring.accept(door, listener.as_fd());
            }
        }
    }

    /// One completion of an accept.
    pub(super) fn accepted(&mut self, door: Door, result: io::Result<TcpStream>, series: Series) {
        if series == Series::Ended {
            self.doors.unarmed.push(door);
        }
        match result {
            Ok(stream) => {
                let key = self.open(door, stream);
                if self.stage != Stage::Running {
                    self.end_http_of(key);
                }
            }
            // The peer was gone before it was accepted, or the door was closed by us.
            Err(error) if is_harmless(&error) => {}
            Err(error) => self.accept_failed(&error),
        }
    }

    fn accept_failed(&mut self, error: &io::Error) {
        self.counters.accept_failures += 1;
        let now = self.now.as_millis();
        self.doors.retry_at = Some(Time::from_millis(now + RETRY_MS));
        if self.now >= self.doors.log_at {
            self.doors.log_at = Time::from_millis(now + LOG_INTERVAL_MS);
            tracing::warn!(
                sockets = self.sockets.open_count(),
                %error,
                "cannot accept connections for the moment; they wait"
            );
        }
    }

    fn open(&mut self, door: Door, stream: TcpStream) -> SocketKey {
        self.counters.accepted += 1;
        let phase = match door {
            Door::Public => self.tls.first_phase(),
            Door::Admin => Phase::Fresh(Surface::Admin),
        };
        let deadline = self.now.after(self.client.connect_timeout);
        let stream = Rc::new(stream);
        let key = self.sockets.insert(Rc::clone(&stream), phase, deadline);
        tracing::debug!(
            socket = key.socket_id().0,
            // Evaluated only where debug lines are wanted; unknown when the peer has gone again.
            peer = stream.peer_addr().ok().map(field::display),
            ?door,
            "socket accepted"
        );
        self.arm_readable(key);
        key
    }

    /// Closes the doors for good. Who stands in the queue is let in first: the kernel would
    /// answer them with a reset.
    pub(super) fn close_doors(&mut self) {
        self.ring.cancel(Token::Accept(Door::Public));
        self.ring.cancel(Token::Accept(Door::Admin));
        // An accept in the ring would keep its door open. If this fails, so will the next turn.
        let _ = self.ring.wait(Duration::ZERO);
        for door in [Door::Public, Door::Admin] {
            while let Some(Ok((stream, _))) = self.doors.listener(door).map(TcpListener::accept) {
                if stream.set_nonblocking(true).is_ok() {
                    self.open(door, stream);
                }
            }
        }
        self.doors.public = None;
        self.doors.admin = None;
    }
}

fn is_harmless(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::ECANCELED | libc::ECONNABORTED | libc::EINTR))
}
