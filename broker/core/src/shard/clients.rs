//! What clients send: bytes to commands, and the commands that concern no topic's owner.

use std::ops::ControlFlow;
use std::sync::Arc;

use rand::Rng as _;

use super::Shard;
use crate::connection::{Closing, Phase, Timer};
use crate::fault::{Disconnect, Refusal};
use crate::ids::ConnectionId;
use crate::protocol::{Adapter, Command, PingStyle, Reply, Request};
use crate::session::{Session, SubscriptionState, policy};
use crate::time::Time;
use crate::websocket::{Bounds, Compression, Control, Data, Event, Payload};

/// Nothing more of this message, or of this connection, is read.
type Flow = ControlFlow<()>;

impl Shard {
    /// Takes bytes from a connection's socket. They are unmasked in place.
    pub fn handle_bytes(&mut self, now: Time, id: ConnectionId, bytes: &mut [u8]) {
        self.now = now;
        self.counters.received_bytes += bytes.len() as u64;
        let client = &self.settings.client;
        let (message_bytes_max, fragments_max) = (client.message_bytes_max, client.fragments_max);
        let mut input = bytes;
        while let Some(connection) = self.connections.get_mut(id) {
            if let Phase::Closing(Closing::OutOfSync { .. } | Closing::Done) = connection.phase {
                break;
            }
            let deflate = connection.compression != Compression::NONE;
            let bounds = Bounds { message_bytes_max, fragments_max, deflate };
            match connection.assembler.next(&mut input, &bounds, &mut self.inflater) {
                Ok(None) => break,
                Ok(Some(event)) => self.event(id, event),
                Err(violation) => {
                    self.out_of_sync(id, &violation.disconnect(), violation.cause());
                    break;
                }
            }
        }
        self.settle();
    }

    /// The peer broke the framing: nothing that follows can be read.
    fn out_of_sync(&mut self, id: ConnectionId, disconnect: &Disconnect, cause: &'static str) {
        let Some(connection) = self.connections.get_mut(id) else {
            return;
        };
        if let Phase::Closing(_) = connection.phase {
            // It was told to go already, and its close frame can be found no more.
            self.peer_closed(id);
            return;
        }
        self.counters.disconnects += 1;
        self.close(id, Some(disconnect), Closing::OutOfSync { shut_down: false }, cause);
    }

    fn event(&mut self, id: ConnectionId, event: Event<'_>) {
        let Some(connection) = self.connections.get_mut(id) else {
            return;
        };
        let closing = matches!(connection.phase, Phase::Closing(_));
        match event {
            Event::Close(_) if closing => self.peer_closed(id),
            Event::Close(code) => {
                let echo = code.map(|code| Disconnect { code, reason: "".into() });
                self.close(id, echo.as_ref(), Closing::Done, "the client closes");
            }
            _ if closing => {}
            Event::Message(..) if self.draining => {}
            Event::Message(data, message) => self.message(id, data, &message),
            Event::Ping(payload) => self.push_control(id, Control::Pong, payload.as_ref()),
            Event::Pong => {
                if connection.pings == PingStyle::Frames
                    && let Timer::Pong(_, next) = connection.timer
                {
                    connection.timer = Timer::Ping(next);
                }
            }
        }
    }

    fn message(&mut self, id: ConnectionId, data: Data, message: &Payload<'_>) {
        let Some(connection) = self.connections.get(id) else {
            return;
        };
        if connection.adapter == Adapter::Echo {
            return self.echo(id, data, message.as_ref());
        }
        for request in connection.adapter.decode(message.as_ref()) {
            let flow = match request {
                Ok(request) => self.request(id, request),
                Err(malformed) => self.bad_request(id, malformed.0),
            };
            if flow.is_break() {
                return;
            }
        }
    }

    fn bad_request(&mut self, id: ConnectionId, cause: &'static str) -> Flow {
        self.disconnect(id, &Disconnect::BAD_REQUEST, cause);
        Flow::Break(())
    }

    fn request(&mut self, id: ConnectionId, request: Request<'_>) -> Flow {
        self.counters.commands += 1;
        let Some(connection) = self.connections.get(id) else {
            return Flow::Break(());
        };
        let live = match connection.phase {
            Phase::Closing(_) => return Flow::Break(()),
            Phase::Opening => false,
            Phase::Live(_) => true,
        };
        let Request { id: command, command: asked } = request;
        match asked {
            Command::Connect { token } if !live => return self.connect(id, command, &token),
            Command::Connect { .. } => return self.bad_request(id, "second connect"),
            _ if !live => return self.bad_request(id, "command before connect"),
            Command::Pong => return self.pong(id),
            Command::Send => {
                self.disconnect(id, &Disconnect::NOT_AVAILABLE, "send without a receiver");
                return Flow::Break(());
            }
            Command::Refresh { token } if token.is_empty() => {
                return self.bad_request(id, "refresh without a token");
            }
            Command::Refresh { .. } => {
                self.disconnect(id, &Disconnect::INVALID_TOKEN, "no key to check a token with");
                return Flow::Break(());
            }
            asked => self.answer(id, command, asked),
        }
        Flow::Continue(())
    }

    /// Commands that are answered by a reply, whatever becomes of them.
    fn answer(&mut self, id: ConnectionId, command: u32, asked: Command<'_>) {
        let outcome = match asked {
            Command::Subscribe(subscribe) => self.subscribe(id, command, &subscribe),
            Command::Unsubscribe { topic } => {
                self.unsubscribe(id, command, &topic);
                Ok(())
            }
            Command::Publish { topic, data, stream } => {
                self.publish(id, command, &topic, data, stream)
            }
            Command::Presence { topic } | Command::History { topic } => {
                Err(policy::options(&self.settings, &topic).err().unwrap_or(Refusal::NotAvailable))
            }
            Command::SubRefresh { topic, token } => {
                Err(self.refuse_sub_refresh(id, &topic, &token))
            }
            _ => Err(Refusal::NotAvailable),
        };
        if let Err(refusal) = outcome {
            self.reply(id, command, &Reply::Refused(refusal));
        }
    }

    /// Subscriptions by token do not exist in this version, so none can be refreshed.
    fn refuse_sub_refresh(&self, id: ConnectionId, topic: &str, token: &str) -> Refusal {
        match self.subscription(id, topic) {
            None => Refusal::PermissionDenied,
            Some(_) if token.is_empty() => Refusal::BadRequest,
            Some(_) => Refusal::NotAvailable,
        }
    }

    fn connect(&mut self, id: ConnectionId, command: u32, token: &str) -> Flow {
        let client = &self.settings.client;
        if !client.insecure && !token.is_empty() {
            self.disconnect(id, &Disconnect::INVALID_TOKEN, "no key to check a token with");
            return Flow::Break(());
        }
        if !client.insecure && !client.anonymous {
            return self.bad_request(id, "connect without a token");
        }
        let ping_seconds = u32::try_from(client.ping_interval.as_secs()).unwrap_or(u32::MAX).max(1);
        let mut bytes = [0; 16];
        self.random.fill_bytes(&mut bytes);
        let client = uuid::Builder::from_random_bytes(bytes).into_uuid();
        let first_ping = self.first_ping();
        let Some(connection) = self.connections.get_mut(id) else {
            return Flow::Break(());
        };
        let ping_seconds = (connection.pings == PingStyle::Messages).then_some(ping_seconds);
        let user = Arc::clone(&self.anonymous);
        let session = Session { client, user, subscriptions: Vec::new() };
        connection.phase = Phase::Live(Box::new(session));
        self.set_timer(id, Timer::Ping(first_ping));
        let node = Arc::clone(&self.node);
        let reply = Reply::Connected { client, version: &node.version, ping_seconds };
        self.reply(id, command, &reply);
        Flow::Continue(())
    }

    fn pong(&mut self, id: ConnectionId) -> Flow {
        if let Some(connection) = self.connections.get_mut(id)
            && let (PingStyle::Messages, Timer::Pong(_, next)) =
                (connection.pings, connection.timer)
        {
            connection.timer = Timer::Ping(next);
            return Flow::Continue(());
        }
        self.bad_request(id, "pong without a ping")
    }

    /// The subscription of a connection to a topic, begun or not.
    pub(super) fn subscription(&self, id: ConnectionId, topic: &str) -> Option<SubscriptionState> {
        let topic = self.local.find(topic)?;
        let session = self.connections.get(id)?.session()?;
        session.subscription(topic).map(|(_, state)| state)
    }
}
