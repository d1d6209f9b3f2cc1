//! The client protocol of NATS (its documentation, "Client Protocol"), without headers. It answers
//! nothing by itself, so a PING follows each request: the PONG that comes back says that all before
//! it has been done. Publications have no answer.

use std::io::Write;

use memchr::{memchr, memrchr};
use serde::Deserialize;

use crate::dialect::{
    Answer, Capabilities, Dialect, Event, Joining, OnEvent, Opening, Recovery, Request,
    Subscribing, Topic,
};
use crate::error::ClientError;

const LINE_END: &[u8] = b"\r\n";
/// What becomes of PING.
const PONG: &[u8] = b"PONG\r\n";
/// No control line is longer, in bytes: the server's own limit for INFO is less.
const LINE_BYTES_MAX: usize = 64 * 1024;

/// NATS core.
#[derive(Debug)]
pub(crate) struct Nats;

#[derive(Deserialize)]
struct Info {
    version: Option<String>,
}

impl Dialect for Nats {
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
        Opening { subprotocol: None, is_binary: true, joining: Joining::Greeted }
    }

    fn append_join(&self, client: &str, output: &mut Vec<u8>) {
        // Writing to a Vec cannot fail, here and below.
        let _ = write!(
            output,
            "CONNECT {{\"verbose\":false,\"pedantic\":false,\"lang\":\"rust\",\
             \"version\":\"1\",\"protocol\":1,\"name\":\"{client}\"}}\r\nPING\r\n"
        );
    }

    fn append_subscribe(
        &self,
        _request: u32,
        topic: Topic<'_>,
        _recovery: Recovery<'_>,
        output: &mut Vec<u8>,
    ) {
        let _ = write!(output, "SUB {} {}\r\nPING\r\n", topic.name, topic.index);
    }

    fn append_unsubscribe(&self, _request: u32, topic: Topic<'_>, output: &mut Vec<u8>) {
        let _ = write!(output, "UNSUB {}\r\nPING\r\n", topic.index);
    }

    fn append_publish(
        &self,
        _request: u32,
        topic: Topic<'_>,
        payload: &[u8],
        output: &mut Vec<u8>,
    ) {
        let _ = write!(output, "PUB {} {}\r\n", topic.name, payload.len());
        output.extend_from_slice(payload);
        output.extend_from_slice(LINE_END);
    }

    fn append_pong(&self, _ping: &[u8], output: &mut Vec<u8>) {
        output.extend_from_slice(PONG);
    }

    fn walk(&self, bytes: &[u8], on_event: &mut OnEvent<'_>) -> Result<usize, ClientError> {
        let mut start = 0;
        while let Some(rest) = bytes.get(start..).filter(|rest| !rest.is_empty()) {
            let Some(end) = memchr(b'\n', rest) else {
                if rest.len() > LINE_BYTES_MAX {
                    return Err(ClientError::Malformed { what: "line" });
                }
                break;
            };
            let line = rest.get(..end).unwrap_or_default();
            let line = line.strip_suffix(b"\r").unwrap_or(line);
            let mut taken = end + 1;
            if line.starts_with(b"MSG ") {
                let behind = rest.get(taken..).unwrap_or_default();
                let length = payload_length(line)?;
                let Some(payload) = behind.get(..length) else { break };
                if behind.len() < length + LINE_END.len() {
                    break;
                }
                on_event(Event::Delivery(payload))?;
                taken += length + LINE_END.len();
            } else {
                understand(line, on_event)?;
            }
            start += taken;
        }
        Ok(start)
    }
}

/// The last word of `MSG subject sid [reply-to] length`.
fn payload_length(line: &[u8]) -> Result<usize, ClientError> {
    let word = memrchr(b' ', line).and_then(|space| line.get(space + 1..));
    let length = word.and_then(|word| std::str::from_utf8(word).ok()?.parse().ok());
    length.ok_or(ClientError::Malformed { what: "MSG" })
}

fn understand(line: &[u8], on_event: &mut OnEvent<'_>) -> Result<(), ClientError> {
    if line == b"PING" {
        return on_event(Event::Ping(&[]));
    }
    if line == b"PONG" {
        return on_event(Event::Answer(Answer::accepted(Request::Oldest)));
    }
    if let Some(info) = line.strip_prefix(b"INFO ") {
        let info: Info =
            serde_json::from_slice(info).map_err(|_| ClientError::Malformed { what: "INFO" })?;
        return on_event(Event::Greeting { version: info.version });
    }
    if let Some(words) = line.strip_prefix(b"-ERR ") {
        // Which request it is about is not said.
        let reason = String::from_utf8_lossy(words).into_owned();
        return Err(ClientError::Refused { command: "a request", reason });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dialect::testing::{appended, events};

    const TOPIC: Topic<'static> = Topic { name: "b7", index: 7 };

    #[test]
    fn commands_are_lines_of_the_protocol() {
        let join = String::from_utf8(appended(|out| Nats.append_join("c1", out))).unwrap();
        assert!(join.starts_with("CONNECT {\"verbose\":false,"), "{join}");
        assert!(join.ends_with("\"name\":\"c1\"}\r\nPING\r\n"), "{join}");
        assert_eq!(
            appended(|out| Nats.append_subscribe(2, TOPIC, Recovery::None, out)),
            b"SUB b7 7\r\nPING\r\n"
        );
        assert_eq!(appended(|out| Nats.append_unsubscribe(3, TOPIC, out)), b"UNSUB 7\r\nPING\r\n");
        assert_eq!(
            appended(|out| Nats.append_publish(4, TOPIC, b"{}", out)),
            b"PUB b7 2\r\n{}\r\n"
        );
        assert_eq!(appended(|out| Nats.append_pong(&[], out)), b"PONG\r\n");
    }

    #[test]
    fn lines_and_payloads_come_apart_wherever_they_are_cut() {
        let bytes = b"INFO {\"version\":\"2.9\"}\r\nPONG\r\nMSG b7 7 4\r\n\r\n{}\r\n\
            PING\r\nMSG b7 7 reply.to 1\r\nx\r\n+OK\r\n";
        let expected = [
            format!("{:?}", Event::Greeting { version: Some("2.9".to_owned()) }),
            format!("{:?}", Event::Answer(Answer::accepted(Request::Oldest))),
            format!("{:?}", Event::Delivery(b"\r\n{}")),
            format!("{:?}", Event::Ping(&[])),
            format!("{:?}", Event::Delivery(b"x")),
        ];
        for cut in 0..=bytes.len() {
            let mut seen = Vec::new();
            let mut note = |event: Event<'_>| {
                seen.push(format!("{event:?}"));
                Ok(())
            };
            let walked = Nats.walk(&bytes[..cut], &mut note).unwrap();
            assert_eq!(Nats.walk(&bytes[walked..], &mut note).unwrap(), bytes.len() - walked);
            assert_eq!(seen, expected, "cut at {cut}");
        }
    }

    #[test]
    fn errors_and_nonsense_end_the_connection() {
        let refused = events(&Nats, b"-ERR 'Authorization Violation'\r\n").unwrap_err();
        assert_eq!(refused.to_string(), "a request refused: 'Authorization Violation'");
        assert!(events(&Nats, b"MSG b7 7 many\r\n").is_err());
    }
}
