//! Much at once: what is within the bounds is done, in order; what is past them is refused, or ends
//! the connection that caused it and no other.

use fanwire_core::limits::{
    BATCH_SURVEYS_MAX, FRAME_COST_BYTES, LANE_BYTES_MAX, PIPELINE_COMMANDS_MAX,
};
use serde_json::Value;

use crate::kit::{Client, Frame, Node, frame, open_settings, with_shards};
use crate::wire;

/// Operations of a large call.
const MANY: usize = 10_000;

fn subscribe(node: &mut Node, client: Client, topic: &str) {
    node.send(client, &format!(r#"{{"id":2,"subscribe":{{"channel":"{topic}"}}}}"#));
    assert_eq!(node.texts(client), [r#"{"id":2,"subscribe":{}}"#]);
}

fn slow_count(node: &Node) -> u64 {
    node.shards().iter().map(|shard| shard.counters().slow).sum()
}

fn push(topic: &str, data: impl std::fmt::Display) -> String {
    format!(r#"{{"push":{{"channel":"{topic}","pub":{{"data":{data}}}}}}}"#)
}

#[test]
fn a_broadcast_to_ten_thousand_topics_is_answered_for_each_and_heard() {
    with_shards(&open_settings(), |node| {
        let topics = [0, MANY / 2, MANY - 1].map(|number| format!("t{number}"));
        let subscribers = topics.each_ref().map(|topic| {
            let client = node.connect();
            subscribe(node, client, topic);
            client
        });
        let names: Vec<_> = (0..MANY).map(|number| format!(r#""t{number}""#)).collect();
        let body = format!(r#"{{"channels":[{}],"data":7}}"#, names.join(","));
        let responses = vec![r#"{"result":{}}"#; MANY].join(",");
        let expected = format!(r#"{{"result":{{"responses":[{responses}]}}}}"#);
        assert!(node.call(0, "broadcast", &body) == expected);
        for (client, topic) in subscribers.into_iter().zip(&topics) {
            assert_eq!(node.texts(client), [push(topic, 7)]);
        }
    });
}

/// Questions among the publications, each of which waits for what stands before it.
#[test]
fn a_batch_of_ten_thousand_commands_is_done_and_answered_in_order() {
    with_shards(&open_settings(), |node| {
        let client = node.connect();
        subscribe(node, client, "t");
        let asks = |number: usize| number.is_multiple_of(1_000);
        let command = |number| match asks(number) {
            true => r#"{"channels":{}}"#.to_owned(),
            false => format!(r#"{{"publish":{{"channel":"t","data":{number}}}}}"#),
        };
        let reply = |number| match asks(number) {
            true => r#"{"channels":{"channels":{"t":{"num_clients":1}}}}"#,
            false => r#"{"publish":{}}"#,
        };
        let commands: Vec<_> = (0..MANY).map(command).collect();
        let replies: Vec<_> = (0..MANY).map(reply).collect();
        let body = format!(r#"{{"commands":[{}]}}"#, commands.join(","));
        let expected = format!(r#"{{"replies":[{}]}}"#, replies.join(","));
        assert!(node.call(0, "batch", &body) == expected);
        let pushes: Vec<_> =
            (0..MANY).filter(|number| !asks(*number)).map(|number| push("t", number)).collect();
        assert!(node.texts(client) == pushes);
    });
}

/// What is past the limit is refused, and its reply keeps its place behind those that wait.
#[test]
fn past_the_pipeline_limit_commands_are_refused_in_their_order() {
    const COMMANDS: usize = 5_000;
    let mut settings = open_settings();
    settings.client.message_bytes_max = 1 << 20;
    settings.client.topics_max = COMMANDS;
    with_shards(&settings, |node| {
        let client = node.connect();
        node.hold_lanes();
        // Of each topic first a subscribe, then a publish.
        let lines: Vec<_> = (1..=COMMANDS)
            .map(|id| match (id % 2, id.div_ceil(2)) {
                (1, topic) => format!(r#"{{"id":{id},"subscribe":{{"channel":"t{topic}"}}}}"#),
                (_, topic) => {
                    format!(r#"{{"id":{id},"publish":{{"channel":"t{topic}","data":{topic}}}}}"#)
                }
            })
            .collect();
        node.send(client, &lines.join("\n"));
        node.release_lanes();
        let lines: Vec<Value> =
            node.texts(client).iter().map(|text| serde_json::from_str(text).unwrap()).collect();
        let (pushes, replies): (Vec<_>, Vec<_>) =
            lines.iter().partition(|line| line.get("push").is_some());
        assert_eq!(replies.len(), COMMANDS);
        for (id, reply) in (1..=COMMANDS).zip(replies) {
            assert_eq!(reply["id"], id);
            let refused = id > PIPELINE_COMMANDS_MAX;
            assert_eq!(reply["error"]["code"] == 111, refused, "{reply}");
            let kind = if id % 2 == 1 { "subscribe" } else { "publish" };
            assert_eq!(reply.get(kind).is_some(), !refused, "{reply}");
        }
        let mut heard: Vec<_> =
            pushes.iter().filter_map(|line| line["push"]["pub"]["data"].as_u64()).collect();
        heard.sort_unstable();
        assert!(heard.into_iter().eq(1..=PIPELINE_COMMANDS_MAX as u64 / 2));
        node.send(client, r#"{"id":1,"unsubscribe":{"channel":"t1"}}"#);
        node.send(client, r#"{"id":2,"subscribe":{"channel":"t1"}}"#);
        let texts = node.texts(client);
        assert_eq!(texts, [r#"{"id":1,"unsubscribe":{}}"#, r#"{"id":2,"subscribe":{}}"#]);
    });
}

/// Three pushes and a reply fill the outbox of a client that does not read, but for some bytes.
fn fill_outbox(spare_bytes: isize, check: impl Fn(&mut Node, Client, Vec<Frame>)) {
    let data = "x".repeat(5_000);
    let text = push("t", format_args!("\"{data}\""));
    let reply = r#"{"id":3,"unsubscribe":{}}"#;
    // Headers are of four bytes for the pushes and of two for the reply.
    let bytes = 3 * (text.len() + 4) + reply.len() + 2 + 4 * FRAME_COST_BYTES;
    let mut settings = open_settings();
    settings.client.outbox_bytes_max = bytes.checked_add_signed(spare_bytes).unwrap();
    with_shards(&settings, |node| {
        let client = node.connect();
        subscribe(node, client, "t");
        node.stick(client);
        for _ in 0..3 {
            let body = format!(r#"{{"channel":"t","data":"{data}"}}"#);
            assert_eq!(node.call(0, "publish", &body), r#"{"result":{}}"#);
        }
        assert_eq!(slow_count(node), 0);
        node.send(client, r#"{"id":3,"unsubscribe":{"channel":"never"}}"#);
        let texts = [&text, &text, &text, reply].map(|text| Frame::Text(text.to_owned()));
        check(node, client, texts.into());
    });
}

#[test]
fn an_outbox_that_is_full_to_the_last_byte_is_not_too_full() {
    fill_outbox(0, |node, client, expected| {
        assert_eq!(slow_count(node), 0);
        node.unstick(client);
        assert_eq!(node.take(client), expected);
    });
}

#[test]
fn a_reply_that_is_one_byte_too_many_ends_the_connection() {
    fill_outbox(-1, |node, client, _| {
        assert_eq!(slow_count(node), 1);
        node.unstick(client);
        assert_eq!(node.take(client), [Frame::Close(Some(3008), "slow".to_owned())]);
    });
}

#[test]
fn a_push_may_fill_the_outbox_and_not_exceed_it() {
    let next = push("t", 1).len() + 2 + FRAME_COST_BYTES;
    for (spare_bytes, slow) in [(next.cast_signed(), 0), (next.cast_signed() - 1, 1)] {
        fill_outbox(spare_bytes, |node, client, expected| {
            node.call(0, "publish", r#"{"channel":"t","data":1}"#);
            assert_eq!(slow_count(node), slow);
            node.unstick(client);
            let frames = node.take(client);
            match slow {
                0 => assert_eq!(frames[..4], expected),
                _ => assert_eq!(frames, [Frame::Close(Some(3008), "slow".to_owned())]),
            }
        });
    }
}

#[test]
fn who_pings_without_reading_is_let_go_and_holds_no_more_than_the_bound() {
    let mut settings = open_settings();
    settings.client.outbox_bytes_max = 16 * 1024;
    with_shards(&settings, |node| {
        let (client, other) = (node.connect(), node.connect());
        node.stick(client);
        let ping = frame(wire::PING, &[7; 125]);
        for number in 1..=1_000 {
            node.bytes(client, &ping);
            assert!(node.pending_bytes(client) <= settings.client.outbox_bytes_max);
            let bytes = number * (127 + FRAME_COST_BYTES);
            assert_eq!(slow_count(node), u64::from(bytes > 16 * 1024));
        }
        node.unstick(client);
        assert_eq!(node.take(client), [Frame::Close(Some(3008), "slow".to_owned())]);
        node.bytes(other, &ping);
        assert_eq!(node.take(other), [Frame::Pong(vec![7; 125])]);
    });
}

/// More than an outbox holds comes at once, from one call or from many: who reads gets it all.
#[test]
fn a_burst_larger_than_the_outbox_reaches_those_who_read() {
    const PUBLISHES: usize = 300;
    let mut settings = open_settings();
    settings.client.outbox_bytes_max = 32 * 1024;
    with_shards(&settings, |node| {
        let readers = [node.connect(), node.connect(), node.connect()];
        for reader in readers {
            subscribe(node, reader, "t");
        }
        let stuck = node.connect();
        subscribe(node, stuck, "t");
        node.stick(stuck);
        let data = |number: usize| format!(r#""{number}{}""#, "x".repeat(1_000));
        let publish =
            |number| format!(r#"{{"publish":{{"channel":"t","data":{}}}}}"#, data(number));
        let commands: Vec<_> = (0..PUBLISHES).map(publish).collect();
        let answer = node.call(0, "batch", &format!(r#"{{"commands":[{}]}}"#, commands.join(",")));
        assert_eq!(answer.matches(r#"{"publish":{}}"#).count(), PUBLISHES);
        let expected: Vec<_> = (0..PUBLISHES).map(|number| push("t", data(number))).collect();
        for reader in readers {
            assert!(node.texts(reader) == expected);
        }
        assert_eq!(slow_count(node), 1, "who does not read is let go");
    });
}

#[test]
fn a_batch_asks_for_the_whole_node_a_bounded_number_of_times() {
    with_shards(&open_settings(), |node| {
        let commands = vec![r#"{"channels":{}}"#; BATCH_SURVEYS_MAX + 1].join(",");
        let answer = node.call(0, "batch", &format!(r#"{{"commands":[{commands}]}}"#));
        let answer: Value = serde_json::from_str(&answer).unwrap();
        let replies = answer["replies"].as_array().unwrap();
        let refused = |reply: &Value| reply["error"]["code"] == 106;
        assert!(replies[..BATCH_SURVEYS_MAX].iter().all(|reply| !refused(reply)));
        assert!(refused(&replies[BATCH_SURVEYS_MAX]));
    });
}

/// Escaped, this tag is six times as long: too long for any outbox.
#[test]
fn a_tag_that_no_outbox_could_hold_is_refused_and_costs_nobody_the_connection() {
    with_shards(&open_settings(), |node| {
        let client = node.connect();
        subscribe(node, client, "t");
        let tag = "\\u0001".repeat(300_000);
        let body = format!(r#"{{"channel":"t","data":1,"tags":{{"k":"{tag}"}}}}"#);
        let answer = node.call(0, "publish", &body);
        assert_eq!(answer, r#"{"error":{"code":107,"message":"bad request"}}"#);
        assert!(node.take(client).is_empty());
    });
}

/// Counted once for each topic, this is more than a lane or an inbox may hold.
#[test]
fn a_call_larger_than_the_lanes_waits_for_room_and_is_not_refused() {
    let data = "x".repeat(2 * LANE_BYTES_MAX / MANY);
    with_shards(&open_settings(), |node| {
        let client = node.connect();
        subscribe(node, client, "t0");
        let names: Vec<_> = (0..2 * MANY).map(|number| format!(r#""t{number}""#)).collect();
        let body = format!(r#"{{"channels":[{}],"data":"{data}"}}"#, names.join(","));
        let answer = node.call(0, "broadcast", &body);
        assert_eq!(answer.matches(r#"{"result":{}}"#).count(), 2 * MANY);
        assert_eq!(node.texts(client), [push("t0", format_args!("\"{data}\""))]);
    });
}
