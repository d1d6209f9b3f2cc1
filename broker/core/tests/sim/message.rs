//! What the broker sends to clients, as they read it.

use serde::Deserialize;

/// A reply or a push.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Message<'a> {
    #[serde(default)]
    pub(crate) id: u32,
    pub(crate) error: Option<Refused>,
    pub(crate) connect: Option<Connected>,
    pub(crate) subscribe: Option<Nothing>,
    pub(crate) unsubscribe: Option<Nothing>,
    pub(crate) publish: Option<Nothing>,
    #[serde(borrow)]
    pub(crate) push: Option<Push<'a>>,
}

/// An error in place of a result.
#[derive(Debug, Deserialize)]
pub(crate) struct Refused {
    pub(crate) code: u64,
}

/// The result of a connect.
#[derive(Debug, Deserialize)]
pub(crate) struct Connected {
    pub(crate) client: String,
}

/// A result without content.
#[derive(Debug, Deserialize)]
pub(crate) struct Nothing {}

/// What comes unasked.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Push<'a> {
    pub(crate) channel: &'a str,
    #[serde(rename = "pub")]
    pub(crate) publication: Option<Published>,
    pub(crate) unsubscribe: Option<Unsubscribed>,
}

/// A publication.
#[derive(Debug, Deserialize)]
pub(crate) struct Published {
    pub(crate) data: Data,
    pub(crate) offset: Option<u64>,
    pub(crate) epoch: Option<String>,
    pub(crate) info: Option<Info>,
}

/// The data of every publication here; what else is in it only makes it longer.
#[derive(Debug, Deserialize)]
pub(crate) struct Data {
    pub(crate) n: u64,
}

/// Who published.
#[derive(Debug, Deserialize)]
pub(crate) struct Info {
    pub(crate) client: String,
}

/// The end of a subscription by a backend.
#[derive(Debug, Deserialize)]
pub(crate) struct Unsubscribed {
    pub(crate) code: u32,
}
