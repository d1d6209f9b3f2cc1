//! The scenarios about what a server bears (idle, storm, slow, sweep) against a tiny broker.
#![forbid(unsafe_code)]

#[cfg(test)]
mod tiny_server;

#[cfg(test)]
mod tests {
    use std::process::Command;

    use serde_json::Value;

    use crate::tiny_server::{API_KEY, Fault, TinyServer};

    /// Exit status and report of a run with these arguments.
    fn bench(server: &TinyServer, arguments: &str) -> (i32, Value) {
        watching(std::process::id(), server, arguments)
    }

    /// The same, while this process is watched as the server's.
    fn watching(pid: u32, server: &TinyServer, arguments: &str) -> (i32, Value) {
        let output = Command::new(env!("CARGO_BIN_EXE_fanwire-bench"))
            .args(arguments.split(' '))
            .args(["--json", "--quiet", "--url", &server.url(), "--settle", "0"])
            .args(["--drain-limit", "0.5", "--server-pid", &pid.to_string()])
            .output()
            .unwrap();
        let errors = String::from_utf8_lossy(&output.stderr);
        let report = serde_json::from_slice(&output.stdout);
        (output.status.code().unwrap(), report.unwrap_or_else(|_| panic!("no report: {errors}")))
    }

    fn figure(report: &Value, phase: Option<&str>, name: &str) -> f64 {
        let figures = report["figures"].as_array().unwrap();
        let mut figures = figures.iter().filter(|figure| figure["phase"].as_str() == phase);
        let figure = figures.find(|figure| figure["name"] == name);
        figure.unwrap_or_else(|| panic!("no {name}: {report:#}"))["value"].as_f64().unwrap()
    }

    #[test]
    fn idle_connections_cost_memory_and_answer_pings() {
        let server = TinyServer::start(Fault::None);
        let idle = "idle --connections 20 --topics 20 --processes 2 --seconds 0.4";
        let (status, report) = bench(&server, idle);
        assert_eq!(status, 0, "{report:#}");
        assert_eq!((report["counts"]["pings"].as_u64(), server.pongs()), (Some(20), 20));
        assert_eq!(report["counts"]["expected"], 0);
        assert!(figure(&report, None, "RSS connected") > 0.0);
        let peak = figure(&report, Some("connecting"), "RSS peak");
        let each = figure(&report, Some("connecting"), "peak RSS per connection");
        let before = figure(&report, None, "RSS before");
        assert!((each - (peak - before) / 20.0).abs() < 1.0, "{report:#}");
    }

    #[test]
    fn a_process_that_wakes_up_at_rest_is_found_out() {
        let restless = "while :; do sleep 0.01; done";
        let mut restless = Command::new("sh").args(["-c", restless]).spawn().unwrap();
        let server = TinyServer::start(Fault::None);
        let idle = "idle --connections 2 --topics 2 --seconds 0.6";
        let (status, report) = watching(restless.id(), &server, idle);
        restless.kill().unwrap();
        restless.wait().unwrap();
        assert_eq!(status, 0, "{report:#}");
        assert!(figure(&report, None, "server wake-ups per second") > 5.0, "{report:#}");
    }

    const STORM: &str = "storm --clients 20 --topics 4 --processes 2 --connecting 4 --away 0.3 \
                         --history-while-away 5 --warmup 0.2 --seconds 0.2";

    #[test]
    fn all_come_back_from_every_storm_with_all_that_they_missed() {
        for leaving in ["fin", "rst"] {
            let server = TinyServer::start(Fault::None);
            let more = format!("{STORM} --rounds 2 --leaving {leaving} --api-key {API_KEY}");
            let (status, report) = bench(&server, &more);
            assert_eq!(status, 0, "{report:#}");
            let counts = &report["counts"];
            assert_eq!(counts["expected"], counts["delivered"]);
            // 5 publications per topic while away, and each subscriber hears one topic.
            assert!(counts["other"]["publications recovered"].as_u64().unwrap() >= 2 * 20 * 5);
            assert_eq!(counts["other"]["reconnects"], 2 * 20);
            for times in ["connect", "resubscribe", "back"] {
                assert_eq!(report["latencies"][times]["count"], 2 * 20, "{times}");
            }
            let worst = figure(&report, None, "all back after");
            assert!(worst > 0.0);
            assert!(worst >= figure(&report, Some("storm 2"), "all back after"));
        }
    }

    #[test]
    fn a_past_that_the_server_has_lost_is_found() {
        let (status, report) = bench(&TinyServer::start(Fault::Forget), STORM);
        assert_eq!(status, 1, "{report:#}");
        assert!(report["counts"]["lost"].as_u64().unwrap() >= 20 * 5, "{report:#}");
        let faults = report["faults"].as_array().unwrap();
        assert!(faults.iter().any(|fault| fault == "recoveries refused by the server: 20"));
    }

    #[test]
    fn readers_get_everything_while_others_do_not_read() {
        let server = TinyServer::start(Fault::None);
        let (status, report) = bench(&server, &format!("{SLOW} --processes 2"));
        assert_eq!(status, 0, "{report:#}");
        // 90 publications, half of them for each reader.
        assert_eq!(report["counts"]["expected"], 12 * 45);
        assert_eq!(report["counts"]["delivered"], 12 * 45);
        assert_eq!(report["counts"]["other"]["stalled: still connected"], 6);
        assert_eq!(report["latencies"]["delivery, all read"]["count"], 12 * 20);
        assert_eq!(report["latencies"]["delivery, some stalled"]["count"], 12 * 20);
        assert!(figure(&report, Some("some stalled"), "latency p99") > 0.0);
    }

    const SLOW: &str = "slow --readers 12 --stalled 6 --topics 2 --rate 100 --size 100 \
                        --warmup 0.1 --seconds 0.8 --stall-after 0.4";

    #[test]
    fn what_a_reader_misses_or_gets_twice_is_a_fault_though_others_may_miss_all() {
        let faults = [
            (Fault::Lose, "deliveries lost: 1"),
            (Fault::Duplicate, "deliveries duplicated: 1"),
            (Fault::Reorder, "deliveries out of order: 1"),
            (Fault::Disconnect, "connections lost: 1"),
        ];
        for (fault, told) in faults {
            // Faults strike a topic's first subscriber: a reader, if they come in turn.
            let (status, report) =
                bench(&TinyServer::start(fault), &format!("{SLOW} --connecting 1"));
            assert_eq!(status, 1, "{report:#}");
            let faults = report["faults"].as_array().unwrap();
            assert!(faults.iter().any(|fault| fault == told), "{report:#}");
        }
    }

    #[test]
    fn what_comes_again_after_a_recovery_is_found() {
        let (status, report) = bench(&TinyServer::start(Fault::RecoverTwice), STORM);
        assert_eq!(status, 1, "{report:#}");
        // Each client had heard something before it left.
        assert_eq!(report["faults"], serde_json::json!(["deliveries duplicated: 20"]));
        assert_eq!(report["counts"]["lost"], 0);
    }

    #[test]
    fn all_of_a_storm_come_back_at_once_unless_told_otherwise() {
        let at_once = STORM.replace("--connecting 4 ", "");
        for (storm, connecting) in [(at_once.as_str(), 20), (STORM, 4)] {
            let (status, report) = bench(&TinyServer::start(Fault::None), storm);
            assert_eq!(status, 0, "{report:#}");
            assert_eq!(report["parameters"]["connecting"], connecting);
        }
    }

    #[test]
    fn a_sweep_ends_at_the_knee_or_says_that_it_is_higher() {
        let server = TinyServer::start(Fault::None);
        let sweep = "sweep --subscribers 4 --factor 2 --seconds 0.2 --warmup 0";
        let open = format!("{sweep} --from 50 --to 100 --p99-max 1h");
        let (status, report) = bench(&server, &open);
        assert_eq!(status, 0, "{report:#}");
        assert!((figure(&report, None, "knee") - 400.0).abs() < 1e-6);
        assert_eq!(report["counts"]["other"]["steps"], 2);
        let reasons = report["saturation"]["reasons"].as_array().unwrap();
        assert!(reasons.iter().any(|reason| reason == "the knee is at least 400 /s"));
        assert_eq!(report["latencies"]["50.0 /s good"]["count"], 4 * 10);

        let hopeless = format!("{sweep} --from 8 --attempts 1 --p99-max 1ns");
        let (status, report) = bench(&server, &hopeless);
        assert_eq!(status, 1, "{report:#}");
        assert_eq!(report["faults"], serde_json::json!(["no rate was good"]));
        assert_eq!(report["counts"]["other"]["steps"], 4);
    }

    #[test]
    fn a_step_that_fails_once_is_tried_again() {
        let server = TinyServer::start(Fault::Lose);
        let sweep = "sweep --subscribers 4 --from 50 --to 50 --seconds 0.2 --warmup 0 --p99-max 1h";
        let (status, report) = bench(&server, sweep);
        assert_eq!(status, 0, "{report:#}");
        assert_eq!(report["counts"]["lost"], 0);
    }
}
