//! A page needs nothing but itself, and what others wrote stays text.

use super::*;
use crate::report::tests::outcome;

const HOSTILE: &str = r#"<script>alert(1)</script>"onload='x'&"#;

fn pages() -> [String; 2] {
    let mut outcome = outcome();
    outcome.label = HOSTILE.to_owned();
    outcome.server.version = HOSTILE.to_owned();
    outcome.command.push(HOSTILE.to_owned());
    outcome.counts.disconnected.insert(HOSTILE.to_owned(), 1);
    outcome.parameters.insert(HOSTILE.to_owned(), HOSTILE.into());
    let (first, mut second) = (outcome.clone(), outcome.clone());
    second.label.push('2');
    outcome.label.push('3');
    outcome.fault(HOSTILE);
    let run = of_run(&outcome).unwrap();
    [run, of_comparison(&Comparison::new(vec![first, second, outcome])).unwrap()]
}

#[test]
fn what_others_wrote_is_escaped() {
    for page in pages() {
        assert!(!page.contains("<script") && !page.contains("onload='x'&\""), "{page}");
        assert!(page.contains("&lt;script&gt;alert(1)"), "{page}");
    }
}

#[test]
fn nothing_is_loaded_from_elsewhere() {
    for page in pages() {
        for reference in ["src=", "href=", "url(", "@import", "<link", "<script", "<img", "<iframe"]
        {
            assert!(!page.contains(reference), "{reference}");
        }
    }
}

#[test]
fn a_page_has_its_plots_and_tables() {
    let [run, comparison] = pages();
    for title in ["Latency over time", "Latency by percentile", "Throughput, delivered per second"]
    {
        assert!(run.contains(&format!("<figcaption>{title}</figcaption><svg")), "{title}");
    }
    assert!(run.contains("<caption>Figures</caption>"));
    assert!(comparison.contains("Latency over time, p99</figcaption><svg"));
    assert!(comparison.contains("1.00 ×"), "{comparison}");
}

#[test]
fn a_run_in_which_nothing_happened_has_a_page() {
    let mut empty = outcome();
    empty.series.samples.clear();
    empty.latencies.clear();
    empty.figures.clear();
    assert!(!of_run(&empty).unwrap().contains("<svg"));
}
