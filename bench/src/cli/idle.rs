//! The command line of `fanwire-bench idle`.

use clap::Args;

use crate::cli::run::RunOptions;

/// What it is for.
pub(super) const HELP: &str = "\
Connections at which nothing happens: what do they cost?

Every client subscribes and listens; nothing is published. Told are the growth of the server's \
resident memory per connection, at rest and at its peak while they connected, and what the server \
does while nothing happens: CPU time, wake-ups of its threads, pings. What the kernel keeps for \
each socket (about 4 KiB) is not in the memory of any process and not in these figures.";

/// How it is used, and how it ends.
pub(super) const EXAMPLES: &str = "\
Examples:
  A broker for the test, in another terminal:
    fanwire dev --listen 127.0.0.1:8000

  15,000 connections that hear the same topic, watched for 10 seconds:
    fanwire-bench idle --connections 15000 --server-pid $(pidof fanwire)

  Each with a topic of its own, watched over two pings:
    fanwire-bench idle --connections 15000 --topics 15000 --seconds 60 \\
        --server-pid $(pidof fanwire)

  Over TLS, with a certificate that nobody vouches for:
    fanwire-bench idle --url wss://127.0.0.1:8443/connection/websocket --insecure \\
        --server-pid $(pidof fanwire)

Exit status:
  0  clean: no connection was lost
  1  faulty, as the report says
  2  the run could not be done";

/// Options of `fanwire-bench idle`.
#[derive(Clone, Debug, Args)]
pub(crate) struct IdleOptions {
    /// Connections to open, each subscribed to one topic (connection i to topic i mod TOPICS)
    #[arg(long, value_name = "COUNT", default_value_t = 15_000,
          value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub(crate) connections: u32,

    /// Topics; 0 = subscribe to nothing
    #[arg(long, value_name = "COUNT", default_value_t = 1,
          value_parser = clap::value_parser!(u32).range(0..=1_000_000))]
    pub(crate) topics: u32,

    /// What every scenario has
    #[command(flatten)]
    pub(crate) run: RunOptions,
}
