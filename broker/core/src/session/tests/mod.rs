//! Tokens from the outside: signed here by another hand than the one that verifies them.

mod claims;
mod keys;

use std::sync::LazyLock;

use aws_lc_rs::encoding::{AsDer, PublicKeyX509Der};
use aws_lc_rs::hmac;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING,
    ECDSA_P521_SHA512_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair, RSA_PKCS1_SHA256,
    RSA_PKCS1_SHA384, RSA_PKCS1_SHA512, RSA_PSS_SHA256, RsaKeyPair,
};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};

use super::keys::{KeySet, Keys};
use super::token::{ConnectionToken, TokenError, connection_token};
use crate::config::TokenSettings;

/// The moment of all tests, in Unix seconds.
const NOW: u64 = 1_700_000_000;
const SECRET: &str = "a-secret-of-thirty-two-characters";
const OTHER_SECRET: &str = "another-secret-of-as-many-letters";

/// One signer per kind of key, for making them takes long.
static RSA: LazyLock<RsaKeyPair> =
    LazyLock::new(|| RsaKeyPair::generate(KeySize::Rsa2048).unwrap());
static P256: LazyLock<EcdsaKeyPair> =
    LazyLock::new(|| EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap());
static P384: LazyLock<EcdsaKeyPair> =
    LazyLock::new(|| EcdsaKeyPair::generate(&ECDSA_P384_SHA384_FIXED_SIGNING).unwrap());
static P521: LazyLock<EcdsaKeyPair> =
    LazyLock::new(|| EcdsaKeyPair::generate(&ECDSA_P521_SHA512_FIXED_SIGNING).unwrap());
static ED25519: LazyLock<Ed25519KeyPair> = LazyLock::new(|| Ed25519KeyPair::generate().unwrap());

fn base64(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

/// A token with this header, signed as the algorithm says.
fn signed_with_header(algorithm: &str, header: &str, claims: &str) -> String {
    let signed = format!("{}.{}", base64(header), base64(claims));
    let signature = signature(algorithm, signed.as_bytes());
    format!("{signed}.{}", base64(signature))
}

fn signed(algorithm: &str, claims: &str) -> String {
    signed_with_header(algorithm, &format!(r#"{{"alg":"{algorithm}","typ":"JWT"}}"#), claims)
}

fn signature(algorithm: &str, text: &[u8]) -> Vec<u8> {
    let random = SystemRandom::new();
    let by_secret =
        |kind| hmac::sign(&hmac::Key::new(kind, SECRET.as_bytes()), text).as_ref().to_vec();
    let by_rsa = |padding| {
        let mut signature = vec![0; RSA.public_modulus_len()];
        RSA.sign(padding, &random, text, &mut signature).unwrap();
        signature
    };
    match algorithm {
        "HS256" => by_secret(hmac::HMAC_SHA256),
        "HS384" => by_secret(hmac::HMAC_SHA384),
        "HS512" => by_secret(hmac::HMAC_SHA512),
        "RS256" => by_rsa(&RSA_PKCS1_SHA256),
        "RS384" => by_rsa(&RSA_PKCS1_SHA384),
        "RS512" => by_rsa(&RSA_PKCS1_SHA512),
        "PS256" => by_rsa(&RSA_PSS_SHA256),
        "ES256" => P256.sign(&random, text).unwrap().as_ref().to_vec(),
        "ES384" => P384.sign(&random, text).unwrap().as_ref().to_vec(),
        "ES512" => P521.sign(&random, text).unwrap().as_ref().to_vec(),
        "EdDSA" => ED25519.sign(text).as_ref().to_vec(),
        _ => panic!("no signer for {algorithm}"),
    }
}

fn pem(label: &str, der: &[u8]) -> String {
    let text = STANDARD.encode(der);
    let lines: Vec<&str> =
        text.as_bytes().chunks(64).map(|line| std::str::from_utf8(line).unwrap()).collect();
    format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", lines.join("\n"))
}

fn public_pem<K: AsDer<PublicKeyX509Der<'static>>>(key: &K) -> String {
    pem("PUBLIC KEY", AsDer::as_der(key).unwrap().as_ref())
}

fn rsa_pem() -> String {
    public_pem(RSA.public_key())
}

fn p256_pem() -> String {
    public_pem(P256.public_key())
}

/// A set with only the secret that the HS algorithms here sign with.
fn secret() -> KeySet {
    KeySet::default().with_hmac_secret(SECRET).unwrap()
}

fn only(connection: KeySet) -> Keys {
    Keys::new(connection, None)
}

/// What a connection token with these claims is taken for, signed by the secret.
fn connect(settings: &TokenSettings, claims: &str) -> Result<ConnectionToken, TokenError> {
    connection_token(&only(secret()), settings, &signed("HS256", claims), NOW * 1000)
}

/// What a token is taken for that is good, but for who signed it.
fn verified(keys: KeySet, token: &str) -> Result<(), TokenError> {
    connection_token(&only(keys), &TokenSettings::default(), token, NOW * 1000).map(|_| ())
}

/// Claims that are good.
fn good() -> String {
    format!(r#"{{"sub":"42","exp":{}}}"#, NOW + 60)
}
