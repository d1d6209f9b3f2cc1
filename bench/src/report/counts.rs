//! What was counted in a run, warm-up included, and which counts make it faulty.

use std::collections::BTreeMap;

use indexmap::IndexMap;
use serde::{Deserialize, Serialize};

use crate::client::behaviour::{LATE, chat, churn, storm};
use crate::client::control::Totals;
use crate::client::dialogue::EARLY;
use crate::report::findings::Published;

/// What roles count that is wrong.
const FAULTS: [&str; 5] =
    [EARLY, churn::UNDONE, chat::UNDONE, chat::UNRECOVERED, storm::UNRECOVERED];
/// What roles count that is told as something else: by the saturation, as the expected deliveries,
/// and as the time until all were back.
const TOLD_ELSEWHERE: [&str; 3] = [LATE, churn::EXPECTED, storm::LAST_BACK_NS];

/// Counts of a whole run. What a scenario does not do stays 0.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(default)]
pub(crate) struct Counts {
    /// Publications sent.
    pub(crate) published: u64,
    /// Publications that the server accepted.
    pub(crate) accepted: u64,
    /// Publications that the server refused, by reason.
    pub(crate) refused: BTreeMap<String, u64>,
    /// Publications neither accepted nor refused; their deliveries are expected.
    pub(crate) unanswered: u64,
    /// Deliveries that should have been.
    pub(crate) expected: u64,
    /// Deliveries, without repetitions.
    pub(crate) delivered: u64,
    /// Expected deliveries that never came.
    pub(crate) lost: u64,
    /// Deliveries, without repetitions, that nobody should have seen.
    pub(crate) surplus: u64,
    /// Repetitions.
    pub(crate) duplicated: u64,
    /// Deliveries that came after one that follows them.
    pub(crate) out_of_order: u64,
    /// Messages of a topic that the receiving connection is not subscribed to.
    pub(crate) misrouted: u64,
    /// Connections lost against the plan, by reason.
    pub(crate) disconnected: BTreeMap<String, u64>,
    /// Protocol pings answered.
    pub(crate) pings: u64,
    /// What only this scenario counts, such as "reconnects".
    pub(crate) other: IndexMap<String, u64>,
}

impl Counts {
    /// Adds what the subscribers of one process have seen, of which so many deliveries were
    /// `expected`: what one has too much does not make up for what another has lost.
    pub(crate) fn add(&mut self, totals: &Totals, expected: u64) {
        self.expected += expected;
        self.delivered += totals.received;
        self.lost += expected.saturating_sub(totals.received);
        self.surplus += totals.received.saturating_sub(expected);
        self.duplicated += totals.duplicated;
        self.out_of_order += totals.out_of_order;
        self.misrouted += totals.misrouted;
        self.pings += totals.pings;
        for (reason, count) in &totals.disconnected {
            *self.disconnected.entry(reason.clone()).or_default() += count;
        }
        for (name, &count) in &totals.counts {
            if count > 0 && !TOLD_ELSEWHERE.contains(&name.as_str()) {
                *self.other.entry(name.clone()).or_default() += count;
            }
        }
    }

    /// Adds what was published.
    pub(crate) fn add_published(&mut self, published: &Published) {
        self.published += published.sent;
        self.accepted += published.accepted;
        for (reason, count) in &published.refused {
            *self.refused.entry(reason.clone()).or_default() += count;
        }
        let answered = self.accepted + self.refused_count();
        self.unanswered = self.published.saturating_sub(answered);
    }

    /// Publications refused, for whatever reason.
    pub(crate) fn refused_count(&self) -> u64 {
        self.refused.values().sum()
    }

    /// Connections lost, for whatever reason.
    pub(crate) fn disconnected_count(&self) -> u64 {
        self.disconnected.values().sum()
    }

    /// Every count that makes a run faulty, in words.
    pub(crate) fn faults(&self) -> impl Iterator<Item = String> {
        let counts = [
            (self.refused_count(), "publications refused"),
            (self.unanswered, "publications unanswered"),
            (self.lost, "deliveries lost"),
            (self.surplus, "deliveries too many"),
            (self.duplicated, "deliveries duplicated"),
            (self.out_of_order, "deliveries out of order"),
            (self.misrouted, "deliveries misrouted"),
            (self.disconnected_count(), "connections lost"),
        ];
        let of_roles = FAULTS.map(|name| (self.other.get(name).copied().unwrap_or(0), name));
        let counts = counts.into_iter().chain(of_roles).filter(|(count, _)| *count > 0);
        counts.map(|(count, what)| format!("{what}: {count}"))
    }
}
