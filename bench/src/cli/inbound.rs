//! The command line of `fanwire-bench inbound`.

use clap::Args;

use crate::cli::run::RunOptions;

/// What it is for.
pub(super) const HELP: &str = "\
Many clients publish to topics that nobody hears: what does taking in a message cost?

Each client publishes over its own connection, in turn, at fixed moments (open loop). A message \
counts when the server has answered it, and its latency from the moment it was meant to be sent \
until then.";

/// How it is used, and how it ends.
pub(super) const EXAMPLES: &str = "\
Examples:
  1,000 clients, each with a topic of its own, 50,000 messages a second in all:
    fanwire-bench inbound --clients 1000 --rate 50000 --server-pid $(pidof fanwire)

  The same on one topic:
    fanwire-bench inbound --clients 1000 --rate 50000 --topics 1 --server-pid $(pidof fanwire)

Exit status:
  0  clean: every message was accepted
  1  faulty, as the report says: a message was refused or not answered, or a connection lost
  2  the run could not be done";

/// Options of `fanwire-bench inbound`.
#[derive(Debug, Args)]
pub(crate) struct InboundOptions {
    /// Connections to open, each of which publishes
    #[arg(long, value_name = "COUNT", default_value_t = 1_000,
          value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub(crate) clients: u32,

    /// Topics, client i publishing on topic i mod TOPICS; by default one for each client
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub(crate) topics: Option<u32>,

    /// Messages per second of all clients together
    #[arg(long, value_name = "PER-SECOND", default_value_t = 10_000.0)]
    pub(crate) rate: f64,

    /// Size of each message's JSON data, in bytes
    #[arg(long, value_name = "BYTES", default_value_t = 64)]
    pub(crate) size: usize,

    /// What every scenario has
    #[command(flatten)]
    pub(crate) run: RunOptions,
}
