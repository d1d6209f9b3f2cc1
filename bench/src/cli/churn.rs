//! The command line of `fanwire-bench churn`.

use clap::Args;

use crate::cli::run::{BackendOptions, RunOptions};

/// What it is for.
pub(super) const HELP: &str = "\
Clients subscribe and unsubscribe all the time, while somebody publishes to the topics: how many \
subscriptions can come and go, and is anything missed?

Subscriptions are due at fixed moments (open loop) and end after --hold; each of both is an \
operation, timed from the moment it was due until the server's answer. The CPU time per operation \
includes the deliveries meanwhile: keep --publish-rate low.

While subscribed, a client must hear every publication: all that were due after the answer to its \
subscription, up to the last one it heard, and at least up to one second before it unsubscribed. A \
publication before the answer to the subscription or after the answer to its end is a fault.";

/// How it is used, and how it ends.
pub(super) const EXAMPLES: &str = "\
Examples:
  1,000 clients that make 2,000 subscriptions a second to 100 topics, and keep each for 3 seconds:
    fanwire-bench churn --clients 1000 --rate 2000 --topics 100 --hold 3 \\
        --server-pid $(pidof fanwire)

Exit status:
  0  clean: every operation was done, and what had to be heard was heard once and in order
  1  faulty, as the report says
  2  the run could not be done";

/// Options of `fanwire-bench churn`.
#[derive(Debug, Args)]
pub(crate) struct ChurnOptions {
    /// Connections to open
    #[arg(long, value_name = "COUNT", default_value_t = 1_000,
          value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub(crate) clients: u32,

    /// Subscriptions per second, made by the clients in turn
    #[arg(long, value_name = "PER-SECOND", default_value_t = 1_000.0)]
    pub(crate) rate: f64,

    /// Topics to choose from
    #[arg(long, value_name = "COUNT", default_value_t = 100,
          value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub(crate) topics: u32,

    /// How long each subscription is kept, in seconds; the warm-up takes at least as long
    #[arg(long, value_name = "SECONDS", default_value_t = 3.0)]
    pub(crate) hold: f64,

    /// Publications per second over all topics
    #[arg(long, value_name = "PER-SECOND", default_value_t = 100.0)]
    pub(crate) publish_rate: f64,

    /// Size of each publication's JSON data, in bytes
    #[arg(long, value_name = "BYTES", default_value_t = 128)]
    pub(crate) size: usize,

    /// Who publishes
    #[command(flatten)]
    pub(crate) backend: BackendOptions,

    /// What every scenario has
    #[command(flatten)]
    pub(crate) run: RunOptions,
}
