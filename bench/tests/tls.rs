//! The whole program over TLS, against a tiny broker with TLS in front.
#![forbid(unsafe_code)]

// Each test program uses a part of it.
#[cfg(test)]
#[allow(dead_code)]
mod tiny_server;
#[cfg(test)]
mod tls_front;

#[cfg(test)]
mod tests {
    use std::process::{Command, Output};

    use serde_json::Value;

    use crate::tiny_server::{API_KEY, Fault, TinyServer};
    use crate::tls_front::TlsFront;

    fn bench(front: &TlsFront, arguments: &str) -> Output {
        let (scenario, more) = arguments.split_once(' ').unwrap();
        Command::new(env!("CARGO_BIN_EXE_fanwire-bench"))
            .args([scenario, "--json", "--seconds", "0.4", "--warmup", "0.1", "--settle", "0"])
            .args(["--drain-limit", "0.5", "--connecting", "4", "--url", &front.url()])
            .args(more.split(' '))
            .output()
            .unwrap()
    }

    fn clean(front: &TlsFront, arguments: &str) -> Value {
        let output = bench(front, arguments);
        let errors = String::from_utf8_lossy(&output.stderr);
        let report: Value = serde_json::from_slice(&output.stdout)
            .unwrap_or_else(|_| panic!("no report: {errors}"));
        assert_eq!(output.status.code(), Some(0), "{report:#}");
        report
    }

    const FANOUT: &str = "fanout --subscribers 20 --topics 3 --processes 2 --rate 100";

    #[test]
    fn subscribers_and_both_ways_to_publish_speak_tls() {
        let server = TinyServer::start(Fault::None);
        let front = TlsFront::start(server.address(), "fanout");
        let trusting = format!("{FANOUT} --ca {}", front.certificate.display());
        for more in ["", &format!(" --api-key {API_KEY} --publish-connections 2")] {
            let report = clean(&front, &format!("{trusting}{more}"));
            let way = if more.is_empty() { "websocket" } else { "http" };
            assert_eq!(report["parameters"]["publish over"], way);
            assert_eq!(report["parameters"]["TLS"], "certificate checked");
            assert_eq!(report["counts"]["accepted"], 50, "{report:#}");
            assert!(report["counts"]["delivered"].as_u64().unwrap() > 300, "{report:#}");
        }
        assert_eq!(server.pongs(), 40);
    }

    #[test]
    fn clients_that_come_back_resume_their_sessions() {
        let server = TinyServer::start(Fault::None);
        let front = TlsFront::start(server.address(), "storm");
        let storm = "storm --clients 20 --topics 3 --history-while-away 3 --away 0.2 --insecure";
        let report = clean(&front, storm);
        assert_eq!(report["parameters"]["TLS"], "any certificate accepted");
        // 20 clients come twice; the backend is tried out and publishes.
        let (resumed, all) = front.handshakes();
        assert!(all == 42 && resumed >= 20, "{resumed} of {all}");
    }

    #[test]
    fn what_is_wrong_with_tls_is_said_in_one_line() {
        let server = TinyServer::start(Fault::None);
        let front = TlsFront::start(server.address(), "errors");
        let untrusted = "the server's certificate is not trusted: --ca FILE or --insecure";
        let runs = [
            (String::new(), untrusted),
            (" --api-key the-key-of-the-test".to_owned(), untrusted),
            (" --ca /nowhere.pem".to_owned(), "/nowhere.pem: "),
            (format!(" --insecure --url {}", server.url()), "--insecure must be used with wss://"),
        ];
        for (more, message) in runs {
            let output = bench(&front, &format!("{FANOUT}{more}"));
            let errors = String::from_utf8_lossy(&output.stderr);
            assert_eq!(output.status.code(), Some(2), "{errors}");
            assert!(errors.contains(message), "{errors}");
        }
    }
}
