//! The fan-out run: everybody subscribes, one publishes, all is counted. With rate 0, the idle run:
//! everybody subscribes, and nothing happens.

use std::io::Write;
use std::thread;
use std::time::Duration;

use crate::cli::FanoutOptions;
use crate::client::control::{Assignment, Notice, Order, Totals};
use crate::client::target::Target;
use crate::clock::{SECOND_NS, now_ns, seconds_to_ns, sleep_until};
use crate::error::BenchError;
use crate::payload::PayloadMaker;
use crate::procfs::{CpuTime, Memory};
use crate::publisher::{Plan, Publisher, Sent};
use crate::report::{Findings, Published, Report, Usage};
use crate::scenarios::crew::Crew;
use crate::scenarios::plan;

/// Time between the decision to start and the first publication, so that all are ready.
const LEAD_NS: u64 = SECOND_NS / 5;
/// How often the server's memory is looked at during the run, in nanoseconds.
const MEMORY_INTERVAL_NS: u64 = SECOND_NS / 4;

/// Carries out a run.
///
/// # Errors
/// Whatever made it impossible. Losses are no error; they are in the report.
pub(crate) fn run(options: &FanoutOptions) -> Result<Report, BenchError> {
    plan::check(options)?;
    let target = Target::parse(&options.url)?;
    let assignments = plan::assignments(options, &target)?;
    // A wrong process id or API key shows before thousands of connections are opened.
    let before = server_memory(options)?;
    let open = || open_publisher(options, &assignments, target.clone());
    let is_publishing = options.rate > 0.0;
    if is_publishing {
        open()?.close()?;
    }

    let mut crew = Crew::start(&assignments)?;
    let server_version = wait_until_subscribed(&mut crew, options.subscribers)?;
    thread::sleep(Duration::from_nanos(seconds_to_ns(options.settle)));
    let connected = server_memory(options)?;

    let publisher = is_publishing.then(open).transpose()?;
    let measured = measure(options, &mut crew, &assignments, publisher)?;

    let findings = Findings {
        processes: assignments.len(),
        server_version,
        published: measured.published,
        expected: measured.expected,
        totals: measured.totals,
        usage: Usage { before, connected, after: server_memory(options)?, ..measured.usage },
    };
    Report::new(options, findings)
}

struct Measured {
    published: Option<Published>,
    expected: u64,
    totals: Vec<Totals>,
    usage: Usage,
}

fn measure(
    options: &FanoutOptions,
    crew: &mut Crew,
    assignments: &[Assignment],
    publisher: Option<Publisher>,
) -> Result<Measured, BenchError> {
    let start_ns = now_ns() + LEAD_NS;
    // Nothing to warm up when nothing is published.
    let warmup_ns = if publisher.is_some() { seconds_to_ns(options.warmup) } else { 0 };
    let from_ns = start_ns + warmup_ns;
    let until_ns = from_ns + seconds_to_ns(options.seconds);
    for index in 0..assignments.len() {
        crew.order(index, &Order::Measure { from_ns })?;
    }
    let publishing = publisher.map(|mut publisher| {
        thread::spawn(move || publisher.run(start_ns).map(|sent| (publisher, sent)))
    });

    sleep_until(from_ns);
    let cpu_from = Cpu::now(options, crew)?;
    let peak = watch_memory(options, until_ns)?;
    let sent = match publishing {
        Some(thread) => Some(thread.join().map_err(|_| BenchError::PublisherLost)??),
        None => None,
    };
    let measured_ns = now_ns().saturating_sub(from_ns);
    let cpu_until = Cpu::now(options, crew)?;

    let published = sent.map(|sent| finish_publishing(options, sent)).transpose()?;
    let accepted = accepted_by_topic(options, published.as_ref());
    let mut expected = 0;
    for (index, assignment) in assignments.iter().enumerate() {
        let part = plan::expected(assignment, &accepted);
        let drain_limit_ns = seconds_to_ns(options.drain_limit);
        crew.order(index, &Order::Finish { expected: part, drain_limit_ns })?;
        expected += part;
    }
    let (totals, server_arrived) = wait_for_totals(options, crew)?;
    let usage = Usage {
        measured_ns,
        server_ns: cpu_until.server.since(&cpu_from.server),
        server_until_arrived_ns: server_arrived.since(&cpu_from.server),
        subscribers_ns: cpu_until.subscribers_since(&cpu_from),
        publisher_ns: cpu_until.own.since(&cpu_from.own),
        peak,
        ..Usage::default()
    };
    Ok(Measured { published, expected, totals, usage })
}

/// What each process has seen, and the server's CPU time when the last of them had seen it all.
fn wait_for_totals(
    options: &FanoutOptions,
    crew: &mut Crew,
) -> Result<(Vec<Totals>, CpuTime), BenchError> {
    let mut missing = crew.pids().len();
    let mut arrived = None;
    let totals = crew.wait(|_, notice| match notice {
        Notice::Done(totals) => Some(totals),
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

/// CPU times at one moment.
struct Cpu {
    server: CpuTime,
    own: CpuTime,
    subscribers: Vec<CpuTime>,
}

impl Cpu {
    fn now(options: &FanoutOptions, crew: &Crew) -> Result<Self, BenchError> {
        let server = server_cpu(options)?;
        let own = CpuTime::of(std::process::id())?;
        let subscribers: Result<_, _> = crew.pids().into_iter().map(CpuTime::of).collect();
        Ok(Self { server, own, subscribers: subscribers? })
    }

    /// CPU time of each generator process since `earlier`, in nanoseconds.
    fn subscribers_since(&self, earlier: &Self) -> Vec<u64> {
        let pairs = self.subscribers.iter().zip(&earlier.subscribers);
        pairs.map(|(now, earlier)| now.since(earlier)).collect()
    }
}

fn wait_until_subscribed(crew: &mut Crew, wanted: u32) -> Result<String, BenchError> {
    let started_ns = now_ns();
    let mut subscribed = vec![0; crew.pids().len()];
    let versions = crew.wait(|index, notice| match notice {
        Notice::Ready { server_version } => Some(server_version),
        Notice::Subscribed(count) => {
            if let Some(slot) = subscribed.get_mut(index) {
                *slot = count;
            }
            let total: u32 = subscribed.iter().sum();
            say(&format!("{total} of {wanted} subscribed"));
            None
        }
        _ => None,
    })?;
    let seconds = now_ns().saturating_sub(started_ns) as f64 / SECOND_NS as f64;
    say(&format!("all {wanted} subscribed after {seconds:.1} s"));
    Ok(versions.into_iter().next().unwrap_or_default())
}

fn open_publisher(
    options: &FanoutOptions,
    assignments: &[Assignment],
    target: Target,
) -> Result<Publisher, BenchError> {
    Publisher::open(Plan {
        target,
        api_key: options.api_key.clone(),
        run: assignments.first().map_or(0, |assignment| assignment.run),
        schedule: plan::schedule(options),
        topic_prefix: options.topic_prefix.clone(),
        payload: PayloadMaker::new(options.size)?,
        connections: options.publish_connections.min(options.topics),
    })
}

fn finish_publishing(
    options: &FanoutOptions,
    (publisher, sent): (Publisher, Sent),
) -> Result<Published, BenchError> {
    say(&format!("{} published, waiting for what is under way", sent.count));
    let limit = Duration::from_nanos(seconds_to_ns(options.drain_limit));
    publisher.wait_for_answers(sent.count, limit);
    let answers = publisher.close()?;
    Ok(Published {
        sent: sent.count,
        accepted: answers.accepted_count(),
        refusals: answers.refusals(),
        lag: sent.lag.percentiles(),
    })
}

/// Publications of each topic that count: all that were sent and not refused. One without an
/// answer counts too, since a broker must not lose it silently.
fn accepted_by_topic(options: &FanoutOptions, published: Option<&Published>) -> Vec<u64> {
    let Some(published) = published else { return Vec::new() };
    let schedule = plan::schedule(options);
    let refused = &published.refusals.by_topic;
    (0..options.topics)
        .map(|topic| {
            let refused = refused.get(&topic).copied().unwrap_or(0);
            schedule.sent_to(topic, published.sent).saturating_sub(refused)
        })
        .collect()
}

/// Sleeps until `until_ns` and returns the most memory that the server had meanwhile.
fn watch_memory(options: &FanoutOptions, until_ns: u64) -> Result<Memory, BenchError> {
    let mut peak = server_memory(options)?;
    while now_ns() < until_ns {
        sleep_until(until_ns.min(now_ns() + MEMORY_INTERVAL_NS));
        let memory = server_memory(options)?;
        peak.resident_bytes = peak.resident_bytes.max(memory.resident_bytes);
    }
    Ok(peak)
}

fn server_cpu(options: &FanoutOptions) -> Result<CpuTime, BenchError> {
    options.server_pid.map(CpuTime::of).transpose().map(Option::unwrap_or_default)
}

fn server_memory(options: &FanoutOptions) -> Result<Memory, BenchError> {
    options.server_pid.map(Memory::of).transpose().map(Option::unwrap_or_default)
}

/// Tells the person at the keyboard what is going on.
fn say(text: &str) {
    // A closed standard error is no reason to stop measuring.
    let _ = writeln!(std::io::stderr(), "fanwire-bench: {text}");
}
