//! JSON as several rooms write and read it.

use std::borrow::Cow;

use serde::{Deserialize, Deserializer};

/// Writes formatted text into memory, which cannot fail.
macro_rules! put {
    ($out:expr, $($text:tt)*) => {{
        use std::io::Write as _;
        let _ = write!($out, $($text)*);
    }};
}
pub(crate) use put;

/// Appends a JSON string.
pub(crate) fn append_string(out: &mut Vec<u8>, text: &str) {
    // Neither a str nor a Vec can make this fail.
    let _ = serde_json::to_writer(out, text);
}

/// A field that is there, even if it is `null`: `null` is valid data (specification, section 6).
pub(crate) fn present<'de, D, T>(deserializer: D) -> Result<Option<T>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    T::deserialize(deserializer).map(Some)
}

/// A field for which `null` means what its absence means.
pub(crate) fn or_default<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de> + Default,
{
    Option::deserialize(deserializer).map(Option::unwrap_or_default)
}

/// The same for a text, which is borrowed where it has no escapes.
pub(crate) fn text<'de, D>(deserializer: D) -> Result<Cow<'de, str>, D::Error>
where
    D: Deserializer<'de>,
{
    #[derive(Deserialize)]
    struct Text<'a>(#[serde(borrow)] Cow<'a, str>);
    let text: Option<Text<'de>> = Option::deserialize(deserializer)?;
    Ok(text.map_or(Cow::Borrowed(""), |Text(text)| text))
}
