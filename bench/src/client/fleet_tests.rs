//! Clients on real sockets, against a server that speaks just enough NATS.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;

use mio::{Events, Poll};

use super::*;
use crate::client::behaviour::Role;
use crate::client::target::Target;
use crate::dialect::Settings;

struct Listens;

impl std::fmt::Debug for Listens {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Listens")
    }
}

impl Behaviour for Listens {}

/// Tells each line that a client says, and keeps quiet about nothing but PING. A client that
/// publishes is thrown out.
fn serve(listener: &TcpListener, lines: &Sender<String>) {
    for stream in listener.incoming() {
        let (mut stream, lines) = (stream.unwrap(), lines.clone());
        thread::spawn(move || {
            stream.write_all(b"INFO {\"version\":\"2\"}\r\n").unwrap();
            let reader = BufReader::new(stream.try_clone().unwrap());
            for line in reader.lines().map_while(Result::ok) {
                match line.as_str() {
                    "PING" => stream.write_all(b"PONG\r\n").unwrap(),
                    line if line.starts_with("PUB ") => break,
                    _ => {}
                }
                let _ = lines.send(line);
            }
            let _ = stream.shutdown(std::net::Shutdown::Both);
        });
    }
}

struct Scene {
    poll: Poll,
    fleet: Fleet,
    lines: Receiver<String>,
}

impl Scene {
    fn new(clients: u32) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("tcp://{}", listener.local_addr().unwrap());
        let (sender, lines) = channel();
        thread::spawn(move || serve(&listener, &sender));
        let assignment = Assignment {
            target: Target::parse(&url).unwrap(),
            settings: Settings { protocol: crate::dialect::Protocol::Nats, ..Settings::default() },
            run: 1,
            first: 10,
            count: clients,
            topics: 3,
            topic_prefix: "t".to_owned(),
            further_topics: None,
            recovers: false,
            source_addresses: 1,
            connecting: 2,
            role: Role::Listen,
        };
        let poll = Poll::new().unwrap();
        let registry = poll.registry().try_clone().unwrap();
        let fleet = Fleet::new(assignment, &Listens, registry).unwrap();
        Self { poll, fleet, lines }
    }

    /// Goes on until `is_done` says so; the test runner's patience is the only limit.
    fn until(&mut self, mut is_done: impl FnMut(&mut Fleet) -> bool) {
        let mut events = Events::with_capacity(64);
        while !is_done(&mut self.fleet) {
            self.fleet.open_more(&Listens).unwrap();
            self.fleet.flush();
            let tick = std::time::Duration::from_millis(5);
            self.poll.poll(&mut events, Some(tick)).unwrap();
            for event in &events {
                self.fleet.on_ready(event.token().0).unwrap();
            }
        }
    }

    fn subscriptions_asked_for(&self) -> Vec<String> {
        let mut lines: Vec<_> = self.lines.try_iter().filter(|line| line.contains("SUB")).collect();
        lines.sort();
        lines
    }
}

#[test]
fn clients_open_subscribe_and_come_back() {
    let mut scene = Scene::new(3);
    scene.until(|fleet| fleet.is_complete());
    assert_eq!(scene.fleet.server_version(), "2");
    // Clients 10, 11, 12 of 3 topics.
    assert_eq!(scene.subscriptions_asked_for(), ["SUB t0 0", "SUB t1 1", "SUB t2 2"]);

    while scene.fleet.next_happening().is_some() {}
    scene.fleet.connect(1).unwrap();
    assert!(scene.fleet.is_up(1) && !scene.fleet.is_live(1));
    scene.until(|fleet| fleet.is_live(1));
    let happened: Vec<_> = std::iter::from_fn(|| scene.fleet.next_happening()).collect();
    assert!(
        matches!(
            happened.as_slice(),
            [
                Happening::Opened { slot: 1 },
                Happening::Subscribed { slot: 1, topic: 2, .. },
                Happening::Live { slot: 1 }
            ]
        ),
        "{happened:?}"
    );
    assert_eq!(scene.subscriptions_asked_for(), ["SUB t2 2"]);
    assert!(scene.fleet.tally().totals().disconnected.is_empty());
}

#[test]
fn clients_change_their_topics() {
    let mut scene = Scene::new(1);
    scene.until(|fleet| fleet.is_complete());
    scene.fleet.unsubscribe(0, 1);
    scene.fleet.subscribe(0, 2);
    scene.until(|fleet| fleet.is_live(0) && fleet.unanswered() == 0);
    assert_eq!(scene.fleet.topics(0).collect::<Vec<_>>(), [2]);
    assert_eq!(scene.subscriptions_asked_for(), ["SUB t1 1", "SUB t2 2", "UNSUB 1"]);
}

#[test]
fn a_paused_client_does_not_notice_what_the_server_does() {
    let mut scene = Scene::new(1);
    scene.until(|fleet| fleet.is_complete());
    while scene.fleet.next_happening().is_some() {}
    scene.fleet.pause(0);
    scene.fleet.publish(0, 1, 0, &PayloadMaker::new(64).unwrap());
    // The server has thrown it out once its socket says so: an event, which a paused client keeps
    // for later.
    let mut events = Events::with_capacity(8);
    scene.fleet.flush();
    while !events.iter().any(mio::event::Event::is_read_closed) {
        scene.poll.poll(&mut events, None).unwrap();
        for event in &events {
            scene.fleet.on_ready(event.token().0).unwrap();
        }
    }
    assert!(scene.fleet.is_up(0));
    scene.fleet.resume(0);
    assert!(!scene.fleet.is_up(0));
    assert!(matches!(scene.fleet.next_happening(), Some(Happening::Lost { slot: 0 })));
    let totals = scene.fleet.tally().totals();
    assert_eq!(totals.disconnected.values().sum::<u64>(), 1);

    scene.fleet.publish(0, 1, 0, &PayloadMaker::new(64).unwrap());
    assert_eq!(scene.fleet.tally().totals().counts[UNSENT], 1);
}
