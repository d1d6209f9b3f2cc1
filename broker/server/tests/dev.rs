//! `fanwire dev` as a newcomer meets it: what it prints works when it is pasted.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may panic")]

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Read};
use std::process::{Child, ChildStderr, ChildStdout, Command, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

/// A broker that ends with the test.
struct Dev {
    child: Child,
    /// What it printed after its start, line by line.
    printed: Vec<String>,
    _stdout: BufReader<ChildStdout>,
    stderr: ChildStderr,
}

impl Dev {
    fn start(arguments: &[&str]) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_fanwire"));
        command.env_clear().args(["dev", "--listen", "127.0.0.1:0", "--shards", "2"]);
        command.args(arguments).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        let mut printed = Vec::new();
        // The end of the page's script is the last line.
        while printed.last().is_none_or(|line: &String| line.trim() != "</script>") {
            let mut line = String::new();
            assert_ne!(stdout.read_line(&mut line).unwrap(), 0, "ended early: {printed:?}");
            printed.push(line.trim_end().to_owned());
        }
        let stderr = child.stderr.take().unwrap();
        Self { child, printed, _stdout: stdout, stderr }
    }

    /// The printed line that has this in it, as a command of the shell.
    fn line(&self, part: &str) -> Command {
        let line = self.printed.iter().find(|line| line.contains(part)).unwrap();
        let mut command = Command::new("sh");
        command.args(["-c", &format!("exec {}", line.trim())]);
        command
    }

    /// Stops the broker; its log, if that is JSON.
    fn stop(mut self) -> Vec<Value> {
        let pid = Pid::from_raw(self.child.id().try_into().unwrap());
        kill(pid, Signal::SIGTERM).unwrap();
        assert!(self.child.wait().unwrap().success());
        let mut log = String::new();
        self.stderr.read_to_string(&mut log).unwrap();
        log.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// What is printed after a name such as `address`.
    fn value(&self, name: &str) -> &str {
        let named = |line: &&String| line.trim_start().starts_with(&format!("{name} "));
        self.printed.iter().find(named).unwrap().split_whitespace().nth(1).unwrap()
    }
}

impl Drop for Dev {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn the_printed_lines_publish_and_subscribe() {
    let dev = Dev::start(&[]);
    let mut sub = dev.line(" sub ").stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut progress = BufReader::new(sub.stderr.take().unwrap());
    let mut line = String::new();
    progress.read_line(&mut line).unwrap();
    assert_eq!(line, "fanwire: subscribed to news\n");

    assert!(dev.line(" pub ").status().unwrap().success());
    let mut publications = BufReader::new(sub.stdout.take().unwrap());
    let mut line = String::new();
    publications.read_line(&mut line).unwrap();
    assert_eq!(line, "news\t{\"hello\":1}\n");
    sub.kill().unwrap();
    sub.wait().unwrap();
}

#[test]
fn the_given_key_is_the_one_that_works() {
    let dev = Dev::start(&["--api-key", "the-dev-key"]);
    let url = dev.value("clients");
    for (key, status) in [("the-dev-key", 0), ("another-key", 1)] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_fanwire"));
        let command = command.args(["pub", "--url", url, "--api-key", key, "news", "1"]);
        assert_eq!(command.output().unwrap().status.code(), Some(status), "{key}");
    }
}

#[test]
fn lines_of_the_log_about_one_connection_bear_one_thread_and_number() {
    let dev = Dev::start(&["--log-level", "debug", "--log-format", "json"]);
    // Enough for both shards.
    for _ in 0..8 {
        assert!(dev.line(" pub ").status().unwrap().success());
    }
    let mut command = Command::new(env!("CARGO_BIN_EXE_fanwire"));
    command.args(["pub", "--url", dev.value("clients"), "--api-key", "another-key", "news", "1"]);
    assert_eq!(command.output().unwrap().status.code(), Some(1));
    let log = dev.stop();
    let connections = |message: &str| -> BTreeSet<(&str, u64)> {
        let lines = log.iter().filter(|line| line["message"] == message);
        lines
            .map(|line| (line["threadName"].as_str().unwrap(), line["socket"].as_u64().unwrap()))
            .collect()
    };
    let accepted = connections("socket accepted");
    assert_eq!(accepted.len(), 9, "{log:#?}");
    for (message, count) in [("connection closes", 8), ("API request without a valid key", 1)] {
        let named = connections(message);
        assert_eq!(named.len(), count, "{log:#?}");
        assert!(named.is_subset(&accepted), "{log:#?}");
    }
}

#[test]
fn a_second_one_gets_an_admin_port_of_its_own_but_not_a_taken_address() {
    let (first, second) = (Dev::start(&[]), Dev::start(&[]));
    assert_ne!(first.value("admin"), second.value("admin"));

    let mut third = Command::new(env!("CARGO_BIN_EXE_fanwire"));
    let third =
        third.env_clear().args(["dev", "--listen", first.value("address")]).output().unwrap();
    assert_eq!(third.status.code(), Some(1));
    let stderr = String::from_utf8(third.stderr).unwrap();
    assert!(
        stderr.starts_with("fanwire: server.address ") && stderr.contains("in use"),
        "{stderr}"
    );
}
