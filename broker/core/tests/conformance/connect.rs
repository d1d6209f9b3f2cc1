//! Connect: who gets in, what is told, and who does not (specification, sections 6, 9).

use std::time::Duration;

use fanwire_core::PingStyle;
use fanwire_core::config::Match;

use fanwire_core::keys::{Jwks, KeySet, Keys};

use crate::kit::tokens::{START, keys, token, token_of, token_of_unknown_key};
use crate::kit::{full_settings, in_both};

const CONNECTED: &str =
    r#"{"id":1,"connect":{"client":"<_>","version":"0","ping":315360000,"pong":true}}"#;

fn connect(token: &str) -> String {
    format!(r#"{{"id":1,"connect":{{"token":"{token}"}}}}"#)
}

#[test]
fn everything_about_a_session_is_told() {
    let mut settings = full_settings();
    settings.client.ping_interval = Duration::from_secs(25);
    settings.client.connect_time = true;
    in_both(&settings, |node| {
        let client = node.open();
        let token = token_of("u", r#""info":{"name":"A"}"#);
        let commands = format!(
            r#"{{"id":4294967295,"connect":{{"token":"{token}","data":{{"a":null}},
                "name":"js","version":"1","headers":{{"h":"v"}},"flag":1,
                "unknown":{{"b":[]}}}},"more":7}}"#
        );
        let time = START * 1000;
        let reply = format!(
            r#"{{"id":4294967295,"connect":{{"client":"<id>","version":"0",
                "expires":true,"ttl":3600,"ping":25,"pong":true,"time":{time}}}}}"#
        );
        node.ask_for(client, &commands, &[&reply]);
        let id: uuid::Uuid = node.name("id").parse().unwrap();
        assert_eq!(id.get_version_num(), 4);
    });
}

#[test]
fn whoever_answers_pings_by_frames_is_told_of_none() {
    in_both(&full_settings(), |node| {
        let client = node.open_with(PingStyle::Frames);
        let reply = r#"{"id":1,"connect":{"client":"<_>","version":"0"}}"#;
        node.ask_for(client, r#"{"id":1,"connect":{}}"#, &[reply]);
    });
}

#[test]
fn who_answers_pings_stays() {
    let mut settings = full_settings();
    settings.client.ping_interval = Duration::from_secs(25);
    in_both(&settings, |node| {
        let client = node.guest("a");
        let mut pings = 0;
        for _ in 0..100 {
            node.pass_seconds(1);
            for ping in node.listen(client) {
                assert_eq!(ping, serde_json::json!({}));
                pings += 1;
                node.ask_for(client, "{}", &[]);
            }
        }
        assert!((3..=4).contains(&pings), "{pings} pings in 100 s");
        node.say(client, "{}");
        node.closed(client, 3501, "bad request");
    });
}

#[test]
fn a_token_says_until_when_a_connection_lasts() {
    let year = 365 * 24 * 3600;
    in_both(&full_settings(), |node| {
        for (claims, ttl) in [
            (r#"{"sub":"u"}"#.to_owned(), None),
            ("{}".to_owned(), None),
            (format!(r#"{{"sub":"u","exp":{}}}"#, START + 10), Some(10)),
            (format!(r#"{{"sub":"u","exp":{}.9}}"#, START + 10), Some(10)),
            (format!(r#"{{"sub":"u","exp":{}.5}}"#, START), Some(1)),
            (format!(r#"{{"sub":"u","exp":{}}}"#, START + 10 * year), Some(year)),
            (format!(r#"{{"exp":{},"expire_at":0}}"#, START + 10), None),
            (format!(r#"{{"exp":{},"expire_at":{}}}"#, START + 10, START + 99), Some(99)),
            (format!(r#"{{"iat":{START},"nbf":{START},"jti":"x","meta":{{"m":1}}}}"#), None),
        ] {
            let client = node.open();
            let expiry = ttl.map_or(String::new(), |ttl| format!(r#","expires":true,"ttl":{ttl}"#));
            let reply = format!(
                r#"{{"id":1,"connect":{{"client":"<_>","version":"0"{expiry},
                    "ping":315360000,"pong":true}}}}"#
            );
            node.ask_for(client, &connect(&token(&claims)), &[&reply]);
        }
    });
}

#[test]
fn a_bad_token_ends_the_connection() {
    in_both(&full_settings(), |node| {
        let good = token_of("u", "");
        let tampered = format!("{}A{}", &good[..10], &good[11..]);
        for bad in [
            "t".to_owned(),
            "a.b.c".to_owned(),
            good[..good.len() - 2].to_owned(),
            format!("{good}."),
            tampered,
            token_of("u", r#""channel":"t""#),
            token(r#"{"sub":7}"#),
            token(r#"{"sub":"u","exp":"tomorrow"}"#),
            token(r#"{"sub":"u","channels":"t"}"#),
            token(r#"{"sub":"u","subs":["t"]}"#),
            token(r#"["sub"]"#),
            // Section 23, trap 4: what is not valid yet is not expired.
            token_of("u", &format!(r#""nbf":{}"#, START + 60)),
            "x".repeat(17_000),
        ] {
            let client = node.open();
            node.say(client, &connect(&bad));
            node.closed(client, 3500, "invalid token");
        }
    });
}

#[test]
fn audience_and_issuer_must_be_those_that_are_expected() {
    let mut settings = full_settings();
    settings.client.token.audience = Some(Match::Exact("us".to_owned()));
    settings.client.token.issuer = Some(Match::pattern("iss-[0-9]").unwrap());
    settings.client.token.user_id_claim = "id".to_owned();
    in_both(&settings, |node| {
        for (more, good) in [
            (r#""aud":"us","iss":"iss-1""#, true),
            (r#""aud":["them","us"],"iss":"iss-1""#, true),
            (r#""aud":"them","iss":"iss-1""#, false),
            (r#""iss":"iss-1""#, false),
            (r#""aud":"us""#, false),
            (r#""aud":"us","iss":"iss-12""#, false),
        ] {
            let client = node.open();
            node.say(client, &connect(&token(&format!(r#"{{"id":"u",{more}}}"#))));
            if good {
                node.hear(client, &[CONNECTED]);
            } else {
                node.closed(client, 3500, "invalid token");
            }
        }
    });
}

#[test]
fn a_token_without_exp_is_good_only_where_that_is_allowed() {
    let mut settings = full_settings();
    settings.client.token.allow_without_exp = false;
    in_both(&settings, |node| {
        let client = node.open();
        node.say(client, &connect(&token(r#"{"sub":"u"}"#)));
        node.closed(client, 3500, "invalid token");
    });
}

#[test]
fn after_a_refused_connect_the_rest_of_its_frame_is_dropped_and_another_may_follow() {
    in_both(&full_settings(), |node| {
        let expired = token(&format!(r#"{{"sub":"u","exp":{START}}}"#));
        let frame = [
            connect(&expired),
            r#"{"id":2,"connect":{}}"#.to_owned(),
            r#"{"id":3,"subscribe":{"channel":"t"}}"#.to_owned(),
        ];
        let client = node.open();
        let refusal = r#"{"id":1,"error":{"code":109,"message":"token expired"}}"#;
        node.ask_for(client, &frame.join("\n"), &[refusal]);
        let past = token_of("u", &format!(r#""expire_at":{START}"#));
        let refusal = r#"{"id":1,"error":{"code":110,"message":"expired"}}"#;
        node.ask_for(client, &connect(&past), &[refusal]);
        let undefined = token_of("u", r#""channels":["none:a"]"#);
        let refusal = r#"{"id":1,"error":{"code":102,"message":"unknown channel"}}"#;
        node.ask_for(client, &connect(&undefined), &[refusal]);
        node.ask_for(client, &connect(&token(r#"{"sub":"u"}"#)), &[CONNECTED]);
        node.ask_for(
            client,
            r#"{"id":2,"subscribe":{"channel":"t"}}"#,
            &[r#"{"id":2,"subscribe":{}}"#],
        );
        node.pass_seconds(60);
        node.hear(client, &[]);
    });
}

#[test]
fn a_client_that_was_refused_is_not_heard_until_it_connects_and_stale_in_the_end() {
    in_both(&full_settings(), |node| {
        let expired = connect(&token(&format!(r#"{{"sub":"u","exp":{START}}}"#)));
        let refusal = r#"{"id":1,"error":{"code":109,"message":"token expired"}}"#;
        let clients = [node.open(), node.open(), node.open()];
        for client in clients {
            node.ask_for(client, &expired, &[refusal]);
            // What was sent before the client knew is not answered.
            for command in
                [r#"{"id":2,"subscribe":{"channel":"t"}}"#, r#"{"id":3,"refresh":{}}"#, "{}"]
            {
                node.ask_for(client, command, &[]);
            }
            node.pass(Duration::from_secs(1));
        }
        node.publish("t", "1");
        node.ask_for(clients[2], &connect(&token(r#"{"sub":"u"}"#)), &[CONNECTED]);
        node.pass(Duration::from_secs(8));
        node.closed(clients[0], 3502, "stale");
        node.closed(clients[1], 3502, "stale");
        node.hear(clients[2], &[]);
    });
}

#[test]
fn without_a_token_only_anonymous_and_insecure_get_in() {
    let mut settings = full_settings();
    settings.client.anonymous = false;
    settings.client.disallow_anonymous_connection_tokens = true;
    in_both(&settings, |node| {
        let client = node.open();
        node.say(client, r#"{"id":1,"connect":{}}"#);
        node.closed(client, 3501, "bad request");
        for claims in ["{}", r#"{"sub":""}"#, r#"{"sub":null}"#] {
            let client = node.open();
            node.say(client, &connect(&token(claims)));
            node.closed(client, 3507, "permission denied");
        }
        let client = node.open();
        node.ask_for(client, &connect(&token(r#"{"sub":"u"}"#)), &[CONNECTED]);
    });
}

#[test]
fn where_nothing_is_secured_everybody_may_do_everything_that_there_is() {
    let mut settings = full_settings();
    settings.client.anonymous = false;
    settings.client.insecure = true;
    in_both(&settings, |node| {
        // With keys, tokens still say who somebody is, but not until when.
        let client = node.open();
        node.say(client, &connect("rubbish"));
        node.closed(client, 3500, "invalid token");
        let client = node.open();
        node.ask_for(client, &connect(&token_of("u", "")), &[CONNECTED]);
        node.set_keys(Keys::default());
        for command in [r#"{"id":1,"connect":{}}"#, r#"{"id":1,"connect":{"token":"rubbish"}}"#] {
            let client = node.open();
            node.ask_for(client, command, &[CONNECTED]);
            for (command, reply) in [
                (r#"{"id":2,"subscribe":{"channel":"closed:a"}}"#, r#"{"id":2,"subscribe":{}}"#),
                (
                    r#"{"id":3,"subscribe":{"channel":"$a","token":"x"}}"#,
                    r#"{"id":3,"subscribe":{}}"#,
                ),
                (
                    r#"{"id":4,"publish":{"channel":"closed:b","data":1}}"#,
                    r#"{"id":4,"publish":{}}"#,
                ),
                (r#"{"id":5,"refresh":{"token":"x"}}"#, r#"{"id":5,"refresh":{}}"#),
            ] {
                node.ask_for(client, command, &[reply]);
            }
            node.refused(client, r#""history":{"channel":"closed:a"}"#, 108, "not available");
            node.refused(client, r#""presence":{"channel":"closed:a"}"#, 108, "not available");
            node.refused(client, r#""subscribe":{"channel":"none:a"}"#, 102, "unknown channel");
        }
    });
}

#[test]
fn a_token_of_an_unknown_key_is_an_internal_error_until_the_keys_are_fetched() {
    let unknown = token_of_unknown_key(r#"{"sub":"u"}"#);
    let signed_now = token(r#"{"sub":"u"}"#);
    in_both(&full_settings(), |node| {
        // Nobody fetches keys.
        let client = node.open();
        node.say(client, &connect(&unknown));
        node.closed(client, 3500, "invalid token");
        assert_eq!(node.fetches, 0);
    });
    let nothing = Jwks::parse(br#"{"keys":[]}"#).unwrap();
    for set in [KeySet::default().awaiting_jwks(), KeySet::default().with_jwks(nothing)] {
        in_both(&full_settings(), |node| {
            node.set_keys(Keys::new(set.clone(), None));
            let client = node.open();
            let internal = r#"{"id":1,"error":{"code":100,"message":"internal server error",
                "temporary":true}}"#;
            node.ask_for(client, &connect(&unknown), &[internal]);
            assert_eq!(node.fetches, 1);
            node.ask_for(client, &connect(&unknown), &[internal]);
            node.set_keys(keys());
            node.ask_for(client, &connect(&signed_now), &[CONNECTED]);
        });
    }
}

#[test]
fn a_key_that_two_fetches_do_not_bring_makes_its_token_invalid() {
    in_both(&full_settings(), |node| {
        let nothing = Jwks::parse(br#"{"keys":[]}"#).unwrap();
        let fetched = || Keys::new(KeySet::default().with_jwks(nothing.clone()), None);
        node.set_keys(fetched());
        let unknown = token_of_unknown_key(r#"{"sub":"u"}"#);
        let client = node.open();
        for _ in 0..2 {
            let internal = r#"{"id":1,"error":{"code":100,"message":"internal server error",
                "temporary":true}}"#;
            node.ask_for(client, &connect(&unknown), &[internal]);
            node.set_keys(fetched());
        }
        node.say(client, &connect(&unknown));
        node.closed(client, 3500, "invalid token");
    });
}

#[test]
fn what_is_out_of_order_ends_the_connection() {
    in_both(&full_settings(), |node| {
        for command in [
            r#"{"id":1,"subscribe":{"channel":"t"}}"#,
            r#"{"id":1,"rpc":{}}"#,
            r#"{"send":{}}"#,
            "{}",
        ] {
            let client = node.open();
            node.say(client, command);
            node.closed(client, 3501, "bad request");
        }
        for command in [
            r#"{"id":2,"connect":{}}"#,
            r#"{"id":2,"ping":{}}"#,
            r#"{"id":2,"nosuch":{}}"#,
            r#"{"id":2}"#,
            "{}",
            r#"{"subscribe":{"channel":"t"}}"#,
            r#"{"id":2,"refresh":{}}"#,
        ] {
            let client = node.guest("a");
            node.say(client, command);
            node.closed(client, 3501, "bad request");
        }
        for command in [r#"{"send":{"data":1}}"#, r#"{"id":7,"send":{}}"#] {
            let client = node.guest("a");
            node.say(client, command);
            node.closed(client, 3508, "not available");
        }
    });
}

#[test]
fn ids_need_be_neither_unique_nor_ascending_and_the_first_method_counts() {
    in_both(&full_settings(), |node| {
        let client = node.guest("a");
        let frame = [
            r#"{"id":9,"subscribe":{"channel":"t"},"unsubscribe":{"channel":"t"}}"#,
            r#"{"id":9,"unsubscribe":{"channel":"u"},"rpc":{"method":"m"},
                "publish":{"channel":"t","data":1}}"#,
            r#"{"id":3,"rpc":{"method":"m"},"send":{"data":1}}"#,
            r#"{"id":4294967295,"presence_stats":{"channel":"pres:a"},
                "history":{"channel":"hist:a"}}"#,
        ];
        node.ask_for(
            client,
            &frame.join("\n"),
            &[
                r#"{"id":9,"subscribe":{}}"#,
                r#"{"id":9,"unsubscribe":{}}"#,
                r#"{"id":3,"error":{"code":108,"message":"not available"}}"#,
                r#"{"id":4294967295,"presence_stats":{"num_clients":0,"num_users":0}}"#,
            ],
        );
    });
}

#[test]
fn the_call_ping_is_answered_where_that_is_switched_on() {
    let mut settings = full_settings();
    in_both(&settings, |node| {
        let client = node.guest("a");
        node.refused(client, r#""rpc":{"method":"ping"}"#, 108, "not available");
    });
    settings.client.rpc_ping = true;
    in_both(&settings, |node| {
        let client = node.guest("a");
        let command = r#"{"id":2,"rpc":{"method":"ping","data":{"any":1}}}"#;
        node.ask_for(client, command, &[r#"{"id":2,"rpc":{}}"#]);
        node.refused(client, r#""rpc":{"method":"pong"}"#, 108, "not available");
        node.refused(client, r#""rpc":{}"#, 108, "not available");
    });
}
