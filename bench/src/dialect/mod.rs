//! Wire protocols: what a client says to a server, and what the server's bytes mean.
//!
//! A [`Dialect`] is immutable and the same for all connections of a process; what changes is kept
//! by `client::connection` and `publisher`. It knows nothing of sockets or WebSocket frames: that
//! is `client::line`. What it cannot do is told by [`Capabilities`], so that a scenario can refuse
//! in words before anything is opened.

pub(crate) mod centrifugo_json;
pub(crate) mod centrifugo_protobuf;
pub(crate) mod mqtt;
pub(crate) mod nats;
pub(crate) mod options;
pub(crate) mod plain;
pub(crate) mod pusher;
pub(crate) mod socketio;
#[cfg(test)]
pub(crate) mod testing;
pub(crate) mod varint;

use std::fmt::Debug;

use clap::ValueEnum;
use serde::{Deserialize, Serialize};

use crate::client::target::{Target, Transport};
use crate::error::{BenchError, ClientError};

/// Number of the request that joins; subscriptions and publications follow it.
pub(crate) const JOIN_REQUEST: u32 = 1;

/// Wire protocols, by their names on the command line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Protocol {
    /// Centrifugo's client protocol in JSON: Fanwire, Centrifugo
    #[default]
    Centrifugo,
    /// The same in Protobuf
    CentrifugoProtobuf,
    /// Pusher Channels, protocol 7; publications over HTTP (--app-id, --app-key, --app-secret)
    Pusher,
    /// MQTT 3.1.1 with QoS 0, over ws:// or tcp://
    Mqtt,
    /// NATS core, over tcp://
    Nats,
    /// Plain WebSocket: whoever connects gets every message (--subscribe-path, --publish-path)
    Websocket,
    /// Nchan: plain WebSocket, with paths /sub?id={topic} and /pub?id={topic} unless told otherwise
    Nchan,
    /// Socket.IO 5 over WebSocket: events "subscribe", "unsubscribe" and "publish", acknowledged
    Socketio,
}

/// What a run's protocol needs to know; plain data, which crosses to the generator processes.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub(crate) struct Settings {
    /// Which protocol.
    pub(crate) protocol: Protocol,
    /// Key of the HTTP API; publications of the backend go there when it is given.
    pub(crate) api_key: Option<String>,
    /// Path that subscribes, with `{topic}` in the place of its name.
    pub(crate) subscribe_path: Option<String>,
    /// Path that takes publications by POST, likewise.
    pub(crate) publish_path: Option<String>,
    /// What Pusher calls an app.
    pub(crate) app: App,
    /// Whether subscribers want to hear who joins and leaves, where the protocol has that.
    pub(crate) wants_joins_and_leaves: bool,
}

/// Who we are to a server of the Pusher protocol.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub(crate) struct App {
    /// In the path of the HTTP API.
    pub(crate) id: String,
    /// Public, in the path of the WebSocket.
    pub(crate) key: String,
    /// Signs calls of the HTTP API.
    pub(crate) secret: String,
}

/// A topic as a dialect names it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Topic<'a> {
    /// Its name.
    pub(crate) name: &'a str,
    /// Its index, from 0.
    pub(crate) index: u32,
}

/// A place in a topic's past.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Position {
    /// Which past; empty where the protocol has none.
    pub(crate) epoch: String,
    /// The last publication seen.
    pub(crate) offset: u64,
}

/// Whether a subscription shall get what was missed.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Recovery<'a> {
    /// Only what comes from now on.
    None,
    /// From now on, and keep track of the position.
    Track,
    /// What came after this as well.
    After(&'a Position),
}

/// What a client may ask about a topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Question {
    /// What was published last.
    History,
    /// Who is there.
    Presence,
}

impl Question {
    /// What the time until its answer is called.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::History => "history",
            Self::Presence => "presence",
        }
    }
}

/// Who speaks first, and what must have happened before a client may subscribe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Joining {
    /// The client; commands may follow at once, before the answer.
    Ahead,
    /// The server greets; the client's join follows if the dialect has one.
    Greeted,
    /// Nobody: an open connection has joined.
    Open,
}

/// How a connection is opened.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Opening {
    /// WebSocket subprotocol to ask for.
    pub(crate) subprotocol: Option<&'static str>,
    /// Whether messages go into binary WebSocket frames rather than text.
    pub(crate) is_binary: bool,
    /// The first words.
    pub(crate) joining: Joining,
}

/// How a connection gets its topics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Subscribing {
    /// By command, as many as it likes, at any time.
    ByCommand,
    /// By its address: exactly one, as long as it lives.
    ByAddress,
}

/// What a protocol can do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Capabilities {
    /// How a connection gets its topics.
    pub(crate) subscribing: Subscribing,
    /// There may be more than one topic.
    pub(crate) has_topics: bool,
    /// Clients may publish.
    pub(crate) publishes: bool,
    /// The server answers each publication of a client; where it does not, every publication
    /// that was written counts as accepted.
    pub(crate) answers_publications: bool,
    /// A returning client can get what it missed.
    pub(crate) recovers: bool,
    /// Clients may ask for a topic's history and presence, and hear of who joins and leaves.
    pub(crate) has_questions: bool,
}

/// What a scenario cannot do without.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Need {
    /// More than one topic.
    Topics,
    /// Subscribe and unsubscribe by command; several topics on one connection.
    SubscribeByCommand,
    /// Clients that publish.
    ClientsPublish,
    /// Publications of clients are answered.
    Answers,
    /// Recovery.
    Recovery,
    /// Questions about a topic.
    Questions,
}

impl Capabilities {
    /// Refuses what `protocol` cannot do.
    ///
    /// # Errors
    /// `Capability`, naming the first need that is not met.
    pub(crate) fn require(self, protocol: Protocol, needs: &[Need]) -> Result<(), BenchError> {
        let is_met = |need: &Need| match need {
            Need::Topics => self.has_topics,
            Need::SubscribeByCommand => self.subscribing == Subscribing::ByCommand,
            Need::ClientsPublish => self.publishes,
            Need::Answers => self.answers_publications,
            Need::Recovery => self.recovers,
            Need::Questions => self.has_questions,
        };
        match needs.iter().find(|need| !is_met(need)) {
            None => Ok(()),
            Some(need) => {
                Err(BenchError::Capability { protocol: protocol.name(), what: need.words() })
            }
        }
    }
}

impl Need {
    fn words(self) -> &'static str {
        match self {
            Self::Topics => "has one topic only; give --subscribe-path with {topic} in it",
            Self::SubscribeByCommand => "cannot subscribe and unsubscribe on an open connection",
            Self::ClientsPublish => {
                "has no publications by clients; give --publish-path where the server takes POST"
            }
            Self::Answers => "does not answer publications of clients",
            Self::Recovery => "cannot recover what a client missed",
            Self::Questions => "has no questions here; leave them out with --asking-rate 0",
        }
    }
}

/// Which request an answer belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Request<'a> {
    /// The one with this number.
    Number(u32),
    /// The one whose number has these low bits; no number's are all 0.
    Low(u16),
    /// The oldest subscription or end of one that has no answer; the join, before there are any.
    Oldest,
    /// The oldest end of a subscription that has no answer.
    OldestEnd,
    /// The subscription to the topic of this name.
    Subscription(&'a str),
}

/// The server's answer to a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Answer<'a> {
    /// What it answers.
    pub(crate) request: Request<'a>,
    /// Why it was refused, in the server's words; `None` when it was accepted.
    pub(crate) refusal: Option<String>,
    /// Where a subscription stands, if the server tells.
    pub(crate) position: Option<Position>,
    /// Whether everything missed was recovered; `None` when that was not asked for.
    pub(crate) is_recovered: Option<bool>,
}

impl<'a> Answer<'a> {
    /// "Done", without more.
    pub(crate) fn accepted(request: Request<'a>) -> Self {
        Self { request, refusal: None, position: None, is_recovered: None }
    }

    /// "No", in the server's words.
    pub(crate) fn refused(request: Request<'a>, reason: String) -> Self {
        Self { refusal: Some(reason), ..Self::accepted(request) }
    }
}

/// What a server's bytes mean.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Event<'a> {
    /// One publication; its payload is somewhere in these bytes.
    Delivery(&'a [u8]),
    /// The server's first words, where the client must wait for them ([`Joining::Greeted`]).
    Greeting {
        /// The server's version, if it tells.
        version: Option<String>,
    },
    /// The client has joined.
    Joined {
        /// The server's version, if it tells.
        version: Option<String>,
    },
    /// An answer.
    Answer(Answer<'a>),
    /// Somebody has joined or left a topic.
    JoinedOrLeft,
    /// A ping of the protocol with what must be returned; `client::line` answers it.
    Ping(&'a [u8]),
}

/// Takes one event; an error ends the connection.
pub(crate) type OnEvent<'a> = dyn FnMut(Event<'_>) -> Result<(), ClientError> + 'a;

/// One wire protocol. Commands are appended to `output` as one message each, without framing.
pub(crate) trait Dialect: Debug + Send + Sync {
    /// What it can do.
    fn capabilities(&self) -> Capabilities;

    /// How a connection is opened.
    fn opening(&self) -> Opening;

    /// Path and query of the WebSocket endpoint for a connection that will hear `topic` (the
    /// first of its topics, if it has any).
    fn path(&self, target: &Target, _topic: Option<Topic<'_>>) -> String {
        target.path.clone()
    }

    /// Appends what makes a client of the connection; number [`JOIN_REQUEST`]. `client` tells it
    /// from all other clients of the run.
    fn append_join(&self, client: &str, output: &mut Vec<u8>);

    /// Appends the subscription to `topic`.
    fn append_subscribe(
        &self,
        request: u32,
        topic: Topic<'_>,
        recovery: Recovery<'_>,
        output: &mut Vec<u8>,
    );

    /// Appends the end of the subscription to `topic`.
    fn append_unsubscribe(&self, request: u32, topic: Topic<'_>, output: &mut Vec<u8>);

    /// Appends a second message that makes the server answer the end of a subscription, where it
    /// would not by itself.
    fn append_after_unsubscribe(&self, _output: &mut Vec<u8>) {}

    /// Appends a client's publication; `payload` is JSON.
    fn append_publish(&self, request: u32, topic: Topic<'_>, payload: &[u8], output: &mut Vec<u8>);

    /// Appends a question about `topic`, where the protocol has questions.
    fn append_question(
        &self,
        _request: u32,
        _topic: Topic<'_>,
        _question: Question,
        _output: &mut Vec<u8>,
    ) {
    }

    /// Appends the answer to a ping with this body.
    fn append_pong(&self, ping: &[u8], output: &mut Vec<u8>);

    /// Tells what the whole messages at the start of `bytes` mean and returns their length; the
    /// rest comes again, with more behind it. Over WebSocket, `bytes` are one frame's payload.
    ///
    /// # Errors
    /// `Malformed`, `Closed` when the server says goodbye in the protocol's own words, and what
    /// `on_event` says.
    fn walk(&self, bytes: &[u8], on_event: &mut OnEvent<'_>) -> Result<usize, ClientError>;

    /// The offset of a publication, if the protocol has them. Asked only where positions are
    /// tracked.
    fn offset(&self, _delivery: &[u8]) -> Option<u64> {
        None
    }

    /// The backend's way to publish over HTTP, if the settings ask for it.
    fn http(&self) -> Option<&dyn HttpApi> {
        None
    }
}

/// Publishing over HTTP: whole requests, to be pipelined.
pub(crate) trait HttpApi: Debug + Send + Sync {
    /// Appends a call without effect, to see before the run that the key is right. `false` when
    /// there is none.
    fn append_check(&self, target: &Target, output: &mut Vec<u8>) -> bool;

    /// Appends a publication; `payload` is JSON.
    fn append_publish(
        &self,
        target: &Target,
        topic: Topic<'_>,
        payload: &[u8],
        output: &mut Vec<u8>,
    );

    /// Why an answer with this status and body refuses the publication; `None` = accepted.
    fn refusal(&self, status: u16, body: &[u8]) -> Option<String>;
}

impl Protocol {
    /// Its name on the command line.
    pub(crate) fn name(self) -> String {
        self.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default()
    }
}

impl Settings {
    /// Whether the backend publishes over HTTP rather than as a client.
    pub(crate) fn publishes_by_http(&self) -> bool {
        self.dialect().http().is_some()
    }

    /// What carries the publications of the backend, in one word.
    pub(crate) fn publishes_over(&self, target: &Target) -> &'static str {
        match target.transport {
            _ if self.publishes_by_http() => "http",
            Transport::WebSocket => "websocket",
            Transport::Tcp => "tcp",
        }
    }

    /// The dialect that these settings describe.
    pub(crate) fn dialect(&self) -> Box<dyn Dialect> {
        match self.protocol {
            Protocol::Centrifugo => Box::new(centrifugo_json::CentrifugoJson::new(self)),
            Protocol::CentrifugoProtobuf => {
                Box::new(centrifugo_protobuf::CentrifugoProtobuf::new(self))
            }
            Protocol::Pusher => Box::new(pusher::Pusher::new(self)),
            Protocol::Mqtt => Box::new(mqtt::Mqtt),
            Protocol::Nats => Box::new(nats::Nats),
            Protocol::Websocket | Protocol::Nchan => Box::new(plain::Plain::new(self)),
            Protocol::Socketio => Box::new(socketio::Socketio),
        }
    }
}

/// Appends a POST request with this body; `headers` are whole lines, each with its line end.
pub(crate) fn append_post(
    target: &Target,
    path: &str,
    headers: &str,
    body: &[u8],
    output: &mut Vec<u8>,
) {
    let (authority, length) = (&target.authority, body.len());
    let head = format!(
        "POST {path} HTTP/1.1\r\nHost: {authority}\r\n{headers}Content-Type: application/json\r\n\
         Content-Length: {length}\r\n\r\n"
    );
    output.extend_from_slice(head.as_bytes());
    output.extend_from_slice(body);
}

/// `text` as a JSON string, with its quotes.
pub(crate) fn json_string(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a protocol cannot do, as the person at the keyboard reads it.
    fn refusals(protocol: Protocol) -> Vec<String> {
        let capabilities = Settings { protocol, ..Settings::default() }.dialect().capabilities();
        let needs = [
            Need::Topics,
            Need::SubscribeByCommand,
            Need::ClientsPublish,
            Need::Answers,
            Need::Recovery,
            Need::Questions,
        ];
        let refusal = |need| capabilities.require(protocol, &[need]).err();
        needs.into_iter().filter_map(refusal).map(|error| error.to_string()).collect()
    }

    #[test]
    fn what_a_protocol_cannot_do_is_refused_in_words() {
        assert!(refusals(Protocol::Centrifugo).is_empty());
        let protobuf = "--protocol centrifugo-protobuf has no questions here; leave them out with \
                        --asking-rate 0";
        assert_eq!(refusals(Protocol::CentrifugoProtobuf), [protobuf]);
        assert_eq!(
            refusals(Protocol::Mqtt),
            [
                "--protocol mqtt does not answer publications of clients",
                "--protocol mqtt cannot recover what a client missed",
                "--protocol mqtt has no questions here; leave them out with --asking-rate 0"
            ]
        );
        assert_eq!(refusals(Protocol::Websocket).len(), 5);
    }

    #[test]
    fn protocols_have_the_names_that_scripts_use() {
        let names: Vec<_> =
            Protocol::value_variants().iter().map(|protocol| protocol.name()).collect();
        assert_eq!(
            names.join(" "),
            "centrifugo centrifugo-protobuf pusher mqtt nats websocket nchan socketio"
        );
    }

    #[test]
    fn publications_go_over_http_where_the_settings_say_so() {
        let over = |protocol, api_key: Option<&str>, url: &str| {
            let api_key = api_key.map(str::to_owned);
            let settings = Settings { protocol, api_key, ..Settings::default() };
            settings.publishes_over(&Target::parse(url).unwrap())
        };
        let (websocket, tcp) = ("ws://127.0.0.1:1/", "tcp://127.0.0.1:1");
        assert_eq!(over(Protocol::Centrifugo, None, websocket), "websocket");
        assert_eq!(over(Protocol::Centrifugo, Some("key"), websocket), "http");
        assert_eq!(over(Protocol::Nchan, None, websocket), "http");
        assert_eq!(over(Protocol::Nats, None, tcp), "tcp");
    }
}
