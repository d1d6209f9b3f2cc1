//! Fossil deltas applied (specification, section 12), as clients do it.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

use super::protobuf::BYTES;

const DIGITS: &[u8; 64] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ_abcdefghijklmnopqrstuvwxyz~";

/// What one subscriber with deltas makes of its publications.
#[derive(Default)]
pub(crate) struct Base(Vec<u8>);

impl Base {
    /// The payload that a publication means, as text; the next one is told against it.
    pub(crate) fn take(&mut self, publication: &Value) -> String {
        String::from_utf8(self.take_bytes(publication)).expect("a payload that is text")
    }

    /// The same for any payload.
    pub(crate) fn take_bytes(&mut self, publication: &Value) -> Vec<u8> {
        let data = match &publication["data"] {
            Value::String(text) => text.clone().into_bytes(),
            data => STANDARD.decode(data[BYTES].as_str().expect("a payload")).unwrap(),
        };
        self.0 = if publication["delta"] == true { apply(&self.0, &data) } else { data };
        self.0.clone()
    }
}

/// What a patch makes of its base.
pub(crate) fn apply(base: &[u8], mut patch: &[u8]) -> Vec<u8> {
    let (length, end) = number(&mut patch);
    assert_eq!(end, b'\n');
    let mut target = Vec::new();
    loop {
        match number(&mut patch) {
            (count, b'@') => {
                let (from, end) = number(&mut patch);
                assert_eq!(end, b',');
                target.extend_from_slice(&base[from..from + count]);
            }
            (count, b':') => {
                target.extend_from_slice(&patch[..count]);
                patch = &patch[count..];
            }
            (sum, b';') => {
                assert_eq!((sum, target.len()), (checksum(&target), length));
                assert!(patch.is_empty(), "something behind the patch");
                return target;
            }
            other => panic!("{other:?} in a patch"),
        }
    }
}

/// A number and the byte behind it.
fn number(patch: &mut &[u8]) -> (usize, u8) {
    let mut number = 0;
    loop {
        let (byte, rest) = patch.split_first().expect("the patch goes on");
        *patch = rest;
        match DIGITS.iter().position(|digit| digit == byte) {
            Some(digit) => number = number * 64 + digit,
            None => return (number, *byte),
        }
    }
}

fn checksum(target: &[u8]) -> usize {
    let word = |chunk: &[u8]| {
        let mut word = [0; 4];
        word[..chunk.len()].copy_from_slice(chunk);
        u32::from_be_bytes(word)
    };
    target.chunks(4).map(word).fold(0, u32::wrapping_add) as usize
}

#[test]
fn the_example_of_the_specification_is_understood() {
    let text = "the quick brown fox jumps over the lazy dog and keeps running";
    let base = format!(r#"{{"text": "{text}", "n": 0}}"#);
    let target = format!(r#"{{"text": "{text}", "n": 1}}"#);
    assert_eq!(apply(base.as_bytes(), b"1H\n1F@0,2:1}2PmtRu;"), target.as_bytes());
}
