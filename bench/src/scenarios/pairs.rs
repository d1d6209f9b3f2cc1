//! The run of pairs: many topics with one subscriber each, published to in turn.

use crate::cli::pairs::PairsOptions;
use crate::client::behaviour::Role;
use crate::client::behaviour::publish::{Aim, Parameters};
use crate::client::control::Assignment;
use crate::dialect::{Need, Settings};
use crate::error::BenchError;
use crate::payload::PayloadMaker;
use crate::publisher::Publisher;
use crate::report::findings::{Findings, Subject};
use crate::report::outcome::{self, Outcome};
use crate::scenarios::course::{self, Course};
use crate::scenarios::plan::{self, Group, Part};

/// Carries out a run.
///
/// # Errors
/// Whatever made it impossible. Losses are no error; they are in the outcome.
pub(crate) fn run(options: &PairsOptions) -> Result<Outcome, BenchError> {
    let run = &options.run;
    let settings = run.dialect.settings(options.api_key.as_deref());
    check(options, &settings)?;
    let assignments = assignments(options, &settings)?;
    let backend_plan = |any| {
        plan::backend(
            any,
            plan::schedule(&options.run, options.rate, options.pairs),
            options.size,
            options.publishers,
        )
    };
    let backend = assignments.first().filter(|_| settings.publishes_by_http());
    let backend = backend.map(backend_plan).transpose()?;
    course::try_out(run, backend.as_ref())?;
    let parameters = parameters(options, assignments.len())?;
    let mut outcome = Outcome::begin("pairs", parameters, run.server_pid, &run.output);

    let course = Course::begin(run, assignments)?;
    let publisher = backend.map(Publisher::open).transpose()?;
    let expected = |part: &Assignment, accepted: &_, _: &_| plan::expected(part, accepted);
    let measured = course.measure(run.warmup, publisher, expected)?;
    let subject = Subject::messages(&measured.totals)?;
    Findings { subject, measured }.add_to(&mut outcome);
    Ok(outcome)
}

fn check(options: &PairsOptions, settings: &Settings) -> Result<(), BenchError> {
    plan::check(&options.run)?;
    plan::check_some_rate("rate", options.rate)?;
    let schedule = plan::schedule(&options.run, options.rate, options.pairs);
    plan::check_backend(options.api_key.as_deref(), ("rate", options.rate), &schedule)?;
    if !settings.publishes_by_http() {
        plan::check_protocol(settings, &[Need::ClientsPublish])?;
    }
    // Refuses a size too small for the stamp.
    PayloadMaker::new(options.size).map(drop)
}

/// The subscribers, and one process with those who publish, unless that is the backend's part.
fn assignments(options: &PairsOptions, settings: &Settings) -> Result<Vec<Assignment>, BenchError> {
    let subscribers = Group {
        first: 0,
        clients: options.pairs,
        processes: options.run.processes,
        topics: options.pairs,
        recovers: false,
        role: &|_| Role::Listen,
    };
    let publish = |part: Part| {
        Role::Publish(Parameters {
            rate: options.rate,
            size_bytes: options.size,
            aim: Aim::EveryTopic { count: options.pairs },
            phase: part.phase(),
        })
    };
    let publishers = Group {
        first: options.pairs,
        clients: options.publishers,
        processes: Some(1),
        topics: 0,
        recovers: false,
        role: &publish,
    };
    let groups = [subscribers, publishers];
    let groups = if settings.publishes_by_http() { groups.get(..1) } else { groups.get(..) };
    plan::assignments(&options.run, settings, groups.unwrap_or_default())
}

fn parameters(options: &PairsOptions, processes: usize) -> Result<outcome::Parameters, BenchError> {
    let way = plan::publishes_over(&options.run, options.api_key.as_deref())?;
    Ok(plan::parameters([
        ("pairs", options.pairs.into()),
        ("rate", options.rate.into()),
        ("size", options.size.into()),
        ("seconds", options.run.seconds.into()),
        ("warmup", options.run.warmup.into()),
        ("processes", processes.into()),
        ("publish over", way.into()),
        ("publish connections", options.publishers.into()),
    ]))
}
