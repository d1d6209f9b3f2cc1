//! Subscribe and unsubscribe: every check in its order, what is answered, and when publications
//! come (specification, sections 6, 10 and 11).

use crate::kit::tokens::{START, token, token_of};
use crate::kit::{Node, across, full_settings, in_both};

fn subscribe(topic: &str, more: &str) -> String {
    let comma = if more.is_empty() { "" } else { "," };
    format!(r#""subscribe":{{"channel":"{topic}"{comma}{more}}}"#)
}

fn with_token(claims: &str) -> String {
    format!(r#""token":"{}""#, token(claims))
}

#[test]
fn what_the_protocol_forbids_ends_the_connection_before_anything_else_is_looked_at() {
    in_both(&full_settings(), |node| {
        let long = "x".repeat(256);
        for command in [
            subscribe("", r#""delta":"fossil""#),
            subscribe("t", r#""delta":"xor""#),
            subscribe(&long, r#""delta":"xor""#),
            subscribe("none:a", r#""delta":"fossil2""#),
        ] {
            let client = node.guest("a");
            node.say(client, &format!(r#"{{"id":2,{command}}}"#));
            node.closed(client, 3501, "bad request");
        }
    });
}

#[test]
fn checks_come_in_the_order_of_the_specification() {
    let mut settings = full_settings();
    settings.client.topics_max = 2;
    let long = "x".repeat(256);
    let bad_filter = r#""tf":{"cmp":"eq"}"#;
    in_both(&settings, |node| {
        let client = node.user("a", "u");
        for (topic, code, message) in [
            ("none:a", 102, "unknown channel"),
            ("$none:a", 102, "unknown channel"),
            ("closed:a", 103, "permission denied"),
            ("$a", 103, "permission denied"),
            ("regex:A", 107, "bad request"),
            ("grün", 107, "bad request"),
            (long.as_str(), 107, "bad request"),
        ] {
            node.refused(client, &subscribe(topic, ""), code, message);
            // Permission comes before the filter.
            node.refused(client, &subscribe(topic, bad_filter), code, message);
        }
        node.refused(client, &subscribe("t", bad_filter), 107, "bad request");
        node.refused(client, &subscribe("tags:t", bad_filter), 107, "bad request");
        node.refused(client, &subscribe("t", r#""type":1"#), 103, "permission denied");
        node.refused(client, &subscribe("t", r#""type":-1"#), 103, "permission denied");
        // The filter comes before what has ended in the past.
        let past = format!(r#"{{"sub":"u","channel":"tags:t","expire_at":{START}}}"#);
        let past = with_token(&past);
        node.refused(client, &subscribe("tags:t", &past), 110, "expired");
        let both = format!("{past},{bad_filter}");
        node.refused(client, &subscribe("tags:t", &both), 107, "bad request");
        for topic in ["a", "b"] {
            let command = format!(r#"{{"id":9,{}}}"#, subscribe(topic, ""));
            node.ask_for(client, &command, &[r#"{"id":9,"subscribe":{}}"#]);
        }
        node.refused(client, &subscribe("a", bad_filter), 105, "already subscribed");
        for topic in ["c", "closed:a", "none:a", "$a", "regex:A"] {
            node.refused(client, &subscribe(topic, bad_filter), 106, "limit exceeded");
        }
        node.refused(client, &subscribe(&long, ""), 107, "bad request");
    });
}

#[test]
fn names_may_have_255_bytes_and_what_their_namespace_allows() {
    let most = "x".repeat(255);
    in_both(&full_settings(), |node| {
        let client = node.guest("a");
        for topic in [most.as_str(), "a b/c?#", "regex:é", ":", "hist:", "$", "hist:a:b,c"] {
            let command = format!(r#"{{"id":2,{}}}"#, subscribe(topic, ""));
            node.say(client, &command);
            let heard = node.listen(client);
            let code = heard[0]["error"]["code"].as_u64();
            let expected = match topic {
                "$" => Some(103),
                ":" => Some(102),
                _ => None,
            };
            assert_eq!(code, expected, "{topic}: {heard:?}");
        }
        node.refused(client, &subscribe("regex:éé é", ""), 107, "bad request");
        let most = format!("regex:{}", "é".repeat(125));
        node.refused(client, &subscribe(&most, ""), 107, "bad request");
    });
}

#[test]
fn one_subscription_per_topic_whoever_made_it() {
    in_both(&full_settings(), |node| {
        let connect = format!(r#"{{"token":"{}"}}"#, token_of("u", r#""channels":["mine"]"#));
        let client = node.enter("a", &connect);
        node.refused(client, &subscribe("mine", ""), 105, "already subscribed");
        node.refused(client, &subscribe("mine", r#""tf":{}"#), 105, "already subscribed");
        let frame = format!("{{\"id\":2,{0}}}\n{{\"id\":3,{0}}}", subscribe("t", ""));
        let refusal = r#"{"id":3,"error":{"code":105,"message":"already subscribed"}}"#;
        node.ask_for(client, &frame, &[r#"{"id":2,"subscribe":{}}"#, refusal]);
        node.ask_for(
            client,
            r#"{"id":4,"unsubscribe":{"channel":"mine"}}"#,
            &[r#"{"id":4,"unsubscribe":{}}"#],
        );
        let command = format!(r#"{{"id":5,{}}}"#, subscribe("mine", ""));
        node.ask_for(client, &command, &[r#"{"id":5,"subscribe":{}}"#]);
    });
}

#[test]
fn a_subscription_under_way_counts_as_one() {
    across(&full_settings(), |node| {
        let client = node.guest("a");
        let topic = node.topic_elsewhere("", &[client]);
        node.hold_lanes();
        node.say(client, &format!(r#"{{"id":2,{}}}"#, subscribe(&topic, "")));
        node.say(client, &format!(r#"{{"id":3,{}}}"#, subscribe(&topic, "")));
        node.hear(client, &[]);
        node.release_lanes();
        let refusal = r#"{"id":3,"error":{"code":105,"message":"already subscribed"}}"#;
        node.hear(client, &[r#"{"id":2,"subscribe":{}}"#, refusal]);
    });
}

#[test]
fn a_subscriber_is_told_its_position_where_there_is_one() {
    in_both(&full_settings(), |node| {
        let client = node.guest("a");
        let plain = r#"{"id":2,"subscribe":{}}"#;
        for (topic, more, reply) in [
            ("t", r#""positioned":true,"recoverable":true,"join_leave":true,"flag":1"#, plain),
            ("hist:1", "", plain),
            (
                "hist:2",
                r#""positioned":true"#,
                r#"{"id":2,"subscribe":{"positioned":true,"epoch":"<_>"}}"#,
            ),
            (
                "hist:3",
                r#""recoverable":true"#,
                r#"{"id":2,"subscribe":{"recoverable":true,"positioned":true,"epoch":"<_>"}}"#,
            ),
            (
                "rec:1",
                r#""epoch":"x","offset":7"#,
                r#"{"id":2,"subscribe":{"recoverable":true,"positioned":true,"epoch":"<e>"}}"#,
            ),
        ] {
            let command = format!(r#"{{"id":2,{}}}"#, subscribe(topic, more));
            node.ask_for(client, &command, &[reply]);
        }
        assert!(node.name("e").len() == 8);
        assert!(node.name("e").bytes().all(|byte| byte.is_ascii_alphabetic()));
        let other = node.guest("b");
        node.calls(
            "publish",
            r#"{"channel":"rec:1","data":1}"#,
            r#"{"result":{"offset":1,"epoch":"<e>"}}"#,
        );
        node.hear(
            client,
            &[r#"{"push":{"channel":"rec:1","pub":{"data":1,"offset":1,"epoch":"<e>"}}}"#],
        );
        node.ask_for(
            other,
            &format!(r#"{{"id":2,{}}}"#, subscribe("rec:1", "")),
            &[r#"{"id":2,"subscribe":{"recoverable":true,"positioned":true,
                "epoch":"<e>","offset":1}}"#],
        );
        node.publish("rec:1", "2");
        for client in [client, other] {
            let push = r#"{"push":{"channel":"rec:1","pub":{"data":2,"offset":2}}}"#;
            node.hear(client, &[push]);
        }
    });
}

#[test]
fn nothing_comes_after_the_unsubscribe_reply_and_it_always_succeeds() {
    in_both(&full_settings(), |node| {
        let client = node.guest("a");
        for topic in ["t", "never", "none:a", "$", "closed:a"] {
            node.ask_for(
                client,
                &format!(r#"{{"id":2,"unsubscribe":{{"channel":"{topic}"}}}}"#),
                &[r#"{"id":2,"unsubscribe":{}}"#],
            );
        }
        let frame = [
            r#"{"id":2,"subscribe":{"channel":"t"}}"#,
            r#"{"id":3,"unsubscribe":{"channel":"t"}}"#,
            r#"{"id":4,"publish":{"channel":"t","data":1}}"#,
        ];
        let replies = [
            r#"{"id":2,"subscribe":{}}"#,
            r#"{"id":3,"unsubscribe":{}}"#,
            r#"{"id":4,"publish":{}}"#,
        ];
        node.ask_for(client, &frame.join("\n"), &replies);
        node.publish("t", "2");
        node.hear(client, &[]);
        node.say(client, r#"{"id":5,"unsubscribe":{}}"#);
        node.closed(client, 3501, "bad request");
    });
}

/// Publishes from two sides while a subscribe is under way, at every step of the way.
fn publish_meanwhile(node: &mut Node, steps_before: usize, own_side: bool) {
    let client = node.guest("a");
    let publisher = node.guest("b");
    let topic = node.topic_elsewhere("rec:", &[client]);
    node.publish(&topic, "0");
    node.hold_lanes();
    let body = format!(r#"{{"channel":"{topic}","data":"x"}}"#);
    let mut calls = Vec::new();
    for step in 0..6 {
        if step == steps_before {
            let more = r#""recover":true,"epoch":"","offset":0"#;
            node.say(client, &format!(r#"{{"id":2,{}}}"#, subscribe(&topic, more)));
        }
        let side = if own_side { client } else { publisher };
        calls.push(node.ask(node.shard_of(side), "publish", &body));
        node.deliver_held();
    }
    node.release_lanes();
    let heard = node.listen(client);
    let reply = &heard[0]["subscribe"];
    assert_eq!(reply["recovered"], true, "{heard:?}");
    let in_reply = reply["publications"].as_array().into_iter().flatten();
    let pushed = heard[1..].iter().map(|push| &push["push"]["pub"]);
    let offsets: Vec<_> = in_reply.chain(pushed).map(|one| one["offset"].as_u64()).collect();
    assert_eq!(offsets, (1..=7).map(Some).collect::<Vec<_>>(), "{heard:?}");
    assert!(calls.into_iter().all(|call| node.answer(call).is_some()));
}

#[test]
fn what_is_published_while_a_subscribe_is_under_way_comes_once_and_in_order() {
    let mut settings = full_settings();
    settings.namespaces.get_mut("rec").unwrap().history_size = 10;
    for steps_before in 0..6 {
        for own_side in [false, true] {
            across(&settings, |node| publish_meanwhile(node, steps_before, own_side));
        }
    }
}

#[test]
fn an_unsubscribe_ends_what_has_not_begun() {
    across(&full_settings(), |node| {
        let client = node.guest("a");
        let topic = node.topic_elsewhere("", &[client]);
        node.hold_lanes();
        node.say(client, &format!(r#"{{"id":2,{}}}"#, subscribe(&topic, "")));
        node.say(client, &format!(r#"{{"id":3,"unsubscribe":{{"channel":"{topic}"}}}}"#));
        node.say(client, &format!(r#"{{"id":4,{}}}"#, subscribe(&topic, "")));
        node.deliver_held();
        let body = format!(r#"{{"channel":"{topic}","data":1}}"#);
        node.ask(node.shard_of(client), "publish", &body);
        node.release_lanes();
        let push = format!(r#"{{"push":{{"channel":"{topic}","pub":{{"data":1}}}}}}"#);
        node.hear(
            client,
            &[
                r#"{"id":2,"subscribe":{}}"#,
                r#"{"id":3,"unsubscribe":{}}"#,
                r#"{"id":4,"subscribe":{}}"#,
                &push,
            ],
        );
        node.drop_client(client);
        let left: u64 = node.shards().iter().map(|shard| shard.counters().topics).sum();
        assert_eq!(left, 0, "topics that nobody hears");
    });
}
