//! Presence, joins and leaves (specification, section 14).

use crate::kit::tokens::token_of;
use crate::kit::{Client, Node, across, full_settings, in_both};

fn subscribe(topic: &str) -> String {
    format!(r#"{{"id":2,"subscribe":{{"channel":"{topic}"}}}}"#)
}

fn unsubscribe(topic: &str) -> String {
    format!(r#"{{"id":3,"unsubscribe":{{"channel":"{topic}"}}}}"#)
}

/// Expects so many connections and users, whoever asks.
fn counts(node: &mut Node, asker: Client, topic: &str, clients: usize, users: usize) {
    let stats = format!(r#"{{"num_clients":{clients},"num_users":{users}}}"#);
    let command = format!(r#"{{"id":7,"presence_stats":{{"channel":"{topic}"}}}}"#);
    node.ask_for(asker, &command, &[&format!(r#"{{"id":7,"presence_stats":{stats}}}"#)]);
    let body = format!(r#"{{"channel":"{topic}"}}"#);
    node.calls("presence_stats", &body, &format!(r#"{{"result":{stats}}}"#));
}

fn members(node: &mut Node, asker: Client, topic: &str, members: &str) {
    let command = format!(r#"{{"id":7,"presence":{{"channel":"{topic}"}}}}"#);
    let reply = format!(r#"{{"id":7,"presence":{{"presence":{{{members}}}}}}}"#);
    node.ask_for(asker, &command, &[&reply]);
    let result = format!(r#"{{"result":{{"presence":{{{members}}}}}}}"#);
    node.calls("presence", &format!(r#"{{"channel":"{topic}"}}"#), &result);
}

fn news(topic: &str, what: &str, user: &str, name: &str) -> String {
    let info = format!(r#"{{"user":"{user}","client":"<{name}>"}}"#);
    format!(r#"{{"push":{{"channel":"{topic}","{what}":{{"info":{info}}}}}}}"#)
}

#[test]
fn whoever_is_subscribed_is_present() {
    in_both(&full_settings(), |node| {
        let watcher = node.guest("w");
        members(node, watcher, "pres:t", "");
        counts(node, watcher, "pres:t", 0, 0);
        let info = token_of("u", r#""info":{"name":"A"}"#);
        let a = node.enter("a", &format!(r#"{{"token":"{info}"}}"#));
        let b = node.user("b", "u");
        let c = node.guest("c");
        for client in [a, b, c] {
            node.ask_for(client, &subscribe("pres:t"), &[r#"{"id":2,"subscribe":{}}"#]);
        }
        members(
            node,
            watcher,
            "pres:t",
            r#""<a>":{"user":"u","client":"<a>","conn_info":{"name":"A"}},
               "<b>":{"user":"u","client":"<b>"},"<c>":{"user":"","client":"<c>"}"#,
        );
        counts(node, watcher, "pres:t", 3, 2);
        counts(node, a, "pres:t", 3, 2);
        node.ask_for(a, &unsubscribe("pres:t"), &[r#"{"id":3,"unsubscribe":{}}"#]);
        counts(node, watcher, "pres:t", 2, 2);
        node.say(b, r#"{"send":{}}"#);
        node.closed(b, 3508, "not available");
        counts(node, watcher, "pres:t", 1, 1);
        node.drop_client(c);
        counts(node, watcher, "pres:t", 0, 0);
        members(node, watcher, "pres:t", "");
    });
}

#[test]
fn presence_includes_the_subscriber_when_its_reply_comes() {
    in_both(&full_settings(), |node| {
        let client = node.guest("a");
        let frame = format!(
            "{}\n{}",
            subscribe("pres:t"),
            r#"{"id":4,"presence_stats":{"channel":"pres:t"}}"#
        );
        let stats = r#"{"id":4,"presence_stats":{"num_clients":1,"num_users":1}}"#;
        node.ask_for(client, &frame, &[r#"{"id":2,"subscribe":{}}"#, stats]);
    });
}

#[test]
fn long_lists_are_refused_and_their_length_told() {
    let mut settings = full_settings();
    settings.client.presence_members_max = 2;
    in_both(&settings, |node| {
        let clients: Vec<_> = ["a", "b", "c"].map(|name| node.guest(name)).into();
        for client in &clients {
            node.ask_for(*client, &subscribe("pres:t"), &[r#"{"id":2,"subscribe":{}}"#]);
        }
        let message =
            "limit exceeded: more members than presence_members_max, ask for presence_stats";
        node.refused(clients[0], r#""presence":{"channel":"pres:t"}"#, 106, message);
        counts(node, clients[0], "pres:t", 3, 1);
        node.drop_client(clients[2]);
        node.say(clients[0], r#"{"id":7,"presence":{"channel":"pres:t"}}"#);
        let heard = node.listen(clients[0]);
        assert_eq!(heard[0]["presence"]["presence"].as_object().unwrap().len(), 2);
    });
}

#[test]
fn lists_larger_than_an_outbox_should_hold_are_refused_to_clients() {
    let mut settings = full_settings();
    settings.client.outbox_bytes_max = 64 * 1024;
    in_both(&settings, |node| {
        let info = format!(r#""info":"{}""#, "x".repeat(9_000));
        let connect = format!(r#"{{"token":"{}"}}"#, token_of("u", &info));
        let clients: Vec<_> = (0..4).map(|_| node.enter("a", &connect)).collect();
        for client in &clients {
            node.ask_for(*client, &subscribe("pres:t"), &[r#"{"id":2,"subscribe":{}}"#]);
        }
        node.say(clients[0], r#"{"id":7,"presence":{"channel":"pres:t"}}"#);
        assert_eq!(node.listen(clients[0])[0]["error"]["code"], 106);
        counts(node, clients[0], "pres:t", 4, 1);
        let answer = node.call(0, "presence", r#"{"channel":"pres:t"}"#);
        assert!(answer.len() > 36_000, "backends get it all");
    });
}

#[test]
fn joins_and_leaves_are_told_to_those_who_hear_them() {
    in_both(&full_settings(), |node| {
        let quiet = node.guest("q");
        let a = node.user("a", "u");
        let b = node.user("b", "v");
        node.ask_for(quiet, &subscribe("pres:t"), &[r#"{"id":2,"subscribe":{}}"#]);
        let asks = r#"{"id":2,"subscribe":{"channel":"pres:t","join_leave":true}}"#;
        let join = news("pres:t", "join", "u", "a");
        // It hears itself, after its own reply.
        node.ask_for(a, asks, &[r#"{"id":2,"subscribe":{}}"#, &join]);
        let join = news("pres:t", "join", "v", "b");
        node.ask_for(b, asks, &[r#"{"id":2,"subscribe":{}}"#, &join]);
        node.hear(a, &[&join]);
        // The leaver does not hear its leave, however it leaves.
        node.ask_for(b, &unsubscribe("pres:t"), &[r#"{"id":3,"unsubscribe":{}}"#]);
        node.hear(a, &[&news("pres:t", "leave", "v", "b")]);
        node.ask_for(b, &subscribe("pres:t"), &[r#"{"id":2,"subscribe":{}}"#]);
        node.hear(a, &[&join]);
        node.drop_client(b);
        node.hear(a, &[&news("pres:t", "leave", "v", "b")]);
        node.drop_client(a);
        node.hear(quiet, &[]);
    });
}

#[test]
fn where_it_is_so_configured_all_subscribers_hear_joins_and_leaves() {
    in_both(&full_settings(), |node| {
        let a = node.guest("a");
        let b = node.guest("b");
        let (join_a, join_b) = (news("push:t", "join", "", "a"), news("push:t", "join", "", "b"));
        node.ask_for(a, &subscribe("push:t"), &[r#"{"id":2,"subscribe":{}}"#, &join_a]);
        node.ask_for(b, &subscribe("push:t"), &[r#"{"id":2,"subscribe":{}}"#, &join_b]);
        let body = r#"{"channel":"push:t","user":"","client":"<b>"}"#;
        node.calls("unsubscribe", body, r#"{"result":{}}"#);
        node.hear(a, &[&join_b, &news("push:t", "leave", "", "b")]);
        let reason = r#""unsubscribe":{"code":2000,"reason":"server unsubscribe"}"#;
        node.hear(b, &[&format!(r#"{{"push":{{"channel":"push:t",{reason}}}}}"#)]);
        counts(node, a, "push:t", 1, 1);
    });
}

#[test]
fn one_who_comes_and_goes_in_one_breath_joins_and_leaves_once() {
    in_both(&full_settings(), |node| {
        let a = node.guest("a");
        let b = node.guest("b");
        let join_a = news("push:t", "join", "", "a");
        node.ask_for(a, &subscribe("push:t"), &[r#"{"id":2,"subscribe":{}}"#, &join_a]);
        node.say(b, &[subscribe("push:t"), unsubscribe("push:t"), subscribe("push:t")].join("\n"));
        let (join, leave) = (news("push:t", "join", "", "b"), news("push:t", "leave", "", "b"));
        node.hear(a, &[&join, &leave, &join]);
        let replies = [
            r#"{"id":2,"subscribe":{}}"#,
            r#"{"id":3,"unsubscribe":{}}"#,
            r#"{"id":2,"subscribe":{}}"#,
        ];
        node.hear(b, &[replies[0], replies[1], replies[2], &join]);
        counts(node, a, "push:t", 2, 1);
    });
}

/// A member of `topic` who hears joins, and a guest on another shard than the topic's.
fn member_and_guest(node: &mut Node, namespace: &str) -> (String, Client, Client) {
    let guest = node.guest("g");
    let topic = node.topic_elsewhere(namespace, &[guest]);
    let member = node.guest("m");
    node.say(member, &subscribe(&topic));
    node.listen(member);
    (topic, member, guest)
}

#[test]
fn whoever_goes_while_it_subscribes_is_not_present() {
    across(&full_settings(), |node| {
        for drops in [false, true] {
            for steps in 0..3 {
                let (topic, member, guest) = member_and_guest(node, "push:");
                node.hold_lanes();
                node.say(guest, &subscribe(&topic));
                (0..steps).for_each(|_| node.deliver_held());
                if drops {
                    node.drop_client(guest);
                } else {
                    node.say(guest, &unsubscribe(&topic));
                }
                node.release_lanes();
                let (join, leave) = (news(&topic, "join", "", "g"), news(&topic, "leave", "", "g"));
                node.hear(member, &[&join, &leave]);
                counts(node, member, &topic, 1, 1);
                node.drop_client(member);
                if !drops {
                    node.drop_client(guest);
                }
                let left: u64 = node.shards().iter().map(|one| one.counters().topics).sum();
                assert_eq!(left, 0);
            }
        }
    });
}

#[test]
fn whoever_was_refused_by_the_owner_neither_joins_nor_leaves() {
    let mut settings = full_settings();
    let push = settings.namespaces.get_mut("push").unwrap();
    push.history_size = 5;
    push.history_ttl = std::time::Duration::from_secs(60);
    push.history_meta_ttl = std::time::Duration::from_secs(60);
    push.force_recovery = true;
    across(&settings, |node| {
        for drops in [false, true] {
            let (topic, member, guest) = member_and_guest(node, "push:");
            node.hold_lanes();
            let more = r#""recover":true,"epoch":"_","flag":2"#;
            node.say(guest, &format!(r#"{{"id":2,"subscribe":{{"channel":"{topic}",{more}}}}}"#));
            if drops {
                node.drop_client(guest);
            } else {
                node.say(guest, &unsubscribe(&topic));
            }
            node.release_lanes();
            node.hear(member, &[]);
            counts(node, member, &topic, 1, 1);
            node.drop_client(member);
        }
    });
}
