//! `fanwire-bench`: the load generator for Fanwire.
//!
//! It opens many subscriber connections, publishes on an open-loop schedule and reports what
//! arrived, how late, and what it cost the server. It never uses the server's own code, so that a
//! mistake cannot cancel itself out.
//!
//! The rooms: `scenarios` plans a run and drives it, `client` is a process full of subscribers,
//! `publisher` sends what the schedule asks for, `report` adds up and prints. Both clients and
//! publisher speak a `dialect`, one of the wire protocols. `floor` has the bare loops that Fanwire
//! is held against.
#![forbid(unsafe_code)]

mod cli;
mod client;
mod clock;
mod dialect;
mod error;
mod floor;
mod histogram;
mod payload;
mod pin;
mod procfs;
mod progress;
mod publisher;
mod report;
mod scenarios;
mod sequence;
mod timeline;
mod watch;

use std::io::Write;
use std::process::ExitCode;

use clap::Parser;

use crate::cli::run::RunOptions;
use crate::cli::{Cli, Command};
use crate::error::BenchError;
use crate::report::options::OutputOptions;
use crate::report::outcome::Outcome;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Every publication was accepted, every delivery arrived once and in order.
const EXIT_CLEAN: u8 = 0;
/// The run completed, and the report names at least one fault.
const EXIT_FAULTY: u8 = 1;
/// The run could not be done at all.
const EXIT_IMPOSSIBLE: u8 = 2;

fn main() -> ExitCode {
    let status = match run() {
        Ok(status) => status,
        Err(error) => {
            // Nothing is left to do when standard error is gone too.
            let _ = writeln!(std::io::stderr(), "fanwire-bench: {error}");
            EXIT_IMPOSSIBLE
        }
    };
    ExitCode::from(status)
}

fn run() -> Result<u8, BenchError> {
    match Cli::parse().command {
        Command::Fanout(options) => measure(&options.run, || scenarios::fanout::run(&options)),
        Command::Pairs(options) => measure(&options.run, || scenarios::pairs::run(&options)),
        Command::Inbound(options) => measure(&options.run, || scenarios::inbound::run(&options)),
        Command::Churn(options) => measure(&options.run, || scenarios::churn::run(&options)),
        Command::Mixed(options) => measure(&options.run, || scenarios::mixed::run(&options)),
        Command::Idle(options) => measure(&options.run, || scenarios::idle::run(&options)),
        Command::Storm(options) => measure(&options.run, || scenarios::storm::run(&options)),
        Command::Slow(options) => measure(&options.run, || scenarios::slow::run(&options)),
        Command::Sweep(options) => measure(&options.fanout.run, || scenarios::sweep::run(&options)),
        Command::Floor(options) => {
            let outcome = floor::run(&options, &mut std::io::stdout().lock())?;
            Ok(if outcome.is_clean { EXIT_CLEAN } else { EXIT_FAULTY })
        }
        Command::Tied(options) => {
            floor::become_tied(&options)?;
            Ok(EXIT_IMPOSSIBLE)
        }
        Command::FloorServer(options) => {
            floor::serve(&options)?;
            Ok(EXIT_CLEAN)
        }
        Command::Compare(options) => {
            report::compare::run(&options)?;
            Ok(EXIT_CLEAN)
        }
        Command::Subscribers => {
            client::run()?;
            Ok(EXIT_CLEAN)
        }
    }
}

/// Carries out a scenario and writes its outcome.
fn measure(
    options: &RunOptions,
    scenario: impl FnOnce() -> Result<Outcome, BenchError>,
) -> Result<u8, BenchError> {
    options.output.pin()?;
    let trust = scenarios::plan::target(options)?.tls;
    let mut outcome = scenario()?;
    if let Some(trust) = trust {
        outcome.parameters.insert("TLS".to_owned(), trust.words().into());
    }
    finish(&outcome, &options.output)
}

/// Writes the outcome of any scenario, and says whether it was clean.
fn finish(outcome: &Outcome, options: &OutputOptions) -> Result<u8, BenchError> {
    report::write(outcome, options, &mut std::io::stdout().lock())?;
    Ok(if outcome.is_clean { EXIT_CLEAN } else { EXIT_FAULTY })
}
