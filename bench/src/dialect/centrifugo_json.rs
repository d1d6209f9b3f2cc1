//! The Centrifugo client protocol in JSON (specification, sections 4 to 9), as much of it as a
//! load generator speaks, and the publish call of its HTTP API (section 19).

use std::io::Write;

use memchr::{memchr, memchr_iter, memmem};
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::value::RawValue;

use crate::client::target::Target;
use crate::dialect::{
    Answer, Capabilities, Dialect, Event, HttpApi, JOIN_REQUEST, Joining, OnEvent, Opening,
    Position, Question, Recovery, Request, Settings, Subscribing, Topic, append_post, json_string,
};
use crate::error::ClientError;

/// A protocol ping, and its answer.
const PING: &[u8] = b"{}";
/// How a publication begins when the server writes it compactly and `push` first, as all do.
const PUBLICATION: &[u8] = br#"{"push":{"channel":""#;
/// What follows the channel then.
const PUBLICATION_DATA: &[u8] = br#","pub":{"#;
/// How the body of the HTTP API's success begins.
const RESULT: &[u8] = br#"{"result""#;

/// Publications asked for at once.
const HISTORY_LIMIT: u32 = 20;

/// The JSON form of the protocol.
#[derive(Debug)]
pub(crate) struct CentrifugoJson {
    api: Option<Api>,
    wants_joins_and_leaves: bool,
}

/// The HTTP API.
#[derive(Debug)]
pub(crate) struct Api {
    key_header: String,
}

/// A reply or push of the server.
#[derive(Debug, Deserialize)]
struct ServerMessage<'a> {
    #[serde(default)]
    id: u32,
    error: Option<ReplyError>,
    connect: Option<ConnectResult>,
    #[serde(borrow)]
    subscribe: Option<SubscribeResult<'a>>,
    #[serde(borrow)]
    push: Option<Push<'a>>,
}

#[derive(Debug, Deserialize)]
struct ReplyError {
    #[serde(default)]
    code: u32,
    #[serde(default)]
    message: String,
}

#[derive(Debug, Deserialize)]
struct ConnectResult {
    version: Option<String>,
}

#[derive(Debug, Deserialize)]
struct SubscribeResult<'a> {
    #[serde(default)]
    recovered: bool,
    #[serde(default)]
    was_recovering: bool,
    #[serde(default)]
    epoch: String,
    #[serde(default)]
    offset: u64,
    #[serde(borrow, default)]
    publications: Vec<&'a RawValue>,
}

#[derive(Debug, Deserialize)]
struct Push<'a> {
    #[serde(borrow, rename = "pub")]
    publication: Option<&'a RawValue>,
    disconnect: Option<Goodbye>,
    join: Option<IgnoredAny>,
    leave: Option<IgnoredAny>,
    /// The server ends a subscription.
    unsubscribe: Option<IgnoredAny>,
}

#[derive(Debug, Deserialize)]
struct Goodbye {
    #[serde(default)]
    code: u16,
}

#[derive(Deserialize)]
struct ApiFailure {
    error: ReplyError,
}

impl CentrifugoJson {
    /// The dialect; publications of the backend go over HTTP when the settings have a key.
    pub(crate) fn new(settings: &Settings) -> Self {
        Self {
            api: settings.api_key.as_deref().map(Api::new),
            wants_joins_and_leaves: settings.wants_joins_and_leaves,
        }
    }
}

impl Dialect for CentrifugoJson {
    fn capabilities(&self) -> Capabilities {
        CAPABILITIES
    }

    fn opening(&self) -> Opening {
        Opening { subprotocol: None, is_binary: false, joining: Joining::Ahead }
    }

    fn append_join(&self, _client: &str, output: &mut Vec<u8>) {
        // Writing to a Vec cannot fail, here and below.
        let _ = write!(output, r#"{{"id":{JOIN_REQUEST},"connect":{{}}}}"#);
    }

    fn append_subscribe(
        &self,
        request: u32,
        topic: Topic<'_>,
        recovery: Recovery<'_>,
        output: &mut Vec<u8>,
    ) {
        let channel = json_string(topic.name);
        let _ = write!(output, r#"{{"id":{request},"subscribe":{{"channel":{channel}"#);
        match recovery {
            Recovery::None => {}
            Recovery::Track => output.extend_from_slice(br#","recoverable":true"#),
            Recovery::After(Position { epoch, offset }) => {
                let epoch = json_string(epoch);
                let _ = write!(
                    output,
                    r#","recoverable":true,"recover":true,"epoch":{epoch},"offset":{offset}"#
                );
            }
        }
        if self.wants_joins_and_leaves {
            output.extend_from_slice(br#","join_leave":true"#);
        }
        output.extend_from_slice(b"}}");
    }

    fn append_unsubscribe(&self, request: u32, topic: Topic<'_>, output: &mut Vec<u8>) {
        let channel = json_string(topic.name);
        let _ = write!(output, r#"{{"id":{request},"unsubscribe":{{"channel":{channel}}}}}"#);
    }

    fn append_publish(&self, request: u32, topic: Topic<'_>, payload: &[u8], output: &mut Vec<u8>) {
        let _ = write!(output, r#"{{"id":{request},"publish":"#);
        append_channel_and_data(topic, payload, output);
        output.push(b'}');
    }

    fn append_question(
        &self,
        request: u32,
        topic: Topic<'_>,
        question: Question,
        output: &mut Vec<u8>,
    ) {
        let channel = json_string(topic.name);
        let _ = match question {
            Question::History => write!(
                output,
                r#"{{"id":{request},"history":{{"channel":{channel},"limit":{HISTORY_LIMIT}}}}}"#
            ),
            Question::Presence => {
                write!(output, r#"{{"id":{request},"presence":{{"channel":{channel}}}}}"#)
            }
        };
    }

    fn append_pong(&self, _ping: &[u8], output: &mut Vec<u8>) {
        output.extend_from_slice(PING);
    }

    fn walk(&self, bytes: &[u8], on_event: &mut OnEvent<'_>) -> Result<usize, ClientError> {
        let mut start = 0;
        for end in memchr_iter(b'\n', bytes).chain(std::iter::once(bytes.len())) {
            let message = bytes.get(start..end).unwrap_or_default();
            // A trailing newline is allowed and separates nothing.
            if !message.is_empty() {
                understand(message, on_event)?;
            }
            start = end + 1;
        }
        Ok(bytes.len())
    }

    fn offset(&self, delivery: &[u8]) -> Option<u64> {
        // Behind the data, which could contain anything; nothing but numbers and texts follows.
        const FIELD: &[u8] = br#""offset":"#;
        let start = memmem::rfind(delivery, FIELD)? + FIELD.len();
        let digits = delivery.get(start..)?.iter().take_while(|byte| byte.is_ascii_digit());
        digits
            .map(|digit| u64::from(digit - b'0'))
            .try_fold(0_u64, |offset, digit| offset.checked_mul(10)?.checked_add(digit))
    }

    fn http(&self) -> Option<&dyn HttpApi> {
        self.api.as_ref().map(|api| api as &dyn HttpApi)
    }
}

/// What both encodings of the protocol can do.
pub(crate) const CAPABILITIES: Capabilities = Capabilities {
    subscribing: Subscribing::ByCommand,
    has_topics: true,
    publishes: true,
    answers_publications: true,
    recovers: true,
    has_questions: true,
};

fn understand(message: &[u8], on_event: &mut OnEvent<'_>) -> Result<(), ClientError> {
    if message == PING {
        return on_event(Event::Ping(PING));
    }
    if let Some(publication) = quick_publication(message) {
        return on_event(Event::Delivery(publication));
    }
    let parsed = serde_json::from_slice::<ServerMessage<'_>>(message);
    let reply = parsed.map_err(|_| ClientError::Malformed { what: "message" })?;
    if let Some(push) = reply.push {
        return understand_push(&push, on_event);
    }
    let request = Request::Number(reply.id);
    if let Some(ReplyError { code, message }) = reply.error {
        return on_event(Event::Answer(Answer::refused(request, format!("{code} {message}"))));
    }
    if let Some(connect) = reply.connect {
        return on_event(Event::Joined { version: connect.version });
    }
    let mut answer = Answer::accepted(request);
    if let Some(subscribe) = reply.subscribe {
        for publication in subscribe.publications {
            on_event(Event::Delivery(publication.get().as_bytes()))?;
        }
        answer.is_recovered = subscribe.was_recovering.then_some(subscribe.recovered);
        answer.position = Some(Position { epoch: subscribe.epoch, offset: subscribe.offset });
    }
    on_event(Event::Answer(answer))
}

/// The publication in a push of the usual form, found without parsing. Anything else, and a name
/// with an escape in it, is left to the parser.
fn quick_publication(message: &[u8]) -> Option<&[u8]> {
    let named = message.strip_prefix(PUBLICATION)?;
    let behind = named.get(memchr(b'"', named)? + 1..)?;
    behind.starts_with(PUBLICATION_DATA).then_some(behind)
}

fn understand_push(push: &Push<'_>, on_event: &mut OnEvent<'_>) -> Result<(), ClientError> {
    if let Some(publication) = push.publication {
        return on_event(Event::Delivery(publication.get().as_bytes()));
    }
    if push.join.is_some() || push.leave.is_some() {
        return on_event(Event::JoinedOrLeft);
    }
    if let Some(Goodbye { code }) = push.disconnect {
        return Err(ClientError::Closed { code: Some(code) });
    }
    if push.unsubscribe.is_some() {
        return Err(ClientError::Unsubscribed);
    }
    Ok(())
}

fn append_channel_and_data(topic: Topic<'_>, payload: &[u8], output: &mut Vec<u8>) {
    let channel = json_string(topic.name);
    let _ = write!(output, r#"{{"channel":{channel},"data":"#);
    output.extend_from_slice(payload);
    output.push(b'}');
}

impl Api {
    /// The API with this key.
    pub(crate) fn new(key: &str) -> Self {
        Self { key_header: format!("X-API-Key: {key}\r\n") }
    }
}

impl HttpApi for Api {
    fn append_check(&self, target: &Target, output: &mut Vec<u8>) -> bool {
        append_post(target, "/api/info", &self.key_header, b"{}", output);
        true
    }

    fn append_publish(
        &self,
        target: &Target,
        topic: Topic<'_>,
        payload: &[u8],
        output: &mut Vec<u8>,
    ) {
        let mut body = Vec::with_capacity(payload.len() + topic.name.len() + 32);
        append_channel_and_data(topic, payload, &mut body);
        append_post(target, "/api/publish", &self.key_header, &body, output);
    }

    fn refusal(&self, status: u16, body: &[u8]) -> Option<String> {
        if status != 200 {
            return Some(format!("HTTP status {status}"));
        }
        if body.starts_with(RESULT) {
            return None;
        }
        // The order of keys and spaces are the server's choice: look closer before calling it one.
        let ApiFailure { error } = serde_json::from_slice(body).ok()?;
        Some(format!("{} {}", error.code, error.message))
    }
}

#[cfg(test)]
#[path = "centrifugo_json_tests.rs"]
mod tests;
