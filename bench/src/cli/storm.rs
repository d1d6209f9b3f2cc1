//! The command line of `fanwire-bench storm`.

use clap::Args;

use crate::cli::run::{BackendOptions, RunOptions};
use crate::client::behaviour::storm::Leaving;

/// What it is for.
pub(super) const HELP: &str = "\
All clients leave at once and come back at once: when are they back, with what they missed?

A backend publishes all the time. Every client must have seen every publication once and in order \
in the end: the topics need a history that is long enough. Times count from the moment at which \
all are meant to be back, so that waiting for one's turn counts. Publications that a client gets \
with the answer to its subscribe are counted as recovered, and not timed. After each return \
--seconds pass before the next storm, or the end. Over wss:// handshakes are part of it; those who \
come back resume TLS sessions as far as the server gives tickets for it.";

/// How it is used, and how it ends.
pub(super) const EXAMPLES: &str = "\
Examples:
  A broker for the test, in another terminal; its namespace demo keeps 100 publications per topic:
    fanwire dev --listen 127.0.0.1:8000

  15,000 clients of 1,000 topics, away for 2 seconds, in which each topic gets 10 publications:
    fanwire-bench storm --clients 15000 --topics 1000 --history-while-away 10 \\
        --topic-prefix demo:bench --server-pid $(pidof fanwire) --api-key KEY

  The same three times, connections being reset rather than closed:
    fanwire-bench storm --clients 15000 --topics 1000 --rounds 3 --leaving rst \\
        --topic-prefix demo:bench --server-pid $(pidof fanwire)

Exit status:
  0  clean: all came back, and every publication arrived everywhere once and in order
  1  faulty, as the report says: a client did not come back or was refused its
     recovery, a delivery was lost, duplicated, out of order or misrouted, a connection lost
  2  the run could not be done";

/// Options of `fanwire-bench storm`.
#[derive(Clone, Debug, Args)]
pub(crate) struct StormOptions {
    /// Clients, each subscribed with recovery to one topic (client i to topic i mod TOPICS)
    #[arg(long, value_name = "COUNT", default_value_t = 15_000,
          value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub(crate) clients: u32,

    /// Topics, published to in turn; their history is set by the server
    #[arg(long, value_name = "COUNT", default_value_t = 1_000,
          value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub(crate) topics: u32,

    /// Publications on each topic while the clients are away; the same rate goes on throughout
    #[arg(long, value_name = "COUNT", default_value_t = 10,
          value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub(crate) history_while_away: u32,

    /// How long they stay away, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 2.0)]
    pub(crate) away: f64,

    /// How many times they leave and come back
    #[arg(long, value_name = "COUNT", default_value_t = 1,
          value_parser = clap::value_parser!(u32).range(1..=1_000))]
    pub(crate) rounds: u32,

    /// How they leave
    #[arg(long, value_enum, value_name = "HOW", default_value_t)]
    pub(crate) leaving: Leaving,

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
