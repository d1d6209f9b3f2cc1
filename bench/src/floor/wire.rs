//! The bytes of the bare loops: client frames in, text frames out, and the three commands that the
//! generator sends. Used by `server` alone.
//!
//! This is no parser of JSON. It takes the exact spelling that the generator has and nothing else,
//! because any check more would make the floor higher than it is. What it does not understand ends
//! the connection, so a run against it fails loudly and is never cheaper by mistake.

use memchr::memchr;

/// A message longer than a 16-bit length is none of the bench's.
const LENGTH_16_BITS: u8 = 126;
/// Bit of a client frame's second byte: it is masked.
const MASKED: u8 = 0x80;
/// First byte of an unfragmented text frame.
const TEXT: u8 = 0x81;

/// The connection is of no use any more: closed by the peer, or not understood.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Over;

/// A whole text frame, unmasked where it lies.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Frame<'a> {
    /// What it says.
    pub(super) payload: &'a [u8],
    /// Length with its header, in bytes.
    pub(super) length: usize,
}

/// What the generator asks. `id` is its digits, which the reply repeats.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Command<'a> {
    Connect { id: &'a [u8] },
    Subscribe { id: &'a [u8], topic: &'a [u8] },
    Publish { id: &'a [u8], topic: &'a [u8], data: &'a [u8] },
}

/// The first frame of `bytes`, once it is whole.
///
/// # Errors
/// `Over` for anything but a masked text frame of at most 64 KiB, a close frame included.
pub(super) fn take_frame(bytes: &mut [u8]) -> Result<Option<Frame<'_>>, Over> {
    let Some((&mut [first, second], rest)) = bytes.split_first_chunk_mut() else {
        return Ok(None);
    };
    if first != TEXT || second & MASKED == 0 {
        return Err(Over);
    }
    let (payload_bytes, header_bytes, rest) = match second & !MASKED {
        LENGTH_16_BITS => match rest.split_first_chunk_mut() {
            Some((length, rest)) => (usize::from(u16::from_be_bytes(*length)), 8, rest),
            None => return Ok(None),
        },
        short if short < LENGTH_16_BITS => (usize::from(short), 6, rest),
        _ => return Err(Over),
    };
    let Some((&mut mask, rest)) = rest.split_first_chunk_mut() else { return Ok(None) };
    let Some(payload) = rest.get_mut(..payload_bytes) else { return Ok(None) };
    unmask(payload, mask);
    Ok(Some(Frame { payload, length: header_bytes + payload_bytes }))
}

/// Eight bytes at a time.
fn unmask(payload: &mut [u8], mask: [u8; 4]) {
    let [a, b, c, d] = mask;
    let key = u64::from_ne_bytes([a, b, c, d, a, b, c, d]);
    let (words, rest) = payload.as_chunks_mut();
    for word in words {
        *word = (u64::from_ne_bytes(*word) ^ key).to_ne_bytes();
    }
    for (byte, key) in rest.iter_mut().zip(mask.iter().cycle()) {
        *byte ^= key;
    }
}

/// Reads one command.
///
/// # Errors
/// `Over` when it is not spelled as the generator spells it.
pub(super) fn command(line: &[u8]) -> Result<Command<'_>, Over> {
    read_command(line).ok_or(Over)
}

fn read_command(line: &[u8]) -> Option<Command<'_>> {
    let rest = line.strip_prefix(br#"{"id":"#)?;
    let digits = rest.iter().position(|byte| !byte.is_ascii_digit())?;
    let (id, rest) = rest.split_at_checked(digits)?;
    if let Some(rest) = rest.strip_prefix(br#","publish":{"channel":""#) {
        let (topic, rest) = rest.split_at_checked(memchr(b'"', rest)?)?;
        let data = rest.strip_prefix(br#"","data":"#)?.strip_suffix(b"}}")?;
        return Some(Command::Publish { id, topic, data });
    }
    if let Some(rest) = rest.strip_prefix(br#","subscribe":{"channel":""#) {
        let (topic, _) = rest.split_at_checked(memchr(b'"', rest)?)?;
        return Some(Command::Subscribe { id, topic });
    }
    rest.starts_with(br#","connect":{"#).then_some(Command::Connect { id })
}

/// Appends the frame that subscribers of `topic` get: the very bytes that Fanwire sends.
pub(super) fn append_push(topic: &[u8], data: &[u8], output: &mut Vec<u8>) {
    append_frame(
        &[br#"{"push":{"channel":""#, topic, br#"","pub":{"data":"#, data, b"}}}"],
        output,
    );
}

/// Appends the reply to command `id`, whose result is `result`.
pub(super) fn append_reply(id: &[u8], result: &[u8], output: &mut Vec<u8>) {
    append_frame(&[br#"{"id":"#, id, b",", result, b"}"], output);
}

fn append_frame(parts: &[&[u8]], output: &mut Vec<u8>) {
    let payload_bytes: usize = parts.iter().map(|part| part.len()).sum();
    output.push(TEXT);
    match u8::try_from(payload_bytes) {
        Ok(short) if short < LENGTH_16_BITS => output.push(short),
        _ => {
            // What comes in has at most 64 KiB less its command, which is longer than a push.
            let length = u16::try_from(payload_bytes).unwrap_or(u16::MAX);
            output.push(LENGTH_16_BITS);
            output.extend_from_slice(&length.to_be_bytes());
        }
    }
    for part in parts {
        output.extend_from_slice(part);
    }
}

#[cfg(test)]
mod tests {
    use tungstenite::protocol::frame::coding::{Data, OpCode};
    use tungstenite::protocol::frame::{FrameHeader, FrameSocket};

    use super::*;

    /// A text frame as a client sends it.
    fn masked(payload: &[u8]) -> Vec<u8> {
        let mask = [0x37, 0xfa, 0x21, 0x3d];
        let opcode = OpCode::Data(Data::Text);
        let header = FrameHeader { opcode, mask: Some(mask), ..FrameHeader::default() };
        let mut frame = Vec::new();
        header.format(payload.len() as u64, &mut frame).unwrap();
        frame.extend(payload.iter().zip(mask.iter().cycle()).map(|(byte, key)| byte ^ key));
        frame
    }

    #[test]
    fn a_publication_is_understood_wherever_it_is_cut() {
        for data in [&br#"{"a":1}"#[..], &[b'1'; 77], &[b'1'; 78], &[b'1'; 4096]] {
            let mut text = br#"{"id":42,"publish":{"channel":"bench7","data":"#.to_vec();
            text.extend_from_slice(data);
            text.extend_from_slice(b"}}");
            let whole = masked(&text);
            for end in 0..whole.len() {
                assert_eq!(take_frame(&mut whole.clone()[..end]), Ok(None));
            }
            let mut followed = whole.clone();
            followed.push(TEXT);
            let frame = take_frame(&mut followed).unwrap().unwrap();
            assert_eq!(frame.length, whole.len());
            let expected = Command::Publish { id: b"42", topic: b"bench7", data };
            assert_eq!(command(frame.payload), Ok(expected));
        }
    }

    #[test]
    fn joining_is_understood() {
        let connect = command(br#"{"id":1,"connect":{}}"#);
        assert_eq!(connect, Ok(Command::Connect { id: b"1" }));
        let subscribe = command(br#"{"id":2,"subscribe":{"channel":"bench7"}}"#);
        assert_eq!(subscribe, Ok(Command::Subscribe { id: b"2", topic: b"bench7" }));
    }

    #[test]
    fn a_push_has_the_bytes_that_fanwire_sends() {
        for size in [1, 82, 83, 4096] {
            let mut push = Vec::new();
            append_push(b"bench7", &vec![b'1'; size], &mut push);
            let mut socket = FrameSocket::new(std::io::Cursor::new(push));
            let frame = socket.read(None).unwrap().unwrap();
            let data = "1".repeat(size);
            let expected = format!(r#"{{"push":{{"channel":"bench7","pub":{{"data":{data}}}}}}}"#);
            assert_eq!(frame.payload(), expected.as_bytes());
            assert!(socket.read(None).unwrap().is_none());
        }
    }

    #[test]
    fn anything_else_ends_the_connection() {
        assert_eq!(command(br#"{"publish":{},"id":1}"#), Err(Over));
        assert_eq!(command(br#"{"id":1,"presence":{}}"#), Err(Over));
        assert_eq!(take_frame(&mut [0x88, 0x80, 0, 0, 0, 0]), Err(Over), "close");
        assert_eq!(take_frame(&mut [TEXT, 1, b'x']), Err(Over), "not masked");
    }
}
