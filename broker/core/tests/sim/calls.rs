//! What backends do, and what they are answered.

use fanwire_core::{CallId, api};
use rand::RngExt as _;
use serde::Deserialize as _;
use serde_json::Value;

use crate::client::{Client, Phase};
use crate::history::AskedHistory;
use crate::members::Told;
use crate::message::{History, Presence, PresenceStats};
use crate::model::{Publisher, Tick, Violation, ensure};
use crate::past::Removal;
use crate::users;
use crate::world::World;

/// A call without an answer.
#[derive(Debug, Default)]
pub(crate) struct Awaited {
    batch: bool,
    expected: Vec<Expected>,
    /// Close codes of orders to disconnect all connections of a user.
    closes: Vec<(usize, u16)>,
    /// Topics that a user was to be unsubscribed from.
    unsubscribes: Vec<(usize, usize)>,
    /// Subscriptions that it must end.
    ends: Vec<usize>,
    /// Its operations may overtake one another.
    parallel: bool,
}

/// What one operation of a call is to be answered with.
#[derive(Debug)]
enum Expected {
    Publish(usize),
    Broadcast(Vec<usize>),
    Done(&'static str),
    Told(&'static str),
    History(Box<AskedHistory>),
    /// By the index of the removal.
    HistoryRemove(usize),
    Presence {
        topic: usize,
        asked: Tick,
    },
    PresenceStats(usize),
}

impl Expected {
    fn method(&self) -> &'static str {
        match self {
            Self::Publish(_) => "publish",
            Self::Broadcast(_) => "broadcast",
            Self::Done(method) | Self::Told(method) => method,
            Self::History(_) => "history",
            Self::HistoryRemove(_) => "history_remove",
            Self::Presence { .. } => "presence",
            Self::PresenceStats(_) => "presence_stats",
        }
    }
}

impl Awaited {
    /// What the call may do to a client, even to one that came after it.
    pub(crate) fn concerns(&self, client: &mut Client) {
        for (_, code) in self.closes.iter().filter(|(user, _)| *user == client.user) {
            client.closes.insert(*code);
        }
        for (_, topic) in self.unsubscribes.iter().filter(|(user, _)| *user == client.user) {
            *client.unsubscribes.entry(*topic).or_default() += 1;
        }
    }
}

impl World {
    /// A backend calls.
    pub(crate) fn call(&mut self) {
        let mut awaited = Awaited::default();
        if self.random.random_ratio(1, 4) {
            awaited.batch = true;
            awaited.parallel = self.random.random();
            let count = self.random.random_range(0..4);
            let commands: Vec<_> = (0..count)
                .map(|_| {
                    let (method, body) = self.operation(&mut awaited);
                    format!(r#"{{"{method}":{body}}}"#)
                })
                .collect();
            let (commands, parallel) = (commands.join(","), awaited.parallel);
            let body = format!(r#"{{"commands":[{commands}],"parallel":{parallel}}}"#);
            self.ask("batch", &body, awaited);
        } else {
            let (method, body) = self.operation(&mut awaited);
            self.ask(method, &body, awaited);
        }
    }

    /// Hands a call to some shard.
    fn ask(&mut self, method: &str, body: &str, awaited: Awaited) {
        let shard = self.random.random_range(0..self.shards.len());
        self.ask_at(shard, method, body, awaited);
    }

    fn ask_at(&mut self, shard: usize, method: &str, body: &str, awaited: Awaited) {
        let id = self.calls_made;
        self.calls_made += 1;
        self.model.tick();
        self.model.note(|| format!("call {id} at shard {shard}: {method} {body}"));
        for client in self.clients.iter_mut().filter(|client| client.phase != Phase::Gone) {
            awaited.concerns(client);
        }
        self.calls.insert(id, awaited);
        let call = api::decode(method, body.as_bytes(), api::ErrorMode::InBody)
            .expect("the call is well formed");
        self.shards[shard].handle_call(self.now, CallId(id), call);
    }

    /// Asks about the members and the history of a topic.
    pub(crate) fn ask_about(&mut self, topic: usize) {
        let mut awaited = Awaited::default();
        let body = self.api_presence(topic, &mut awaited);
        self.ask("presence", &body, awaited);
        let expected = vec![Expected::PresenceStats(topic)];
        let body = self.of_topic(topic);
        self.ask("presence_stats", &body, Awaited { expected, ..Awaited::default() });
        let mut asked = self.history_question(topic, None);
        asked.limit = -1;
        let body = format!("{{{}}}", asked.spell(self.plan.rules.name(topic)));
        let expected = vec![Expected::History(Box::new(asked))];
        self.ask("history", &body, Awaited { expected, ..Awaited::default() });
    }

    /// Asks a question whose answer goes to `told`.
    pub(crate) fn question(&mut self, method: &'static str) {
        let expected = vec![Expected::Told(method)];
        self.ask(method, "{}", Awaited { expected, ..Awaited::default() });
    }

    /// Disconnects everybody.
    pub(crate) fn disconnect_all(&mut self) {
        for user in 0..self.plan.rules.users {
            let mut awaited = Awaited::default();
            let body = self.disconnect(&mut awaited, None, user);
            self.ask("disconnect", &body, awaited);
        }
    }

    /// Publishes into every topic.
    pub(crate) fn publish_everywhere(&mut self) {
        for topic in 0..self.plan.rules.topics.len() {
            let mut awaited = Awaited::default();
            let body = self.publish_into(topic, true, &mut awaited);
            self.ask("publish", &body, awaited);
        }
    }

    fn operation(&mut self, awaited: &mut Awaited) -> (&'static str, String) {
        let topic = self.random.random_range(0..self.plan.rules.topics.len());
        match self.random.random_range(0..24) {
            0..10 => {
                let placed = !self.random.random_ratio(1, 8);
                ("publish", self.publish_into(topic, placed, awaited))
            }
            10..14 => ("broadcast", self.api_broadcast(awaited)),
            14..17 => ("unsubscribe", self.api_unsubscribe(topic, awaited)),
            17 => {
                let known = self.any_client(|client| client.id.is_some());
                let user = match known {
                    Some(known) => self.clients[known].user,
                    None => self.random.random_range(0..self.plan.rules.users),
                };
                ("disconnect", self.disconnect(awaited, known, user))
            }
            18 => {
                awaited.expected.push(Expected::Told("info"));
                ("info", "{}".to_owned())
            }
            19 => {
                awaited.expected.push(Expected::Told("channels"));
                ("channels", r#"{"pattern":"n*"}"#.to_owned())
            }
            20 => {
                let asked = self.history_question(topic, None);
                let body = format!("{{{}}}", asked.spell(self.plan.rules.name(topic)));
                awaited.expected.push(Expected::History(Box::new(asked)));
                ("history", body)
            }
            21 => {
                if !self.random.random_ratio(1, 3) {
                    return ("presence", self.api_presence(topic, awaited));
                }
                let sent = self.model.tick();
                self.model.removals.push(Removal { topic, sent, answered: None });
                let removal = self.model.removals.len() - 1;
                awaited.expected.push(Expected::HistoryRemove(removal));
                ("history_remove", self.of_topic(topic))
            }
            22 => {
                awaited.expected.push(Expected::PresenceStats(topic));
                ("presence_stats", self.of_topic(topic))
            }
            _ => ("presence", self.api_presence(topic, awaited)),
        }
    }

    fn of_topic(&self, topic: usize) -> String {
        format!(r#"{{"channel":"{}"}}"#, self.plan.rules.name(topic))
    }

    fn api_presence(&mut self, topic: usize, awaited: &mut Awaited) -> String {
        let asked = self.model.tick();
        awaited.expected.push(Expected::Presence { topic, asked });
        self.of_topic(topic)
    }

    /// Publishes some data that bears the next label.
    pub(crate) fn publish_text(&mut self, topic: usize, data: &str) {
        let mut awaited = Awaited::default();
        let body = self.publish_data_into(topic, true, data, &mut awaited);
        self.ask("publish", &body, awaited);
    }

    fn publish_into(&mut self, topic: usize, placed: bool, awaited: &mut Awaited) -> String {
        let data = self.data(self.model.next_label());
        self.publish_data_into(topic, placed, &data, awaited)
    }

    fn publish_data_into(
        &mut self,
        topic: usize,
        placed: bool,
        data: &str,
        awaited: &mut Awaited,
    ) -> String {
        let label = self.model.next_label();
        let publisher = Publisher::Call(self.calls_made);
        let rules = &self.plan.rules;
        let number = self.model.publish(label, topic, publisher, placed, data, rules);
        awaited.expected.push(Expected::Publish(number));
        for interval in awaited.ends.iter().filter(|_| !awaited.parallel) {
            self.model.intervals[*interval].barred.push(number);
        }
        let name = rules.name(topic);
        format!(r#"{{"channel":"{name}","data":{data},"skip_history":{}}}"#, !placed)
    }

    fn api_broadcast(&mut self, awaited: &mut Awaited) -> String {
        let label = self.model.next_label();
        let data = self.data(label);
        let publisher = Publisher::Call(self.calls_made);
        let rules = &self.plan.rules;
        let first = self.random.random_range(0..rules.topics.len());
        let topics = first..rules.topics.len();
        let publish = |topic| self.model.publish(label, topic, publisher, true, &data, rules);
        awaited.expected.push(Expected::Broadcast(topics.clone().map(publish).collect()));
        let names: Vec<_> = topics.map(|topic| format!(r#""{}""#, rules.name(topic))).collect();
        format!(r#"{{"channels":[{}],"data":{data}}}"#, names.join(","))
    }

    fn api_unsubscribe(&mut self, topic: usize, awaited: &mut Awaited) -> String {
        awaited.expected.push(Expected::Done("unsubscribe"));
        let one = self.any_client(|client| client.id.is_some());
        let one = one.filter(|_| self.random.random());
        let user = match one {
            Some(index) => self.clients[index].user,
            None => self.random.random_range(0..self.plan.rules.users),
        };
        match one {
            Some(index) => *self.clients[index].unsubscribes.entry(topic).or_default() += 1,
            None => awaited.unsubscribes.push((user, topic)),
        }
        let now = self.model.tick();
        for client in &mut self.clients {
            let meant = client.user == user && one.is_none_or(|one| one == client.index);
            if client.id.is_none() || !meant {
                continue;
            }
            if let Some(&interval) = client.live.get(&topic) {
                self.model.intervals[interval].must_end = true;
                awaited.ends.push(interval);
            }
            if client.uplink.is_empty() {
                client.unsubscribed.insert(topic, now);
            }
        }
        let client = one.and_then(|index| self.clients[index].id.clone()).unwrap_or_default();
        let (user, name) = (users::name(user), self.plan.rules.name(topic));
        format!(r#"{{"user":"{user}","client":"{client}","channel":"{name}"}}"#)
    }

    /// An order to disconnect one connection of a user, or all.
    fn disconnect(&mut self, awaited: &mut Awaited, one: Option<usize>, user: usize) -> String {
        awaited.expected.push(Expected::Done("disconnect"));
        let code = if self.random.random() { 3503 } else { self.random.random_range(4000..=4999) };
        match one {
            Some(index) => {
                self.clients[index].closes.insert(code);
            }
            None => awaited.closes.push((user, code)),
        }
        for client in &mut self.clients {
            let meant = client.user == user && one.is_none_or(|one| one == client.index);
            client.must_close |= meant && client.id.is_some();
        }
        let client = one.and_then(|index| self.clients[index].id.clone()).unwrap_or_default();
        let custom = match code {
            3503 => String::new(),
            code => format!(r#","disconnect":{{"code":{code},"reason":"go"}}"#),
        };
        format!(r#"{{"user":"{}","client":"{client}"{custom}}}"#, users::name(user))
    }

    /// A call is answered.
    pub(crate) fn answered(&mut self, call: CallId, body: &[u8]) -> Result<(), Violation> {
        let text = String::from_utf8_lossy(body).into_owned();
        self.model.note(|| format!("call {} is answered {text}", call.0));
        let awaited = self.calls.remove(&call.0);
        ensure!(awaited.is_some(), None, None, "call {} is answered twice", call.0);
        let Awaited { batch, expected, ends, .. } = awaited.unwrap_or_default();
        let now = self.model.tick();
        for interval in ends {
            self.model.intervals[interval].end_told.get_or_insert(now);
        }
        let answer: Value = serde_json::from_str(&text).unwrap_or_default();
        let replies = match batch {
            true => answer["replies"].as_array().cloned().unwrap_or_default(),
            false => vec![answer],
        };
        let whole = replies.len() == expected.len();
        ensure!(whole, None, None, "call {} lacks answers: {text}", call.0);
        for (reply, expected) in replies.iter().zip(expected) {
            self.operation_answered(reply, batch, expected)?;
        }
        Ok(())
    }

    fn operation_answered(
        &mut self,
        reply: &Value,
        batch: bool,
        expected: Expected,
    ) -> Result<(), Violation> {
        let result = |method| reply.get(if batch { method } else { "result" });
        let missing = |method| format!("{method} is answered {reply}");
        match expected {
            Expected::Publish(number) => self.published(number, reply, result("publish")),
            Expected::Broadcast(numbers) => {
                let responses = result("broadcast").and_then(|found| found["responses"].as_array());
                let responses = responses.cloned().unwrap_or_default();
                let whole = responses.len() == numbers.len();
                ensure!(whole, None, None, "{}", missing("broadcast"));
                for (number, response) in numbers.into_iter().zip(&responses) {
                    self.published(number, response, response.get("result"))?;
                }
                Ok(())
            }
            Expected::Done(method) => {
                let empty =
                    result(method).and_then(Value::as_object).is_some_and(|it| it.is_empty());
                ensure!(empty, None, None, "{}", missing(method));
                Ok(())
            }
            Expected::Told(method) => {
                ensure!(result(method).is_some(), None, None, "{}", missing(method));
                self.told.extend(result(method).cloned());
                Ok(())
            }
            expected => {
                let method = expected.method();
                self.topic_told(expected, reply, result(method))
            }
        }
    }

    /// The answer to a question about a topic.
    fn topic_told(
        &mut self,
        expected: Expected,
        reply: &Value,
        result: Option<&Value>,
    ) -> Result<(), Violation> {
        let rules = &self.plan.rules;
        let Some(result) = result else {
            let code = reply["error"]["code"].as_u64().unwrap_or(0);
            let (topic, available) = match expected {
                Expected::History(asked) => {
                    return self.model.history_refused(None, &asked, code, rules);
                }
                Expected::HistoryRemove(removal) => {
                    let topic = self.model.removals[removal].topic;
                    (topic, rules.keeps(topic))
                }
                Expected::Presence { topic, .. } | Expected::PresenceStats(topic) => {
                    (topic, rules.topics[topic].options.presence)
                }
                _ => (usize::MAX, true),
            };
            ensure!(code == 108 && !available, None, Some(topic), "answered {reply}");
            return Ok(());
        };
        let read = |found: Option<()>| {
            ensure!(found.is_some(), None, None, "not understood: {result}");
            Ok(())
        };
        match expected {
            Expected::History(asked) => match History::deserialize(result) {
                Ok(told) => self.model.history_told(None, &asked, &told, rules),
                Err(_) => read(None),
            },
            Expected::Presence { topic, asked } => match Presence::deserialize(result) {
                Ok(Presence { presence: members }) => {
                    self.model.count("presence told");
                    let answered = self.model.tick();
                    self.model.told.push(Told { by: None, topic, asked, answered, members });
                    Ok(())
                }
                Err(_) => read(None),
            },
            Expected::PresenceStats(topic) => match PresenceStats::deserialize(result) {
                Ok(told) => {
                    self.stats.insert(topic, (told.num_clients, told.num_users));
                    Ok(())
                }
                Err(_) => read(None),
            },
            Expected::HistoryRemove(removal) => {
                self.model.count("history removed");
                self.model.removals[removal].answered = Some(self.model.tick());
                Ok(())
            }
            _ => read(None),
        }
    }

    fn published(
        &mut self,
        number: usize,
        reply: &Value,
        result: Option<&Value>,
    ) -> Result<(), Violation> {
        let Some(result) = result else {
            return self.model.refused(number, reply["error"]["code"].as_u64().unwrap_or(0));
        };
        self.model.acked(number)?;
        let placed = self.model.publications[number].placed;
        let position = result["offset"].as_u64().zip(result["epoch"].as_str());
        ensure!(placed == position.is_some(), None, None, "{number} is answered {reply}");
        match position {
            Some((offset, epoch)) => {
                let epoch = self.model.epoch(self.model.publications[number].topic, epoch);
                self.model.place(number, offset, Some(epoch))
            }
            None => Ok(()),
        }
    }
}
