//! The churn run: subscriptions come and go while a backend publishes.

use crate::cli::churn::ChurnOptions;
use crate::client::behaviour::Role;
use crate::client::behaviour::churn::{EXPECTED, Parameters, SUBSCRIBE, UNSUBSCRIBE};
use crate::client::control::{Assignment, Totals};
use crate::clock::seconds_to_ns;
use crate::dialect::{Need, Settings};
use crate::error::BenchError;
use crate::payload::PayloadMaker;
use crate::publisher::Publisher;
use crate::publisher::schedule::Schedule;
use crate::report::figure::{Figure, Unit};
use crate::report::findings::{Findings, Subject};
use crate::report::outcome::{self, Outcome};
use crate::scenarios::course::{self, Course, Measured};
use crate::scenarios::plan::{self, Group, Part};

/// Carries out a run.
///
/// # Errors
/// Whatever made it impossible. Losses are no error; they are in the outcome.
pub(crate) fn run(options: &ChurnOptions) -> Result<Outcome, BenchError> {
    let run = &options.run;
    let settings = run.dialect.settings(options.backend.api_key.as_deref());
    check(options, &settings)?;
    let assignments = assignments(options, &settings)?;
    let backend_plan = |any| {
        plan::backend(any, schedule(options), options.size, options.backend.publish_connections)
    };
    let backend = assignments.first().filter(|_| options.publish_rate > 0.0);
    let backend = backend.map(backend_plan).transpose()?;
    course::try_out(run, backend.as_ref())?;
    let parameters = parameters(options, assignments.len())?;
    let mut outcome = Outcome::begin("churn", parameters, run.server_pid, &run.output);

    let course = Course::begin(run, assignments)?;
    let publisher = backend.map(Publisher::open).transpose()?;
    let expected = |_: &Assignment, _: &_, stopped: &Totals| stopped.count(EXPECTED);
    let measured = course.measure(warmup(options), publisher, expected)?;
    // Now that all has come, it is known exactly.
    let expected = measured.totals.iter().map(|part| part.count(EXPECTED)).collect();
    let measured = Measured { expected, ..measured };
    add_operations(&mut outcome, &measured)?;
    let subject = operations(&measured)?;
    Findings { subject, measured }.add_to(&mut outcome);
    Ok(outcome)
}

/// All subscriptions that there will be stand before measuring begins.
fn warmup(options: &ChurnOptions) -> f64 {
    options.run.warmup.max(options.hold)
}

fn check(options: &ChurnOptions, settings: &Settings) -> Result<(), BenchError> {
    plan::check(&options.run)?;
    plan::check_some_rate("rate", options.rate)?;
    plan::check_span("hold", options.hold)?;
    // A client comes to the same topic again after a round for each of them, the first and the last
    // of which may follow each other at once.
    let round = f64::from(options.clients) / options.rate;
    if options.hold >= round * f64::from(options.topics - 1) {
        let expected = "shorter than (topics - 1) × clients ÷ rate, so that no client comes to a \
                        topic that it still hears";
        return Err(BenchError::Option { option: "hold", expected });
    }
    let api_key = options.backend.api_key.as_deref();
    plan::check_backend(api_key, ("publish-rate", options.publish_rate), &schedule(options))?;
    plan::check_protocol(settings, &[Need::SubscribeByCommand])?;
    // Refuses a size too small for the stamp.
    PayloadMaker::new(options.size).map(drop)
}

fn assignments(options: &ChurnOptions, settings: &Settings) -> Result<Vec<Assignment>, BenchError> {
    let publications = schedule(options);
    let clients = Group {
        first: 0,
        clients: options.clients,
        processes: options.run.processes,
        topics: options.topics,
        recovers: false,
        role: &|part: Part| {
            Role::Churn(Parameters {
                rate: options.rate * part.share,
                hold_ns: seconds_to_ns(options.hold),
                publications,
                phase: part.phase(),
            })
        },
    };
    plan::assignments(&options.run, settings, &[clients])
}

fn schedule(options: &ChurnOptions) -> Schedule {
    let seconds = warmup(options) + options.run.seconds;
    Schedule::new(options.publish_rate, options.topics, seconds)
}

fn parameters(options: &ChurnOptions, processes: usize) -> Result<outcome::Parameters, BenchError> {
    let way = plan::publishes_over(&options.run, options.backend.api_key.as_deref())?;
    Ok(plan::parameters([
        ("clients", options.clients.into()),
        ("rate", options.rate.into()),
        ("topics", options.topics.into()),
        ("hold", options.hold.into()),
        ("publish rate", options.publish_rate.into()),
        ("size", options.size.into()),
        ("seconds", options.run.seconds.into()),
        ("warmup", warmup(options).into()),
        ("processes", processes.into()),
        ("publish over", way.into()),
    ]))
}

/// Operations are what the run is about; their latency is that of subscribing.
fn operations(measured: &Measured) -> Result<Subject, BenchError> {
    let subscribe = measured.times(SUBSCRIBE)?;
    let unsubscribe = measured.times(UNSUBSCRIBE)?;
    // Clients publish nothing here: what is answered are operations.
    let answers = Subject::answers(&measured.totals)?;
    Ok(Subject {
        one: "operation",
        many: "operations",
        verb: "done",
        count: subscribe.percentiles().count + unsubscribe.percentiles().count,
        arrived: answers.arrived,
        times_name: SUBSCRIBE,
        times: subscribe,
        ..Subject::deliveries(&measured.totals)?
    })
}

/// What only this run has: the other times.
fn add_operations(outcome: &mut Outcome, measured: &Measured) -> Result<(), BenchError> {
    let deliveries = Subject::deliveries(&measured.totals)?;
    outcome.add_latency(UNSUBSCRIBE, &measured.times(UNSUBSCRIBE)?);
    outcome.add_latency(deliveries.times_name, &deliveries.times);
    let rate = deliveries.arrived as f64 * 1e9 / measured.usage.window_ns.max(1) as f64;
    outcome.figures.push(Figure::neutral("deliveries per second", rate, Unit::PerSecond));
    Ok(())
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::cli::{Cli, Command};

    #[test]
    fn a_hold_that_outlasts_the_round_through_all_topics_is_refused() {
        let checked = |arguments: &str| {
            let words = "fanwire-bench churn --clients 10 --topics 5 --rate 25".split(' ');
            match Cli::try_parse_from(words.chain(arguments.split(' '))).unwrap().command {
                Command::Churn(options) => check(&options, &Settings::default()),
                _ => unreachable!("churn was asked for"),
            }
        };
        assert!(checked("--hold 1.5").is_ok());
        for arguments in ["--hold 1.6", "--rate 0", "--publish-rate=-1", "--size 3"] {
            assert!(checked(arguments).is_err(), "{arguments}");
        }
    }
}
