//! The inbound run: clients publish to topics that nobody hears.

use crate::cli::inbound::InboundOptions;
use crate::client::behaviour::Role;
use crate::client::behaviour::publish::{Aim, Parameters};
use crate::dialect::Need;
use crate::error::BenchError;
use crate::payload::PayloadMaker;
use crate::report::findings::{Findings, Subject};
use crate::report::outcome::Outcome;
use crate::scenarios::course::{self, Course};
use crate::scenarios::plan::{self, Group, Part};

/// Carries out a run.
///
/// # Errors
/// Whatever made it impossible. Refusals are no error; they are in the outcome.
pub(crate) fn run(options: &InboundOptions) -> Result<Outcome, BenchError> {
    let run = &options.run;
    let settings = run.dialect.settings(None);
    plan::check(run)?;
    plan::check_some_rate("rate", options.rate)?;
    plan::check_protocol(&settings, &[Need::ClientsPublish, Need::Answers])?;
    // Refuses a size too small for the stamp.
    PayloadMaker::new(options.size)?;
    let topics = options.topics.unwrap_or(options.clients);
    let clients = Group {
        first: 0,
        clients: options.clients,
        processes: run.processes,
        topics: 0,
        recovers: false,
        role: &|part: Part| {
            Role::Publish(Parameters {
                rate: options.rate * part.share,
                size_bytes: options.size,
                aim: Aim::OwnTopic { topics },
                phase: part.phase(),
            })
        },
    };
    let assignments = plan::assignments(run, &settings, &[clients])?;
    course::try_out(run, None)?;
    let parameters = plan::parameters([
        ("clients", options.clients.into()),
        ("topics", topics.into()),
        ("rate", options.rate.into()),
        ("size", options.size.into()),
        ("seconds", run.seconds.into()),
        ("warmup", run.warmup.into()),
        ("processes", assignments.len().into()),
    ]);
    let mut outcome = Outcome::begin("inbound", parameters, run.server_pid, &run.output);

    let course = Course::begin(run, assignments)?;
    let measured = course.measure(run.warmup, None, |_, _, _| 0)?;
    let subject = Subject::answers(&measured.totals)?;
    Findings { subject, measured }.add_to(&mut outcome);
    Ok(outcome)
}
