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
            accepted: 3,
            refusals: Refusals {
                count: 1,
                by_topic: [(0, 1)].into(),
                by_reason: [("111 too many requests".to_owned(), 1)].into(),
            },
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

#[test]
fn parts_of_all_processes_are_added_up() {
    let findings = findings(vec![totals(300, 1_000_000), totals(100, 9_000_000)]);
    let report = Report::new(&options(&["--server-pid", "1"]), findings).unwrap();
    assert!(report.is_clean());
    let (json, text) = both_forms(&report);
    assert_eq!(json["deliveries"]["received"], 400);
    assert_eq!(json["deliveries"]["lost"], 0);
    assert_eq!(json["deliveries"]["measured_per_second"], 200.0);
    assert_eq!(json["publications"]["unanswered"], 1);
    assert_eq!(json["server"]["cpu_us_per_delivery"], 2.0);
    assert_eq!(json["server"]["cpu_percent"], 25.0);
    assert_eq!(json["server"]["rss_bytes_per_connection"], 600.0);
    assert_eq!(json["generator"]["subscribers_cpu_percent"][0], 50.0);
    assert!((json["latency"]["p50_us"].as_f64().unwrap() - 1_000.0).abs() < 2.0);
    assert!((json["latency"]["p99_us"].as_f64().unwrap() - 9_000.0).abs() < 10.0);
    assert!(text.contains("2.00 µs per delivery"), "{text}");
    assert!(text.contains("1 × 111 too many requests"), "{text}");
    assert!(text.ends_with("clean\n"), "{text}");
}

#[test]
fn every_kind_of_fault_makes_the_run_faulty() {
    let faulty = |change: fn(&mut Totals)| {
        let mut part = totals(400, 1_000);
        change(&mut part);
        let report = Report::new(&options(&[]), findings(vec![part])).unwrap();
        assert_eq!(both_forms(&report).1.contains("FAULTY"), !report.is_clean());
        !report.is_clean()
    };
    assert!(!faulty(|_| {}));
    assert!(faulty(|part| part.received = 399));
    assert!(faulty(|part| part.duplicated = 1));
    assert!(faulty(|part| part.out_of_order = 1));
    assert!(faulty(|part| part.misrouted = 1));
    assert!(faulty(|part| part.disconnected = [("gone".to_owned(), 1)].into()));
}

#[test]
fn without_a_server_process_nothing_is_said_about_it() {
    let report = Report::new(&options(&[]), findings(vec![totals(400, 1)])).unwrap();
    assert!(both_forms(&report).0["server"].is_null());
}
