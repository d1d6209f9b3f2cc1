//! `fanwire token`: makes a token as a backend would, for trying things. It shares nothing with
//! what verifies tokens, so that each is a check of the other.

mod sign;

use std::io;
use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use fanwire_core::config::{Match, TokenSettings};
use fanwire_core::keys::KeyError;
use serde_json::{Map, Value, json};

use crate::cli::TokenArgs;
use crate::config::Config;
pub(crate) use sign::Algorithm;
use sign::Signer;

/// Why no token could be made; for who called the program.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TokenError {
    /// Nothing to sign with.
    #[error("there is no secret to sign with: {0}.hmac_secret_key is not set")]
    NoSecret(&'static str),
    /// A file that was named.
    #[error("{path}: {error}", path = .path.display())]
    Unreadable {
        /// Its path.
        path: PathBuf,
        /// What the system says.
        error: io::Error,
    },
    /// A secret that the broker would refuse.
    #[error("{path}: {error}", path = .path.display())]
    BadSecret {
        /// Its file.
        path: PathBuf,
        /// What is wrong with it.
        error: KeyError,
    },
    /// Not a key of a kind that we sign with.
    #[error("{}: this is no private key in PEM", .0.display())]
    NoPrivateKey(PathBuf),
    /// The key is for something else.
    #[error("{0} cannot be signed with {1}")]
    WrongAlgorithm(Algorithm, &'static str),
    /// The value of a flag.
    #[error("{0} is not the JSON that it must be: {1}")]
    NoJson(&'static str, serde_json::Error),
    /// The library would not sign.
    #[error("the key cannot sign")]
    NotSigned,
}

impl TokenError {
    /// What to do about it; empty when the cause says it all.
    pub(crate) fn remedy(&self) -> &'static str {
        match self {
            Self::NoSecret(_) => {
                "name the broker's configuration with --config, a file with --hmac-secret-file, or \
                 a private key with --key; `openssl rand -hex 32` makes a secret"
            }
            Self::Unreadable { .. } | Self::NotSigned => "",
            Self::BadSecret { .. } => {
                "the broker takes none that can be guessed: `openssl rand -hex 32` makes a good one"
            }
            Self::NoPrivateKey(_) => {
                "give RSA (2048 bits or more), ECDSA (P-256, P-384, P-521) or Ed25519 without a \
                 password, as from `openssl genpkey -algorithm ed25519`"
            }
            Self::WrongAlgorithm(..) => {
                "secrets are for HS256, HS384 and HS512, RSA keys for RS256, RS384 and RS512, \
                 P-256 for ES256, P-384 for ES384, P-521 for ES512, Ed25519 for EdDSA"
            }
            Self::NoJson(flag, _) if *flag == "--claims" => {
                "write an object in quotes, as in --claims '{\"aud\":\"us\"}'"
            }
            Self::NoJson(..) => "write it in quotes, as in --info '{\"name\":\"Alice\"}'",
        }
    }
}

/// A token, and what may be in its way.
pub(crate) struct Made {
    pub(crate) token: String,
    pub(crate) doubt: Option<&'static str>,
}

/// Makes the token that the command line asks for.
///
/// # Errors
///
/// Nothing to sign with, or a flag that makes no sense.
pub(crate) fn make(args: &TokenArgs, config: &Config) -> Result<Made, TokenError> {
    let signer = signer(args, config)?;
    let algorithm = args.algorithm.unwrap_or_else(|| signer.algorithm());
    let (name, kid) = (algorithm.to_string(), args.kid.as_ref());
    let header = match kid {
        Some(kid) => json!({ "typ": "JWT", "alg": name, "kid": kid }),
        None => json!({ "typ": "JWT", "alg": name }),
    };
    let client = &config.settings.client;
    let settings = if args.channel.is_some() { client.subscription_token() } else { &client.token };
    let claims = Value::Object(claims(args, settings)?);
    let base64 = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
    let parts = [header, claims].map(|part| base64(part.to_string().as_bytes()));
    let signed = parts.join(".");
    let signature = signer.sign(algorithm, signed.as_bytes())?;
    let doubt = (args.without_exp && !settings.allow_without_exp).then_some(
        "the broker refuses a token without exp, unless allow_without_exp is on in [client.token]",
    );
    Ok(Made { token: format!("{signed}.{}", base64(&signature)), doubt })
}

fn signer(args: &TokenArgs, config: &Config) -> Result<Signer, TokenError> {
    let read = |path: &PathBuf| {
        std::fs::read_to_string(path)
            .map_err(|error| TokenError::Unreadable { path: path.clone(), error })
    };
    if let Some(path) = &args.key {
        return Signer::from_pem(&read(path)?)
            .ok_or_else(|| TokenError::NoPrivateKey(path.clone()));
    }
    if let Some(path) = &args.hmac_secret_file {
        let text = read(path)?;
        let secret = text.trim_end_matches(['\n', '\r']);
        return Signer::from_secret(secret)
            .map_err(|error| TokenError::BadSecret { path: path.clone(), error });
    }
    let tokens = &config.tokens;
    let (section, source) = match &tokens.subscription {
        Some(source) if args.channel.is_some() => ("client.subscription_token", source),
        _ => ("client.token", &tokens.connection),
    };
    // It was checked with the configuration: what is refused is its absence.
    Signer::from_secret(source.hmac_secret.reveal()).map_err(|_| TokenError::NoSecret(section))
}

fn claims(args: &TokenArgs, settings: &TokenSettings) -> Result<Map<String, Value>, TokenError> {
    let mut claims = Map::new();
    let mut claim = |name: &str, value: Value| claims.insert(name.to_owned(), value);
    // Before 1970 there were no tokens.
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    claim("iat", json!(now));
    if !args.user.is_empty() {
        claim(&settings.user_id_claim, json!(args.user));
    }
    if !args.without_exp {
        claim("exp", json!(args.exp.unwrap_or(now.saturating_add(args.ttl.as_secs()))));
    }
    if let Some(Match::Exact(audience)) = &settings.audience {
        claim("aud", json!(audience));
    }
    if let Some(Match::Exact(issuer)) = &settings.issuer {
        claim("iss", json!(issuer));
    }
    if let Some(info) = &args.info {
        let info = serde_json::from_str(info);
        claim("info", info.map_err(|error| TokenError::NoJson("--info", error))?);
    }
    if let Some(channel) = &args.channel {
        claim("channel", json!(channel));
    }
    if !args.channels.is_empty() {
        claim("channels", json!(args.channels));
    }
    if let Some(more) = &args.claims {
        let more = serde_json::from_str::<Map<String, Value>>(more);
        claims.extend(more.map_err(|error| TokenError::NoJson("--claims", error))?);
    }
    Ok(claims)
}
