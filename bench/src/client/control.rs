//! What the coordinating process and a generator process say to each other: one JSON object per
//! line, orders on the generator's standard input, notices on its standard output.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::client::behaviour::Role;
use crate::client::target::Target;
use crate::dialect::Settings;
use crate::histogram::PortableHistogram;
use crate::timeline::PortableTimeline;

/// Which clients a generator process plays.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Assignment {
    /// Where to connect.
    pub(crate) target: Target,
    /// What is spoken there.
    pub(crate) settings: Settings,
    /// Number of the run, which its messages carry.
    pub(crate) run: u32,
    /// Index of the first client, counted over all processes.
    pub(crate) first: u32,
    /// How many.
    pub(crate) count: u32,
    /// Topics; client i is subscribed to topic i mod `topics`, and to none when this is 0. A
    /// behaviour may choose otherwise.
    pub(crate) topics: u32,
    /// Names of the topics: this, followed by their index.
    pub(crate) topic_prefix: String,
    /// Topics with other names, if there are any.
    pub(crate) further_topics: Option<FurtherTopics>,
    /// Whether subscriptions keep track of their position and recover after a reconnect.
    pub(crate) recovers: bool,
    /// Loopback addresses to spread the connections over.
    pub(crate) source_addresses: u32,
    /// Connections being opened at any moment.
    pub(crate) connecting: u32,
    /// What its clients do once they are connected.
    pub(crate) role: Role,
}

/// Topics whose names begin otherwise, in another namespace say.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct FurtherTopics {
    /// Index of the first of them.
    pub(crate) from: u32,
    /// Their names: this, followed by their index counted from that one.
    pub(crate) prefix: String,
}

/// When a run begins and ends; CLOCK_MONOTONIC in nanoseconds.
#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
pub(crate) struct Times {
    /// The first thing happens.
    pub(crate) start_ns: u64,
    /// The warm-up is over: what is meant to happen from here on is measured.
    pub(crate) from_ns: u64,
    /// Nothing new happens, and what arrives from here on is not in time; `u64::MAX` when that is
    /// not known before.
    pub(crate) until_ns: u64,
}

/// What a generator process shall do next.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) enum Order {
    /// Connect and subscribe; answered by `Ready`.
    Open(Box<Assignment>),
    /// The run: clients do what their role says from `start_ns` to `until_ns`, and latencies count
    /// from `from_ns` on. A role that does things in rounds gets one for each, with the same
    /// `from_ns`, and a `Stop` at its end.
    Run(Times),
    /// Do nothing new, wait for what is under way (answers, reconnects); answered by `Stopped`.
    Stop {
        /// Give up after so long without progress, in nanoseconds.
        limit_ns: u64,
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
    /// Progress of `Open`: so many clients have all their subscriptions.
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
    /// Answers `Stop`, with what has been seen and published so far.
    Stopped(Box<Totals>),
    /// Answers `Finish` at once when the last delivery has come or is given up.
    Arrived,
    /// Answers `Finish` a little later, so that repetitions of the last deliveries are seen.
    Done(Box<Totals>),
}

/// What the clients of one process, or of all, have seen and done.
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
    /// The same by time.
    pub(crate) timeline: PortableTimeline,
    /// What these clients have published.
    pub(crate) published: Published,
    /// Whatever else a role counts, by its name.
    pub(crate) counts: BTreeMap<String, u64>,
    /// Whatever else a role times, by its name.
    pub(crate) times: BTreeMap<String, PortableHistogram>,
}

impl Totals {
    /// What a role has counted by this name.
    pub(crate) fn count(&self, name: &str) -> u64 {
        self.counts.get(name).copied().unwrap_or(0)
    }
}

/// Publications of clients.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub(crate) struct Published {
    /// Sent.
    pub(crate) sent: u64,
    /// Accepted by the server, or sent where the protocol has no answers.
    pub(crate) accepted: u64,
    /// Refused, by what the server said.
    pub(crate) refused: BTreeMap<String, u64>,
    /// Sent and not refused, by topic: what its subscribers may expect.
    pub(crate) by_topic: BTreeMap<u32, u64>,
    /// How much later than intended they were sent; measured part only.
    pub(crate) lag: PortableHistogram,
    /// From the intended moment until the server's answer; measured part only.
    pub(crate) answered: PortableHistogram,
    /// `lag` by time.
    pub(crate) timeline: PortableTimeline,
    /// `answered` by time.
    pub(crate) answers: PortableTimeline,
}
