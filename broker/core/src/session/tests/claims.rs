//! Every claim, and each way in which it can be wrong.

use super::*;
use crate::config::Match;
use crate::limits::{TOKEN_BYTES_MAX, USER_ID_BYTES_MAX};
use crate::protocol::{Overrides, Payload};
use crate::session::token::{SubscriptionToken, TokenTopic, subscription_token};

fn plain() -> TokenSettings {
    TokenSettings::default()
}

/// `claims` beside a good `sub` and `exp`.
fn with(claims: &str) -> Result<ConnectionToken, TokenError> {
    connect(&plain(), &format!(r#"{{"sub":"42","exp":{},{claims}}}"#, NOW + 60))
}

fn subscribe(claims: &str) -> Result<SubscriptionToken, TokenError> {
    let claims = format!(r#"{{"sub":"42","exp":{},{claims}}}"#, NOW + 60);
    subscription_token(&only(secret()), &plain(), &signed("HS256", &claims), NOW * 1000)
}

#[track_caller]
fn assert_invalid<T: std::fmt::Debug>(result: Result<T, TokenError>, cause: &str) {
    match result {
        Err(TokenError::Invalid(text)) => assert!(text.contains(cause), "{text}, not {cause}"),
        other => panic!("{other:?}, not {cause}"),
    }
}

fn json(text: &str) -> Payload {
    Payload::json(text.as_bytes())
}

fn text(payload: &Payload) -> &[u8] {
    payload.bytes()
}

#[test]
fn a_plain_token_says_who_and_until_when() {
    let expected = ConnectionToken {
        user: "42".to_owned(),
        expires_at: Some((NOW + 60) * 1000),
        info: None,
        topics: Vec::new(),
    };
    assert_eq!(connect(&plain(), &good()), Ok(expected));
}

#[test]
fn a_user_is_a_text_or_nobody() {
    let user = |claims: &str| {
        connect(&plain(), &format!(r#"{{"exp":{}{claims}}}"#, NOW + 60)).map(|token| token.user)
    };
    assert_eq!(user(r#","sub":"a\u0031""#), Ok("a1".to_owned()));
    for anonymous in ["", r#","sub":"""#, r#","sub":null"#] {
        assert_eq!(user(anonymous), Ok(String::new()));
    }
    for wrong in [r#","sub":42"#, r#","sub":true"#, r#","sub":["42"]"#, r#","sub":{}"#] {
        assert_invalid(user(wrong), "the user id is no text");
    }
    let of_length = |length| user(&format!(r#","sub":"{}""#, "u".repeat(length)));
    assert!(of_length(USER_ID_BYTES_MAX).is_ok());
    assert_invalid(of_length(USER_ID_BYTES_MAX + 1), "too long");
}

#[test]
fn another_claim_can_name_the_user() {
    let settings = TokenSettings { user_id_claim: "uid".to_owned(), ..plain() };
    let claims = format!(r#"{{"sub":7,"uid":"42","exp":{}}}"#, NOW + 60);
    assert_eq!(connect(&settings, &claims).unwrap().user, "42");
    assert_eq!(connect(&settings, &good()).unwrap().user, "");
}

#[test]
fn a_token_is_good_before_exp_and_expired_from_then_on() {
    let until =
        |exp: &str| connect(&plain(), &format!(r#"{{"exp":{exp}}}"#)).map(|token| token.expires_at);
    assert_eq!(until(&format!("{}", NOW + 1)), Ok(Some((NOW + 1) * 1000)));
    assert_eq!(until(&format!("{NOW}.5")), Ok(Some(NOW * 1000 + 500)));
    assert_eq!(until("1.7000001e9"), Ok(Some((NOW + 100) * 1000)));
    for past in [format!("{NOW}"), format!("{}.9", NOW - 1), "0".to_owned(), "-1e300".to_owned()] {
        assert_eq!(until(&past), Err(TokenError::Expired), "{past}");
    }
    assert_eq!(until("99999999999"), Ok(Some(99_999_999_999_000)));
    for far in ["1e300", "18446744073709551615"] {
        assert_eq!(until(far), Ok(Some(u64::MAX)), "{far}");
    }
    for wrong in ["\"1800000000\"", "true", "[1]", "{}"] {
        assert_invalid(until(wrong), "exp is no number");
    }
    assert!(matches!(until("1e999"), Err(TokenError::Invalid(_))));
    assert!(matches!(until("NaN"), Err(TokenError::Invalid(_))));
}

#[test]
fn a_token_without_exp_is_good_only_where_that_is_allowed() {
    for claims in [r#"{"sub":"42"}"#, r#"{"sub":"42","exp":null}"#, r#"{"expire_at":0}"#] {
        assert_invalid(connect(&plain(), claims), "no exp");
        let settings = TokenSettings { allow_without_exp: true, ..plain() };
        assert_eq!(connect(&settings, claims).unwrap().expires_at, None);
        let wrong = claims.replacen('{', r#"{"exp":"never","#, 1).replace(r#","exp":null"#, "");
        assert_invalid(connect(&settings, &wrong), "exp is no number");
    }
}

#[test]
fn expire_at_is_for_the_connection_and_exp_for_the_token() {
    let until = |claims: &str| with(claims).map(|token| token.expires_at);
    assert_eq!(until(r#""expire_at":0"#), Ok(None));
    assert_eq!(until(r#""expire_at":1700000500"#), Ok(Some(1_700_000_500_000)));
    assert_eq!(until(r#""expire_at":1e300"#), Ok(Some(u64::MAX)));
    // It is past: the caller answers that the connection has expired, not the token.
    assert_eq!(until(r#""expire_at":1600000000"#), Ok(Some(1_600_000_000_000)));
    // Only 0 means never.
    for past in ["-5", "0.0001", "-1e300"] {
        assert_eq!(until(&format!(r#""expire_at":{past}"#)), Ok(Some(1)), "{past}");
    }
    assert_eq!(until(r#""expire_at":null"#), Ok(Some((NOW + 60) * 1000)));
    assert_invalid(until(r#""expire_at":"0""#), "expire_at is no number");
    let expired = format!(r#"{{"exp":{NOW},"expire_at":0}}"#);
    assert_eq!(connect(&plain(), &expired), Err(TokenError::Expired));
}

#[test]
fn nbf_may_be_ahead_by_the_skew_of_clocks_and_no_more() {
    let from = |nbf: u64| with(&format!(r#""nbf":{nbf}"#));
    assert!(from(NOW - 1).is_ok() && from(NOW + 5).is_ok());
    assert_invalid(from(NOW + 6), "not valid yet");
    assert_invalid(with(r#""nbf":1e300"#), "not valid yet");
    assert_invalid(with(r#""nbf":"1""#), "nbf is no number");
    assert_invalid(with(r#""iat":"1""#), "iat is no number");
    assert!(with(r#""iat":1.5,"jti":"x""#).is_ok());
}

#[test]
fn the_audience_is_one_of_those_named() {
    let exact = TokenSettings { audience: Some(Match::Exact("us".to_owned())), ..plain() };
    let pattern = TokenSettings { audience: Some(Match::pattern("u[s-u]").unwrap()), ..plain() };
    for settings in [exact, pattern] {
        let aud =
            |aud: &str| connect(&settings, &format!(r#"{{"exp":{}{aud}}}"#, NOW + 60)).map(|_| ());
        assert_eq!(aud(r#","aud":"us""#), Ok(()));
        assert_eq!(aud(r#","aud":["them","us"]"#), Ok(()));
        for other in
            ["", r#","aud":"them""#, r#","aud":[]"#, r#","aud":"usa""#, r#","aud":["a us"]"#]
        {
            assert_invalid(aud(other), "another audience");
        }
        for wrong in [r#","aud":1"#, r#","aud":["us",1]"#, r#","aud":{"us":1}"#] {
            assert_invalid(aud(wrong), "aud is neither");
        }
    }
    assert!(with(r#""aud":"them""#).is_ok());
    assert_invalid(with(r#""aud":1"#), "aud is neither");
}

#[test]
fn the_issuer_is_the_one_expected() {
    let exact = TokenSettings { issuer: Some(Match::Exact("us".to_owned())), ..plain() };
    let pattern = TokenSettings { issuer: Some(Match::pattern(".*").unwrap()), ..plain() };
    let iss = |settings: &TokenSettings, iss: &str| {
        connect(settings, &format!(r#"{{"exp":{}{iss}}}"#, NOW + 60)).map(|_| ())
    };
    assert_eq!(iss(&exact, r#","iss":"us""#), Ok(()));
    assert_invalid(iss(&exact, r#","iss":"them""#), "another issuer");
    assert_eq!(iss(&pattern, r#","iss":"anybody""#), Ok(()));
    for settings in [exact, pattern] {
        assert_invalid(iss(&settings, ""), "another issuer");
        assert_invalid(iss(&settings, r#","iss":["us"]"#), "iss is no text");
    }
}

#[test]
fn only_a_token_that_is_good_in_all_else_is_called_expired() {
    let settings = TokenSettings { issuer: Some(Match::Exact("us".to_owned())), ..plain() };
    let expired = |claims: &str| connect(&settings, &format!(r#"{{"exp":1,{claims}}}"#));
    assert_eq!(expired(r#""iss":"us""#), Err(TokenError::Expired));
    assert_invalid(expired(r#""iss":"them""#), "another issuer");
    assert_invalid(expired(r#""iss":"us","sub":1"#), "user id");
    assert_invalid(expired(r#""iss":"us","channel":"a""#), "a subscription token");
    assert_invalid(expired(r#""iss":"us","nbf":1700000100"#), "not valid yet");
    let foreign = signed("HS256", r#"{"exp":1}"#);
    let keys = KeySet::default().with_hmac_secret(OTHER_SECRET).unwrap();
    assert_invalid(verified(keys, &foreign), "signature");
}

#[test]
fn info_is_what_was_signed_and_its_base64_wins() {
    let info = |claims: &str| with(claims).map(|token| token.info);
    assert_eq!(info(r#""info":{"a": 1}"#), Ok(Some(json(r#"{"a": 1}"#))));
    assert_eq!(info("\"info\":[1,\r\n2]"), Ok(Some(json("[1,2]"))));
    assert_eq!(info(r#""info":null"#), Ok(None));
    let b64 = STANDARD.encode("{\"b\":2}");
    let both = format!(r#""info":{{"a":1}},"b64info":"{b64}""#);
    assert_eq!(info(&both), Ok(Some(json(r#"{"b":2}"#))));
    assert_eq!(info(r#""info":1,"b64info":"""#), Ok(Some(json("1"))));
    let binary = info(r#""b64info":"AAEC""#).unwrap().unwrap();
    assert_eq!((text(&binary), binary.is_json()), (&[0, 1, 2][..], false));
    assert_invalid(info(r#""b64info":"%%""#), "b64info");
    assert_invalid(info(r#""b64info":1"#), "malformed");
}

#[test]
fn channels_are_subscriptions_each_once() {
    let names = |claims: &str| {
        let topics = with(claims).map(|token| token.topics);
        topics.map(|topics| topics.into_iter().map(|topic| topic.name).collect::<Vec<_>>())
    };
    assert_eq!(names(r#""channels":["b","a","b"]"#).unwrap(), ["b", "a"]);
    assert_eq!(names(r#""channels":["a"],"subs":{}"#).unwrap(), ["a"]);
    assert_eq!(names(r#""channels":["a"],"subs":{"c":{},"b":null}"#).unwrap(), ["b", "c"]);
    assert_eq!(names(r#""channels":null,"subs":null"#).unwrap(), [""; 0]);
    for wrong in [r#""channels":"a""#, r#""channels":[1]"#, r#""channels":{"a":1}"#] {
        assert_invalid(names(wrong), "channels");
    }
    for wrong in [r#""subs":["a"]"#, r#""subs":{"a":1}"#, r#""subs":{"a":{"override":1}}"#] {
        assert_invalid(names(wrong), "subs");
    }
}

#[test]
fn subs_say_more_about_each_subscription() {
    let b64 = STANDARD.encode("[2]");
    let sub = format!(
        r#"{{"info":1,"data":3,"b64data":"{b64}","override":{{"presence":{{"value":true}},
            "join_leave":{{"value":false}},"force_recovery":{{}},"force_positioning":null,
            "later":{{"value":true}}}},"later":1}}"#
    );
    let topics = with(&format!(r#""subs":{{"a":{sub}}}"#)).unwrap().topics;
    let overrides = Overrides {
        presence: Some(true),
        join_leave: Some(false),
        force_recovery: Some(false),
        ..Overrides::default()
    };
    let [TokenTopic { name, grant }] = &topics[..] else { panic!("{topics:?}") };
    assert_eq!((name.as_str(), grant.overrides), ("a", overrides));
    assert_eq!(
        (grant.info.as_ref().map(text), grant.data.as_ref().map(text)),
        (Some(&b"1"[..]), Some(&b"[2]"[..]))
    );
    assert_invalid(with(r#""subs":{"a":{"b64data":"%"}}"#), "b64data");
}

#[test]
fn a_subscription_token_names_its_channel() {
    let token = subscribe(
        r#""channel":"$a","client":"c-1","expire_at":0,"info":{"i":1},"data":[1],
           "override":{"force_push_join_leave":{"value":true}}"#,
    );
    let token = token.unwrap();
    assert_eq!((token.user.as_str(), token.channel.as_str()), ("42", "$a"));
    assert_eq!((token.client.as_deref(), token.expires_at), (Some("c-1"), None));
    assert_eq!(token.grant.info.as_ref().map(text), Some(&br#"{"i":1}"#[..]));
    assert_eq!(token.grant.data.as_ref().map(text), Some(&b"[1]"[..]));
    assert_eq!(token.grant.overrides.force_push_join_leave, Some(true));
    let plain = subscribe(r#""channel":"a","client":"""#).unwrap();
    assert_eq!((plain.client, plain.expires_at), (None, Some((NOW + 60) * 1000)));
    for nameless in [r#""x":1"#, r#""channel":"""#, r#""channel":null"#] {
        assert_invalid(subscribe(nameless), "without channel");
    }
    assert_invalid(subscribe(r#""channel":1"#), "channel is no text");
    assert_invalid(subscribe(r#""channel":"a","client":1"#), "client is no text");
    assert_invalid(subscribe(r#""channel":"a","override":[true]"#), "malformed");
}

#[test]
fn a_token_of_one_kind_is_no_token_of_the_other() {
    for channel in [r#""channel":"a""#, r#""channel":"""#, r#""channel":7"#] {
        assert_invalid(with(channel), "a subscription token");
    }
    assert!(with(r#""channel":null"#).is_ok());
    let keys = Keys::new(secret(), Some(KeySet::default().with_hmac_secret(OTHER_SECRET).unwrap()));
    let claims = format!(r#"{{"channel":"a","exp":{}}}"#, NOW + 60);
    let token = signed("HS256", &claims);
    assert_invalid(subscription_token(&keys, &plain(), &token, NOW * 1000), "signature");
    assert!(subscription_token(&only(secret()), &plain(), &token, NOW * 1000).is_ok());
}

#[test]
fn what_is_no_token_is_refused() {
    let good = signed("HS256", &good());
    let (header, rest) = good.split_once('.').unwrap();
    let (claims, signature) = rest.split_once('.').unwrap();
    for text in [
        "",
        ".",
        "..",
        "...",
        header,
        &format!("{header}.{claims}"),
        &format!("{header}.{claims}."),
        &format!("{header}..{signature}"),
        &format!(".{claims}.{signature}"),
        &format!("{header}.{claims}.{signature}.{signature}"),
        &format!(" {good}"),
        &format!("{good}="),
        &format!("{good}\n"),
        &format!("{header}.{claims}.{}", signature.to_lowercase()),
        &format!("{}.{claims}.{signature}", base64("[]")),
        &format!("{}.{claims}.{signature}", base64("{}")),
        &format!("{}.{claims}.{signature}", base64([0xff, 0xfe])),
        "\u{e4}.\u{f6}.\u{fc}",
    ] {
        assert!(matches!(verified(secret(), text), Err(TokenError::Invalid(_))), "{text}");
    }
    for no_object in ["[]", "1", "null", "", "{", "{}}", "\u{e4}"] {
        assert!(matches!(connect(&plain(), no_object), Err(TokenError::Invalid(_))), "{no_object}");
    }
    assert!(verified(secret(), &good).is_ok());
}

#[test]
fn a_token_is_bounded() {
    let with_info = |bytes: usize| with(&format!(r#""info":"{}""#, "i".repeat(bytes)));
    assert!(with_info(TOKEN_BYTES_MAX / 2).is_ok());
    assert_invalid(with_info(TOKEN_BYTES_MAX), "too long");
}
