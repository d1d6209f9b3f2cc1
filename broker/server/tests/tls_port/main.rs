//! A broker whose public port speaks TLS: everything works inside it, and who breaks it off, or
//! never spoke it, loses its own connection and no other.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may panic")]

mod streams;

use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Output, Stdio};
use std::sync::Arc;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use rcgen::{CertifiedKey, generate_simple_self_signed};
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::CertificateDer;
use rustls::{
    ClientConfig, ClientConnection, HandshakeKind, ProtocolVersion, RootCertStore, StreamOwned,
    SupportedProtocolVersion, version,
};
use tungstenite::{Message, WebSocket};

use streams::{Counting, Dripping};

const API_KEY: &str = "the-api-key";
/// Turns a hang into a failure; no test measures it.
const LIMIT: Duration = Duration::from_secs(30);
const APPLICATION_DATA: u8 = 23;

/// A broker that ends with the test.
struct Broker {
    child: Child,
    address: SocketAddr,
    admin: SocketAddr,
    certificate: CertificateDer<'static>,
    certificate_file: PathBuf,
    _stdout: BufReader<ChildStdout>,
}

impl Broker {
    fn start(name: &str, settings: &[&str]) -> Self {
        let (certificate, certificate_file, key_file) = identity(name);
        let mut command = Command::new(env!("CARGO_BIN_EXE_fanwire"));
        command.env_clear().args(["dev", "--listen", "127.0.0.1:0", "--shards", "1"]);
        command.args(["--api-key", API_KEY]);
        command.arg("--tls-cert").arg(&certificate_file).arg("--tls-key").arg(&key_file);
        command.args(settings.iter().flat_map(|setting| ["--set", setting]));
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        let mut address_of = |name: &str| {
            let mut line = String::new();
            while !line.trim_start().starts_with(name) {
                line.clear();
                assert_ne!(stdout.read_line(&mut line).unwrap(), 0, "{name} is not told");
            }
            line.split_whitespace().nth(1).unwrap().parse().unwrap()
        };
        let (address, admin) = (address_of("address"), address_of("admin"));
        Self { child, address, admin, certificate, certificate_file, _stdout: stdout }
    }

    fn tcp(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address).unwrap();
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(LIMIT)).unwrap();
        stream.set_write_timeout(Some(LIMIT)).unwrap();
        stream
    }

    fn client_config(&self, versions: &[&'static SupportedProtocolVersion]) -> ClientConfig {
        let mut roots = RootCertStore::empty();
        roots.add(self.certificate.clone()).unwrap();
        ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_protocol_versions(versions)
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth()
    }

    fn connect_with(&self, config: &Arc<ClientConfig>) -> Tls<TcpStream> {
        self.connect_over(config, self.tcp())
    }

    fn connect_over<S: Read + Write>(&self, config: &Arc<ClientConfig>, below: S) -> Tls<S> {
        let name = self.address.ip().to_string().try_into().unwrap();
        StreamOwned::new(ClientConnection::new(Arc::clone(config), name).unwrap(), below)
    }

    fn connect(&self) -> Tls<TcpStream> {
        self.connect_with(&Arc::new(self.client_config(&[&version::TLS13])))
    }

    /// A WebSocket whose connect command was answered.
    fn websocket_over<S: Read + Write>(&self, below: S) -> WebSocket<Tls<S>> {
        let config = Arc::new(self.client_config(&[&version::TLS13]));
        let stream = self.connect_over(&config, below);
        let url = format!("wss://{}/connection/websocket", self.address);
        let (mut socket, _) = tungstenite::client(url, stream).unwrap();
        let reply = ask(&mut socket, r#"{"id":1,"connect":{}}"#);
        assert!(reply.starts_with(r#"{"id":1,"connect":{"#), "{reply}");
        socket
    }

    fn websocket(&self) -> WebSocket<Tls<TcpStream>> {
        self.websocket_over(self.tcp())
    }

    /// A subscriber of `news`.
    fn subscriber_over<S: Read + Write>(&self, below: S) -> WebSocket<Tls<S>> {
        let mut socket = self.websocket_over(below);
        ask(&mut socket, r#"{"id":2,"subscribe":{"channel":"news"}}"#);
        socket
    }

    /// The body that answers a call.
    fn call(&self, method: &str, body: &str) -> String {
        let mut stream = self.connect();
        stream.write_all(request(method, body, "connection: close\r\n").as_bytes()).unwrap();
        let mut answer = String::new();
        // Without a goodbye of the broker this is an error.
        stream.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
        answer.split_once("\r\n\r\n").unwrap().1.to_owned()
    }

    fn metric(&self, name: &str) -> u64 {
        let mut stream = TcpStream::connect(self.admin).unwrap();
        stream.write_all(b"GET /metrics HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").unwrap();
        let mut page = String::new();
        stream.read_to_string(&mut page).unwrap();
        let value = |line: &str| line.strip_prefix(name)?.trim().parse().ok();
        page.lines().find_map(value).unwrap_or_else(|| panic!("{name} in {page}"))
    }

    /// Metrics are left every 250 ms.
    fn await_metric(&self, name: &str, value: u64) {
        let began = std::time::Instant::now();
        while self.metric(name) != value {
            assert!(began.elapsed() < LIMIT, "{name} is {} for ever", self.metric(name));
            std::thread::yield_now();
        }
    }

    /// Others are served as if nothing had happened.
    fn assert_well(&self) {
        assert_eq!(self.call("publish", r#"{"channel":"other","data":1}"#), r#"{"result":{}}"#);
    }

    fn run(&self, arguments: &[&str]) -> Child {
        let (command, rest) = arguments.split_first().unwrap();
        let mut program = Command::new(env!("CARGO_BIN_EXE_fanwire"));
        program.env_clear().env("SSL_CERT_FILE", &self.certificate_file);
        let url = format!("wss://{}", self.address);
        program.args([command, "--url", &url]).args(rest);
        program.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    }

    /// Stops the broker as an operator would.
    fn stop(self) {
        self.begin_stop();
        self.await_stop();
    }

    fn begin_stop(&self) {
        kill(Pid::from_raw(self.child.id().try_into().unwrap()), Signal::SIGTERM).unwrap();
    }

    fn await_stop(mut self) {
        assert!(self.child.wait().unwrap().success());
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

type Tls<S> = StreamOwned<ClientConnection, S>;

/// A certificate for 127.0.0.1, its file, and that of its key.
fn identity(name: &str) -> (CertificateDer<'static>, PathBuf, PathBuf) {
    let names = ["127.0.0.1".to_owned()];
    let CertifiedKey { cert, signing_key } = generate_simple_self_signed(names).unwrap();
    let file = |part: &str, text: String| {
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("port-{name}-{part}.pem"));
        std::fs::write(&path, text).unwrap();
        path
    };
    (cert.der().clone(), file("cert", cert.pem()), file("key", signing_key.serialize_pem()))
}

fn request(method: &str, body: &str, headers: &str) -> String {
    format!(
        "POST /api/{method} HTTP/1.1\r\nhost: x\r\nx-api-key: {API_KEY}\r\n{headers}\
         content-length: {}\r\n\r\n{body}",
        body.len()
    )
}

fn ask<S: Read + Write>(socket: &mut WebSocket<S>, command: &str) -> String {
    socket.send(Message::text(command)).unwrap();
    socket.read().unwrap().into_text().unwrap().to_string()
}

/// Reads publications until so many have come, and returns the data of each.
fn publications<S: Read + Write>(socket: &mut WebSocket<S>, count: usize) -> Vec<String> {
    let mut data = Vec::new();
    while data.len() < count {
        let text = socket.read().unwrap().into_text().unwrap();
        data.extend(text.lines().map(|line| {
            let push: serde_json::Value = serde_json::from_str(line).unwrap();
            push["push"]["pub"]["data"].to_string()
        }));
    }
    data
}

fn finished(child: Child) -> (Option<i32>, String, String) {
    let Output { status, stdout, stderr } = child.wait_with_output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (status.code(), text(stdout), text(stderr))
}

/// All that comes until the broker closes, however it does.
fn rest(mut stream: &TcpStream) -> Vec<u8> {
    let mut bytes = Vec::new();
    match stream.read_to_end(&mut bytes) {
        Err(error) if error.kind() != ErrorKind::ConnectionReset => panic!("{error}"),
        _ => bytes,
    }
}

/// What a client says first.
fn client_hello(broker: &Broker) -> Vec<u8> {
    let config = Arc::new(broker.client_config(&[&version::TLS13]));
    let mut hello = Vec::new();
    broker.connect_over(&config, broker.tcp()).conn.write_tls(&mut hello).unwrap();
    hello
}

#[test]
fn the_command_line_clients_publish_and_subscribe() {
    let broker = Broker::start("clients", &[]);
    let mut subscriber = broker.run(&["sub", "--count", "2", "news"]);
    let mut stderr = BufReader::new(subscriber.stderr.take().unwrap());
    // It says so on stderr when it is subscribed.
    let mut line = String::new();
    stderr.read_line(&mut line).unwrap();
    for arguments in
        [&["pub", "news", "1"][..], &["pub", "--api-key", API_KEY, "news", r#"{"by":"https"}"#]]
    {
        assert_eq!(finished(broker.run(arguments)), (Some(0), String::new(), String::new()));
    }
    let output = subscriber.wait_with_output().unwrap();
    let printed = String::from_utf8(output.stdout).unwrap();
    assert_eq!(printed, "news\t1\nnews\t{\"by\":\"https\"}\n", "{line}");
    broker.stop();
}

#[test]
fn both_versions_are_spoken_and_sessions_are_resumed() {
    let broker = Broker::start("versions", &[]);
    for (offered, spoken) in
        [(&version::TLS12, ProtocolVersion::TLSv1_2), (&version::TLS13, ProtocolVersion::TLSv1_3)]
    {
        let mut config = broker.client_config(&[offered]);
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        let config = Arc::new(config);
        for kind in [HandshakeKind::Full, HandshakeKind::Resumed] {
            let mut stream = broker.connect_with(&config);
            let request = request("publish", r#"{"channel":"a","data":1}"#, "");
            stream.write_all(request.as_bytes()).unwrap();
            let mut head = [0; 15];
            stream.read_exact(&mut head).unwrap();
            assert_eq!(&head, b"HTTP/1.1 200 OK");
            assert_eq!(stream.conn.protocol_version(), Some(spoken));
            assert_eq!(stream.conn.alpn_protocol(), Some(&b"http/1.1"[..]));
            assert_eq!(stream.conn.handshake_kind(), Some(kind));
        }
    }
    broker.await_metric("fanwire_tls_handshakes_total", 4);
    assert_eq!(broker.metric("fanwire_tls_handshake_failures_total"), 0);
    let mut config = broker.client_config(&[&version::TLS13]);
    config.alpn_protocols = vec![b"h2".to_vec()];
    let error = broker.connect_with(&Arc::new(config)).write_all(b"x").unwrap_err();
    assert!(error.to_string().contains("NoApplicationProtocol"), "{error}");
    broker.await_metric("fanwire_tls_handshake_failures_total", 1);
    broker.stop();
}

#[test]
fn large_messages_go_both_ways() {
    let settings = ["client.message_bytes_max=2MiB", "client.outbox_bytes_max=8MiB"];
    let broker = Broker::start("large", &settings);
    let mut subscriber = broker.subscriber_over(broker.tcp());
    let mut publisher = broker.websocket();
    let large = format!("\"{}\"", "0123456789abcdef".repeat(1 << 16));
    for (id, data) in [(2, large.as_str()), (3, "\"small\"")] {
        let command = format!(r#"{{"id":{id},"publish":{{"channel":"news","data":{data}}}}}"#);
        assert_eq!(ask(&mut publisher, &command), format!(r#"{{"id":{id},"publish":{{}}}}"#));
    }
    broker.call("publish", &format!(r#"{{"channel":"news","data":{large}}}"#));
    let got = publications(&mut subscriber, 3);
    assert!(got == [large.as_str(), "\"small\"", large.as_str()]);
    drop((subscriber, publisher));
    broker.stop();
}

#[test]
fn ciphertext_may_come_byte_by_byte() {
    let broker = Broker::start("dripping", &[]);
    let mut subscriber = broker.subscriber_over(Dripping(broker.tcp()));
    let publish = r#"{"id":3,"publish":{"channel":"news","data":"x"}}"#;
    subscriber.send(Message::text(publish)).unwrap();
    assert_eq!(publications(&mut subscriber, 1), ["\"x\""]);
    drop(subscriber);
    broker.stop();
}

#[test]
fn what_came_with_the_upgrade_is_not_lost() {
    let broker = Broker::start("together", &[]);
    let mut stream = broker.connect();
    let mut bytes = b"GET /connection/websocket HTTP/1.1\r\nhost: x\r\nconnection: upgrade\r\n\
        upgrade: websocket\r\nsec-websocket-version: 13\r\n\
        sec-websocket-key: MDEyMzQ1Njc4OWFiY2RlZg==\r\n\r\n"
        .to_vec();
    // More frames than hyper's first buffer holds.
    let connect = br#"{"id":1,"connect":{}}"#;
    let frame = |text: &[u8]| {
        let length = u16::try_from(text.len()).unwrap().to_be_bytes();
        [&[0x81, 0xfe, length[0], length[1], 0, 0, 0, 0][..], text].concat()
    };
    bytes.extend(frame(connect));
    let count = 1000;
    for id in 2..count + 2 {
        bytes.extend(frame(format!(r#"{{"id":{id},"unsubscribe":{{"channel":"x"}}}}"#).as_bytes()));
    }
    stream.write_all(&bytes).unwrap();
    let last = format!(r#"{{"id":{},"unsubscribe":{{}}}}"#, count + 1);
    let (mut got, mut buffer) = (String::new(), [0; 4096]);
    while !got.contains(&last) {
        let read = stream.read(&mut buffer).unwrap();
        assert_ne!(read, 0, "{got}");
        got.push_str(&String::from_utf8_lossy(&buffer[..read]));
    }
    assert!(got.starts_with("HTTP/1.1 101 "), "{got}");
    assert_eq!(got.matches("unsubscribe").count(), count);
    drop(stream);
    broker.stop();
}

#[test]
fn what_is_pending_for_a_socket_shares_a_record() {
    let broker = Broker::start("records", &[]);
    let mut subscriber = broker.subscriber_over(Counting::new(broker.tcp()));
    let before = subscriber.get_ref().sock.records;
    let count = 100;
    let commands: Vec<_> = (0..count)
        .map(|number| format!(r#"{{"publish":{{"channel":"news","data":{number}}}}}"#))
        .collect();
    broker.call("batch", &format!(r#"{{"commands":[{}]}}"#, commands.join(",")));
    let mut data = Vec::new();
    let mut frames = 0;
    while data.len() < count {
        data.extend(publications(&mut subscriber, 1));
        frames += 1;
    }
    assert_eq!(data, (0..count).map(|number| number.to_string()).collect::<Vec<_>>());
    let records = subscriber.get_ref().sock.records - before;
    assert_eq!(frames, count);
    assert!(records * 10 < frames, "{records} records for {frames} frames");
    drop(subscriber);
    broker.stop();
}

#[test]
fn a_slow_reader_gets_everything_in_order() {
    let broker = Broker::start("slow", &["client.outbox_bytes_max=64MiB"]);
    let mut subscriber = broker.subscriber_over(broker.tcp());
    let mut publisher = broker.websocket();
    let filler = "x".repeat(16_000);
    let data = |number: usize| format!("\"{number} {filler}\"");
    let count = 1000;
    for number in 0..count {
        let data = data(number);
        let command = format!(r#"{{"id":2,"publish":{{"channel":"news","data":{data}}}}}"#);
        ask(&mut publisher, &command);
    }
    // Only now it begins to read: all is in outboxes and sockets, 16 MB.
    for (number, got) in publications(&mut subscriber, count).iter().enumerate() {
        assert!(*got == data(number), "publication {number}");
    }
    drop((subscriber, publisher));
    broker.stop();
}

#[test]
fn requests_in_a_row_are_answered_in_a_row() {
    let broker = Broker::start("pipelined", &[]);
    let mut stream = broker.connect();
    let data = "y".repeat(3_000);
    let requests: String = (1..=200)
        .map(|_| request("publish", &format!(r#"{{"channel":"news","data":"{data}"}}"#), ""))
        .collect();
    stream.write_all(requests.as_bytes()).unwrap();
    // The caller has no more to say, and still wants to be answered.
    stream.conn.send_close_notify();
    stream.flush().unwrap();
    let mut answers = String::new();
    stream.read_to_string(&mut answers).unwrap();
    assert_eq!(answers.matches("HTTP/1.1 200 OK\r\n").count(), 200);
    assert_eq!(answers.matches(r#"{"result":{}}"#).count(), 200);
    broker.stop();
}

#[test]
fn answers_of_a_turn_share_a_record() {
    let broker = Broker::start("corked", &[]);
    let config = Arc::new(broker.client_config(&[&version::TLS13]));
    let mut stream = broker.connect_over(&config, Counting::new(broker.tcp()));
    let publish = request("publish", r#"{"channel":"news","data":1}"#, "");
    let read = |stream: &mut Tls<Counting>, count: usize| {
        let (mut answers, mut buffer) = (String::new(), [0; 4096]);
        while answers.matches(r#"{"result":{}}"#).count() < count {
            let read = stream.read(&mut buffer).unwrap();
            answers.push_str(std::str::from_utf8(&buffer[..read]).unwrap());
        }
    };
    // The tickets come before this answer.
    stream.write_all(publish.as_bytes()).unwrap();
    read(&mut stream, 1);
    let before = stream.sock.records;
    let count = 50;
    stream.write_all(publish.repeat(count).as_bytes()).unwrap();
    read(&mut stream, count);
    let records = stream.sock.records - before;
    assert!(records * 10 <= count, "{records} records for {count} answers");
    drop(stream);
    broker.stop();
}

#[test]
fn an_answer_that_is_larger_than_any_buffer_comes_whole_to_a_slow_reader() {
    let settings =
        ["topics.history_size=1000", "topics.history_ttl=60s", "client.message_bytes_max=600KiB"];
    let broker = Broker::start("answer", &settings);
    let filler = "x".repeat(500_000);
    for number in 0..20 {
        broker.call("publish", &format!(r#"{{"channel":"news","data":"{number} {filler}"}}"#));
    }
    let mut stream = broker.connect();
    let history = request("history", r#"{"channel":"news","limit":100}"#, "connection: close\r\n");
    stream.write_all(history.as_bytes()).unwrap();
    // Others are served while it waits for a reader that has not begun.
    broker.call("presence_stats", r#"{"channel":"news"}"#);
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (_, body) = answer.split_once("\r\n\r\n").unwrap();
    let body: serde_json::Value = serde_json::from_str(body).unwrap();
    let publications = body["result"]["publications"].as_array().unwrap();
    assert_eq!(publications.len(), 20);
    for (number, publication) in publications.iter().enumerate() {
        assert!(publication["data"] == format!("{number} {filler}"), "publication {number}");
    }
    broker.stop();
}

#[test]
fn the_end_is_told_to_the_peer() {
    let broker = Broker::start("end", &[]);
    let mut socket = broker.websocket();
    socket.close(None).unwrap();
    while socket.read().is_ok() {}
    // A stream that ends without a goodbye is an error.
    assert_eq!(socket.get_mut().read(&mut [0; 1]).unwrap(), 0);
    let mut idle = broker.connect();
    idle.conn.complete_io(&mut idle.sock).unwrap();
    let mut connected = broker.websocket();
    broker.begin_stop();
    assert_eq!(idle.read(&mut [0; 1]).unwrap(), 0);
    while connected.read().is_ok() {}
    assert_eq!(connected.get_mut().read(&mut [0; 1]).unwrap(), 0);
    drop((socket, connected));
    broker.await_stop();
}

#[test]
fn a_handshake_that_is_not_finished_in_time_is_closed() {
    let broker = Broker::start("stalled", &["client.connect_timeout=200ms"]);
    let hello = client_hello(&broker);
    let (silent, mut begun, mut answered) = (broker.tcp(), broker.tcp(), broker.tcp());
    begun.write_all(&hello[..20]).unwrap();
    answered.write_all(&hello).unwrap();
    assert_eq!(rest(&silent), b"");
    assert_eq!(rest(&begun), b"");
    // It was answered, and has said no more.
    assert!(rest(&answered).starts_with(&[22]));
    broker.await_metric("fanwire_tls_handshake_failures_total", 2);
    assert_eq!(broker.metric("fanwire_tls_handshakes_total"), 0);
    let mut done = broker.connect();
    done.conn.complete_io(&mut done.sock).unwrap();
    assert_eq!(rest(&done.sock).first(), Some(&APPLICATION_DATA), "a ticket and a goodbye");
    broker.stop();
}

#[test]
fn who_speaks_no_tls_is_told_so_and_closed() {
    let broker = Broker::start("plain", &[]);
    let mut plain = broker.tcp();
    plain.write_all(b"GET /connection/websocket HTTP/1.1\r\nhost: x\r\n\r\n").unwrap();
    let answer = String::from_utf8(rest(&plain)).unwrap();
    assert!(answer.starts_with("HTTP/1.1 400 Bad Request\r\n"), "{answer}");
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(head.contains(&format!("content-length: {}\r\n", body.len())), "{answer}");
    assert!(body.contains("speaks TLS"), "{answer}");
    broker.await_metric("fanwire_tls_handshake_failures_total", 1);
    broker.assert_well();
    broker.stop();
}

#[test]
fn garbage_ends_its_own_connection_only() {
    let broker = Broker::start("garbage", &[]);
    let mut neighbour = broker.subscriber_over(broker.tcp());
    // A record that is none, then a handshake that is none; each is answered by an alert.
    for garbage in [&[22, 3, 1, 0xff, 0xff, 1, 2, 3][..], &[22, 3, 1, 0, 5, 1, 0, 0, 1, 0xff]] {
        let mut stream = broker.tcp();
        stream.write_all(garbage).unwrap();
        assert!(rest(&stream).starts_with(&[21, 3]));
    }
    // A record that nobody sealed, where frames are expected.
    let mut socket = broker.subscriber_over(broker.tcp());
    socket.get_mut().sock.write_all(&[&[23, 3, 3, 0, 40][..], &[7; 40]].concat()).unwrap();
    let error = socket.read().unwrap_err();
    assert!(!matches!(error, tungstenite::Error::ConnectionClosed), "{error}");
    // Half a record, and gone.
    let mut socket = broker.websocket();
    socket.get_mut().sock.write_all(&[23, 3, 3, 0x10, 0, 1, 2, 3]).unwrap();
    drop(socket.get_mut().sock.shutdown(std::net::Shutdown::Both));
    broker.await_metric("fanwire_connections", 1);
    broker.call("publish", r#"{"channel":"news","data":"still here"}"#);
    assert_eq!(publications(&mut neighbour, 1), ["\"still here\""]);
    assert_eq!(broker.metric("fanwire_panics_total"), 0);
    drop((socket, neighbour));
    broker.stop();
}

#[test]
fn files_that_do_not_fit_are_refused_with_cause_and_remedy() {
    let (_, cert, key) = identity("fits");
    let (_, _, other_key) = identity("other");
    let (cert, key, other_key) =
        (cert.to_str().unwrap(), key.to_str().unwrap(), other_key.to_str().unwrap());
    for (flags, cause, remedy) in [
        (&["--tls-cert", cert][..], "belong together", "give both"),
        (&["--tls-cert", "/none.pem", "--tls-key", key], "cannot read /none.pem", "read it"),
        (&["--tls-cert", key, "--tls-key", key], "holds no certificate", "BEGIN CERTIFICATE"),
        (&["--tls-cert", cert, "--tls-key", cert], "holds no private key", "BEGIN PRIVATE KEY"),
        (&["--tls-cert", cert, "--tls-key", other_key], "is not that of", "made together"),
    ] {
        for command in [&["config", "check"][..], &["serve"]] {
            let mut program = Command::new(env!("CARGO_BIN_EXE_fanwire"));
            let output = program.env_clear().args(command).args(flags).output().unwrap();
            let stderr = String::from_utf8(output.stderr).unwrap();
            assert_eq!(output.status.code(), Some(1), "{stderr}");
            assert!(stderr.contains(cause) && stderr.contains(remedy), "{stderr}");
        }
    }
    let mut program = Command::new(env!("CARGO_BIN_EXE_fanwire"));
    program.env_clear().env("FANWIRE_SERVER_TLS_CERT_FILE", cert);
    program.env("FANWIRE_SERVER_TLS_KEY_FILE", key).args(["config", "check"]);
    assert_eq!(program.output().unwrap().status.code(), Some(0));
}
