//! What backends do, and what they are answered.

use fanwire_core::{CallId, api};
use rand::RngExt as _;
use serde_json::Value;

use crate::client::{Client, Phase};
use crate::model::{Publisher, Violation, ensure};
use crate::world::World;

/// A call without an answer.
#[derive(Debug, Default)]
pub(crate) struct Awaited {
    batch: bool,
    expected: Vec<Expected>,
    /// Close codes of orders to disconnect everybody.
    closes: Vec<u16>,
    /// Topics that everybody was to be unsubscribed from.
    unsubscribes: Vec<usize>,
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
}

impl Awaited {
    /// What the call may do to a client, even to one that came after it.
    pub(crate) fn concerns(&self, client: &mut Client) {
        client.closes.extend(&self.closes);
        for topic in &self.unsubscribes {
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
        let call = api::decode(method, body.as_bytes()).expect("the call is well formed");
        self.shards[shard].handle_call(self.now, CallId(id), call);
    }

    /// Asks a question whose answer goes to `told`.
    pub(crate) fn question(&mut self, method: &'static str) {
        let expected = vec![Expected::Told(method)];
        self.ask(method, "{}", Awaited { expected, ..Awaited::default() });
    }

    /// Disconnects everybody.
    pub(crate) fn disconnect_all(&mut self) {
        let mut awaited = Awaited::default();
        let body = self.disconnect(&mut awaited, None);
        self.ask("disconnect", &body, awaited);
    }

    fn operation(&mut self, awaited: &mut Awaited) -> (&'static str, String) {
        match self.random.random_range(0..20) {
            0..10 => ("publish", self.api_publish(awaited)),
            10..14 => ("broadcast", self.api_broadcast(awaited)),
            14..17 => ("unsubscribe", self.api_unsubscribe(awaited)),
            17 => {
                let known = self.any_client(|client| client.id.is_some());
                ("disconnect", self.disconnect(awaited, known))
            }
            18 => {
                awaited.expected.push(Expected::Told("info"));
                ("info", "{}".to_owned())
            }
            _ => {
                awaited.expected.push(Expected::Told("channels"));
                ("channels", r#"{"pattern":"t*"}"#.to_owned())
            }
        }
    }

    fn api_publish(&mut self, awaited: &mut Awaited) -> String {
        let topic = self.random.random_range(0..self.plan.rules.topics);
        let label = self.model.next_label();
        let data = self.data(label);
        let too_big = self.plan.rules.too_big(&data);
        let placed = !self.random.random_ratio(1, 8);
        let publisher = Publisher::Call(self.calls_made);
        let number = self.model.publish(label, topic, publisher, placed, too_big);
        awaited.expected.push(Expected::Publish(number));
        for interval in awaited.ends.iter().filter(|_| !awaited.parallel) {
            self.model.intervals[*interval].barred.push(number);
        }
        format!(r#"{{"channel":"t{topic}","data":{data},"skip_history":{}}}"#, !placed)
    }

    fn api_broadcast(&mut self, awaited: &mut Awaited) -> String {
        let label = self.model.next_label();
        let data = self.data(label);
        let too_big = self.plan.rules.too_big(&data);
        let publisher = Publisher::Call(self.calls_made);
        let first = self.random.random_range(0..self.plan.rules.topics);
        let topics = first..self.plan.rules.topics;
        let publish = |topic| self.model.publish(label, topic, publisher, true, too_big);
        awaited.expected.push(Expected::Broadcast(topics.clone().map(publish).collect()));
        let names: Vec<_> = topics.map(|topic| format!(r#""t{topic}""#)).collect();
        format!(r#"{{"channels":[{}],"data":{data}}}"#, names.join(","))
    }

    fn api_unsubscribe(&mut self, awaited: &mut Awaited) -> String {
        let topic = self.random.random_range(0..self.plan.rules.topics);
        awaited.expected.push(Expected::Done("unsubscribe"));
        let one = self.any_client(|client| client.id.is_some());
        let one = one.filter(|_| self.random.random());
        match one {
            Some(index) => *self.clients[index].unsubscribes.entry(topic).or_default() += 1,
            None => awaited.unsubscribes.push(topic),
        }
        let now = self.model.tick();
        for client in &mut self.clients {
            if client.id.is_none() || one.is_some_and(|one| one != client.index) {
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
        format!(r#"{{"user":"","client":"{client}","channel":"t{topic}"}}"#)
    }

    /// An order to disconnect one client, or everybody.
    fn disconnect(&mut self, awaited: &mut Awaited, one: Option<usize>) -> String {
        awaited.expected.push(Expected::Done("disconnect"));
        let code = if self.random.random() { 3503 } else { self.random.random_range(4000..=4999) };
        match one {
            Some(index) => {
                self.clients[index].closes.insert(code);
            }
            None => awaited.closes.push(code),
        }
        for client in &mut self.clients {
            let meant = one.is_none_or(|one| one == client.index);
            client.must_close |= meant && client.id.is_some();
        }
        let client = one.and_then(|index| self.clients[index].id.clone()).unwrap_or_default();
        let custom = match code {
            3503 => String::new(),
            code => format!(r#","disconnect":{{"code":{code},"reason":"go"}}"#),
        };
        format!(r#"{{"user":"","client":"{client}"{custom}}}"#)
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
            Some((offset, epoch)) => self.model.place(number, offset, Some(epoch.to_owned())),
            None => Ok(()),
        }
    }
}
