//! The command line: names, units and what a newcomer has to know. It decides nothing.

use clap::{Args, Parser, Subcommand};

/// Load generator for Fanwire and other servers that speak the Centrifugo client protocol.
#[derive(Debug, Parser)]
#[command(name = "fanwire-bench", version, about, max_term_width = 100)]
pub(crate) struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// What the program can do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// One publisher, many subscribers: is everything delivered, how late, at what cost?
    #[command(long_about = FANOUT_HELP, after_help = FANOUT_EXAMPLES, args_override_self = true)]
    Fanout(FanoutOptions),
    /// A process full of subscribers, driven over its standard input and output.
    #[command(hide = true)]
    Subscribers,
}

const FANOUT_HELP: &str = "\
One publisher, many subscribers: is everything delivered, how late, at what cost?

Publications are due at fixed moments (open loop): a slow server does not slow the publisher down, \
and each latency counts from the moment the message was meant to be sent until a subscriber has \
read it. With --rate 0 nothing is published: the run measures what idle connections cost.";

const FANOUT_EXAMPLES: &str = "\
Examples:
  A broker for the test, in another terminal:
    fanwire dev --listen 127.0.0.1:8000

  10,000 subscribers of one topic, 5 messages a second of 128 bytes, for 10 seconds:
    fanwire-bench fanout --subscribers 10000 --topics 1 --rate 5 --size 128 --seconds 10 \\
        --server-pid $(pidof fanwire) --api-key KEY

  What 10,000 idle connections cost, each subscribed to a topic of its own:
    fanwire-bench fanout --subscribers 10000 --topics 10000 --rate 0 --seconds 30 \\
        --server-pid $(pidof fanwire)

Exit status:
  0  clean: every publication was accepted, every delivery arrived once and in order
  1  faulty, as the report says: a publication was refused or not answered, nothing was
     delivered, a delivery was lost, duplicated, out of order or misrouted, or a connection lost
  2  the run could not be done";

/// Options of `fanwire-bench fanout`.
#[derive(Debug, Args)]
pub(crate) struct FanoutOptions {
    /// WebSocket address of the server
    #[arg(long, value_name = "WS-URL", default_value = "ws://127.0.0.1:8000/connection/websocket")]
    pub(crate) url: String,

    /// Connections to open, each subscribed to one topic (subscriber i to topic i mod TOPICS)
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub(crate) subscribers: u32,

    /// Topics, published to in turn
    #[arg(long, value_name = "COUNT", default_value_t = 1,
          value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub(crate) topics: u32,

    /// Publications per second over all topics; 0 measures idle connections
    #[arg(long, value_name = "PER-SECOND", default_value_t = 5.0)]
    pub(crate) rate: f64,

    /// Size of each message's JSON data, in bytes
    #[arg(long, value_name = "BYTES", default_value_t = 128)]
    pub(crate) size: usize,

    /// How long to measure, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 10.0)]
    pub(crate) seconds: f64,

    /// Publish for so many seconds before measuring starts
    #[arg(long, value_name = "SECONDS", default_value_t = 1.0)]
    pub(crate) warmup: f64,

    /// Process id of the server on this machine; without it, its CPU and memory are not measured
    #[arg(long, value_name = "PID")]
    pub(crate) server_pid: Option<u32>,

    /// Publish over HTTP (POST /api/publish) with this API key; without it, a WebSocket client
    /// publishes
    #[arg(long, value_name = "KEY")]
    pub(crate) api_key: Option<String>,

    /// Connections to publish over; the topics are divided among them
    #[arg(long, value_name = "COUNT", default_value_t = 1,
          value_parser = clap::value_parser!(u32).range(1..=256))]
    pub(crate) publish_connections: u32,

    /// Generator processes; by default one per 9,000 subscribers
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u32).range(1..=1_000))]
    pub(crate) processes: Option<u32>,

    /// Names of the topics: this, followed by their number from 0
    #[arg(long, value_name = "TEXT", default_value = "bench")]
    pub(crate) topic_prefix: String,

    /// Source addresses 127.0.0.x to spread the connections over when the server is on loopback
    #[arg(long, value_name = "COUNT", default_value_t = 64,
          value_parser = clap::value_parser!(u32).range(1..=250))]
    pub(crate) source_addresses: u32,

    /// Connections being opened at any moment, in each process
    #[arg(long, value_name = "COUNT", default_value_t = 256,
          value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub(crate) connecting: u32,

    /// Rest between the last subscription and the run, for the memory reading, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 1.0)]
    pub(crate) settle: f64,

    /// Give up waiting for missing deliveries after so many seconds without any
    #[arg(long, value_name = "SECONDS", default_value_t = 5.0)]
    pub(crate) drain_limit: f64,

    /// Write the report as one JSON object
    #[arg(long)]
    pub(crate) json: bool,
}
