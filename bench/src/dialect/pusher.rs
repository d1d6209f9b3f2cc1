//! The Pusher Channels protocol, version 7, over WebSocket, and the events call of its HTTP API
//! with its signature (Pusher's documents "Pusher Channels Protocol" and "HTTP API reference").
//! Public channels only. The end of a subscription is not answered, so a ping follows it: the pong
//! that comes back says that it has been done.

use std::io::Write;
use std::time::{SystemTime, UNIX_EPOCH};

use hmac::{Hmac, KeyInit, Mac};
use md5::{Digest, Md5};
use serde::Deserialize;
use serde_json::value::RawValue;
use sha2::Sha256;

use crate::client::target::Target;
use crate::dialect::{
    Answer, App, Capabilities, Dialect, Event, HttpApi, Joining, OnEvent, Opening, Recovery,
    Request, Settings, Subscribing, Topic, append_post, json_string,
};
use crate::error::ClientError;
use crate::payload::is_stamped;

const PING: &[u8] = br#"{"event":"pusher:ping","data":{}}"#;
const PONG: &[u8] = br#"{"event":"pusher:pong","data":{}}"#;

/// Pusher Channels.
#[derive(Debug)]
pub(crate) struct Pusher {
    key: String,
    api: Api,
}

#[derive(Debug)]
struct Api {
    app: App,
}

#[derive(Deserialize)]
struct Message<'a> {
    event: &'a str,
    channel: Option<String>,
    #[serde(borrow)]
    data: Option<&'a RawValue>,
}

impl Pusher {
    /// The dialect for the app of the settings.
    pub(crate) fn new(settings: &Settings) -> Self {
        let app = settings.app.clone();
        Self { key: app.key.clone(), api: Api { app } }
    }
}

impl Dialect for Pusher {
    fn capabilities(&self) -> Capabilities {
        Capabilities {
            subscribing: Subscribing::ByCommand,
            has_topics: true,
            // Client events are for private channels only, each with a signature of its own.
            publishes: false,
            answers_publications: false,
            recovers: false,
            has_questions: false,
        }
    }

    fn opening(&self) -> Opening {
        Opening { subprotocol: None, is_binary: false, joining: Joining::Greeted }
    }

    fn path(&self, target: &Target, _topic: Option<Topic<'_>>) -> String {
        if target.path.starts_with("/app/") {
            return target.path.clone();
        }
        format!("/app/{}?protocol=7&client=fanwire-bench&version=1.0", self.key)
    }

    fn append_join(&self, _client: &str, _output: &mut Vec<u8>) {}

    fn append_subscribe(
        &self,
        _request: u32,
        topic: Topic<'_>,
        _recovery: Recovery<'_>,
        output: &mut Vec<u8>,
    ) {
        append_command("subscribe", topic, output);
    }

    fn append_unsubscribe(&self, _request: u32, topic: Topic<'_>, output: &mut Vec<u8>) {
        append_command("unsubscribe", topic, output);
    }

    fn append_after_unsubscribe(&self, output: &mut Vec<u8>) {
        output.extend_from_slice(PING);
    }

    fn append_publish(&self, _: u32, _: Topic<'_>, _: &[u8], _: &mut Vec<u8>) {}

    fn append_pong(&self, _ping: &[u8], output: &mut Vec<u8>) {
        output.extend_from_slice(PONG);
    }

    fn walk(&self, bytes: &[u8], on_event: &mut OnEvent<'_>) -> Result<usize, ClientError> {
        // The order of the keys differs from server to server; parsing each would cost too much.
        if is_stamped(bytes) {
            on_event(Event::Delivery(bytes))?;
        } else {
            understand(bytes, on_event)?;
        }
        Ok(bytes.len())
    }

    fn http(&self) -> Option<&dyn HttpApi> {
        Some(&self.api)
    }
}

fn append_command(command: &str, topic: Topic<'_>, output: &mut Vec<u8>) {
    let channel = json_string(topic.name);
    // Writing to a Vec cannot fail.
    let _ = write!(output, r#"{{"event":"pusher:{command}","data":{{"channel":{channel}}}}}"#);
}

fn understand(bytes: &[u8], on_event: &mut OnEvent<'_>) -> Result<(), ClientError> {
    let parsed = serde_json::from_slice::<Message<'_>>(bytes);
    let message = parsed.map_err(|_| ClientError::Malformed { what: "message" })?;
    let subscription = || Request::Subscription(message.channel.as_deref().unwrap_or_default());
    let words = || message.data.map_or_else(String::new, |data| data.get().to_owned());
    match message.event {
        "pusher:ping" => on_event(Event::Ping(&[])),
        "pusher:pong" => on_event(Event::Answer(Answer::accepted(Request::OldestEnd))),
        "pusher:connection_established" => on_event(Event::Joined { version: None }),
        "pusher_internal:subscription_succeeded" => {
            on_event(Event::Answer(Answer::accepted(subscription())))
        }
        "pusher:subscription_error" | "pusher_internal:subscription_error" => {
            on_event(Event::Answer(Answer::refused(subscription(), words())))
        }
        // Which request it is about is not said.
        "pusher:error" => Err(ClientError::Refused { command: "a request", reason: words() }),
        _ => Ok(()),
    }
}

impl Api {
    /// Path and query of a POST request at this moment (seconds since 1970), signed.
    fn signed(&self, path: &str, body: &[u8], timestamp: u64) -> String {
        let App { key, secret, .. } = &self.app;
        let md5 = hexadecimal(&Md5::digest(body));
        let query =
            format!("auth_key={key}&auth_timestamp={timestamp}&auth_version=1.0&body_md5={md5}");
        // A key of any length is fine for HMAC.
        let signature = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).map(|mut mac| {
            mac.update(format!("POST\n{path}\n{query}").as_bytes());
            hexadecimal(&mac.finalize().into_bytes())
        });
        format!("{path}?{query}&auth_signature={}", signature.unwrap_or_default())
    }
}

impl HttpApi for Api {
    fn append_check(&self, target: &Target, output: &mut Vec<u8>) -> bool {
        // There is no call without effect that all servers know: an event that nobody hears.
        self.append_publish(target, Topic { name: "fanwire-bench", index: 0 }, b"{}", output);
        true
    }

    fn append_publish(
        &self,
        target: &Target,
        topic: Topic<'_>,
        payload: &[u8],
        output: &mut Vec<u8>,
    ) {
        let data = json_string(&String::from_utf8_lossy(payload));
        let channel = json_string(topic.name);
        let body = format!(r#"{{"name":"bench","channel":{channel},"data":{data}}}"#);
        let seconds = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |age| age.as_secs());
        let path = format!("/apps/{}/events", self.app.id);
        let path = self.signed(&path, body.as_bytes(), seconds);
        append_post(target, &path, "", body.as_bytes(), output);
    }

    fn refusal(&self, status: u16, _body: &[u8]) -> Option<String> {
        (status != 200).then(|| format!("HTTP status {status}"))
    }
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dialect::testing::{appended, events};

    const TOPIC: Topic<'static> = Topic { name: "b7", index: 7 };

    fn dialect() -> Pusher {
        let app = |id: &str, key: &str, secret: &str| App {
            id: id.to_owned(),
            key: key.to_owned(),
            secret: secret.to_owned(),
        };
        let app = app("3", "278d425bdf160c739803", "7ad3773142a6692b25b8");
        Pusher::new(&Settings { app, ..Settings::default() })
    }

    #[test]
    fn the_signature_is_that_of_the_worked_example() {
        // The example of Pusher's HTTP API reference, "Worked authentication example".
        let body = br#"{"name":"foo","channels":["project-3"],"data":"{\"some\":\"data\"}"}"#;
        assert_eq!(
            dialect().api.signed("/apps/3/events", body, 1_353_088_179),
            "/apps/3/events?auth_key=278d425bdf160c739803&auth_timestamp=1353088179&\
             auth_version=1.0&body_md5=ec365a775a4cd0599faeb73354201b6f&\
             auth_signature=da454824c97ba181a32ccc17a72625ba02771f50b50e1e7430e47a1f3f457e6c"
        );
    }

    #[test]
    fn commands_are_events_of_the_protocol() {
        let dialect = dialect();
        let target = Target::parse("ws://127.0.0.1:6001").unwrap();
        assert_eq!(
            dialect.path(&target, None),
            "/app/278d425bdf160c739803?protocol=7&client=fanwire-bench&version=1.0"
        );
        assert_eq!(
            appended(|out| dialect.append_subscribe(2, TOPIC, Recovery::None, out)),
            br#"{"event":"pusher:subscribe","data":{"channel":"b7"}}"#
        );
        assert_eq!(
            appended(|out| dialect.append_unsubscribe(2, TOPIC, out)),
            br#"{"event":"pusher:unsubscribe","data":{"channel":"b7"}}"#
        );
    }

    #[test]
    fn a_publication_is_an_event_whose_data_is_text() {
        let target = Target::parse("ws://127.0.0.1:6001").unwrap();
        let request = appended(|out| dialect().api.append_publish(&target, TOPIC, b"{}", out));
        let request = String::from_utf8(request).unwrap();
        assert!(request.starts_with("POST /apps/3/events?auth_key=278d"), "{request}");
        assert!(request.ends_with(r#"{"name":"bench","channel":"b7","data":"{}"}"#), "{request}");
    }

    #[test]
    fn events_of_the_server_are_understood() {
        let subscribed = Answer::accepted(Request::Subscription("b7"));
        let delivery = br#"{"channel":"b7","data":"{\"b\":\"fwb:00\"}","event":"bench"}"#;
        let cases = [
            (
                &br#"{"event":"pusher:connection_established","data":"{\"socket_id\":1}"}"#[..],
                Event::Joined { version: None },
            ),
            (
                br#"{"event":"pusher_internal:subscription_succeeded","data":"{}","channel":"b7"}"#,
                Event::Answer(subscribed),
            ),
            (
                br#"{"event": "pusher:pong", "data": {}}"#,
                Event::Answer(Answer::accepted(Request::OldestEnd)),
            ),
            (br#"{"event":"pusher:ping"}"#, Event::Ping(&[])),
            (delivery, Event::Delivery(delivery)),
        ];
        for (bytes, event) in cases {
            assert_eq!(events(&dialect(), bytes).unwrap(), [format!("{event:?}")]);
        }
        let error = br#"{"event":"pusher:error","data":{"code":4001,"message":"no app"}}"#;
        let error = events(&dialect(), error).unwrap_err().to_string();
        assert_eq!(error, r#"a request refused: {"code":4001,"message":"no app"}"#);
    }
}
