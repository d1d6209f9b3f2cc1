//! The report adds up what the processes found.

use clap::Parser;

use super::*;
use crate::cli::{Cli, Command};

fn options(arguments: &[&str]) -> FanoutOptions {
    let words = ["fanwire-bench", "fanout", "--subscribers", "100", "--seconds", "2"];
    match Cli::try_parse_from(words.iter().chain(arguments)).unwrap().command {
        Command::Fanout(options) => options,
        Command::Subscribers => unreachable!("fanout was asked for"),
    }
}

fn totals(received: u64, latency_ns: u64) -> Totals {
    let mut latency = TimeHistogram::new().unwrap();
    (0..received).for_each(|_| latency.record(latency_ns));
    Totals { received, latency: latency.to_portable(), ..Totals::default() }
}

fn findings(totals: Vec<Totals>) -> Findings {
    let memory = |resident_bytes| Memory { resident_bytes };
    Findings {
        processes: totals.len(),
        server_version: "1.2.3".to_owned(),
        published: Some(Published {
            sent: 5,
            accepted: 5,
            refusals: Refusals::default(),
            lag: Percentiles::default(),
        }),
        expected: 400,
        totals,
        usage: Usage {
            measured_ns: 2_000_000_000,
            server_ns: 500_000_000,
            server_until_arrived_ns: 800_000,
            subscribers_ns: vec![1_000_000_000, 20_000_000],
            publisher_ns: 10_000_000,
            before: memory(10_000),
            connected: memory(70_000),
            after: memory(60_000),
            peak: memory(80_000),
        },
    }
}

fn both_forms(report: &Report) -> (serde_json::Value, String) {
    let (mut json, mut text) = (Vec::new(), Vec::new());
    write(report, true, &mut json).unwrap();
    write(report, false, &mut text).unwrap();
    (serde_json::from_slice(&json).unwrap(), String::from_utf8(text).unwrap())
}

/// The faults as the text names them; the JSON and the exit status must agree.
fn faults_in_both_forms(report: &Report) -> String {
    let (json, text) = both_forms(report);
    let faults = match text.lines().last().unwrap() {
        "clean" => "",
        last => last.strip_prefix("FAULTY: ").unwrap(),
    };
    let in_json: Vec<String> = serde_json::from_value(json["faults"].clone()).unwrap();
    assert_eq!(in_json.join(", "), faults);
    assert_eq!(report.is_clean(), faults.is_empty());
    faults.to_owned()
}

#[test]
fn parts_of_all_processes_are_added_up() {
    let findings = findings(vec![totals(300, 1_000_000), totals(100, 9_000_000)]);
    let report = Report::new(&options(&["--server-pid", "1"]), findings).unwrap();
    assert!(report.is_clean());
    let (json, text) = both_forms(&report);
    assert_eq!(json["deliveries"]["received"], 400);
    assert_eq!(json["deliveries"]["lost"], 0);
    assert_eq!(json["deliveries"]["measured_per_second"], 200.0);
    assert_eq!(json["publications"]["accepted"], 5);
    assert_eq!(json["server"]["cpu_us_per_delivery"], 2.0);
    assert_eq!(json["server"]["cpu_percent"], 25.0);
    assert_eq!(json["server"]["rss_bytes_per_connection"], 600.0);
    assert_eq!(json["generator"]["subscribers_cpu_percent"][0], 50.0);
    assert!((json["latency"]["p50_us"].as_f64().unwrap() - 1_000.0).abs() < 2.0);
    assert!((json["latency"]["p99_us"].as_f64().unwrap() - 9_000.0).abs() < 10.0);
    assert!(text.contains("2.00 µs per delivery"), "{text}");
    assert!(text.contains("100 subscribers of 1 topic, 5/s"), "{text}");
    assert!(text.ends_with("clean\n"), "{text}");
}

#[test]
fn every_kind_of_fault_makes_the_run_faulty() {
    let faulty = |change: fn(&mut Totals)| {
        let mut part = totals(400, 1_000);
        change(&mut part);
        let report = Report::new(&options(&[]), findings(vec![part])).unwrap();
        faults_in_both_forms(&report)
    };
    assert_eq!(faulty(|_| {}), "");
    assert_eq!(faulty(|part| part.received = 399), "deliveries lost: 1");
    assert_eq!(faulty(|part| part.duplicated = 1), "deliveries duplicated: 1");
    assert_eq!(faulty(|part| part.out_of_order = 1), "deliveries out of order: 1");
    assert_eq!(faulty(|part| part.misrouted = 1), "deliveries misrouted: 1");
    let gone = faulty(|part| part.disconnected = [("gone".to_owned(), 1)].into());
    assert_eq!(gone, "connections lost: 1");
}

#[test]
fn publications_that_were_not_accepted_make_the_run_faulty() {
    let mut findings = findings(vec![totals(400, 1)]);
    let published = findings.published.as_mut().unwrap();
    published.accepted = 3;
    published.refusals = Refusals {
        count: 1,
        by_topic: [(0, 1)].into(),
        by_reason: [("111 too many requests".to_owned(), 1)].into(),
    };
    let report = Report::new(&options(&[]), findings).unwrap();
    let faults = faults_in_both_forms(&report);
    assert_eq!(faults, "publications refused: 1, publications unanswered: 1");
    assert!(both_forms(&report).1.contains("1 × 111 too many requests"));
}

#[test]
fn a_run_without_deliveries_is_clean_only_if_nothing_was_published() {
    let mut silent = findings(vec![totals(0, 0)]);
    silent.expected = 0;
    let report = Report::new(&options(&[]), silent).unwrap();
    assert_eq!(faults_in_both_forms(&report), "nothing was delivered in the measured part");

    let mut idle = findings(vec![totals(0, 0)]);
    (idle.expected, idle.published) = (0, None);
    let report = Report::new(&options(&["--rate", "0"]), idle).unwrap();
    assert_eq!(faults_in_both_forms(&report), "");
}

#[test]
fn without_a_server_process_nothing_is_said_about_it() {
    let report = Report::new(&options(&[]), findings(vec![totals(400, 1)])).unwrap();
    assert!(both_forms(&report).0["server"].is_null());
}
