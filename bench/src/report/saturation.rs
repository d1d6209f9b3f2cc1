//! Whether the figures are the server's, or those of a generator that could not keep up.

use serde::{Deserialize, Serialize};

use crate::watch::Waited;

/// A thread this busy, in percent of a core, delays what it measures.
const BUSY_PERCENT: f64 = 90.0;
/// Publications this late (99th percentile) are no longer the load that was asked for, in
/// microseconds.
const LATE_US: f64 = 10_000.0;

/// Whose threads were ready to run, but had no core, for more of the measured part, in percent, is
/// measured together with whoever had it.
const WAIT_PERCENT: f64 = 5.0;
/// Of the latency, publications may be late by this part: it counts from when they were due.
const LAG_PART: f64 = 0.1;
/// So much any timer is late, in microseconds.
const LAG_US_MIN: f64 = 200.0;

/// How busy the generator was in the measured part.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
pub(crate) struct Saturation {
    /// It was the bottleneck, or may have been.
    pub(crate) is_saturated: bool,
    /// Why, in words.
    pub(crate) reasons: Vec<String>,
    /// What is in the figures beside the server's part, in words.
    pub(crate) disturbances: Vec<String>,
    /// CPU time of each generator process; 100 is one core.
    pub(crate) generator_cpu_percent: Vec<f64>,
    /// CPU time of the publishing thread.
    pub(crate) publisher_cpu_percent: f64,
    /// 99 % of the publications were not sent later than this, in microseconds.
    pub(crate) publisher_lag_p99_us: f64,
}

/// What the generator used in the measured part.
#[derive(Clone, Debug, Default)]
pub(crate) struct GeneratorUse {
    /// Length of the measured part, in nanoseconds.
    pub(crate) measured_ns: u64,
    /// CPU time of each generator process.
    pub(crate) processes_ns: Vec<u64>,
    /// CPU time of the publishing process.
    pub(crate) publisher_ns: u64,
    /// The busiest publishing thread; 100 is one core.
    pub(crate) publisher_thread_percent: f64,
    /// 99 % of the publications were not sent later than this, in microseconds.
    pub(crate) lag_p99_us: f64,
    /// 99 % of the measured times are not longer, in microseconds; 0 without any.
    pub(crate) latency_p99_us: f64,
    /// How long those who were ready to run had no core in the measured part.
    pub(crate) waited: Waited,
    /// Things due that were not even begun before the end.
    pub(crate) late: u64,
    /// Cores that generator processes and publisher share.
    pub(crate) cores: usize,
}

impl Saturation {
    /// Judges what was used.
    pub(crate) fn judge(used: &GeneratorUse) -> Self {
        let percent = |ns: u64| 100.0 * ns as f64 / used.measured_ns.max(1) as f64;
        let processes: Vec<f64> = used.processes_ns.iter().copied().map(percent).collect();
        let mut reasons = Vec::new();
        let busiest = processes.iter().copied().fold(0.0, f64::max);
        if busiest > BUSY_PERCENT {
            reasons.push(format!("a generator process used {busiest:.0} % of its core"));
        }
        let publisher = used.publisher_thread_percent;
        if publisher > BUSY_PERCENT {
            reasons.push(format!("the publisher used {publisher:.0} % of its core"));
        }
        let together = processes.iter().sum::<f64>() + percent(used.publisher_ns);
        if together > BUSY_PERCENT * used.cores.max(1) as f64 && reasons.is_empty() {
            let cores = used.cores;
            reasons
                .push(format!("generator and publisher used {together:.0} % of {cores} core(s)"));
        }
        if used.lag_p99_us > LATE_US {
            let ms = used.lag_p99_us / 1e3;
            reasons.push(format!("1 % of the publications were sent {ms:.0} ms late or more"));
        }
        if used.late > 0 {
            let late = used.late;
            reasons.push(format!("{late} publications or deeds were not begun before the end"));
        }
        Self {
            is_saturated: !reasons.is_empty(),
            reasons,
            disturbances: disturbances(used),
            generator_cpu_percent: processes,
            publisher_cpu_percent: publisher,
            publisher_lag_p99_us: used.lag_p99_us,
        }
    }

    /// What the reader must know before the figures, or `None`.
    pub(crate) fn warning(&self) -> Option<String> {
        let all: Vec<_> =
            self.reasons.iter().chain(&self.disturbances).map(String::as_str).collect();
        let reasons = all.join(", and ");
        if self.is_saturated {
            return Some(format!(
                "The generator was the bottleneck: these figures are its own, not the server's \
                 ({reasons})."
            ));
        }
        (!all.is_empty()).then(|| format!("These figures are not the server's alone ({reasons})."))
    }
}

/// What is in the figures beside the server's part, though the generator had room.
fn disturbances(used: &GeneratorUse) -> Vec<String> {
    let mut told = Vec::new();
    let Waited { server_ns, generator_ns } = used.waited;
    for (who, ns) in [("the server", server_ns), ("the generator", generator_ns)] {
        let percent = 100.0 * ns as f64 / used.measured_ns.max(1) as f64;
        if percent > WAIT_PERCENT {
            told.push(format!(
                "{who} was ready to run but had no core for {percent:.0} % of the time"
            ));
        }
    }
    let lag_us = used.lag_p99_us;
    if lag_us > LAG_US_MIN && lag_us > LAG_PART * used.latency_p99_us {
        let (lag, latency) = (lag_us / 1e3, used.latency_p99_us / 1e3);
        told.push(format!(
            "1 % of the publications were sent {lag:.1} ms late or more, of a latency p99 of \
             {latency:.1} ms"
        ));
    }
    told
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::SECOND_NS;

    fn judged(change: impl FnOnce(&mut GeneratorUse)) -> Saturation {
        let mut used = GeneratorUse {
            measured_ns: SECOND_NS,
            processes_ns: vec![SECOND_NS / 2],
            publisher_ns: SECOND_NS / 10,
            publisher_thread_percent: 5.0,
            lag_p99_us: 100.0,
            latency_p99_us: 2_000.0,
            waited: Waited::default(),
            late: 0,
            cores: 1,
        };
        change(&mut used);
        Saturation::judge(&used)
    }

    #[test]
    fn a_generator_with_room_is_not_saturated() {
        let saturation = judged(|_| {});
        assert!(!saturation.is_saturated, "{saturation:?}");
        assert_eq!(saturation.generator_cpu_percent, [50.0]);
        assert_eq!(saturation.warning(), None);
    }

    #[test]
    fn what_delays_the_server_or_the_generator_is_told_and_is_no_saturation() {
        type Change = fn(&mut GeneratorUse);
        let disturbances: [(Change, &str); 3] = [
            (|used| used.waited.server_ns = SECOND_NS / 10, "the server was ready to run but"),
            (|used| used.waited.generator_ns = SECOND_NS / 10, "the generator was ready to run"),
            (|used| used.lag_p99_us = 300.0, "sent 0.3 ms late or more, of a latency p99 of 2.0"),
        ];
        for (change, told) in disturbances {
            let saturation = judged(change);
            let warning = saturation.warning().unwrap();
            assert!(warning.contains(told) && !saturation.is_saturated, "{warning}");
        }
        let room: [Change; 3] = [
            |used| used.waited.server_ns = SECOND_NS / 25,
            |used| (used.lag_p99_us, used.latency_p99_us) = (199.0, 0.0),
            |used| (used.lag_p99_us, used.latency_p99_us) = (300.0, 4_000.0),
        ];
        room.into_iter().for_each(|change| assert_eq!(judged(change).warning(), None));
    }

    #[test]
    fn every_way_of_being_the_bottleneck_is_told() {
        type Change = fn(&mut GeneratorUse);
        let reasons: [(Change, &str); 5] = [
            (
                |used| used.processes_ns = vec![SECOND_NS * 95 / 100],
                "a generator process used 95 %",
            ),
            (|used| used.publisher_thread_percent = 99.0, "the publisher used 99 %"),
            (|used| used.lag_p99_us = 20_000.0, "20 ms late"),
            (|used| used.late = 3, "3 publications or deeds were not begun"),
            (|used| used.processes_ns = vec![SECOND_NS / 2; 2], "used 110 % of 1 core"),
        ];
        for (change, reason) in reasons {
            let warning = judged(change).warning().unwrap();
            assert!(warning.contains(reason), "{warning}");
            assert!(warning.contains("not the server's"), "{warning}");
        }
    }
}
