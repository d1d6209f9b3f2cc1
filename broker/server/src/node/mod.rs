//! A node: checks, listening sockets, one thread per shard, signals, and the end in good order.
//!
//! Everything that can fail at the start fails in [`run`] before it reports the start. What shards
//! do is in `reactor/`; how they reach each other, in `mesh.rs`.

mod listener;
mod preflight;
mod signals;
mod start_error;

use std::net::{SocketAddr, TcpListener};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use fanwire_core::config::NodeInfo;
use fanwire_core::{Place, ShardIndex};
use flume::{Receiver, Sender};
use glommio::{LocalExecutorBuilder, Placement};

use crate::config::Config;
use crate::keyring::Keyring;
use crate::mesh::{self, Doorbell};
use crate::metrics::Metrics;
use crate::reactor::{Order, Orders, Reactor, Seat};
use crate::side::jwks;

use listener::{PublicListeners, bind_admin, bind_public};
pub(crate) use start_error::StartError;

/// How long requests in hand may take at the end.
const DRAIN_LIMIT: Duration = Duration::from_secs(5);
/// How long connections may take to close.
const CLOSE_LIMIT: Duration = Duration::from_secs(5);
/// How long a shard may take to notice that it is over.
const ABANDON_LIMIT: Duration = Duration::from_secs(1);
/// How often the node looks how far its shards are, at the end. Only two quiet looks in a row
/// count: a batch may be between two shards of which one was looked at before it arrived.
const LOOK_INTERVAL: Duration = Duration::from_millis(10);
/// Exit status of a node that lost a shard (EX_SOFTWARE of sysexits.h).
const EXIT_BUG: i32 = 70;
/// Depth of glommio's rings; next to nothing runs in them.
const GLOMMIO_RING_DEPTH: usize = 128;
/// The loop is the executor's only task and never gives way. glommio goes to sleep without having
/// run a task if this timer fires first, so it must not fire while the thread starts.
const PREEMPT_TIMER: Duration = Duration::from_secs(3600);

/// What a started node has to say.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Started {
    /// Where clients and backends connect, with the real port.
    pub(crate) address: SocketAddr,
    /// Where health and metrics are, with the real port.
    pub(crate) admin: SocketAddr,
    /// How many shards run.
    pub(crate) shards: usize,
    /// How the first is spoken to.
    pub(crate) transport: Transport,
}

/// What carries HTTP and WebSocket on the public port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Transport {
    /// TCP as it is.
    Plain,
    /// TLS alone.
    Tls,
}

/// Runs a node until a signal ends it.
///
/// # Errors
///
/// It could not start; nothing of it is left.
pub(crate) fn run(config: Config, on_started: impl FnOnce(&Started)) -> Result<(), StartError> {
    let began = Instant::now();
    let cores = preflight::usable_cores()?;
    let shards = if config.server.shards == 0 { cores.len() } else { config.server.shards };
    preflight::check(shards)?;
    let public = bind_public(config.server.address, shards)?;
    let (admin, admin_address) = bind_admin(&config.admin)?;
    // Before any thread is spawned, so that all inherit it.
    let signals = signals::block()?;

    let transport = if config.tls.is_some() { Transport::Tls } else { Transport::Plain };
    let started = Started { address: public.address, admin: admin_address, shards, transport };
    let PublicListeners { listeners, claim, .. } = public;
    let (seats, orders) = make_seats(config, &started, listeners, admin, began)?;
    let threads = start_shards(seats, &cores)?;
    let first_signal = signals::listen(signals)?;
    let tls = transport == Transport::Tls;
    tracing::info!(address = %started.address, tls, admin = %started.admin, shards, "started");
    on_started(&started);

    // The sender lives in a thread that ends only with the process.
    if let Ok(signal) = first_signal.recv() {
        tracing::info!(%signal, "stopping: finishing what is in hand");
    }
    stop(&orders, &threads);
    drop(claim);
    Ok(())
}

fn make_seats(
    config: Config,
    started: &Started,
    listeners: Vec<TcpListener>,
    admin: TcpListener,
    began: Instant,
) -> Result<(Vec<Seat>, Arc<Orders>), StartError> {
    let what = "cannot make the shards' doorbells";
    let doorbells: Result<Vec<_>, _> =
        (0..started.shards).map(|_| Doorbell::new().map(Arc::new)).collect();
    let doorbells = doorbells.map_err(|source| StartError::System { what, source })?;
    let lanes = mesh::join(&doorbells);
    let orders = Arc::new(Orders::new(doorbells.clone()));
    let metrics = Arc::new(Metrics::new(started.shards));
    let node = Arc::new(node_info(started));
    let keyring = Arc::new(Keyring::new(config.tokens.keys(), doorbells.clone()));
    start_fetching(&config, &keyring)?;
    let config = Arc::new(config);
    let count = u16::try_from(started.shards).unwrap_or(u16::MAX);
    let mut admin = Some(admin);
    let parts = listeners.into_iter().zip(lanes).zip(doorbells).zip(0..count);
    let seats = parts.map(|(((public, lanes), doorbell), index)| Seat {
        place: Place { index: ShardIndex(index), count },
        config: Arc::clone(&config),
        node: Arc::clone(&node),
        seed: rand::random(),
        started: began,
        public,
        admin: admin.take(),
        lanes,
        doorbell,
        orders: Arc::clone(&orders),
        keyring: Arc::clone(&keyring),
        metrics: Arc::clone(&metrics),
    });
    Ok((seats.collect(), orders))
}

/// Starts the thread that fetches the keys of tokens, if there are any to fetch.
fn start_fetching(config: &Config, keyring: &Arc<Keyring>) -> Result<(), StartError> {
    let filled = Arc::clone(keyring);
    let demand = jwks::start(&config.tokens, move |keys| filled.replace(keys));
    let what = "cannot start the thread that fetches keys";
    keyring.set_demand(demand.map_err(|source| StartError::System { what, source })?);
    Ok(())
}

fn node_info(started: &Started) -> NodeInfo {
    let host = nix::unistd::gethostname().unwrap_or_default();
    NodeInfo {
        id: uuid::Builder::from_random_bytes(rand::random()).into_uuid(),
        name: format!("{}_{}", host.to_string_lossy(), started.address.port()),
        version: env!("CARGO_PKG_VERSION").to_owned(),
    }
}

/// Starts a thread per shard and waits until all are ready to serve.
fn start_shards(seats: Vec<Seat>, cores: &[usize]) -> Result<Vec<JoinHandle<()>>, StartError> {
    let (ready, all_ready) = flume::unbounded();
    let count = seats.len();
    let mut threads = Vec::with_capacity(count);
    for (seat, &core) in seats.into_iter().zip(cores.iter().cycle()) {
        let index = seat.place.index.as_usize();
        let ready = ready.clone();
        let thread = thread::Builder::new()
            .name(format!("shard-{index}"))
            .spawn(move || shard_thread(seat, core, &ready))
            .map_err(|error| StartError::Shard { index, cause: error.to_string() })?;
        threads.push(thread);
    }
    drop(ready);
    await_ready(count, &all_ready)?;
    Ok(threads)
}

fn await_ready(
    count: usize,
    all_ready: &Receiver<Result<(), StartError>>,
) -> Result<(), StartError> {
    for _ in 0..count {
        match all_ready.recv() {
            Ok(result) => result?,
            // Every thread reports or ends the process; this one did neither.
            Err(_) => std::process::exit(EXIT_BUG),
        }
    }
    Ok(())
}

/// The whole life of a shard. A node is whole or it is not there: a shard that ends without being
/// told to takes the process with it.
fn shard_thread(seat: Seat, core: usize, ready: &Sender<Result<(), StartError>>) {
    let index = seat.place.index.as_usize();
    let cause = match catch_unwind(AssertUnwindSafe(|| run_shard(seat, core, ready))) {
        Ok(Ok(())) => return,
        Ok(Err(error)) => error,
        Err(_) => "a bug (the panic is reported above)".to_owned(),
    };
    tracing::error!(shard = index, cause, "a shard ended unexpectedly; the node stops");
    std::process::exit(EXIT_BUG);
}

fn run_shard(
    seat: Seat,
    core: usize,
    ready: &Sender<Result<(), StartError>>,
) -> Result<(), String> {
    let index = seat.place.index.as_usize();
    let report = |result: Result<(), String>| {
        let result = result.map_err(|cause| StartError::Shard { index, cause });
        // Nobody listens any more only if another shard has failed to start.
        let _ = ready.send(result);
    };
    let executor = LocalExecutorBuilder::new(Placement::Fixed(core))
        .io_memory(0)
        .ring_depth(GLOMMIO_RING_DEPTH)
        .preempt_timer(PREEMPT_TIMER)
        .make();
    let executor = match executor {
        Ok(executor) => executor,
        Err(error) => {
            report(Err(error.to_string()));
            return Ok(());
        }
    };
    executor.run(async {
        match Reactor::new(seat) {
            Ok(reactor) => {
                report(Ok(()));
                reactor.run().map_err(|error| error.to_string())
            }
            Err(error) => {
                report(Err(error.to_string()));
                Ok(())
            }
        }
    })
}

/// The end in two steps, each with a limit.
fn stop(orders: &Orders, threads: &[JoinHandle<()>]) {
    orders.give(Order::Drain);
    let mut quiet_looks = 0;
    let drained = wait_until(DRAIN_LIMIT, || {
        quiet_looks = if orders.all_quiet() { quiet_looks + 1 } else { 0 };
        quiet_looks >= 2
    });
    if !drained {
        tracing::warn!("some requests were not finished in time");
    }
    orders.give(Order::Close);
    if !wait_until(CLOSE_LIMIT, || threads.iter().all(JoinHandle::is_finished)) {
        tracing::warn!("some connections did not close in time");
    }
    orders.give(Order::Abandon);
    if !wait_until(ABANDON_LIMIT, || threads.iter().all(JoinHandle::is_finished)) {
        tracing::error!("a shard does not react; the node ends without it");
        std::process::exit(EXIT_BUG);
    }
    tracing::info!("stopped");
}

fn wait_until(limit: Duration, mut done: impl FnMut() -> bool) -> bool {
    let began = Instant::now();
    while !done() {
        if began.elapsed() >= limit {
            return false;
        }
        thread::sleep(LOOK_INTERVAL);
    }
    true
}
