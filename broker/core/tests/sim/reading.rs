//! What a client makes of the messages that it reads: replies to what it has asked, and pushes.

use crate::client::{Asked, Client, Held};
use crate::members::Told;
use crate::message::{Connected, Message, Push, Subscribed};
use crate::model::{Model, Violation, ensure};
use crate::plan::Rules;
use crate::recovery::Subscribing;
use fanwire_core::PingStyle;

impl Client {
    pub(crate) fn message(
        &mut self,
        line: &[u8],
        rules: &Rules,
        model: &mut Model,
    ) -> Result<(), Violation> {
        let by = Some(self.index);
        if line == b"{}" {
            ensure!(self.pings == PingStyle::Messages, by, None, "a ping message");
            self.ping();
            return Ok(());
        }
        let Ok(message) = serde_json::from_slice::<Message<'_>>(line) else {
            ensure!(false, by, None, "not understood: {}", String::from_utf8_lossy(line));
            return Ok(());
        };
        if let Some(push) = message.push {
            ensure!(message.id == 0 && self.id.is_some(), by, None, "a push before its time");
            return self.push(push, rules, model);
        }
        let asked = self.awaited.pop_front();
        ensure!(asked.is_some(), by, None, "a reply to nothing");
        let Some((id, asked)) = asked else {
            return Ok(());
        };
        ensure!(id == message.id, by, None, "a reply to {}, awaited: {id} {asked:?}", message.id);
        if let Some(left) = &mut self.in_hand {
            ensure!(*left > 0, by, None, "a reply to what came after the drain: {asked:?}");
            *left -= 1;
        }
        match &message.error {
            Some(error) => self.refused(asked, error.code, rules, model),
            None => self.granted(asked, message, rules, model),
        }
    }

    fn granted(
        &mut self,
        asked: Asked,
        reply: Message<'_>,
        rules: &Rules,
        model: &mut Model,
    ) -> Result<(), Violation> {
        let by = Some(self.index);
        match (asked, reply) {
            (Asked::Connect(wishes), Message { connect: Some(connect), .. }) => {
                self.connected(&wishes, connect, rules, model)?;
            }
            (Asked::Subscribe(asked), Message { subscribe: Some(reply), .. }) => {
                self.subscribed(&asked, &reply, rules, model)?;
            }
            (Asked::Unsubscribe { topic }, Message { unsubscribe: Some(_), .. }) => {
                self.omitted.remove(&topic);
                if let Some(interval) = self.live.remove(&topic) {
                    model.end(interval);
                }
            }
            (Asked::Publish { number }, Message { publish: Some(_), .. }) => model.acked(number)?,
            (Asked::History(asked), Message { history: Some(told), .. }) => {
                let allowed = rules.topics[asked.topic].options.allow_history_for_client;
                ensure!(allowed, by, Some(asked.topic), "it may not read this history");
                model.history_told(by, &asked, &told, rules)?;
            }
            (Asked::Presence { topic, sent }, Message { presence: Some(told), .. }) => {
                let options = &rules.topics[topic].options;
                let allowed = options.presence && options.allow_presence_for_client;
                ensure!(allowed, by, Some(topic), "it may not know who is there");
                model.count("presence told");
                let (asked, answered, members) = (sent, model.tick(), told.presence);
                model.told.push(Told { by, topic, asked, answered, members });
            }
            (Asked::PresenceStats { topic }, Message { presence_stats: Some(told), .. }) => {
                let few = told.num_users <= told.num_clients.min(rules.users as u64);
                ensure!(few, by, Some(topic), "{told:?}");
            }
            (asked, _) => ensure!(false, by, None, "a reply of the wrong kind to {asked:?}"),
        }
        Ok(())
    }

    fn connected(
        &mut self,
        wishes: &[Subscribing],
        connect: Connected,
        rules: &Rules,
        model: &mut Model,
    ) -> Result<(), Violation> {
        let by = Some(self.index);
        model.names.insert(connect.client.clone(), (self.index, self.user));
        self.id = Some(connect.client);
        let mut subs = connect.subs;
        for wish in wishes {
            let topic = wish.topic;
            if let Some(reply) = subs.remove(rules.name(topic)) {
                model.count("subscribed by connect");
                if reply.recovered {
                    model.count("recovered by connect");
                }
                self.subscribed(wish, &reply, rules, model)?;
            } else {
                let ended = self.may_have_ended(topic);
                ensure!(ended, by, Some(topic), "connected without this topic");
                self.omitted.insert(topic);
            }
        }
        ensure!(subs.is_empty(), by, None, "connected with {subs:?}");
        Ok(())
    }

    fn subscribed(
        &mut self,
        asked: &Subscribing,
        reply: &Subscribed,
        rules: &Rules,
        model: &mut Model,
    ) -> Result<(), Violation> {
        let (by, topic) = (Some(self.index), asked.topic);
        let before = self.live.contains_key(&topic) || self.omitted.contains(&topic);
        ensure!(!before, by, Some(topic), "subscribed although it was subscribed");
        let room = self.live.len() + self.omitted.len() < rules.topics_max;
        ensure!(room, by, Some(topic), "subscribed above the limit");
        let told = rules.topics[topic].granted(&asked.wish).positioned;
        if told && *reply == Subscribed::default() && self.may_have_ended(topic) {
            self.live.insert(topic, model.subscribed_in_vain(self.index, asked));
            return Ok(());
        }
        let must_end = self.unsubscribed.get(&topic).is_some_and(|at| asked.sent < *at);
        let interval = model.subscribed(self.index, asked, reply, must_end, rules)?;
        self.live.insert(topic, interval);
        if let Some(epoch) = reply.epoch.clone() {
            let offset = model.intervals[interval].last_offset.unwrap_or_default();
            self.held.insert(topic, Held { epoch, offset, used_ms: asked.sent_ms });
        }
        Ok(())
    }

    fn refused(
        &mut self,
        asked: Asked,
        code: u64,
        rules: &Rules,
        model: &mut Model,
    ) -> Result<(), Violation> {
        let by = Some(self.index);
        match (asked, code) {
            (Asked::Subscribe(asked), 105) => {
                let topic = asked.topic;
                let live = self.live.contains_key(&topic) || self.omitted.contains(&topic);
                // Until it was refused it was under way.
                let pending = self.undone.get(&topic).is_some_and(|at| asked.sent <= *at);
                ensure!(
                    live || pending,
                    by,
                    Some(topic),
                    "refused as subscribed although it was not"
                );
            }
            (Asked::Subscribe(asked), 106) => {
                let full = self.live.len() + self.omitted.len() >= rules.topics_max;
                let pending = self.undone.values().any(|at| asked.sent <= *at);
                ensure!(full || pending, by, Some(asked.topic), "refused as one topic too many");
            }
            (Asked::Subscribe(asked), 112) => {
                model.unrecoverable(self.index, &asked, rules)?;
                self.undone.insert(asked.topic, model.now());
                // It begins anew, if at all.
                self.held.remove(&asked.topic);
            }
            (Asked::Subscribe(asked), 111) => {
                let recovers = rules.topics[asked.topic].granted(&asked.wish).recovering;
                let much = recovers && rules.small_outbox;
                ensure!(much, by, Some(asked.topic), "refused for now");
                model.count("refused for now");
                self.undone.insert(asked.topic, model.now());
            }
            (Asked::Publish { number }, 103) => {
                let topic = model.publications[number].topic;
                let allowed = !rules.subscribers_publish || self.live.contains_key(&topic);
                ensure!(!allowed, by, Some(topic), "{number} was refused with 103");
                model.refused(number, code)?;
            }
            (Asked::Publish { number }, _) => model.refused(number, code)?,
            (Asked::History(asked), code) => model.history_refused(by, &asked, code, rules)?,
            (Asked::Presence { topic, .. } | Asked::PresenceStats { topic }, code) => {
                let options = &rules.topics[topic].options;
                let expected = if options.presence { 103 } else { 108 };
                let allowed = options.presence && options.allow_presence_for_client;
                let justified = code == expected && !allowed;
                ensure!(justified, by, Some(topic), "{code} to who is there");
            }
            (asked, code) => ensure!(false, by, None, "{asked:?} was refused with {code}"),
        }
        Ok(())
    }

    fn push(&mut self, push: Push<'_>, rules: &Rules, model: &mut Model) -> Result<(), Violation> {
        let by = Some(self.index);
        let topic = rules.topic(push.channel);
        if push.unsubscribe.is_some() {
            return self.unsubscribed_unasked(&push, topic, model);
        }
        let Some(interval) = self.live.get(&topic).copied() else {
            ensure!(false, by, Some(topic), "a push of a topic it is not subscribed to");
            return Ok(());
        };
        if let Some(publication) = push.publication {
            let number = model.seen(interval, &publication)?;
            if let (Some(held), Some(offset), Some(_)) =
                (self.held.get_mut(&topic), publication.offset, model.intervals[interval].epoch)
                && model.intervals[interval].granted.positioned
            {
                held.offset = offset;
                held.used_ms = held.used_ms.max(model.publications[number].sent_ms);
            }
            return Ok(());
        }
        let joined = push.join.is_some();
        let event = push.join.or(push.leave);
        let hears = model.intervals[interval].granted.hears_joins;
        ensure!(hears && event.is_some(), by, Some(topic), "a push that nobody asked for");
        if let Some(event) = event {
            model.count(if joined { "join heard" } else { "leave heard" });
            model.intervals[interval].heard.push((joined, event.info));
        }
        Ok(())
    }

    /// A backend has ended a subscription.
    fn unsubscribed_unasked(
        &mut self,
        push: &Push<'_>,
        topic: usize,
        model: &mut Model,
    ) -> Result<(), Violation> {
        let (by, of) = (Some(self.index), Some(topic));
        let code = push.unsubscribe.as_ref().map(|unsubscribe| unsubscribe.code);
        let asked = self.unsubscribes.get_mut(&topic).filter(|count| **count > 0);
        ensure!(code == Some(2000) && asked.is_some(), by, of, "unsubscribed with {code:?}");
        model.count("unsubscribed by a backend");
        if let Some(count) = asked {
            *count -= 1;
        }
        if self.omitted.remove(&topic) {
            return Ok(());
        }
        let interval = self.live.remove(&topic);
        // The order may have met a subscribe that was refused.
        let known = interval.is_some() || self.undone.contains_key(&topic);
        ensure!(known, by, of, "unsubscribed although it was not subscribed");
        interval.into_iter().for_each(|interval| model.end(interval));
        Ok(())
    }
}
