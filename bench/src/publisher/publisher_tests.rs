//! How a publisher takes its leave.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::sync::mpsc;

use super::*;
use crate::dialect::Protocol;

const PUBLICATIONS: u64 = 2_000;
const PAYLOAD_BYTES: usize = 64;
const LIMIT: Duration = Duration::from_secs(10);

/// A publisher that has published everything to a server of this protocol, which reads on when it
/// is told to, and what the server returns.
struct Scene<T> {
    publisher: Publisher,
    go: mpsc::Sender<()>,
    server: JoinHandle<T>,
}

impl<T: Send + 'static> Scene<T> {
    fn new(
        protocol: Protocol,
        greet: impl FnOnce(TcpStream) -> TcpStream + Send + 'static,
        serve: impl FnOnce(TcpStream) -> T + Send + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let scheme = if protocol == Protocol::Nats { "tcp" } else { "ws" };
        let url = format!("{scheme}://{}/", listener.local_addr().unwrap());
        let (go, wait) = mpsc::channel();
        let server = thread::spawn(move || {
            let stream = greet(listener.accept().unwrap().0);
            wait.recv().unwrap();
            serve(stream)
        });
        let plan = Plan {
            target: Target::parse(&url).unwrap(),
            settings: Settings { protocol, ..Settings::default() },
            run: 1,
            schedule: Schedule::new(PUBLICATIONS as f64 * 1e3, 1, 1e-3),
            topic_prefix: "t".to_owned(),
            payload: PayloadMaker::new(PAYLOAD_BYTES).unwrap(),
            connections: 1,
        };
        let mut publisher = Publisher::open(plan).unwrap();
        assert_eq!(publisher.run(now_ns(), now_ns()).unwrap().count, PUBLICATIONS);
        Self { publisher, go, server }
    }

    fn close(self, limit: Duration) -> T {
        self.go.send(()).unwrap();
        self.publisher.close(limit).unwrap();
        self.server.join().unwrap()
    }
}

fn upgrade(stream: TcpStream) -> TcpStream {
    tungstenite::accept(stream).unwrap().get_ref().try_clone().unwrap()
}

#[test]
fn what_a_server_reads_late_while_it_speaks_is_not_lost() {
    const HEADER_BYTES: usize = 2;
    const MASK_BYTES: usize = 4;
    let scene = Scene::new(Protocol::Websocket, upgrade, |mut stream| {
        let (mut messages, mut frame) = (0, [0; HEADER_BYTES + MASK_BYTES + PAYLOAD_BYTES]);
        loop {
            let (header, rest) = frame.split_at_mut(HEADER_BYTES);
            stream.read_exact(header)?;
            let length = usize::from(header[1] & 0x7f);
            stream.read_exact(&mut rest[..MASK_BYTES + length])?;
            stream.write_all(&[header[0], header[1] & 0x7f])?;
            stream.write_all(&rest[MASK_BYTES..MASK_BYTES + length])?;
            match header[0] {
                0x81 => messages += 1,
                _ => return Ok::<_, std::io::Error>((messages, header[0])),
            }
        }
    });
    // The last one is the close frame.
    assert_eq!(scene.close(LIMIT).unwrap(), (PUBLICATIONS, 0x88));
}

#[test]
fn over_a_bare_stream_too() {
    let greet = |mut stream: TcpStream| {
        stream.write_all(b"INFO {}\r\n").unwrap();
        let mut said = Vec::new();
        while !said.ends_with(b"PING\r\n") {
            let mut byte = [0];
            stream.read_exact(&mut byte).unwrap();
            said.push(byte[0]);
        }
        stream.write_all(b"PONG\r\n").unwrap();
        stream
    };
    let scene = Scene::new(Protocol::Nats, greet, |mut stream| {
        let mut said = Vec::new();
        let mut some = [0; 256];
        loop {
            match stream.read(&mut some)? {
                0 => return Ok::<_, std::io::Error>(said),
                count => said.extend_from_slice(&some[..count]),
            }
            stream.write_all(b"PING\r\n")?;
        }
    });
    let said = scene.close(LIMIT).unwrap();
    let published = memchr::memmem::find_iter(&said, b"PUB t0").count();
    assert_eq!(published as u64, PUBLICATIONS);
}

#[test]
fn who_never_takes_leave_is_left() {
    let (left, wait) = mpsc::channel::<()>();
    let scene = Scene::new(Protocol::Websocket, upgrade, move |stream| {
        // Holds the connection until the test is over.
        assert!(wait.recv().is_err());
        drop(stream);
    });
    scene.go.send(()).unwrap();
    scene.publisher.close(3 * TICK).unwrap();
    drop(left);
    scene.server.join().unwrap();
}
