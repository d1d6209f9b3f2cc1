//! Tokens: who signed them (`keys`), what they say (`claims`), and whether it holds at this moment
//! (specification, section 9). The clock is the caller's.
//!
//! Order: form, signature, claims, audience and issuer, `nbf`, `exp`. So "expired" is said of a
//! token that is good in all else, for only then will a new one help; and of one whose key is not
//! known, or not any more.

use std::collections::BTreeSet;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;
use serde::de::IgnoredAny;

use super::claims::Claims;
use super::keys::{KeySet, Keys, Unverified};
use crate::config::TokenSettings;
use crate::limits::{CLOCK_SKEW_MAX, TOKEN_BYTES_MAX, USER_ID_BYTES_MAX};
use crate::protocol::{Overrides, Payload};

/// Why a token is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum TokenError {
    /// It was good until its `exp`; the client should get a new one (109).
    #[error("expired")]
    Expired,
    /// It may be signed with a key that was not fetched yet: fetch, and let the client come again
    /// (100, temporary).
    #[error("signed with a key that is not known yet")]
    UnknownKey,
    /// It will never be good. Says why, for the log, and quotes nothing of the token.
    #[error("{0}")]
    Invalid(&'static str),
}

/// What a connection token says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ConnectionToken {
    /// At most `USER_ID_BYTES_MAX`; empty = anonymous.
    pub(crate) user: String,
    /// When the connection ends, in Unix milliseconds; `None` = never. It may be past, or beyond
    /// all bounds, as `expire_at` is: what to say then is the caller's business.
    pub(crate) expires_at: Option<u64>,
    /// `conn_info`.
    pub(crate) info: Option<Payload>,
    /// Server-side subscriptions, each once. As many as fit a token, and their names are not
    /// checked.
    pub(crate) topics: Vec<TokenTopic>,
}

/// A server-side subscription.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TokenTopic {
    pub(crate) name: String,
    pub(crate) grant: SubscriptionGrant,
}

/// What a token says about a subscription.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct SubscriptionGrant {
    /// `chan_info`.
    pub(crate) info: Option<Payload>,
    /// `data` of the answer.
    pub(crate) data: Option<Payload>,
    pub(crate) overrides: Overrides,
}

/// What a subscription token says. That it is meant for this session and topic, the caller checks:
/// `user` and `channel` must be equal, `client` too where it is given (close 3500 otherwise).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SubscriptionToken {
    /// Empty = anonymous.
    pub(crate) user: String,
    /// Never empty.
    pub(crate) channel: String,
    /// The client id, in tokens of the old kind.
    pub(crate) client: Option<String>,
    /// As in [`ConnectionToken`], for the subscription.
    pub(crate) expires_at: Option<u64>,
    pub(crate) grant: SubscriptionGrant,
}

/// Header of a token (RFC 7515, section 4). Keys that stand in it (`jwk`, `jku`, `x5c`) are of its
/// sender's choice, and are not looked at.
#[derive(Deserialize)]
struct Header {
    alg: String,
    kid: Option<String>,
    crit: Option<IgnoredAny>,
}

/// Checks a connection token at a moment, in Unix milliseconds.
pub(crate) fn connection_token(
    keys: &Keys,
    settings: &TokenSettings,
    token: &str,
    now: u64,
) -> Result<ConnectionToken, TokenError> {
    let json = signed_claims(keys.connection(), token, now)?;
    let claims = Claims::parse(&json)?;
    if claims.has("channel") {
        return Err(TokenError::Invalid("a subscription token where a connection token belongs"));
    }
    let user = user(&claims, settings)?;
    let info = claims.grant()?.info;
    let topics = topics(&claims)?;
    let expires_at = admitted_until(&claims, settings, now)?;
    Ok(ConnectionToken { user, expires_at, info, topics })
}

/// Checks a subscription token at a moment, in Unix milliseconds.
pub(crate) fn subscription_token(
    keys: &Keys,
    settings: &TokenSettings,
    token: &str,
    now: u64,
) -> Result<SubscriptionToken, TokenError> {
    let json = signed_claims(keys.subscription(), token, now)?;
    let claims = Claims::parse(&json)?;
    let channel = claims.text("channel", "channel is no text")?;
    if channel.is_empty() {
        return Err(TokenError::Invalid("a subscription token without channel"));
    }
    let user = user(&claims, settings)?;
    let client = Some(claims.text("client", "client is no text")?).filter(|id| !id.is_empty());
    let grant = claims.grant()?;
    let expires_at = admitted_until(&claims, settings, now)?;
    Ok(SubscriptionToken { user, channel, client, expires_at, grant })
}

/// The name of the key that a token says it is signed with; empty = it names none.
pub(crate) fn key_name(token: &str) -> String {
    let header = token.split_once('.').map(|(header, _)| header).unwrap_or_default();
    let header = URL_SAFE_NO_PAD.decode(header).unwrap_or_default();
    let header = serde_json::from_slice::<Header>(&header).ok();
    header.and_then(|header| header.kid).unwrap_or_default()
}

/// The claims as JSON, once it is known that one of the keys vouches for them.
fn signed_claims(keys: &KeySet, token: &str, now: u64) -> Result<Vec<u8>, TokenError> {
    const FORM: TokenError = TokenError::Invalid("not header, claims and signature in base64");
    if token.len() > TOKEN_BYTES_MAX {
        return Err(TokenError::Invalid("too long"));
    }
    if keys.is_empty() {
        return Err(TokenError::Invalid("no keys are configured"));
    }
    let (signed, signature) = token.rsplit_once('.').ok_or(FORM)?;
    let (header, claims) = signed.split_once('.').ok_or(FORM)?;
    let header = URL_SAFE_NO_PAD.decode(header).map_err(|_| FORM)?;
    let header: Header = serde_json::from_slice(&header)
        .map_err(|_| TokenError::Invalid("the header is malformed"))?;
    if header.crit.is_some() {
        return Err(TokenError::Invalid("the header demands an extension (crit)"));
    }
    let claims = URL_SAFE_NO_PAD.decode(claims).map_err(|_| FORM)?;
    match keys.verify(&header.alg, header.kid.as_deref(), signed, signature) {
        // Its key may have been retired since. A client that is told to come again would come with
        // this token for ever; one that is told "expired" gets itself another.
        Err(Unverified::UnknownKey) if claims_ended(&claims, now) => Err(TokenError::Expired),
        verified => Ok(verified.map(|()| claims)?),
    }
}

/// Whether claims say of themselves that they hold no more, be they true or not.
fn claims_ended(json: &[u8], now: u64) -> bool {
    let expires = Claims::parse(json).and_then(|claims| claims.time("exp", "exp is no number"));
    expires.is_ok_and(|expires| expires.is_some_and(|expires| now >= expires))
}

impl From<Unverified> for TokenError {
    fn from(unverified: Unverified) -> Self {
        match unverified {
            Unverified::UnknownAlgorithm => Self::Invalid("an algorithm that is not accepted"),
            Unverified::NoKey => Self::Invalid("no key for this algorithm"),
            Unverified::UnknownKey => Self::UnknownKey,
            Unverified::BadSignature => Self::Invalid("the signature is wrong"),
        }
    }
}

fn user(claims: &Claims<'_>, settings: &TokenSettings) -> Result<String, TokenError> {
    let user = claims.text(&settings.user_id_claim, "the user id is no text")?;
    if user.len() > USER_ID_BYTES_MAX {
        return Err(TokenError::Invalid("the user id is too long"));
    }
    Ok(user)
}

/// `subs` if there are any, `channels` otherwise.
fn topics(claims: &Claims<'_>) -> Result<Vec<TokenTopic>, TokenError> {
    let (channels, subs) = (claims.channels()?, claims.subs()?);
    if !subs.is_empty() {
        return Ok(subs.into_iter().map(|(name, grant)| TokenTopic { name, grant }).collect());
    }
    let mut topics: Vec<TokenTopic> = Vec::with_capacity(channels.len());
    let mut seen = BTreeSet::new();
    for name in channels {
        if seen.insert(name.clone()) {
            topics.push(TokenTopic { name, grant: SubscriptionGrant::default() });
        }
    }
    Ok(topics)
}

/// Checks for whom and when the token is meant; says until when what it allows may last.
fn admitted_until(
    claims: &Claims<'_>,
    settings: &TokenSettings,
    now: u64,
) -> Result<Option<u64>, TokenError> {
    let audiences = claims.texts("aud", "aud is neither a text nor a list of texts")?;
    let issuer = claims.text("iss", "iss is no text")?;
    claims.time("iat", "iat is no number")?;
    let not_before = claims.time("nbf", "nbf is no number")?;
    let expires = claims.time("exp", "exp is no number")?;
    let ends = claims.time("expire_at", "expire_at is no number")?;

    let expected = settings.audience.as_ref();
    if expected.is_some_and(|expected| !audiences.iter().any(|aud| expected.accepts(aud))) {
        return Err(TokenError::Invalid("meant for another audience"));
    }
    let expected = settings.issuer.as_ref();
    if expected.is_some_and(|expected| !claims.has("iss") || !expected.accepts(&issuer)) {
        return Err(TokenError::Invalid("from another issuer"));
    }
    let latest = Duration::from_millis(now) + CLOCK_SKEW_MAX;
    if not_before.is_some_and(|not_before| Duration::from_millis(not_before) > latest) {
        return Err(TokenError::Invalid("not valid yet (nbf)"));
    }
    match expires {
        None if !settings.allow_without_exp => {
            return Err(TokenError::Invalid("no exp, and client.token.allow_without_exp is off"));
        }
        // RFC 7519, section 4.1.4: on or after.
        Some(expires) if now >= expires => return Err(TokenError::Expired),
        _ => {}
    }
    Ok(match ends {
        Some(0) => None,
        ends => ends.or(expires),
    })
}
