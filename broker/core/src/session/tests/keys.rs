//! Which key vouches for which token, and that no header can change that.

use aws_lc_rs::signature::ECDSA_P521_SHA512_ASN1_SIGNING;

use super::*;
use crate::limits::{HMAC_SECRET_BYTES_MIN, JWKS_KEYS_MAX};
use crate::session::jwks::Jwks;
use crate::session::keys::KeyError;

const SIGNATURE: TokenError = TokenError::Invalid("the signature is wrong");
const NO_KEY: TokenError = TokenError::Invalid("no key for this algorithm");
const ALGORITHM: TokenError = TokenError::Invalid("an algorithm that is not accepted");

/// 1024 bits.
const WEAK_RSA: &str = "-----BEGIN PUBLIC KEY-----
MIGfMA0GCSqGSIb3DQEBAQUAA4GNADCBiQKBgQCsfwkt/QvZ4sdELcamz17rvZRb
6/UylMB7KoPyv0SXEDNHMihhVp1q7E+wrin6IQXvwJyoqaKVBBe19QMi0buPG5/E
vjG8i7oYqcEuOZwElSadm0aitN0GYlSDHBgZz6wcfeDOVkeuYeMnUN0cFfZYDio8
HqNvH2cRcejv9EIOUQIDAQAB
-----END PUBLIC KEY-----
";

/// One set per kind of key, and the algorithms that it is for.
fn one_key_each() -> [(KeySet, &'static [&'static str]); 6] {
    let none = KeySet::default;
    [
        (secret(), &["HS256", "HS384", "HS512"]),
        (none().with_rsa_pem(&rsa_pem()).unwrap(), &["RS256", "RS384", "RS512"]),
        (none().with_ecdsa_pem(&p256_pem()).unwrap(), &["ES256"]),
        (none().with_ecdsa_pem(&public_pem(P384.public_key())).unwrap(), &["ES384"]),
        (none().with_ecdsa_pem(&public_pem(P521.public_key())).unwrap(), &["ES512"]),
        (none().with_ed25519_pem(&public_pem(ED25519.public_key())).unwrap(), &["EdDSA"]),
    ]
}

/// A member of a key set, without the closing brace.
fn jwk(kind: &str) -> String {
    let point = |curve: &str, point: &[u8]| {
        let (x, y) = point[1..].split_at(point.len() / 2);
        let (x, y) = (base64(x), base64(y));
        format!(r#"{{"kty":"EC","crv":"{curve}","x":"{x}","y":"{y}""#)
    };
    match kind {
        "RSA" => {
            let key = RSA.public_key();
            let (n, e) = (key.modulus(), key.exponent());
            let n = base64(n.big_endian_without_leading_zero());
            let e = base64(e.big_endian_without_leading_zero());
            format!(r#"{{"kty":"RSA","n":"{n}","e":"{e}""#)
        }
        "P-256" => point("P-256", P256.public_key().as_ref()),
        "P-384" => point("P-384", P384.public_key().as_ref()),
        "P-521" => point("P-521", P521.public_key().as_ref()),
        "Ed25519" => {
            let x = base64(ED25519.public_key());
            format!(r#"{{"kty":"OKP","crv":"Ed25519","x":"{x}""#)
        }
        _ => panic!("no key {kind}"),
    }
}

fn fetched(members: &[String]) -> KeySet {
    let json = format!(r#"{{"keys":[{}]}}"#, members.join(","));
    KeySet::default().with_jwks(Jwks::parse(json.as_bytes()).unwrap())
}

fn with_kid(algorithm: &str, kid: &str) -> String {
    let header = format!(r#"{{"alg":"{algorithm}","kid":"{kid}"}}"#);
    signed_with_header(algorithm, &header, &good())
}

#[test]
fn a_key_vouches_for_its_own_algorithms_and_no_other() {
    for (keys, own) in one_key_each() {
        for (_, algorithms) in one_key_each() {
            for algorithm in algorithms {
                let result = verified(keys.clone(), &signed(algorithm, &good()));
                let expected = if own.contains(algorithm) { Ok(()) } else { Err(NO_KEY) };
                assert_eq!(result, expected, "{algorithm} with {keys:?}");
            }
        }
    }
}

#[test]
fn a_signature_of_another_key_or_for_other_claims_is_wrong() {
    for (keys, algorithms) in one_key_each() {
        let token = signed(algorithms[0], &good());
        let other = signed(algorithms[0], r#"{"sub":"1","exp":1800000000}"#);
        let (signed, _) = token.rsplit_once('.').unwrap();
        let (_, signature) = other.rsplit_once('.').unwrap();
        assert_eq!(verified(keys, &format!("{signed}.{signature}")), Err(SIGNATURE));
    }
    let other = KeySet::default().with_hmac_secret(OTHER_SECRET).unwrap();
    assert_eq!(verified(other, &signed("HS256", &good())), Err(SIGNATURE));
    let other = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap();
    let other = KeySet::default().with_ecdsa_pem(&public_pem(other.public_key())).unwrap();
    assert_eq!(verified(other, &signed("ES256", &good())), Err(SIGNATURE));
}

#[test]
fn a_public_key_is_never_taken_for_a_secret() {
    let (pem, der) = (rsa_pem(), AsDer::as_der(RSA.public_key()).unwrap());
    let keys = KeySet::default().with_rsa_pem(&pem).unwrap();
    let with_secret = keys.clone().with_hmac_secret(SECRET).unwrap();
    for public in
        [pem.as_bytes(), pem.trim_end().as_bytes(), der.as_ref(), RSA.public_key().as_ref()]
    {
        for (name, kind) in [("HS256", hmac::HMAC_SHA256), ("HS512", hmac::HMAC_SHA512)] {
            let text = format!("{}.{}", base64(format!(r#"{{"alg":"{name}"}}"#)), base64(good()));
            let tag = hmac::sign(&hmac::Key::new(kind, public), text.as_bytes());
            let token = format!("{text}.{}", base64(tag));
            assert_eq!(verified(keys.clone(), &token), Err(NO_KEY));
            assert_eq!(verified(with_secret.clone(), &token), Err(SIGNATURE));
        }
    }
}

#[test]
fn an_unsigned_token_is_refused_however_it_is_spelled() {
    for none in ["none", "None", "NONE", "nOnE", "", " none", "none\\u0000"] {
        for (keys, _) in one_key_each() {
            let text = format!("{}.{}", base64(format!(r#"{{"alg":"{none}"}}"#)), base64(good()));
            let signature = base64(signature("HS256", text.as_bytes()));
            for token in [format!("{text}."), format!("{text}.{signature}")] {
                assert_eq!(verified(keys.clone(), &token), Err(ALGORITHM), "{none}");
            }
        }
    }
    for header in [r#"{"typ":"JWT"}"#, r#"{"alg":null}"#, r#"{"alg":["HS256"]}"#, r#"{"alg":1}"#] {
        let token = signed_with_header("HS256", header, &good());
        assert!(matches!(verified(secret(), &token), Err(TokenError::Invalid(_))), "{header}");
    }
}

#[test]
fn an_algorithm_that_is_not_listed_is_refused_though_its_key_is_there() {
    let keys = KeySet::default().with_rsa_pem(&rsa_pem()).unwrap();
    assert_eq!(verified(keys.clone(), &signed("PS256", &good())), Err(ALGORITHM));
    for name in
        ["hs256", "HS256 ", "HS1", "RS1", "es512", "ES521", "ES256K", "EDDSA", "Ed25519", "A128KW"]
    {
        let header = format!(r#"{{"alg":"{name}"}}"#);
        let token = signed_with_header("HS256", &header, &good());
        assert_eq!(verified(secret(), &token), Err(ALGORITHM), "{name}");
    }
}

#[test]
fn what_a_header_brings_along_is_not_trusted() {
    let key = format!("{}}}", jwk("P-256"));
    let header = format!(r#"{{"alg":"ES256","jwk":{key},"jku":"http://127.0.0.1:1/"}}"#);
    let token = signed_with_header("ES256", &header, &good());
    assert_eq!(verified(secret(), &token), Err(NO_KEY));
    let crit = r#"{"alg":"HS256","crit":["b64"],"b64":false}"#;
    let refused = verified(secret(), &signed_with_header("HS256", crit, &good()));
    assert_eq!(refused, Err(TokenError::Invalid("the header demands an extension (crit)")));
    let twice = r#"{"alg":"HS256","alg":"none"}"#;
    let refused = verified(secret(), &signed_with_header("HS256", twice, &good()));
    assert_eq!(refused, Err(TokenError::Invalid("the header is malformed")));
    let more = r#"{"alg":"HS256","kid":"whatever","iat":1,"x":{"y":[]}}"#;
    assert_eq!(verified(secret(), &signed_with_header("HS256", more, &good())), Ok(()));
}

#[test]
fn two_secrets_live_at_a_time_until_one_is_removed() {
    let token = signed("HS256", &good());
    let new = KeySet::default().with_hmac_secret(OTHER_SECRET).unwrap();
    let both = new.clone().with_hmac_secret(SECRET).unwrap();
    assert_eq!(verified(both, &token), Ok(()));
    assert_eq!(verified(new, &token), Err(SIGNATURE));
}

#[test]
fn without_keys_no_token_is_good() {
    assert!(KeySet::default().is_empty() && !secret().is_empty());
    assert!(!KeySet::default().awaiting_jwks().is_empty());
    let refused = verified(KeySet::default(), &signed("HS256", &good()));
    assert_eq!(refused, Err(TokenError::Invalid("no keys are configured")));
}

#[test]
fn what_is_no_key_of_its_kind_is_refused() {
    const ECDSA: &str = "ECDSA P-256, P-384 or P-521";
    let none = KeySet::default;
    let ed25519_pem = public_pem(ED25519.public_key());
    let private = pem("PRIVATE KEY", AsDer::as_der(&*RSA).unwrap().as_ref());
    let cases = [
        (none().with_hmac_secret(&"s".repeat(HMAC_SECRET_BYTES_MIN - 1)), KeyError::ShortSecret),
        (none().with_hmac_secret(&rsa_pem()), KeyError::SecretIsPem),
        (none().with_rsa_pem(""), KeyError::NoPublicKey),
        (none().with_rsa_pem("no PEM"), KeyError::NoPublicKey),
        (
            none().with_rsa_pem(&rsa_pem().replace("PUBLIC KEY", "CERTIFICATE")),
            KeyError::NoPublicKey,
        ),
        (none().with_rsa_pem(&private), KeyError::PrivateKey),
        (none().with_rsa_pem(&p256_pem()), KeyError::WrongKind("RSA")),
        (none().with_rsa_pem(&pem("PUBLIC KEY", b"junk")), KeyError::WrongKind("RSA")),
        (none().with_rsa_pem(WEAK_RSA), KeyError::RsaSize),
        (none().with_ecdsa_pem(&rsa_pem()), KeyError::WrongKind(ECDSA)),
        (none().with_ecdsa_pem(&ed25519_pem), KeyError::WrongKind(ECDSA)),
        (none().with_ed25519_pem(&p256_pem()), KeyError::WrongKind("Ed25519")),
    ];
    for (result, expected) in cases {
        assert_eq!(result.err(), Some(expected));
    }
}

#[test]
fn nothing_printed_shows_a_key() {
    let keys = secret().with_rsa_pem(&rsa_pem()).unwrap().awaiting_jwks();
    let shown = format!("{:?}", Keys::new(keys.clone(), Some(keys)));
    assert!(shown.contains("secrets: 1, fixed: [Rsa], fetched: Some(0)"), "{shown}");
    assert!(!shown.contains(&SECRET[..8]) && shown.len() < 200, "{shown}");
}

#[test]
fn a_fetched_key_is_found_by_its_kid() {
    let kinds = [
        ("RSA", "RS256"),
        ("P-256", "ES256"),
        ("P-384", "ES384"),
        ("P-521", "ES512"),
        ("Ed25519", "EdDSA"),
    ];
    let member = |kind: &str| format!(r#"{},"kid":"the {kind}"}}"#, jwk(kind));
    let members: Vec<_> = kinds.iter().map(|(kind, _)| member(kind)).collect();
    let keys = fetched(&members);
    for (kind, algorithm) in kinds {
        assert_eq!(verified(keys.clone(), &with_kid(algorithm, &format!("the {kind}"))), Ok(()));
        let unknown = verified(keys.clone(), &with_kid(algorithm, "another"));
        assert_eq!(unknown, Err(TokenError::UnknownKey));
    }
    // The name of a key does not make it one for this algorithm.
    assert_eq!(verified(keys.clone(), &with_kid("RS256", "the P-256")), Err(NO_KEY));
    assert_eq!(verified(keys, &with_kid("HS256", "the RSA")), Err(NO_KEY));
    // A set that was fetched later has forgotten the keys of the one before.
    let later = fetched(&members[..1]);
    let gone = verified(later, &with_kid("ES256", "the P-256"));
    assert_eq!(gone, Err(TokenError::UnknownKey));
}

#[test]
fn an_expired_token_of_a_retired_key_is_called_expired() {
    let keys = fetched(&[format!(r#"{},"kid":"new"}}"#, jwk("P-256"))]);
    let header = r#"{"alg":"ES256","kid":"old"}"#;
    for (exp, expected) in [
        (NOW - 1, TokenError::Expired),
        (NOW, TokenError::Expired),
        (NOW + 1, TokenError::UnknownKey),
    ] {
        let token = signed_with_header("ES256", header, &format!(r#"{{"exp":{exp}}}"#));
        assert_eq!(verified(keys.clone(), &token), Err(expected), "{exp}");
    }
    for claims in ["{}", "", r#"{"exp":"1"}"#] {
        let token = signed_with_header("ES256", header, claims);
        assert_eq!(verified(keys.clone(), &token), Err(TokenError::UnknownKey), "{claims}");
    }
}

#[test]
fn a_fetched_key_is_for_what_it_says() {
    let rsa = |more: &str| fetched(&[format!(r#"{},"kid":"k",{more}}}"#, jwk("RSA"))]);
    for more in [r#""alg":"RS256""#, r#""use":"sig""#, r#""key_ops":["verify"]"#] {
        assert_eq!(verified(rsa(more), &with_kid("RS256", "k")), Ok(()), "{more}");
    }
    assert_eq!(verified(rsa(r#""alg":"RS256""#), &with_kid("RS512", "k")), Err(NO_KEY));
    for more in [
        r#""use":"enc""#,
        r#""key_ops":["encrypt"]"#,
        r#""alg":"ES256""#,
        r#""alg":"HS256""#,
        r#""alg":"PS256""#,
        r#""alg":"RSA-OAEP""#,
        r#""alg":"none""#,
    ] {
        assert_eq!(verified(rsa(more), &with_kid("RS256", "k")), Err(TokenError::UnknownKey));
    }
}

#[test]
fn a_fetched_curve_takes_its_own_algorithm_alone_whatever_it_says() {
    let pairs = [("P-256", "ES256"), ("P-384", "ES384"), ("P-521", "ES512")];
    for (curve, own) in pairs {
        for (_, said) in pairs {
            let keys = fetched(&[format!(r#"{},"kid":"k","alg":"{said}"}}"#, jwk(curve))]);
            for (_, algorithm) in pairs {
                let expected = match (said == own, algorithm == own) {
                    (true, true) => Ok(()),
                    (true, false) => Err(NO_KEY),
                    (false, _) => Err(TokenError::UnknownKey),
                };
                let result = verified(keys.clone(), &with_kid(algorithm, "k"));
                assert_eq!(result, expected, "{algorithm} with {curve} for {said}");
            }
        }
    }
}

#[test]
fn an_es512_signature_is_good_as_it_was_made_and_in_no_other_form() {
    let keys = KeySet::default().with_ecdsa_pem(&public_pem(P521.public_key())).unwrap();
    let token = signed("ES512", &good());
    let (text, made) = token.rsplit_once('.').unwrap();
    let made = URL_SAFE_NO_PAD.decode(made).unwrap();
    assert_eq!((made.len(), verified(keys.clone(), &token)), (132, Ok(())));
    let flipped = |at: usize| {
        let mut bytes = made.clone();
        bytes[at] ^= 1;
        bytes
    };
    // The form of X.509 is not that of tokens (RFC 7518, section 3.4).
    let der = EcdsaKeyPair::from_private_key_der(
        &ECDSA_P521_SHA512_ASN1_SIGNING,
        P521.to_pkcs8v1().unwrap().as_ref(),
    );
    let der = der.unwrap().sign(&SystemRandom::new(), text.as_bytes()).unwrap();
    for bad in [
        flipped(0),
        flipped(65),
        flipped(66),
        flipped(131),
        made[..131].to_vec(),
        [&made[..], &[0]].concat(),
        vec![0; 132],
        vec![],
        der.as_ref().to_vec(),
    ] {
        assert_eq!(verified(keys.clone(), &format!("{text}.{}", base64(&bad))), Err(SIGNATURE));
    }
    let header = r#"{"alg":"ES512"}"#;
    let by_another_curve = signed_with_header("ES384", header, &good());
    assert_eq!(verified(keys, &by_another_curve), Err(SIGNATURE));
}

#[test]
fn a_member_that_is_no_key_to_verify_with_is_left_out_and_the_others_stay() {
    let good = format!(r#"{},"kid":"k"}}"#, jwk("P-256"));
    let small = base64([0xff; 128]);
    for bad in [
        "1".to_owned(),
        "{}".to_owned(),
        format!(r#"{{"kty":"oct","kid":"k2","k":"{}"}}"#, base64(SECRET)),
        format!(r#"{{"kty":"RSA","kid":"k2","n":"{small}","e":"AQAB"}}"#),
        r#"{"kty":"RSA","kid":"k2","n":"%","e":"AQAB"}"#.to_owned(),
        r#"{"kty":"OKP","crv":"X25519","kid":"k2","x":"AAAA"}"#.to_owned(),
        r#"{"kty":"LATER","kid":"k2"}"#.to_owned(),
        format!(r#"{},"kid":"k2"}}"#, jwk("P-256").replace("P-256", "P-384")),
        format!(r#"{},"kid":"k2"}}"#, jwk("P-256").replace("P-256", "P-521")),
        format!(r#"{},"kid":"k2"}}"#, jwk("P-521").replace("P-521", "P-384")),
        format!(r#"{{"kty":"EC","crv":"P-256","kid":"k2","x":"{0}","y":"{0}"}}"#, base64([1; 32])),
        format!(r#"{{"kty":"EC","crv":"P-521","kid":"k2","x":"{0}","y":"{0}"}}"#, base64([1; 66])),
    ] {
        let json = format!(r#"{{"keys":[{bad},{good}]}}"#);
        let jwks = Jwks::parse(json.as_bytes()).unwrap();
        assert_eq!((jwks.len(), jwks.left_out(), jwks.is_empty()), (1, 1, false), "{bad}");
        let keys = KeySet::default().with_jwks(jwks);
        assert_eq!(verified(keys, &with_kid("ES256", "k")), Ok(()));
    }
}

#[test]
fn a_token_without_kid_needs_a_set_with_one_key_of_its_kind() {
    let (rsa, p256) = (format!("{}}}", jwk("RSA")), format!("{}}}", jwk("P-256")));
    let named = format!(r#"{},"kid":"k"}}"#, jwk("P-256"));
    let token = signed("ES256", &good());
    for members in [&[p256.clone()][..], &[rsa.clone(), p256.clone()], &[rsa, named.clone()]] {
        assert_eq!(verified(fetched(members), &token), Ok(()));
    }
    assert_eq!(verified(fetched(&[p256.clone(), named]), &token), Err(NO_KEY));
    // A key without a name is nobody's namesake.
    let refused = verified(fetched(&[p256]), &with_kid("ES256", "k"));
    assert_eq!(refused, Err(TokenError::UnknownKey));
}

#[test]
fn keys_that_are_still_awaited_may_turn_out_to_fit() {
    let awaiting = secret().awaiting_jwks();
    assert_eq!(verified(awaiting.clone(), &signed("HS256", &good())), Ok(()));
    for token in [signed("ES256", &good()), with_kid("ES256", "k")] {
        assert_eq!(verified(awaiting.clone(), &token), Err(TokenError::UnknownKey));
    }
    let with_own = awaiting.with_ecdsa_pem(&p256_pem()).unwrap();
    assert_eq!(verified(with_own, &with_kid("ES256", "k")), Ok(()));
    // But no fetch will ever bring a secret.
    let none = KeySet::default().awaiting_jwks();
    assert_eq!(verified(none, &with_kid("HS256", "k")), Err(NO_KEY));
}

#[test]
fn what_is_no_key_set_is_refused() {
    for text in ["", "[]", "{}", r#"{"keys":1}"#, r#"{"keys":[{]}"#, "<html>", "\u{0}"] {
        assert_eq!(Jwks::parse(text.as_bytes()).err(), Some(KeyError::NoKeySet), "{text}");
    }
    assert!(Jwks::parse(br#"{"keys":[]}"#).unwrap().is_empty());
    let many = vec!["{}"; JWKS_KEYS_MAX + 1].join(",");
    let many = Jwks::parse(format!(r#"{{"keys":[{many}]}}"#).as_bytes());
    assert_eq!(many.err(), Some(KeyError::TooManyKeys));
}
