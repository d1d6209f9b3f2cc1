//! The backend API (specification, section 18), called on every shard.

use crate::kit::{Frame, open_settings, with_shards};

const UNKNOWN: &str = r#"{"error":{"code":102,"message":"unknown channel"}}"#;
const BAD: &str = r#"{"error":{"code":107,"message":"bad request"}}"#;

#[test]
fn publish_and_broadcast_reach_subscribers_wherever_they_are() {
    with_shards(&open_settings(), |node| {
        let clients: Vec<_> = (0..3).map(|_| node.connect()).collect();
        for (client, topic) in clients.iter().zip(["a", "b", "a"]) {
            node.send(*client, &format!(r#"{{"id":2,"subscribe":{{"channel":"{topic}"}}}}"#));
            node.take(*client);
        }
        for shard in 0..node.shard_count() {
            assert_eq!(
                node.call(shard, "publish", r#"{"channel":"a","data":[1]}"#),
                r#"{"result":{}}"#
            );
            assert_eq!(node.call(shard, "publish", r#"{"channel":"none:a","data":1}"#), UNKNOWN);
            for bad in [
                r#"{"channel":"a"}"#,
                r#"{"data":1}"#,
                r#"{"channel":"","data":1}"#,
                r#"{"channel":"a\u0001","data":1}"#,
            ] {
                assert_eq!(node.call(shard, "publish", bad), BAD, "{bad}");
            }
            assert_eq!(
                node.call(shard, "broadcast", r#"{"channels":["a","none:x","b"],"data":2}"#),
                [r#"{"result":{"responses":[{"result":{}},"#, UNKNOWN, r#",{"result":{}}]}}"#]
                    .concat()
            );
            let push = |topic, data| {
                format!(r#"{{"push":{{"channel":"{topic}","pub":{{"data":{data}}}}}}}"#)
            };
            assert_eq!(node.texts(clients[0]), [push("a", "[1]"), push("a", "2")]);
            assert_eq!(node.texts(clients[1]), [push("b", "2")]);
            assert_eq!(node.texts(clients[2]), [push("a", "[1]"), push("a", "2")]);
        }
    });
}

#[test]
fn info_and_channels_count_the_whole_node() {
    with_shards(&open_settings(), |node| {
        let clients: Vec<_> = (0..5).map(|_| node.connect()).collect();
        for client in &clients {
            node.send(*client, r#"{"id":2,"subscribe":{"channel":"all"}}"#);
        }
        node.send(clients[0], r#"{"id":3,"subscribe":{"channel":"one"}}"#);
        for shard in 0..node.shard_count() {
            let info = node.call(shard, "info", "{}");
            let info: serde_json::Value = serde_json::from_str(&info).unwrap();
            let node_info = &info["result"]["nodes"][0];
            assert_eq!(node_info["num_clients"], 5);
            assert_eq!(node_info["num_users"], 1);
            assert_eq!(node_info["num_subs"], 6);
            assert_eq!(node_info["num_channels"], 2);
            assert_eq!(
                node.call(shard, "channels", "{}"),
                r#"{"result":{"channels":{"all":{"num_clients":5},"one":{"num_clients":1}}}}"#
            );
            assert_eq!(
                node.call(shard, "channels", r#"{"pattern":"o*"}"#),
                r#"{"result":{"channels":{"one":{"num_clients":1}}}}"#
            );
        }
    });
}

#[test]
fn unsubscribe_tells_the_client_and_ends_the_subscription() {
    with_shards(&open_settings(), |node| {
        let client = node.connect();
        node.send(client, r#"{"id":2,"subscribe":{"channel":"t"}}"#);
        node.take(client);
        assert_eq!(
            node.call(0, "unsubscribe", r#"{"channel":"t","user":"somebody"}"#),
            r#"{"result":{}}"#
        );
        assert!(node.take(client).is_empty());
        node.call(0, "unsubscribe", r#"{"channel":"t","user":""}"#);
        node.call(0, "publish", r#"{"channel":"t","data":1}"#);
        assert_eq!(
            node.texts(client),
            [[
                r#"{"push":{"channel":"t","#,
                r#""unsubscribe":{"code":2000,"reason":"server unsubscribe"}}}"#,
            ]
            .concat()]
        );
        assert_eq!(node.call(0, "unsubscribe", r#"{"user":""}"#), BAD);
        assert_eq!(node.call(0, "unsubscribe", r#"{"channel":"none:t"}"#), UNKNOWN);
    });
}

#[test]
fn disconnect_ends_those_who_are_meant() {
    with_shards(&open_settings(), |node| {
        let clients: Vec<_> = (0..3).map(|_| node.open()).collect();
        let ids: Vec<String> = clients
            .iter()
            .map(|client| {
                node.send(*client, r#"{"id":1,"connect":{}}"#);
                let reply: serde_json::Value =
                    serde_json::from_str(&node.texts(*client)[0]).unwrap();
                reply["connect"]["client"].as_str().unwrap().to_owned()
            })
            .collect();
        node.call(0, "disconnect", r#"{"client":"no id","user":""}"#);
        let nobodys = r#"{"user":"","session":"0b6ac7f6-3a7b-4c3f-9f5e-0f5f0c9d9b11"}"#;
        node.call(0, "disconnect", nobodys);
        node.call(0, "disconnect", &format!(r#"{{"client":"{}","user":"x"}}"#, ids[0]));
        assert!(clients.iter().all(|client| node.take(*client).is_empty()));
        node.call(
            0,
            "disconnect",
            &format!(r#"{{"client":"{}","disconnect":{{"code":4001,"reason":"bye"}}}}"#, ids[0]),
        );
        assert_eq!(node.take(clients[0]), [Frame::Close(Some(4001), "bye".to_owned())]);
        node.call(0, "disconnect", &format!(r#"{{"user":"","whitelist":["{}"]}}"#, ids[1]));
        assert!(node.take(clients[1]).is_empty());
        assert_eq!(
            node.take(clients[2]),
            [Frame::Close(Some(3503), "force disconnect".to_owned())]
        );
    });
}

#[test]
fn a_batch_is_done_in_order_and_answered_in_order() {
    with_shards(&open_settings(), |node| {
        let client = node.connect();
        node.send(client, r#"{"id":2,"subscribe":{"channel":"t"}}"#);
        node.take(client);
        let answer = node.call(
            0,
            "batch",
            r#"{"commands":[
                {"publish":{"channel":"t","data":1}},
                {"channels":{}},
                {"publish":{"channel":"none:t","data":2}},
                {"nosuch":{}},
                {"unsubscribe":{"channel":"t","user":""}},
                {"publish":{"channel":"t","data":3}},
                {"broadcast":{"channels":["t"],"data":4}}
            ]}"#,
        );
        assert_eq!(
            answer,
            [
                r#"{"replies":[{"publish":{}},{"channels":{"channels":{"t":{"num_clients":1}}}},"#,
                UNKNOWN,
                r#",{"error":{"code":104,"message":"not found"}},{"unsubscribe":{}},"#,
                r#"{"publish":{}},{"broadcast":{"responses":[{"result":{}}]}}]}"#,
            ]
            .concat()
        );
        let texts = node.texts(client);
        assert_eq!(texts.len(), 2, "{texts:?}");
        assert!(texts[0].contains(r#""data":1"#) && texts[1].contains("unsubscribe"));
        assert_eq!(node.call(0, "batch", r#"{"commands":[]}"#), r#"{"replies":[]}"#);
    });
}
