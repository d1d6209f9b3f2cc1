//! `[client.token]` and `[client.subscription_token]`: as they are written, and what they mean.
//! Keys are made of texts here, once: what is wrong with one is told before the broker runs.
//!
//! A secret or a key in PEM may stand in a file of its own: `file:PATH` is read in its place.

use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;
use std::{fmt, fs};

use fanwire_core::config::{Match, TokenSettings};
use fanwire_core::keys::{KeyError, KeySet, Keys};
use http::Uri;
use serde::{Deserialize, Serialize, Serializer};

use super::check::{Violation, within};
use super::raw::{RawClient, SECRET};
use super::text::{duration, spelled_duration};

const FILE_PREFIX: &str = "file:";
const JWKS_REFRESH_INTERVAL: RangeInclusive<Duration> =
    Duration::from_secs(10)..=Duration::from_hours(24);

/// A text that is never shown, but for `file:PATH`, which is no secret.
#[derive(Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub(crate) struct Secret(String);

impl Secret {
    /// The secret itself.
    pub(crate) fn reveal(&self) -> &str {
        &self.0
    }

    fn shown(&self) -> &str {
        match self.0.as_str() {
            "" => "",
            text if text.starts_with(FILE_PREFIX) => text,
            _ => SECRET,
        }
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.shown())
    }
}

impl Serialize for Secret {
    fn serialize<S: Serializer>(&self, writer: S) -> Result<S::Ok, S::Error> {
        writer.serialize_str(self.shown())
    }
}

/// A section with the keys of tokens, and perhaps a switch. (With `flatten` two sections could
/// share them, but it takes any key for known.)
macro_rules! section {
    ($(#[$doc:meta])* $name:ident, $expecting:literal $(, $switch:ident)?) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
        #[serde(default, deny_unknown_fields, expecting = $expecting)]
        pub(super) struct $name {
            $(pub(super) $switch: bool,)?
            pub(super) hmac_secret_key: Secret,
            pub(super) hmac_previous_secret_key: Secret,
            pub(super) rsa_public_key: String,
            pub(super) ecdsa_public_key: String,
            pub(super) ed25519_public_key: String,
            pub(super) jwks_public_endpoint: String,
            #[serde(with = "duration")]
            pub(super) jwks_refresh_interval: Duration,
            pub(super) audience: String,
            pub(super) audience_regex: String,
            pub(super) issuer: String,
            pub(super) issuer_regex: String,
            pub(super) user_id_claim: String,
            pub(super) allow_without_exp: bool,
        }

        impl Default for $name {
            fn default() -> Self {
                let settings = TokenSettings::default();
                Self {
                    $($switch: false,)?
                    hmac_secret_key: Secret::default(),
                    hmac_previous_secret_key: Secret::default(),
                    rsa_public_key: String::new(),
                    ecdsa_public_key: String::new(),
                    ed25519_public_key: String::new(),
                    jwks_public_endpoint: String::new(),
                    jwks_refresh_interval: Duration::from_mins(10),
                    audience: String::new(),
                    audience_regex: String::new(),
                    issuer: String::new(),
                    issuer_regex: String::new(),
                    user_id_claim: settings.user_id_claim,
                    allow_without_exp: settings.allow_without_exp,
                }
            }
        }
    };
}

section!(
    /// `[client.token]`
    RawToken,
    "the section [client.token]"
);
section!(
    /// `[client.subscription_token]`
    RawSubscriptionToken,
    "the section [client.subscription_token]",
    enabled
);

impl RawSubscriptionToken {
    /// The same without the switch.
    pub(super) fn token(&self) -> RawToken {
        let this = self.clone();
        RawToken {
            hmac_secret_key: this.hmac_secret_key,
            hmac_previous_secret_key: this.hmac_previous_secret_key,
            rsa_public_key: this.rsa_public_key,
            ecdsa_public_key: this.ecdsa_public_key,
            ed25519_public_key: this.ed25519_public_key,
            jwks_public_endpoint: this.jwks_public_endpoint,
            jwks_refresh_interval: this.jwks_refresh_interval,
            audience: this.audience,
            audience_regex: this.audience_regex,
            issuer: this.issuer,
            issuer_regex: this.issuer_regex,
            user_id_claim: this.user_id_claim,
            allow_without_exp: this.allow_without_exp,
        }
    }
}

impl RawToken {
    /// Whether any token can be good.
    pub(super) fn has_keys(&self) -> bool {
        !self.hmac_secret_key.reveal().is_empty() || self.has_public_keys()
    }

    fn has_public_keys(&self) -> bool {
        [
            &self.rsa_public_key,
            &self.ecdsa_public_key,
            &self.ed25519_public_key,
            &self.jwks_public_endpoint,
        ]
        .into_iter()
        .any(|key| !key.is_empty())
    }

    /// Whether public keys are fetched over a network without TLS.
    pub(super) fn fetches_in_the_clear(&self) -> bool {
        let host = jwks_uri(&self.jwks_public_endpoint)
            .filter(|uri| uri.scheme_str() == Some("http"))
            .and_then(|uri| uri.host().map(str::to_owned));
        host.is_some_and(|host| {
            let ip = host.trim_start_matches('[').trim_end_matches(']').parse();
            host != "localhost" && !ip.is_ok_and(|ip: std::net::IpAddr| ip.is_loopback())
        })
    }
}

/// What tokens may be signed with.
#[derive(Clone, Debug, Default)]
pub(crate) struct TokenConfig {
    /// Connection tokens.
    pub(crate) connection: KeySource,
    /// Subscription tokens; `None` = the same.
    pub(crate) subscription: Option<KeySource>,
}

impl TokenConfig {
    /// The keys as they are before anything was fetched.
    pub(crate) fn keys(&self) -> Arc<Keys> {
        let subscription = self.subscription.as_ref().map(|source| source.keys.clone());
        Arc::new(Keys::new(self.connection.keys.clone(), subscription))
    }
}

/// The keys of one kind of tokens.
#[derive(Clone, Debug, Default)]
pub(crate) struct KeySource {
    /// Those that stand in the configuration.
    pub(crate) keys: KeySet,
    /// The current secret among them, for `fanwire token`; empty = none.
    pub(crate) hmac_secret: Secret,
    /// Where more are fetched.
    pub(crate) jwks: Option<JwksSource>,
}

/// A JSON Web Key Set behind a URL.
#[derive(Clone, Debug)]
pub(crate) struct JwksSource {
    /// An http or https URL.
    pub(crate) url: Uri,
    /// Time between two fetches.
    pub(crate) refresh_interval: Duration,
}

/// What both sections say of keys.
pub(super) fn keys(raw: &RawClient) -> Result<TokenConfig, Violation> {
    let connection = key_source("client.token", &raw.token)?;
    if !raw.subscription_token.enabled {
        return Ok(TokenConfig { connection, subscription: None });
    }
    let section = "client.subscription_token";
    let subscription = raw.subscription_token.token();
    if !subscription.has_keys() {
        return Err(Violation {
            keys: vec![format!("{section}.enabled")],
            cause: format!("[{section}] has no key"),
            remedy: "give it one, as in hmac_secret_key, or leave it off: then the keys of \
                     [client.token] are good for both"
                .to_owned(),
        });
    }
    Ok(TokenConfig { connection, subscription: Some(key_source(section, &subscription)?) })
}

/// What both sections say of the claims.
pub(super) fn settings(
    raw: &RawClient,
) -> Result<(TokenSettings, Option<TokenSettings>), Violation> {
    let connection = claims("client.token", &raw.token)?;
    let subscription = claims("client.subscription_token", &raw.subscription_token.token())?;
    Ok((connection, raw.subscription_token.enabled.then_some(subscription)))
}

fn claims(section: &str, raw: &RawToken) -> Result<TokenSettings, Violation> {
    let expected = |name: &str, exact: &str, pattern: &str| match (exact, pattern) {
        ("", "") => Ok(None),
        (exact, "") => Ok(Some(Match::Exact(exact.to_owned()))),
        ("", pattern) => Match::pattern(pattern).map(Some).map_err(|error| {
            let error = error.to_string();
            // The lines before it draw where in the expression it is.
            let cause = error.lines().last().unwrap_or_default().trim_start_matches("error: ");
            Violation {
                keys: vec![format!("{section}.{name}_regex")],
                cause: format!("{pattern:?} is no regular expression: {cause}"),
                remedy: "write one for the whole text, as in 'https://[a-z]+\\.example\\.com', in \
                         single quotes if it has a backslash"
                    .to_owned(),
            }
        }),
        _ => Err(Violation {
            keys: vec![format!("{section}.{name}_regex"), format!("{section}.{name}")],
            cause: format!("{section}: {name} and {name}_regex are both given"),
            remedy: "give one of them".to_owned(),
        }),
    };
    if raw.user_id_claim.is_empty() {
        return Err(Violation {
            keys: vec![format!("{section}.user_id_claim")],
            cause: "no claim has an empty name".to_owned(),
            remedy: "name the claim that holds the user id; usually it is \"sub\"".to_owned(),
        });
    }
    Ok(TokenSettings {
        audience: expected("audience", &raw.audience, &raw.audience_regex)?,
        issuer: expected("issuer", &raw.issuer, &raw.issuer_regex)?,
        user_id_claim: raw.user_id_claim.clone(),
        allow_without_exp: raw.allow_without_exp,
    })
}

fn key_source(section: &str, raw: &RawToken) -> Result<KeySource, Violation> {
    let key = |name: &str| format!("{section}.{name}");
    let mut source = KeySource::default();
    let (secret, previous) = (&raw.hmac_secret_key, &raw.hmac_previous_secret_key);
    if secret.reveal().is_empty() && !previous.reveal().is_empty() {
        return Err(Violation {
            keys: vec![key("hmac_previous_secret_key")],
            cause: "a previous secret without a current one".to_owned(),
            remedy: "give the current one in hmac_secret_key".to_owned(),
        });
    }
    type With = fn(KeySet, &str) -> Result<KeySet, KeyError>;
    for (name, text, with) in [
        ("hmac_secret_key", secret.reveal(), KeySet::with_hmac_secret as With),
        ("hmac_previous_secret_key", previous.reveal(), KeySet::with_hmac_secret),
        ("rsa_public_key", &raw.rsa_public_key, KeySet::with_rsa_pem),
        ("ecdsa_public_key", &raw.ecdsa_public_key, KeySet::with_ecdsa_pem),
        ("ed25519_public_key", &raw.ed25519_public_key, KeySet::with_ed25519_pem),
    ] {
        if text.is_empty() {
            continue;
        }
        let text = text_of(key(name), text)?;
        source.keys = with(source.keys, &text).map_err(|error| no_key(key(name), error))?;
        if name == "hmac_secret_key" {
            source.hmac_secret = Secret(text);
        }
    }
    let interval = raw.jwks_refresh_interval;
    within(&key("jwks_refresh_interval"), interval, &JWKS_REFRESH_INTERVAL, spelled_duration)?;
    if !raw.jwks_public_endpoint.is_empty() {
        let url = jwks_uri(&raw.jwks_public_endpoint).ok_or_else(|| Violation {
            keys: vec![key("jwks_public_endpoint")],
            cause: "this is no URL to fetch keys from".to_owned(),
            remedy: "write it as in \"https://auth.example.com/.well-known/jwks.json\", without \
                     user and password"
                .to_owned(),
        })?;
        source.keys = source.keys.awaiting_jwks();
        source.jwks = Some(JwksSource { url, refresh_interval: interval });
    }
    Ok(source)
}

fn jwks_uri(text: &str) -> Option<Uri> {
    let uri: Uri = text.parse().ok()?;
    let has_scheme = matches!(uri.scheme_str(), Some("http" | "https"));
    let is_plain = uri.authority().is_some_and(|authority| !authority.as_str().contains('@'));
    (has_scheme && is_plain).then_some(uri)
}

/// What a key is given, or what the file holds that it names.
fn text_of(key: String, text: &str) -> Result<String, Violation> {
    let Some(path) = text.strip_prefix(FILE_PREFIX) else { return Ok(text.to_owned()) };
    // An editor ends the file with a line break that is no part of a secret.
    match fs::read_to_string(path) {
        Ok(text) => Ok(text.trim_end_matches(['\n', '\r']).to_owned()),
        Err(error) => Err(Violation {
            keys: vec![key],
            cause: format!("cannot read {path}: {error}"),
            remedy: "let the user that runs fanwire read it; the path counts from where fanwire \
                     is started"
                .to_owned(),
        }),
    }
}

fn no_key(key: String, error: KeyError) -> Violation {
    let remedy = match error {
        KeyError::ShortSecret => "make one that cannot be guessed, as with `openssl rand -hex 32`",
        KeyError::SecretIsPem => {
            "public keys belong in rsa_public_key, ecdsa_public_key or ed25519_public_key"
        }
        KeyError::PrivateKey => {
            "give the public half, as `openssl pkey -in KEY.pem -pubout` prints it; the private \
             one stays with who signs"
        }
        KeyError::WrongKind(_) => {
            "RSA belongs in rsa_public_key, P-256, P-384 and P-521 in ecdsa_public_key, Ed25519 \
             in ed25519_public_key; no others are taken"
        }
        KeyError::RsaSize => "make one with `openssl genrsa 3072`",
        _ => {
            "give it with its lines -----BEGIN PUBLIC KEY----- and -----END PUBLIC KEY-----, or \
             its file, as in \"file:/etc/fanwire/key.pem\"; that of a certificate is printed by \
             `openssl x509 -in CERT.pem -pubkey -noout`"
        }
    };
    Violation { keys: vec![key], cause: error.to_string(), remedy: remedy.to_owned() }
}

#[cfg(test)]
mod tests;
