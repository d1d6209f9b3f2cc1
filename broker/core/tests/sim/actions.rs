//! What clients do.

use std::fmt::Write as _;

use fanwire_core::{Adapter, PingStyle, SocketId};
use rand::RngExt as _;

use crate::client::{Asked, Client, Phase};
use crate::model::Publisher;
use crate::wire;
use crate::world::World;

impl World {
    /// A client connects, if there is room.
    pub(crate) fn open(&mut self) {
        let open = self.clients.iter().filter(|client| client.phase != Phase::Gone).count();
        if open >= self.plan.clients {
            return;
        }
        let shard = self.random.random_range(0..self.shards.len());
        let (index, mut text) = self.open_at(shard);
        if self.random.random() {
            text.push('\n');
            text.push_str(&self.random_command(index));
        }
        self.send(index, &text);
    }

    /// A client that is subscribed to a topic from its first message on.
    pub(crate) fn open_subscriber(&mut self, shard: usize, topic: usize) {
        let (index, connect) = self.open_at(shard);
        let subscribe = self.subscribe(index, topic);
        self.send(index, &format!("{connect}\n{subscribe}"));
    }

    /// Opens a connection; the client's index, and the command with which it begins.
    fn open_at(&mut self, shard: usize) -> (usize, String) {
        let index = self.clients.len();
        let pings = if self.random.random() { PingStyle::Messages } else { PingStyle::Frames };
        let socket = SocketId(index as u64);
        let connection = self.shards[shard].open(self.now, socket, Adapter::CentrifugoJson, pings);
        self.model.note(|| format!("c{index} opens at shard {shard}"));
        let mut client = Client::new(index, shard, connection, pings);
        for call in self.calls.values() {
            call.concerns(&mut client);
        }
        let id = client.ask(Asked::Connect);
        self.clients.push(client);
        (index, format!(r#"{{"id":{id},"connect":{{}}}}"#))
    }

    fn open_client(&mut self) -> Option<usize> {
        self.any_client(|client| client.phase == Phase::Open)
    }

    fn random_topic(&mut self) -> usize {
        self.random.random_range(0..self.plan.rules.topics)
    }

    /// Data that bears a label, of a length that is seldom too much.
    pub(crate) fn data(&mut self, label: u64) -> String {
        let room = self.plan.rules.outbox_bytes_max.min(8000) - 4096;
        let mut data = format!(r#"{{"n":{label}"#);
        if self.plan.rules.small_outbox && self.random.random_ratio(1, 3) {
            let length = self.random.random_range(0..room + room / 8);
            let _ = write!(data, r#","pad":"{}""#, "x".repeat(length));
        }
        data.push('}');
        data
    }

    /// One to three commands in one message.
    pub(crate) fn command(&mut self) {
        let Some(index) = self.open_client() else {
            return;
        };
        if self.random.random_ratio(1, 20) {
            let payload = vec![index as u8; self.random.random_range(0..10)];
            let client = &mut self.clients[index];
            client.send(wire::PING, true, &payload);
            client.own_pings.push_back(payload);
        }
        let mut text = self.random_command(index);
        while self.random.random_ratio(1, 3) {
            text.push('\n');
            text.push_str(&self.random_command(index));
        }
        self.send(index, &text);
    }

    fn random_command(&mut self, index: usize) -> String {
        let topic = self.random_topic();
        match self.random.random_range(0..10) {
            0..4 => self.subscribe(index, topic),
            4..6 => self.unsubscribe(index, topic),
            _ => self.publish(index, topic),
        }
    }

    fn subscribe(&mut self, index: usize, topic: usize) -> String {
        let sent = self.model.tick();
        let id = self.clients[index].ask(Asked::Subscribe { topic, sent });
        format!(r#"{{"id":{id},"subscribe":{{"channel":"t{topic}"}}}}"#)
    }

    fn unsubscribe(&mut self, index: usize, topic: usize) -> String {
        let id = self.clients[index].ask(Asked::Unsubscribe { topic });
        format!(r#"{{"id":{id},"unsubscribe":{{"channel":"t{topic}"}}}}"#)
    }

    fn publish(&mut self, index: usize, topic: usize) -> String {
        let data = self.data(self.model.next_label());
        self.publish_data(index, topic, &data).0
    }

    /// A publish of some data that bears the next label; the command, and the publication's number.
    pub(crate) fn publish_data(
        &mut self,
        index: usize,
        topic: usize,
        data: &str,
    ) -> (String, usize) {
        let label = self.model.next_label();
        let too_big = self.plan.rules.too_big(data);
        let publisher = Publisher::Client(index);
        let number = self.model.publish(label, topic, publisher, true, too_big);
        let id = self.clients[index].ask(Asked::Publish { number });
        (format!(r#"{{"id":{id},"publish":{{"channel":"t{topic}","data":{data}}}}}"#), number)
    }

    /// Subscribe, unsubscribe and subscribe again in one message.
    pub(crate) fn flap(&mut self) {
        let Some(index) = self.open_client() else {
            return;
        };
        let topic = self.random_topic();
        let lines = [
            self.subscribe(index, topic),
            self.unsubscribe(index, topic),
            self.subscribe(index, topic),
        ];
        self.send(index, &lines.join("\n"));
    }

    /// Sends a message, sometimes as a binary one, sometimes in fragments.
    pub(crate) fn send(&mut self, index: usize, text: &str) {
        self.model.note(|| format!("c{index} sends {text:?}"));
        let client = &mut self.clients[index];
        let payload = text.as_bytes();
        let opcode = if self.random.random_ratio(1, 8) { wire::BINARY } else { wire::TEXT };
        if self.random.random_ratio(1, 8) {
            let (head, tail) = payload.split_at(self.random.random_range(0..=payload.len()));
            client.send(opcode, false, head);
            client.send(wire::CONTINUATION, true, tail);
        } else {
            client.send(opcode, true, payload);
        }
    }

    pub(crate) fn drop_socket(&mut self) {
        if let Some(index) = self.any_client(|client| client.phase != Phase::Gone) {
            self.hang_up(index);
        }
    }

    /// A client closes in good order.
    pub(crate) fn leave(&mut self) {
        if let Some(index) = self.open_client() {
            self.leave_as(index);
        }
    }

    pub(crate) fn leave_as(&mut self, index: usize) {
        self.model.note(|| format!("c{index} sends a close frame"));
        let payload = if self.random.random() { 1000u16.to_be_bytes().to_vec() } else { vec![] };
        let client = &mut self.clients[index];
        client.send(wire::CLOSE, true, &payload);
        client.phase = Phase::Leaving;
        client.closing = true;
    }

    /// A client sends what no client may send.
    pub(crate) fn misbehave(&mut self) {
        const LINES: [&str; 3] = [r#"{"id":1,"connect":{}}"#, "nonsense", r#"{"id":9}"#];
        if let Some(index) = self.open_client() {
            self.clients[index].misbehaved = true;
            let line = LINES[self.random.random_range(0..LINES.len())];
            self.send(index, line);
        }
    }
}
