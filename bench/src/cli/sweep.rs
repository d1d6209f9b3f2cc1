//! The command line of `fanwire-bench sweep`.

use std::time::Duration;

use clap::Args;

use crate::cli::fanout::FanoutOptions;

/// What it is for.
pub(super) const HELP: &str = "\
The fan-out at rising rates: up to which are deliveries in time and complete?

Each step is a fan-out run of its own, with fresh connections. The rate is raised by --factor \
until a step fails: its 99th percentile passes --p99-max, or something is lost, refused or \
disconnected. Then the gap between the last good rate and the first bad one is halved, --bisect \
times. The result is the knee: the highest rate at which nothing was wrong. Where the generator \
was the bottleneck of the step that failed, the knee is at least as high as told, and the report \
says so.";

/// How it is used, and how it ends.
pub(super) const EXAMPLES: &str = "\
Examples:
  A broker on one core, in another terminal:
    taskset -c 0 fanwire dev --listen 127.0.0.1:8000 --shards 1

  The highest fan-out rate to 1,000 subscribers with 128 bytes, generator on another core:
    fanwire-bench sweep --subscribers 1000 --size 128 --from 500 --p99-max 100ms --pin 1 \\
        --server-pid $(pidof fanwire) --api-key KEY

Exit status:
  0  a knee was found
  1  no rate was clean
  2  the run could not be done";

/// Options of `fanwire-bench sweep`.
#[derive(Clone, Debug, Args)]
pub(crate) struct SweepOptions {
    /// Publications per second over all topics, in the first step
    #[arg(long, value_name = "PER-SECOND", default_value_t = 100.0)]
    pub(crate) from: f64,

    /// Highest rate to try
    #[arg(long, value_name = "PER-SECOND", default_value_t = 10_000_000.0)]
    pub(crate) to: f64,

    /// By how much the rate rises from step to step
    #[arg(long, value_name = "FACTOR", default_value_t = 1.25)]
    pub(crate) factor: f64,

    /// How often the gap between good and bad is halved
    #[arg(long, value_name = "COUNT", default_value_t = 3)]
    pub(crate) bisect: u32,

    /// The 99th percentile of the latencies may not be longer, such as 100ms
    #[arg(long, value_name = "TIME", default_value = "100ms",
          value_parser = humantime::parse_duration)]
    pub(crate) p99_max: Duration,

    /// A step counts as failed when it has failed so many times: a machine may hiccup
    #[arg(long, value_name = "COUNT", default_value_t = 2,
          value_parser = clap::value_parser!(u32).range(1..=100))]
    pub(crate) attempts: u32,

    /// What each step does
    #[command(flatten)]
    pub(crate) fanout: FanoutOptions,
}
