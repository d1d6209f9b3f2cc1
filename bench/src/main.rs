//! `fanwire-bench`: the load generator for Fanwire.
//!
//! It opens many subscriber connections, publishes on an open-loop schedule and reports what
//! arrived, how late, and what it cost the server. It never uses the server's own code, so that a
//! mistake cannot cancel itself out.
//!
//! The rooms: `scenarios` plans a run and drives it, `client` is a process full of subscribers,
//! `publisher` sends what the schedule asks for, `report` adds up and prints.
#![forbid(unsafe_code)]

mod cli;
mod client;
mod clock;
mod error;
mod histogram;
mod payload;
mod procfs;
mod publisher;
mod report;
mod scenarios;
mod sequence;

use std::io::Write;
use std::process::ExitCode;

use clap::Parser;

use crate::cli::{Cli, Command};
use crate::error::BenchError;

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
        Command::Fanout(options) => {
            let report = scenarios::fanout::run(&options)?;
            report::write(&report, options.json, &mut std::io::stdout().lock())?;
            Ok(if report.is_clean() { EXIT_CLEAN } else { EXIT_FAULTY })
        }
        Command::Subscribers => {
            client::run()?;
            Ok(EXIT_CLEAN)
        }
    }
}
