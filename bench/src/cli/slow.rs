//! The command line of `fanwire-bench slow`.

use clap::Args;

use crate::cli::run::{BackendOptions, RunOptions};

/// What it is for.
pub(super) const HELP: &str = "\
Some subscribers stop reading: what do the others notice, and what becomes of them?

First all read; then those that stall read no more, while their small receive buffers and the \
server's send buffers fill up. Latencies of the readers are told for both parts. A server has to \
bound what it keeps for a client that does not read, and to disconnect it in the end; when it does \
is seen from the descriptors of its process, with which code when the stalled ones read again at \
the end. Only what readers lose is a fault.";

/// How it is used, and how it ends.
pub(super) const EXAMPLES: &str = "\
Examples:
  A broker for the test, in another terminal:
    fanwire dev --listen 127.0.0.1:8000

  1,000 readers and 500 that stop after 5 of 20 seconds:
    fanwire-bench slow --readers 1000 --stalled 500 --rate 100 --size 4096 --seconds 20 \\
        --stall-after 5 --server-pid $(pidof fanwire) --api-key KEY

Exit status:
  0  clean: every publication was accepted and reached every reader once and in order
  1  faulty, as the report says: a publication was refused or not answered, a reader
     lost its connection, or a delivery to a reader was lost, duplicated, or out of order
  2  the run could not be done";

/// Options of `fanwire-bench slow`.
#[derive(Clone, Debug, Args)]
pub(crate) struct SlowOptions {
    /// Subscribers that read all the time
    #[arg(long, value_name = "COUNT", default_value_t = 1_000,
          value_parser = clap::value_parser!(u32).range(1..=500_000))]
    pub(crate) readers: u32,

    /// Subscribers that stop reading, evenly among the others
    #[arg(long, value_name = "COUNT", default_value_t = 500,
          value_parser = clap::value_parser!(u32).range(1..=500_000))]
    pub(crate) stalled: u32,

    /// Topics, published to in turn (subscriber i hears topic i mod TOPICS)
    #[arg(long, value_name = "COUNT", default_value_t = 1,
          value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub(crate) topics: u32,

    /// Publications per second over all topics
    #[arg(long, value_name = "PER-SECOND", default_value_t = 100.0)]
    pub(crate) rate: f64,

    /// Size of each message's JSON data, in bytes
    #[arg(long, value_name = "BYTES", default_value_t = 4_096)]
    pub(crate) size: usize,

    /// When they stop, in seconds after measuring begins; by default in the middle
    #[arg(long, value_name = "SECONDS")]
    pub(crate) stall_after: Option<f64>,

    /// Receive buffers of those that stop, in bytes (the kernel doubles it, and has a least)
    #[arg(long, value_name = "BYTES", default_value_t = 4_096,
          value_parser = clap::value_parser!(u32).range(1..=16_777_216))]
    pub(crate) receive_buffer: u32,

    /// Who publishes
    #[command(flatten)]
    pub(crate) backend: BackendOptions,

    /// What every scenario has
    #[command(flatten)]
    pub(crate) run: RunOptions,
}
