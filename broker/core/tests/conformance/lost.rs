//! Lanes lose nothing. Should one do so all the same, whoever relies on a topic's continuity is
//! told (specification, sections 8.4 and 11), and nobody waits for ever.

use crate::kit::tokens::token_of;
use crate::kit::{Client, Node, across, full_settings};

const LOST: &str = r#""unsubscribe":{"code":2500,"reason":"insufficient state"}"#;

/// Two clients on one shard, the first of which is subscribed to a topic that another one owns; a
/// publication that its shard never hears of.
fn with_a_loss(node: &mut Node, namespace: &str, more: &str) -> (String, Client, Client) {
    let first = node.guest("a");
    let topic = node.topic_elsewhere(namespace, &[first]);
    let command = format!(r#"{{"id":2,"subscribe":{{"channel":"{topic}"{more}}}}}"#);
    node.say(first, &command);
    node.listen(first);
    node.publish(&topic, "1");
    assert_eq!(node.listen(first).len(), 1);
    lose_one(node, first, &topic);
    let mut second = node.guest("b");
    while node.shard_of(second) != node.shard_of(first) {
        second = node.guest("b");
    }
    (topic, first, second)
}

/// One publication on its way to a client's shard is lost.
fn lose_one(node: &mut Node, client: Client, topic: &str) {
    // The owner's shard takes the call itself, so that only its batches wait.
    let body = format!(r#"{{"channel":"{topic}","data":"lost"}}"#);
    node.hold_lanes();
    for shard in 0..node.shard_count() {
        let call = node.ask(shard, "publish", &body);
        if node.answer(call).is_some() {
            node.lose_held(node.shard_of(client));
            node.release_lanes();
            return;
        }
        // Not the owner: nothing of this may happen.
        node.forget_held();
    }
    panic!("somebody owns the topic");
}

#[test]
fn the_next_publication_shows_the_gap() {
    across(&full_settings(), |node| {
        let (topic, client, _) = with_a_loss(node, "hist:", r#","positioned":true"#);
        node.hear(client, &[]);
        node.publish(&topic, "3");
        node.hear(client, &[&format!(r#"{{"push":{{"channel":"{topic}",{LOST}}}}}"#)]);
        let command = format!(
            r#"{{"id":3,"subscribe":{{"channel":"{topic}","recoverable":true,
                "recover":true,"offset":1}}}}"#
        );
        let reply = r#"{"id":3,"subscribe":{"recoverable":true,"positioned":true,"epoch":"<_>",
            "recovered":true,"was_recovering":true,"offset":1,
            "publications":[{"data":"lost","offset":2},{"data":3,"offset":3}]}}"#;
        node.ask_for(client, &command, &[reply]);
    });
}

#[test]
fn whoever_does_not_rely_on_it_goes_on() {
    across(&full_settings(), |node| {
        let (topic, client, _) = with_a_loss(node, "hist:", "");
        node.publish(&topic, "3");
        let push = format!(r#"{{"push":{{"channel":"{topic}","pub":{{"data":3,"offset":3}}}}}}"#);
        node.hear(client, &[&push]);
    });
}

#[test]
fn a_silent_gap_is_found_by_the_periodic_check() {
    across(&full_settings(), |node| {
        let (topic, client, _) = with_a_loss(node, "hist:", r#","positioned":true"#);
        node.pass_seconds(38);
        node.hear(client, &[]);
        node.pass_seconds(6);
        node.hear(client, &[&format!(r#"{{"push":{{"channel":"{topic}",{LOST}}}}}"#)]);
        node.pass_seconds(100);
        node.hear(client, &[]);
    });
}

#[test]
fn the_check_finds_nothing_where_there_is_nothing() {
    across(&full_settings(), |node| {
        let client = node.guest("a");
        let topic = node.topic_elsewhere("rec:", &[client]);
        node.say(client, &format!(r#"{{"id":2,"subscribe":{{"channel":"{topic}"}}}}"#));
        node.publish(&topic, "1");
        assert_eq!(node.listen(client).len(), 2);
        for _ in 0..20 {
            node.pass_seconds(45);
        }
        node.hear(client, &[]);
    });
}

#[test]
fn a_gap_is_found_by_the_next_subscribe_which_is_answered_itself() {
    across(&full_settings(), |node| {
        let (topic, first, second) = with_a_loss(node, "rec:", "");
        let command = format!(r#"{{"id":2,"subscribe":{{"channel":"{topic}"}}}}"#);
        let reply = r#"{"id":2,"subscribe":{"recoverable":true,"positioned":true,
            "epoch":"<e>","offset":2}}"#;
        node.ask_for(second, &command, &[reply]);
        node.hear(first, &[&format!(r#"{{"push":{{"channel":"{topic}",{LOST}}}}}"#)]);
        node.publish(&topic, "3");
        let push = format!(r#"{{"push":{{"channel":"{topic}","pub":{{"data":3,"offset":3}}}}}}"#);
        node.hear(second, &[&push]);
        node.hear(first, &[]);
    });
}

#[test]
fn who_was_subscribed_by_the_server_comes_again() {
    across(&full_settings(), |node| {
        let probe = node.guest("p");
        let topic = node.topic_elsewhere("rec:", &[probe]);
        let token = token_of("u", &format!(r#""channels":["{topic}"]"#));
        let mut client = node.enter("a", &format!(r#"{{"token":"{token}"}}"#));
        while node.shard_of(client) != node.shard_of(probe) {
            client = node.enter("a", &format!(r#"{{"token":"{token}"}}"#));
        }
        node.publish(&topic, "1");
        assert_eq!(node.listen(client).len(), 1);
        lose_one(node, client, &topic);
        node.publish(&topic, "3");
        node.closed(client, 3010, "insufficient state");
    });
}
