//! Plain WebSocket: whoever connects hears every message of that address, as it was published.
//! Nothing is negotiated, answered or recovered. Servers that take the topic from the address
//! (Nchan, or anything with `?id=TOPIC`) differ by their paths only.
//! Publications go by POST to a path, or, where the address has no topic, as WebSocket messages.

use crate::client::target::Target;
use crate::dialect::{
    Capabilities, Dialect, Event, HttpApi, Joining, OnEvent, Opening, Protocol, Recovery, Settings,
    Subscribing, Topic, append_post,
};
use crate::error::ClientError;

/// What stands for the topic in a path.
const PLACEHOLDER: &str = "{topic}";

/// Plain WebSocket.
#[derive(Debug)]
pub(crate) struct Plain {
    /// `None` = the URL's.
    subscribe_path: Option<String>,
    post: Option<Post>,
}

#[derive(Debug)]
struct Post {
    path: String,
}

impl Plain {
    /// The dialect with the paths of the settings, or those of its kind.
    pub(crate) fn new(settings: &Settings) -> Self {
        let (subscribe, publish) = match settings.protocol {
            Protocol::Nchan => (Some("/sub?id={topic}"), Some("/pub?id={topic}")),
            _ => (None, None),
        };
        let subscribe = settings.subscribe_path.as_deref().or(subscribe);
        let publish = settings.publish_path.as_deref().or(publish);
        Self {
            subscribe_path: subscribe.map(str::to_owned),
            post: publish.map(|path| Post { path: path.to_owned() }),
        }
    }

    fn is_by_topic(&self) -> bool {
        self.subscribe_path.as_ref().is_some_and(|path| path.contains(PLACEHOLDER))
    }
}

impl Dialect for Plain {
    fn capabilities(&self) -> Capabilities {
        Capabilities {
            subscribing: Subscribing::ByAddress,
            has_topics: self.is_by_topic(),
            // A message goes where its connection's address says, and a publisher has many topics.
            publishes: !self.is_by_topic(),
            answers_publications: false,
            recovers: false,
            has_questions: false,
        }
    }

    fn opening(&self) -> Opening {
        Opening { subprotocol: None, is_binary: false, joining: Joining::Open }
    }

    fn path(&self, target: &Target, topic: Option<Topic<'_>>) -> String {
        match &self.subscribe_path {
            Some(path) => fill(path, topic.map_or("", |topic| topic.name)),
            None => target.path.clone(),
        }
    }

    fn append_join(&self, _client: &str, _output: &mut Vec<u8>) {}

    fn append_subscribe(&self, _: u32, _: Topic<'_>, _: Recovery<'_>, _: &mut Vec<u8>) {}

    fn append_unsubscribe(&self, _: u32, _: Topic<'_>, _: &mut Vec<u8>) {}

    fn append_publish(
        &self,
        _request: u32,
        _topic: Topic<'_>,
        payload: &[u8],
        output: &mut Vec<u8>,
    ) {
        output.extend_from_slice(payload);
    }

    fn append_pong(&self, _ping: &[u8], _output: &mut Vec<u8>) {}

    fn walk(&self, bytes: &[u8], on_event: &mut OnEvent<'_>) -> Result<usize, ClientError> {
        on_event(Event::Delivery(bytes))?;
        Ok(bytes.len())
    }

    fn http(&self) -> Option<&dyn HttpApi> {
        self.post.as_ref().map(|post| post as &dyn HttpApi)
    }
}

impl HttpApi for Post {
    fn append_check(&self, _target: &Target, _output: &mut Vec<u8>) -> bool {
        false
    }

    fn append_publish(
        &self,
        target: &Target,
        topic: Topic<'_>,
        payload: &[u8],
        output: &mut Vec<u8>,
    ) {
        append_post(target, &fill(&self.path, topic.name), "", payload, output);
    }

    fn refusal(&self, status: u16, _body: &[u8]) -> Option<String> {
        (!(200..300).contains(&status)).then(|| format!("HTTP status {status}"))
    }
}

/// The path with the topic in it, safe in a URL.
fn fill(path: &str, topic: &str) -> String {
    let is_safe = |byte: &u8| byte.is_ascii_alphanumeric() || b"-._~".contains(byte);
    let escaped = topic.bytes().map(|byte| {
        if is_safe(&byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") }
    });
    path.replace(PLACEHOLDER, &escaped.collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dialect::testing::{appended, events};

    const TOPIC: Topic<'static> = Topic { name: "b&7", index: 7 };

    #[test]
    fn nchan_has_its_topics_in_its_paths() {
        let settings = Settings { protocol: Protocol::Nchan, ..Settings::default() };
        let dialect = Plain::new(&settings);
        let target = Target::parse("ws://127.0.0.1:8080/").unwrap();
        assert_eq!(dialect.path(&target, Some(TOPIC)), "/sub?id=b%267");
        let post =
            appended(|out| dialect.http().unwrap().append_publish(&target, TOPIC, b"{}", out));
        let post = String::from_utf8(post).unwrap();
        assert!(post.starts_with("POST /pub?id=b%267 HTTP/1.1\r\nHost: 127.0.0.1:8080\r\n"));
        assert!(post.ends_with("\r\nContent-Length: 2\r\n\r\n{}"));
        assert!(dialect.capabilities().has_topics && !dialect.capabilities().publishes);
    }

    #[test]
    fn without_paths_everybody_hears_everything_and_may_speak() {
        let settings = Settings { protocol: Protocol::Websocket, ..Settings::default() };
        let dialect = Plain::new(&settings);
        let target = Target::parse("ws://127.0.0.1:8080/chat").unwrap();
        assert_eq!(dialect.path(&target, Some(TOPIC)), "/chat");
        assert_eq!(appended(|out| dialect.append_publish(2, TOPIC, b"{}", out)), b"{}");
        let heard = events(&dialect, b"{}").unwrap();
        assert_eq!(heard, [format!("{:?}", Event::Delivery(b"{}"))]);
        assert!(dialect.http().is_none() && dialect.capabilities().publishes);
        assert!(!dialect.capabilities().has_topics);
    }

    #[test]
    fn any_success_is_one() {
        let post = Post { path: String::new() };
        assert_eq!(
            [200, 201, 202, 204].map(|status| post.refusal(status, b"")),
            [const { None }; 4]
        );
        assert_eq!(post.refusal(404, b"").unwrap(), "HTTP status 404");
    }
}
