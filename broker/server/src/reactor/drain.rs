//! The end of a shard in two steps, as the node orders it: first nothing new is taken and what is
//! in hand is finished, on all shards; then clients are told to reconnect elsewhere.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};

use fanwire_core::ShardIndex;
use fanwire_core::fault::Disconnect;

use super::Reactor;
use super::socket::Phase;
use crate::mesh::Doorbell;

/// What the node wants of all its shards. Each follows from the one before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub(crate) enum Order {
    /// Serve.
    Serve = 0,
    /// Take nothing new, finish what is in hand.
    Drain = 1,
    /// Close every connection, then end.
    Close = 2,
    /// End at once.
    Abandon = 3,
}

/// Where the node tells its shards what to do, and they say how far they are.
#[derive(Debug)]
pub(crate) struct Orders {
    order: AtomicU8,
    /// Per shard: it drains and has nothing in hand at the moment.
    quiet: Vec<AtomicBool>,
    doorbells: Vec<Arc<Doorbell>>,
}

impl Orders {
    /// All shards serve.
    pub(crate) fn new(doorbells: Vec<Arc<Doorbell>>) -> Self {
        let quiet = doorbells.iter().map(|_| AtomicBool::new(false)).collect();
        Self { order: AtomicU8::new(Order::Serve as u8), quiet, doorbells }
    }

    /// Gives an order and wakes the shards.
    pub(crate) fn give(&self, order: Order) {
        self.order.store(order as u8, Ordering::Release);
        for doorbell in &self.doorbells {
            doorbell.ring();
        }
    }

    /// Whether no shard has anything in hand at the moment.
    pub(crate) fn all_quiet(&self) -> bool {
        self.quiet.iter().all(|quiet| quiet.load(Ordering::Acquire))
    }

    fn current(&self) -> Order {
        match self.order.load(Ordering::Acquire) {
            0 => Order::Serve,
            1 => Order::Drain,
            2 => Order::Close,
            _ => Order::Abandon,
        }
    }

    fn report(&self, shard: ShardIndex, quiet: bool) {
        if let Some(slot) = self.quiet.get(shard.as_usize()) {
            slot.store(quiet, Ordering::Release);
        }
    }
}

/// How far a shard is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    Running,
    Draining,
    Closing,
    Ended,
}

impl Reactor {
    /// Whether there is an order that was not obeyed yet.
    pub(super) fn has_orders(&self) -> bool {
        self.stage == Stage::Running && self.orders.current() != Order::Serve
    }

    /// Follows the node's orders, one step per turn.
    pub(super) fn obey_orders(&mut self) {
        let order = self.orders.current();
        match self.stage {
            _ if order == Order::Abandon => self.stage = Stage::Ended,
            Stage::Running if order >= Order::Drain => self.begin_drain(),
            Stage::Draining if order >= Order::Close => self.begin_close(),
            Stage::Closing if self.sockets.open_count() == 0 => self.stage = Stage::Ended,
            _ => {}
        }
    }

    fn begin_drain(&mut self) {
        self.stage = Stage::Draining;
        self.close_doors();
        self.shard.drain();
        self.end_http();
    }

    fn begin_close(&mut self) {
        self.stage = Stage::Closing;
        self.shard.close_all(self.now, &Disconnect::SHUTDOWN);
        for key in self.sockets.open_keys() {
            let phase = self.sockets.find(key).map(|socket| &socket.phase);
            let core_knows = |phase: &Phase| {
                matches!(phase, Phase::WebSocket(_) | Phase::WebSocketEnding(_) | Phase::Closed)
            };
            if phase.is_some_and(|phase| !core_knows(phase)) {
                self.close(key);
            }
        }
    }

    /// At the end of a turn, while draining: whether anything is in hand.
    pub(super) fn report_quiet(&self) {
        if self.stage == Stage::Draining {
            let quiet = self.shard.is_quiet()
                && self.http.in_hand_count() == 0
                && self.again.is_empty()
                && !self.outputs_left
                && !self.tls.has_waiting();
            self.orders.report(self.place.index, quiet);
        }
    }
}
