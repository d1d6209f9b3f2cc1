//! The scenarios beside `fanout` against a tiny broker: what is right is found clean, and faults
//! are found.
#![forbid(unsafe_code)]

#[cfg(test)]
mod tiny_server;

#[cfg(test)]
mod tests {
    use std::process::Command;

    use serde_json::Value;

    use crate::tiny_server::{API_KEY, Fault, TinyServer};

    /// Exit status and report of a run that completes.
    fn report(server: &TinyServer, arguments: &str) -> (i32, Value) {
        let output = Command::new(env!("CARGO_BIN_EXE_fanwire-bench"))
            .args(arguments.split(' '))
            .args(["--json", "--seconds", "0.4", "--warmup", "0.1", "--settle", "0"])
            .args(["--drain-limit", "0.5", "--connecting", "4", "--url", &server.url()])
            .args(["--server-pid", &std::process::id().to_string()])
            .output()
            .unwrap();
        let errors = String::from_utf8_lossy(&output.stderr);
        let report = serde_json::from_slice(&output.stdout);
        (output.status.code().unwrap(), report.unwrap_or_else(|_| panic!("no report: {errors}")))
    }

    fn clean(arguments: &str) -> Value {
        let (status, report) = report(&TinyServer::start(Fault::None), arguments);
        assert_eq!(status, 0, "{report:#}");
        report
    }

    fn faults(fault: Fault, arguments: &str) -> Vec<String> {
        let (status, report) = report(&TinyServer::start(fault), arguments);
        assert_eq!(status, 1, "{fault:?}: {report:#}");
        let faults = report["faults"].as_array().unwrap();
        faults.iter().map(|fault| fault.as_str().unwrap().to_owned()).collect()
    }

    fn figure(report: &Value, name: &str) -> f64 {
        let figures = report["figures"].as_array().unwrap();
        let figure = figures.iter().find(|figure| figure["name"] == name);
        figure.unwrap_or_else(|| panic!("no {name}: {report:#}"))["value"].as_f64().unwrap()
    }

    fn count(report: &Value, name: &str) -> u64 {
        report["counts"][name].as_u64().unwrap()
    }

    /// 100 a second for 0.1 s + 0.4 s; the parts of two processes may be cut off in between.
    const INBOUND: &str = "inbound --clients 20 --rate 100 --processes 2";

    #[test]
    fn inbound_messages_are_counted_when_they_are_answered() {
        let report = clean(INBOUND);
        assert!((49..=51).contains(&count(&report, "published")), "{report:#}");
        assert_eq!(count(&report, "accepted"), count(&report, "published"));
        assert_eq!(count(&report, "delivered"), 0);
        let answers = report["latencies"]["answer"]["count"].as_u64().unwrap();
        assert!((39..=41).contains(&answers), "{report:#}");
        assert!(figure(&report, "CPU per message") > 0.0);
        assert!(figure(&report, "messages per second") > 50.0);
    }

    #[test]
    fn inbound_messages_that_are_not_accepted_are_faults() {
        assert_eq!(faults(Fault::Refuse, INBOUND), ["publications refused: 1"]);
        assert_eq!(faults(Fault::Mute, INBOUND), ["publications unanswered: 1"]);
        let nothing = faults(Fault::RefuseAll, INBOUND);
        assert_eq!(nothing[0], "nothing was answered in the measured part");
    }

    const PAIRS: &str = "pairs --pairs 7 --rate 100 --publishers 3";

    #[test]
    fn every_message_of_a_pair_arrives_once() {
        for more in ["", &format!(" --api-key {API_KEY}")] {
            let server = TinyServer::start(Fault::None);
            let (status, report) = report(&server, &format!("{PAIRS}{more}"));
            assert_eq!((status, server.pongs()), (0, 7), "{report:#}");
            for name in ["published", "accepted", "expected", "delivered"] {
                assert_eq!(count(&report, name), 50, "{report:#}");
            }
            assert!(figure(&report, "CPU per message") > 0.0);
            let way = if more.is_empty() { "websocket" } else { "http" };
            assert_eq!(report["parameters"]["publish over"], way);
        }
    }

    #[test]
    fn a_message_that_its_pair_misses_or_gets_twice_is_a_fault() {
        assert_eq!(faults(Fault::Lose, PAIRS), ["deliveries lost: 1"]);
        assert_eq!(faults(Fault::Duplicate, PAIRS), ["deliveries duplicated: 1"]);
        assert_eq!(faults(Fault::Reorder, PAIRS), ["deliveries out of order: 1"]);
    }

    /// Each subscription is kept for one of the one and a half seconds, and hears 20 publications
    /// in it.
    const CHURN: &str = "churn --clients 20 --rate 100 --topics 30 --hold 1 --publish-rate 600 \
                         --processes 2";

    #[test]
    fn subscriptions_that_come_and_go_hear_what_they_must() {
        let report = clean(CHURN);
        assert!(count(&report, "expected") > 1_000, "{report:#}");
        assert_eq!(count(&report, "delivered"), count(&report, "expected"));
        // What was due in the measured part: 40 of each kind.
        for (name, least) in [("subscribe", 39), ("unsubscribe", 39)] {
            let times = report["latencies"][name]["count"].as_u64().unwrap();
            assert!((least..=41).contains(&times), "{name}: {report:#}");
        }
        assert!(figure(&report, "CPU per operation") > 0.0);
        assert!(figure(&report, "operations per second") > 100.0);
    }

    #[test]
    fn what_a_subscription_must_not_hear_or_must_not_miss_is_a_fault() {
        assert_eq!(faults(Fault::Lose, CHURN), ["deliveries lost: 1"]);
        assert_eq!(faults(Fault::Duplicate, CHURN), ["deliveries duplicated: 1"]);
        let early = faults(Fault::Hasty, CHURN);
        let told = "deliveries before the subscription's answer: ";
        assert!(early.iter().any(|fault| fault.starts_with(told)), "{early:?}");
        let late = faults(Fault::Clinging, CHURN);
        assert!(late.iter().any(|fault| fault.starts_with("deliveries misrouted: ")), "{late:?}");
        let lost = faults(Fault::Disconnect, CHURN);
        assert!(lost.contains(&"connections lost: 1".to_owned()), "{lost:?}");
    }

    const MIXED: &str = "mixed --users 20 --rooms 4 --processes 2 --message-rate 100 \
                         --typing-rate 60 --backend-rate 50 --comings-rate 20 --away 0.1 \
                         --asking-rate 40";

    #[test]
    fn a_chat_hears_all_that_is_said_even_by_those_who_come_and_go() {
        let report = clean(MIXED);
        assert!(count(&report, "published") > 80, "{report:#}");
        assert!(count(&report, "delivered") > count(&report, "published"), "{report:#}");
        assert_eq!(count(&report, "delivered"), count(&report, "expected"));
        let left = report["counts"]["other"]["users who left and came back"].as_u64().unwrap();
        assert!(left >= 5, "{report:#}");
        for name in ["history", "presence", "reconnect", "subscribe", "delivery"] {
            assert!(report["latencies"][name]["count"].as_u64().unwrap() > 0, "{name}: {report:#}");
        }
    }

    #[test]
    fn what_a_chat_misses_or_hears_twice_is_a_fault() {
        // Who leaves might get back what was lost.
        let staying = format!("{MIXED} --comings-rate 0");
        assert_eq!(faults(Fault::Lose, &staying), ["deliveries lost: 1"]);
        assert_eq!(faults(Fault::Duplicate, &staying), ["deliveries duplicated: 1"]);
        let forgotten = faults(Fault::Forget, MIXED);
        let told = "rooms not recovered: ";
        assert!(forgotten.iter().any(|fault| fault.starts_with(told)), "{forgotten:?}");
    }
}
