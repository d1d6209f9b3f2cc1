//! Every code of the specification, section 8, that this broker sends, reached once each. Why the
//! others cannot arise, `docs/protocols/centrifugo.md` says.

use std::time::Duration;

use fanwire_core::fault::Disconnect;
use fanwire_core::keys::{KeySet, Keys};

use crate::kit::tokens::{START, token, token_of, token_of_unknown_key};
use crate::kit::{Client, Node, full_settings, in_both};

/// Answers that one connection may wait for at a time.
const PIPELINE: usize = 4096;

/// What provokes a code; the client that is told.
type Deed = fn(&mut Node) -> Client;

/// What makes one client say this, as a user.
fn says(node: &mut Node, commands: &str) -> Client {
    let client = node.user("a", "u");
    node.say(client, commands);
    client
}

fn refused_while_fetching(node: &mut Node) -> Client {
    let client = node.user("a", "u");
    node.set_keys(Keys::new(KeySet::default().awaiting_jwks(), None));
    let token = token_of_unknown_key(r#"{"sub":"u"}"#);
    node.say(client, &format!(r#"{{"id":2,"refresh":{{"token":"{token}"}}}}"#));
    client
}

fn expired_token(node: &mut Node) -> Client {
    let token = token(&format!(r#"{{"sub":"u","channel":"t","exp":{START}}}"#));
    says(node, &format!(r#"{{"id":2,"subscribe":{{"channel":"t","token":"{token}"}}}}"#))
}

fn ended_before(node: &mut Node) -> Client {
    let token = token(&format!(r#"{{"sub":"u","channel":"t","expire_at":{START}}}"#));
    says(node, &format!(r#"{{"id":2,"subscribe":{{"channel":"t","token":"{token}"}}}}"#))
}

fn overloads(node: &mut Node) -> Client {
    let stats = r#"{"id":2,"presence_stats":{"channel":"pres:a"}}"#;
    says(node, &[stats; PIPELINE + 1].join("\n"))
}

const ERRORS: [(u32, &str, Deed); 11] = [
    (100, "internal server error", refused_while_fetching),
    (102, "unknown channel", |node| says(node, r#"{"id":2,"subscribe":{"channel":"none:a"}}"#)),
    (103, "permission denied", |node| says(node, r#"{"id":2,"subscribe":{"channel":"closed:a"}}"#)),
    (105, "already subscribed", |node| {
        says(node, &[r#"{"id":2,"subscribe":{"channel":"t"}}"#; 2].join("\n"))
    }),
    (106, "limit exceeded", |node| {
        let subscribe = |number| format!(r#"{{"id":2,"subscribe":{{"channel":"t{number}"}}}}"#);
        says(node, &(0..17).map(subscribe).collect::<Vec<_>>().join("\n"))
    }),
    (107, "bad request", |node| says(node, r#"{"id":2,"publish":{"channel":"t"}}"#)),
    (108, "not available", |node| says(node, r#"{"id":2,"rpc":{"method":"m"}}"#)),
    (109, "token expired", expired_token),
    (110, "expired", ended_before),
    (111, "too many requests", overloads),
    (112, "unrecoverable position", |node| {
        says(
            node,
            r#"{"id":2,"subscribe":{"channel":"rec:a","recover":true,"epoch":"_","flag":2}}"#,
        )
    }),
];

#[test]
fn every_error_has_its_code() {
    let mut settings = full_settings();
    settings.client.message_bytes_max = 1024 * 1024;
    for (code, message, deed) in ERRORS {
        in_both(&settings, |node| {
            let client = deed(node);
            let heard = node.listen(client);
            let error = &heard.last().expect("an answer")["error"];
            assert_eq!((&error["code"], &error["message"]), (&code.into(), &message.into()));
            let temporary = matches!(code, 100 | 111);
            assert_eq!(error["temporary"] == true, temporary, "{code}");
            // The connection lives.
            node.ask_for(
                client,
                r#"{"id":3,"unsubscribe":{"channel":"x"}}"#,
                &[r#"{"id":3,"unsubscribe":{}}"#],
            );
        });
    }
}

#[test]
fn every_error_of_the_api_has_its_code() {
    in_both(&full_settings(), |node| {
        node.calls(
            "publish",
            r#"{"channel":"t","data":1,"idempotency_key":"k"}"#,
            r#"{"result":{}}"#,
        );
        for (code, message, method, body) in [
            (102, "unknown channel", "publish", r#"{"channel":"none:a","data":1}"#),
            (104, "not found", "rpc", r#"{"method":"m"}"#),
            (107, "bad request", "publish", r#"{"channel":"t"}"#),
            (108, "not available", "presence", r#"{"channel":"t"}"#),
            (110, "expired", "subscribe", r#"{"user":"u","channel":"t","expire_at":1}"#),
            (
                112,
                "unrecoverable position",
                "history",
                r#"{"channel":"hist:a","since":{"offset":1,"epoch":"other"}}"#,
            ),
            (
                113,
                "conflict: the idempotency key was used with other data",
                "publish",
                r#"{"channel":"t","data":2,"idempotency_key":"k"}"#,
            ),
        ] {
            let error = format!(r#"{{"error":{{"code":{code},"message":"{message}"}}}}"#);
            node.calls(method, body, &error);
        }
    });
}

/// 2500 needs a loss between shards: `lost`.
#[test]
fn every_end_of_a_subscription_has_its_code() {
    in_both(&full_settings(), |node| {
        let claims = format!(r#"{{"sub":"u","channel":"t","exp":{}}}"#, START + 10);
        let subscribe =
            format!(r#"{{"id":2,"subscribe":{{"channel":"t","token":"{}"}}}}"#, token(&claims));
        for (code, reason) in [(2000, "server unsubscribe"), (2501, "subscription expired")] {
            let client = says(node, &subscribe);
            node.listen(client);
            if code == 2000 {
                node.calls("unsubscribe", r#"{"user":"u","channel":"t"}"#, r#"{"result":{}}"#);
            } else {
                node.pass_seconds(40);
            }
            let ended = format!(r#"{{"code":{code},"reason":"{reason}"}}"#);
            node.hear(client, &[&format!(r#"{{"push":{{"channel":"t","unsubscribe":{ended}}}}}"#)]);
        }
    });
}

fn not_renewed(node: &mut Node) -> Client {
    let token = token(&format!(r#"{{"sub":"u","exp":{}}}"#, START + 1));
    let client = node.enter("a", &format!(r#"{{"token":"{token}"}}"#));
    node.pass_seconds(30);
    client
}

fn server_side_not_renewed(node: &mut Node) -> Client {
    let client = node.user("a", "u");
    let body = format!(r#"{{"user":"u","channel":"t","expire_at":{}}}"#, START + 1);
    node.calls("subscribe", &body, r#"{"result":{}}"#);
    node.listen(client);
    node.pass_seconds(30);
    client
}

fn does_not_read(node: &mut Node) -> Client {
    let client = node.user("a", "u");
    node.ask_for(
        client,
        r#"{"id":2,"subscribe":{"channel":"t"}}"#,
        &[r#"{"id":2,"subscribe":{}}"#],
    );
    node.stick(client);
    let data = format!("\"{}\"", "x".repeat(500_000));
    (0..4).for_each(|_| node.publish("t", &data));
    node.unstick(client);
    client
}

fn does_not_answer_pings(node: &mut Node) -> Client {
    let client = node.user("a", "u");
    for _ in 0..100 {
        node.pass(Duration::from_millis(500));
        if node.listen(client) == [serde_json::json!({})] {
            node.pass(Duration::from_millis(8_200));
            return client;
        }
    }
    panic!("no ping")
}

fn never_connects(node: &mut Node) -> Client {
    let client = node.open();
    node.pass(Duration::from_secs(11));
    client
}

fn has_too_many_connections(node: &mut Node) -> Client {
    node.user("a", "w");
    node.user("a", "w");
    let client = node.open();
    node.say(client, &format!(r#"{{"id":1,"connect":{{"token":"{}"}}}}"#, token_of("w", "")));
    client
}

fn has_too_many_topics(node: &mut Node) -> Client {
    let topics: Vec<_> = (0..17).map(|number| format!("\"t{number}\"")).collect();
    let client = node.open();
    let token = token_of("u", &format!(r#""channels":[{}]"#, topics.join(",")));
    node.say(client, &format!(r#"{{"id":1,"connect":{{"token":"{token}"}}}}"#));
    client
}

fn is_nobody(node: &mut Node) -> Client {
    let client = node.open();
    node.say(client, &format!(r#"{{"id":1,"connect":{{"token":"{}"}}}}"#, token("{}")));
    client
}

const CLOSES: [(u16, &str, Deed); 15] = [
    (3001, "shutdown", |node| {
        let client = node.user("a", "u");
        node.close_all(&Disconnect::SHUTDOWN);
        client
    }),
    (3005, "connection expired", not_renewed),
    (3006, "subscription expired", server_side_not_renewed),
    (3008, "slow", does_not_read),
    (3010, "insufficient state", |node| {
        let token = token_of("u", r#""channels":["t"]"#);
        says(node, &format!(r#"{{"id":2,"refresh":{{"token":"{token}"}}}}"#))
    }),
    (3012, "no pong", does_not_answer_pings),
    (3500, "invalid token", |node| says(node, r#"{"id":2,"refresh":{"token":"t"}}"#)),
    (3501, "bad request", |node| says(node, r#"{"id":2,"connect":{}}"#)),
    (3502, "stale", never_connects),
    (3503, "force disconnect", |node| {
        let client = node.user("a", "u");
        node.calls("disconnect", r#"{"user":"u"}"#, r#"{"result":{}}"#);
        client
    }),
    (3504, "connection limit", has_too_many_connections),
    (3505, "channel limit", has_too_many_topics),
    (3507, "permission denied", is_nobody),
    (3508, "not available", |node| says(node, r#"{"send":{"data":1}}"#)),
    (3501, "bad request", |node| says(node, "{}")),
];

#[test]
fn every_close_has_its_code() {
    for (code, reason, deed) in CLOSES {
        let mut settings = full_settings();
        settings.client.user_connections_max = 2;
        settings.client.disallow_anonymous_connection_tokens = true;
        if code == 3012 {
            settings.client.ping_interval = Duration::from_secs(25);
        }
        in_both(&settings, |node| {
            let client = deed(node);
            node.closed(client, code, reason);
        });
    }
}

#[test]
fn a_backend_may_close_with_any_code_that_clients_know() {
    in_both(&full_settings(), |node| {
        for code in [3000, 3009, 3011, 3013, 3014, 3499, 3500, 3999, 4000, 4499, 4500, 4999] {
            let client = node.user("a", "u");
            let body =
                format!(r#"{{"user":"u","disconnect":{{"code":{code},"reason":"because"}}}}"#);
            node.calls("disconnect", &body, r#"{"result":{}}"#);
            node.closed(client, code, "because");
        }
        for code in [0, 1000, 1006, 2999, 5000, 70_000] {
            let client = node.user("a", "u");
            let body = format!(r#"{{"user":"u","disconnect":{{"code":{code}}}}}"#);
            let error = r#"{"error":{"code":107,"message":"bad request"}}"#;
            node.calls("disconnect", &body, error);
            node.hear(client, &[]);
            node.drop_client(client);
        }
    });
}
