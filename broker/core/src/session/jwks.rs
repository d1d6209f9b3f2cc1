//! JSON Web Key Sets (RFC 7517): public keys that the shell has fetched, by their `kid`. What a set
//! has besides keys to verify tokens with is left out.

use jsonwebtoken::jwk::{AlgorithmParameters, EllipticCurve, Jwk, KeyOperations, PublicKeyUse};
use jsonwebtoken::{DecodingKey, DecodingKeyKind};
use serde::Deserialize;
use serde_json::value::RawValue;

use super::algorithm::Algorithm;
use super::keys::{KeyError, KeyKind, PublicKey};
use crate::limits::JWKS_KEYS_MAX;

/// A set of public keys.
#[derive(Clone)]
pub struct Jwks {
    keys: Vec<NamedKey>,
    left_out: usize,
}

#[derive(Clone)]
struct NamedKey {
    kid: Option<String>,
    key: PublicKey,
}

#[derive(Deserialize)]
struct Document<'a> {
    #[serde(borrow)]
    keys: Vec<&'a RawValue>,
}

/// What a key says it is for, as it is written: the library does not know all that is known here.
#[derive(Deserialize)]
struct Purpose {
    alg: Option<String>,
}

impl Jwks {
    /// Reads a set. Keys that are malformed, or for something else than verifying, are left out:
    /// one of them must not lock out all users.
    ///
    /// # Errors
    ///
    /// [`KeyError::NoKeySet`], [`KeyError::TooManyKeys`]; the set before should be kept.
    pub fn parse(json: &[u8]) -> Result<Self, KeyError> {
        let document: Document<'_> =
            serde_json::from_slice(json).map_err(|_| KeyError::NoKeySet)?;
        if document.keys.len() > JWKS_KEYS_MAX {
            return Err(KeyError::TooManyKeys);
        }
        let keys: Vec<_> = document.keys.iter().filter_map(|member| named_key(member)).collect();
        Ok(Self { left_out: document.keys.len() - keys.len(), keys })
    }

    /// How many keys there are to verify tokens with.
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    /// Whether there is no such key.
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// How many members of the set are no such keys.
    pub fn left_out(&self) -> usize {
        self.left_out
    }

    pub(super) fn knows(&self, kid: &str) -> bool {
        self.keys.iter().any(|key| key.kid.as_deref() == Some(kid))
    }

    /// The keys of this name that are for this algorithm: one, in a sane set.
    pub(super) fn named(
        &self,
        kid: &str,
        algorithm: Algorithm,
    ) -> impl Iterator<Item = &DecodingKey> {
        let named = self.keys.iter().filter(move |key| key.kid.as_deref() == Some(kid));
        named.filter(move |key| key.key.takes(algorithm)).map(|key| key.key.decoding_key())
    }

    /// For tokens that name no key: the one that it can only be, if the set has a single one of
    /// its kind.
    pub(super) fn only_one(&self, algorithm: Algorithm) -> Option<&DecodingKey> {
        let mut of_kind = self.keys.iter().filter(|key| key.key.is_of_the_kind_for(algorithm));
        let (first, second) = (of_kind.next()?, of_kind.next());
        (second.is_none() && first.key.takes(algorithm)).then(|| first.key.decoding_key())
    }
}

/// `None` = nothing to verify tokens with.
fn named_key(member: &RawValue) -> Option<NamedKey> {
    let jwk: Jwk = serde_json::from_str(member.get()).ok()?;
    let common = &jwk.common;
    let is_for_signatures =
        common.public_key_use.as_ref().is_none_or(|purpose| *purpose == PublicKeyUse::Signature);
    let verifies = common
        .key_operations
        .as_ref()
        .is_none_or(|operations| operations.contains(&KeyOperations::Verify));
    if !is_for_signatures || !verifies {
        return None;
    }
    let key = public_key(&jwk)?;
    let purpose: Purpose = serde_json::from_str(member.get()).ok()?;
    let key = match purpose.alg {
        Some(name) => key.only_for(Algorithm::named(&name)?)?,
        None => key,
    };
    Some(NamedKey { kid: jwk.common.key_id, key })
}

fn public_key(jwk: &Jwk) -> Option<PublicKey> {
    let kind = match &jwk.algorithm {
        AlgorithmParameters::RSA(_) => KeyKind::Rsa,
        AlgorithmParameters::EllipticCurve(point) if point.curve == EllipticCurve::P256 => {
            KeyKind::P256
        }
        AlgorithmParameters::EllipticCurve(point) if point.curve == EllipticCurve::P384 => {
            KeyKind::P384
        }
        AlgorithmParameters::EllipticCurve(point) if point.curve == EllipticCurve::P521 => {
            KeyKind::P521
        }
        AlgorithmParameters::OctetKeyPair(point) if point.curve == EllipticCurve::Ed25519 => {
            KeyKind::Ed25519
        }
        // A secret too: what is published is none.
        _ => return None,
    };
    let key = DecodingKey::from_jwk(jwk).ok()?;
    match key.kind() {
        DecodingKeyKind::RsaModulusExponent { n, e } => {
            // Some write the sign of ASN.1 into it, which RFC 7518, section 6.3.1.1, forbids.
            let n = without_leading_zeros(n);
            let bits = n.len() * 8 - n.first().map_or(0, |byte| byte.leading_zeros() as usize);
            let key = DecodingKey::from_rsa_raw_components(n, without_leading_zeros(e));
            PublicKey::rsa(key, bits).ok()
        }
        _ => PublicKey::curve(kind, key).ok(),
    }
}

fn without_leading_zeros(number: &[u8]) -> &[u8] {
    let zeros = number.iter().take_while(|byte| **byte == 0).count();
    number.get(zeros..).unwrap_or_default()
}
