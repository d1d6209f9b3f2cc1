//! TLS with a server in memory, over a wire that takes and gives a few bytes at a time.

use std::cell::RefCell;
use std::rc::Rc;

use rcgen::{CertifiedKey, generate_simple_self_signed};
use rustls::pki_types::PrivateKeyDer;
use rustls::{ServerConfig, ServerConnection};

use super::*;
use crate::client::inbox::{Inbox, Received};
use crate::client::stream::Stream;

/// As much as goes over the wire before it would block.
const WIRE_BYTES: usize = 1_000;

/// Both directions of a connection, as its client sees it.
#[derive(Clone, Debug, Default)]
struct Wire {
    to_server: Rc<RefCell<Vec<u8>>>,
    to_client: Rc<RefCell<Vec<u8>>>,
}

impl Read for Wire {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut bytes = self.to_client.borrow_mut();
        let count = bytes.len().min(buffer.len());
        if count == 0 {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        buffer[..count].copy_from_slice(&bytes[..count]);
        bytes.drain(..count);
        Ok(count)
    }
}

impl Write for Wire {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        let mut bytes = self.to_server.borrow_mut();
        let count = buffer.len().min(WIRE_BYTES - bytes.len());
        bytes.extend_from_slice(&buffer[..count]);
        if count == 0 { Err(io::ErrorKind::WouldBlock.into()) } else { Ok(count) }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A client and a server that is called "server".
struct Scene {
    client: Stream<Wire>,
    wire: Wire,
    server: ServerConnection,
    inbox: Inbox,
    /// What the client has heard.
    heard: Vec<u8>,
    /// What the server has heard.
    served: Vec<u8>,
}

impl Scene {
    fn new(url: &str, trust: impl FnOnce(String) -> Trust) -> Self {
        let certificate = generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
        let CertifiedKey { cert, signing_key } = certificate;
        let key = PrivateKeyDer::Pkcs8(signing_key.serialize_der().into());
        let provider = Arc::new(aws_lc_rs::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![cert.der().clone()], key)
            .unwrap();
        let mut server = ServerConnection::new(Arc::new(config)).unwrap();
        server.set_buffer_limit(None);
        let trust = trust(cert.pem());
        let target = Target::parse(url).unwrap().trusting(trust.clone());
        let session = Tls::new(&target).unwrap().unwrap().session().unwrap();
        if let Trust::Authorities(Some(file)) = trust {
            std::fs::remove_file(file).unwrap();
        }
        let wire = Wire::default();
        let client = Stream::new(wire.clone(), Some(session));
        let (inbox, heard, served) = (Inbox::default(), Vec::new(), Vec::new());
        Self { client, wire, server, inbox, heard, served }
    }

    /// The client reads until it is told that there is no more. `true` at the end.
    fn listen(&mut self) -> Result<bool, ClientError> {
        let mut scratch = Vec::new();
        loop {
            let received = self.inbox.receive(&mut self.client, &mut scratch, |bytes| {
                self.heard.extend_from_slice(bytes);
                Ok(bytes.len())
            });
            match received? {
                Received::End => return Ok(true),
                Received::More => {}
                Received::Drained | Received::Nothing => return Ok(false),
            }
        }
    }

    /// Client and server do what they can, until neither has anything to say to the other. `true`
    /// when the client knows that the server has ended.
    fn talk(&mut self, outgoing: &mut Vec<u8>) -> Result<bool, ClientError> {
        loop {
            self.client.send(outgoing)?;
            let said = std::mem::take(&mut *self.wire.to_server.borrow_mut());
            let mut rest = &said[..];
            while !rest.is_empty() {
                self.server.read_tls(&mut rest).unwrap();
                let fault = self.server.process_new_packets().err();
                assert!(fault.is_none() || self.heard.is_empty(), "{fault:?}");
                let _ = self.server.reader().read_to_end(&mut self.served);
            }
            let mut answer = Vec::new();
            self.server.write_tls(&mut answer).unwrap();
            let has_answered = !answer.is_empty();
            self.wire.to_client.borrow_mut().append(&mut answer);
            // Who has read everything is told no second time that there is something.
            if has_answered && self.listen()? {
                return Ok(true);
            }
            assert!(self.wire.to_client.borrow().is_empty(), "drained means drained");
            if said.is_empty() && !has_answered {
                return Ok(false);
            }
        }
    }
}

/// A file of this name with this text.
fn file(name: &str, text: &str) -> PathBuf {
    let path = std::env::temp_dir().join(format!("fanwire-bench-{}-{name}", std::process::id()));
    std::fs::write(&path, text).unwrap();
    path
}

const URL: &str = "wss://127.0.0.1:1/";

#[test]
fn what_both_say_arrives_whole_though_the_wire_is_narrow() {
    let mut scene = Scene::new(URL, |pem| Trust::Authorities(Some(file("authority.pem", &pem))));
    let long: Vec<u8> = (0_u32..200_000).map(|index| (index % 251) as u8).collect();
    let mut outgoing = long.clone();
    assert!(!scene.talk(&mut outgoing).unwrap());
    assert!(outgoing.is_empty());
    assert!(scene.served == long, "{} bytes arrived", scene.served.len());

    scene.server.writer().write_all(&long).unwrap();
    assert!(!scene.talk(&mut outgoing).unwrap());
    assert!(scene.heard == long, "{} bytes arrived", scene.heard.len());
}

#[test]
fn the_end_is_heard_even_behind_the_last_words() {
    let mut scene = Scene::new(URL, |_| Trust::Anybody);
    scene.talk(&mut b"hello".to_vec()).unwrap();
    scene.server.writer().write_all(b"farewell").unwrap();
    scene.server.send_close_notify();
    assert!(scene.talk(&mut Vec::new()).unwrap());
    assert_eq!(scene.heard, b"farewell");
}

#[test]
fn who_is_not_trusted_is_refused_with_the_remedy() {
    let refusal = |url, trust| {
        let mut scene = Scene::new(url, |_| trust);
        let error = scene.talk(&mut b"secret".to_vec()).unwrap_err();
        assert!(scene.served.is_empty());
        error.to_string()
    };
    assert_eq!(
        refusal(URL, Trust::Authorities(None)),
        "the server's certificate is not trusted: --ca FILE or --insecure"
    );
    let mut elsewhere = Scene::new("wss://127.0.0.2:1/", |pem| {
        Trust::Authorities(Some(file("elsewhere.pem", &pem)))
    });
    let error = elsewhere.talk(&mut Vec::new()).unwrap_err().to_string();
    assert!(error.contains("127.0.0.2") && error.contains("--insecure"), "{error}");
}

#[test]
fn who_does_not_speak_tls_is_told_so() {
    let mut scene = Scene::new(URL, |_| Trust::Anybody);
    scene.wire.to_client.borrow_mut().extend_from_slice(b"HTTP/1.1 400 Bad Request\r\n\r\n");
    let error = scene.talk(&mut Vec::new()).unwrap_err().to_string();
    assert!(error.starts_with("TLS with the server failed"), "{error}");
}

#[test]
fn a_file_without_certificates_is_refused() {
    let fault = |path: PathBuf| {
        let trust = Trust::Authorities(Some(path));
        Tls::new(&Target::parse(URL).unwrap().trusting(trust)).unwrap_err()
    };
    assert!(matches!(fault("/nowhere/at/all.pem".into()), BenchError::File { .. }));
    let empty = file("empty.pem", "no certificate\n");
    assert!(matches!(fault(empty.clone()), BenchError::NoCertificate { .. }));
    std::fs::remove_file(empty).unwrap();
}
