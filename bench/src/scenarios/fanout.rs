//! The fan-out run: everybody subscribes, one publishes, all is counted.

use crate::cli::fanout::FanoutOptions;
use crate::client::behaviour::Role;
use crate::client::control::Assignment;
use crate::error::BenchError;
use crate::payload::PayloadMaker;
use crate::publisher::Publisher;
use crate::publisher::schedule::Schedule;
use crate::report::findings::{Findings, Subject};
use crate::report::outcome::{Outcome, Parameters};
use crate::scenarios::course::{self, Course};
use crate::scenarios::plan::{self, Group};

/// Carries out a run.
///
/// # Errors
/// Whatever made it impossible. Losses are no error; they are in the outcome.
pub(crate) fn run(options: &FanoutOptions) -> Result<Outcome, BenchError> {
    check(options)?;
    let run = &options.run;
    let settings = run.dialect.settings(options.backend.api_key.as_deref());
    let subscribers = Group {
        first: 0,
        clients: options.subscribers,
        processes: run.processes,
        topics: options.topics,
        recovers: false,
        role: &|_| Role::Listen,
    };
    let assignments = plan::assignments(run, &settings, &[subscribers])?;
    let backend_plan = |any| {
        plan::backend(any, schedule(options), options.size, options.backend.publish_connections)
    };
    let backend = assignments.first().map(backend_plan).transpose()?;
    course::try_out(run, backend.as_ref())?;
    let parameters = parameters(options, assignments.len())?;
    let mut outcome = Outcome::begin("fanout", parameters, run.server_pid, &run.output);

    let course = Course::begin(run, assignments)?;
    let publisher = backend.map(Publisher::open).transpose()?;
    let expected = |part: &Assignment, accepted: &_, _: &_| plan::expected(part, accepted);
    let measured = course.measure(run.warmup, publisher, expected)?;
    let subject = Subject::deliveries(&measured.totals)?;
    Findings { subject, measured }.add_to(&mut outcome);
    Ok(outcome)
}

fn check(options: &FanoutOptions) -> Result<(), BenchError> {
    plan::check(&options.run)?;
    plan::check_some_rate("rate", options.rate)?;
    plan::check_backend(
        options.backend.api_key.as_deref(),
        ("rate", options.rate),
        &schedule(options),
    )?;
    // Refuses a size too small for the stamp.
    PayloadMaker::new(options.size).map(drop)
}

fn schedule(options: &FanoutOptions) -> Schedule {
    plan::schedule(&options.run, options.rate, options.topics).in_bursts(options.burst)
}

fn parameters(options: &FanoutOptions, processes: usize) -> Result<Parameters, BenchError> {
    let way = plan::publishes_over(&options.run, options.backend.api_key.as_deref())?;
    Ok(plan::parameters([
        ("subscribers", options.subscribers.into()),
        ("topics", options.topics.into()),
        ("rate", options.rate.into()),
        ("burst", options.burst.into()),
        ("size", options.size.into()),
        ("seconds", options.run.seconds.into()),
        ("warmup", options.run.warmup.into()),
        ("processes", processes.into()),
        ("publish over", way.into()),
        ("publish connections", options.backend.publish_connections.into()),
    ]))
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::cli::{Cli, Command};

    #[test]
    fn senseless_numbers_are_refused() {
        let checked = |arguments: &str| {
            let words = "fanwire-bench fanout --subscribers 1".split(' ');
            match Cli::try_parse_from(words.chain(arguments.split(' '))).unwrap().command {
                Command::Fanout(options) => check(&options),
                _ => unreachable!("fanout was asked for"),
            }
        };
        assert!(checked("--rate 1").is_ok());
        for arguments in
            ["--rate 0", "--size 10", "--rate=-1", "--rate NaN", "--seconds 0", "--api-key=a\tb"]
        {
            assert!(checked(arguments).is_err(), "{arguments}");
        }
    }
}
