//! The command line of `fanwire-bench fanout`.

use clap::Args;

use crate::cli::run::{BackendOptions, RunOptions};

/// What it is for.
pub(super) const HELP: &str = "\
One publisher, many subscribers: is everything delivered, how late, at what cost?

Publications are due at fixed moments (open loop): a slow server does not slow the publisher down, \
and each latency counts from the moment the message was meant to be sent until a subscriber has \
read it. What idle connections cost is measured by fanwire-bench idle.";

/// How it is used, and how it ends.
pub(super) const EXAMPLES: &str = "\
Examples:
  A broker for the test, in another terminal:
    fanwire dev --listen 127.0.0.1:8000

  10,000 subscribers of one topic, 5 messages a second of 128 bytes, for 10 seconds:
    fanwire-bench fanout --subscribers 10000 --topics 1 --rate 5 --size 128 --seconds 10 \\
        --server-pid $(pidof fanwire) --api-key KEY

  The same as a page with plots, and kept for `fanwire-bench compare`:
    fanwire-bench fanout --subscribers 10000 --html run.html --json-file run.json --label before

Exit status:
  0  clean: every publication was accepted, every delivery arrived once and in order
  1  faulty, as the report says: a publication was refused or not answered, nothing was
     delivered, a delivery was lost, duplicated, out of order or misrouted, or a connection lost
  2  the run could not be done";

/// Options of `fanwire-bench fanout`.
#[derive(Clone, Debug, Args)]
pub(crate) struct FanoutOptions {
    /// Connections to open, each subscribed to one topic (subscriber i to topic i mod TOPICS)
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub(crate) subscribers: u32,

    /// Topics, published to in turn
    #[arg(long, value_name = "COUNT", default_value_t = 1,
          value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub(crate) topics: u32,

    /// Publications per second over all topics
    #[arg(long, value_name = "PER-SECOND", default_value_t = 5.0)]
    pub(crate) rate: f64,

    /// Publications due at the same moment, in groups of so many; the rate stays the total
    #[arg(long, value_name = "COUNT", default_value_t = 1,
          value_parser = clap::value_parser!(u32).range(1..=512))]
    pub(crate) burst: u32,

    /// Size of each message's JSON data, in bytes
    #[arg(long, value_name = "BYTES", default_value_t = 128)]
    pub(crate) size: usize,

    /// Who publishes
    #[command(flatten)]
    pub(crate) backend: BackendOptions,

    /// What every scenario has
    #[command(flatten)]
    pub(crate) run: RunOptions,
}
