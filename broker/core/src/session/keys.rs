//! What a token may be signed with. Every key is bound to its algorithms: a secret to HS256, HS384
//! and HS512, an RSA key to RS256, RS384 and RS512, a curve to its one algorithm. What a token's
//! header says chooses among them and can never turn one into another (RFC 8725, section 3.1).
//!
//! Built by the shell from configuration and JWKS, then shared and never changed. Verifying is the
//! library's.

use std::fmt;

use aws_lc_rs::rsa;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P384_SHA384_FIXED, ECDSA_P521_SHA512_FIXED, ED25519,
    ParsedPublicKey, RSA_PKCS1_2048_8192_SHA256, RsaParameters, VerificationAlgorithm,
};
use jsonwebtoken::DecodingKey;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{PrivateKeyDer, SubjectPublicKeyInfoDer};

use super::algorithm::Algorithm;
use super::jwks::Jwks;
use crate::limits::HMAC_SECRET_BYTES_MIN;

/// Why something is no key to verify tokens with. For the operator; the key itself is not in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// Can be guessed.
    #[error("the secret is shorter than {HMAC_SECRET_BYTES_MIN} bytes")]
    ShortSecret,
    /// A key in PEM where a secret belongs: were it public, everybody could sign with it.
    #[error("this is a key in PEM, not a secret")]
    SecretIsPem,
    /// Nothing that begins with `-----BEGIN PUBLIC KEY-----`.
    #[error("this is no public key in PEM")]
    NoPublicKey,
    /// The half that must stay with who signs.
    #[error("this is a private key")]
    PrivateKey,
    /// A public key, but of another kind.
    #[error("this is no {0} key")]
    WrongKind(&'static str),
    /// Below 2048 bits, or above 8192.
    #[error("an RSA key must have 2048 to 8192 bits")]
    RsaSize,
    /// No JSON object with a list `keys`.
    #[error("this is no JSON Web Key Set")]
    NoKeySet,
    /// More than `JWKS_KEYS_MAX`.
    #[error("the JSON Web Key Set has too many keys")]
    TooManyKeys,
}

/// What kind of public key it is, which says what algorithms it is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyKind {
    /// RS256, RS384, RS512.
    Rsa,
    /// ES256.
    P256,
    /// ES384.
    P384,
    /// ES512.
    P521,
    /// EdDSA.
    Ed25519,
}

impl KeyKind {
    fn fits(self, algorithm: Algorithm) -> bool {
        match self {
            Self::Rsa => {
                matches!(algorithm, Algorithm::RS256 | Algorithm::RS384 | Algorithm::RS512)
            }
            Self::P256 => algorithm == Algorithm::ES256,
            Self::P384 => algorithm == Algorithm::ES384,
            Self::P521 => algorithm == Algorithm::ES512,
            Self::Ed25519 => algorithm == Algorithm::EdDSA,
        }
    }
}

/// All keys of a node: for connection tokens and for subscription tokens.
#[derive(Clone, Debug, Default)]
pub struct Keys {
    connection: KeySet,
    subscription: Option<KeySet>,
}

impl Keys {
    /// `subscription` = `None`: the keys of connection tokens are those of subscription tokens too.
    pub fn new(connection: KeySet, subscription: Option<KeySet>) -> Self {
        Self { connection, subscription }
    }

    /// What connection tokens may be signed with.
    pub fn connection(&self) -> &KeySet {
        &self.connection
    }

    /// What subscription tokens may be signed with.
    pub fn subscription(&self) -> &KeySet {
        self.subscription.as_ref().unwrap_or(&self.connection)
    }
}

/// Keys for one kind of token; none by default, and then no token is good.
#[derive(Clone, Default)]
pub struct KeySet {
    /// The current one and the one before.
    secrets: Vec<DecodingKey>,
    /// Keys of the configuration.
    fixed: Vec<PublicKey>,
    fetched: Fetched,
}

#[derive(Clone, Default)]
enum Fetched {
    /// There is no place to fetch keys from.
    #[default]
    Nowhere,
    /// There is one, but it has not answered yet.
    Awaited,
    Set(Jwks),
}

/// Why no key vouches for a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unverified {
    /// The algorithm is none of ours.
    UnknownAlgorithm,
    /// No key is for this algorithm.
    NoKey,
    /// A key that might vouch for it was not fetched yet.
    UnknownKey,
    /// None of the keys has made this signature.
    BadSignature,
}

impl KeySet {
    /// With one more secret that HS256, HS384 and HS512 tokens may be signed with.
    ///
    /// # Errors
    ///
    /// [`KeyError::ShortSecret`], [`KeyError::SecretIsPem`].
    pub fn with_hmac_secret(mut self, secret: &str) -> Result<Self, KeyError> {
        if secret.trim_start().starts_with("-----BEGIN") {
            return Err(KeyError::SecretIsPem);
        }
        if secret.len() < HMAC_SECRET_BYTES_MIN {
            return Err(KeyError::ShortSecret);
        }
        self.secrets.push(DecodingKey::from_secret(secret.as_bytes()));
        Ok(self)
    }

    /// With an RSA public key in PEM.
    ///
    /// # Errors
    ///
    /// It is not, or has less than 2048 bits.
    pub fn with_rsa_pem(self, pem: &str) -> Result<Self, KeyError> {
        let der = public_key_in(pem)?;
        let key = rsa::PublicKey::from_der(&der).map_err(|_| KeyError::WrongKind("RSA"))?;
        let bits = RsaParameters::public_modulus_len(key.as_ref()).unwrap_or(0);
        let key = DecodingKey::from_rsa_der(key.as_ref());
        self.with_fixed(PublicKey::rsa(key, bits as usize)?)
    }

    /// With an ECDSA public key in PEM, on the curve P-256, P-384 or P-521.
    ///
    /// # Errors
    ///
    /// It is not.
    pub fn with_ecdsa_pem(self, pem: &str) -> Result<Self, KeyError> {
        let der = public_key_in(pem)?;
        let on = |curve| PublicKey::curve(curve, DecodingKey::from_ec_der(&der));
        let key = on(KeyKind::P256)
            .or_else(|_| on(KeyKind::P384))
            .or_else(|_| on(KeyKind::P521))
            .map_err(|_| KeyError::WrongKind("ECDSA P-256, P-384 or P-521"))?;
        self.with_fixed(key)
    }

    /// With an Ed25519 public key in PEM.
    ///
    /// # Errors
    ///
    /// It is not.
    pub fn with_ed25519_pem(self, pem: &str) -> Result<Self, KeyError> {
        let key = DecodingKey::from_ed_der(&public_key_in(pem)?);
        self.with_fixed(PublicKey::curve(KeyKind::Ed25519, key)?)
    }

    /// With a place to fetch keys from, which has not answered yet.
    #[must_use]
    pub fn awaiting_jwks(mut self) -> Self {
        self.fetched = Fetched::Awaited;
        self
    }

    /// With what was fetched, in the place of what was fetched before.
    #[must_use]
    pub fn with_jwks(mut self, jwks: Jwks) -> Self {
        self.fetched = Fetched::Set(jwks);
        self
    }

    /// Whether no token can be good.
    pub fn is_empty(&self) -> bool {
        self.secrets.is_empty() && self.fixed.is_empty() && matches!(self.fetched, Fetched::Nowhere)
    }

    fn with_fixed(mut self, key: PublicKey) -> Result<Self, KeyError> {
        self.fixed.push(key);
        Ok(self)
    }

    /// Whether one of the keys that are for this algorithm has made the signature. `signature` is
    /// base64, `signed` what stands before it in the token.
    pub(super) fn verify(
        &self,
        algorithm: &str,
        kid: Option<&str>,
        signed: &str,
        signature: &str,
    ) -> Result<(), Unverified> {
        let algorithm = Algorithm::named(algorithm).ok_or(Unverified::UnknownAlgorithm)?;
        let made_by = |key: &DecodingKey| algorithm.verifies(key, signed, signature);
        if algorithm.needs_secret() {
            return verdict(self.secrets.iter(), made_by);
        }
        let fixed = self.fixed.iter().filter(|key| key.takes(algorithm)).map(|key| &key.key);
        let by_fixed = verdict(fixed, made_by);
        let fetched = match &self.fetched {
            _ if by_fixed.is_ok() => return by_fixed,
            Fetched::Nowhere => return by_fixed,
            Fetched::Awaited => return Err(Unverified::UnknownKey),
            Fetched::Set(jwks) => jwks,
        };
        match kid {
            Some(kid) if !fetched.knows(kid) => Err(Unverified::UnknownKey),
            Some(kid) => verdict(fetched.named(kid, algorithm), made_by),
            None => match fetched.only_one(algorithm) {
                Some(key) => verdict([key].into_iter(), made_by),
                None => by_fixed,
            },
        }
    }
}

fn verdict<'a>(
    mut keys: impl Iterator<Item = &'a DecodingKey>,
    made_by: impl Fn(&DecodingKey) -> bool,
) -> Result<(), Unverified> {
    let Some(first) = keys.next() else { return Err(Unverified::NoKey) };
    if made_by(first) || keys.any(made_by) { Ok(()) } else { Err(Unverified::BadSignature) }
}

/// Counts, not keys: what is printed with `{:?}` ends in logs.
impl fmt::Debug for KeySet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let fetched = match &self.fetched {
            Fetched::Nowhere => None,
            Fetched::Awaited => Some(0),
            Fetched::Set(jwks) => Some(jwks.len()),
        };
        f.debug_struct("KeySet")
            .field("secrets", &self.secrets.len())
            .field("fixed", &self.fixed.iter().map(|key| key.kind).collect::<Vec<_>>())
            .field("fetched", &fetched)
            .finish()
    }
}

/// A public key that is sound, and what it is for.
#[derive(Clone)]
pub(super) struct PublicKey {
    kind: KeyKind,
    /// If only one of the algorithms of its kind.
    only: Option<Algorithm>,
    key: DecodingKey,
}

impl PublicKey {
    /// An RSA key, if its size is one that the library verifies with.
    pub(super) fn rsa(key: DecodingKey, bits: usize) -> Result<Self, KeyError> {
        let bounds = &RSA_PKCS1_2048_8192_SHA256;
        let bounds = bounds.min_modulus_len() as usize..=bounds.max_modulus_len() as usize;
        if !bounds.contains(&bits) {
            return Err(KeyError::RsaSize);
        }
        Ok(Self { kind: KeyKind::Rsa, only: None, key })
    }

    /// A key on a curve, if it is a point of that curve.
    pub(super) fn curve(kind: KeyKind, key: DecodingKey) -> Result<Self, KeyError> {
        let (algorithm, name): (&'static dyn VerificationAlgorithm, _) = match kind {
            KeyKind::P256 => (&ECDSA_P256_SHA256_FIXED, "P-256"),
            KeyKind::P384 => (&ECDSA_P384_SHA384_FIXED, "P-384"),
            KeyKind::P521 => (&ECDSA_P521_SHA512_FIXED, "P-521"),
            KeyKind::Ed25519 => (&ED25519, "Ed25519"),
            KeyKind::Rsa => return Err(KeyError::WrongKind("elliptic curve")),
        };
        let sound = key
            .try_get_as_bytes()
            .is_ok_and(|bytes| ParsedPublicKey::new(algorithm, bytes).is_ok());
        if sound { Ok(Self { kind, only: None, key }) } else { Err(KeyError::WrongKind(name)) }
    }

    /// The same key for one algorithm alone; `None` = it is not for that.
    pub(super) fn only_for(mut self, algorithm: Algorithm) -> Option<Self> {
        self.only = Some(algorithm);
        self.kind.fits(algorithm).then_some(self)
    }

    pub(super) fn takes(&self, algorithm: Algorithm) -> bool {
        self.kind.fits(algorithm) && self.only.is_none_or(|only| only == algorithm)
    }

    pub(super) fn is_of_the_kind_for(&self, algorithm: Algorithm) -> bool {
        self.kind.fits(algorithm)
    }

    pub(super) fn decoding_key(&self) -> &DecodingKey {
        &self.key
    }
}

/// The public key of a PEM text, as DER.
fn public_key_in(pem: &str) -> Result<SubjectPublicKeyInfoDer<'static>, KeyError> {
    SubjectPublicKeyInfoDer::from_pem_slice(pem.as_bytes()).map_err(|_| {
        match PrivateKeyDer::from_pem_slice(pem.as_bytes()) {
            Ok(_) => KeyError::PrivateKey,
            Err(_) => KeyError::NoPublicKey,
        }
    })
}
