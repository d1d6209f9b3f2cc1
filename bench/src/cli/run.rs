//! Options that every scenario has (`#[command(flatten)]`), and those of scenarios with a backend
//! that publishes.

use std::path::PathBuf;

use clap::Args;

use crate::dialect::options::DialectOptions;
use crate::report::options::OutputOptions;

/// Where the server is, how long the run is, and how the connections are made.
#[derive(Clone, Debug, Args)]
pub(crate) struct RunOptions {
    /// WebSocket address of the server; wss:// speaks TLS
    #[arg(long, value_name = "WS-URL", default_value = "ws://127.0.0.1:8000/connection/websocket")]
    pub(crate) url: String,

    /// wss: trust the authorities in this PEM file beside those that the system trusts
    #[arg(long, value_name = "FILE", conflicts_with = "insecure")]
    pub(crate) ca: Option<PathBuf>,

    /// wss: accept any certificate; the result says so
    #[arg(long)]
    pub(crate) insecure: bool,

    /// What the server speaks
    #[command(flatten)]
    pub(crate) dialect: DialectOptions,

    /// How long to measure, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 10.0)]
    pub(crate) seconds: f64,

    /// Run for so many seconds before measuring starts
    #[arg(long, value_name = "SECONDS", default_value_t = 1.0)]
    pub(crate) warmup: f64,

    /// Process id of the server on this machine; without it, its CPU and memory are not measured
    #[arg(long, value_name = "PID")]
    pub(crate) server_pid: Option<u32>,

    /// Generator processes; by default one per 9,000 connections
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u32).range(1..=1_000))]
    pub(crate) processes: Option<u32>,

    /// Names of the topics: this, followed by their number from 0
    #[arg(long, value_name = "TEXT", default_value = "bench")]
    pub(crate) topic_prefix: String,

    /// Source addresses 127.0.0.x to spread the connections over when the server is on loopback
    #[arg(long, value_name = "COUNT", default_value_t = 64,
          value_parser = clap::value_parser!(u32).range(1..=250))]
    pub(crate) source_addresses: u32,

    /// Connections being opened at any moment, in each process; by default 256, and all at once
    /// when those of a storm come back
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub(crate) connecting: Option<u32>,

    /// Rest between the last subscription and the run, for the memory reading, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 1.0)]
    pub(crate) settle: f64,

    /// Give up waiting for missing deliveries after so many seconds without any
    #[arg(long, value_name = "SECONDS", default_value_t = 5.0)]
    pub(crate) drain_limit: f64,

    /// Where the result goes
    #[command(flatten)]
    pub(crate) output: OutputOptions,
}

/// How the backend publishes.
#[derive(Clone, Debug, Args)]
pub(crate) struct BackendOptions {
    /// Publish over HTTP (POST /api/publish; HTTPS with wss://) with this API key; without it, a
    /// WebSocket client publishes
    #[arg(long, value_name = "KEY")]
    pub(crate) api_key: Option<String>,

    /// Connections to publish over; the topics are divided among them
    #[arg(long, value_name = "COUNT", default_value_t = 1,
          value_parser = clap::value_parser!(u32).range(1..=256))]
    pub(crate) publish_connections: u32,
}
