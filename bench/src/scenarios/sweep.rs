//! The sweep: the fan-out run again and again at other rates, in search of the highest one at which
//! nothing is wrong.

use crate::cli::fanout::FanoutOptions;
use crate::cli::sweep::SweepOptions;
use crate::error::BenchError;
use crate::progress::Progress;
use crate::report::figure::{Figure, Unit};
use crate::report::findings::DELIVERY;
use crate::report::outcome::{Outcome, Parameters};
use crate::report::saturation::Saturation;
use crate::scenarios::plan::RATE_MAX;
use crate::scenarios::{fanout, plan};

/// A gap between good and bad smaller than this is not worth another step.
const GAP_MIN: f64 = 1.02;
/// Where a sweep that has found no good rate gives up, in publications per second.
const RATE_MIN: f64 = 1.0;

/// Carries out a sweep.
///
/// # Errors
/// Whatever made a step impossible, unless the server was overloaded.
pub(crate) fn run(options: &SweepOptions) -> Result<Outcome, BenchError> {
    check(options)?;
    let run = &options.fanout.run;
    let parameters = parameters(options)?;
    let mut outcome = Outcome::begin("sweep", parameters, run.server_pid, &run.output);
    let mut progress = run.output.progress();
    let mut search = Search::new(options);
    let (mut best, mut first_bad): (Option<Step>, Option<Step>) = (None, None);
    while let Some(rate) = search.next() {
        let step = attempt(options, rate, search.good.is_some(), &mut progress)?;
        search.note(rate, step.verdict.is_ok());
        step.add_to(&mut outcome);
        let place = if step.verdict.is_ok() { &mut best } else { &mut first_bad };
        let is_closer = place.as_ref().is_none_or(|known| match step.verdict {
            Ok(()) => step.rate > known.rate,
            Err(_) => step.rate < known.rate,
        });
        if is_closer {
            *place = Some(step);
        }
    }
    drop(progress);
    add_knee(&mut outcome, options, best, first_bad.as_ref());
    Ok(outcome)
}

fn check(options: &SweepOptions) -> Result<(), BenchError> {
    if !options.from.is_finite() || !(RATE_MIN..=RATE_MAX).contains(&options.from) {
        return plan::fault("from", "1 to 10,000,000 publications per second");
    }
    if !(options.from..=RATE_MAX).contains(&options.to) {
        return plan::fault("to", "at least --from, and at most 10,000,000");
    }
    if !options.factor.is_finite() || !(1.01..=100.0).contains(&options.factor) {
        return plan::fault("factor", "1.01 to 100");
    }
    Ok(())
}

fn parameters(options: &SweepOptions) -> Result<Parameters, BenchError> {
    let fanout = &options.fanout;
    let way = plan::publishes_over(&fanout.run, fanout.backend.api_key.as_deref())?;
    Ok(plan::parameters([
        ("subscribers", fanout.subscribers.into()),
        ("topics", fanout.topics.into()),
        ("size", fanout.size.into()),
        ("from", options.from.into()),
        ("to", options.to.into()),
        ("factor", options.factor.into()),
        ("bisect", options.bisect.into()),
        ("p99 max", humantime::format_duration(options.p99_max).to_string().into()),
        ("attempts", options.attempts.into()),
        ("seconds", fanout.run.seconds.into()),
        ("warmup", fanout.run.warmup.into()),
        ("publish over", way.into()),
        ("publish connections", fanout.backend.publish_connections.into()),
    ]))
}

/// Which rate comes next. Knows nothing of runs.
#[derive(Clone, Debug)]
struct Search {
    from: f64,
    to: f64,
    factor: f64,
    halvings: u32,
    /// Highest good rate.
    good: Option<f64>,
    /// Lowest bad rate.
    bad: Option<f64>,
}

impl Search {
    fn new(options: &SweepOptions) -> Self {
        let SweepOptions { from, to, factor, bisect, .. } = *options;
        Self { from, to, factor, halvings: bisect, good: None, bad: None }
    }

    fn next(&mut self) -> Option<f64> {
        match (self.good, self.bad) {
            (None, None) => Some(self.from),
            (Some(good), None) => Some(good * self.factor).filter(|rate| *rate <= self.to),
            // Even the first was too much.
            (None, Some(bad)) => Some(bad / self.factor).filter(|rate| *rate >= RATE_MIN),
            (Some(good), Some(bad)) => {
                self.halvings = self.halvings.checked_sub(1)?;
                (bad / good > GAP_MIN).then(|| (good * bad).sqrt())
            }
        }
    }

    fn note(&mut self, rate: f64, is_good: bool) {
        if is_good {
            self.good = Some(self.good.map_or(rate, |good| good.max(rate)));
        } else {
            self.bad = Some(self.bad.map_or(rate, |bad| bad.min(rate)));
        }
    }
}

/// One rate and what came of it.
#[derive(Debug)]
struct Step {
    rate: f64,
    /// `None` when the run broke off.
    outcome: Option<Outcome>,
    /// Why it failed.
    verdict: Result<(), String>,
}

impl Step {
    /// The step's figures and latencies, under its rate.
    fn add_to(&self, sweep: &mut Outcome) {
        *sweep.counts.other.entry("steps".to_owned()).or_default() += 1;
        let Some(outcome) = &self.outcome else { return };
        sweep.set_server_version(&outcome.server.version);
        let name = Unit::PerSecond.show(self.rate);
        if let Some(latency) = outcome.latencies.get(DELIVERY) {
            let verdict = if self.verdict.is_ok() { "good" } else { "bad" };
            sweep.latencies.insert(format!("{name} {verdict}"), latency.clone());
        }
        for figure in [
            "deliveries per second",
            "latency p99",
            "CPU per delivery",
            "server CPU",
            "generator CPU",
        ] {
            let figure = outcome.figure(figure).cloned();
            sweep.figures.extend(figure.map(|figure| figure.in_phase(&name)));
        }
    }

    /// What a person sees when the step is over.
    fn line(&self) -> String {
        let Self { rate, outcome, verdict } = self;
        let figure = |name: &str| {
            let figure = outcome.as_ref()?.figure(name)?;
            Some(figure.unit.show(figure.value))
        };
        let show = |name: &str| figure(name).unwrap_or_else(|| "?".to_owned());
        let verdict = verdict.as_ref().map_or_else(String::as_str, |()| "good");
        format!(
            "{}: {} deliveries, p99 {}, server {}, generator {}: {verdict}",
            Unit::PerSecond.show(*rate),
            show("deliveries per second"),
            show("latency p99"),
            show("server CPU"),
            show("generator CPU"),
        )
    }

    fn saturation(&self) -> Option<&Saturation> {
        self.outcome.as_ref().map(|outcome| &outcome.saturation)
    }
}

/// Runs one rate, again if it fails and may be tried again.
fn attempt(
    options: &SweepOptions,
    rate: f64,
    has_succeeded: bool,
    progress: &mut Progress,
) -> Result<Step, BenchError> {
    let mut left = options.attempts;
    loop {
        left -= 1;
        progress.begin_open(&format!("measuring {}", Unit::PerSecond.show(rate)));
        let step = match fanout::run(&at_rate(options, rate)) {
            Ok(outcome) => {
                let verdict = judge(&outcome, options.p99_max.as_secs_f64() * 1e6);
                Step { rate, outcome: Some(outcome), verdict }
            }
            // An overloaded server may throw out the publisher or a client that is connecting.
            Err(error @ (BenchError::Publish(_) | BenchError::Worker { .. })) if has_succeeded => {
                Step { rate, outcome: None, verdict: Err(error.to_string()) }
            }
            Err(error) => return Err(error),
        };
        progress.done(&step.line());
        if step.verdict.is_ok() || left == 0 {
            return Ok(step);
        }
    }
}

/// The fan-out run at this rate. It tells nothing while it runs.
fn at_rate(options: &SweepOptions, rate: f64) -> FanoutOptions {
    let mut fanout = options.fanout.clone();
    fanout.rate = rate;
    fanout.run.output.quiet = true;
    fanout
}

/// Whether a step was good, or why not.
fn judge(outcome: &Outcome, p99_max_us: f64) -> Result<(), String> {
    if !outcome.is_clean {
        return Err(outcome.faults.join(", "));
    }
    match outcome.figure("latency p99") {
        Some(p99) if p99.value <= p99_max_us => Ok(()),
        Some(_) => Err("p99 too long".to_owned()),
        None => Err("nothing was delivered".to_owned()),
    }
}

fn add_knee(
    outcome: &mut Outcome,
    options: &SweepOptions,
    best: Option<Step>,
    first_bad: Option<&Step>,
) {
    let Some(Step { rate, outcome: Some(knee), .. }) = best else {
        outcome.fault("no rate was good");
        return;
    };
    let fanout = &options.fanout;
    let deliveries = rate * f64::from(fanout.subscribers) / f64::from(fanout.topics.max(1));
    outcome.figures.push(Figure::higher("knee", deliveries, Unit::PerSecond));
    let publications = Figure::higher("knee, publications", rate, Unit::PerSecond);
    outcome.figures.push(publications);
    for name in ["latency p99", "CPU per delivery"] {
        outcome.figures.extend(knee.figure(name).cloned());
    }
    outcome.counts = crate::report::counts::Counts {
        other: std::mem::take(&mut outcome.counts.other),
        ..knee.counts
    };
    outcome.series = knee.series;
    outcome.saturation = knee.saturation;
    let limit = first_bad.and_then(Step::saturation).filter(|one| one.is_saturated);
    let is_open = first_bad.is_none();
    if let Some(limit) = limit {
        outcome.saturation = limit.clone();
    }
    if is_open || limit.is_some() {
        let deliveries = Unit::PerSecond.show(deliveries);
        outcome.saturation.is_saturated = true;
        outcome.saturation.reasons.push(format!("the knee is at least {deliveries}"));
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::cli::{Cli, Command};

    fn options(arguments: &str) -> SweepOptions {
        let words = "fanwire-bench sweep --subscribers 10".split(' ');
        let words = words.chain(arguments.split(' ').filter(|word| !word.is_empty()));
        match Cli::try_parse_from(words).unwrap().command {
            Command::Sweep(options) => *options,
            _ => unreachable!("sweep was asked for"),
        }
    }

    /// All rates tried when everything up to `limit` is good.
    fn rates(arguments: &str, limit: f64) -> Vec<u64> {
        let mut search = Search::new(&options(arguments));
        let mut rates = Vec::new();
        while let Some(rate) = search.next() {
            rates.push(rate.round() as u64);
            search.note(rate, rate <= limit);
        }
        rates
    }

    fn step(rate: f64, is_good: bool, is_saturated: bool) -> Step {
        let output = crate::report::options::OutputOptions::default();
        let mut outcome = Outcome::begin("fanout", Parameters::new(), None, &output);
        outcome.saturation.is_saturated = is_saturated;
        let verdict = if is_good { Ok(()) } else { Err("p99 too long".to_owned()) };
        Step { rate, outcome: Some(outcome), verdict }
    }

    fn knee_of(best: Option<Step>, bad: Option<&Step>) -> Outcome {
        let output = crate::report::options::OutputOptions::default();
        let mut outcome = Outcome::begin("sweep", Parameters::new(), None, &output);
        add_knee(&mut outcome, &options(""), best, bad);
        outcome
    }

    #[test]
    fn the_rate_rises_until_a_step_fails_and_then_closes_in() {
        let tried = rates("--from 100 --factor 2 --bisect 2", 500.0);
        assert_eq!(tried, [100, 200, 400, 800, 566, 476]);
        assert_eq!(rates("--from 100 --factor 2 --bisect 0", 150.0), [100, 200]);
        assert_eq!(rates("--from 100 --factor 2 --to 450", 1e9), [100, 200, 400]);
    }

    #[test]
    fn a_first_rate_that_is_too_high_is_lowered() {
        assert_eq!(rates("--from 100 --factor 10 --bisect 0", 15.0), [100, 10]);
        assert_eq!(rates("--from 100 --factor 10 --bisect 9", 0.5), [100, 10, 1]);
    }

    #[test]
    fn a_gap_that_is_small_enough_ends_the_search() {
        let tried = rates("--from 100 --factor 1.1 --bisect 50", 104.0);
        assert!(tried.len() < 8, "{tried:?}");
    }

    #[test]
    fn three_seconds_a_step_are_the_default_and_other_lengths_can_be_asked_for() {
        assert!((options("").fanout.run.seconds - 3.0).abs() < 1e-9);
        assert!((options("--seconds 7").fanout.run.seconds - 7.0).abs() < 1e-9);
    }

    #[test]
    fn a_rate_of_its_own_is_refused_rather_than_ignored() {
        let words = "fanwire-bench sweep --subscribers 10 --rate 5".split(' ');
        assert!(Cli::try_parse_from(words).is_err());
    }

    #[test]
    fn a_step_is_good_when_it_is_clean_and_in_time() {
        let mut outcome = step(1.0, true, false).outcome.unwrap();
        assert_eq!(judge(&outcome, 100.0), Err("nothing was delivered".to_owned()));
        outcome.figures.push(Figure::lower("latency p99", 100.0, Unit::Microseconds));
        assert_eq!(judge(&outcome, 100.0), Ok(()));
        assert_eq!(judge(&outcome, 99.0), Err("p99 too long".to_owned()));
        outcome.fault("deliveries lost: 1");
        assert_eq!(judge(&outcome, 100.0), Err("deliveries lost: 1".to_owned()));
    }

    #[test]
    fn the_knee_is_the_highest_good_rate_in_deliveries() {
        let outcome = knee_of(Some(step(50.0, true, false)), Some(&step(60.0, false, false)));
        assert!((outcome.figure("knee").unwrap().value - 500.0).abs() < 1e-9);
        assert!(outcome.is_clean && !outcome.saturation.is_saturated);
    }

    #[test]
    fn a_generator_at_its_limit_makes_it_a_lower_bound() {
        for bad in [Some(step(60.0, false, true)), None] {
            let outcome = knee_of(Some(step(50.0, true, false)), bad.as_ref());
            let warning = outcome.saturation.warning().unwrap();
            assert!(warning.contains("the knee is at least 500 /s"), "{warning}");
        }
    }

    #[test]
    fn without_a_good_rate_there_is_no_knee() {
        let outcome = knee_of(None, Some(&step(1.0, false, false)));
        assert_eq!(outcome.faults, ["no rate was good"]);
    }
}
