//! The report adds up what the processes found, and says the same in every form.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::*;
use crate::client::behaviour::{chat, churn, storm};
use crate::client::control::{self, Totals};
use crate::client::dialogue::EARLY;
use crate::histogram::TimeHistogram;
use crate::procfs::Memory;
use crate::report::figure::{Figure, Unit};
use crate::report::findings::{Findings, Published, Subject, Usage};
use crate::report::outcome::Parameters;
use crate::scenarios::course::Measured;
use crate::timeline::Timeline;
use crate::watch::Waited;

const SECOND_NS: u64 = 1_000_000_000;

/// The outcome of an imaginary run: 400 deliveries within two seconds, 300 after 1 ms and 100
/// after 9 ms.
pub(super) fn outcome() -> Outcome {
    outcome_of(findings(vec![totals(300, 1_000_000), totals(100, 9_000_000)]))
}

fn outcome_of(findings: Findings) -> Outcome {
    let parameters: Parameters = [("subscribers".to_owned(), json!(100))].into_iter().collect();
    let mut outcome = Outcome::begin("fanout", parameters, None, &OutputOptions::default());
    findings.add_to(&mut outcome);
    outcome
}

fn totals(received: u64, latency_ns: u64) -> Totals {
    let mut latency = TimeHistogram::new().unwrap();
    let mut timeline = Timeline::idle();
    timeline.start(SECOND_NS);
    for step in 0..received {
        let due_ns = SECOND_NS + step * 2 * SECOND_NS / received;
        latency.record(latency_ns);
        timeline.record(due_ns, due_ns + latency_ns);
    }
    let (latency, timeline) = (latency.to_portable(), timeline.to_portable());
    Totals { received, latency, timeline, ..Totals::default() }
}

fn findings(totals: Vec<Totals>) -> Findings {
    let memory = |resident_bytes| Memory { resident_bytes };
    let usage = Usage {
        from_ns: SECOND_NS,
        measured_ns: 2 * SECOND_NS,
        window_ns: 2 * SECOND_NS,
        late_ns: 0,
        server_ns: Some(SECOND_NS / 2),
        server_until_arrived_ns: 800_000,
        subscribers_ns: vec![SECOND_NS, 20_000_000],
        publisher_ns: 10_000_000,
        waited: Waited { server_ns: 40_000_000, generator_ns: 0 },
        before: memory(10_000),
        connected: memory(70_000),
        after: memory(60_000),
        readings: Vec::new(),
    };
    let published = Published {
        sent: 5,
        accepted: 5,
        refused: BTreeMap::new(),
        lag: TimeHistogram::new().unwrap(),
        timeline: Timeline::idle(),
        thread_cpu_percent: Some(1.0),
    };
    // 300 and 100, or all by one process.
    let expected = if totals.len() == 2 { vec![300, 100] } else { vec![400] };
    Findings {
        subject: Subject::deliveries(&totals).unwrap(),
        measured: Measured {
            connections: 100,
            server_version: "tiny 1".to_owned(),
            published: Some(published),
            expected,
            totals,
            usage,
        },
    }
}

fn both_forms(outcome: &Outcome) -> (Value, String) {
    let (mut json, mut text) = (Vec::new(), Vec::new());
    let options = OutputOptions { json: true, ..OutputOptions::default() };
    write(outcome, &options, &mut json).unwrap();
    write(outcome, &OutputOptions::default(), &mut text).unwrap();
    (serde_json::from_slice(&json).unwrap(), String::from_utf8(text).unwrap())
}

/// The faults as the text names them; the JSON and the exit status must agree.
fn faults_in_both_forms(outcome: &Outcome) -> String {
    let (json, text) = both_forms(outcome);
    let listed: Vec<&str> =
        json["faults"].as_array().unwrap().iter().map(|fault| fault.as_str().unwrap()).collect();
    let verdict = text.lines().last().unwrap();
    assert_eq!(outcome.is_clean, listed.is_empty());
    assert_eq!(json["is_clean"], listed.is_empty());
    match verdict.strip_prefix("FAULTY: ") {
        Some(told) => assert_eq!(told, listed.join(", ")),
        None => assert_eq!((verdict, listed.len()), ("clean", 0)),
    }
    listed.join(", ")
}

#[test]
fn the_parts_are_added_up() {
    let outcome = outcome();
    assert!(outcome.is_clean, "{:?}", outcome.faults);
    let figure = |name: &str| outcome.figure(name).unwrap().value;
    assert_eq!(figure("deliveries per second"), 200.0);
    assert_eq!(figure("CPU per delivery"), 2.0);
    assert_eq!(figure("server CPU"), 25.0);
    assert_eq!(figure("RSS per connection"), 600.0);
    assert_eq!(figure("RSS peak"), 70_000.0);
    assert_eq!(figure("generator CPU"), 50.0);
    assert_eq!(figure("server wait for a core"), 2.0);
    assert!((figure("latency p50") - 1_000.0).abs() < 2.0);
    assert!((figure("latency p99") - 9_000.0).abs() < 10.0);
    assert_eq!(outcome.counts.delivered, 400);
    assert_eq!(outcome.counts.lost, 0);
    assert_eq!(outcome.label, "tiny 1");
    let delivered: u64 = outcome.series.samples.iter().map(|sample| sample.delivered).sum();
    assert_eq!(delivered, 400);
    let text = both_forms(&outcome).1;
    for part in ["2.00 µs", "subscribers 100", "600 B", "25.0 %", "tiny 1"] {
        assert!(text.contains(part), "{part}: {text}");
    }
    assert!(text.ends_with("clean\n"), "{text}");
}

#[test]
fn an_outcome_survives_being_written_and_read() {
    let mut outcome = outcome();
    outcome.figures.push(Figure::lower("p", 1.1, Unit::Ratio).in_phase("x").with_goal(1.2));
    outcome.counts.other.insert("reconnects".to_owned(), 3);
    let read = Outcome::parse(&both_forms(&outcome).0.to_string()).unwrap();
    assert_eq!(read, outcome);
    assert_eq!(read.parameters.keys().collect::<Vec<_>>(), ["subscribers"]);
}

#[test]
fn an_outcome_of_another_format_is_refused_and_unknown_fields_are_not() {
    let (mut json, _) = both_forms(&outcome());
    json["of_a_later_version"] = json!([1]);
    assert!(Outcome::parse(&json.to_string()).is_ok());
    json["format"] = json!(2);
    let reason = Outcome::parse(&json.to_string()).unwrap_err();
    assert!(reason.contains("its format is 2"), "{reason}");
    assert!(Outcome::parse("{}").is_err());
}

#[test]
fn every_kind_of_fault_makes_the_run_faulty() {
    let faulty = |change: fn(&mut Totals)| {
        let mut part = totals(400, 1_000);
        change(&mut part);
        faults_in_both_forms(&outcome_of(findings(vec![part])))
    };
    assert_eq!(faulty(|_| {}), "");
    assert_eq!(faulty(|part| part.received = 399), "deliveries lost: 1");
    assert_eq!(faulty(|part| part.received = 401), "deliveries too many: 1");
    assert_eq!(faulty(|part| part.duplicated = 1), "deliveries duplicated: 1");
    assert_eq!(faulty(|part| part.out_of_order = 1), "deliveries out of order: 1");
    assert_eq!(faulty(|part| part.misrouted = 1), "deliveries misrouted: 1");
    let gone = faulty(|part| part.disconnected = [("gone".to_owned(), 1)].into());
    assert_eq!(gone, "connections lost: 1");
    for name in [EARLY, churn::UNDONE, chat::UNDONE, chat::UNRECOVERED, storm::UNRECOVERED] {
        let mut part = totals(400, 1_000);
        part.counts = [(name.to_owned(), 3), (storm::LAST_BACK_NS.to_owned(), 7)].into();
        let outcome = outcome_of(findings(vec![part]));
        assert_eq!(faults_in_both_forms(&outcome), format!("{name}: 3"));
        assert_eq!(outcome.counts.other.keys().collect::<Vec<_>>(), [name]);
    }
}

#[test]
fn what_one_process_has_too_much_does_not_make_up_for_what_another_lost() {
    let outcome = outcome_of(findings(vec![totals(299, 1), totals(101, 1)]));
    let faults = faults_in_both_forms(&outcome);
    assert_eq!(faults, "deliveries lost: 1, deliveries too many: 1");
}

#[test]
fn what_arrives_after_the_window_is_offered_but_no_throughput() {
    let mut late = Timeline::idle();
    late.start_window(SECOND_NS, 3 * SECOND_NS);
    // A server that is twice overloaded: the second half comes when nothing is sent any more.
    (0..400).for_each(|step| late.record(2 * SECOND_NS, 2 * SECOND_NS + step * SECOND_NS / 200));
    let part = Totals { timeline: late.to_portable(), ..totals(400, 1_000) };
    let outcome = outcome_of(findings(vec![part]));
    let value = |name| outcome.figure(name).unwrap().value;
    assert_eq!(value("deliveries per second"), 100.0);
    assert_eq!(value("offered deliveries per second"), 200.0);
}

#[test]
fn publications_that_were_not_accepted_make_the_run_faulty() {
    let mut findings = findings(vec![totals(400, 1)]);
    let published = findings.measured.published.as_mut().unwrap();
    published.accepted = 3;
    published.refused = [("111 too many requests".to_owned(), 1)].into();
    let outcome = outcome_of(findings);
    let faults = faults_in_both_forms(&outcome);
    assert_eq!(faults, "publications refused: 1, publications unanswered: 1");
    assert!(both_forms(&outcome).1.contains("1 × 111 too many requests"));
}

#[test]
fn a_run_without_deliveries_is_clean_only_if_nothing_was_published() {
    let mut silent = findings(vec![totals(0, 0)]);
    silent.measured.expected = vec![0];
    let faults = faults_in_both_forms(&outcome_of(silent));
    assert_eq!(faults, "nothing was delivered in the measured part");

    let mut idle = findings(vec![totals(0, 0)]);
    (idle.measured.expected, idle.measured.published) = (vec![0], None);
    assert_eq!(faults_in_both_forms(&outcome_of(idle)), "");
}

#[test]
fn what_backend_and_clients_published_is_added_up() {
    let by_clients = control::Published {
        sent: 7,
        accepted: 6,
        refused: [("no".to_owned(), 1)].into(),
        ..control::Published::default()
    };
    let both = findings(Vec::new()).measured.published.unwrap();
    let clients = Published::by_clients([&by_clients, &by_clients].into_iter()).unwrap();
    let both = both.and(clients).unwrap();
    assert_eq!((both.sent, both.accepted, both.refused["no"]), (19, 17, 2));
    assert_eq!(both.thread_cpu_percent, Some(1.0));
}

#[test]
fn publications_that_nobody_hears_are_timed_by_their_answers() {
    let mut answered = TimeHistogram::new().unwrap();
    (0..200).for_each(|_| answered.record(2_000_000));
    let mut totals = totals(0, 0);
    totals.published.answered = answered.to_portable();
    let mut answers = Timeline::idle();
    answers.start(SECOND_NS);
    (0..200).for_each(|_| answers.record(SECOND_NS, SECOND_NS));
    totals.published.answers = answers.to_portable();
    let mut findings = findings(vec![totals]);
    findings.subject = Subject::answers(&findings.measured.totals).unwrap();
    findings.measured.expected = vec![0];
    let outcome = outcome_of(findings);
    assert_eq!(faults_in_both_forms(&outcome), "");
    let value = |name| outcome.figure(name).unwrap().value;
    assert_eq!(value("messages per second"), 100.0);
    assert_eq!(value("CPU per message"), 4.0);
    assert!((value("latency p99") - 2_000.0).abs() < 20.0);
    assert_eq!(outcome.latencies["answer"].percentiles.count, 200);
}

#[test]
fn a_run_whose_generator_overslept_is_faulty() {
    let late_by = |late_ns| {
        let mut findings = findings(vec![totals(400, 1)]);
        findings.measured.usage.late_ns = late_ns;
        faults_in_both_forms(&outcome_of(findings))
    };
    assert_eq!(late_by(SECOND_NS / 10), "");
    let told = "measuring began 200 ms late: the generator did not run";
    assert_eq!(late_by(SECOND_NS / 5), told);
}

#[test]
fn without_a_server_process_nothing_is_said_about_its_use() {
    let mut findings = findings(vec![totals(400, 1)]);
    findings.measured.usage.server_ns = None;
    let outcome = outcome_of(findings);
    let of_server = ["CPU per delivery", "server CPU", "RSS per connection", "RSS peak"];
    assert!(of_server.iter().all(|name| outcome.figure(name).is_none()));
    assert!(both_forms(&outcome).1.contains("not watched"));
}

#[test]
fn who_had_no_core_is_told_before_the_verdict() {
    let mut findings = findings(vec![totals(400, 1_000_000)]);
    findings.measured.usage.waited.server_ns = SECOND_NS / 5;
    let text = both_forms(&outcome_of(findings)).1;
    let warning = "WARNING: These figures are not the server's alone (the server was ready to run \
                   but had no core for 10 % of the time).";
    assert!(text.contains(warning), "{text}");
}

#[test]
fn a_saturated_generator_is_told_before_the_verdict() {
    let mut findings = findings(vec![totals(400, 1)]);
    findings.measured.usage.subscribers_ns = vec![2 * SECOND_NS];
    let text = both_forms(&outcome_of(findings)).1;
    let warning = "WARNING: The generator was the bottleneck: these figures are its own, not";
    assert!(text.contains(warning), "{text}");
}
