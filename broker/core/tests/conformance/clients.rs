//! The client protocol, command by command (specification, section 6).

use crate::kit::{Frame, open_settings, with_shards};

fn error(id: u32, code: u32, message: &str) -> String {
    format!(r#"{{"id":{id},"error":{{"code":{code},"message":"{message}"}}}}"#)
}

#[test]
fn connect_tells_client_version_and_ping() {
    with_shards(&open_settings(), |node| {
        let client = node.open();
        node.send(client, r#"{"id":5,"connect":{"name":"js","data":{"any":1}}}"#);
        let texts = node.texts(client);
        let [reply] = texts.as_slice() else { panic!("{texts:?}") };
        let reply: serde_json::Value = serde_json::from_str(reply).unwrap();
        assert_eq!(reply["id"], 5);
        assert_eq!(reply["connect"]["version"], "0");
        assert_eq!(reply["connect"]["ping"], 25);
        assert_eq!(reply["connect"]["pong"], true);
        let id: uuid::Uuid = reply["connect"]["client"].as_str().unwrap().parse().unwrap();
        assert_eq!(id.get_version_num(), 4);
    });
}

#[test]
fn a_publication_reaches_each_subscriber_once_and_its_publisher_before_the_reply() {
    with_shards(&open_settings(), |node| {
        let clients: Vec<_> = (0..5).map(|_| node.connect()).collect();
        for &client in &clients[..4] {
            node.send(client, r#"{"id":2,"subscribe":{"channel":"t"}}"#);
            assert_eq!(node.texts(client), [r#"{"id":2,"subscribe":{}}"#]);
        }
        node.send(clients[0], r#"{"id":3,"publish":{"channel":"t","data":{"n": 1}}}"#);
        let texts = node.texts(clients[0]);
        assert!(texts[0].starts_with(r#"{"push":{"channel":"t","pub":{"data":{"n": 1},"info":{"#));
        assert_eq!(texts[1..], [r#"{"id":3,"publish":{}}"#]);
        for &client in &clients[1..4] {
            assert_eq!(node.texts(client), texts[..1]);
        }
        assert!(node.take(clients[4]).is_empty());
    });
}

#[test]
fn positions_are_seen_where_history_is_on() {
    with_shards(&open_settings(), |node| {
        let client = node.connect();
        node.send(client, r#"{"id":2,"subscribe":{"channel":"pos:t"}}"#);
        node.take(client);
        let first = node.call(0, "publish", r#"{"channel":"pos:t","data":1}"#);
        let second = node.call(0, "publish", r#"{"channel":"pos:t","data":2,"tags":{"k":"v"}}"#);
        let epoch = &first[first.len() - 11..first.len() - 3];
        assert_eq!(first, format!(r#"{{"result":{{"offset":1,"epoch":"{epoch}"}}}}"#));
        assert_eq!(second, format!(r#"{{"result":{{"offset":2,"epoch":"{epoch}"}}}}"#));
        let push = |inner: &str| format!(r#"{{"push":{{"channel":"pos:t","pub":{{{inner}}}}}}}"#);
        assert_eq!(
            node.texts(client),
            [
                push(&format!(r#""data":1,"offset":1,"epoch":"{epoch}""#)),
                push(r#""data":2,"offset":2,"tags":{"k":"v"}"#),
            ]
        );
    });
}

#[test]
fn replies_of_one_frame_come_in_the_order_of_its_commands() {
    with_shards(&open_settings(), |node| {
        let client = node.open();
        let frame = [
            r#"{"id":1,"connect":{}}"#,
            r#"{"id":2,"subscribe":{"channel":"a"}}"#,
            r#"{"id":3,"subscribe":{"channel":"b"}}"#,
            r#"{"id":4,"subscribe":{"channel":"c"}}"#,
            r#"{"id":5,"publish":{"channel":"b","data":1}}"#,
            r#"{"id":6,"history":{"channel":"b"}}"#,
            r#"{"id":7,"unsubscribe":{"channel":"b"}}"#,
            r#"{"id":8,"publish":{"channel":"b","data":2}}"#,
            r#"{"id":9,"unsubscribe":{"channel":"never"}}"#,
            r#"{"id":10,"subscribe":{"channel":"b"}}"#,
        ]
        .join("\n");
        node.send(client, &frame);
        let replies: Vec<u64> = node
            .texts(client)
            .iter()
            .filter_map(|text| {
                serde_json::from_str::<serde_json::Value>(text).unwrap()["id"].as_u64()
            })
            .collect();
        assert_eq!(replies, [1, 2, 3, 4, 5, 6, 7, 8, 9, 10]);
    });
}

#[test]
fn after_the_unsubscribe_reply_nothing_comes() {
    with_shards(&open_settings(), |node| {
        let client = node.connect();
        node.send(client, r#"{"id":2,"subscribe":{"channel":"t"}}"#);
        node.send(client, r#"{"id":3,"unsubscribe":{"channel":"t"}}"#);
        node.call(0, "publish", r#"{"channel":"t","data":1}"#);
        assert_eq!(
            node.texts(client),
            [r#"{"id":2,"subscribe":{}}"#, r#"{"id":3,"unsubscribe":{}}"#]
        );
    });
}

#[test]
fn a_subscription_ended_before_it_began_stays_ended() {
    with_shards(&open_settings(), |node| {
        let client = node.connect();
        node.send(
            client,
            concat!(
                r#"{"id":2,"subscribe":{"channel":"t"}}"#,
                "\n",
                r#"{"id":3,"unsubscribe":{"channel":"t"}}"#
            ),
        );
        node.call(0, "publish", r#"{"channel":"t","data":1}"#);
        assert_eq!(
            node.texts(client),
            [r#"{"id":2,"subscribe":{}}"#, r#"{"id":3,"unsubscribe":{}}"#]
        );
        assert!(node.shards().iter().all(|shard| shard.counters().topics == 0));
    });
}

#[test]
fn what_may_not_be_is_refused_and_the_connection_lives() {
    with_shards(&open_settings(), |node| {
        let client = node.connect();
        let long = "x".repeat(256);
        for (command, code, message) in [
            (r#""subscribe":{"channel":"none:a"}"#.to_owned(), 102, "unknown channel"),
            (r#""subscribe":{"channel":"closed:a"}"#.to_owned(), 103, "permission denied"),
            (r#""subscribe":{"channel":"$a"}"#.to_owned(), 103, "permission denied"),
            (r#""subscribe":{"channel":"a","token":"t"}"#.to_owned(), 103, "permission denied"),
            (r#""subscribe":{"channel":"a","tf":{}}"#.to_owned(), 107, "bad request"),
            (r#""subscribe":{"channel":"a\u0007"}"#.to_owned(), 107, "bad request"),
            (format!(r#""subscribe":{{"channel":"{long}"}}"#), 107, "bad request"),
            (r#""publish":{"channel":"a"}"#.to_owned(), 107, "bad request"),
            (format!(r#""publish":{{"channel":"{long}","data":1}}"#), 107, "bad request"),
            (r#""publish":{"channel":"closed:a","data":1}"#.to_owned(), 103, "permission denied"),
            (r#""publish":{"channel":"none:a","data":1}"#.to_owned(), 102, "unknown channel"),
            (r#""presence":{"channel":"a"}"#.to_owned(), 108, "not available"),
            (r#""presence_stats":{"channel":"none:a"}"#.to_owned(), 102, "unknown channel"),
            (r#""history":{"channel":"a"}"#.to_owned(), 108, "not available"),
            (r#""rpc":{"method":"m","data":1}"#.to_owned(), 108, "not available"),
            (r#""sub_refresh":{"channel":"a","token":"t"}"#.to_owned(), 103, "permission denied"),
        ] {
            node.send(client, &format!(r#"{{"id":9,{command}}}"#));
            assert_eq!(node.texts(client), [error(9, code, message)], "{command}");
        }
    });
}

#[test]
fn twice_is_refused_and_so_is_one_topic_too_many() {
    with_shards(&open_settings(), |node| {
        let client = node.connect();
        for topic in ["a", "b", "c", "d"] {
            node.send(client, &format!(r#"{{"id":2,"subscribe":{{"channel":"{topic}"}}}}"#));
        }
        node.take(client);
        node.send(client, r#"{"id":3,"subscribe":{"channel":"a"}}"#);
        node.send(client, r#"{"id":4,"subscribe":{"channel":"e"}}"#);
        node.send(client, r#"{"id":5,"unsubscribe":{"channel":"a"}}"#);
        node.send(client, r#"{"id":6,"subscribe":{"channel":"e"}}"#);
        assert_eq!(
            node.texts(client),
            [
                error(3, 105, "already subscribed"),
                error(4, 106, "limit exceeded"),
                r#"{"id":5,"unsubscribe":{}}"#.to_owned(),
                r#"{"id":6,"subscribe":{}}"#.to_owned(),
            ]
        );
    });
}

#[test]
fn what_breaks_the_protocol_ends_the_connection_with_its_code() {
    with_shards(&open_settings(), |node| {
        for (connected, text, code, reason) in [
            (false, r#"{"id":1,"subscribe":{"channel":"a"}}"#, 3501, "bad request"),
            (false, r#"{"id":1,"connect":{"token":"t"}}"#, 3500, "invalid token"),
            (false, "", 3501, "bad request"),
            (false, "\n", 3501, "bad request"),
            (false, "nonsense", 3501, "bad request"),
            (false, r#"{"id":"1","connect":{}}"#, 3501, "bad request"),
            (true, r#"{"id":1,"connect":{}}"#, 3501, "bad request"),
            (true, r#"{"id":1,"subscribe":{"channel":""}}"#, 3501, "bad request"),
            (true, r#"{"id":1,"publish":{"data":1}}"#, 3501, "bad request"),
            (true, r#"{"id":1,"refresh":{}}"#, 3501, "bad request"),
            (true, r#"{"id":1,"refresh":{"token":"t"}}"#, 3500, "invalid token"),
            (true, r#"{"id":1,"ping":{}}"#, 3501, "bad request"),
            (true, r#"{"id":1,"nosuch":{}}"#, 3501, "bad request"),
            (true, r#"{"send":{"data":1}}"#, 3508, "not available"),
            (true, "{}", 3501, "bad request"),
        ] {
            let client = if connected { node.connect() } else { node.open() };
            node.send(client, text);
            assert_eq!(node.take(client), [Frame::Close(Some(code), reason.to_owned())], "{text}");
        }
    });
}

#[test]
fn what_stands_before_a_blank_line_is_done_and_what_follows_is_not() {
    with_shards(&open_settings(), |node| {
        let (client, other) = (node.connect(), node.connect());
        node.send(other, r#"{"id":2,"subscribe":{"channel":"t"}}"#);
        node.take(other);
        let publish =
            |id, data| format!(r#"{{"id":{id},"publish":{{"channel":"t","data":"{data}"}}}}"#);
        let frame = [publish(2, "one"), publish(3, "two"), String::new(), publish(4, "three")];
        node.send(client, &frame.join("\n"));
        let frames = node.take(client);
        assert_eq!(frames.last(), Some(&Frame::Close(Some(3501), "bad request".to_owned())));
        let heard = node.texts(other);
        assert_eq!(heard.len(), 2, "{heard:?}");
        assert!(heard[0].contains(r#""data":"one","#) && heard[1].contains(r#""data":"two","#));
    });
}

#[test]
fn without_anonymous_nobody_gets_in_and_insecure_lets_everybody_do_everything() {
    let mut settings = open_settings();
    settings.client.anonymous = false;
    with_shards(&settings, |node| {
        let client = node.open();
        node.send(client, r#"{"id":1,"connect":{}}"#);
        assert_eq!(node.take(client), [Frame::Close(Some(3501), "bad request".to_owned())]);
    });
    settings.client.insecure = true;
    with_shards(&settings, |node| {
        let client = node.connect();
        node.send(client, r#"{"id":2,"subscribe":{"channel":"closed:a"}}"#);
        assert_eq!(node.texts(client), [r#"{"id":2,"subscribe":{}}"#]);
    });
}
