//! Who may do what: the tables of the specification, section 10.

use fanwire_core::config::{Settings, TopicOptions};

use crate::kit::{Client, Node, full_settings, in_both, open_topics, with_history};

/// Topics outside namespaces have these options.
fn settings(topics: TopicOptions) -> Settings {
    Settings { topics, ..full_settings() }
}

/// Whether a command is answered by a result; otherwise it must be 103.
fn may(node: &mut Node, client: Client, command: &str) -> bool {
    node.say(client, &format!(r#"{{"id":9,{command}}}"#));
    let heard = node.listen(client);
    let reply = heard.iter().find(|reply| reply["id"] == 9).expect("a reply");
    match reply["error"]["code"].as_u64() {
        None => true,
        Some(103) => false,
        Some(other) => panic!("{command}: {other}"),
    }
}

/// Asks for the same as somebody with a user id and as somebody without, each of whom is subscribed
/// in `t` and not in `u`: whether the user may there, here, the guest there, here.
fn who_may(settings: &Settings, command: impl Fn(&str) -> String, expected: [bool; 4]) {
    in_both(settings, |node| {
        let (user, guest) = (node.user("a", "u"), node.guest("b"));
        for client in [user, guest] {
            node.say(client, r#"{"id":2,"subscribe":{"channel":"t"}}"#);
            node.listen(client);
        }
        let asked = [(user, "t"), (user, "u"), (guest, "t"), (guest, "u")];
        let found = asked.map(|(client, topic)| may(node, client, &command(topic)));
        assert_eq!(found, expected, "{} with {:?}", command("t"), settings.topics);
    });
}

#[test]
fn subscribing_needs_an_option_and_a_user_or_another_option() {
    for (client, anonymous, expected) in [
        (false, false, [false, false]),
        (false, true, [false, false]),
        (true, false, [true, false]),
        (true, true, [true, true]),
    ] {
        let options = TopicOptions {
            allow_subscribe_for_client: client,
            allow_subscribe_for_anonymous: anonymous,
            ..TopicOptions::default()
        };
        in_both(&settings(options), |node| {
            let clients = [node.user("a", "u"), node.guest("b")];
            let found = clients.map(|client| may(node, client, r#""subscribe":{"channel":"t"}"#));
            assert_eq!(found, expected, "{client} {anonymous}");
        });
    }
}

/// The three options of a kind of question, and who may then: a user there and here, a guest there
/// and here.
const TABLE: [([bool; 3], [bool; 4]); 8] = [
    ([false, false, false], [false, false, false, false]),
    ([false, false, true], [false, false, false, false]),
    ([true, false, false], [true, true, false, false]),
    ([true, false, true], [true, true, true, true]),
    ([false, true, false], [true, false, false, false]),
    ([false, true, true], [true, false, true, false]),
    ([true, true, false], [true, true, false, false]),
    ([true, true, true], [true, true, true, true]),
];

#[test]
fn publishing_is_for_clients_or_subscribers_and_perhaps_for_guests() {
    for ([client, subscriber, anonymous], expected) in TABLE {
        let options = TopicOptions {
            allow_subscribe_for_client: true,
            allow_subscribe_for_anonymous: true,
            allow_publish_for_client: client,
            allow_publish_for_subscriber: subscriber,
            allow_publish_for_anonymous: anonymous,
            ..TopicOptions::default()
        };
        let command = |topic: &str| format!(r#""publish":{{"channel":"{topic}","data":1}}"#);
        who_may(&settings(options), command, expected);
    }
}

#[test]
fn history_is_for_clients_or_subscribers_and_perhaps_for_guests() {
    for ([client, subscriber, anonymous], expected) in TABLE {
        let options = TopicOptions {
            allow_history_for_client: client,
            allow_history_for_subscriber: subscriber,
            allow_history_for_anonymous: anonymous,
            ..with_history()
        };
        let command = |topic: &str| format!(r#""history":{{"channel":"{topic}"}}"#);
        who_may(&settings(options), command, expected);
    }
}

#[test]
fn presence_is_for_clients_or_subscribers_and_perhaps_for_guests() {
    for ([client, subscriber, anonymous], expected) in TABLE {
        let options = TopicOptions {
            presence: true,
            allow_presence_for_client: client,
            allow_presence_for_subscriber: subscriber,
            allow_presence_for_anonymous: anonymous,
            ..open_topics()
        };
        for method in ["presence", "presence_stats"] {
            let command = |topic: &str| format!(r#""{method}":{{"channel":"{topic}"}}"#);
            who_may(&settings(options.clone()), command, expected);
        }
    }
}

#[test]
fn what_is_off_is_not_available_to_anybody() {
    in_both(&full_settings(), |node| {
        let client = node.user("a", "u");
        for (topic, code, message) in [
            ("t", 108, "not available"),
            ("closed:a", 108, "not available"),
            ("none:a", 102, "unknown channel"),
            ("regex:A", 107, "bad request"),
        ] {
            for method in ["presence", "presence_stats", "history"] {
                let command = format!(r#""{method}":{{"channel":"{topic}"}}"#);
                node.refused(client, &command, code, message);
                let error = format!(r#"{{"error":{{"code":{code},"message":"{message}"}}}}"#);
                node.calls(method, &format!(r#"{{"channel":"{topic}"}}"#), &error);
            }
        }
        for command in [
            r#""publish":{"data":1}"#,
            r#""presence":{}"#,
            r#""presence_stats":{}"#,
            r#""history":{"limit":1}"#,
            r#""sub_refresh":{"token":"t"}"#,
        ] {
            let client = node.guest("b");
            node.say(client, &format!(r#"{{"id":2,{command}}}"#));
            node.closed(client, 3501, "bad request");
        }
    });
}

#[test]
fn a_user_limited_topic_admits_those_it_names_and_no_others() {
    in_both(&full_settings(), |node| {
        let (one, two, guest) = (node.user("a", "1"), node.user("b", "2"), node.guest("c"));
        for (topic, admitted) in [
            ("lim:x#1", [true, false, false]),
            ("lim:x#1,2", [true, true, false]),
            ("lim:x#12", [false, false, false]),
            ("lim:1#2", [false, true, false]),
            ("lim:#1#2", [false, true, false]),
            ("lim:x#2,1,", [true, true, false]),
            // Section 23, trap 12: nobody is not a user.
            ("lim:x#", [false, false, false]),
            ("lim:x", [false, false, false]),
        ] {
            let command = format!(r#""subscribe":{{"channel":"{topic}"}}"#);
            let found = [one, two, guest].map(|client| may(node, client, &command));
            assert_eq!(found, admitted, "{topic}");
        }
        // Where the option is off, the sign means nothing.
        assert!(may(node, two, r#""subscribe":{"channel":"x#1"}"#));
    });
}

#[test]
fn where_users_are_limited_that_alone_decides_on_names_with_the_sign() {
    let options = TopicOptions { allow_user_limited_channels: true, ..open_topics() };
    in_both(&settings(options), |node| {
        let client = node.user("a", "1");
        assert!(may(node, client, r#""subscribe":{"channel":"x#1"}"#));
        assert!(!may(node, client, r#""subscribe":{"channel":"x#2"}"#));
        assert!(may(node, client, r#""subscribe":{"channel":"x"}"#));
    });
}

/// The flags of a subscribe's reply.
fn granted(node: &mut Node, client: Client, topic: &str) -> (bool, bool) {
    let asked = r#""positioned":true,"recoverable":true,"delta":"fossil""#;
    node.say(client, &format!(r#"{{"id":2,"subscribe":{{"channel":"{topic}",{asked}}}}}"#));
    let heard = node.listen(client);
    let reply = &heard[0]["subscribe"];
    assert!(reply.is_object() && reply["delta"].is_null(), "{heard:?}");
    (reply["positioned"] == true, reply["recoverable"] == true)
}

#[test]
fn opt_ins_are_honoured_where_they_are_allowed_and_ignored_elsewhere() {
    let base = TopicOptions {
        allow_history_for_client: false,
        allow_history_for_anonymous: false,
        ..with_history()
    };
    for (options, expected) in [
        (base.clone(), (false, false)),
        (TopicOptions { allow_positioning: true, ..base.clone() }, (true, false)),
        (TopicOptions { allow_recovery: true, ..base.clone() }, (true, true)),
        (TopicOptions { allow_history_for_client: true, ..base.clone() }, (true, true)),
        (TopicOptions { allow_history_for_subscriber: true, ..base.clone() }, (true, true)),
        (TopicOptions { force_positioning: true, ..base.clone() }, (true, false)),
        (TopicOptions { force_recovery: true, ..base.clone() }, (true, true)),
        (TopicOptions { history_size: 0, allow_recovery: true, ..base.clone() }, (false, false)),
    ] {
        in_both(&settings(options.clone()), |node| {
            let client = node.user("a", "u");
            assert_eq!(granted(node, client, "t"), expected, "{options:?}");
        });
    }
    let users_only = TopicOptions { allow_history_for_client: true, ..base };
    in_both(&settings(users_only), |node| {
        let client = node.guest("a");
        assert_eq!(granted(node, client, "t"), (false, false));
    });
}

#[test]
fn joins_are_heard_by_those_who_ask_and_may_see_who_is_present() {
    let base = TopicOptions {
        join_leave: true,
        presence: true,
        allow_presence_for_client: true,
        ..open_topics()
    };
    for (options, user_hears, guest_hears) in [
        (base.clone(), true, false),
        (TopicOptions { allow_presence_for_anonymous: true, ..base.clone() }, true, true),
        (TopicOptions { allow_presence_for_client: false, ..base.clone() }, false, false),
        (TopicOptions { join_leave: false, ..base.clone() }, false, false),
        (TopicOptions { force_push_join_leave: true, ..base.clone() }, true, true),
    ] {
        in_both(&settings(options.clone()), |node| {
            let clients = [(node.user("a", "u"), user_hears), (node.guest("b"), guest_hears)];
            for (client, hears) in clients {
                let asked = r#""subscribe":{"channel":"t","join_leave":true}"#;
                node.say(client, &format!(r#"{{"id":2,{asked}}}"#));
                let joins = node.listen(client).len() - 1;
                assert_eq!(joins, usize::from(hears), "{options:?}");
            }
        });
    }
}

#[test]
fn data_must_be_what_its_namespace_wants() {
    in_both(&full_settings(), |node| {
        let client = node.guest("a");
        let subscribed = node.guest("b");
        for topic in ["t", "json:a", "object:a", "binary:a"] {
            node.say(subscribed, &format!(r#"{{"id":2,"subscribe":{{"channel":"{topic}"}}}}"#));
        }
        node.listen(subscribed);
        for (topic, data, good) in [
            ("t", r#","data":1"#, true),
            ("t", r#","data":null"#, true),
            ("t", "", false),
            ("json:a", r#","data":[1]"#, true),
            ("json:a", r#","data":null"#, true),
            ("json:a", "", false),
            ("object:a", r#","data":{"a":1}"#, true),
            ("object:a", r#","data":[1]"#, false),
            ("object:a", r#","data":"{}""#, false),
            ("object:a", "", false),
            ("binary:a", r#","data":1"#, true),
            ("binary:a", "", true),
        ] {
            let command = format!(r#""publish":{{"channel":"{topic}"{data}}}"#);
            if good {
                assert!(may(node, client, &command), "{command}");
                assert_eq!(node.listen(subscribed).len(), 1, "{command}");
            } else {
                node.refused(client, &command, 107, "bad request");
                node.hear(subscribed, &[]);
            }
        }
        let map = r#""publish":{"channel":"t","data":1,"type":1}"#;
        node.refused(client, map, 103, "permission denied");
        node.refused(client, r#""publish":{"channel":"none:a","data":1}"#, 102, "unknown channel");
        node.refused(client, r#""publish":{"channel":"closed:a"}"#, 103, "permission denied");
        node.refused(client, r#""publish":{"channel":"regex:A","data":1}"#, 107, "bad request");
    });
}
