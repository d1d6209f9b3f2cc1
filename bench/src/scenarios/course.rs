//! The course that every run takes: clients connect, something is done and measured, what is under
//! way arrives, and all is added up. A scenario says who its clients are, what is published, and
//! which deliveries follow from that.

use std::thread::{self, JoinHandle};
use std::time::Duration;

use crate::cli::run::RunOptions;
use crate::client::control::{Assignment, Notice, Order, Times, Totals};
use crate::clock::{SECOND_NS, now_ns, seconds_to_ns};
use crate::error::BenchError;
use crate::histogram::TimeHistogram;
use crate::procfs::{CpuTime, Memory};
use crate::progress::Progress;
use crate::publisher::{Plan, Publisher, Sent};
use crate::report::findings::{Published, Usage};
use crate::scenarios::crew::Crew;
use crate::scenarios::plan::Accepted;
use crate::watch::{Reading, Watch, Watched};

/// Time between an order to all processes and the moment that it names, so that all are ready.
pub(crate) const LEAD_NS: u64 = SECOND_NS / 5;

/// A run whose clients are connected.
#[derive(Debug)]
pub(crate) struct Course<'a> {
    options: &'a RunOptions,
    assignments: Vec<Assignment>,
    crew: Crew,
    /// What the person at the keyboard sees of it.
    pub(crate) progress: Progress,
    /// As the server told it, or empty.
    server_version: String,
    before: Memory,
    connected: Memory,
}

/// What was found in the part that is measured.
#[derive(Debug)]
pub(crate) struct Measured {
    /// Connections that were open.
    pub(crate) connections: u32,
    /// What the server called itself, or empty.
    pub(crate) server_version: String,
    /// What became of the publications of backend and clients; `None` when there were none.
    pub(crate) published: Option<Published>,
    /// What each generator process has seen.
    pub(crate) totals: Vec<Totals>,
    /// Deliveries that each should have seen.
    pub(crate) expected: Vec<u64>,
    /// What the run used.
    pub(crate) usage: Usage,
}

impl Measured {
    /// What a role has counted by this name, in all processes.
    pub(crate) fn count(&self, name: &str) -> u64 {
        self.totals.iter().map(|totals| totals.count(name)).sum()
    }

    /// What a role has timed by this name, in all processes.
    ///
    /// # Errors
    /// `Histogram` when its bounds are impossible, which they are not.
    pub(crate) fn times(&self, name: &str) -> Result<TimeHistogram, BenchError> {
        TimeHistogram::merged(self.totals.iter().filter_map(|totals| totals.times.get(name)))
    }
}

/// When the measured part ends.
#[derive(Clone, Copy, Debug)]
pub(crate) enum End {
    /// After `--seconds`.
    Known,
    /// When what is done in it is done.
    Open,
}

/// A publisher at work.
type Publishing = JoinHandle<Result<(Publisher, Sent), BenchError>>;

/// Refuses a process that cannot be looked at and a backend that may not publish, before thousands
/// of connections are opened.
///
/// # Errors
/// `Process`, `Publish`.
pub(crate) fn try_out(options: &RunOptions, backend: Option<&Plan>) -> Result<(), BenchError> {
    server_memory(options)?;
    let limit = drain_limit(options);
    backend.map_or(Ok(()), |plan| Publisher::open(plan.clone())?.close(limit).map(drop))
}

impl<'a> Course<'a> {
    /// Starts the generator processes and waits until every client has its subscriptions and the
    /// server has come to rest.
    ///
    /// # Errors
    /// Whatever made that impossible.
    pub(crate) fn begin(
        options: &'a RunOptions,
        assignments: Vec<Assignment>,
    ) -> Result<Self, BenchError> {
        let before = server_memory(options)?;
        let mut progress = options.output.progress();
        let mut crew = Crew::start(&assignments)?;
        let wanted = assignments.iter().map(|assignment| assignment.count).sum();
        let server_version = wait_until_subscribed(&mut crew, wanted, &mut progress)?;
        progress.wait("settling", now_ns() + seconds_to_ns(options.settle));
        let connected = server_memory(options)?;
        Ok(Self { options, assignments, crew, progress, server_version, before, connected })
    }

    /// Connections of all processes.
    fn connections(&self) -> u32 {
        self.assignments.iter().map(|assignment| assignment.count).sum()
    }

    /// The run itself: `warmup` seconds, then the part that is measured, while the clients do what
    /// their role says and the `backend` publishes; then all that is under way arrives. `expected`
    /// says how many deliveries each process shall wait for, given the publications by topic
    /// and what each process had done when it stopped.
    ///
    /// # Errors
    /// Whatever made it impossible. Losses are no error.
    pub(crate) fn measure(
        self,
        warmup: f64,
        backend: Option<Publisher>,
        expected: impl Fn(&Assignment, &Accepted, &Totals) -> u64,
    ) -> Result<Measured, BenchError> {
        let wait = |course: &mut Self, times: Times| {
            course.progress.wait("measuring", times.until_ns);
            Ok(())
        };
        self.measure_while((warmup, End::Known), backend, wait, expected)
    }

    /// The same, with a measured part in which something is `done`, and which ends when it is.
    /// The backend has to be stopped by then, or has published all that was due.
    ///
    /// # Errors
    /// Whatever made it impossible, and what `done` says. Losses are no error.
    pub(crate) fn measure_while(
        mut self,
        (warmup, ends): (f64, End),
        backend: Option<Publisher>,
        done: impl FnOnce(&mut Self, Times) -> Result<(), BenchError>,
        expected: impl Fn(&Assignment, &Accepted, &Totals) -> u64,
    ) -> Result<Measured, BenchError> {
        let times = self.start(warmup, ends)?;
        let publishing = backend.map(|publisher| publish(publisher, times));
        let watched = self.watched();
        let watch = Watch::start(watched.clone(), times.from_ns);
        self.progress.wait("warming up", times.from_ns);
        let begin = watched.read()?;
        done(&mut self, times)?;
        let sent = match publishing {
            Some(thread) => Some(thread.join().map_err(|_| BenchError::PublisherLost)??),
            None => None,
        };
        let measured_ns = now_ns().saturating_sub(times.from_ns);
        let end = watched.read()?;

        self.progress.begin_open("draining");
        let backend = sent.map(|sent| self.finish_publishing(sent)).transpose()?;
        let stopped = self.stop()?;
        let (published, accepted) = add_up(backend, &stopped)?;
        let assignments = self.assignments.iter().zip(&stopped);
        let parts = assignments.map(|(part, stopped)| expected(part, &accepted, stopped));
        let parts: Vec<u64> = parts.collect();
        let (totals, server_arrived) = self.finish(&parts)?;
        let usage = Usage {
            from_ns: times.from_ns,
            measured_ns,
            window_ns: match ends {
                End::Known => times.until_ns - times.from_ns,
                End::Open => measured_ns,
            },
            late_ns: begin.at_ns.saturating_sub(times.from_ns),
            server_until_arrived_ns: server_arrived.since(&server_cpu_at(&begin)),
            readings: watch.finish(),
            before: self.before,
            connected: self.connected,
            after: server_memory(self.options)?,
            ..used_between(&begin, &end)
        };
        Ok(Measured {
            connections: self.connections(),
            server_version: self.server_version,
            published,
            totals,
            expected: parts,
            usage,
        })
    }

    /// Lets the clients begin what their role says, after so many seconds of warm-up to be
    /// measured.
    ///
    /// # Errors
    /// When a process has ended.
    fn start(&mut self, warmup: f64, end: End) -> Result<Times, BenchError> {
        let start_ns = now_ns() + LEAD_NS;
        let from_ns = start_ns + seconds_to_ns(warmup);
        let until_ns = match end {
            End::Known => from_ns + seconds_to_ns(self.options.seconds),
            End::Open => u64::MAX,
        };
        let times = Times { start_ns, from_ns, until_ns };
        self.order_all(|_| Order::Run(times))?;
        Ok(times)
    }

    /// Begins the next round of clients that do things in rounds; [`Course::stop`] waits for its
    /// end.
    ///
    /// # Errors
    /// When a process has ended.
    pub(crate) fn round(&mut self, times: Times) -> Result<(), BenchError> {
        self.order_all(|_| Order::Run(times))
    }

    /// What is to be watched during the run.
    pub(crate) fn watched(&self) -> Watched {
        Watched { server_pid: self.options.server_pid, generator_pids: self.crew.pids() }
    }

    /// Lets the clients end what they have begun, and tells what each process has done until then.
    ///
    /// # Errors
    /// When a process gives up or ends.
    pub(crate) fn stop(&mut self) -> Result<Vec<Totals>, BenchError> {
        let limit_ns = seconds_to_ns(self.options.drain_limit);
        self.order_all(|_| Order::Stop { limit_ns })?;
        self.crew.wait(|_, notice| match notice {
            Notice::Stopped(totals) => Some(*totals),
            _ => None,
        })
    }

    /// Lets each process wait for the deliveries that it should have seen in all, and ends it.
    /// Returns what it has seen, and the server's CPU time when the last had seen it all.
    ///
    /// # Errors
    /// When a process gives up or ends.
    pub(crate) fn finish(
        &mut self,
        expected: &[u64],
    ) -> Result<(Vec<Totals>, CpuTime), BenchError> {
        let drain_limit_ns = seconds_to_ns(self.options.drain_limit);
        self.order_all(|index| {
            let expected = expected.get(index).copied().unwrap_or(0);
            Order::Finish { expected, drain_limit_ns }
        })?;
        let mut missing = self.assignments.len();
        let mut arrived = None;
        let options = self.options;
        let totals = self.crew.wait(|_, notice| match notice {
            Notice::Done(totals) => Some(*totals),
            Notice::Arrived => {
                missing = missing.saturating_sub(1);
                if missing == 0 {
                    arrived = Some(server_cpu(options));
                }
                None
            }
            _ => None,
        })?;
        let arrived = arrived.unwrap_or_else(|| server_cpu(options))?;
        Ok((totals, arrived))
    }

    fn order_all(&mut self, order: impl Fn(usize) -> Order) -> Result<(), BenchError> {
        (0..self.assignments.len()).try_for_each(|index| self.crew.order(index, &order(index)))
    }

    fn finish_publishing(
        &self,
        (publisher, sent): (Publisher, Sent),
    ) -> Result<(Published, Accepted), BenchError> {
        let limit = drain_limit(self.options);
        publisher.wait_for_answers(sent.count, limit);
        let schedule = publisher.schedule();
        let answers = publisher.close(limit)?;
        let refusals = answers.refusals();
        let accepted = schedule.topics().map(|topic| {
            let refused = refusals.by_topic.get(&topic).copied().unwrap_or(0);
            (topic, schedule.sent_to(topic, sent.count).saturating_sub(refused))
        });
        let accepted = accepted.collect();
        let published = Published {
            sent: sent.count,
            accepted: answers.accepted_count(),
            refused: refusals.by_reason,
            lag: sent.lag,
            timeline: sent.timeline,
            thread_cpu_percent: Some(sent.cpu_percent),
        };
        Ok((published, accepted))
    }
}

/// How long nothing may come before nothing more is waited for.
fn drain_limit(options: &RunOptions) -> Duration {
    Duration::from_nanos(seconds_to_ns(options.drain_limit))
}

/// CPU times between two readings.
pub(crate) fn used_between(begin: &Reading, end: &Reading) -> Usage {
    let generators = end.generators.iter().zip(&begin.generators);
    Usage {
        server_ns: end.server.map(|(cpu, _)| cpu.since(&server_cpu_at(begin))),
        subscribers_ns: generators.map(|(end, begin)| end.since(begin)).collect(),
        publisher_ns: end.own.since(&begin.own),
        waited: end.waited.since(&begin.waited),
        ..Usage::default()
    }
}

/// The server's CPU time in a reading; 0 when it is not watched.
pub(crate) fn server_cpu_at(reading: &Reading) -> CpuTime {
    reading.server.map(|(cpu, _)| cpu).unwrap_or_default()
}

/// The server's memory now; 0 when it is not watched.
///
/// # Errors
/// `Process` when it is gone.
pub(crate) fn server_memory(options: &RunOptions) -> Result<Memory, BenchError> {
    options.server_pid.map(Memory::of).transpose().map(Option::unwrap_or_default)
}

/// The server's CPU time now; 0 when it is not watched.
///
/// # Errors
/// `Process` when it is gone.
pub(crate) fn server_cpu(options: &RunOptions) -> Result<CpuTime, BenchError> {
    options.server_pid.map(CpuTime::of).transpose().map(Option::unwrap_or_default)
}

/// Lets the publisher do its work on a thread of its own.
fn publish(mut publisher: Publisher, times: Times) -> Publishing {
    thread::spawn(move || {
        publisher.run(times.start_ns, times.from_ns).map(|sent| (publisher, sent))
    })
}

/// Publications of backend and clients together, and those that count by topic.
fn add_up(
    backend: Option<(Published, Accepted)>,
    stopped: &[Totals],
) -> Result<(Option<Published>, Accepted), BenchError> {
    let (mut published, mut accepted) = match backend {
        Some((published, accepted)) => (Some(published), accepted),
        None => (None, Accepted::new()),
    };
    let by_clients = stopped.iter().map(|totals| &totals.published);
    if by_clients.clone().any(|part| part.sent > 0) {
        let sum = Published::by_clients(by_clients.clone())?;
        published = Some(match published {
            Some(backend) => backend.and(sum)?,
            None => sum,
        });
    }
    for (&topic, count) in by_clients.flat_map(|part| &part.by_topic) {
        *accepted.entry(topic).or_default() += count;
    }
    Ok((published, accepted))
}

fn wait_until_subscribed(
    crew: &mut Crew,
    wanted: u32,
    progress: &mut Progress,
) -> Result<String, BenchError> {
    let started_ns = now_ns();
    progress.begin("connecting", wanted.into());
    let mut subscribed = vec![0; crew.pids().len()];
    let versions = crew.wait(|index, notice| match notice {
        Notice::Ready { server_version } => Some(server_version),
        Notice::Subscribed(count) => {
            if let Some(slot) = subscribed.get_mut(index) {
                *slot = count;
            }
            progress.set(subscribed.iter().copied().map(u64::from).sum());
            None
        }
        _ => None,
    })?;
    let seconds = now_ns().saturating_sub(started_ns) as f64 / SECOND_NS as f64;
    progress.done(&format!("all {wanted} subscribed after {seconds:.1} s"));
    Ok(versions.into_iter().next().unwrap_or_default())
}
