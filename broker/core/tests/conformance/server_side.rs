//! Subscriptions that the server makes at connect, and the connections that a user may have
//! (specification, sections 4, 6, 9 and 15).

use fanwire_core::config::PersonalTopic;

use crate::kit::tokens::{token, token_of};
use crate::kit::{Client, Node, across, full_settings, in_both};

/// Connects with a token of "u" that has more claims, and expects these subscriptions.
fn connects(node: &mut Node, name: &str, claims: &str, more: &str, subs: &str) -> Client {
    let client = node.open();
    let token = token(&format!(r#"{{"sub":"u"{claims}}}"#));
    node.ask_for(
        client,
        &format!(r#"{{"id":1,"connect":{{"token":"{token}"{more}}}}}"#),
        &[&connected(name, subs)],
    );
    client
}

fn connected(name: &str, subs: &str) -> String {
    let subs = if subs.is_empty() { String::new() } else { format!(r#","subs":{{{subs}}}"#) };
    format!(
        r#"{{"id":1,"connect":{{"client":"<{name}>","version":"0",
            "ping":315360000,"pong":true{subs}}}}}"#
    )
}

#[test]
fn a_token_subscribes_and_its_client_hears() {
    in_both(&full_settings(), |node| {
        let channels = r#","channels":["t","closed:a","t"]"#;
        let client = connects(node, "a", channels, "", r#""t":{},"closed:a":{}"#);
        for topic in ["t", "closed:a"] {
            node.publish(topic, "1");
            let push = format!(r#"{{"push":{{"channel":"{topic}","pub":{{"data":1}}}}}}"#);
            node.hear(client, &[&push]);
        }
        node.ask_for(
            client,
            r#"{"id":2,"unsubscribe":{"channel":"t"}}"#,
            &[r#"{"id":2,"unsubscribe":{}}"#],
        );
        node.publish("t", "2");
        node.hear(client, &[]);
    });
}

#[test]
fn a_token_says_what_its_subscriptions_are() {
    in_both(&full_settings(), |node| {
        let claims = r#","info":"conn","channels":["ignored"],"subs":{
            "t":{"info":{"i":1},"data":{"d":1},"override":{"presence":{"value":true},
                "join_leave":{"value":true},"force_push_join_leave":{"value":true}}},
            "rec:a":{"b64info":"Mg==","b64data":"/w==","info":1,"data":1},
            "hist:a":{"override":{"force_positioning":{"value":true}}},
            "hist:b":{"override":{"force_recovery":{"value":true}}},
            "hist:c":{}}"#;
        let subs = r#""t":{"data":{"d":1}},
            "rec:a":{"recoverable":true,"positioned":true,"epoch":"<_>","data":{"b64data":"/w=="}},
            "hist:a":{"positioned":true,"epoch":"<_>"},
            "hist:b":{"recoverable":true,"positioned":true,"epoch":"<_>"},
            "hist:c":{}"#;
        let client = node.open();
        let token = token(&format!(r#"{{"sub":"u"{claims}}}"#));
        node.say(client, &format!(r#"{{"id":1,"connect":{{"token":"{token}"}}}}"#));
        let info = r#"{"user":"u","client":"<a>","conn_info":"conn","chan_info":{"i":1}}"#;
        let join = format!(r#"{{"push":{{"channel":"t","join":{{"info":{info}}}}}}}"#);
        node.hear(client, &[&connected("a", subs), &join]);
        let publish = r#"{"id":2,"publish":{"channel":"t","data":1}}"#;
        let push = format!(r#"{{"push":{{"channel":"t","pub":{{"data":1,"info":{info}}}}}}}"#);
        node.ask_for(client, publish, &[&push, r#"{"id":2,"publish":{}}"#]);
    });
}

#[test]
fn what_was_missed_comes_with_the_connect_reply() {
    in_both(&full_settings(), |node| {
        for number in 1..=3 {
            let answer = format!(r#"{{"result":{{"offset":{number},"epoch":"<e>"}}}}"#);
            let body = format!(r#"{{"channel":"rec:a","data":{number}}}"#);
            node.calls("publish", &body, &answer);
        }
        let always = r#""recoverable":true,"positioned":true,"epoch":"<e>","was_recovering":true"#;
        for (position, told) in [
            (
                r#"{"recover":true,"epoch":"<e>","offset":1}"#,
                r#""recovered":true,"offset":1,
                   "publications":[{"data":2,"offset":2},{"data":3,"offset":3}]"#,
            ),
            (r#"{"recover":true,"epoch":"<e>","offset":3}"#, r#""recovered":true,"offset":3"#),
            (r#"{"recover":true,"epoch":"other","offset":3}"#, r#""offset":3"#),
        ] {
            let client = node.open();
            let token = token(r#"{"sub":"u","channels":["rec:a"]}"#);
            node.ask_for(
                client,
                &format!(
                    r#"{{"id":1,"connect":{{"token":"{token}","subs":{{"rec:a":{position}}}}}}}"#
                ),
                &[&connected("_", &format!(r#""rec:a":{{{always},{told}}}"#))],
            );
            node.drop_client(client);
        }
    });
}

#[test]
fn a_cache_comes_with_the_connect_reply_unasked() {
    in_both(&full_settings(), |node| {
        node.calls(
            "publish",
            r#"{"channel":"auto:a","data":"newest"}"#,
            r#"{"result":{"offset":1,"epoch":"<e>"}}"#,
        );
        let sub = r#""auto:a":{"recoverable":true,"positioned":true,"epoch":"<e>","recovered":true,
            "was_recovering":true,"publications":[{"data":"newest","offset":1}]}"#;
        connects(node, "a", r#","channels":["auto:a"]"#, "", sub);
    });
}

#[test]
fn deltas_may_be_asked_for_at_connect() {
    in_both(&full_settings(), |node| {
        let more = r#","subs":{"delta:a":{"delta":"fossil"},"t":{"delta":"fossil"}}"#;
        let claims = r#","channels":["delta:a","t"]"#;
        connects(node, "a", claims, more, r#""delta:a":{"delta":true},"t":{}"#);
    });
}

#[test]
fn wishes_come_true_where_the_client_could_have_subscribed_itself() {
    in_both(&full_settings(), |node| {
        let long = "x".repeat(256);
        let wishes = format!(
            r#","subs":{{"t":{{}},"closed:a":{{}},"$a":{{}},
                "lim:x#u":{{}},"lim:x#v":{{}},"{long}":{{}},"regex:A":{{}},
                "rec:a":{{"recover":true}}}}"#
        );
        let subs = r#""t":{},"lim:x#u":{},"rec:a":{"recoverable":true,"positioned":true,
            "epoch":"<_>","recovered":true,"was_recovering":true}"#;
        let client = connects(node, "a", "", &wishes, subs);
        node.publish("closed:a", "1");
        node.hear(client, &[]);
        for wishes in [r#"{"none:a":{}}"#, r#"{"t":{},"$none:a":{}}"#, r#"{"":{}}"#] {
            let client = node.open();
            node.say(client, &format!(r#"{{"id":1,"connect":{{"subs":{wishes}}}}}"#));
            node.closed(client, 3501, "bad request");
        }
    });
}

#[test]
fn too_many_subscriptions_at_connect_end_it() {
    let mut settings = full_settings();
    settings.client.topics_max = 2;
    in_both(&settings, |node| {
        for (claims, wishes, good) in [
            (r#""channels":["a","b"]"#, "{}", true),
            (r#""channels":["a","b"]"#, r#"{"a":{},"closed:a":{}}"#, true),
            (r#""channels":["a","b","c"]"#, "{}", false),
            (r#""channels":["a","b"]"#, r#"{"c":{}}"#, false),
        ] {
            let client = node.open();
            let token = token_of("u", claims);
            node.say(
                client,
                &format!(r#"{{"id":1,"connect":{{"token":"{token}","subs":{wishes}}}}}"#),
            );
            if good {
                assert_eq!(node.listen(client)[0]["connect"]["subs"].as_object().unwrap().len(), 2);
                // They count.
                let subscribe = r#""subscribe":{"channel":"z"}"#;
                node.refused(client, subscribe, 106, "limit exceeded");
            } else {
                node.closed(client, 3505, "channel limit");
            }
        }
    });
}

#[test]
fn nothing_comes_before_the_connect_reply() {
    across(&full_settings(), |node| {
        let client = node.open();
        // One subscription begins at once, the other one not yet.
        let near = node.topic_here("push:", client);
        let far = node.topic_elsewhere("rec:", &[client]);
        let token = token(&format!(r#"{{"sub":"u","channels":["{near}","{far}"]}}"#));
        node.hold_lanes();
        node.say(client, &format!(r#"{{"id":1,"connect":{{"token":"{token}"}}}}"#));
        for data in 1..=2 {
            let body = format!(r#"{{"channel":"{near}","data":{data}}}"#);
            let call = node.ask(node.shard_of(client), "publish", &body);
            assert_eq!(node.answer(call).as_deref(), Some(r#"{"result":{}}"#));
            // And once more behind commands whose replies wait, too.
            node.say(client, r#"{"id":2,"subscribe":{"channel":"none:a"}}"#);
        }
        node.hear(client, &[]);
        node.release_lanes();
        let subs = format!(
            r#""{near}":{{}},"{far}":{{"recoverable":true,"positioned":true,"epoch":"<_>"}}"#
        );
        let join = format!(
            r#"{{"push":{{"channel":"{near}","join":{{"info":{{"user":"u","client":"<a>"}}}}}}}}"#
        );
        let push = |data| format!(r#"{{"push":{{"channel":"{near}","pub":{{"data":{data}}}}}}}"#);
        let refusal = r#"{"id":2,"error":{"code":102,"message":"unknown channel"}}"#;
        let expected = [&connected("a", &subs), &join, &push(1), refusal, &push(2), refusal];
        node.hear(client, &expected);
    });
}

#[test]
fn what_is_published_while_a_connect_is_under_way_comes_once_and_in_order() {
    across(&full_settings(), |node| {
        let client = node.open();
        let topic = node.topic_elsewhere("rec:", &[client]);
        let token = token_of("u", &format!(r#""channels":["{topic}"]"#));
        node.publish(&topic, "0");
        node.hold_lanes();
        let position = format!(r#"{{"{topic}":{{"recover":true}}}}"#);
        node.say(
            client,
            &format!(r#"{{"id":1,"connect":{{"token":"{token}","subs":{position}}}}}"#),
        );
        for _ in 0..3 {
            let body = format!(r#"{{"channel":"{topic}","data":"x"}}"#);
            node.ask(node.shard_of(client), "publish", &body);
            node.deliver_held();
        }
        node.release_lanes();
        let heard = node.listen(client);
        let sub = &heard[0]["connect"]["subs"][&topic];
        assert_eq!(sub["recovered"], true, "{heard:?}");
        let in_reply = sub["publications"].as_array().into_iter().flatten();
        let pushed = heard[1..].iter().map(|push| &push["push"]["pub"]);
        let offsets: Vec<_> = in_reply.chain(pushed).map(|one| one["offset"].as_u64()).collect();
        assert_eq!(offsets, [1, 2, 3, 4].map(Some), "{heard:?}");
    });
}

#[test]
fn a_topic_left_while_the_connect_is_under_way_is_not_in_its_reply() {
    across(&full_settings(), |node| {
        let client = node.open();
        let topic = node.topic_elsewhere("", &[client]);
        let token = token(&format!(r#"{{"sub":"u","channels":["{topic}"]}}"#));
        node.hold_lanes();
        node.say(client, &format!(r#"{{"id":1,"connect":{{"token":"{token}"}}}}"#));
        node.say(client, &format!(r#"{{"id":2,"unsubscribe":{{"channel":"{topic}"}}}}"#));
        node.release_lanes();
        node.hear(client, &[&connected("a", ""), r#"{"id":2,"unsubscribe":{}}"#]);
        node.publish(&topic, "1");
        node.hear(client, &[]);
    });
}

#[test]
fn a_user_has_a_topic_of_its_own_and_nobody_has_none() {
    let mut settings = full_settings();
    for (namespace, topic) in [("", "#u"), ("lim", "lim:#u")] {
        settings.client.personal_topic =
            Some(PersonalTopic { namespace: namespace.to_owned(), single_connection: false });
        in_both(&settings, |node| {
            let first = connects(node, "a", "", "", &format!(r#""{topic}":{{}}"#));
            let claims = format!(r#","channels":["{topic}"]"#);
            let second = connects(node, "b", &claims, "", &format!(r#""{topic}":{{}}"#));
            let guest = node.open();
            node.ask_for(guest, r#"{"id":1,"connect":{}}"#, &[&connected("c", "")]);
            node.publish(topic, "1");
            let push = format!(r#"{{"push":{{"channel":"{topic}","pub":{{"data":1}}}}}}"#);
            node.hear(first, &[&push]);
            node.hear(second, &[&push]);
            node.hear(guest, &[]);
        });
    }
}

#[test]
fn the_topic_of_a_user_is_reached_however_the_user_is_named() {
    let mut settings = full_settings();
    for (namespace, before) in [("", ""), ("hist", "hist:")] {
        settings.client.personal_topic =
            Some(PersonalTopic { namespace: namespace.to_owned(), single_connection: false });
        in_both(&settings, |node| {
            for user in ["jürgen", "idp:7", "#", "a,b"] {
                let topic = &format!("{before}#{user}");
                let client = node.user("a", user);
                node.publish(topic, "1");
                assert_eq!(node.listen(client)[0]["push"]["channel"], *topic);
                let body = format!(r#"{{"user":"{user}","channel":"{topic}"}}"#);
                node.calls("unsubscribe", &body, r#"{"result":{}}"#);
                assert_eq!(node.listen(client)[0]["push"]["unsubscribe"]["code"], 2000);
            }
            let client = node.guest("b");
            for topic in ["x#jürgen", "jürgen", "cache:#jürgen"] {
                let subscribe = format!(r#""subscribe":{{"channel":"{topic}"}}"#);
                node.refused(client, &subscribe, 107, "bad request");
            }
            let subscribe = r##""subscribe":{"channel":"x#a:b"}"##;
            node.refused(client, subscribe, 102, "unknown channel");
        });
    }
}

#[test]
fn where_one_connection_is_allowed_the_newer_one_stays() {
    let mut settings = full_settings();
    settings.client.personal_topic =
        Some(PersonalTopic { namespace: String::new(), single_connection: true });
    in_both(&settings, |node| {
        let other = node.user("v", "v");
        let guests = [node.guest("g"), node.guest("g")];
        let mut before = node.user("a", "u");
        for _ in 0..4 {
            let next = node.user("a", "u");
            node.closed(before, 3504, "connection limit");
            node.hear(next, &[]);
            before = next;
        }
        node.drop_client(before);
        let last = node.user("a", "u");
        for client in [last, other, guests[0], guests[1]] {
            node.hear(client, &[]);
        }
    });
}

#[test]
fn a_user_may_have_so_many_connections_and_no_more() {
    let mut settings = full_settings();
    settings.client.user_connections_max = 2;
    in_both(&settings, |node| {
        let connect = format!(r#"{{"id":1,"connect":{{"token":"{}"}}}}"#, token_of("u", ""));
        let (first, second) = (node.user("a", "u"), node.user("b", "u"));
        for _ in 0..3 {
            let third = node.open();
            node.say(third, &connect);
            node.closed(third, 3504, "connection limit");
            node.drop_client(third);
        }
        // Others count for themselves, and who has no user is not counted.
        let _others = [node.user("v", "v"), node.user("v", "v")];
        let _guests = [node.guest("g"), node.guest("g"), node.guest("g")];
        node.drop_client(first);
        let fourth = node.user("c", "u");
        for client in [second, fourth] {
            node.hear(client, &[]);
        }
    });
}

#[test]
fn connections_that_come_at_the_same_time_are_counted_one_by_one() {
    let mut settings = full_settings();
    settings.client.user_connections_max = 2;
    across(&settings, |node| {
        node.hold_lanes();
        let connect = format!(r#"{{"id":1,"connect":{{"token":"{}"}}}}"#, token_of("u", ""));
        let clients: Vec<_> = (0..6).map(|_| node.open()).collect();
        for &client in &clients {
            node.say(client, &connect);
        }
        node.release_lanes();
        let admitted = clients.iter().filter(|client| {
            let heard = node.listen(**client);
            assert_eq!(heard.len(), 1);
            heard[0]["connect"].is_object() || {
                assert_eq!(heard[0]["close"], 3504);
                false
            }
        });
        assert_eq!(admitted.count(), 2);
    });
}

#[test]
fn of_connections_that_come_at_the_same_time_one_stays_where_one_is_allowed() {
    let mut settings = full_settings();
    settings.client.personal_topic =
        Some(PersonalTopic { namespace: String::new(), single_connection: true });
    across(&settings, |node| {
        node.hold_lanes();
        let connect = format!(r#"{{"id":1,"connect":{{"token":"{}"}}}}"#, token_of("u", ""));
        let clients: Vec<_> = (0..6).map(|_| node.open()).collect();
        for &client in &clients {
            node.say(client, &connect);
        }
        node.release_lanes();
        let staying = clients.iter().filter(|client| {
            let heard = node.listen(**client);
            let closed = heard.last().unwrap()["close"] == 3504;
            assert!(closed || heard.len() == 1 && heard[0]["connect"].is_object(), "{heard:?}");
            !closed
        });
        assert_eq!(staying.count(), 1);
    });
}

#[test]
fn who_goes_while_it_connects_is_not_counted() {
    let mut settings = full_settings();
    settings.client.user_connections_max = 1;
    across(&settings, |node| {
        let connect = format!(r#"{{"id":1,"connect":{{"token":"{}"}}}}"#, token_of("u", ""));
        for steps in 0..3 {
            node.hold_lanes();
            let client = node.open();
            node.say(client, &connect);
            (0..steps).for_each(|_| node.deliver_held());
            node.drop_client(client);
            node.release_lanes();
        }
        let last = node.user("a", "u");
        node.hear(last, &[]);
        for shard in 0..node.shard_count() {
            let info = node.call(shard, "info", "{}");
            assert!(info.contains(r#""num_clients":1,"num_users":1"#), "{info}");
        }
    });
}
