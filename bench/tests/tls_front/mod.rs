//! TLS in front of a server that has none: every connection is passed on, unsealed.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::thread;

use rcgen::{CertifiedKey, generate_simple_self_signed};
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::PrivateKeyDer;
use rustls::{HandshakeKind, ServerConfig, ServerConnection};

type Session = Arc<Mutex<ServerConnection>>;

/// The way in, with a certificate of its own for 127.0.0.1.
pub(crate) struct TlsFront {
    address: SocketAddr,
    /// The certificate, to be trusted.
    pub(crate) certificate: PathBuf,
    handshakes: Arc<Mutex<Vec<HandshakeKind>>>,
}

impl TlsFront {
    /// Passes connections on to `server`; the certificate goes into a file of this name.
    pub(crate) fn start(server: SocketAddr, name: &str) -> Self {
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
        let config = Arc::new(config);
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let handshakes = Arc::default();
        let seen = Arc::clone(&handshakes);
        thread::spawn(move || {
            for stream in listener.incoming() {
                let session = ServerConnection::new(Arc::clone(&config)).unwrap();
                let seen = Arc::clone(&seen);
                thread::spawn(move || pass(stream.unwrap(), session, server, &seen));
            }
        });
        Self { address, certificate, handshakes }
    }

    /// Its WebSocket address.
    pub(crate) fn url(&self) -> String {
        format!("wss://{}/connection/websocket", self.address)
    }

    /// Connections that have taken up an earlier session, and all.
    pub(crate) fn handshakes(&self) -> (usize, usize) {
        let kinds = self.handshakes.lock().unwrap();
        let resumed = kinds.iter().filter(|kind| **kind == HandshakeKind::Resumed).count();
        (resumed, kinds.len())
    }
}

fn pass(
    mut outside: TcpStream,
    mut session: ServerConnection,
    server: SocketAddr,
    seen: &Mutex<Vec<HandshakeKind>>,
) {
    outside.set_nodelay(true).unwrap();
    while session.is_handshaking() {
        if session.complete_io(&mut outside).is_err() {
            return;
        }
    }
    seen.lock().unwrap().extend(session.handshake_kind());
    let inside = TcpStream::connect(server).unwrap();
    inside.set_nodelay(true).unwrap();
    let session = Arc::new(Mutex::new(session));
    let (back, from, to) =
        (Arc::clone(&session), inside.try_clone().unwrap(), outside.try_clone().unwrap());
    thread::spawn(move || seal(from, to, &back));
    unseal(outside, inside, &session);
}

/// From the client to the server, beginning with what came with the handshake.
fn unseal(mut outside: TcpStream, mut inside: TcpStream, session: &Session) {
    let (mut sealed, mut count) = (vec![0; 16 * 1024], 0);
    loop {
        let mut rest = &sealed[..count];
        let mut said = Vec::new();
        loop {
            let mut session = session.lock().unwrap();
            let end = session.reader().read_to_end(&mut said);
            if end.is_err_and(|error| error.kind() != ErrorKind::WouldBlock) || rest.is_empty() {
                break;
            }
            session.read_tls(&mut rest).unwrap();
            session.process_new_packets().unwrap();
        }
        if inside.write_all(&said).is_err() {
            break;
        }
        count = outside.read(&mut sealed).unwrap_or(0);
        if count == 0 {
            break;
        }
    }
    let _ = inside.shutdown(Shutdown::Both);
}

/// From the server to the client.
fn seal(mut inside: TcpStream, mut outside: TcpStream, session: &Session) {
    let mut said = vec![0; 16 * 1024];
    loop {
        let count = inside.read(&mut said).unwrap_or(0);
        let mut sealed = Vec::new();
        let mut session = session.lock().unwrap();
        if count == 0 {
            session.send_close_notify();
        }
        session.writer().write_all(&said[..count]).unwrap();
        while session.wants_write() {
            session.write_tls(&mut sealed).unwrap();
        }
        drop(session);
        if outside.write_all(&sealed).is_err() || count == 0 {
            break;
        }
    }
    let _ = outside.shutdown(Shutdown::Both);
}
