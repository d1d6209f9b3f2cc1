//! Subscription tokens, refresh and sub_refresh, and what happens without (specification, sections
//! 6 and 9).

use fanwire_core::config::{Match, TokenSettings};
use fanwire_core::keys::{KeySet, Keys};

use crate::kit::tokens::{
    START, other_token, separate_keys, token, token_of, token_of_unknown_key,
};
use crate::kit::{Client, Node, full_settings, in_both};

fn subscribe(topic: &str, token: &str) -> String {
    format!(r#""subscribe":{{"channel":"{topic}","token":"{token}"}}"#)
}

fn sub_refresh(topic: &str, token: &str) -> String {
    format!(r#""sub_refresh":{{"channel":"{topic}","token":"{token}"}}"#)
}

/// A subscription token of the user "u" for "closed:a", with more claims.
fn good(more: &str) -> String {
    token(&format!(r#"{{"sub":"u","channel":"closed:a"{more}}}"#))
}

fn refresh(token: &str) -> String {
    format!(r#"{{"id":2,"refresh":{{"token":"{token}"}}}}"#)
}

#[test]
fn a_subscription_token_opens_every_topic_that_there_is() {
    in_both(&full_settings(), |node| {
        for topic in ["closed:a", "$closed:a", "$a", "t", "lim:x#other"] {
            let client = node.user("a", "u");
            let token = token(&format!(r#"{{"sub":"u","channel":"{topic}"}}"#));
            let command = format!(r#"{{"id":2,{}}}"#, subscribe(topic, &token));
            node.ask_for(client, &command, &[r#"{"id":2,"subscribe":{}}"#]);
        }
        let client = node.user("a", "u");
        let token = token(r#"{"sub":"u","channel":"none:a"}"#);
        node.refused(client, &subscribe("none:a", &token), 102, "unknown channel");
    });
}

#[test]
fn a_subscription_token_says_what_the_subscription_is() {
    in_both(&full_settings(), |node| {
        let client = node.user("a", "u");
        let more = format!(
            r#","exp":{},"info":{{"i":1}},"b64info":"eyJpIjoyfQ==","data":{{"d":1}}"#,
            START + 100
        );
        let command = format!(r#"{{"id":2,{}}}"#, subscribe("closed:a", &good(&more)));
        let reply = r#"{"id":2,"subscribe":{"expires":true,"ttl":100,"data":{"d":1}}}"#;
        node.ask_for(client, &command, &[reply]);
        let overrides = r#""override":{"presence":{"value":true},"join_leave":{"value":true},
            "force_push_join_leave":{"value":true}}"#;
        let claims = format!(r#"{{"sub":"u","channel":"t","info":{{"i":3}},{overrides}}}"#);
        let command = format!(r#"{{"id":3,{}}}"#, subscribe("t", &token(&claims)));
        let info = r#"{"user":"u","client":"<a>","chan_info":{"i":3}}"#;
        let join = format!(r#"{{"push":{{"channel":"t","join":{{"info":{info}}}}}}}"#);
        node.ask_for(client, &command, &[r#"{"id":3,"subscribe":{}}"#, &join]);
        let publish = r#"{"id":4,"publish":{"channel":"t","data":1}}"#;
        let push = format!(r#"{{"push":{{"channel":"t","pub":{{"data":1,"info":{info}}}}}}}"#);
        node.ask_for(client, publish, &[&push, r#"{"id":4,"publish":{}}"#]);
        let claims = r#"{"sub":"u","channel":"rec:a","expire_at":0,"exp":1900000000,
            "override":{"force_recovery":{"value":false},"force_positioning":{"value":true}}}"#;
        let command = format!(r#"{{"id":5,{}}}"#, subscribe("rec:a", &token(claims)));
        let reply = r#"{"id":5,"subscribe":{"positioned":true,"epoch":"<_>"}}"#;
        node.ask_for(client, &command, &[reply]);
    });
}

#[test]
fn a_bad_subscription_token_is_refused() {
    in_both(&full_settings(), |node| {
        let client = node.user("a", "u");
        let expired = format!(r#","exp":{START}"#);
        let late = format!(r#","exp":{},"nbf":{}"#, START + 90, START + 60);
        for (token, code, message) in [
            (good(&expired), 109, "token expired"),
            ("rubbish".to_owned(), 103, "permission denied"),
            (format!("{}x", good("")), 103, "permission denied"),
            (token(r#"{"sub":"u"}"#), 103, "permission denied"),
            (token(r#"{"sub":"u","channel":""}"#), 103, "permission denied"),
            (token(r#"{"sub":"u","channel":7}"#), 103, "permission denied"),
            (token(r#"{"sub":7,"channel":"closed:a"}"#), 103, "permission denied"),
            (good(r#","info":1,"b64info":"%""#), 103, "permission denied"),
            (good(&late), 103, "permission denied"),
            (good(&format!(r#","expire_at":{START}"#)), 110, "expired"),
            (token_of("u", ""), 103, "permission denied"),
        ] {
            node.refused(client, &subscribe("closed:a", &token), code, message);
        }
        let command = format!(r#"{{"id":2,{}}}"#, subscribe("closed:a", &good("")));
        node.ask_for(client, &command, &[r#"{"id":2,"subscribe":{}}"#]);
    });
}

/// Tokens that are good, but for somebody or something else.
fn foreign() -> [String; 4] {
    [
        token(r#"{"sub":"u","channel":"closed:b"}"#),
        token(r#"{"sub":"v","channel":"closed:a"}"#),
        token(r#"{"channel":"closed:a"}"#),
        good(r#","client":"0c9a2f64-6c0a-4c0e-9df2-0d4a3a1c5a11""#),
    ]
}

#[test]
fn a_subscription_token_of_another_ends_the_connection() {
    in_both(&full_settings(), |node| {
        for token in foreign() {
            let client = node.user("a", "u");
            node.say(client, &format!(r#"{{"id":2,{}}}"#, subscribe("closed:a", &token)));
            node.closed(client, 3500, "invalid token");
        }
        let client = node.user("a", "u");
        let claims = format!(r#","client":"{}""#, node.name("a"));
        let command = format!(r#"{{"id":2,{}}}"#, subscribe("closed:a", &good(&claims)));
        node.ask_for(client, &command, &[r#"{"id":2,"subscribe":{}}"#]);
    });
}

#[test]
fn subscription_tokens_may_have_keys_and_rules_of_their_own() {
    let mut settings = full_settings();
    settings.client.subscription_token = Some(TokenSettings {
        audience: Some(Match::Exact("subs".to_owned())),
        ..TokenSettings::default()
    });
    in_both(&settings, |node| {
        node.set_keys(separate_keys());
        let client = node.user("a", "u");
        let claims =
            format!(r#"{{"sub":"u","channel":"closed:a","aud":"subs","exp":{}}}"#, START + 100);
        let denied = (103, "permission denied");
        node.refused(client, &subscribe("closed:a", &token(&claims)), denied.0, denied.1);
        let no_audience = other_token(&claims.replace("subs", "others"));
        node.refused(client, &subscribe("closed:a", &no_audience), denied.0, denied.1);
        let no_exp = other_token(r#"{"sub":"u","channel":"closed:a","aud":"subs"}"#);
        node.refused(client, &subscribe("closed:a", &no_exp), denied.0, denied.1);
        let command = format!(r#"{{"id":2,{}}}"#, subscribe("closed:a", &other_token(&claims)));
        node.ask_for(client, &command, &[r#"{"id":2,"subscribe":{"expires":true,"ttl":100}}"#]);
    });
}

#[test]
fn tokens_of_unknown_keys_are_internal_errors_everywhere() {
    in_both(&full_settings(), |node| {
        let client = subscriber(node, "");
        node.set_keys(Keys::new(KeySet::default().awaiting_jwks(), None));
        let unknown = token_of_unknown_key(r#"{"sub":"u","channel":"closed:b"}"#);
        let internal = (100, "internal server error");
        let commands = [
            subscribe("closed:b", &unknown),
            sub_refresh("closed:a", &unknown),
            format!(r#""refresh":{{"token":"{unknown}"}}"#),
        ];
        for (index, command) in commands.iter().enumerate() {
            node.refused(client, command, internal.0, internal.1);
            assert_eq!(node.fetches, index + 1);
        }
    });
}

/// A session of "u" that is subscribed to "closed:a" by a token with more claims.
fn subscriber(node: &mut Node, more: &str) -> Client {
    let client = node.user("a", "u");
    let command = format!(r#"{{"id":2,{}}}"#, subscribe("closed:a", &good(more)));
    node.ask_for(client, &command, &[r#"{"id":2,"subscribe":"<_>"}"#]);
    client
}

#[test]
fn sub_refresh_is_refused_in_order() {
    in_both(&full_settings(), |node| {
        let client = node.user("a", "u");
        for topic in ["closed:a", "none:a", "t"] {
            let command = sub_refresh(topic, &good(""));
            node.refused(client, &command, 103, "permission denied");
            node.refused(client, &sub_refresh(topic, ""), 103, "permission denied");
        }
        node.say(client, r#"{"id":2,"sub_refresh":{"token":"x"}}"#);
        node.closed(client, 3501, "bad request");
        let client = subscriber(node, "");
        node.refused(client, &sub_refresh("closed:a", ""), 107, "bad request");
        let expired = good(&format!(r#","exp":{START}"#));
        node.refused(client, &sub_refresh("closed:a", &expired), 109, "token expired");
        let past = good(&format!(r#","expire_at":{START}"#));
        node.refused(client, &sub_refresh("closed:a", &past), 110, "expired");
        let rubbish = ["rubbish".to_owned(), token_of("u", "")];
        for bad in foreign().into_iter().chain(rubbish) {
            let client = subscriber(node, "");
            node.say(client, &format!(r#"{{"id":2,{}}}"#, sub_refresh("closed:a", &bad)));
            node.closed(client, 3500, "invalid token");
        }
    });
}

#[test]
fn sub_refresh_gives_a_subscription_a_new_end_and_a_new_face() {
    in_both(&full_settings(), |node| {
        let client = node.user("a", "u");
        let claims = |more: &str| format!(r#"{{"sub":"u","channel":"t"{more}}}"#);
        let first = token(&claims(&format!(r#","exp":{},"info":1"#, START + 10)));
        let command = format!(r#"{{"id":2,{}}}"#, subscribe("t", &first));
        node.ask_for(client, &command, &[r#"{"id":2,"subscribe":{"expires":true,"ttl":10}}"#]);
        let second = token(&claims(&format!(r#","exp":{},"info":{{"i":2}}"#, START + 200)));
        let command = format!(r#"{{"id":3,{}}}"#, sub_refresh("t", &second));
        node.ask_for(client, &command, &[r#"{"id":3,"sub_refresh":{"expires":true,"ttl":200}}"#]);
        let info = r#"{"user":"u","client":"<a>","chan_info":{"i":2}}"#;
        let push = format!(r#"{{"push":{{"channel":"t","pub":{{"data":1,"info":{info}}}}}}}"#);
        let publish = r#"{"id":4,"publish":{"channel":"t","data":1}}"#;
        node.ask_for(client, publish, &[&push, r#"{"id":4,"publish":{}}"#]);
        node.pass_seconds(223);
        node.hear(client, &[]);
        let third = token(&claims(&format!(r#","exp":{},"expire_at":0"#, START + 900)));
        let command = format!(r#"{{"id":5,{}}}"#, sub_refresh("t", &third));
        node.ask_for(client, &command, &[r#"{"id":5,"sub_refresh":{}}"#]);
        node.pass_seconds(2000);
        node.hear(client, &[]);
    });
}

#[test]
fn a_subscription_that_is_not_renewed_ends_and_may_begin_anew() {
    in_both(&full_settings(), |node| {
        let client = subscriber(node, &format!(r#","exp":{}"#, START + 10));
        let other = node.user("b", "u");
        let t = r#"{"id":3,"subscribe":{"channel":"t"}}"#;
        node.ask_for(client, t, &[r#"{"id":3,"subscribe":{}}"#]);
        node.pass_seconds(34);
        node.hear(client, &[]);
        node.pass_seconds(2);
        let reason = r#""unsubscribe":{"code":2501,"reason":"subscription expired"}"#;
        node.hear(client, &[&format!(r#"{{"push":{{"channel":"closed:a",{reason}}}}}"#)]);
        node.publish("closed:a", "1");
        node.publish("t", "2");
        node.hear(client, &[r#"{"push":{"channel":"t","pub":{"data":2}}}"#]);
        node.refused(
            client,
            &subscribe("closed:a", &good(r#","exp":1800000010"#)),
            109,
            "token expired",
        );
        let command = format!(r#"{{"id":4,{}}}"#, subscribe("closed:a", &good("")));
        node.ask_for(client, &command, &[r#"{"id":4,"subscribe":{}}"#]);
        node.hear(other, &[]);
    });
}

#[test]
fn refresh_gives_a_connection_a_new_end_and_a_new_face() {
    in_both(&full_settings(), |node| {
        let first = token(&format!(r#"{{"sub":"u","exp":{},"info":1}}"#, START + 10));
        let client = node.enter("a", &format!(r#"{{"token":"{first}"}}"#));
        let second = token(&format!(r#"{{"sub":"u","exp":{},"info":{{"n":2}}}}"#, START + 100));
        let reply = r#"{"id":2,"refresh":{"expires":true,"ttl":100}}"#;
        node.ask_for(client, &refresh(&second), &[reply]);
        let subscribe = r#"{"id":3,"subscribe":{"channel":"t"}}"#;
        let publish = r#"{"id":4,"publish":{"channel":"t","data":1}}"#;
        let frame = [subscribe, publish].join("\n");
        let info = r#"{"user":"u","client":"<a>","conn_info":{"n":2}}"#;
        let push = format!(r#"{{"push":{{"channel":"t","pub":{{"data":1,"info":{info}}}}}}}"#);
        let replies = [r#"{"id":3,"subscribe":{}}"#, push.as_str(), r#"{"id":4,"publish":{}}"#];
        node.ask_for(client, &frame, &replies);
        node.pass_seconds(123);
        node.hear(client, &[]);
        node.ask_for(client, &refresh(&token(r#"{"sub":"u"}"#)), &[r#"{"id":2,"refresh":{}}"#]);
        node.pass_seconds(2000);
        node.hear(client, &[]);
    });
}

#[test]
fn what_a_token_says_anew_is_seen_wherever_its_client_is_seen() {
    in_both(&full_settings(), |node| {
        let other = node.guest("o");
        let client = node.enter("a", &format!(r#"{{"token":"{}"}}"#, token_of("u", r#""info":1"#)));
        node.say(client, r#"{"id":2,"subscribe":{"channel":"pres:a"}}"#);
        let grant = token(r#"{"sub":"u","channel":"pres:b","info":"b"}"#);
        node.say(client, &format!(r#"{{"id":2,{}}}"#, subscribe("pres:b", &grant)));
        node.listen(client);
        let fresh = r#"{"id":2,"refresh":{"expires":true,"ttl":3600}}"#;
        node.ask_for(client, &refresh(&token_of("u", r#""info":{"n":2}"#)), &[fresh]);
        let base = r#""user":"u","client":"<a>","conn_info":{"n":2}"#;
        let infos = [("pres:a", ""), ("pres:b", r#","chan_info":"b""#)];
        for (topic, more) in infos {
            seen(node, client, other, topic, &format!("{{{base}{more}}}"));
        }
        let grant = token(r#"{"sub":"u","channel":"pres:b","info":"c"}"#);
        let command = format!(r#"{{"id":3,{}}}"#, sub_refresh("pres:b", &grant));
        node.ask_for(client, &command, &[r#"{"id":3,"sub_refresh":{}}"#]);
        seen(node, client, other, "pres:b", &format!(r#"{{{base},"chan_info":"c"}}"#));
        node.calls("refresh", r#"{"user":"u","info":{"n":3}}"#, r#"{"result":{}}"#);
        node.listen(client);
        let base = base.replace('2', "3");
        seen(node, client, other, "pres:a", &format!("{{{base}}}"));
        seen(node, client, other, "pres:b", &format!(r#"{{{base},"chan_info":"c"}}"#));
    });
}

/// Expects a client to be seen like this by one who asks who is present, and in what it publishes.
fn seen(node: &mut Node, client: Client, other: Client, topic: &str, info: &str) {
    let presence = format!(r#"{{"id":5,"presence":{{"channel":"{topic}"}}}}"#);
    let told = format!(r#"{{"id":5,"presence":{{"presence":{{"<a>":{info}}}}}}}"#);
    node.ask_for(other, &presence, &[&told]);
    let publish = format!(r#"{{"id":6,"publish":{{"channel":"{topic}","data":1}}}}"#);
    let push = format!(r#"{{"push":{{"channel":"{topic}","pub":{{"data":1,"info":{info}}}}}}}"#);
    node.ask_for(client, &publish, &[&push, r#"{"id":6,"publish":{}}"#]);
}

#[test]
fn a_connection_that_is_not_renewed_ends() {
    in_both(&full_settings(), |node| {
        let token = token(&format!(r#"{{"sub":"u","exp":{}}}"#, START + 10));
        let client = node.enter("a", &format!(r#"{{"token":"{token}"}}"#));
        node.pass_seconds(34);
        node.hear(client, &[]);
        node.pass_seconds(2);
        node.closed(client, 3005, "connection expired");
    });
}

#[test]
fn a_bad_refresh_ends_the_connection() {
    in_both(&full_settings(), |node| {
        for (token, code, reason) in [
            ("rubbish".to_owned(), 3500, "invalid token"),
            (token_of("v", ""), 3500, "invalid token"),
            (token_of("u", r#""channel":"t""#), 3500, "invalid token"),
            (token(&format!(r#"{{"sub":"u","exp":{START}}}"#)), 3005, "connection expired"),
            (token_of("u", &format!(r#""expire_at":{START}"#)), 3005, "connection expired"),
            (token_of("u", r#""channels":["a"]"#), 3010, "insufficient state"),
            (String::new(), 3501, "bad request"),
        ] {
            let client = node.user("a", "u");
            node.say(client, &refresh(&token));
            node.closed(client, code, reason);
        }
        for (more, good) in [
            (r#""channels":["b","a"]"#, true),
            (r#""subs":{"a":{},"b":{"info":1}}"#, true),
            (r#""channels":["a"]"#, false),
            (r#""channels":["a","b","c"]"#, false),
            ("", false),
        ] {
            let token = token_of("u", r#""channels":["a","b"]"#);
            let client = node.enter("a", &format!(r#"{{"token":"{token}"}}"#));
            node.say(client, &refresh(&token_of("u", more)));
            if good {
                node.hear(client, &[r#"{"id":2,"refresh":{"expires":true,"ttl":3600}}"#]);
            } else {
                node.closed(client, 3010, "insufficient state");
            }
        }
    });
}

#[test]
fn the_wall_clock_decides_as_it_is_set_now() {
    in_both(&full_settings(), |node| {
        let token = token(&format!(r#"{{"sub":"u","exp":{}}}"#, START + 100));
        let connect = format!(r#"{{"id":1,"connect":{{"token":"{token}"}}}}"#);
        node.set_wall_clock((START + 99) * 1000);
        let client = node.open();
        node.say(client, &connect);
        assert_eq!(node.listen(client)[0]["connect"]["ttl"], 1);
        node.set_wall_clock((START + 100) * 1000);
        let client = node.open();
        let refusal = r#"{"id":1,"error":{"code":109,"message":"token expired"}}"#;
        node.ask_for(client, &connect, &[refusal]);
    });
}
