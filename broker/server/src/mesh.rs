//! Lanes and doorbells: how shards reach each other. One bounded single-producer ring of batches
//! per ordered pair of shards, and one doorbell per shard that is rung only when it sleeps.
//!
//! Called by the reactor alone. What a batch means is core's business.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering, fence};

use fanwire_core::{Batch, ShardIndex};
use nix::sys::eventfd::{EfdFlags, EventFd};
use rtrb::{Consumer, Producer, RingBuffer};

/// Batches that fit a lane. Core makes at most one per turn, and keeps collecting while it is full.
const LANE_BATCHES_MAX: usize = 256;

/// Wakes one shard. Each stands on cache lines of its own, for every other shard reads it.
#[repr(align(128))]
#[derive(Debug)]
pub(crate) struct Doorbell {
    asleep: AtomicBool,
    eventfd: EventFd,
}

impl Doorbell {
    /// A doorbell of a shard that is awake.
    ///
    /// # Errors
    ///
    /// Out of descriptors.
    pub(crate) fn new() -> io::Result<Self> {
        let eventfd = EventFd::from_flags(EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK)?;
        Ok(Self { asleep: AtomicBool::new(false), eventfd })
    }

    /// Wakes the shard if it sleeps. What it shall find must have been stored before.
    pub(crate) fn ring(&self) {
        // Pairs with `fall_asleep`: either this sees `asleep`, or the shard sees the mail.
        fence(Ordering::SeqCst);
        if self.asleep.load(Ordering::Relaxed) && self.asleep.swap(false, Ordering::Relaxed) {
            // It can fail only at 2^64 - 1 rings that nobody answered; the poll is ready then.
            let _ = self.eventfd.write(1);
        }
    }

    /// Announces sleep. The shard must look for mail once more before it sleeps.
    pub(crate) fn fall_asleep(&self) {
        self.asleep.store(true, Ordering::Relaxed);
        fence(Ordering::SeqCst);
    }

    /// Ends what `fall_asleep` announced.
    pub(crate) fn wake_up(&self) {
        self.asleep.store(false, Ordering::Relaxed);
    }

    /// What the shard's ring polls. It is never read: the poll reports each ring, not the count.
    pub(crate) fn file(&self) -> BorrowedFd<'_> {
        self.eventfd.as_fd()
    }
}

/// Whether a lane takes batches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Room {
    /// One more fits.
    Free,
    /// None fits until the other shard has taken some.
    Full,
}

struct Outgoing {
    lane: Producer<Batch>,
    doorbell: Arc<Doorbell>,
    room: Room,
}

/// One shard's ends of all its lanes.
pub(crate) struct Lanes {
    /// By target; `None` at the own index.
    outgoing: Vec<Option<Outgoing>>,
    /// By source; `None` at the own index.
    incoming: Vec<Option<Consumer<Batch>>>,
}

impl Lanes {
    /// Sends a batch, wakes its target, and says whether another would fit.
    ///
    /// # Panics
    ///
    /// If the lane is full or leads nowhere: core was told not to do this.
    pub(crate) fn send(&mut self, to: ShardIndex, batch: Batch) -> Room {
        let Some(Some(outgoing)) = self.outgoing.get_mut(to.as_usize()) else {
            panic!("a batch for shard {}, to which no lane leads", to.0)
        };
        assert!(outgoing.lane.push(batch).is_ok(), "a batch for a lane that was said to be full");
        outgoing.doorbell.ring();
        outgoing.room = if outgoing.lane.slots() == 0 { Room::Full } else { Room::Free };
        outgoing.room
    }

    /// A lane that was full and takes batches again; `None` when there is no other.
    pub(crate) fn pop_reopened(&mut self) -> Option<ShardIndex> {
        let lanes = self.outgoing.iter_mut().zip(0..);
        for (outgoing, index) in lanes.filter_map(|(lane, index)| Some((lane.as_mut()?, index))) {
            if outgoing.room == Room::Full && outgoing.lane.slots() > 0 {
                outgoing.room = Room::Free;
                return Some(ShardIndex(index));
            }
        }
        None
    }

    /// Whether a lane waits for its target, which will not ring when it has taken a batch.
    pub(crate) fn any_full(&self) -> bool {
        self.outgoing.iter().flatten().any(|outgoing| outgoing.room == Room::Full)
    }

    /// Whether a batch has arrived.
    pub(crate) fn any_mail(&self) -> bool {
        self.incoming.iter().flatten().any(|lane| !lane.is_empty())
    }

    /// Hands over what has arrived, lane by lane, at most one filling of each.
    pub(crate) fn receive(&mut self, mut handle: impl FnMut(ShardIndex, Batch)) {
        for (lane, index) in self.incoming.iter_mut().zip(0..) {
            let Some(lane) = lane else { continue };
            for _ in 0..LANE_BATCHES_MAX {
                let Ok(batch) = lane.pop() else { break };
                handle(ShardIndex(index), batch);
            }
        }
    }
}

/// Joins every shard with every other, in order of their indices.
pub(crate) fn join(doorbells: &[Arc<Doorbell>]) -> Vec<Lanes> {
    let count = doorbells.len();
    let empty = || Lanes { outgoing: Vec::new(), incoming: Vec::new() };
    let mut all: Vec<Lanes> = (0..count).map(|_| empty()).collect();
    for from in 0..count {
        for (to, doorbell) in doorbells.iter().enumerate() {
            let (outgoing, incoming) = if from == to {
                (None, None)
            } else {
                let (lane, other_end) = RingBuffer::new(LANE_BATCHES_MAX);
                let doorbell = Arc::clone(doorbell);
                (Some(Outgoing { lane, doorbell, room: Room::Free }), Some(other_end))
            };
            if let Some(lanes) = all.get_mut(from) {
                lanes.outgoing.push(outgoing);
            }
            if let Some(lanes) = all.get_mut(to) {
                lanes.incoming.push(incoming);
            }
        }
    }
    all
}
