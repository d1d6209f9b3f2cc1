//! Fanwire held against the floor: bare loops (`server`) that do the least for the same work. The
//! same generator drives both with the same scenario, one after the other on the same core, and
//! what counts is the ratio.
//!
//! `rows` says what is measured and what the goals are, `process` starts servers and generators,
//! `table` prints. Each measurement is this program again with `--json`, so that the figures are
//! the very ones which anybody gets by hand.

mod process;
mod rows;
mod server;
mod table;
mod wire;

use std::ffi::OsString;
use std::io::Write;
use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, ValueEnum};

use crate::error::BenchError;
use crate::floor::process::{Pins, Server, measure};
use crate::floor::rows::{Attempt, LOADS, Load, Side, Trials};
use crate::pin::CoreList;
use crate::report;
use crate::report::options::OutputOptions;
use crate::report::outcome::Outcome;
use crate::scenarios::plan::raise_descriptor_limit;

pub(crate) use crate::floor::process::become_tied;
pub(crate) use crate::floor::server::serve;

pub(crate) const FLOOR_HELP: &str = "\
Fanwire beside the bare loops that do the least for the same work: how close is it?

A bare loop is one thread with epoll, recv and send, and no more protocol than the \
generator needs. Both servers run pinned to one core, one at a time and in turn, under the same \
load from the other core. Absolute times depend on the machine and on what else it does; the ratio \
is the result.";

/// Options of `fanwire-bench floor`.
#[derive(Debug, Args)]
pub(crate) struct FloorOptions {
    /// Program to measure [default: the `fanwire` beside this one]
    #[arg(long, value_name = "PATH")]
    pub(crate) fanwire: Option<PathBuf>,

    /// How often everything is measured; the median counts
    #[arg(long, value_name = "COUNT", default_value_t = 3,
          value_parser = clap::value_parser!(u32).range(1..=100))]
    pub(crate) rounds: u32,

    /// How long each measurement takes, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 3.0)]
    pub(crate) seconds: f64,

    /// Cores of the server; one, unless you know why not
    #[arg(long, value_name = "CORES", default_value = "0")]
    pub(crate) server_cpu: CoreList,

    /// Where the result goes, and which cores are the generator's
    #[command(flatten)]
    pub(crate) output: OutputOptions,
}

/// Options of the hidden `fanwire-bench tied`.
#[derive(Debug, Args)]
pub(crate) struct TiedOptions {
    /// The process to end with, which is the parent
    pub(super) parent: u32,

    /// Program and arguments
    #[arg(required = true, last = true)]
    pub(super) command: Vec<OsString>,
}

impl FloorOptions {
    /// `--pin`, which has a default here.
    fn generator_cpu(&self) -> Result<&CoreList, BenchError> {
        let missing = BenchError::Option { option: "pin", expected: "cores of the generator" };
        self.output.pin.as_ref().ok_or(missing)
    }
}

/// Options of the hidden `fanwire-bench floor-server`.
#[derive(Debug, Args)]
pub(crate) struct FloorServerOptions {
    /// What it does
    #[arg(long = "loop", value_name = "WORK", value_enum)]
    pub(crate) work: Work,

    /// Join what one pass of epoll brings for a topic, and send it at once
    #[arg(long)]
    pub(crate) coalesce: bool,

    /// Where to listen
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:0")]
    pub(crate) listen: SocketAddr,
}

/// What a bare loop does with a publication, beside answering it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Work {
    /// One frame, one send for each subscriber; with a single one each, it is a relay.
    Fanout,
    /// Nothing.
    Inbound,
}

/// Measures both and prints the ratios. The outcome is faulty when a measurement was.
///
/// # Errors
/// When a server cannot be started or the result cannot be written. A scenario that fails is no
/// error; the table says so.
pub(crate) fn run(options: &FloorOptions, output: &mut impl Write) -> Result<Outcome, BenchError> {
    if !(0.1..=3_600.0).contains(&options.seconds) {
        let expected = "0.1 to 3,600 seconds";
        return Err(BenchError::Option { option: "seconds", expected });
    }
    raise_descriptor_limit()?;
    let mut outcome = table::outcome(options);
    let pins = Pins { server: &options.server_cpu, generator: options.generator_cpu()? };
    let mut trials = Trials::default();
    for round in 0..options.rounds {
        for load in LOADS {
            for side in order(round) {
                options.output.progress().done(&format!(
                    "round {} of {}: {load}, {side}",
                    round + 1,
                    options.rounds
                ));
                trials.add(load, side, trial(options, pins, load, side)?);
            }
        }
    }
    table::add_figures(&trials, &mut outcome);
    if options.output.json {
        report::write(&outcome, &options.output, output)?;
    } else {
        report::write(&outcome, &options.output, &mut std::io::sink())?;
        table::write(options, &trials, output)?;
    }
    Ok(outcome)
}

/// Neither always goes first: what the other leaves behind hits both alike.
fn order(round: u32) -> [Side; 2] {
    if round.is_multiple_of(2) {
        [Side::Floor, Side::Fanwire]
    } else {
        [Side::Fanwire, Side::Floor]
    }
}

fn trial(
    options: &FloorOptions,
    pins: Pins<'_>,
    load: Load,
    side: Side,
) -> Result<Attempt, BenchError> {
    let server = match side {
        Side::Floor => Server::start_floor(load.floor(), pins)?,
        Side::Fanwire => Server::start_fanwire(options.fanwire.as_deref(), pins)?,
    };
    measure(&server, load, options.seconds, pins)
}
