//! What a client offers in `Sec-WebSocket-Extensions`, and what of it is accepted (RFC 7692,
//! section 7.1; grammar: RFC 6455, section 9.1).
//!
//! Every message is compressed by itself, in both directions: that is what lets all subscribers of
//! a shard share one compressed frame, and what keeps an idle connection free of compression state.

use std::fmt::Write as _;

use super::deflate::Compression;

/// The one extension that is spoken.
const NAME: &str = "permessage-deflate";

/// What a handshake agreed on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Agreement {
    /// How to compress for the client; it may compress what it sends.
    pub compression: Compression,
    /// The value of the answer's `Sec-WebSocket-Extensions`.
    pub answer: String,
}

/// Accepts the first offer of permessage-deflate that can be kept to, if any. `lines` are the
/// values of the request's `Sec-WebSocket-Extensions`, in their order; together they are one list.
///
/// An offer with a parameter that is unknown, given twice or out of range is declined. So is one
/// that wants a window of 2^8 bytes (`server_max_window_bits=8`): DEFLATE as zlib implements it has
/// none below 2^9.
pub fn negotiate<'a>(lines: impl IntoIterator<Item = &'a str>) -> Option<Agreement> {
    lines.into_iter().flat_map(offers).find_map(|offer| accepted(offer?))
}

/// One offer: name and parameters, as written.
type Offer<'a> = Vec<Parameter<'a>>;

/// A name, and its value if it has one.
type Parameter<'a> = (&'a str, Option<&'a str>);

/// The offers of one line; `None` for one that breaks the grammar.
fn offers(line: &str) -> impl Iterator<Item = Option<Offer<'_>>> {
    split_unquoted(line, ',')
        .map(|offer| split_unquoted(offer, ';').map(parameter).collect::<Option<Offer<'_>>>())
}

/// The pieces between separators that stand outside quotes.
fn split_unquoted(text: &str, separator: char) -> impl Iterator<Item = &str> {
    let (mut quoted, mut escaped) = (false, false);
    text.split(move |character| {
        let is_escaped = std::mem::take(&mut escaped);
        match character {
            '\\' if quoted => escaped = !is_escaped,
            '"' if !is_escaped => quoted = !quoted,
            _ => {}
        }
        character == separator && !quoted
    })
}

/// `name`, `name=value` or `name="value"`. A value in quotes must be what it could be without them,
/// so there is nothing to unescape.
fn parameter(text: &str) -> Option<Parameter<'_>> {
    let (name, value) = match text.split_once('=') {
        None => (trimmed(text), None),
        Some((name, value)) => {
            let value = trimmed(value);
            let bare = value.strip_prefix('"').and_then(|value| value.strip_suffix('"'));
            (trimmed(name), Some(bare.unwrap_or(value)))
        }
    };
    (is_token(name) && value.is_none_or(is_token)).then_some((name, value))
}

/// Without the white space that HTTP allows there.
fn trimmed(text: &str) -> &str {
    text.trim_matches([' ', '\t'])
}

/// RFC 9110, section 5.6.2.
fn is_token(text: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    !text.is_empty() && text.bytes().all(fits)
}

/// The answer to an offer that can be kept to.
fn accepted(offer: Offer<'_>) -> Option<Agreement> {
    let mut offered = offer.into_iter();
    let (name, value) = offered.next()?;
    if !name.eq_ignore_ascii_case(NAME) || value.is_some() {
        return None;
    }
    let (mut server_bits, mut client_bits) = (None, None);
    let mut seen: Vec<&str> = Vec::new();
    for (name, value) in offered {
        if seen.contains(&name) {
            return None;
        }
        seen.push(name);
        match (name, value) {
            ("server_no_context_takeover" | "client_no_context_takeover", None)
            // Without a value: the client could keep to one. It need not.
            | ("client_max_window_bits", None) => {}
            ("server_max_window_bits", Some(value)) => server_bits = Some(window_bits(value)?),
            ("client_max_window_bits", Some(value)) => client_bits = Some(window_bits(value)?),
            _ => return None,
        }
    }
    let compression = Compression::window(server_bits.unwrap_or(Compression::BITS_MAX))?;
    let mut answer = format!("{NAME}; server_no_context_takeover; client_no_context_takeover");
    // Writing to a String cannot fail.
    if let Some(bits) = server_bits {
        let _ = write!(answer, "; server_max_window_bits={bits}");
    }
    // A client that speaks of 8 cannot keep to it with zlib. Any window of it can be read here, so
    // nothing is said, which allows it all.
    if let Some(bits) = client_bits.filter(|bits| *bits >= Compression::BITS_MIN) {
        let _ = write!(answer, "; client_max_window_bits={bits}");
    }
    Some(Agreement { compression, answer })
}

/// 8 to 15, as a decimal without a leading zero (RFC 7692, section 7.1.2).
fn window_bits(value: &str) -> Option<u8> {
    let bits = value.parse().ok().filter(|bits| (8..=15).contains(bits))?;
    let spelled = !value.starts_with(['0', '+']);
    spelled.then_some(bits)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALWAYS: &str =
        "permessage-deflate; server_no_context_takeover; client_no_context_takeover";

    /// Window bits of the server, and what is answered beside what always is.
    fn agreed(lines: &[&str]) -> Option<(Compression, String)> {
        let agreement = negotiate(lines.iter().copied())?;
        let rest = agreement.answer.strip_prefix(ALWAYS).unwrap().to_owned();
        Some((agreement.compression, rest))
    }

    fn window(bits: u8) -> Compression {
        Compression::window(bits).unwrap()
    }

    #[track_caller]
    fn assert_agreed(lines: &[&str], bits: u8, rest: &str) {
        assert_eq!(agreed(lines), Some((window(bits), rest.to_owned())), "{lines:?}");
    }

    #[test]
    fn what_is_offered_is_answered_and_nothing_else() {
        assert_agreed(&["permessage-deflate"], 15, "");
        assert_agreed(&["Permessage-Deflate ;server_no_context_takeover "], 15, "");
        assert_agreed(&["permessage-deflate; client_no_context_takeover"], 15, "");
        assert_agreed(&["permessage-deflate; client_max_window_bits"], 15, "");
        assert_agreed(
            &["permessage-deflate; client_max_window_bits=10"],
            15,
            "; client_max_window_bits=10",
        );
        assert_agreed(&["permessage-deflate; client_max_window_bits=8"], 15, "");
        for bits in 9..=15 {
            let offer = format!("permessage-deflate; server_max_window_bits={bits}");
            assert_agreed(&[&offer], bits, &format!("; server_max_window_bits={bits}"));
        }
        assert_agreed(
            &["permessage-deflate;server_max_window_bits=\"9\" ; client_max_window_bits=\"12\""],
            9,
            "; server_max_window_bits=9; client_max_window_bits=12",
        );
    }

    #[test]
    fn the_first_offer_that_can_be_kept_to_wins() {
        assert_agreed(
            &["permessage-deflate; server_max_window_bits=8, permessage-deflate"],
            15,
            "",
        );
        // In several lines, and with separators in quotes.
        let lines = [
            r#"x-other; a="\", permessage-deflate; c", permessage-deflate; unknown"#,
            "permessage-deflate; server_max_window_bits=10, permessage-deflate",
        ];
        assert_agreed(&lines, 10, "; server_max_window_bits=10");
        assert_eq!(agreed(&[r#"x-other; a="permessage-deflate, permessage-deflate""#]), None);
    }

    #[test]
    fn offers_that_cannot_be_kept_to_are_declined() {
        for offer in [
            "",
            ",",
            "x-webkit-deflate-frame",
            "permessage-deflate=1",
            "permessage-deflate;",
            "permessage-deflate; unknown",
            "permessage-deflate; server_no_context_takeover=1",
            "permessage-deflate; client_no_context_takeover=\"\"",
            "permessage-deflate; server_no_context_takeover; server_no_context_takeover",
            "permessage-deflate; client_max_window_bits; client_max_window_bits=9",
            "permessage-deflate; server_max_window_bits",
            "permessage-deflate; server_max_window_bits=",
            "permessage-deflate; server_max_window_bits=7",
            "permessage-deflate; server_max_window_bits=8",
            "permessage-deflate; server_max_window_bits=16",
            "permessage-deflate; server_max_window_bits=09",
            "permessage-deflate; server_max_window_bits=+9",
            "permessage-deflate; server_max_window_bits=9x",
            "permessage-deflate; server_max_window_bits=\"9",
            "permessage-deflate; client_max_window_bits=0",
            "permessage-deflate; client_max_window_bits=16",
            "permessage-deflate; a b",
        ] {
            assert_eq!(agreed(&[offer]), None, "{offer}");
        }
    }
}
