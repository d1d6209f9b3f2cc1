//! Request bodies to [`Call`]s.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

use base64::Engine as _;
use serde::Deserialize;
use serde_json::value::RawValue;
use uuid::Uuid;

use super::{Call, Client, Operation, Query, Shape, Who};
use crate::fault::{Disconnect, Refusal};
use crate::json::{or_default, present, text};
use crate::limits::BATCH_SURVEYS_MAX;
use crate::protocol::{Draft, Publish, payload};

/// Why a request is no call.
#[derive(Debug, thiserror::Error)]
pub enum DecodeError {
    /// Answer 404.
    #[error("no such method; there are: {METHODS}")]
    UnknownMethod,
    /// Answer 400 with this text.
    #[error("the body is not the JSON that this method takes: {0}")]
    Malformed(#[from] serde_json::Error),
    /// Answer 400 with this text.
    #[error("the body is not a JSON object")]
    NoObject,
}

const METHODS: &str = "publish, broadcast, batch, info, channels, disconnect, unsubscribe";

/// Methods of the specification that this version answers with 108.
const NOT_AVAILABLE: [&str; 7] =
    ["subscribe", "refresh", "presence", "presence_stats", "history", "history_remove", "rpc"];

/// Reads the body of `POST /api/{method}`.
///
/// # Errors
///
/// [`DecodeError`]: nothing was done; answer the status it says. Values that are well formed but
/// not acceptable are no errors here: they are answered by the call.
pub fn decode(method: &str, body: &[u8]) -> Result<Call, DecodeError> {
    // serde would take an array for an object.
    if body.trim_ascii_start().starts_with(b"[") {
        return Err(DecodeError::NoObject);
    }
    if method == "batch" {
        let batch: Batch<'_> = serde_json::from_slice(body)?;
        let mut surveys = 0;
        let operations = batch.commands.iter().map(|command| {
            let operation = batched(command)?;
            surveys += usize::from(operation.is_survey());
            Ok(match operation {
                survey if survey.is_survey() && surveys > BATCH_SURVEYS_MAX => {
                    Operation::Refused(Refusal::LimitExceeded)
                }
                operation => operation,
            })
        });
        let operations = operations.collect::<Result<_, DecodeError>>()?;
        return Ok(Call { operations, shape: Shape::Batch, parallel: batch.parallel });
    }
    let operation = operation(method, body)?.ok_or(DecodeError::UnknownMethod)?;
    Ok(Call { operations: vec![operation], shape: Shape::Single, parallel: false })
}

/// One method's body; `None` = no such method.
fn operation(method: &str, body: &[u8]) -> Result<Option<Operation>, serde_json::Error> {
    Ok(Some(match method {
        "publish" => publish(serde_json::from_slice(body)?),
        "broadcast" => broadcast(serde_json::from_slice(body)?),
        "info" => {
            serde_json::from_slice::<Nothing>(body)?;
            Operation::Ask(Arc::new(Query::Info))
        }
        "channels" => {
            let Channels { pattern } = serde_json::from_slice(body)?;
            let pattern = (!pattern.is_empty()).then(|| pattern.into_owned());
            Operation::Ask(Arc::new(Query::Topics { pattern }))
        }
        "disconnect" => disconnect(serde_json::from_slice(body)?),
        "unsubscribe" => unsubscribe(serde_json::from_slice(body)?),
        method if NOT_AVAILABLE.contains(&method) => {
            serde_json::from_slice::<Nothing>(body)?;
            Operation::Refused(Refusal::NotAvailable)
        }
        _ => return Ok(None),
    }))
}

/// One command of a batch: an object whose first known key is the method.
fn batched(command: &RawValue) -> Result<Operation, DecodeError> {
    if command.get().trim() == "null" {
        return Ok(Operation::Refused(Refusal::BadRequest));
    }
    let methods: BTreeMap<Cow<'_, str>, &RawValue> = serde_json::from_str(command.get())?;
    for (method, body) in methods {
        if let Some(operation) = operation(&method, body.get().as_bytes())? {
            return Ok(operation);
        }
    }
    Ok(Operation::Refused(Refusal::NotFound))
}

#[derive(Deserialize)]
struct Nothing {}

#[derive(Deserialize)]
struct Batch<'a> {
    #[serde(borrow, default, deserialize_with = "or_default")]
    commands: Vec<&'a RawValue>,
    #[serde(default, deserialize_with = "or_default")]
    parallel: bool,
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
    #[serde(borrow, default)]
    idempotency_key: Cow<'a, str>,
    #[serde(default, deserialize_with = "or_default")]
    version: u64,
}

impl PublishRequest<'_> {
    /// What is to be published, if it can be.
    fn draft(&self) -> Result<Draft, Refusal> {
        // To ignore these would publish what the caller meant to be held back.
        if !self.idempotency_key.is_empty() || self.version > 0 {
            return Err(Refusal::NotAvailable);
        }
        let data = match self.data {
            Some(data) => payload(data.get().as_bytes()),
            None if self.b64data.is_empty() => return Err(Refusal::BadRequest),
            None => {
                let engine = base64::engine::general_purpose::STANDARD;
                let data =
                    engine.decode(self.b64data.as_bytes()).map_err(|_| Refusal::BadRequest)?;
                let text = serde_json::from_slice::<&RawValue>(&data);
                payload(text.map_err(|_| Refusal::BadRequest)?.get().as_bytes())
            }
        };
        let tags = self.tags.iter().map(|(key, value)| (key.clone(), value.clone()));
        let tags = tags.collect();
        Ok(Draft { data, info: None, tags, skip_history: self.skip_history })
    }
}

#[expect(clippy::needless_pass_by_value, reason = "a parsed body is used up")]
fn publish(request: PublishRequest<'_>) -> Operation {
    match request.draft() {
        Ok(draft) => Operation::Publish(Publish { topic: request.channel.as_ref().into(), draft }),
        Err(refusal) => Operation::Refused(refusal),
    }
}

#[expect(clippy::needless_pass_by_value, reason = "a parsed body is used up")]
fn broadcast(request: PublishRequest<'_>) -> Operation {
    if request.channels.is_empty() {
        return Operation::Refused(Refusal::BadRequest);
    }
    match request.draft() {
        Ok(draft) => Operation::Broadcast(
            request
                .channels
                .iter()
                .map(|channel| Publish { topic: channel.as_ref().into(), draft: draft.clone() })
                .collect(),
        ),
        Err(refusal) => Operation::Refused(refusal),
    }
}

#[derive(Deserialize)]
struct Channels<'a> {
    #[serde(borrow, default, deserialize_with = "text")]
    pattern: Cow<'a, str>,
}

#[derive(Deserialize)]
struct DisconnectRequest<'a> {
    #[serde(borrow, default, deserialize_with = "text")]
    session: Cow<'a, str>,
    #[serde(borrow, default, deserialize_with = "text")]
    user: Cow<'a, str>,
    #[serde(borrow, default, deserialize_with = "text")]
    client: Cow<'a, str>,
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

fn disconnect(request: DisconnectRequest<'_>) -> Operation {
    let disconnect = match request.disconnect {
        None => Ok(Disconnect::FORCE),
        Some(DisconnectCode { code, reason }) => custom(code, &reason),
    };
    match disconnect {
        Ok(disconnect) => Operation::Ask(Arc::new(Query::Disconnect {
            who: who(&request.user, &request.client, &request.session),
            spared: request.whitelist.iter().filter_map(|id| id.parse().ok()).collect(),
            disconnect,
        })),
        Err(refusal) => Operation::Refused(refusal),
    }
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
struct UnsubscribeRequest<'a> {
    #[serde(borrow, default, deserialize_with = "text")]
    session: Cow<'a, str>,
    #[serde(borrow, default, deserialize_with = "text")]
    user: Cow<'a, str>,
    #[serde(borrow, default, deserialize_with = "text")]
    channel: Cow<'a, str>,
    #[serde(borrow, default, deserialize_with = "text")]
    client: Cow<'a, str>,
}

#[expect(clippy::needless_pass_by_value, reason = "a parsed body is used up")]
fn unsubscribe(request: UnsubscribeRequest<'_>) -> Operation {
    if request.channel.is_empty() {
        return Operation::Refused(Refusal::BadRequest);
    }
    let who = who(&request.user, &request.client, &request.session);
    let topic = request.channel.as_ref().to_owned();
    Operation::Ask(Arc::new(Query::Unsubscribe { who, topic }))
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

    fn single(method: &str, body: &str) -> Operation {
        decode(method, body.as_bytes()).unwrap().operations.remove(0)
    }

    #[test]
    fn publish_keeps_the_text_of_the_data_but_its_line_breaks() {
        let Operation::Publish(publish) =
            single("publish", "{\"channel\":\"a\",\"data\":{\n  \"k\": \"a\\nb\"\r\n}}")
        else {
            panic!()
        };
        assert_eq!(&*publish.topic, "a");
        assert_eq!(&publish.draft.data[..], br#"{  "k": "a\nb"}"#);
    }

    #[test]
    fn what_is_missing_or_not_built_is_refused_not_ignored() {
        for (method, body, refusal) in [
            ("publish", r#"{"channel":"a"}"#, Refusal::BadRequest),
            ("publish", r#"{"channel":"a","b64data":"%%"}"#, Refusal::BadRequest),
            ("publish", r#"{"channel":"a","data":1,"idempotency_key":"k"}"#, Refusal::NotAvailable),
            ("publish", r#"{"channel":"a","data":1,"version":2}"#, Refusal::NotAvailable),
            ("broadcast", r#"{"channels":[],"data":1}"#, Refusal::BadRequest),
            ("unsubscribe", r#"{"user":"u"}"#, Refusal::BadRequest),
            ("disconnect", r#"{"user":"u","disconnect":{"code":1005}}"#, Refusal::BadRequest),
            ("presence", r#"{"channel":"a"}"#, Refusal::NotAvailable),
        ] {
            let operation = single(method, body);
            assert!(matches!(operation, Operation::Refused(found) if found == refusal), "{body}");
        }
        assert!(matches!(
            single("publish", r#"{"channel":"a","data":null}"#),
            Operation::Publish(_)
        ));
        assert!(matches!(
            single("publish", r#"{"channel":"a","b64data":"eyJhIjoxfQ=="}"#),
            Operation::Publish(publish) if &publish.draft.data[..] == br#"{"a":1}"#
        ));
    }

    #[test]
    fn a_body_that_is_no_json_and_a_method_that_is_none_are_errors() {
        for body in ["", "{", "7", "null", r#"{"channel":1}"#] {
            assert!(matches!(decode("publish", body.as_bytes()), Err(DecodeError::Malformed(_))));
        }
        assert!(matches!(decode("publish", b" [[]]"), Err(DecodeError::NoObject)));
        assert!(matches!(decode("nosuch", b"{}"), Err(DecodeError::UnknownMethod)));
    }

    #[test]
    fn a_batch_names_a_method_in_each_command() {
        let body = r#"{"commands":[{"publish":{"channel":"a","data":1}},{"nosuch":{}},null,{}]}"#;
        let call = decode("batch", body.as_bytes()).unwrap();
        assert_eq!(call.shape, Shape::Batch);
        assert!(matches!(
            call.operations.as_slice(),
            [
                Operation::Publish(_),
                Operation::Refused(Refusal::NotFound),
                Operation::Refused(Refusal::BadRequest),
                Operation::Refused(Refusal::NotFound),
            ]
        ));
    }
}
