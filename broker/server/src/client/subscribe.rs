//! `fanwire sub`: prints publications. When the connection is lost it connects again, and goes
//! on where it was in topics with history.

use std::thread;
use std::time::Duration;

use super::connection::Connection;
use super::credentials::connection_token;
use super::endpoint::Endpoint;
use super::error::{Action, ClientError};
use super::positions::Positions;
use super::wire::{
    CONNECT_ID, Command, Publication, Push, RecoveredPush, Reply, Subscribe, Subscribed,
};
use crate::cli::SubArgs;
use crate::output;

/// Back-off as the SDKs do it (specification, section 20): at random between the least and a
/// bound that doubles with every attempt.
const DELAY_MIN: Duration = Duration::from_millis(500);
const DELAY_MAX: Duration = Duration::from_secs(20);

/// Codes of the unsubscribe push from here on ask the client to subscribe again.
const RESUBSCRIBE_CODE_MIN: u32 = 2500;

/// The broker has subscribed us by itself, as the token told it to.
const ALREADY_SUBSCRIBED: u32 = 105;

/// What is left to do for one `fanwire sub`.
struct Subscriber<'a> {
    args: &'a SubArgs,
    endpoint: Endpoint,
    token: Option<String>,
    /// Publications to print before the end; `None` = no end.
    remaining: Option<u64>,
    positions: Positions,
    /// Whether the broker has ever admitted us: an address that never worked is not retried.
    was_connected: bool,
    /// Attempts to connect since it last did.
    attempts: u32,
}

/// Prints publications until there were `--count`, the process is stopped, or the broker refuses.
///
/// # Errors
/// The broker could not be reached, refused, or closed the connection for good.
pub(crate) fn subscribe(args: &SubArgs) -> Result<(), ClientError> {
    let mut subscriber = Subscriber {
        endpoint: Endpoint::parse(&args.url)?,
        token: connection_token(args.token.as_ref()),
        remaining: args.count,
        positions: Positions::default(),
        was_connected: false,
        attempts: 0,
        args,
    };
    loop {
        match subscriber.run_connection() {
            Ok(()) => return Ok(()),
            Err(error) if subscriber.may_reconnect(&error) => {
                let delay = delay(subscriber.attempts);
                subscriber.attempts += 1;
                let seconds = delay.as_secs_f32();
                output::note(&format!("fanwire: {error}; connecting again in {seconds:.1} s"));
                thread::sleep(delay);
            }
            Err(error) => return Err(error),
        }
    }
}

impl Subscriber<'_> {
    fn may_reconnect(&self, error: &ClientError) -> bool {
        self.was_connected && !self.args.once && error.is_passing()
    }

    /// Returns when all publications that were asked for are printed.
    fn run_connection(&mut self) -> Result<(), ClientError> {
        let mut connection = Connection::open(&self.endpoint)?;
        let mut lines = vec![self.connect_line()?];
        for (id, topic) in (CONNECT_ID + 1..).zip(&self.args.topics) {
            lines.push(self.subscribe_line(id, topic)?);
        }
        connection.send(&lines)?;
        loop {
            let line = connection.next_line()?;
            let reply: Reply<'_> = serde_json::from_str(&line)?;
            match reply.push {
                Some(push) => self.take_push(&mut connection, push.get())?,
                None => self.take_reply(&mut connection, reply)?,
            }
            if self.remaining == Some(0) {
                connection.close();
                return Ok(());
            }
        }
    }

    fn connect_line(&self) -> Result<String, ClientError> {
        let subs = self.positions.requests_by_token();
        Ok(Command::connect(self.token.as_deref(), subs).line()?)
    }

    fn subscribe_line(&self, id: u32, topic: &str) -> Result<String, ClientError> {
        let token = self.args.topic_token.as_deref();
        let subscribe = Some(Subscribe { token, ..self.positions.request(topic) });
        Ok(Command { id, subscribe, ..Command::default() }.line()?)
    }

    fn take_reply(
        &mut self,
        connection: &mut Connection,
        reply: Reply<'_>,
    ) -> Result<(), ClientError> {
        // Ids count up from the connect command's: then the topics in their order.
        let topic = reply.id.checked_sub(CONNECT_ID + 1).map(|index| index as usize);
        let topic = topic.and_then(|index| self.args.topics.get(index));
        let error = reply.error;
        if let Some(error) = error.filter(|error| error.code != ALREADY_SUBSCRIBED) {
            let action = topic.cloned().map_or(Action::Connect, Action::Subscribe);
            return Err(ClientError::refused(action, error));
        }
        if let Some(connected) = reply.connect {
            self.was_connected = true;
            self.attempts = 0;
            connection.expect_pings(connected.ping)?;
            for (topic, subscribed) in &connected.subs {
                self.take_subscription(topic, subscribed, true)?;
            }
        }
        let Some(topic) = topic else { return Ok(()) };
        output::note(&format!("fanwire: subscribed to {topic}"));
        match reply.subscribe {
            Some(subscribed) => self.take_subscription(topic, &subscribed, false),
            // The token's subscription, which came with the connect command's reply.
            None => Ok(()),
        }
    }

    /// Takes up a subscription, and prints what it has recovered.
    fn take_subscription(
        &mut self,
        topic: &str,
        subscribed: &Subscribed<'_>,
        by_token: bool,
    ) -> Result<(), ClientError> {
        if self.positions.begin(topic, subscribed, by_token) {
            output::note(&format!("fanwire: some publications of {topic} were missed"));
        }
        for raw in &subscribed.publications {
            let publication = serde_json::from_str(raw.get())?;
            let push = RecoveredPush { channel: topic, publication: raw };
            self.print(topic, &publication, &serde_json::to_string(&push)?)?;
        }
        Ok(())
    }

    /// Prints a publication, unless there were enough.
    fn print(
        &mut self,
        topic: &str,
        publication: &Publication<'_>,
        push: &str,
    ) -> Result<(), ClientError> {
        if self.remaining == Some(0) {
            return Ok(());
        }
        if self.args.json {
            output::line(push)?;
        } else {
            let data = publication.data.map_or("", |data| data.get());
            output::line(&format!("{topic}\t{data}"))?;
        }
        self.positions.advance(topic, publication);
        self.remaining = self.remaining.map(|count| count.saturating_sub(1));
        Ok(())
    }

    fn take_push(&mut self, connection: &mut Connection, text: &str) -> Result<(), ClientError> {
        let push: Push<'_> = serde_json::from_str(text)?;
        if let Some(publication) = &push.publication {
            self.print(&push.channel, publication, text)?;
        }
        let Some(unsubscribe) = push.unsubscribe else { return Ok(()) };
        let index = self.args.topics.iter().position(|topic| *topic == push.channel);
        match index.and_then(|index| u32::try_from(index).ok()) {
            Some(index) if unsubscribe.code >= RESUBSCRIBE_CODE_MIN => {
                connection.send(&[self.subscribe_line(CONNECT_ID + 1 + index, &push.channel)?])
            }
            _ => Err(ClientError::Unsubscribed {
                topic: push.channel,
                code: unsubscribe.code,
                reason: unsubscribe.reason,
            }),
        }
    }
}

fn delay(attempts: u32) -> Duration {
    let bound = DELAY_MIN.saturating_mul(2_u32.saturating_pow(attempts)).min(DELAY_MAX);
    DELAY_MAX.min(DELAY_MIN + rand::random_range(Duration::ZERO..=bound))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_delay_grows_and_has_bounds() {
        for attempts in [0, 1, 5, 31, 32, 1000] {
            let delay = delay(attempts);
            assert!((DELAY_MIN..=DELAY_MAX).contains(&delay), "{attempts}: {delay:?}");
        }
        assert!(delay(0) <= DELAY_MIN * 2);
    }
}
