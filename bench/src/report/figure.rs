//! One number of a result, with all that is needed to print, plot and compare it without knowing
//! the scenario it comes from.

use serde::{Deserialize, Serialize};

/// A named number.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub(crate) struct Figure {
    /// What it is, for people; `compare` pairs figures by phase and name.
    pub(crate) name: String,
    /// Part of the run it belongs to, such as "reconnect"; `None` = the measured part.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) phase: Option<String>,
    /// In `unit`.
    pub(crate) value: f64,
    /// Of `value` and `goal`.
    pub(crate) unit: Unit,
    /// In which direction it is good.
    pub(crate) better: Better,
    /// What it should be at most, or at least if higher is better.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) goal: Option<f64>,
}

/// What a figure is counted in.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub(crate) enum Unit {
    /// Things.
    #[serde(rename = "")]
    Count,
    /// Things per second.
    #[serde(rename = "1/s")]
    PerSecond,
    /// Microseconds.
    #[serde(rename = "µs")]
    Microseconds,
    /// Seconds.
    #[serde(rename = "s")]
    Seconds,
    /// Bytes.
    #[serde(rename = "B")]
    Bytes,
    /// 100 is one core.
    #[serde(rename = "% of a core")]
    PercentOfCore,
    /// So many times something else.
    #[serde(rename = "×")]
    Ratio,
}

/// Which of two values is the better one.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Better {
    /// The lower one: times, costs.
    Lower,
    /// The higher one: throughput.
    Higher,
    /// Neither: it describes the circumstances.
    Neither,
}

impl Figure {
    /// A figure of which less is better.
    pub(crate) fn lower(name: &str, value: f64, unit: Unit) -> Self {
        Self::new(name, value, unit, Better::Lower)
    }

    /// A figure of which more is better.
    pub(crate) fn higher(name: &str, value: f64, unit: Unit) -> Self {
        Self::new(name, value, unit, Better::Higher)
    }

    /// A figure that describes the circumstances.
    pub(crate) fn neutral(name: &str, value: f64, unit: Unit) -> Self {
        Self::new(name, value, unit, Better::Neither)
    }

    /// The same, of a part of the run.
    #[must_use]
    pub(crate) fn in_phase(self, phase: &str) -> Self {
        Self { phase: Some(phase.to_owned()), ..self }
    }

    /// The same with a goal: at most this, or at least if higher is better.
    #[must_use]
    pub(crate) fn with_goal(self, goal: f64) -> Self {
        Self { goal: Some(goal), ..self }
    }

    /// Whether the goal is reached; `None` without one.
    pub(crate) fn is_goal_met(&self) -> Option<bool> {
        let goal = self.goal?;
        Some(match self.better {
            Better::Higher => self.value >= goal,
            Better::Lower | Better::Neither => self.value <= goal,
        })
    }

    /// Name with its phase in front, as tables show it.
    pub(crate) fn title(&self) -> String {
        match &self.phase {
            Some(phase) => format!("{phase}: {}", self.name),
            None => self.name.clone(),
        }
    }

    fn new(name: &str, value: f64, unit: Unit, better: Better) -> Self {
        Self { name: name.to_owned(), phase: None, value, unit, better, goal: None }
    }
}

impl Unit {
    /// `value` with its unit, in a size that people read easily.
    pub(crate) fn show(self, value: f64) -> String {
        let magnitude = value.abs();
        match self {
            Self::Count => grouped(value),
            Self::PerSecond if magnitude < 100.0 => format!("{value:.1} /s"),
            Self::PerSecond => format!("{} /s", grouped(value)),
            Self::Microseconds if magnitude < 1_000.0 => format!("{value:.2} µs"),
            Self::Microseconds if magnitude < 1e6 => format!("{:.2} ms", value / 1e3),
            Self::Microseconds => format!("{:.2} s", value / 1e6),
            Self::Seconds => format!("{value:.2} s"),
            Self::Bytes if magnitude < 10_240.0 => format!("{} B", grouped(value)),
            Self::Bytes if magnitude < 1_048_576.0 => format!("{:.1} KiB", value / 1_024.0),
            Self::Bytes => format!("{:.1} MiB", value / 1_048_576.0),
            Self::PercentOfCore => format!("{value:.1} %"),
            Self::Ratio => format!("{value:.2} ×"),
        }
    }
}

/// A whole number with commas between thousands.
fn grouped(value: f64) -> String {
    let digits = format!("{:.0}", value.abs());
    let mut text = String::from(if value <= -0.5 { "-" } else { "" });
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index) % 3 == 0 {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_shown_in_readable_sizes() {
        let shown = [
            (Unit::Count, 1_234_567.0, "1,234,567"),
            (Unit::Count, -1_000.0, "-1,000"),
            (Unit::PerSecond, 5.0, "5.0 /s"),
            (Unit::PerSecond, 50_000.4, "50,000 /s"),
            (Unit::Microseconds, 4.6, "4.60 µs"),
            (Unit::Microseconds, 29_000.0, "29.00 ms"),
            (Unit::Bytes, 600.0, "600 B"),
            (Unit::Bytes, 3_145_728.0, "3.0 MiB"),
            (Unit::Ratio, 1.154, "1.15 ×"),
        ];
        for (unit, value, text) in shown {
            assert_eq!(unit.show(value), text);
        }
    }

    #[test]
    fn a_goal_is_a_bound_in_the_good_direction() {
        let lower = |value| Figure::lower("x", value, Unit::Ratio).with_goal(1.15).is_goal_met();
        assert_eq!((lower(1.15), lower(1.16)), (Some(true), Some(false)));
        let higher = |value| Figure::higher("x", value, Unit::Count).with_goal(10.0).is_goal_met();
        assert_eq!((higher(10.0), higher(9.0)), (Some(true), Some(false)));
        assert_eq!(Figure::lower("x", 1.0, Unit::Count).is_goal_met(), None);
    }
}
