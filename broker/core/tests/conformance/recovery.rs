//! Positions and recovery (specification, section 11).

use crate::kit::tokens::token;
use crate::kit::{Client, Node, full_settings, in_both};

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

/// Subscribes, expects these fields of the result beside those of every recoverable one, and leaves
/// again.
fn recovers(node: &mut Node, client: Client, topic: &str, asked: &str, fields: &str) {
    let command = format!(r#"{{"id":2,"subscribe":{{"channel":"{topic}",{asked}}}}}"#);
    let always = r#""recoverable":true,"positioned":true,"epoch":"<e>""#;
    let reply = format!(r#"{{"id":2,"subscribe":{{{always}{fields}}}}}"#);
    node.ask_for(client, &command, &[&reply]);
    let leave = format!(r#"{{"id":3,"unsubscribe":{{"channel":"{topic}"}}}}"#);
    node.ask_for(client, &leave, &[r#"{"id":3,"unsubscribe":{}}"#]);
}

fn publications(offsets: std::ops::RangeInclusive<u64>) -> String {
    let all: Vec<_> =
        offsets.map(|offset| format!(r#"{{"data":{offset},"offset":{offset}}}"#)).collect();
    all.join(",")
}

const FAILED: &str = r#","was_recovering":true,"offset":7"#;

#[test]
fn what_was_missed_is_told_whole_or_not_at_all() {
    in_both(&full_settings(), |node| {
        let client = node.guest("a");
        // Five are kept: 3 to 7.
        publish(node, "rec:a", 7);
        let done = |since: u64| {
            let list = publications(since + 1..=7);
            let list =
                if since < 7 { format!(r#","publications":[{list}]"#) } else { String::new() };
            format!(r#","recovered":true,"was_recovering":true,"offset":{since}{list}"#)
        };
        for (asked, fields) in [
            (r#""recover":true,"epoch":"<e>","offset":7"#, done(7)),
            (r#""recover":true,"epoch":"<e>","offset":6"#, done(6)),
            (r#""recover":true,"epoch":"<e>","offset":2"#, done(2)),
            (r#""recover":true,"offset":4"#, done(4)),
            (r#""recover":true,"epoch":"<e>","offset":4,"flag":2"#, done(4)),
            (r#""recover":true,"epoch":"<e>","offset":1"#, FAILED.to_owned()),
            (r#""recover":true,"epoch":"<e>","offset":0"#, FAILED.to_owned()),
            (r#""recover":true"#, FAILED.to_owned()),
            (r#""recover":true,"epoch":"<e>","offset":8"#, FAILED.to_owned()),
            (r#""recover":true,"epoch":"<e>","offset":18446744073709551615"#, FAILED.to_owned()),
            (r#""recover":true,"epoch":"other","offset":6"#, FAILED.to_owned()),
            (r#""recover":true,"epoch":"other","offset":7"#, FAILED.to_owned()),
            (r#""recover":true,"epoch":"_","offset":0"#, FAILED.to_owned()),
            (r#""recover":true,"epoch":"_","offset":7,"flag":1"#, FAILED.to_owned()),
            (r#""recover":false,"epoch":"<e>","offset":6"#, r#","offset":7"#.to_owned()),
            (r#""flag":2"#, r#","offset":7"#.to_owned()),
        ] {
            recovers(node, client, "rec:a", asked, &fields);
        }
    });
}

#[test]
fn with_flag_2_what_cannot_be_recovered_is_refused() {
    in_both(&full_settings(), |node| {
        let client = node.guest("a");
        publish(node, "rec:a", 7);
        for asked in [
            r#""recover":true,"epoch":"<e>","offset":1,"flag":2"#,
            r#""recover":true,"epoch":"other","offset":7,"flag":3"#,
            r#""recover":true,"epoch":"_","flag":2"#,
            r#""recover":true,"epoch":"<e>","offset":8,"flag":-1"#,
        ] {
            let command = format!(r#""subscribe":{{"channel":"rec:a",{asked}}}"#);
            node.refused(client, &command, 112, "unrecoverable position");
        }
        node.publish("rec:a", "8");
        node.hear(client, &[]);
        recovers(node, client, "rec:a", r#""flag":2"#, r#","offset":8"#);
    });
}

#[test]
fn from_nothing_everything_is_recovered_while_the_first_is_kept() {
    in_both(&full_settings(), |node| {
        let client = node.guest("a");
        let nothing = r#""recover":true"#;
        let fields = r#","recovered":true,"was_recovering":true"#;
        recovers(node, client, "rec:a", nothing, fields);
        publish(node, "rec:a", 5);
        let list = publications(1..=5);
        let all = format!(r#"{fields},"publications":[{list}]"#);
        recovers(node, client, "rec:a", nothing, &all);
        recovers(node, client, "rec:a", r#""recover":true,"epoch":"<e>""#, &all);
        let failed = r#","was_recovering":true,"offset":5"#;
        recovers(node, client, "rec:a", r#""recover":true,"epoch":"_""#, failed);
    });
}

#[test]
fn more_than_the_limit_is_not_recovered() {
    let mut settings = full_settings();
    settings.client.recovery_publications_max = 2;
    in_both(&settings, |node| {
        let client = node.guest("a");
        publish(node, "rec:a", 5);
        let list = publications(4..=5);
        let fields = format!(
            r#","recovered":true,"was_recovering":true,"offset":3,"publications":[{list}]"#
        );
        recovers(node, client, "rec:a", r#""recover":true,"offset":3"#, &fields);
        let failed = r#","was_recovering":true,"offset":5"#;
        recovers(node, client, "rec:a", r#""recover":true,"offset":2"#, failed);
    });
}

#[test]
fn more_than_an_outbox_should_hold_is_not_recovered() {
    let mut settings = full_settings();
    settings.client.outbox_bytes_max = 64 * 1024;
    in_both(&settings, |node| {
        let client = node.guest("a");
        let data = format!("\"{}\"", "x".repeat(10_000));
        for topic in ["rec:a", "rec:b"] {
            (0..4).for_each(|_| node.publish(topic, &data));
        }
        let mut recovered = |offset: u64| {
            let more = format!(r#""recover":true,"offset":{offset}"#);
            let command = format!(r#"{{"id":2,"subscribe":{{"channel":"rec:a",{more}}}}}"#);
            node.say(client, &command);
            let heard = node.listen(client);
            node.say(client, r#"{"id":3,"unsubscribe":{"channel":"rec:a"}}"#);
            node.listen(client);
            assert_eq!(heard[0]["subscribe"]["was_recovering"], true);
            heard[0]["subscribe"]["recovered"] == true
        };
        assert!(recovered(1));
        assert!(!recovered(0));
        // A connect brings them all in one message.
        let client = node.open();
        let token = token(r#"{"sub":"u","channels":["rec:a","rec:b"]}"#);
        let wishes = r#"{"rec:a":{"recover":true,"offset":2},"rec:b":{"recover":true,"offset":2}}"#;
        node.say(client, &format!(r#"{{"id":1,"connect":{{"token":"{token}","subs":{wishes}}}}}"#));
        let heard = node.listen(client);
        let subs = heard[0]["connect"]["subs"].as_object().unwrap();
        let done = subs.values().filter(|sub| sub["recovered"] == true);
        assert_eq!(done.count(), 1, "{:?}", subs.keys());
        assert!(subs.values().all(|sub| sub["was_recovering"] == true));
        let failed = subs.values().find(|sub| sub["recovered"] != true).unwrap();
        assert_eq!((&failed["offset"], failed["publications"].is_null()), (&4.into(), true));
    });
}

#[test]
fn recovered_publications_are_as_they_were() {
    in_both(&full_settings(), |node| {
        let client = node.user("a", "u");
        let publish = r#"{"id":2,"publish":{"channel":"rec:a","data":{"x":[1,null]}}}"#;
        node.ask_for(client, publish, &[r#"{"id":2,"publish":{}}"#]);
        node.calls(
            "publish",
            r#"{"channel":"rec:a","data":"two","tags":{"k":"v"}}"#,
            r#"{"result":{"offset":2,"epoch":"<e>"}}"#,
        );
        let fields = r#","recovered":true,"was_recovering":true,"publications":[
            {"data":{"x":[1,null]},"info":{"user":"u","client":"<a>"},"offset":1},
            {"data":"two","tags":{"k":"v"},"offset":2}]"#;
        recovers(node, client, "rec:a", r#""recover":true"#, fields);
    });
}

#[test]
fn recovery_is_for_those_who_have_it() {
    in_both(&full_settings(), |node| {
        let client = node.guest("a");
        publish(node, "hist:a", 2);
        for (topic, asked, reply) in [
            ("t", r#""recover":true,"recoverable":true"#, r#"{"id":2,"subscribe":{}}"#),
            ("hist:a", r#""recover":true"#, r#"{"id":2,"subscribe":{}}"#),
            (
                "hist:a",
                r#""recover":true,"positioned":true,"flag":2"#,
                r#"{"id":2,"subscribe":{"positioned":true,"epoch":"<e>","offset":2}}"#,
            ),
        ] {
            let command = format!(r#"{{"id":2,"subscribe":{{"channel":"{topic}",{asked}}}}}"#);
            let leave = format!(r#"{{"id":3,"unsubscribe":{{"channel":"{topic}"}}}}"#);
            node.ask_for(client, &command, &[reply]);
            node.ask_for(client, &leave, &[r#"{"id":3,"unsubscribe":{}}"#]);
        }
        let list = publications(2..=2);
        let fields = format!(
            r#","recovered":true,"was_recovering":true,"offset":1,"publications":[{list}]"#
        );
        let asked = r#""recover":true,"recoverable":true,"offset":1"#;
        recovers(node, client, "hist:a", asked, &fields);
    });
}

#[test]
fn what_is_gone_cannot_be_recovered_but_the_position_stays() {
    in_both(&full_settings(), |node| {
        let client = node.guest("a");
        publish(node, "rec:a", 2);
        node.pass_seconds(40);
        node.calls(
            "publish",
            r#"{"channel":"rec:a","data":3}"#,
            r#"{"result":{"offset":3,"epoch":"<e>"}}"#,
        );
        node.pass_seconds(40);
        // A minute after the last of them, not after each.
        let list = publications(2..=3);
        let fields = format!(
            r#","recovered":true,"was_recovering":true,"offset":1,"publications":[{list}]"#
        );
        recovers(node, client, "rec:a", r#""recover":true,"epoch":"<e>","offset":1"#, &fields);
        node.pass_seconds(30);
        let failed = r#","was_recovering":true,"offset":3"#;
        recovers(node, client, "rec:a", r#""recover":true,"epoch":"<e>","offset":2"#, failed);
        let fields = r#","recovered":true,"was_recovering":true,"offset":3"#;
        recovers(node, client, "rec:a", r#""recover":true,"epoch":"<e>","offset":3"#, fields);
        node.pass_seconds(700);
        let command =
            r#"{"id":2,"subscribe":{"channel":"rec:a","recover":true,"epoch":"<e>","offset":3}}"#;
        let reply = r#"{"id":2,"subscribe":{"recoverable":true,"positioned":true,
            "epoch":"<new>","was_recovering":true}}"#;
        node.ask_for(client, command, &[reply]);
        assert_ne!(node.name("new"), node.name("e"));
    });
}

#[test]
fn a_cache_brings_the_newest_publication() {
    in_both(&full_settings(), |node| {
        let client = node.guest("a");
        let failed = r#","was_recovering":true"#;
        recovers(node, client, "cache:a", r#""recover":true"#, failed);
        publish(node, "cache:a", 7);
        let newest =
            r#","recovered":true,"was_recovering":true,"publications":[{"data":7,"offset":7}]"#;
        let from = |offset: u64| format!(r#"{newest},"offset":{offset}"#);
        for (asked, fields) in [
            (r#""recover":true"#, newest.to_owned()),
            (r#""recover":true,"epoch":"<e>","offset":1"#, from(1)),
            (r#""recover":true,"epoch":"other","offset":7"#, from(7)),
            (r#""recover":true,"epoch":"<e>","offset":9"#, from(9)),
            (
                r#""recover":true,"epoch":"<e>","offset":7"#,
                r#","recovered":true,"was_recovering":true,"offset":7"#.to_owned(),
            ),
            (r#""recover":false"#, r#","offset":7"#.to_owned()),
        ] {
            recovers(node, client, "cache:a", asked, &fields);
        }
        node.pass_seconds(70);
        let same = r#","recovered":true,"was_recovering":true,"offset":7"#;
        recovers(node, client, "cache:a", r#""recover":true,"epoch":"<e>","offset":7"#, same);
        let failed = r#","was_recovering":true,"offset":7"#;
        recovers(node, client, "cache:a", r#""recover":true,"epoch":"<e>","offset":6"#, failed);
        let refused = r#""subscribe":{"channel":"cache:a","recover":true,"offset":6,"flag":2}"#;
        node.refused(client, refused, 112, "unrecoverable position");
    });
}

#[test]
fn where_it_is_so_configured_a_cache_brings_it_unasked() {
    in_both(&full_settings(), |node| {
        let client = node.guest("a");
        recovers(node, client, "auto:a", r#""flag":1"#, r#","was_recovering":true"#);
        publish(node, "auto:a", 3);
        let newest =
            r#","recovered":true,"was_recovering":true,"publications":[{"data":3,"offset":3}]"#;
        recovers(node, client, "auto:a", r#""flag":1"#, newest);
        let same = r#","recovered":true,"was_recovering":true,"offset":3"#;
        recovers(node, client, "auto:a", r#""recover":true,"epoch":"<e>","offset":3"#, same);
    });
}
