//! Protobuf written by hand, for tests: apart from the broker's own codec, so that a mistake there
//! is not made twice. Numbers of fields stand where they are used, as the specification has them.

const VARINT: u64 = 0;
const LENGTH_DELIMITED: u64 = 2;

/// A varint, seven bits per byte, the lowest first.
pub(crate) fn varint(mut number: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    while number >= 0x80 {
        bytes.push(number as u8 | 0x80);
        number >>= 7;
    }
    bytes.push(number as u8);
    bytes
}

/// A field with a number. Negative ones go as their 64-bit two's complement.
pub(crate) fn number(field: u64, number: i128) -> Vec<u8> {
    [varint(field << 3 | VARINT), varint(number as u64)].concat()
}

/// A field with a text or bytes.
pub(crate) fn text(field: u64, text: impl AsRef<[u8]>) -> Vec<u8> {
    let text = text.as_ref();
    [&varint(field << 3 | LENGTH_DELIMITED), &varint(text.len() as u64), text].concat()
}

/// A field with a message of these fields.
pub(crate) fn message(field: u64, fields: &[Vec<u8>]) -> Vec<u8> {
    text(field, fields.concat())
}

/// A message of these fields behind its length, as it is sent.
pub(crate) fn framed(fields: &[Vec<u8>]) -> Vec<u8> {
    let message = fields.concat();
    [varint(message.len() as u64), message].concat()
}
