//! The claims of a token, read one by one, so that what is wrong can be named without being quoted
//! (specification, section 9). Whether they are true is `token`'s business.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::token::{SubscriptionGrant, TokenError};
use crate::protocol::{Overrides, Payload};

/// All claims, not yet understood. One that is `null` is not there.
pub(super) struct Claims<'a> {
    json: &'a [u8],
    members: BTreeMap<String, &'a RawValue>,
}

/// `aud` may be one or several.
#[derive(Deserialize)]
#[serde(untagged)]
enum Texts {
    One(String),
    Several(Vec<String>),
}

/// What a token says about one subscription.
#[derive(Default, Deserialize)]
struct RawGrant<'a> {
    #[serde(borrow)]
    info: Option<&'a RawValue>,
    b64info: Option<String>,
    #[serde(borrow)]
    data: Option<&'a RawValue>,
    b64data: Option<String>,
    r#override: Option<Overrides>,
}

impl<'a> Claims<'a> {
    pub(super) fn parse(json: &'a [u8]) -> Result<Self, TokenError> {
        let members = serde_json::from_slice(json)
            .map_err(|_| TokenError::Invalid("the claims are no JSON object"))?;
        Ok(Self { json, members })
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.members.get(name).is_some_and(|value| value.get() != "null")
    }

    /// A claim that is a text; "" if it is not there.
    pub(super) fn text(&self, name: &str, cause: &'static str) -> Result<String, TokenError> {
        Ok(self.read::<String>(name, cause)?.unwrap_or_default())
    }

    /// A claim that is a time: Unix milliseconds; fractions of seconds are tolerated. Only 0 is 0,
    /// which may mean "never": what is before it is 1. What is beyond all calendars is the far
    /// future.
    pub(super) fn time(&self, name: &str, cause: &'static str) -> Result<Option<u64>, TokenError> {
        let seconds: Option<f64> = self.read(name, cause)?;
        // The conversion saturates at both ends, and JSON has no NaN.
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
        Ok(seconds.map(|seconds| ((seconds * 1000.0) as u64).max(u64::from(seconds != 0.0))))
    }

    /// A claim that is a text or a list of texts.
    pub(super) fn texts(&self, name: &str, cause: &'static str) -> Result<Vec<String>, TokenError> {
        Ok(match self.read(name, cause)? {
            None => Vec::new(),
            Some(Texts::One(text)) => vec![text],
            Some(Texts::Several(texts)) => texts,
        })
    }

    /// `channels`: topics without more.
    pub(super) fn channels(&self) -> Result<Vec<String>, TokenError> {
        let channels = self.read("channels", "channels is no list of texts")?;
        Ok(channels.unwrap_or_default())
    }

    /// `subs`: topics and what the token says about each.
    pub(super) fn subs(&self) -> Result<BTreeMap<String, SubscriptionGrant>, TokenError> {
        const CAUSE: &str = "subs is no object of subscriptions";
        let subs: Option<BTreeMap<String, Option<RawGrant<'_>>>> = self.read("subs", CAUSE)?;
        let subs = subs.unwrap_or_default().into_iter();
        subs.map(|(topic, grant)| Ok((topic, grant.unwrap_or_default().meant()?))).collect()
    }

    /// What the token says about itself: as connection `info`, as subscription all of it.
    pub(super) fn grant(&self) -> Result<SubscriptionGrant, TokenError> {
        let malformed = |_| TokenError::Invalid("info, data or override is malformed");
        serde_json::from_slice::<RawGrant<'_>>(self.json).map_err(malformed)?.meant()
    }

    fn read<T: Deserialize<'a>>(
        &self,
        name: &str,
        cause: &'static str,
    ) -> Result<Option<T>, TokenError> {
        let Some(value) = self.members.get(name) else { return Ok(None) };
        serde_json::from_str(value.get()).map_err(|_| TokenError::Invalid(cause))
    }
}

impl RawGrant<'_> {
    fn meant(self) -> Result<SubscriptionGrant, TokenError> {
        let info = json(self.info, self.b64info, "b64info is no base64")?;
        let data = json(self.data, self.b64data, "b64data is no base64")?;
        let overrides = self.r#override.unwrap_or_default();
        Ok(SubscriptionGrant { info, data, overrides })
    }
}

/// The base64 variant wins.
fn json(
    plain: Option<&RawValue>,
    base64: Option<String>,
    cause: &'static str,
) -> Result<Option<Payload>, TokenError> {
    let Some(base64) = base64.filter(|text| !text.is_empty()) else {
        return Ok(plain.map(|value| Payload::json(value.get().as_bytes())));
    };
    let decoded = STANDARD.decode(base64).map_err(|_| TokenError::Invalid(cause))?;
    Ok(Some(Payload::detect(&decoded)))
}
