//! Connections come, are timed and go.

use std::time::Duration;

use rand::RngExt as _;

use super::flush::Pace;
use super::{Output, Shard};
use crate::connection::{Closing, Connection, Phase, Queue, Timer};
use crate::fault::Disconnect;
use crate::ids::{ConnectionId, SocketId};
use crate::limits::{CLOSE_TIMEOUT, SLOW_CLOSE_TIMEOUT};
use crate::protocol::{Adapter, PingStyle, Push};
use crate::time::Time;
use crate::websocket::{Compression, Control, OpCode, append_close, append_frame};

/// Pings are bunched in steps of this part of their interval, so that an idle shard wakes rarely.
const PING_STEPS: u32 = 32;

impl Shard {
    /// A socket has become a WebSocket.
    pub fn open(
        &mut self,
        now: Time,
        socket: SocketId,
        adapter: Adapter,
        pings: PingStyle,
    ) -> ConnectionId {
        self.now = now;
        self.counters.connections_opened += 1;
        // Who speaks no protocol has no session to become.
        let patience = match adapter {
            Adapter::Echo => Duration::MAX,
            Adapter::CentrifugoJson | Adapter::CentrifugoProtobuf => {
                self.settings.client.connect_timeout
            }
        };
        let timer = Timer::Connect(now.after(patience));
        let connection = Connection::new(socket, adapter, pings, timer);
        let id = self.connections.insert(connection);
        self.timers.insert(id, timer.at());
        id
    }

    /// What a connection's handshake agreed on, before its first bytes; without this, no
    /// compression.
    pub fn set_compression(&mut self, id: ConnectionId, compression: Compression) {
        if let Some(connection) = self.connections.get_mut(id) {
            connection.compression = compression;
        }
    }

    /// The kernel has taken `count` bytes of what [`Shard::pending`] showed.
    pub fn handle_written(&mut self, now: Time, id: ConnectionId, count: usize) {
        self.now = now;
        let Some(connection) = self.connections.get_mut(id) else {
            return;
        };
        self.counters.sent_bytes += count as u64;
        connection.written(count);
        if connection.has_output() {
            self.flush.list(id, connection, Queue::Long);
            return;
        }
        self.flushed(id);
    }

    /// The kernel takes no more from this connection until [`Shard::handle_writable`].
    pub fn handle_blocked(&mut self, id: ConnectionId) {
        let Some(connection) = self.connections.get_mut(id) else {
            return;
        };
        connection.blocked = true;
        if self.flush.pace(connection) == Pace::Slow {
            self.close_slow(id);
        }
    }

    /// The kernel takes more again.
    pub fn handle_writable(&mut self, id: ConnectionId) {
        if let Some(connection) = self.connections.get_mut(id) {
            connection.blocked = false;
            self.flush.list(id, connection, Queue::Long);
        }
    }

    /// The socket has ended, or the shell gives it up. The id is dead from here on.
    pub fn handle_closed(&mut self, now: Time, id: ConnectionId) {
        self.now = now;
        self.end_session(id);
        self.connections.remove(id);
        self.settle();
    }

    /// When [`Shard::handle_timeout`] has something to do.
    pub fn next_timeout(&self) -> Option<Time> {
        let watched = (self.watched > 0).then_some(self.check_positions_at);
        let timers =
            [self.timers.next(), self.expiry_timers.next(), self.topic_timers.next(), watched];
        timers.into_iter().flatten().min()
    }

    /// Does what is due.
    pub fn handle_timeout(&mut self, now: Time) {
        self.now = now;
        let mut due = Vec::new();
        let connections = &self.connections;
        self.timers.expire(now, &mut due, |id, at| {
            connections.get(id).is_some_and(|connection| connection.armed == at)
        });
        for (id, armed) in std::mem::take(&mut due) {
            let Some(connection) = self.connections.get_mut(id) else {
                continue;
            };
            if connection.armed != armed {
                continue;
            }
            let timer = connection.timer;
            if timer.at() > now {
                connection.armed = timer.at();
                self.timers.insert(id, timer.at());
            } else {
                self.fire(id, timer);
            }
        }
        let connections = &self.connections;
        self.expiry_timers.expire(now, &mut due, |id, at| {
            let session = connections.get(id).and_then(Connection::session);
            session.is_some_and(|session| session.expiry_armed == Some(at))
        });
        for (id, armed) in due {
            self.expire(id, armed);
        }
        let mut due = Vec::new();
        let owned = &self.owned;
        self.topic_timers.expire(now, &mut due, |topic, at| owned.is_armed(topic, at));
        for (topic, armed) in due {
            self.expire_topic(topic, armed);
        }
        if self.check_positions_at <= now {
            self.check_positions_at = now.after(self.settings.client.position_check_interval);
            self.check_positions();
        }
        self.settle();
    }

    /// Drain, second step: closes every connection.
    pub fn close_all(&mut self, now: Time, disconnect: &Disconnect) {
        self.now = now;
        let ids: Vec<_> = self.connections.keys().collect();
        for id in ids {
            self.disconnect(id, disconnect, "drain");
        }
        self.settle();
    }

    /// Ends a connection by a close frame.
    pub(super) fn disconnect(
        &mut self,
        id: ConnectionId,
        disconnect: &Disconnect,
        cause: &'static str,
    ) {
        self.counters.disconnects += u64::from(self.is_open(id));
        self.close(id, Some(disconnect), Closing::AwaitingPeer, cause);
    }

    /// Ends a connection; `None` answers a close frame without a code.
    pub(super) fn close(
        &mut self,
        id: ConnectionId,
        disconnect: Option<&Disconnect>,
        closing: Closing,
        cause: &'static str,
    ) {
        if !self.is_open(id) {
            return;
        }
        self.end_session(id);
        let Some(connection) = self.connections.get_mut(id) else {
            return;
        };
        tracing::debug!(
            socket = connection.socket.0,
            code = disconnect.map(|disconnect| disconnect.code),
            reason = disconnect.map(|disconnect| disconnect.reason.as_ref()),
            cause,
            "connection closes"
        );
        connection.phase = Phase::Closing(closing);
        connection.connecting = None;
        let timeout = if disconnect == Some(&Disconnect::SLOW) {
            connection.discard_output();
            SLOW_CLOSE_TIMEOUT
        } else {
            connection.forget_replies();
            CLOSE_TIMEOUT
        };
        self.scratch.clear();
        match disconnect {
            Some(disconnect) => append_close(&mut self.scratch, disconnect),
            None => append_frame(&mut self.scratch, OpCode::Control(Control::Close), &[]),
        }
        connection.push(self.scratch.as_slice().into());
        self.flush.list(id, connection, Queue::Short);
        self.set_timer(id, Timer::Close(self.now.after(timeout)));
    }

    /// The peer's close frame, or its end as far as it can be told.
    pub(super) fn peer_closed(&mut self, id: ConnectionId) {
        if let Some(connection) = self.connections.get_mut(id) {
            connection.phase = Phase::Closing(Closing::Done);
            if !connection.has_output() {
                self.finish(id);
            }
        }
    }

    pub(super) fn set_timer(&mut self, id: ConnectionId, timer: Timer) {
        if let Some(connection) = self.connections.get_mut(id) {
            connection.timer = timer;
            if timer.at() < connection.armed || connection.armed <= self.now {
                connection.armed = timer.at();
                self.timers.insert(id, timer.at());
            }
        }
    }

    /// The first ping comes after half an interval to a whole one, at a step of it.
    pub(super) fn first_ping(&mut self) -> Time {
        let interval = self.settings.client.ping_interval;
        let wait = interval.mul_f64(self.random.random_range(0.5..=1.0));
        let step = (interval / PING_STEPS).as_millis().max(1);
        let at = u128::from(self.now.after(wait).as_millis());
        Time::from_millis(u64::try_from(at.next_multiple_of(step)).unwrap_or(u64::MAX))
    }

    pub(super) fn is_open(&self, id: ConnectionId) -> bool {
        self.connections
            .get(id)
            .is_some_and(|connection| !matches!(connection.phase, Phase::Closing(_)))
    }

    /// All that waited has been sent.
    fn flushed(&mut self, id: ConnectionId) {
        let Some(connection) = self.connections.get_mut(id) else {
            return;
        };
        match &mut connection.phase {
            Phase::Closing(Closing::Done) => self.finish(id),
            Phase::Closing(Closing::OutOfSync { shut_down }) if !*shut_down => {
                *shut_down = true;
                self.outputs.push_back(Output::ShutdownWrite { socket: connection.socket });
            }
            _ => {}
        }
    }

    /// Nothing more is to be sent or read.
    fn finish(&mut self, id: ConnectionId) {
        if let Some(connection) = self.connections.remove(id) {
            self.outputs.push_back(Output::Close { socket: connection.socket });
        }
    }

    fn fire(&mut self, id: ConnectionId, timer: Timer) {
        match timer {
            Timer::Connect(_) => {
                self.disconnect(id, &Disconnect::STALE, "no connect within connect_timeout");
            }
            Timer::Ping(at) => self.ping(id, at),
            Timer::Pong(..) => match timer.answered() {
                // While draining, pongs that are messages are not read.
                Some(next) if self.draining => self.set_timer(id, next),
                _ => self.disconnect(id, &Disconnect::NO_PONG, "no pong within pong_timeout"),
            },
            Timer::Close(_) => self.finish(id),
        }
    }

    fn ping(&mut self, id: ConnectionId, due: Time) {
        let Some(connection) = self.connections.get_mut(id) else {
            return;
        };
        connection.shrink();
        let pings = connection.pings;
        let next = self.next_ping(due);
        let answer_by = self.now.after(self.settings.client.pong_timeout);
        self.set_timer(id, Timer::pong(answer_by, next));
        match pings {
            PingStyle::Messages => self.push(id, &Push::Ping),
            PingStyle::Frames => self.push_control(id, Control::Ping, &[]),
        }
    }

    /// One interval after the last one was due, unless that is so late that it is over already.
    fn next_ping(&self, due: Time) -> Time {
        let interval: Duration = self.settings.client.ping_interval;
        let next = due.after(interval);
        if next > self.now.after(self.settings.client.pong_timeout) {
            next
        } else {
            self.now.after(interval)
        }
    }

    /// Queues a control frame.
    pub(super) fn push_control(&mut self, id: ConnectionId, control: Control, payload: &[u8]) {
        if let Some(connection) = self.connections.get_mut(id) {
            self.scratch.clear();
            append_frame(&mut self.scratch, OpCode::Control(control), payload);
            connection.push(self.scratch.as_slice().into());
            self.queued(id);
        }
    }
}
