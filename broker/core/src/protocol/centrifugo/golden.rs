//! Every reply and every push in both encodings. The Protobuf side is spelled by hand with the
//! numbers of the specification, section 5.

use std::sync::Arc;

use bytes::Bytes;
use uuid::Uuid;

use super::wire::{framed, message, number, text};
use crate::fault::Refusal;
use crate::protocol::{
    ClientInfo, Connected, Draft, Encoding, Epoch, Form, Payload, Position, Publication, Push,
    Recovery, Reply, Subscribed,
};

const CLIENT: &str = "6ba7b810-9dad-11d1-80b4-00c04fd430c8";
const OTHER: &str = "6ba7b811-9dad-11d1-80b4-00c04fd430c8";
const EPOCH: Epoch = Epoch(*b"tJHoLWmD");

fn reply(reply: &Reply<'_>) -> (String, Vec<u8>) {
    let append = |encoding: Encoding| {
        let mut out = b"kept".to_vec();
        encoding.append_reply(&mut out, 300, reply);
        out.strip_prefix(b"kept").unwrap().to_vec()
    };
    encoded(append)
}

fn push(push: &Push<'_>) -> (String, Vec<u8>) {
    let append = |encoding: Encoding| {
        let mut out = b"kept".to_vec();
        encoding.append_push(&mut out, push);
        out.strip_prefix(b"kept").unwrap().to_vec()
    };
    encoded(append)
}

fn encoded(append: impl Fn(Encoding) -> Vec<u8>) -> (String, Vec<u8>) {
    let json = String::from_utf8(append(Encoding::CentrifugoJson)).unwrap();
    let parsed: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert!(parsed.is_object() && !json.contains('\n'));
    (json, append(Encoding::CentrifugoProtobuf))
}

/// The result of a reply with the id 300.
fn result(field: u64, fields: &[Vec<u8>]) -> Vec<u8> {
    framed(&[number(1, 300), message(field, fields)])
}

fn push_of(fields: &[Vec<u8>]) -> Vec<u8> {
    framed(&[message(4, fields)])
}

fn anonymous() -> ClientInfo {
    let client = Uuid::parse_str(CLIENT).unwrap();
    ClientInfo { user: "".into(), client, conn_info: None, chan_info: None }
}

fn somebody() -> ClientInfo {
    ClientInfo {
        user: "a\"ü".into(),
        client: Uuid::parse_str(OTHER).unwrap(),
        conn_info: Some(Payload::json(br#"{"name": "A"}"#).into()),
        chan_info: Some(Payload::detect(&[0xff, 0]).into()),
    }
}

fn somebody_in_protobuf() -> [Vec<u8>; 4] {
    [text(1, "a\"ü"), text(2, OTHER), text(3, r#"{"name": "A"}"#), text(4, [0xff, 0])]
}

const SOMEBODY: &str = concat!(
    r#"{"user":"a\"ü","client":"6ba7b811-9dad-11d1-80b4-00c04fd430c8","#,
    r#""conn_info":{"name": "A"},"chan_info":{"b64data":"/wA="}}"#
);

fn publication(data: &[u8], offset: u64) -> Publication {
    let draft = Draft {
        data: Payload::detect(data),
        info: None,
        tags: Arc::new([]),
        skip_history: false,
        delta: false,
    };
    let position = Position { epoch: EPOCH, offset };
    Publication { draft, position, position_visible: true }
}

#[test]
fn a_refusal() {
    let (json, protobuf) = reply(&Reply::Refused(Refusal::PermissionDenied));
    assert_eq!(json, r#"{"id":300,"error":{"code":103,"message":"permission denied"}}"#);
    assert_eq!(protobuf, result(2, &[number(1, 103), text(2, "permission denied")]));

    let (json, protobuf) = reply(&Reply::Refused(Refusal::Overloaded));
    let expected =
        r#"{"id":300,"error":{"code":111,"message":"too many requests","temporary":true}}"#;
    assert_eq!(json, expected);
    let expected = [number(1, 111), text(2, "too many requests"), number(3, 1)];
    assert_eq!(protobuf, result(2, &expected));
}

#[test]
fn results_with_nothing_in_them_are_there() {
    for (told, json, field) in [
        (Reply::Subscribed(&Subscribed::default()), r#"{"id":300,"subscribe":{}}"#, 6),
        (Reply::Unsubscribed, r#"{"id":300,"unsubscribe":{}}"#, 7),
        (Reply::Published, r#"{"id":300,"publish":{}}"#, 8),
        (Reply::Presence(&[]), r#"{"id":300,"presence":{"presence":{}}}"#, 9),
        (
            Reply::PresenceStats { clients: 0, users: 0 },
            r#"{"id":300,"presence_stats":{"num_clients":0,"num_users":0}}"#,
            10,
        ),
        (Reply::Called, r#"{"id":300,"rpc":{}}"#, 13),
        (Reply::Refreshed(None), r#"{"id":300,"refresh":{}}"#, 14),
        (Reply::SubRefreshed(None), r#"{"id":300,"sub_refresh":{}}"#, 15),
    ] {
        assert_eq!(reply(&told), (json.to_owned(), result(field, &[])));
    }
    // Bytes, written out once.
    assert_eq!(reply(&Reply::Unsubscribed).1, [5, 0x08, 0xac, 0x02, 0x3a, 0x00]);
}

#[test]
fn a_connect() {
    let mut told = Connected {
        client: Uuid::parse_str(CLIENT).unwrap(),
        version: "1.2",
        ttl_seconds: None,
        ping_seconds: None,
        time_ms: None,
        subs: &[],
    };
    let (json, protobuf) = reply(&Reply::Connected(&told));
    assert_eq!(json, format!(r#"{{"id":300,"connect":{{"client":"{CLIENT}","version":"1.2"}}}}"#));
    assert_eq!(protobuf, result(5, &[text(1, CLIENT), text(2, "1.2")]));

    let position = Some(Position { epoch: EPOCH, offset: 2 });
    let subs = [
        ("a\"".into(), Subscribed::default()),
        ("b".into(), Subscribed { position, positioned: true, ..Subscribed::default() }),
    ];
    told.subs = &subs;
    told.ttl_seconds = Some(3);
    told.ping_seconds = Some(25);
    told.time_ms = Some(1_700_000_000_000);
    let (json, protobuf) = reply(&Reply::Connected(&told));
    assert_eq!(
        json,
        [
            r#"{"id":300,"connect":{"client":""#,
            CLIENT,
            r#"","version":"1.2","expires":true,"ttl":3,"subs":{"a\"":{},"#,
            r#""b":{"epoch":"tJHoLWmD","offset":2,"positioned":true}},"#,
            r#""ping":25,"pong":true,"time":1700000000000}}"#
        ]
        .concat()
    );
    let sub = [text(6, "tJHoLWmD"), number(9, 2), number(10, 1)];
    let expected = [
        text(1, CLIENT),
        text(2, "1.2"),
        number(3, 1),
        number(4, 3),
        // The value is there although it is empty: the npm SDK fails without it.
        message(6, &[text(1, "a\""), message(2, &[])]),
        message(6, &[text(1, "b"), message(2, &sub)]),
        number(7, 25),
        number(8, 1),
        number(11, 1_700_000_000_000),
    ];
    assert_eq!(protobuf, result(5, &expected));
}

#[test]
fn a_subscribe_with_everything() {
    let told = Subscribed {
        ttl_seconds: Some(60),
        positioned: true,
        recoverable: true,
        delta: true,
        position: Some(Position { epoch: EPOCH, offset: u64::MAX }),
        recovery: Recovery::Done,
        publications: vec![
            (Arc::new(publication(br#"{"n":1}"#, 1)), Form::Full),
            (Arc::new(publication(br#"{"n":2}"#, 2)), Form::Patch(Bytes::from_static(b"7\n\"p;"))),
        ],
        data: Some(Payload::json(b"{\"d\":\r\n 1}")),
    };
    let (json, protobuf) = reply(&Reply::Subscribed(&told));
    assert_eq!(
        json,
        [
            r#"{"id":300,"subscribe":{"expires":true,"ttl":60,"recoverable":true,"#,
            r#""epoch":"tJHoLWmD","publications":[{"data":"{\"n\":1}","offset":1},"#,
            r#"{"data":"7\n\"p;","offset":2,"delta":true}],"#,
            r#""recovered":true,"offset":18446744073709551615,"positioned":true,"data":{"d": 1},"#,
            r#""was_recovering":true,"delta":true}}"#
        ]
        .concat()
    );
    let expected = [
        number(1, 1),
        number(2, 60),
        number(3, 1),
        text(6, "tJHoLWmD"),
        message(7, &[text(4, r#"{"n":1}"#), number(6, 1)]),
        message(7, &[text(4, "7\n\"p;"), number(6, 2), number(8, 1)]),
        number(8, 1),
        number(9, u64::MAX.into()),
        number(10, 1),
        text(11, "{\"d\": 1}"),
        number(12, 1),
        number(13, 1),
    ];
    assert_eq!(protobuf, result(6, &expected));
}

#[test]
fn a_recovery_that_failed_says_only_that_it_was_one() {
    let position = Some(Position { epoch: EPOCH, offset: 0 });
    let told = Subscribed { recovery: Recovery::Failed, position, ..Subscribed::default() };
    let (json, protobuf) = reply(&Reply::Subscribed(&told));
    let expected = r#"{"id":300,"subscribe":{"epoch":"tJHoLWmD","was_recovering":true}}"#;
    assert_eq!(json, expected);
    assert_eq!(protobuf, result(6, &[text(6, "tJHoLWmD"), number(12, 1)]));
}

#[test]
fn presence_and_its_numbers() {
    let members = [Arc::new(anonymous()), Arc::new(somebody())];
    let (json, protobuf) = reply(&Reply::Presence(&members));
    assert_eq!(
        json,
        [
            r#"{"id":300,"presence":{"presence":{"#,
            &format!(r#""{CLIENT}":{{"user":"","client":"{CLIENT}"}},"#),
            &format!(r#""{OTHER}":{SOMEBODY}}}}}}}"#),
        ]
        .concat()
    );
    let expected = [
        message(1, &[text(1, CLIENT), message(2, &[text(2, CLIENT)])]),
        message(1, &[text(1, OTHER), message(2, &somebody_in_protobuf())]),
    ];
    assert_eq!(protobuf, result(9, &expected));

    let (json, protobuf) = reply(&Reply::PresenceStats { clients: 3, users: 2 });
    assert_eq!(json, r#"{"id":300,"presence_stats":{"num_clients":3,"num_users":2}}"#);
    assert_eq!(protobuf, result(10, &[number(1, 3), number(2, 2)]));
}

#[test]
fn history_always_tells_its_position_and_epochs_only_there() {
    let position = Position { epoch: EPOCH, offset: 0 };
    let (json, protobuf) = reply(&Reply::History { publications: &[], position });
    let expected = r#"{"id":300,"history":{"publications":[],"epoch":"tJHoLWmD","offset":0}}"#;
    assert_eq!(json, expected);
    assert_eq!(protobuf, result(11, &[text(2, "tJHoLWmD")]));

    let publications = [Arc::new(publication(b"7", 1)), Arc::new(publication(&[0xfe], 2))];
    let position = Position { epoch: EPOCH, offset: 2 };
    let (json, protobuf) = reply(&Reply::History { publications: &publications, position });
    assert_eq!(
        json,
        [
            r#"{"id":300,"history":{"publications":[{"data":7,"offset":1},"#,
            r#"{"data":{"b64data":"/g=="},"offset":2}],"epoch":"tJHoLWmD","offset":2}}"#
        ]
        .concat()
    );
    let expected = [
        message(1, &[text(4, "7"), number(6, 1)]),
        message(1, &[text(4, [0xfe]), number(6, 2)]),
        text(2, "tJHoLWmD"),
        number(3, 2),
    ];
    assert_eq!(protobuf, result(11, &expected));
}

#[test]
fn renewals() {
    let (json, protobuf) = reply(&Reply::Refreshed(Some(100)));
    assert_eq!(json, r#"{"id":300,"refresh":{"expires":true,"ttl":100}}"#);
    assert_eq!(protobuf, result(14, &[number(3, 1), number(4, 100)]));

    let (json, protobuf) = reply(&Reply::SubRefreshed(Some(200)));
    assert_eq!(json, r#"{"id":300,"sub_refresh":{"expires":true,"ttl":200}}"#);
    assert_eq!(protobuf, result(15, &[number(1, 1), number(2, 200)]));

    let (json, protobuf) = push(&Push::Refreshed(Some(100)));
    assert_eq!(json, r#"{"push":{"refresh":{"expires":true,"ttl":100}}}"#);
    assert_eq!(protobuf, push_of(&[message(12, &[number(1, 1), number(2, 100)])]));

    let (json, protobuf) = push(&Push::Refreshed(None));
    assert_eq!(json, r#"{"push":{"refresh":{}}}"#);
    assert_eq!(protobuf, push_of(&[message(12, &[])]));
}

#[test]
fn a_ping_is_an_empty_message() {
    assert_eq!(push(&Push::Ping), ("{}".to_owned(), vec![0]));
}

#[test]
fn a_publication_pushed() {
    let mut told = publication(b"{\"a\":\n 1}", 2);
    told.draft.info = Some(Arc::new(somebody()));
    told.draft.tags = Arc::new([("k\"".to_owned(), "v".to_owned()), ("l".to_owned(), "".into())]);
    let topic = "hist:p\"";
    let (json, protobuf) =
        push(&Push::Publication { topic, publication: &told, form: &Form::Plain });
    assert_eq!(
        json,
        [
            r#"{"push":{"channel":"hist:p\"","pub":{"data":{"a": 1},"info":"#,
            SOMEBODY,
            r#","offset":2,"tags":{"k\"":"v","l":""}}}}"#
        ]
        .concat()
    );
    let expected = [
        text(4, "{\"a\":\n 1}"),
        message(5, &somebody_in_protobuf()),
        number(6, 2),
        message(7, &[text(1, "k\""), text(2, "v")]),
        message(7, &[text(1, "l")]),
    ];
    assert_eq!(protobuf, push_of(&[text(2, topic), message(4, &expected)]));
}

#[test]
fn the_first_publication_of_an_epoch_announces_it_where_positions_are_seen() {
    let mut told = publication(b"1", 1);
    let (json, protobuf) =
        push(&Push::Publication { topic: "t", publication: &told, form: &Form::Plain });
    let expected = r#"{"push":{"channel":"t","pub":{"data":1,"offset":1,"epoch":"tJHoLWmD"}}}"#;
    assert_eq!(json, expected);
    let expected = [text(4, "1"), number(6, 1), text(14, "tJHoLWmD")];
    assert_eq!(protobuf, push_of(&[text(2, "t"), message(4, &expected)]));

    told.position_visible = false;
    let (json, protobuf) =
        push(&Push::Publication { topic: "t", publication: &told, form: &Form::Plain });
    assert_eq!(json, r#"{"push":{"channel":"t","pub":{"data":1}}}"#);
    assert_eq!(protobuf, push_of(&[text(2, "t"), message(4, &[text(4, "1")])]));
}

#[test]
fn for_deltas_json_has_its_data_in_a_string_and_protobuf_in_bytes() {
    let told = publication(b"{\"text\":\n \"gr\xc3\xbcn \\n\"}", 5);
    let (json, protobuf) =
        push(&Push::Publication { topic: "t", publication: &told, form: &Form::Full });
    let expected =
        r#"{"push":{"channel":"t","pub":{"data":"{\"text\": \"grün \\n\"}","offset":5}}}"#;
    assert_eq!(json, expected);
    let expected = [text(4, b"{\"text\":\n \"gr\xc3\xbcn \\n\"}"), number(6, 5)];
    assert_eq!(protobuf, push_of(&[text(2, "t"), message(4, &expected)]));

    let form = Form::Patch(Bytes::from_static(b"1H\n1F@0,2:1}2PmtRu;"));
    let (json, protobuf) = push(&Push::Publication { topic: "t", publication: &told, form: &form });
    let expected =
        r#"{"push":{"channel":"t","pub":{"data":"1H\n1F@0,2:1}2PmtRu;","offset":5,"delta":true}}}"#;
    assert_eq!(json, expected);
    let expected = [text(4, "1H\n1F@0,2:1}2PmtRu;"), number(6, 5), number(8, 1)];
    assert_eq!(protobuf, push_of(&[text(2, "t"), message(4, &expected)]));
}

#[test]
fn joins_and_leaves() {
    let (json, protobuf) = push(&Push::Join { topic: "t", info: &somebody() });
    let expected = format!(r#"{{"push":{{"channel":"t","join":{{"info":{SOMEBODY}}}}}}}"#);
    assert_eq!(json, expected);
    let info = message(1, &somebody_in_protobuf());
    assert_eq!(protobuf, push_of(&[text(2, "t"), message(5, &[info])]));

    let (json, protobuf) = push(&Push::Leave { topic: "t", info: &anonymous() });
    let info = format!(r#"{{"user":"","client":"{CLIENT}"}}"#);
    assert_eq!(json, format!(r#"{{"push":{{"channel":"t","leave":{{"info":{info}}}}}}}"#));
    let info = message(1, &[text(2, CLIENT)]);
    assert_eq!(protobuf, push_of(&[text(2, "t"), message(6, &[info])]));
}

#[test]
fn subscribed_and_unsubscribed_by_the_server() {
    let subscribed = Subscribed {
        ttl_seconds: Some(9),
        recoverable: true,
        positioned: true,
        position: Some(Position { epoch: EPOCH, offset: 4 }),
        data: Some(Payload::json(br#"{"d":1}"#)),
        publications: vec![(Arc::new(publication(b"1", 4)), Form::Plain)],
        recovery: Recovery::Done,
        delta: true,
    };
    let (json, protobuf) = push(&Push::Subscribed { topic: "t", subscribed: &subscribed });
    let expected = concat!(
        r#"{"push":{"channel":"t","subscribe":{"recoverable":true,"epoch":"tJHoLWmD","#,
        r#""offset":4,"positioned":true,"data":{"d":1}}}}"#
    );
    assert_eq!(json, expected);
    let expected =
        [number(1, 1), text(4, "tJHoLWmD"), number(5, 4), number(6, 1), text(7, r#"{"d":1}"#)];
    assert_eq!(protobuf, push_of(&[text(2, "t"), message(9, &expected)]));

    let none = Subscribed::default();
    let (json, protobuf) = push(&Push::Subscribed { topic: "t", subscribed: &none });
    assert_eq!(json, r#"{"push":{"channel":"t","subscribe":{}}}"#);
    assert_eq!(protobuf, push_of(&[text(2, "t"), message(9, &[])]));

    let unsubscribed = Push::Unsubscribed { topic: "t", code: 2000, reason: "server \"x\"" };
    let (json, protobuf) = push(&unsubscribed);
    let expected =
        r#"{"push":{"channel":"t","unsubscribe":{"code":2000,"reason":"server \"x\""}}}"#;
    assert_eq!(json, expected);
    let expected = [number(2, 2000), text(3, "server \"x\"")];
    assert_eq!(protobuf, push_of(&[text(2, "t"), message(7, &expected)]));
}

#[test]
fn no_encoding_makes_more_of_a_draft_than_it_foresees() {
    // What names, positions and braces take, is accounted for by PUBLICATION_OVERHEAD_BYTES.
    let frame = 160;
    let list = |item: &str| format!("[{}]", vec![item; 50].join(",")).into_bytes();
    let payloads = [
        list("1"),
        list(r#"{"":"\\\"\n"}"#),
        list("\t\t1"),
        vec![0xff],
        vec![0xff; 2],
        vec![0; 300],
    ];
    for payload in payloads {
        let mut told = publication(&payload, u64::MAX);
        assert_eq!(told.draft.data.is_json(), payload.starts_with(b"["));
        told.draft.info =
            Some(Arc::new(ClientInfo { user: "\u{1}".repeat(99).into(), ..somebody() }));
        told.draft.tags = Arc::new([("\u{1}".repeat(99), "\u{2}".repeat(99))]);
        for encoding in [Encoding::CentrifugoJson, Encoding::CentrifugoProtobuf] {
            let encoded = |form: &Form| {
                let mut out = Vec::new();
                let push = Push::Publication { topic: "t", publication: &told, form };
                encoding.append_push(&mut out, &push);
                out.len()
            };
            assert!(encoded(&Form::Plain) <= told.draft.encoded_bytes_max() + frame);
            assert!(encoded(&Form::Full) <= told.draft.encoded_bytes_max_any_form() + frame);
        }
    }
}
