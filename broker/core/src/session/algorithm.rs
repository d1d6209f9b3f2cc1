//! The algorithms that a token may be signed with: those of the specification, section 9. What the
//! library lacks of them, ES512, is verified here with what the library computes with.

use aws_lc_rs::signature::{ECDSA_P521_SHA512_FIXED, UnparsedPublicKey};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm as Known, DecodingKey, crypto};

/// `alg` of a token or of a key (RFC 7518, section 3.1; EdDSA: RFC 8037, section 3.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Algorithm {
    HS256,
    HS384,
    HS512,
    RS256,
    RS384,
    RS512,
    ES256,
    ES384,
    ES512,
    EdDSA,
}

impl Algorithm {
    /// `none` is not among them, nor is any other spelling of these.
    pub(super) fn named(name: &str) -> Option<Self> {
        Some(match name {
            "HS256" => Self::HS256,
            "HS384" => Self::HS384,
            "HS512" => Self::HS512,
            "RS256" => Self::RS256,
            "RS384" => Self::RS384,
            "RS512" => Self::RS512,
            "ES256" => Self::ES256,
            "ES384" => Self::ES384,
            "ES512" => Self::ES512,
            "EdDSA" => Self::EdDSA,
            _ => return None,
        })
    }

    /// Whether who verifies must know the secret of who signs.
    pub(super) fn needs_secret(self) -> bool {
        matches!(self, Self::HS256 | Self::HS384 | Self::HS512)
    }

    /// Whether this key has made the signature, in base64, of that text. The key must be one for
    /// this algorithm.
    pub(super) fn verifies(self, key: &DecodingKey, signed: &str, signature: &str) -> bool {
        let known = match self {
            Self::HS256 => Known::HS256,
            Self::HS384 => Known::HS384,
            Self::HS512 => Known::HS512,
            Self::RS256 => Known::RS256,
            Self::RS384 => Known::RS384,
            Self::RS512 => Known::RS512,
            Self::ES256 => Known::ES256,
            Self::ES384 => Known::ES384,
            Self::ES512 => return is_es512(key, signed, signature),
            Self::EdDSA => Known::EdDSA,
        };
        crypto::verify(signature, signed.as_bytes(), key, known).unwrap_or(false)
    }
}

fn is_es512(key: &DecodingKey, signed: &str, signature: &str) -> bool {
    let (Ok(key), Ok(signature)) = (key.try_get_as_bytes(), URL_SAFE_NO_PAD.decode(signature))
    else {
        return false;
    };
    let key = UnparsedPublicKey::new(&ECDSA_P521_SHA512_FIXED, key);
    key.verify(signed.as_bytes(), &signature).is_ok()
}
