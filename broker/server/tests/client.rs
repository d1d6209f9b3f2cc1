//! The command-line clients against a scripted broker: what they send, print, and how they end.
//! What is lost and recovered is a real broker's, with a wire to it that can be cut.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may panic")]

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::process::{Child, ChildStderr, ChildStdout, Command, Stdio};
use std::thread;

use tungstenite::protocol::CloseFrame;
use tungstenite::{Message, WebSocket};

const CONNECTED: &str = r#"{"id":1,"connect":{"client":"c","version":"1","ping":25,"pong":true}}"#;
const SUBSCRIBED: &str = r#"{"id":2,"subscribe":{}}"#;

type Socket = WebSocket<TcpStream>;

/// Runs the program against a listener, whose port stands for `{port}` in the arguments.
fn start(listener: &TcpListener, arguments: &[&str]) -> Child {
    start_in(listener, arguments, &[])
}

fn start_in(listener: &TcpListener, arguments: &[&str], environment: &[(&str, &str)]) -> Child {
    let port = listener.local_addr().unwrap().port();
    let url = format!("ws://127.0.0.1:{port}/connection/websocket");
    let (command, rest) = arguments.split_first().unwrap();
    let mut program = Command::new(env!("CARGO_BIN_EXE_fanwire"));
    program.env_clear().envs(environment.iter().copied()).args([command, "--url", &url]).args(rest);
    program.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

fn ended(child: Child) -> (Option<i32>, String, String) {
    let output = child.wait_with_output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code(), text(output.stdout), text(output.stderr))
}

fn accept(listener: &TcpListener) -> Socket {
    tungstenite::accept(listener.accept().unwrap().0).unwrap()
}

fn receive(socket: &mut Socket) -> Vec<String> {
    let text = socket.read().unwrap().into_text().unwrap();
    text.lines().map(str::to_owned).collect()
}

fn send(socket: &mut Socket, lines: &[&str]) {
    socket.send(Message::text(lines.join("\n"))).unwrap();
}

fn close(mut socket: Socket, code: u16, reason: &'static str) {
    socket.close(Some(CloseFrame { code: code.into(), reason: reason.into() })).unwrap();
    while socket.read().is_ok() {}
}

/// Accepts a `fanwire sub news` and admits it.
fn accept_subscriber(listener: &TcpListener) -> Socket {
    let mut socket = accept(listener);
    let lines = receive(&mut socket);
    assert!(lines[0].starts_with(r#"{"id":1,"connect":{"#), "{lines:?}");
    assert_eq!(lines[1..], [r#"{"id":2,"subscribe":{"channel":"news","recoverable":true}}"#]);
    send(&mut socket, &[CONNECTED, SUBSCRIBED]);
    socket
}

fn listener() -> TcpListener {
    TcpListener::bind("127.0.0.1:0").unwrap()
}

#[test]
fn a_token_comes_from_the_flag_or_else_from_the_environment() {
    let environment = [("FANWIRE_TOKEN", " from.the.environment\n")];
    let flag = ["--token", "from.the.flag"];
    for (environment, flag, token) in [
        (&[][..], &[][..], None),
        (&[("FANWIRE_TOKEN", "")], &[], None),
        (&environment, &[], Some("from.the.environment")),
        (&environment, &flag, Some("from.the.flag")),
    ] {
        for command in [&["pub", "news", "1"][..], &["sub", "news"]] {
            let listener = listener();
            let child = start_in(&listener, &[command, flag].concat(), environment);
            let mut socket = accept(&listener);
            let line = receive(&mut socket).remove(0);
            match token {
                Some(token) => assert!(line.contains(&format!(r#""token":"{token}""#)), "{line}"),
                None => assert!(!line.contains("token"), "{line}"),
            }
            close(socket, 3500, "invalid token");
            let (status, stdout, stderr) = ended(child);
            assert_eq!((status, stdout.as_str()), (Some(1), ""));
            assert!(stderr.contains("3500") && stderr.contains("[client.token]"), "{stderr}");
            assert!(!stderr.contains("from.the"), "{stderr}");
        }
    }
}

#[test]
fn sub_shows_the_token_of_a_topic() {
    let listener = listener();
    let child = start(&listener, &["sub", "--topic-token", "a.b.c", "$news"]);
    let mut socket = accept(&listener);
    let expected = r#"{"id":2,"subscribe":{"channel":"$news","token":"a.b.c","recoverable":true}}"#;
    assert_eq!(receive(&mut socket)[1..], [expected]);
    let refused = r#"{"id":2,"error":{"code":109,"message":"token expired"}}"#;
    send(&mut socket, &[CONNECTED, refused]);
    let (status, _, stderr) = ended(child);
    assert_eq!(status, Some(1));
    assert!(stderr.contains("109 token expired") && stderr.contains("fanwire token"), "{stderr}");
}

#[test]
fn sub_prints_publications_answers_pings_and_counts() {
    let listener = listener();
    let child = start(&listener, &["sub", "--count", "2", "news"]);
    let mut socket = accept_subscriber(&listener);
    let first = r#"{"push":{"channel":"news","pub":{"data":{"b": 1.0}}}}"#;
    send(&mut socket, &[first, "{}"]);
    assert_eq!(receive(&mut socket), ["{}"]);
    send(&mut socket, &[r#"{"push":{"channel":"news","pub":{"data":"two","offset":2}}}"#]);
    let (status, stdout, stderr) = ended(child);
    assert_eq!(stdout, "news\t{\"b\": 1.0}\nnews\t\"two\"\n");
    assert_eq!(stderr, "fanwire: subscribed to news\n");
    assert_eq!(status, Some(0));
}

#[test]
fn sub_with_json_prints_the_whole_push() {
    let listener = listener();
    let child = start(&listener, &["sub", "--json", "--count", "1", "news"]);
    let mut socket = accept_subscriber(&listener);
    send(&mut socket, &[r#"{"push":{"channel":"news","pub":{"data":1,"offset":7}}}"#]);
    let (_, stdout, _) = ended(child);
    assert_eq!(stdout, "{\"channel\":\"news\",\"pub\":{\"data\":1,\"offset\":7}}\n");
}

#[test]
fn sub_connects_again_after_a_shutdown() {
    let listener = listener();
    let child = start(&listener, &["sub", "--count", "1", "news"]);
    close(accept_subscriber(&listener), 3001, "shutdown");
    let mut socket = accept_subscriber(&listener);
    send(&mut socket, &[r#"{"push":{"channel":"news","pub":{"data":1}}}"#]);
    let (status, stdout, stderr) = ended(child);
    assert_eq!((status, stdout.as_str()), (Some(0), "news\t1\n"));
    assert!(stderr.contains("closed the connection: 3001 shutdown; connecting again"), "{stderr}");
}

#[test]
fn sub_ends_when_the_code_is_final_or_once_is_given() {
    for (code, arguments) in [(3503, &["sub", "news"][..]), (3001, &["sub", "--once", "news"])] {
        let listener = listener();
        let child = start(&listener, arguments);
        close(accept_subscriber(&listener), code, "because");
        let (status, _, stderr) = ended(child);
        assert_eq!(status, Some(1));
        let cause = format!("fanwire: the broker closed the connection: {code} because\n");
        assert!(stderr.ends_with(&cause), "{stderr}");
    }
}

#[test]
fn sub_says_why_a_topic_was_refused() {
    let listener = listener();
    let child = start(&listener, &["sub", "news"]);
    let mut socket = accept(&listener);
    receive(&mut socket);
    let refused = r#"{"id":2,"error":{"code":103,"message":"permission denied"}}"#;
    send(&mut socket, &[CONNECTED, refused]);
    let (status, _, stderr) = ended(child);
    assert_eq!(status, Some(1));
    let cause = "fanwire: the broker refused to subscribe to news: 103 permission denied\n";
    assert!(stderr.starts_with(cause) && stderr.contains("allow_subscribe_for"), "{stderr}");

    let child = start(&listener, &["sub", "$news"]);
    let mut socket = accept(&listener);
    receive(&mut socket);
    send(&mut socket, &[CONNECTED, refused]);
    let (_, _, stderr) = ended(child);
    assert!(stderr.contains("--topic-token"), "{stderr}");
}

#[test]
fn sub_hears_a_topic_that_its_token_has_subscribed_it_to() {
    let listener = listener();
    let child = start(&listener, &["sub", "--count", "1", "--token", "a.b.c", "news"]);
    let mut socket = accept(&listener);
    receive(&mut socket);
    let already = r#"{"id":2,"error":{"code":105,"message":"already subscribed"}}"#;
    send(&mut socket, &[CONNECTED, already]);
    send(&mut socket, &[r#"{"push":{"channel":"news","pub":{"data":1}}}"#]);
    let (status, stdout, stderr) = ended(child);
    assert_eq!((status, stdout.as_str()), (Some(0), "news\t1\n"));
    assert_eq!(stderr, "fanwire: subscribed to news\n");
}

#[test]
fn sub_subscribes_again_when_asked_to() {
    let listener = listener();
    let child = start(&listener, &["sub", "--count", "1", "news"]);
    let mut socket = accept_subscriber(&listener);
    send(&mut socket, &[r#"{"push":{"channel":"news","unsubscribe":{"code":2500}}}"#]);
    assert_eq!(
        receive(&mut socket),
        [r#"{"id":2,"subscribe":{"channel":"news","recoverable":true}}"#]
    );
    send(&mut socket, &[SUBSCRIBED, r#"{"push":{"channel":"news","pub":{"data":1}}}"#]);
    assert_eq!(ended(child).0, Some(0));
}

#[test]
fn pub_sends_json_as_it_is_and_text_as_a_string() {
    for (data, json) in [(r#"{"a": 1}"#, r#"{"a": 1}"#), ("[1,\n2]", "[1, 2]"), ("hi", "\"hi\"")] {
        let listener = listener();
        let child = start(&listener, &["pub", "news", data]);
        let mut socket = accept(&listener);
        let expected = format!(r#"{{"id":2,"publish":{{"channel":"news","data":{json}}}}}"#);
        assert_eq!(receive(&mut socket)[1..], [expected]);
        send(&mut socket, &[CONNECTED, r#"{"id":2,"publish":{}}"#]);
        assert_eq!(ended(child), (Some(0), String::new(), String::new()));
    }
}

#[test]
fn pub_says_which_options_allow_a_publication() {
    let listener = listener();
    let child = start(&listener, &["pub", "news", "1"]);
    let mut socket = accept(&listener);
    receive(&mut socket);
    let refused = r#"{"id":2,"error":{"code":103,"message":"permission denied"}}"#;
    send(&mut socket, &[CONNECTED, refused]);
    let (status, _, stderr) = ended(child);
    assert_eq!(status, Some(1));
    let cause = "fanwire: the broker refused to publish: 103 permission denied\n";
    assert!(stderr.starts_with(cause) && stderr.contains("allow_publish_for"), "{stderr}");
}

#[test]
fn pub_says_what_a_broker_without_anonymous_clients_needs() {
    let listener = listener();
    let child = start(&listener, &["pub", "news", "1"]);
    let mut socket = accept(&listener);
    receive(&mut socket);
    close(socket, 3501, "bad request");
    let (status, _, stderr) = ended(child);
    assert_eq!(status, Some(1));
    assert!(stderr.contains("3501 bad request\n") && stderr.contains("--api-key"), "{stderr}");
}

/// Answers one HTTP request and gives it back: its head and its body.
fn answer(listener: &TcpListener, response: &str) -> (String, String) {
    let mut stream = listener.accept().unwrap().0;
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        assert_ne!(reader.read_line(&mut head).unwrap(), 0);
    }
    let head = head.to_lowercase();
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap();
    let mut body = vec![0; length.parse().unwrap()];
    reader.read_exact(&mut body).unwrap();
    stream.write_all(response.as_bytes()).unwrap();
    (head, String::from_utf8(body).unwrap())
}

#[test]
fn pub_with_a_key_publishes_by_http() {
    let listener = listener();
    let child = start(&listener, &["pub", "--api-key", "the-key", "news", "{\"a\":1}"]);
    let result = "HTTP/1.1 200 OK\r\ncontent-length: 13\r\n\r\n{\"result\":{}}";
    let (head, body) = answer(&listener, result);
    assert!(head.starts_with("post /api/publish http/1.1\r\n"), "{head}");
    assert!(head.contains("x-api-key: the-key\r\n"), "{head}");
    assert_eq!(body, r#"{"channel":"news","data":{"a":1}}"#);
    assert_eq!(ended(child), (Some(0), String::new(), String::new()));
}

#[test]
fn pub_says_why_the_api_refused() {
    let unknown = r#"{"error":{"code":102,"message":"unknown channel"}}"#;
    let length = unknown.len();
    let unknown = format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n{unknown}");
    let unauthorized = "HTTP/1.1 401 Unauthorized\r\ncontent-length: 0\r\n\r\n".to_owned();
    for (response, cause, remedy) in [
        (unknown, "refused to publish: 102 unknown channel", "[namespaces]"),
        (unauthorized, "HTTP status 401", "check --api-key"),
    ] {
        let listener = listener();
        let child = start(&listener, &["pub", "--api-key", "the-key", "x:news", "1"]);
        let server = thread::spawn(move || answer(&listener, &response));
        let (status, _, stderr) = ended(child);
        server.join().unwrap();
        assert_eq!(status, Some(1));
        assert!(stderr.contains(cause) && stderr.contains(remedy), "{stderr}");
        assert!(!stderr.contains("the-key"), "{stderr}");
    }
}

const SECRET: (&str, &str) =
    ("FANWIRE_CLIENT_TOKEN_HMAC_SECRET_KEY", "hidden-secret-of-32-characters-ok");

/// A `fanwire dev` that ends with the test, and a wire to it that can be cut.
struct Broker {
    child: Child,
    _stdout: BufReader<ChildStdout>,
    address: String,
    /// Where the wire begins. Who connects waits until the wire is there.
    listener: TcpListener,
}

impl Broker {
    fn start() -> Self {
        let mut program = Command::new(env!("CARGO_BIN_EXE_fanwire"));
        program.args(["dev", "--listen", "127.0.0.1:0", "--shards", "1"]).env_clear();
        program.args(["--set", "namespaces.demo.history_size=3"]).envs([SECRET]);
        let mut child = program.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        while !line.starts_with("  address ") {
            line.clear();
            assert_ne!(stdout.read_line(&mut line).unwrap(), 0);
        }
        let address = line.split_whitespace().nth(1).unwrap().to_owned();
        Self { child, _stdout: stdout, address, listener: listener() }
    }

    /// Lets the next one who connects through.
    fn wire(&self) -> Wire {
        let client = self.listener.accept().unwrap().0;
        let broker = TcpStream::connect(&self.address).unwrap();
        for (from, to) in [(&client, &broker), (&broker, &client)] {
            let (mut from, mut to) = (from.try_clone().unwrap(), to.try_clone().unwrap());
            // It ends with the wire.
            thread::spawn(move || io::copy(&mut from, &mut to));
        }
        Wire { client, broker }
    }

    fn publish(&self, topic: &str, data: impl IntoIterator<Item = u32>) {
        for data in data {
            let mut program = Command::new(env!("CARGO_BIN_EXE_fanwire"));
            program.args(["pub", "--url", &format!("ws://{}", self.address), topic]).env_clear();
            assert!(program.arg(data.to_string()).status().unwrap().success());
        }
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

struct Wire {
    client: TcpStream,
    broker: TcpStream,
}

impl Wire {
    fn cut(self) {
        for end in [self.client, self.broker] {
            let _ = end.shutdown(Shutdown::Both);
        }
    }
}

/// A `fanwire sub` and what it says.
struct Sub {
    child: Child,
    stdout: BufReader<ChildStdout>,
    stderr: BufReader<ChildStderr>,
}

impl Sub {
    fn start(broker: &Broker, arguments: &[&str]) -> Self {
        let mut child = start(&broker.listener, &[&["sub"], arguments].concat());
        let stdout = BufReader::new(child.stdout.take().unwrap());
        let stderr = BufReader::new(child.stderr.take().unwrap());
        Self { child, stdout, stderr }
    }

    #[track_caller]
    fn prints(&mut self, lines: &[&str]) {
        for expected in lines {
            let mut line = String::new();
            self.stdout.read_line(&mut line).unwrap();
            assert_eq!(line.trim_end(), *expected);
        }
    }

    /// What it notes up to this line.
    #[track_caller]
    fn notes(&mut self, last: &str) -> String {
        let mut notes = String::new();
        while notes.lines().last() != Some(last) {
            assert_ne!(self.stderr.read_line(&mut notes).unwrap(), 0, "{notes}");
        }
        notes
    }

    /// It has ended by itself and said no more than this.
    #[track_caller]
    fn ends(mut self, notes: &str) {
        assert!(self.child.wait().unwrap().success());
        let (mut stdout, mut stderr) = (String::new(), String::new());
        self.stdout.read_to_string(&mut stdout).unwrap();
        self.stderr.read_to_string(&mut stderr).unwrap();
        assert_eq!((stdout.as_str(), stderr.as_str()), ("", notes));
    }
}

impl Drop for Sub {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn sub_prints_once_and_in_order_what_was_published_while_it_was_away() {
    let broker = Broker::start();
    let mut sub = Sub::start(&broker, &["--count", "10", "demo:a", "demo:b"]);
    let mut wire = broker.wire();
    sub.notes("fanwire: subscribed to demo:b");
    broker.publish("demo:a", [1, 2]);
    sub.prints(&["demo:a\t1", "demo:a\t2"]);
    for first in [3, 6] {
        wire.cut();
        broker.publish("demo:a", first..first + 2);
        // The first of this history, too.
        broker.publish("demo:b", [first]);
        wire = broker.wire();
        let line = |topic, data| format!("demo:{topic}\t{data}");
        assert!(!sub.notes("fanwire: subscribed to demo:b").contains("missed"));
        broker.publish("demo:a", [first + 2]);
        sub.prints(&[&line("a", first), &line("a", first + 1), &line("b", first)]);
        sub.prints(&[&line("a", first + 2)]);
    }
    sub.ends("");
}

#[test]
fn sub_prints_no_more_than_its_count_of_what_was_recovered() {
    let broker = Broker::start();
    let mut sub = Sub::start(&broker, &["--json", "--count", "2", "demo:a"]);
    let wire = broker.wire();
    sub.notes("fanwire: subscribed to demo:a");
    wire.cut();
    broker.publish("demo:a", 1..4);
    let _wire = broker.wire();
    sub.notes("fanwire: subscribed to demo:a");
    broker.publish("demo:a", 4..6);
    for offset in [1, 2] {
        let mut line = String::new();
        sub.stdout.read_line(&mut line).unwrap();
        let push: serde_json::Value = serde_json::from_str(&line).unwrap();
        assert_eq!(push["channel"], "demo:a");
        assert_eq!(
            (&push["pub"]["data"], &push["pub"]["offset"]),
            (&offset.into(), &offset.into())
        );
    }
    sub.ends("");
}

#[test]
fn sub_says_when_the_history_has_forgotten_what_it_missed() {
    let broker = Broker::start();
    let mut sub = Sub::start(&broker, &["--count", "4", "demo:a"]);
    let wire = broker.wire();
    sub.notes("fanwire: subscribed to demo:a");
    broker.publish("demo:a", [1]);
    sub.prints(&["demo:a\t1"]);
    wire.cut();
    broker.publish("demo:a", 2..7);
    let wire = broker.wire();
    sub.notes("fanwire: subscribed to demo:a");
    broker.publish("demo:a", [7]);
    sub.prints(&["demo:a\t7"]);
    // From here on nothing is missed.
    wire.cut();
    broker.publish("demo:a", [8]);
    let _wire = broker.wire();
    let notes = sub.notes("fanwire: subscribed to demo:a");
    assert!(notes.starts_with("fanwire: some publications of demo:a were missed\n"), "{notes}");
    assert_eq!(notes.matches("missed").count(), 1, "{notes}");
    broker.publish("demo:a", [9]);
    sub.prints(&["demo:a\t8", "demo:a\t9"]);
    sub.ends("");
}

#[test]
fn sub_recovers_the_topics_that_its_token_brings() {
    let broker = Broker::start();
    let mut program = Command::new(env!("CARGO_BIN_EXE_fanwire"));
    program.args(["token", "--user", "42", "--channels", "demo:a,demo:b"]).env_clear();
    let output = program.envs([SECRET]).output().unwrap();
    let token = String::from_utf8(output.stdout).unwrap();
    let mut sub = Sub::start(&broker, &["--token", token.trim(), "--count", "4", "demo:a"]);
    let wire = broker.wire();
    sub.notes("fanwire: subscribed to demo:a");
    broker.publish("demo:a", [1]);
    sub.prints(&["demo:a\t1"]);
    wire.cut();
    broker.publish("demo:a", [2]);
    broker.publish("demo:b", [3]);
    let _wire = broker.wire();
    assert!(!sub.notes("fanwire: subscribed to demo:a").contains("missed"));
    broker.publish("demo:b", [4]);
    sub.prints(&["demo:a\t2", "demo:b\t3", "demo:b\t4"]);
    sub.ends("");
}
