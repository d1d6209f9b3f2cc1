//! From the command line to a plan: what is checked before anything is opened, and which process
//! plays which clients.

use std::collections::BTreeMap;

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use serde_json::Value;

use crate::cli::run::RunOptions;
use crate::client::behaviour::Role;
use crate::client::control::Assignment;
use crate::client::target::Target;
use crate::client::tls::{Tls, Trust};
use crate::clock::now_ns;
use crate::dialect::{Need, Settings};
use crate::error::BenchError;
use crate::payload::PayloadMaker;
use crate::publisher::Plan;
use crate::publisher::link::PUBLICATIONS_MAX;
use crate::publisher::schedule::Schedule;
use crate::report::outcome::Parameters;

/// Connections of one process, unless the command line says otherwise.
const CONNECTIONS_PER_PROCESS: u32 = 9_000;
/// Connections that a process has in the making at any moment, unless the command line says
/// otherwise.
const CONNECTING: u32 = 256;
/// Descriptors that a process needs besides its connections.
const DESCRIPTORS_SPARE: u64 = 64;
/// Most that a rate may be, per second.
pub(crate) const RATE_MAX: f64 = 10_000_000.0;

/// Clients that do the same, to be dealt to processes.
pub(crate) struct Group<'a> {
    /// Index of the first over all groups.
    pub(crate) first: u32,
    /// How many.
    pub(crate) clients: u32,
    /// Processes for them; by default one per 9,000.
    pub(crate) processes: Option<u32>,
    /// Topics; client i is subscribed to topic i mod `topics`, unless its behaviour chooses.
    pub(crate) topics: u32,
    /// Whether their subscriptions recover.
    pub(crate) recovers: bool,
    /// What the clients of one process do.
    pub(crate) role: &'a dyn Fn(Part) -> Role,
}

/// The part of a group that one process plays.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Part {
    /// Which process of the group, from 0.
    pub(crate) index: u32,
    /// How many the group has.
    pub(crate) processes: u32,
    /// Its share of the group's clients, 0 to 1: of a rate it does as much.
    pub(crate) share: f64,
}

impl Part {
    /// How far into the gap between two events this process begins, 0 to 1: processes take turns.
    pub(crate) fn phase(self) -> f64 {
        f64::from(self.index) / f64::from(self.processes)
    }
}

/// Publications that count, by topic: all that were sent and not refused. One without an answer
/// counts too, since a broker must not lose it silently.
pub(crate) type Accepted = BTreeMap<u32, u64>;

/// Refuses numbers that make no sense.
///
/// # Errors
/// `Option` with the name and what would make sense.
pub(crate) fn check(options: &RunOptions) -> Result<(), BenchError> {
    if options.seconds <= 0.0 {
        return fault("seconds", "more than 0 and at most 86,400 seconds");
    }
    check_span("seconds", options.seconds)?;
    check_span("warmup", options.warmup)?;
    check_span("settle", options.settle)?;
    check_span("drain-limit", options.drain_limit)
}

/// Refuses what is no number of seconds.
///
/// # Errors
/// `Option`.
pub(crate) fn check_span(option: &'static str, seconds: f64) -> Result<(), BenchError> {
    if seconds.is_finite() && (0.0..=86_400.0).contains(&seconds) {
        return Ok(());
    }
    fault(option, "0 to 86,400 seconds")
}

/// Refuses what is no number of things per second.
///
/// # Errors
/// `Option`.
pub(crate) fn check_rate(option: &'static str, rate: f64) -> Result<(), BenchError> {
    if rate.is_finite() && (0.0..=RATE_MAX).contains(&rate) {
        return Ok(());
    }
    fault(option, "a number per second, 0 to 10,000,000")
}

/// The same, and refuses 0.
///
/// # Errors
/// `Option`.
pub(crate) fn check_some_rate(option: &'static str, rate: f64) -> Result<(), BenchError> {
    check_rate(option, rate)?;
    if rate == 0.0 { fault(option, "more than 0 per second") } else { Ok(()) }
}

/// Refuses what a backend cannot publish.
///
/// # Errors
/// `Option`.
pub(crate) fn check_backend(
    api_key: Option<&str>,
    rate: (&'static str, f64),
    schedule: &Schedule,
) -> Result<(), BenchError> {
    check_rate(rate.0, rate.1)?;
    if schedule.count() > PUBLICATIONS_MAX {
        return fault(rate.0, "low enough for at most 4,294,967,293 publications in all");
    }
    let is_header_value = |key: &str| key.bytes().all(|byte| byte.is_ascii_graphic());
    if !api_key.is_none_or(is_header_value) {
        return fault("api-key", "printable ASCII without spaces");
    }
    Ok(())
}

/// Refuses what the server's protocol cannot do.
///
/// # Errors
/// `Capability`.
pub(crate) fn check_protocol(settings: &Settings, needs: &[Need]) -> Result<(), BenchError> {
    settings.dialect().capabilities().require(settings.protocol, needs)
}

/// The schedule of `rate` publications per second over `topics`, warm-up included.
pub(crate) fn schedule(options: &RunOptions, rate: f64, topics: u32) -> Schedule {
    Schedule::new(rate, topics, options.warmup + options.seconds)
}

/// What the backend of a run publishes, where clients of `any` assignment connect.
///
/// # Errors
/// `PayloadTooSmall`.
pub(crate) fn backend(
    any: &Assignment,
    schedule: Schedule,
    size_bytes: usize,
    connections: u32,
) -> Result<Plan, BenchError> {
    Ok(Plan {
        target: any.target.clone(),
        settings: any.settings.clone(),
        run: any.run,
        schedule,
        topic_prefix: any.topic_prefix.clone(),
        payload: PayloadMaker::new(size_bytes)?,
        connections: connections.min(schedule.topics().end),
    })
}

/// Deals each group to generator processes as evenly as possible.
///
/// # Errors
/// See [`target`] and [`Tls::new`]; `Descriptors` when a process cannot hold its part.
pub(crate) fn assignments(
    options: &RunOptions,
    settings: &Settings,
    groups: &[Group<'_>],
) -> Result<Vec<Assignment>, BenchError> {
    let target = target(options)?;
    // Whatever is wrong with the authorities is told once, and not by each process.
    Tls::new(&target)?;
    let (run, descriptors) = (run_number(), raise_descriptor_limit()?);
    let mut assignments = Vec::new();
    for group in groups {
        let needs = if group.topics > 1 { &[Need::Topics][..] } else { &[] };
        check_protocol(settings, needs)?;
        let by_default = group.clients.div_ceil(CONNECTIONS_PER_PROCESS);
        let processes = group.processes.unwrap_or(by_default).min(group.clients);
        check_descriptors(group.clients, processes, descriptors)?;
        let parts = split(group.clients, processes);
        assignments.extend((0_u32..).zip(parts).map(|(index, (first, count))| {
            let share = f64::from(count) / f64::from(group.clients);
            Assignment {
                target: target.clone(),
                settings: settings.clone(),
                run,
                first: group.first + first,
                count,
                topics: group.topics,
                topic_prefix: options.topic_prefix.clone(),
                further_topics: None,
                recovers: group.recovers,
                source_addresses: options.source_addresses,
                connecting: options.connecting.unwrap_or(CONNECTING),
                role: (group.role)(Part { index, processes, share }),
            }
        }));
    }
    Ok(assignments)
}

/// Where the server is, and whom to believe that he is it.
///
/// # Errors
/// `Url` or `Resolve` when there is no such server, `Option` when there is nobody to believe.
pub(crate) fn target(options: &RunOptions) -> Result<Target, BenchError> {
    let target = Target::parse(&options.url)?;
    match (&options.ca, options.insecure) {
        (Some(_), _) if target.tls.is_none() => fault("ca", "used with wss:// only"),
        (_, true) if target.tls.is_none() => fault("insecure", "used with wss:// only"),
        (_, true) => Ok(target.trusting(Trust::Anybody)),
        (file, false) => Ok(target.trusting(Trust::Authorities(file.clone()))),
    }
}

/// What carries the publications of the backend, in one word.
///
/// # Errors
/// See [`target`].
pub(crate) fn publishes_over(
    options: &RunOptions,
    api_key: Option<&str>,
) -> Result<&'static str, BenchError> {
    let settings = options.dialect.settings(api_key);
    Ok(settings.publishes_over(&target(options)?))
}

/// Names and values in this order.
pub(crate) fn parameters<const N: usize>(pairs: [(&str, Value); N]) -> Parameters {
    pairs.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

/// Deliveries to be expected by the clients of `assignment`, if each hears the one topic that it
/// has by default.
pub(crate) fn expected(assignment: &Assignment, accepted: &Accepted) -> u64 {
    let clients = assignment.first..assignment.first + assignment.count;
    let topics = clients.filter_map(|client| client.checked_rem(assignment.topics));
    topics.map(|topic| accepted.get(&topic).copied().unwrap_or(0)).sum()
}

/// Refuses a number of the command line.
///
/// # Errors
/// `Option`, always.
pub(crate) fn fault<T>(option: &'static str, expected: &'static str) -> Result<T, BenchError> {
    Err(BenchError::Option { option, expected })
}

fn check_descriptors(clients: u32, processes: u32, descriptors: u64) -> Result<(), BenchError> {
    let connections = clients.div_ceil(processes.max(1));
    let room = descriptors.saturating_sub(DESCRIPTORS_SPARE);
    if u64::from(connections) <= room {
        return Ok(());
    }
    let processes = u64::from(clients).div_ceil(room.max(1));
    Err(BenchError::Descriptors { connections, descriptors, processes })
}

/// First index and length of each of `parts` parts of `total`.
fn split(total: u32, parts: u32) -> impl Iterator<Item = (u32, u32)> {
    let (base, longer) = (total / parts, total % parts);
    (0..parts).map(move |part| (part * base + part.min(longer), base + u32::from(part < longer)))
}

/// Tells the messages of this run from those of any other on the same topics.
fn run_number() -> u32 {
    let mixed = now_ns() ^ (u64::from(std::process::id()) << 32);
    (mixed ^ (mixed >> 32)) as u32
}

/// Allows as many descriptors as the hard limit does; generator processes inherit it.
pub(crate) fn raise_descriptor_limit() -> Result<u64, BenchError> {
    let raise = || {
        let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
        setrlimit(Resource::RLIMIT_NOFILE, hard, hard).map(|()| hard)
    };
    raise().map_err(|error| BenchError::system("raising the descriptor limit")(error.into()))
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::cli::{Cli, Command};

    fn options(arguments: &str) -> RunOptions {
        let words = "fanwire-bench fanout --subscribers 1".split(' ').chain(arguments.split(' '));
        match Cli::try_parse_from(words.filter(|word| !word.is_empty())).unwrap().command {
            Command::Fanout(options) => options.run,
            _ => unreachable!("fanout was asked for"),
        }
    }

    fn deal(first: u32, clients: u32, topics: u32, processes: Option<u32>) -> Vec<Assignment> {
        let role = |_| Role::Listen;
        let group = Group { first, clients, processes, topics, recovers: false, role: &role };
        let options = options("--url ws://127.0.0.1:1/");
        assignments(&options, &Settings::default(), &[group]).unwrap()
    }

    #[test]
    fn every_client_is_dealt_to_exactly_one_process() {
        for (total, parts) in [(1, 1), (10, 3), (20_000, 3), (7, 7)] {
            let mut next = 5;
            for assignment in deal(5, total, 1, Some(parts)) {
                assert_eq!(assignment.first, next);
                next += assignment.count;
            }
            assert_eq!(next, 5 + total);
        }
    }

    #[test]
    fn one_process_holds_up_to_nine_thousand() {
        assert_eq!(deal(0, 9_000, 1, None).len(), 1);
        assert_eq!(deal(0, 9_001, 1, None).len(), 2);
        assert_eq!(deal(0, 2, 1, Some(5)).len(), 2);
    }

    #[test]
    fn a_rate_is_dealt_by_share_and_its_parts_take_turns() {
        let parts = std::cell::RefCell::new(Vec::new());
        let role = |part: Part| {
            parts.borrow_mut().push((part.share, part.phase()));
            Role::Listen
        };
        let group = Group {
            first: 0,
            clients: 4,
            processes: Some(2),
            topics: 0,
            recovers: false,
            role: &role,
        };
        let options = options("--url ws://127.0.0.1:1/");
        assignments(&options, &Settings::default(), &[group]).unwrap();
        assert_eq!(parts.into_inner(), [(0.5, 0.0), (0.5, 0.5)]);
    }

    #[test]
    fn expected_deliveries_follow_the_subscriptions() {
        let parts = deal(0, 5, 3, Some(2));
        let accepted = Accepted::from([(0, 100), (1, 10), (2, 1)]);
        // Subscribers 0 1 2 | 3 4 have topics 0 1 2 | 0 1.
        assert_eq!(
            parts.iter().map(|part| expected(part, &accepted)).collect::<Vec<_>>(),
            [111, 110]
        );
        assert_eq!(expected(&deal(0, 5, 0, None)[0], &accepted), 0);
    }

    #[test]
    fn senseless_numbers_are_refused() {
        assert!(check(&options("")).is_ok());
        for arguments in ["--seconds 0", "--warmup=-1", "--drain-limit inf", "--settle NaN"] {
            assert!(check(&options(arguments)).is_err(), "{arguments}");
        }
        for rate in [-1.0, f64::NAN, 1e9] {
            assert!(check_rate("rate", rate).is_err(), "{rate}");
        }
        assert!(check_rate("rate", 0.0).is_ok());
    }
}
