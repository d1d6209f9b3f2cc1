//! The mixed run: a chat with rooms of all sizes, and a backend that publishes to them.

use crate::cli::mixed::MixedOptions;
use crate::client::behaviour::Role;
use crate::client::behaviour::chat::rooms::Rooms;
use crate::client::behaviour::chat::{Parameters, RECONNECT, SUBSCRIBE};
use crate::client::control::{Assignment, FurtherTopics};
use crate::client::dialogue::JOINS_AND_LEAVES;
use crate::clock::seconds_to_ns;
use crate::dialect::{Need, Question, Settings};
use crate::error::BenchError;
use crate::payload::PayloadMaker;
use crate::publisher::Publisher;
use crate::report::figure::{Figure, Unit};
use crate::report::findings::{Findings, Subject};
use crate::report::outcome::{self, Outcome};
use crate::scenarios::course::{self, Course, Measured};
use crate::scenarios::plan::{self, Accepted, Group, Part};

/// Carries out a run.
///
/// # Errors
/// Whatever made it impossible. Losses are no error; they are in the outcome.
pub(crate) fn run(options: &MixedOptions) -> Result<Outcome, BenchError> {
    let run = &options.run;
    let mut settings = run.dialect.settings(options.backend.api_key.as_deref());
    settings.wants_joins_and_leaves = settings.dialect().capabilities().has_questions;
    let hears_joins = settings.wants_joins_and_leaves;
    let rooms = check(options, &settings)?;
    let assignments = assignments(options, &settings)?;
    let backend_plan = |any| {
        plan::backend(
            any,
            plan::schedule(&options.run, options.backend_rate, options.rooms),
            options.size,
            options.backend.publish_connections,
        )
    };
    let backend = assignments.first().filter(|_| options.backend_rate > 0.0);
    let backend = backend.map(backend_plan).transpose()?;
    course::try_out(run, backend.as_ref())?;
    let parameters = parameters(options, assignments.len())?;
    let mut outcome = Outcome::begin("mixed", parameters, run.server_pid, &run.output);

    let course = Course::begin(run, assignments)?;
    let publisher = backend.map(Publisher::open).transpose()?;
    let expected = |part: &Assignment, accepted: &_, _: &_| expected(&rooms, part, accepted);
    let measured = course.measure(run.warmup, publisher, expected)?;
    add_chat(&mut outcome, &measured, hears_joins)?;
    let subject = Subject::deliveries(&measured.totals)?;
    Findings { subject, measured }.add_to(&mut outcome);
    Ok(outcome)
}

fn check(options: &MixedOptions, settings: &Settings) -> Result<Rooms, BenchError> {
    plan::check(&options.run)?;
    plan::check_rate("message-rate", options.message_rate)?;
    plan::check_rate("typing-rate", options.typing_rate)?;
    plan::check_rate("comings-rate", options.comings_rate)?;
    plan::check_rate("asking-rate", options.asking_rate)?;
    plan::check_span("away", options.away)?;
    let schedule = plan::schedule(&options.run, options.backend_rate, options.rooms);
    let api_key = options.backend.api_key.as_deref();
    plan::check_backend(api_key, ("backend-rate", options.backend_rate), &schedule)?;
    plan::check_protocol(settings, &[Need::SubscribeByCommand, Need::ClientsPublish])?;
    if options.comings_rate > 0.0 {
        plan::check_protocol(settings, &[Need::Recovery])?;
    }
    if options.asking_rate > 0.0 {
        plan::check_protocol(settings, &[Need::Questions])?;
    }
    // Refuses a size too small for the stamp.
    PayloadMaker::new(options.size)?;
    let fault = BenchError::Option { option: "zipf", expected: "a number, 0 to 10" };
    let is_sensible = (0.0..=10.0).contains(&options.zipf);
    let rooms = Rooms::new(options.users, options.rooms, options.zipf);
    rooms.filter(|_| is_sensible).ok_or(fault)
}

fn assignments(options: &MixedOptions, settings: &Settings) -> Result<Vec<Assignment>, BenchError> {
    let users = Group {
        first: 0,
        clients: options.users,
        processes: options.run.processes,
        topics: options.rooms,
        recovers: options.comings_rate > 0.0,
        role: &|part: Part| {
            Role::Chat(Parameters {
                users: options.users,
                rooms: options.rooms,
                exponent: options.zipf,
                size_bytes: options.size,
                message_rate: options.message_rate * part.share,
                typing_rate: options.typing_rate * part.share,
                leaving_rate: options.comings_rate * part.share,
                asking_rate: options.asking_rate * part.share,
                away_ns: seconds_to_ns(options.away),
                phase: part.phase(),
            })
        },
    };
    let mut assignments = plan::assignments(&options.run, settings, &[users])?;
    for assignment in &mut assignments {
        let prefix = options.typing_prefix.clone();
        assignment.further_topics = Some(FurtherTopics { from: options.rooms, prefix });
    }
    Ok(assignments)
}

/// Everybody hears all that was said in their rooms, and who stays hears the typing as well.
fn expected(rooms: &Rooms, part: &Assignment, accepted: &Accepted) -> u64 {
    let mut topics = Vec::new();
    for user in part.first..part.first + part.count {
        rooms.topics(user, &mut topics);
    }
    topics.iter().filter_map(|topic| accepted.get(topic)).sum()
}

fn parameters(options: &MixedOptions, processes: usize) -> Result<outcome::Parameters, BenchError> {
    let way = plan::publishes_over(&options.run, options.backend.api_key.as_deref())?;
    Ok(plan::parameters([
        ("users", options.users.into()),
        ("rooms", options.rooms.into()),
        ("zipf", options.zipf.into()),
        ("message rate", options.message_rate.into()),
        ("size", options.size.into()),
        ("typing rate", options.typing_rate.into()),
        ("backend rate", options.backend_rate.into()),
        ("comings rate", options.comings_rate.into()),
        ("away", options.away.into()),
        ("asking rate", options.asking_rate.into()),
        ("seconds", options.run.seconds.into()),
        ("warmup", options.run.warmup.into()),
        ("processes", processes.into()),
        ("backend over", way.into()),
    ]))
}

/// What only this run has.
fn add_chat(
    outcome: &mut Outcome,
    measured: &Measured,
    hears_joins: bool,
) -> Result<(), BenchError> {
    let asked = [Question::History, Question::Presence].map(Question::name);
    for name in [SUBSCRIBE, RECONNECT].into_iter().chain(asked) {
        let times = measured.times(name)?;
        let percentiles = times.percentiles();
        if percentiles.count == 0 {
            continue;
        }
        outcome.add_latency(name, &times);
        let figures = [("latency p50", percentiles.p50_us), ("latency p99", percentiles.p99_us)];
        let figures = figures
            .map(|(figure, value)| Figure::lower(figure, value, Unit::Microseconds).in_phase(name));
        outcome.figures.extend(figures);
    }
    if hears_joins {
        let told = measured.count(JOINS_AND_LEAVES) as f64 * 1e9;
        let rate = told / measured.usage.measured_ns.max(1) as f64;
        let figure = Figure::neutral("joins and leaves per second", rate, Unit::PerSecond);
        outcome.figures.push(figure);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::cli::{Cli, Command};
    use crate::dialect::Protocol;

    fn options(arguments: &str) -> MixedOptions {
        let words = "fanwire-bench mixed --users 40 --rooms 6".split(' ');
        let words = words.chain(arguments.split(' ').filter(|word| !word.is_empty()));
        match Cli::try_parse_from(words).unwrap().command {
            Command::Mixed(options) => *options,
            _ => unreachable!("mixed was asked for"),
        }
    }

    #[test]
    fn rooms_are_where_history_is_unless_told_otherwise() {
        assert_eq!(options("").run.topic_prefix, "demo:bench");
        assert_eq!(options("--topic-prefix x").run.topic_prefix, "x");
    }

    #[test]
    fn expected_deliveries_are_those_of_everybody_who_hears_the_topic() {
        let options = options("--processes 3 --url ws://127.0.0.1:1/");
        let parts = assignments(&options, &Settings::default()).unwrap();
        let rooms = check(&options, &Settings::default()).unwrap();
        // Three messages in room 1, five typing events there.
        let accepted = Accepted::from([(1, 3), (7, 5)]);
        let inside: Vec<u32> = (0..40).filter(|&user| rooms.of(user).contains(&1)).collect();
        let staying = inside.iter().filter(|&&user| user % 4 != 3).count() as u64;
        assert!(staying > 0 && staying < inside.len() as u64);
        let sum: u64 = parts.iter().map(|part| expected(&rooms, part, &accepted)).sum();
        assert_eq!(sum, 3 * inside.len() as u64 + 5 * staying);
    }

    #[test]
    fn senseless_numbers_are_refused() {
        assert!(check(&options(""), &Settings::default()).is_ok());
        let protobuf = Protocol::CentrifugoProtobuf;
        let protobuf = Settings { protocol: protobuf, ..Settings::default() };
        assert!(check(&options(""), &protobuf).is_err());
        assert!(check(&options("--asking-rate 0"), &protobuf).is_ok());
        for arguments in ["--zipf=-1", "--zipf NaN", "--zipf 11", "--away=-1", "--size 3"] {
            let options = options(arguments);
            assert!(check(&options, &Settings::default()).is_err(), "{arguments}");
        }
    }
}
