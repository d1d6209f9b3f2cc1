//! The whole program against a tiny broker: what is right is found clean, and every fault is found.
#![forbid(unsafe_code)]

#[cfg(test)]
mod tiny_server;

#[cfg(test)]
mod tests {
    use std::process::{Command, Output};

    use serde_json::Value;

    use crate::tiny_server::{API_KEY, Fault, TinyServer};

    const SUBSCRIBERS: u64 = 20;
    /// Over warm-up and measured part: 100 a second for 0.1 s + 0.4 s.
    const PUBLICATIONS: u64 = 50;

    /// Two processes, three topics.
    fn bench(server: &TinyServer, more: &[&str]) -> Output {
        Command::new(env!("CARGO_BIN_EXE_fanwire-bench"))
            .args(["fanout", "--json", "--subscribers", "20", "--topics", "3", "--processes", "2"])
            .args(["--rate", "100", "--seconds", "0.4", "--warmup", "0.1", "--settle", "0"])
            .args(["--drain-limit", "0.5", "--connecting", "4", "--url", &server.url()])
            .args(["--server-pid", &std::process::id().to_string()])
            .args(more)
            .output()
            .unwrap()
    }

    /// Exit status and report of a run that completes.
    fn report(server: &TinyServer, more: &[&str]) -> (i32, Value) {
        let output = bench(server, more);
        let errors = String::from_utf8_lossy(&output.stderr);
        let report = serde_json::from_slice(&output.stdout);
        (output.status.code().unwrap(), report.unwrap_or_else(|_| panic!("no report: {errors}")))
    }

    /// Deliveries of all publications: subscriber i hears topic i mod 3, where publication k is on
    /// topic k mod 3.
    fn all_deliveries() -> u64 {
        let on_topic = |count: u64, topic: u64| (count + 2 - topic) / 3;
        (0..3).map(|topic| on_topic(SUBSCRIBERS, topic) * on_topic(PUBLICATIONS, topic)).sum()
    }

    fn assert_clean(status: i32, report: &Value) {
        assert_eq!(status, 0, "{report:#}");
        assert_eq!(report["publications"]["accepted"], PUBLICATIONS);
        let deliveries = &report["deliveries"];
        assert_eq!(deliveries["expected"], all_deliveries());
        assert_eq!(deliveries["received"], all_deliveries());
        for fault in ["lost", "duplicated", "out_of_order", "misrouted"] {
            assert_eq!(deliveries[fault], 0);
        }
        assert!(report["latency"]["count"].as_u64().unwrap() < all_deliveries());
        assert!(report["latency"]["min_us"].as_f64().unwrap() > 0.0);
        assert_eq!(report["server_version"], "tiny 1");
    }

    #[test]
    fn a_correct_broker_is_found_clean_over_websocket() {
        let server = TinyServer::start(Fault::None);
        let (status, report) = report(&server, &[]);
        assert_clean(status, &report);
        assert_eq!(report["load"]["publish_over"], "websocket");
        assert!(report["server"]["cpu_us_per_delivery"].as_f64().unwrap() > 0.0);
        assert_eq!(report["connections"]["pings_answered"], SUBSCRIBERS);
        assert_eq!(server.pongs(), SUBSCRIBERS);
    }

    #[test]
    fn a_correct_broker_is_found_clean_over_http_and_several_connections() {
        let server = TinyServer::start(Fault::None);
        let more = ["--api-key", API_KEY, "--publish-connections", "2"];
        let (status, report) = report(&server, &more);
        assert_clean(status, &report);
        assert_eq!(report["load"]["publish_over"], "http");
        assert!(!report["command_line"].to_string().contains(API_KEY));
    }

    #[test]
    fn every_fault_of_a_broker_is_found() {
        let faults = [
            (Fault::Lose, "/deliveries/lost"),
            (Fault::Duplicate, "/deliveries/duplicated"),
            (Fault::Reorder, "/deliveries/out_of_order"),
            (Fault::Disconnect, "/connections/lost"),
        ];
        for (fault, counter) in faults {
            let (status, report) = report(&TinyServer::start(fault), &[]);
            assert_eq!(status, 1, "{fault:?}: {report:#}");
            assert_eq!(report.pointer(counter).unwrap(), 1, "{fault:?}: {report:#}");
        }
    }

    #[test]
    fn a_refused_publication_is_told_and_not_expected() {
        for more in [&[][..], &["--api-key", API_KEY]] {
            let (status, report) = report(&TinyServer::start(Fault::Refuse), more);
            assert_eq!(status, 1, "{report:#}");
            assert_eq!(report["faults"][0], "publications refused: 1");
            assert_eq!(report["publications"]["refused"], 1);
            assert_eq!(report["deliveries"]["lost"], 0);
            let reasons = &report["publications"]["refused_by_reason"];
            assert_eq!(reasons["111 too many requests"], 1, "{report:#}");
            assert!(report["deliveries"]["expected"].as_u64().unwrap() < all_deliveries());
        }
    }

    #[test]
    fn a_broker_that_refuses_everything_is_not_clean() {
        let (status, report) = report(&TinyServer::start(Fault::RefuseAll), &[]);
        assert_eq!(status, 1, "{report:#}");
        assert_eq!(report["deliveries"]["expected"], 0);
        let refused = format!("publications refused: {PUBLICATIONS}");
        let faults = ["nothing was delivered in the measured part", refused.as_str()];
        assert_eq!(report["faults"], serde_json::json!(faults), "{report:#}");
    }

    #[test]
    fn a_publication_that_is_not_answered_is_told_and_expected() {
        let (status, report) = report(&TinyServer::start(Fault::Mute), &[]);
        assert_eq!(status, 1, "{report:#}");
        assert_eq!(report["faults"], serde_json::json!(["publications unanswered: 1"]));
        assert_eq!(report["deliveries"]["received"], all_deliveries());
    }

    #[test]
    fn an_idle_run_publishes_nothing() {
        let (status, report) = report(&TinyServer::start(Fault::None), &["--rate", "0"]);
        assert_eq!(status, 0);
        assert_eq!(report["scenario"], "idle");
        assert_eq!(report["deliveries"]["expected"], 0);
        assert!(report["server"]["rss_connected_bytes"].as_u64().unwrap() > 0);
    }

    #[test]
    fn what_makes_a_run_impossible_is_said_in_one_line() {
        let server = TinyServer::start(Fault::None);
        let refusing = TinyServer::start(Fault::RefuseSubscriptions);
        let runs = [
            (&server, ["--size", "20"], "--size 20 is too small: a measured message needs 54"),
            (&server, ["--api-key", "wrong"], "status 401: is --api-key right?"),
            (&server, ["--server-pid", "4294967295"], "is --server-pid right,"),
            (&refusing, ["--size", "128"], "subscribe refused: 103 permission denied"),
        ];
        for (server, more, message) in runs {
            let output = bench(server, &more);
            let errors = String::from_utf8_lossy(&output.stderr);
            assert_eq!(output.status.code(), Some(2), "{errors}");
            assert!(errors.contains(message), "{errors}");
        }
    }
}
