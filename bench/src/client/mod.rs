//! A generator process: thousands of clients on one thread with one epoll, driven by the orders on
//! its standard input (`control`). What the clients do is their `behaviour`.

pub(crate) mod alarm;
pub(crate) mod behaviour;
pub(crate) mod connection;
pub(crate) mod control;
pub(crate) mod dialogue;
pub(crate) mod fleet;
pub(crate) mod frames;
pub(crate) mod inbox;
pub(crate) mod line;
pub(crate) mod shared;
pub(crate) mod stream;
pub(crate) mod subscription;
pub(crate) mod tally;
pub(crate) mod target;
pub(crate) mod tls;
pub(crate) mod upgrade;

use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::time::Duration;

use mio::unix::pipe::Receiver;
use mio::{Events, Interest, Poll, Token};

use crate::client::alarm::Alarm;
use crate::client::behaviour::Behaviour;
use crate::client::control::{Notice, Order};
use crate::client::fleet::Fleet;
use crate::clock::{SECOND_NS, now_ns};
use crate::error::{BenchError, ClientError};

/// Standard input; connections have their slot.
const ORDERS: Token = Token(usize::MAX);
/// The behaviour's timer.
const ALARM: Token = Token(usize::MAX - 1);
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
    /// Receiving, and doing what the behaviour does.
    Running,
    /// Waiting for what is under way; nothing new happens.
    Stopping { limit_ns: u64 },
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
    alarm: Alarm,
    play: Option<Play>,
    activity: Activity,
    /// What the progress of the current activity was when it last changed, and when.
    progress: (u64, u64),
    told_ns: u64,
}

/// The clients and what they do.
struct Play {
    fleet: Fleet,
    behaviour: Box<dyn Behaviour>,
    /// Happenings that the behaviour has been told: while they grow, something moves.
    told: u64,
}

impl Worker {
    fn new() -> Result<Self, BenchError> {
        let setup = || -> io::Result<(Poll, Receiver, Alarm)> {
            let poll = Poll::new()?;
            let mut orders = Receiver::from(io::stdin().as_fd().try_clone_to_owned()?);
            orders.set_nonblocking(true)?;
            poll.registry().register(&mut orders, ORDERS, Interest::READABLE)?;
            let alarm = Alarm::new(poll.registry(), ALARM)?;
            Ok((poll, orders, alarm))
        };
        let (poll, orders, alarm) = setup().map_err(BenchError::system("setting up epoll"))?;
        Ok(Self {
            poll,
            orders,
            unread: Vec::new(),
            alarm,
            play: None,
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
                match event.token() {
                    ORDERS => self.read_orders()?,
                    ALARM => self.alarm.rang(),
                    Token(slot) => {
                        let Some(play) = &mut self.play else { continue };
                        if let Err(error) = play.fleet.on_ready(slot) {
                            return self.fail(&error);
                        }
                    }
                }
            }
            if let Some(play) = &mut self.play {
                let due_ns = play.act()?;
                self.alarm.set(due_ns).map_err(BenchError::system("setting the timer"))?;
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
                let registry = self.poll.registry().try_clone();
                let registry = registry.map_err(BenchError::system("setting up epoll"))?;
                let behaviour = assignment.role.behaviour(&assignment)?;
                let fleet = Fleet::new(*assignment, behaviour.as_ref(), registry)?;
                self.play = Some(Play { fleet, behaviour, told: 0 });
                self.activity = Activity::Opening;
                self.told_ns = now_ns();
            }
            Order::Run(times) => {
                if let Some(Play { fleet, behaviour, .. }) = &mut self.play {
                    fleet.tally().measure(times.from_ns, times.until_ns);
                    behaviour.start(times, fleet);
                }
            }
            Order::Stop { limit_ns } => {
                if let Some(Play { fleet, behaviour, .. }) = &mut self.play {
                    behaviour.stop(fleet)?;
                }
                self.activity = Activity::Stopping { limit_ns };
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
        let Some(Play { fleet, behaviour, told }) = &mut self.play else { return Ok(Ok(())) };
        let now_ns = now_ns();
        match self.activity {
            Activity::Idle | Activity::Running | Activity::Over => {}
            Activity::Opening => {
                if fleet.is_complete() {
                    let server_version = fleet.server_version().to_owned();
                    self.activity = Activity::Running;
                    return tell(&Notice::Ready { server_version }).map(Ok);
                }
                if let Err(error) = fleet.open_more(behaviour.as_ref()) {
                    return Ok(Err(error));
                }
                let (subscribed, wanted) = (fleet.complete(), fleet.wanted());
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
            Activity::Stopping { limit_ns } => {
                let is_over = behaviour.is_over(fleet);
                // Asks every connection: too much while there is something else to wait for.
                let unanswered = if is_over { fleet.unanswered() } else { 0 };
                let is_over = is_over && unanswered == 0;
                let moved = *told + fleet.tally().excused_count() + unanswered as u64;
                let quiet_ns = quiet_ns(&mut self.progress, moved, now_ns);
                if is_over || quiet_ns > limit_ns {
                    self.activity = Activity::Running;
                    behaviour.count(fleet.tally());
                    tell(&Notice::Stopped(Box::new(fleet.tally().totals())))?;
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
                behaviour.count(fleet.tally());
                tell(&Notice::Done(Box::new(fleet.tally().totals())))?;
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

impl Play {
    /// Tells the behaviour what has happened.
    fn tell(&mut self) {
        while let Some(happening) = self.fleet.next_happening() {
            self.behaviour.on_happening(happening, &mut self.fleet);
            self.told += 1;
        }
    }

    /// Tells the behaviour what has happened and what is due, sends what it has the clients say,
    /// and returns when it is due next.
    fn act(&mut self) -> Result<Option<u64>, BenchError> {
        self.tell();
        let Self { fleet, behaviour, .. } = self;
        if let Some(due_ns) = behaviour.due_ns() {
            let now_ns = now_ns();
            if due_ns <= now_ns {
                behaviour.on_timer(now_ns, fleet)?;
            }
        }
        fleet.flush();
        Ok(behaviour.due_ns())
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
