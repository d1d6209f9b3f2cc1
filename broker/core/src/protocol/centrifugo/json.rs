//! Its JSON form: one object per line, raw JSON payloads embedded as they are.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::json::{append_string, or_default, present, put, text};
use crate::protocol::{Command, Malformed, Publication, Push, Reply, Request, Subscribe};

/// The requests in one message (section 3): separated by one newline, one more may end it.
pub(crate) fn decode<'a>(
    message: &'a [u8],
) -> impl Iterator<Item = Result<Request<'a>, Malformed>> + use<'a> {
    let lines = message.strip_suffix(b"\n").unwrap_or(message);
    let mut rest = Some(lines);
    std::iter::from_fn(move || {
        let text = rest?;
        let line = match memchr::memchr(b'\n', text) {
            Some(end) => {
                rest = text.get(end + 1..);
                text.get(..end).unwrap_or_default()
            }
            None => {
                rest = None;
                text
            }
        };
        let request = decode_line(line);
        if request.is_err() {
            rest = None;
        }
        Some(request)
    })
}

/// A command as it stands in the line. The first method present counts, in this order.
#[derive(Deserialize)]
struct Line<'a> {
    #[serde(default)]
    id: u32,
    #[serde(borrow)]
    connect: Option<Connect<'a>>,
    #[serde(borrow)]
    subscribe: Option<SubscribeRequest<'a>>,
    #[serde(borrow)]
    unsubscribe: Option<OfTopic<'a>>,
    #[serde(borrow)]
    publish: Option<Publish<'a>>,
    #[serde(borrow)]
    presence: Option<OfTopic<'a>>,
    #[serde(borrow)]
    presence_stats: Option<OfTopic<'a>>,
    #[serde(borrow)]
    history: Option<OfTopic<'a>>,
    rpc: Option<Anything>,
    send: Option<Anything>,
    #[serde(borrow)]
    refresh: Option<Connect<'a>>,
    #[serde(borrow)]
    sub_refresh: Option<SubscribeRequest<'a>>,
}

#[derive(Deserialize)]
struct Anything {}

#[derive(Deserialize)]
struct Connect<'a> {
    #[serde(borrow, default, deserialize_with = "text")]
    token: Cow<'a, str>,
}

#[derive(Deserialize)]
struct OfTopic<'a> {
    #[serde(borrow, default, deserialize_with = "text")]
    channel: Cow<'a, str>,
}

#[derive(Deserialize)]
struct SubscribeRequest<'a> {
    #[serde(borrow, default, deserialize_with = "text")]
    channel: Cow<'a, str>,
    #[serde(borrow, default, deserialize_with = "text")]
    token: Cow<'a, str>,
    #[serde(borrow, default, deserialize_with = "text")]
    delta: Cow<'a, str>,
    tf: Option<Anything>,
    #[serde(default, deserialize_with = "or_default", rename = "type")]
    kind: i32,
}

#[derive(Deserialize)]
struct Publish<'a> {
    #[serde(borrow, default, deserialize_with = "text")]
    channel: Cow<'a, str>,
    #[serde(borrow, default, deserialize_with = "present")]
    data: Option<&'a RawValue>,
    #[serde(default, deserialize_with = "or_default", rename = "type")]
    kind: i32,
}

fn decode_line(line: &[u8]) -> Result<Request<'_>, Malformed> {
    const NO_COMMAND: Malformed = Malformed("line that is no command in JSON");
    // serde would take an array for an object.
    if !line.trim_ascii_start().starts_with(b"{") {
        return Err(NO_COMMAND);
    }
    let line: Line<'_> = serde_json::from_slice(line).map_err(|_| NO_COMMAND)?;
    let id = line.id;
    if id == 0 && line.send.is_none() {
        return Ok(Request { id, command: Command::Pong });
    }
    let command = command(line)?;
    Ok(Request { id, command })
}

fn command(line: Line<'_>) -> Result<Command<'_>, Malformed> {
    Ok(if let Some(Connect { token }) = line.connect {
        Command::Connect { token }
    } else if let Some(request) = line.subscribe {
        if !matches!(request.delta.as_ref(), "" | "fossil") {
            return Err(Malformed("subscribe with an unknown delta type"));
        }
        Command::Subscribe(Subscribe {
            topic: named(request.channel)?,
            token: request.token,
            stream: request.kind == 0,
            filtered: request.tf.is_some(),
        })
    } else if let Some(request) = line.unsubscribe {
        Command::Unsubscribe { topic: named(request.channel)? }
    } else if let Some(request) = line.publish {
        Command::Publish {
            topic: named(request.channel)?,
            data: request.data.map(|data| data.get().as_bytes()),
            stream: request.kind == 0,
        }
    } else if let Some(request) = line.presence.or(line.presence_stats) {
        Command::Presence { topic: named(request.channel)? }
    } else if let Some(request) = line.history {
        Command::History { topic: named(request.channel)? }
    } else if line.rpc.is_some() {
        Command::Rpc
    } else if line.send.is_some() {
        Command::Send
    } else if let Some(Connect { token }) = line.refresh {
        Command::Refresh { token }
    } else if let Some(request) = line.sub_refresh {
        Command::SubRefresh { topic: named(request.channel)?, token: request.token }
    } else {
        return Err(Malformed("command without a known method"));
    })
}

/// A required topic: its absence ends the connection (section 6).
fn named(channel: Cow<'_, str>) -> Result<Cow<'_, str>, Malformed> {
    if channel.is_empty() { Err(Malformed("command without a channel")) } else { Ok(channel) }
}

pub(crate) fn append_reply(out: &mut Vec<u8>, id: u32, reply: &Reply<'_>) {
    put!(out, r#"{{"id":{id},"#);
    match reply {
        Reply::Refused(refusal) => {
            put!(out, r#""error":{{"code":{},"message":"{}""#, refusal.code(), refusal.message());
            if refusal.temporary() {
                put!(out, r#","temporary":true"#);
            }
            put!(out, "}}");
        }
        Reply::Connected { client, version, ping_seconds } => {
            put!(out, r#""connect":{{"client":"{client}","version":"#);
            append_string(out, version);
            if let Some(seconds) = ping_seconds {
                put!(out, r#","ping":{seconds},"pong":true"#);
            }
            put!(out, "}}");
        }
        Reply::Subscribed => out.extend_from_slice(br#""subscribe":{}"#),
        Reply::Unsubscribed => out.extend_from_slice(br#""unsubscribe":{}"#),
        Reply::Published => out.extend_from_slice(br#""publish":{}"#),
    }
    out.push(b'}');
}

pub(crate) fn append_push(out: &mut Vec<u8>, push: &Push<'_>) {
    match push {
        Push::Ping => out.extend_from_slice(b"{}"),
        Push::Publication { topic, publication } => {
            out.extend_from_slice(br#"{"push":{"channel":"#);
            append_string(out, topic);
            out.extend_from_slice(br#","pub":"#);
            append_publication(out, publication);
            out.extend_from_slice(b"}}");
        }
        Push::Unsubscribed { topic, code, reason } => {
            out.extend_from_slice(br#"{"push":{"channel":"#);
            append_string(out, topic);
            put!(out, r#","unsubscribe":{{"code":{code},"reason":"#);
            append_string(out, reason);
            out.extend_from_slice(b"}}}");
        }
    }
}

fn append_publication(out: &mut Vec<u8>, publication: &Publication) {
    out.extend_from_slice(br#"{"data":"#);
    out.extend_from_slice(&publication.draft.data);
    if let Some(info) = &publication.draft.info {
        out.extend_from_slice(br#","info":{"user":"#);
        append_string(out, &info.user);
        put!(out, r#","client":"{}"}}"#, info.client);
    }
    if let Some(position) = publication.visible_position() {
        put!(out, r#","offset":{}"#, position.offset);
        // The first publication of an epoch announces it (section 7).
        if position.offset == 1 {
            put!(out, r#","epoch":"{}""#, position.epoch.as_str());
        }
    }
    if !publication.draft.tags.is_empty() {
        out.extend_from_slice(br#","tags":{"#);
        for (index, (key, value)) in publication.draft.tags.iter().enumerate() {
            if index > 0 {
                out.push(b',');
            }
            append_string(out, key);
            out.push(b':');
            append_string(out, value);
        }
        out.push(b'}');
    }
    out.push(b'}');
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(message: &str) -> Vec<Result<Request<'_>, Malformed>> {
        decode(message.as_bytes()).collect()
    }

    fn refused(message: &str) -> bool {
        matches!(all(message).as_slice(), [.., Err(_)])
    }

    #[test]
    fn lines_are_commands_in_order() {
        let found =
            all("{\"id\":1,\"connect\":{}}\n {\"id\":2,\"subscribe\":{\"channel\":\"a\"}}\n");
        assert_eq!(found.len(), 2);
        assert!(matches!(
            &found[0],
            Ok(Request { id: 1, command: Command::Connect { token } }) if token.is_empty()
        ));
        assert!(matches!(
            &found[1],
            Ok(Request { id: 2, command: Command::Subscribe(subscribe) }) if subscribe.topic == "a"
        ));
    }

    #[test]
    fn what_is_no_command_is_refused_and_nothing_after_it_is_read() {
        for message in [
            "",
            "\n",
            "null",
            "[]",
            "{",
            r#"{"id":"1","connect":{}}"#,
            r#"{"id":-1,"connect":{}}"#,
            r#"{"id":4294967296,"connect":{}}"#,
            r#"{"id":1}"#,
            r#"{"id":1,"ping":{}}"#,
            r#"{"id":1,"subscribe":{}}"#,
            r#"{"id":1,"subscribe":{"channel":""}}"#,
            r#"{"id":1,"subscribe":{"channel":7}}"#,
            r#"{"id":1,"subscribe":{"channel":"a","delta":"xor"}}"#,
        ] {
            assert!(refused(message), "{message:?}");
        }
        let blank_line = all("{\"id\":1,\"connect\":{}}\n\n{\"id\":2,\"connect\":{}}");
        assert_eq!(blank_line.len(), 2);
        assert!(blank_line[0].is_ok() && blank_line[1].is_err());
    }

    #[test]
    fn the_first_method_in_order_counts_and_no_id_is_a_pong() {
        let both =
            all(r#"{"id":1,"publish":{"channel":"p","data":1},"subscribe":{"channel":"s"}}"#);
        assert!(matches!(&both[0], Ok(Request { command: Command::Subscribe(_), .. })));
        for pong in ["{}", r#"{"id":0}"#, r#"{"subscribe":{"channel":"a"}}"#] {
            assert!(matches!(all(pong)[0], Ok(Request { id: 0, command: Command::Pong })));
        }
        assert!(matches!(
            all(r#"{"send":{"data":1}}"#)[0],
            Ok(Request { command: Command::Send, .. })
        ));
    }

    #[test]
    fn null_means_what_absence_means_but_for_data() {
        let Ok(found) = all(r#"{"id":1,"connect":{"token":null}}"#).remove(0) else { panic!() };
        assert_eq!(found.command, Command::Connect { token: "".into() });
        let text = r#"{"id":1,"subscribe":{"channel":"a","token":null,"type":null,"tf":null}}"#;
        let Ok(found) = all(text).remove(0) else { panic!() };
        let plain =
            Subscribe { topic: "a".into(), token: "".into(), stream: true, filtered: false };
        assert_eq!(found.command, Command::Subscribe(plain));
        assert!(refused(r#"{"id":1,"subscribe":{"channel":null}}"#));
    }

    #[test]
    fn null_is_data_and_absent_is_not() {
        let publish = |text| match all(text).remove(0) {
            Ok(Request { command: Command::Publish { data, .. }, .. }) => data.map(<[u8]>::to_vec),
            other => panic!("{other:?}"),
        };
        assert_eq!(
            publish(r#"{"id":1,"publish":{"channel":"a","data":null}}"#),
            Some(b"null".to_vec())
        );
        assert_eq!(publish(r#"{"id":1,"publish":{"channel":"a"}}"#), None);
        assert_eq!(
            publish("{\"id\":1,\"publish\":{\"channel\":\"a\",\"data\":{\"k\" : \"\u{fc}\"}}}"),
            Some("{\"k\" : \"\u{fc}\"}".as_bytes().to_vec())
        );
    }
}
