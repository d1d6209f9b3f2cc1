//! What clients send: bytes to commands, and which room each command is for.

use super::subscribe::NoSubscription;
use super::{Reading, Shard};
use crate::api::TopicQuery;
use crate::connection::{Closing, Phase};
use crate::fault::{Disconnect, Refusal};
use crate::ids::ConnectionId;
use crate::protocol::{Adapter, Command, PingStyle, Reply, Request};
use crate::time::Time;
use crate::websocket::{Bounds, Compression, Control, Data, Event, Payload};

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
                    && let Some(next) = connection.timer.answered()
                {
                    connection.timer = next;
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
        let adapter = connection.adapter;
        let mut rest = Some(message.as_ref());
        while let Some(request) = adapter.next(&mut rest) {
            let flow = match request {
                Ok(request) => self.request(id, request),
                Err(malformed) => self.bad_request(id, malformed.0),
            };
            if flow.is_break() {
                return;
            }
        }
    }

    pub(super) fn bad_request(&mut self, id: ConnectionId, cause: &'static str) -> Reading {
        self.disconnect(id, &Disconnect::BAD_REQUEST, cause);
        Reading::Break(())
    }

    fn request(&mut self, id: ConnectionId, request: Request<'_>) -> Reading {
        self.counters.commands += 1;
        let Some(connection) = self.connections.get(id) else {
            return Reading::Break(());
        };
        let refused = matches!(connection.phase, Phase::Refused);
        let live = match connection.phase {
            Phase::Closing(_) => return Reading::Break(()),
            Phase::Opening | Phase::Refused => false,
            Phase::Live(_) => true,
        };
        let Request { id: command, command: asked } = request;
        match asked {
            Command::Connect(asked) if !live => self.connect(id, command, &asked),
            Command::Connect(_) => self.bad_request(id, "second connect"),
            // Sent before the client knew.
            _ if refused => Reading::Continue(()),
            _ if !live => self.bad_request(id, "command before connect"),
            Command::Pong => self.pong(id),
            Command::Send => {
                self.disconnect(id, &Disconnect::NOT_AVAILABLE, "send without a receiver");
                Reading::Break(())
            }
            Command::Refresh { token } => self.refresh(id, command, &token),
            asked => self.answer(id, command, asked),
        }
    }

    /// Commands that are answered by a reply, whatever becomes of them.
    fn answer(&mut self, id: ConnectionId, command: u32, asked: Command<'_>) -> Reading {
        let outcome = match asked {
            Command::Subscribe(mut subscribe) => self.subscribe(id, command, &mut subscribe),
            Command::Unsubscribe { topic } => {
                self.unsubscribe(id, command, &topic);
                Ok(())
            }
            Command::Publish { topic, data, stream } => {
                let data = data.as_deref();
                self.publish(id, command, &topic, data, stream).map_err(NoSubscription::from)
            }
            Command::Presence { topic } => {
                self.query(id, command, &topic, TopicQuery::Presence).map_err(Into::into)
            }
            Command::PresenceStats { topic } => {
                self.query(id, command, &topic, TopicQuery::PresenceStats).map_err(Into::into)
            }
            Command::History { topic, range } => {
                let query = TopicQuery::History(range);
                self.query(id, command, &topic, query).map_err(Into::into)
            }
            Command::SubRefresh { topic, token } => self.sub_refresh(id, command, &topic, &token),
            Command::Rpc { method } if self.settings.client.rpc_ping && method == "ping" => {
                self.reply(id, command, &Reply::Called);
                Ok(())
            }
            _ => Err(Refusal::NotAvailable.into()),
        };
        match outcome {
            Ok(()) => Reading::Continue(()),
            Err(NoSubscription::Refused(refusal)) => {
                self.reply(id, command, &Reply::Refused(refusal));
                Reading::Continue(())
            }
            Err(NoSubscription::Disconnected) => Reading::Break(()),
        }
    }

    fn pong(&mut self, id: ConnectionId) -> Reading {
        if let Some(connection) = self.connections.get_mut(id)
            && connection.pings == PingStyle::Messages
            && let Some(next) = connection.timer.answered()
        {
            connection.timer = next;
            return Reading::Continue(());
        }
        self.bad_request(id, "pong without a ping")
    }
}
