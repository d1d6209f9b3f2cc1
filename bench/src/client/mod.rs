//! A generator process: thousands of subscribers on one thread with one epoll, driven by the
//! orders on its standard input (`control`).

pub(crate) mod connection;
pub(crate) mod control;
pub(crate) mod fleet;
pub(crate) mod frames;
pub(crate) mod inbox;
pub(crate) mod protocol;
pub(crate) mod tally;
pub(crate) mod target;
pub(crate) mod upgrade;

use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::time::Duration;

use mio::unix::pipe::Receiver;
use mio::{Events, Interest, Poll, Token};

use crate::client::control::{Notice, Order};
use crate::client::fleet::Fleet;
use crate::clock::{SECOND_NS, now_ns};
use crate::error::{BenchError, ClientError};

/// Standard input; connections have their index.
const ORDERS: Token = Token(usize::MAX);
/// Events taken at once.
const EVENTS_MAX: usize = 1024;
/// How often something is looked at while there is something to look at.
const TICK: Duration = Duration::from_millis(50);
/// How often progress is told, in nanoseconds.
const PROGRESS_NS: u64 = SECOND_NS;
/// Opening connections is given up after so long without progress, in nanoseconds.
const STALL_NS: u64 = 15 * SECOND_NS;
/// How long repetitions are waited for after the last delivery, in nanoseconds.
const LINGER_NS: u64 = SECOND_NS / 4;

/// Runs a generator process until its standard input ends or `Finish` is answered.
///
/// # Errors
/// `System` when epoll or the pipes fail. Trouble with the server is told over the pipe instead.
pub(crate) fn run() -> Result<(), BenchError> {
    Worker::new()?.run()
}

/// What the process is doing.
#[derive(Debug)]
enum Activity {
    /// Waiting for the first order.
    Idle,
    /// Connecting and subscribing.
    Opening,
    /// Receiving.
    Running,
    /// Receiving what is still under way.
    Draining { expected: u64, limit_ns: u64 },
    /// All has come; repetitions may follow.
    Lingering { until_ns: u64 },
    /// Nothing left to do.
    Over,
}

struct Worker {
    poll: Poll,
    orders: Receiver,
    /// The beginning of an order whose end has not come yet.
    unread: Vec<u8>,
    fleet: Option<Fleet>,
    activity: Activity,
    /// What the progress of the current activity was when it last changed, and when.
    progress: (u64, u64),
    told_ns: u64,
}

impl Worker {
    fn new() -> Result<Self, BenchError> {
        let setup = || -> io::Result<(Poll, Receiver)> {
            let poll = Poll::new()?;
            let mut orders = Receiver::from(io::stdin().as_fd().try_clone_to_owned()?);
            orders.set_nonblocking(true)?;
            poll.registry().register(&mut orders, ORDERS, Interest::READABLE)?;
            Ok((poll, orders))
        };
        let (poll, orders) = setup().map_err(BenchError::system("setting up epoll"))?;
        Ok(Self {
            poll,
            orders,
            unread: Vec::new(),
            fleet: None,
            activity: Activity::Idle,
            progress: (0, 0),
            told_ns: 0,
        })
    }

    fn run(&mut self) -> Result<(), BenchError> {
        let mut events = Events::with_capacity(EVENTS_MAX);
        while !matches!(self.activity, Activity::Over) {
            // While nothing is awaited, nothing wakes this process but messages.
            let is_waiting = matches!(self.activity, Activity::Idle | Activity::Running);
            let timeout = if is_waiting { None } else { Some(TICK) };
            match self.poll.poll(&mut events, timeout) {
                Err(error) if error.kind() != io::ErrorKind::Interrupted => {
                    return Err(BenchError::system("waiting for events")(error));
                }
                _ => {}
            }
            for event in &events {
                if event.token() == ORDERS {
                    self.read_orders()?;
                } else if let Some(fleet) = &mut self.fleet
                    && let Err(error) = fleet.on_ready(event.token())
                {
                    return self.fail(&error);
                }
            }
            if let Err(error) = self.advance()? {
                return self.fail(&error);
            }
        }
        Ok(())
    }

    fn read_orders(&mut self) -> Result<(), BenchError> {
        let mut chunk = [0_u8; 4096];
        loop {
            match self.orders.read(&mut chunk) {
                // The coordinator is gone: so is the reason to be here.
                Ok(0) => {
                    self.activity = Activity::Over;
                    return Ok(());
                }
                Ok(count) => self.unread.extend(chunk.iter().take(count)),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(BenchError::system("reading orders")(error)),
            }
        }
        while let Some(end) = self.unread.iter().position(|&byte| byte == b'\n') {
            let line: Vec<u8> = self.unread.drain(..=end).collect();
            self.obey(serde_json::from_slice(&line)?)?;
        }
        Ok(())
    }

    fn obey(&mut self, order: Order) -> Result<(), BenchError> {
        match order {
            Order::Open(assignment) => {
                self.fleet = Some(Fleet::new(assignment)?);
                self.activity = Activity::Opening;
                self.told_ns = now_ns();
            }
            Order::Measure { from_ns } => {
                if let Some(fleet) = &mut self.fleet {
                    fleet.tally().measure_from(from_ns);
                }
            }
            Order::Finish { expected, drain_limit_ns } => {
                self.activity = Activity::Draining { expected, limit_ns: drain_limit_ns };
            }
        }
        self.progress = (0, now_ns());
        Ok(())
    }

    /// Goes on with the current activity. The inner error is the server's or the network's.
    fn advance(&mut self) -> Result<Result<(), ClientError>, BenchError> {
        let Some(fleet) = &mut self.fleet else { return Ok(Ok(())) };
        let now_ns = now_ns();
        match self.activity {
            Activity::Idle | Activity::Running | Activity::Over => {}
            Activity::Opening => {
                if fleet.is_complete() {
                    let server_version = fleet.server_version().to_owned();
                    self.activity = Activity::Running;
                    return tell(&Notice::Ready { server_version }).map(Ok);
                }
                if let Err(error) = fleet.open_more(self.poll.registry()) {
                    return Ok(Err(error));
                }
                let (subscribed, wanted) = (fleet.subscribed(), fleet.wanted());
                let quiet_ns = quiet_ns(&mut self.progress, subscribed as u64, now_ns);
                if quiet_ns > STALL_NS {
                    let seconds = quiet_ns / SECOND_NS;
                    return Ok(Err(ClientError::Stalled { subscribed, wanted, seconds }));
                }
                if now_ns.saturating_sub(self.told_ns) > PROGRESS_NS {
                    self.told_ns = now_ns;
                    tell(&Notice::Subscribed(u32::try_from(subscribed).unwrap_or(u32::MAX)))?;
                }
            }
            Activity::Draining { expected, limit_ns } => {
                let received = fleet.tally().received();
                let quiet_ns = quiet_ns(&mut self.progress, received, now_ns);
                if received >= expected || quiet_ns > limit_ns {
                    self.activity = Activity::Lingering { until_ns: now_ns + LINGER_NS };
                    tell(&Notice::Arrived)?;
                }
            }
            Activity::Lingering { until_ns } if now_ns >= until_ns => {
                self.activity = Activity::Over;
                tell(&Notice::Done(fleet.tally().totals()))?;
            }
            Activity::Lingering { .. } => {}
        }
        Ok(Ok(()))
    }

    fn fail(&mut self, error: &ClientError) -> Result<(), BenchError> {
        self.activity = Activity::Over;
        tell(&Notice::Failed { reason: error.to_string() })
    }
}

/// How long `count` has not changed, in nanoseconds; `progress` remembers it and when it changed.
fn quiet_ns(progress: &mut (u64, u64), count: u64, now_ns: u64) -> u64 {
    if progress.0 != count {
        *progress = (count, now_ns);
    }
    now_ns.saturating_sub(progress.1)
}

fn tell(notice: &Notice) -> Result<(), BenchError> {
    let mut line = serde_json::to_vec(notice)?;
    line.push(b'\n');
    let mut output = io::stdout().lock();
    output
        .write_all(&line)
        .and_then(|()| output.flush())
        .map_err(BenchError::system("telling the coordinator"))
}
