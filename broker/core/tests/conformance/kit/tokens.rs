//! Tokens as a backend makes them (RFC 7515, HS256), without the broker's library for it.

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use fanwire_core::keys::{KeySet, Keys};

const SECRET: &str = "a secret of at least thirty-two bytes";
/// Signs subscription tokens in nodes with [`separate_keys`].
const OTHER_SECRET: &str = "another secret, just as long as that one";

/// What the wall clock shows when a node begins, in Unix seconds.
pub(crate) const START: u64 = 1_800_000_000;

/// The keys of a node: one secret for all tokens.
pub(crate) fn keys() -> Keys {
    Keys::new(KeySet::default().with_hmac_secret(SECRET).unwrap(), None)
}

/// Keys with a secret of their own for subscription tokens.
pub(crate) fn separate_keys() -> Keys {
    let other = KeySet::default().with_hmac_secret(OTHER_SECRET).unwrap();
    Keys::new(KeySet::default().with_hmac_secret(SECRET).unwrap(), Some(other))
}

/// A token with these claims.
pub(crate) fn token(claims: &str) -> String {
    signed(SECRET, r#"{"alg":"HS256","typ":"JWT"}"#, claims)
}

/// The same for subscription tokens where they have keys of their own.
pub(crate) fn other_token(claims: &str) -> String {
    signed(OTHER_SECRET, r#"{"alg":"HS256"}"#, claims)
}

/// The same, with a header that names a key nobody knows.
pub(crate) fn token_of_unknown_key(claims: &str) -> String {
    signed(SECRET, r#"{"alg":"RS256","kid":"nobody knows"}"#, claims)
}

/// A token of a user that is good for an hour, with more claims (`"name":value,…`).
pub(crate) fn token_of(user: &str, more: &str) -> String {
    let comma = if more.is_empty() { "" } else { "," };
    token(&format!(r#"{{"sub":"{user}","exp":{}{comma}{more}}}"#, START + 3600))
}

fn signed(secret: &str, header: &str, claims: &str) -> String {
    let encode = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
    let text = format!("{}.{}", encode(header.as_bytes()), encode(claims.as_bytes()));
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes());
    format!("{text}.{}", encode(hmac::sign(&key, text.as_bytes()).as_ref()))
}
