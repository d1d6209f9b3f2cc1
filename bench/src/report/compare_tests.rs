//! What belongs together is put together, and what differs is said.

use serde_json::json;

use super::*;
use crate::report::figure::{Figure, Unit};
use crate::report::tests::outcome;

fn labelled(label: &str, cost: f64, rate: f64) -> Outcome {
    let mut outcome = outcome();
    outcome.label = label.to_owned();
    outcome.figures = vec![
        Figure::lower("CPU per delivery", cost, Unit::Microseconds),
        Figure::higher("deliveries per second", rate, Unit::PerSecond),
        Figure::neutral("generator CPU", cost, Unit::PercentOfCore),
    ];
    outcome
}

fn shown(outcomes: Vec<Outcome>, style: Style) -> String {
    let mut output = Vec::new();
    write(&Comparison::new(outcomes), style, &mut output).unwrap();
    String::from_utf8(output).unwrap()
}

#[test]
fn ratios_refer_to_the_first_and_are_judged_by_what_is_better() {
    let outcomes = || vec![labelled("old", 4.0, 100.0), labelled("new", 2.0, 50.0)];
    let colored = shown(outcomes(), Style::Colored);
    assert!(colored.contains("\x1b[32m2.00 µs  0.50 ×\x1b[0m"), "{colored}");
    assert!(colored.contains("\x1b[31m50.0 /s  0.50 ×\x1b[0m"), "{colored}");
    assert_eq!(colored.matches("\x1b[0m").count(), 2, "{colored}");
    let plain = shown(outcomes(), Style::Plain);
    assert!(!plain.contains('\x1b') && !plain.contains("note:"), "{plain}");
}

#[test]
fn repetitions_are_shown_as_median_least_and_most() {
    let costs = [5.0, 3.0, 9.0, 4.0];
    let outcomes = costs.map(|cost| labelled("same", cost, 1.0)).into();
    let text = shown(outcomes, Style::Plain);
    assert!(text.contains("same, 4 runs"), "{text}");
    assert!(text.contains("4.50 µs (3.00 µs – 9.00 µs)"), "{text}");
}

#[test]
fn what_else_differs_is_said() {
    let mut other = labelled("new", 1.0, 1.0);
    other.parameters.insert("size".to_owned(), json!(64));
    other.machine.kernel = "9.9".to_owned();
    other.tool.commit = "abc".to_owned();
    other.saturation.is_saturated = true;
    other.fault("deliveries lost: 1");
    let text = shown(vec![labelled("old", 1.0, 1.0), other], Style::Plain);
    for note in [
        "note: parameters differ: size",
        "note: kernels differ: ",
        "note: commits of the bench differ: ",
        "note: new: the generator was the bottleneck in 1 of 1 runs",
        "note: new: faulty in 1 of 1 runs (deliveries lost: 1)",
    ] {
        assert!(text.contains(note), "{note}: {text}");
    }
    assert!(!text.contains("machines differ"), "{text}");
}

#[test]
fn runs_of_one_label_with_other_parameters_are_no_repetitions() {
    let mut small = labelled("server", 1.0, 1.0);
    small.parameters.insert("size".to_owned(), json!(64));
    let mut large = labelled("server", 2.0, 1.0);
    large.parameters.insert("size".to_owned(), json!(128));
    let text = shown(vec![small, large], Style::Plain);
    assert!(text.contains("server (size 64)") && text.contains("server (size 128)"), "{text}");
}

#[test]
fn a_figure_that_one_does_not_have_is_left_out_there() {
    let mut old = labelled("old", 1.0, 1.0);
    old.figures.remove(0);
    let text = shown(vec![old, labelled("new", 2.0, 1.0)], Style::Plain);
    let line = text.lines().find(|line| line.contains("CPU per delivery")).unwrap();
    assert!(line.contains('–') && line.contains("2.00 µs") && !line.contains('×'), "{line}");
}

#[test]
fn scenarios_have_tables_of_their_own() {
    let mut idle = labelled("x", 1.0, 1.0);
    idle.scenario = "idle".to_owned();
    let text = shown(vec![labelled("x", 1.0, 1.0), idle], Style::Plain);
    assert!(text.starts_with("fanout\n") && text.contains("\nidle\n"), "{text}");
}

#[test]
fn a_label_reaches_the_terminal_as_text_only() {
    let plain = shown(vec![labelled("a<i>\x1b[2J\n", 1.0, 1.0)], Style::Plain);
    assert!(plain.contains("a<i> [2J ") && !plain.contains('\x1b'), "{plain}");
}

#[test]
fn a_faulty_run_counts_in_no_median() {
    let mut faulty = labelled("same", 1.0, 1.0);
    faulty.fault("deliveries lost: 1");
    let text = shown(vec![labelled("same", 4.0, 1.0), faulty.clone()], Style::Plain);
    assert!(text.contains("4.00 µs") && !text.contains("1.00 µs"), "{text}");
    let text = shown(vec![labelled("old", 4.0, 1.0), faulty], Style::Plain);
    let line = text.lines().find(|line| line.contains("CPU per delivery")).unwrap();
    assert!(line.contains('–') && !line.contains('×'), "{line}");
}

#[test]
fn plots_have_names_for_files() {
    assert_eq!(file_name("fanout Latency over time, p99"), "fanout-latency-over-time-p99.svg");
    assert_eq!(file_name("../x CPU, 100 %"), "x-cpu-100.svg");
}

#[test]
fn plots_are_written_for_documents() {
    let directory = std::env::temp_dir().join(format!("fanwire-bench-svg-{}", std::process::id()));
    let comparison = Comparison::new(vec![labelled("a", 1.0, 1.0), labelled("b", 2.0, 1.0)]);
    write_plots(&comparison, &directory).unwrap();
    let svg = fs::read_to_string(directory.join("fanout-deliveries-per-second.svg")).unwrap();
    fs::remove_dir_all(&directory).unwrap();
    assert!(svg.starts_with("<svg") && !svg.contains("currentColor"), "{svg}");
}
