//! The loop of a shard: it owns the sockets, the ring that watches them, and core's [`Shard`].
//!
//! One turn (see [`Reactor::turn`]): wait for the ring; handle what it reports; take what other
//! shards sent; let timers run; then carry out what core wants done, all writes of a socket in one.
//! Where nothing is to be done the wait lasts until a socket, the doorbell or a timer ends it.
//!
//! `node/` starts one reactor per core and gives it its [`Seat`].

mod accept;
mod drain;
mod flush;
mod receive;
mod requests;
#[allow(unsafe_code, reason = "raw submissions and descriptors; see docs/adr/0001")]
mod ring;
mod sleep;
mod socket;
mod tls;
mod turns;

use std::io;
use std::net::TcpListener;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use fanwire_core::config::{ClientSettings, NodeInfo};
use fanwire_core::{Place, Shard, Time};

use crate::config::Config;
use crate::http::{HttpServer, Site};
use crate::keyring::Keyring;
use crate::mesh::{Doorbell, Lanes};
use crate::metrics::{Metrics, ReactorCounters, Snapshot};

use accept::Doors;
use drain::Stage;
pub(crate) use drain::{Order, Orders};
pub(crate) use ring::Ring;
use ring::{Event, Series, Token};
use socket::{SocketKey, Sockets};
use tls::Tls;
pub(crate) use turns::{BOUNDS_US, TurnTimes};

/// The one buffer that all sockets of a shard are read into.
const SCRATCH_BYTES: usize = 64 * 1024;
/// How often the wall clock is read by a busy shard; one that slept reads it when it wakes.
const CLOCK_INTERVAL_MS: u64 = 500;
/// How often a shard leaves its counters for a scrape while it is busy.
const PUBLISH_INTERVAL_MS: u64 = 250;

/// Everything a shard needs to start.
pub(crate) struct Seat {
    /// Which shard of how many.
    pub(crate) place: Place,
    /// The node's configuration.
    pub(crate) config: Arc<Config>,
    /// What the node says about itself.
    pub(crate) node: Arc<NodeInfo>,
    /// Randomness for core.
    pub(crate) seed: [u8; 32],
    /// The node's start, time zero of every shard.
    pub(crate) started: Instant,
    /// Its listening socket on the public port.
    pub(crate) public: TcpListener,
    /// The admin port's listening socket, on one shard.
    pub(crate) admin: Option<TcpListener>,
    /// Its ends of the lanes.
    pub(crate) lanes: Lanes,
    /// What wakes it.
    pub(crate) doorbell: Arc<Doorbell>,
    /// What the node tells all shards.
    pub(crate) orders: Arc<Orders>,
    /// What tokens may be signed with.
    pub(crate) keyring: Arc<Keyring>,
    /// Where its counters go.
    pub(crate) metrics: Arc<Metrics>,
}

/// A running shard.
pub(crate) struct Reactor {
    place: Place,
    client: ClientSettings,
    started: Instant,
    now: Time,
    shard: Shard,
    ring: Ring,
    events: Vec<Event>,
    sockets: Sockets,
    doors: Doors,
    http: HttpServer,
    tls: Tls,
    lanes: Lanes,
    doorbell: Arc<Doorbell>,
    /// The doorbell's poll is in the ring.
    doorbell_armed: bool,
    orders: Arc<Orders>,
    keyring: Arc<Keyring>,
    /// Of the keys that core has.
    keys_version: u64,
    /// When the wall clock is read again.
    read_clock_at: Time,
    stage: Stage,
    metrics: Arc<Metrics>,
    counters: ReactorCounters,
    turns: TurnTimes,
    publish_at: Time,
    scratch: Box<[u8]>,
    /// Small chunks of one socket are joined here for one send.
    gather: Vec<u8>,
    /// HTTP connections with answers that go out at the end of the turn.
    corked: Vec<SocketKey>,
    /// Sockets that had more to read, or to say, than their share of the turn.
    again: Vec<(SocketKey, Hangup)>,
    /// Core has more to be done than the budget of the turn allowed.
    outputs_left: bool,
}

/// Whether the peer has closed its side, so that reading must go on to the end of the stream: no
/// further event will come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Hangup {
    /// Read to the end; comes first where a socket is listed twice.
    Seen,
    /// A short read has emptied the socket.
    NotSeen,
}

impl Reactor {
    /// Sets up a shard on the executor of the calling thread.
    ///
    /// # Errors
    ///
    /// No ring, or no descriptor.
    pub(crate) fn new(seat: Seat) -> io::Result<Self> {
        let now = Time::ZERO;
        let settings = Rc::new(seat.config.settings.clone());
        let client = settings.client.clone();
        let site = Site::new(&seat.config, Arc::clone(&seat.metrics));
        let tls = seat.config.tls.as_ref().map(|identity| Arc::clone(&identity.0));
        let keys_version = seat.keyring.version();
        let mut shard = Shard::new(seat.place, settings, seat.node, seat.seed, now);
        shard.set_keys(seat.keyring.keys());
        Ok(Self {
            place: seat.place,
            client,
            started: seat.started,
            now,
            shard,
            ring: Ring::new()?,
            events: Vec::new(),
            sockets: Sockets::default(),
            doors: Doors::new(seat.public, seat.admin),
            http: HttpServer::new(site),
            tls: Tls::new(tls),
            lanes: seat.lanes,
            doorbell_armed: false,
            orders: seat.orders,
            keyring: seat.keyring,
            keys_version,
            read_clock_at: now,
            stage: Stage::Running,
            metrics: seat.metrics,
            counters: ReactorCounters::default(),
            turns: TurnTimes::default(),
            publish_at: now,
            scratch: vec![0; SCRATCH_BYTES].into_boxed_slice(),
            gather: Vec::with_capacity(SCRATCH_BYTES),
            corked: Vec::new(),
            again: Vec::new(),
            outputs_left: false,
            doorbell: seat.doorbell,
        })
    }

    /// Runs the shard until it is ordered to end.
    ///
    /// # Errors
    ///
    /// The ring failed; the shard cannot go on.
    pub(crate) fn run(mut self) -> io::Result<()> {
        while self.stage != Stage::Ended {
            self.turn()?;
        }
        Ok(())
    }

    fn turn(&mut self) -> io::Result<()> {
        self.arm();
        self.wait()?;
        let began = self.started.elapsed();
        self.bring_events()?;
        self.now = Time::ZERO.after(began);
        self.read_wall_clock();
        self.take_keys();

        self.handle_events();
        self.read_again();
        self.receive_batches();
        self.obey_orders();
        self.handle_timeouts();
        self.shard.carry_on();
        self.handle_outputs();
        self.continue_handshakes();
        self.turns.add(self.started.elapsed().saturating_sub(began));

        self.report_quiet();
        if self.now >= self.publish_at {
            self.publish_counters();
        }
        Ok(())
    }

    /// Puts into the ring what must always be there and is not.
    fn arm(&mut self) {
        if !self.doorbell_armed {
            self.doorbell_armed = true;
            self.ring.poll_readable(Token::Doorbell, self.doorbell.file());
        }
        self.arm_doors();
    }

    /// Tells core what the wall clock shows, now and then: it may be set while the node runs.
    fn read_wall_clock(&mut self) {
        if self.now < self.read_clock_at {
            return;
        }
        self.read_clock_at = Time::from_millis(self.now.as_millis() + CLOCK_INTERVAL_MS);
        let unix = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let unix_ms = u64::try_from(unix.as_millis()).unwrap_or(u64::MAX);
        self.shard.set_wall_clock(unix_ms.saturating_sub(self.now.as_millis()));
    }

    /// Takes keys that were fetched.
    fn take_keys(&mut self) {
        let version = self.keyring.version();
        if version != self.keys_version {
            self.keys_version = version;
            self.shard.set_keys(self.keyring.keys());
        }
    }

    fn handle_events(&mut self) {
        let mut events = std::mem::take(&mut self.events);
        self.ring.take_events(&mut events);
        for event in events.drain(..) {
            match event {
                Event::Accepted(door, result, series) => self.accepted(door, result, series),
                Event::Readable { socket, hangup, series } => {
                    self.readable(socket, hangup, series);
                }
                Event::Writable(socket) => self.writable(socket),
                // The lanes are looked at in every turn; the bell is only there to end a sleep.
                Event::Doorbell(series) => self.doorbell_armed = series == Series::GoesOn,
                Event::Nothing => {}
            }
        }
        self.events = events;
    }

    fn receive_batches(&mut self) {
        let (shard, now) = (&mut self.shard, self.now);
        self.lanes.receive(|from, batch| shard.handle_batch(now, from, batch));
        while let Some(to) = self.lanes.pop_reopened() {
            self.shard.handle_lane(to, true);
        }
    }

    fn handle_timeouts(&mut self) {
        if self.shard.next_timeout().is_some_and(|time| time <= self.now) {
            self.shard.handle_timeout(self.now);
        }
        while let Some(key) = self.sockets.pop_expired(self.now) {
            tracing::debug!(socket = key.socket_id().0, "socket timed out");
            self.hang_up(key);
        }
    }

    fn publish_counters(&mut self) {
        self.publish_at = Time::from_millis(self.now.as_millis() + PUBLISH_INTERVAL_MS);
        self.counters.sockets = self.sockets.open_count() as u64;
        let mut reactor = self.counters;
        reactor.reads += self.http.reads();
        let snapshot = Snapshot { core: self.shard.counters(), reactor, turns: self.turns };
        self.metrics.publish(self.place.index.as_usize(), &snapshot);
    }

    /// Runs the code that serves one socket. If it panics, that socket is closed, and only that.
    fn contain<T>(&mut self, key: SocketKey, serve: impl FnOnce(&mut Self) -> T) -> Option<T> {
        match catch_unwind(AssertUnwindSafe(|| serve(self))) {
            Ok(result) => Some(result),
            Err(_) => {
                self.counters.panics += 1;
                tracing::error!(
                    socket = key.socket_id().0,
                    "a bug in the code that serves a connection; the connection is closed"
                );
                self.hang_up(key);
                None
            }
        }
    }
}
