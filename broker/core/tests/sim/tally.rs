//! What happened over many seeds. What never happens is not tested, so each kind of event must
//! have happened often enough.

use std::collections::BTreeMap;

/// Runs from which on it is counted: in fewer, rare events may be missing by chance.
const RUNS_MIN: u64 = 500;

/// How often each kind of event must happen in a thousand runs. A broker that never recovers
/// anything, or hears of nobody, would break no other promise.
const FLOORS: [(&str, u64); 27] = [
    ("came back", 1200),
    ("closed as slow", 3),
    ("dropped while subscribed", 240),
    ("ended before it began", 900),
    ("epoch changed", 40),
    ("history removed", 100),
    ("history told", 1200),
    ("join heard", 2000),
    ("leave heard", 600),
    ("members checked", 500),
    ("missed has expired", 50),
    ("missed was evicted", 4),
    ("missed was removed", 4),
    ("missed was trimmed", 150),
    ("newest recovered", 300),
    ("newest sent", 250),
    ("not recovered", 400),
    ("presence told", 1000),
    ("publications recovered", 500),
    ("publications told", 1000),
    ("recovered", 700),
    ("recovered by connect", 100),
    ("refused as unrecoverable", 80),
    ("subscribed by connect", 500),
    ("too many bytes missed", 3),
    ("too many missed", 60),
    ("unsubscribed by a backend", 200),
];

/// How often each kind of event happened.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    runs: u64,
    counts: BTreeMap<&'static str, u64>,
}

impl Tally {
    /// Adds what happened in one run.
    pub(crate) fn add(&mut self, counts: &BTreeMap<&'static str, u64>) {
        self.runs += 1;
        for (what, count) in counts {
            *self.counts.entry(what).or_default() += count;
        }
    }

    /// What happened too seldom.
    pub(crate) fn rare(&self) -> Vec<String> {
        if self.runs < RUNS_MIN {
            return Vec::new();
        }
        let floors = FLOORS.iter().map(|(what, floor)| (*what, floor * self.runs / 1000));
        let counted = floors
            .map(|(what, floor)| (what, floor, self.counts.get(what).copied().unwrap_or_default()));
        counted
            .filter(|(_, floor, count)| count < floor)
            .map(|(what, floor, count)| format!("{what}: {count} times instead of {floor}"))
            .collect()
    }
}
