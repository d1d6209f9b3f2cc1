//! What is published: payloads, their publishers, and their places in a topic.

use std::borrow::Cow;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde_json::value::RawValue;
use uuid::Uuid;

use crate::fault::Refusal;

/// Bytes that an application hands in and gets back unchanged, and whether they are JSON.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Payload {
    bytes: Bytes,
    json: bool,
}

impl Payload {
    /// JSON text, known to be valid. Line breaks are left out: they separate messages (section 1),
    /// and inside JSON strings they cannot occur raw.
    pub(crate) fn json(text: &[u8]) -> Self {
        let bytes = Bytes::from(without_line_breaks(text).into_owned());
        Self { json: !bytes.is_empty(), bytes }
    }

    /// Bytes of which nobody has said what they are.
    pub(crate) fn detect(bytes: &[u8]) -> Self {
        let json = serde_json::from_slice::<&RawValue>(bytes).is_ok();
        Self { bytes: Bytes::copy_from_slice(bytes), json }
    }

    /// Whether it is JSON text.
    pub(crate) fn is_json(&self) -> bool {
        self.json
    }

    /// As it was handed in.
    pub(crate) fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    pub(crate) fn len(&self) -> usize {
        self.bytes.len()
    }

    /// As JSON, on one line: what is no JSON becomes `{"b64data":"…"}`.
    pub(crate) fn json_text(&self) -> Cow<'_, [u8]> {
        if self.json {
            return without_line_breaks(&self.bytes);
        }
        let mut text = br#"{"b64data":""#.to_vec();
        text.extend_from_slice(STANDARD.encode(&self.bytes).as_bytes());
        text.extend_from_slice(br#""}"#);
        Cow::Owned(text)
    }

    /// The most that an encoding makes of it.
    fn encoded_bytes_max(&self) -> usize {
        if self.json { self.len() } else { self.len() / 3 * 4 + 32 }
    }

    /// How much more that may become as text in a JSON string: its quotes, and what has to be
    /// escaped. Of control characters valid JSON contains white space only.
    fn quoting_bytes_max(&self) -> usize {
        const QUOTES: usize = 2;
        let escaped = |byte: &&u8| matches!(**byte, b'"' | b'\\' | ..b' ');
        QUOTES + if self.json { self.bytes.iter().filter(escaped).count() } else { 0 }
    }
}

fn without_line_breaks(text: &[u8]) -> Cow<'_, [u8]> {
    if memchr::memchr2(b'\n', b'\r', text).is_none() {
        return Cow::Borrowed(text);
    }
    text.iter().copied().filter(|byte| !matches!(byte, b'\n' | b'\r')).collect()
}

/// Where a publication stands in its topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Position {
    /// Names one unbroken run of offsets; changes whenever continuity cannot be proven.
    pub(crate) epoch: Epoch,
    /// 1 for the first publication of the epoch, then without gaps.
    pub(crate) offset: u64,
}

/// Eight random letters a-z, A-Z.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Epoch(pub(crate) [u8; 8]);

impl Epoch {
    /// As text.
    pub(crate) fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).unwrap_or_default()
    }
}

impl std::fmt::Debug for Epoch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A position as a client or a backend names it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Since {
    /// What it names; empty = whichever there is.
    pub(crate) epoch: String,
    pub(crate) offset: u64,
}

impl Since {
    /// Whether its epoch is the one given.
    pub(crate) fn names(&self, epoch: Epoch) -> bool {
        self.epoch.is_empty() || self.epoch == epoch.as_str()
    }
}

/// A client, as others see it. Each session has one, few have payloads in it: those are boxed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ClientInfo {
    /// The user; empty = anonymous.
    pub(crate) user: Arc<str>,
    /// The connection.
    pub(crate) client: Uuid,
    /// What its connection token or its backend says about it.
    pub(crate) conn_info: Option<Box<Payload>>,
    /// The same for this topic.
    pub(crate) chan_info: Option<Box<Payload>>,
}

impl ClientInfo {
    /// What it holds in memory, roughly.
    pub(crate) fn bytes(&self) -> usize {
        let payloads = self.payloads().map(|payload| payload.len() + size_of::<Payload>());
        self.user.len() + payloads.sum::<usize>() + size_of::<Self>()
    }

    fn payloads(&self) -> impl Iterator<Item = &Payload> {
        [&self.conn_info, &self.chan_info].into_iter().filter_map(Option::as_deref)
    }

    fn encoded_bytes_max(&self) -> usize {
        let payloads = self.payloads().map(Payload::encoded_bytes_max);
        6 * self.user.len() + payloads.sum::<usize>()
    }
}

/// What a publisher hands in.
#[derive(Clone, Debug)]
pub(crate) struct Draft {
    /// What is to be delivered.
    pub(crate) data: Payload,
    /// The publishing client; `None` = a backend.
    pub(crate) info: Option<Arc<ClientInfo>>,
    /// Sorted by key.
    pub(crate) tags: Arc<[(String, String)]>,
    /// Keep it out of the history; it gets no position that anybody sees.
    pub(crate) skip_history: bool,
    /// Subscribers that asked for deltas get one.
    pub(crate) delta: bool,
}

impl Draft {
    /// What it holds in memory, roughly.
    pub(crate) fn bytes(&self) -> usize {
        let tags = self.tags.iter().map(|(key, value)| key.len() + value.len() + 48);
        self.data.len() + tags.sum::<usize>() + self.info.as_ref().map_or(0, |info| info.bytes())
    }

    /// The most that an encoding makes of it, for those who did not ask for deltas: in JSON one
    /// byte of a tag may become six, and each has quotes, colon and comma.
    pub(crate) fn encoded_bytes_max(&self) -> usize {
        let tags = self.tags.iter().map(|(key, value)| 6 * (key.len() + value.len()) + 6);
        let info = self.info.as_ref().map_or(0, |info| info.encoded_bytes_max());
        self.data.encoded_bytes_max() + tags.sum::<usize>() + info
    }

    /// The same in any form: those who asked for deltas get it as text in a string.
    pub(crate) fn encoded_bytes_max_any_form(&self) -> usize {
        self.encoded_bytes_max() + self.data.quoting_bytes_max()
    }
}

/// A publication on its way to the owner of its topic.
#[derive(Clone, Debug)]
pub(crate) struct Publish {
    pub(crate) topic: Arc<str>,
    pub(crate) draft: Draft,
    /// What may keep it from being published; `None` = nothing.
    pub(crate) once: Option<Arc<Once>>,
}

/// What makes a publication the same as an earlier one, or older than it (section 18).
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Once {
    /// Repeats within five minutes get the first answer; empty = none.
    pub(crate) idempotency_key: String,
    /// Not published unless larger than the topic's last; 0 = none.
    pub(crate) version: u64,
    /// Versions are compared within one of these.
    pub(crate) version_epoch: String,
}

/// What became of a publish: its position, where that is visible.
pub(crate) type Published = Result<Option<Position>, Refusal>;

/// A message of a topic, in its place.
#[derive(Debug)]
pub(crate) struct Publication {
    /// What was published.
    pub(crate) draft: Draft,
    /// Its place in the topic.
    pub(crate) position: Position,
    /// Whether clients see the position (the topic keeps a history).
    pub(crate) position_visible: bool,
}

impl Publication {
    /// The position, where clients may see it.
    pub(crate) fn visible_position(&self) -> Option<Position> {
        self.position_visible.then_some(self.position)
    }
}

/// How the data of a publication is spelled for a subscriber (section 12).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) enum Form {
    /// As it is.
    #[default]
    Plain,
    /// As it is, for one who asked for deltas: in JSON the text of the payload in a string.
    Full,
    /// As a patch of the publication before it.
    Patch(Bytes),
}
