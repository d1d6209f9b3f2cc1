//! The measured message: JSON data of an exact size that carries where and when it was meant to
//! be sent.
//!
//! The fields have fixed widths and stand right after a marker, so that a receiver finds them with
//! one search instead of parsing JSON. Marker and fields are inside a string and have nothing
//! that JSON escapes: they are found in JSON within JSON as well.
//!
//! ```text
//! {"b":"fwb:RRRRRRRRTTTTTTTTPPPPPPSSSSSSSSSSSSNNNNNNNNNNNNNNNNxxxxxxxx"}
//!           run     topic   |     sequence    intended ns     padding
//!                           publisher
//! ```

use std::io::Write;

use memchr::memmem::Finder;

use crate::error::BenchError;

const HEAD: &[u8] = br#"{"b":""#;
const MARKER: &[u8] = b"fwb:";
const TAIL: &[u8] = br#""}"#;
const RUN_DIGITS: usize = 8;
const TOPIC_DIGITS: usize = 8;
const PUBLISHER_DIGITS: usize = 6;
const SEQUENCE_DIGITS: usize = 12;
const TIME_DIGITS: usize = 16;
const FIELDS_BYTES: usize =
    RUN_DIGITS + TOPIC_DIGITS + PUBLISHER_DIGITS + SEQUENCE_DIGITS + TIME_DIGITS;

/// Smallest payload that holds the fields, in bytes.
pub(crate) const PAYLOAD_BYTES_MIN: usize = HEAD.len() + MARKER.len() + FIELDS_BYTES + TAIL.len();

/// The publisher number of the backend; clients that publish have their index + 1.
pub(crate) const BACKEND: u32 = 0;

/// What a measured message says about itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stamp {
    /// The run it belongs to; messages of other runs are not counted.
    pub(crate) run: u32,
    /// Index of its topic, from 0.
    pub(crate) topic: u32,
    /// Who published it: [`BACKEND`], or a client; 24 bits.
    pub(crate) publisher: u32,
    /// Its place among the publications of this publisher on its topic, from 0.
    pub(crate) sequence: u64,
    /// When it was meant to be sent, CLOCK_MONOTONIC in nanoseconds.
    pub(crate) intended_ns: u64,
}

/// Makes payloads of one size.
#[derive(Clone, Debug)]
pub(crate) struct PayloadMaker {
    padding: Vec<u8>,
}

impl PayloadMaker {
    /// A maker of payloads of exactly `size_bytes`.
    ///
    /// # Errors
    /// `PayloadTooSmall` when the fields do not fit; ask for a larger size.
    pub(crate) fn new(size_bytes: usize) -> Result<Self, BenchError> {
        let padding_bytes = size_bytes
            .checked_sub(PAYLOAD_BYTES_MIN)
            .ok_or(BenchError::PayloadTooSmall { size_bytes, size_bytes_min: PAYLOAD_BYTES_MIN })?;
        Ok(Self { padding: vec![b'x'; padding_bytes] })
    }

    /// Appends the payload for `stamp` to `output`.
    pub(crate) fn append(&self, stamp: Stamp, output: &mut Vec<u8>) {
        output.extend_from_slice(HEAD);
        output.extend_from_slice(MARKER);
        // Writing to a Vec cannot fail.
        let _ = write!(
            output,
            "{:08x}{:08x}{:06x}{:012x}{:016x}",
            stamp.run, stamp.topic, stamp.publisher, stamp.sequence, stamp.intended_ns
        );
        output.extend_from_slice(&self.padding);
        output.extend_from_slice(TAIL);
    }
}

/// Finds and reads the stamp of a message.
#[derive(Debug)]
pub(crate) struct StampReader {
    finder: Finder<'static>,
    /// Where the marker of the last message stood: nearly always it stands there again, and a
    /// search costs more than all the rest.
    last: usize,
}

impl StampReader {
    /// A reader; make one and keep it, the search is prepared here.
    pub(crate) fn new() -> Self {
        Self { finder: Finder::new(MARKER), last: 0 }
    }

    /// The stamp inside `message`, or `None` when it carries none.
    pub(crate) fn read(&mut self, message: &[u8]) -> Option<Stamp> {
        if !message.get(self.last..).is_some_and(|rest| rest.starts_with(MARKER)) {
            self.last = self.finder.find(message)?;
        }
        let fields = message.get(self.last + MARKER.len()..)?.first_chunk()?;
        read_fields(fields)
    }
}

/// Whether `message` carries a stamp, or seems to: a way to tell publications from everything else
/// without parsing, where a protocol makes that hard.
pub(crate) fn is_stamped(message: &[u8]) -> bool {
    memchr::memmem::find(message, MARKER).is_some()
}

/// The fields, eight digits at a time, wherever one ends and the next begins.
fn read_fields(fields: &[u8; FIELDS_BYTES]) -> Option<Stamp> {
    let (words, _) = fields.as_chunks();
    let [run, topic, publisher_and_more, sequence, sequence_and_more, time] = words else {
        return None;
    };
    let [run, topic] = [eight_digits(*run)?, eight_digits(*topic)?];
    // 6 digits of the publisher, 2 + 8 + 2 of the sequence, 6 + 8 + 2 of the time.
    let first = eight_digits(*publisher_and_more)?;
    let second = eight_digits(*sequence)?;
    let third = eight_digits(*sequence_and_more)?;
    let fourth = eight_digits(*time)?;
    let last = eight_digits(*fields.last_chunk()?)?;
    Some(Stamp {
        run: u32::try_from(run).ok()?,
        topic: u32::try_from(topic).ok()?,
        publisher: u32::try_from(first >> 8).ok()?,
        sequence: (first & 0xff) << 40 | second << 8 | third >> 24,
        intended_ns: (third & 0xff_ffff) << 40 | fourth << 8 | last & 0xff,
    })
}

/// Eight lower-case hexadecimal digits as a number, all at once: every delivery has fifty digits,
/// and one by one they would be its largest cost.
fn eight_digits(digits: [u8; 8]) -> Option<u64> {
    /// This byte, eight times.
    const fn each(byte: u8) -> u64 {
        u64::from_be_bytes([byte; 8])
    }
    let text = u64::from_be_bytes(digits);
    // Of the digits only letters have this bit, and their low half counts from 1.
    let letters = (text & each(0x40)) >> 6;
    let values = (text & each(0x0f)) + letters * 9;
    // Whatever was no digit does not come back, or is too large.
    let tens = ((values + each(6)) & each(0x10)) >> 4;
    let again = values + each(b'0') + tens * u64::from(b'a' - b'0' - 10);
    if again != text || values & each(0xf0) != 0 {
        return None;
    }
    let pairs = (values | values >> 4) & 0x00ff_00ff_00ff_00ff;
    let fours = (pairs | pairs >> 8) & 0x0000_ffff_0000_ffff;
    Some((fours | fours >> 16) & 0xffff_ffff)
}

#[cfg(test)]
mod tests {
    use super::*;

    const STAMP: Stamp = Stamp {
        run: 0xdead_beef,
        topic: 7,
        publisher: 0xff_ffff,
        sequence: 0xfff_ffff_ffff,
        intended_ns: u64::MAX,
    };

    #[test]
    fn a_payload_has_exactly_the_size_asked_for_and_is_json() {
        for size_bytes in [PAYLOAD_BYTES_MIN, 64, 128, 4096] {
            let mut payload = Vec::new();
            PayloadMaker::new(size_bytes).unwrap().append(STAMP, &mut payload);
            assert_eq!(payload.len(), size_bytes);
            serde_json::from_slice::<serde_json::Value>(&payload).unwrap();
        }
    }

    #[test]
    fn a_stamp_survives_the_way_through_a_push() {
        let mut push = br#"{"push":{"channel":"bench7","pub":{"data":"#.to_vec();
        PayloadMaker::new(100).unwrap().append(STAMP, &mut push);
        push.extend_from_slice(br#","offset":12}}}"#);
        assert_eq!(StampReader::new().read(&push), Some(STAMP));
    }

    #[test]
    fn a_stamp_survives_json_within_json() {
        let mut payload = Vec::new();
        PayloadMaker::new(100).unwrap().append(STAMP, &mut payload);
        let text = String::from_utf8(payload).unwrap();
        let push = serde_json::json!({ "event": "message", "data": text }).to_string();
        assert_eq!(StampReader::new().read(push.as_bytes()), Some(STAMP));
    }

    #[test]
    fn a_stamp_is_found_wherever_it_stands_next() {
        let mut payload = Vec::new();
        PayloadMaker::new(100).unwrap().append(STAMP, &mut payload);
        let mut reader = StampReader::new();
        for before in [0, 40, 40, 7, 90, 0] {
            let message = [vec![b' '; before], payload.clone()].concat();
            assert_eq!(reader.read(&message), Some(STAMP), "behind {before} bytes");
        }
    }

    #[test]
    fn digits_are_read_as_they_are_written_and_nothing_else_is_a_digit() {
        for number in [0, 1, 0x0123_4567, 0x89ab_cdef, 0xffff_ffff, 0xf0f0_0a09] {
            let digits = format!("{number:08x}");
            assert_eq!(eight_digits(digits.into_bytes().try_into().unwrap()), Some(number));
        }
        for place in 0..8 {
            for byte in 0..=u8::MAX {
                let mut digits = *b"0a9f0000";
                digits[place] = byte;
                let is_digit = matches!(byte, b'0'..=b'9' | b'a'..=b'f');
                assert_eq!(eight_digits(digits).is_some(), is_digit, "{byte} at {place}");
            }
        }
    }

    #[test]
    fn a_size_too_small_is_refused() {
        assert!(PayloadMaker::new(PAYLOAD_BYTES_MIN - 1).is_err());
    }

    #[test]
    fn a_message_without_a_whole_stamp_has_none() {
        let mut payload = Vec::new();
        PayloadMaker::new(PAYLOAD_BYTES_MIN).unwrap().append(STAMP, &mut payload);
        let mut reader = StampReader::new();
        for end in 0..PAYLOAD_BYTES_MIN - TAIL.len() {
            assert_eq!(reader.read(&payload[..end]), None);
        }
        assert_eq!(reader.read(b"{}"), None);
        let digit = HEAD.len() + MARKER.len();
        for place in digit..digit + FIELDS_BYTES {
            let mut broken = payload.clone();
            broken[place] = b'g';
            assert_eq!(reader.read(&broken), None, "{place}");
        }
    }
}
