//! The command line of `fanwire-bench mixed`.

use clap::Args;

use crate::cli::run::{BackendOptions, RunOptions};

/// What it is for.
pub(super) const HELP: &str = "\
A chat: everybody is in one to five rooms, whose sizes follow Zipf's law; people write, type, \
come and go, and ask for history and presence, while a backend publishes as well.

The rooms must have history and recovery; joins, leaves and presence are used where the server \
has them (the default topic prefix names a namespace of `fanwire dev` with all of it). Typing \
events go over topics of their own without history. A quarter of the users come and go: those hear \
no typing events, write only while they are there, and must recover every message that they missed.

Everything is due at fixed moments (open loop), and the deliveries that follow from it are known \
exactly. Recovered messages count as deliveries, but have no latency; joins and leaves count as \
none.";

/// How it is used, and how it ends.
pub(super) const EXAMPLES: &str = "\
Examples:
  1,000 users in 100 rooms:
    fanwire-bench mixed --users 1000 --rooms 100 --api-key KEY --server-pid $(pidof fanwire)

  A server without history, where nobody can come and go without missing something:
    fanwire-bench mixed --users 1000 --rooms 100 --comings-rate 0 --topic-prefix room

Exit status:
  0  clean: every message was accepted and heard once and in order by everybody in its room
  1  faulty, as the report says
  2  the run could not be done";

/// Names of rooms in `fanwire dev`, which need history.
pub(super) const TOPIC_PREFIX: &str = "demo:bench";

/// Options of `fanwire-bench mixed`.
#[derive(Debug, Args)]
pub(crate) struct MixedOptions {
    /// Users, each with a connection
    #[arg(long, value_name = "COUNT", default_value_t = 1_000,
          value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub(crate) users: u32,

    /// Rooms
    #[arg(long, value_name = "COUNT", default_value_t = 100,
          value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub(crate) rooms: u32,

    /// Exponent of Zipf's law: 0 makes all rooms alike, 2 makes the first one very large
    #[arg(long, value_name = "EXPONENT", default_value_t = 1.1)]
    pub(crate) zipf: f64,

    /// Messages per second, by users to their rooms
    #[arg(long, value_name = "PER-SECOND", default_value_t = 50.0)]
    pub(crate) message_rate: f64,

    /// Size of each message's JSON data, in bytes
    #[arg(long, value_name = "BYTES", default_value_t = 256)]
    pub(crate) size: usize,

    /// Typing events per second, of the least size there is
    #[arg(long, value_name = "PER-SECOND", default_value_t = 50.0)]
    pub(crate) typing_rate: f64,

    /// Names of the topics for typing events: this, followed by the room's number from 0
    #[arg(long, value_name = "TEXT", default_value = "bench-typing")]
    pub(crate) typing_prefix: String,

    /// Messages per second of the backend, to the rooms in turn
    #[arg(long, value_name = "PER-SECOND", default_value_t = 10.0)]
    pub(crate) backend_rate: f64,

    /// Users per second who lose their connection and come back
    #[arg(long, value_name = "PER-SECOND", default_value_t = 20.0)]
    pub(crate) comings_rate: f64,

    /// How long they are away, in seconds; the history must reach back as far
    #[arg(long, value_name = "SECONDS", default_value_t = 0.5)]
    pub(crate) away: f64,

    /// Questions per second, for a room's history and presence in turn
    #[arg(long, value_name = "PER-SECOND", default_value_t = 10.0)]
    pub(crate) asking_rate: f64,

    /// Who publishes for the backend
    #[command(flatten)]
    pub(crate) backend: BackendOptions,

    /// What every scenario has
    #[command(flatten)]
    pub(crate) run: RunOptions,
}
