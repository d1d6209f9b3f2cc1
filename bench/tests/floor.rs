//! The bare loops under the very generator that measures them: a floor that lost something would be
//! no floor.
#![forbid(unsafe_code)]

#[cfg(test)]
mod tests {
    use std::io::{BufRead, BufReader, Read, Write};
    use std::net::TcpStream;
    use std::process::{Child, Command, Output, Stdio};

    use serde_json::Value;
    use tungstenite::{Message, WebSocket};

    /// A running bare loop.
    struct Floor {
        child: Child,
        url: String,
    }

    impl Floor {
        fn start(arguments: &[&str]) -> Self {
            let mut child = bench()
                .args(["floor-server", "--listen", "127.0.0.1:0"])
                .args(arguments)
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .spawn()
                .unwrap();
            let mut url = String::new();
            BufReader::new(child.stdout.take().unwrap()).read_line(&mut url).unwrap();
            Self { child, url: url.trim_end().to_owned() }
        }

        fn client(&self) -> WebSocket<TcpStream> {
            let stream = TcpStream::connect(self.url.split('/').nth(2).unwrap()).unwrap();
            tungstenite::client(self.url.as_str(), stream).unwrap().0
        }
    }

    impl Drop for Floor {
        fn drop(&mut self) {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }

    fn bench() -> Command {
        Command::new(env!("CARGO_BIN_EXE_fanwire-bench"))
    }

    fn fanout(floor: &Floor, more: &[&str]) -> Output {
        bench()
            .args(["fanout", "--json", "--subscribers", "30", "--topics", "3", "--url", &floor.url])
            .args(["--rate", "160", "--seconds", "0.4", "--warmup", "0.1", "--settle", "0"])
            .args(more)
            .output()
            .unwrap()
    }

    #[test]
    fn every_loop_that_delivers_delivers_all_once_and_in_order() {
        let loops: [&[&str]; 2] = [&["--loop", "fanout"], &["--loop", "fanout", "--coalesce"]];
        for arguments in loops {
            let floor = Floor::start(arguments);
            for more in [&[][..], &["--burst", "8"], &["--size", "4096"]] {
                let output = fanout(&floor, more);
                let report: Value = serde_json::from_slice(&output.stdout).unwrap();
                assert_eq!(output.status.code(), Some(0), "{arguments:?} {more:?}: {report:#}");
                assert_eq!(report["counts"]["delivered"], 80 * 10, "{report:#}");
            }
        }
    }

    #[test]
    fn inbound_answers_each_publication_and_delivers_none() {
        let floor = Floor::start(&["--loop", "inbound"]);
        let mut client = floor.client();
        let mut next = |text: &str| {
            client.send(Message::text(text)).unwrap();
            client.read().unwrap().into_text().unwrap().to_string()
        };
        assert!(next(r#"{"id":1,"connect":{}}"#).starts_with(r#"{"id":1,"connect":{"#));
        assert_eq!(next(r#"{"id":2,"subscribe":{"channel":"a0"}}"#), r#"{"id":2,"subscribe":{}}"#);
        for id in 3..9 {
            let publish = format!(r#"{{"id":{id},"publish":{{"channel":"a0","data":{{}}}}}}"#);
            assert_eq!(next(&publish), format!(r#"{{"id":{id},"publish":{{}}}}"#));
        }
    }

    #[test]
    fn what_is_not_understood_ends_the_connection() {
        let floor = Floor::start(&["--loop", "fanout"]);
        let mut client = floor.client();
        client.send(Message::text(r#"{"publish":{},"id":1}"#)).unwrap();
        assert!(client.read().is_err());
    }

    #[test]
    fn it_ends_with_its_standard_input() {
        let mut floor = Floor::start(&["--loop", "fanout"]);
        drop(floor.child.stdin.take());
        assert!(floor.child.wait().unwrap().success());
    }

    #[test]
    fn what_it_starts_ends_with_it() {
        // The shell is in the place of `floor`; `cat` would say what it hears as long as it lives.
        let script = format!(
            "exec 3<&0; '{}' tied $$ -- cat <&3 & wait",
            env!("CARGO_BIN_EXE_fanwire-bench")
        );
        let mut shell = Command::new("sh")
            .args(["-c", &script])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut input = shell.stdin.take().unwrap();
        let mut output = BufReader::new(shell.stdout.take().unwrap());
        input.write_all(b"started\n").unwrap();
        let mut heard = String::new();
        output.read_line(&mut heard).unwrap();
        shell.kill().unwrap();
        shell.wait().unwrap();
        // Nobody is left to take it, or to say it.
        let _ = input.write_all(b"survived\n");
        drop(input);
        output.read_to_string(&mut heard).unwrap();
        assert_eq!(heard, "started\n");
    }

    #[test]
    fn a_program_that_is_not_there_is_named_by_its_option() {
        let output = bench()
            .args(["floor", "--rounds", "1", "--seconds", "0.1", "--fanwire", "/nonexistent"])
            .args(["--pin", "0"])
            .output()
            .unwrap();
        let errors = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{errors}");
        assert!(errors.contains("--fanwire PATH"), "{errors}");
    }
}
