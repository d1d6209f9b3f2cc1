//! The Centrifugo client protocol in Protobuf (specification, sections 2, 3 and 5): every message
//! behind its length. What each field number means is in section 5.

use crate::dialect::centrifugo_json::{Api, CAPABILITIES};
use crate::dialect::varint::{self, Field, append_bytes, append_number};
use crate::dialect::{
    Answer, Capabilities, Dialect, Event, HttpApi, JOIN_REQUEST, Joining, OnEvent, Opening,
    Position, Recovery, Request, Settings, Topic,
};
use crate::error::ClientError;

const MALFORMED: ClientError = ClientError::Malformed { what: "message" };

/// The Protobuf form of the protocol.
#[derive(Debug)]
pub(crate) struct CentrifugoProtobuf {
    api: Option<Api>,
}

impl CentrifugoProtobuf {
    /// The dialect; publications of the backend go over HTTP when the settings have a key.
    pub(crate) fn new(settings: &Settings) -> Self {
        Self { api: settings.api_key.as_deref().map(Api::new) }
    }
}

impl Dialect for CentrifugoProtobuf {
    fn capabilities(&self) -> Capabilities {
        // Questions are asked, and joins understood, in JSON only.
        Capabilities { has_questions: false, ..CAPABILITIES }
    }

    fn opening(&self) -> Opening {
        Opening {
            subprotocol: Some("centrifuge-protobuf"),
            is_binary: true,
            joining: Joining::Ahead,
        }
    }

    fn append_join(&self, _client: &str, output: &mut Vec<u8>) {
        append_command(JOIN_REQUEST, 4, &[], output);
    }

    fn append_subscribe(
        &self,
        request: u32,
        topic: Topic<'_>,
        recovery: Recovery<'_>,
        output: &mut Vec<u8>,
    ) {
        let mut body = channel(topic);
        match recovery {
            Recovery::None => {}
            Recovery::Track => append_number(10, 1, &mut body),
            Recovery::After(Position { epoch, offset }) => {
                append_number(3, 1, &mut body);
                append_bytes(6, epoch.as_bytes(), &mut body);
                append_number(7, *offset, &mut body);
                append_number(10, 1, &mut body);
            }
        }
        append_command(request, 5, &body, output);
    }

    fn append_unsubscribe(&self, request: u32, topic: Topic<'_>, output: &mut Vec<u8>) {
        append_command(request, 6, &channel(topic), output);
    }

    fn append_publish(&self, request: u32, topic: Topic<'_>, payload: &[u8], output: &mut Vec<u8>) {
        let mut body = channel(topic);
        append_bytes(2, payload, &mut body);
        append_command(request, 7, &body, output);
    }

    fn append_pong(&self, _ping: &[u8], output: &mut Vec<u8>) {
        output.push(0);
    }

    fn walk(&self, bytes: &[u8], on_event: &mut OnEvent<'_>) -> Result<usize, ClientError> {
        let mut start = 0;
        while let Some(rest) = bytes.get(start..).filter(|rest| !rest.is_empty()) {
            let Some((length, prefix)) = varint::read(rest) else { break };
            let end = prefix.saturating_add(usize::try_from(length).unwrap_or(usize::MAX));
            let Some(message) = rest.get(prefix..end) else { break };
            understand(message, on_event)?;
            start += end;
        }
        Ok(start)
    }

    fn offset(&self, delivery: &[u8]) -> Option<u64> {
        varint::fields(delivery).find_map(|field| match field {
            Ok(Field::Number(6, offset)) => Some(offset),
            _ => None,
        })
    }

    fn http(&self) -> Option<&dyn HttpApi> {
        self.api.as_ref().map(|api| api as &dyn HttpApi)
    }
}

/// A request body that begins with its channel.
fn channel(topic: Topic<'_>) -> Vec<u8> {
    let mut body = Vec::new();
    append_bytes(1, topic.name.as_bytes(), &mut body);
    body
}

/// Appends a command: its id, and the body of `method`.
fn append_command(request: u32, method: u64, body: &[u8], output: &mut Vec<u8>) {
    let mut command = Vec::with_capacity(body.len() + 16);
    append_number(1, u64::from(request), &mut command);
    append_bytes(method, body, &mut command);
    varint::append(command.len() as u64, output);
    output.extend_from_slice(&command);
}

fn understand(reply: &[u8], on_event: &mut OnEvent<'_>) -> Result<(), ClientError> {
    if reply.is_empty() {
        return on_event(Event::Ping(&[]));
    }
    let mut request = 0;
    for field in varint::fields(reply) {
        match field.map_err(|()| MALFORMED)? {
            Field::Number(1, id) => request = u32::try_from(id).map_err(|_| MALFORMED)?,
            Field::Bytes(2, error) => {
                let reason = reason(error)?;
                let answer = Answer::refused(Request::Number(request), reason);
                return on_event(Event::Answer(answer));
            }
            Field::Bytes(4, push) => return understand_push(push, on_event),
            Field::Bytes(5, connect) => {
                return on_event(Event::Joined { version: text(connect, 2)? });
            }
            Field::Bytes(6, subscribe) => return subscribed(request, subscribe, on_event),
            Field::Bytes(7..=15, _) => {
                let answer = Answer::accepted(Request::Number(request));
                return on_event(Event::Answer(answer));
            }
            _ => {}
        }
    }
    Ok(())
}

fn understand_push(push: &[u8], on_event: &mut OnEvent<'_>) -> Result<(), ClientError> {
    for field in varint::fields(push) {
        match field.map_err(|()| MALFORMED)? {
            Field::Bytes(4, publication) => on_event(Event::Delivery(publication))?,
            Field::Bytes(7, _) => return Err(ClientError::Unsubscribed),
            Field::Bytes(11, goodbye) => {
                let code = number(goodbye, 1)?.and_then(|code| u16::try_from(code).ok());
                return Err(ClientError::Closed { code });
            }
            _ => {}
        }
    }
    Ok(())
}

fn subscribed(request: u32, result: &[u8], on_event: &mut OnEvent<'_>) -> Result<(), ClientError> {
    let (mut position, mut is_recovered, mut was_recovering) = (Position::default(), false, false);
    for field in varint::fields(result) {
        match field.map_err(|()| MALFORMED)? {
            Field::Bytes(6, epoch) => {
                position.epoch = String::from_utf8(epoch.to_vec()).map_err(|_| MALFORMED)?;
            }
            Field::Bytes(7, publication) => on_event(Event::Delivery(publication))?,
            Field::Number(8, flag) => is_recovered = flag != 0,
            Field::Number(9, offset) => position.offset = offset,
            Field::Number(12, flag) => was_recovering = flag != 0,
            _ => {}
        }
    }
    on_event(Event::Answer(Answer {
        position: Some(position),
        is_recovered: was_recovering.then_some(is_recovered),
        ..Answer::accepted(Request::Number(request))
    }))
}

/// The server's code and words in an error.
fn reason(error: &[u8]) -> Result<String, ClientError> {
    let (code, words) = (number(error, 1)?.unwrap_or(0), text(error, 2)?.unwrap_or_default());
    Ok(format!("{code} {words}"))
}

fn number(message: &[u8], wanted: u64) -> Result<Option<u64>, ClientError> {
    for field in varint::fields(message) {
        match field.map_err(|()| MALFORMED)? {
            Field::Number(found, value) if found == wanted => return Ok(Some(value)),
            _ => {}
        }
    }
    Ok(None)
}

fn text(message: &[u8], wanted: u64) -> Result<Option<String>, ClientError> {
    for field in varint::fields(message) {
        match field.map_err(|()| MALFORMED)? {
            Field::Bytes(found, value) if found == wanted => {
                return Ok(Some(String::from_utf8_lossy(value).into_owned()));
            }
            _ => {}
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dialect::testing::{appended, events};

    const TOPIC: Topic<'static> = Topic { name: "b7", index: 7 };

    fn dialect() -> CentrifugoProtobuf {
        CentrifugoProtobuf { api: None }
    }

    #[test]
    fn commands_are_bytes_of_the_schema() {
        let dialect = dialect();
        assert_eq!(appended(|out| dialect.append_join("c", out)), [4, 0x08, 1, 0x22, 0]);
        assert_eq!(
            appended(|out| dialect.append_subscribe(2, TOPIC, Recovery::None, out)),
            [8, 0x08, 2, 0x2a, 4, 0x0a, 2, b'b', b'7']
        );
        let position = Position { epoch: "e".to_owned(), offset: 300 };
        assert_eq!(
            appended(|out| dialect.append_subscribe(2, TOPIC, Recovery::After(&position), out)),
            [
                18, 0x08, 2, 0x2a, 14, 0x0a, 2, b'b', b'7', 0x18, 1, 0x32, 1, b'e', 0x38, 0xac,
                0x02, 0x50, 1
            ]
        );
        assert_eq!(
            appended(|out| dialect.append_unsubscribe(3, TOPIC, out)),
            [8, 0x08, 3, 0x32, 4, 0x0a, 2, b'b', b'7']
        );
        assert_eq!(
            appended(|out| dialect.append_publish(4, TOPIC, b"{}", out)),
            [12, 0x08, 4, 0x3a, 8, 0x0a, 2, b'b', b'7', 0x12, 2, b'{', b'}']
        );
        assert_eq!(appended(|out| dialect.append_pong(&[], out)), [0]);
    }

    #[test]
    fn replies_and_pushes_mean_what_the_schema_says() {
        let ping_push_and_reply = [
            &[0_u8][..],
            // push { channel "b7", pub { data "{}", offset 5 } }
            &[14, 0x22, 12, 0x12, 2, b'b', b'7', 0x22, 6, 0x22, 2, b'{', b'}', 0x30, 5],
            // id 2, subscribe { epoch "e", one publication, recovered, offset 9, was_recovering }
            &[19, 0x08, 2, 0x32, 15, 0x32, 1, b'e', 0x3a, 4, 0x22, 2, b'{', b'}'],
            &[0x40, 1, 0x48, 9, 0x60, 1],
        ]
        .concat();
        let position = Some(Position { epoch: "e".to_owned(), offset: 9 });
        let answer =
            Answer { position, is_recovered: Some(true), ..Answer::accepted(Request::Number(2)) };
        assert_eq!(
            events(&dialect(), &ping_push_and_reply).unwrap(),
            [
                format!("{:?}", Event::Ping(&[])),
                format!("{:?}", Event::Delivery(&[0x22, 2, b'{', b'}', 0x30, 5])),
                format!("{:?}", Event::Delivery(&[0x22, 2, b'{', b'}'])),
                format!("{:?}", Event::Answer(answer)),
            ]
        );
        assert_eq!(dialect().offset(&[0x22, 2, b'{', b'}', 0x30, 5]), Some(5));
    }

    #[test]
    fn refusals_and_goodbyes_are_told_apart() {
        let refusal = Answer::refused(Request::Number(2), "103 no".to_owned());
        assert_eq!(
            events(&dialect(), &[10, 0x08, 2, 0x12, 6, 0x08, 103, 0x12, 2, b'n', b'o']).unwrap(),
            [format!("{:?}", Event::Answer(refusal))]
        );
        let goodbye = events(&dialect(), &[7, 0x22, 5, 0x5a, 3, 0x08, 0xb9, 0x17]);
        assert!(matches!(goodbye, Err(ClientError::Closed { code: Some(3001) })));
        assert!(events(&dialect(), &[2, 0x22, 9]).is_err());
        assert!(events(&dialect(), &[1, 0x22]).is_err());
    }
}
