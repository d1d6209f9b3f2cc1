//! Request bodies to [`Call`]s: one method, a batch of them, or lines of them. What a method takes
//! is `methods`.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::methods::operation;
use super::{Call, ErrorMode, Operation, Shape};
use crate::fault::Refusal;
use crate::json::{or_default, text};
use crate::limits::BATCH_SURVEYS_MAX;

/// Why a request is no call.
#[derive(Debug, thiserror::Error)]
pub enum DecodeError {
    /// Answer 404.
    #[error("no such method; there are: batch, {}", super::methods::METHODS.join(", "))]
    UnknownMethod,
    /// Answer 400 with this text.
    #[error("the body is not the JSON that this method takes: {0}")]
    Malformed(#[from] serde_json::Error),
    /// Answer 400 with this text.
    #[error("the body is not a JSON object")]
    NoObject,
}

/// Reads the body of `POST /api/{method}`.
///
/// # Errors
///
/// [`DecodeError`]: nothing was done; answer the status it says. Values that are well formed but
/// not acceptable are no errors here: they are answered by the call.
pub fn decode(method: &str, body: &[u8], errors: ErrorMode) -> Result<Call, DecodeError> {
    if method == "batch" {
        let Batch { commands, parallel } = object(body)?;
        let mut operations: Vec<_> = commands.into_iter().map(batched).collect();
        limit_surveys(&mut operations);
        return Ok(Call { operations, shape: Shape::Batch, parallel });
    }
    let operation = operation(method, body)?.ok_or(DecodeError::UnknownMethod)?;
    Ok(Call { operations: vec![operation], shape: Shape::Single(errors), parallel: false })
}

/// Reads the body of `POST /api`: an object for each method, one after the other.
///
/// # Errors
///
/// As of [`decode`], when one of them is no object or there is none.
pub fn decode_lines(body: &[u8]) -> Result<Call, DecodeError> {
    let (mut operations, mut ids) = (Vec::new(), Vec::new());
    for line in serde_json::Deserializer::from_slice(body).into_iter::<&RawValue>() {
        let Line { id, method, params } = object(line?.get().as_bytes())?;
        let operation = one_of_many(&method, params.map_or("{}", RawValue::get));
        operations.push(operation.unwrap_or(Operation::Refused(Refusal::NotFound)));
        ids.push(id);
    }
    if operations.is_empty() {
        return Err(DecodeError::NoObject);
    }
    limit_surveys(&mut operations);
    Ok(Call { operations, shape: Shape::Lines(ids), parallel: false })
}

/// Reads an object.
pub(super) fn object<'a, T: Deserialize<'a>>(body: &'a [u8]) -> Result<T, DecodeError> {
    // serde would take an array for an object.
    if body.trim_ascii_start().starts_with(b"[") {
        return Err(DecodeError::NoObject);
    }
    Ok(serde_json::from_slice(body)?)
}

/// One command of a batch: an object whose key is the method. If it has several, the first known
/// one by the alphabet counts.
fn batched(command: &RawValue) -> Operation {
    let methods = serde_json::from_str::<BTreeMap<Cow<'_, str>, Option<&RawValue>>>(command.get());
    let Ok(methods) = methods else {
        return Operation::Refused(Refusal::BadRequest);
    };
    methods
        .iter()
        .find_map(|(method, body)| one_of_many(method, (*body)?.get()))
        .unwrap_or(Operation::Refused(Refusal::NotFound))
}

/// One method's body among others, which go on if it is no call; `None` = no such method.
fn one_of_many(method: &str, body: &str) -> Option<Operation> {
    operation(method, body.as_bytes()).unwrap_or(Some(Operation::Refused(Refusal::BadRequest)))
}

/// Refuses what is one large answer too many: all of them are kept until the last one is there.
fn limit_surveys(operations: &mut [Operation]) {
    let surveys = operations.iter_mut().filter(|operation| operation.is_survey());
    for operation in surveys.skip(BATCH_SURVEYS_MAX) {
        *operation = Operation::Refused(Refusal::LimitExceeded);
    }
}

#[derive(Deserialize)]
struct Batch<'a> {
    #[serde(borrow, default, deserialize_with = "or_default")]
    commands: Vec<&'a RawValue>,
    #[serde(default, deserialize_with = "or_default")]
    parallel: bool,
}

#[derive(Deserialize)]
struct Line<'a> {
    id: Option<u64>,
    #[serde(borrow, default, deserialize_with = "text")]
    method: Cow<'a, str>,
    #[serde(borrow)]
    params: Option<&'a RawValue>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::{Query, TopicQuery};

    fn batch(commands: &str) -> Vec<Operation> {
        let body = format!(r#"{{"commands":[{commands}]}}"#);
        let call = decode("batch", body.as_bytes(), ErrorMode::InStatus).unwrap();
        assert_eq!(call.shape, Shape::Batch);
        call.operations
    }

    #[test]
    fn a_body_that_is_no_json_and_a_method_that_is_none_are_errors() {
        let decode = |method, body: &str| decode(method, body.as_bytes(), ErrorMode::InBody);
        for method in ["publish", "info", "presence", "rpc", "map_stats", "batch"] {
            for body in ["", "{", "7", "null", "\"text\""] {
                let error = decode(method, body).unwrap_err();
                assert!(matches!(error, DecodeError::Malformed(_)), "{method} {body}");
            }
            assert!(matches!(decode(method, " [[]]"), Err(DecodeError::NoObject)), "{method}");
        }
        assert!(matches!(decode("publish", r#"{"channel":1}"#), Err(DecodeError::Malformed(_))));
        for method in ["nosuch", "", "Publish"] {
            let error = decode(method, "{}").unwrap_err();
            assert!(matches!(error, DecodeError::UnknownMethod), "{method}");
            assert!(error.to_string().contains(" batch, publish, broadcast, "), "{error}");
        }
    }

    #[test]
    fn the_error_mode_is_the_calls() {
        for mode in [ErrorMode::InBody, ErrorMode::InStatus] {
            let call = decode("info", b"{}", mode).unwrap();
            assert!(call.shape == Shape::Single(mode) && !call.parallel);
        }
    }

    #[test]
    fn a_command_of_a_batch_that_is_none_is_refused_and_the_others_go_on() {
        let operations = batch(
            r#"{"publish":{"channel":"a","data":1}}, {"nosuch":{}}, null, {}, 7, [], "a",
               {"publish":{"channel":1,"data":1}}, {"publish":["a"]}, {"publish":null},
               {"nosuch":1,"info":{}}, {"presence":null,"unsubscribe":{"channel":"a"}}"#,
        );
        let refused: Vec<_> = operations
            .iter()
            .map(|operation| match operation {
                Operation::Refused(refusal) => refusal.code(),
                _ => 0,
            })
            .collect();
        assert_eq!(refused, [0, 104, 107, 104, 107, 107, 107, 107, 107, 104, 0, 0]);
        assert!(matches!(&operations[10], Operation::Ask(query) if query.method() == "info"));
        assert!(
            matches!(&operations[11], Operation::Ask(query) if query.method() == "unsubscribe")
        );
    }

    #[test]
    fn answers_that_grow_are_counted_in_a_batch() {
        let surveys = [
            r#"{"info":{}}"#,
            r#"{"channels":{}}"#,
            r#"{"presence":{"channel":"a"}}"#,
            r#"{"history":{"channel":"a","limit":-1}}"#,
        ];
        let small = [
            r#"{"presence_stats":{"channel":"a"}}"#,
            r#"{"history":{"channel":"a"}}"#,
            r#"{"publish":{"channel":"a","data":1}}"#,
        ];
        let commands = [surveys.repeat(5), small.repeat(20)].concat().join(",");
        let refused =
            |operation: &Operation| matches!(operation, Operation::Refused(Refusal::LimitExceeded));
        let operations = batch(&commands);
        assert_eq!(operations.iter().position(refused), Some(BATCH_SURVEYS_MAX));
        assert_eq!(operations.iter().filter(|one| refused(one)).count(), 20 - BATCH_SURVEYS_MAX);
    }

    #[test]
    fn lines_are_methods_with_ids() {
        let body = b"{\"id\":7,\"method\":\"publish\",\"params\":{\"channel\":\"a\",\"data\":1}}\n\
            {\"method\":\"info\"}\n\n{\"method\":\"nosuch\",\"id\":0}\
            {\"id\":3}{\"method\":\"presence\",\"params\":[]}\
            {\"method\":\"batch\",\"params\":{}}\n";
        let call = decode_lines(body).unwrap();
        assert_eq!(call.shape, Shape::Lines(vec![Some(7), None, Some(0), Some(3), None, None]));
        let [Operation::Publish(_), Operation::Ask(query), rest @ ..] = call.operations.as_slice()
        else {
            panic!("{:?}", call.operations);
        };
        assert!(matches!(query.as_ref(), Query::Info));
        let refused =
            [Refusal::NotFound, Refusal::NotFound, Refusal::BadRequest, Refusal::NotFound];
        for (operation, expected) in rest.iter().zip(refused) {
            assert!(matches!(operation, Operation::Refused(refusal) if *refusal == expected));
        }
        assert_eq!(rest.len(), refused.len());
    }

    #[test]
    fn what_is_no_lines_is_an_error_and_nothing_is_done() {
        for body in [
            "",
            " \n",
            "7",
            "[]",
            "[{}]",
            "null",
            "{",
            r#"{"method":1}"#,
            r#"{"method":"info"}]"#,
            r#"{"method":"info","id":-1}"#,
            r#"{"method":"info","id":"a"}"#,
        ] {
            assert!(decode_lines(body.as_bytes()).is_err(), "{body}");
        }
    }

    #[test]
    fn surveys_in_lines_are_counted_too() {
        let call =
            decode_lines(r#"{"method":"presence","params":{"channel":"a"}}"#.repeat(20).as_bytes());
        let operations = call.unwrap().operations;
        let asks = |operation: &&Operation| {
            matches!(operation, Operation::OfTopic { query: TopicQuery::Presence, .. })
        };
        assert_eq!(operations.iter().filter(asks).count(), BATCH_SURVEYS_MAX);
    }
}
