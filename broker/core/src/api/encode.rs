//! Answers of the API.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::Shape;
use crate::config::NodeInfo;
use crate::fault::Refusal;
use crate::json::{append_string, put};
use crate::protocol::{Position, Published};

/// What became of one operation.
#[derive(Debug)]
pub(crate) enum Answer {
    Refused(Refusal),
    Published(Published),
    Broadcast(Vec<Published>),
    Info(NodeCounts),
    Topics(BTreeMap<Arc<str>, usize>),
    /// Done, with nothing to tell; by which method.
    Done(&'static str),
}

/// What a node holds.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct NodeCounts {
    pub(crate) clients: usize,
    pub(crate) users: usize,
    pub(crate) subscriptions: usize,
    pub(crate) topics: usize,
    pub(crate) uptime_seconds: u64,
}

/// Appends the whole body of an answer.
pub(crate) fn append_answer(out: &mut Vec<u8>, node: &NodeInfo, shape: Shape, answers: &[Answer]) {
    match shape {
        Shape::Single => {
            for answer in answers {
                append_single(out, node, answer);
            }
        }
        Shape::Batch => {
            out.extend_from_slice(br#"{"replies":["#);
            for (index, answer) in answers.iter().enumerate() {
                if index > 0 {
                    out.push(b',');
                }
                append_batched(out, node, answer);
            }
            out.extend_from_slice(b"]}");
        }
    }
}

fn append_single(out: &mut Vec<u8>, node: &NodeInfo, answer: &Answer) {
    match refusal(answer) {
        Some(refusal) => append_error(out, refusal),
        None => {
            out.extend_from_slice(br#"{"result":"#);
            append_result(out, node, answer);
            out.push(b'}');
        }
    }
}

fn append_batched(out: &mut Vec<u8>, node: &NodeInfo, answer: &Answer) {
    if let Some(refusal) = refusal(answer) {
        append_error(out, refusal);
        return;
    }
    let method = match answer {
        Answer::Refused(_) | Answer::Published(_) => "publish",
        Answer::Broadcast(_) => "broadcast",
        Answer::Info(_) => "info",
        Answer::Topics(_) => "channels",
        Answer::Done(method) => method,
    };
    put!(out, r#"{{"{method}":"#);
    append_result(out, node, answer);
    out.push(b'}');
}

fn refusal(answer: &Answer) -> Option<Refusal> {
    match answer {
        Answer::Refused(refusal) | Answer::Published(Err(refusal)) => Some(*refusal),
        _ => None,
    }
}

fn append_error(out: &mut Vec<u8>, refusal: Refusal) {
    let (code, message) = (refusal.code(), refusal.message());
    put!(out, r#"{{"error":{{"code":{code},"message":"{message}"}}}}"#);
}

fn append_position(out: &mut Vec<u8>, position: Option<Position>) {
    match position {
        None => out.extend_from_slice(b"{}"),
        Some(Position { epoch, offset }) => {
            put!(out, r#"{{"offset":{offset},"epoch":"{}"}}"#, epoch.as_str());
        }
    }
}

fn append_result(out: &mut Vec<u8>, node: &NodeInfo, answer: &Answer) {
    match answer {
        Answer::Refused(_) | Answer::Done(_) | Answer::Published(Err(_)) => {
            out.extend_from_slice(b"{}");
        }
        Answer::Published(Ok(position)) => append_position(out, *position),
        Answer::Broadcast(published) => {
            out.extend_from_slice(br#"{"responses":["#);
            for (index, published) in published.iter().enumerate() {
                if index > 0 {
                    out.push(b',');
                }
                match published {
                    Err(refusal) => append_error(out, *refusal),
                    Ok(position) => {
                        out.extend_from_slice(br#"{"result":"#);
                        append_position(out, *position);
                        out.push(b'}');
                    }
                }
            }
            out.extend_from_slice(b"]}");
        }
        Answer::Topics(topics) => {
            out.extend_from_slice(br#"{"channels":{"#);
            for (index, (name, clients)) in topics.iter().enumerate() {
                if index > 0 {
                    out.push(b',');
                }
                append_string(out, name);
                put!(out, r#":{{"num_clients":{clients}}}"#);
            }
            out.extend_from_slice(b"}}");
        }
        Answer::Info(counts) => append_info(out, node, counts),
    }
}

fn append_info(out: &mut Vec<u8>, node: &NodeInfo, counts: &NodeCounts) {
    put!(out, r#"{{"nodes":[{{"uid":"{}","name":"#, node.id);
    append_string(out, &node.name);
    out.extend_from_slice(br#","version":"#);
    append_string(out, &node.version);
    let NodeCounts { clients, users, subscriptions, topics, uptime_seconds } = counts;
    put!(out, r#","num_clients":{clients},"num_users":{users},"num_subs":{subscriptions}"#);
    put!(out, r#","num_channels":{topics},"uptime":{uptime_seconds}}}]}}"#);
}
