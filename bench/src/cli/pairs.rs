//! The command line of `fanwire-bench pairs`.

use clap::Args;

use crate::cli::run::RunOptions;

/// What it is for.
pub(super) const HELP: &str = "\
Many topics with one subscriber each: what does a message from one to one other cost?

The topics are published to in turn at fixed moments (open loop); a latency counts from the moment \
the message was meant to be sent until its subscriber has read it.";

/// How it is used, and how it ends.
pub(super) const EXAMPLES: &str = "\
Examples:
  1,000 pairs, 50,000 messages a second over 16 publishing connections:
    fanwire-bench pairs --pairs 1000 --rate 50000 --server-pid $(pidof fanwire)

  The same published by a backend over HTTP, pipelined on 4 connections:
    fanwire-bench pairs --pairs 1000 --rate 50000 --publishers 4 --api-key KEY \\
        --server-pid $(pidof fanwire)

Exit status:
  0  clean: every message was accepted and arrived once and in order
  1  faulty, as the report says: a message was refused or not answered, lost, duplicated, out of
     order or misrouted, or a connection lost
  2  the run could not be done";

/// Options of `fanwire-bench pairs`.
#[derive(Debug, Args)]
pub(crate) struct PairsOptions {
    /// Topics, each with one subscriber
    #[arg(long, value_name = "COUNT", default_value_t = 1_000,
          value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub(crate) pairs: u32,

    /// Messages per second over all topics
    #[arg(long, value_name = "PER-SECOND", default_value_t = 10_000.0)]
    pub(crate) rate: f64,

    /// Size of each message's JSON data, in bytes
    #[arg(long, value_name = "BYTES", default_value_t = 128)]
    pub(crate) size: usize,

    /// Connections to publish over; the topics are divided among them
    #[arg(long, value_name = "COUNT", default_value_t = 16,
          value_parser = clap::value_parser!(u32).range(1..=9_000))]
    pub(crate) publishers: u32,

    /// Publish over HTTP (POST /api/publish) with this API key; without it, WebSocket clients
    /// publish
    #[arg(long, value_name = "KEY")]
    pub(crate) api_key: Option<String>,

    /// What every scenario has
    #[command(flatten)]
    pub(crate) run: RunOptions,
}
