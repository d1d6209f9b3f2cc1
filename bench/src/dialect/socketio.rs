//! Socket.IO protocol 5 over Engine.IO protocol 4, WebSocket only (both as in the Socket.IO
//! project's protocol documents). Rooms are not part of the protocol: the server must know the
//! events "subscribe" (topic), "unsubscribe" (topic) and "publish" (topic, data), acknowledge them,
//! and deliver publications in any event. `bench/peers/socketio.mjs` is such a server.

use std::io::Write;

use crate::client::target::Target;
use crate::dialect::{
    Answer, Capabilities, Dialect, Event, Joining, OnEvent, Opening, Recovery, Request,
    Subscribing, Topic, json_string,
};
use crate::error::ClientError;
use crate::payload::is_stamped;

// Packets: Engine.IO's type, and behind "message" (4) Socket.IO's.
const OPEN: &[u8] = b"0";
const CLOSE: &[u8] = b"1";
const PING: &[u8] = b"2";
const PONG: &[u8] = b"3";
const CONNECT: &[u8] = b"40";
const DISCONNECT: &[u8] = b"41";
const ACKNOWLEDGEMENT: &[u8] = b"43";
const CONNECT_ERROR: &[u8] = b"44";

/// Socket.IO in its main namespace.
#[derive(Debug)]
pub(crate) struct Socketio;

impl Dialect for Socketio {
    fn capabilities(&self) -> Capabilities {
        Capabilities {
            subscribing: Subscribing::ByCommand,
            has_topics: true,
            publishes: true,
            answers_publications: true,
            recovers: false,
            has_questions: false,
        }
    }

    fn opening(&self) -> Opening {
        Opening { subprotocol: None, is_binary: false, joining: Joining::Greeted }
    }

    fn path(&self, target: &Target, _topic: Option<Topic<'_>>) -> String {
        if target.path.contains("EIO=") {
            return target.path.clone();
        }
        "/socket.io/?EIO=4&transport=websocket".to_owned()
    }

    fn append_join(&self, _client: &str, output: &mut Vec<u8>) {
        output.extend_from_slice(CONNECT);
    }

    fn append_subscribe(
        &self,
        request: u32,
        topic: Topic<'_>,
        _recovery: Recovery<'_>,
        output: &mut Vec<u8>,
    ) {
        // Writing to a Vec cannot fail, here and below.
        let _ = write!(output, r#"42{request}["subscribe",{}]"#, json_string(topic.name));
    }

    fn append_unsubscribe(&self, request: u32, topic: Topic<'_>, output: &mut Vec<u8>) {
        let _ = write!(output, r#"42{request}["unsubscribe",{}]"#, json_string(topic.name));
    }

    fn append_publish(&self, request: u32, topic: Topic<'_>, payload: &[u8], output: &mut Vec<u8>) {
        let _ = write!(output, r#"42{request}["publish",{},"#, json_string(topic.name));
        output.extend_from_slice(payload);
        output.push(b']');
    }

    fn append_pong(&self, ping: &[u8], output: &mut Vec<u8>) {
        output.extend_from_slice(PONG);
        output.extend_from_slice(ping);
    }

    fn walk(&self, bytes: &[u8], on_event: &mut OnEvent<'_>) -> Result<usize, ClientError> {
        if is_stamped(bytes) {
            on_event(Event::Delivery(bytes))?;
        } else {
            understand(bytes, on_event)?;
        }
        Ok(bytes.len())
    }
}

fn understand(packet: &[u8], on_event: &mut OnEvent<'_>) -> Result<(), ClientError> {
    if let Some(body) = packet.strip_prefix(PING) {
        return on_event(Event::Ping(body));
    }
    if let Some(numbered) = packet.strip_prefix(ACKNOWLEDGEMENT) {
        let digits = numbered.iter().position(|byte| !byte.is_ascii_digit());
        let digits = numbered.get(..digits.unwrap_or(numbered.len())).unwrap_or_default();
        let number = std::str::from_utf8(digits).ok().and_then(|digits| digits.parse().ok());
        let number = number.ok_or(ClientError::Malformed { what: "acknowledgement" })?;
        return on_event(Event::Answer(Answer::accepted(Request::Number(number))));
    }
    if packet.starts_with(CONNECT) {
        return on_event(Event::Joined { version: None });
    }
    if let Some(words) = packet.strip_prefix(CONNECT_ERROR) {
        let reason = String::from_utf8_lossy(words).into_owned();
        return Err(ClientError::Refused { command: "connect", reason });
    }
    if packet.starts_with(OPEN) {
        return on_event(Event::Greeting { version: None });
    }
    if packet.starts_with(CLOSE) || packet.starts_with(DISCONNECT) {
        return Err(ClientError::Closed { code: None });
    }
    // Events of no interest, and the answer to a ping that was never sent.
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dialect::testing::{appended, events};

    const TOPIC: Topic<'static> = Topic { name: "b7", index: 7 };

    #[test]
    fn commands_are_packets_of_the_protocol() {
        let target = Target::parse("ws://127.0.0.1:3000").unwrap();
        assert_eq!(Socketio.path(&target, None), "/socket.io/?EIO=4&transport=websocket");
        assert_eq!(appended(|out| Socketio.append_join("c", out)), b"40");
        assert_eq!(
            appended(|out| Socketio.append_subscribe(2, TOPIC, Recovery::None, out)),
            br#"422["subscribe","b7"]"#
        );
        assert_eq!(
            appended(|out| Socketio.append_unsubscribe(3, TOPIC, out)),
            br#"423["unsubscribe","b7"]"#
        );
        assert_eq!(
            appended(|out| Socketio.append_publish(14, TOPIC, b"{\"a\":1}", out)),
            br#"4214["publish","b7",{"a":1}]"#
        );
        assert_eq!(appended(|out| Socketio.append_pong(b"probe", out)), b"3probe");
    }

    #[test]
    fn packets_of_the_server_are_understood() {
        let delivery = br#"42["message","b7",{"b":"fwb:00"}]"#;
        let cases = [
            (&br#"0{"sid":"x","pingInterval":25000}"#[..], Event::Greeting { version: None }),
            (br#"40{"sid":"y"}"#, Event::Joined { version: None }),
            (b"4312[]", Event::Answer(Answer::accepted(Request::Number(12)))),
            (b"2", Event::Ping(b"")),
            (delivery, Event::Delivery(delivery)),
        ];
        for (bytes, event) in cases {
            assert_eq!(events(&Socketio, bytes).unwrap(), [format!("{event:?}")]);
        }
        assert!(events(&Socketio, br#"42["other"]"#).unwrap().is_empty());
        let refused = events(&Socketio, br#"44{"message":"no"}"#).unwrap_err();
        assert_eq!(refused.to_string(), r#"connect refused: {"message":"no"}"#);
        assert!(matches!(events(&Socketio, b"41"), Err(ClientError::Closed { .. })));
        assert!(events(&Socketio, b"43[]").is_err());
    }
}
