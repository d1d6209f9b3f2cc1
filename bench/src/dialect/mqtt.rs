//! MQTT 3.1.1 (OASIS standard) with QoS 0, over TCP or over WebSocket with subprotocol `mqtt`
//! (section 6). Publications are not answered, and there is no past to recover: sessions are clean.
//! The keep-alive is 0, so nobody has to ping.

use crate::dialect::varint;
use crate::dialect::{
    Answer, Capabilities, Dialect, Event, Joining, OnEvent, Opening, Recovery, Request,
    Subscribing, Topic,
};
use crate::error::ClientError;

// First bytes of packets: type and flags (section 2.2).
const CONNECT: u8 = 0x10;
const CONNACK: u8 = 0x20;
const PUBLISH: u8 = 0x30;
const SUBSCRIBE: u8 = 0x82;
const SUBACK: u8 = 0x90;
const UNSUBSCRIBE: u8 = 0xa2;
const UNSUBACK: u8 = 0xb0;
/// The type without the flags.
const TYPE: u8 = 0xf0;
/// Quality of service of a publication.
const QOS: u8 = 0x06;
/// A SUBACK's code for "no" (section 3.9.3).
const FAILURE: u8 = 0x80;

/// MQTT 3.1.1.
#[derive(Debug)]
pub(crate) struct Mqtt;

impl Dialect for Mqtt {
    fn capabilities(&self) -> Capabilities {
        Capabilities {
            subscribing: Subscribing::ByCommand,
            has_topics: true,
            publishes: true,
            answers_publications: false,
            recovers: false,
            has_questions: false,
        }
    }

    fn opening(&self) -> Opening {
        // Commands may follow CONNECT at once (section 3.1.4).
        Opening { subprotocol: Some("mqtt"), is_binary: true, joining: Joining::Ahead }
    }

    fn append_join(&self, client: &str, output: &mut Vec<u8>) {
        // Protocol level 4, a clean session, keep-alive 0 (section 3.1.2).
        let mut body = b"\x00\x04MQTT\x04\x02\x00\x00".to_vec();
        append_text(client, &mut body);
        append_packet(CONNECT, &body, output);
    }

    fn append_subscribe(
        &self,
        request: u32,
        topic: Topic<'_>,
        _recovery: Recovery<'_>,
        output: &mut Vec<u8>,
    ) {
        let mut body = packet_id(request).to_vec();
        append_text(topic.name, &mut body);
        body.push(0);
        append_packet(SUBSCRIBE, &body, output);
    }

    fn append_unsubscribe(&self, request: u32, topic: Topic<'_>, output: &mut Vec<u8>) {
        let mut body = packet_id(request).to_vec();
        append_text(topic.name, &mut body);
        append_packet(UNSUBSCRIBE, &body, output);
    }

    fn append_publish(
        &self,
        _request: u32,
        topic: Topic<'_>,
        payload: &[u8],
        output: &mut Vec<u8>,
    ) {
        let mut body = Vec::with_capacity(topic.name.len() + payload.len() + 2);
        append_text(topic.name, &mut body);
        body.extend_from_slice(payload);
        append_packet(PUBLISH, &body, output);
    }

    fn append_pong(&self, _ping: &[u8], _output: &mut Vec<u8>) {}

    fn walk(&self, bytes: &[u8], on_event: &mut OnEvent<'_>) -> Result<usize, ClientError> {
        let mut start = 0;
        while let Some((&first, rest)) = bytes.get(start..).and_then(<[u8]>::split_first) {
            let Some((length, prefix)) = varint::read(rest) else { break };
            let end = prefix.saturating_add(usize::try_from(length).unwrap_or(usize::MAX));
            let Some(body) = rest.get(prefix..end) else { break };
            understand(first, body, on_event)?;
            start += 1 + end;
        }
        Ok(start)
    }
}

fn understand(first: u8, body: &[u8], on_event: &mut OnEvent<'_>) -> Result<(), ClientError> {
    let malformed = ClientError::Malformed { what: "packet" };
    match first & TYPE {
        PUBLISH if first & QOS != 0 => Err(ClientError::Malformed { what: "QoS" }),
        PUBLISH => on_event(Event::Delivery(body)),
        CONNACK => match body {
            [_, 0] => on_event(Event::Joined { version: None }),
            [_, code] => {
                let reason = format!("return code {code}");
                Err(ClientError::Refused { command: "connect", reason })
            }
            _ => Err(malformed),
        },
        SUBACK => match body {
            [high, low, code] => {
                let request = Request::Low(u16::from_be_bytes([*high, *low]));
                let refusal = (*code == FAILURE).then(|| "return code 128".to_owned());
                on_event(Event::Answer(Answer { refusal, ..Answer::accepted(request) }))
            }
            _ => Err(malformed),
        },
        UNSUBACK => match body {
            [high, low] => {
                let request = Request::Low(u16::from_be_bytes([*high, *low]));
                on_event(Event::Answer(Answer::accepted(request)))
            }
            _ => Err(malformed),
        },
        _ => Ok(()),
    }
}

/// Requests have their low 16 bits as their packet id, which must not be 0.
fn packet_id(request: u32) -> [u8; 2] {
    let [_, _, high, low] = request.to_be_bytes();
    [high, low]
}

/// Appends a text behind its length in two bytes. Topics are short.
fn append_text(text: &str, output: &mut Vec<u8>) {
    let length = u16::try_from(text.len()).unwrap_or(u16::MAX);
    output.extend_from_slice(&length.to_be_bytes());
    output.extend(text.bytes().take(usize::from(length)));
}

fn append_packet(first: u8, body: &[u8], output: &mut Vec<u8>) {
    output.push(first);
    varint::append(body.len() as u64, output);
    output.extend_from_slice(body);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dialect::testing::{appended, events};

    const TOPIC: Topic<'static> = Topic { name: "b7", index: 7 };

    #[test]
    fn packets_have_the_bytes_of_the_standard() {
        assert_eq!(
            appended(|out| Mqtt.append_join("c1", out)),
            *b"\x10\x0e\x00\x04MQTT\x04\x02\x00\x00\x00\x02c1"
        );
        assert_eq!(
            appended(|out| Mqtt.append_subscribe(0x1_0203, TOPIC, Recovery::None, out)),
            *b"\x82\x07\x02\x03\x00\x02b7\x00"
        );
        assert_eq!(
            appended(|out| Mqtt.append_unsubscribe(5, TOPIC, out)),
            *b"\xa2\x06\x00\x05\x00\x02b7"
        );
        assert_eq!(
            appended(|out| Mqtt.append_publish(6, TOPIC, b"{}", out)),
            *b"\x30\x06\x00\x02b7{}"
        );
    }

    #[test]
    fn packets_come_apart_wherever_they_are_cut() {
        let bytes = b"\x20\x02\x00\x00\x90\x03\x00\x05\x00\x30\x06\x00\x02b7{}\xb0\x02\x00\x06";
        let expected = [
            format!("{:?}", Event::Joined { version: None }),
            format!("{:?}", Event::Answer(Answer::accepted(Request::Low(5)))),
            format!("{:?}", Event::Delivery(b"\x00\x02b7{}")),
            format!("{:?}", Event::Answer(Answer::accepted(Request::Low(6)))),
        ];
        for cut in 0..=bytes.len() {
            let mut seen = Vec::new();
            let mut note = |event: Event<'_>| {
                seen.push(format!("{event:?}"));
                Ok(())
            };
            let walked = Mqtt.walk(&bytes[..cut], &mut note).unwrap();
            assert!(walked <= cut);
            assert_eq!(Mqtt.walk(&bytes[walked..], &mut note).unwrap(), bytes.len() - walked);
            assert_eq!(seen, expected, "cut at {cut}");
        }
    }

    #[test]
    fn refusals_are_understood() {
        let refused = events(&Mqtt, b"\x20\x02\x00\x05").unwrap_err();
        assert_eq!(refused.to_string(), "connect refused: return code 5");
        let answer = Answer::refused(Request::Low(5), "return code 128".to_owned());
        assert_eq!(
            events(&Mqtt, b"\x90\x03\x00\x05\x80").unwrap(),
            [format!("{:?}", Event::Answer(answer))]
        );
    }
}
