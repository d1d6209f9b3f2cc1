//! Signatures of tokens (RFC 7518, section 3), with a secret or a private key.

use std::fmt;

use aws_lc_rs::hmac;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING,
    ECDSA_P521_SHA512_FIXED_SIGNING, EcdsaKeyPair, EcdsaSigningAlgorithm, Ed25519KeyPair,
    RSA_PKCS1_SHA256, RSA_PKCS1_SHA384, RSA_PKCS1_SHA512, RsaKeyPair,
};
use clap::ValueEnum;
use fanwire_core::keys::{KeyError, KeySet};
use rustls_pki_types::PrivateKeyDer;
use rustls_pki_types::pem::PemObject;

use super::TokenError;

/// `alg` of a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "verbatim")]
pub(crate) enum Algorithm {
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

impl fmt::Display for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The variants are spelled as in tokens.
        write!(f, "{self:?}")
    }
}

/// What signs.
pub(super) enum Signer {
    Secret(Vec<u8>),
    Rsa(RsaKeyPair),
    P256(EcdsaKeyPair),
    P384(EcdsaKeyPair),
    P521(EcdsaKeyPair),
    Ed25519(Ed25519KeyPair),
}

impl Signer {
    /// A secret that the broker takes too.
    pub(super) fn from_secret(secret: &str) -> Result<Self, KeyError> {
        KeySet::default().with_hmac_secret(secret)?;
        Ok(Self::Secret(secret.as_bytes().to_vec()))
    }

    /// A private key in one of the forms that openssl writes.
    pub(super) fn from_pem(pem: &str) -> Option<Self> {
        let der = PrivateKeyDer::from_pem_slice(pem.as_bytes()).ok()?;
        let bytes = der.secret_der();
        let ecdsa = |curve: &'static EcdsaSigningAlgorithm| {
            EcdsaKeyPair::from_private_key_der(curve, bytes)
        };
        let rsa = match der {
            PrivateKeyDer::Pkcs1(_) => RsaKeyPair::from_der(bytes),
            _ => RsaKeyPair::from_pkcs8(bytes),
        };
        rsa.map(Self::Rsa)
            .or_else(|_| ecdsa(&ECDSA_P256_SHA256_FIXED_SIGNING).map(Self::P256))
            .or_else(|_| ecdsa(&ECDSA_P384_SHA384_FIXED_SIGNING).map(Self::P384))
            .or_else(|_| ecdsa(&ECDSA_P521_SHA512_FIXED_SIGNING).map(Self::P521))
            .or_else(|_| Ed25519KeyPair::from_pkcs8(bytes).map(Self::Ed25519))
            .ok()
    }

    /// What it signs with when nothing else is asked for.
    pub(super) fn algorithm(&self) -> Algorithm {
        match self {
            Self::Secret(_) => Algorithm::HS256,
            Self::Rsa(_) => Algorithm::RS256,
            Self::P256(_) => Algorithm::ES256,
            Self::P384(_) => Algorithm::ES384,
            Self::P521(_) => Algorithm::ES512,
            Self::Ed25519(_) => Algorithm::EdDSA,
        }
    }

    fn name(&self) -> &'static str {
        match self {
            Self::Secret(_) => "a secret",
            Self::Rsa(_) => "an RSA key",
            Self::P256(_) => "a P-256 key",
            Self::P384(_) => "a P-384 key",
            Self::P521(_) => "a P-521 key",
            Self::Ed25519(_) => "an Ed25519 key",
        }
    }

    /// The signature, if the key is for that algorithm.
    pub(super) fn sign(&self, algorithm: Algorithm, text: &[u8]) -> Result<Vec<u8>, TokenError> {
        let random = SystemRandom::new();
        let by_secret = |secret: &[u8], kind| {
            Ok(hmac::sign(&hmac::Key::new(kind, secret), text).as_ref().to_vec())
        };
        let by_rsa = |key: &RsaKeyPair, padding| {
            let mut signature = vec![0; key.public_modulus_len()];
            let signed = key.sign(padding, &random, text, &mut signature);
            signed.map(|()| signature).map_err(|_| TokenError::NotSigned)
        };
        match (self, algorithm) {
            (Self::Secret(secret), Algorithm::HS256) => by_secret(secret, hmac::HMAC_SHA256),
            (Self::Secret(secret), Algorithm::HS384) => by_secret(secret, hmac::HMAC_SHA384),
            (Self::Secret(secret), Algorithm::HS512) => by_secret(secret, hmac::HMAC_SHA512),
            (Self::Rsa(key), Algorithm::RS256) => by_rsa(key, &RSA_PKCS1_SHA256),
            (Self::Rsa(key), Algorithm::RS384) => by_rsa(key, &RSA_PKCS1_SHA384),
            (Self::Rsa(key), Algorithm::RS512) => by_rsa(key, &RSA_PKCS1_SHA512),
            (Self::P256(key), Algorithm::ES256)
            | (Self::P384(key), Algorithm::ES384)
            | (Self::P521(key), Algorithm::ES512) => {
                let signature = key.sign(&random, text).map_err(|_| TokenError::NotSigned)?;
                Ok(signature.as_ref().to_vec())
            }
            (Self::Ed25519(key), Algorithm::EdDSA) => Ok(key.sign(text).as_ref().to_vec()),
            _ => Err(TokenError::WrongAlgorithm(algorithm, self.name())),
        }
    }
}
