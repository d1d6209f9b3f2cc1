//! What a delivery may cost in system calls. Counted, not timed: one more call per delivery would
//! halve what a core can do, and no clock is needed to see it.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may panic")]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, ChildStdout, Command, Stdio};

const SUBSCRIBERS: usize = 200;
const ROUNDS: u64 = 20;

/// A broker with one shard that ends with the test.
struct Broker {
    child: Child,
    _stdout: BufReader<ChildStdout>,
    address: String,
    admin: String,
}

impl Broker {
    fn start() -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_fanwire"));
        command.env_clear().args(["dev", "--listen", "127.0.0.1:0", "--shards", "1"]);
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        let mut text = String::new();
        while !text.ends_with("</script>\n") {
            assert_ne!(stdout.read_line(&mut text).unwrap(), 0, "ended early: {text}");
        }
        let after = |mark: &str| {
            let rest = &text[text.find(mark).unwrap() + mark.len()..];
            rest.chars().take_while(|c| c.is_ascii_digit() || ".:".contains(*c)).collect()
        };
        let (address, admin) = (after("ws://"), after("http://"));
        Self { child, _stdout: stdout, address, admin }
    }

    /// Some of its counters. A shard leaves them for a scrape when it goes to sleep, so the second
    /// scrape shows at least all that was before the first.
    fn counters<const N: usize>(&self, names: [&str; N]) -> [u64; N] {
        self.scrape();
        let text = self.scrape();
        names.map(|name| {
            let line = text.lines().find_map(|line| line.strip_prefix(&format!("{name} ")));
            line.unwrap_or_else(|| panic!("no {name} in\n{text}")).parse().unwrap()
        })
    }

    fn scrape(&self) -> String {
        let mut stream = TcpStream::connect(&self.admin).unwrap();
        stream.write_all(b"GET /metrics HTTP/1.0\r\n\r\n").unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        text
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A client that reads whole messages, one at a time.
struct Client(BufReader<TcpStream>);

impl Client {
    fn connect(broker: &Broker) -> Self {
        let mut stream = TcpStream::connect(&broker.address).unwrap();
        let head = "GET /connection/websocket HTTP/1.1\r\nhost: a\r\nupgrade: websocket\r\n\
                    connection: upgrade\r\nsec-websocket-version: 13\r\n\
                    sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
        stream.write_all(head.as_bytes()).unwrap();
        let mut reader = BufReader::new(stream);
        let mut line = String::new();
        while line != "\r\n" {
            line.clear();
            assert_ne!(reader.read_line(&mut line).unwrap(), 0, "no upgrade");
        }
        let mut client = Self(reader);
        client.send(&[r#"{"id":1,"connect":{}}"#]);
        client.read();
        client
    }

    /// Sends text messages in one write.
    fn send(&mut self, messages: &[&str]) {
        let frame = |text: &&str| {
            let length = u16::try_from(text.len()).unwrap().to_be_bytes();
            let head = [0x81, 0x80 | 126, length[0], length[1], 0, 0, 0, 0];
            [head.as_slice(), text.as_bytes()].concat()
        };
        let bytes: Vec<u8> = messages.iter().flat_map(frame).collect();
        self.0.get_mut().write_all(&bytes).unwrap();
    }

    /// Reads one message.
    fn read(&mut self) -> String {
        let mut head = [0; 2];
        self.0.read_exact(&mut head).unwrap();
        let length = match head[1] {
            126 => {
                let mut length = [0; 2];
                self.0.read_exact(&mut length).unwrap();
                u16::from_be_bytes(length).into()
            }
            length => usize::from(length),
        };
        let mut text = vec![0; length];
        self.0.read_exact(&mut text).unwrap();
        String::from_utf8(text).unwrap()
    }
}

/// System calls of the broker while `ROUNDS` times `burst` publications go to all subscribers, each
/// burst after the one before has arrived everywhere; and how many deliveries that were.
fn calls_for(burst: usize) -> (u64, u64) {
    let broker = Broker::start();
    let mut subscribers: Vec<Client> = (0..SUBSCRIBERS).map(|_| Client::connect(&broker)).collect();
    for subscriber in &mut subscribers {
        subscriber.send(&[r#"{"id":2,"subscribe":{"channel":"news"}}"#]);
        assert!(subscriber.read().contains("subscribe"));
    }
    let mut publisher = Client::connect(&broker);
    let names = ["fanwire_reads_total", "fanwire_writes_total", "fanwire_waits_total"];
    let before: u64 = broker.counters(names).iter().sum();
    for _ in 0..ROUNDS {
        publisher.send(&vec![r#"{"id":3,"publish":{"channel":"news","data":"news"}}"#; burst]);
        for subscriber in &mut subscribers {
            for _ in 0..burst {
                assert!(subscriber.read().contains("push"));
            }
        }
        for _ in 0..burst {
            assert!(publisher.read().contains("publish"));
        }
    }
    let after: u64 = broker.counters(names).iter().sum();
    let [deliveries] = broker.counters(["fanwire_deliveries_total"]);
    assert_eq!(deliveries, ROUNDS * (SUBSCRIBERS * burst) as u64);
    (after - before, deliveries)
}

#[test]
fn a_delivery_costs_one_system_call_and_next_to_nothing_more() {
    let (calls, deliveries) = calls_for(1);
    // The write of each delivery; for each publication a read, a reply, and the turns around them.
    // Fewer would mean that they are not counted.
    let (least, most) = (deliveries, deliveries + ROUNDS * 12);
    assert!((least..=most).contains(&calls), "{calls} calls for {deliveries} deliveries");
}

#[test]
fn what_waits_together_is_sent_together() {
    let (calls, deliveries) = calls_for(8);
    let (least, most) = (deliveries / 8, deliveries / 8 + ROUNDS * 12);
    assert!((least..=most).contains(&calls), "{calls} calls for {deliveries} deliveries");
}
