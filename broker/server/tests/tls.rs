//! The command-line clients over TLS, against a scripted broker: they trust what the system trusts
//! and nobody else.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may panic")]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use rcgen::{CertifiedKey, generate_simple_self_signed};
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::PrivateKeyDer;
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use tungstenite::Message;

const CONNECTED: &str = r#"{"id":1,"connect":{"client":"c","version":"1","ping":25,"pong":true}}"#;

type TlsStream = StreamOwned<ServerConnection, TcpStream>;

/// A listener with a certificate of its own for 127.0.0.1, and the file that names it as trusted.
struct Server {
    listener: TcpListener,
    config: Arc<ServerConfig>,
    certificate: PathBuf,
}

impl Server {
    fn start(name: &str) -> Self {
        let names = ["127.0.0.1".to_owned()];
        let CertifiedKey { cert, signing_key } = generate_simple_self_signed(names).unwrap();
        let certificate = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}.pem"));
        std::fs::write(&certificate, cert.pem()).unwrap();
        let key = PrivateKeyDer::Pkcs8(signing_key.serialize_der().into());
        let config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![cert.der().clone()], key)
            .unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        Self { listener, config: Arc::new(config), certificate }
    }

    fn authority(&self) -> String {
        self.listener.local_addr().unwrap().to_string()
    }

    fn accept(&self) -> TlsStream {
        let connection = ServerConnection::new(Arc::clone(&self.config)).unwrap();
        StreamOwned::new(connection, self.listener.accept().unwrap().0)
    }

    /// Runs a client that trusts only the certificate of this file.
    fn run(&self, trusted: &Path, arguments: &[&str]) -> Child {
        let (command, rest) = arguments.split_first().unwrap();
        let url = format!("wss://{}/connection/websocket", self.authority());
        let mut program = Command::new(env!("CARGO_BIN_EXE_fanwire"));
        program.env_clear().env("SSL_CERT_FILE", trusted);
        program.args([command, "--url", &url]).args(rest);
        program.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    }
}

fn ended(child: Child) -> (Option<i32>, String, String) {
    let output = child.wait_with_output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code(), text(output.stdout), text(output.stderr))
}

#[test]
fn sub_and_pub_speak_to_a_broker_whose_certificate_is_trusted() {
    let server = Server::start("clients");
    let push = r#"{"push":{"channel":"news","pub":{"data":1}}}"#;
    let subscribed = [CONNECTED, r#"{"id":2,"subscribe":{}}"#, push];
    let published = [CONNECTED, r#"{"id":2,"publish":{}}"#];
    for (arguments, method, replies, stdout) in [
        (&["sub", "--count", "1", "news"][..], "subscribe", &subscribed[..], "news\t1\n"),
        (&["pub", "news", "1"], "publish", &published[..], ""),
    ] {
        let child = server.run(&server.certificate, arguments);
        let mut socket = tungstenite::accept(server.accept()).unwrap();
        let commands = socket.read().unwrap().into_text().unwrap();
        assert!(commands.contains(&format!(r#""id":2,"{method}":{{"channel":"news""#)));
        socket.send(Message::text(replies.join("\n"))).unwrap();
        let (status, printed, stderr) = ended(child);
        assert_eq!((status, printed.as_str()), (Some(0), stdout), "{stderr}");
    }
}

#[test]
fn pub_with_a_key_publishes_by_https() {
    let server = Server::start("https");
    let arguments = ["pub", "--api-key", "the-key", "news", "1"];
    let child = server.run(&server.certificate, &arguments);
    let mut stream = BufReader::new(server.accept());
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        assert_ne!(stream.read_line(&mut head).unwrap(), 0);
    }
    assert!(head.starts_with("POST /api/publish HTTP/1.1\r\n"), "{head}");
    let mut body = [0; br#"{"channel":"news","data":1}"#.len()];
    stream.read_exact(&mut body).unwrap();
    assert_eq!(&body, br#"{"channel":"news","data":1}"#);
    let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 13\r\n\r\n{\"result\":{}}";
    stream.get_mut().write_all(answer).unwrap();
    assert_eq!(ended(child), (Some(0), String::new(), String::new()));
}

#[test]
fn a_certificate_that_is_not_trusted_is_refused_with_cause_and_remedy() {
    let (server, other) = (Server::start("untrusted"), Server::start("other"));
    for arguments in
        [&["sub", "news"][..], &["pub", "news", "1"], &["pub", "--api-key", "the-key", "news", "1"]]
    {
        let child = server.run(&other.certificate, arguments);
        // The client breaks off the handshake: nothing of what it wants to say gets through.
        assert!(server.accept().read(&mut [0; 1]).is_err());
        let (status, stdout, stderr) = ended(child);
        assert_eq!((status, stdout.as_str()), (Some(1), ""), "{stderr}");
        let cause = format!("fanwire: cannot connect to {}: ", server.authority());
        assert!(stderr.starts_with(&cause) && stderr.contains("certificate"), "{stderr}");
        assert!(stderr.contains("SSL_CERT_FILE"), "{stderr}");
        assert_eq!(stderr.lines().count(), 2, "{stderr}");
    }
}
