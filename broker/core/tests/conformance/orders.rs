//! What backends order of clients, and the clients hear of it (specification, section 18).

use crate::kit::tokens::{START, token_of};
use crate::kit::{across, full_settings, in_both};

#[test]
fn a_backend_subscribes_its_clients() {
    in_both(&full_settings(), |node| {
        let clients = [node.user("a", "u"), node.user("b", "u")];
        let others = [node.user("c", "v"), node.guest("d")];
        let body = r#"{"user":"u","channel":"rec:a","data":{"d":1},"info":{"i":1}}"#;
        node.calls("subscribe", body, r#"{"result":{}}"#);
        let push = r#"{"push":{"channel":"rec:a","subscribe":{"recoverable":true,"positioned":true,
            "epoch":"<e>","data":{"d":1}}}}"#;
        for client in clients {
            node.hear(client, &[push]);
        }
        node.publish("rec:a", "1");
        for client in clients {
            let told = r#"{"data":1,"offset":1,"epoch":"<e>"}"#;
            node.hear(client, &[&format!(r#"{{"push":{{"channel":"rec:a","pub":{told}}}}}"#)]);
            let subscribe = r#""subscribe":{"channel":"rec:a"}"#;
            node.refused(client, subscribe, 105, "already subscribed");
        }
        // Again, and nothing happens.
        node.calls("subscribe", body, r#"{"result":{}}"#);
        for client in clients.into_iter().chain(others) {
            node.hear(client, &[]);
        }
        node.say(clients[0], r#"{"id":2,"publish":{"channel":"rec:a","data":2}}"#);
        let info = r#"{"user":"u","client":"<a>","chan_info":{"i":1}}"#;
        let told = format!(r#"{{"data":2,"offset":2,"info":{info}}}"#);
        node.hear(clients[1], &[&format!(r#"{{"push":{{"channel":"rec:a","pub":{told}}}}}"#)]);
    });
}

#[test]
fn what_was_missed_follows_the_subscribe_push() {
    in_both(&full_settings(), |node| {
        let client = node.guest("a");
        for number in 1..=3 {
            let body = format!(r#"{{"channel":"hist:a","data":{number}}}"#);
            let answer = format!(r#"{{"result":{{"offset":{number},"epoch":"<e>"}}}}"#);
            node.calls("publish", &body, &answer);
        }
        let body = r#"{"client":"<a>","channel":"hist:a","recover_since":{"offset":1,"epoch":"<e>"},
            "override":{"force_recovery":{"value":true}}}"#;
        node.calls("subscribe", body, r#"{"result":{}}"#);
        node.publish("hist:a", "4");
        let push = |offset: u64| {
            let told = format!(r#"{{"data":{offset},"offset":{offset}}}"#);
            format!(r#"{{"push":{{"channel":"hist:a","pub":{told}}}}}"#)
        };
        let subscribed = r#"{"push":{"channel":"hist:a","subscribe":{"recoverable":true,
            "positioned":true,"epoch":"<e>","offset":1}}}"#;
        node.hear(client, &[subscribed, &push(2), &push(3), &push(4)]);
    });
}

#[test]
fn orders_are_for_whom_they_name() {
    in_both(&full_settings(), |node| {
        let (a, b) = (node.user("a", "u"), node.user("b", "u"));
        let (c, guest) = (node.user("c", "v"), node.guest("g"));
        let subscribed = r#"{"push":{"channel":"t","subscribe":{}}}"#;
        let ended =
            r#"{"push":{"channel":"t","unsubscribe":{"code":2000,"reason":"server unsubscribe"}}}"#;
        for (who, meant) in [
            (r#""user":"u""#, vec![a, b]),
            (r#""user":"u","client":"<a>""#, vec![a]),
            (r#""user":"v","client":"<a>""#, vec![]),
            (r#""user":"""#, vec![guest]),
            (r#""client":"<g>""#, vec![guest]),
            (r#""client":"<a>""#, vec![]),
            (r#""user":"u","client":"no id""#, vec![]),
            (r#""user":"u","session":"s""#, vec![]),
            (r#""user":"nobody""#, vec![]),
        ] {
            let body = format!(r#"{{"channel":"t",{who}}}"#);
            for (method, push) in [("subscribe", subscribed), ("unsubscribe", ended)] {
                node.calls(method, &body, r#"{"result":{}}"#);
                for client in [a, b, c, guest] {
                    let expected = if meant.contains(&client) { &[push][..] } else { &[] };
                    node.hear(client, expected);
                }
            }
        }
    });
}

#[test]
fn what_cannot_be_ordered_is_refused() {
    in_both(&full_settings(), |node| {
        node.user("a", "u");
        let past = format!(r#"{{"user":"u","channel":"t","expire_at":{START}}}"#);
        for (method, body, code, message) in [
            ("subscribe", r#"{"user":"u","channel":"none:a"}"#, 102, "unknown channel"),
            ("subscribe", r#"{"user":"u"}"#, 107, "bad request"),
            ("subscribe", r#"{"user":"u","channel":"grün"}"#, 107, "bad request"),
            ("subscribe", &past, 110, "expired"),
            ("unsubscribe", r#"{"user":"u","channel":"none:a"}"#, 102, "unknown channel"),
            ("unsubscribe", r#"{"user":"u"}"#, 107, "bad request"),
            ("disconnect", r#"{"user":"u","disconnect":{"code":2999}}"#, 107, "bad request"),
            ("disconnect", r#"{"user":"u","disconnect":{"code":5000}}"#, 107, "bad request"),
            ("rpc", r#"{"method":"m"}"#, 104, "not found"),
            ("map_clear", r#"{"channel":"t"}"#, 108, "not available"),
        ] {
            let error = format!(r#"{{"error":{{"code":{code},"message":"{message}"}}}}"#);
            node.calls(method, body, &error);
        }
    });
}

#[test]
fn unsubscribed_clients_hear_no_more_and_may_come_again() {
    across(&full_settings(), |node| {
        let client = node.guest("a");
        let topic = node.topic_elsewhere("", &[client]);
        let subscribe = format!(r#"{{"id":2,"subscribe":{{"channel":"{topic}"}}}}"#);
        node.ask_for(client, &subscribe, &[r#"{"id":2,"subscribe":{}}"#]);
        node.hold_lanes();
        let body = format!(r#"{{"channel":"{topic}","user":""}}"#);
        node.ask(node.shard_of(client), "unsubscribe", &body);
        node.say(client, &subscribe);
        node.release_lanes();
        let ended = r#""unsubscribe":{"code":2000,"reason":"server unsubscribe"}"#;
        let push = format!(r#"{{"push":{{"channel":"{topic}",{ended}}}}}"#);
        node.hear(client, &[&push, r#"{"id":2,"subscribe":{}}"#]);
        node.publish(&topic, "1");
        node.hear(client, &[&format!(r#"{{"push":{{"channel":"{topic}","pub":{{"data":1}}}}}}"#)]);
    });
}

#[test]
fn a_subscription_ended_by_a_backend_before_it_began_is_answered_then_ended() {
    across(&full_settings(), |node| {
        let client = node.guest("a");
        let topic = node.topic_elsewhere("", &[client]);
        node.hold_lanes();
        node.say(client, &format!(r#"{{"id":2,"subscribe":{{"channel":"{topic}"}}}}"#));
        let body = format!(r#"{{"channel":"{topic}","user":""}}"#);
        node.ask(node.shard_of(client), "unsubscribe", &body);
        node.hear(client, &[]);
        node.release_lanes();
        let ended = r#""unsubscribe":{"code":2000,"reason":"server unsubscribe"}"#;
        let push = format!(r#"{{"push":{{"channel":"{topic}",{ended}}}}}"#);
        node.hear(client, &[r#"{"id":2,"subscribe":{}}"#, &push]);
        node.publish(&topic, "1");
        node.hear(client, &[]);
    });
}

#[test]
fn a_backend_disconnects_whom_it_names_but_those_it_spares() {
    in_both(&full_settings(), |node| {
        let (a, b, c) = (node.user("a", "u"), node.user("b", "u"), node.user("c", "v"));
        let body = r#"{"user":"u","whitelist":["<b>","no id"]}"#;
        node.calls("disconnect", body, r#"{"result":{}}"#);
        node.closed(a, 3503, "force disconnect");
        node.hear(b, &[]);
        let body = r#"{"user":"u","disconnect":{"code":4321,"reason":"ü"}}"#;
        node.calls("disconnect", body, r#"{"result":{}}"#);
        node.closed(b, 4321, "ü");
        node.hear(c, &[]);
    });
}

#[test]
fn a_backend_renews_connections() {
    in_both(&full_settings(), |node| {
        let client = node.user("a", "u");
        let other = node.user("b", "v");
        let body = format!(r#"{{"user":"u","expire_at":{},"info":{{"n":1}}}}"#, START + 100);
        node.calls("refresh", &body, r#"{"result":{}}"#);
        node.hear(client, &[r#"{"push":{"refresh":{"expires":true,"ttl":100}}}"#]);
        let subscribe = r#"{"id":2,"subscribe":{"channel":"t"}}"#;
        let publish = r#"{"id":3,"publish":{"channel":"t","data":1}}"#;
        let frame = [subscribe, publish].join("\n");
        let info = r#"{"user":"u","client":"<a>","conn_info":{"n":1}}"#;
        let push = format!(r#"{{"push":{{"channel":"t","pub":{{"data":1,"info":{info}}}}}}}"#);
        let replies = [r#"{"id":2,"subscribe":{}}"#, &push, r#"{"id":3,"publish":{}}"#];
        node.ask_for(client, &frame, &replies);
        node.calls("refresh", r#"{"user":"u"}"#, r#"{"result":{}}"#);
        node.hear(client, &[r#"{"push":{"refresh":{}}}"#]);
        node.pass_seconds(3000);
        node.hear(client, &[]);
        node.hear(other, &[]);
    });
}

#[test]
fn a_backend_ends_connections_as_expired() {
    in_both(&full_settings(), |node| {
        for body in [
            r#"{"user":"u","expired":true}"#.to_owned(),
            format!(r#"{{"user":"u","expired":true,"expire_at":{}}}"#, START + 100),
            format!(r#"{{"user":"u","expire_at":{START}}}"#),
        ] {
            let client = node.user("a", "u");
            node.calls("refresh", &body, r#"{"result":{}}"#);
            node.closed(client, 3005, "connection expired");
        }
        let client = node.user("a", "u");
        let body = format!(r#"{{"user":"u","expire_at":{}}}"#, START + 10);
        node.calls("refresh", &body, r#"{"result":{}}"#);
        node.hear(client, &[r#"{"push":{"refresh":{"expires":true,"ttl":10}}}"#]);
        node.pass_seconds(34);
        node.hear(client, &[]);
        node.pass_seconds(2);
        node.closed(client, 3005, "connection expired");
    });
}

#[test]
fn a_subscription_by_a_backend_may_end_and_its_connection_with_it() {
    in_both(&full_settings(), |node| {
        let client = node.user("a", "u");
        let body = format!(r#"{{"user":"u","channel":"t","expire_at":{}}}"#, START + 10);
        node.calls("subscribe", &body, r#"{"result":{}}"#);
        node.hear(client, &[r#"{"push":{"channel":"t","subscribe":{}}}"#]);
        node.pass_seconds(34);
        node.hear(client, &[]);
        node.pass_seconds(2);
        node.closed(client, 3006, "subscription expired");
    });
}

#[test]
fn more_subscriptions_than_allowed_end_the_connection() {
    let mut settings = full_settings();
    settings.client.topics_max = 1;
    in_both(&settings, |node| {
        let token = token_of("u", r#""channels":["a"]"#);
        let client = node.enter("a", &format!(r#"{{"token":"{token}"}}"#));
        node.calls("subscribe", r#"{"user":"u","channel":"a"}"#, r#"{"result":{}}"#);
        node.hear(client, &[]);
        node.calls("subscribe", r#"{"user":"u","channel":"b"}"#, r#"{"result":{}}"#);
        node.closed(client, 3505, "channel limit");
    });
}

#[test]
fn publications_with_a_key_or_an_old_version_happen_once() {
    in_both(&full_settings(), |node| {
        let client = node.guest("a");
        node.say(client, r#"{"id":2,"subscribe":{"channel":"hist:a"}}"#);
        node.listen(client);
        let keyed =
            |data: u32| format!(r#"{{"channel":"hist:a","data":{data},"idempotency_key":"k"}}"#);
        let versioned = |version: u32, epoch: &str| {
            format!(
                r#"{{"channel":"hist:a","data":0,"version":{version},"version_epoch":"{epoch}"}}"#
            )
        };
        let result = |offset: u32| format!(r#"{{"result":{{"offset":{offset},"epoch":"<e>"}}}}"#);
        node.calls("publish", &keyed(1), &result(1));
        assert_eq!(node.listen(client).len(), 1);
        node.calls("publish", &keyed(1), &result(1));
        let conflict = r#"{"error":{"code":113,"message":"<_>"}}"#;
        node.calls("publish", &keyed(2), conflict);
        node.hear(client, &[]);
        for (version, epoch, offset, heard) in [
            (5, "", 2, 1),
            (5, "", 2, 0),
            (4, "", 2, 0),
            (6, "x", 3, 1),
            (6, "x", 3, 0),
            (1, "y", 4, 1),
        ] {
            node.calls("publish", &versioned(version, epoch), &result(offset));
            assert_eq!(node.listen(client).len(), heard, "{version} {epoch}");
        }
        // What an old version with a key was answered is what its repeats are answered.
        let old = r#"{"channel":"hist:a","data":3,"version":1,"version_epoch":"y",
            "idempotency_key":"old"}"#;
        node.calls("publish", old, &result(4));
        node.calls("publish", &versioned(2, "y"), &result(5));
        assert_eq!(node.listen(client).len(), 1);
        node.calls("publish", old, &result(4));
        node.calls("publish", &old.replace(":3", ":4"), conflict);
        node.hear(client, &[]);
        node.pass_seconds(310);
        node.calls("publish", &keyed(2), &result(6));
        assert_eq!(node.listen(client).len(), 1);
    });
}
