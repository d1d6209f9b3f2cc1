//! The users of a run, and the tokens by which they connect.

use std::sync::{Arc, OnceLock};

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use fanwire_core::keys::{KeySet, Keys};

/// Users at most, the anonymous one included.
pub(crate) const USERS: usize = 3;

const SECRET: &str = "a secret that is long enough for a hash";

/// The keys that tokens here are signed with.
pub(crate) fn keys() -> Arc<Keys> {
    static KEYS: OnceLock<Arc<Keys>> = OnceLock::new();
    let keys = || {
        let keys = KeySet::default().with_hmac_secret(SECRET).expect("a good secret");
        Arc::new(Keys::new(keys, None))
    };
    Arc::clone(KEYS.get_or_init(keys))
}

/// The name of a user; the first one has none.
pub(crate) fn name(user: usize) -> &'static str {
    ["", "u1", "u2"][user]
}

/// The connection token of a user who has a name.
pub(crate) fn token(user: usize) -> &'static str {
    static TOKENS: OnceLock<[String; USERS]> = OnceLock::new();
    &TOKENS.get_or_init(|| std::array::from_fn(signed))[user]
}

fn signed(user: usize) -> String {
    let claims = format!(r#"{{"sub":"{}"}}"#, name(user));
    let encode = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
    let text = format!("{}.{}", encode(br#"{"alg":"HS256"}"#), encode(claims.as_bytes()));
    let key = hmac::Key::new(hmac::HMAC_SHA256, SECRET.as_bytes());
    let signature = encode(hmac::sign(&key, text.as_bytes()).as_ref());
    format!("{text}.{signature}")
}
