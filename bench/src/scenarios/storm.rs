//! The storm: all clients leave at once, a backend goes on publishing, all come back at once and
//! recover what they missed.

use crate::cli::storm::StormOptions;
use crate::client::behaviour::Role;
use crate::client::behaviour::storm::{
    BACK, CONNECT, LAST_BACK_NS, Parameters as Storm, RECONNECTS, RESUBSCRIBE,
};
use crate::client::control::{Assignment, Times, Totals};
use crate::client::tally::RECOVERED;
use crate::clock::{now_ns, seconds_to_ns};
use crate::dialect::Need;
use crate::error::BenchError;
use crate::histogram::TimeHistogram;
use crate::payload::PayloadMaker;
use crate::publisher::Publisher;
use crate::publisher::schedule::Schedule;
use crate::report::figure::{Figure, Unit};
use crate::report::findings::{Findings, Subject};
use crate::report::outcome::{Outcome, Parameters};
use crate::scenarios::course::{self, Course, End, LEAD_NS};
use crate::scenarios::plan::{self, Group};

/// The backend's schedule has room for returns of this length, in seconds. It ends before: a return
/// without any progress is given up after `--drain-limit`.
const RETURN_MAX: f64 = 120.0;

/// What one round has shown.
#[derive(Clone, Debug, PartialEq)]
struct Round {
    /// Clients that came back in it.
    back: u64,
    /// From the moment at which all were meant to be back until the last one was, in nanoseconds.
    last_back_ns: u64,
    /// CPU time of the server from that moment until all were back, in nanoseconds; `None` when it
    /// is not watched.
    server_ns: Option<u64>,
    /// How long that was, in nanoseconds.
    returning_ns: u64,
}

/// Carries out a run.
///
/// # Errors
/// Whatever made it impossible. Losses are no error; they are in the outcome.
pub(crate) fn run(options: &StormOptions) -> Result<Outcome, BenchError> {
    check(options)?;
    let run = &options.run;
    let settings = run.dialect.settings(options.backend.api_key.as_deref());
    plan::check_protocol(&settings, &[Need::Recovery])?;
    let role = Storm {
        away_ns: seconds_to_ns(options.away),
        leaving: options.leaving,
        connecting: connecting(options),
    };
    let clients = Group {
        first: 0,
        clients: options.clients,
        processes: run.processes,
        topics: options.topics,
        recovers: true,
        role: &|_| Role::Storm(role.clone()),
    };
    let assignments = plan::assignments(run, &settings, &[clients])?;
    let backend_plan = |any| {
        plan::backend(any, schedule(options), options.size, options.backend.publish_connections)
    };
    let backend = assignments.first().map(backend_plan).transpose()?;
    course::try_out(run, backend.as_ref())?;
    let parameters = parameters(options, assignments.len())?;
    let mut outcome = Outcome::begin("storm", parameters, run.server_pid, &run.output);

    let course = Course::begin(run, assignments)?;
    let publisher = backend.map(Publisher::open).transpose()?;
    let stopper = publisher.as_ref().map(Publisher::stopper);
    let mut rounds = Vec::new();
    let storms = |course: &mut Course<'_>, times: Times| {
        let outcome = carry_out(options, course, times, &mut rounds);
        // Also when it failed: the backend would publish for the rest of its schedule.
        stopper.iter().for_each(crate::publisher::Stopper::stop);
        outcome
    };
    let expected = |part: &Assignment, accepted: &_, _: &_| plan::expected(part, accepted);
    let measured = course.measure_while((run.warmup, End::Open), publisher, storms, expected)?;
    let subject = Subject::deliveries(&measured.totals)?;
    let measured = Findings { subject, measured }.add_to(&mut outcome);
    add_rounds(&mut outcome, options.clients, &rounds);
    add_clients(&mut outcome, &measured.totals)?;
    Ok(outcome)
}

fn check(options: &StormOptions) -> Result<(), BenchError> {
    plan::check(&options.run)?;
    plan::check_span("away", options.away)?;
    if options.away <= 0.0 {
        return plan::fault("away", "more than 0 seconds");
    }
    let rate = ("history-while-away", rate(options));
    plan::check_backend(options.backend.api_key.as_deref(), rate, &schedule(options))?;
    PayloadMaker::new(options.size).map(drop)
}

/// Connections in the making at any moment while all come back, in each process: all at once,
/// unless told otherwise.
fn connecting(options: &StormOptions) -> u32 {
    options.run.connecting.unwrap_or(options.clients)
}

/// Publications per second over all topics.
fn rate(options: &StormOptions) -> f64 {
    f64::from(options.topics) * f64::from(options.history_while_away) / options.away
}

/// As long as the run may take at the most; it is stopped before.
fn schedule(options: &StormOptions) -> Schedule {
    let round = options.away + RETURN_MAX + options.run.seconds + 1.0;
    let seconds = options.run.warmup + f64::from(options.rounds) * round;
    Schedule::new(rate(options), options.topics, seconds)
}

fn parameters(options: &StormOptions, processes: usize) -> Result<Parameters, BenchError> {
    let way = plan::publishes_over(&options.run, options.backend.api_key.as_deref())?;
    Ok(plan::parameters([
        ("clients", options.clients.into()),
        ("topics", options.topics.into()),
        ("history while away", options.history_while_away.into()),
        ("away", options.away.into()),
        ("rounds", options.rounds.into()),
        ("leaving", serde_json::to_value(options.leaving).unwrap_or_default()),
        ("rate", rate(options).into()),
        ("size", options.size.into()),
        ("connecting", connecting(options).into()),
        ("processes", processes.into()),
        ("publish over", way.into()),
    ]))
}

/// All storms, one after the other, each followed by a calm.
fn carry_out(
    options: &StormOptions,
    course: &mut Course<'_>,
    times: Times,
    rounds: &mut Vec<Round>,
) -> Result<(), BenchError> {
    let watched = course.watched();
    let (mut back, mut last_back) = (0, Vec::new());
    for _ in 0..options.rounds {
        let leave_ns = now_ns() + LEAD_NS;
        let return_ns = leave_ns + seconds_to_ns(options.away);
        course.round(Times { start_ns: leave_ns, until_ns: return_ns, ..times })?;
        course.progress.wait("away", return_ns);
        let begin = watched.read()?;
        course.progress.begin_open("returning");
        let stopped = course.stop()?;
        let end = watched.read()?;
        let back_until_now = stopped.iter().map(|part| part.count(RECONNECTS)).sum();
        let last_until_now: Vec<u64> =
            stopped.iter().map(|part| part.count(LAST_BACK_NS)).collect();
        let round = Round {
            back: back_until_now - back,
            last_back_ns: longest_growth(&last_back, &last_until_now),
            server_ns: course::used_between(&begin, &end).server_ns,
            returning_ns: end.at_ns.saturating_sub(begin.at_ns),
        };
        (back, last_back) = (back_until_now, last_until_now);
        let is_complete = round.back == u64::from(options.clients);
        let seconds = round.last_back_ns as f64 / 1e9;
        course.progress.done(&format!("{} clients back after {seconds:.2} s", round.back));
        rounds.push(round);
        if !is_complete {
            break;
        }
        course.progress.wait("calm", now_ns() + seconds_to_ns(options.run.seconds));
    }
    Ok(())
}

/// By how much the one that has grown most has grown; those of before may be missing.
fn longest_growth(before: &[u64], now: &[u64]) -> u64 {
    let before = before.iter().copied().chain(std::iter::repeat(0));
    now.iter().zip(before).map(|(now, before)| now - before).max().unwrap_or(0)
}

fn add_rounds(outcome: &mut Outcome, clients: u32, rounds: &[Round]) {
    for (index, round) in (1_u32..).zip(rounds) {
        if round.back < u64::from(clients) {
            let missing = u64::from(clients).saturating_sub(round.back);
            outcome.fault(format!("clients not back after storm {index}: {missing}"));
        } else if rounds.len() > 1 {
            let seconds = round.last_back_ns as f64 / 1e9;
            let figure = Figure::lower("all back after", seconds, Unit::Seconds);
            outcome.figures.push(figure.in_phase(&format!("storm {index}")));
        }
    }
    let complete = || rounds.iter().filter(|round| round.back >= u64::from(clients));
    let Some(longest_ns) = complete().map(|round| round.last_back_ns).max() else { return };
    let seconds = longest_ns as f64 / 1e9;
    let per_second = f64::from(clients) / seconds.max(1e-9);
    outcome.figures.push(Figure::lower("all back after", seconds, Unit::Seconds));
    outcome.figures.push(Figure::higher("reconnects per second", per_second, Unit::PerSecond));
    let spent: Option<u64> = complete().map(|round| round.server_ns).sum();
    if let Some(spent_ns) = spent {
        let back: u64 = complete().map(|round| round.back).sum();
        let each_us = spent_ns as f64 / 1e3 / back.max(1) as f64;
        let returning_ns: u64 = complete().map(|round| round.returning_ns).sum();
        let percent = 100.0 * spent_ns as f64 / returning_ns.max(1) as f64;
        let seconds = spent_ns as f64 / 1e9 / complete().count().max(1) as f64;
        outcome.figures.extend([
            Figure::lower("CPU per reconnect", each_us, Unit::Microseconds),
            Figure::lower("server CPU time", seconds, Unit::Seconds).in_phase("return"),
            Figure::lower("server CPU", percent, Unit::PercentOfCore).in_phase("return"),
        ]);
    }
}

fn add_clients(outcome: &mut Outcome, totals: &[Totals]) -> Result<(), BenchError> {
    outcome.counts.other.entry(RECOVERED.to_owned()).or_default();
    for name in [CONNECT, RESUBSCRIBE, BACK] {
        let parts = totals.iter().filter_map(|part| part.times.get(name));
        let times = TimeHistogram::merged(parts)?;
        outcome.add_latency(name, &times);
        if name == BACK {
            let p99_us = times.percentiles().p99_us;
            outcome.figures.push(Figure::lower("back p99", p99_us, Unit::Microseconds));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::SECOND_NS;
    use crate::report::options::OutputOptions;

    fn outcome() -> Outcome {
        Outcome::begin("storm", Parameters::new(), None, &OutputOptions::default())
    }

    fn round(back: u64, last_back_ns: u64) -> Round {
        Round { back, last_back_ns, server_ns: Some(SECOND_NS), returning_ns: 2 * SECOND_NS }
    }

    fn figure(outcome: &Outcome, title: &str) -> f64 {
        outcome.figures.iter().find(|figure| figure.title() == title).unwrap().value
    }

    #[test]
    fn the_slowest_process_of_a_round_says_when_all_were_back() {
        assert_eq!(longest_growth(&[], &[5, 9]), 9);
        assert_eq!(longest_growth(&[5, 9], &[15, 11]), 10);
        assert_eq!(longest_growth(&[], &[]), 0);
    }

    #[test]
    fn the_worst_of_several_storms_is_the_figure() {
        let mut outcome = outcome();
        add_rounds(&mut outcome, 100, &[round(100, SECOND_NS), round(100, 2 * SECOND_NS)]);
        assert!(outcome.is_clean);
        assert!((figure(&outcome, "all back after") - 2.0).abs() < 1e-9);
        assert!((figure(&outcome, "storm 1: all back after") - 1.0).abs() < 1e-9);
        assert!((figure(&outcome, "reconnects per second") - 50.0).abs() < 1e-9);
        assert!((figure(&outcome, "CPU per reconnect") - 10_000.0).abs() < 1e-9);
        assert!((figure(&outcome, "return: server CPU") - 50.0).abs() < 1e-9);
    }

    #[test]
    fn clients_that_do_not_come_back_are_a_fault_and_give_no_figures() {
        let mut outcome = outcome();
        add_rounds(&mut outcome, 100, &[round(98, SECOND_NS)]);
        assert_eq!(outcome.faults, ["clients not back after storm 1: 2"]);
        assert!(outcome.figures.is_empty());
    }
}
