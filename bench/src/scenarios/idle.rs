//! The idle run: everybody subscribes, and nothing happens.

use crate::cli::idle::IdleOptions;
use crate::client::behaviour::Role;
use crate::clock::now_ns;
use crate::error::BenchError;
use crate::report::figure::{Figure, Unit};
use crate::report::findings::{Findings, Subject, Usage};
use crate::report::outcome::Outcome;
use crate::scenarios::course::{self, Course};
use crate::scenarios::plan::{self, Group};
use crate::watch::{Reading, Watch, Watched};

/// Carries out a run.
///
/// # Errors
/// Whatever made it impossible. Lost connections are no error; they are in the outcome.
pub(crate) fn run(options: &IdleOptions) -> Result<Outcome, BenchError> {
    let run = &options.run;
    plan::check(run)?;
    let clients = Group {
        first: 0,
        clients: options.connections,
        processes: run.processes,
        topics: options.topics,
        recovers: false,
        role: &|_| Role::Listen,
    };
    let assignments = plan::assignments(run, &run.dialect.settings(None), &[clients])?;
    course::try_out(run, None)?;
    let parameters = plan::parameters([
        ("connections", options.connections.into()),
        ("topics", options.topics.into()),
        ("seconds", run.seconds.into()),
        ("processes", assignments.len().into()),
    ]);
    let mut outcome = Outcome::begin("idle", parameters, run.server_pid, &run.output);

    let server = Watched { server_pid: run.server_pid, generator_pids: Vec::new() };
    let connecting = Watch::start(server, now_ns());
    let course = Course::begin(run, assignments)?;
    let connecting = connecting.finish();
    let measured = course.measure(0.0, None, |_, _, _| 0)?;
    let subject = Subject::deliveries(&measured.totals)?;
    let measured = Findings { subject, measured }.add_to(&mut outcome);
    if run.server_pid.is_some() {
        outcome.figures.extend(peak(options.connections, &measured.usage, &connecting));
        outcome.figures.extend(activity(&measured.usage.readings));
    }
    Ok(outcome)
}

/// The most memory while the clients connected, and how much of it each took.
fn peak(connections: u32, usage: &Usage, connecting: &[Reading]) -> [Figure; 2] {
    let memory = connecting.iter().filter_map(|reading| Some(reading.server?.1.resident_bytes));
    let peak = memory.fold(usage.connected.resident_bytes, u64::max);
    let grown = peak.saturating_sub(usage.before.resident_bytes);
    let each = grown as f64 / f64::from(connections.max(1));
    [
        Figure::lower("RSS peak", peak as f64, Unit::Bytes).in_phase("connecting"),
        Figure::lower("peak RSS per connection", each, Unit::Bytes).in_phase("connecting"),
    ]
}

/// How often the server's threads woke up and were driven out while nothing happened.
fn activity(readings: &[Reading]) -> Vec<Figure> {
    let (Some(first), Some(last)) = (readings.first(), readings.last()) else { return Vec::new() };
    let switches = last.switches.since(&first.switches);
    let seconds = last.at_ns.saturating_sub(first.at_ns).max(1) as f64 / 1e9;
    let figure = |name, count| Figure::lower(name, count as f64 / seconds, Unit::PerSecond);
    vec![
        figure("server wake-ups per second", switches.voluntary),
        figure("server driven out per second", switches.forced),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::procfs::{CpuTime, Memory, Switches};
    use crate::watch::Waited;

    fn reading(at_ns: u64, voluntary: u64, resident_bytes: u64) -> Reading {
        Reading {
            at_ns,
            server: Some((CpuTime::default(), Memory { resident_bytes })),
            switches: Switches { voluntary, forced: 0 },
            generators: Vec::new(),
            own: CpuTime::default(),
            waited: Waited::default(),
        }
    }

    #[test]
    fn wake_ups_count_per_second() {
        let readings = [reading(0, 100, 0), reading(5, 0, 0), reading(2_000_000_000, 110, 0)];
        let [wake_ups, driven_out] = &activity(&readings)[..] else { unreachable!() };
        assert!((wake_ups.value - 5.0).abs() < 1e-9 && driven_out.value == 0.0);
        assert!(activity(&[]).is_empty());
    }

    #[test]
    fn the_peak_is_what_connecting_took_over_what_was_before() {
        let usage = Usage {
            before: Memory { resident_bytes: 1_000 },
            connected: Memory { resident_bytes: 2_000 },
            ..Usage::default()
        };
        let values = |readings: &[Reading]| peak(10, &usage, readings).map(|figure| figure.value);
        assert_eq!(values(&[reading(0, 0, 1_000), reading(1, 0, 6_000)]), [6_000.0, 500.0]);
        assert_eq!(values(&[]), [2_000.0, 100.0]);
    }
}
