//! Answers of the API.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{ErrorMode, Shape};
use crate::config::NodeInfo;
use crate::fault::Refusal;
use crate::json::{append_string, put};
use crate::protocol::{ClientInfo, Position, Publication, Published};

const OK: u16 = 200;

/// What became of one operation.
#[derive(Debug)]
pub(crate) enum Answer {
    Refused(Refusal),
    Published(Published),
    Broadcast(Vec<Published>),
    Info(NodeCounts),
    Topics(BTreeMap<Arc<str>, usize>),
    Presence(Vec<Arc<ClientInfo>>),
    PresenceStats {
        clients: u32,
        users: u32,
    },
    /// In the order that was asked for, and the place of the last of all.
    History {
        publications: Vec<Arc<Publication>>,
        position: Position,
    },
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

/// Appends the whole body of an answer; the HTTP status that it has.
pub(crate) fn append_answer(
    out: &mut Vec<u8>,
    node: &NodeInfo,
    shape: &Shape,
    answers: &[Answer],
) -> u16 {
    match shape {
        Shape::Single(errors) => {
            if let (ErrorMode::InStatus, [answer]) = (errors, answers)
                && let Some(refusal) = refusal(answer)
            {
                append_refusal(out, refusal);
                return refusal.status();
            }
            for answer in answers {
                out.push(b'{');
                append_outcome(out, node, answer);
                out.push(b'}');
            }
        }
        Shape::Batch => {
            out.extend_from_slice(br#"{"replies":"#);
            append_list(out, answers, |out, answer| append_batched(out, node, answer));
            out.push(b'}');
        }
        Shape::Feed => {
            for answer in answers {
                out.push(b'{');
                append_outcome(out, node, answer);
                out.extend_from_slice(b"}\n");
            }
        }
        Shape::Lines(ids) => {
            for (index, (answer, id)) in answers.iter().zip(ids).enumerate() {
                if index > 0 {
                    out.push(b'\n');
                }
                out.push(b'{');
                if let Some(id) = id {
                    put!(out, r#""id":{id},"#);
                }
                append_outcome(out, node, answer);
                out.push(b'}');
            }
        }
    }
    OK
}

/// Appends `"result":…` or `"error":…`.
fn append_outcome(out: &mut Vec<u8>, node: &NodeInfo, answer: &Answer) {
    match refusal(answer) {
        Some(refusal) => append_error(out, refusal),
        None => {
            out.extend_from_slice(br#""result":"#);
            append_result(out, node, answer);
        }
    }
}

fn append_batched(out: &mut Vec<u8>, node: &NodeInfo, answer: &Answer) {
    out.push(b'{');
    match refusal(answer) {
        Some(refusal) => append_error(out, refusal),
        None => {
            put!(out, r#""{}":"#, method(answer));
            append_result(out, node, answer);
        }
    }
    out.push(b'}');
}

const fn method(answer: &Answer) -> &'static str {
    match answer {
        Answer::Refused(_) | Answer::Published(_) => "publish",
        Answer::Broadcast(_) => "broadcast",
        Answer::Info(_) => "info",
        Answer::Topics(_) => "channels",
        Answer::Presence(_) => "presence",
        Answer::PresenceStats { .. } => "presence_stats",
        Answer::History { .. } => "history",
        Answer::Done(method) => method,
    }
}

fn refusal(answer: &Answer) -> Option<Refusal> {
    match answer {
        Answer::Refused(refusal) | Answer::Published(Err(refusal)) => Some(*refusal),
        _ => None,
    }
}

fn append_error(out: &mut Vec<u8>, refusal: Refusal) {
    out.extend_from_slice(br#""error":"#);
    append_refusal(out, refusal);
}

fn append_refusal(out: &mut Vec<u8>, refusal: Refusal) {
    let (code, message) = (refusal.code(), refusal.message());
    put!(out, r#"{{"code":{code},"message":"{message}"}}"#);
}

fn append_result(out: &mut Vec<u8>, node: &NodeInfo, answer: &Answer) {
    match answer {
        Answer::Refused(_) | Answer::Done(_) | Answer::Published(Err(_)) => {
            out.extend_from_slice(b"{}");
        }
        Answer::Published(Ok(position)) => append_position(out, *position),
        Answer::Broadcast(published) => {
            out.extend_from_slice(br#"{"responses":"#);
            append_list(out, published, append_response);
            out.push(b'}');
        }
        Answer::Topics(topics) => {
            out.extend_from_slice(br#"{"channels":"#);
            append_map(out, topics, |out, (name, clients)| {
                append_string(out, name);
                put!(out, r#":{{"num_clients":{clients}}}"#);
            });
            out.push(b'}');
        }
        Answer::Presence(members) => {
            out.extend_from_slice(br#"{"presence":"#);
            append_map(out, members, |out, info| {
                put!(out, r#""{}":"#, info.client);
                append_client_info(out, info);
            });
            out.push(b'}');
        }
        Answer::PresenceStats { clients, users } => {
            put!(out, r#"{{"num_clients":{clients},"num_users":{users}}}"#);
        }
        Answer::History { publications, position: Position { epoch, offset } } => {
            out.extend_from_slice(br#"{"publications":"#);
            append_list(out, publications, |out, publication| append_publication(out, publication));
            put!(out, r#","epoch":"{}","offset":{offset}}}"#, epoch.as_str());
        }
        Answer::Info(counts) => append_info(out, node, counts),
    }
}

/// One topic's part of the answer to a broadcast.
fn append_response(out: &mut Vec<u8>, published: &Published) {
    out.push(b'{');
    match published {
        Err(refusal) => append_error(out, *refusal),
        Ok(position) => {
            out.extend_from_slice(br#""result":"#);
            append_position(out, *position);
        }
    }
    out.push(b'}');
}

fn append_position(out: &mut Vec<u8>, position: Option<Position>) {
    match position {
        None => out.extend_from_slice(b"{}"),
        Some(Position { epoch, offset }) => {
            put!(out, r#"{{"offset":{offset},"epoch":"{}"}}"#, epoch.as_str());
        }
    }
}

/// A publication as its topic's history has it.
fn append_publication(out: &mut Vec<u8>, publication: &Publication) {
    out.extend_from_slice(br#"{"data":"#);
    out.extend_from_slice(&publication.draft.data.json_text());
    if let Some(info) = &publication.draft.info {
        out.extend_from_slice(br#","info":"#);
        append_client_info(out, info);
    }
    put!(out, r#","offset":{}"#, publication.position.offset);
    if !publication.draft.tags.is_empty() {
        out.extend_from_slice(br#","tags":"#);
        append_map(out, publication.draft.tags.iter(), |out, (key, value)| {
            append_string(out, key);
            out.push(b':');
            append_string(out, value);
        });
    }
    out.push(b'}');
}

fn append_client_info(out: &mut Vec<u8>, info: &ClientInfo) {
    out.extend_from_slice(br#"{"user":"#);
    append_string(out, &info.user);
    put!(out, r#","client":"{}""#, info.client);
    for (name, info) in [("conn_info", &info.conn_info), ("chan_info", &info.chan_info)] {
        if let Some(info) = info {
            put!(out, r#","{name}":"#);
            out.extend_from_slice(&info.json_text());
        }
    }
    out.push(b'}');
}

/// Appends a JSON array.
fn append_list<T>(
    out: &mut Vec<u8>,
    items: impl IntoIterator<Item = T>,
    append: impl FnMut(&mut Vec<u8>, T),
) {
    out.push(b'[');
    append_separated(out, items, append);
    out.push(b']');
}

/// Appends a JSON object, whose keys the function appends too.
fn append_map<T>(
    out: &mut Vec<u8>,
    items: impl IntoIterator<Item = T>,
    append: impl FnMut(&mut Vec<u8>, T),
) {
    out.push(b'{');
    append_separated(out, items, append);
    out.push(b'}');
}

fn append_separated<T>(
    out: &mut Vec<u8>,
    items: impl IntoIterator<Item = T>,
    mut append: impl FnMut(&mut Vec<u8>, T),
) {
    for (index, item) in items.into_iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        append(out, item);
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::{Draft, Epoch, Payload};

    const POSITION: Position = Position { epoch: Epoch(*b"abcdefgh"), offset: 7 };

    fn node() -> NodeInfo {
        let (name, version) = ("host \"1\"".to_owned(), "1.2.3".to_owned());
        NodeInfo { id: uuid::Uuid::from_u128(1), name, version }
    }

    fn spelled(shape: &Shape, answers: &[Answer]) -> (u16, String) {
        let mut out = Vec::new();
        let status = append_answer(&mut out, &node(), shape, answers);
        (status, String::from_utf8(out).unwrap())
    }

    /// What stands in `{"result":…}`.
    #[track_caller]
    fn result(answer: Answer) -> String {
        let (status, body) = spelled(&Shape::Single(ErrorMode::InStatus), &[answer]);
        assert_eq!(status, 200);
        serde_json::from_str::<serde_json::Value>(&body).unwrap();
        body.strip_prefix(r#"{"result":"#).unwrap().strip_suffix('}').unwrap().to_owned()
    }

    fn info(user: &str, client: u128) -> Arc<ClientInfo> {
        let client = uuid::Uuid::from_u128(client);
        Arc::new(ClientInfo { user: user.into(), client, conn_info: None, chan_info: None })
    }

    fn publication(offset: u64, draft: Draft) -> Arc<Publication> {
        let position = Position { offset, ..POSITION };
        Arc::new(Publication { draft, position, position_visible: true })
    }

    #[test]
    fn what_is_published_has_a_position_where_it_is_visible() {
        assert_eq!(result(Answer::Published(Ok(None))), "{}");
        assert_eq!(
            result(Answer::Published(Ok(Some(POSITION)))),
            r#"{"offset":7,"epoch":"abcdefgh"}"#
        );
        let published = vec![Ok(None), Err(Refusal::UnknownTopic), Ok(Some(POSITION))];
        assert_eq!(
            result(Answer::Broadcast(published)),
            [
                r#"{"responses":[{"result":{}},"#,
                r#"{"error":{"code":102,"message":"unknown channel"}},"#,
                r#"{"result":{"offset":7,"epoch":"abcdefgh"}}]}"#,
            ]
            .concat()
        );
    }

    #[test]
    fn presence_names_everybody_by_client() {
        assert_eq!(result(Answer::Presence(Vec::new())), r#"{"presence":{}}"#);
        let named = ClientInfo {
            conn_info: Some(Payload::json(br#"{"n":"A"}"#).into()),
            chan_info: Some(Payload::detect(&[255]).into()),
            ..(*info("\"a\"", 2)).clone()
        };
        assert_eq!(
            result(Answer::Presence(vec![info("", 1), Arc::new(named)])),
            [
                r#"{"presence":{"00000000-0000-0000-0000-000000000001":"#,
                r#"{"user":"","client":"00000000-0000-0000-0000-000000000001"},"#,
                r#""00000000-0000-0000-0000-000000000002":"#,
                r#"{"user":"\"a\"","client":"00000000-0000-0000-0000-000000000002","#,
                r#""conn_info":{"n":"A"},"chan_info":{"b64data":"/w=="}}}}"#,
            ]
            .concat()
        );
        assert_eq!(
            result(Answer::PresenceStats { clients: 0, users: 0 }),
            r#"{"num_clients":0,"num_users":0}"#
        );
    }

    #[test]
    fn history_always_has_publications_epoch_and_offset() {
        let position = Position { offset: 0, ..POSITION };
        assert_eq!(
            result(Answer::History { publications: Vec::new(), position }),
            r#"{"publications":[],"epoch":"abcdefgh","offset":0}"#
        );
        let plain = Draft {
            data: Payload::json(b"{ \"a\": 1 }"),
            info: None,
            tags: Arc::new([]),
            skip_history: false,
            delta: true,
        };
        let tagged = Draft {
            data: Payload::detect(&[0]),
            info: Some(info("u", 1)),
            tags: Arc::new([("k".to_owned(), "\"".to_owned()), ("l".to_owned(), String::new())]),
            ..plain.clone()
        };
        let publications = vec![publication(1, plain), publication(2, tagged)];
        assert_eq!(
            result(Answer::History { publications, position: POSITION }),
            [
                r#"{"publications":[{"data":{ "a": 1 },"offset":1},{"data":{"b64data":"AA=="},"#,
                r#""info":{"user":"u","client":"00000000-0000-0000-0000-000000000001"},"#,
                r#""offset":2,"tags":{"k":"\"","l":""}}],"epoch":"abcdefgh","offset":7}"#,
            ]
            .concat()
        );
    }

    #[test]
    fn a_node_and_its_topics_are_counted() {
        let counts =
            NodeCounts { clients: 1, users: 2, subscriptions: 3, topics: 4, uptime_seconds: 5 };
        assert_eq!(
            result(Answer::Info(counts)),
            [
                r#"{"nodes":[{"uid":"00000000-0000-0000-0000-000000000001","name":"host \"1\"","#,
                r#""version":"1.2.3","num_clients":1,"num_users":2,"num_subs":3,"#,
                r#""num_channels":4,"uptime":5}]}"#,
            ]
            .concat()
        );
        assert_eq!(result(Answer::Topics(BTreeMap::new())), r#"{"channels":{}}"#);
        let topics = BTreeMap::from([("a".into(), 1), ("b\"".into(), 2)]);
        assert_eq!(
            result(Answer::Topics(topics)),
            r#"{"channels":{"a":{"num_clients":1},"b\"":{"num_clients":2}}}"#
        );
        assert_eq!(result(Answer::Done("refresh")), "{}");
    }

    #[test]
    fn a_refusal_is_in_the_body_or_in_the_status() {
        let refused = || [Answer::Published(Err(Refusal::UnknownTopic))];
        let error = r#"{"code":102,"message":"unknown channel"}"#;
        assert_eq!(
            spelled(&Shape::Single(ErrorMode::InBody), &refused()),
            (200, format!(r#"{{"error":{error}}}"#))
        );
        assert_eq!(
            spelled(&Shape::Single(ErrorMode::InStatus), &refused()),
            (404, error.to_owned())
        );
        for (refusal, status) in [
            (Refusal::Internal, 500),
            (Refusal::NotFound, 404),
            (Refusal::BadRequest, 400),
            (Refusal::NotAvailable, 400),
            (Refusal::Unrecoverable, 416),
            (Refusal::Conflict, 409),
        ] {
            let (found, _) =
                spelled(&Shape::Single(ErrorMode::InStatus), &[Answer::Refused(refusal)]);
            assert_eq!(found, status, "{refusal}");
        }
    }

    #[test]
    fn a_batch_is_answered_under_the_names_of_its_methods() {
        let answers = [
            Answer::Published(Ok(None)),
            Answer::Refused(Refusal::NotFound),
            Answer::Broadcast(Vec::new()),
            Answer::Presence(Vec::new()),
            Answer::PresenceStats { clients: 1, users: 1 },
            Answer::History { publications: Vec::new(), position: POSITION },
            Answer::Topics(BTreeMap::new()),
            Answer::Done("history_remove"),
        ];
        let expected = [
            r#"{"replies":[{"publish":{}},{"error":{"code":104,"message":"not found"}},"#,
            r#"{"broadcast":{"responses":[]}},{"presence":{"presence":{}}},"#,
            r#"{"presence_stats":{"num_clients":1,"num_users":1}},"#,
            r#"{"history":{"publications":[],"epoch":"abcdefgh","offset":7}},"#,
            r#"{"channels":{"channels":{}}},{"history_remove":{}}]}"#,
        ];
        assert_eq!(spelled(&Shape::Batch, &answers), (200, expected.concat()));
        assert_eq!(spelled(&Shape::Batch, &[]), (200, r#"{"replies":[]}"#.to_owned()));
    }

    #[test]
    fn every_line_of_a_feed_has_its_end() {
        let answers = [Answer::Published(Ok(None)), Answer::Refused(Refusal::BadRequest)];
        let expected = "{\"result\":{}}\n{\"error\":{\"code\":107,\"message\":\"bad request\"}}\n";
        assert_eq!(spelled(&Shape::Feed, &answers), (200, expected.to_owned()));
    }

    #[test]
    fn lines_are_answered_by_lines_with_their_ids() {
        let answers = [
            Answer::Done("refresh"),
            Answer::Refused(Refusal::BadRequest),
            Answer::Published(Ok(Some(POSITION))),
        ];
        let expected = [
            r#"{"id":5,"result":{}}"#,
            r#"{"error":{"code":107,"message":"bad request"}}"#,
            r#"{"id":0,"result":{"offset":7,"epoch":"abcdefgh"}}"#,
        ];
        let shape = Shape::Lines(vec![Some(5), None, Some(0)]);
        assert_eq!(spelled(&shape, &answers), (200, expected.join("\n")));
    }
}
