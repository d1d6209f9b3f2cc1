//! The command-line clients against a scripted broker: what they send, print, and how they end.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may panic")]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
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
    assert_eq!(lines[1..], [r#"{"id":2,"subscribe":{"channel":"news"}}"#]);
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
    let expected = r#"{"id":2,"subscribe":{"channel":"$news","token":"a.b.c"}}"#;
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
    assert_eq!(receive(&mut socket), [r#"{"id":2,"subscribe":{"channel":"news"}}"#]);
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
