//! From the command line to a plan: what is checked before anything is opened.

use nix::sys::resource::{Resource, getrlimit, setrlimit};

use crate::cli::FanoutOptions;
use crate::client::control::Assignment;
use crate::client::target::Target;
use crate::clock::now_ns;
use crate::error::BenchError;
use crate::payload::PayloadMaker;
use crate::publisher::encode::PUBLICATIONS_MAX;
use crate::publisher::schedule::Schedule;

/// Subscribers of one process, unless the command line says otherwise.
const SUBSCRIBERS_PER_PROCESS: u32 = 9_000;
/// Descriptors that a process needs besides its connections.
const DESCRIPTORS_SPARE: u64 = 64;

/// Refuses numbers that make no sense.
///
/// # Errors
/// `Option` with the name and what would make sense.
pub(crate) fn check(options: &FanoutOptions) -> Result<(), BenchError> {
    let fault = |option, expected| Err(BenchError::Option { option, expected });
    let is_span = |seconds: f64| seconds.is_finite() && (0.0..=86_400.0).contains(&seconds);
    if !options.rate.is_finite() || !(0.0..=10_000_000.0).contains(&options.rate) {
        return fault("rate", "a number of publications per second, 0 to 10,000,000");
    }
    if !is_span(options.seconds) || options.seconds <= 0.0 {
        return fault("seconds", "more than 0 and at most 86,400 seconds");
    }
    if !is_span(options.warmup) {
        return fault("warmup", "0 to 86,400 seconds");
    }
    if !is_span(options.settle) {
        return fault("settle", "0 to 86,400 seconds");
    }
    if !is_span(options.drain_limit) {
        return fault("drain-limit", "0 to 86,400 seconds");
    }
    if schedule(options).count() > PUBLICATIONS_MAX {
        return fault("rate", "low enough for at most 4,294,967,293 publications in all");
    }
    let is_header_value = |key: &String| key.bytes().all(|byte| byte.is_ascii_graphic());
    if !options.api_key.as_ref().is_none_or(is_header_value) {
        return fault("api-key", "printable ASCII without spaces");
    }
    // Refuses a size too small for the stamp.
    PayloadMaker::new(options.size).map(drop)
}

/// The schedule that the options ask for, warm-up included.
pub(crate) fn schedule(options: &FanoutOptions) -> Schedule {
    Schedule::new(options.rate, options.topics, options.warmup + options.seconds)
}

/// Deals the subscribers to generator processes as evenly as possible.
///
/// # Errors
/// `Descriptors` when a process cannot hold its part.
pub(crate) fn assignments(
    options: &FanoutOptions,
    target: &Target,
) -> Result<Vec<Assignment>, BenchError> {
    let by_default = options.subscribers.div_ceil(SUBSCRIBERS_PER_PROCESS);
    let processes = options.processes.unwrap_or(by_default).min(options.subscribers);
    let largest = options.subscribers.div_ceil(processes);
    let descriptors = raise_descriptor_limit()?;
    let room = descriptors.saturating_sub(DESCRIPTORS_SPARE);
    if u64::from(largest) > room {
        let processes = u64::from(options.subscribers).div_ceil(room.max(1));
        return Err(BenchError::Descriptors { connections: largest, descriptors, processes });
    }
    let run = run_number();
    let parts = split(options.subscribers, processes);
    Ok(parts
        .map(|(first, count)| Assignment {
            target: target.clone(),
            run,
            first,
            count,
            topics: options.topics,
            topic_prefix: options.topic_prefix.clone(),
            source_addresses: options.source_addresses,
            connecting: options.connecting,
        })
        .collect())
}

/// Deliveries to be expected by the subscribers of `assignment`, when `accepted` says how many
/// publications of each topic the server took.
pub(crate) fn expected(assignment: &Assignment, accepted: &[u64]) -> u64 {
    let subscribers = assignment.first..assignment.first + assignment.count;
    let topics = subscribers.map(|subscriber| (subscriber % assignment.topics) as usize);
    topics.map(|topic| accepted.get(topic).copied().unwrap_or(0)).sum()
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
fn raise_descriptor_limit() -> Result<u64, BenchError> {
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

    fn options(arguments: &str) -> FanoutOptions {
        let words = ["fanwire-bench", "fanout"].into_iter().chain(arguments.split(' '));
        match Cli::try_parse_from(words).unwrap().command {
            Command::Fanout(options) => options,
            Command::Subscribers => unreachable!("fanout was asked for"),
        }
    }

    #[test]
    fn every_subscriber_is_dealt_to_exactly_one_process() {
        for (total, parts) in [(1, 1), (10, 3), (20_000, 3), (7, 7)] {
            let mut next = 0;
            for (first, count) in split(total, parts) {
                assert_eq!(first, next);
                next += count;
            }
            assert_eq!(next, total);
        }
    }

    #[test]
    fn one_process_holds_up_to_nine_thousand() {
        let target = Target::parse("ws://127.0.0.1:1/").unwrap();
        let processes = |arguments| assignments(&options(arguments), &target).unwrap().len();
        assert_eq!(processes("--subscribers 9000"), 1);
        assert_eq!(processes("--subscribers 9001"), 2);
        assert_eq!(processes("--subscribers 2 --processes 5"), 2);
    }

    #[test]
    fn expected_deliveries_follow_the_subscriptions() {
        let target = Target::parse("ws://127.0.0.1:1/").unwrap();
        let parts =
            assignments(&options("--subscribers 5 --topics 3 --processes 2"), &target).unwrap();
        // Subscribers 0 1 2 | 3 4 have topics 0 1 2 | 0 1.
        assert_eq!(
            parts.iter().map(|part| expected(part, &[100, 10, 1])).collect::<Vec<_>>(),
            [111, 110]
        );
    }

    #[test]
    fn senseless_numbers_are_refused() {
        assert!(check(&options("--subscribers 1")).is_ok());
        assert!(check(&options("--subscribers 1 --rate 0")).is_ok());
        for arguments in [
            "--size 10",
            "--rate=-1",
            "--rate NaN",
            "--seconds 0",
            "--warmup=-1",
            "--drain-limit inf",
        ] {
            assert!(
                check(&options(&format!("--subscribers 1 {arguments}"))).is_err(),
                "{arguments}"
            );
        }
    }
}
