//! Numbers in groups of seven bits, least significant first, and what two protocols build on them:
//! Protobuf's fields (its encoding guide), MQTT's remaining length (3.1.1, section 2.2.3).

/// Protobuf's wire type of a number.
const VARINT: u64 = 0;
/// Of a number of 8 bytes.
const FIXED64: u64 = 1;
/// Of bytes behind their length.
const BYTES: u64 = 2;
/// Of a number of 4 bytes.
const FIXED32: u64 = 5;

/// One field of a Protobuf message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Field<'a> {
    /// Field `.0` is this number.
    Number(u64, u64),
    /// Field `.0` is these bytes, a text, or another message.
    Bytes(u64, &'a [u8]),
    /// A field that nobody here has use for.
    Other,
}

/// The number at the start of `bytes` and its length; `None` while it is not whole, or when it is
/// longer than any 64-bit number.
pub(crate) fn read(bytes: &[u8]) -> Option<(u64, usize)> {
    let mut value = 0_u64;
    for (index, &byte) in bytes.iter().take(10).enumerate() {
        value |= u64::from(byte & 0x7f) << (7 * index);
        if byte & 0x80 == 0 {
            return Some((value, index + 1));
        }
    }
    None
}

/// Appends `value`.
pub(crate) fn append(mut value: u64, output: &mut Vec<u8>) {
    while value >= 0x80 {
        output.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    output.push(value as u8);
}

/// Appends a Protobuf field that is a number.
pub(crate) fn append_number(field: u64, value: u64, output: &mut Vec<u8>) {
    append(field << 3 | VARINT, output);
    append(value, output);
}

/// Appends a Protobuf field that is bytes.
pub(crate) fn append_bytes(field: u64, value: &[u8], output: &mut Vec<u8>) {
    append(field << 3 | BYTES, output);
    append(value.len() as u64, output);
    output.extend_from_slice(value);
}

/// The fields of a Protobuf message in their order; an `Err` where it is malformed.
pub(crate) fn fields(mut message: &[u8]) -> impl Iterator<Item = Result<Field<'_>, ()>> {
    std::iter::from_fn(move || {
        if message.is_empty() {
            return None;
        }
        match next_field(message) {
            Some((field, rest)) => {
                message = rest;
                Some(Ok(field))
            }
            None => {
                message = &[];
                Some(Err(()))
            }
        }
    })
}

fn next_field(message: &[u8]) -> Option<(Field<'_>, &[u8])> {
    let (tag, length) = read(message)?;
    let (number, rest) = (tag >> 3, message.get(length..)?);
    match tag & 7 {
        VARINT => {
            let (value, length) = read(rest)?;
            Some((Field::Number(number, value), rest.get(length..)?))
        }
        BYTES => {
            let (bytes, length) = read(rest)?;
            let rest = rest.get(length..)?;
            let (value, rest) = rest.split_at_checked(usize::try_from(bytes).ok()?)?;
            Some((Field::Bytes(number, value), rest))
        }
        FIXED64 => Some((Field::Other, rest.get(8..)?)),
        FIXED32 => Some((Field::Other, rest.get(4..)?)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_survive_and_have_their_known_bytes() {
        for value in [0, 1, 127, 128, 300, 16_383, 16_384, u64::from(u32::MAX), u64::MAX] {
            let mut bytes = Vec::new();
            append(value, &mut bytes);
            assert_eq!(read(&bytes), Some((value, bytes.len())));
            assert_eq!(read(&bytes[..bytes.len() - 1]), None);
        }
        let mut bytes = Vec::new();
        append(300, &mut bytes);
        assert_eq!(bytes, [0xac, 0x02]);
        assert_eq!(read(&[0xff; 11]), None);
    }

    #[test]
    fn fields_come_in_order_and_malformed_ones_end_them() {
        let mut message = Vec::new();
        append_number(1, 150, &mut message);
        append_bytes(2, b"ab", &mut message);
        message.extend_from_slice(&[0x1d, 1, 2, 3, 4]);
        assert_eq!(message[..7], [0x08, 0x96, 0x01, 0x12, 0x02, b'a', b'b']);
        let whole: Result<Vec<_>, ()> = fields(&message).collect();
        assert_eq!(whole.unwrap(), [Field::Number(1, 150), Field::Bytes(2, b"ab"), Field::Other]);
        assert!(fields(&message[..6]).any(|field| field.is_err()));
    }
}
