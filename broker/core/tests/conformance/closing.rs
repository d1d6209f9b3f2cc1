//! Pings, timeouts, slow consumers, and how connections end.

use std::time::Duration;

use fanwire_core::PingStyle;

use crate::kit::{Client, Frame, Node, frame, open_settings, with_shards};
use crate::wire;

const SECOND: Duration = Duration::from_secs(1);

/// Lets time pass until one frame has come, which must be within a ping interval.
fn await_ping(node: &mut Node, client: Client) -> Frame {
    for _ in 0..250 {
        node.pass(Duration::from_millis(101));
        if let Some(frame) = node.take(client).pop() {
            return frame;
        }
    }
    panic!("no ping within an interval")
}

#[test]
fn a_client_that_answers_pings_lives_and_one_that_does_not_gets_3012() {
    with_shards(&open_settings(), |node| {
        let client = node.connect();
        let mut pings = 0;
        for _ in 0..100 {
            node.pass(SECOND);
            for text in node.texts(client) {
                assert_eq!(text, "{}");
                node.send(client, "{}");
                pings += 1;
            }
        }
        assert!((3..=4).contains(&pings), "{pings} pings in 100 s at an interval of 25 s");
        await_ping(node, client);
        node.pass(Duration::from_millis(7_900));
        assert!(node.take(client).is_empty());
        node.pass(Duration::from_millis(200));
        assert_eq!(node.take(client), [Frame::Close(Some(3012), "no pong".to_owned())]);
    });
}

#[test]
fn a_second_pong_for_one_ping_is_a_bad_request() {
    with_shards(&open_settings(), |node| {
        let client = node.connect();
        assert_eq!(await_ping(node, client), Frame::Text("{}".to_owned()));
        node.send(client, "{}");
        assert!(node.take(client).is_empty());
        node.send(client, "{}");
        assert_eq!(node.take(client), [Frame::Close(Some(3501), "bad request".to_owned())]);
    });
}

#[test]
fn ping_frames_take_the_place_of_messages_where_asked_for() {
    with_shards(&open_settings(), |node| {
        let client = node.open_with(PingStyle::Frames);
        node.send(client, r#"{"id":1,"connect":{}}"#);
        assert!(!node.texts(client)[0].contains("ping"));
        assert_eq!(await_ping(node, client), Frame::Ping);
        node.bytes(client, &frame(wire::PONG, b""));
        assert_eq!(await_ping(node, client), Frame::Ping);
        node.pass(Duration::from_millis(8_100));
        assert_eq!(node.take(client), [Frame::Close(Some(3012), "no pong".to_owned())]);
    });
}

#[test]
fn without_connect_a_client_is_stale() {
    with_shards(&open_settings(), |node| {
        let client = node.open();
        node.pass(Duration::from_millis(9_900));
        assert!(node.take(client).is_empty());
        node.pass(Duration::from_millis(200));
        assert_eq!(node.take(client), [Frame::Close(Some(3502), "stale".to_owned())]);
    });
}

#[test]
fn a_close_frame_is_echoed_and_the_socket_closed() {
    with_shards(&open_settings(), |node| {
        let client = node.connect();
        node.bytes(client, &frame(wire::CLOSE, &1000u16.to_be_bytes()));
        assert_eq!(node.take(client), [Frame::Close(Some(1000), String::new()), Frame::End]);
        let bare = node.connect();
        node.bytes(bare, &frame(wire::CLOSE, b""));
        assert_eq!(node.take(bare), [Frame::Close(None, String::new()), Frame::End]);
        assert!(node.shards().iter().all(|shard| shard.counters().connections == 0));
    });
}

#[test]
fn a_peer_that_is_told_to_go_has_five_seconds() {
    with_shards(&open_settings(), |node| {
        let answers = node.connect();
        let silent = node.connect();
        for client in [answers, silent] {
            node.send(client, r#"{"send":{}}"#);
            assert!(matches!(node.take(client)[..], [Frame::Close(Some(3508), _)]));
        }
        node.bytes(answers, &frame(wire::CLOSE, &3508u16.to_be_bytes()));
        assert_eq!(node.take(answers), [Frame::End]);
        node.pass(Duration::from_millis(4_900));
        assert!(node.take(silent).is_empty());
        node.pass(Duration::from_millis(200));
        assert_eq!(node.take(silent), [Frame::End]);
    });
}

#[test]
fn who_does_not_read_is_let_go_and_the_others_miss_nothing() {
    let mut settings = open_settings();
    settings.client.outbox_bytes_max = 16 * 1024;
    with_shards(&settings, |node| {
        let slow = node.connect();
        let quick = node.connect();
        for client in [slow, quick] {
            node.send(client, r#"{"id":2,"subscribe":{"channel":"t"}}"#);
            node.take(client);
        }
        node.stick(slow);
        let data = "x".repeat(1000);
        for number in 0..100 {
            let answer = node.call(
                0,
                "publish",
                &format!(r#"{{"channel":"t","data":[{number},"{data}"]}}"#),
            );
            assert_eq!(answer, r#"{"result":{}}"#);
        }
        let texts = node.texts(quick);
        assert_eq!(texts.len(), 100);
        for (number, text) in texts.iter().enumerate() {
            assert!(text.contains(&format!("[{number},")));
        }
        let slow_count: u64 = node.shards().iter().map(|shard| shard.counters().slow).sum();
        assert_eq!(slow_count, 1);
        node.pass(SECOND + SECOND);
        assert_eq!(node.take(slow), [Frame::End]);
        let subscriptions: u64 =
            node.shards().iter().map(|shard| shard.counters().subscriptions).sum();
        assert_eq!(subscriptions, 1);
    });
}

#[test]
fn a_client_that_vanishes_leaves_nothing_behind() {
    with_shards(&open_settings(), |node| {
        let clients: Vec<_> = (0..6).map(|_| node.connect()).collect();
        for &client in &clients {
            node.send(client, r#"{"id":2,"subscribe":{"channel":"t"}}"#);
        }
        for client in clients {
            node.drop_client(client);
        }
        for shard in node.shards() {
            let counters = shard.counters();
            assert_eq!((counters.connections, counters.subscriptions, counters.topics), (0, 0, 0));
        }
    });
}
