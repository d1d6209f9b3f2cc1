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

    fn figure(report: &Value, name: &str) -> f64 {
        let figures = report["figures"].as_array().unwrap();
        let figure = figures.iter().find(|figure| figure["name"] == name);
        figure.unwrap_or_else(|| panic!("no {name}: {report:#}"))["value"].as_f64().unwrap()
    }

    fn sum_of_samples(report: &Value, field: &str) -> u64 {
        let samples = report["series"]["samples"].as_array().unwrap();
        samples.iter().map(|sample| sample[field].as_u64().unwrap()).sum()
    }

    fn assert_clean(status: i32, report: &Value) {
        assert_eq!(status, 0, "{report:#}");
        assert_eq!(report["counts"]["accepted"], PUBLICATIONS);
        let deliveries = &report["counts"];
        assert_eq!(deliveries["expected"], all_deliveries());
        assert_eq!(deliveries["delivered"], all_deliveries());
        for fault in ["lost", "duplicated", "out_of_order", "misrouted"] {
            assert_eq!(deliveries[fault], 0);
        }
        let latency = &report["latencies"]["delivery"];
        assert!(latency["count"].as_u64().unwrap() < all_deliveries());
        assert!(latency["min_us"].as_f64().unwrap() > 0.0);
        assert_eq!(report["server"]["version"], "tiny 1");
        // The course shows what happened since the measured part began, which is after a tenth.
        let measured = PUBLICATIONS * 4 / 5..=PUBLICATIONS;
        assert!(measured.contains(&sum_of_samples(report, "published")), "{report:#}");
        let delivered = latency["count"].as_u64().unwrap()..=all_deliveries();
        assert!(delivered.contains(&sum_of_samples(report, "delivered")), "{report:#}");
    }

    #[test]
    fn a_correct_broker_is_found_clean_over_websocket() {
        let server = TinyServer::start(Fault::None);
        let (status, report) = report(&server, &[]);
        assert_clean(status, &report);
        assert_eq!(report["parameters"]["publish over"], "websocket");
        assert!(figure(&report, "CPU per delivery") > 0.0);
        assert_eq!(report["counts"]["pings"], SUBSCRIBERS);
        assert_eq!(server.pongs(), SUBSCRIBERS);
    }

    #[test]
    fn a_correct_broker_is_found_clean_over_http_and_several_connections() {
        let server = TinyServer::start(Fault::None);
        let more = ["--api-key", API_KEY, "--publish-connections", "2"];
        let (status, report) = report(&server, &more);
        assert_clean(status, &report);
        assert_eq!(report["parameters"]["publish over"], "http");
        assert!(!report["command"].to_string().contains(API_KEY));
    }

    #[test]
    fn a_result_in_files_can_be_compared_and_opened_by_a_browser() {
        let server = TinyServer::start(Fault::None);
        let directory = std::path::Path::new(env!("CARGO_TARGET_TMPDIR"));
        let path = |name: &str| directory.join(name).to_str().unwrap().to_owned();
        let (json, html, both) = (path("run.json"), path("run.html"), path("both.html"));
        let more = ["--json-file", &json, "--html", &html, "--label", "here", "--quiet"];
        let (status, report) = report(&server, &more);
        assert_eq!((status, report["label"].as_str()), (0, Some("here")));
        let page = std::fs::read_to_string(&html).unwrap();
        assert!(page.starts_with("<!DOCTYPE html>") && page.contains("<svg"), "{page}");

        let compare = |arguments: &[&str]| {
            let mut command = Command::new(env!("CARGO_BIN_EXE_fanwire-bench"));
            command.arg("compare").args(arguments).output().unwrap()
        };
        let output = compare(&[&json, &json, "--html", &both]);
        assert!(output.status.success(), "{output:?}");
        let table = String::from_utf8(output.stdout).unwrap();
        assert!(table.contains("here, 2 runs") && table.contains("latency p99"), "{table}");
        assert!(std::fs::read_to_string(&both).unwrap().contains("<svg"));

        let refused = compare(&[&html]);
        assert_eq!(refused.status.code(), Some(2));
        let errors = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert!(errors.contains("run.html is no result of this program"), "{errors}");
    }

    #[test]
    fn a_quiet_run_says_nothing_but_its_result() {
        let server = TinyServer::start(Fault::None);
        let quiet = bench(&server, &["--quiet"]);
        assert!(quiet.status.success() && quiet.stderr.is_empty(), "{quiet:?}");
        let errors = bench(&server, &[]).stderr;
        assert!(String::from_utf8_lossy(&errors).contains("measuring for 0.4 s"), "{errors:?}");
    }

    #[test]
    fn every_fault_of_a_broker_is_found() {
        let faults = [
            (Fault::Lose, "/counts/lost"),
            (Fault::Duplicate, "/counts/duplicated"),
            (Fault::Reorder, "/counts/out_of_order"),
            (Fault::Disconnect, "/counts/disconnected/closed by the server"),
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
            assert_eq!(report["counts"]["lost"], 0);
            let reasons = &report["counts"]["refused"];
            assert_eq!(reasons["111 too many requests"], 1, "{report:#}");
            assert!(report["counts"]["expected"].as_u64().unwrap() < all_deliveries());
        }
    }

    #[test]
    fn a_broker_that_refuses_everything_is_not_clean() {
        let (status, report) = report(&TinyServer::start(Fault::RefuseAll), &[]);
        assert_eq!(status, 1, "{report:#}");
        assert_eq!(report["counts"]["expected"], 0);
        let refused = format!("publications refused: {PUBLICATIONS}");
        let faults = ["nothing was delivered in the measured part", refused.as_str()];
        assert_eq!(report["faults"], serde_json::json!(faults), "{report:#}");
    }

    #[test]
    fn a_publication_that_is_not_answered_is_told_and_expected() {
        let (status, report) = report(&TinyServer::start(Fault::Mute), &[]);
        assert_eq!(status, 1, "{report:#}");
        assert_eq!(report["faults"], serde_json::json!(["publications unanswered: 1"]));
        assert_eq!(report["counts"]["delivered"], all_deliveries());
    }

    #[test]
    fn what_makes_a_run_impossible_is_said_in_one_line() {
        let server = TinyServer::start(Fault::None);
        let refusing = TinyServer::start(Fault::RefuseSubscriptions);
        let runs = [
            (&server, ["--size", "20"], "--size 20 is too small: a measured message needs 62"),
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
