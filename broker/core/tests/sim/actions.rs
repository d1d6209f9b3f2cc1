//! What clients do.

use std::fmt::Write as _;

use fanwire_core::{Adapter, PingStyle, SocketId};
use rand::RngExt as _;

use crate::client::{Asked, Client, Phase};
use crate::history::AskedHistory;
use crate::model::Publisher;
use crate::recovery::Subscribing;
use crate::topics::{Since, Wish};
use crate::users;
use crate::wire;
use crate::world::World;

impl World {
    /// A client connects, or comes back, if there is room.
    pub(crate) fn open(&mut self) {
        let open = self.clients.iter().filter(|client| client.phase != Phase::Gone).count();
        if open >= self.plan.clients {
            return;
        }
        let shard = self.random.random_range(0..self.shards.len());
        let back = self.random.random_ratio(3, 4);
        let gone = self.any_client(|client| client.is_away()).filter(|_| back);
        let (index, mut text) = self.open_at(shard, gone);
        if gone.is_some() {
            self.subscribe_held(index, &mut text);
        }
        if self.random.random() {
            text.push('\n');
            text.push_str(&self.random_command(index));
        }
        self.send(index, &text);
    }

    /// A client that is subscribed to a topic from its first message on.
    pub(crate) fn open_subscriber(&mut self, shard: usize, topic: usize) {
        let (index, connect) = self.open_at(shard, None);
        let subscribe = self.subscribe(index, topic, Wish::default());
        self.send(index, &format!("{connect}\n{subscribe}"));
    }

    /// Opens a connection, perhaps for one that was gone; the client's index, and the command with
    /// which it begins.
    pub(crate) fn open_at(&mut self, shard: usize, gone: Option<usize>) -> (usize, String) {
        let index = self.clients.len();
        let pings = if self.random.random() { PingStyle::Messages } else { PingStyle::Frames };
        let socket = SocketId(index as u64);
        let connection = self.shards[shard].open(self.now, socket, Adapter::CentrifugoJson, pings);
        let user = match gone {
            Some(gone) => self.clients[gone].user,
            None => self.random.random_range(0..self.plan.rules.users),
        };
        self.model.note(|| format!("c{index} opens at shard {shard}, before it was {gone:?}"));
        let mut client = Client::new(index, shard, connection, pings, user);
        if let Some(gone) = gone {
            self.model.count("came back");
            self.clients[gone].returned = true;
            client.held = std::mem::take(&mut self.clients[gone].held);
        }
        for call in self.calls.values() {
            call.concerns(&mut client);
        }
        self.clients.push(client);
        let wishes = self.connect_wishes(index);
        (index, self.connect(index, wishes))
    }

    /// The command by which a client connects.
    pub(crate) fn connect(&mut self, index: usize, wishes: Vec<Subscribing>) -> String {
        let user = self.clients[index].user;
        let subs: Vec<_> = wishes
            .iter()
            .map(|wish| format!(r#""{}":{}"#, self.plan.rules.name(wish.topic), spell(&wish.wish)))
            .collect();
        let token = if user == 0 { "" } else { users::token(user) };
        let subs = subs.join(",");
        let id = self.clients[index].ask(Asked::Connect(wishes));
        format!(r#"{{"id":{id},"connect":{{"token":"{token}","subs":{{{subs}}}}}}}"#)
    }

    /// What a client wants to be subscribed to by its connect.
    fn connect_wishes(&mut self, index: usize) -> Vec<Subscribing> {
        let mut wishes: Vec<Subscribing> = Vec::new();
        if !self.random.random_ratio(self.plan.connect_wishes, 100) {
            return wishes;
        }
        for topic in 0..self.plan.rules.topics.len().min(self.plan.rules.topics_max) {
            if self.random.random() {
                let recover = self.since(index, topic);
                wishes.push(self.connect_wish(index, topic, recover));
            }
        }
        wishes
    }

    /// A topic of a connect.
    pub(crate) fn connect_wish(
        &mut self,
        index: usize,
        topic: usize,
        recover: Option<Since>,
    ) -> Subscribing {
        let recoverable = recover.is_some();
        let wish = Wish { recover, recoverable, ..Wish::default() };
        Subscribing { in_connect: true, ..self.subscribing(index, topic, wish) }
    }

    /// Subscribes a client that has come back to what it held before, but for what it is subscribed
    /// to by its connect.
    pub(crate) fn subscribe_held(&mut self, index: usize, text: &mut String) {
        let connect = self.clients[index].awaited.front().map(|(_, asked)| asked.clone());
        let Some(Asked::Connect(wishes)) = connect else {
            return;
        };
        let held: Vec<_> = self.clients[index].held.keys().copied().collect();
        for topic in held {
            if !wishes.iter().any(|wish| wish.topic == topic) {
                let recover = self.clients[index].held_since(topic);
                let must_recover = self.random.random_ratio(1, 8);
                let wish = Wish {
                    recoverable: true,
                    positioned: true,
                    join_leave: self.random.random(),
                    recover,
                    must_recover,
                };
                let subscribe = self.subscribe(index, topic, wish);
                text.push('\n');
                text.push_str(&subscribe);
            }
        }
    }

    /// Where a client goes on: mostly where it was, sometimes where nobody ever was.
    fn since(&mut self, index: usize, topic: usize) -> Option<Since> {
        let held = self.clients[index].held_since(topic);
        match self.random.random_range(0..16) {
            0 => Some(Since { epoch: String::new(), offset: 0, held_ms: None }),
            1 => Some(Since { epoch: "_".to_owned(), held_ms: None, ..held? }),
            2 => {
                let further = self.random.random_range(1..20);
                let held = held?;
                Some(Since { offset: held.offset + further, held_ms: None, ..held })
            }
            3 => Some(Since { epoch: String::new(), held_ms: None, ..held? }),
            4..7 => None,
            _ => held,
        }
    }

    fn open_client(&mut self) -> Option<usize> {
        self.any_client(|client| client.phase == Phase::Open)
    }

    fn random_topic(&mut self) -> usize {
        self.random.random_range(0..self.plan.rules.topics.len())
    }

    /// Data that bears a label, of a length that is seldom too much.
    pub(crate) fn data(&mut self, label: u64) -> String {
        let room = self.plan.rules.outbox_bytes_max.min(8000) - 4096;
        let mut data = format!(r#"{{"n":{label}"#);
        if self.plan.rules.small_outbox && self.random.random_ratio(1, 3) {
            let length = self.random.random_range(1..room + room / 8);
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
        match self.random.random_range(0..22) {
            0..8 => self.subscribe_somehow(index, topic),
            8..12 => self.unsubscribe(index, topic),
            12 => self.ask_history(index, topic),
            13 => self.ask_presence(index, topic),
            _ => self.publish(index, topic),
        }
    }

    pub(crate) fn subscribe_somehow(&mut self, index: usize, topic: usize) -> String {
        let wish = Wish {
            positioned: self.random.random_ratio(1, 3),
            recoverable: self.random.random_ratio(2, 3),
            join_leave: self.random.random(),
            recover: self.since(index, topic),
            must_recover: self.random.random_ratio(1, 5),
        };
        self.subscribe(index, topic, wish)
    }

    /// Notes that a client asks to be subscribed.
    fn subscribing(&mut self, index: usize, topic: usize, wish: Wish) -> Subscribing {
        let sent = self.model.tick();
        self.model.asks.entry((index, topic)).or_default().push(sent);
        Subscribing { topic, wish, sent, sent_ms: self.model.now_ms, in_connect: false }
    }

    pub(crate) fn subscribe(&mut self, index: usize, topic: usize, wish: Wish) -> String {
        let wishes = spell(&wish);
        let asked = self.subscribing(index, topic, wish);
        let id = self.clients[index].ask(Asked::Subscribe(Box::new(asked)));
        let wishes = wishes.trim_start_matches('{');
        let comma = if wishes == "}" { "" } else { "," };
        let name = self.plan.rules.name(topic);
        format!(r#"{{"id":{id},"subscribe":{{"channel":"{name}"{comma}{wishes}}}"#)
    }

    fn unsubscribe(&mut self, index: usize, topic: usize) -> String {
        self.clients[index].note_end(topic, &self.plan.rules, &mut self.model);
        let id = self.clients[index].ask(Asked::Unsubscribe { topic });
        let name = self.plan.rules.name(topic);
        format!(r#"{{"id":{id},"unsubscribe":{{"channel":"{name}"}}}}"#)
    }

    /// A question for a part of a history, by somebody who was perhaps at some position.
    pub(crate) fn history_question(&mut self, topic: usize, by: Option<usize>) -> AskedHistory {
        let since = by.and_then(|index| self.since(index, topic));
        AskedHistory {
            topic,
            limit: self.random.random_range(-1..6),
            since,
            reverse: self.random.random_ratio(1, 3),
            bounded: by.is_some(),
            sent: self.model.tick(),
            sent_ms: self.model.now_ms,
        }
    }

    fn ask_history(&mut self, index: usize, topic: usize) -> String {
        let asked = self.history_question(topic, Some(index));
        let question = asked.spell(self.plan.rules.name(topic));
        let id = self.clients[index].ask(Asked::History(Box::new(asked)));
        format!(r#"{{"id":{id},"history":{{{question}}}}}"#)
    }

    fn ask_presence(&mut self, index: usize, topic: usize) -> String {
        let sent = self.model.tick();
        let name = self.plan.rules.name(topic);
        if self.random.random_ratio(1, 4) {
            let id = self.clients[index].ask(Asked::PresenceStats { topic });
            return format!(r#"{{"id":{id},"presence_stats":{{"channel":"{name}"}}}}"#);
        }
        let id = self.clients[index].ask(Asked::Presence { topic, sent });
        format!(r#"{{"id":{id},"presence":{{"channel":"{name}"}}}}"#)
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
        let publisher = Publisher::Client(index, self.clients[index].user);
        let rules = &self.plan.rules;
        let number = self.model.publish(label, topic, publisher, true, data, rules);
        let id = self.clients[index].ask(Asked::Publish { number });
        let name = rules.name(topic);
        (format!(r#"{{"id":{id},"publish":{{"channel":"{name}","data":{data}}}}}"#), number)
    }

    /// Subscribe, unsubscribe and subscribe again in one message.
    pub(crate) fn flap(&mut self) {
        let Some(index) = self.open_client() else {
            return;
        };
        let topic = self.random_topic();
        let lines = [
            self.subscribe_somehow(index, topic),
            self.unsubscribe(index, topic),
            self.subscribe_somehow(index, topic),
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
        self.clients[index].note_ends(&self.plan.rules, &mut self.model);
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

/// What a subscriber asks for, as a subscribe and a connect spell it.
fn spell(wish: &Wish) -> String {
    let Wish { positioned, recoverable, join_leave, recover, must_recover } = wish;
    let mut fields = Vec::new();
    for (name, wanted) in
        [("positioned", positioned), ("recoverable", recoverable), ("join_leave", join_leave)]
    {
        if *wanted {
            fields.push(format!(r#""{name}":true"#));
        }
    }
    if let Some(Since { epoch, offset, .. }) = recover {
        fields.push(format!(r#""recover":true,"epoch":"{epoch}","offset":{offset}"#));
    }
    if *must_recover {
        fields.push(r#""flag":2"#.to_owned());
    }
    format!("{{{}}}", fields.join(","))
}
