//! Publications in all their forms: deltas, filters by tags, bytes between both encodings
//! (specification, sections 1, 12 and 13).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use fanwire_core::Adapter;
use serde_json::Value;

use crate::kit::fossil::Base;
use crate::kit::{Client, Node, full_settings, in_both};

const FOSSIL: &str = r#""delta":"fossil""#;

fn subscribe(topic: &str, more: &str) -> String {
    let comma = if more.is_empty() { "" } else { "," };
    format!(r#"{{"id":2,"subscribe":{{"channel":"{topic}"{comma}{more}}}}}"#)
}

/// Payloads that differ in two places from one another, with characters of several bytes. No two
/// are laid out alike, so that a patch of one is none of another.
fn payload(number: usize) -> String {
    let text = "wörter, die sich kaum ändern: 日本🦀, the quick brown fox jumps over it all";
    let first = "ö".repeat(number);
    format!(r#"{{"first":"{first}","text":"{text}","last":{}}}"#, number * 7919)
}

fn publish(node: &mut Node, topic: &str, numbers: std::ops::RangeInclusive<usize>) {
    numbers.for_each(|number| node.publish(topic, &payload(number)));
}

/// The publications that a client has been pushed.
fn pushed(node: &mut Node, client: Client) -> Vec<Value> {
    let heard = node.listen_raw(client);
    heard.into_iter().map(|mut push| push["push"]["pub"].take()).collect()
}

/// Checks that publications mean these payloads, and which of them are patches.
fn check(base: &mut Base, publications: &[Value], numbers: &[usize], patches: &[bool]) {
    let found: Vec<_> = publications.iter().map(|one| base.take(one)).collect();
    let expected: Vec<_> = numbers.iter().map(|number| payload(*number)).collect();
    assert_eq!(found, expected);
    let found: Vec<_> = publications.iter().map(|one| one["delta"] == true).collect();
    assert_eq!(found, patches, "{publications:?}");
}

#[test]
fn the_first_publication_is_whole_and_the_others_are_deltas() {
    in_both(&full_settings(), |node| {
        let client = node.guest("a");
        let plain = node.guest("b");
        node.ask_for(
            client,
            &subscribe("delta:t", FOSSIL),
            &[r#"{"id":2,"subscribe":{"delta":true}}"#],
        );
        node.ask_for(plain, &subscribe("delta:t", ""), &[r#"{"id":2,"subscribe":{}}"#]);
        publish(node, "delta:t", 1..=3);
        let mut base = Base::default();
        check(&mut base, &pushed(node, client), &[1, 2, 3], &[false, true, true]);
        let heard = node.listen(plain);
        let data: Vec<_> =
            heard.iter().map(|push| push["push"]["pub"]["data"].to_string()).collect();
        assert!(data.iter().all(|data| data.starts_with('{')), "{data:?}");
        // One who comes later begins with a whole one, whatever the others get.
        let late = node.guest("c");
        node.say(late, &subscribe("delta:t", FOSSIL));
        node.listen(late);
        publish(node, "delta:t", 4..=5);
        check(&mut base, &pushed(node, client), &[4, 5], &[true, true]);
        check(&mut Base::default(), &pushed(node, late), &[4, 5], &[false, true]);
    });
}

#[test]
fn what_is_not_smaller_is_sent_whole() {
    in_both(&full_settings(), |node| {
        let client = node.guest("a");
        node.say(client, &subscribe("delta:t", FOSSIL));
        node.listen(client);
        let mut base = Base::default();
        for data in [payload(1), "1".to_owned(), payload(2), payload(3)] {
            node.publish("delta:t", &data);
            let heard = pushed(node, client);
            assert_eq!(heard[0]["delta"] == true, data == payload(3));
            assert_eq!(base.take(&heard[0]), data);
        }
    });
}

#[test]
fn deltas_are_made_where_they_are_allowed_and_of_what_is_meant_for_it() {
    let mut settings = full_settings();
    settings.namespaces.get_mut("delta").unwrap().delta_publish = false;
    in_both(&settings, |node| {
        let client = node.guest("a");
        node.ask_for(client, &subscribe("hist:t", FOSSIL), &[r#"{"id":2,"subscribe":{}}"#]);
        node.publish("hist:t", "{}");
        node.hear(
            client,
            &[r#"{"push":{"channel":"hist:t","pub":{"data":{},"offset":1,"epoch":"<_>"}}}"#],
        );
        node.say(client, &subscribe("delta:t", FOSSIL));
        node.listen(client);
        publish(node, "delta:t", 1..=2);
        let body = format!(r#"{{"channel":"delta:t","data":{},"delta":true}}"#, payload(3));
        node.calls("publish", &body, r#"{"result":"<_>"}"#);
        publish(node, "delta:t", 4..=4);
        let patches = [false, false, true, false];
        check(&mut Base::default(), &pushed(node, client), &[1, 2, 3, 4], &patches);
    });
}

#[test]
fn what_was_missed_comes_as_a_whole_one_and_deltas_and_so_it_goes_on() {
    in_both(&full_settings(), |node| {
        let client = node.guest("a");
        publish(node, "delta:t", 1..=4);
        let more = r#""delta":"fossil","recoverable":true,"recover":true,"offset":1"#;
        node.say(client, &subscribe("delta:t", more));
        let mut heard = node.listen_raw(client);
        let reply = heard[0]["subscribe"].take();
        assert_eq!((&reply["recovered"], &reply["delta"]), (&true.into(), &true.into()));
        let mut base = Base::default();
        let recovered = reply["publications"].as_array().unwrap();
        check(&mut base, recovered, &[2, 3, 4], &[false, true, true]);
        publish(node, "delta:t", 5..=6);
        check(&mut base, &pushed(node, client), &[5, 6], &[true, true]);
        // History is never told as deltas.
        let history = r#"{"id":3,"history":{"channel":"delta:t","limit":-1}}"#;
        node.say(client, history);
        let heard = node.listen(client);
        for publication in heard[0]["history"]["publications"].as_array().unwrap() {
            assert!(publication["data"].is_object() && publication["delta"].is_null());
        }
    });
}

#[test]
fn after_a_failed_recovery_the_next_one_is_whole() {
    in_both(&full_settings(), |node| {
        let client = node.guest("a");
        let other = node.guest("b");
        node.say(other, &subscribe("delta:t", FOSSIL));
        publish(node, "delta:t", 1..=2);
        let more = r#""delta":"fossil","recoverable":true,"recover":true,"epoch":"_""#;
        node.say(client, &subscribe("delta:t", more));
        node.listen(client);
        publish(node, "delta:t", 3..=4);
        check(&mut Base::default(), &pushed(node, client), &[3, 4], &[false, true]);
    });
}

#[test]
fn a_filter_and_deltas_exclude_each_other() {
    in_both(&full_settings(), |node| {
        let client = node.guest("a");
        let filter = r#""tf":{"key":"k","cmp":"ex"}"#;
        let more = format!("{filter},{FOSSIL}");
        node.ask_for(client, &subscribe("tags:t", &more), &[r#"{"id":2,"subscribe":{}}"#]);
        let publish = r#"{"channel":"tags:t","data":1,"tags":{"k":"v"},"delta":true}"#;
        for offset in 1..=2 {
            let epoch = if offset == 1 { r#","epoch":"<_>""# } else { "" };
            node.calls("publish", publish, r#"{"result":"<_>"}"#);
            let told = format!(r#"{{"data":1,"tags":{{"k":"v"}},"offset":{offset}{epoch}}}"#);
            node.hear(client, &[&format!(r#"{{"push":{{"channel":"tags:t","pub":{told}}}}}"#)]);
        }
    });
}

#[test]
fn deltas_of_bytes_are_of_bytes_or_of_their_base64() {
    in_both(&full_settings(), |node| {
        let client = node.guest("a");
        node.say(client, &subscribe("delta:t", FOSSIL));
        node.listen(client);
        let mut base = Base::default();
        for number in 0..3_u8 {
            let bytes = [vec![0xff; 100], vec![number, 0xfe], vec![7; 100]].concat();
            let base64 = STANDARD.encode(&bytes);
            let body = format!(r#"{{"channel":"delta:t","b64data":"{base64}"}}"#);
            node.calls("publish", &body, r#"{"result":"<_>"}"#);
            let heard = pushed(node, client);
            assert_eq!(heard[0]["delta"] == true, number > 0);
            let told = match node.adapter {
                Adapter::CentrifugoProtobuf => bytes,
                _ => format!(r#"{{"b64data":"{base64}"}}"#).into_bytes(),
            };
            assert_eq!(base.take_bytes(&heard[0]), told);
        }
    });
}

#[test]
fn after_a_cached_publication_deltas_go_on() {
    let mut settings = full_settings();
    settings.namespaces.get_mut("auto").unwrap().allow_delta = true;
    settings.namespaces.get_mut("auto").unwrap().delta_publish = true;
    in_both(&settings, |node| {
        let client = node.guest("a");
        publish(node, "auto:t", 1..=3);
        node.say(client, &subscribe("auto:t", FOSSIL));
        let heard = node.listen_raw(client);
        let newest = heard[0]["subscribe"]["publications"].as_array().unwrap();
        let mut base = Base::default();
        check(&mut base, newest, &[3], &[false]);
        publish(node, "auto:t", 4..=5);
        check(&mut base, &pushed(node, client), &[4, 5], &[true, true]);
    });
}

#[test]
fn what_skips_the_history_is_a_base_too_for_those_who_heard_it() {
    in_both(&full_settings(), |node| {
        let client = node.guest("a");
        node.say(client, &subscribe("delta:t", FOSSIL));
        node.listen(client);
        publish(node, "delta:t", 1..=1);
        let skipping =
            format!(r#"{{"channel":"delta:t","data":{},"skip_history":true}}"#, payload(2));
        node.calls("publish", &skipping, r#"{"result":{}}"#);
        let late = node.guest("b");
        let more = r#""delta":"fossil","recoverable":true,"recover":true"#;
        node.say(late, &subscribe("delta:t", more));
        let heard = node.listen_raw(late);
        let mut late_base = Base::default();
        let recovered = heard[0]["subscribe"]["publications"].as_array().unwrap();
        check(&mut late_base, recovered, &[1], &[false]);
        publish(node, "delta:t", 3..=4);
        check(
            &mut Base::default(),
            &pushed(node, client),
            &[1, 2, 3, 4],
            &[false, true, true, true],
        );
        // Whether the first of these is whole depends on what its shard has heard.
        let heard: Vec<_> =
            pushed(node, late).iter().map(|publication| late_base.take(publication)).collect();
        assert_eq!(heard, [payload(3), payload(4)]);
    });
}

/// Filters, and which of the publications with [`TAGS`] pass.
const FILTERS: [(&str, [bool; 5]); 22] = [
    (r#"{"key":"k","cmp":"eq","val":"abc"}"#, [false, false, false, true, false]),
    (r#"{"key":"k","cmp":"neq","val":"abc"}"#, [true, true, true, false, true]),
    (r#"{"key":"k","cmp":"in","vals":["abc","10"]}"#, [false, false, false, true, true]),
    (r#"{"key":"k","cmp":"in","vals":[""]}"#, [true, true, false, false, false]),
    (r#"{"key":"k","cmp":"nin","vals":["abc",""]}"#, [false, false, true, false, true]),
    (r#"{"key":"k","cmp":"ex"}"#, [false, true, true, true, true]),
    (r#"{"key":"k","cmp":"nex"}"#, [true, false, false, false, false]),
    (r#"{"key":"k","cmp":"sw","val":"1"}"#, [false, false, true, false, true]),
    (r#"{"key":"k","cmp":"ew","val":"0"}"#, [false, false, true, false, true]),
    (r#"{"key":"k","cmp":"ct","val":"b"}"#, [false, false, false, true, false]),
    (r#"{"key":"k","cmp":"gt","val":"1"}"#, [false, false, false, false, true]),
    (r#"{"key":"k","cmp":"gte","val":"1"}"#, [false, false, true, false, true]),
    (r#"{"key":"k","cmp":"lt","val":"9.5"}"#, [false, false, true, false, false]),
    (r#"{"key":"k","cmp":"lte","val":"10"}"#, [false, false, true, false, true]),
    (r#"{"key":"k","cmp":"gt","val":"many"}"#, [false, false, false, false, false]),
    (
        r#"{"op":"and","nodes":[{"key":"k","cmp":"ex"},{"key":"l","cmp":"ex"}]}"#,
        [false, false, false, false, true],
    ),
    (
        r#"{"op":"or","nodes":[{"key":"k","cmp":"eq","val":"abc"},{"key":"l","cmp":"ex"}]}"#,
        [false, false, false, true, true],
    ),
    (r#"{"op":"not","nodes":[{"key":"l","cmp":"ex"}]}"#, [true, true, true, true, false]),
    (r#"{"op":"and","nodes":[{"key":"l","cmp":"ex"}]}"#, [false, false, false, false, true]),
    (
        r#"{"op":"not","nodes":[{"op":"or","nodes":[{"key":"l","cmp":"ex"},
            {"key":"k","cmp":"nex"}]}]}"#,
        [false, true, true, true, false],
    ),
    (r#"{"cmp":"nex"}"#, [true, true, true, true, true]),
    (r#"{"cmp":"ex"}"#, [false, false, false, false, false]),
];

const TAGS: [&str; 5] =
    ["{}", r#"{"k":""}"#, r#"{"k":"1.0"}"#, r#"{"k":"abc"}"#, r#"{"k":"10","l":"x"}"#];

#[test]
fn a_filter_lets_through_what_matches_live_and_recovered() {
    in_both(&full_settings(), |node| {
        for (filter, passing) in FILTERS {
            let filter = filter.replace('\n', " ");
            let live = node.guest("a");
            let topic = format!("tags:{}", node.name("a"));
            let more = format!(r#""tf":{filter},"positioned":true"#);
            node.say(live, &subscribe(&topic, &more));
            node.listen(live);
            for tags in TAGS {
                let body = format!(r#"{{"channel":"{topic}","data":1,"tags":{tags}}}"#);
                node.calls("publish", &body, r#"{"result":"<_>"}"#);
            }
            let expected: Vec<_> = (1..=5_usize).filter(|at| passing[at - 1]).collect();
            let offsets = |publications: &[Value]| -> Vec<usize> {
                let offset = |one: &Value| one["offset"].as_u64().unwrap().try_into().unwrap();
                publications.iter().map(offset).collect()
            };
            let heard: Vec<_> =
                node.listen(live).iter().map(|push| push["push"]["pub"].clone()).collect();
            assert_eq!(offsets(&heard), expected, "{filter}");
            let late = node.guest("b");
            let more = format!(r#""tf":{filter},"recoverable":true,"recover":true"#);
            node.say(late, &subscribe(&topic, &more));
            let heard = node.listen(late);
            assert_eq!(heard[0]["subscribe"]["recovered"], true, "{filter}");
            let recovered = heard[0]["subscribe"]["publications"].as_array();
            assert_eq!(offsets(recovered.unwrap_or(&Vec::new())), expected, "{filter}");
            // What was held back is no gap.
            node.pass_seconds(45);
            node.hear(live, &[]);
            node.drop_client(live);
        }
    });
}

#[test]
fn a_filter_that_is_none_is_refused() {
    in_both(&full_settings(), |node| {
        let client = node.guest("a");
        let deep = (0..40).fold(r#"{"cmp":"ex"}"#.to_owned(), |inner, _| {
            format!(r#"{{"op":"not","nodes":[{inner}]}}"#)
        });
        for filter in [
            "{}",
            r#"{"key":"k"}"#,
            r#"{"key":"k","cmp":"like","val":"x"}"#,
            r#"{"key":"k","cmp":"eq"}"#,
            r#"{"key":"k","cmp":"eq","val":"x","vals":["y"]}"#,
            r#"{"cmp":"eq","val":"x"}"#,
            r#"{"key":"k","cmp":"in"}"#,
            r#"{"key":"k","cmp":"in","vals":["x"],"val":"y"}"#,
            r#"{"key":"k","cmp":"ex","val":"x"}"#,
            r#"{"key":"k","cmp":"nex","vals":["x"]}"#,
            r#"{"op":"xor","nodes":[{"key":"k","cmp":"ex"}]}"#,
            r#"{"op":"and"}"#,
            r#"{"op":"or","nodes":[]}"#,
            r#"{"op":"not","nodes":[{"key":"k","cmp":"ex"},{"key":"l","cmp":"ex"}]}"#,
            r#"{"op":"and","nodes":[{"key":"k","cmp":"ex"},{}]}"#,
            &deep,
        ] {
            let command = format!(r#""subscribe":{{"channel":"tags:t","tf":{filter}}}"#);
            node.refused(client, &command, 107, "bad request");
        }
        // `null` is what absence is.
        let none = r#"{"id":2,"subscribe":{"channel":"t","tf":null}}"#;
        node.ask_for(client, none, &[r#"{"id":2,"subscribe":{}}"#]);
    });
}

/// A node with one client of each encoding in one topic.
fn mixed(dialogue: impl Fn(&mut Node, [Client; 2])) {
    in_both(&full_settings(), |node| {
        let publishers = node.adapter;
        let clients = [Adapter::CentrifugoJson, Adapter::CentrifugoProtobuf].map(|adapter| {
            node.adapter = adapter;
            let client = node.guest("_");
            node.say(client, &subscribe("t", ""));
            node.listen(client);
            client
        });
        node.adapter = publishers;
        dialogue(node, clients);
    });
}

#[test]
fn both_encodings_hear_the_same() {
    mixed(|node, clients| {
        let publisher = node.user("p", "u");
        for data in ["{\"a\":[1,\"ü\"]}", "null", "\"text\"", "0", "-1.5e3", "[]"] {
            let command = format!(r#"{{"id":3,"publish":{{"channel":"t","data":{data}}}}}"#);
            node.ask_for(publisher, &command, &[r#"{"id":3,"publish":{}}"#]);
            let told = format!(r#"{{"data":{data},"info":{{"user":"u","client":"<p>"}}}}"#);
            for client in clients {
                node.hear(client, &[&format!(r#"{{"push":{{"channel":"t","pub":{told}}}}}"#)]);
            }
        }
    });
}

#[test]
fn bytes_that_are_no_json_arrive_as_bytes_and_as_base64() {
    mixed(|node, [json, protobuf]| {
        let bytes = r#"{"<bytes>":"/wAKeyJhIjo="}"#;
        if node.adapter == Adapter::CentrifugoProtobuf {
            let publisher = node.guest("p");
            let command = format!(r#"{{"id":3,"publish":{{"channel":"t","data":{bytes}}}}}"#);
            node.ask_for(publisher, &command, &[r#"{"id":3,"publish":{}}"#]);
            let told = r#"{"data":{"b64data":"/wAKeyJhIjo="},"info":{"user":"","client":"<p>"}}"#;
            for client in [json, protobuf] {
                node.hear(client, &[&format!(r#"{{"push":{{"channel":"t","pub":{told}}}}}"#)]);
            }
        }
        node.calls("publish", r#"{"channel":"t","b64data":"/wAKeyJhIjo="}"#, r#"{"result":{}}"#);
        let told = r#"{"push":{"channel":"t","pub":{"data":{"b64data":"/wAKeyJhIjo="}}}}"#;
        node.hear(json, &[told]);
        let raw = node.listen_raw(protobuf);
        assert_eq!(raw[0]["push"]["pub"]["data"]["<bytes>"], "/wAKeyJhIjo=");
        // JSON in base64 is JSON; `listen` makes sure that its line breaks do not get out.
        node.calls(
            "publish",
            r#"{"channel":"t","b64data":"eyJhIjoKMX0NCg=="}"#,
            r#"{"result":{}}"#,
        );
        let raw = node.listen_raw(protobuf);
        assert_eq!(raw[0]["push"]["pub"]["data"]["<bytes>"], "eyJhIjoKMX0NCg==");
        node.hear(json, &[r#"{"push":{"channel":"t","pub":{"data":{"a":1}}}}"#]);
        node.calls("publish", r#"{"channel":"t","b64data":"eyJhIjoxfQ=="}"#, r#"{"result":{}}"#);
        for client in [json, protobuf] {
            node.hear(client, &[r#"{"push":{"channel":"t","pub":{"data":{"a":1}}}}"#]);
        }
    });
}
