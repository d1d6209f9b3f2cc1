//! Lines of JSON to commands. Texts and payloads are borrowed from the line: what a publish says is
//! read without allocation.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::json::{Object, or_default, present, text};
use crate::protocol::centrifugo::{FLAG_MUST_RECOVER, FOSSIL, named, recovery, wants_delta};
use crate::protocol::{
    Command, Connect, FilterNode, Malformed, Range, Request, Since, Subscribe, Wish,
};

/// The next request in a message (section 3): they are separated by one newline, one more may end
/// it.
pub(crate) fn next<'a>(message: &mut Option<&'a [u8]>) -> Option<Result<Request<'a>, Malformed>> {
    let text = message.take()?;
    let line = match memchr::memchr(b'\n', text) {
        Some(end) => {
            *message = text.get(end + 1..).filter(|rest| !rest.is_empty());
            text.get(..end).unwrap_or_default()
        }
        None => text,
    };
    let request = decode_line(line);
    if request.is_err() {
        *message = None;
    }
    Some(request)
}

/// A command as it stands in the line. The first method present counts, in this order.
#[derive(Deserialize)]
struct Line<'a> {
    #[serde(default, deserialize_with = "or_default")]
    id: u32,
    #[serde(borrow)]
    connect: Option<Object<ConnectRequest<'a>>>,
    #[serde(borrow)]
    subscribe: Option<Object<SubscribeRequest<'a>>>,
    #[serde(borrow)]
    unsubscribe: Option<Object<OfTopic<'a>>>,
    #[serde(borrow)]
    publish: Option<Object<PublishRequest<'a>>>,
    #[serde(borrow)]
    presence: Option<Object<OfTopic<'a>>>,
    #[serde(borrow)]
    presence_stats: Option<Object<OfTopic<'a>>>,
    #[serde(borrow)]
    history: Option<Object<HistoryRequest<'a>>>,
    #[serde(borrow)]
    rpc: Option<Object<RpcRequest<'a>>>,
    send: Option<Object<SendRequest>>,
    #[serde(borrow)]
    refresh: Option<Object<RefreshRequest<'a>>>,
    #[serde(borrow)]
    sub_refresh: Option<Object<SubRefreshRequest<'a>>>,
}

#[derive(Deserialize)]
struct ConnectRequest<'a> {
    #[serde(borrow, default, deserialize_with = "text")]
    token: Cow<'a, str>,
    /// Sorted, so that one message has one meaning.
    #[serde(default, deserialize_with = "or_default")]
    subs: BTreeMap<String, Option<Object<WishRequest>>>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct WishRequest {
    #[serde(deserialize_with = "or_default")]
    recover: bool,
    #[serde(deserialize_with = "or_default")]
    epoch: String,
    #[serde(deserialize_with = "or_default")]
    offset: u64,
    #[serde(deserialize_with = "or_default")]
    delta: String,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct SubscribeRequest<'a> {
    #[serde(borrow, deserialize_with = "text")]
    channel: Cow<'a, str>,
    #[serde(borrow, deserialize_with = "text")]
    token: Cow<'a, str>,
    #[serde(deserialize_with = "or_default")]
    recover: bool,
    #[serde(deserialize_with = "or_default")]
    epoch: String,
    #[serde(deserialize_with = "or_default")]
    offset: u64,
    #[serde(deserialize_with = "or_default")]
    positioned: bool,
    #[serde(deserialize_with = "or_default")]
    recoverable: bool,
    #[serde(deserialize_with = "or_default")]
    join_leave: bool,
    #[serde(borrow, deserialize_with = "text")]
    delta: Cow<'a, str>,
    tf: Option<Object<FilterNode>>,
    #[serde(deserialize_with = "or_default")]
    flag: i64,
    #[serde(deserialize_with = "or_default", rename = "type")]
    kind: i32,
}

#[derive(Deserialize)]
struct PublishRequest<'a> {
    #[serde(borrow, default, deserialize_with = "text")]
    channel: Cow<'a, str>,
    #[serde(borrow, default, deserialize_with = "present")]
    data: Option<&'a RawValue>,
    #[serde(default, deserialize_with = "or_default", rename = "type")]
    kind: i32,
}

#[derive(Deserialize)]
struct OfTopic<'a> {
    #[serde(borrow, default, deserialize_with = "text")]
    channel: Cow<'a, str>,
}

#[derive(Deserialize)]
struct HistoryRequest<'a> {
    #[serde(borrow, default, deserialize_with = "text")]
    channel: Cow<'a, str>,
    #[serde(default, deserialize_with = "or_default")]
    limit: i32,
    since: Option<Object<StreamPosition>>,
    #[serde(default, deserialize_with = "or_default")]
    reverse: bool,
}

#[derive(Deserialize)]
struct StreamPosition {
    #[serde(default, deserialize_with = "or_default")]
    offset: u64,
    #[serde(default, deserialize_with = "or_default")]
    epoch: String,
}

#[derive(Deserialize)]
struct RpcRequest<'a> {
    #[serde(borrow, default, deserialize_with = "text")]
    method: Cow<'a, str>,
}

#[derive(Deserialize)]
struct SendRequest {}

#[derive(Deserialize)]
struct RefreshRequest<'a> {
    #[serde(borrow, default, deserialize_with = "text")]
    token: Cow<'a, str>,
}

#[derive(Deserialize)]
struct SubRefreshRequest<'a> {
    #[serde(borrow, default, deserialize_with = "text")]
    channel: Cow<'a, str>,
    #[serde(borrow, default, deserialize_with = "text")]
    token: Cow<'a, str>,
}

fn decode_line(line: &[u8]) -> Result<Request<'_>, Malformed> {
    let Object(line): Object<Line<'_>> =
        serde_json::from_slice(line).map_err(|_| Malformed("line that is no command in JSON"))?;
    let id = line.id;
    if id == 0 && line.send.is_none() {
        return Ok(Request { id, command: Command::Pong });
    }
    let command = command(line)?;
    Ok(Request { id, command })
}

fn command(line: Line<'_>) -> Result<Command<'_>, Malformed> {
    Ok(if let Some(Object(request)) = line.connect {
        connect(request)?
    } else if let Some(Object(request)) = line.subscribe {
        subscribe(request)?
    } else if let Some(Object(request)) = line.unsubscribe {
        Command::Unsubscribe { topic: named(request.channel)? }
    } else if let Some(Object(request)) = line.publish {
        Command::Publish {
            topic: named(request.channel)?,
            data: request.data.map(|data| data.get().as_bytes().into()),
            stream: request.kind == 0,
        }
    } else if let Some(Object(request)) = line.presence {
        Command::Presence { topic: named(request.channel)? }
    } else if let Some(Object(request)) = line.presence_stats {
        Command::PresenceStats { topic: named(request.channel)? }
    } else if let Some(Object(request)) = line.history {
        let since =
            request.since.map(|Object(since)| Since { epoch: since.epoch, offset: since.offset });
        let range = Range { limit: request.limit, since, reverse: request.reverse };
        Command::History { topic: named(request.channel)?, range }
    } else if let Some(Object(request)) = line.rpc {
        Command::Rpc { method: request.method }
    } else if line.send.is_some() {
        Command::Send
    } else if let Some(Object(request)) = line.refresh {
        Command::Refresh { token: request.token }
    } else if let Some(Object(request)) = line.sub_refresh {
        Command::SubRefresh { topic: named(request.channel)?, token: request.token }
    } else {
        return Err(Malformed("command without a known method"));
    })
}

fn connect(request: ConnectRequest<'_>) -> Result<Command<'_>, Malformed> {
    let wish = |(channel, Object(wish)): (String, Object<WishRequest>)| {
        Ok(Wish {
            topic: named(channel.into())?,
            recover: recovery(wish.recover, wish.epoch, wish.offset),
            delta: wish.delta == FOSSIL,
        })
    };
    let wishes = request.subs.into_iter().filter_map(|(channel, wish)| Some((channel, wish?)));
    let subs = wishes.map(wish).collect::<Result<_, _>>()?;
    Ok(Command::Connect(Connect { token: request.token, subs }))
}

fn subscribe(request: SubscribeRequest<'_>) -> Result<Command<'_>, Malformed> {
    Ok(Command::Subscribe(Box::new(Subscribe {
        topic: named(request.channel)?,
        token: request.token,
        kind: request.kind,
        recover: recovery(request.recover, request.epoch, request.offset),
        must_recover: request.flag & FLAG_MUST_RECOVER != 0,
        positioned: request.positioned,
        recoverable: request.recoverable,
        join_leave: request.join_leave,
        delta: wants_delta(&request.delta)?,
        filter: request.tf.map(|Object(node)| node),
    })))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(message: &str) -> Vec<Result<Request<'_>, Malformed>> {
        let mut rest = Some(message.as_bytes());
        std::iter::from_fn(|| next(&mut rest)).collect()
    }

    fn one(message: &str) -> Command<'_> {
        let mut found = all(message);
        assert_eq!(found.len(), 1, "{message}");
        found.remove(0).unwrap_or_else(|_| panic!("{message}")).command
    }

    fn refused(message: &str) -> bool {
        matches!(all(message).as_slice(), [.., Err(_)])
    }

    fn subscribed(message: &str) -> Subscribe<'_> {
        match one(message) {
            Command::Subscribe(subscribe) => *subscribe,
            other => panic!("{other:?}"),
        }
    }

    fn position(epoch: &str, offset: u64) -> Option<Since> {
        Some(Since { epoch: epoch.to_owned(), offset })
    }

    #[test]
    fn lines_are_commands_in_order() {
        let found =
            all("{\"id\":1,\"connect\":{}}\n {\"id\":2,\"subscribe\":{\"channel\":\"a\"}}\n");
        let subscribe = Box::new(Subscribe { topic: "a".into(), ..Subscribe::default() });
        let expected = [
            Request { id: 1, command: Command::Connect(Connect::default()) },
            Request { id: 2, command: Command::Subscribe(subscribe) },
        ];
        assert_eq!(found, expected.map(Ok));
    }

    #[test]
    fn what_is_no_command_is_refused_and_nothing_after_it_is_read() {
        for message in [
            "",
            "\n",
            "null",
            "[]",
            "{",
            r#"[1,{}]"#,
            r#"{"id":"1","connect":{}}"#,
            r#"{"id":-1,"connect":{}}"#,
            r#"{"id":1.0,"connect":{}}"#,
            r#"{"id":4294967296,"connect":{}}"#,
            r#"{"id":1}"#,
            r#"{"id":1,"ping":{}}"#,
            r#"{"id":1,"connect":{"subs":{"":{}}}}"#,
            r#"{"id":1,"connect":{"subs":{"a":{"offset":-1}}}}"#,
            r#"{"id":1,"connect":{"subs":[]}}"#,
            r#"{"id":1,"subscribe":{}}"#,
            r#"{"id":1,"subscribe":{"channel":""}}"#,
            r#"{"id":1,"subscribe":{"channel":7}}"#,
            r#"{"id":1,"subscribe":{"channel":"a","delta":"xor"}}"#,
            r#"{"id":1,"subscribe":{"channel":"a","offset":-1}}"#,
            r#"{"id":1,"subscribe":{"channel":"a","offset":18446744073709551616}}"#,
            r#"{"id":1,"subscribe":{"channel":"a","recover":1}}"#,
            r#"{"id":1,"unsubscribe":{}}"#,
            r#"{"id":1,"publish":{"data":1}}"#,
            r#"{"id":1,"publish":{"channel":"a","data":}}"#,
            r#"{"id":1,"presence":{}}"#,
            r#"{"id":1,"presence_stats":{}}"#,
            r#"{"id":1,"history":{}}"#,
            r#"{"id":1,"history":{"channel":"a","limit":2147483648}}"#,
            r#"{"id":1,"history":{"channel":"a","since":{"offset":-1}}}"#,
            r#"{"id":1,"sub_refresh":{"token":"x"}}"#,
        ] {
            assert!(refused(message), "{message:?}");
        }
        let blank_line = all("{\"id\":1,\"connect\":{}}\n\n{\"id\":2,\"connect\":{}}");
        assert_eq!(blank_line.len(), 2);
        assert!(blank_line[0].is_ok() && blank_line[1].is_err());
        assert!(all("{}\n\n")[1].is_err());
    }

    #[test]
    fn an_array_is_no_object() {
        for message in [
            r#"{"id":1,"connect":["t"]}"#,
            r#"{"id":1,"connect":{"subs":{"a":[true]}}}"#,
            r#"{"id":1,"subscribe":["a"]}"#,
            r#"{"id":1,"subscribe":{"channel":"a","tf":["and"]}}"#,
            r#"{"id":1,"subscribe":{"channel":"a","tf":{"nodes":[["and"]]}}}"#,
            r#"{"id":1,"publish":["a",1]}"#,
            r#"{"id":1,"history":{"channel":"a","since":[1,"e"]}}"#,
            r#"{"id":1,"rpc":["m"]}"#,
            r#"{"id":1,"send":[]}"#,
        ] {
            assert!(refused(message), "{message:?}");
        }
    }

    #[test]
    fn the_first_method_in_order_counts_and_no_id_is_a_pong() {
        let methods = [
            (r#""connect":{}"#, "connect"),
            (r#""subscribe":{"channel":"a"}"#, "subscribe"),
            (r#""unsubscribe":{"channel":"a"}"#, "unsubscribe"),
            (r#""publish":{"channel":"a"}"#, "publish"),
            (r#""presence":{"channel":"a"}"#, "presence"),
            (r#""presence_stats":{"channel":"a"}"#, "presence_stats"),
            (r#""history":{"channel":"a"}"#, "history"),
            (r#""rpc":{}"#, "rpc"),
            (r#""send":{}"#, "send"),
            (r#""refresh":{}"#, "refresh"),
            (r#""sub_refresh":{"channel":"a"}"#, "sub_refresh"),
        ];
        for (index, (first, name)) in methods.iter().enumerate() {
            let alone = format!(r#"{{"id":1,{first}}}"#);
            for (later, _) in &methods[index + 1..] {
                let both = format!(r#"{{"id":1,{later},"unknown":[1],{first}}}"#);
                assert_eq!(one(&both), one(&alone), "{name}");
            }
        }
        for pong in ["{}", " {} ", r#"{"id":0}"#, r#"{"id":null,"subscribe":{"channel":"a"}}"#] {
            assert_eq!(all(pong), [Ok(Request { id: 0, command: Command::Pong })]);
        }
        assert_eq!(one(r#"{"send":{"data":1}}"#), Command::Send);
    }

    #[test]
    fn null_means_what_absence_means_but_for_data() {
        assert_eq!(
            one(r#"{"id":1,"connect":{"token":null,"subs":null,"data":null}}"#),
            Command::Connect(Connect::default())
        );
        assert_eq!(
            one(r#"{"id":1,"connect":{"subs":{"a":null}}}"#),
            Command::Connect(Connect::default())
        );
        let text = r#"{"id":1,"subscribe":{"channel":"a","token":null,"recover":null,"epoch":null,
            "offset":null,"positioned":null,"recoverable":null,"join_leave":null,"delta":null,
            "tf":null,"flag":null,"type":null}}"#;
        let plain = Subscribe { topic: "a".into(), ..Subscribe::default() };
        assert_eq!(subscribed(&text.replace('\n', "")), plain);
        assert_eq!(
            one(r#"{"id":1,"history":{"channel":"a","limit":null,"since":null,"reverse":null}}"#),
            Command::History { topic: "a".into(), range: Range::default() }
        );
        let tf =
            r#"{"id":1,"subscribe":{"channel":"a","tf":{"op":null,"vals":null,"nodes":null}}}"#;
        assert_eq!(subscribed(tf).filter, Some(FilterNode::default()));
        assert!(refused(r#"{"id":1,"subscribe":{"channel":null}}"#));
        assert!(refused(r#"{"id":1,"connect":null}"#));
    }

    #[test]
    fn null_is_data_and_absent_is_not() {
        let publish = |text| match one(text) {
            Command::Publish { data, .. } => data.map(Cow::into_owned),
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

    #[test]
    fn a_publish_is_borrowed_from_its_line() {
        let text = r#"{"id":1,"publish":{"channel":"news","data":{"k":"\n"},"type":1}}"#;
        let Command::Publish { topic: Cow::Borrowed("news"), data, stream: false } = one(text)
        else {
            panic!();
        };
        assert!(matches!(data, Some(Cow::Borrowed(br#"{"k":"\n"}"#))));
    }

    #[test]
    fn a_connect_tells_its_token_and_wishes() {
        let text = r#"{"id":1,"connect":{"token":"t","name":"js","version":"1",
            "headers":{"a":"b"},"subs":{
            "b":{"recover":true,"epoch":"e","offset":18446744073709551615,"delta":"fossil"},
            "a\"":{"epoch":"e","offset":7,"delta":"xor"}}}}"#;
        let subs = vec![
            Wish { topic: "a\"".into(), recover: None, delta: false },
            Wish { topic: "b".into(), recover: position("e", u64::MAX), delta: true },
        ];
        assert_eq!(
            one(&text.replace('\n', "")),
            Command::Connect(Connect { token: "t".into(), subs })
        );
    }

    #[test]
    fn a_subscribe_tells_all_its_wishes() {
        let text = r#"{"id":1,"subscribe":{"channel":"a","token":"t","recover":true,
            "epoch":"e","offset":7,"positioned":true,"recoverable":true,"join_leave":true,
            "delta":"fossil","flag":3,"type":4,"tf":{"op":"and","nodes":[
            {"key":"k","cmp":"in","vals":["1","2"]},{"cmp":"eq","val":"v"}]}}}"#;
        let leaf = |key: &str, cmp: &str| FilterNode {
            key: key.to_owned(),
            cmp: cmp.to_owned(),
            ..FilterNode::default()
        };
        let nodes = vec![
            FilterNode { vals: vec!["1".to_owned(), "2".to_owned()], ..leaf("k", "in") },
            FilterNode { val: "v".to_owned(), ..leaf("", "eq") },
        ];
        let expected = Subscribe {
            topic: "a".into(),
            token: "t".into(),
            kind: 4,
            recover: position("e", 7),
            must_recover: true,
            positioned: true,
            recoverable: true,
            join_leave: true,
            delta: true,
            filter: Some(FilterNode { op: "and".to_owned(), nodes, ..FilterNode::default() }),
        };
        assert_eq!(subscribed(&text.replace('\n', "")), expected);
        let without = subscribed(r#"{"id":1,"subscribe":{"channel":"a","flag":5,"offset":9}}"#);
        assert_eq!(without, Subscribe { topic: "a".into(), ..Subscribe::default() });
    }

    #[test]
    fn filters_may_be_nested_but_not_without_bound() {
        let nested = |levels: usize| {
            let (open, close) = (r#"{"nodes":["#.repeat(levels), "]}".repeat(levels));
            format!(r#"{{"id":1,"subscribe":{{"channel":"a","tf":{open}{close}}}}}"#)
        };
        assert!(subscribed(&nested(50)).filter.is_some());
        assert!(refused(&nested(100)));
        assert!(refused(&nested(5000)));
    }

    #[test]
    fn the_others_tell_what_they_name() {
        let since = position("e", 5);
        for (text, expected) in [
            (
                r#"{"id":1,"unsubscribe":{"channel":"a"}}"#,
                Command::Unsubscribe { topic: "a".into() },
            ),
            (r#"{"id":1,"presence":{"channel":"a"}}"#, Command::Presence { topic: "a".into() }),
            (
                r#"{"id":1,"presence_stats":{"channel":"a"}}"#,
                Command::PresenceStats { topic: "a".into() },
            ),
            (
                concat!(
                    r#"{"id":1,"history":{"channel":"a","limit":-1,"#,
                    r#""since":{"offset":5,"epoch":"e"},"reverse":true}}"#
                ),
                Command::History {
                    topic: "a".into(),
                    range: Range { limit: -1, since, reverse: true },
                },
            ),
            (r#"{"id":1,"rpc":{"method":"m","data":1}}"#, Command::Rpc { method: "m".into() }),
            (r#"{"id":1,"rpc":{}}"#, Command::Rpc { method: "".into() }),
            (r#"{"id":1,"send":{}}"#, Command::Send),
            (r#"{"id":1,"refresh":{"token":"t"}}"#, Command::Refresh { token: "t".into() }),
            (
                r#"{"id":1,"sub_refresh":{"channel":"a","token":"t"}}"#,
                Command::SubRefresh { topic: "a".into(), token: "t".into() },
            ),
        ] {
            assert_eq!(one(text), expected);
        }
    }
}
