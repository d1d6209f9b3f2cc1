//! The measured message: JSON data of an exact size that carries where and when it was meant to
//! be sent.
//!
//! The fields have fixed widths and stand right after a marker, so that a receiver finds them with
//! one search instead of parsing JSON. The padding is inside the same string.
//!
//! ```text
//! {"fwb":"RRRRRRRRTTTTTTTTSSSSSSSSSSSSNNNNNNNNNNNNNNNNxxxxxxxx"}
//!         run     topic   sequence    intended ns     padding
//! ```

use std::io::Write;

use memchr::memmem::Finder;

use crate::error::BenchError;

const MARKER: &[u8] = br#"{"fwb":""#;
const TAIL: &[u8] = br#""}"#;
const RUN_DIGITS: usize = 8;
const TOPIC_DIGITS: usize = 8;
const SEQUENCE_DIGITS: usize = 12;
const TIME_DIGITS: usize = 16;
const FIELDS_BYTES: usize = RUN_DIGITS + TOPIC_DIGITS + SEQUENCE_DIGITS + TIME_DIGITS;

/// Smallest payload that holds the fields, in bytes.
pub(crate) const PAYLOAD_BYTES_MIN: usize = MARKER.len() + FIELDS_BYTES + TAIL.len();

/// What a measured message says about itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stamp {
    /// The run it belongs to; messages of other runs are not counted.
    pub(crate) run: u32,
    /// Index of its topic, from 0.
    pub(crate) topic: u32,
    /// Its place among the publications of its topic, from 0.
    pub(crate) sequence: u64,
    /// When it was meant to be sent, CLOCK_MONOTONIC in nanoseconds.
    pub(crate) intended_ns: u64,
}

/// Makes payloads of one size.
#[derive(Debug)]
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
        output.extend_from_slice(MARKER);
        // Writing to a Vec cannot fail.
        let _ = write!(
            output,
            "{:08x}{:08x}{:012x}{:016x}",
            stamp.run, stamp.topic, stamp.sequence, stamp.intended_ns
        );
        output.extend_from_slice(&self.padding);
        output.extend_from_slice(TAIL);
    }
}

/// Finds and reads the stamp of a message.
#[derive(Debug)]
pub(crate) struct StampReader {
    finder: Finder<'static>,
}

impl StampReader {
    /// A reader; make one and keep it, the search is prepared here.
    pub(crate) fn new() -> Self {
        Self { finder: Finder::new(MARKER) }
    }

    /// The stamp inside `message`, or `None` when it carries none.
    pub(crate) fn read(&self, message: &[u8]) -> Option<Stamp> {
        let start = self.finder.find(message)? + MARKER.len();
        let fields = message.get(start..)?;
        let (run, fields) = fields.split_at_checked(RUN_DIGITS)?;
        let (topic, fields) = fields.split_at_checked(TOPIC_DIGITS)?;
        let (sequence, fields) = fields.split_at_checked(SEQUENCE_DIGITS)?;
        let (time, _) = fields.split_at_checked(TIME_DIGITS)?;
        Some(Stamp {
            run: u32::try_from(hexadecimal(run)?).ok()?,
            topic: u32::try_from(hexadecimal(topic)?).ok()?,
            sequence: hexadecimal(sequence)?,
            intended_ns: hexadecimal(time)?,
        })
    }
}

/// Up to 16 hexadecimal digits as a number.
fn hexadecimal(digits: &[u8]) -> Option<u64> {
    digits.iter().try_fold(0_u64, |value, &digit| {
        let nibble = char::from(digit).to_digit(16)?;
        Some(value << 4 | u64::from(nibble))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const STAMP: Stamp =
        Stamp { run: 0xdead_beef, topic: 7, sequence: 0xfff_ffff_ffff, intended_ns: u64::MAX };

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
    fn a_size_too_small_is_refused() {
        assert!(PayloadMaker::new(PAYLOAD_BYTES_MIN - 1).is_err());
    }

    #[test]
    fn a_message_without_a_whole_stamp_has_none() {
        let mut payload = Vec::new();
        PayloadMaker::new(PAYLOAD_BYTES_MIN).unwrap().append(STAMP, &mut payload);
        let reader = StampReader::new();
        for end in 0..PAYLOAD_BYTES_MIN - TAIL.len() {
            assert_eq!(reader.read(&payload[..end]), None);
        }
        assert_eq!(reader.read(b"{}"), None);
        payload[MARKER.len()] = b'g';
        assert_eq!(reader.read(&payload), None);
    }
}
