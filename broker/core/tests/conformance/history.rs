//! History: reading, forgetting, and what is kept out of it (specification, section 11).

use crate::kit::{Client, Node, across, full_settings, in_both};

/// Publishes `1`, `2`, … up to `count`; `<e>` is the epoch.
fn publish(node: &mut Node, topic: &str, count: usize) {
    for number in 1..=count {
        node.calls(
            "publish",
            &format!(r#"{{"channel":"{topic}","data":{number}}}"#),
            &format!(r#"{{"result":{{"offset":{number},"epoch":"<e>"}}}}"#),
        );
    }
}

fn list(offsets: &[u64]) -> String {
    let all = offsets.iter().map(|offset| format!(r#"{{"data":{offset},"offset":{offset}}}"#));
    all.collect::<Vec<_>>().join(",")
}

/// Asks for a part of the history of "hist:a", as a client and by the API.
fn reads(node: &mut Node, client: Client, range: &str, offsets: &[u64], top: u64) {
    reads_as_client(node, client, range, offsets, top);
    let result = format!(r#"{{"publications":[{}],"epoch":"<e>","offset":{top}}}"#, list(offsets));
    node.calls("history", &request(range), &format!(r#"{{"result":{result}}}"#));
}

fn reads_as_client(node: &mut Node, client: Client, range: &str, offsets: &[u64], top: u64) {
    let command = format!(r#"{{"id":2,"history":{}}}"#, request(range));
    let result = format!(r#"{{"publications":[{}],"epoch":"<e>","offset":{top}}}"#, list(offsets));
    node.ask_for(client, &command, &[&format!(r#"{{"id":2,"history":{result}}}"#)]);
}

fn request(range: &str) -> String {
    let comma = if range.is_empty() { "" } else { "," };
    format!(r#"{{"channel":"hist:a"{comma}{range}}}"#)
}

#[test]
fn a_history_is_read_from_either_end() {
    in_both(&full_settings(), |node| {
        let client = node.guest("a");
        // Kept are 3 to 7.
        publish(node, "hist:a", 7);
        for (range, offsets) in [
            ("", vec![]),
            (r#""limit":0"#, vec![]),
            (r#""limit":0,"since":{"offset":4,"epoch":"<e>"}"#, vec![]),
            (r#""limit":1"#, vec![3]),
            (r#""limit":2"#, vec![3, 4]),
            (r#""limit":5"#, vec![3, 4, 5, 6, 7]),
            (r#""limit":100"#, vec![3, 4, 5, 6, 7]),
            (r#""limit":-1"#, vec![3, 4, 5, 6, 7]),
            (r#""limit":-2147483648"#, vec![3, 4, 5, 6, 7]),
            (r#""limit":2,"reverse":true"#, vec![7, 6]),
            (r#""limit":-1,"reverse":true"#, vec![7, 6, 5, 4, 3]),
            (r#""limit":2,"since":{"offset":4,"epoch":"<e>"}"#, vec![5, 6]),
            (r#""limit":-1,"since":{"offset":4}"#, vec![5, 6, 7]),
            (r#""limit":-1,"since":{"offset":6,"epoch":""}"#, vec![7]),
            (r#""limit":-1,"since":{"offset":7,"epoch":"<e>"}"#, vec![]),
            (r#""limit":-1,"since":{"offset":99,"epoch":"<e>"}"#, vec![]),
            // What came before is gone: from the oldest.
            (r#""limit":2,"since":{"offset":1,"epoch":"<e>"}"#, vec![3, 4]),
            (r#""limit":2,"since":{"offset":0,"epoch":"<e>"}"#, vec![3, 4]),
            (r#""limit":2,"since":{}"#, vec![3, 4]),
            (r#""limit":2,"reverse":true,"since":{"offset":6,"epoch":"<e>"}"#, vec![5, 4]),
            (r#""limit":-1,"reverse":true,"since":{"offset":4}"#, vec![3]),
            (r#""limit":-1,"reverse":true,"since":{"offset":2}"#, vec![]),
            (r#""limit":2,"reverse":true,"since":{"offset":99}"#, vec![7, 6]),
        ] {
            reads(node, client, range, &offsets, 7);
        }
    });
}

#[test]
fn a_history_is_not_read_from_what_it_never_was() {
    in_both(&full_settings(), |node| {
        let client = node.guest("a");
        publish(node, "hist:a", 2);
        for (range, code, message) in [
            (r#""limit":1,"since":{"offset":1,"epoch":"other"}"#, 112, "unrecoverable position"),
            (r#""limit":0,"since":{"offset":0,"epoch":"_"}"#, 112, "unrecoverable position"),
            (
                r#""limit":1,"reverse":true,"since":{"offset":0,"epoch":"other"}"#,
                112,
                "unrecoverable position",
            ),
            (r#""limit":1,"reverse":true,"since":{"offset":0}"#, 107, "bad request"),
            (r#""limit":1,"reverse":true,"since":{"epoch":"<e>"}"#, 107, "bad request"),
        ] {
            node.refused(client, &format!(r#""history":{}"#, request(range)), code, message);
            let error = format!(r#"{{"error":{{"code":{code},"message":"{message}"}}}}"#);
            node.calls("history", &request(range), &error);
        }
    });
}

#[test]
fn clients_get_no_more_than_the_cap_and_backends_all() {
    let mut settings = full_settings();
    settings.client.history_publications_max = 2;
    in_both(&settings, |node| {
        let client = node.guest("a");
        publish(node, "hist:a", 4);
        reads_as_client(node, client, r#""limit":-1"#, &[1, 2], 4);
        reads_as_client(node, client, r#""limit":3,"since":{"offset":1}"#, &[2, 3], 4);
        reads_as_client(node, client, r#""limit":-1,"reverse":true"#, &[4, 3], 4);
        reads_as_client(node, client, r#""limit":1"#, &[1], 4);
        let all = format!(
            r#"{{"result":{{"publications":[{}],"epoch":"<e>","offset":4}}}}"#,
            list(&[1, 2, 3, 4])
        );
        node.calls("history", &request(r#""limit":-1"#), &all);
        node.calls("history", &request(r#""limit":300"#), &all);
    });
}

#[test]
fn an_answer_is_no_larger_than_an_outbox_should_hold() {
    let mut settings = full_settings();
    settings.client.outbox_bytes_max = 64 * 1024;
    in_both(&settings, |node| {
        let client = node.guest("a");
        let data = format!("\"{}\"", "x".repeat(10_000));
        (0..5).for_each(|_| node.publish("hist:a", &data));
        for (range, expected) in [
            (r#""limit":-1"#, vec![1, 2, 3]),
            (r#""limit":-1,"reverse":true"#, vec![5, 4, 3]),
            (r#""limit":-1,"since":{"offset":3}"#, vec![4, 5]),
        ] {
            node.say(client, &format!(r#"{{"id":2,"history":{}}}"#, request(range)));
            let heard = node.listen(client);
            let list = heard[0]["history"]["publications"].as_array().unwrap();
            let offsets: Vec<_> = list.iter().map(|one| one["offset"].as_u64().unwrap()).collect();
            assert_eq!(offsets, expected, "{range}");
        }
    });
}

#[test]
fn a_question_begins_a_topic_that_was_not() {
    in_both(&full_settings(), |node| {
        let client = node.guest("a");
        reads(node, client, r#""limit":-1"#, &[], 0);
        publish(node, "hist:a", 1);
        reads(node, client, r#""limit":-1"#, &[1], 1);
    });
}

#[test]
fn publications_are_told_as_they_were() {
    in_both(&full_settings(), |node| {
        let client = node.user("a", "u");
        let publish = r#"{"id":2,"publish":{"channel":"hist:a","data":{"x":[1,null]}}}"#;
        node.ask_for(client, publish, &[r#"{"id":2,"publish":{}}"#]);
        node.calls(
            "publish",
            r#"{"channel":"hist:a","b64data":"/wA=","tags":{"k":"v","":""}}"#,
            r#"{"result":{"offset":2,"epoch":"<e>"}}"#,
        );
        let result = r#"{"publications":[
            {"data":{"x":[1,null]},"info":{"user":"u","client":"<a>"},"offset":1},
            {"data":{"b64data":"/wA="},"tags":{"k":"v","":""},"offset":2}],
            "epoch":"<e>","offset":2}"#;
        let command = r#"{"id":3,"history":{"channel":"hist:a","limit":-1}}"#;
        node.ask_for(client, command, &[&format!(r#"{{"id":3,"history":{result}}}"#)]);
        node.calls("history", &request(r#""limit":-1"#), &format!(r#"{{"result":{result}}}"#));
    });
}

#[test]
fn removed_history_leaves_position_and_epoch() {
    in_both(&full_settings(), |node| {
        let client = node.guest("a");
        let position = r#"{"id":2,"subscribe":{"channel":"hist:a","positioned":true}}"#;
        node.say(client, position);
        node.listen(client);
        publish(node, "hist:a", 3);
        assert_eq!(node.listen(client).len(), 3);
        node.calls("history_remove", r#"{"channel":"hist:a"}"#, r#"{"result":{}}"#);
        reads(node, client, r#""limit":-1"#, &[], 3);
        node.calls(
            "publish",
            r#"{"channel":"hist:a","data":4}"#,
            r#"{"result":{"offset":4,"epoch":"<e>"}}"#,
        );
        let push = r#"{"push":{"channel":"hist:a","pub":{"data":4,"offset":4}}}"#;
        node.hear(client, &[push]);
        reads(node, client, r#""limit":-1"#, &[4], 4);
        for (topic, code, message) in
            [("t", 108, "not available"), ("none:a", 102, "unknown channel")]
        {
            let error = format!(r#"{{"error":{{"code":{code},"message":"{message}"}}}}"#);
            for method in ["history", "history_remove"] {
                node.calls(method, &format!(r#"{{"channel":"{topic}"}}"#), &error);
            }
        }
        // One that never was is as empty afterwards as before.
        node.calls("history_remove", r#"{"channel":"hist:b"}"#, r#"{"result":{}}"#);
    });
}

#[test]
fn a_history_lasts_from_its_last_publication_and_the_position_from_its_last_use() {
    in_both(&full_settings(), |node| {
        let client = node.guest("a");
        publish(node, "hist:a", 2);
        node.pass_seconds(50);
        reads(node, client, r#""limit":-1"#, &[1, 2], 2);
        node.pass_seconds(20);
        reads(node, client, r#""limit":-1"#, &[], 2);
        for _ in 0..3 {
            node.pass_seconds(500);
            reads(node, client, "", &[], 2);
        }
        node.pass_seconds(700);
        let fresh = r#"{"result":{"publications":[],"epoch":"<new>","offset":0}}"#;
        node.calls("history", &request(""), fresh);
        assert_ne!(node.name("new"), node.name("e"));
    });
}

#[test]
fn a_topic_that_is_heard_keeps_its_position_for_as_long() {
    in_both(&full_settings(), |node| {
        let client = node.guest("a");
        let command = r#"{"id":2,"subscribe":{"channel":"hist:a","positioned":true}}"#;
        let reply = r#"{"id":2,"subscribe":{"positioned":true,"epoch":"<e>"}}"#;
        node.ask_for(client, command, &[reply]);
        for _ in 0..4 {
            node.pass_seconds(700);
        }
        publish(node, "hist:a", 1);
        let push = r#"{"push":{"channel":"hist:a","pub":{"data":1,"offset":1,"epoch":"<e>"}}}"#;
        node.hear(client, &[push]);
    });
}

#[test]
fn where_memory_ends_the_oldest_publications_go_and_nobody_is_told_a_gap() {
    let mut settings = full_settings();
    settings.history.shard_bytes_max = 16 * 1024;
    in_both(&settings, |node| {
        let client = node.guest("a");
        node.say(client, r#"{"id":2,"subscribe":{"channel":"rec:a"}}"#);
        node.listen(client);
        let data = format!("\"{}\"", "x".repeat(1000));
        for _ in 0..5 {
            node.publish("rec:a", &data);
        }
        assert_eq!(node.listen(client).len(), 5);
        for number in 0..200 {
            node.publish(&format!("hist:{number}"), &data);
        }
        let bytes: u64 = node.shards().iter().map(|one| one.counters().history_bytes).sum();
        assert!(bytes <= 16 * 1024 * node.shard_count() as u64, "{bytes} bytes are kept");
        let other = node.guest("b");
        let failed = r#"{"id":2,"subscribe":{"recoverable":true,"positioned":true,"epoch":"<e>",
            "was_recovering":true,"offset":5}}"#;
        let command = r#"{"id":2,"subscribe":{"channel":"rec:a","recover":true,"offset":4}}"#;
        node.ask_for(other, command, &[failed]);
        node.publish("rec:a", "6");
        for client in [client, other] {
            let push = r#"{"push":{"channel":"rec:a","pub":{"data":6,"offset":6}}}"#;
            node.hear(client, &[push]);
        }
    });
}

#[test]
fn what_skips_the_history_has_no_place_in_it() {
    in_both(&full_settings(), |node| {
        let client = node.guest("a");
        publish(node, "hist:a", 1);
        let command =
            r#"{"id":2,"subscribe":{"channel":"hist:a","positioned":true,"recoverable":true}}"#;
        let reply = r#"{"id":2,"subscribe":{"positioned":true,"recoverable":true,
            "epoch":"<e>","offset":1}}"#;
        node.ask_for(client, command, &[reply]);
        let skipping = r#"{"channel":"hist:a","data":"skips","skip_history":true}"#;
        node.calls("publish", skipping, r#"{"result":{}}"#);
        node.publish("hist:a", "2");
        node.hear(
            client,
            &[
                r#"{"push":{"channel":"hist:a","pub":{"data":"skips"}}}"#,
                r#"{"push":{"channel":"hist:a","pub":{"data":2,"offset":2}}}"#,
            ],
        );
        reads(node, client, r#""limit":-1"#, &[1, 2], 2);
    });
}

#[test]
fn the_answer_comes_in_its_place_however_far_the_owner_is() {
    across(&full_settings(), |node| {
        let client = node.guest("a");
        let topic = node.topic_elsewhere("hist:", &[client]);
        node.hold_lanes();
        let frame = [
            format!(r#"{{"id":2,"publish":{{"channel":"{topic}","data":1}}}}"#),
            format!(r#"{{"id":3,"history":{{"channel":"{topic}","limit":-1}}}}"#),
            r#"{"id":4,"unsubscribe":{"channel":"x"}}"#.to_owned(),
        ];
        node.say(client, &frame.join("\n"));
        node.hear(client, &[]);
        node.release_lanes();
        let info = r#"{"user":"","client":"<a>"}"#;
        let list = format!(r#"[{{"data":1,"offset":1,"info":{info}}}]"#);
        let history =
            format!(r#"{{"id":3,"history":{{"publications":{list},"epoch":"<_>","offset":1}}}}"#);
        let replies = [r#"{"id":2,"publish":{}}"#, &history, r#"{"id":4,"unsubscribe":{}}"#];
        node.hear(client, &replies);
    });
}
