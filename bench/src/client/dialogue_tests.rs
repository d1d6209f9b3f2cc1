//! What is said and understood, over the bare stream so that it can be read.

use super::*;
use crate::client::behaviour::Role;
use crate::client::control::Assignment;
use crate::client::target::Target;
use crate::dialect::{Position, Protocol, Settings};
use crate::payload::StampReader;

fn shared(protocol: Protocol, recovers: bool) -> Shared {
    let assignment = Assignment {
        target: Target::parse("tcp://127.0.0.1:1").unwrap(),
        settings: Settings { protocol, ..Settings::default() },
        run: 9,
        first: 0,
        count: 1,
        topics: 1,
        topic_prefix: "t".to_owned(),
        further_topics: None,
        recovers,
        source_addresses: 1,
        connecting: 1,
        role: Role::Listen,
    };
    Shared::new(&assignment, false).unwrap()
}

/// What has been said since the last time.
fn said(dialogue: &mut Dialogue) -> String {
    String::from_utf8(std::mem::take(&mut dialogue.outgoing)).unwrap()
}

fn hear(dialogue: &mut Dialogue, shared: &mut Shared, text: &str) {
    let Shared { dialect, senses, .. } = shared;
    let mut on_event = |event: Event<'_>| dialogue.on_event(event, dialect.as_ref(), senses, 1_000);
    dialect.walk(text.as_bytes(), &mut on_event).unwrap();
    dialogue.speak(shared);
}

/// A client of the Centrifugo protocol that hears these topics.
fn joined(topics: &[u32], shared: &mut Shared) -> Dialogue {
    let mut dialogue = Dialogue::new(0, 4, false);
    topics.iter().for_each(|&topic| dialogue.subscribe(topic));
    dialogue.open(shared);
    hear(&mut dialogue, shared, r#"{"id":1,"connect":{"version":"v"}}"#);
    for (index, _) in topics.iter().enumerate() {
        hear(&mut dialogue, shared, &format!(r#"{{"id":{},"subscribe":{{}}}}"#, index + 2));
    }
    assert!(dialogue.is_live());
    said(&mut dialogue);
    dialogue
}

fn push(topic: u32, sequence: u64, offset: u64) -> String {
    let stamp = Stamp { run: 9, topic, publisher: 0, sequence, intended_ns: 1 };
    let mut data = Vec::new();
    PayloadMaker::new(64).unwrap().append(stamp, &mut data);
    let data = String::from_utf8(data).unwrap();
    format!(r#"{{"push":{{"channel":"t{topic}","pub":{{"data":{data},"offset":{offset}}}}}}}"#)
}

#[test]
fn subscriptions_follow_the_join_at_once_where_they_may() {
    let mut shared = shared(Protocol::Centrifugo, false);
    let mut dialogue = Dialogue::new(0, 4, false);
    dialogue.subscribe(5);
    dialogue.subscribe(3);
    dialogue.subscribe(5);
    dialogue.open(&mut shared);
    assert_eq!(
        said(&mut dialogue),
        concat!(
            r#"{"id":1,"connect":{}}"#,
            r#"{"id":2,"subscribe":{"channel":"t3"}}"#,
            r#"{"id":3,"subscribe":{"channel":"t5"}}"#
        )
    );
    hear(&mut dialogue, &mut shared, r#"{"id":1,"connect":{"version":"v"}}"#);
    hear(&mut dialogue, &mut shared, r#"{"id":3,"subscribe":{}}"#);
    assert!(!dialogue.is_live());
    hear(&mut dialogue, &mut shared, r#"{"id":2,"subscribe":{}}"#);
    assert!(dialogue.is_live());
    assert_eq!(shared.senses.server_version, "v");
    let happened = Vec::from(std::mem::take(&mut shared.senses.happenings));
    assert!(matches!(
        happened.as_slice(),
        [
            (_, Happening::Opened { slot: 0 }),
            (1_000, Happening::Subscribed { topic: 5, .. }),
            (1_000, Happening::Subscribed { topic: 3, .. }),
            (1_000, Happening::Live { slot: 0 })
        ]
    ));
}

#[test]
fn where_the_server_greets_it_is_waited_for() {
    let mut shared = shared(Protocol::Nats, false);
    let mut dialogue = Dialogue::new(0, 4, false);
    dialogue.subscribe(3);
    dialogue.open(&mut shared);
    assert_eq!(said(&mut dialogue), "");
    hear(&mut dialogue, &mut shared, "INFO {\"version\":\"2\"}\r\n");
    assert!(said(&mut dialogue).starts_with("CONNECT "));
    hear(&mut dialogue, &mut shared, "PONG\r\n");
    assert_eq!(said(&mut dialogue), "SUB t3 3\r\nPING\r\n");
    assert!(!dialogue.is_live());
    hear(&mut dialogue, &mut shared, "PONG\r\n");
    assert!(dialogue.is_live());
}

#[test]
fn answers_without_a_number_belong_to_the_oldest_request() {
    let mut shared = shared(Protocol::Nats, false);
    let mut dialogue = Dialogue::new(0, 4, false);
    dialogue.subscribe(3);
    dialogue.subscribe(5);
    dialogue.open(&mut shared);
    hear(&mut dialogue, &mut shared, "INFO {}\r\n");
    // The first one answers the join.
    for _ in 0..3 {
        assert!(!dialogue.is_live());
        hear(&mut dialogue, &mut shared, "PONG\r\n");
    }
    assert!(dialogue.is_live());
    let happened = std::mem::take(&mut shared.senses.happenings);
    let topics: Vec<u32> = happened
        .into_iter()
        .filter_map(|(_, what)| match what {
            Happening::Subscribed { topic, .. } => Some(topic),
            _ => None,
        })
        .collect();
    assert_eq!(topics, [3, 5]);
}

#[test]
fn who_was_leaving_has_left_when_it_comes_back() {
    let mut shared = shared(Protocol::Centrifugo, false);
    let mut dialogue = joined(&[3, 5], &mut shared);
    dialogue.unsubscribe(3, &mut shared);
    dialogue.reset();
    dialogue.open(&mut shared);
    assert_eq!(
        said(&mut dialogue),
        r#"{"id":1,"connect":{}}{"id":2,"subscribe":{"channel":"t5"}}"#
    );
}

#[test]
fn an_address_is_a_subscription() {
    let mut shared = shared(Protocol::Nchan, false);
    let mut dialogue = Dialogue::new(0, 4, false);
    dialogue.subscribe(3);
    dialogue.open(&mut shared);
    assert!(dialogue.is_live());
    assert_eq!(said(&mut dialogue), "");
    let happened = Vec::from(std::mem::take(&mut shared.senses.happenings));
    assert!(matches!(
        happened.as_slice(),
        [(_, Happening::Opened { slot: 0 }), (_, Happening::Live { slot: 0 })]
    ));
}

#[test]
fn who_comes_back_recovers_from_where_it_stood() {
    let mut shared = shared(Protocol::Centrifugo, true);
    let mut dialogue = Dialogue::new(0, 4, false);
    dialogue.subscribe(3);
    dialogue.open(&mut shared);
    assert!(said(&mut dialogue).ends_with(r#"{"channel":"t3","recoverable":true}}"#));
    hear(&mut dialogue, &mut shared, r#"{"id":1,"connect":{}}"#);
    hear(&mut dialogue, &mut shared, r#"{"id":2,"subscribe":{"epoch":"e","offset":5}}"#);
    hear(&mut dialogue, &mut shared, &push(3, 0, 6));
    dialogue.reset();
    assert!(!dialogue.is_live());
    dialogue.open(&mut shared);
    assert!(said(&mut dialogue).ends_with(r#""recover":true,"epoch":"e","offset":6}}"#));
    hear(&mut dialogue, &mut shared, r#"{"id":1,"connect":{}}"#);
    // What was missed comes in the answer, and one of it twice.
    let publication = |sequence, offset| {
        let push = push(3, sequence, offset);
        let start = push.find(r#"{"data""#).unwrap();
        push[start..push.len() - 2].to_owned()
    };
    let answer = format!(
        r#"{{"id":2,"subscribe":{{"epoch":"e","offset":6,"recovered":true,"was_recovering":true,
        "publications":[{},{}]}}}}"#,
        publication(1, 7),
        publication(2, 8)
    );
    shared.senses.happenings.clear();
    hear(&mut dialogue, &mut shared, &answer.replace('\n', " "));
    hear(&mut dialogue, &mut shared, &push(3, 2, 8));
    assert!(dialogue.is_live());
    let happened = shared.senses.happenings.pop_front();
    assert!(matches!(happened, Some((_, Happening::Subscribed { is_recovered: Some(true), .. }))));
    let totals = shared.senses.tally.totals();
    assert_eq!((totals.received, totals.duplicated, totals.out_of_order), (3, 1, 0));
    let stands = dialogue.subscriptions[0].position.as_deref();
    assert_eq!(stands, Some(&Position { epoch: "e".to_owned(), offset: 8 }));
}

#[test]
fn publications_under_way_when_a_subscription_ends_are_not_misrouted() {
    let mut shared = shared(Protocol::Centrifugo, false);
    let mut dialogue = joined(&[3, 5], &mut shared);
    dialogue.unsubscribe(3, &mut shared);
    assert_eq!(said(&mut dialogue), r#"{"id":4,"unsubscribe":{"channel":"t3"}}"#);
    assert_eq!(dialogue.topics().collect::<Vec<_>>(), [5]);
    hear(&mut dialogue, &mut shared, &push(3, 0, 1));
    assert_eq!(shared.senses.tally.totals().misrouted, 0);
    hear(&mut dialogue, &mut shared, r#"{"id":4,"unsubscribe":{}}"#);
    hear(&mut dialogue, &mut shared, &push(3, 1, 2));
    assert_eq!(shared.senses.tally.totals().misrouted, 1);
    dialogue.subscribe(3);
    dialogue.speak(&mut shared);
    assert_eq!(said(&mut dialogue), r#"{"id":5,"subscribe":{"channel":"t3"}}"#);
}

#[test]
fn publications_have_a_sequence_per_topic_and_their_answers_are_counted() {
    let mut shared = shared(Protocol::Centrifugo, false);
    let payload = PayloadMaker::new(64).unwrap();
    let mut dialogue = Dialogue::new(0, 4, false);
    assert!(!dialogue.publish(3, 1, &payload, &mut shared), "it has not joined");
    dialogue = joined(&[], &mut shared);
    let mut stamps = Vec::new();
    for topic in [3, 8, 3] {
        assert!(dialogue.publish(topic, 7, &payload, &mut shared));
        let stamp = StampReader::new().read(said(&mut dialogue).as_bytes()).unwrap();
        stamps.push((stamp.topic, stamp.sequence, stamp.publisher, stamp.intended_ns));
    }
    assert_eq!(stamps, [(3, 0, 5, 7), (8, 0, 5, 7), (3, 1, 5, 7)]);
    assert_eq!(dialogue.unanswered(), 3);
    hear(&mut dialogue, &mut shared, r#"{"id":2,"publish":{}}"#);
    let refusal = r#"{"id":4,"error":{"code":111,"message":"too many"}}"#;
    hear(&mut dialogue, &mut shared, refusal);
    assert_eq!(dialogue.unanswered(), 1);
    let published = shared.senses.tally.totals().published;
    assert_eq!((published.sent, published.accepted), (3, 1));
    assert_eq!(published.refused["111 too many"], 1);
    assert_eq!((published.by_topic[&3], published.by_topic[&8]), (1, 1));
}

#[test]
fn without_answers_what_is_sent_counts_as_accepted() {
    let mut shared = shared(Protocol::Nats, false);
    let mut dialogue = Dialogue::new(0, 4, false);
    dialogue.open(&mut shared);
    hear(&mut dialogue, &mut shared, "INFO {}\r\n");
    hear(&mut dialogue, &mut shared, "PONG\r\n");
    assert!(dialogue.publish(3, 1, &PayloadMaker::new(64).unwrap(), &mut shared));
    assert_eq!(dialogue.unanswered(), 0);
    assert_eq!(shared.senses.tally.totals().published.accepted, 1);
}

#[test]
fn no_request_has_sixteen_low_bits_of_nothing() {
    let mut last = 0xfffe;
    assert_eq!(next_request(&mut last), 0xffff);
    assert_eq!(next_request(&mut last), 0x1_0001);
}

#[test]
fn a_refusal_ends_the_connection_and_says_of_what() {
    let mut shared = shared(Protocol::Centrifugo, false);
    let refusal = |number| {
        let answer = Answer::refused(Request::Number(number), "103 no".to_owned());
        Event::Answer(answer)
    };
    let mut dialogue = Dialogue::new(0, 4, false);
    dialogue.subscribe(3);
    dialogue.open(&mut shared);
    let Shared { dialect, senses, .. } = &mut shared;
    let mut outcome = |number| {
        let outcome = dialogue.on_event(refusal(number), dialect.as_ref(), senses, 1);
        outcome.unwrap_err().to_string()
    };
    assert_eq!(outcome(1), "connect refused: 103 no");
    assert_eq!(outcome(2), "subscribe refused: 103 no");
}
