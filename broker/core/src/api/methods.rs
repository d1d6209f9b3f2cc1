//! What each method takes: its body to an [`Operation`]. A missing or unusable value is refused by
//! the operation (107); what is not of its type is no call.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde_json::value::RawValue;
use uuid::Uuid;

use super::decode::{DecodeError, object};
use super::{Client, Operation, Query, ServerSubscribe, TopicQuery, Who};
use crate::fault::{Disconnect, Refusal};
use crate::json::{or_default, present, text};
use crate::limits::ONCE_TEXT_BYTES_MAX;
use crate::protocol::{Draft, Once, Overrides, Payload, Publish, Range, Since};

/// All but `batch`.
pub(super) const METHODS: [&str; 13] = [
    "publish",
    "broadcast",
    "subscribe",
    "unsubscribe",
    "disconnect",
    "refresh",
    "presence",
    "presence_stats",
    "history",
    "history_remove",
    "channels",
    "info",
    "rpc",
];

/// Methods of the specification for kinds of topics that this broker does not have.
const NOT_AVAILABLE: [&str; 7] = [
    "map_publish",
    "map_remove",
    "map_read_state",
    "map_read_stream",
    "map_stats",
    "map_clear",
    "shared_poll_publish",
];

/// One method's body; `None` = no such method.
pub(super) fn operation(method: &str, body: &[u8]) -> Result<Option<Operation>, DecodeError> {
    let operation = match method {
        "publish" => publish(object(body)?),
        "broadcast" => broadcast(object(body)?),
        "subscribe" => subscribe(object(body)?),
        "unsubscribe" => unsubscribe(object(body)?),
        "disconnect" => disconnect(object(body)?),
        "refresh" => refresh(object(body)?),
        "presence" => of_topic(object(body)?, TopicQuery::Presence),
        "presence_stats" => of_topic(object(body)?, TopicQuery::PresenceStats),
        "history" => history(object(body)?),
        "history_remove" => of_topic(object(body)?, TopicQuery::HistoryRemove),
        "channels" => {
            let Channels { pattern } = object(body)?;
            let pattern = (!pattern.is_empty()).then(|| pattern.into_owned());
            Ok(Operation::Ask(Arc::new(Query::Topics { pattern })))
        }
        "info" => {
            object::<Nothing>(body)?;
            Ok(Operation::Ask(Arc::new(Query::Info)))
        }
        // A backend's calls of the backend: the broker has none of its own.
        "rpc" => {
            let Rpc { method } = object(body)?;
            Err(if method.is_empty() { Refusal::BadRequest } else { Refusal::NotFound })
        }
        method if NOT_AVAILABLE.contains(&method) => {
            object::<Nothing>(body)?;
            Err(Refusal::NotAvailable)
        }
        _ => return Ok(None),
    };
    Ok(Some(operation.unwrap_or_else(Operation::Refused)))
}

#[derive(Deserialize)]
struct Nothing {}

#[derive(Deserialize)]
struct Rpc<'a> {
    #[serde(borrow, default, deserialize_with = "text")]
    method: Cow<'a, str>,
}

#[derive(Deserialize)]
struct Channels<'a> {
    #[serde(borrow, default, deserialize_with = "text")]
    pattern: Cow<'a, str>,
}

/// What `publish` and `broadcast` share.
#[derive(Deserialize)]
struct PublishRequest<'a> {
    #[serde(borrow, default, deserialize_with = "text")]
    channel: Cow<'a, str>,
    #[serde(borrow, default, deserialize_with = "or_default")]
    channels: Vec<Cow<'a, str>>,
    #[serde(borrow, default, deserialize_with = "present")]
    data: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "text")]
    b64data: Cow<'a, str>,
    #[serde(default, deserialize_with = "or_default")]
    skip_history: bool,
    #[serde(default, deserialize_with = "or_default")]
    tags: BTreeMap<String, String>,
    #[serde(default, deserialize_with = "or_default")]
    delta: bool,
    #[serde(borrow, default, deserialize_with = "text")]
    idempotency_key: Cow<'a, str>,
    #[serde(default, deserialize_with = "or_default")]
    version: u64,
    #[serde(borrow, default, deserialize_with = "text")]
    version_epoch: Cow<'a, str>,
}

impl PublishRequest<'_> {
    /// What is to be published, and what may keep it from being so.
    fn publish(mut self) -> Result<(Draft, Option<Arc<Once>>), Refusal> {
        let data = payload(self.data, &self.b64data)?.ok_or(Refusal::BadRequest)?;
        let tags = std::mem::take(&mut self.tags).into_iter().collect();
        let (skip_history, delta) = (self.skip_history, self.delta);
        Ok((Draft { data, info: None, tags, skip_history, delta }, self.once()?))
    }

    fn once(self) -> Result<Option<Arc<Once>>, Refusal> {
        // They are kept for longer than the call.
        if self.idempotency_key.len().max(self.version_epoch.len()) > ONCE_TEXT_BYTES_MAX {
            return Err(Refusal::BadRequest);
        }
        let wanted = !self.idempotency_key.is_empty() || self.version > 0;
        Ok(wanted.then(|| {
            Arc::new(Once {
                idempotency_key: self.idempotency_key.into_owned(),
                version: self.version,
                version_epoch: self.version_epoch.into_owned(),
            })
        }))
    }
}

fn publish(request: PublishRequest<'_>) -> Result<Operation, Refusal> {
    let topic = request.channel.as_ref().into();
    let (draft, once) = request.publish()?;
    Ok(Operation::Publish(Publish { topic, draft, once }))
}

fn broadcast(mut request: PublishRequest<'_>) -> Result<Operation, Refusal> {
    let channels = std::mem::take(&mut request.channels);
    if channels.is_empty() {
        return Err(Refusal::BadRequest);
    }
    let (draft, once) = request.publish()?;
    let publish = |channel: &Cow<'_, str>| Publish {
        topic: channel.as_ref().into(),
        draft: draft.clone(),
        once: once.clone(),
    };
    Ok(Operation::Broadcast(channels.iter().map(publish).collect()))
}

#[derive(Deserialize)]
struct OfTopic<'a> {
    #[serde(borrow, default, deserialize_with = "text")]
    channel: Cow<'a, str>,
}

#[expect(clippy::needless_pass_by_value, reason = "a parsed body is used up")]
fn of_topic(request: OfTopic<'_>, query: TopicQuery) -> Result<Operation, Refusal> {
    Ok(Operation::OfTopic { topic: named(&request.channel)?, query })
}

#[derive(Deserialize)]
struct HistoryRequest<'a> {
    #[serde(borrow, default, deserialize_with = "text")]
    channel: Cow<'a, str>,
    #[serde(default, deserialize_with = "or_default")]
    limit: i32,
    since: Option<Position>,
    #[serde(default, deserialize_with = "or_default")]
    reverse: bool,
}

#[derive(Deserialize)]
struct Position {
    #[serde(default, deserialize_with = "or_default")]
    offset: u64,
    #[serde(default, deserialize_with = "or_default")]
    epoch: String,
}

impl From<Position> for Since {
    fn from(Position { offset, epoch }: Position) -> Self {
        Self { epoch, offset }
    }
}

fn history(request: HistoryRequest<'_>) -> Result<Operation, Refusal> {
    let HistoryRequest { channel, limit, since, reverse } = request;
    let range = Range { limit, since: since.map(Since::from), reverse };
    Ok(Operation::OfTopic { topic: named(&channel)?, query: TopicQuery::History(range) })
}

#[derive(Deserialize)]
struct SubscribeRequest<'a> {
    #[serde(borrow, default, deserialize_with = "text")]
    channel: Cow<'a, str>,
    #[serde(borrow, default, deserialize_with = "text")]
    user: Cow<'a, str>,
    #[serde(borrow, default, deserialize_with = "text")]
    client: Cow<'a, str>,
    #[serde(borrow, default, deserialize_with = "text")]
    session: Cow<'a, str>,
    #[serde(borrow)]
    info: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "text")]
    b64info: Cow<'a, str>,
    #[serde(borrow)]
    data: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "text")]
    b64data: Cow<'a, str>,
    #[serde(default, deserialize_with = "or_default")]
    expire_at: i64,
    recover_since: Option<Position>,
    #[serde(default, rename = "override", deserialize_with = "or_default")]
    overrides: Overrides,
}

fn subscribe(request: SubscribeRequest<'_>) -> Result<Operation, Refusal> {
    let subscribe = ServerSubscribe {
        who: who(&request.user, &request.client, &request.session),
        topic: named(&request.channel)?,
        info: payload(request.info, &request.b64info)?,
        data: payload(request.data, &request.b64data)?,
        expire_at: expiry(request.expire_at)?,
        recover_since: request.recover_since.map(Since::from),
        overrides: request.overrides,
    };
    Ok(Operation::Ask(Arc::new(Query::Subscribe(Box::new(subscribe)))))
}

#[derive(Deserialize)]
struct UnsubscribeRequest<'a> {
    #[serde(borrow, default, deserialize_with = "text")]
    channel: Cow<'a, str>,
    #[serde(borrow, default, deserialize_with = "text")]
    user: Cow<'a, str>,
    #[serde(borrow, default, deserialize_with = "text")]
    client: Cow<'a, str>,
    #[serde(borrow, default, deserialize_with = "text")]
    session: Cow<'a, str>,
}

fn unsubscribe(request: UnsubscribeRequest<'_>) -> Result<Operation, Refusal> {
    if request.channel.is_empty() {
        return Err(Refusal::BadRequest);
    }
    let who = who(&request.user, &request.client, &request.session);
    let topic = request.channel.into_owned();
    Ok(Operation::Ask(Arc::new(Query::Unsubscribe { who, topic })))
}

#[derive(Deserialize)]
struct DisconnectRequest<'a> {
    #[serde(borrow, default, deserialize_with = "text")]
    user: Cow<'a, str>,
    #[serde(borrow, default, deserialize_with = "text")]
    client: Cow<'a, str>,
    #[serde(borrow, default, deserialize_with = "text")]
    session: Cow<'a, str>,
    #[serde(borrow, default, deserialize_with = "or_default")]
    whitelist: Vec<Cow<'a, str>>,
    #[serde(borrow)]
    disconnect: Option<DisconnectCode<'a>>,
}

#[derive(Deserialize)]
struct DisconnectCode<'a> {
    #[serde(default, deserialize_with = "or_default")]
    code: u32,
    #[serde(borrow, default, deserialize_with = "text")]
    reason: Cow<'a, str>,
}

fn disconnect(request: DisconnectRequest<'_>) -> Result<Operation, Refusal> {
    let disconnect = match request.disconnect {
        None => Disconnect::FORCE,
        Some(DisconnectCode { code, reason }) => custom(code, &reason)?,
    };
    Ok(Operation::Ask(Arc::new(Query::Disconnect {
        who: who(&request.user, &request.client, &request.session),
        spared: request.whitelist.iter().filter_map(|id| id.parse().ok()).collect(),
        disconnect,
    })))
}

/// A code that may be sent in a close frame and that clients understand as one of the broker's.
fn custom(code: u32, reason: &str) -> Result<Disconnect, Refusal> {
    let code = u16::try_from(code).ok().filter(|code| (3000..=4999).contains(code));
    match code {
        Some(code) if reason.len() <= Disconnect::REASON_BYTES_MAX => {
            Ok(Disconnect { code, reason: reason.to_owned().into() })
        }
        _ => Err(Refusal::BadRequest),
    }
}

#[derive(Deserialize)]
struct RefreshRequest<'a> {
    #[serde(borrow, default, deserialize_with = "text")]
    user: Cow<'a, str>,
    #[serde(borrow, default, deserialize_with = "text")]
    client: Cow<'a, str>,
    #[serde(borrow, default, deserialize_with = "text")]
    session: Cow<'a, str>,
    #[serde(default, deserialize_with = "or_default")]
    expired: bool,
    #[serde(default, deserialize_with = "or_default")]
    expire_at: i64,
    #[serde(borrow)]
    info: Option<&'a RawValue>,
}

#[expect(clippy::needless_pass_by_value, reason = "a parsed body is used up")]
fn refresh(request: RefreshRequest<'_>) -> Result<Operation, Refusal> {
    Ok(Operation::Ask(Arc::new(Query::Refresh {
        who: who(&request.user, &request.client, &request.session),
        expired: request.expired,
        expire_at: expiry(request.expire_at)?,
        info: payload(request.info, "")?,
    })))
}

/// A required topic.
fn named(channel: &str) -> Result<Arc<str>, Refusal> {
    if channel.is_empty() { Err(Refusal::BadRequest) } else { Ok(channel.into()) }
}

/// A payload in one of its two spellings; that in base64 wins. `None` = neither is there.
fn payload(json: Option<&RawValue>, base64: &str) -> Result<Option<Payload>, Refusal> {
    if base64.is_empty() {
        return Ok(json.map(|json| Payload::json(json.get().as_bytes())));
    }
    let bytes = STANDARD.decode(base64).map_err(|_| Refusal::BadRequest)?;
    Ok(Some(Payload::detect(&bytes)))
}

/// Unix seconds; 0 = never.
fn expiry(expire_at: i64) -> Result<Option<u64>, Refusal> {
    let seconds = u64::try_from(expire_at).map_err(|_| Refusal::BadRequest)?;
    Ok((seconds > 0).then_some(seconds))
}

/// Sessions in the protocol's sense exist on emulated and unidirectional transports only, so to
/// name one names nobody here.
fn who(user: &str, client: &str, session: &str) -> Who {
    let client = match client {
        _ if !session.is_empty() => Client::Nobody,
        "" => Client::Any,
        id => id.parse::<Uuid>().map_or(Client::Nobody, Client::One),
    };
    Who { user: user.to_owned(), client }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn read(method: &str, body: &str) -> Operation {
        operation(method, body.as_bytes()).unwrap().unwrap()
    }

    #[track_caller]
    fn published(body: &str) -> Publish {
        match read("publish", body) {
            Operation::Publish(publish) => publish,
            other => panic!("{other:?}"),
        }
    }

    #[track_caller]
    fn asked(method: &str, body: &str) -> Arc<Query> {
        match read(method, body) {
            Operation::Ask(query) => query,
            other => panic!("{other:?}"),
        }
    }

    const CLIENT: &str = "0b6ac7f6-3a7b-4c3f-9f5e-0f5f0c9d9b11";

    #[test]
    fn publish_keeps_the_text_of_the_data_but_its_line_breaks() {
        let publish = published("{\"channel\":\"a\",\"data\":{\n  \"k\": \"a\\nb\"\r\n}}");
        assert_eq!(&*publish.topic, "a");
        assert_eq!(&publish.draft.data.bytes()[..], br#"{  "k": "a\nb"}"#);
        assert!(!publish.draft.delta && !publish.draft.skip_history && publish.once.is_none());
        assert_eq!(&published(r#"{"channel":"a","data":null}"#).draft.data.bytes()[..], b"null");
    }

    #[test]
    fn publish_reads_every_field() {
        let publish = published(
            r#"{"channel":"a","data":1,"skip_history":true,"tags":{"b":"2","a":"1"},"delta":true,
                "idempotency_key":"key","version":7,"version_epoch":"e","unknown":[1]}"#,
        );
        assert!(publish.draft.skip_history && publish.draft.delta);
        let tags = [("a", "1"), ("b", "2")].map(|(key, tag)| (key.to_owned(), tag.to_owned()));
        assert_eq!(publish.draft.tags[..], tags);
        let once =
            Once { idempotency_key: "key".to_owned(), version: 7, version_epoch: "e".to_owned() };
        assert_eq!(publish.once.as_deref(), Some(&once));
        let nulls = r#"{"channel":"a","data":1,"skip_history":null,"tags":null,"delta":null,
                        "idempotency_key":null,"version":null,"version_epoch":null,
                        "b64data":null}"#;
        assert!(published(nulls).once.is_none());
    }

    #[test]
    fn data_in_base64_may_be_any_bytes_and_wins() {
        let json = published(r#"{"channel":"a","b64data":"eyJhIjoxfQ=="}"#).draft.data;
        assert!(json.is_json() && &json.bytes()[..] == br#"{"a":1}"#);
        let bytes = published(r#"{"channel":"a","data":1,"b64data":"/wA="}"#).draft.data;
        assert!(!bytes.is_json() && bytes.bytes()[..] == [255, 0]);
    }

    #[test]
    fn a_broadcast_is_the_same_for_each_topic() {
        let body = r#"{"channels":["a","b"],"data":1,"tags":{"k":"v"},"idempotency_key":"key"}"#;
        let Operation::Broadcast(publishes) = read("broadcast", body) else { panic!() };
        let topics: Vec<_> = publishes.iter().map(|publish| &*publish.topic).collect();
        assert_eq!(topics, ["a", "b"]);
        for publish in &publishes {
            assert_eq!(publish.draft.tags[0].1, "v");
            assert_eq!(publish.once.as_ref().unwrap().idempotency_key, "key");
        }
    }

    #[test]
    fn a_question_about_a_topic_names_it() {
        for (method, expected) in [
            ("presence", TopicQuery::Presence),
            ("presence_stats", TopicQuery::PresenceStats),
            ("history_remove", TopicQuery::HistoryRemove),
            ("history", TopicQuery::History(Range::default())),
        ] {
            let Operation::OfTopic { topic, query } = read(method, r#"{"channel":"a:b"}"#) else {
                panic!("{method}");
            };
            assert_eq!((&*topic, query), ("a:b", expected));
        }
    }

    #[test]
    fn history_reads_its_range() {
        for (fields, expected) in [
            (r#""limit":-1"#, Range { limit: -1, since: None, reverse: false }),
            (r#""since":null,"reverse":null,"limit":null"#, Range::default()),
            (
                r#""limit":3,"reverse":true,"since":{"offset":18446744073709551615,"epoch":"e"}"#,
                Range {
                    limit: 3,
                    since: Some(Since { epoch: "e".to_owned(), offset: u64::MAX }),
                    reverse: true,
                },
            ),
            (r#""since":{}"#, Range { limit: 0, since: Some(Since::default()), reverse: false }),
        ] {
            let body = format!(r#"{{"channel":"a",{fields}}}"#);
            let Operation::OfTopic { query, .. } = read("history", &body) else { panic!() };
            assert_eq!(query, TopicQuery::History(expected), "{fields}");
        }
    }

    #[test]
    fn subscribe_reads_every_field() {
        let query = asked(
            "subscribe",
            &format!(
                r#"{{"user":"u","channel":"a","client":"{CLIENT}","info":{{"i":1}},"b64info":"Mg==",
                    "data":3,"expire_at":1700000000,"recover_since":{{"offset":4,"epoch":"e"}},
                    "override":{{"presence":{{"value":true}},"join_leave":{{"value":false}},
                    "force_recovery":{{}},"force_positioning":null}}}}"#
            ),
        );
        let Query::Subscribe(subscribe) = query.as_ref() else { panic!() };
        assert_eq!((subscribe.who.user.as_str(), &*subscribe.topic), ("u", "a"));
        assert_eq!(subscribe.who.client, Client::One(CLIENT.parse().unwrap()));
        assert_eq!(subscribe.info, Some(Payload::json(b"2")));
        assert_eq!(subscribe.data, Some(Payload::json(b"3")));
        assert_eq!(subscribe.expire_at, Some(1_700_000_000));
        let since = Since { epoch: "e".to_owned(), offset: 4 };
        assert_eq!(subscribe.recover_since, Some(since));
        let overrides = Overrides {
            presence: Some(true),
            join_leave: Some(false),
            force_recovery: Some(false),
            force_positioning: None,
            force_push_join_leave: None,
        };
        assert_eq!(subscribe.overrides, overrides);
    }

    #[test]
    fn a_subscribe_that_says_little_means_little() {
        let nulls = r#"{"channel":"a","user":null,"info":null,"data":null,"expire_at":0,
                        "recover_since":null,"override":null}"#;
        for body in [r#"{"channel":"a"}"#, nulls] {
            let query = asked("subscribe", body);
            let Query::Subscribe(subscribe) = query.as_ref() else { panic!() };
            assert!(subscribe.who.user.is_empty() && subscribe.who.client == Client::Any);
            assert!(subscribe.info.is_none() && subscribe.data.is_none());
            assert!(subscribe.expire_at.is_none() && subscribe.recover_since.is_none());
            assert_eq!(subscribe.overrides, Overrides::default());
        }
    }

    #[test]
    fn refresh_reads_every_field() {
        let body = r#"{"user":"u","expired":true,"expire_at":5,"info":{"i":1}}"#;
        let query = asked("refresh", body);
        let Query::Refresh { who, expired: true, expire_at: Some(5), info } = query.as_ref() else {
            panic!("{query:?}");
        };
        assert_eq!((who.user.as_str(), who.client), ("u", Client::Any));
        assert_eq!(info.as_ref().unwrap().bytes()[..], br#"{"i":1}"#[..]);
        let query = asked("refresh", "{}");
        let Query::Refresh { expired: false, expire_at: None, info: None, .. } = query.as_ref()
        else {
            panic!("{query:?}");
        };
    }

    #[test]
    fn whoever_is_named_must_be_all_that_is_named() {
        let session = format!(r#"{{"user":"u","client":"{CLIENT}","session":"{CLIENT}"}}"#);
        let client = format!(r#"{{"user":"u","client":"{CLIENT}"}}"#);
        for (body, expected) in [
            (r#"{"user":"u"}"#, Client::Any),
            (client.as_str(), Client::One(CLIENT.parse().unwrap())),
            (r#"{"user":"u","client":"no id"}"#, Client::Nobody),
            (session.as_str(), Client::Nobody),
        ] {
            let query = asked("disconnect", body);
            let Query::Disconnect { who, .. } = query.as_ref() else { panic!() };
            assert_eq!((who.user.as_str(), who.client), ("u", expected), "{body}");
        }
    }

    #[test]
    fn what_is_missing_or_cannot_be_is_refused() {
        let long = "k".repeat(ONCE_TEXT_BYTES_MAX + 1);
        let long_key = format!(r#"{{"channel":"a","data":1,"idempotency_key":"{long}"}}"#);
        let long_epoch = format!(r#"{{"channel":"a","data":1,"version_epoch":"{long}"}}"#);
        for (method, body, code) in [
            ("publish", r#"{"channel":"a"}"#, 107),
            ("publish", r#"{"channel":"a","b64data":"%%"}"#, 107),
            ("publish", &long_key, 107),
            ("publish", &long_epoch, 107),
            ("broadcast", r#"{"channels":[],"data":1}"#, 107),
            ("broadcast", r#"{"channels":["a"]}"#, 107),
            ("subscribe", r#"{"user":"u"}"#, 107),
            ("subscribe", r#"{"channel":"a","b64info":"%"}"#, 107),
            ("subscribe", r#"{"channel":"a","b64data":"%"}"#, 107),
            ("subscribe", r#"{"channel":"a","expire_at":-1}"#, 107),
            ("refresh", r#"{"expire_at":-1}"#, 107),
            ("unsubscribe", r#"{"user":"u"}"#, 107),
            ("disconnect", r#"{"user":"u","disconnect":{"code":1005}}"#, 107),
            ("presence", "{}", 107),
            ("presence_stats", r#"{"channel":""}"#, 107),
            ("history", r#"{"channel":null}"#, 107),
            ("history_remove", "{}", 107),
            ("rpc", "{}", 107),
            ("rpc", r#"{"method":"ping","params":{}}"#, 104),
            ("map_publish", r#"{"channel":"a"}"#, 108),
            ("shared_poll_publish", "{}", 108),
        ] {
            let operation = read(method, body);
            let Operation::Refused(refusal) = operation else { panic!("{method} {body}") };
            assert_eq!(refusal.code(), code, "{method} {body}");
        }
        for (method, body) in [
            ("publish", r#"{"channel":"a","data":1,"version":-1}"#),
            ("publish", r#"{"channel":"a","data":1,"tags":{"a":1}}"#),
            ("history", r#"{"channel":"a","limit":2147483648}"#),
            ("subscribe", r#"{"channel":"a","override":{"presence":true}}"#),
        ] {
            assert!(operation(method, body.as_bytes()).is_err(), "{method} {body}");
        }
    }

    #[test]
    fn every_method_is_known() {
        for method in METHODS.into_iter().chain(NOT_AVAILABLE) {
            assert!(operation(method, b"{}").unwrap().is_some(), "{method}");
        }
        assert!(operation("batch", b"{}").unwrap().is_none(), "a batch holds no batch");
    }
}
