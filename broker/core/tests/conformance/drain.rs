//! How a node goes down: what is in hand is done, nothing more is read, then everybody is told.

use fanwire_core::Shard;
use fanwire_core::fault::Disconnect;

use crate::kit::{Client, Frame, Node, open_settings, with_shards};

/// A topic that another shard owns than that of the client: its answer does not come at once.
fn foreign_topic(node: &mut Node, client: Client) -> String {
    node.hold_lanes();
    let mut names = (0..).map(|number| format!("t{number}"));
    let foreign = names.find(|name| {
        node.send(client, &publish(9, name, 0));
        node.take(client).is_empty()
    });
    node.release_lanes();
    node.take(client);
    foreign.unwrap()
}

fn publish(id: u32, topic: &str, data: u32) -> String {
    format!(r#"{{"id":{id},"publish":{{"channel":"{topic}","data":{data}}}}}"#)
}

fn quiet(node: &Node) -> Vec<bool> {
    node.shards().iter().map(Shard::is_quiet).collect()
}

#[test]
fn a_drain_answers_what_is_in_hand_reads_no_more_and_closes_with_3001() {
    for shards in [2, 8] {
        let mut node = Node::new(shards, open_settings());
        let (publisher, subscriber) = (node.connect(), node.connect());
        let topic = foreign_topic(&mut node, publisher);
        let subscribe = format!(r#"{{"id":2,"subscribe":{{"channel":"{topic}"}}}}"#);
        node.send(subscriber, &subscribe);
        node.take(subscriber);
        node.hold_lanes();
        node.send(publisher, &publish(3, &topic, 1));
        node.drain();
        node.send(publisher, &publish(4, &topic, 2));
        // There to the owner, and back with the answer.
        for _ in 0..2 {
            assert!(node.take(publisher).is_empty());
            assert!(!quiet(&node)[0]);
            node.deliver_held();
        }
        assert_eq!(node.texts(publisher), [r#"{"id":3,"publish":{}}"#]);
        node.release_lanes();
        assert!(!quiet(&node).contains(&false));
        let heard = node.texts(subscriber);
        assert!(heard.len() == 1 && heard[0].contains(r#""data":1,"#), "{heard:?}");
        node.close_all(&Disconnect::SHUTDOWN);
        for client in [publisher, subscriber] {
            assert_eq!(node.take(client), [Frame::Close(Some(3001), "shutdown".to_owned())]);
        }
    }
}

#[test]
fn a_drain_answers_calls_in_hand() {
    for shards in [2, 8] {
        let mut node = Node::new(shards, open_settings());
        let client = node.connect();
        let topic = foreign_topic(&mut node, client);
        let publish = format!(r#"{{"channel":"{topic}","data":1}}"#);
        for (method, body) in [("channels", "{}"), ("publish", &publish)] {
            node.hold_lanes();
            let call = node.ask(0, method, body);
            node.drain();
            assert_eq!(node.answer(call), None);
            assert!(!quiet(&node)[0]);
            node.release_lanes();
            assert!(node.answer(call).is_some_and(|answer| answer.contains("result")));
            assert!(!quiet(&node).contains(&false));
        }
    }
}

/// An owner awaits nothing itself, but what it has for others must go before it does.
#[test]
fn a_shard_that_holds_answers_for_a_full_lane_is_not_quiet() {
    for shards in [2, 8] {
        let mut node = Node::new(shards, open_settings());
        let client = node.connect();
        let topic = foreign_topic(&mut node, client);
        node.hold_lanes();
        node.send(client, &publish(3, &topic, 1));
        node.drain();
        node.set_lanes_ready(false);
        node.deliver_held();
        let busy = quiet(&node).iter().filter(|quiet| !**quiet).count();
        assert_eq!(busy, 2, "the one that asks and the one that answers");
        node.set_lanes_ready(true);
        node.release_lanes();
        assert!(!quiet(&node).contains(&false));
        assert_eq!(node.texts(client), [r#"{"id":3,"publish":{}}"#]);
    }
}

#[test]
fn a_node_at_rest_is_quiet() {
    with_shards(&open_settings(), |node| {
        let client = node.connect();
        node.send(client, r#"{"id":2,"subscribe":{"channel":"t"}}"#);
        assert!(!quiet(node).contains(&false));
    });
}
