//! What the coordinating process and a generator process say to each other: one JSON object per
//! line, orders on the generator's standard input, notices on its standard output.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::client::target::Target;
use crate::histogram::PortableHistogram;

/// Which subscribers a generator process plays.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Assignment {
    /// Where to connect.
    pub(crate) target: Target,
    /// Number of the run, which its messages carry.
    pub(crate) run: u32,
    /// Index of the first subscriber, counted over all processes.
    pub(crate) first: u32,
    /// How many.
    pub(crate) count: u32,
    /// Topics; subscriber i is subscribed to topic i mod `topics`.
    pub(crate) topics: u32,
    /// Names of the topics: this, followed by their index.
    pub(crate) topic_prefix: String,
    /// Loopback addresses to spread the connections over.
    pub(crate) source_addresses: u32,
    /// Connections being opened at any moment.
    pub(crate) connecting: u32,
}

/// What a generator process shall do next.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) enum Order {
    /// Connect and subscribe; answered by `Ready`.
    Open(Assignment),
    /// Record latencies of publications meant to be sent from this moment on.
    Measure {
        /// CLOCK_MONOTONIC in nanoseconds.
        from_ns: u64,
    },
    /// All is published: wait for the rest, then answer `Arrived` and `Done`.
    Finish {
        /// Deliveries that all subscribers of this process together should have seen.
        expected: u64,
        /// Give up after so long without any delivery, in nanoseconds.
        drain_limit_ns: u64,
    },
}

/// What a generator process tells.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) enum Notice {
    /// Progress of `Open`: so many subscriptions stand.
    Subscribed(u32),
    /// All are subscribed.
    Ready {
        /// The version that the server gave in its reply to connect.
        server_version: String,
    },
    /// It cannot go on.
    Failed {
        /// For the person at the keyboard.
        reason: String,
    },
    /// Answers `Finish` at once when the last delivery has come or is given up.
    Arrived,
    /// Answers `Finish` a little later, so that repetitions of the last deliveries are seen.
    Done(Totals),
}

/// What the subscribers of one process, or of all, have seen.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub(crate) struct Totals {
    /// Deliveries, without repetitions.
    pub(crate) received: u64,
    /// Repetitions.
    pub(crate) duplicated: u64,
    /// Deliveries that came after one that follows them.
    pub(crate) out_of_order: u64,
    /// Messages of a topic that the receiving connection is not subscribed to.
    pub(crate) misrouted: u64,
    /// Protocol pings answered.
    pub(crate) pings: u64,
    /// Connections lost after they were subscribed, by reason.
    pub(crate) disconnected: BTreeMap<String, u64>,
    /// Latencies of the measured deliveries.
    pub(crate) latency: PortableHistogram,
}
