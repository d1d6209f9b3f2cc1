//! Slow consumers: some subscribers stop reading in the middle of a fan-out run.

use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crate::cli::slow::SlowOptions;
use crate::client::behaviour::Role;
use crate::client::behaviour::slow::{Dealing, Parameters as Slow, STALLED};
use crate::client::control::{Assignment, Totals};
use crate::clock::{now_ns, seconds_to_ns};
use crate::error::BenchError;
use crate::histogram::{Percentiles, TimeHistogram};
use crate::payload::PayloadMaker;
use crate::procfs::descriptors;
use crate::publisher::Publisher;
use crate::publisher::schedule::Schedule;
use crate::report::figure::{Figure, Unit};
use crate::report::findings::{Findings, Subject};
use crate::report::outcome::{Outcome, Parameters};
use crate::scenarios::course::{self, Course};
use crate::scenarios::plan::{self, Accepted, Group};
use crate::timeline::{INTERVAL_NS, Timeline};

/// The two parts of the measured time.
const BEFORE: &str = "all read";
const DURING: &str = "some stalled";
/// Times from the stall until the server closed a connection.
const UNTIL_CLOSED: &str = "until closed";
/// Count of clients that stopped reading and were still connected in the end.
const STILL_CONNECTED: &str = "stalled: still connected";
/// How often the server's descriptors are counted.
const LOOK: Duration = Duration::from_millis(50);

/// Carries out a run.
///
/// # Errors
/// Whatever made it impossible. Losses are no error; they are in the outcome.
pub(crate) fn run(options: &SlowOptions) -> Result<Outcome, BenchError> {
    check(options)?;
    let run = &options.run;
    let settings = run.dialect.settings(options.backend.api_key.as_deref());
    let clients = options.readers + options.stalled;
    let dealing = Dealing { stalled: options.stalled, clients };
    let role = Slow {
        dealing,
        stall_after_ns: stall_after_ns(options),
        receive_buffer_bytes: options.receive_buffer,
    };
    let subscribers = Group {
        first: 0,
        clients,
        processes: run.processes,
        topics: options.topics,
        recovers: false,
        role: &|_| Role::Slow(role.clone()),
    };
    let assignments = plan::assignments(run, &settings, &[subscribers])?;
    let backend_plan = |any| {
        plan::backend(any, schedule(options), options.size, options.backend.publish_connections)
    };
    let backend = assignments.first().map(backend_plan).transpose()?;
    course::try_out(run, backend.as_ref())?;
    let parameters = parameters(options, assignments.len())?;
    let mut outcome = Outcome::begin("slow", parameters, run.server_pid, &run.output);

    let course = Course::begin(run, assignments)?;
    let publisher = backend.map(Publisher::open).transpose()?;
    let census = run.server_pid.map(Census::start);
    let expected = |part: &Assignment, accepted: &_, _: &_| expected(part, dealing, accepted);
    let measured = course.measure(run.warmup, publisher, expected)?;
    let stall_ns = measured.usage.from_ns + stall_after_ns(options);
    let until_ns = measured.usage.from_ns + seconds_to_ns(run.seconds);
    if let Some(census) = census {
        add_closed(&mut outcome, &census.finish(), stall_ns, until_ns)?;
    }
    let subject = Subject::deliveries(&measured.totals)?;
    let measured = Findings { subject, measured }.add_to(&mut outcome);
    add_stalled(&mut outcome, options.stalled);
    add_parts(&mut outcome, &measured.totals, stall_after_ns(options))?;
    Ok(outcome)
}

fn check(options: &SlowOptions) -> Result<(), BenchError> {
    plan::check(&options.run)?;
    plan::check_backend(
        options.backend.api_key.as_deref(),
        ("rate", options.rate),
        &schedule(options),
    )?;
    let stall_ns = stall_after_ns(options);
    if !(INTERVAL_NS..seconds_to_ns(options.run.seconds)).contains(&stall_ns) {
        return plan::fault("stall-after", "0.2 or more, and less than --seconds");
    }
    PayloadMaker::new(options.size).map(drop)
}

/// When the stall begins after measuring has, in nanoseconds: at the end of an interval of the
/// timelines, so that each belongs to one part.
fn stall_after_ns(options: &SlowOptions) -> u64 {
    let after = seconds_to_ns(options.stall_after.unwrap_or(options.run.seconds / 2.0));
    after / INTERVAL_NS * INTERVAL_NS
}

fn schedule(options: &SlowOptions) -> Schedule {
    plan::schedule(&options.run, options.rate, options.topics)
}

fn parameters(options: &SlowOptions, processes: usize) -> Result<Parameters, BenchError> {
    let way = plan::publishes_over(&options.run, options.backend.api_key.as_deref())?;
    Ok(plan::parameters([
        ("readers", options.readers.into()),
        ("stalled", options.stalled.into()),
        ("topics", options.topics.into()),
        ("rate", options.rate.into()),
        ("size", options.size.into()),
        ("seconds", options.run.seconds.into()),
        ("stall after", (stall_after_ns(options) as f64 / 1e9).into()),
        ("receive buffer", options.receive_buffer.into()),
        ("processes", processes.into()),
        ("publish over", way.into()),
    ]))
}

/// Deliveries to be expected by the readers of `assignment`.
fn expected(assignment: &Assignment, dealing: Dealing, accepted: &Accepted) -> u64 {
    let clients = assignment.first..assignment.first + assignment.count;
    let readers = clients.filter(|&client| !dealing.is_stalled(client));
    let topics = readers.filter_map(|client| client.checked_rem(assignment.topics));
    topics.map(|topic| accepted.get(&topic).copied().unwrap_or(0)).sum()
}

/// What became of those that stalled.
fn add_stalled(outcome: &mut Outcome, stalled: u32) {
    let others = outcome.counts.other.iter();
    let lost: u64 = others.filter(|(name, _)| name.starts_with(STALLED)).map(|(_, n)| n).sum();
    let connected = u64::from(stalled).saturating_sub(lost);
    outcome.counts.other.insert(STILL_CONNECTED.to_owned(), connected);
}

/// What the readers noticed, before the stall and during it.
fn add_parts(
    outcome: &mut Outcome,
    totals: &[Totals],
    stall_after_ns: u64,
) -> Result<(), BenchError> {
    let timeline = Timeline::merged(totals.iter().map(|part| &part.timeline))?;
    let mut part = |name: &str, from_ns, until_ns| -> Result<Percentiles, BenchError> {
        let times = timeline.times_between(from_ns, until_ns)?;
        outcome.add_latency(&format!("delivery, {name}"), &times);
        let seen = times.percentiles();
        let values = [
            ("latency p50", seen.p50_us),
            ("latency p99", seen.p99_us),
            ("latency max", seen.max_us),
        ];
        let figure = |(name, value)| Figure::lower(name, value, Unit::Microseconds);
        outcome.figures.extend(values.map(figure).map(|figure| figure.in_phase(name)));
        Ok(seen)
    };
    let before = part(BEFORE, 0, stall_after_ns)?;
    let during = part(DURING, stall_after_ns, u64::MAX)?;
    if before.p99_us > 0.0 {
        let ratio = during.p99_us / before.p99_us;
        outcome.figures.push(Figure::lower("latency p99 against before", ratio, Unit::Ratio));
    }
    Ok(())
}

/// Connections that the server closed during the stall, and how long after its begin.
fn add_closed(
    outcome: &mut Outcome,
    looks: &[Look],
    stall_ns: u64,
    until_ns: u64,
) -> Result<(), BenchError> {
    let mut times = TimeHistogram::new()?;
    let mut fewest = None;
    for look in looks.iter().filter(|look| look.at_ns <= until_ns) {
        let before = fewest.unwrap_or(look.descriptors);
        if look.at_ns >= stall_ns {
            let closed = before.saturating_sub(look.descriptors);
            times.record_n(look.at_ns - stall_ns, closed);
        }
        // What opens meanwhile, such as a request for metrics, closes again.
        let is_calm = look.at_ns < stall_ns;
        fewest = Some(if is_calm { look.descriptors } else { before.min(look.descriptors) });
    }
    let closed = times.percentiles();
    let count =
        Figure::neutral("connections closed by the server", closed.count as f64, Unit::Count);
    outcome.figures.push(count.in_phase(DURING));
    if closed.count > 0 {
        outcome.add_latency(UNTIL_CLOSED, &times);
        let last = Figure::neutral("last closed after", closed.max_us / 1e6, Unit::Seconds);
        outcome.figures.push(last.in_phase(DURING));
    }
    Ok(())
}

/// How many descriptors the server had at one moment.
#[derive(Clone, Copy, Debug)]
struct Look {
    at_ns: u64,
    descriptors: u64,
}

/// Counts the server's descriptors until it is finished: a client that does not read cannot see
/// that it was disconnected.
#[derive(Debug)]
struct Census {
    /// Dropping it stops the thread.
    stop: Sender<()>,
    thread: JoinHandle<Vec<Look>>,
}

impl Census {
    fn start(pid: u32) -> Self {
        let (stop, stopped) = channel();
        let thread = thread::spawn(move || {
            let mut looks = Vec::new();
            // A process that is gone ends the census; whoever asks for its memory says so.
            while let Ok(descriptors) = descriptors(pid) {
                looks.push(Look { at_ns: now_ns(), descriptors });
                if stopped.recv_timeout(LOOK) != Err(RecvTimeoutError::Timeout) {
                    break;
                }
            }
            looks
        });
        Self { stop, thread }
    }

    fn finish(self) -> Vec<Look> {
        drop(self.stop);
        self.thread.join().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::options::OutputOptions;

    fn outcome() -> Outcome {
        Outcome::begin("slow", Parameters::new(), None, &OutputOptions::default())
    }

    #[test]
    fn connections_that_the_server_closes_are_timed_from_the_stall() {
        let looks = [(5, 90), (9, 100), (10, 100), (20, 98), (30, 99), (40, 97), (60, 10)];
        let looks = looks.map(|(at_ns, descriptors)| Look { at_ns, descriptors });
        let mut outcome = outcome();
        add_closed(&mut outcome, &looks, 10, 50).unwrap();
        // Two after 10 ns and one after 30; what opened in between and closed is none of them,
        // nor is what the end of the run closed.
        assert_eq!(outcome.figures[0].value, 3.0);
        let closed = outcome.latencies[UNTIL_CLOSED].percentiles;
        assert_eq!((closed.count, closed.p50_us, closed.max_us), (3, 0.01, 0.03));
    }

    #[test]
    fn a_server_that_closes_nothing_has_no_times() {
        let mut outcome = outcome();
        let look = |at_ns| Look { at_ns, descriptors: 7 };
        add_closed(&mut outcome, &[look(1), look(20), look(40)], 10, 50).unwrap();
        assert_eq!(outcome.figures[0].value, 0.0);
        assert!(outcome.latencies.is_empty());
    }

    #[test]
    fn who_stalled_is_still_connected_or_was_closed_with_a_code() {
        let counts = [("stalled: closed by the server with code 3008".to_owned(), 3)];
        let totals = Totals { counts: counts.into(), ..Totals::default() };
        let mut outcome = outcome();
        [&totals, &totals].into_iter().for_each(|part| outcome.counts.add(part, 0));
        add_stalled(&mut outcome, 10);
        assert_eq!(outcome.counts.other["stalled: closed by the server with code 3008"], 6);
        assert_eq!(outcome.counts.other[STILL_CONNECTED], 4);
    }

    #[test]
    fn both_parts_have_their_own_latencies() {
        let mut timeline = Timeline::idle();
        timeline.start(1);
        for (step, time_ns) in [(0, 1_000_000), (1, 1_000_000), (2, 8_000_000)] {
            let due_ns = 1 + step * INTERVAL_NS;
            timeline.record(due_ns, due_ns + time_ns);
        }
        let totals = Totals { timeline: timeline.to_portable(), ..Totals::default() };
        let mut outcome = outcome();
        add_parts(&mut outcome, &[totals], 2 * INTERVAL_NS).unwrap();
        let value = |title: &str| {
            outcome.figures.iter().find(|figure| figure.title() == title).unwrap().value
        };
        assert!((value("all read: latency p99") - 1_000.0).abs() < 20.0);
        assert!((value("some stalled: latency p99") - 8_000.0).abs() < 160.0);
        assert!((value("latency p99 against before") - 8.0).abs() < 0.2);
    }
}
